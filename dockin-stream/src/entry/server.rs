use std::{collections::VecDeque, fmt, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    Encoding, Identity, Message, RequestType, ResponseType,
    frames::{Frame, Frames},
};
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet,
    limits::{ENTRY_PING, MAX_ENTRY_CONTENT},
    websocket::{CloseCode, Connection, OpCode},
};

/// The server's end of `/enter` and `/attach`: towards lain-cli or a browser.
///
/// In JSON the first message is the client's [`Identity`]; until it came the codec is not
/// [ready](Codec::is_ready). A message that cannot be read ends the session, where Entry's own
/// server writes it to its log and goes on without what was typed.
///
/// The end is a CLOSE message and a Close frame: a green text for a process that ended, whatever
/// its exit code, which the protocol cannot carry, and a red one for everything else.
///
/// # Example
///
/// ```
/// use std::time::Instant;
/// use bytes::{Bytes, BytesMut};
/// use dockin_stream::{Codec, Event, StreamSet, entry::{Encoding, Server}};
///
/// let streams = StreamSet { stdin: true, stdout: true, stderr: true, tty: true };
/// let now = Instant::now();
/// let mut server = Server::new(Encoding::Protobuf, streams, now);
/// // PLAIN "l", masked with 00 00 00 00.
/// let mut input = BytesMut::from(&b"\x82\x83\0\0\0\0\x12\x01l"[..]);
/// server.handle_input(now, &mut input)?;
/// assert_eq!(server.poll_event(), Some(Event::Stdin(Bytes::from_static(b"l"))));
/// # Ok::<(), dockin_stream::ProtocolError>(())
/// ```
pub struct Server {
    frames: Frames,
    streams: StreamSet,
    identity: Option<Identity>,
    events: VecDeque<Event>,
    next_ping: Instant,
    /// A PING is queued that nobody has fetched yet: there is no second one.
    ping_waits: bool,
    close_told: bool,
}

impl Server {
    /// A session right behind the 101, which names no subprotocol. Standard error is a stream of
    /// its own also with a TTY. See [`Encoding::of_query`].
    #[must_use]
    pub fn new(encoding: Encoding, streams: StreamSet, now: Instant) -> Self {
        Self {
            frames: Frames::new(Connection::server(), encoding),
            streams,
            identity: None,
            events: VecDeque::new(),
            next_ping: now + ENTRY_PING,
            ping_waits: false,
            close_told: false,
        }
    }

