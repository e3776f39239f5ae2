use std::{fmt, ops::Range};

use crate::audit::{masked_text, redact_words};

/// What is to become of a command, by severity: the most severe of several wins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
// Exhaustive: every caller must handle each.
pub enum Decision {
    /// It runs.
    Allow,
    /// It runs, and somebody is told.
    Alert,
    /// A second person decides; refused as long as nobody can be asked.
    Ask,
    /// It does not run.
    Deny,
}

impl Decision {
    /// The word in rules and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Alert => "alert",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// Why a verdict is what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// A rule speaks of it; its message, if it has one.
    Rule {
        /// What the rule's author says.
        message: String,
    },
    /// No rule speaks of it: the rule set's default decides.
    Default,
    /// What would run cannot be known before it runs, and why.
    Unknown {
        /// What about it.
        what: &'static str,
    },
    /// It is no command line.
    Unparsed {
        /// Byte offset of what cannot be read.
        offset: usize,
    },
}

/// What became of a command, a line or an argument list, and why.
///
/// `Display` is one line for the person who typed it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What is to become of it.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// The word or path that the rule speaks of.
    pub token: Option<String>,
    /// The argument lists that would run, as far as they are known; `None` when they are not.
    pub programs: Option<Vec<Vec<String>>>,
    /// Bytes of the line that the verdict is about.
    pub span: Option<Range<usize>>,
    /// The command that the verdict is about, shortened.
    pub(crate) subject: String,
    /// Whom to ask, from the rule set.
    pub(crate) contact: String,
}

impl Verdict {
    /// Masks the secrets in what the verdict shows, for records, and in the line that was judged,
    /// which it gives back: most often the same text.
    pub(crate) fn redact_beside(&mut self, line: &str) -> String {
        let masked = masked_text(line);
        let subject = match self.subject == line {
            true => masked.clone(),
            false => masked_text(&self.subject),
        };
        if let Some(subject) = subject {
            self.subject = subject;
        }
        if let Some(masked) = self.token.as_deref().and_then(masked_text) {
            self.token = Some(masked);
        }
        for argv in self.programs.iter_mut().flatten() {
            redact_words(argv);
        }
        masked.unwrap_or_else(|| line.to_owned())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = match self.decision {
            Decision::Allow | Decision::Alert => "allowed",
            Decision::Ask => "refused until somebody approves",
            Decision::Deny => "refused",
        };
        if !self.subject.is_empty() {
            write!(f, "`{}` ", self.subject)?;
        }
        f.write_str(refused)?;
        if let Some(rule) = &self.rule {
            write!(f, " by rule `{rule}`")?;
        }
        match &self.reason {
            Reason::Rule { message } if message.is_empty() => {}
            Reason::Rule { message } => write!(f, ": {message}")?,
            Reason::Default if self.decision > Decision::Alert => {
                f.write_str(": no rule allows it")?;
            }
            Reason::Default => {}
            Reason::Unknown { what } => write!(f, ": {what}")?,
            Reason::Unparsed { offset } => {
                write!(
                    f,
                    ": it cannot be read as a command line from byte {offset} on"
                )?;
            }
        }
        if self.decision > Decision::Alert && !self.contact.is_empty() {
            write!(f, " (ask {})", self.contact)?;
        }
        Ok(())
    }
}
