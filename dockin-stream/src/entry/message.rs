use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message as _;
use serde::Deserialize;
use thiserror::Error;

use crate::TerminalSize;

/// How messages are written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: Entry knows these two.
pub enum Encoding {
    /// proto3, what lain-cli speaks.
    Protobuf,
    /// JSON, what browsers speak: `?method=web`.
    Json,
}

impl Encoding {
    /// The encoding that a request's query asks for.
    ///
    /// ```
    /// use dockin_stream::entry::Encoding;
    ///
    /// assert_eq!(Encoding::of_query("method=web"), Encoding::Json);
    /// assert_eq!(Encoding::of_query(""), Encoding::Protobuf);
    /// ```
    #[must_use]
    pub fn of_query(query: &str) -> Self {
        let method = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("method="));
        if method == Some("web") {
            Self::Json
        } else {
            Self::Protobuf
        }
    }
}

/// What a client's message is. An open space: unknown ones are skipped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestType(pub i32);

impl RequestType {
    /// What is typed.
    pub const PLAIN: Self = Self(0);
    /// The terminal's size.
    pub const WINCH: Self = Self(1);
}

/// What a server's message is. An open space: unknown ones are skipped.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ResponseType(pub i32);

impl ResponseType {
    /// Standard output.
    pub const STDOUT: Self = Self(0);
    /// Standard error.
    pub const STDERR: Self = Self(1);
    /// The end, and a text for the person.
    pub const CLOSE: Self = Self(2);
    /// A sign of life.
    pub const PING: Self = Self(3);
}

/// Why bytes are not a message.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum MessageError {
    /// Truncated, or a field of the wrong wire type.
    #[error("message of {size} bytes is not protobuf: {reason}")]
    Protobuf {
        /// Bytes of the message.
        size: usize,
        /// What the decoder says.
        reason: String,
    },
    /// No JSON object, or a field of the wrong type.
    #[error("message is not the json expected at line {line}, column {column}")]
    Json {
        /// From 1; 0 when it is about the whole.
        line: usize,
        /// From 1; 0 when it is about the whole.
        column: usize,
    },
    /// The content of a JSON message is not padded base64.
    #[error("content of a message is not base64")]
    Base64,
}

/// One message: type and content. Which space the type is of is known by the direction.
///
/// # Example
///
/// ```
/// use dockin_stream::{TerminalSize, entry::{Encoding, Message, RequestType}};
///
/// let winch = Message::winch(TerminalSize { width: 80, height: 24 });
/// let wire = winch.encode(Encoding::Protobuf);
/// assert_eq!(&wire[..], b"\x08\x01\x12\x0580 24");
/// assert_eq!(Message::decode(Encoding::Protobuf, wire)?.msg_type, RequestType::WINCH.0);
/// # Ok::<(), dockin_stream::entry::MessageError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// A [`RequestType`] or [`ResponseType`].
    pub msg_type: i32,
    /// Any bytes.
    pub content: Bytes,
}

impl Message {
    /// A client's message.
    #[must_use]
    pub const fn request(msg_type: RequestType, content: Bytes) -> Self {
        Self {
            msg_type: msg_type.0,
            content,
        }
    }

    /// A server's message.
    #[must_use]
    pub const fn response(msg_type: ResponseType, content: Bytes) -> Self {
        Self {
            msg_type: msg_type.0,
            content,
        }
    }

    /// A client's message that tells its terminal's size.
    #[must_use]
    pub fn winch(size: TerminalSize) -> Self {
        let content = format!("{} {}", size.width, size.height);
        Self::request(RequestType::WINCH, content.into())
    }

    /// The content as a terminal's size: columns, one space, rows, each `0..=65_535`; `None` for
    /// anything else.
    #[must_use]
    pub fn size(&self) -> Option<TerminalSize> {
        let text = std::str::from_utf8(&self.content).ok()?;
        let (width, height) = text.split_once(' ')?;
        let number = |digits: &str| {
            digits
                .bytes()
                .all(|digit| digit.is_ascii_digit())
                .then(|| digits.parse().ok())
                .flatten()
        };
        Some(TerminalSize {
            width: number(width)?,
            height: number(height)?,
        })
    }

