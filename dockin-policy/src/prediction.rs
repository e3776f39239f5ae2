//! What a line would run, to be compared with what runs.

use crate::judge::MAX_LINE;
use crate::shell::{Analysis, Certainty, ParseError, Resolved, SessionState, Value, analyze_line};

/// The programs that a line would start, as far as that can be known before it runs.
///
/// Whoever sees the programs that really start, as an agent on the node does, asks
/// [`covers`](Self::covers) of each: one that is not covered is a surprise.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prediction {
    /// Wrappers stand before what they run.
    pub programs: Vec<PredictedProgram>,
    /// Why there may be others: something that is run cannot be known.
    pub unknown: Option<&'static str>,
}

/// A program that would start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PredictedProgram {
    /// What it is called as, and its arguments.
    pub argv: Vec<Argument>,
    /// Whether it surely starts, and not only if something turns out so.
    pub is_certain: bool,
}

/// One argument, as far as it can be known.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: a caller must handle each.
pub enum Argument {
    /// Exactly this.
    Known(String),
    /// Wildcards, which become the names of files that are like them, or stay; `\` quotes.
    Wildcards(String),
    /// Not known: any number of words, of which the first begins with `prefix` and the last ends
    /// with `suffix`. None at all only where both are empty.
    Unknown {
        /// What surely stands in front.
        prefix: String,
        /// What surely stands behind.
        suffix: String,
    },
}

impl Prediction {
    /// Whether a program that started was to be expected: one that is predicted is like it, or
    /// something that is run could not be known.
    #[must_use]
    pub fn covers(&self, argv: &[String]) -> bool {
        self.unknown.is_some() || self.programs.iter().any(|program| program.covers(argv))
    }
}

impl PredictedProgram {
    /// Whether `argv` is what this may start as.
    #[must_use]
    pub fn covers(&self, argv: &[String]) -> bool {
        // Which beginnings of `argv` the arguments so far can be, by their length.
        let mut reached = vec![false; argv.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        for argument in &self.argv {
            reached = argument.step(&reached, argv);
        }
        reached.last().copied().unwrap_or_default()
    }

    /// The argument list, when all of it is known.
    #[must_use]
    pub fn known(&self) -> Option<Vec<&str>> {
        self.argv
            .iter()
            .map(|argument| match argument {
                Argument::Known(text) => Some(text.as_str()),
                Argument::Wildcards(_) | Argument::Unknown { .. } => None,
            })
            .collect()
    }
}

impl Argument {
    fn step(&self, reached: &[bool], argv: &[String]) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        // Whether words since some beginning may belong to this argument.
        let mut open = false;
        for at in 0..reached.len() {
            let before = at
                .checked_sub(1)
                .and_then(|before| Some((reached.get(before).copied()?, argv.get(before)?)));
            let ends = match (self, before) {
                (Self::Known(text), Some((true, word))) => text == word,
                (Self::Wildcards(pattern), Some((begins, word))) => {
                    open = (open || begins) && is_like(pattern, word);
                    open
                }
                (Self::Unknown { prefix, suffix }, Some((begins, word))) => {
                    let first = begins && word.starts_with(prefix.as_str());
                    let alone = first
                        && word.len() >= prefix.len() + suffix.len()
                        && word.ends_with(suffix.as_str());
                    let last = alone || open && word.ends_with(suffix.as_str());
                    open |= first;
                    last
                }
                _ => false,
            };
            let vanishes = matches!(self, Self::Unknown { prefix, suffix }
                if prefix.is_empty() && suffix.is_empty())
                && reached.get(at).copied().unwrap_or_default();
            if let Some(slot) = next.get_mut(at) {
                *slot = ends || vanishes;
            }
        }
        next
    }
}

fn is_like(pattern: &str, word: &str) -> bool {
    crate::shell::unescape(pattern) == word || crate::shell::matches(pattern, word).unwrap_or(true)
}

