//! Programs with a language of their own: the commands that their code starts, as far as they are
//! written out, and whether there may be more.

mod client;
mod hook;
mod literal;
mod option;
mod printed;
mod runner;

use super::{
    option::long_value,
    redirect::Streams,
    run::{Certainty, Input, Runner},
    value::{Out, Value},
};
use crate::by_name::{ByName, rows};
use hook::{git_calls, hidden_code};
use literal::{Call, MAX_LITERALS, awk_calls, calls, escapes, literals};
pub(super) use printed::{awk_prints, prints};

const INTERPRETERS: &[&str] = &[
    "python",
    "pdb",
    "pydoc",
    "perl",
    "ruby",
    "node",
    "nodejs",
    "php",
    "lua",
    "luajit",
    "tclsh",
    "wish",
    "expect",
    "irb",
    "psql",
    "mysql",
    "mariadb",
    "sqlite",
    "gdb",
    "ed",
    "ex",
    "bc",
    "dc",
    "R",
    "Rscript",
    "julia",
    "ghci",
    "scala",
    "groovy",
    "jshell",
    "erl",
    "iex",
    "guile",
    "racket",
    "m4",
    "awk",
    "gawk",
    "mawk",
    "bun",
    "deno",
    "gnuplot",
    "octave",
    "mongo",
    "mongosh",
    "raku",
    "ocaml",
    "clisp",
    "sbcl",
    "elixir",
    "osascript",
    "pwsh",
    "fish",
    "csh",
    "tcsh",
    "nu",
    "xonsh",
    "elvish",
    "rc",
    "es",
    "osh",
    "ysh",
    "sash",
    "oil",
    "scsh",
    "ion",
    "lldb",
    "dotnet",
    "swift",
];

const CODE: &str = "code for an interpreter cannot be judged";
const FILE: &str = "a script that an interpreter runs cannot be judged";
const HOOK: &str = "an option that runs a command cannot be judged";

static INTERPRETERS_OF: ByName<&str> =
    ByName::new(|| rows(INTERPRETERS, |name| std::slice::from_ref(name)));

/// The interpreter's name without its version, when `name` is one.
fn interpreter(name: &str) -> Option<&'static str> {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || "-.".contains(c));
    let bare = match bare {
        "pypy" | "ipython" | "jython" | "micropython" | "bpython" => "python",
        "jruby" | "truffleruby" | "pry" => "ruby",
        "nawk" | "original-awk" | "bwk" => "awk",
        "octave-cli" => "octave",
        bare => bare,
    };
    let known = INTERPRETERS_OF.of(bare).first();
    known
        .or_else(|| INTERPRETERS_OF.of(name).first())
        .map(|known| **known)
}

/// Whether the program is vi or one of its kin.
fn is_vi(name: &str) -> bool {
    matches!(
        name,
        "vi" | "vim"
            | "nvim"
            | "view"
            | "ex"
            | "rvim"
            | "rview"
            | "vimdiff"
            | "nvimdiff"
            | "gvim"
            | "gview"
            | "gvimdiff"
            | "rgvim"
            | "evim"
            | "eview"
            | "vimx"
            | "elvis"
            | "nvi"
    )
}

/// Whether the program is a shell of another grammar than those that are read here.
fn is_foreign_shell(name: &str) -> bool {
    matches!(
        name,
        "fish"
            | "csh"
            | "tcsh"
            | "pwsh"
            | "nu"
            | "xonsh"
            | "elvish"
            | "rc"
            | "es"
            | "osh"
            | "ysh"
            | "sash"
            | "ion"
    )
}

