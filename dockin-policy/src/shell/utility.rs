//! What is known of single programs: shells, those that write files, and those whose output
//! follows from their input.

mod files;
mod filter;
mod git;
mod print;
mod sed_script;
mod tar;
mod writers;

use super::{Dialect, Value, code};
pub(super) use files::{operands, read_by, values_of, written};
use filter::{
    cut, decode, each_line, encode_base64, expression, first_lines, last_lines, sed, sequence,
    translate, unhex,
};
pub(super) use git::git_written;
use print::unescaped;
pub(super) use print::{echo, printf};
pub(super) use sed_script::{effects as sed_effects, may_run as sed_may_run};
pub(super) use tar::tar_values;
pub(super) use writers::altered;

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
        "zsh" | "rzsh" => Some(Dialect::Zsh),
        _ => None,
    }
}

/// Options of shells whose value is the next argument.
const SHELL_VALUE_OPTIONS: &[&str] = &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"];

/// What a shell is told to do, and with which arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ShellRuns<'a> {
    /// The text behind `-c`.
    Text(&'a Value, &'a [Value]),
    /// A file.
    File(&'a Value, &'a [Value]),
    /// What comes on standard input.
    Input(&'a [Value]),
    /// Only asked for its version.
    Nothing,
    /// An argument decides that is not known.
    Unknown,
}

/// Long options that bash takes with one dash as well.
const ONE_DASH: &[&str] = &[
    "rcfile",
    "init-file",
    "noprofile",
    "norc",
    "login",
    "posix",
    "noediting",
    "restricted",
    "verbose",
];

/// Reads a shell's arguments.
pub(super) fn shell_options(arguments: &[Value]) -> ShellRuns<'_> {
    let mut rest = arguments;
    let mut text = false;
    let mut input = false;
    while let Some((argument, behind)) = rest.split_first() {
        let Some(option) = argument.known() else {
            if text {
                break;
            }
            return ShellRuns::Unknown;
        };
        if option == "--help" || option == "--version" {
            return ShellRuns::Nothing;
        }
        let dashes = option.starts_with('-') || option.starts_with('+');
        if option == "--" || option == "-" {
            rest = behind;
            break;
        }
        if !dashes || option.len() < 2 {
            break;
        }
        rest = behind;
        let bare = option.trim_start_matches('-');
        if !option.starts_with("--") && bare.len() > 2 && ONE_DASH.contains(&bare) {
            if matches!(bare, "rcfile" | "init-file") {
                return ShellRuns::Unknown;
            }
            continue;
        }
        if option.starts_with("--") {
            if SHELL_VALUE_OPTIONS.contains(&option) {
                rest = rest.get(1..).unwrap_or_default();
            }
            continue;
        }
        if option.starts_with('-') {
            text |= option.contains('c');
            input |= option.contains('s');
        }
        let named = option.matches(['o', 'O']).count();
        if named > 0 && (named > 1 || !option.ends_with(['o', 'O'])) {
            // How many arguments it takes, or what is glued on, depends on the shell.
            return ShellRuns::Unknown;
        }
        rest = rest.get(named..).unwrap_or_default();
    }
    match rest.split_first() {
        Some((value, more)) if text => ShellRuns::Text(value, more),
        None if text => ShellRuns::Nothing,
        Some((value, more)) if !input => ShellRuns::File(value, more),
        _ => ShellRuns::Input(rest),
    }
}

/// What reads commands from standard input when `argv` is run: seen through no wrapper here.
pub(crate) fn stdin_program(argv: &[Value]) -> Option<StdinProgram> {
    let name = base_name(argv.first()?.known()?);
    let arguments = argv.get(1..).unwrap_or_default();
    if let Some(dialect) = shell(name) {
        return match shell_options(arguments) {
            ShellRuns::Input(_) | ShellRuns::Unknown => Some(StdinProgram::Shell(dialect)),
            _ => None,
        };
    }
    code::reads_code_from_stdin(name, arguments).then(|| StdinProgram::Interpreter(name.to_owned()))
}

/// Whether what a program prints comes from elsewhere.
pub(super) fn downloads(name: &str) -> bool {
    matches!(
        name,
        "curl"
            | "wget"
            | "fetch"
            | "aria2c"
            | "lynx"
            | "w3m"
            | "links"
            | "http"
            | "https"
            | "xh"
            | "nc"
            | "ncat"
            | "netcat"
            | "ftp"
            | "tftp"
            | "GET"
            | "lwp-download"
    )
}

/// Whether what the program prints is a name, a number or a time: no path that leads out of the
/// folder that stands in front of it.
pub(super) fn prints_a_name(name: &str, words: &[&str]) -> bool {
    match name {
        "date" => words.iter().all(|word| {
            matches!(*word, "-u" | "--utc" | "-I" | "-R" | "-Iseconds")
                || word.starts_with('+') && !word.contains("..")
        }),
        "hostname" | "uname" | "whoami" | "nproc" | "arch" | "uuidgen" => {
            words.iter().all(|word| word.starts_with('-'))
        }
        "id" => matches!(words, ["-u" | "-g" | "-un" | "-gn" | "-nu" | "-ng"]),
        _ => false,
    }
}

/// Programs that print their input in another form.
pub(super) fn is_filter(name: &str) -> bool {
    matches!(
        name,
        "cat"
            | "tac"
            | "rev"
            | "tr"
            | "cut"
            | "sed"
            | "head"
            | "tail"
            | "base64"
            | "base32"
            | "xxd"
            | "gzip"
            | "gunzip"
            | "zcat"
            | "sort"
            | "uniq"
            | "tee"
            | "grep"
            | "awk"
            | "openssl"
            | "nl"
            | "fold"
            | "paste"
            | "bzip2"
            | "xz"
            | "bunzip2"
            | "unxz"
            | "zstd"
            | "gpg"
            | "perl"
            | "python3"
            | "jq"
            | "pv"
            | "iconv"
            | "dd"
            | "uudecode"
            | "od"
            | "hexdump"
    )
}

