//! Where the shell is, and where it may have stayed.

use super::{SessionState, journal::Entry};

/// A folder that is not known.
pub(in crate::shell) const ANYWHERE: &str = "?";
/// Folders that a shell may have stayed in, which are followed.
const MAX_FORMERS: usize = 8;
/// Bytes of their paths.
const MAX_BYTES: usize = 2048;

/// Folders that the shell may have stayed in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::shell) struct Formers {
    pub(in crate::shell) all: Vec<String>,
    /// Those that are left if the last command, a `cd`, did what it is for; `None` behind any other.
    pub(in crate::shell) arrived: Option<Vec<String>>,
}

impl Formers {
    /// Of so many that they are not followed, any folder.
    pub(in crate::shell) fn bounded(mut all: Vec<String>) -> Vec<String> {
        all.sort();
        all.dedup();
        let bytes: usize = all.iter().map(String::len).sum();
        if all.len() > MAX_FORMERS || bytes > MAX_BYTES {
            all = vec![ANYWHERE.to_owned()];
        }
        all
    }
}

/// The working directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::shell) enum Directory {
    /// Where the session began.
    #[default]
    Start,
    Known(String),
    Unknown,
}

impl Directory {
    /// Where it is, when it is not where the session began; `?` when that is not known.
    pub(in crate::shell) fn changed(&self) -> Option<String> {
        match self {
            Self::Start => None,
            Self::Known(path) => Some(path.clone()),
            Self::Unknown => Some(ANYWHERE.to_owned()),
        }
    }
}

impl SessionState {
    pub(in crate::shell) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where programs run, when that is not where the session began; `?` when it is not known, or
    /// may be one of several.
    pub(in crate::shell) fn runs_in(&self) -> Option<String> {
        if self.formers.all.is_empty() {
            self.directory.changed()
        } else {
            Some(ANYWHERE.to_owned())
        }
    }

    pub(in crate::shell) fn set_directory(&mut self, directory: Directory) {
        self.move_to(directory, Formers::default());
    }

    pub(in crate::shell) fn move_to(&mut self, directory: Directory, formers: Formers) {
        let old = std::mem::replace(&mut self.directory, directory);
        let formers = std::mem::replace(&mut self.formers, formers);
        self.note(|| Entry::Directory(old, formers));
    }

    /// Folders that the shell may be in in place of [`Self::directory`].
    pub(in crate::shell) fn formers(&self) -> &[String] {
        &self.formers.all
    }

    /// More of them.
    pub(in crate::shell) fn add_formers(&mut self, mut more: Vec<String>) {
        more.retain(|it| !self.formers.all.contains(it));
        if more.is_empty() {
            return;
        }
        more.extend_from_slice(&self.formers.all);
        self.set_formers(Formers::bounded(more));
    }

    fn set_formers(&mut self, all: Vec<String>) {
        let formers = Formers { all, arrived: None };
        self.move_to(self.directory.clone(), formers);
    }

    /// Another command than `cd` begins.
    pub(in crate::shell) fn stay(&mut self) {
        self.formers.arrived = None;
    }

    /// If the last command was a `cd`, the shell is where it leads. Gives the folders that it is in
    /// if that is not so.
    pub(crate) fn arrive(&mut self) -> Vec<String> {
        match self.formers.arrived.take() {
            Some(arrived) if arrived != self.formers.all => {
                let all = self.formers.all.clone();
                self.set_formers(arrived);
                all
            }
            _ => Vec::new(),
        }
    }
}
