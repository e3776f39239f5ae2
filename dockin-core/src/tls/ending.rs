//! Certificates that nobody renews: who runs the machine is told weeks before they end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{certificates, live::validity};

/// How long before its end a certificate is spoken of; a third of its life for short ones.
const EARLY: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often the file is looked at.
const LOOK: Duration = Duration::from_hours(24);

/// Says in the log, once a day until `stop`, that the certificate in `file` ends within 30 days
/// (or the last third of its life, when that is less) or has ended. `remedy` is what to do then,
/// for people. The file is read each time, so that one that was replaced is spoken of no more.
pub fn warn_before_end(file: PathBuf, remedy: String, stop: CancellationToken) {
    tokio::spawn(async move {
        loop {
            if let Some(what) = ending(&file, Timestamp::now()) {
                tracing::warn!(file = %file.display(), "{what}: {remedy}");
            }
            let pause = tokio::time::sleep(LOOK);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// What is to be said of the certificate in `file`; nothing while there is time. A file that
/// cannot be read is named by who serves with it.
fn ending(file: &Path, now: Timestamp) -> Option<String> {
    let chain = certificates(file).ok()?;
    let (begin, end) = validity(chain.first()?)?;
    let left = end.duration_since(now);
    if left <= SignedDuration::ZERO {
        return Some(format!("the certificate has ended at {end}"));
    }
    let early = EARLY.min(end.duration_since(begin) / 3);
    (left <= early).then(|| format!("the certificate ends at {end} and nobody renews it"))
}

#[cfg(all(test, feature = "authority"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::fs;

    use jiff::{SignedDuration, Timestamp};

    use super::ending;
    use crate::tls::{Identity, authority::Authority};

    #[test]
    fn weeks_before_its_end_a_certificate_is_spoken_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.pem");
        let now = Timestamp::now();
        let authority = Authority::new(now).unwrap();
        let issued = authority.agent_pair("node1", &[], now).unwrap();
        fs::write(&file, &issued.certificate).unwrap();
        let identity = Identity::from_pem(&issued.certificate, &issued.key).unwrap();
        let (_, end) = identity.validity().unwrap();
        let before = |days: i64| ending(&file, end - SignedDuration::from_hours(24 * days));
        assert_eq!(before(300), None);
        assert_eq!(before(31), None);
        assert!(before(29).unwrap().contains("ends at"));
        assert!(before(-1).unwrap().contains("has ended at"));
        fs::write(&file, "nothing").unwrap();
        assert_eq!(before(1), None);
    }
}
