use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{Encoding, Message};
use crate::{
    ProtocolError,
    limits::MAX_ENTRY_MESSAGE,
    websocket::{CloseCode, Connection, Incoming, OpCode, Span},
};

/// Whole messages of a WebSocket, whatever their opcode: lain-cli sends protobuf as text.
pub(super) struct Frames {
    connection: Connection,
    encoding: Encoding,
    /// The message that is arriving in parts, [`MAX_ENTRY_MESSAGE`] bytes at most.
    partial: BytesMut,
}

#[derive(Debug)]
pub(super) enum Frame {
    Message(Bytes),
    Close,
}

impl Frames {
    pub(super) fn new(connection: Connection, encoding: Encoding) -> Self {
        Self {
            connection,
            encoding,
            partial: BytesMut::new(),
        }
    }

    pub(super) const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) const fn is_closing(&self) -> bool {
        self.connection.is_closing()
    }

    pub(super) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The next message; `None` when more input is needed.
    pub(super) fn read(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        while let Some(incoming) = self.connection.read(input)? {
            let Span { bytes, end, .. } = match incoming {
                Incoming::Close(_) => return Ok(Some(Frame::Close)),
                Incoming::Span(span) => span,
            };
            let size = self.partial.len() + bytes.len();
            if size > MAX_ENTRY_MESSAGE {
                self.connection.close(CloseCode::TOO_BIG);
                return Err(ProtocolError::TooLong {
                    what: "entry message",
                    size,
                    max: MAX_ENTRY_MESSAGE,
                });
            }
            if end && self.partial.is_empty() {
                return Ok(Some(Frame::Message(bytes)));
            }
            self.partial.extend_from_slice(&bytes);
            if end {
                return Ok(Some(Frame::Message(
                    std::mem::take(&mut self.partial).freeze(),
                )));
            }
        }
        Ok(None)
    }

    /// Reads what a frame holds; the Close frame that tells an error is queued.
    pub(super) fn decode(&mut self, wire: Bytes) -> Result<Message, ProtocolError> {
        Message::decode(self.encoding, wire).map_err(|error| {
            self.connection.close(CloseCode::INVALID_PAYLOAD);
            error.into()
        })
    }

    pub(super) fn write(&mut self, opcode: OpCode, message: &Message) {
        self.connection
            .send(opcode, &[], message.encode(self.encoding));
    }
}

impl fmt::Debug for Frames {
    // What is half assembled may be what somebody types: it is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Frames")
            .field("connection", &self.connection)
            .field("encoding", &self.encoding)
            .field("partial", &self.partial.len())
            .finish()
    }
}
