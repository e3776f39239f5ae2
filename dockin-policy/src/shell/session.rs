use std::collections::{BTreeMap, BTreeSet};

/// What earlier lines of a session left in the shell, as far as it can be known: the values of
/// variables, the names of aliases and functions, the working directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionState {
    /// `None`: set to something that is not known.
    pub(super) variables: BTreeMap<String, Option<String>>,
    /// Text that stands for the name.
    pub(super) aliases: BTreeMap<String, String>,
    /// Their bodies were judged when they were defined.
    pub(super) functions: BTreeSet<String>,
    /// `None`: not known.
    pub(super) directory: Option<String>,
}

/// Names kept of each kind: a session cannot grow without bound.
const MAX_NAMES: usize = 256;
/// Bytes kept of a value.
const MAX_VALUE: usize = 4096;

impl SessionState {
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        let value = value.filter(|value| value.len() <= MAX_VALUE);
        if self.variables.len() >= MAX_NAMES && !self.variables.contains_key(name) {
            // What is not kept is not known.
            return;
        }
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn define(&mut self, function: &str) {
        if self.functions.len() < MAX_NAMES {
            self.functions.insert(function.to_owned());
        }
    }

    /// Whether there was room for it.
    pub(super) fn alias(&mut self, name: &str, text: String) -> bool {
        let room = self.aliases.len() < MAX_NAMES && text.len() <= MAX_VALUE;
        if room {
            self.aliases.insert(name.to_owned(), text);
        }
        room
    }
}
