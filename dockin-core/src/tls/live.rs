//! Configurations that are replaced while they are used, when the files they are made of change.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::Identity;
use crate::{Error, ErrorKind, stamp::Stamp};

/// One side of TLS as it is now: what is replaced counts for the connections that are made from
/// then on, and those that are open go on.
///
/// The whole configuration is replaced, tickets to resume sessions included: nobody comes back by
/// a ticket of an authority that is not trusted any more.
#[derive(Debug)]
pub struct Live<T>(Arc<RwLock<Arc<T>>>);

impl<T> Live<T> {
    /// What counts now.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `value` in force.
    pub fn replace(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<Arc<T>> for Live<T> {
    fn from(value: Arc<T>) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }
}

/// What became of files of certificates that have changed.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: whole or not at all.
pub enum TlsChange {
    /// What they say is in force.
    Accepted,
    /// They are wrong, and what they said before stays in force; what is wrong, for people.
    Rejected(String),
}

/// How often the files are looked at. A change counts at the second look that sees it: of a
/// certificate and its key one is written after the other.
const LOOK: Duration = Duration::from_millis(500);

/// Calls `remake` whenever one of `files` has changed, until `stop`, and tells what became of it.
///
/// `remake` reads the files and replaces what is [`Live`], or fails and replaces nothing.
pub fn follow(
    files: Vec<PathBuf>,
    stop: CancellationToken,
    mut remake: impl FnMut() -> Result<(), Error> + Send + 'static,
    mut told: impl FnMut(TlsChange) + Send + 'static,
) {
    let stamps = move || -> Vec<Option<Stamp>> { files.iter().map(|it| Stamp::of(it)).collect() };
    let mut known = stamps();
    let mut changing = None;
    tokio::spawn(async move {
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK))
            .await
            .is_some()
        {
            let now = stamps();
            if now == known {
                changing = None;
                continue;
            }
            if changing.as_ref() != Some(&now) {
                changing = Some(now);
                continue;
            }
            changing = None;
            known = now;
            told(match remake() {
                Ok(()) => TlsChange::Accepted,
                Err(error) => TlsChange::Rejected(error.chain()),
            });
        }
    });
}

impl Identity {
    /// From when and until when its certificate is good.
    ///
    /// # Errors
    ///
    /// `Misuse` when the certificate cannot be read.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), Error> {
        let unreadable = || Error::new(ErrorKind::Misuse, "the certificate cannot be read");
        let leaf = self.chain.first().ok_or_else(unreadable)?;
        validity(leaf).ok_or_else(unreadable)
    }

    /// The same identity, unless its certificate has expired: nobody would accept it.
    ///
    /// # Errors
    ///
    /// `Misuse` with the time since when it is worthless, or as [`validity`](Self::validity).
    pub fn unexpired(self, now: Timestamp) -> Result<Self, Error> {
        let (_, end) = self.validity()?;
        if end < now {
            let what = format!("the certificate has expired at {end}");
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        Ok(self)
    }
}

/// From when and until when `certificate` is good; nothing when it cannot be read.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let dates = parsed.validity();
    let begin = Timestamp::from_second(dates.not_before.timestamp()).ok()?;
    let end = Timestamp::from_second(dates.not_after.timestamp()).ok()?;
    Some((begin, end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, sync::Arc, time::Duration};

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::{Live, TlsChange, follow};
    use crate::{Error, ErrorKind};

    #[tokio::test]
    async fn what_is_wrong_leaves_what_was_there_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let live = Live::from(Arc::new("one".to_owned()));
        let (kept, read) = (live.clone(), path.clone());
        let remake = move || {
            let text = fs::read_to_string(&read).unwrap_or_default();
            if text == "bad" {
                return Err(Error::new(ErrorKind::Misuse, "it is bad"));
            }
            kept.replace(Arc::new(text));
            Ok(())
        };
        let (sender, mut changes) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let told = move |change| drop(sender.send(change));
        follow(vec![path.clone()], stop.clone(), remake, told);
        let mut next = async |text: &str| {
            fs::write(&path, text).unwrap();
            let told = tokio::time::timeout(Duration::from_secs(30), changes.recv());
            told.await.unwrap().unwrap()
        };
        let refused = TlsChange::Rejected("it is bad".to_owned());
        assert_eq!(next("bad").await, refused);
        assert_eq!(*live.current(), "one");
        assert_eq!(next("three").await, TlsChange::Accepted);
        assert_eq!(*live.current(), "three");
        stop.cancel();
    }
}
