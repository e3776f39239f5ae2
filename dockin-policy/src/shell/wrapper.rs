//! Programs that run the program in their arguments: one table, each with its option grammar.

mod daemon;
mod table;
mod xargs;

use super::{
    option::is_long,
    run::Input,
    utility::values_of,
    value::{OUTPUT, Value},
};
use crate::by_name::{ByName, rows};
pub(super) use daemon::daemon_folder;
use daemon::{daemon, other_program};
use table::{Given, WRAPPERS, Wrapper};
use xargs::xargs;

/// What a wrapper runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Inner {
    /// No wrapper, or one that runs nothing.
    None,
    /// This argument list.
    Argv(Vec<Value>),
    /// These, one after the other.
    Several(Vec<Vec<Value>>),
    /// A program, inside the one that loads it.
    Loaded(Vec<Value>),
    /// An applet, inside the program.
    Applet(Vec<Value>),
    /// This text, by a shell called so, with arguments behind it.
    Text {
        shell: &'static str,
        text: String,
        arguments: Vec<Value>,
    },
    /// Something that cannot be known.
    Unknown(&'static str),
}

static WRAPPERS_OF: ByName<Wrapper> = ByName::new(|| rows(WRAPPERS, |row| row.names));

/// What `argv`, a program called `name`, runs as a wrapper.
pub(super) fn unwrap(name: &str, argv: &[Value], stdin: &Input) -> Inner {
    let arguments = argv.get(1..).unwrap_or_default();
    if name.starts_with("ld-linux")
        || name.starts_with("ld-musl")
        || name == "ld.so"
        || name.starts_with("ld-2.")
    {
        return loader(arguments);
    }
    match name {
        "busybox" | "toybox" | "busybox.static" => {
            return match arguments.first().map(Value::known) {
                None => Inner::None,
                Some(Some(option)) if option.starts_with('-') => Inner::None,
                Some(Some(_)) => Inner::Applet(arguments.to_vec()),
                Some(None) => Inner::Unknown(OUTPUT),
            };
        }
        "setarch" => {
            // The architecture, if any, stands in front of the options.
            let rest = match arguments.split_first() {
                Some((first, rest)) if first.known().is_some_and(|it| !it.starts_with('-')) => rest,
                _ => arguments,
            };
            return behind(rest, &[], 0, false);
        }
        "ip" => return ip(arguments),
        "xargs" => return xargs(arguments, stdin),
        "start-stop-daemon" => return daemon(arguments),
        "gosu" | "su-exec" | "setuidgid" | "s6-setuidgid" | "faketime" => {
            return behind(arguments, &[], 1, false);
        }
        "env" if arguments.iter().any(is_split_string) => return split_string(arguments),
        "sudo" | "doas"
            if arguments.iter().any(|it| {
                matches!(
                    it.known(),
                    Some("-e" | "--edit" | "-l" | "-v" | "-k" | "-K")
                )
            }) =>
        {
            return Inner::None;
        }
        "runuser"
            if arguments
                .iter()
                .any(|it| matches!(it.known(), Some("-u" | "--user"))) =>
        {
            return behind(arguments, &["-u", "--user", "-g", "-G", "-s"], 0, false);
        }
        _ => {}
    }
    let Some(wrapper) = WRAPPERS_OF.of(name).first() else {
        return Inner::None;
    };
    match wrapper.given {
        Given::Behind(operands) => {
            let found = behind(arguments, wrapper.values, operands, wrapper.assignments);
            match (name, found) {
                // `flock FILE -c TEXT`
                ("flock", Inner::Argv(inner))
                    if matches!(
                        inner.first().and_then(Value::known),
                        Some("-c" | "--command")
                    ) =>
                {
                    text_of("/bin/sh", inner.get(1))
                }
                ("sudo", Inner::Argv(inner))
                    if arguments.iter().any(|it| {
                        matches!(it.known(), Some("-s" | "--shell" | "-i" | "--login"))
                    }) =>
                {
                    let words: Option<Vec<&str>> = inner.iter().map(Value::known).collect();
                    match words {
                        Some(words) => Inner::Text {
                            shell: "sh",
                            text: words.join(" "),
                            arguments: Vec::new(),
                        },
                        None => Inner::Argv(inner),
                    }
                }
                (_, found) => found,
            }
        }
        Given::TextOption => {
            let shell = if name == "capsh" { "/bin/bash" } else { "sh" };
            for (index, argument) in arguments.iter().enumerate() {
                match argument.known() {
                    Some("-c") => return text_of(shell, arguments.get(index + 1)),
                    Some("--") if name == "capsh" => {
                        let mut inner = vec![Value::Known(shell.to_owned())];
                        inner.extend(
                            arguments
                                .get(index + 1..)
                                .unwrap_or_default()
                                .iter()
                                .cloned(),
                        );
                        return Inner::Argv(inner);
                    }
                    Some(text)
                        if is_long(text, "--command") || is_long(text, "--session-command") =>
                    {
                        let Some((_, text)) = text.split_once('=') else {
                            return text_of(shell, arguments.get(index + 1));
                        };
                        return Inner::Text {
                            shell,
                            text: text.to_owned(),
                            arguments: Vec::new(),
                        };
                    }
                    Some(text)
                        if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 =>
                    {
                        // A cluster such as `-qc TEXT`, or `-cTEXT`.
                        if let Some(at) = text.find('c').filter(|at| {
                            text.get(1..*at).is_some_and(|before| {
                                before.chars().all(|c| "qaefltmp-".contains(c))
                            })
                        }) {
                            let glued = text.get(at + 1..).unwrap_or_default();
                            if glued.is_empty() {
                                return text_of(shell, arguments.get(index + 1));
                            }
                            return Inner::Text {
                                shell,
                                text: glued.to_owned(),
                                arguments: Vec::new(),
                            };
                        }
                    }
                    Some(_) => {}
                    None => return Inner::Unknown("an option that is not known"),
                }
            }
            Inner::None
        }
        Given::Joined(operands) => match joined(name, arguments, wrapper.values, operands) {
            Inner::Argv(words) => {
                if name == "watch"
                    && arguments
                        .iter()
                        .any(|it| matches!(it.known(), Some("-x" | "--exec")))
                {
                    return Inner::Argv(words);
                }
                let words: Option<Vec<&str>> = words.iter().map(Value::known).collect();
                words.map_or(Inner::Unknown("an argument that is not known"), |words| {
                    Inner::Text {
                        shell: "sh",
                        text: words.join(" "),
                        arguments: Vec::new(),
                    }
                })
            }
            found => found,
        },
    }
}

