use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    CLOSE_SIGNAL, RESIZE, STATUS, STDERR, STDIN, STDOUT,
    message::{Messages, Part},
};
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol,
    limits::MAX_STATUS,
    websocket::{CloseCode, Connection, OpCode},
};

/// The client's end of exec or attach over a WebSocket: towards an API server or a kubelet.
///
/// [`Event::Exit`] comes when the status is complete, which the server sends behind the last
/// output. In v1, which has no exit code, it comes with the server's Close 1000: the text of the
/// error channel is a failure, none is success, but not when that Close answers ours. A connection that ends without a status gives
/// [`Event::Close`] alone, which a relay must not take for success.
pub struct Client {
    messages: Messages,
    subprotocol: Subprotocol,
    streams: StreamSet,
    events: VecDeque<Event>,
    /// The status so far: a server may send it in several messages.
    status: Vec<u8>,
    /// How often the status was found to be incomplete.
    attempts: u8,
    stdin_ended: bool,
    /// We have said goodbye: a Close frame that comes answers ours.
    left: bool,
    exited: bool,
    close_told: bool,
}

impl Client {
    /// A session right behind the 101, in the subprotocol that the server chose. `streams` are
    /// those of the request's query; standard error is dropped when there is a TTY. See
    /// [`MaskKeys`](crate::websocket::mask::MaskKeys) for the seed.
    #[must_use]
    pub fn new(subprotocol: Subprotocol, streams: StreamSet, mask_seed: u64) -> Self {
        Self {
            messages: Messages::new(
                Connection::client(mask_seed),
                subprotocol.is_base64(),
                &[STDOUT, STDERR, STATUS],
                &[STDOUT, STDERR],
            ),
            subprotocol,
            streams: streams.normalized(),
            events: VecDeque::new(),
            status: Vec::new(),
            attempts: 0,
            stdin_ended: false,
            left: false,
            exited: false,
            close_told: false,
        }
    }

    fn body(&mut self, channel: u8, bytes: Bytes, end: bool) -> Result<(), ProtocolError> {
        // Output behind the status would break the law that the status comes last.
        if self.exited {
            return Ok(());
        }
        match channel {
            STDOUT if self.streams.stdout && !bytes.is_empty() => {
                self.events.push_back(Event::Stdout(bytes));
            }
            STDERR if self.streams.stderr && !bytes.is_empty() => {
                self.events.push_back(Event::Stderr(bytes));
            }
            STATUS => self.status_part(&bytes, end)?,
            _ => {}
        }
        Ok(())
    }

    fn status_part(&mut self, bytes: &[u8], end: bool) -> Result<(), ProtocolError> {
        let size = self.status.len() + bytes.len();
        if size > MAX_STATUS {
            self.messages.connection().close(CloseCode::TOO_BIG);
            return Err(ProtocolError::TooLong {
                what: "status",
                size,
                max: MAX_STATUS,
            });
        }
        self.status.extend_from_slice(bytes);
        if end && self.subprotocol.has_exit_code() && self.attempts < STATUS_ATTEMPTS {
            if is_whole_json(&self.status) {
                self.exit(ExitStatus::parse_json(&self.status));
            } else {
                self.attempts += 1;
            }
        }
        Ok(())
    }

    fn handle_close(&mut self, code: CloseCode) {
        if self.subprotocol.has_exit_code() {
            if !self.status.is_empty() {
                // Cut in the middle: a failure.
                self.exit(ExitStatus::parse_json(&self.status));
            }
        } else if (code == CloseCode::NORMAL && !self.left) || !self.status.is_empty() {
            self.exit(ExitStatus::parse_text(&self.status));
        }
        self.tell_close();
    }

    fn exit(&mut self, status: ExitStatus) {
        if !self.exited {
            self.exited = true;
            self.events.push_back(Event::Exit(status));
        }
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
        while let Some(part) = self.messages.read(input)? {
            match part {
                Part::Body {
                    channel,
                    bytes,
                    end,
                } => self.body(channel, bytes, end)?,
                Part::Close(code) => self.handle_close(code),
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.tell_close();
        self.messages.connection().handle_eof()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, event: Event) {
        match event {
            Event::Stdin(bytes) if self.streams.stdin && !self.stdin_ended && !bytes.is_empty() => {
                self.messages.write(STDIN, bytes, MAX_STDIN_BODY);
            }
            Event::HalfClose if self.streams.stdin && !self.stdin_ended => {
                self.stdin_ended = true;
                // The other versions cannot say it: the server's input stays open.
                if self.subprotocol == Subprotocol::V5 {
                    let signal = [CLOSE_SIGNAL, STDIN];
                    self.messages
                        .connection()
                        .send(OpCode::BINARY, &signal, Bytes::new());
                }
            }
            Event::Resize(size) if self.streams.tty => {
                self.messages
                    .write(RESIZE, size.to_json_line().into(), usize::MAX);
            }
            Event::Close => {
                self.left = true;
                self.messages.connection().close(CloseCode::NORMAL);
            }
            Event::Stdin(_)
            | Event::HalfClose
            | Event::Resize(_)
            | Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Exit(_) => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.messages.connection().send_keepalive();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.messages.connection().poll_transmit()
    }

    fn to_copy(&self) -> usize {
        self.messages.to_copy()
    }

    fn poll_transmit_into(&mut self, room: &mut BytesMut) -> Option<Bytes> {
        self.messages.connection().poll_transmit_into(room)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.messages.is_closing()
    }
}

impl fmt::Debug for Client {
    // Events hold what somebody types or sees: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("subprotocol", &self.subprotocol)
            .field("streams", &self.streams)
            .field("messages", &self.messages)
            .field("exited", &self.exited)
            .finish_non_exhaustive()
    }
}

/// Whether `text` is not just the beginning of a JSON value.
fn is_whole_json(text: &[u8]) -> bool {
    !matches!(
        serde_json::from_slice::<serde::de::IgnoredAny>(text),
        Err(error) if error.is_eof()
    )
}

/// Messages after which a status is read at the end only: reading it anew for each of thousands
/// would cost the square of its length. Servers send one.
const STATUS_ATTEMPTS: u8 = 16;
/// Standard input in one message, bytes: what client-go sends, so what every server has seen.
const MAX_STDIN_BODY: usize = 32 * 1024;
