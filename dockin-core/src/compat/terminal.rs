use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, TerminalSize,
    websocket::{CloseCode, Connection, Incoming, OpCode, Span},
};
use serde_json::Value;

use super::request::Fields;

/// The server's end of `interact-exec` and `ssh-v2`: a terminal over WebSocket messages.
///
/// ```text
/// client ──▶ {"type":"cmd","cmd":"l",…}               one key or more
///            {"type":"resize","cols":80,"rows":24,…}  keys in any case; other types are ignored
/// server ──▶ the bytes of the terminal in text messages, cut wherever they were read: they need
///            not be UTF-8, which a strict reader does not take
/// both   ──▶ a Ping every 54 s
/// ```
///
/// The protocol has no end of input and no exit code. Its server leaves without a Close frame, or
/// with one whose payload is a text; ours tells what went wrong in a message and then says goodbye
/// with a Close frame whose reason is the exit status.
pub struct TerminalServer {
    connection: Connection,
    streams: StreamSet,
    /// The message that is arriving in parts, [`MAX_MESSAGE`] bytes at most.
    partial: BytesMut,
    events: VecDeque<Event>,
    next_ping: Instant,
    /// A ping is queued that nobody has fetched yet: there is no second one.
    ping_waits: bool,
    close_told: bool,
}

/// How often a ping goes out: clients give up after 60 s without an answer to theirs, and send
/// theirs as often.
const PING: Duration = Duration::from_secs(54);
/// A whole message of a client, bytes; theirs have one character each.
const MAX_MESSAGE: usize = 256 * 1024;

impl TerminalServer {
    /// A session right behind the 101, which names no subprotocol. `welcome` is shown first, and
    /// `size` is the terminal's until the client says another.
    #[must_use]
    pub fn new(
        streams: StreamSet,
        size: Option<TerminalSize>,
        welcome: String,
        now: Instant,
    ) -> Self {
        let mut connection = Connection::server();
        if !welcome.is_empty() {
            connection.send(OpCode::TEXT, &[], welcome.into());
        }
        let size = size.filter(|_| streams.tty).map(Event::Resize);
        Self {
            connection,
            streams,
            partial: BytesMut::new(),
            events: size.into_iter().collect(),
            next_ping: now + PING,
            ping_waits: false,
            close_told: false,
        }
    }

    fn message(&mut self, wire: &[u8]) -> Result<(), ProtocolError> {
        // After our goodbye input is read only to find the client's.
        if self.connection.is_closing() {
            return Ok(());
        }
        let event = read(wire).ok_or_else(|| {
            self.connection.close(CloseCode::INVALID_PAYLOAD);
            ProtocolError::Malformed {
                what: "terminal message",
            }
        })?;
        match event {
            Some(Event::Stdin(_)) if !self.streams.stdin => {}
            Some(Event::Resize(_)) if !self.streams.tty => {}
            event => self.events.extend(event),
        }
        Ok(())
    }

    fn write(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.connection.send(OpCode::TEXT, &[], bytes);
        }
    }

    fn goodbye(&mut self, status: &ExitStatus) {
        let (code, reason) = match status {
            ExitStatus::Exited(code) => (CloseCode::NORMAL, format!("exit status {code}")),
            ExitStatus::Failed(failure) => {
                self.write(format!("\r\n{}\r\n", failure.message).into());
                (CloseCode::INTERNAL, failure.reason.clone())
            }
        };
        self.connection.close_because(code, &reason);
    }

    fn tell_close(&mut self) {
        if !self.close_told {
            self.close_told = true;
            self.events.push_back(Event::Close);
        }
    }
}

