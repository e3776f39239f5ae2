use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::{CastEvent, CastHeader, CastKind, RecordedSession};

/// Reads asciicast v2 and v3 from bytes that are cut anywhere.
///
/// Feed, then poll until `None`; at the end of the bytes call [`finish`](Self::finish). A line
/// that is no event is an error with its number, once; reading can go on after it.
#[derive(Debug, Default)]
pub struct CastReader {
    buffer: Vec<u8>,
    start: usize,
    line: u64,
    header: Option<CastHeader>,
    time: Duration,
    broken: bool,
}

/// Why a text is not an asciicast.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CastError {
    /// The first line is no header.
    #[error("line 1 is no header of an asciicast: {problem}")]
    Header {
        /// What is wrong with it.
        problem: String,
    },
    /// A version that is not read.
    #[error("asciicast version {version} is not read, only 2 and 3")]
    Version {
        /// That version.
        version: u64,
    },
    /// A line is no event.
    #[error("line {line} is no event `[time, code, data]`")]
    Event {
        /// Its number, from 1.
        line: u64,
    },
    /// A line is longer than any event is.
    #[error("line {line} is longer than {max} bytes")]
    TooLong {
        /// Its number, from 1.
        line: u64,
        /// Bytes allowed.
        max: usize,
    },
}

#[derive(Deserialize)]
struct RawHeader {
    version: u64,
    #[serde(default)]
    width: u16,
    #[serde(default)]
    height: u16,
    term: Option<RawTerm>,
    timestamp: Option<f64>,
    title: Option<String>,
    command: Option<String>,
    env: Option<serde_json::Map<String, Value>>,
    dockin: Option<RecordedSession>,
}

#[derive(Deserialize)]
struct RawTerm {
    cols: u16,
    rows: u16,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl CastReader {
    /// A reader at the beginning of a cast.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The header, once its line is there.
    ///
    /// # Errors
    ///
    /// - [`CastError::Header`] when the first line is no header.
    /// - [`CastError::Version`] for versions other than 2 and 3.
    pub fn poll_header(&mut self) -> Result<Option<&CastHeader>, CastError> {
        if self.header.is_none()
            && !self.broken
            && let Some(line) = self.next_line()?
        {
            // Without a header nothing that follows has a meaning.
            self.broken = true;
            self.header = Some(parse_header(&line)?);
            self.broken = false;
        }
        Ok(self.header.as_ref())
    }

    /// The next event; `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// As [`poll_header`](Self::poll_header), and [`CastError::Event`], [`CastError::TooLong`]
    /// for a line of those after it.
    pub fn poll_event(&mut self) -> Result<Option<CastEvent>, CastError> {
        let Some(version) = self.poll_header()?.map(|header| header.version) else {
            return Ok(None);
        };
        while let Some(line) = self.next_line()? {
            if line.trim_ascii().is_empty() || line.starts_with(b"#") {
                continue;
            }
            let number = self.line;
            let (seconds, kind) = parse_event(&line).ok_or(CastError::Event { line: number })?;
            let time = if version == 3 {
                self.time.saturating_add(seconds)
            } else {
                seconds.max(self.time)
            };
            self.time = time;
            return Ok(Some(CastEvent { time, kind }));
        }
        Ok(None)
    }

    /// Whether the bytes ended with a line that has no end: a cast that was cut off.
    #[must_use]
    pub fn finish(&self) -> bool {
        self.buffer.len() > self.start
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, CastError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            if rest.len() > MAX_LINE {
                self.start = self.buffer.len();
                return Err(CastError::TooLong {
                    line: self.line + 1,
                    max: MAX_LINE,
                });
            }
            return Ok(None);
        };
        let line = rest.get(..end).unwrap_or_default().to_vec();
        self.start += end + 1;
        self.line += 1;
        Ok(Some(line))
    }
}

/// Longest line, bytes; an event is one read of a terminal.
const MAX_LINE: usize = 16 << 20;

fn parse_header(line: &[u8]) -> Result<CastHeader, CastError> {
    let raw: RawHeader = serde_json::from_slice(line).map_err(|error| CastError::Header {
        problem: error.to_string(),
    })?;
    let (columns, rows, terminal) = match (raw.version, raw.term) {
        (3, Some(term)) => (term.cols, term.rows, term.kind),
        (3, None) => {
            return Err(CastError::Header {
                problem: "there is no `term`".to_owned(),
            });
        }
        (2, _) => {
            let term = raw.env.as_ref().and_then(|env| env.get("TERM")?.as_str());
            (raw.width, raw.height, term.map(str::to_owned))
        }
        (version, _) => return Err(CastError::Version { version }),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and no clock shows such times"
    )]
    let timestamp = raw.timestamp.map(|seconds| seconds as u64);
    Ok(CastHeader {
        version: if raw.version == 2 { 2 } else { 3 },
        columns,
        rows,
        terminal,
        timestamp,
        title: raw.title,
        command: raw.command,
        session: raw.dockin,
    })
}

fn parse_event(line: &[u8]) -> Option<(Duration, CastKind)> {
    let (seconds, code, data): (f64, String, Value) = serde_json::from_slice(line).ok()?;
    let micros = (seconds * 1e6).round();
    // Negative and endless times stand still.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates"
    )]
    let time = Duration::from_micros(micros.max(0.0) as u64);
    let data = match data {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let kind = match code.as_str() {
        "o" => CastKind::Output(data),
        "i" => CastKind::Input(data),
        "m" => CastKind::Marker(data),
        "r" => {
            let (columns, rows) = data.split_once('x')?;
            CastKind::Resize {
                columns: columns.parse().ok()?,
                rows: rows.parse().ok()?,
            }
        }
        "x" => CastKind::Exit(data.parse().ok()?),
        _ => CastKind::Other { code, data },
    };
    Some((time, kind))
}

#[cfg(test)]
mod tests;
