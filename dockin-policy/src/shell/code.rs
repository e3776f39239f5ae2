//! Programs with a language of their own: the commands that their code starts, as far as they are
//! written out, and whether there may be more.

use super::{
    run::{Input, Runner},
    utility,
    value::{Out, Value},
};

const INTERPRETERS: &[&str] = &[
    "python", "perl", "ruby", "node", "nodejs", "php", "lua", "luajit", "tclsh", "wish", "expect",
    "irb", "psql", "mysql", "mariadb", "sqlite", "gdb", "ed", "ex", "bc", "dc", "R", "Rscript",
    "julia", "ghci", "scala", "groovy", "jshell", "erl", "iex", "guile", "racket", "m4", "awk",
    "gawk", "mawk", "bun", "deno",
];

const CODE: &str = "code for an interpreter cannot be judged";
const FILE: &str = "a script that an interpreter runs cannot be judged";
const HOOK: &str = "an option that runs a command cannot be judged";

/// The interpreter's name without its version, when `name` is one.
fn interpreter(name: &str) -> Option<&'static str> {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS
        .iter()
        .copied()
        .find(|known| *known == bare || *known == name)
}

/// Whether the program reads code on standard input.
pub(super) fn reads_code_from_stdin(name: &str, arguments: &[Value]) -> bool {
    let Some(found) = interpreter(name) else {
        return name == "make" && arguments.windows(2).any(|pair| {
            matches!(pair, [option, Value::Known(file)] if matches!(option.known(), Some("-f" | "--file")) && file == "-")
        });
    };
    match found {
        "python" | "perl" | "ruby" | "node" | "nodejs" | "php" | "lua" | "luajit" | "tclsh"
        | "expect" => arguments.iter().all(|argument| {
            argument.known().is_some_and(|text| {
                text == "-" || (text.starts_with('-') && !is_code_option(found, text))
            })
        }),
        "awk" | "gawk" | "mawk" | "m4" | "bc" | "dc" => false,
        _ => true,
    }
}

fn is_code_option(interpreter: &str, option: &str) -> bool {
    let letters = match interpreter {
        "python" => "cmVh",
        "perl" | "ruby" => "eEnpvh",
        "node" | "nodejs" => "epvh",
        "php" => "rfvih",
        _ => "e",
    };
    option == "--version"
        || option == "--help"
        || matches!(option, "--eval" | "--print" | "-eval")
        || (!option.starts_with("--") && option.contains(|c: char| letters.contains(c)))
}

/// A command in code.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Call {
    /// A text for a shell called so.
    Text(&'static str, String),
    Argv(Vec<String>),
}

/// A text in quotes and where it stands.
struct Literal {
    text: String,
    start: usize,
    end: usize,
    quote: char,
}

/// Texts of code that are looked at.
const MAX_LITERALS: usize = 64;

fn literals(code: &str) -> Vec<Literal> {
    literals_of("", code)
}

fn literals_of(interpreter: &str, code: &str) -> Vec<Literal> {
    // What is no escape keeps its backslash there.
    let keeps = matches!(interpreter, "python" | "php" | "lua");
    let mut found = Vec::new();
    let mut characters = code.char_indices().peekable();
    while let Some((start, quote)) = characters.next() {
        if !matches!(quote, '"' | '\'' | '`') || found.len() >= MAX_LITERALS {
            continue;
        }
        let mut text = String::new();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'x')) => {
                        let digits: String = (0..2)
                            .filter_map(|_| characters.next())
                            .map(|(_, c)| c)
                            .collect();
                        text.extend(
                            u32::from_str_radix(&digits, 16)
                                .ok()
                                .and_then(char::from_u32),
                        );
                    }
                    Some((_, c)) => {
                        if keeps && c.is_alphanumeric() {
                            text.push('\\');
                        }
                        text.push(c);
                    }
                    None => break,
                },
                c if c == quote => {
                    found.push(Literal {
                        text: std::mem::take(&mut text),
                        start,
                        end: at + 1,
                        quote,
                    });
                    break;
                }
                c => text.push(c),
            }
        }
    }
    found
}

/// Names of calls that start programs.
const CALLS: &[&str] = &[
    "system",
    "popen",
    "exec",
    "execSync",
    "execFileSync",
    "execFile",
    "spawn",
    "spawnSync",
    "call",
    "run",
    "check_call",
    "check_output",
    "Popen",
    "getoutput",
    "getstatusoutput",
    "execv",
    "execvp",
    "execve",
    "execl",
    "execlp",
    "execvpe",
    "execle",
    "spawnlp",
    "spawnvp",
    "posix_spawn",
    "passthru",
    "shell_exec",
    "proc_open",
    "qx",
    "os.execute",
    "io.popen",
    "execute",
    "open",
    "startProcess",
];

