//! Access rules in files, followed as they change: whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use thiserror::Error;

use crate::access::{AccessRules, Document, Faults, Mode, Source, Tenancy};

/// Where access rules are.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: the two formats there are.
pub enum AccessFiles {
    /// One readable document.
    Document(PathBuf),
    /// A Casbin model and policy, with a document for tenants and projects, if there is one.
    Casbin {
        /// The model, `.conf`.
        model: PathBuf,
        /// The policy, `.csv`.
        policy: PathBuf,
        /// A document of which only `tenants`, `projects` and `privileged` may be there.
        tenancy: Option<PathBuf>,
    },
}

/// Why files give no access rules.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccessFileError {
    /// One cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// One is wrong.
    #[error("`{path}`: {faults}")]
    Wrong {
        /// Which.
        path: String,
        /// What is wrong, by lines.
        faults: Faults,
    },
}

/// What files said when they were last looked at, to know a change.
#[derive(Debug)]
pub struct AccessFile {
    files: AccessFiles,
    mode: Mode,
    seen: Vec<Stamp>,
    /// A change that was there at the last look, and may be half of what is being written.
    pending: Option<Vec<Stamp>>,
}

/// What tells one state of a file from another without reading it.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Rules and what is known beside them.
pub type Access = (AccessRules, Tenancy);

impl AccessFiles {
    /// Reads and compiles them.
    ///
    /// # Errors
    ///
    /// The file that is wrong, and each line that is.
    pub fn load(&self, mode: Mode) -> Result<Access, AccessFileError> {
        match self {
            Self::Document(path) => {
                let text = read(path)?;
                let compiled = Document::parse(&text).and_then(|document| document.compile(mode));
                compiled.map_err(|faults| wrong(path, faults))
            }
            Self::Casbin {
                model,
                policy,
                tenancy,
            } => {
                Source::check_model(&read(model)?).map_err(|faults| wrong(model, faults))?;
                let beside = match tenancy {
                    None => Document::default(),
                    Some(path) => {
                        let document = Document::parse(&read(path)?);
                        document.map_err(|faults| wrong(path, faults))?
                    }
                };
                let beside_path = tenancy.as_deref().unwrap_or(policy);
                let known = beside
                    .tenancy_alone()
                    .map_err(|faults| wrong(beside_path, faults))?;
                let text = read(policy)?;
                let mut source = Source::policy(&text).map_err(|faults| wrong(policy, faults))?;
                source.projects = known.projects.keys().cloned().collect();
                let rules = AccessRules::compile(&source, mode);
                Ok((rules.map_err(|faults| wrong(policy, faults))?, known))
            }
        }
    }

    /// Every file of them.
    #[must_use]
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Document(path) => vec![path],
            Self::Casbin {
                model,
                policy,
                tenancy,
            } => {
                let mut paths: Vec<&Path> = vec![model, policy];
                paths.extend(tenancy.as_deref());
                paths
            }
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let stamp = |path: &&Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        self.paths().iter().map(stamp).collect()
    }
}

impl AccessFile {
    /// Reads files for the first time.
    ///
    /// # Errors
    ///
    /// As [`AccessFiles::load`].
    pub fn load(files: AccessFiles, mode: Mode) -> Result<(Self, Access), AccessFileError> {
        let seen = files.stamps();
        let access = files.load(mode)?;
        let file = Self {
            files,
            mode,
            seen,
            pending: None,
        };
        Ok((file, access))
    }

    /// The new rules, when a file is another than before, and the same at two looks in a row: a
    /// file that is being written may make sense halfway. A look costs one `stat` a file.
    ///
    /// # Errors
    ///
    /// What is wrong, once for each change: the rules that were in force stay.
    pub fn reload_if_changed(&mut self) -> Result<Option<Access>, AccessFileError> {
        let stamps = self.files.stamps();
        if stamps == self.seen {
            self.pending = None;
            return Ok(None);
        }
        if self.pending.as_ref() != Some(&stamps) {
            self.pending = Some(stamps);
            return Ok(None);
        }
        self.pending = None;
        self.seen = stamps;
        self.files.load(self.mode).map(Some)
    }
}

fn wrong(path: &Path, faults: Faults) -> AccessFileError {
    AccessFileError::Wrong {
        path: path.display().to_string(),
        faults,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads access files"
)]
fn read(path: &Path) -> Result<String, AccessFileError> {
    fs::read_to_string(path).map_err(|source| AccessFileError::Unreadable {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a failed unwrap is a failed test"
    )]

    use std::fs;

    use super::{AccessFile, AccessFiles};
    use crate::access::Mode;

    const MODEL: &str = include_str!("../../tests/access/model.conf");

    #[test]
    fn a_bad_change_is_told_once_and_a_good_one_taken_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = AccessFiles::Casbin {
            model: path("model.conf"),
            policy: path("policy.csv"),
            tenancy: Some(path("tenancy.yaml")),
        };
        fs::write(path("model.conf"), MODEL).unwrap();
        fs::write(path("policy.csv"), "p, a, *, *, *, allow\ng, u, a, prj\n").unwrap();
        fs::write(
            path("tenancy.yaml"),
            "projects: { prj: { namespaces: [c/n] } }",
        )
        .unwrap();
        let (mut file, (rules, tenancy)) = AccessFile::load(files, Mode::Strict).unwrap();
        assert_eq!((rules.rule_count(), rules.link_count()), (1, 1));
        assert_eq!(tenancy.projects.len(), 1);
        assert!(file.reload_if_changed().unwrap().is_none());
        let look_twice = |file: &mut AccessFile| {
            assert!(file.reload_if_changed().unwrap().is_none());
            file.reload_if_changed()
        };
        fs::write(path("policy.csv"), "p, a, *, cluster:x*, *, allow\n").unwrap();
        let error = look_twice(&mut file).unwrap_err().to_string();
        assert!(
            error.contains("policy.csv") && error.contains("line 1"),
            "{error}"
        );
        assert!(look_twice(&mut file).unwrap().is_none());
        fs::write(path("tenancy.yaml"), "roles: {}\npolicies: { p: [] }").unwrap();
        let error = look_twice(&mut file).unwrap_err().to_string();
        assert!(error.contains("tenancy.yaml"), "{error}");
        fs::write(path("tenancy.yaml"), "tenants: {}").unwrap();
        fs::write(
            path("policy.csv"),
            "p, a, *, *, *, deny\np, b, *, *, *, allow\n",
        )
        .unwrap();
        let (rules, _) = look_twice(&mut file).unwrap().unwrap();
        assert_eq!(rules.rule_count(), 2);
        fs::remove_file(path("policy.csv")).unwrap();
        assert!(look_twice(&mut file).is_err());
    }
}