    /// Reads one message. In protobuf the content shares `wire`'s allocation, unknown fields are
    /// skipped, and of a field that is there twice the last counts. In JSON a type that is left
    /// out is 0, whatever came before.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn decode(encoding: Encoding, wire: Bytes) -> Result<Self, MessageError> {
        match encoding {
            Encoding::Protobuf => {
                let size = wire.len();
                let ProtobufMessage { msg_type, content } =
                    ProtobufMessage::decode(wire).map_err(|error| MessageError::Protobuf {
                        size,
                        reason: error.to_string(),
                    })?;
                Ok(Self { msg_type, content })
            }
            Encoding::Json => {
                let JsonMessage { msg_type, content } = parse_object(&wire)?;
                let content = STANDARD
                    .decode(content.unwrap_or_default().as_bytes())
                    .map_err(|_| MessageError::Base64)?;
                Ok(Self {
                    msg_type: msg_type.unwrap_or(0),
                    content: content.into(),
                })
            }
        }
    }

    /// Writes the message. In JSON the type always stands, also when it is 0: Entry's server reads
    /// each message into what is left of the last one.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Bytes {
        match encoding {
            Encoding::Protobuf => ProtobufMessage {
                msg_type: self.msg_type,
                content: self.content.clone(),
            }
            .encode_to_vec()
            .into(),
            Encoding::Json => {
                let mut text = format!("{{\"msgType\":{},\"content\":\"", self.msg_type);
                STANDARD.encode_string(&self.content, &mut text);
                text.push_str("\"}");
                text.into()
            }
        }
    }
}

/// `RequestMessage` and `ResponseMessage`: an enum is an int32 on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtobufMessage {
    #[prost(int32, tag = "1")]
    msg_type: i32,
    #[prost(bytes = "bytes", tag = "2")]
    content: Bytes,
}

#[derive(Deserialize)]
struct JsonMessage<'a> {
    #[serde(rename = "msgType")]
    msg_type: Option<i32>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

/// Reads a JSON object; a derived reader alone would take an array for one.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, MessageError> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(MessageError::Json { line: 0, column: 0 });
    }
    serde_json::from_slice(text).map_err(|error| MessageError::Json {
        line: error.line(),
        column: error.column(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Encoding, Message, MessageError, RequestType, ResponseType};
    use crate::TerminalSize;

    #[test]
    fn sizes_are_two_numbers_and_a_space() {
        for (text, size) in [
            ("80 24", Some((80, 24))),
            ("65535 1", Some((65_535, 1))),
            ("0 0", Some((0, 0))),
            ("80  24", None),
            (" 80 24", None),
            ("80 24 ", None),
            ("-80 24", None),
            ("+80 24", None),
            ("65536 1", None),
            ("80", None),
            ("80 ", None),
            ("", None),
            ("80x24", None),
        ] {
            let message = Message::request(RequestType::WINCH, text.into());
            let size = size.map(|(width, height)| TerminalSize { width, height });
            assert_eq!(message.size(), size, "{text:?}");
        }
    }

    #[test]
    fn json_type_never_comes_from_the_message_before() {
        let read = |text: &'static str| Message::decode(Encoding::Json, text.into());
        let winch = read(r#"{"msgType":1,"content":"ODAgMjQ="}"#);
        assert_eq!(winch.map(|message| message.msg_type), Ok(1));
        for text in [
            r#"{"content":"bHMK"}"#,
            r#" {"msgType":null,"content":"bHMK","other":[]}"#,
        ] {
            let plain = Message::request(RequestType::PLAIN, Bytes::from_static(b"ls\n"));
            assert_eq!(read(text), Ok(plain));
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        for text in [
            "",
            "[1,\"\"]",
            "{",
            "{\"msgType\":1.5}",
            "{\"msgType\":\"1\"}",
            "{}x",
        ] {
            assert!(
                matches!(
                    Message::decode(Encoding::Json, text.into()),
                    Err(MessageError::Json { .. })
                ),
                "{text}"
            );
        }
        for text in [
            r#"{"content":"!!"}"#,
            r#"{"content":"bHMK\n"}"#,
            r#"{"content":"bA"}"#,
        ] {
            let error = Message::decode(Encoding::Json, text.into());
            assert_eq!(error, Err(MessageError::Base64), "{text}");
        }
        let error = Message::decode(Encoding::Protobuf, Bytes::from_static(b"\x12\x05abc"));
        assert!(matches!(error, Err(MessageError::Protobuf { size: 5, .. })));
    }

    #[test]
    fn protobuf_content_shares_the_buffer() {
        let wire = Message::response(ResponseType::STDOUT, Bytes::from_static(b"total 0"))
            .encode(Encoding::Protobuf);
        let address = wire.as_ptr().wrapping_add(2);
        let read = Message::decode(Encoding::Protobuf, wire);
        assert!(read.is_ok_and(|message| message.content.as_ptr() == address));
    }

    #[test]
    fn a_query_asks_for_json_by_its_method_alone() {
        for (query, encoding) in [
            ("method=web", Encoding::Json),
            ("a=b&method=web&c", Encoding::Json),
            ("", Encoding::Protobuf),
            ("method=", Encoding::Protobuf),
            ("method=webs", Encoding::Protobuf),
            ("xmethod=web", Encoding::Protobuf),
            ("method=cli&method=web", Encoding::Protobuf),
        ] {
            assert_eq!(Encoding::of_query(query), encoding, "{query}");
        }
    }
}