/// The commands that `code` writes out.
fn calls(interpreter: &str, code: &str) -> Vec<Call> {
    let literals = literals_of(interpreter, code);
    let shell = match interpreter {
        "node" | "nodejs" => "/bin/sh",
        _ => "sh",
    };
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(literal) = literals.get(index) {
        index += 1;
        if literal.quote == '`' && matches!(interpreter, "perl" | "ruby" | "php") {
            found.push(Call::Text("", literal.text.clone()));
            continue;
        }
        let before = code.get(..literal.start).unwrap_or_default();
        let trimmed = before.trim_end();
        let (opened, listed) = match trimmed.strip_suffix('[') {
            Some(rest) => (rest.trim_end(), true),
            None => (trimmed, false),
        };
        let called = opened.strip_suffix('(').unwrap_or(opened).trim_end();
        let name_start = called
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .map_or(0, |at| at + 1);
        let name = called.get(name_start..).unwrap_or_default();
        if !CALLS.contains(&name) {
            continue;
        }
        // Further texts of the same call are its arguments.
        let mut words = vec![literal.text.clone()];
        let mut end = literal.end;
        let mut is_list = listed;
        while let Some(next) = literals.get(index) {
            let between: String = code
                .get(end..next.start)
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_whitespace())
                .collect();
            match between.as_str() {
                "," => {}
                ",[" => is_list = true,
                "+" | "." | ".." => {
                    // One text in two pieces.
                    if let Some(last) = words.last_mut() {
                        last.push_str(&next.text);
                    }
                    end = next.end;
                    index += 1;
                    continue;
                }
                _ => break,
            }
            words.push(next.text.clone());
            end = next.end;
            index += 1;
        }
        if name == "open" && !matches!(interpreter, "perl" | "ruby") {
            continue;
        }
        let shells = matches!(
            name,
            "system"
                | "popen"
                | "getoutput"
                | "getstatusoutput"
                | "execSync"
                | "passthru"
                | "shell_exec"
                | "execute"
        ) || matches!(
            (interpreter, name),
            ("node" | "nodejs" | "php" | "perl" | "ruby", "exec")
        ) || code.contains("shell=True")
            || code.contains("shell: true");
        let first = words.first().cloned().unwrap_or_default();
        if name == "open" {
            let text = first.trim().trim_matches('|').trim().to_owned();
            if first.contains('|') && words.len() == 1 {
                found.push(Call::Text("", text));
            } else if first.contains('|') {
                found.push(Call::Argv(words.split_off(1)));
            }
            continue;
        }
        if words.len() == 1 && !is_list && shells {
            // perl and ruby need no shell for plain words.
            let shell = if matches!(interpreter, "perl" | "ruby") {
                ""
            } else {
                shell
            };
            found.push(Call::Text(shell, first));
        } else {
            // `execlp("rm", "rm", "-rf")` names the program twice.
            if name.starts_with("execl") || name.starts_with("execv") || name == "spawnlp" {
                let twice = words.len() > 1;
                if twice {
                    words.remove(0);
                    if let Some(name) = words.first_mut() {
                        *name = first;
                    }
                }
            }
            found.push(Call::Argv(words));
        }
    }
    found
}

/// Commands in an awk program.
fn awk_calls(code: &str) -> Vec<Call> {
    let mut found = calls("awk", code);
    for literal in literals(code) {
        let before = code.get(..literal.start).unwrap_or_default().trim_end();
        let behind = code.get(literal.end..).unwrap_or_default().trim_start();
        let read = behind.starts_with('|')
            && behind
                .trim_start_matches(['|', '&', ' '])
                .starts_with("getline");
        let written = before.ends_with('|') && !before.ends_with("||");
        if read || written {
            found.push(Call::Text("/bin/sh", literal.text));
        }
    }
    // What is printed into a shell is run by it.
    if let [first, .., last] = literals(code).as_slice()
        && matches!(utility::base_name(last.text.trim()), "sh" | "bash" | "dash")
        && code.contains("print")
    {
        found.push(Call::Text("", first.text.clone()));
    }
    found
}