fn text_of(shell: &'static str, argument: Option<&Value>) -> Inner {
    match argument {
        Some(Value::Known(text)) => Inner::Text {
            shell,
            text: text.clone(),
            arguments: Vec::new(),
        },
        Some(_) => Inner::Unknown("a command text that is not known"),
        None => Inner::None,
    }
}

/// `ip netns exec NAME`, `ip -all netns exec` and `ip vrf exec NAME`, each word of which may be
/// abbreviated.
fn ip(arguments: &[Value]) -> Inner {
    let is = |at: usize, words: &[&str]| {
        let text = arguments.get(at).and_then(Value::known);
        text.is_some_and(|text| !text.is_empty() && words.iter().any(|word| word.starts_with(text)))
    };
    let is_exec = |at: &usize| is(*at, &["exec"]) && is(at - 1, &["netns", "vrf"]);
    if let Some(at) = (1..arguments.len()).find(is_exec) {
        let is_all = arguments.iter().take(at).filter_map(Value::known);
        let named = usize::from(!is_all.into_iter().any(|it| it.starts_with("-a")));
        return match arguments.get(at + 1 + named..) {
            Some([]) | None => Inner::None,
            Some(inner) => Inner::Argv(inner.to_vec()),
        };
    }
    let is_batch = |it: &Value| {
        let text = it.known().unwrap_or_default();
        text.len() > 1 && (text == "-force" || "-batch".starts_with(text))
    };
    if arguments.iter().any(is_batch) {
        return Inner::Unknown("a file of commands for `ip`");
    }
    Inner::None
}