impl Codec for TerminalServer {
    fn handle_input(&mut self, _now: Instant, input: &mut BytesMut) -> Result<(), ProtocolError> {
        while let Some(incoming) = self.connection.read(input)? {
            let Span { bytes, end, .. } = match incoming {
                Incoming::Span(span) => span,
                _ => {
                    self.tell_close();
                    continue;
                }
            };
            let size = self.partial.len() + bytes.len();
            if size > MAX_MESSAGE {
                self.connection.close(CloseCode::TOO_BIG);
                return Err(ProtocolError::TooLong {
                    what: "terminal message",
                    size,
                    max: MAX_MESSAGE,
                });
            }
            if end && self.partial.is_empty() {
                self.message(&bytes)?;
                continue;
            }
            self.partial.extend_from_slice(&bytes);
            if end {
                let whole = std::mem::take(&mut self.partial);
                self.message(&whole)?;
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self, _now: Instant) -> Result<(), ProtocolError> {
        self.tell_close();
        self.connection.handle_eof()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if now >= self.next_ping {
            self.next_ping = now + PING;
            if !std::mem::replace(&mut self.ping_waits, true) {
                self.connection.send(OpCode::Ping, &[], Bytes::new());
            }
        }
        Ok(())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) if self.streams.stdout => self.write(bytes),
            Event::Stderr(bytes) if self.streams.stderr => self.write(bytes),
            Event::Exit(status) => self.goodbye(&status),
            Event::Close => self.goodbye(&ExitStatus::connection_lost("container")),
            _ => {}
        }
    }

    fn send_keepalive(&mut self) {
        self.connection.send_keepalive();
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.connection.poll_transmit();
        if bytes.is_none() {
            self.ping_waits = false;
        }
        bytes
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.connection.is_closing()).then_some(self.next_ping)
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_finished(&self) -> bool {
        self.connection.is_closing()
    }
}

impl fmt::Debug for TerminalServer {
    // Events hold what somebody types: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalServer")
            .field("streams", &self.streams)
            .field("partial", &self.partial.len())
            .finish_non_exhaustive()
    }
}

/// What a message says; nothing inside for a type that is not known, nothing at all for what is no
/// message.
fn read(wire: &[u8]) -> Option<Option<Event>> {
    let value: Value = serde_json::from_slice(wire).ok()?;
    let fields = Fields::new(value)?;
    match fields.text("type").ok()?.as_str() {
        "cmd" => {
            let typed = fields.text("cmd").ok()?;
            Some((!typed.is_empty()).then(|| Event::Stdin(typed.into())))
        }
        "resize" => {
            let width = fields.cells("cols").ok()?.unwrap_or(0);
            let height = fields.cells("rows").ok()?.unwrap_or(0);
            let size = TerminalSize { width, height };
            Some((width > 0 && height > 0).then_some(Event::Resize(size)))
        }
        _ => Some(None),
    }
}

