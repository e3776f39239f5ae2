use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use dockin_policy::audit::AuditEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    AuditSink, Filter, journal::Journal, key::signing_key, problem, reader::newest_lines,
    segment::folder,
};
use crate::{Error, ErrorKind};

/// An append-only trail of JSON lines, one an event, numbered from 1 and chained.
///
/// ```text
/// {"seq":1,…event…,"hash":"…"}\n
/// {"seq":2,…event…,"hash":"…"}\n
/// ```
///
/// One thread writes. It takes all that waits, writes it at once, syncs once, then tells every
/// waiting caller; so many sessions share the cost of a sync. When writing fails, what was
/// written of the batch is cut off again, every caller of it gets the error, and the next batch
/// tries anew.
///
/// At least every 10,000 records or 5 s a record signs all before it, and the newest signature is
/// kept beside the file as `PATH.head`. A full file is renamed to `STEM.FIRST.EXTENSION` and the
/// chain goes on in a new one.
///
/// Dropping the sink waits until all that was queued is written, and signs it.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    room: Arc<Semaphore>,
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    written: watch::Receiver<()>,
}

/// When a trail goes on in a new file, and with which key it is signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileOptions {
    /// Bytes after which a file is full. Default 256 MiB: a search reads a whole file.
    pub max_size: u64,
    /// How long a file is written. Default for ever.
    pub max_age: Option<Duration>,
    /// The file of the signing key. Default `audit.key` in the folder of the trail.
    pub key: Option<PathBuf>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            max_size: 256 << 20,
            max_age: None,
            key: None,
        }
    }
}

impl FileSink {
    /// Opens the trail at `path` with the default options; see [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open_with(path, &FileOptions::default())
    }

    /// Opens the trail at `path` for this process alone, or makes it (mode 0600, its folder
    /// 0700), and its signing key when there is none.
    ///
    /// What a crash left unfinished at the end is moved to `PATH.torn`; numbers and chain go on
    /// where the whole lines end. Records of a version without a chain stay as they are and are
    /// sealed by the first chained one.
    ///
    /// # Errors
    ///
    /// `Conflict` when another process writes it, `Misuse` when it is not an audit file or the
    /// key file holds no key, `Unavailable` when it cannot be opened.
    pub fn open_with(path: impl Into<PathBuf>, options: &FileOptions) -> Result<Self, Error> {
        let path = path.into();
        Journal::make_folder(&path)?;
        let key = match &options.key {
            Some(key) => signing_key(key)?,
            None => signing_key(&folder(&path).join("audit.key"))?,
        };
        let journal = Journal::open(&path, key)?;
        let (queue, requests) = mpsc::channel();
        let (told, written) = watch::channel(());
        let writer = Writer {
            journal,
            path: path.clone(),
            options: options.clone(),
            told,
        };
        let writer = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "no thread for the audit file")
                    .with_source(error)
            })?;
        Ok(Self {
            path,
            room: Arc::new(Semaphore::new(QUEUE)),
            queue: Some(queue),
            writer: Some(writer),
            written,
        })
    }

    /// Hears whenever something was written.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<()> {
        self.written.clone()
    }
}

#[async_trait]
impl AuditSink for FileSink {
    async fn append(&self, event: AuditEvent) -> Result<(), Error> {
        let gone = || Error::new(ErrorKind::Unavailable, "the audit file's writer has ended");
        let event = encode(event)?;
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| gone())?;
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        let request = Request {
            event,
            done,
            _room: room,
        };
        queue.send(request).map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    async fn search(&self, filter: &Filter, limit: usize) -> Result<Vec<Bytes>, Error> {
        let (path, filter) = (self.path.clone(), filter.clone());
        let read = tokio::task::spawn_blocking(move || newest_lines(&path, &filter, limit)).await;
        read.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the audit file was not read").with_source(error)
        })?
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // It cannot have panicked on input, and there is nobody to tell here.
            let _ = writer.join();
        }
    }
}

/// Events that may wait for the writer; further callers wait for a place.
const QUEUE: usize = 1024;

/// How often the writer looks whether it is time to sign or to rotate.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes after which a batch is full.
const MAX_BATCH: usize = 1 << 20;

struct Request {
    /// The event's JSON.
    event: Vec<u8>,
    done: oneshot::Sender<Result<(), Error>>,
    /// Its place in the queue.
    _room: OwnedSemaphorePermit,
}

struct Writer {
    journal: Journal<std::fs::File>,
    path: PathBuf,
    options: FileOptions,
    told: watch::Sender<()>,
}

impl Writer {
    fn run(mut self, requests: &mpsc::Receiver<Request>) {
        loop {
            match requests.recv_timeout(LOOK) {
                Ok(first) => self.write_batch(first, requests),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if self.journal.sign_is_due() {
                let signed = self.journal.sign(false);
                self.tell_failure("not signed", signed);
                self.keep_head();
            }
            if self
                .journal
                .is_full(self.options.max_size, self.options.max_age)
            {
                let rotated = self.journal.rotate(&self.path);
                self.tell_failure("not rotated; it goes on in the same file", rotated);
                self.keep_head();
            }
        }
        let signed = self.journal.sign(true);
        self.tell_failure("not signed at its end", signed);
        self.keep_head();
        // Closing would do, unless a process being spawned just now has a copy of the descriptor.
        let _ = self.journal.storage.unlock();
    }

    fn write_batch(&mut self, first: Request, requests: &mpsc::Receiver<Request>) {
        let mut size = first.event.len();
        let mut batch = vec![first];
        while size < MAX_BATCH
            && let Ok(next) = requests.try_recv()
        {
            size += next.event.len();
            batch.push(next);
        }
        let outcome = self
            .journal
            .append(batch.iter().map(|request| request.event.as_slice()));
        if let Err(error) = &outcome {
            tracing::error!(path = %self.path.display(), %error, "audit events not written");
        }
        for request in batch {
            let outcome = outcome.as_ref().copied().map_err(|error| {
                problem(ErrorKind::Unavailable, &self.path, "cannot be written")
                    .with_source(error.to_string())
            });
            // A caller that went away has its event written all the same.
            let _ = request.done.send(outcome);
        }
        self.told.send_replace(());
    }

    /// A stale head only ever speaks of less than there is.
    fn keep_head(&self) {
        if self.journal.end > 0 {
            let kept = self.journal.keep_head(&self.path);
            self.tell_failure("without its newest signed head", kept);
        }
    }

    fn tell_failure(&self, what: &str, outcome: std::io::Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!(path = %self.path.display(), %error, "the audit file is {what}");
        }
    }
}

/// The event as JSON; a number that it has is ours to give.
fn encode(mut event: AuditEvent) -> Result<Vec<u8>, Error> {
    event.seq = None;
    let json = serde_json::to_vec(&event).map_err(|error| {
        Error::new(ErrorKind::Misuse, "an audit event has no JSON").with_source(error)
    })?;
    if json.starts_with(b"{") {
        Ok(json)
    } else {
        Err(Error::new(
            ErrorKind::Misuse,
            "an audit event is not a JSON object",
        ))
    }
}

#[cfg(test)]
mod tests;