/// What a program prints, when that follows from its arguments and input.
pub(super) fn emulate(name: &str, words: &[&str], stdin: Option<&str>) -> Option<String> {
    match name {
        "echo" => return Some(echo(words, false)),
        "printf" => return printf(words),
        "basename" => {
            return match words {
                [path] => Some(format!("{}\n", base_name(path))),
                [path, suffix] if !path.starts_with('-') => {
                    let name = base_name(path);
                    Some(format!("{}\n", name.strip_suffix(suffix).unwrap_or(name)))
                }
                _ => None,
            };
        }
        "dirname" => {
            return match words {
                [path] => Some(match path.trim_end_matches('/').rsplit_once('/') {
                    Some(("", _)) => "/\n".to_owned(),
                    Some((folder, _)) => format!("{folder}\n"),
                    None => ".\n".to_owned(),
                }),
                _ => None,
            };
        }
        "seq" => return sequence(words),
        "expr" => return expression(words),
        "true" | "false" | "sleep" | "mkdir" | "touch" | "chmod" | "rm" => {
            return Some(String::new());
        }
        "awk" | "gawk" | "mawk"
            if stdin.is_none() || words.first().is_some_and(|it| it.starts_with("BEGIN")) =>
        {
            return code::awk_prints(words);
        }
        "python" | "python3" | "perl" if stdin.is_none() || !words.is_empty() => {
            return code::prints(name, words);
        }
        _ => {}
    }
    let text = stdin?;
    match (name, words) {
        ("cat", [] | ["-"]) => Some(text.to_owned()),
        ("tac", []) => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.reverse();
            Some(lines.iter().map(|line| format!("{line}\n")).collect())
        }
        ("rev", []) => Some(each_line(text, |line| line.chars().rev().collect())),
        ("sort", []) => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            Some(lines.iter().map(|line| format!("{line}\n")).collect())
        }
        ("openssl", words)
            if words.iter().any(|word| {
                !matches!(*word, "base64" | "enc" | "-d" | "-base64" | "-a" | "-A")
            }) =>
        {
            None
        }
        ("base64", ["-d" | "--decode" | "-di" | "-D"]) | ("openssl", ["base64" | "enc", ..]) => {
            let decodes = name == "base64" || words.contains(&"-d");
            let encodes_as_base64 =
                name == "base64" || words.contains(&"base64") || words.contains(&"-base64");
            (decodes && encodes_as_base64)
                .then(|| decode(text, 64))
                .flatten()
        }
        ("base32", ["-d" | "--decode"]) => decode(text, 32),
        ("base64", [] | ["-w0"] | ["-w", _]) => {
            Some(format!("{}\n", encode_base64(text.as_bytes())))
        }
        ("xxd", options) => {
            let plain = options
                .iter()
                .any(|it| matches!(*it, "-p" | "-ps" | "-plain" | "-rp" | "-pr"));
            let reverses = options
                .iter()
                .any(|it| matches!(*it, "-r" | "-rp" | "-pr" | "-revert"));
            let only_options = options.iter().all(|it| it.len() > 1 && it.starts_with('-'));
            if plain && reverses && only_options {
                unhex(text)
            } else {
                None
            }
        }
        ("gzip", ["-d" | "-dc" | "-cd", ..]) | ("gunzip" | "zcat", _) => None,
        ("tr", _) => translate(words, text),
        ("cut", _) => cut(words, text),
        ("head", _) => first_lines(words, text),
        ("tail", _) => last_lines(words, text),
        ("sed", _) => sed(words, text),
        _ => None,
    }
}

fn number(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    if let Some(c) = text.strip_prefix(['\'', '"']) {
        return c.chars().next().map(|c| i64::from(u32::from(c)));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if text.len() > 1 && text.starts_with('0') {
        return i64::from_str_radix(text, 8).ok();
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{decode, echo, emulate, printf};

    #[test]
    fn texts_are_printed_as_the_programs_print_them() {
        assert_eq!(echo(&["-e", "a\\x41\\n"], false), "aA\n\n");
        assert_eq!(echo(&["-n", "a", "b"], false), "a b");
        assert_eq!(
            printf(&["%s %s\\n", "a", "b", "c", "d"]).as_deref(),
            Some("a b\nc d\n")
        );
        assert_eq!(printf(&["\\%o", "114"]).as_deref(), Some("\\162"));
        assert_eq!(printf(&["\\162\\155"]).as_deref(), Some("rm"));
        assert_eq!(decode("cm0K", 64).as_deref(), Some("rm\n"));
    }

    #[test]
    fn filters_give_what_they_give() {
        for (name, words, input, output) in [
            ("rev", &[][..], "mr\n", "rm\n"),
            ("tr", &["a-z", "b-za"], "ql\n", "rm\n"),
            ("tr", &["-d", "x"], "xrxm\n", "rm\n"),
            ("cut", &["-d,", "-f2"], "a,rm,b\n", "rm\n"),
            ("cut", &["-c", "1-2"], "rmx\n", "rm\n"),
            ("sed", &["s/x/r/"], "xm\n", "rm\n"),
            ("xxd", &["-r", "-p"], "726d\n", "rm"),
            ("base32", &["-d"], "OJWQ====\n", "rm"),
            ("head", &["-n1"], "rm\nls\n", "rm\n"),
            ("tail", &["-1"], "ls\nrm\n", "rm\n"),
        ] {
            assert_eq!(
                emulate(name, words, Some(input)).as_deref(),
                Some(output),
                "{name}"
            );
        }
    }
}
