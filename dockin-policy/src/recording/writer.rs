use std::{borrow::Cow, io::Write as _, time::Duration};

use serde::Serialize;

use super::{CastHeader, RecordedSession};

/// Writes a session as lines of asciicast v3.
///
/// Output and input come as bytes, cut anywhere: a character that is cut is held until its rest
/// comes, and what is no UTF-8 becomes U+FFFD. Times are since the session began; one that is
/// before its predecessor counts as the same.
///
/// ```
/// # use std::time::Duration;
/// use dockin_policy::recording::{CastHeader, CastWriter};
///
/// let header = CastHeader { columns: 80, rows: 24, ..CastHeader::default() };
/// let mut cast = CastWriter::new(&header);
/// cast.output(Duration::from_millis(1500), b"hi\r\n");
/// cast.exit(Duration::from_secs(2), 0);
/// assert_eq!(
///     String::from_utf8(cast.take()).unwrap(),
///     "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n\
///      [1.500000,\"o\",\"hi\\r\\n\"]\n[0.500000,\"x\",\"0\"]\n"
/// );
/// ```
///
/// Spec: asciicast v3, <https://docs.asciinema.org/manual/asciicast/v3/>.
#[derive(Debug)]
pub struct CastWriter {
    lines: Vec<u8>,
    last: Duration,
    output: Partial,
    input: Partial,
}

/// A character whose rest has not come yet.
#[derive(Debug, Default)]
struct Partial {
    bytes: [u8; 4],
    length: usize,
}

#[derive(Serialize)]
struct Header<'a> {
    version: u8,
    term: Term<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dockin: Option<&'a RecordedSession>,
}

#[derive(Serialize)]
struct Term<'a> {
    cols: u16,
    rows: u16,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
}

impl CastWriter {
    /// Begins a cast with its header.
    #[must_use]
    pub fn new(header: &CastHeader) -> Self {
        let header = Header {
            version: 3,
            term: Term {
                cols: header.columns,
                rows: header.rows,
                kind: header.terminal.as_deref(),
            },
            timestamp: header.timestamp,
            command: header.command.as_deref(),
            title: header.title.as_deref(),
            dockin: header.session.as_ref(),
        };
        // Strings and numbers always have a JSON form.
        let mut lines = serde_json::to_vec(&header).unwrap_or_default();
        lines.push(b'\n');
        Self {
            lines,
            last: Duration::ZERO,
            output: Partial::default(),
            input: Partial::default(),
        }
    }

    /// The terminal was written to.
    pub fn output(&mut self, time: Duration, bytes: &[u8]) {
        let mut partial = std::mem::take(&mut self.output);
        let text = partial.join(bytes);
        self.event(time, "o", &text);
        self.output = partial;
    }

    /// Something was typed.
    pub fn input(&mut self, time: Duration, bytes: &[u8]) {
        let mut partial = std::mem::take(&mut self.input);
        let text = partial.join(bytes);
        self.event(time, "i", &text);
        self.input = partial;
    }

    /// The terminal got another size.
    pub fn resize(&mut self, time: Duration, columns: u16, rows: u16) {
        self.event(time, "r", &format!("{columns}x{rows}"));
    }

    /// A place worth finding again.
    pub fn marker(&mut self, time: Duration, label: &str) {
        self.line(time, "m", label);
    }

    /// The session ended.
    pub fn exit(&mut self, time: Duration, status: i32) {
        self.line(time, "x", &status.to_string());
    }

    /// Bytes of whole lines that wait to be taken.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no lines wait.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines since the last time, all of them whole.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }

    fn event(&mut self, time: Duration, code: &str, text: &str) {
        if !text.is_empty() {
            self.line(time, code, text);
        }
    }

    fn line(&mut self, time: Duration, code: &str, data: &str) {
        let now = time.max(self.last);
        // Both in whole microseconds, so that no error adds up.
        let interval = micros(now).saturating_sub(micros(self.last));
        self.last = now;
        let (seconds, rest) = (interval / 1_000_000, interval % 1_000_000);
        // Writing to a vector cannot fail, and a string always has a JSON form.
        let _ = write!(self.lines, "[{seconds}.{rest:06},\"{code}\",");
        let _ = serde_json::to_writer(&mut self.lines, data);
        self.lines.extend_from_slice(b"]\n");
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Partial {
    /// What is whole of the held bytes and `bytes`; the beginning of a character is held.
    fn join<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        let bytes = if self.length == 0 {
            Cow::Borrowed(bytes)
        } else {
            let held = self.bytes.get(..self.length).unwrap_or_default();
            self.length = 0;
            Cow::Owned([held, bytes].concat())
        };
        let whole = bytes.len() - open_character(&bytes);
        let rest = bytes.get(whole..).unwrap_or_default();
        if let Some(place) = self.bytes.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
            self.length = rest.len();
        }
        match bytes {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default()),
            Cow::Owned(mut bytes) => {
                bytes.truncate(whole);
                Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }
}

/// Bytes at the end that begin a character and may go on.
fn open_character(bytes: &[u8]) -> usize {
    for length in 1..=3.min(bytes.len()) {
        let tail = bytes.get(bytes.len() - length..).unwrap_or_default();
        if tail.first().is_some_and(|first| *first >= 0xc0) {
            let open = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
            return if open { length } else { 0 };
        }
    }
    0
}
