//! What of a session depends on variables that its environment may have.

use std::collections::BTreeSet;

use super::{Directory, File, LAST, MAX_NAMED, Positional, SessionState, Variable};

impl SessionState {
    /// Whether what the variable holds depends on one that nobody set here.
    pub(in crate::shell) fn is_inherited(&self, name: &str) -> bool {
        self.inherited.contains(name)
    }

    /// Whether there is such a variable.
    pub(in crate::shell) fn inherits_something(&self) -> bool {
        !self.inherited.is_empty()
    }

    /// Lets the environment have what nobody set here.
    pub(in crate::shell) fn inherit(&mut self) {
        for name in std::mem::take(&mut self.inherited) {
            self.set(&name, Variable::Unknown);
        }
    }

    /// Keeps in mind what is another in `other`, which is this session if the environment has
    /// what nobody set here.
    pub(in crate::shell) fn differs_from(&mut self, other: &Self) {
        self.overflowed |= other.overflowed;
        let mut differing: BTreeSet<String> = self.variables.differing(&other.variables);
        let fits = differing.len() <= MAX_NAMED;
        for name in &differing {
            if !fits || self.variable(name).is_none() {
                self.set(name, Variable::Unknown);
            }
        }
        if self.last != other.last {
            differing.insert(LAST.to_owned());
        }
        self.inherited = if fits { differing } else { Default::default() };
        if self.directory != other.directory {
            self.directory = Directory::Unknown;
        }
        if self.positional != other.positional {
            self.positional = Positional::Unknown;
        }
        let paths: Vec<String> = self.files.differing(&other.files);
        for path in paths {
            if !self.set_file(&path, Some(File::Unknown)) {
                self.overflowed = true;
            }
        }
        let functions: Vec<String> = self.functions.differing(&other.functions);
        for name in functions {
            if other.functions.contains_key(&name) {
                self.cannot_know_function(&name);
            }
        }
        self.doubts_aliases |= self.aliases != other.aliases;
    }
}
