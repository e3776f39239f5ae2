use std::{
    collections::VecDeque,
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use bytes::Bytes;
use dockin_policy::audit::AuditEvent;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::AuditSink;
use crate::{Error, ErrorKind};

/// An append-only file of JSON lines, one an event, each with a `seq` that counts from 1.
///
/// ```text
/// {"seq":1,…event…}\n
/// {"seq":2,…event…}\n
/// ```
///
/// One thread writes. It takes all that waits, writes it at once, syncs once, then tells every
/// waiting caller; so many sessions share the cost of a sync. When writing fails, what was
/// written of the batch is cut off again, every caller of it gets the error, and the next batch
/// tries anew.
///
/// Dropping the sink waits until all that was queued is written.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl FileSink {
    /// Opens the file at `path` for this process alone, or makes it (mode 0600, its folder 0700).
    ///
    /// What a crash left unfinished at the end is moved to `PATH.torn`; `seq` goes on where the
    /// whole lines end.
    ///
    /// # Errors
    ///
    /// `Conflict` when another process writes it, `Misuse` when it is not an audit file,
    /// `Unavailable` when it cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let journal = Journal::open(&path)?;
        let written = path.clone();
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all_batches(journal, requests, &written))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "no thread for the audit file")
                    .with_source(error)
            })?;
        Ok(Self {
            path,
            queue: Some(queue),
            writer: Some(writer),
        })
    }
}

#[async_trait]
impl AuditSink for FileSink {
    async fn append(&self, event: AuditEvent) -> Result<(), Error> {
        let gone = || Error::new(ErrorKind::Unavailable, "the audit file's writer has ended");
        let event = encode(event)?;
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue
            .send(Request { event, done })
            .await
            .map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    async fn recent(&self, limit: usize) -> Result<Vec<Bytes>, Error> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || last_lines(&path, limit)).await;
        read.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the audit file was not read").with_source(error)
        })?
    }
}

/// The last `limit` whole lines, each with its end.
fn last_lines(path: &Path, limit: usize) -> Result<Vec<Bytes>, Error> {
    let unreadable = |error: io::Error| {
        problem(ErrorKind::Unavailable, path, "cannot be read").with_source(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(unreadable)?;
        if line.last() != Some(&b'\n') {
            return Ok(lines.into());
        }
        if lines.len() == limit {
            lines.pop_front();
        }
        if limit > 0 {
            lines.push_back(Bytes::from(line));
        }
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

/// Reads the events of an audit file from its start, while it may still be written.
///
/// # Errors
///
/// `NotFound` when there is no file at `path`, `Unavailable` when it cannot be opened.
pub fn read_events(path: impl Into<PathBuf>) -> Result<EventReader, Error> {
    let path = path.into();
    let file = File::open(&path).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        problem(kind, &path, "cannot be read").with_source(error)
    })?;
    Ok(EventReader {
        path,
        file: BufReader::new(file),
        offset: 0,
        line: 0,
    })
}

/// The events of an audit file with their `seq`, as an iterator that may go on after `None`.
///
/// `None` means: nothing more *for now*. To follow the file, call `next` again after a while; a
/// quarter of a second is plenty. A line without its end yet is left for the next call.
///
/// A line that is not an event is an `Err` with its number, once; the next call goes on after it.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next line starts.
    offset: u64,
    line: u64,
}

impl Iterator for EventReader {
    type Item = Result<(u64, AuditEvent), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let read = self
            .file
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line);
        match read {
            Err(error) => {
                return Some(Err(problem(
                    ErrorKind::Unavailable,
                    &self.path,
                    "cannot be read",
                )
                .with_source(error)));
            }
            Ok(_) if line.last() == Some(&b'\n') => {}
            Ok(size) if size as u64 == MAX_LINE => {}
            // The writer is at it, or cut a failed line off: read it again from its start.
            Ok(_) => {
                return match self.file.seek(SeekFrom::Start(self.offset)) {
                    Ok(_) => None,
                    Err(error) => Some(Err(problem(
                        ErrorKind::Unavailable,
                        &self.path,
                        "cannot be read",
                    )
                    .with_source(error))),
                };
            }
        }
        self.offset += line.len() as u64;
        self.line += 1;
        Some(decode(&line).ok_or_else(|| {
            let what = format!("has no event in line {}", self.line);
            problem(ErrorKind::Misbehaved, &self.path, &what)
        }))
    }
}

/// Events that may wait for the writer; further callers wait for a place.
const QUEUE: usize = 1024;

/// Bytes after which a batch is full.
const MAX_BATCH: usize = 1 << 20;

/// Longest line a reader takes for one, in bytes; events are far smaller.
const MAX_LINE: u64 = 16 << 20;

/// Bytes at the end in which a whole event must be found, or the file is not taken for ours.
const MAX_TORN: u64 = 64 << 20;

/// What every line starts with.
const LINE_START: &[u8] = b"{\"seq\":";

struct Request {
    /// The event's JSON without its `{`.
    event: Vec<u8>,
    done: oneshot::Sender<Result<(), Error>>,
}

fn write_all_batches(
    mut journal: Journal<File>,
    mut requests: mpsc::Receiver<Request>,
    path: &Path,
) {
    while let Some(first) = requests.blocking_recv() {
        let mut size = first.event.len();
        let mut batch = vec![first];
        while size < MAX_BATCH
            && let Ok(next) = requests.try_recv()
        {
            size += next.event.len();
            batch.push(next);
        }
        let outcome = journal.append(batch.iter().map(|request| request.event.as_slice()));
        if let Err(error) = &outcome {
            tracing::error!(path = %path.display(), %error, "audit events not written");
        }
        for request in batch {
            let outcome = outcome.as_ref().copied().map_err(|error| {
                problem(ErrorKind::Unavailable, path, "cannot be written")
                    .with_source(error.to_string())
            });
            // A caller that went away has its event written all the same.
            let _ = request.done.send(outcome);
        }
    }
    // Closing would do, unless a process being spawned just now has a copy of the descriptor.
    let _ = journal.storage.unlock();
}

