//! Conditions on a program's arguments.

use super::{Match, Pattern, mode::grants_all, value_option::takes_value};
use crate::shell::{Value, is_long};

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
    pub(crate) fn match_all(&self, program: &str, arguments: &[Value], inherited: bool) -> Match {
        let operands = self.operands(program, arguments);
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
                .any(|text| self.is_operand(text))
        };
        let mut weakest = Match::Yes;
        if !self.verb.is_empty() {
            weakest = weakest.min(if inherited {
                let told = operands.iter().copied().filter(|it| !is_open(it));
                self.verb(&told.collect::<Vec<_>>())
            } else {
                self.verb(&operands)
            });
            if weakest == Match::No && self.may_have_verb(arguments) {
                weakest = Match::Maybe;
            }
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
            weakest = weakest.min(match operands.first().map(|mode| mode.known()) {
                Some(Some(mode)) => grants_all(mode),
                Some(None) => Match::Maybe,
                None => Match::No,
            });
        }
        weakest
    }

    /// Whether an operand is like one that the rule names: a number however it is written, where
    /// processes are named.
    fn is_operand(&self, text: &str) -> bool {
        let named = |text: &str| self.any_operand.iter().any(|pattern| pattern.matches(text));
        let number = || text.trim().parse::<i64>().ok();
        named(text) || !self.signal.is_empty() && number().is_some_and(|it| named(&it.to_string()))
    }

    pub(crate) fn operands<'a>(&self, program: &str, arguments: &'a [Value]) -> Vec<&'a Value> {
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
                    skip = self.value_options.iter().any(|option| option == text)
                        || !self.verb.is_empty() && takes_value(program, text);
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

    /// Whether the verb stands where an option that is not known may have its value.
    fn may_have_verb(&self, arguments: &[Value]) -> bool {
        self.verb.iter().any(|verb| {
            let mut words = verb.iter().peekable();
            let mut behind_option = false;
            for argument in arguments {
                let Some(text) = argument.known() else {
                    return false;
                };
                if words.peek().is_some_and(|word| *word == text) {
                    words.next();
                    if words.peek().is_none() {
                        return true;
                    }
                } else if text.len() < 2 || !text.starts_with('-') {
                    // What is neither an option nor its value is another verb.
                    if !behind_option {
                        return false;
                    }
                    behind_option = false;
                    continue;
                }
                behind_option = text.starts_with('-') && !text.contains('=');
            }
            false
        })
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
            let name = name.trim_start_matches("SIG");
            let number = name.parse::<u8>().map(|number| number.to_string());
            let name = number.as_deref().unwrap_or(name);
            self.signal
                .iter()
                .any(|signal| signal.trim_start_matches("SIG") == name)
        };
        let is_option = |text: &str| {
            matches!(text, "-s" | "-n") || !text.contains('=') && is_long(text, "--signal")
        };
        let mut previous = "";
        arguments.iter().filter_map(Value::known).any(|text| {
            let named = is_option(previous) && wanted(text);
            previous = text;
            let glued = match text.split_once('=') {
                Some((option, value)) if is_option(option) => Some(value),
                _ => text.strip_prefix("-s").or_else(|| text.strip_prefix("-n")),
            };
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

#[cfg(test)]
mod tests {
    use super::is_flag;

    #[test]
    fn options_are_found_however_they_are_written() {
        assert!(
            is_flag("-rf", "-f") && is_flag("--force", "--force") && is_flag("--forc", "--force")
        );
        assert!(is_flag("-delete", "-delete"));
        assert!(!is_flag("--file", "-f") && !is_flag("-x", "-f") && !is_flag("--", "--force"));
    }
}
