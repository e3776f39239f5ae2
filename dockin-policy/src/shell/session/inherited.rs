//! What of a session depends on variables that its environment may have.

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
        let names = self.variables.keys().chain(other.variables.keys());
        let mut differing: std::collections::BTreeSet<String> = names
            .filter(|name| self.variables.get(*name) != other.variables.get(*name))
            .cloned()
            .collect();
        let fits = differing.len() <= MAX_NAMED;
        for name in &differing {
            if !fits || !self.variables.contains_key(name) {
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
        let paths: Vec<String> = self
            .files
            .keys()
            .chain(other.files.keys())
            .filter(|path| self.files.get(*path) != other.files.get(*path))
            .cloned()
            .collect();
        for path in paths {
            if !self.set_file(&path, Some(File::Unknown)) {
                self.overflowed = true;
            }
        }
        let functions: Vec<String> = other
            .functions
            .iter()
            .filter(|(name, body)| self.functions.get(*name) != Some(*body))
            .map(|(name, _)| name.clone())
            .collect();
        for name in functions {
            self.cannot_know_function(&name);
        }
        self.doubts_aliases |= self.aliases != other.aliases;
    }
}