/// The texts behind `!`, `.shell` and their like, one command a line.
fn escapes(name: &str, text: &str) -> Vec<Call> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.trim_start_matches(|c: char| {
            c.is_ascii_digit() || "%,$.".contains(c) && !line.starts_with(".s")
        });
        let command = match name {
            "vi" | "vim" | "nvim" | "view" | "ex" | "ed" | "rvim" | "vimdiff" => {
                let line = line
                    .trim_start_matches(':')
                    .trim_start_matches("silent")
                    .trim_start_matches('!')
                    .trim();
                let original = text.trim_start_matches(':').trim();
                if original.contains('!')
                    && (original.starts_with('!')
                        || original.starts_with("r !")
                        || original.starts_with("w !")
                        || original.starts_with("silent !")
                        || original.starts_with("%!")
                        || original.starts_with("read !"))
                {
                    original.split_once('!').map(|(_, command)| command)
                } else if let Some(inside) = line
                    .strip_prefix("call system(")
                    .or_else(|| line.strip_prefix("echo system("))
                {
                    return literals(inside)
                        .into_iter()
                        .take(1)
                        .map(|literal| Call::Text("sh", literal.text))
                        .collect();
                } else {
                    None
                }
            }
            "gdb" | "lldb" => line
                .strip_prefix('!')
                .or_else(|| line.strip_prefix("shell "))
                .or_else(|| line.strip_prefix("make ")),
            "sqlite" | "sqlite3" => line
                .strip_prefix(".shell ")
                .or_else(|| line.strip_prefix(".system ")),
            "psql" | "mysql" | "mariadb" => line
                .strip_prefix("\\!")
                .or_else(|| line.strip_prefix("system ")),
            "bc" | "dc" => line.strip_prefix('!'),
            "ftp" | "sftp" | "telnet" | "less" | "more" => line.strip_prefix('!'),
            _ => None,
        };
        found.extend(command.map(|command| Call::Text("sh", command.trim().to_owned())));
    }
    found
}

