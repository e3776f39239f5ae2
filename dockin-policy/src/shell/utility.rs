//! What is known of single programs: shells, interpreters, and those that write files.

use super::{Dialect, expand::Value};

/// A program that reads what it is to do from standard input.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StdinProgram {
    /// A shell: each line can be judged.
    Shell(Dialect),
    /// Another interpreter, by its name: what it reads cannot be judged.
    Interpreter(String),
}

/// The last part of a path: `/bin/../bin//rm` is `rm`.
pub(crate) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

/// The dialect of the shell called `name`.
pub(super) fn shell(name: &str) -> Option<Dialect> {
    match name.trim_start_matches('-') {
        "sh" | "dash" | "posh" | "yash" => Some(Dialect::Sh),
        "bash" | "rbash" | "ksh" | "ksh93" | "mksh" | "lksh" => Some(Dialect::Bash),
        "ash" | "hush" => Some(Dialect::Busybox),
        "zsh" => Some(Dialect::Zsh),
        _ => None,
    }
}

/// Options of shells whose value is the next argument.
const SHELL_VALUE_OPTIONS: &[&str] = &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"];

/// What a shell is told to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ShellRuns<'a> {
    /// The text behind `-c`.
    Text(&'a Value),
    /// A file.
    File,
    /// What comes on standard input.
    Input,
    /// Only asked for its version.
    Nothing,
    /// An argument decides that is not known.
    Unknown,
}

/// Reads a shell's arguments.
pub(super) fn shell_runs(arguments: &[Value]) -> ShellRuns<'_> {
    let mut index = 0;
    let mut text = false;
    let mut input = false;
    while let Some(argument) = arguments.get(index) {
        let Some(option) = argument.known() else {
            return ShellRuns::Unknown;
        };
        if option == "--help" || option == "--version" {
            return ShellRuns::Nothing;
        }
        let dashes = option.starts_with('-') || option.starts_with('+');
        if option == "--" || option == "-" {
            index += 1;
            break;
        }
        if !dashes || option.len() < 2 {
            break;
        }
        if !option.starts_with("--") {
            text |= option.starts_with('-') && option.contains('c');
            input |= option.starts_with('-') && option.contains('s');
        }
        index += if SHELL_VALUE_OPTIONS.contains(&option) {
            2
        } else {
            1
        };
    }
    match arguments.get(index) {
        Some(value) if text => ShellRuns::Text(value),
        None if text => ShellRuns::Nothing,
        Some(_) if !input => ShellRuns::File,
        _ => ShellRuns::Input,
    }
}

const INTERPRETERS: &[&str] = &[
    "python", "perl", "ruby", "node", "nodejs", "php", "lua", "luajit", "tclsh", "expect", "irb",
    "psql", "mysql", "sqlite", "gdb", "ed", "ex", "bc", "dc", "R", "Rscript", "julia", "ghci",
    "scala", "groovy", "jshell", "erl", "iex", "guile", "racket", "m4", "awk", "gawk", "mawk",
];

/// The interpreter's name without its version, when `name` is one.
fn interpreter(name: &str) -> Option<&'static str> {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS
        .iter()
        .copied()
        .find(|known| *known == bare || *known == name)
}

/// What reads commands from standard input when `argv` is run: seen through no wrapper here.
pub(crate) fn stdin_program(argv: &[Value]) -> Option<StdinProgram> {
    let name = base_name(argv.first()?.known()?);
    let arguments = argv.get(1..).unwrap_or_default();
    if let Some(dialect) = shell(name) {
        return match shell_runs(arguments) {
            ShellRuns::Input | ShellRuns::Unknown => Some(StdinProgram::Shell(dialect)),
            _ => None,
        };
    }
    let found = interpreter(name)?;
    let reads_input = match found {
        "python" | "perl" | "ruby" | "node" | "nodejs" | "php" | "lua" | "luajit" | "tclsh" => {
            arguments.iter().all(|argument| {
                argument.known().is_some_and(|text| {
                    text == "-" || (text.starts_with('-') && !is_code_option(found, text))
                })
            })
        }
        "awk" | "gawk" | "mawk" | "m4" | "bc" | "dc" => false,
        _ => true,
    };
    reads_input.then(|| StdinProgram::Interpreter(name.to_owned()))
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
        || (!option.starts_with("--") && option.contains(|c: char| letters.contains(c)))
}

/// Why what the program does is not in its arguments; `None` when it is, or does no harm.
pub(super) fn hidden_code(name: &str, arguments: &[Value]) -> Option<&'static str> {
    const CODE: &str = "code for an interpreter cannot be judged";
    const FILE: &str = "a script that an interpreter runs cannot be judged";
    const HOOK: &str = "an option that runs a command cannot be judged";
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
            let runs = known.iter().any(|text| {
                text.starts_with('+') && text.contains('!')
                    || text.contains(":!")
                    || text.starts_with("!")
            }) || ["-c", "--cmd", "-S", "-s", "-u", "--eval", "-l", "--load"]
                .iter()
                .any(|it| has(it));
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

/// The files that a program writes, deletes or renames, from its arguments.
pub(super) fn written<'a>(name: &str, arguments: &'a [Value]) -> Vec<&'a Value> {
    let operands = || {
        arguments.iter().filter(|argument| {
            argument
                .known()
                .is_none_or(|text| !text.starts_with('-') || text == "-")
        })
    };
    match name {
        "tee" | "truncate" | "rm" | "rmdir" | "unlink" | "shred" | "sponge" | "mv" => {
            operands().collect()
        }
        "cp" | "install" | "ln" | "rsync" | "scp" => {
            // `-t DIR` names the place first.
            let named = arguments
                .iter()
                .position(|argument| matches!(argument.known(), Some("-t" | "--target-directory")))
                .and_then(|at| arguments.get(at + 1));
            named
                .or_else(|| operands().next_back())
                .into_iter()
                .collect()
        }
        "sed" | "perl" => {
            let in_place = arguments.iter().any(|argument| {
                argument.known().is_some_and(|text| {
                    text.starts_with("-i")
                        || text.starts_with("--in-place")
                        || (name == "perl" && text.starts_with("-") && text.contains('i'))
                })
            });
            if in_place {
                operands().skip(1).collect()
            } else {
                Vec::new()
            }
        }
        "curl" | "wget" => arguments
            .iter()
            .zip(arguments.iter().skip(1))
            .filter(|(option, _)| {
                matches!(
                    option.known(),
                    Some("-o" | "-O" | "--output" | "--output-document")
                )
            })
            .map(|(_, file)| file)
            .collect(),
        "find" => arguments
            .iter()
            .zip(arguments.iter().skip(1))
            .filter(|(option, _)| {
                matches!(
                    option.known(),
                    Some("-fprintf" | "-fprint" | "-fprint0" | "-fls")
                )
            })
            .map(|(_, file)| file)
            .collect(),
        _ => Vec::new(),
    }
}
