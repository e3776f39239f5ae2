use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, OpenGate, Outcome, Output, Relay, StreamSet, Subprotocol,
    TerminalSize, channel,
    spdy::{ExecClient, ExecServer},
};

use crate::script::Script;

/// A whole session as a list of operations: two protocols, streams, then what either end says and
/// which bytes move, so that both connections stall, are cut anywhere, close and break off.
///
/// What arrives is what was said, in its order, and stdout and stderr in theirs; the client gets
/// one status behind the last byte, and success only when the container said so; nothing is left
/// waiting while bytes can move; what waits is no more than what was said.
///
/// # Panics
///
/// A law is broken.
pub fn translator(data: &[u8]) {
    let mut script = Script::new(data);
    let outside = Protocol::from(script.byte());
    let inside = Protocol::from(script.byte());
    let mut streams = script.streams().normalized();
    if [outside, inside].contains(&Protocol::Spdy(Subprotocol::V1)) {
        // v1 says with its outputs alone that a session ended.
        streams.stdout = true;
    }
    let mut session = Session::new(outside, inside, streams);
    while !script.is_empty() {
        session.step(&mut script);
    }
    session.settle();
    session.check_quiet();
    if session.front.is_up() && session.back.is_up() && !session.goodbye {
        session.container_says(Event::Exit(ExitStatus::Exited(7)));
        session.settle();
    }
    session.check_ended();
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Spdy(Subprotocol),
    WebSocket(Subprotocol),
}

impl From<u8> for Protocol {
    fn from(choice: u8) -> Self {
        let index = usize::from(choice >> 1);
        if choice & 1 == 0 {
            Self::Spdy(Subprotocol::SPDY[index % Subprotocol::SPDY.len()])
        } else {
            Self::WebSocket(Subprotocol::WEBSOCKET[index % Subprotocol::WEBSOCKET.len()])
        }
    }
}

impl Protocol {
    fn client(self, streams: StreamSet) -> Box<dyn Codec> {
        match self {
            Self::Spdy(subprotocol) => Box::new(ExecClient::new(subprotocol, streams)),
            Self::WebSocket(subprotocol) => Box::new(channel::Client::new(subprotocol, streams, 7)),
        }
    }

    fn server(self, streams: StreamSet, now: Instant) -> Box<dyn Codec> {
        match self {
            Self::Spdy(subprotocol) => Box::new(ExecServer::new(subprotocol, streams, now)),
            Self::WebSocket(subprotocol) => Box::new(channel::Server::new(subprotocol, streams)),
        }
    }

    const fn subprotocol(self) -> Subprotocol {
        match self {
            Self::Spdy(subprotocol) | Self::WebSocket(subprotocol) => subprotocol,
        }
    }

    /// What arrives of a status.
    fn carried(self, status: &ExitStatus) -> ExitStatus {
        match self {
            // Its error stream is closed before the command has begun.
            Self::Spdy(Subprotocol::V1) => ExitStatus::Exited(0),
            _ if self.subprotocol().has_exit_code() => status.clone(),
            _ => ExitStatus::parse_text(status.to_text().as_bytes()),
        }
    }
}

/// One connection: a client's and a server's codec, and what is under way between them.
struct Connection {
    client: Box<dyn Codec>,
    server: Box<dyn Codec>,
    to_server: Wire,
    to_client: Wire,
}

#[derive(Default)]
struct Wire {
    /// Written and not yet arrived.
    under_way: BytesMut,
    /// Arrived and not yet understood.
    arrived: BytesMut,
    ended: bool,
}

impl Connection {
    fn new(protocol: Protocol, streams: StreamSet, now: Instant) -> Self {
        let mut connection = Self {
            client: protocol.client(streams),
            server: protocol.server(streams, now),
            to_server: Wire::default(),
            to_client: Wire::default(),
        };
        connection.write();
        connection
    }

    /// Whether nobody has ended or lost it.
    const fn is_up(&self) -> bool {
        !self.to_server.ended && !self.to_client.ended
    }

