use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes, BytesMut};

use crate::{
    ProtocolError,
    limits::{MAX_BASE64_MESSAGE, MAX_WEBSOCKET_FRAME},
    websocket::{CloseCode, Connection, Incoming, MessageKind, OpCode, Span},
};

/// Part of a message that has a channel, or the end of the connection.
#[derive(Debug)]
pub(super) enum Part {
    Body {
        channel: u8,
        /// May be empty.
        bytes: Bytes,
        /// The message is complete.
        end: bool,
    },
    Close(CloseCode),
}

/// Messages of a WebSocket as bodies of channels, and back; raw and base64 alike.
///
/// Messages for channels that nobody here reads are skipped as they pass.
#[derive(Debug)]
pub(super) struct Messages {
    connection: Connection,
    base64: bool,
    readable: &'static [u8],
    /// Channels of which small messages may come as one: where they end means nothing.
    joinable: &'static [u8],
    current: Current,
}

/// What is known of the message that is arriving.
enum Current {
    Start,
    Raw(u8),
    Base64 { channel: u8, text: BytesMut },
    Skip,
}

impl std::fmt::Debug for Current {
    // What is half assembled may be what somebody types: it is not shown.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Start => "Start",
            Self::Raw(_) => "Raw",
            Self::Base64 { .. } => "Base64",
            Self::Skip => "Skip",
        })
    }
}

impl Messages {
    /// Every channel of `joinable` is `readable` too.
    pub(super) const fn new(
        connection: Connection,
        base64: bool,
        readable: &'static [u8],
        joinable: &'static [u8],
    ) -> Self {
        Self {
            connection,
            base64,
            readable,
            joinable,
            current: Current::Start,
        }
    }

    pub(super) const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) const fn to_copy(&self) -> usize {
        self.connection.to_copy()
    }

    pub(super) const fn is_closing(&self) -> bool {
        self.connection.is_closing()
    }

    /// The next part; `None` when more input is needed.
    pub(super) fn read(&mut self, input: &mut BytesMut) -> Result<Option<Part>, ProtocolError> {
        loop {
            if !self.base64
                && let Some((channel, bytes)) = self
                    .connection
                    .read_joined(input, |channel| self.joinable.contains(&channel))
            {
                return Ok(Some(Part::Body {
                    channel,
                    bytes,
                    end: true,
                }));
            }
            let Some(incoming) = self.connection.read(input)? else {
                return Ok(None);
            };
            let span = match incoming {
                Incoming::Close(code) => return Ok(Some(Part::Close(code))),
                Incoming::Span(span) => span,
            };
            let part = if self.base64 {
                self.base64_part(span)?
            } else {
                self.raw_part(span)
            };
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    /// Queues `body` on `channel` as one message, or several when it is larger than one may be.
    pub(super) fn write(&mut self, channel: u8, mut body: Bytes, max: usize) {
        let max = max.min(if self.base64 {
            MAX_BASE64_BODY
        } else {
            MAX_RAW_BODY
        });
        loop {
            let part = body.split_to(body.len().min(max));
            if self.base64 {
                let mut text = String::with_capacity(part.len().div_ceil(3) * 4);
                STANDARD.encode_string(&part, &mut text);
                self.connection
                    .send(OpCode::TEXT, &[b'0' + channel], text.into());
            } else {
                self.connection.send(OpCode::BINARY, &[channel], part);
            }
            if body.is_empty() {
                return;
            }
        }
    }

    fn raw_part(&mut self, span: Span) -> Option<Part> {
        let Span {
            kind,
            mut bytes,
            end,
        } = span;
        if let Current::Start = self.current {
            // A Go server would take the text's first character for a channel, where "0" is 48
            // and none: dropped there as here.
            let channel = match kind {
                MessageKind::Binary => bytes.first().copied(),
                MessageKind::Text => None,
            };
            self.current = match channel {
                Some(channel) if self.readable.contains(&channel) => {
                    bytes.advance(1);
                    Current::Raw(channel)
                }
                _ => Current::Skip,
            };
        }
        let part = match self.current {
            Current::Raw(channel) => Some(Part::Body {
                channel,
                bytes,
                end,
            }),
            _ => None,
        };
        if end {
            self.current = Current::Start;
        }
        part
    }

    /// The opcode is not looked at: the Go servers do not either.
    fn base64_part(&mut self, span: Span) -> Result<Option<Part>, ProtocolError> {
        let Span { mut bytes, end, .. } = span;
        if let Current::Start = self.current {
            let channel = bytes.first().and_then(|digit| digit.checked_sub(b'0'));
            self.current = match channel {
                Some(channel) if self.readable.contains(&channel) && channel < 10 => {
                    bytes.advance(1);
                    Current::Base64 {
                        channel,
                        text: BytesMut::new(),
                    }
                }
                _ => Current::Skip,
            };
        }
        let Current::Base64 { channel, text } = &mut self.current else {
            if end {
                self.current = Current::Start;
            }
            return Ok(None);
        };
        let size = text.len() + bytes.len();
        if size > MAX_BASE64_MESSAGE {
            self.connection.close(CloseCode::TOO_BIG);
            return Err(ProtocolError::TooLong {
                what: "base64 message",
                size,
                max: MAX_BASE64_MESSAGE,
            });
        }
        if !end {
            text.extend_from_slice(&bytes);
            return Ok(None);
        }
        let decoded = if text.is_empty() {
            STANDARD.decode(&bytes)
        } else {
            text.extend_from_slice(&bytes);
            STANDARD.decode(&text)
        };
        let channel = *channel;
        self.current = Current::Start;
        Ok(decoded.ok().map(|body| Part::Body {
            channel,
            bytes: body.into(),
            end: true,
        }))
    }
}

/// A raw message's body beside its channel byte. 32 MiB fits every usize we are built for.
const MAX_RAW_BODY: usize = MAX_WEBSOCKET_FRAME as usize - 1;
/// What a message of [`MAX_BASE64_MESSAGE`] holds; a multiple of 3, so that only the last
/// message of a body is padded.
const MAX_BASE64_BODY: usize = (MAX_BASE64_MESSAGE - 1) / 4 * 3;