impl Runner<'_> {
    /// What a program runs by its code and hooks.
    pub(super) fn code(&mut self, name: &str, argv: &[Value], arguments: &[Value]) {
        let stdin = match &self.stdin {
            Input::Text(text) => Some(text.clone()),
            _ => None,
        };
        let known: Vec<&str> = arguments.iter().filter_map(Value::known).collect();
        let found = interpreter(name);
        let bare = found.unwrap_or(name);
        let mut started: Vec<Call> = Vec::new();
        if reads_code_from_stdin(name, arguments) {
            match (&stdin, &self.stdin) {
                (Some(text), _) => started.extend(self.calls_in(bare, text)),
                (None, Input::Unknown(reason)) => {
                    if *reason == super::value::DOWNLOADED {
                        self.shape(super::run::Shape::DownloadIntoShell);
                    }
                    self.unknown(CODE);
                }
                _ => {}
            }
            if let Some(text) = &stdin
                && !text.trim().is_empty()
            {
                if started.is_empty() {
                    self.unknown(CODE);
                } else {
                    self.soft_unknown(CODE);
                }
            }
        }
        match bare {
            "awk" | "gawk" | "mawk" => {
                for text in &known {
                    started.extend(awk_calls(text));
                }
            }
            "python" | "perl" | "ruby" | "node" | "nodejs" | "php" | "lua" | "luajit" | "R"
            | "Rscript" | "julia" | "bun" | "deno" => {
                let mut takes = false;
                for text in &known {
                    if takes {
                        started.extend(calls(bare, text));
                    }
                    takes = text.starts_with('-') && is_code_option(bare, text);
                    if takes && text.len() > 2 && !text.starts_with("--") {
                        // `-e'code'`
                        let glued = text.get(2..).unwrap_or_default();
                        started.extend(calls(bare, glued));
                    }
                }
            }
            "expect" => {
                for text in &known {
                    for prefix in ["spawn ", "exec "] {
                        for piece in text.split([';', '\n']) {
                            if let Some(command) = piece.trim().strip_prefix(prefix) {
                                started.push(Call::Text("", command.to_owned()));
                            }
                        }
                    }
                }
            }
            "sqlite" | "psql" | "mysql" | "mariadb" | "gdb" | "bc" | "dc" => {
                for text in &known {
                    started.extend(escapes(bare, text));
                }
            }
            "vi" | "vim" | "nvim" | "view" | "ex" | "ed" | "rvim" | "vimdiff" => {
                for text in &known {
                    let text = text
                        .strip_prefix('+')
                        .or_else(|| text.strip_prefix("-c"))
                        .or_else(|| text.strip_prefix("--cmd="))
                        .unwrap_or(text);
                    started.extend(escapes("vim", text));
                }
            }
            "make" | "gmake" => {
                let named = known
                    .windows(2)
                    .find(|pair| matches!(pair, ["-f" | "--file" | "--makefile", _]))
                    .and_then(|pair| pair.get(1).copied());
                let written = ["GNUmakefile", "makefile", "Makefile"]
                    .into_iter()
                    .chain(named)
                    .find_map(
                        |path| match self.file_text(&Value::Known(path.to_owned())) {
                            Out::Known(text) if path != "/dev/null" => Some(text),
                            _ => None,
                        },
                    );
                if let Some(text) = stdin
                    .as_ref()
                    .filter(|_| named == Some("-"))
                    .or(written.as_ref())
                {
                    let recipes = text.lines().filter_map(|line| line.strip_prefix('\t'));
                    started.extend(recipes.map(|line| {
                        Call::Text("", line.trim_start_matches(['@', '-', '+']).to_owned())
                    }));
                }
                for text in &known {
                    if let Some(text) = text.strip_prefix("--eval=") {
                        let recipe = text.rsplit([';', '\t']).next().unwrap_or_default();
                        started.push(Call::Text(
                            "",
                            recipe.trim_start_matches(['@', '-']).to_owned(),
                        ));
                    }
                }
            }
            "git" => started.extend(git_calls(&known)),
            "tar" | "bsdtar" => {
                for (index, text) in known.iter().enumerate() {
                    let (option, value) = match text.split_once('=') {
                        Some((option, value)) => (option, Some(value)),
                        None => (*text, known.get(index + 1).copied()),
                    };
                    let runs = [
                        "--checkpoint-action",
                        "--to-command",
                        "--use-compress-program",
                        "--rsh-command",
                        "--new-volume-script",
                        "--info-script",
                    ]
                    .iter()
                    .any(|name| is_abbreviation(option, name))
                        || matches!(option, "-I" | "-F");
                    if let Some(value) = value.filter(|_| runs) {
                        let value = value.strip_prefix("exec=").unwrap_or(value);
                        started.push(Call::Text("/bin/sh", value.to_owned()));
                    }
                }
            }
            "zip" => {
                for (index, text) in known.iter().enumerate() {
                    let value = match *text {
                        "-TT" | "--unzip-command" => known.get(index + 1).copied(),
                        text => text
                            .strip_prefix("-TT")
                            .or_else(|| text.strip_prefix("--unzip-command=")),
                    };
                    if let Some(value) = value {
                        started.push(Call::Text("sh", value.to_owned()));
                    }
                }
            }
            "split" => {
                for (index, text) in known.iter().enumerate() {
                    let value = match *text {
                        "--filter" => known.get(index + 1).copied(),
                        text => text.strip_prefix("--filter="),
                    };
                    if let Some(value) = value {
                        started.push(Call::Text("sh", value.to_owned()));
                    }
                }
            }
            "gcc" | "cc" | "g++" | "clang" => {
                for (index, text) in known.iter().enumerate() {
                    if *text == "-wrapper"
                        && let Some(value) = known.get(index + 1)
                    {
                        started.push(Call::Argv(value.split(',').map(str::to_owned).collect()));
                    }
                }
            }
            "ssh" | "scp" | "sftp" => {
                for text in &known {
                    let lower = text.to_ascii_lowercase();
                    for option in ["proxycommand", "localcommand", "knownhostscommand"] {
                        if let Some(at) = lower.find(option) {
                            let value = text.get(at + option.len()..).unwrap_or_default();
                            started.push(Call::Text(
                                "sh",
                                value.trim_start_matches(['=', ' ']).to_owned(),
                            ));
                        }
                    }
                }
            }
            "rsync" => {
                for pair in known.windows(2) {
                    if let ["-e" | "--rsh", value] = pair {
                        started.push(Call::Text("sh", (*value).to_owned()));
                    }
                }
            }
            "sed" => {
                for text in &known {
                    for command in text.split([';', '\n']) {
                        let command = command
                            .trim()
                            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '$');
                        if let Some(command) = command.strip_prefix("e ") {
                            started.push(Call::Text("sh", command.to_owned()));
                        }
                        let parts: Vec<&str> = command.split('/').collect();
                        if let ["s", _, with, flags] = parts.as_slice()
                            && flags.contains('e')
                        {
                            started.push(Call::Text("sh", (*with).to_owned()));
                        }
                    }
                }
            }
            "socat" => {
                for text in &known {
                    for part in text.split(',') {
                        if let Some((kind, command)) = part.split_once(':')
                            && matches!(
                                kind.to_ascii_uppercase().as_str(),
                                "EXEC" | "SYSTEM" | "SHELL"
                            )
                        {
                            started.push(Call::Text("sh", command.to_owned()));
                        }
                    }
                }
            }
            "nc" | "ncat" | "netcat" => {
                for pair in known.windows(2) {
                    if let ["-e" | "-c" | "--exec" | "--sh-exec", value] = pair {
                        self.elsewhere(Call::Text("", (*value).to_owned()));
                    }
                }
            }
            "docker" | "podman" | "nerdctl" | "kubectl" | "crictl" => {
                for call in container_calls(bare, &known) {
                    self.elsewhere(call);
                }
            }
            "tmux" | "screen" => {
                for text in known.iter().skip(1) {
                    if text.contains(' ') {
                        started.push(Call::Text("sh", (*text).to_owned()));
                    }
                }
            }
            "at" | "batch" => {
                if let Some(text) = &stdin {
                    started.push(Call::Text("", text.clone()));
                }
            }
            "less" | "more" | "man" => {
                for text in &known {
                    if let Some(text) = text.strip_prefix("+!") {
                        started.push(Call::Text("sh", text.to_owned()));
                    }
                }
            }
            _ => {}
        }
        // What runs later is judged with what runs it.
        if matches!(bare, "at" | "batch") {
            for call in started.drain(..) {
                if let Call::Text(_, text) = call {
                    let _out = self.dead(|runner| runner.text(&text));
                }
            }
        }
        let is_written_out = !started.is_empty() || matches!(bare, "at" | "batch" | "crontab");
        for call in started.into_iter().take(MAX_LITERALS) {
            self.started(call);
        }
        if let Some(reason) = hidden_code(name, argv.get(1..).unwrap_or_default()) {
            if is_written_out {
                self.soft_unknown(reason);
            } else {
                self.unknown(reason);
            }
        }
    }

    fn calls_in(&self, interpreter: &str, text: &str) -> Vec<Call> {
        match interpreter {
            "tclsh" | "wish" | "expect" => text
                .split(['\n', ';'])
                .filter_map(|line| {
                    let line = line.trim();
                    line.strip_prefix("exec ")
                        .or_else(|| line.strip_prefix("spawn "))
                })
                .map(|command| Call::Text("", command.to_owned()))
                .collect(),
            "ed" | "ex" | "gdb" | "sqlite" | "psql" | "mysql" | "mariadb" | "bc" | "dc" => text
                .lines()
                .flat_map(|line| escapes(interpreter, line))
                .collect(),
            "make" => Vec::new(),
            other => calls(other, text),
        }
    }

    /// What runs in another place: judged, and no program of this one.
    fn elsewhere(&mut self, call: Call) {
        let stdin = self.stdin.clone();
        self.dead(|runner| runner.started(call));
        self.stdin = stdin;
    }

    fn started(&mut self, call: Call) {
        match call {
            Call::Argv(words) => {
                let mut words = words.into_iter();
                let Some(program) = words.next() else { return };
                let argv = std::iter::once(program)
                    .chain(words)
                    .map(Value::Known)
                    .collect();
                let _out = self.below(|runner| runner.argv(argv, &mut Default::default()));
            }
            // No shell is needed for plain words.
            Call::Text("", text)
                if !text.contains([
                    '|', '&', ';', '<', '>', '$', '`', '"', '\'', '*', '?', '(', '\\',
                ]) =>
            {
                let _out = self.below(|runner| runner.text(&text));
            }
            Call::Text("", text) => {
                let _out = self.shell_text("sh", &text, &[]);
            }
            Call::Text(shell, text) => {
                let _out = self.shell_text(shell, &text, &[]);
            }
        }
    }
}