/// Whether the program reads code on standard input.
pub(super) fn reads_code_from_stdin(name: &str, arguments: &[Value]) -> bool {
    if is_vi(name) && name != "ex" {
        return arguments.iter().filter_map(Value::known).any(|it| {
            it == "-s" || it.starts_with('-') && !it.starts_with("--") && it.contains('e')
        });
    }
    let Some(found) = interpreter(name) else {
        return client::reads_stdin(name) || name == "make" && arguments.windows(2).any(|pair| {
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
        shell if is_foreign_shell(shell) => {
            let mut known = arguments.iter().filter_map(Value::known);
            !known.any(|text| is_code_option(shell, text))
        }
        "awk" | "gawk" | "mawk" | "bc" | "dotnet" | "swift" => false,
        _ => true,
    }
}

fn is_code_option(interpreter: &str, option: &str) -> bool {
    if is_foreign_shell(interpreter) {
        // Alone or the last of a few letters: pwsh has words behind one dash.
        let is_cluster = option.len() <= MAX_CLUSTER && option.ends_with('c');
        return matches!(option, "--version" | "--help")
            || option.starts_with('-') && is_cluster && !option.starts_with("--")
            || option.starts_with("--command")
            || option.eq_ignore_ascii_case("-command");
    }
    let letters = match interpreter {
        "python" => "cmVh",
        "perl" | "ruby" => "eEnpvh",
        "node" | "nodejs" => "epvh",
        "php" => "rfvih",
        "gdb" | "lldb" => "exosp",
        _ => "e",
    };
    option == "--version"
        || option == "--help"
        || matches!(option, "--eval" | "--print" | "-eval")
        || option.starts_with("--eval=")
        || option.starts_with("--print=")
        || option.starts_with("--eval-command")
        || option.starts_with("--command")
        || option.starts_with("--one-line")
        || option.starts_with("--require")
        || option.starts_with("--import")
        || option.starts_with("--source")
        || (!option.starts_with("--") && option.contains(|c: char| letters.contains(c)))
}

/// The longest option of single letters whose last may be `c`: `-elc`.
const MAX_CLUSTER: usize = 4;

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
        let told = client::effects(name, arguments, &known, stdin.as_deref());
        started.extend(told.calls);
        if !told.writes.is_empty() {
            self.stand_alone(&mut Streams::writing(told.writes));
        }
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
                if started.is_empty() && !client::reads_stdin(name) {
                    self.unknown(CODE);
                } else if !started.is_empty() {
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
            | "Rscript" | "julia" | "bun" | "deno" | "gnuplot" | "octave" | "mongo" | "mongosh"
            | "raku" | "ocaml" | "elixir" => {
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
            // Their grammars are close enough to find a program's name.
            shell if is_foreign_shell(shell) => {
                for pair in known.windows(2) {
                    if let [option, text] = pair
                        && option.starts_with('-')
                        && option.to_ascii_lowercase().contains('c')
                    {
                        started.push(Call::Text("", (*text).to_owned()));
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
            "sqlite" | "psql" | "mysql" | "mariadb" | "gdb" | "lldb" | "bc" | "dc" => {
                for text in known.iter().filter(|_| bare != "sqlite") {
                    let text = text.strip_prefix("--eval-command=").unwrap_or(text);
                    started.extend(escapes(bare, text));
                }
            }
            name if is_vi(name) || name == "ed" => {
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
            "git" => {
                started.extend(git_calls(&known));
                self.git_config(&known);
            }
            "tar" | "bsdtar" | "gtar" => {
                for value in hook::tar_programs(arguments) {
                    match value.known() {
                        Some(text) => {
                            let text = text.strip_prefix("exec=").unwrap_or(text);
                            started.push(Call::Text("/bin/sh", text.to_owned()));
                        }
                        None => started.push(Call::Hidden(HOOK)),
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
                    let value = long_value(text, "--filter")
                        .map(|glued| glued.or_else(|| known.get(index + 1).copied()));
                    if let Some(Some(value)) = value {
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
                // Without a command a shell reads there.
                match (name, &stdin, &self.stdin) {
                    ("ssh", Some(text), _) => {
                        self.elsewhere(Call::Text("", text.clone()));
                    }
                    ("ssh", None, Input::Unknown(_)) => self.unknown(CODE),
                    _ => {}
                }
                for text in &known {
                    let lower = text.to_ascii_lowercase();
                    if let Some(at) = lower.find("remotecommand") {
                        let value = text.get(at + "remotecommand".len()..).unwrap_or_default();
                        let value = value.trim_start_matches(['=', ' ']).to_owned();
                        self.elsewhere(Call::Text("", value));
                    }
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
        let (by_options, is_hidden) = option::option_calls(name, arguments);
        if is_hidden {
            self.unknown(HOOK);
        }
        started.extend(by_options);
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

    /// `git config KEY VALUE`: settings that later calls run.
    fn git_config(&mut self, known: &[&str]) {
        let Some(at) = known.iter().position(|it| *it == "config") else {
            return;
        };
        let rest = known.get(at + 1..).unwrap_or_default();
        let mut operands = rest
            .iter()
            .filter(|it| !it.starts_with('-') && !matches!(**it, "set" | "add"));
        let (Some(key), Some(value)) = (operands.next(), operands.next()) else {
            return;
        };
        let setting = format!("{key}={value}");
        for call in git_calls(&["-c", &setting]) {
            self.elsewhere(call);
        }
        let key = key.to_ascii_lowercase();
        if [
            "core.hookspath",
            "include.path",
            "includeif.",
            "core.worktree",
        ]
        .iter()
        .any(|name| key.starts_with(name))
        {
            self.unknown(HOOK);
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
            shell if is_foreign_shell(shell) => vec![Call::Text("", text.to_owned())],
            other => calls(other, text),
        }
    }

    /// What runs in another place: judged, and no program of this one.
    fn elsewhere(&mut self, call: Call) {
        let stdin = self.stdin.clone();
        let heeds = self.heeds_unknowns || self.certainty < Certainty::Latent;
        let before = std::mem::replace(&mut self.heeds_unknowns, heeds);
        self.dead(|runner| runner.started(call));
        self.heeds_unknowns = before;
        self.stdin = stdin;
    }

    /// What a program runs by a verb, by an operand, or in another place.
    pub(super) fn runs_by_table(&mut self, name: &str, arguments: &[Value]) {
        for (is_elsewhere, call) in runner::runs(name, arguments).into_iter().take(MAX_LITERALS) {
            match call {
                Call::Hidden(what) => self.unknown(what),
                call if is_elsewhere => self.elsewhere(call),
                call => self.started(call),
            }
        }
    }

    fn started(&mut self, call: Call) {
        match call {
            Call::Hidden(what) => self.unknown(what),
            Call::Values(words) => {
                let _out = self.below(|runner| runner.inner(words));
            }
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
