//! The lines of a trail on a disk that may fail at any point.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dockin_policy::audit::{
    AuditEvent, AuditKind, Chain, ChainHash, RecordHead, SignedHead, SigningKey, TrailOpened,
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    problem,
    segment::{folder, rotated_path, trail_files},
};
use crate::{Error, ErrorKind, hex::hex};

/// What the journal needs of a file, so that tests can have one that fails.
pub(super) trait Storage {
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
pub(super) struct Journal<S> {
    pub(super) storage: S,
    pub(super) end: u64,
    /// There may be bytes after `end`.
    pub(super) dirty: bool,
    chain: Chain,
    key: SigningKey,
    /// Goes before the next record: the head of the file.
    header: Option<TrailOpened>,
    /// Number of the file's first record, once it has one.
    first: Option<u64>,
    /// Records that no checkpoint covers, and since when there are any.
    unsigned: u64,
    unsigned_since: Option<Instant>,
    /// When the file got its first record in this process or before.
    begun: Option<Timestamp>,
}

/// Records after which a checkpoint comes, however little time has passed.
const CHECKPOINT_RECORDS: u64 = 10_000;

/// How long a record may be without a signature over it.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

impl<S: Storage> Journal<S> {
    pub(super) const fn new(
        storage: S,
        end: u64,
        chain: Chain,
        key: SigningKey,
        header: TrailOpened,
    ) -> Self {
        Self {
            storage,
            end,
            dirty: false,
            chain,
            key,
            header: Some(header),
            first: None,
            unsigned: 0,
            unsigned_since: None,
            begun: None,
        }
    }

    /// Writes the events as one batch: all of them are durable afterwards, or none is there.
    pub(super) fn append<'a>(&mut self, events: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        self.write(events, false)
    }

    /// Signs what is not signed yet.
    pub(super) fn sign(&mut self, closing: bool) -> io::Result<()> {
        if self.unsigned == 0 && !(closing && self.first.is_some() && self.header.is_none()) {
            return Ok(());
        }
        self.write_signed(std::iter::empty(), true, closing)
    }

    /// Whether it is time for a checkpoint.
    pub(super) fn sign_is_due(&self) -> bool {
        self.unsigned >= CHECKPOINT_RECORDS
            || self
                .unsigned_since
                .is_some_and(|since| since.elapsed() >= CHECKPOINT_INTERVAL)
    }

    /// The signature over all that is written.
    pub(super) fn head(&self) -> SignedHead {
        self.key.sign(self.chain.next_seq() - 1, self.chain.head())
    }

    fn write<'a>(&mut self, events: impl Iterator<Item = &'a [u8]>, sign: bool) -> io::Result<()> {
        self.write_signed(events, sign || self.sign_is_due(), false)
    }

    fn write_signed<'a>(
        &mut self,
        events: impl Iterator<Item = &'a [u8]>,
        sign: bool,
        closing: bool,
    ) -> io::Result<()> {
        if self.dirty {
            self.storage.truncate(self.end)?;
            self.dirty = false;
        }
        let now = Timestamp::now();
        let mut chain = self.chain;
        let mut lines = Vec::new();
        if let Some(header) = &self.header {
            let opened = TrailOpened {
                version: 1,
                key: self.key.public().to_string(),
                previous: chain.head().to_string(),
                ..header.clone()
            };
            push(&mut chain, &mut lines, now, AuditKind::TrailOpened(opened))?;
        }
        for event in events {
            chain.append(&mut lines, event);
        }
        let mut unsigned = self.unsigned + (chain.next_seq() - self.chain.next_seq());
        let signs = sign || unsigned >= CHECKPOINT_RECORDS;
        if signs {
            let head = self.key.sign(chain.next_seq() - 1, chain.head());
            let kind = AuditKind::Checkpoint(head.into_checkpoint(closing));
            push(&mut chain, &mut lines, now, kind)?;
            unsigned = 0;
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
        self.first.get_or_insert(self.chain.next_seq());
        self.begun.get_or_insert(now);
        self.chain = chain;
        self.header = None;
        self.unsigned = unsigned;
        self.unsigned_since = match self.unsigned_since {
            _ if unsigned == 0 => None,
            None => Some(Instant::now()),
            since => since,
        };
        Ok(())
    }
}

