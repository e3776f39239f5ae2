//! What is known of a word once it is expanded.

/// One argument, as far as it can be known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// Exactly this.
    Known(String),
    /// Text with wildcards, which becomes file names, or stays.
    Pattern(String),
    /// Not known, and why; what surely stands before and behind.
    Unknown {
        reason: &'static str,
        prefix: String,
        suffix: String,
    },
}

impl Value {
    pub(crate) const fn unknown(reason: &'static str) -> Self {
        Self::Unknown {
            reason,
            prefix: String::new(),
            suffix: String::new(),
        }
    }

    /// The text that it surely is.
    pub(crate) fn known(&self) -> Option<&str> {
        match self {
            Self::Known(text) => Some(text),
            Self::Pattern(_) | Self::Unknown { .. } => None,
        }
    }

    /// For people and records.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Known(text) | Self::Pattern(text) => text.clone(),
            Self::Unknown { prefix, suffix, .. } => format!("{prefix}?{suffix}"),
        }
    }
}

/// What a command prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Out {
    Known(String),
    Unknown(&'static str),
}

impl Out {
    pub(super) const fn nothing() -> Self {
        Self::Known(String::new())
    }

    /// This and then `other`.
    pub(super) fn then(&mut self, other: Self) {
        *self = match (std::mem::replace(self, Self::nothing()), other) {
            (Self::Unknown(reason), Self::Unknown(DOWNLOADED)) if reason != DOWNLOADED => {
                Self::Unknown(DOWNLOADED)
            }
            (Self::Unknown(reason), _) | (_, Self::Unknown(reason)) => Self::Unknown(reason),
            (Self::Known(mut text), Self::Known(more)) => {
                if text.len() + more.len() > MAX_OUTPUT {
                    Self::Unknown("more output than is looked at")
                } else {
                    text.push_str(&more);
                    Self::Known(text)
                }
            }
        };
    }
}

/// Bytes of output that are followed.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;
/// What was fetched from elsewhere.
pub(super) const DOWNLOADED: &str = "what is downloaded is not known beforehand";
pub(super) const OUTPUT: &str = "the output of a command is not known beforehand";
/// Where the session began is not known, nor what stands above it.
pub(crate) const ABOVE: &str = "a folder above the one that the session began in is not known";
/// It leads to no other folder.
pub(crate) const PLAIN: &str = "a number or a name is not known beforehand";
pub(super) const VARIABLE: &str = "the value of a variable is not known";
/// What `PATH` of the environment has.
pub(super) const FOLDERS: &str = "the folders that programs are looked for in are not known";
