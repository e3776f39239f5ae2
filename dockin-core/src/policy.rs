//! The rules in force, swapped whole.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use dockin_policy::{RuleSet, io::file::RuleFile};
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind};

/// The rules that a new gateway starts with.
pub const DEFAULT_RULES: &str = include_str!("default_rules.yaml");

/// The rule set that judges now. Readers take an `Arc` and are never held up by a reload.
#[derive(Debug)]
pub struct Rules(RwLock<Arc<RuleSet>>);

/// How often a rule file is looked at.
const POLL: Duration = Duration::from_millis(500);

/// What became of a changed rule file.
#[derive(Debug)]
// Exhaustive: whole or not at all.
pub enum Reload {
    /// The new rules are in force.
    Accepted(Arc<RuleSet>),
    /// They are wrong; the old ones stay in force.
    Rejected(String),
}

impl Rules {
    /// Rules from a text, which never change on their own.
    ///
    /// # Errors
    ///
    /// `Misuse` with the line and the fix.
    pub fn from_text(text: &str) -> Result<Arc<Self>, Error> {
        let rules = RuleSet::parse(text)
            .map_err(|error| Error::new(ErrorKind::Misuse, format!("rules: {error}")))?;
        Ok(Self::fixed(rules))
    }

    /// Rules that never change on their own.
    #[must_use]
    pub fn fixed(rules: RuleSet) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(rules))))
    }

    /// The rules in force now.
    #[must_use]
    pub fn current(&self) -> Arc<RuleSet> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules in force.
    pub fn replace(&self, rules: Arc<RuleSet>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Loads `path`, and from then on follows its changes until `stop`: whole or not at all.
    /// `told` hears of every change.
    ///
    /// # Errors
    ///
    /// `Misuse` with file, line and the fix when the first load fails: without rules nothing
    /// starts.
    pub fn follow(
        path: PathBuf,
        stop: CancellationToken,
        mut told: impl FnMut(Reload) + Send + 'static,
    ) -> Result<Arc<Self>, Error> {
        let (mut file, first) = RuleFile::load(&path).map_err(|error| {
            Error::new(
                ErrorKind::Misuse,
                format!("rules {}: {error}", path.display()),
            )
        })?;
        let rules = Arc::new(Self(RwLock::new(first)));
        let followed = Arc::clone(&rules);
        tokio::spawn(async move {
            while stop
                .run_until_cancelled(tokio::time::sleep(POLL))
                .await
                .is_some()
            {
                // A small local file: reading it holds up nobody worth a thread.
                match file.reload_if_changed() {
                    Ok(None) => {}
                    Ok(Some(set)) => {
                        followed.replace(Arc::clone(&set));
                        told(Reload::Accepted(set));
                    }
                    Err(error) => told(Reload::Rejected(error.to_string())),
                }
            }
        });
        Ok(rules)
    }
}
