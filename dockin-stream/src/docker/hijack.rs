//! The HTTP around a stream: asking for it, answering, and the requests beside it.
//!
//! Headers come as `(name, value)` pairs; names are compared without regard to case. What comes
//! right behind a head belongs to the stream already.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Shape;
use crate::{StreamSet, TerminalSize, offers};

/// Content type of a stream without frames, and up to API 1.41 of one with frames too.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Content type of a stream with frames, from API 1.42 on.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// The headers that ask for a stream. Without them the daemon answers 200 and the connection is
/// the process's own all the same, but no proxy in between knows it.
pub const REQUEST_HEADERS: [(&str, &str); 2] = [("Connection", "Upgrade"), ("Upgrade", "tcp")];

/// Why an answer does not open a stream.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum HijackError {
    /// Neither 101 nor 200: the body says why, and no stream byte follows.
    #[error("daemon answers with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// A 101 to another protocol.
    #[error("daemon does not upgrade to tcp")]
    NotAnUpgrade,
    /// A 200 with a body that has a length or chunks: the connection stays HTTP.
    #[error("daemon answers with an ordinary body")]
    NotHijacked,
    /// A content type that is none of a stream.
    #[error("daemon answers with content type `{0}`")]
    ContentType(String),
}

/// A daemon's answer that opens a stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Answer {
    /// It was a 101; else a 200 whose body is the connection.
    pub upgraded: bool,
    /// How output stands on the connection.
    pub shape: Shape,
}

impl Answer {
    /// Reads the head of an answer to attach or exec. Up to API 1.41 the content type does not
    /// tell whether there are frames, so `tty` says what the container or exec was made with.
    ///
    /// # Errors
    ///
    /// [`HijackError`]: the connection must not be taken for a stream.
    ///
    /// # Example
    ///
    /// ```
    /// use dockin_stream::docker::{Shape, hijack::{Answer, RAW_STREAM}};
    ///
    /// let headers = [("Content-Type", RAW_STREAM), ("Connection", "Upgrade"), ("Upgrade", "tcp")];
    /// let answer = Answer::parse(101, headers.into_iter(), false)?;
    /// assert_eq!(answer.shape, Shape::Multiplexed);
    /// # Ok::<(), dockin_stream::docker::hijack::HijackError>(())
    /// ```
    pub fn parse<'a>(
        status: u16,
        headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        tty: bool,
    ) -> Result<Self, HijackError> {
        let upgraded = match status {
            101 if is_upgrade(headers.clone()) => true,
            101 => return Err(HijackError::NotAnUpgrade),
            200 => false,
            status => return Err(HijackError::Refused { status }),
        };
        let has_body = |name| values(headers.clone(), name).next().is_some();
        if !upgraded && (has_body("content-length") || has_body("transfer-encoding")) {
            return Err(HijackError::NotHijacked);
        }
        let shape = match values(headers, "content-type").next() {
            Some(MULTIPLEXED_STREAM) => Shape::Multiplexed,
            // Daemons before API 1.20 gave none with a 101.
            Some(RAW_STREAM) | None => Shape::with_tty(tty),
            Some(other) => return Err(HijackError::ContentType(other.to_owned())),
        };
        Ok(Self { upgraded, shape })
    }

    /// The whole head as a daemon of API version 1.`api_minor` writes it.
    #[must_use]
    pub fn to_head(self, api_minor: u16) -> String {
        let content_type = match self.shape {
            Shape::Multiplexed if api_minor >= MULTIPLEXED_SINCE => MULTIPLEXED_STREAM,
            Shape::Multiplexed | Shape::Raw => RAW_STREAM,
        };
        if self.upgraded {
            format!(
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\n\
                 Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n")
        }
    }
}

/// Whether the headers ask for, or agree to, a stream: `Connection` names `upgrade` and `Upgrade`
/// names `tcp`.
pub fn is_upgrade<'a>(headers: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
    let names = |header, token: &str| {
        offers(values(headers.clone(), header)).any(|name| name.eq_ignore_ascii_case(token))
    };
    names("connection", "upgrade") && names("upgrade", "tcp")
}

/// The body of `POST /exec/{id}/start`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ExecStart {
    /// Start and answer at once, without a stream.
    #[serde(rename = "Detach", default)]
    pub detach: bool,
    /// The process has a TTY; must be what the exec was made with.
    #[serde(rename = "Tty", default)]
    pub tty: bool,
}

impl ExecStart {
    /// Reads the body; an empty one means the defaults, as it does for the daemon. `None` for
    /// what is no JSON object.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Some(Self::default());
        }
        // A derived reader would take an array for an object.
        body.starts_with(b"{")
            .then(|| serde_json::from_slice(body).ok())
            .flatten()
    }

    /// The JSON object.
    #[must_use]
    pub fn to_json(self) -> String {
        format!("{{\"Detach\":{},\"Tty\":{}}}", self.detach, self.tty)
    }
}

/// The query of `POST /containers/{id}/attach` for these streams.
#[must_use]
pub fn attach_query(streams: StreamSet) -> String {
    let mut query = "stream=1".to_owned();
    for (wanted, name) in [
        (streams.stdin, "&stdin=1"),
        (streams.stdout, "&stdout=1"),
        (streams.stderr, "&stderr=1"),
    ] {
        if wanted {
            query.push_str(name);
        }
    }
    query
}

