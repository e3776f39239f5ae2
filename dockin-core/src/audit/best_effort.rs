//! A trail that nobody waits for.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dockin_policy::audit::{AuditEvent, AuditKind, RecordsLost};

use super::{AuditSink, Filter};
use crate::Error;

/// Lets sessions go on when an event cannot be written. What is lost is counted, logged, and
/// written down as such as soon as writing works again.
///
/// Without this a sink is strict: what cannot be written does not happen.
pub struct BestEffort {
    sink: Arc<dyn AuditSink>,
    lost: Mutex<RecordsLost>,
}

impl BestEffort {
    /// Makes `sink` one that never fails.
    #[must_use]
    pub fn new(sink: Arc<dyn AuditSink>) -> Self {
        Self {
            sink,
            lost: Mutex::default(),
        }
    }

    fn take_lost(&self) -> RecordsLost {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, records: u64, since: String, error: String) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.records == 0 {
            *lost = RecordsLost {
                records: 0,
                since,
                error,
            };
        }
        lost.records += records;
    }
}

#[async_trait]
impl AuditSink for BestEffort {
    async fn append(&self, event: AuditEvent) -> Result<(), Error> {
        let time = event.time.clone();
        let lost = self.take_lost();
        if lost.records > 0 {
            let gap = AuditEvent::new(time.clone(), AuditKind::RecordsLost(lost.clone()));
            if self.sink.append(gap).await.is_err() {
                self.count(lost.records, lost.since, lost.error);
            }
        }
        if let Err(error) = self.sink.append(event).await {
            tracing::error!(
                error = error.chain(),
                "audit record lost, its session goes on"
            );
            self.count(1, time, error.chain());
        }
        Ok(())
    }

    async fn search(&self, filter: &Filter, limit: usize) -> Result<Vec<Bytes>, Error> {
        self.sink.search(filter, limit).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{ErrorKind, audit::FileSink};

    /// A trail on a disk that can be pulled out.
    struct Pulled(FileSink, AtomicBool);

    #[async_trait]
    impl AuditSink for Pulled {
        async fn append(&self, event: AuditEvent) -> Result<(), Error> {
            if self.1.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Unavailable, "no disk"));
            }
            self.0.append(event).await
        }

        async fn search(&self, filter: &Filter, limit: usize) -> Result<Vec<Bytes>, Error> {
            self.0.search(filter, limit).await
        }
    }

    #[tokio::test]
    async fn lost_records_are_counted_and_confessed() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileSink::open(folder.path().join("audit.jsonl")).unwrap();
        let pulled = Arc::new(Pulled(file, AtomicBool::new(false)));
        let sink = BestEffort::new(Arc::clone(&pulled) as Arc<dyn AuditSink>);
        let append = async |session: &str| {
            let event = AuditEvent::new(
                format!("2026-01-01T00:00:0{session}Z"),
                AuditKind::SessionEnd(Default::default()),
            );
            sink.append(event.with_session(session)).await.unwrap();
        };
        append("1").await;
        pulled.1.store(true, Ordering::Relaxed);
        append("2").await;
        append("3").await;
        pulled.1.store(false, Ordering::Relaxed);
        append("4").await;
        let lines = sink.search(&Filter::default(), 10).await.unwrap();
        let events: Vec<AuditEvent> = lines
            .iter()
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let sessions: Vec<_> = events
            .iter()
            .filter_map(|event| event.session.as_deref())
            .collect();
        assert_eq!(sessions, ["1", "4"]);
        let AuditKind::RecordsLost(lost) = &events[2].kind else {
            panic!("{events:?}");
        };
        assert_eq!(
            (lost.records, lost.since.as_str()),
            (2, "2026-01-01T00:00:02Z")
        );
        assert!(lost.error.contains("no disk"));
    }
}
