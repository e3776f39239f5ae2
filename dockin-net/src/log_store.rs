//! Our own form of a network's leases: a snapshot, and a log of what came after it.
//!
//! Both start with eight bytes that name them, the number of the snapshot that they belong to and
//! a checksum of both, and go on with [records](crate::record). A snapshot ends with an empty record. A log of another
//! number than the snapshot's is what the snapshot was made of, and is passed over.
//!
//! A record counts from the moment it is whole, which is why a commit writes one record, then asks
//! for it to be durable, and only then answers. What a crash leaves of a record is cut off at the
//! next opening.

use crate::{
    Ledger,
    lease::{Change, Timestamp},
    record::{self, RecordError},
    store::{LeaseStore, StoreError},
};

const LOG: [u8; 8] = *b"DKNETLG1";
const SNAPSHOT: [u8; 8] = *b"DKNETSN1";
const HEAD: usize = 20;

/// Bytes; a shorter log is read faster than a snapshot is written.
const MIN_COMPACTION: u64 = 256 * 1024;
/// Changes in one record of a snapshot.
const SNAPSHOT_BATCH: usize = 512;

/// One of the two files.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum FileName {
    /// What came after the snapshot.
    Log,
    /// Everything before.
    Snapshot,
}

impl FileName {
    /// Its name in the network's directory.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "leases.log",
            Self::Snapshot => "leases.snapshot",
        }
    }
}

/// Two files that nobody else touches meanwhile.
pub trait Disk {
    /// The content; none when there is no such file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn read(&mut self, file: FileName) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes at `offset`, the end of the file. Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn sync(&mut self, file: FileName) -> Result<(), StoreError>;

    /// Cuts the file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn truncate(&mut self, file: FileName, length: u64) -> Result<(), StoreError>;

    /// Puts a new file in the place of the old one: durable, and at every moment one or the other.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError>;
}

/// The leases on a [`Disk`].
#[derive(Debug)]
pub struct LogStore<D> {
    disk: D,
    ledger: Ledger,
    number: u64,
    log_length: u64,
    snapshot_length: u64,
    now: Timestamp,
}

impl<D: Disk> LogStore<D> {
    /// Reads both files, and cuts off what a crash left of a record.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when a file is no log or snapshot, or a record within it is not
    /// what was written.
    pub fn open(mut disk: D, now: Timestamp) -> Result<Self, StoreError> {
        let mut ledger = Ledger::default();
        let mut number = 0;
        let mut snapshot_length = 0;
        if let Some(bytes) = disk.read(FileName::Snapshot)? {
            number = read_head(&bytes, SNAPSHOT, FileName::Snapshot)?;
            ledger = read_snapshot(&bytes)?;
            snapshot_length = length(&bytes);
        }
        let mut store = Self {
            disk,
            ledger,
            number,
            log_length: 0,
            snapshot_length,
            now,
        };
        match store.disk.read(FileName::Log)? {
            Some(bytes) if read_head(&bytes, LOG, FileName::Log)? == number => {
                let whole = read_log(&bytes, &mut store.ledger)?;
                if whole < bytes.len() {
                    let whole = u64::try_from(whole).unwrap_or(u64::MAX);
                    store.disk.truncate(FileName::Log, whole)?;
                    store.log_length = whole;
                } else {
                    store.log_length = length(&bytes);
                }
            }
            Some(bytes) if read_head(&bytes, LOG, FileName::Log)? > number => {
                return Err(damaged(FileName::Log, "its snapshot is missing"));
            }
            _ => store.start_log()?,
        }
        Ok(store)
    }

    /// Writes a snapshot and starts a new log.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; nothing is lost then.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let mut bytes = head(SNAPSHOT, self.number + 1);
        for changes in self.ledger.to_changes(self.now).chunks(SNAPSHOT_BATCH) {
            bytes.extend(record::encode(changes));
        }
        bytes.extend(record::encode(&[]));
        self.disk.replace(FileName::Snapshot, &bytes)?;
        self.number += 1;
        self.snapshot_length = length(&bytes);
        self.start_log()
    }

    fn start_log(&mut self) -> Result<(), StoreError> {
        let bytes = head(LOG, self.number);
        self.disk.replace(FileName::Log, &bytes)?;
        self.log_length = length(&bytes);
        Ok(())
    }

    /// The disk, for tests that look at it.
    pub fn into_disk(self) -> D {
        self.disk
    }
}

impl<D: Disk> LeaseStore for LogStore<D> {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let record = record::encode(&changes);
        let written = self
            .disk
            .write(FileName::Log, self.log_length, &record)
            .and_then(|()| self.disk.sync(FileName::Log));
        if let Err(error) = written {
            // The record may be whole on the disk: what is reported as failed must not count.
            self.disk.truncate(FileName::Log, self.log_length)?;
            return Err(error);
        }
        self.log_length += length(&record);
        for change in changes {
            self.ledger.apply(change);
        }
        if self.log_length > MIN_COMPACTION.max(self.snapshot_length / 2) {
            // The changes are durable: what fails here fails again at the next commit.
            let _ = self.compact();
        }
        Ok(())
    }
}

fn head(kind: [u8; 8], number: u64) -> Vec<u8> {
    let mut head = [kind, number.to_le_bytes()].concat();
    head.extend(crc32fast::hash(&head).to_le_bytes());
    head
}

fn read_head(bytes: &[u8], kind: [u8; 8], file: FileName) -> Result<u64, StoreError> {
    let number = bytes
        .get(8..)
        .and_then(|rest| rest.first_chunk())
        .map(|number| u64::from_le_bytes(*number));
    number
        .filter(|number| bytes.starts_with(&head(kind, *number)))
        .ok_or_else(|| damaged(file, "it does not start as one of ours"))
}

fn read_snapshot(bytes: &[u8]) -> Result<Ledger, StoreError> {
    let mut rest = bytes.get(HEAD..).unwrap_or_default();
    let mut all = Vec::new();
    loop {
        let (changes, length) = record::decode(rest)
            .map_err(|error| damaged(FileName::Snapshot, &error.to_string()))?;
        rest = rest.get(length..).unwrap_or_default();
        if changes.is_empty() {
            break;
        }
        all.push(changes);
    }
    if rest.is_empty() {
        return Ok(Ledger::from_changes(all.into_iter().flatten()));
    }
    Err(damaged(FileName::Snapshot, "it goes on after its end"))
}

/// Applies every whole record; the length of the log up to where they end.
fn read_log(bytes: &[u8], ledger: &mut Ledger) -> Result<usize, StoreError> {
    let mut offset = HEAD;
    loop {
        let rest = bytes.get(offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(offset);
        }
        match record::decode(rest) {
            Ok((changes, length)) => {
                for change in changes {
                    ledger.apply(change);
                }
                offset += length;
            }
            Err(error @ RecordError::Unknown(_)) => {
                return Err(damaged(FileName::Log, &error.to_string()));
            }
            Err(error) => {
                // A crash tears the last record alone. When whole ones follow, something else
                // did this, and cutting here would give addresses away that are in use.
                let tails = (1..rest.len()).filter_map(|skip| rest.get(skip..));
                if !tails.into_iter().any(record::is_record) {
                    return Ok(offset);
                }
                let message = format!("{error} at byte {offset}, and whole records follow");
                return Err(damaged(FileName::Log, &message));
            }
        }
    }
}

fn damaged(file: FileName, message: &str) -> StoreError {
    StoreError::Damaged {
        path: file.as_str().into(),
        message: message.into(),
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
