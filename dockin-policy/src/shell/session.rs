mod folder;
mod inherited;
mod journal;
mod shared;

pub(super) use folder::{Directory, Formers};
use journal::Entry;
pub(super) use shared::Shared;
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::Dialect;

/// What earlier lines of a session left in the shell, as far as it can be known: variables,
/// aliases, functions, the working directory, files of known content. Bounded: what does not fit
/// is not known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionState {
    dialect: Dialect,
    /// `#` is a letter like others.
    without_comments: bool,
    /// zsh splits what variables hold into words, as other shells do.
    splits_words: bool,
    variables: Shared<BTreeMap<Arc<str>, Arc<Variable>>>,
    /// `$_`, which every command sets.
    last: Option<Variable>,
    /// Text that stands for the name.
    aliases: Shared<BTreeMap<String, String>>,
    /// Bodies as they were written.
    functions: Shared<BTreeMap<String, String>>,
    /// Texts to run at the end, at signals, before commands.
    traps: Shared<BTreeMap<String, String>>,
    /// Files written by known text, and programs under other names.
    files: Shared<BTreeMap<String, File>>,
    /// Variables whose values are calculated.
    integers: Shared<std::collections::BTreeSet<String>>,
    /// Variables that programs get; functions with `()` behind their names.
    exported: Shared<std::collections::BTreeSet<String>>,
    /// `set -a`: every variable is exported.
    exports_all: bool,
    /// Variables that keep what they have, and whether that is sure.
    constants: Shared<BTreeMap<String, bool>>,
    /// Variables that hold something else if the environment has another that was never set here.
    inherited: std::collections::BTreeSet<String>,
    /// Functions that may be or may not be defined.
    doubts: Shared<BTreeMap<String, Doubt>>,
    /// Aliases may be or may not be set.
    doubts_aliases: bool,
    positional: Positional,
    /// Files that are there may not be written: `set -C`, or another mode.
    keeps_files: bool,
    /// Somebody types at it.
    is_interactive: bool,
    directory: Directory,
    /// Where the shell still is if a folder could not be gone to.
    formers: Formers,
    bytes: usize,
    /// Something did not fit.
    overflowed: bool,
    /// Variables whose values are run, and what they were set to since somebody asked.
    watched: Vec<(String, Variable)>,
    /// What was there before, while it may have to come back.
    journal: Vec<Entry>,
    marks: usize,
}

/// What a variable holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Variable {
    /// Set to something that is not known, or perhaps not set.
    Unknown,
    /// Surely not set.
    Unset,
    Text(String),
    /// By index.
    Array(BTreeMap<usize, String>),
    /// By key.
    Map(BTreeMap<String, String>),
    /// Another variable's name.
    Reference(String),
    /// What the environment has, with texts before and behind it.
    Around(String, String),
}

/// What is known of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum File {
    /// Its text.
    Text(String),
    /// Written in this session with something that is not known.
    Unknown,
    /// The same as the program of this name.
    Program(String),
    /// A link to another path.
    Link(String),
}

/// What is not known of a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Doubt {
    /// Whether there is one.
    Whether,
    /// Which of several it is.
    Which,
}

/// `$1`, `$2`, …
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Positional {
    Known(Vec<String>),
    Unknown,
}

impl Default for Positional {
    fn default() -> Self {
        Self::Known(Vec::new())
    }
}

