use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use dockin_policy::audit::RecordHead;

use crate::{
    Error, ErrorKind,
    audit::{
        problem,
        reader::{EventReader, read_events},
        segment::trail_files,
    },
};

/// Reads a trail from a record on, across its files, while it is written.
#[derive(Debug)]
pub(super) struct Follower {
    trail: PathBuf,
    next: u64,
    open: Option<(PathBuf, EventReader)>,
}

/// Records of a batch.
const BATCH: usize = 500;
/// Bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;

impl Follower {
    pub(super) const fn new(trail: PathBuf, next: u64) -> Self {
        Self {
            trail,
            next,
            open: None,
        }
    }

    /// Number of the record that comes next.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The next records with their lines, oldest first; none when there are no more yet.
    pub(super) fn read(&mut self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let path = self.trail.clone();
        self.read_batch().map_err(|error| {
            problem(ErrorKind::Unavailable, &path, "cannot be read for export").with_source(error)
        })
    }

    fn read_batch(&mut self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some((path, reader)) = &mut self.open else {
                if !self.reopen()? {
                    break;
                }
                continue;
            };
            match reader.next_line()? {
                Some(line) => {
                    // What is no record is for `audit verify` to tell of.
                    let Some(head) = RecordHead::parse(&line) else {
                        continue;
                    };
                    if head.seq >= self.next {
                        self.next = head.seq + 1;
                        bytes += line.len();
                        batch.push((head.seq, line));
                    }
                }
                None if is_same_file(reader, &self.trail) => break,
                None => {
                    // It is full and was renamed; what it got before that is read now.
                    if let Some(line) = reader.next_line()? {
                        let seq = RecordHead::parse(&line).map(|head| head.seq);
                        if let Some(seq) = seq.filter(|seq| *seq >= self.next) {
                            self.next = seq + 1;
                            batch.push((seq, line));
                        }
                        continue;
                    }
                    let done = path.clone();
                    self.open = None;
                    if !self.reopen()? || self.open.as_ref().is_some_and(|(path, _)| *path == done)
                    {
                        self.open = None;
                        break;
                    }
                }
            }
        }
        Ok(batch)
    }

    /// Opens the file that holds the next record; whether there is one.
    fn reopen(&mut self) -> io::Result<bool> {
        let files = trail_files(&self.trail)?;
        let mut wanted = None;
        for path in files {
            let mut reader = match read_events(&path) {
                Ok(reader) => reader,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(io::Error::other(error.chain())),
            };
            let first = match reader.next_line()? {
                Some(line) => RecordHead::parse(&line).map(|head| head.seq),
                None => None,
            };
            match first {
                Some(first) if first <= self.next || wanted.is_none() => wanted = Some(path),
                // An empty newest file, when everything before it is delivered.
                None if wanted.is_none() => wanted = Some(path),
                _ => {}
            }
        }
        let Some(path) = wanted else {
            return Ok(false);
        };
        match read_events(&path) {
            Ok(reader) => {
                self.open = Some((path, reader));
                Ok(true)
            }
            // Renamed just now: another look finds it.
            Err(_) => Ok(false),
        }
    }
}

fn is_same_file(reader: &EventReader, path: &Path) -> bool {
    let ours = reader.metadata().map(|data| data.ino());
    let theirs = fs::metadata(path).map(|data| data.ino());
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
}