/// What the journal needs of a file, so that tests can have one that fails.
trait Storage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, size: u64) -> io::Result<()>;
}

impl Storage for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }
}

/// Whole lines up to `end`, and maybe the rest of a failed write after it.
struct Journal<S> {
    storage: S,
    end: u64,
    /// `seq` of the next line.
    next: u64,
    /// There may be bytes after `end`.
    dirty: bool,
}

impl<S: Storage> Journal<S> {
    /// Writes the events as one batch: all of them are durable afterwards, or none is there.
    fn append<'a>(&mut self, events: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        if self.dirty {
            self.storage.truncate(self.end)?;
            self.dirty = false;
        }
        let mut lines = Vec::new();
        let mut next = self.next;
        for event in events {
            lines.extend_from_slice(LINE_START);
            lines.extend_from_slice(next.to_string().as_bytes());
            // An event without any field is `}` alone.
            if event != b"}" {
                lines.push(b',');
            }
            lines.extend_from_slice(event);
            lines.push(b'\n');
            next += 1;
        }
        self.dirty = true;
        let written = self
            .storage
            .write(&lines)
            .and_then(|()| self.storage.sync());
        if let Err(error) = written {
            // After a failed sync nobody knows what the disk has, so those lines go, too.
            self.dirty = self.storage.truncate(self.end).is_err();
            return Err(error);
        }
        self.dirty = false;
        self.end += lines.len() as u64;
        self.next = next;
        Ok(())
    }
}

impl Journal<File> {
    fn open(path: &Path) -> Result<Self, Error> {
        let unopened = |error: io::Error| {
            problem(ErrorKind::Unavailable, path, "cannot be opened").with_source(error)
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(unopened)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(unopened)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(problem(
                    ErrorKind::Conflict,
                    path,
                    "is written by another process; stop it, or name another file",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(unopened(error)),
        }
        let size = file.metadata().map_err(unopened)?.len();
        let (end, last) = last_event(&file, size)
            .map_err(unopened)?
            .ok_or_else(|| problem(ErrorKind::Misuse, path, "is not an audit file"))?;
        if end < size {
            move_aside(&file, end, size, path).map_err(unopened)?;
            tracing::warn!(
                path = %path.display(),
                bytes = size - end,
                "the end of the audit file was torn by a crash and is kept in `.torn`"
            );
        }
        Ok(Self {
            storage: file,
            end,
            next: last + 1,
            dirty: false,
        })
    }
}

/// Where the last whole event ends and its `seq`; `(0, 0)` without any, `None` when the file
/// was never ours.
fn last_event(file: &File, size: u64) -> io::Result<Option<(u64, u64)>> {
    let mut window = 64 << 10;
    loop {
        let start = size.saturating_sub(window);
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(0)];
        file.read_exact_at(&mut bytes, start)?;
        let mut rest = bytes.as_slice();
        while let Some(newline) = rest.iter().rposition(|byte| *byte == b'\n') {
            let (before, _) = rest.split_at(newline);
            let (earlier, line) = match before.iter().rposition(|byte| *byte == b'\n') {
                Some(previous) => before.split_at(previous + 1),
                None if start == 0 => before.split_at(0),
                None => break,
            };
            if let Some(seq) = sequence(line) {
                return Ok(Some((start + newline as u64 + 1, seq)));
            }
            rest = earlier;
        }
        if start == 0 {
            // No event at all: an empty file, a torn first line, or zeros that a crash left.
            let torn = bytes.starts_with(LINE_START)
                || LINE_START.starts_with(&bytes)
                || bytes.iter().all(|byte| *byte == 0);
            return Ok(torn.then_some((0, 0)));
        }
        if window > MAX_TORN {
            return Ok(None);
        }
        window *= 4;
    }
}

/// Appends what is from `end` on to `PATH.torn`, then cuts it off.
fn move_aside(file: &File, end: u64, size: u64, path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    let mut torn = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&name)?;
    let mut source = file.try_clone()?;
    source.seek(SeekFrom::Start(end))?;
    io::copy(&mut source.take(size - end), &mut torn)?;
    torn.write_all(b"\n")?;
    torn.sync_all()?;
    file.set_len(end)?;
    file.sync_all()
}

/// The event as JSON without its `{`, ready to have `seq` put in front; one that it has is ours to
/// give.
fn encode(mut event: AuditEvent) -> Result<Vec<u8>, Error> {
    event.seq = None;
    let mut json = serde_json::to_vec(&event).map_err(|error| {
        Error::new(ErrorKind::Misuse, "an audit event has no JSON").with_source(error)
    })?;
    if json.first() == Some(&b'{') {
        json.remove(0);
        Ok(json)
    } else {
        Err(Error::new(
            ErrorKind::Misuse,
            "an audit event is not a JSON object",
        ))
    }
}

fn decode(line: &[u8]) -> Option<(u64, AuditEvent)> {
    let event: AuditEvent = serde_json::from_slice(line).ok()?;
    Some((event.seq?, event))
}

/// The `seq` of a line, which must be whole JSON.
fn sequence(line: &[u8]) -> Option<u64> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    line.starts_with(LINE_START)
        .then(|| object.get("seq")?.as_u64())?
}

fn problem(kind: ErrorKind, path: &Path, what: &str) -> Error {
    Error::new(kind, format!("audit file `{}` {what}", path.display()))
}

#[cfg(test)]
mod tests;