    /// What a web client's first message said; `None` before it came, and for native clients,
    /// whose headers say it ([`Identity::from_headers`]).
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    fn message(&mut self, wire: Bytes) -> Result<(), ProtocolError> {
        if self.frames.encoding() == Encoding::Json && self.identity.is_none() {
            let identity = Identity::parse(&wire).inspect_err(|_| {
                self.frames.connection().close(CloseCode::INVALID_PAYLOAD);
            })?;
            self.identity = Some(identity);
            return Ok(());
        }
        // After our goodbye input is read only to find the client's.
        if self.frames.is_closing() {
            return Ok(());
        }
        let message = self.frames.decode(wire)?;
        match RequestType(message.msg_type) {
            RequestType::PLAIN if self.streams.stdin && !message.content.is_empty() => {
                self.events.push_back(Event::Stdin(message.content));
            }
            RequestType::WINCH if self.streams.tty => {
                if let Some(size) = message.size() {
                    self.events.push_back(Event::Resize(size));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, msg_type: ResponseType, mut content: Bytes) {
        while !content.is_empty() {
            let part = content.split_to(cut(&content));
            self.frames
                .write(OpCode::BINARY, &Message::response(msg_type, part));
        }
    }

    fn goodbye(&mut self, colour: &str, text: &str, code: CloseCode) {
        let text = format!("{colour}>>> {text}{RESET}");
        self.frames.write(
            OpCode::BINARY,
            &Message::response(ResponseType::CLOSE, text.into()),
        );
        self.frames.connection().close(code);
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl Codec for Server {
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

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if now >= self.next_ping {
            self.next_ping = now + ENTRY_PING;
            if !std::mem::replace(&mut self.ping_waits, true) {
                let content = Bytes::from_static(b"ping");
                self.frames.write(
                    OpCode::BINARY,
                    &Message::response(ResponseType::PING, content),
                );
            }
        }
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) if self.streams.stdout => self.write(ResponseType::STDOUT, bytes),
            Event::Stderr(bytes) if self.streams.stderr => self.write(ResponseType::STDERR, bytes),
            Event::Exit(ExitStatus::Exited(_)) => {
                self.goodbye(GREEN, QUIT, CloseCode::NORMAL);
            }
            Event::Exit(ExitStatus::Failed(failure)) => {
                self.goodbye(RED, &failure.message, CloseCode::NORMAL);
            }
            Event::Close => self.goodbye(RED, CUT, CloseCode::INTERNAL),
            Event::Stdout(_)
            | Event::Stderr(_)
            | Event::Stdin(_)
            | Event::HalfClose
            | Event::Resize(_) => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.frames.connection().send_keepalive();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.frames.connection().poll_transmit();
        if bytes.is_none() {
            self.ping_waits = false;
        }
        bytes
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.frames.is_closing()).then_some(self.next_ping)
    }

    fn is_ready(&self) -> bool {
        self.frames.encoding() == Encoding::Protobuf || self.identity.is_some()
    }

    fn is_finished(&self) -> bool {
        self.frames.is_closing()
    }
}

impl fmt::Debug for Server {
    // Events hold what somebody types: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("frames", &self.frames)
            .field("streams", &self.streams)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Where the next message's content ends: not inside a character, as long as it is text, because
/// clients of the field decode each message by itself.
fn cut(content: &[u8]) -> usize {
    if content.len() <= MAX_ENTRY_CONTENT {
        return content.len();
    }
    // A character has at most three bytes behind its first.
    (MAX_ENTRY_CONTENT - 3..=MAX_ENTRY_CONTENT)
        .rev()
        .find(|at| content.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80))
        .unwrap_or(MAX_ENTRY_CONTENT)
}

pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const RESET: &str = "\x1b[0m";
const RED: &str = "\x1b[31m";
const QUIT: &str = "You quit the container safely.";
const CUT: &str = "The session was closed before its end.";

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "time has to start somewhere")]
mod tests {
    use std::time::Instant;

    use super::{Server, cut};
    use crate::{
        Codec, StreamSet,
        entry::Encoding,
        limits::{ENTRY_PING, MAX_ENTRY_CONTENT},
    };

    #[test]
    fn a_message_is_not_cut_inside_a_character() {
        for (text, before) in [("€", 1), ("€", 2), ("\u{1f980}", 3), ("é", 1)] {
            let start = MAX_ENTRY_CONTENT - before;
            let content = ["a".repeat(start), text.repeat(10)].concat();
            assert_eq!(cut(content.as_bytes()), start, "{text} {before}");
        }
        assert_eq!(cut(&[0x80; 20_000]), MAX_ENTRY_CONTENT);
        assert_eq!(cut(&[0xff; 20_000]), MAX_ENTRY_CONTENT);
        assert_eq!(cut(b"abc"), 3);
    }

    #[test]
    fn pings_come_every_ten_seconds_and_do_not_pile_up() {
        let now = Instant::now();
        let mut server = Server::new(Encoding::Protobuf, StreamSet::default(), now);
        assert_eq!(server.poll_timeout(), Some(now + ENTRY_PING));
        for round in 1..10 {
            assert_eq!(server.handle_timeout(now + ENTRY_PING * round), Ok(()));
        }
        let ping = &b"\x82\x08\x08\x03\x12\x04ping"[..];
        assert_eq!(server.poll_transmit().as_deref(), Some(ping));
        assert_eq!(server.poll_transmit(), None);
        assert_eq!(server.handle_timeout(now), Ok(()));
        assert_eq!(server.poll_transmit(), None);
        assert_eq!(server.poll_timeout(), Some(now + ENTRY_PING * 10));
        assert_eq!(server.handle_timeout(now + ENTRY_PING * 10), Ok(()));
        assert_eq!(server.poll_transmit().as_deref(), Some(ping));
    }
}