    fn write(&mut self) {
        self.to_server.write(&mut *self.client);
        self.to_client.write(&mut *self.server);
    }

    /// Lets up to `count` bytes arrive. Whether anything happened.
    fn carry(&mut self, to_server: bool, count: usize, now: Instant) -> bool {
        let moved = if to_server {
            self.to_server
                .carry(&*self.client, &mut *self.server, count, now)
        } else {
            self.to_client
                .carry(&*self.server, &mut *self.client, count, now)
        };
        self.write();
        moved
    }

    /// A reset: what is under way is gone, and either end hears that it is over.
    fn lose(&mut self, now: Instant) {
        self.to_server.lose(&mut *self.server, now);
        self.to_client.lose(&mut *self.client, now);
    }
}

impl Wire {
    fn write(&mut self, from: &mut dyn Codec) {
        while let Some(bytes) = from.poll_transmit() {
            if !self.ended {
                self.under_way.extend_from_slice(&bytes);
            }
        }
    }

    fn carry(&mut self, from: &dyn Codec, to: &mut dyn Codec, count: usize, now: Instant) -> bool {
        if self.ended {
            return false;
        }
        if self.under_way.is_empty() {
            // Its writer shuts it down behind the goodbye.
            self.ended = from.is_finished();
            if self.ended {
                to.handle_eof(now).expect("a goodbye inside a frame");
            }
            return self.ended;
        }
        let count = count.min(self.under_way.len());
        self.arrived.extend_from_slice(&self.under_way[..count]);
        self.under_way.advance(count);
        to.handle_input(now, &mut self.arrived)
            .expect("our own bytes are refused");
        true
    }

    fn lose(&mut self, to: &mut dyn Codec, now: Instant) {
        if !self.ended {
            self.ended = true;
            self.under_way.clear();
            // Inside a frame it is an error, and the end all the same.
            let _truncated = to.handle_eof(now);
        }
    }
}

/// kubectl's connection, the relay, the container's connection.
struct Session {
    front: Connection,
    relay: Relay<OpenGate>,
    back: Connection,
    now: Instant,
    outside: Protocol,
    inside: Protocol,
    streams: StreamSet,
    outcome: Option<Outcome>,
    /// The client said that it goes.
    goodbye: bool,
    ended: bool,
    said: Transcript,
    heard: Transcript,
    /// The container heard that the client is gone.
    container_left: bool,
    keepalives: u32,
}

/// What one end says and the other hears.
#[derive(Debug, Default)]
struct Transcript {
    stdin: Vec<u8>,
    half_closed: bool,
    resizes: Vec<TerminalSize>,
    /// Bytes of stdout as they are, of stderr above 256: one order for both.
    output: Vec<u16>,
    status: Option<ExitStatus>,
    closed: bool,
}

impl Transcript {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Stdin(bytes) => self.stdin.extend_from_slice(bytes),
            Event::HalfClose => self.half_closed = true,
            Event::Resize(size) => self.resizes.push(*size),
            Event::Stdout(bytes) => self
                .output
                .extend(bytes.iter().map(|byte| u16::from(*byte))),
            Event::Stderr(bytes) => self
                .output
                .extend(bytes.iter().map(|byte| 256 + u16::from(*byte))),
            Event::Exit(status) => {
                assert_eq!(self.status, None, "a second status");
                self.status = Some(status.clone());
            }
            Event::Close => self.closed = true,
            other => unreachable!("new kind of event: {other:?}"),
        }
    }
}

