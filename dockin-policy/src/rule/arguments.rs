//! Conditions on a program's arguments.

use super::{Match, Pattern};
use crate::shell::Value;

/// Conditions on arguments; all that are given must hold.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// One of these options is there, alone, in a cluster, glued to its value or abbreviated.
    pub(crate) any_flag: Vec<String>,
    /// An operand is like one of these.
    pub(crate) any_operand: Vec<Pattern>,
    /// The first operands, such as `container rm`.
    pub(crate) verb: Vec<Vec<String>>,
    /// Options whose value is the next argument, so that it is no operand.
    pub(crate) value_options: Vec<String>,
    /// So many operands at least.
    pub(crate) min_operands: usize,
    /// `kill`: one of these signals is sent.
    pub(crate) signal: Vec<String>,
    /// `chmod`: the mode gives everybody read, write and execute.
    pub(crate) world_writable: bool,
}

impl Arguments {
    /// All conditions that are given, by the weakest of them.
    ///
    /// `inherited`: what is not known may be what the environment has. That holds places, names and
    /// numbers: an argument of which nothing is known is no verb then, and no option.
    pub(crate) fn match_all(&self, arguments: &[Value], inherited: bool) -> Match {
        let operands = self.operands(arguments);
        let unknown = |mut values: std::slice::Iter<'_, Value>| {
            if values.any(|value| value.known().is_none()) {
                Match::Maybe
            } else {
                Match::No
            }
        };
        let or = |holds: bool, otherwise: Match| if holds { Match::Yes } else { otherwise };
        let any_operand = || {
            operands
                .iter()
                .filter_map(|it| it.known())
                .any(|text| self.any_operand.iter().any(|pattern| pattern.matches(text)))
        };
        let grants = || {
            operands
                .first()
                .is_some_and(|it| it.known().is_some_and(grants_all))
        };
        let mut weakest = Match::Yes;
        if !self.verb.is_empty() {
            weakest = weakest.min(if inherited {
                let told = operands.iter().copied().filter(|it| !is_open(it));
                self.verb(&told.collect::<Vec<_>>())
            } else {
                self.verb(&operands)
            });
        }
        if self.min_operands > 0 {
            weakest = weakest.min(Match::from_bool(operands.len() >= self.min_operands));
        }
        if weakest == Match::No {
            return weakest;
        }
        let anything = unknown(arguments.iter());
        let optional = arguments
            .iter()
            .any(|it| may_be_option(it) && !(inherited && is_open(it)));
        if !self.any_flag.is_empty() {
            let maybe = if optional { Match::Maybe } else { Match::No };
            weakest = weakest.min(or(self.any_flag(arguments), maybe));
        }
        if !self.any_operand.is_empty() {
            weakest = weakest.min(or(any_operand(), anything));
        }
        if !self.signal.is_empty() {
            let maybe = if optional || !inherited {
                anything
            } else {
                Match::No
            };
            weakest = weakest.min(or(self.signal(arguments), maybe));
        }
        if self.world_writable {
            let first = operands
                .first()
                .map_or([].as_slice(), |first| std::slice::from_ref(*first));
            let mode = unknown(first.iter());
            weakest = weakest.min(or(grants(), mode));
        }
        weakest
    }

    pub(crate) fn operands<'a>(&self, arguments: &'a [Value]) -> Vec<&'a Value> {
        let mut operands = Vec::new();
        let mut options = true;
        let mut skip = false;
        for argument in arguments {
            if std::mem::take(&mut skip) {
                continue;
            }
            match argument.known() {
                Some("--") if options => options = false,
                // A negative number is a process group, not an option.
                Some(text)
                    if options
                        && text.len() > 1
                        && text.starts_with('-')
                        && text.parse::<i64>().is_err() =>
                {
                    skip = self.value_options.iter().any(|option| option == text);
                }
                _ => operands.push(argument),
            }
        }
        operands
    }

    fn any_flag(&self, arguments: &[Value]) -> bool {
        arguments
            .iter()
            .filter_map(Value::known)
            .take_while(|text| *text != "--")
            .any(|text| self.any_flag.iter().any(|flag| is_flag(text, flag)))
    }

    fn verb(&self, operands: &[&Value]) -> Match {
        let one = |verb: &Vec<String>| {
            if operands.len() < verb.len() {
                return Match::No;
            }
            let words = verb
                .iter()
                .zip(operands)
                .map(|(word, operand)| match operand.known() {
                    Some(text) => Match::from_bool(text == word),
                    None => Match::Maybe,
                });
            words.min().unwrap_or(Match::No)
        };
        self.verb.iter().map(one).max().unwrap_or(Match::No)
    }

    fn signal(&self, arguments: &[Value]) -> bool {
        let wanted = |text: &str| {
            let name = text.to_ascii_uppercase();
            let name = name.trim_start_matches("SIG").to_owned();
            self.signal
                .iter()
                .any(|signal| signal.trim_start_matches("SIG") == name)
        };
        let mut previous = "";
        arguments.iter().filter_map(Value::known).any(|text| {
            let named = matches!(previous, "-s" | "-n" | "--signal") && wanted(text);
            previous = text;
            let glued = text
                .strip_prefix("--signal=")
                .or_else(|| text.strip_prefix("-s"));
            named || glued.is_some_and(&wanted) || text.strip_prefix('-').is_some_and(&wanted)
        })
    }
}

