use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    Encoding, Identity, Message, RequestType, ResponseType,
    frames::{Frame, Frames},
    server::{GREEN, RESET},
};
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet,
    limits::MAX_ENTRY_CONTENT,
    websocket::{CloseCode, Connection, OpCode},
};

/// The client's end of `/enter` and `/attach`: towards an Entry server.
///
/// A CLOSE message gives [`Event::Exit`]. The protocol has no exit code: a green text counts as 0,
/// any other as a failure with that text. A connection that ends without CLOSE gives
/// [`Event::Close`] alone, which a relay must not take for success.
pub struct Client {
    frames: Frames,
    streams: StreamSet,
    events: VecDeque<Event>,
    exited: bool,
    close_told: bool,
}

impl Client {
    /// A session in protobuf right behind the 101; the request's headers said who we are
    /// ([`Identity::headers`]). See [`MaskKeys`](crate::websocket::mask::MaskKeys) for the seed.
    #[must_use]
    pub fn native(streams: StreamSet, mask_seed: u64) -> Self {
        Self {
            frames: Frames::new(Connection::client(mask_seed), Encoding::Protobuf),
            streams,
            events: VecDeque::new(),
            exited: false,
            close_told: false,
        }
    }

    /// A session in JSON right behind the 101 (`?method=web`); `identity` is its first message.
    #[must_use]
    pub fn web(identity: &Identity, streams: StreamSet, mask_seed: u64) -> Self {
        let mut connection = Connection::client(mask_seed);
        connection.send(OpCode::TEXT, &[], identity.to_json().into());
        Self {
            frames: Frames::new(connection, Encoding::Json),
            ..Self::native(streams, mask_seed)
        }
    }

    fn message(&mut self, wire: Bytes) -> Result<(), ProtocolError> {
        // Output behind the end would break the law that the status comes last.
        if self.exited {
            return Ok(());
        }
        let Message { msg_type, content } = self.frames.decode(wire)?;
        match ResponseType(msg_type) {
            ResponseType::STDOUT if self.streams.stdout && !content.is_empty() => {
                self.events.push_back(Event::Stdout(content));
            }
            ResponseType::STDERR if self.streams.stderr && !content.is_empty() => {
                self.events.push_back(Event::Stderr(content));
            }
            ResponseType::CLOSE => {
                self.exited = true;
                self.events.push_back(Event::Exit(status(&content)));
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, message: &Message) {
        // As the clients of the field: JSON is text.
        let opcode = match self.frames.encoding() {
            Encoding::Protobuf => OpCode::BINARY,
            Encoding::Json => OpCode::TEXT,
        };
        self.frames.write(opcode, message);
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl Codec for Client {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(frame) = self.frames.read(input)? {
            match frame {
                Frame::Message(wire) => self.message(wire)?,
                Frame::Close => self.tell_close(),
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.tell_close();
        self.frames.connection().handle_eof()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The protocol has no end of input: [`Event::HalfClose`] is dropped.
    fn send(&mut self, event: Event) {
        match event {
            Event::Stdin(mut bytes) if self.streams.stdin => {
                while !bytes.is_empty() {
                    let part = bytes.split_to(bytes.len().min(MAX_ENTRY_CONTENT));
                    self.write(&Message::request(RequestType::PLAIN, part));
                }
            }
            Event::Resize(size) if self.streams.tty => self.write(&Message::winch(size)),
            Event::Close => self.frames.connection().close(CloseCode::NORMAL),
            Event::Stdin(_)
            | Event::Resize(_)
            | Event::HalfClose
            | Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Exit(_) => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.frames.connection().send_keepalive();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.frames.connection().poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.frames.is_closing()
    }
}

impl fmt::Debug for Client {
    // Events hold what somebody types or sees: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("frames", &self.frames)
            .field("streams", &self.streams)
            .field("exited", &self.exited)
            .finish_non_exhaustive()
    }
}

/// What the text of a CLOSE message says: its colour is all there is.
fn status(content: &[u8]) -> ExitStatus {
    let text = String::from_utf8_lossy(content);
    if text.starts_with(GREEN) {
        return ExitStatus::Exited(0);
    }
    let text = text.strip_suffix(RESET).unwrap_or(&text);
    let text = match text.strip_prefix("\x1b[") {
        Some(coloured) => coloured.split_once('m').map_or(text, |(_, rest)| rest),
        None => text,
    };
    let text = text.strip_prefix(">>> ").unwrap_or(text);
    ExitStatus::internal_error(if text.is_empty() {
        "the server closed the session"
    } else {
        text
    })
}
