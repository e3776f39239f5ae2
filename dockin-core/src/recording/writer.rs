use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{
    audit::RecordingStored,
    recording::{CastHeader, CastWriter, Sealer},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::{
    RecordingOptions,
    reader::{PLAIN, SEALED},
};
use crate::{Error, ErrorKind, hex::hex};

/// What happens to recordings.
pub(super) enum Message {
    Begin {
        number: u64,
        session: String,
        header: Box<CastHeader>,
        failed: Arc<AtomicBool>,
        done: oneshot::Sender<Result<(), Error>>,
    },
    Bytes {
        number: u64,
        time: Duration,
        bytes: Bytes,
        typed: bool,
    },
    Resize {
        number: u64,
        time: Duration,
        columns: u16,
        rows: u16,
    },
    Marker {
        number: u64,
        time: Duration,
        label: String,
    },
    End {
        number: u64,
        time: Duration,
        status: Option<i32>,
        done: oneshot::Sender<Result<RecordingStored, Error>>,
    },
}

/// Bytes of lines after which a block is written.
const BLOCK: usize = 64 << 10;
/// How long a line waits for its block: what a kill can take.
const FLUSH: Duration = Duration::from_millis(500);

pub(super) struct Writer {
    options: RecordingOptions,
    waiting: Arc<AtomicUsize>,
    open: HashMap<u64, Recording>,
}

/// A recording that is being written.
struct Recording {
    path: PathBuf,
    file: File,
    cast: CastWriter,
    sealer: Sealer,
    sha: Sha256,
    bytes: u64,
    /// Since when lines wait.
    since: Option<Instant>,
    failed: Arc<AtomicBool>,
    error: Option<io::Error>,
}

impl Writer {
    pub(super) fn new(options: RecordingOptions, waiting: Arc<AtomicUsize>) -> Self {
        Self {
            options,
            waiting,
            open: HashMap::new(),
        }
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut looked = Instant::now();
        loop {
            match messages.recv_timeout(FLUSH) {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= FLUSH {
                looked = Instant::now();
                for recording in self.open.values_mut() {
                    if recording
                        .since
                        .is_some_and(|since| since.elapsed() >= FLUSH)
                    {
                        recording.write_block(false);
                    }
                }
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Begin {
                number,
                session,
                header,
                failed,
                done,
            } => {
                let begun = Recording::begin(&self.options, &session, &header, failed);
                let outcome = begun.map(|recording| {
                    self.open.insert(number, recording);
                });
                // A session that was given up meanwhile has an empty recording.
                let _gone = done.send(outcome);
            }
            Message::Bytes {
                number,
                time,
                bytes,
                typed,
            } => {
                self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                self.change(number, |cast| {
                    if typed {
                        cast.input(time, &bytes);
                    } else {
                        cast.output(time, &bytes);
                    }
                });
            }
            Message::Resize {
                number,
                time,
                columns,
                rows,
            } => {
                self.change(number, |cast| cast.resize(time, columns, rows));
            }
            Message::Marker {
                number,
                time,
                label,
            } => {
                self.change(number, |cast| cast.marker(time, &label));
            }
            Message::End {
                number,
                time,
                status,
                done,
            } => {
                if let Some(status) = status {
                    self.change(number, |cast| cast.exit(time, status));
                }
                let outcome = match self.open.remove(&number) {
                    Some(recording) => recording.finish(),
                    None => Err(Error::new(ErrorKind::Misuse, "the recording is not open")),
                };
                let _gone = done.send(outcome);
            }
        }
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut CastWriter)) {
        let Some(recording) = self.open.get_mut(&number) else {
            return;
        };
        if recording.error.is_some() {
            return;
        }
        change(&mut recording.cast);
        recording.since.get_or_insert_with(Instant::now);
        if recording.cast.len() >= BLOCK {
            recording.write_block(false);
        }
    }
}

impl Recording {
    fn begin(
        options: &RecordingOptions,
        session: &str,
        header: &CastHeader,
        failed: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let suffix = if options.key.is_some() { SEALED } else { PLAIN };
        let path = options.directory.join(format!("{session}{suffix}"));
        let unmade = |source: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(
                ErrorKind::Unavailable,
                format!("recording `{}` cannot be made", path.display()),
            )
            .with_source(source)
        };
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| unmade(error.into()))?;
        let (sealer, head) =
            Sealer::new(options.key.as_ref(), salt).map_err(|error| unmade(error.into()))?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unmade(error.into()))?;
        let mut recording = Self {
            path: path.clone(),
            file,
            cast: CastWriter::new(header),
            sealer,
            sha: Sha256::new(),
            bytes: 0,
            since: None,
            failed,
            error: None,
        };
        recording.write(&head);
        recording.write_block(false);
        match recording.error {
            Some(error) => Err(unmade(error.into())),
            None => Ok(recording),
        }
    }

    fn write_block(&mut self, last: bool) {
        self.since = None;
        let lines = self.cast.take();
        let mut pieces = lines.chunks(MAX_LINES).peekable();
        // The last block is there even when nothing is left to say.
        let mut empty = last && lines.is_empty();
        while empty || pieces.peek().is_some() {
            let piece = pieces.next().unwrap_or_default();
            empty = false;
            match self.sealer.seal(piece, last && pieces.peek().is_none()) {
                Ok(block) => self.write(&block),
                Err(error) => self.fail(io::Error::other(error)),
            }
        }
    }

    /// Writes all of it or nothing: what follows a piece could not be read.
    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.sha.update(bytes);
                self.bytes += bytes.len() as u64;
            }
            Err(error) => {
                if let Err(error) = self.file.set_len(self.bytes) {
                    tracing::warn!(path = %self.path.display(), %error, "rest of a block stays");
                }
                self.fail(error);
            }
        }
    }

    fn fail(&mut self, error: io::Error) {
        tracing::error!(path = %self.path.display(), %error, "recording not written");
        self.failed.store(true, Ordering::Relaxed);
        self.error = Some(error);
    }

    fn finish(mut self) -> Result<RecordingStored, Error> {
        self.write_block(true);
        if self.error.is_none()
            && let Err(error) = self.file.sync_all()
        {
            self.fail(error);
        }
        if let Some(error) = self.error {
            let what = format!("recording `{}` is not complete", self.path.display());
            return Err(Error::new(ErrorKind::Unavailable, what).with_source(error));
        }
        let digest: [u8; 32] = self.sha.finalize().into();
        let name = self.path.file_name();
        Ok(RecordingStored {
            file: name
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            bytes: self.bytes,
            sha256: hex(&digest),
            lost: 0,
        })
    }
}

/// Bytes of lines in one block; a paste or a flood may bring more at once.
const MAX_LINES: usize = 1 << 20;