/// Aliases, hooks and pagers that git is told on its command line.
fn git_calls(known: &[&str]) -> Vec<Call> {
    let mut found = Vec::new();
    for (index, text) in known.iter().enumerate() {
        let setting = match *text {
            "-c" | "--config-env" => known.get(index + 1).copied(),
            text => text.strip_prefix("-c").filter(|rest| rest.contains('=')),
        };
        if let Some((key, value)) = setting.and_then(|setting| setting.split_once('=')) {
            let key = key.to_ascii_lowercase();
            if key.starts_with("alias.") {
                if let Some(command) = value.strip_prefix('!') {
                    found.push(Call::Text("/bin/sh", command.to_owned()));
                }
            } else if [
                "core.pager",
                "core.editor",
                "core.sshcommand",
                "core.fsmonitor",
                "diff.external",
                "sequence.editor",
                "core.askpass",
                "credential.helper",
                "gpg.program",
                "pager.",
            ]
            .iter()
            .any(|name| key.starts_with(name))
            {
                found.push(Call::Text(
                    "/bin/sh",
                    value.trim_start_matches('!').to_owned(),
                ));
            }
        }
        if matches!(
            *text,
            "-x" | "--exec"
                | "--extcmd"
                | "--tree-filter"
                | "--index-filter"
                | "--msg-filter"
                | "--env-filter"
        ) && let Some(value) = known.get(index + 1)
        {
            found.push(Call::Text("/bin/sh", (*value).to_owned()));
        }
        for option in ["--upload-pack=", "--receive-pack=", "--exec=", "--extcmd="] {
            if let Some(value) = text.strip_prefix(option) {
                found.push(Call::Text("/bin/sh", value.to_owned()));
            }
        }
        if *text == "run" && known.contains(&"bisect") {
            found.push(Call::Argv(
                known
                    .get(index + 1..)
                    .unwrap_or_default()
                    .iter()
                    .map(|it| (*it).to_owned())
                    .collect(),
            ));
        }
        if *text == "foreach" && known.contains(&"submodule") {
            let rest: Vec<&str> = known
                .get(index + 1..)
                .unwrap_or_default()
                .iter()
                .copied()
                .filter(|it| *it != "--recursive" && *it != "-q")
                .collect();
            found.push(Call::Text("/bin/sh", rest.join(" ")));
        }
    }
    found
}

