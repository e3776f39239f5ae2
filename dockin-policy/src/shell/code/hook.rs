//! Programs that options of other programs run.

use super::{CODE, Call, FILE, HOOK, interpreter, is_code_option};
use crate::shell::{utility, value::Value};

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
            "-c" | "--config-env" => known.get(index + 1).copied(),
            text => text.strip_prefix("-c").filter(|rest| rest.contains('=')),
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
            // What stands behind it is the command's.
            break;
        }
    }
    found
}

/// What is run in another container: judged as if it ran here.
pub(super) fn container_calls(name: &str, known: &[&str]) -> Vec<Call> {
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
        "--exec-id",
        "--cwd",
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
                            || text.contains('>')
                                && text.contains("print")
                                && text.contains(['"', '$'])
                                && awk_writes(text)
                    })
                    || !all_known && !awk_program_is_known(arguments);
                dangerous.then_some(CODE)
            }
            "m4" => (!(known.is_empty() || has("--version") || has("--help"))).then_some(FILE),
            "bc" | "dc" => known.iter().any(|text| text.contains('!')).then_some(CODE),
            "psql" | "mysql" | "sqlite" => {
                let escapes = [".shell", ".system", "\\!", "system "];
                let runs = |text: &&str| escapes.iter().any(|escape| text.contains(escape));
                known.iter().any(runs).then_some(CODE)
            }
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
            let dangerous = known.iter().any(|text| {
                let effects = utility::sed_effects(text);
                is_dangerous_sed(text)
                    || text.contains([' ', '/']) && (effects.runs || !effects.writes.is_empty())
            }) || starts("-f");
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
                || starts("--config-env")
                || starts("--template")
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
        "run-parts" | "runsv" | "runsvdir" | "crond" | "inetd" | "anacron" | "logrotate" => {
            Some("the programs in a folder cannot be judged")
        }
        "crontab" | "at" | "batch" => Some("what runs later cannot be judged"),
        "screen" | "tmux" => (known.len() > 1).then_some(HOOK),
        _ => None,
    }
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

/// Whether `text` is `option` or an abbreviation of it, with or without a value.
pub(super) fn is_abbreviation(text: &str, option: &str) -> bool {
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
