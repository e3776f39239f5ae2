//! The records of a trail, read back.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use dockin_policy::audit::AuditEvent;

use super::{Filter, problem, segment::trail_files};
use crate::{Error, ErrorKind};

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

impl EventReader {
    /// Of the file that is read, whatever its name is now.
    #[cfg(feature = "gateway")]
    pub(super) fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.file.get_ref().metadata()
    }

    /// The next whole line with its end; `None` when there is none yet.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let size = self
            .file
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') && size as u64 != MAX_LINE {
            // The writer is at it, or cut a failed line off: read it again from its start.
            self.file.seek(SeekFrom::Start(self.offset))?;
            return Ok(None);
        }
        self.offset += line.len() as u64;
        self.line += 1;
        Ok(Some(line))
    }
}

impl Iterator for EventReader {
    type Item = Result<(u64, AuditEvent), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.next_line() {
            Ok(line) => line?,
            Err(error) => {
                let error = problem(ErrorKind::Unavailable, &self.path, "cannot be read")
                    .with_source(error);
                return Some(Err(error));
            }
        };
        Some(decode(&line).ok_or_else(|| {
            let what = format!("has no event in line {}", self.line);
            problem(ErrorKind::Misbehaved, &self.path, &what)
        }))
    }
}

/// The last `limit` lines of the trail at `path` that `filter` takes, each with its end.
pub(super) fn newest_lines(
    path: &Path,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Bytes>, Error> {
    let unreadable = |path: &Path, error: io::Error| {
        problem(ErrorKind::Unavailable, path, "cannot be read").with_source(error)
    };
    let mut found: VecDeque<Bytes> = VecDeque::new();
    let files = trail_files(path).map_err(|error| unreadable(path, error))?;
    for file in files.iter().rev() {
        let room = limit - found.len();
        if room == 0 {
            break;
        }
        let mut reader = match read_events(file) {
            Ok(reader) => reader,
            // Renamed since it was listed: its records are then in a file that comes next.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut lines: VecDeque<Bytes> = VecDeque::new();
        while let Some(line) = reader
            .next_line()
            .map_err(|error| unreadable(file, error))?
        {
            let fits =
                filter.is_empty() || decode(&line).is_none_or(|(_, event)| filter.fits(&event));
            if fits {
                if lines.len() == room {
                    lines.pop_front();
                }
                lines.push_back(Bytes::from(line));
            }
        }
        lines.append(&mut found);
        found = lines;
    }
    Ok(found.into())
}

fn decode(line: &[u8]) -> Option<(u64, AuditEvent)> {
    let event: AuditEvent = serde_json::from_slice(line).ok()?;
    Some((event.seq?, event))
}

/// Longest line a reader takes for one, in bytes; events are far smaller.
const MAX_LINE: u64 = 16 << 20;
