//! What `xargs` runs.

use super::{Inner, env_words};
use crate::shell::{run::Input, value::Value};

/// Commands that xargs makes at most.
const MAX_BATCHES: usize = 32;

/// Its long options: `xargs.c` of GNU findutils.
const LONG: &[&str] = &[
    "arg-file",
    "delimiter",
    "eof",
    "exit",
    "help",
    "interactive",
    "max-args",
    "max-chars",
    "max-lines",
    "max-procs",
    "no-run-if-empty",
    "null",
    "open-tty",
    "process-slot-var",
    "replace",
    "show-limits",
    "verbose",
    "version",
];

/// The whole name of a long option that may be abbreviated.
fn long_name(name: &str) -> &str {
    let mut likely = LONG.iter().filter(|long| long.starts_with(name));
    match (likely.next(), likely.next()) {
        (Some(only), None) => only,
        _ => name,
    }
}

pub(super) fn xargs(arguments: &[Value], stdin: &Input) -> Inner {
    let mut rest = arguments;
    let mut replace: Option<String> = None;
    let mut delimiter = None;
    let mut batch = None;
    let mut from_file = false;
    while let Some((first, behind)) = rest.split_first() {
        let Some(option) = first.known() else { break };
        if !option.starts_with('-') || option == "-" {
            break;
        }
        rest = behind;
        if option == "--" {
            break;
        }
        let mut value = |glued: &str| -> Option<String> {
            if glued.is_empty() {
                let (value, behind) = rest.split_first()?;
                rest = behind;
                value.known().map(str::to_owned)
            } else {
                Some(glued.to_owned())
            }
        };
        if let Some(long) = option.strip_prefix("--") {
            let (name, glued) = long.split_once('=').unwrap_or((long, ""));
            match long_name(name) {
                "replace" => {
                    replace = Some(if glued.is_empty() {
                        "{}".to_owned()
                    } else {
                        glued.to_owned()
                    })
                }
                "delimiter" => delimiter = value(glued),
                "null" => delimiter = Some("\0".to_owned()),
                "max-args" | "max-lines" if replace.is_some() => {
                    return Inner::Unknown("options of which one takes the other back");
                }
                "max-args" => batch = value(glued).and_then(|text| text.parse().ok()),
                "max-lines" => batch = glued.parse().ok(),
                "max-procs" | "max-chars" | "process-slot-var" => {
                    let _value = value(glued);
                }
                "arg-file" => {
                    from_file = true;
                    let _value = value(glued);
                }
                _ => {}
            }
            continue;
        }
        let letters = option.get(1..).unwrap_or_default();
        for (at, letter) in letters.char_indices() {
            let glued = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            match letter {
                'I' => {
                    replace = value(glued);
                    break;
                }
                'i' => {
                    replace = Some(if glued.is_empty() {
                        "{}".to_owned()
                    } else {
                        glued.to_owned()
                    });
                    break;
                }
                'd' => {
                    delimiter = value(glued);
                    break;
                }
                'n' | 'L' if replace.is_some() => {
                    return Inner::Unknown("options of which one takes the other back");
                }
                'n' | 'L' => {
                    batch = value(glued).and_then(|text| text.parse().ok());
                    break;
                }
                'P' | 's' | 'E' => {
                    let _value = value(glued);
                    break;
                }
                'a' => {
                    from_file = true;
                    let _value = value(glued);
                    break;
                }
                'e' | 'l' => break,
                '0' => delimiter = Some("\0".to_owned()),
                _ => {}
            }
        }
    }
    let command: Vec<Value> = if rest.is_empty() {
        vec![Value::Known("echo".to_owned())]
    } else {
        rest.to_vec()
    };
    let unknown = || Value::unknown("what comes from standard input");
    let text = match stdin {
        Input::Text(text) if !from_file => text,
        _ => {
            let mut inner: Vec<Value> = match &replace {
                Some(mark) => command
                    .into_iter()
                    .map(|value| match value.known() {
                        Some(text) if text == mark => unknown(),
                        Some(text) if text.contains(mark.as_str()) => {
                            let (prefix, suffix) =
                                text.split_once(mark.as_str()).unwrap_or_default();
                            Value::Unknown {
                                reason: "what comes from standard input",
                                prefix: prefix.to_owned(),
                                suffix: suffix.to_owned(),
                            }
                        }
                        _ => value,
                    })
                    .collect(),
                None => command,
            };
            if replace.is_none() {
                inner.push(unknown());
            }
            return Inner::Argv(inner);
        }
    };
    if let Some(mark) = replace {
        let lines = text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty());
        let runs: Vec<Vec<Value>> = lines
            .take(MAX_BATCHES + 1)
            .enumerate()
            .map(|(round, line)| {
                if round == MAX_BATCHES {
                    let behind = std::iter::once(unknown());
                    return command.iter().take(1).cloned().chain(behind).collect();
                }
                command
                    .iter()
                    .map(|value| match value.known() {
                        Some(text) => Value::Known(text.replace(mark.as_str(), line)),
                        None => value.clone(),
                    })
                    .collect()
            })
            .collect();
        return Inner::Several(runs);
    }
    let words: Vec<String> = match delimiter.as_deref() {
        Some(delimiter) => {
            let c = match delimiter {
                "\\n" => '\n',
                "\\t" => '\t',
                "\\0" => '\0',
                other => other.chars().next().unwrap_or('\n'),
            };
            text.strip_suffix(c)
                .unwrap_or(text)
                .split(c)
                .map(|word| word.to_owned())
                .collect()
        }
        None => {
            if !has_plain_quotes(text) {
                return Inner::Unknown("quotes that programs read in different ways");
            }
            env_words(text)
        }
    };
    let size = batch.unwrap_or(usize::MAX).max(1);
    if words.is_empty() {
        return Inner::Argv(command);
    }
    let runs = words
        .chunks(size.min(words.len()))
        .take(MAX_BATCHES + 1)
        .enumerate()
        .map(|(round, chunk)| {
            if round == MAX_BATCHES {
                return command
                    .iter()
                    .cloned()
                    .chain(std::iter::once(unknown()))
                    .collect();
            }
            command
                .iter()
                .cloned()
                .chain(chunk.iter().cloned().map(Value::Known))
                .collect()
        })
        .collect();
    Inner::Several(runs)
}

/// Whether every quote in what xargs reads ends in its line, and none has a backslash.
fn has_plain_quotes(text: &str) -> bool {
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '\\') => {
                characters.next();
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(_), '\n' | '\\') => return false,
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    quote.is_none()
}