/// What is run in another container: judged as if it ran here.
fn container_calls(name: &str, known: &[&str]) -> Vec<Call> {
    let verb = known
        .iter()
        .position(|text| matches!(*text, "exec" | "run"));
    let Some(verb) = verb else { return Vec::new() };
    let rest = known.get(verb + 1..).unwrap_or_default();
    if let Some(at) = rest.iter().position(|text| *text == "--") {
        let inner = rest.get(at + 1..).unwrap_or_default();
        return vec![Call::Argv(
            inner.iter().map(|text| (*text).to_owned()).collect(),
        )];
    }
    if name == "kubectl" {
        return Vec::new();
    }
    const VALUES: &[&str] = &[
        "-e",
        "--env",
        "-u",
        "--user",
        "-w",
        "--workdir",
        "-v",
        "--volume",
        "--name",
        "-p",
        "--publish",
        "--network",
        "--net",
        "--entrypoint",
        "-h",
        "--hostname",
        "-l",
        "--label",
        "--mount",
        "-m",
        "--memory",
        "--cpus",
        "--env-file",
        "--pid",
        "--ipc",
        "--restart",
        "--cap-add",
        "--cap-drop",
        "--device",
        "--add-host",
        "--dns",
        "--platform",
        "--pull",
        "--security-opt",
        "--log-driver",
    ];
    let mut words = rest.iter().copied();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if VALUES.contains(&word) {
            let value = words.next();
            if word == "--entrypoint" {
                found.extend(value.map(|value| Call::Argv(vec![value.to_owned()])));
            }
        } else if !word.starts_with('-') {
            break;
        }
    }
    let inner: Vec<String> = words.map(str::to_owned).collect();
    if !inner.is_empty() {
        found.push(Call::Argv(inner));
    }
    found
}

/// What an awk program that only prints constants prints.
pub(super) fn awk_prints(words: &[&str]) -> Option<String> {
    let [code] = words else { return None };
    let inside = code
        .trim()
        .strip_prefix("BEGIN")?
        .trim()
        .strip_prefix('{')?
        .strip_suffix('}')?;
    let inside = inside.trim().trim_end_matches(';');
    if let Some(rest) = inside.strip_prefix("printf") {
        let rest = rest.trim().trim_start_matches('(').trim_end_matches(')');
        let found = literals(rest);
        let format = found.first()?;
        let mut numbers = rest.get(format.end..)?.split(',').skip(1);
        let mut text = String::new();
        let mut pieces = format.text.split("%c");
        text.push_str(pieces.next()?);
        for piece in pieces {
            let number: u32 = numbers.next()?.trim().parse().ok()?;
            text.push(char::from_u32(number)?);
            text.push_str(piece);
        }
        return (!text.contains('%')).then_some(text);
    }
    let rest = inside.strip_prefix("print")?;
    let found = literals(rest);
    let between: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    let length: usize = found
        .iter()
        .map(|literal| literal.end - literal.start)
        .sum();
    (between.len() <= length).then(|| {
        found
            .into_iter()
            .map(|literal| literal.text)
            .collect::<String>()
            + "\n"
    })
}

