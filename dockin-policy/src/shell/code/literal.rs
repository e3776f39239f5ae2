//! Texts and calls in the code of interpreters.

use crate::shell::{utility, value::Value};

/// A command in code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Call {
    /// A text for a shell called so.
    Text(&'static str, String),
    Argv(Vec<String>),
    /// The same, where not all of it is known.
    Values(Vec<Value>),
    /// Something that cannot be known.
    Hidden(&'static str),
}

/// A text in quotes and where it stands.
pub(super) struct Literal {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quote: char,
}

/// Texts of code that are looked at.
pub(super) const MAX_LITERALS: usize = 64;

pub(super) fn literals(code: &str) -> Vec<Literal> {
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
pub(super) fn calls(interpreter: &str, code: &str) -> Vec<Call> {
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
pub(super) fn awk_calls(code: &str) -> Vec<Call> {
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
pub(super) fn escapes(name: &str, text: &str) -> Vec<Call> {
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
                .or_else(|| line.strip_prefix("platform shell "))
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