impl Journal<File> {
    /// Makes the folder of `path` when there is none.
    pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder(path))
            .map_err(|error| {
                problem(ErrorKind::Unavailable, path, "cannot be opened").with_source(error)
            })
    }

    pub(super) fn open(path: &Path, key: SigningKey) -> Result<Self, Error> {
        let unopened = |error: io::Error| {
            problem(ErrorKind::Unavailable, path, "cannot be opened").with_source(error)
        };
        let file = options().open(path).map_err(unopened)?;
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
        let (end, last) = last_record(&file, size)
            .map_err(unopened)?
            .ok_or_else(|| problem(ErrorKind::Misuse, path, "is not an audit file"))?;
        let mut header = TrailOpened::default();
        if end < size {
            header.torn_bytes = size - end;
            move_aside(&file, end, size, path).map_err(unopened)?;
            tracing::warn!(
                path = %path.display(),
                bytes = size - end,
                "the end of the audit file was torn by a crash and is kept in `.torn`"
            );
        }
        let before = match last {
            Some(last) => Some(last),
            None => last_rotated(path, &mut header).map_err(unopened)?,
        };
        let seq = before.map_or(0, |before| before.seq);
        let hash = match before {
            Some(RecordHead {
                hash: Some(hash), ..
            }) => hash,
            Some(RecordHead { hash: None, .. }) if last.is_some() => {
                seal(&file, end, &mut header).map_err(unopened)?;
                ChainHash::START
            }
            _ => ChainHash::START,
        };
        if let Some(head) = read_head(path)
            && head.signer() == Some(key.public())
            && head.through > seq
        {
            tracing::error!(
                path = %path.display(), last = seq, recorded = head.through,
                "the audit trail ends before what was written: records were removed"
            );
            header.missing_through = head.through;
        }
        let mut journal = Self::new(file, end, Chain::new(seq + 1, hash), key, header);
        if last.is_some() {
            let (first, begun) = first_record(&journal.storage).map_err(unopened)?;
            journal.first = first;
            journal.begun = begun;
        }
        Ok(journal)
    }

    /// Whether the file is as large or as old as it may get.
    pub(super) fn is_full(&self, size: u64, age: Option<Duration>) -> bool {
        if self.first.is_none() {
            return false;
        }
        let old = age.zip(self.begun).is_some_and(|(age, begun)| {
            Timestamp::now().duration_since(begun).unsigned_abs() >= age
        });
        self.end >= size || old
    }

    /// Closes the file under another name and goes on in a new one.
    ///
    /// When any step fails all is as it was, and the file goes on.
    pub(super) fn rotate(&mut self, path: &Path) -> io::Result<()> {
        let full = self.first.and_then(|first| rotated_path(path, first));
        let full = full.ok_or_else(|| io::Error::other("the file has no name for it"))?;
        if full.try_exists()? {
            return Err(io::Error::other(format!(
                "`{}` is there already",
                full.display()
            )));
        }
        let mut next = path.as_os_str().to_owned();
        next.push(".next");
        let next = PathBuf::from(next);
        let file = options().truncate(false).open(&next)?;
        file.set_len(0)?;
        file.try_lock().map_err(io::Error::from)?;
        self.sign(true)?;
        fs::rename(path, &full)?;
        if let Err(error) = fs::rename(&next, path) {
            // Nobody but us makes files here, so the way back is free.
            fs::rename(&full, path)?;
            return Err(error);
        }
        File::open(folder(path))?.sync_all()?;
        let continues = full
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let header = TrailOpened {
            continues,
            ..TrailOpened::default()
        };
        *self = Self::new(file, 0, self.chain, self.key.clone(), header);
        Ok(())
    }

    /// Keeps the signed head beside the file. It is never ahead of what is on disk.
    pub(super) fn keep_head(&self, path: &Path) -> io::Result<()> {
        let mut new = head_path(path).into_os_string();
        new.push(".new");
        let text = serde_json::to_vec(&self.head())?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&text)?;
        fs::rename(new, head_path(path))
    }
}