/// What a shell of `ssh-v2` begins with: the banner, who is where, and the commands that he may
/// run where a list names them, ten in a line.
#[must_use]
pub fn welcome(banner: &str, user: &str, pod: &str, rule: &str, listed: &[String]) -> String {
    let mut text = String::from("\r\n\r\n");
    for line in banner.lines() {
        let _written = write!(text, "{line}\r\n");
    }
    let _written = write!(
        text,
        "\r\nwelcome, {user}\r\nevery command is judged and written down\r\npod {pod}, rule {rule}\r\n"
    );
    for ten in listed.chunks(10) {
        let _written = write!(text, "{}\r\n", ten.join("\t"));
    }
    text.push_str("\r\n");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::Instant;

    use bytes::{Bytes, BytesMut};
    use dockin_stream::{Codec, Event, ExitStatus, ProtocolError, StreamSet, TerminalSize};

    use super::{MAX_MESSAGE, PING, TerminalServer, welcome};

    const TERMINAL: StreamSet = StreamSet {
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
    };

    fn server() -> TerminalServer {
        TerminalServer::new(TERMINAL, None, String::new(), Instant::now())
    }

    /// A text message of a client, masked with 00 00 00 00.
    fn text(payload: &[u8]) -> BytesMut {
        frame(0x81, payload)
    }

    fn frame(first: u8, payload: &[u8]) -> BytesMut {
        let mut wire = BytesMut::from(&[first][..]);
        match u8::try_from(payload.len()) {
            Ok(short @ 0..=125) => wire.extend_from_slice(&[0x80 | short]),
            _ => {
                wire.extend_from_slice(&[0x80 | 127]);
                wire.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        wire.extend_from_slice(&[0; 4]);
        wire.extend_from_slice(payload);
        wire
    }

    fn told(server: &mut TerminalServer, payload: &str) -> Vec<Event> {
        let mut input = text(payload.as_bytes());
        server.handle_input(Instant::now(), &mut input).unwrap();
        std::iter::from_fn(|| server.poll_event()).collect()
    }

    fn sent(server: &mut TerminalServer) -> Vec<u8> {
        std::iter::from_fn(|| server.poll_transmit())
            .flatten()
            .collect()
    }

    /// The messages of opsctl, byte for byte.
    #[test]
    fn keys_and_sizes_of_opsctl_are_read() {
        let mut server = server();
        let key = r#"{"type":"cmd","cmd":"é","cols":0,"rows":0,"cmdLine":""}"#;
        let typed = Event::Stdin(Bytes::from_static("é".as_bytes()));
        assert_eq!(told(&mut server, key), [typed]);
        let resize = r#"{"type":"resize","cmd":"","cols":116,"rows":22,"cmdLine":""}"#;
        let size = TerminalSize {
            width: 116,
            height: 22,
        };
        assert_eq!(told(&mut server, resize), [Event::Resize(size)]);
        let server_names = r#"{"type":"resize","Cols":116,"Rows":22}"#;
        assert_eq!(told(&mut server, server_names), [Event::Resize(size)]);
    }

    /// H4: a whole line in one message is typed like any other and goes past the gate; `cmdLine`,
    /// with which a client could say that he typed something else, says nothing.
    #[test]
    fn h4_a_line_in_one_message_is_input_and_cmd_line_says_nothing() {
        let line = r#"{"type":"cmd","cmd":"touch m\r","cmdLine":"ls"}"#;
        let typed = Event::Stdin(Bytes::from_static(b"touch m\r"));
        assert_eq!(told(&mut server(), line), [typed]);
    }

    #[test]
    fn types_that_are_not_known_and_nothing_are_passed_over() {
        let mut server = server();
        for message in [
            r#"{"type":"ping"}"#,
            r#"{}"#,
            r#"{"type":"cmd"}"#,
            r#"{"type":"cmd","cmd":""}"#,
            r#"{"type":"resize","cols":0,"rows":24}"#,
        ] {
            assert_eq!(told(&mut server, message), [], "{message}");
        }
        let huge = r#"{"type":"resize","cols":70000,"rows":24}"#;
        let size = TerminalSize {
            width: u16::MAX,
            height: 24,
        };
        assert_eq!(told(&mut server, huge), [Event::Resize(size)]);
    }

    #[test]
    fn what_is_no_message_ends_the_session() {
        for payload in [
            &b""[..],
            b"ls\r",
            b"[]",
            br#"{"type":"cmd","cmd":1}"#,
            br#"{"type":"cmd","cmd":"a","CMD":"b"}"#,
            b"{\"type\":\"cmd\",\"cmd\":\"\xff\"}",
        ] {
            let mut server = server();
            let mut input = text(payload);
            assert_eq!(
                server.handle_input(Instant::now(), &mut input),
                Err(ProtocolError::Malformed {
                    what: "terminal message"
                }),
                "{payload:?}"
            );
            assert_eq!(server.poll_event(), None);
            assert_eq!(sent(&mut server), b"\x88\x02\x03\xef");
        }
    }

    #[test]
    fn a_message_in_parts_is_one_and_one_that_is_too_long_none() {
        let mut server = server();
        let mut input = frame(0x01, br#"{"type":"cmd","#);
        input.extend_from_slice(&frame(0x80, br#""cmd":"x"}"#));
        server.handle_input(Instant::now(), &mut input).unwrap();
        let typed = Event::Stdin(Bytes::from_static(b"x"));
        assert_eq!(server.poll_event(), Some(typed));
        let mut input = text(&vec![b' '; MAX_MESSAGE + 1]);
        let error = server.handle_input(Instant::now(), &mut input).unwrap_err();
        assert!(matches!(error, ProtocolError::TooLong { .. }), "{error}");
    }

    /// Cutting the input anywhere gives the same events.
    #[test]
    fn how_the_bytes_arrive_does_not_matter() {
        let mut wire = text(br#"{"type":"cmd","cmd":"a"}"#);
        wire.extend_from_slice(&frame(0x89, b"p"));
        wire.extend_from_slice(&frame(0x01, br#"{"type":"resize","cols":80,"#));
        wire.extend_from_slice(&frame(0x80, br#""rows":24}"#));
        wire.extend_from_slice(&frame(0x88, b"\x03\xe8"));
        let size = TerminalSize {
            width: 80,
            height: 24,
        };
        let expected = [
            Event::Stdin(Bytes::from_static(b"a")),
            Event::Resize(size),
            Event::Close,
        ];
        for cut in 0..=wire.len() {
            let mut server = server();
            let mut input = BytesMut::from(wire.get(..cut).unwrap());
            server.handle_input(Instant::now(), &mut input).unwrap();
            input.extend_from_slice(wire.get(cut..).unwrap());
            server.handle_input(Instant::now(), &mut input).unwrap();
            let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
            assert_eq!(events, expected, "cut at {cut}");
        }
    }

    #[test]
    fn output_is_text_messages_of_bytes_as_they_are() {
        let mut server = server();
        server.send(Event::Stdout(Bytes::from_static(b"\xc3")));
        server.send(Event::Stdout(Bytes::from_static(b"\xa9\xff")));
        assert_eq!(sent(&mut server), b"\x81\x01\xc3\x81\x02\xa9\xff");
    }

    #[test]
    fn size_and_welcome_come_first() {
        let size = TerminalSize {
            width: 80,
            height: 24,
        };
        let mut server = TerminalServer::new(TERMINAL, Some(size), "hi".to_owned(), Instant::now());
        assert_eq!(server.poll_event(), Some(Event::Resize(size)));
        assert_eq!(sent(&mut server), b"\x81\x02hi");
        let plain = StreamSet {
            tty: false,
            ..TERMINAL
        };
        let mut server = TerminalServer::new(plain, Some(size), String::new(), Instant::now());
        assert_eq!(server.poll_event(), None);
    }

    /// The predecessor loses exit codes, and its Close frame is malformed.
    #[test]
    fn the_end_is_a_close_frame_with_the_exit_status() {
        let mut server = server();
        server.send(Event::Exit(ExitStatus::Exited(3)));
        server.send(Event::Stdout(Bytes::from_static(b"late")));
        assert!(server.is_finished());
        assert_eq!(sent(&mut server), b"\x88\x0f\x03\xe8exit status 3");
        let mut server = self::server();
        server.send(Event::Exit(ExitStatus::internal_error("it is gone")));
        assert_eq!(
            sent(&mut server),
            b"\x81\x0e\r\nit is gone\r\n\x88\x0f\x03\xf3InternalError"
        );
    }

    #[test]
    fn pings_come_every_54_seconds_and_do_not_pile_up() {
        let now = Instant::now();
        let mut server = TerminalServer::new(TERMINAL, None, String::new(), now);
        assert_eq!(server.poll_timeout(), Some(now + PING));
        for round in 1..10 {
            server.handle_timeout(now + PING * round).unwrap();
        }
        assert_eq!(sent(&mut server), b"\x89\x00");
        server.handle_timeout(now + PING * 10).unwrap();
        assert_eq!(sent(&mut server), b"\x89\x00");
    }

    #[test]
    fn a_client_that_goes_ends_the_session_once() {
        let mut server = server();
        let mut input = frame(0x88, &[]);
        server.handle_input(Instant::now(), &mut input).unwrap();
        server.handle_eof(Instant::now()).unwrap();
        assert_eq!(server.poll_event(), Some(Event::Close));
        assert_eq!(server.poll_event(), None);
    }

    #[test]
    fn the_welcome_lists_ten_commands_in_a_line() {
        let listed: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
        let text = welcome("one\ntwo", "app", "web-0", "default", &listed);
        assert!(text.starts_with("\r\n\r\none\r\ntwo\r\n"), "{text:?}");
        assert!(text.contains("welcome, app\r\n"), "{text:?}");
        assert!(text.contains("pod web-0, rule default\r\n"), "{text:?}");
        assert!(text.contains("c8\tc9\r\nc10\tc11\r\n"), "{text:?}");
    }
}