/// Bytes of everything that is kept of a session.
const MAX_BYTES: usize = 40 * 1024;
/// Bytes that a name costs besides itself and its value.
const OVERHEAD: usize = 64;
/// Elements of one array.
const MAX_ELEMENTS: usize = 256;
/// Names that are exported.
const MAX_EXPORTED: usize = 128;
/// Names of variables that cannot be set, and of functions that are in doubt.
const MAX_NAMED: usize = 64;
/// Bytes of such a name.
const MAX_NAME: usize = 64;
/// The variable that holds the last argument of the last command.
const LAST: &str = "_";
/// Bytes of what it holds.
const MAX_LAST: usize = 4096;
/// Bytes of positional parameters.
const MAX_POSITIONAL: usize = 8 * 1024;
impl SessionState {
    /// A session of a shell that reads `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            ..Self::default()
        }
    }

    /// A session at a terminal: what `#` means is another thing for zsh there.
    #[must_use]
    pub fn interactive(dialect: Dialect) -> Self {
        Self {
            without_comments: dialect == Dialect::Zsh,
            is_interactive: true,
            ..Self::new(dialect)
        }
    }

    /// Whether files that are there may stay what they are, whatever is written to them.
    pub(super) const fn keeps_files(&self) -> bool {
        self.keeps_files
    }

    pub(super) const fn keep_files(&mut self) {
        self.keeps_files = true;
    }

    pub(super) const fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    /// Whether `#` begins a comment.
    #[must_use]
    pub const fn has_comments(&self) -> bool {
        !self.without_comments
    }

    pub(super) const fn set_comments(&mut self, on: bool) {
        self.without_comments = !on;
    }

    /// Whether zsh splits what variables hold.
    pub(super) const fn splits_words(&self) -> bool {
        self.splits_words
    }

    pub(super) const fn set_splitting(&mut self, on: bool) {
        self.splits_words = on;
    }

    /// The grammar that lines are read by.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Bytes that are kept, about: bounded by 64 KiB.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes
    }

    pub(super) const fn set_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    pub(super) fn variable(&self, name: &str) -> Option<&Variable> {
        if name == LAST {
            return self.last.as_ref();
        }
        self.variables.get(name).map(|value| &**value)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(|name| &**name)
    }

    pub(super) fn set(&mut self, name: &str, value: Variable) {
        if name == LAST {
            let value = if value.size() > MAX_LAST {
                Variable::Unknown
            } else {
                value
            };
            let old = self.last.replace(value);
            return self.note(|| Entry::Variable(LAST.to_owned(), old.map(Arc::new)));
        }
        let value = match self.constants.get(name) {
            Some(true) => return,
            Some(false) => Variable::Unknown,
            None => value,
        };
        let is_run = match &value {
            Variable::Text(text) => super::command::is_run_by_calculations(text),
            Variable::Array(texts) => texts
                .values()
                .any(|text| super::command::is_run_by_calculations(text)),
            Variable::Map(texts) => texts
                .values()
                .any(|text| super::command::is_run_by_calculations(text)),
            _ => false,
        };
        if (is_run || super::command::is_watched(name)) && self.watched.len() < MAX_NAMED {
            self.watched.push((name.to_owned(), value.clone()));
        }
        let elements = match &value {
            Variable::Array(array) => array.len(),
            Variable::Map(map) => map.len(),
            _ => 0,
        };
        let value = if elements > MAX_ELEMENTS {
            Variable::Unknown
        } else {
            value
        };
        let old = self.variable(name).map_or(0, Variable::size);
        let value = if self.fits(name, value.size(), old) {
            value
        } else {
            Variable::Unknown
        };
        let new = value.size();
        if self.bytes + OVERHEAD > MAX_BYTES && !self.variables.contains_key(name) {
            self.overflowed = true;
            return;
        }
        let value = Arc::new(value);
        let old_value = match self.variables.get_mut(name) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => self.variables.insert(name.into(), value),
        };
        self.account(name, new, old_value.as_deref().map(Variable::size));
        self.note(|| Entry::Variable(name.to_owned(), old_value));
    }

    /// Sets it to what was looked at when it was set before.
    pub(super) fn set_unseen(&mut self, name: &str, value: Variable) {
        let watched = self.watched.len();
        self.set(name, value);
        self.watched.truncate(watched);
    }

    /// What variables that are run were set to, since it was asked for.
    pub(super) fn take_watched(&mut self) -> Vec<(String, Variable)> {
        std::mem::take(&mut self.watched)
    }

    /// Programs get the variable `name`, or the function `name()`, or no longer.
    pub(super) fn export(&mut self, name: &str, on: bool) {
        let is_new = !self.exported.contains(name);
        if on && is_new && (self.exported.len() == MAX_EXPORTED || name.len() > MAX_NAME) {
            self.overflowed = true;
            return;
        }
        let before = !is_new;
        match (on, is_new) {
            (true, true) => {
                self.exported.insert(name.to_owned());
            }
            (false, false) => {
                self.exported.remove(name);
            }
            _ => {}
        }
        self.note(|| Entry::Exported(name.to_owned(), before));
    }

    /// What the variable has it keeps.
    pub(super) fn set_constant(&mut self, name: &str) {
        if self.constants.len() == MAX_NAMED || name.len() > MAX_NAME {
            self.overflowed = true;
            return;
        }
        let before = self.constants.insert(name.to_owned(), true);
        self.note(|| Entry::Constant(name.to_owned(), before));
    }

    /// What is not known of the function `name`.
    pub(super) fn doubt_about(&self, name: &str) -> Option<Doubt> {
        // Where no more names fit, none is sure.
        let full = self.overflowed.then_some(Doubt::Which);
        self.doubts.get(name).copied().or(full)
    }

    /// The variable can be set again.
    pub(super) fn release(&mut self, name: &str) {
        if self.constants.contains_key(name)
            && let Some(before) = self.constants.remove(name)
        {
            self.note(|| Entry::Constant(name.to_owned(), Some(before)));
        }
    }

    /// Whether the variable can be set is not known.
    pub(super) fn doubt_constant(&mut self, name: &str) {
        let before = self.constants.insert(name.to_owned(), false);
        self.note(|| Entry::Constant(name.to_owned(), before));
        // In doubt it can be set to what nobody knows.
        self.set(name, Variable::Unknown);
    }

    /// What the function `name` does cannot be known.
    pub(super) fn cannot_know_function(&mut self, name: &str) {
        self.add_doubt(name, Doubt::Which);
    }

    fn add_doubt(&mut self, name: &str, doubt: Doubt) {
        let doubt = match self.doubts.get(name) {
            Some(Doubt::Which) => Doubt::Which,
            _ => doubt,
        };
        if self.doubts.len() < MAX_NAMED && name.len() <= MAX_NAME {
            let before = self.doubts.insert(name.to_owned(), doubt);
            self.note(|| Entry::Doubt(name.to_owned(), before));
        } else {
            self.overflowed = true;
        }
    }

    pub(super) fn is_exported(&self, name: &str) -> bool {
        self.exports_all || self.exported.contains(name)
    }

    pub(super) fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// Whether some alias may be or may not be set.
    pub(super) const fn doubts_aliases(&self) -> bool {
        self.doubts_aliases
    }

    pub(super) const fn export_all(&mut self, on: bool) {
        self.exports_all = on;
    }

    /// Leaves what a shell that is started gets: what is exported, and what its environment may
    /// have. The names of variables that are left behind.
    pub(super) fn leave_unexported(&mut self, functions: bool) -> Vec<String> {
        let names: Vec<String> = self
            .names()
            .filter(|name| !self.exports_all && !self.exported.contains(*name))
            .filter(|name| !super::parameter::is_of_the_environment(name))
            .map(str::to_owned)
            .collect();
        for name in &names {
            self.forget(name);
        }
        let constants: Vec<String> = self.constants.keys().cloned().collect();
        for name in &constants {
            self.release(name);
        }
        let bodies: Vec<String> = self
            .functions
            .keys()
            .filter(|name| {
                !functions || !self.exports_all && !self.exported.contains(&format!("{name}()"))
            })
            .cloned()
            .collect();
        for name in &bodies {
            self.set_function(name, None);
        }
        let aliases: Vec<String> = self.aliases.keys().cloned().collect();
        for name in &aliases {
            self.set_alias(name, None);
        }
        let traps: Vec<String> = self.traps.keys().cloned().collect();
        for name in &traps {
            self.set_trap(name, None);
        }
        names
    }

    /// Nobody knows of a variable of this name.
    pub(super) fn forget(&mut self, name: &str) {
        if name == LAST {
            let old = self.last.take();
            return self.note(|| Entry::Variable(LAST.to_owned(), old.map(Arc::new)));
        }
        if !self.variables.contains_key(name) {
            return;
        }
        let Some(old) = self.variables.remove(name) else {
            return;
        };
        self.bytes = self
            .bytes
            .saturating_sub(name.len() + OVERHEAD + old.size());
        self.note(|| Entry::Variable(name.to_owned(), Some(old)));
    }

    pub(super) fn is_integer(&self, name: &str) -> bool {
        self.integers.contains(name)
    }

    pub(super) fn set_integer(&mut self, name: &str) {
        if self.integers.len() < 64 && name.len() < 64 {
            self.integers.insert(name.to_owned());
        } else {
            self.overflowed = true;
        }
    }

    pub(super) fn text(&mut self, name: &str, value: impl Into<String>) {
        self.set(name, Variable::Text(value.into()));
    }

    /// Whether something is kept that runs without standing in the line.
    pub(super) fn holds_code(&self) -> bool {
        !(self.aliases.is_empty()
            && self.functions.is_empty()
            && self.traps.is_empty()
            && self.files.is_empty())
    }

    /// Whether a word may stand for a text of any kind.
    pub(crate) fn has_aliases(&self) -> bool {
        !self.aliases.is_empty()
    }

    pub(super) fn all_aliases(&self) -> &Shared<BTreeMap<String, String>> {
        &self.aliases
    }

    /// Whether there was room for it.
    pub(super) fn set_alias(&mut self, name: &str, text: Option<String>) -> bool {
        let (kept, old) = self.replace(name, text, |state| &mut state.aliases, String::len);
        self.note(|| Entry::Alias(name.to_owned(), old));
        kept
    }

    pub(crate) fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    pub(super) fn function(&self, name: &str) -> Option<&str> {
        self.functions.get(name).map(String::as_str)
    }

    /// Whether there was room for it.
    pub(super) fn set_function(&mut self, name: &str, body: Option<String>) -> bool {
        if self.doubts.contains_key(name)
            && let Some(before) = self.doubts.remove(name)
        {
            self.note(|| Entry::Doubt(name.to_owned(), Some(before)));
        }
        let (kept, old) = self.replace(name, body, |state| &mut state.functions, String::len);
        self.note(|| Entry::Function(name.to_owned(), old));
        kept
    }

    pub(super) fn trap(&self, name: &str) -> Option<&str> {
        self.traps.get(name).map(String::as_str)
    }

    pub(super) fn set_trap(&mut self, name: &str, text: Option<String>) -> bool {
        let (kept, old) = self.replace(name, text, |state| &mut state.traps, String::len);
        self.note(|| Entry::Trap(name.to_owned(), old));
        kept
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// Those whose paths are `path` or come behind it.
    pub(super) fn files_from(&self, path: &str) -> impl Iterator<Item = (&str, &File)> {
        let behind = (Bound::Included(path), Bound::Unbounded);
        let files = self.files.range::<str, _>(behind);
        files.map(|(path, file)| (path.as_str(), file))
    }

    /// Whether there was room for it.
    pub(super) fn set_file(&mut self, path: &str, file: Option<File>) -> bool {
        let (kept, old) = self.replace(
            path,
            file,
            |state| &mut state.files,
            |file| match file {
                File::Text(text) | File::Program(text) | File::Link(text) => text.len(),
                File::Unknown => 0,
            },
        );
        self.note(|| Entry::File(path.to_owned(), old));
        kept
    }

    pub(super) const fn positional(&self) -> &Positional {
        &self.positional
    }

    pub(super) fn set_positional(&mut self, words: Positional) {
        let words = match words {
            Positional::Known(words)
                if words.len() <= MAX_ELEMENTS
                    && words.iter().map(String::len).sum::<usize>() <= MAX_POSITIONAL =>
            {
                Positional::Known(words)
            }
            _ => Positional::Unknown,
        };
        let old = std::mem::replace(&mut self.positional, words);
        self.note(|| Entry::Positional(old));
    }

    /// Whether something that a line set could not be kept.
    pub(super) const fn overflowed(&self) -> bool {
        self.overflowed
    }

    const fn fits(&self, name: &str, new: usize, old: usize) -> bool {
        self.bytes + name.len() + new <= MAX_BYTES + old
    }

    const fn account(&mut self, name: &str, new: usize, old: Option<usize>) {
        match old {
            Some(old) => self.bytes = (self.bytes + new).saturating_sub(old),
            None => self.bytes += name.len() + OVERHEAD + new,
        }
    }

    fn replace<T: Clone>(
        &mut self,
        name: &str,
        value: Option<T>,
        map: impl Fn(&mut Self) -> &mut Shared<BTreeMap<String, T>>,
        size: impl Fn(&T) -> usize,
    ) -> (bool, Option<T>) {
        // What is only read stays shared.
        let old_size = map(self).get(name).map(&size);
        match value {
            None if old_size.is_none() => (true, None),
            None => {
                let old = map(self).remove(name);
                if let Some(old_size) = old_size {
                    self.bytes = self.bytes.saturating_sub(name.len() + OVERHEAD + old_size);
                }
                (true, old)
            }
            Some(value) => {
                let new = size(&value);
                if !self.fits(name, new + OVERHEAD, old_size.unwrap_or_default()) {
                    self.overflowed = true;
                    let old = old_size.and_then(|_| map(self).remove(name));
                    return (false, old);
                }
                let old = map(self).insert(name.to_owned(), value);
                self.account(name, new, old_size);
                (true, old)
            }
        }
    }
}

impl Variable {
    fn size(&self) -> usize {
        match self {
            Self::Unknown | Self::Unset => 0,
            Self::Text(text) | Self::Reference(text) => text.len(),
            Self::Around(before, behind) => before.len() + behind.len(),
            Self::Array(array) => array.values().map(|text| text.len() + OVERHEAD).sum(),
            Self::Map(map) => map
                .iter()
                .map(|(key, text)| key.len() + text.len() + OVERHEAD)
                .sum(),
        }
    }
}