/// The words of a text for a shell. ssh has options behind the host as well.
fn joined(name: &str, arguments: &[Value], values: &[&str], operands: usize) -> Inner {
    let found = behind(arguments, values, operands, false);
    match found {
        Inner::Argv(words) if name == "ssh" => behind(&words, values, 0, false),
        found => found,
    }
}

/// The dynamic loader runs a program without a call that names it.
fn loader(arguments: &[Value]) -> Inner {
    let options = &[
        "--library-path",
        "--preload",
        "--audit",
        "--argv0",
        "--inhibit-rpath",
        "--glibc-hwcaps-prepend",
        "--glibc-hwcaps-mask",
    ];
    match behind(arguments, options, 0, false) {
        Inner::Argv(inner) => Inner::Loaded(inner),
        found => found,
    }
}

fn is_split_string(argument: &Value) -> bool {
    argument.known().is_some_and(|text| {
        text.starts_with("-S")
            || is_long(text, "--split-string")
            || text.len() > 2
                && text.starts_with('-')
                && !text.starts_with("--")
                && text.contains('S')
                && text
                    .bytes()
                    .skip(1)
                    .take_while(|byte| *byte != b'S')
                    .all(|byte| matches!(byte, b'i' | b'v' | b'0'))
    })
}

/// `env -S 'rm -rf' x`
fn split_string(arguments: &[Value]) -> Inner {
    let Some(at) = arguments.iter().position(is_split_string) else {
        return Inner::None;
    };
    let option = arguments.get(at).and_then(Value::known).unwrap_or_default();
    let glued = match option.split_once('=') {
        Some((_, text)) if option.starts_with("--") => Some(text.to_owned()),
        _ => option
            .split_once('S')
            .map(|(_, text)| text.to_owned())
            .filter(|text| !text.is_empty() && !option.starts_with("--")),
    };
    let (text, rest) = match glued {
        Some(text) => (Some(text), arguments.get(at + 1..)),
        None => (
            arguments
                .get(at + 1)
                .and_then(Value::known)
                .map(str::to_owned),
            arguments.get(at + 2..),
        ),
    };
    let Some(text) = text else {
        return Inner::Unknown("a command text that is not known");
    };
    if text.contains('$') {
        // It takes variables from its environment.
        return Inner::Unknown("a variable in a command text");
    }
    let mut words: Vec<Value> = arguments.get(..at).unwrap_or_default().to_vec();
    words.extend(env_words(&text).into_iter().map(Value::Known));
    words.extend(rest.unwrap_or_default().iter().cloned());
    if words
        .iter()
        .take_while(|it| it.known().is_some_and(|it| it.starts_with('-')))
        .any(is_split_string)
    {
        return Inner::Unknown("a command text inside a command text");
    }
    behind(
        &words,
        &["-u", "--unset", "-C", "--chdir", "-a", "--argv0"],
        0,
        true,
    )
}

/// Words as `env -S` cuts them: quotes and escapes, no expansions.
fn env_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match characters.next() {
                Some('_') if quote.is_none() => words.extend(word.take()),
                Some('_') => word.get_or_insert_default().push(' '),
                Some('t') => word.get_or_insert_default().push('\t'),
                Some('n') => word.get_or_insert_default().push('\n'),
                Some('c') | None => break,
                Some(other) => word.get_or_insert_default().push(other),
            },
            (None, c) if c.is_ascii_whitespace() || c == '\u{b}' => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The arguments behind options, assignments and so many operands.