impl Session {
    fn new(outside: Protocol, inside: Protocol, streams: StreamSet) -> Self {
        let now = Instant::now();
        Self {
            front: Connection::new(outside, streams, now),
            relay: Relay::new(OpenGate::default()),
            back: Connection::new(inside, streams, now),
            now,
            outside,
            inside,
            streams,
            outcome: None,
            goodbye: false,
            ended: false,
            said: Transcript::default(),
            heard: Transcript::default(),
            container_left: false,
            keepalives: 0,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let operation = script.byte();
        match operation % 16 {
            0 | 1 => self.client_says(Event::Stdin(script.payload())),
            2 => self.client_says(Event::HalfClose),
            3 => {
                let (width, height) = (u16::from(script.byte()), u16::from(script.byte()));
                self.client_says(Event::Resize(TerminalSize { width, height }));
            }
            4 => self.client_says(Event::Stdin(bulk(script))),
            5 => self.container_says(Event::Stdout(script.payload())),
            6 => self.container_says(Event::Stderr(script.payload())),
            7 => self.container_says(Event::Stdout(bulk(script))),
            8 => {
                let code = script.byte() % 4;
                self.container_says(Event::Exit(ExitStatus::Exited(code.into())));
            }
            9 if self.keepalives < KEEPALIVES => {
                self.keepalives += 1;
                self.front.client.send_keepalive();
                self.front.server.send_keepalive();
                self.back.client.send_keepalive();
                self.back.server.send_keepalive();
            }
            10 => match script.byte() {
                // Rare, or hardly any session would come to its end.
                0..=15 => self.front.lose(self.now),
                16..=31 => self.back.lose(self.now),
                32..=39 => self.client_says(Event::Close),
                _ => {}
            },
            11 => self.settle(),
            9 => {}
            wire => {
                let count = 1 + usize::from(script.byte());
                let connection = if wire & 2 == 0 {
                    &mut self.front
                } else {
                    &mut self.back
                };
                connection.carry(wire & 1 == 0, count, self.now);
            }
        }
        self.translate();
    }

    fn client_says(&mut self, event: Event) {
        let wanted = match event {
            Event::Stdin(_) | Event::HalfClose => self.streams.stdin && !self.said.half_closed,
            Event::Resize(_) => self.streams.tty,
            _ => true,
        };
        if !wanted || self.goodbye || !self.front.is_up() {
            return;
        }
        self.goodbye |= event == Event::Close;
        if event != Event::Close {
            self.said.add(&event);
        }
        self.front.client.send(event);
        self.front.write();
    }

    fn container_says(&mut self, event: Event) {
        let wanted = match event {
            Event::Stdout(_) => self.streams.stdout,
            Event::Stderr(_) => self.streams.stderr,
            _ => true,
        };
        if !wanted || self.ended || !self.back.is_up() {
            return;
        }
        self.ended |= matches!(event, Event::Exit(_));
        self.said.add(&event);
        self.back.server.send(event);
        self.back.write();
    }

    /// What the program in the middle does whenever something came.
    fn translate(&mut self) {
        while let Some(event) = self.back.server.poll_event() {
            self.container_hears(event);
        }
        while let Some(event) = self.front.client.poll_event() {
            self.client_hears(event);
        }
        while let Some(event) = self.front.server.poll_event() {
            self.relay.handle_client(self.now, event);
        }
        while let Some(event) = self.back.client.poll_event() {
            self.relay.handle_container(self.now, event);
        }
        while self.outcome.is_none() {
            match self.relay.poll_output() {
                Output::ToContainer(event) => self.back.client.send(event),
                Output::ToClient(event) => self.front.server.send(event),
                Output::Closed(outcome) => self.outcome = Some(outcome),
                Output::Wait(None) => break,
                other => panic!("{other:?} of an open gate"),
            }
        }
        self.front.write();
        self.back.write();
        self.check_waiting();
    }

    fn container_hears(&mut self, event: Event) {
        assert!(!self.container_left, "{event:?} behind the goodbye");
        match &event {
            Event::Stdin(bytes) => {
                assert!(!self.heard.half_closed, "{bytes:?} behind the end of input");
            }
            Event::HalfClose => {
                assert!(!self.heard.half_closed, "a second end of input");
                assert!(self.said.half_closed, "an end of input nobody said");
                assert_eq!(self.heard.stdin, self.said.stdin, "the end came too early");
            }
            Event::Close => self.container_left = true,
            Event::Resize(_) => {}
            other => panic!("the container hears {other:?}"),
        }
        if event != Event::Close {
            self.heard.add(&event);
        }
        assert!(self.said.stdin.starts_with(&self.heard.stdin), "input");
        assert!(self.said.resizes.starts_with(&self.heard.resizes), "sizes");
    }

    fn client_hears(&mut self, event: Event) {
        assert!(!self.heard.closed, "{event:?} behind the goodbye");
        match &event {
            Event::Stdout(_) | Event::Stderr(_) => {
                assert_eq!(self.heard.status, None, "{event:?} behind the status");
            }
            Event::Exit(_) | Event::Close => {}
            other => panic!("the client hears {other:?}"),
        }
        self.heard.add(&event);
        assert!(self.said.output.starts_with(&self.heard.output), "output");
        if let Event::Exit(status) = event {
            self.check_status(&status);
        }
    }

    /// Success is what the container said, behind all that it printed.
    fn check_status(&self, status: &ExitStatus) {
        if self.outside == Protocol::Spdy(Subprotocol::V1) {
            // It has no word for a failure: every end of its outputs is a success.
            return;
        }
        let carried = self
            .said
            .status
            .as_ref()
            .map(|status| self.outside.carried(&self.inside.carried(status)));
        if carried.as_ref() == Some(status) {
            assert_eq!(self.heard.output, self.said.output, "output was lost");
        } else {
            assert!(!status.is_success(), "success that nobody said");
            assert!(!self.back.is_up(), "{status:?} of {:?}", self.said.status);
        }
    }

    /// What is under way is what was said, and little around it.
    fn check_waiting(&self) {
        let said = self.said.stdin.len() + self.said.output.len() + 64 * self.said.resizes.len();
        for connection in [&self.front, &self.back] {
            for wire in [&connection.to_server, &connection.to_client] {
                let waiting = wire.under_way.len() + wire.arrived.len();
                // A frame around every byte is the worst that small writes come to.
                assert!(
                    waiting <= 16 * 1024 + 16 * said,
                    "{waiting} of {said} bytes wait"
                );
            }
        }
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        for _ in 0..MOVES {
            self.translate();
            let mut moved = false;
            for to_server in [true, false] {
                moved |= self.front.carry(to_server, usize::MAX, self.now);
                moved |= self.back.carry(to_server, usize::MAX, self.now);
            }
            if !moved {
                return;
            }
        }
        panic!("no end to what moves");
    }

    /// Everything that can have arrived has.
    fn check_quiet(&self) {
        let up = self.front.is_up() && self.back.is_up();
        if up && !self.ended && !self.goodbye {
            assert_eq!(self.heard.stdin, self.said.stdin, "input is stuck");
            assert_eq!(self.heard.output, self.said.output, "output is stuck");
            let resizes = [self.outside, self.inside]
                .iter()
                .all(|protocol| protocol.subprotocol().has_resize());
            if resizes {
                assert_eq!(self.heard.resizes, self.said.resizes, "a size is stuck");
            }
            assert_eq!(self.outcome, None, "ended by nobody");
        }
    }

    fn check_ended(&self) {
        let outcome = self.outcome.as_ref().expect("nobody ends the session");
        match outcome {
            Outcome::Ended(_) | Outcome::ContainerLost => {}
            Outcome::ClientGone => {
                assert!(self.goodbye || !self.front.is_up(), "the client is there");
                // One that has said its last does not listen any more.
                assert!(
                    self.container_left || self.ended,
                    "the container is not told that the client went"
                );
            }
            other => panic!("{other:?} by an open gate"),
        }
    }
}

/// Much at once: more than one read.
fn bulk(script: &mut Script<'_>) -> Bytes {
    let count = 1 + usize::from(script.byte()) * 16;
    script.payload().repeat(count).into()
}

/// All of a script happens within one second, in which a peer takes 100 pings.
const KEEPALIVES: u32 = 50;
/// Far more than any session of a script needs.
const MOVES: usize = 10_000;
