use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{
    audit::RecordingStored,
    recording::{CastHeader, EchoedInput, RecordingKey},
};
use tokio::sync::oneshot;

use super::writer::{Message, Writer};
use crate::{Error, ErrorKind};

/// Where recordings go, and what they hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordingOptions {
    /// Their directory; made (mode 0700) when it is not there.
    pub directory: PathBuf,
    /// Whether what is typed is recorded, too, as far as the terminal shows it.
    pub input: bool,
    /// Encrypts them.
    pub key: Option<RecordingKey>,
    /// Whether a session ends when it cannot be recorded; it goes on unrecorded otherwise.
    pub strict: bool,
}

impl RecordingOptions {
    /// Output only, not encrypted, strict.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            input: false,
            key: None,
            strict: true,
        }
    }
}

/// Records sessions into a directory. One thread writes for all of them.
#[derive(Debug)]
pub struct RecordingStore {
    options: RecordingOptions,
    queue: mpsc::Sender<Message>,
    waiting: Arc<AtomicUsize>,
    next: AtomicU64,
}

/// Bytes that may wait for the disk, of all sessions together.
const MAX_WAITING: usize = 64 << 20;

impl RecordingStore {
    /// Opens the directory and starts the writer.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the directory cannot be made or no thread can be had.
    pub fn open(options: RecordingOptions) -> Result<Arc<Self>, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.directory)
            .map_err(|error| unwritable(&options.directory).with_source(error))?;
        let (queue, messages) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer::new(options.clone(), Arc::clone(&waiting));
        thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || writer.run(&messages))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "no thread for recordings").with_source(error)
            })?;
        Ok(Arc::new(Self {
            options,
            queue,
            waiting,
            next: AtomicU64::new(0),
        }))
    }

    /// Whether a session ends when it cannot be recorded.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        self.options.strict
    }

    /// Begins the recording of a session; its file is there when this returns.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the file cannot be made.
    pub async fn begin(&self, session: &str, header: CastHeader) -> Result<Recorder, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let failed = Arc::new(AtomicBool::new(false));
        let (done, begun) = oneshot::channel();
        let message = Message::Begin {
            number,
            session: session.to_owned(),
            header: Box::new(header),
            failed: Arc::clone(&failed),
            done,
        };
        let gone = || unwritable(&self.options.directory);
        self.queue.send(message).map_err(|_| gone())?;
        begun.await.map_err(|_| gone())??;
        Ok(Recorder {
            number,
            started: Instant::now(),
            queue: self.queue.clone(),
            waiting: Arc::clone(&self.waiting),
            strict: self.options.strict,
            failed,
            lost: Arc::default(),
            input: self.options.input.then(Arc::default),
        })
    }
}

/// Writes one session's recording. Calls never wait: what happens is queued.
#[derive(Clone, Debug)]
pub struct Recorder {
    number: u64,
    started: Instant,
    queue: mpsc::Sender<Message>,
    waiting: Arc<AtomicUsize>,
    strict: bool,
    /// The writer cannot write any more.
    failed: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    input: Option<Arc<Mutex<EchoedInput>>>,
}

impl Recorder {
    /// The terminal was written to.
    pub fn output(&self, now: Instant, bytes: &Bytes) {
        self.queue_bytes(now, bytes.clone(), false);
        self.with_input(|input| input.handle_output(bytes));
    }

    /// Something was typed; it is recorded once it was shown.
    pub fn input(&self, now: Instant, bytes: &[u8]) {
        let time = self.time(now);
        self.with_input(|input| input.handle_input(time, bytes));
    }

    /// The terminal got another size.
    pub fn resize(&self, now: Instant, columns: u16, rows: u16) {
        let time = self.time(now);
        self.send(Message::Resize {
            number: self.number,
            time,
            columns,
            rows,
        });
    }

    /// A command was judged.
    pub fn marker(&self, now: Instant, label: String) {
        let time = self.time(now);
        self.send(Message::Marker {
            number: self.number,
            time,
            label,
        });
    }

    /// Whether the session must end, because it is strict and cannot be recorded any more.
    #[must_use]
    pub fn must_end(&self) -> bool {
        self.strict
            && (self.failed.load(Ordering::Relaxed) || self.lost.load(Ordering::Relaxed) > 0)
    }

    /// The session is over. What it became, when the file is complete.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it could not be written to its end.
    pub async fn finish(self, status: Option<i32>) -> Result<RecordingStored, Error> {
        self.with_input(EchoedInput::finish);
        let time = self.time(Instant::now());
        let (done, finished) = oneshot::channel();
        self.send(Message::End {
            number: self.number,
            time,
            status,
            done,
        });
        let gone = || Error::new(ErrorKind::Unavailable, "the recorder has ended");
        let mut stored = finished.await.map_err(|_| gone())??;
        stored.lost = self.lost.load(Ordering::Relaxed);
        Ok(stored)
    }

    fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Hands what may be recorded of the input on, behind `change`.
    fn with_input(&self, change: impl FnOnce(&mut EchoedInput)) {
        let Some(input) = &self.input else {
            return;
        };
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut input);
        while let Some((time, bytes)) = input.poll_input() {
            let bytes = Bytes::from(bytes);
            self.queue_bytes(self.started + time, bytes, true);
        }
    }

    fn queue_bytes(&self, now: Instant, bytes: Bytes, typed: bool) {
        let size = bytes.len();
        // A little too much is no harm: the limit keeps memory in bounds, no more.
        if self.waiting.load(Ordering::Relaxed) + size > MAX_WAITING {
            self.lost.fetch_add(size as u64, Ordering::Relaxed);
            return;
        }
        self.waiting.fetch_add(size, Ordering::Relaxed);
        let time = self.time(now);
        self.send(Message::Bytes {
            number: self.number,
            time,
            bytes,
            typed,
        });
    }

    fn send(&self, message: Message) {
        if self.queue.send(message).is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

fn unwritable(directory: &Path) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("recordings cannot be written to `{}`", directory.display()),
    )
}

#[cfg(test)]
mod tests;