/// The streams that an attach query asks for; none without `stream`, which is then about old
/// output alone. `tty` is what the container was made with.
#[must_use]
pub fn parse_attach_query(query: &str, tty: bool) -> StreamSet {
    let wants = |name| {
        parameter(query, name).is_some_and(|value| {
            // The daemon's own idea of false.
            !["", "0", "no", "false", "none"]
                .iter()
                .any(|no| value.eq_ignore_ascii_case(no))
        })
    };
    let live = wants("stream");
    StreamSet {
        stdin: live && wants("stdin"),
        stdout: live && wants("stdout"),
        stderr: live && wants("stderr"),
        tty,
    }
    .normalized()
}

/// The query of `POST /exec/{id}/resize` and `POST /containers/{id}/resize`.
#[must_use]
pub fn resize_query(size: TerminalSize) -> String {
    format!("h={}&w={}", size.height, size.width)
}

/// The size in the query of a resize; `None` unless both are decimal numbers up to 65,535.
#[must_use]
pub fn parse_resize_query(query: &str) -> Option<TerminalSize> {
    let number = |name| {
        parameter(query, name)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?
            .parse()
            .ok()
    };
    Some(TerminalSize {
        width: number("w")?,
        height: number("h")?,
    })
}

/// The first value of that name. Nothing that is read here is ever percent-encoded.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn values<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    name: &'static str,
) -> impl Iterator<Item = &'a str> {
    headers
        .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Minor API version from which the content type tells the shape.
const MULTIPLEXED_SINCE: u16 = 42;

#[cfg(test)]
mod tests {
    use super::{
        Answer, ExecStart, HijackError, MULTIPLEXED_STREAM, RAW_STREAM, attach_query,
        parse_attach_query, parse_resize_query, resize_query,
    };
    use crate::{StreamSet, TerminalSize, docker::Shape};

    fn answer(
        status: u16,
        headers: &[(&str, &str)],
        tty: bool,
    ) -> Result<(bool, Shape), HijackError> {
        Answer::parse(status, headers.iter().copied(), tty)
            .map(|answer| (answer.upgraded, answer.shape))
    }

    #[test]
    fn the_shape_is_told_by_the_type_or_else_by_the_tty() {
        let raw = ("content-type", RAW_STREAM);
        let frames = ("Content-Type", MULTIPLEXED_STREAM);
        assert_eq!(answer(200, &[raw], true), Ok((false, Shape::Raw)));
        assert_eq!(answer(200, &[raw], false), Ok((false, Shape::Multiplexed)));
        assert_eq!(
            answer(200, &[frames], true),
            Ok((false, Shape::Multiplexed))
        );
        assert_eq!(answer(200, &[], true), Ok((false, Shape::Raw)));
    }

    #[test]
    fn what_opens_no_stream_is_refused() {
        let upgrade = [("Connection", "keep-alive, upgrade"), ("Upgrade", "TCP")];
        assert_eq!(answer(101, &upgrade, true), Ok((true, Shape::Raw)));
        for (status, headers, error) in [
            (
                101,
                [("Connection", "close"), ("Upgrade", "tcp")],
                HijackError::NotAnUpgrade,
            ),
            (
                101,
                [("Connection", "Upgrade"), ("Upgrade", "h2c")],
                HijackError::NotAnUpgrade,
            ),
            (409, upgrade, HijackError::Refused { status: 409 }),
            (
                200,
                [("X", ""), ("Content-Length", "0")],
                HijackError::NotHijacked,
            ),
            (
                200,
                [("X", ""), ("Transfer-Encoding", "chunked")],
                HijackError::NotHijacked,
            ),
            (
                200,
                [("X", ""), ("Content-Type", "text/html")],
                HijackError::ContentType("text/html".to_owned()),
            ),
        ] {
            assert_eq!(answer(status, &headers, true), Err(error));
        }
    }

    #[test]
    fn queries_and_bodies_survive_their_text() {
        for bits in 0..8_u8 {
            let streams = StreamSet {
                stdin: bits & 1 != 0,
                stdout: bits & 2 != 0,
                stderr: bits & 4 != 0,
                tty: false,
            };
            assert_eq!(parse_attach_query(&attach_query(streams), false), streams);
            let start = ExecStart {
                detach: streams.stdin,
                tty: streams.stdout,
            };
            assert_eq!(ExecStart::parse(start.to_json().as_bytes()), Some(start));
        }
        assert!(!parse_attach_query("stdout=1", false).any());
        assert!(!parse_attach_query("stream=1&stdout=False&stderr=0&stdin=", false).any());
        assert!(!parse_attach_query("stream=1&stderr=true&logs=1", true).any());
        let size = TerminalSize {
            width: 132,
            height: 43,
        };
        assert_eq!(parse_resize_query(&resize_query(size)), Some(size));
        for text in ["", "h=1", "w=1", "h=+1&w=2", "h=1&w=65536", "h=&w=2"] {
            assert_eq!(parse_resize_query(text), None, "{text}");
        }
        assert_eq!(ExecStart::parse(b" "), Some(ExecStart::default()));
        for text in [&b"[true,false]"[..], b"{\"Tty\":1}", b"Tty"] {
            assert_eq!(ExecStart::parse(text), None);
        }
    }
}