/// Predicts what a line would run in a session, which becomes what the line leaves.
///
/// ```
/// use dockin_policy::{SessionState, predict_line};
///
/// let mut session = SessionState::default();
/// let prediction = predict_line(b"for x in 1 2; do ls $x; done; cat *.txt", &mut session);
/// let argv = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
/// assert!(prediction.covers(&argv("ls 2")));
/// assert!(prediction.covers(&argv("cat a.txt b.txt")));
/// assert!(!prediction.covers(&argv("rm a.txt")));
/// ```
#[must_use]
pub fn predict_line(line: &[u8], session: &mut SessionState) -> Prediction {
    if line.len() > MAX_LINE {
        return Prediction {
            unknown: Some("a line longer than is looked at"),
            ..Prediction::default()
        };
    }
    let (analysis, error) = analyze_line(line, session);
    let mut prediction = predicted(&analysis);
    match error {
        None | Some(ParseError::Malformed { .. }) => {}
        Some(ParseError::Incomplete) => prediction.unknown = Some("a line that goes on"),
        Some(ParseError::TooDeep { .. }) => {
            prediction.unknown = Some("a line that nests deeper than is looked at");
        }
    }
    prediction
}

fn predicted(analysis: &Analysis) -> Prediction {
    let unknown = analysis.unknowns.iter().find(|unknown| !unknown.is_soft);
    Prediction {
        programs: analysis
            .commands
            .iter()
            .filter(|command| command.is_program && command.certainty <= Certainty::Inherited)
            .map(|command| program(analysis, command))
            .collect(),
        unknown: unknown.map(|unknown| unknown.what),
    }
}

fn program(analysis: &Analysis, command: &Resolved) -> PredictedProgram {
    PredictedProgram {
        argv: command
            .argv
            .iter()
            .map(|value| argument(analysis, value))
            .collect(),
        is_certain: command.certainty == Certainty::Live,
    }
}

fn argument(analysis: &Analysis, value: &Value) -> Argument {
    match value {
        Value::Known(text) => match analysis.placeholder(text) {
            Some((prefix, suffix)) => Argument::Unknown {
                prefix: prefix.to_owned(),
                suffix: suffix.to_owned(),
            },
            // It stands for the home folder, or for itself.
            None => match (text.split_once('~'), text.rsplit_once('~')) {
                (Some((prefix, _)), Some((_, suffix))) => Argument::Unknown {
                    prefix: prefix.to_owned(),
                    suffix: suffix.to_owned(),
                },
                _ => Argument::Known(text.clone()),
            },
        },
        Value::Pattern(pattern) => Argument::Wildcards(pattern.clone()),
        Value::Unknown { prefix, suffix, .. } => Argument::Unknown {
            prefix: prefix.clone(),
            suffix: suffix.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn covers(line: &str, ran: &str) -> bool {
        predict_line(line.as_bytes(), &mut SessionState::default()).covers(&argv(ran))
    }

    #[test]
    fn known_arguments_cover_themselves_alone() {
        assert!(covers("ls -l 'a'", "ls -l a"));
        assert!(!covers("ls -l a", "ls -l"));
        assert!(!covers("ls -l a", "ls -l a b"));
    }

    #[test]
    fn wildcards_cover_files_that_are_like_them() {
        assert!(covers("ls *.txt x", "ls a.txt b.txt x"));
        assert!(covers("ls *.txt", "ls *.txt"));
        assert!(!covers("ls *.txt", "ls a.log"));
        assert!(!covers("ls *.txt", "ls"));
    }

    #[test]
    fn unknown_arguments_cover_any_number_of_words() {
        assert!(covers("ls a$(date)b c", "ls ab c"));
        assert!(covers("ls a$(date)b c", "ls a1 2 3b c"));
        assert!(covers("ls $(date)", "ls"));
        assert!(!covers("ls a$(date)b c", "ls x3b c"));
    }
}
