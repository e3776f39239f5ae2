//! Programs that run the program in their arguments: one table, each with its option grammar.

use super::expand::Value;

/// How a wrapper is given what it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inner {
    /// As the arguments behind so many operands of its own.
    Behind(usize),
    /// As a text for a shell, behind this option; without it nothing is run.
    TextOption(&'static str),
    /// As operands joined to a text for a shell, behind so many operands of its own.
    Text(usize),
    /// As the value of an option, with the arguments behind `--`.
    Daemon,
}

struct Wrapper {
    names: &'static [&'static str],
    /// Options whose value is the next argument, when it is not glued on.
    value_options: &'static [&'static str],
    inner: Inner,
    /// `NAME=value` before the program.
    assignments: bool,
}

const fn wrapper(
    names: &'static [&'static str],
    value_options: &'static [&'static str],
    inner: Inner,
) -> Wrapper {
    Wrapper {
        names,
        value_options,
        inner,
        assignments: false,
    }
}

const WRAPPERS: &[Wrapper] = &[
    wrapper(
        &[
            "command", "builtin", "nohup", "setsid", "noglob", "busybox", "toybox",
        ],
        &[],
        Inner::Behind(0),
    ),
    wrapper(&["exec"], &["-a"], Inner::Behind(0)),
    Wrapper {
        names: &["env"],
        value_options: &["-u", "--unset", "-C", "--chdir"],
        inner: Inner::Behind(0),
        assignments: true,
    },
    Wrapper {
        names: &["sudo", "doas"],
        value_options: &[
            "-u", "--user", "-g", "--group", "-h", "--host", "-p", "--prompt", "-C", "-r", "-t",
            "-T", "-D", "-R", "-U",
        ],
        inner: Inner::Behind(0),
        assignments: true,
    },
    wrapper(&["nice"], &["-n", "--adjustment"], Inner::Behind(0)),
    wrapper(
        &["ionice"],
        &["-c", "--class", "-n", "--classdata"],
        Inner::Behind(0),
    ),
    wrapper(
        &["stdbuf"],
        &["-i", "-o", "-e", "--input", "--output", "--error"],
        Inner::Behind(0),
    ),
    wrapper(
        &["timeout"],
        &["-s", "--signal", "-k", "--kill-after"],
        Inner::Behind(1),
    ),
    wrapper(
        &["time"],
        &["-f", "--format", "-o", "--output"],
        Inner::Behind(0),
    ),
    wrapper(&["taskset", "chrt"], &["-T", "-P", "-D"], Inner::Behind(1)),
    wrapper(&["chroot"], &["--userspec", "--groups"], Inner::Behind(1)),
    wrapper(&["setarch"], &[], Inner::Behind(1)),
    wrapper(
        &["linux32", "linux64", "i386", "x86_64"],
        &[],
        Inner::Behind(0),
    ),
    wrapper(
        &[
            "prlimit",
            "choom",
            "runcon",
            "cgexec",
            "fakeroot",
            "eatmydata",
        ],
        &["-n", "-g"],
        Inner::Behind(0),
    ),
    wrapper(
        &["unshare"],
        &["-S", "-G", "-R", "-w", "--root", "--wd"],
        Inner::Behind(0),
    ),
    wrapper(
        &["nsenter"],
        &["-t", "--target", "-S", "-G"],
        Inner::Behind(0),
    ),
    wrapper(
        &["strace", "ltrace"],
        &["-e", "-o", "-p", "-s", "-u", "-E", "-P", "-a", "-O", "-S"],
        Inner::Behind(0),
    ),
    wrapper(
        &["setpriv"],
        &["--reuid", "--regid", "--groups", "--inh-caps"],
        Inner::Behind(0),
    ),
    wrapper(
        &["runuser", "su"],
        &["-s", "--shell", "-g", "-G"],
        Inner::TextOption("-c"),
    ),
    wrapper(
        &["script"],
        &["-I", "-O", "-B", "-T", "-m", "-E", "-o"],
        Inner::TextOption("-c"),
    ),
    wrapper(&["flock"], &["-w", "--timeout", "-E"], Inner::Behind(1)),
    wrapper(&["watch"], &["-n", "--interval"], Inner::Text(0)),
    wrapper(
        &["ssh"],
        &[
            "-o", "-i", "-p", "-l", "-F", "-J", "-L", "-R", "-D", "-E", "-b", "-c", "-m", "-w",
            "-W", "-S", "-e", "-I", "-Q", "-B",
        ],
        Inner::Text(1),
    ),
    wrapper(&["start-stop-daemon"], &[], Inner::Daemon),
    // zsh
    wrapper(&["nocorrect", "-"], &[], Inner::Behind(0)),
    wrapper(&["repeat"], &[], Inner::Behind(1)),
    wrapper(
        &["xargs"],
        &[
            "-I",
            "-n",
            "-P",
            "-L",
            "-s",
            "-d",
            "-E",
            "-a",
            "--max-args",
            "--max-procs",
            "--replace",
            "--delimiter",
            "--arg-file",
            "--max-lines",
        ],
        Inner::Behind(0),
    ),
];