/// Where the signed head of the trail at `path` lies.
#[must_use]
pub fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// The signed head of the trail at `path`, when there is one that can be read.
#[must_use]
pub fn read_head(path: &Path) -> Option<SignedHead> {
    serde_json::from_slice(&fs::read(head_path(path)).ok()?).ok()
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options
}

fn push(chain: &mut Chain, lines: &mut Vec<u8>, now: Timestamp, kind: AuditKind) -> io::Result<()> {
    let event = AuditEvent::new(now.to_string(), kind);
    chain.append(lines, &serde_json::to_vec(&event)?);
    Ok(())
}

/// Number and hash of the last record of the newest full file.
fn last_rotated(path: &Path, header: &mut TrailOpened) -> io::Result<Option<RecordHead>> {
    let files = trail_files(path)?;
    let Some(full) = files.iter().rfind(|file| file.as_path() != path) else {
        return Ok(None);
    };
    let file = File::open(full)?;
    let size = file.metadata()?.len();
    header.continues = full
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(last_record(&file, size)?.and_then(|(_, last)| last))
}

/// Counts and hashes the records of an earlier version, which have no chain.
fn seal(file: &File, end: u64, header: &mut TrailOpened) -> io::Result<()> {
    let mut source = BufReader::new(file.try_clone()?);
    source.seek(SeekFrom::Start(0))?;
    let mut source = source.take(end);
    let mut sha = Sha256::new();
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line)? > 0 {
        header.unchained += 1;
        sha.update(&line);
        line.clear();
    }
    header.unchained_sha256 = Some(hex(&sha.finalize()));
    Ok(())
}

/// Number and time of the file's first record.
fn first_record(file: &File) -> io::Result<(Option<u64>, Option<Timestamp>)> {
    let mut source = BufReader::new(file.try_clone()?);
    source.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    source.take(MAX_TORN).read_until(b'\n', &mut line)?;
    let first = RecordHead::parse(&line).map(|head| head.seq);
    let event: Option<AuditEvent> = serde_json::from_slice(&line).ok();
    Ok((first, event.and_then(|event| event.time.parse().ok())))
}

/// Where the last whole record ends, and its head; `None` when the file was never ours.
fn last_record(file: &File, size: u64) -> io::Result<Option<(u64, Option<RecordHead>)>> {
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
            if let Some(head) = record_head(line) {
                return Ok(Some((start + newline as u64 + 1, Some(head))));
            }
            rest = earlier;
        }
        if start == 0 {
            // No event at all: an empty file, a torn first line, or zeros that a crash left.
            let torn = bytes.starts_with(LINE_START)
                || LINE_START.starts_with(&bytes)
                || bytes.iter().all(|byte| *byte == 0);
            return Ok(torn.then_some((0, None)));
        }
        if window > MAX_TORN {
            return Ok(None);
        }
        window *= 4;
    }
}

/// Number and hash of a line, which must be whole JSON.
fn record_head(line: &[u8]) -> Option<RecordHead> {
    let _whole: Map<String, Value> = serde_json::from_slice(line).ok()?;
    RecordHead::parse(line)
}

/// Bytes at the end in which a whole record must be found, or the file is not taken for ours.
const MAX_TORN: u64 = 64 << 20;

/// What every line starts with.
const LINE_START: &[u8] = b"{\"seq\":";

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

#[cfg(test)]
mod tests;
