//! Words to values, with what is known of the session.

use super::{
    ast::{ParameterOperator, Part, Script, Word},
    braces,
    session::SessionState,
};

/// One argument, as far as it can be known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// Exactly this.
    Known(String),
    /// Text with wildcards, which become file names.
    Pattern(String),
    /// Not known, and why.
    Unknown(&'static str),
}

impl Value {
    /// The text that it surely is.
    pub(crate) fn known(&self) -> Option<&str> {
        match self {
            Self::Known(text) => Some(text),
            Self::Pattern(_) | Self::Unknown(_) => None,
        }
    }

    /// For people and records.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Known(text) | Self::Pattern(text) => text,
            Self::Unknown(_) => "?",
        }
    }
}

/// A piece of a field while it grows.
#[derive(Default)]
struct Field {
    text: String,
    pattern: bool,
    unknown: Option<&'static str>,
    /// Something was there, if only a pair of quotes.
    present: bool,
    /// Text that may be braces, in order; `None` once quoted text is mixed in.
    braces: bool,
}

/// The values that `word` becomes, and into `scripts` what runs for that.
pub(super) fn expand(word: &Word, state: &SessionState, scripts: &mut Vec<Script>) -> Vec<Value> {
    let mut fields = Vec::new();
    let mut field = Field::default();
    for (index, part) in word.parts.iter().enumerate() {
        match part {
            Part::Text { text, quoted } => {
                field.present = true;
                if *quoted {
                    // Quoted braces and wildcards stand for themselves.
                    field.text.push_str(text);
                } else {
                    let tilde = index == 0 && text.starts_with('~');
                    field.text.push_str(text);
                    // A parenthesis gets here as part of a pattern such as `@(a|b)` only.
                    field.pattern |= text.contains(['*', '?', '[', '(']);
                    field.braces |= text.contains('{');
                    if tilde && word.parts.len() == 1 {
                        field.text = home(text, state);
                    }
                }
            }
            Part::Parameter {
                name,
                quoted,
                operator,
            } => match parameter(name, operator.as_ref(), state, scripts) {
                Ok(value) if *quoted => {
                    field.present = true;
                    field.text.push_str(&value);
                }
                Ok(_) if state.variables.contains_key("IFS") => {
                    field.present = true;
                    field.unknown = Some("the separators of words were changed");
                }
                Ok(value) => split(&value, &mut field, &mut fields),
                Err(reason) => {
                    field.present = true;
                    field.unknown = Some(reason);
                }
            },
            Part::Substitution { script, quoted } => {
                field.present = true;
                match super::resolve::constant_output(script, state) {
                    Some(value) if *quoted => field.text.push_str(&value),
                    Some(value) => split(&value, &mut field, &mut fields),
                    None => field.unknown = Some("the output of a command is not known beforehand"),
                }
                scripts.push(script.clone());
            }
            Part::Process { script } => {
                field.present = true;
                field.text.push_str("/dev/fd/63");
                scripts.push(script.clone());
            }
            Part::Opaque { scripts: inner } => {
                field.present = true;
                field.unknown = Some("the result of a calculation is not known beforehand");
                scripts.extend(inner.iter().cloned());
            }
        }
    }
    finish(field, &mut fields);
    fields
}

/// The one text that `word` becomes where no fields are split: behind `=`, `<<<`, `>`.
pub(super) fn expand_whole(
    word: &Word,
    state: &SessionState,
    scripts: &mut Vec<Script>,
) -> Option<String> {
    let quoted: Vec<Part> = word
        .parts
        .iter()
        .cloned()
        .map(|part| match part {
            Part::Text { text, .. } => Part::Text { text, quoted: true },
            Part::Parameter { name, operator, .. } => Part::Parameter {
                name,
                quoted: true,
                operator,
            },
            Part::Substitution { script, .. } => Part::Substitution {
                script,
                quoted: true,
            },
            part => part,
        })
        .collect();
    let values = expand(&Word { parts: quoted }, state, scripts);
    match values.as_slice() {
        [] => Some(String::new()),
        [Value::Known(text)] => Some(text.clone()),
        _ => None,
    }
}

fn parameter(
    name: &str,
    operator: Option<&(ParameterOperator, Word)>,
    state: &SessionState,
    scripts: &mut Vec<Script>,
) -> Result<String, &'static str> {
    const UNKNOWN: &str = "the value of a variable is not known";
    let value = match name {
        "IFS" => None,
        name => state.variables.get(name).cloned(),
    };
    let Some((operator, word)) = operator else {
        return value.flatten().ok_or(UNKNOWN);
    };
    // The word may run something, whatever becomes of it.
    let alternative = expand_whole(word, state, scripts);
    match (operator, value) {
        (ParameterOperator::Default, Some(Some(value))) if !value.is_empty() => Ok(value),
        (ParameterOperator::Alternative, Some(Some(value))) if !value.is_empty() => {
            alternative.ok_or(UNKNOWN)
        }
        _ => Err(UNKNOWN),
    }
}

/// Splits a value at blanks, as the shell does with what is not quoted.
fn split(value: &str, field: &mut Field, fields: &mut Vec<Value>) {
    let mut pieces = value.split([' ', '\t', '\n']);
    if let Some(first) = pieces.next()
        && !first.is_empty()
    {
        field.present = true;
        field.pattern |= first.contains(['*', '?', '[']);
        field.text.push_str(first);
    }
    for piece in pieces {
        finish(std::mem::take(field), fields);
        if !piece.is_empty() {
            field.present = true;
            field.pattern |= piece.contains(['*', '?', '[']);
            field.text.push_str(piece);
        }
    }
}

fn finish(field: Field, fields: &mut Vec<Value>) {
    if !field.present {
        return;
    }
    if let Some(reason) = field.unknown {
        fields.push(Value::Unknown(reason));
        return;
    }
    let make = |text: String| {
        // The command `[` is no wildcard.
        if field.pattern && text != "[" {
            Value::Pattern(text)
        } else {
            Value::Known(text)
        }
    };
    if !field.braces {
        fields.push(make(field.text));
        return;
    }
    match braces::expand(&field.text) {
        Some(words) => fields.extend(words.into_iter().map(make)),
        None => fields.push(Value::Unknown("braces that become too many words")),
    }
}

/// `~` and `~/…`, when the home directory is known.
fn home(text: &str, state: &SessionState) -> String {
    match (text.strip_prefix('~'), state.variables.get("HOME")) {
        (Some(rest), Some(Some(home))) if rest.is_empty() || rest.starts_with('/') => {
            format!("{home}{rest}")
        }
        _ => text.to_owned(),
    }
}