/// Whether what is not known may be an option.
fn may_be_option(value: &Value) -> bool {
    match value {
        Value::Known(_) => false,
        Value::Pattern(text) => text.starts_with(['-', '*', '?', '[']),
        Value::Unknown { prefix, .. } => prefix.is_empty() || prefix.starts_with('-'),
    }
}

/// Whether nothing is known of how an argument begins, or it is an option's value.
fn is_open(value: &Value) -> bool {
    matches!(value, Value::Unknown { prefix, .. }
        if prefix.is_empty() || prefix.starts_with("--") && prefix.contains('='))
}

/// Whether the argument `text` is or contains the option `flag`.
pub(super) fn is_flag(text: &str, flag: &str) -> bool {
    if let Some(long) = flag.strip_prefix("--") {
        let name = text.split('=').next().unwrap_or(text);
        return name == flag
            || name
                .strip_prefix("--")
                .is_some_and(|short| short.len() > 2 && long.starts_with(short));
    }
    let Some(letters) = flag.strip_prefix('-') else {
        return text == flag;
    };
    if letters.chars().count() > 1 {
        return text == flag;
    }
    text.starts_with('-') && !text.starts_with("--") && text.contains(letters)
}

/// Whether a mode gives others read, write and execute.
fn grants_all(mode: &str) -> bool {
    if !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit()) {
        return mode.ends_with('7');
    }
    mode.split(',').any(|clause| {
        let Some(at) = clause.find(['+', '=']) else {
            return false;
        };
        let (who, what) = clause.split_at(at);
        let others = who.is_empty() || who.contains(['o', 'a']);
        others && ['r', 'w', 'x'].iter().all(|right| what.contains(*right))
    })
}

#[cfg(test)]
mod tests {
    use super::{grants_all, is_flag};

    #[test]
    fn options_are_found_however_they_are_written() {
        assert!(
            is_flag("-rf", "-f") && is_flag("--force", "--force") && is_flag("--forc", "--force")
        );
        assert!(is_flag("-delete", "-delete"));
        assert!(!is_flag("--file", "-f") && !is_flag("-x", "-f") && !is_flag("--", "--force"));
    }

    #[test]
    fn modes_that_give_everybody_everything_are_seen() {
        for mode in ["777", "0777", "a+rwx", "+rwx", "u=r,o=rwx"] {
            assert!(grants_all(mode), "{mode}");
        }
        for mode in ["755", "u+rwx", "go-rwx", "a+r", ""] {
            assert!(!grants_all(mode), "{mode}");
        }
    }
}
