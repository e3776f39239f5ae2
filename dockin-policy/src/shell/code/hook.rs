//! Programs that options of other programs run.

use super::{CODE, Call, FILE, HOOK, interpreter, is_code_option, is_vi};
use crate::shell::{
    option::{is_long, long_value},
    utility,
    value::Value,
};

/// Aliases, hooks and pagers that git is told on its command line.
pub(super) fn git_calls(known: &[&str]) -> Vec<Call> {
    let mut found = Vec::new();
    for (index, text) in known.iter().enumerate() {
        if *text == "-u"
            && known.contains(&"clone")
            && let Some(value) = known.get(index + 1)
        {
            found.push(Call::Text("/bin/sh", (*value).to_owned()));
        }
        let setting = match *text {
            "-c" | "--config-env" | "--config" => known.get(index + 1).copied(),
            text => text
                .strip_prefix("--config=")
                .or_else(|| text.strip_prefix("-c"))
                .filter(|rest| rest.contains('=')),
        };
        if let Some((key, value)) = setting.and_then(|setting| setting.split_once('=')) {
            let key = key.to_ascii_lowercase();
            if key.starts_with("alias.") {
                if let Some(command) = value.strip_prefix('!') {
                    found.push(Call::Text("/bin/sh", command.to_owned()));
                }
            } else if key.ends_with(".cmd")
                || key.ends_with(".clean")
                || key.ends_with(".smudge")
                || key.ends_with(".process")
                || key.ends_with(".textconv")
                || key.ends_with(".driver")
                || key.ends_with(".command")
                || key.ends_with(".program")
                || [
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
        let options = [
            "--exec",
            "--extcmd",
            "--tree-filter",
            "--index-filter",
            "--msg-filter",
            "--env-filter",
            "--upload-pack",
            "--receive-pack",
        ];
        let glued = match *text {
            "-x" => Some(None),
            text => options.iter().find_map(|option| long_value(text, option)),
        };
        if let Some(glued) = glued
            && let Some(value) = glued.or_else(|| known.get(index + 1).copied())
        {
            found.push(Call::Text("/bin/sh", value.to_owned()));
        }
        if let Some(value) = text.strip_prefix("-x").filter(|value| !value.is_empty()) {
            found.push(Call::Text("/bin/sh", value.to_owned()));
        }
        // `% ` is a space there.
        if let Some(command) = text.strip_prefix("ext::") {
            found.push(Call::Text("sh", command.replace("% ", " ")));
        }
        if *text == "for-each-repo" {
            let rest = known.get(index + 1..).unwrap_or_default().iter();
            let rest = rest.skip_while(|it| it.starts_with('-'));
            let words = std::iter::once("git").chain(rest.copied());
            found.push(Call::Argv(words.map(str::to_owned).collect()));
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
            // What stands behind it is the command's.
            break;
        }
    }
    found
}

/// The programs that tar is told to run.
pub(super) fn tar_programs(arguments: &[Value]) -> Vec<Value> {
    [
        ('I', "--use-compress-program"),
        ('F', "--info-script"),
        ('F', "--new-volume-script"),
        ('\0', "--checkpoint-action"),
        ('\0', "--to-command"),
        ('\0', "--rsh-command"),
        ('\0', "--rmt-command"),
    ]
    .iter()
    .flat_map(|(letter, long)| utility::tar_values(arguments, *letter, long))
    .collect()
}

/// Why what the program does is not in its arguments; `None` when it is, or does no harm.
pub(super) fn hidden_code(name: &str, arguments: &[Value]) -> Option<&'static str> {
    let known: Vec<&str> = arguments.iter().filter_map(Value::known).collect();
    let all_known = known.len() == arguments.len();
    let has = |option: &str| known.contains(&option);
    let starts = |option: &str| known.iter().any(|text| text.starts_with(option));
    if let Some(found) = interpreter(name) {
        return match found {
            "awk" | "gawk" | "mawk" => {
                let dangerous = starts("-f")
                    || starts("--file")
                    || starts("-l")
                    || starts("--load")
                    || starts("-i")
                    || starts("--include")
                    || starts("-E")
                    || starts("--exec")
                    || known.iter().any(|text| {
                        ["system", "|", "getline", "@load", "@include"]
                            .iter()
                            .any(|it| text.contains(it))
                            || text.contains('>') && text.contains("print") && awk_writes(text)
                    })
                    || known.iter().any(|text| {
                        // mawk: `-W exec FILE`.
                        text.strip_prefix("-W")
                            .is_some_and(|word| word.is_empty() || word.starts_with('e'))
                    })
                    || !all_known && !awk_program_is_known(arguments);
                dangerous.then_some(CODE)
            }
            // It takes quotes away from what a shell gets, and puts others there.
            "sqlite"
                if known.iter().any(|text| {
                    (text.contains(".sh") || text.contains(".sys"))
                        && text.contains(['$', '`', '\\'])
                }) =>
            {
                Some(CODE)
            }
            "m4" => (!(known.is_empty() || has("--version") || has("--help"))).then_some(FILE),
            "dc" if utility::operands("dc", arguments)
                .iter()
                .any(|it| it.known() != Some("-"))
                || has("-f") =>
            {
                Some(FILE)
            }
            "bc" | "dc" => known.iter().any(|text| text.contains('!')).then_some(CODE),
            "psql" | "mysql" | "mariadb" | "sqlite" => {
                let runs = |text: &&str| ["\\!", "system "].iter().any(|it| text.contains(it));
                known.iter().any(runs).then_some(CODE)
            }
            // What is no code is where a database is.
            "mongo" | "mongosh" => {
                let runs = |text: &&str| {
                    text.ends_with("js") && !text.starts_with('-')
                        || text.starts_with('-') && is_code_option(found, text) && text.len() > 2
                        || matches!(*text, "-f" | "--file")
                };
                known.iter().any(runs).then_some(CODE)
            }
            found => {
                let asks_only = known.len() == 1
                    && (has("--version")
                        || has("-V")
                        || has("--help")
                        || has("-v")
                        || has("-version"));
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
            let dangerous = known.iter().any(|text| {
                let effects = utility::sed_effects(text);
                is_dangerous_sed(text)
                    || text.contains([' ', '/']) && (effects.runs || !effects.writes.is_empty())
            }) || known.iter().any(|text| {
                is_long(text, "--file")
                    || text.strip_prefix('-').is_some_and(|letters| {
                        // `-nf FILE`
                        let plain = letters.trim_start_matches(['n', 'r', 'E', 's', 'u', 'z']);
                        plain.starts_with('f')
                    })
            });
            (dangerous || utility::sed_may_run(arguments)).then_some(CODE)
        }
        name if is_vi(name) || matches!(name, "emacs" | "emacsclient" | "xemacs") => {
            let plain = known
                .windows(2)
                .any(|pair| matches!(pair, ["-u" | "-U", "NONE" | "NORC" | "DEFAULTS"]));
            let runs = known.iter().any(|text| {
                text.starts_with('+') && !is_place(text)
                    || text.contains(":!")
                    || text.starts_with("!")
                    // Of emacs, whose long options are abbreviated and have one dash or two.
                    || name.contains("emacs")
                        && ["--eval", "--execute", "--load", "--script", "--funcall"].iter().any(|it| {
                            is_long(text, it) || is_long(&format!("-{text}"), it) && text.len() > 2
                        })
                    || name.contains("emacs") && matches!(*text, "-f" | "-e" | "-x")
                    // Vim takes a command glued to its option.
                    || name != "emacs" && text.starts_with("-c") && text.len() > 2
            }) || ["-c", "--cmd", "-S", "-s", "-u", "--eval", "-l", "--load"]
                .iter()
                .any(|it| has(it) && !(plain && *it == "-u"));
            runs.then_some(HOOK)
        }
        "tar" | "bsdtar" | "gtar" => {
            // Options may stand in a file of names.
            let names = utility::tar_values(arguments, 'T', "--files-from");
            let reads = name != "bsdtar"
                && names.iter().any(|it| it.known() != Some("-"))
                && !has("--null")
                && !known.iter().any(|it| is_long(it, "--verbatim-files-from"));
            (reads || !tar_programs(arguments).is_empty()).then_some(HOOK)
        }
        "git" => {
            let runs = has("-c")
                || has("clone") && known.iter().any(|it| is_long(it, "--config"))
                || has("remote-ext")
                || starts("ext::")
                || starts("--exec-path=")
                || starts("--upload-pack")
                || starts("--receive-pack")
                || has("-x")
                || has("--exec")
                || starts("--config-env")
                || has("config")
                    && known
                        .windows(2)
                        .any(|it| matches!(it, [key, _] if key.starts_with("alias.")))
                || starts("--template")
                || has("bisect") && has("run")
                || has("filter-branch")
                || has("-O")
                || starts("--open-files-in-pager");
            runs.then_some(HOOK)
        }
        "make" | "gmake" | "ninja" | "ant" | "rake" => {
            // `-n` runs what a build file calculates by a shell all the same.
            let asks = has("--version") || has("--help") || has("-v");
            (!asks).then_some("what a build file runs cannot be judged")
        }
        "ssh" | "scp" | "sftp" => {
            let config = utility::values_of(arguments, &["-F"]);
            let told = config
                .iter()
                .any(|it| !matches!(it.known(), Some("none" | "/dev/null")));
            let runs = known.iter().any(|text| {
                let lower = text.to_ascii_lowercase();
                ["proxycommand", "localcommand", "xauthlocation", "provider"]
                    .iter()
                    .any(|it| lower.contains(it))
                    && !lower.ends_with("none")
            });
            (told || runs).then_some(HOOK)
        }
        "nmap" => {
            let scripts = utility::values_of(arguments, &["--script"]);
            let is_named = |it: &Value| {
                it.known().is_some_and(|text| {
                    text.bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_,* ".contains(&byte))
                })
            };
            let told = !scripts.iter().all(is_named) || has("--interactive") || starts("--datadir");
            told.then_some(HOOK)
        }
        "zip" => (starts("-TT") || starts("--unzip-command")).then_some(HOOK),
        "split" => known
            .iter()
            .any(|it| is_long(it, "--filter"))
            .then_some(HOOK),
        "gcc" | "cc" | "clang" | "g++" | "clang++" | "c++" => {
            // `-B`: where it looks for the programs that it is made of.
            let loads = ["-fplugin=", "-specs", "--specs", "-B", "--prefix"]
                .iter()
                .any(|it| starts(it));
            (has("-wrapper") || loads).then_some(HOOK)
        }
        "less" | "more" | "man" => known
            .iter()
            .any(|text| {
                let moves = text.starts_with("+/") || text.starts_with("+?");
                text.starts_with('+') && !moves && text.contains(['!', '|'])
                    || text.starts_with("-P") && name == "man"
                    || name != "man" && (*text == "-k" || is_long(text, "--lesskey-file"))
                    || ["--lesskey-src", "--lesskey-content"]
                        .iter()
                        .any(|it| text.starts_with(it))
            })
            .then_some(HOOK),
        "ar" | "nm" | "ranlib" | "ld" | "gcc-ar" => known
            .iter()
            .any(|text| is_long(text, "--plugin") || text.starts_with("-plugin"))
            .then_some(HOOK),
        "go" | "cargo" => {
            let verbs: &[&str] = if name == "go" {
                &["run", "generate"]
            } else {
                &["run"]
            };
            let verb = known.iter().find(|text| !text.starts_with(['-', '+']));
            let runs = verb.is_some_and(|verb| verbs.contains(verb))
                || starts("-toolexec")
                || starts("-vettool");
            runs.then_some("what a build file runs cannot be judged")
        }
        "rsync" => (has("-e") || starts("--rsh")).then_some(HOOK),
        "socat" => known
            .iter()
            .any(|text| {
                let upper = text.to_ascii_uppercase();
                upper.contains("EXEC") || upper.contains("SYSTEM") || upper.contains("SHELL")
            })
            .then_some(HOOK),
        "run-parts" | "runsv" | "runsvdir" | "crond" | "inetd" | "anacron" | "logrotate" => {
            Some("the programs in a folder cannot be judged")
        }
        "crontab" | "at" | "batch" => Some("what runs later cannot be judged"),
        "screen" | "tmux" | "byobu" => (known.len() > 1).then_some(HOOK),
        _ => None,
    }
}

/// Whether what stands behind a `+` is a line or what is sought, and no command of vi.
fn is_place(text: &str) -> bool {
    let place = text.trim_start_matches('+');
    place.is_empty()
        || place.starts_with(['/', '?'])
        || matches!(place, "$" | "G" | "set" | "startinsert" | "star")
        || place
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b",:".contains(&byte))
}

/// Whether awk's program stands among its arguments, so that those behind it are files.
fn awk_program_is_known(arguments: &[Value]) -> bool {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument {
            Value::Known(text) if matches!(text.as_str(), "-F" | "-v") => {
                if !matches!(rest.next(), Some(Value::Known(_))) {
                    return false;
                }
            }
            Value::Known(text) if text.starts_with("-F") || text.starts_with("-v") => {}
            Value::Known(text) => return !text.starts_with('-'),
            Value::Pattern(_) | Value::Unknown { .. } => return false,
        }
    }
    false
}

/// Whether an awk program writes a file: a `>` behind a `print`, outside of strings and patterns.
fn awk_writes(text: &str) -> bool {
    let mut printing = false;
    let mut quoted = false;
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if quoted {
            if c == '\\' {
                rest = rest.get(1..).unwrap_or_default();
                rest = rest
                    .get(rest.chars().next().map_or(0, char::len_utf8)..)
                    .unwrap_or_default();
                continue;
            }
            quoted = c != '"';
        } else {
            match c {
                '"' => quoted = true,
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ';' | '}' | '\n' => printing = false,
                '>' if printing && depth == 0 => return true,
                'p' if rest.starts_with("print") => {
                    printing = true;
                    depth = 0;
                }
                _ => {}
            }
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    false
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