/// What a wrapper runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Unwrapped {
    /// No wrapper, or one that runs nothing.
    Nothing,
    /// This argument list.
    Argv(Vec<Value>),
    /// This text, by a shell.
    Text(String),
    /// Something that cannot be known.
    Unknown(&'static str),
}

/// What `argv`, a program called `name`, runs as a wrapper.
pub(super) fn unwrap(name: &str, argv: &[Value]) -> Unwrapped {
    let arguments = argv.get(1..).unwrap_or_default();
    if name.starts_with("ld-linux") || name.starts_with("ld-musl") || name == "ld.so" {
        let options = &["--library-path", "--preload", "--audit", "--argv0"];
        return behind(arguments, options, 0, false);
    }
    let Some(wrapper) = WRAPPERS
        .iter()
        .find(|wrapper| wrapper.names.contains(&name))
    else {
        return Unwrapped::Nothing;
    };
    // `command -v rm` only asks.
    if name == "command"
        && arguments
            .iter()
            .any(|it| matches!(it.known(), Some("-v" | "-V")))
    {
        return Unwrapped::Nothing;
    }
    if name == "env"
        && arguments.iter().any(|argument| {
            argument
                .known()
                .is_some_and(|text| text.starts_with("-S") || text.starts_with("--split-string"))
        })
    {
        return split_string(arguments);
    }
    if name == "exec" && arguments.iter().any(|it| it.known() == Some("-a")) {
        return Unwrapped::Unknown("a program under another name");
    }
    match wrapper.inner {
        Inner::Behind(operands) => {
            let found = behind(
                arguments,
                wrapper.value_options,
                operands,
                wrapper.assignments,
            );
            match (name, found) {
                // `flock FILE -c TEXT`
                ("flock", Unwrapped::Argv(inner))
                    if inner.first().and_then(Value::known) == Some("-c") =>
                {
                    text_of(inner.get(1))
                }
                ("xargs", Unwrapped::Argv(mut inner)) => {
                    inner.push(Value::Unknown("what comes from standard input"));
                    Unwrapped::Argv(inner)
                }
                (_, found) => found,
            }
        }
        Inner::TextOption(option) => {
            let long = "--command";
            if name == "runuser"
                && arguments
                    .iter()
                    .any(|it| matches!(it.known(), Some("-u" | "--user")))
            {
                return behind(arguments, &["-u", "--user", "-g", "-G", "-s"], 0, false);
            }
            for (index, argument) in arguments.iter().enumerate() {
                match argument.known() {
                    Some(text) if text == option || text == long => {
                        return text_of(arguments.get(index + 1));
                    }
                    Some(text) if text.starts_with("--command=") => {
                        return Unwrapped::Text(
                            text.get(long.len() + 1..).unwrap_or_default().to_owned(),
                        );
                    }
                    // A cluster such as `-qc TEXT`.
                    Some(text)
                        if text.len() > 2
                            && text.starts_with('-')
                            && !text.starts_with("--")
                            && text.ends_with('c') =>
                    {
                        return text_of(arguments.get(index + 1));
                    }
                    Some(_) => {}
                    None => return Unwrapped::Unknown("an option that is not known"),
                }
            }
            Unwrapped::Nothing
        }
        Inner::Daemon => {
            let program = arguments
                .iter()
                .zip(arguments.iter().skip(1))
                .find(|(option, _)| {
                    matches!(option.known(), Some("-x" | "--exec" | "-a" | "--startas"))
                })
                .map(|(_, program)| program.clone());
            let Some(program) = program else {
                return Unwrapped::Nothing;
            };
            let rest = arguments
                .iter()
                .skip_while(|it| it.known() != Some("--"))
                .skip(1)
                .cloned();
            Unwrapped::Argv(std::iter::once(program).chain(rest).collect())
        }
        Inner::Text(operands) => match behind(arguments, wrapper.value_options, operands, false) {
            Unwrapped::Argv(words) => {
                let words: Option<Vec<&str>> = words.iter().map(Value::known).collect();
                words.map_or(
                    Unwrapped::Unknown("an argument that is not known"),
                    |words| Unwrapped::Text(words.join(" ")),
                )
            }
            found => found,
        },
    }
}