fn behind(arguments: &[Value], values: &[&str], mut operands: usize, assignments: bool) -> Inner {
    let mut rest = arguments;
    let mut options = true;
    loop {
        let Some((first, behind)) = rest.split_first() else {
            return Inner::None;
        };
        match first.known() {
            Some("--") if options => options = false,
            Some(text) if options && text.len() > 1 && text.starts_with('-') => {
                if takes_value(text, values) {
                    rest = behind.get(1..).unwrap_or_default();
                    continue;
                }
            }
            Some("-") if options && assignments => {}
            Some(text) if assignments && is_assignment(text) => {}
            Some(text) if assignments && text.contains('=') => {
                return Inner::Unknown("an assignment to what is no name");
            }
            None if assignments
                && matches!(first, Value::Unknown { prefix, .. } if prefix.contains('=')) => {}
            _ if operands > 0 => {
                operands -= 1;
                options = operands > 0;
            }
            _ => return Inner::Argv(rest.to_vec()),
        }
        rest = behind;
    }
}

/// Whether the option's value is the next argument.
fn takes_value(option: &str, values: &[&str]) -> bool {
    if option.starts_with("--") {
        return !option.contains('=') && values.iter().any(|long| is_long(option, long));
    }
    // In a cluster the last letter may want one: `-xu root`.
    let mut letters = option.chars().skip(1).peekable();
    while let Some(letter) = letters.next() {
        if values.contains(&format!("-{letter}").as_str()) {
            return letters.peek().is_none();
        }
    }
    false
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        // Programs take what shells do not: `BASH_FUNC_ls%%`, `a-b`.
        !name.is_empty() && !name.contains('/')
    })
}

/// Wrappers whose options are too many to know how many arguments each takes.
const LOOSE: &[&str] = &[
    "setarch",
    "parallel",
    "dbus-run-session",
    "dumb-init",
    "tini",
    "ssh-agent",
    "bwrap",
    "firejail",
    "proot",
    "perf",
    "xvfb-run",
    "daemonize",
    "systemd-run",
    "systemd-nspawn",
    "lxc-attach",
];

/// What such a wrapper may run instead: from each argument on that an option stands closely in
/// front of.
pub(super) fn other_programs(name: &str, arguments: &[Value]) -> Vec<Vec<Value>> {
    if name == "start-stop-daemon" {
        return other_program(arguments).into_iter().collect();
    }
    if name == "strace" {
        return traced_into(arguments);
    }
    let beginnings = other_beginnings(name, arguments).into_iter();
    beginnings
        .map(|at| arguments.get(at..).unwrap_or_default().to_vec())
        .collect()
}

/// `strace -o '|PROGRAM'`: what takes its output is a text for a shell.
fn traced_into(arguments: &[Value]) -> Vec<Vec<Value>> {
    let texts = values_of(arguments, &["-o", "--output"]).into_iter();
    let commands = texts.filter_map(|value| {
        let text = value.known()?.strip_prefix(['|', '!'])?.to_owned();
        Some(["sh", "-c", text.as_str()].map(|word| Value::Known(word.to_owned())))
    });
    commands.map(Vec::from).collect()
}

fn other_beginnings(name: &str, arguments: &[Value]) -> Vec<usize> {
    let mut found = Vec::new();
    if !LOOSE.contains(&name) {
        return found;
    }
    // `--ro-bind FROM TO` takes two.
    let most = if name == "bwrap" { 3 } else { 2 };
    let mut since_option = most;
    for (index, argument) in arguments.iter().enumerate() {
        match argument.known() {
            Some(option) if option.starts_with('-') => {
                since_option = if option.contains('=') { most } else { 0 };
            }
            _ if since_option < most => {
                since_option += 1;
                found.push(index);
            }
            // The first of its own arguments.
            _ if index == 0 => {}
            _ => break,
        }
    }
    found
}
