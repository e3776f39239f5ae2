//! Changes that can be taken back, or doubted.

use std::{collections::BTreeMap, sync::Arc};

use super::{Directory, Doubt, File, Formers, LAST, OVERHEAD, Positional, SessionState, Variable};

impl SessionState {
    /// From here on changes can be taken back.
    pub(in crate::shell) const fn mark(&mut self) -> usize {
        self.marks += 1;
        self.journal.len()
    }

    /// Takes back what was changed in the shell since `mark`; files stay as they are.
    pub(in crate::shell) fn restore(&mut self, mark: usize) {
        let mut written = Vec::new();
        while self.journal.len() > mark {
            let Some(entry) = self.journal.pop() else {
                break;
            };
            match entry {
                Entry::File(ref path, _) if !path.starts_with("hash:") => {
                    written.push(entry);
                }
                entry => self.undo(entry),
            }
        }
        self.journal.extend(written.into_iter().rev());
        self.unmark(mark);
    }

    /// How much was changed since `mark`.
    pub(in crate::shell) const fn changes_since(&self, mark: usize) -> usize {
        self.journal.len().saturating_sub(mark)
    }

    /// What was changed since `mark` may have been changed or not: it is not known.
    pub(in crate::shell) fn doubt(&mut self, mark: usize) {
        let changed: Vec<Entry> = self.journal.get(mark..).unwrap_or_default().to_vec();
        // What may be constant can be doubted.
        for entry in &changed {
            if let Entry::Constant(name, old) = entry
                && self.constants.get(name).copied() != *old
            {
                self.constants.insert(name.clone(), false);
            }
        }
        // Entries come oldest first: the first of a name is what it was.
        let mut seen = std::collections::BTreeSet::new();
        for entry in changed {
            match entry {
                Entry::Variable(name, old) => {
                    if seen.insert(('v', name.clone())) && old.as_deref() != self.variable(&name) {
                        self.set_unseen(&name, Variable::Unknown);
                    }
                }
                Entry::File(path, old) => {
                    if seen.insert(('f', path.clone())) && old.as_ref() != self.files.get(&path) {
                        self.set_file(&path, Some(File::Unknown));
                    }
                }
                Entry::Directory(old, formers) => {
                    if !seen.insert(('d', String::new())) {
                        continue;
                    }
                    if old != self.directory {
                        self.set_directory(Directory::Unknown);
                    } else {
                        self.add_formers(formers.all);
                    }
                }
                Entry::Positional(old) => {
                    if seen.insert(('p', String::new())) && old != self.positional {
                        self.set_positional(Positional::Unknown);
                    }
                }
                // What may be exported counts as exported.
                Entry::Exported(..) => {}
                Entry::Function(name, old) => {
                    if seen.insert(('u', name.clone())) {
                        self.doubt_function(&name, old);
                    }
                }
                Entry::Alias(name, old) => {
                    let new = self.aliases.get(&name);
                    self.doubts_aliases |= new != old.as_ref();
                    // One that may be gone counts as there.
                    if let (None, Some(old)) = (new, old) {
                        self.set_alias(&name, Some(old));
                    }
                }
                // It was judged where it was set.
                Entry::Constant(..) | Entry::Trap(..) => {}
                // What was in doubt before a definition that may not have been made is so again.
                Entry::Doubt(name, before) => {
                    if before == Some(Doubt::Which) {
                        self.doubts.insert(name, Doubt::Which);
                    } else if let Some(before) = before {
                        self.doubts.entry(name).or_insert(before);
                    }
                }
            }
        }
        self.unmark(mark);
    }

    pub(super) fn doubt_function(&mut self, name: &str, old: Option<String>) {
        let doubt = match (old, self.functions.get(name)) {
            (None, None) => return,
            (Some(old), Some(new)) if old == *new => return,
            (Some(_), Some(_)) => Doubt::Which,
            (None, Some(_)) => Doubt::Whether,
            (Some(old), None) => {
                let before = self.doubts.get(name).copied();
                self.set_function(name, Some(old));
                before.unwrap_or(Doubt::Whether)
            }
        };
        self.add_doubt(name, doubt);
    }

    /// What was changed since `mark` stays.
    pub(in crate::shell) fn keep(&mut self, mark: usize) {
        self.unmark(mark);
    }

    /// The names that were changed since `mark`.
    pub(in crate::shell) fn changed_since(&self, mark: usize) -> bool {
        self.journal.len() > mark
    }

    pub(super) fn unmark(&mut self, _mark: usize) {
        self.marks = self.marks.saturating_sub(1);
        if self.marks == 0 {
            self.journal = Vec::new();
        }
    }

    pub(super) fn undo(&mut self, entry: Entry) {
        match entry {
            Entry::Variable(name, old) if name == LAST => {
                self.last = old.map(Arc::unwrap_or_clone);
            }
            Entry::Variable(name, old) => {
                let current = self.variables.remove(&*name);
                let size = old.as_deref().map(Variable::size);
                self.account(
                    &name,
                    size.unwrap_or_default(),
                    current.as_deref().map(Variable::size),
                );
                match old {
                    Some(value) => {
                        self.variables.insert(name.into(), value);
                    }
                    None => self.bytes = self.bytes.saturating_sub(name.len() + OVERHEAD),
                }
            }
            Entry::Alias(name, old) => put(&mut self.aliases, name, old),
            Entry::Function(name, old) => put(&mut self.functions, name, old),
            Entry::Trap(name, old) => put(&mut self.traps, name, old),
            Entry::File(path, old) => put(&mut self.files, path, old),
            Entry::Positional(old) => self.positional = old,
            Entry::Directory(old, formers) => {
                self.directory = old;
                self.formers = formers;
            }
            Entry::Doubt(name, Some(doubt)) => {
                self.doubts.insert(name, doubt);
            }
            Entry::Doubt(name, None) => {
                self.doubts.remove(&name);
            }
            Entry::Constant(name, Some(sure)) => {
                self.constants.insert(name, sure);
            }
            Entry::Constant(name, None) => {
                self.constants.remove(&name);
            }
            Entry::Exported(name, true) => {
                self.exported.insert(name);
            }
            Entry::Exported(name, false) => {
                self.exported.remove(&name);
            }
        }
    }

    pub(super) fn note(&mut self, entry: impl FnOnce() -> Entry) {
        if self.marks > 0 && self.journal.len() < MAX_JOURNAL {
            let entry = entry();
            self.journal.push(entry);
        } else if self.marks > 0 {
            self.overflowed = true;
        }
    }
}

/// One change that can be taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    Variable(String, Option<Arc<Variable>>),
    Alias(String, Option<String>),
    Function(String, Option<String>),
    Trap(String, Option<String>),
    File(String, Option<File>),
    Positional(Positional),
    Directory(Directory, Formers),
    /// Whether it was exported before.
    Exported(String, bool),
    Constant(String, Option<bool>),
    Doubt(String, Option<Doubt>),
}

/// Changes that can be taken back.
const MAX_JOURNAL: usize = 4096;

fn put<T>(map: &mut BTreeMap<String, T>, name: String, old: Option<T>) {
    match old {
        Some(value) => {
            map.insert(name, value);
        }
        None => {
            map.remove(&name);
        }
    }
}