/// What a line of Python or Perl that only prints constants prints.
pub(super) fn prints(name: &str, words: &[&str]) -> Option<String> {
    let (newline, code) = match (name, words) {
        ("python" | "python3", ["-c", code]) => {
            let code = code.trim().strip_prefix("print(")?.strip_suffix(')')?;
            (true, code)
        }
        ("perl", ["-e" | "-E", code]) => {
            let code = code
                .trim()
                .trim_end_matches(';')
                .strip_prefix("print")?
                .trim();
            (false, code)
        }
        ("perl", ["-le", code]) => {
            let code = code
                .trim()
                .trim_end_matches(';')
                .strip_prefix("print")?
                .trim();
            (true, code)
        }
        _ => return None,
    };
    let mut text = constant(code)?;
    if newline {
        text.push('\n');
    }
    Some(text)
}

/// A text made of quoted texts, `chr(…)`, `pack("H…", …)` and `reverse`.
fn constant(code: &str) -> Option<String> {
    let code = code.trim();
    if let Some(rest) = code
        .strip_prefix("pack(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        let found = literals(rest);
        let [kind, digits] = found.as_slice() else {
            return None;
        };
        return kind
            .text
            .starts_with('H')
            .then(|| unhex(&digits.text))
            .flatten();
    }
    if let Some(rest) = code
        .strip_prefix("bytes.fromhex(")
        .and_then(|rest| rest.strip_suffix(").decode()"))
    {
        return unhex(&literals(rest).first()?.text);
    }
    if let Some(rest) = code.strip_suffix("[::-1]") {
        return Some(constant(rest)?.chars().rev().collect());
    }
    if let Some(rest) = code
        .strip_prefix("scalar reverse")
        .or_else(|| code.strip_prefix("scalar(reverse"))
    {
        return Some(
            constant(rest.trim_end_matches(')').trim_start_matches('('))?
                .chars()
                .rev()
                .collect(),
        );
    }
    let mut text = String::new();
    let mut rest = code;
    loop {
        rest = rest.trim_start_matches(['+', '.', ',', ' ']);
        if rest.is_empty() {
            return Some(text);
        }
        if let Some(behind) = rest
            .strip_prefix("chr(")
            .or_else(|| rest.strip_prefix("chr "))
        {
            let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
            text.push(char::from_u32(digits.parse().ok()?)?);
            rest = behind.get(digits.len()..)?.trim_start_matches(')');
            continue;
        }
        let found = literals(rest);
        let literal = found.first().filter(|literal| literal.start == 0)?;
        text.push_str(&literal.text);
        rest = rest.get(literal.end..)?;
    }
}

fn unhex(digits: &str) -> Option<String> {
    let digits: Vec<u32> = digits
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    String::from_utf8(bytes?).ok()
}

