//! Rules in a file, followed as it changes: whole or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use crate::{RuleSet, RuleSetError};

/// Why a rule file gives no rules.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuleFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It says nothing, as a file does between being truncated and being written: that must not
    /// mean that nothing is forbidden.
    #[error("has no content; write `rules: []` to have no rules")]
    Empty,
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] RuleSetError),
}

/// A rule file, and what was in it when it was last looked at.
#[derive(Debug)]
pub struct RuleFile {
    path: PathBuf,
    /// `None`: it could not be read.
    seen: Option<String>,
    /// Other content that was there at the last look, and may be half of what is being written.
    pending: Option<String>,
}

impl RuleFile {
    /// Reads the file at `path` for the first time.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is wrong.
    pub fn load(path: &Path) -> Result<(Self, Arc<RuleSet>), RuleFileError> {
        let text = read(path)?;
        let rules = parse(&text)?;
        Ok((
            Self {
                path: path.to_owned(),
                seen: Some(text),
                pending: None,
            },
            Arc::new(rules),
        ))
    }

    /// The new rules, when the file's content is another than before, and the same at two looks in
    /// a row: a file that is being written may make sense halfway.
    ///
    /// # Errors
    ///
    /// What is wrong, once for each change: the rules that were in force stay.
    pub fn reload_if_changed(&mut self) -> Result<Option<Arc<RuleSet>>, RuleFileError> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                let told = self.seen.take().is_none();
                return if told { Ok(None) } else { Err(error.into()) };
            }
        };
        if self.seen.as_ref() == Some(&text) {
            self.pending = None;
            return Ok(None);
        }
        if self.pending.as_ref() != Some(&text) {
            self.pending = Some(text);
            return Ok(None);
        }
        self.pending = None;
        let rules = parse(&text);
        self.seen = Some(text);
        Ok(Some(Arc::new(rules?)))
    }
}

fn parse(text: &str) -> Result<RuleSet, RuleFileError> {
    let says_something = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if !text.lines().any(says_something) {
        return Err(RuleFileError::Empty);
    }
    Ok(RuleSet::parse(text)?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a rule file"
)]
fn read(path: &Path) -> std::io::Result<String> {
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a failed unwrap is a failed test"
    )]

    use std::fs;

    use super::RuleFile;

    #[test]
    fn a_bad_change_is_told_once_and_a_good_one_taken_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        fs::write(&path, "name: first\n").unwrap();
        let (mut file, rules) = RuleFile::load(&path).unwrap();
        assert_eq!(rules.name(), "first");
        assert!(file.reload_if_changed().unwrap().is_none());
        let look_twice = |file: &mut RuleFile| {
            assert!(file.reload_if_changed().unwrap().is_none());
            file.reload_if_changed()
        };
        fs::write(&path, "name: [\n").unwrap();
        assert!(look_twice(&mut file).is_err());
        assert!(look_twice(&mut file).unwrap().is_none());
        fs::write(&path, "name: second\n").unwrap();
        assert_eq!(look_twice(&mut file).unwrap().unwrap().name(), "second");
        fs::remove_file(&path).unwrap();
        assert!(file.reload_if_changed().is_err());
        assert!(file.reload_if_changed().unwrap().is_none());
        fs::write(&path, "name: second\n").unwrap();
        assert!(look_twice(&mut file).unwrap().is_some());
    }

    #[test]
    fn a_file_that_is_being_written_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        for empty in ["", "\n", "# nothing\n  \n"] {
            fs::write(&path, empty).unwrap();
            assert!(RuleFile::load(&path).is_err(), "{empty:?}");
        }
        fs::write(&path, "name: first\n").unwrap();
        let (mut file, _) = RuleFile::load(&path).unwrap();
        for growing in ["", "name: sec", "name: second\n"] {
            fs::write(&path, growing).unwrap();
            assert!(file.reload_if_changed().unwrap().is_none(), "{growing:?}");
        }
        assert_eq!(file.reload_if_changed().unwrap().unwrap().name(), "second");
    }
}