fn text_of(argument: Option<&Value>) -> Unwrapped {
    match argument {
        Some(Value::Known(text)) => Unwrapped::Text(text.clone()),
        Some(_) => Unwrapped::Unknown("a command text that is not known"),
        None => Unwrapped::Nothing,
    }
}

/// `env -S 'rm -rf x'`.
fn split_string(arguments: &[Value]) -> Unwrapped {
    let words: Option<Vec<&str>> = arguments.iter().map(Value::known).collect();
    let Some(words) = words else {
        return Unwrapped::Unknown("a command text that is not known");
    };
    let joined = words.join(" ");
    let text = joined
        .split_once("-S")
        .map(|(_, text)| text)
        .or_else(|| joined.split_once("--split-string").map(|(_, text)| text))
        .unwrap_or_default();
    Unwrapped::Text(text.trim_start_matches(['=', ' ']).to_owned())
}

/// The arguments behind options, assignments and so many operands.
fn behind(
    arguments: &[Value],
    value_options: &[&str],
    mut operands: usize,
    assignments: bool,
) -> Unwrapped {
    let mut rest = arguments;
    let mut options = true;
    loop {
        let Some((first, behind)) = rest.split_first() else {
            return Unwrapped::Nothing;
        };
        match first.known() {
            Some("--") if options => options = false,
            Some(text) if options && text.len() > 1 && text.starts_with('-') => {
                if takes_value(text, value_options) {
                    rest = behind.get(1..).unwrap_or_default();
                    continue;
                }
            }
            Some(text) if assignments && is_assignment(text) => {}
            Some(_) if operands > 0 => {
                operands -= 1;
                options = false;
            }
            None if operands > 0 => operands -= 1,
            _ => return Unwrapped::Argv(rest.to_vec()),
        }
        rest = behind;
    }
}

/// Whether the option's value is the next argument.
fn takes_value(option: &str, value_options: &[&str]) -> bool {
    if option.starts_with("--") {
        return value_options.contains(&option);
    }
    // In a cluster the last letter may want one: `-xu root`.
    let last = option
        .chars()
        .next_back()
        .map(|letter| format!("-{letter}"));
    let glued = option.len() > 2
        && option
            .chars()
            .nth(1)
            .is_some_and(|first| value_options.contains(&format!("-{first}").as_str()));
    !glued && last.is_some_and(|last| value_options.contains(&last.as_str()))
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