/// Why what the program does is not in its arguments; `None` when it is, or does no harm.
fn hidden_code(name: &str, arguments: &[Value]) -> Option<&'static str> {
    let known: Vec<&str> = arguments.iter().filter_map(Value::known).collect();
    let all_known = known.len() == arguments.len();
    let has = |option: &str| known.contains(&option);
    let starts = |option: &str| known.iter().any(|text| text.starts_with(option));
    if let Some(found) = interpreter(name) {
        return match found {
            "awk" | "gawk" | "mawk" => {
                let dangerous = starts("-f")
                    || starts("--file")
                    || known.iter().any(|text| {
                        ["system", "|", "getline", "print >", "@load"]
                            .iter()
                            .any(|it| text.contains(it))
                    })
                    || !all_known;
                dangerous.then_some(CODE)
            }
            "bc" | "dc" => known.iter().any(|text| text.contains('!')).then_some(CODE),
            "psql" | "mysql" | "sqlite" => {
                let escapes = [".shell", ".system", "\\!", "system "];
                let runs = |text: &&str| escapes.iter().any(|escape| text.contains(escape));
                known.iter().any(runs).then_some(CODE)
            }
            "m4" => None,
            found => {
                let asks_only = known.len() == 1
                    && (has("--version") || has("-V") || has("--help") || has("-v"));
                if asks_only {
                    return None;
                }
                if known
                    .iter()
                    .any(|text| text.starts_with('-') && is_code_option(found, text))
                {
                    return Some(CODE);
                }
                known
                    .iter()
                    .any(|text| !text.starts_with('-'))
                    .then_some(FILE)
            }
        };
    }
    match name {
        "sed" => {
            let dangerous = known.iter().any(|text| is_dangerous_sed(text)) || starts("-f");
            dangerous.then_some(CODE)
        }
        "vi" | "vim" | "nvim" | "view" | "ex" | "emacs" => {
            let plain = known
                .windows(2)
                .any(|pair| matches!(pair, ["-u" | "-U", "NONE" | "NORC" | "DEFAULTS"]));
            let runs = known.iter().any(|text| {
                text.starts_with('+') && text.contains('!')
                    || text.contains(":!")
                    || text.starts_with("!")
            }) || ["-c", "--cmd", "-S", "-s", "-u", "--eval", "-l", "--load"]
                .iter()
                .any(|it| has(it) && !(plain && *it == "-u"));
            runs.then_some(HOOK)
        }
        "tar" => {
            let runs = [
                "--checkpoint-action",
                "--to-command",
                "--use-compress-program",
                "--rsh-command",
                "--new-volume-script",
                "--info-script",
            ]
            .iter()
            .any(|option| known.iter().any(|text| is_abbreviation(text, option)))
                || has("-I")
                || has("-F");
            runs.then_some(HOOK)
        }
        "git" => {
            let runs = has("-c")
                || starts("--exec-path=")
                || starts("--upload-pack")
                || starts("--receive-pack")
                || has("-x")
                || has("--exec")
                || has("bisect") && has("run")
                || has("filter-branch")
                || has("-O")
                || starts("--open-files-in-pager");
            runs.then_some(HOOK)
        }
        "make" | "gmake" | "ninja" | "ant" | "rake" => {
            let asks = has("-n") || has("--version") || has("--help") || has("-v");
            (!asks).then_some("what a build file runs cannot be judged")
        }
        "ssh" | "scp" | "sftp" => known
            .iter()
            .any(|text| {
                text.to_ascii_lowercase().contains("proxycommand")
                    || text.to_ascii_lowercase().contains("localcommand")
            })
            .then_some(HOOK),
        "zip" => (starts("-TT") || starts("--unzip-command")).then_some(HOOK),
        "split" => starts("--filter").then_some(HOOK),
        "gcc" | "cc" | "clang" => has("-wrapper").then_some(HOOK),
        "less" | "more" | "man" => known
            .iter()
            .any(|text| text.starts_with("+!") || text.starts_with("-P"))
            .then_some(HOOK),
        "rsync" => (has("-e") || starts("--rsh")).then_some(HOOK),
        "socat" => known
            .iter()
            .any(|text| {
                let upper = text.to_ascii_uppercase();
                upper.contains("EXEC") || upper.contains("SYSTEM") || upper.contains("SHELL")
            })
            .then_some(HOOK),
        "run-parts" => Some("the programs in a folder cannot be judged"),
        "crontab" | "at" | "batch" => Some("what runs later cannot be judged"),
        "screen" | "tmux" => (known.len() > 1).then_some(HOOK),
        _ => None,
    }
}

/// Whether `text` is `option` or an abbreviation of it, with or without a value.
fn is_abbreviation(text: &str, option: &str) -> bool {
    let name = text.split('=').next().unwrap_or(text);
    name.len() > 4 && option.starts_with(name)
}

/// The `e` command and flag of GNU sed run programs; `w` writes files.
fn is_dangerous_sed(script: &str) -> bool {
    if script.starts_with("--") || script.starts_with('/') && !script.contains(['e', 'w']) {
        return false;
    }
    script.split([';', '\n', '{', '}']).any(|command| {
        let command = command.trim_start();
        let body = command.trim_start_matches(|c: char| c.is_ascii_digit() || "$,~+ ".contains(c));
        if body == "e" || body.starts_with("e ") || body.starts_with("w ") || body.starts_with("W ")
        {
            return true;
        }
        let mut characters = body.chars();
        if characters.next() != Some('s') {
            return false;
        }
        let Some(delimiter) = characters.next().filter(|c| !c.is_alphanumeric()) else {
            return false;
        };
        let flags = body.rsplit(delimiter).next().unwrap_or_default();
        body.matches(delimiter).count() >= 3 && flags.contains(['e', 'w'])
    })
}
