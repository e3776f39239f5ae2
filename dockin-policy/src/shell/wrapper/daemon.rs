//! `start-stop-daemon`: as dpkg, busybox and OpenRC have it.

use super::Inner;
use crate::shell::value::Value;

/// Options of which each is a letter, a word, and whether it has a value.
const OPTIONS: &[(char, &str, bool)] = &[
    ('S', "--start", false),
    ('K', "--stop", false),
    ('T', "--status", false),
    ('H', "--help", false),
    ('V', "--version", false),
    ('a', "--startas", true),
    ('x', "--exec", true),
    ('d', "--chdir", true),
    ('p', "--pidfile", true),
    ('\0', "--pid", true),
    ('\0', "--ppid", true),
    ('n', "--name", true),
    ('u', "--user", true),
    ('g', "--group", true),
    ('c', "--chuid", true),
    ('s', "--signal", true),
    ('r', "--chroot", true),
    ('N', "--nicelevel", true),
    ('P', "--procsched", true),
    ('I', "--iosched", true),
    ('k', "--umask", true),
    ('O', "--output", true),
    ('R', "--retry", true),
    ('\0', "--notify-timeout", true),
    ('1', "--stdout", true),
    ('2', "--stderr", true),
    ('3', "--stdout-logger", true),
    ('4', "--stderr-logger", true),
    ('e', "--env", true),
    ('w', "--wait", true),
    ('D', "--directory", true),
];

/// What its arguments tell it.
#[derive(Debug, Default)]
struct Told {
    /// Programs: to be started as, and to be started.
    started_as: Option<Value>,
    program: Option<Value>,
    directory: Option<Value>,
    operands: Vec<Value>,
    /// It stops or asks, and starts nothing.
    is_quiet: bool,
}

fn told(arguments: &[Value]) -> Told {
    let mut told = Told::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = match argument.known() {
            Some("--") => {
                told.operands.extend(rest.cloned());
                break;
            }
            Some(text) if text.len() > 1 && text.starts_with('-') => text,
            _ => {
                told.operands.push(argument.clone());
                continue;
            }
        };
        if text.starts_with("--") {
            let (name, glued) = match text.split_once('=') {
                Some((name, glued)) => (name, Some(glued)),
                None => (text, None),
            };
            let option = OPTIONS
                .iter()
                .find(|(_, long, _)| *long == name)
                // The longer of two that begin so is the one that starts something.
                .or_else(|| OPTIONS.iter().rfind(|(_, long, _)| long.starts_with(name)));
            let Some((_, long, has_value)) = option else {
                continue;
            };
            let value = match glued {
                Some(glued) => Some(Value::Known(glued.to_owned())),
                None if *has_value => rest.next().cloned(),
                None => None,
            };
            told.hear(long, value);
            continue;
        }
        let mut letters = text.char_indices().skip(1);
        for (at, letter) in letters.by_ref() {
            let Some((_, long, has_value)) = OPTIONS.iter().find(|(short, ..)| *short == letter)
            else {
                continue;
            };
            if !has_value {
                told.hear(long, None);
                continue;
            }
            let glued = text.get(at + letter.len_utf8()..).unwrap_or_default();
            let value = if glued.is_empty() {
                rest.next().cloned()
            } else {
                Some(Value::Known(glued.to_owned()))
            };
            told.hear(long, value);
            break;
        }
    }
    told
}

impl Told {
    fn hear(&mut self, option: &str, value: Option<Value>) {
        match option {
            "--startas" => self.started_as = value,
            "--exec" => self.program = value,
            "--chdir" | "--directory" => self.directory = value,
            "--stop" | "--status" | "--help" | "--version" => self.is_quiet = true,
            _ => {}
        }
    }
}

/// The program that it starts, and its arguments.
pub(super) fn daemon(arguments: &[Value]) -> Inner {
    let told = told(arguments);
    if told.is_quiet {
        return Inner::None;
    }
    let program = told.started_as.or(told.program);
    let inner: Vec<Value> = program.into_iter().chain(told.operands).collect();
    if inner.is_empty() {
        return Inner::None;
    }
    Inner::Argv(inner)
}

/// The program that it finds by `--exec` while it starts another, which busybox takes the other
/// way round.
pub(super) fn other_program(arguments: &[Value]) -> Option<Vec<Value>> {
    let told = told(arguments);
    let program = told.program.filter(|_| told.started_as.is_some())?;
    Some(std::iter::once(program).chain(told.operands).collect())
}

/// Where it goes first: a folder that it is told, or one that depends on whose it is.
pub(in crate::shell) fn daemon_folder(arguments: &[Value]) -> Option<String> {
    told(arguments).directory?.known().map(str::to_owned)
}
