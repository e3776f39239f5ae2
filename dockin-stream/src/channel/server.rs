use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    CHANNELS, CLOSE_SIGNAL, RESIZE, STATUS, STDERR, STDIN, STDOUT,
    message::{Messages, Part},
};
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol,
    resize::ResizeReader,
    websocket::{CloseCode, Connection, FrameError},
};

/// The server's end of exec or attach over a WebSocket: towards kubectl or a browser.
///
/// Standard input is given on as it arrives, also in the middle of a message. Messages for
/// channels that the client does not write, empty ones, bad base64 and text in a raw protocol are
/// dropped, as the Go servers do; unlike them fragments are joined, so none is lost.
///
/// # Example
///
/// ```
/// use std::time::Instant;
/// use bytes::{Bytes, BytesMut};
/// use dockin_stream::{Codec, Event, StreamSet, Subprotocol, channel::Server};
///
/// let streams = StreamSet { stdin: true, stdout: true, ..StreamSet::default() };
/// let mut server = Server::new(Subprotocol::V5, streams);
/// assert_eq!(server.poll_transmit().as_deref(), Some(&b"\x82\x01\x01"[..]));
///
/// // "ls" on channel 0, masked with 00 00 00 00.
/// let mut input = BytesMut::from(&b"\x82\x83\x00\x00\x00\x00\x00ls"[..]);
/// server.handle_input(Instant::now(), &mut input)?;
/// assert_eq!(server.poll_event(), Some(Event::Stdin(Bytes::from_static(b"ls"))));
/// # Ok::<(), dockin_stream::ProtocolError>(())
/// ```
pub struct Server {
    messages: Messages,
    subprotocol: Subprotocol,
    streams: StreamSet,
    events: VecDeque<Event>,
    resize: ResizeReader,
    stdin_ended: bool,
    signal: CloseSignal,
    close_told: bool,
}

/// The body of the close signal that is arriving.
#[derive(Clone, Copy, Default)]
struct CloseSignal {
    channel: Option<u8>,
}

impl Server {
    /// A session right behind the 101, in one of [`Subprotocol::WEBSOCKET`]. `streams` are those
    /// of the request's query; standard error is dropped when there is a TTY.
    ///
    /// An empty message on the lowest channel that we write is queued first: it tells the
    /// client that the session is open. kubectl up to 1.33 drops what arrives before it has made
    /// its streams, right after the 101 (kubernetes/kubernetes#131203).
    #[must_use]
    pub fn new(subprotocol: Subprotocol, streams: StreamSet) -> Self {
        let streams = streams.normalized();
        let readable: &[u8] = if subprotocol == Subprotocol::V5 {
            &[STDIN, RESIZE, CLOSE_SIGNAL]
        } else {
            &[STDIN, RESIZE]
        };
        let mut messages = Messages::new(
            Connection::server(),
            subprotocol.is_base64(),
            readable,
            &[STDIN],
        );
        let hello = match streams {
            StreamSet { stdout: true, .. } => STDOUT,
            StreamSet { stderr: true, .. } => STDERR,
            _ => STATUS,
        };
        messages.write(hello, Bytes::new(), usize::MAX);
        Self {
            messages,
            subprotocol,
            streams,
            events: VecDeque::new(),
            resize: ResizeReader::default(),
            stdin_ended: false,
            signal: CloseSignal::default(),
            close_told: false,
        }
    }

    fn body(&mut self, channel: u8, bytes: Bytes, end: bool) -> Result<(), ProtocolError> {
        // After our goodbye input is read only to find the client's.
        let open = !self.messages.is_closing();
        let stdin_open = open && self.streams.stdin && !self.stdin_ended;
        match channel {
            STDIN if stdin_open && !bytes.is_empty() => {
                self.events.push_back(Event::Stdin(bytes));
            }
            // Without a TTY dropped at once: the Go translator blocks for good on the second
            // (`T15`). All versions: over a WebSocket even v1 servers read this channel.
            RESIZE if open && self.streams.tty => {
                self.resize.read(&bytes, &mut self.events);
                if end {
                    self.resize.end_message();
                }
            }
            CLOSE_SIGNAL => {
                let signalled = self.signal.read(&bytes, end).inspect_err(|error| {
                    self.messages.connection().close(error.close_code());
                })?;
                if signalled == Some(STDIN) && stdin_open {
                    self.stdin_ended = true;
                    self.events.push_back(Event::HalfClose);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn exit(&mut self, status: &ExitStatus) {
        let body = if self.subprotocol.has_exit_code() {
            status.to_json()
        } else {
            status.to_text()
        };
        if !body.is_empty() {
            self.messages.write(STATUS, body.into(), usize::MAX);
        }
        self.messages.connection().close(CloseCode::NORMAL);
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl CloseSignal {
    /// Takes part of the body; the channel when it is complete.
    fn read(&mut self, bytes: &[u8], end: bool) -> Result<Option<u8>, FrameError> {
        self.channel = match (self.channel, bytes) {
            (channel, []) => channel,
            (None, [channel]) => Some(*channel),
            _ => return Err(FrameError::CloseSignalLength),
        };
        if !end {
            return Ok(None);
        }
        match self.channel.take() {
            None => Err(FrameError::CloseSignalLength),
            Some(channel @ CHANNELS..) => Err(FrameError::CloseSignalChannel { channel }),
            Some(channel) => Ok(Some(channel)),
        }
    }
}

impl Codec for Server {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(part) = self.messages.read(input)? {
            match part {
                Part::Body {
                    channel,
                    bytes,
                    end,
                } => self.body(channel, bytes, end)?,
                Part::Close(_) => self.tell_close(),
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
            Event::Stdout(bytes) if self.streams.stdout && !bytes.is_empty() => {
                self.messages.write(STDOUT, bytes, usize::MAX);
            }
            Event::Stderr(bytes) if self.streams.stderr && !bytes.is_empty() => {
                self.messages.write(STDERR, bytes, usize::MAX);
            }
            Event::Exit(status) => self.exit(&status),
            // Not 1000: client-go takes that without a status for success (`T2`).
            Event::Close => self.messages.connection().close(CloseCode::INTERNAL),
            Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Stdin(_)
            | Event::Resize(_)
            | Event::HalfClose => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.messages.connection().send_keepalive();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.messages.connection().poll_transmit()
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

impl fmt::Debug for Server {
    // Events hold what somebody types: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("subprotocol", &self.subprotocol)
            .field("streams", &self.streams)
            .field("messages", &self.messages)
            .field("stdin_ended", &self.stdin_ended)
            .finish_non_exhaustive()
    }
}
