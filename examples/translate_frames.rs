//! One exec session, translated in memory: SPDY on the client's side, WebSocket on the
//! container's, a relay in between. No sockets, no tasks: bytes are carried by hand, and every
//! frame is printed where it passes.
//!
//! ```text
//! kubectl ──SPDY──▶ ExecServer ──Event──▶ Relay ──Event──▶ channel::Client ──WebSocket──▶ container
//! ```

use std::{
    error::Error,
    io::{self, Write},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, OpenGate, Outcome, Output, ProtocolError, Relay, StreamSet,
    Subprotocol, channel,
    spdy::{self, Frame, FrameDecoder},
    websocket::{Decoder, Item, Role},
};

fn main() -> Result<(), Box<dyn Error>> {
    translate(&mut io::stdout().lock())
}

/// Runs the session, and writes what passes. `pub(crate)` because the test of this package runs it,
/// too.
pub(crate) fn translate(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let streams = StreamSet {
        stdin: true,
        stdout: true,
        ..StreamSet::default()
    };
    let now = Instant::now();

    // Outside: a client and a container, each with its own protocol.
    let mut kubectl = Peer::new(spdy::ExecClient::new(Subprotocol::V4, streams));
    let mut container = Peer::new(channel::Server::new(Subprotocol::V5, streams));
    // Ours: the other end of each connection, and what joins them.
    let mut client_side = Peer::new(spdy::ExecServer::new(Subprotocol::V4, streams, now));
    let mut container_side = Peer::new(channel::Client::new(Subprotocol::V5, streams, 1));
    let mut relay = Relay::new(OpenGate::default());
    let mut outcome = None;

    let mut from_kubectl = SpdyPrinter::new("kubectl   ──▶");
    let mut to_kubectl = SpdyPrinter::new("kubectl   ◀──");
    let mut to_container = WebSocketPrinter::new("──▶ container", Role::Server);
    let mut from_container = WebSocketPrinter::new("◀── container", Role::Client);

    kubectl
        .codec
        .send(Event::Stdin(Bytes::from_static(b"wc -c\n")));
    kubectl.codec.send(Event::HalfClose);
    let mut output = Vec::new();
    let mut status = None;

    // Until nothing moves any more.
    loop {
        let mut moved = false;

        for bytes in kubectl.written() {
            moved = true;
            from_kubectl.print(&bytes, out)?;
            client_side.read(now, &bytes)?;
        }
        for bytes in container.written() {
            moved = true;
            from_container.print(&bytes, out)?;
            container_side.read(now, &bytes)?;
        }

        while let Some(event) = client_side.codec.poll_event() {
            relay.handle_client(now, event);
        }
        while let Some(event) = container_side.codec.poll_event() {
            relay.handle_container(now, event);
        }
        loop {
            match relay.poll_output() {
                Output::ToContainer(event) => container_side.codec.send(event),
                Output::ToClient(event) => client_side.codec.send(event),
                Output::Closed(how) => {
                    outcome = Some(how);
                    break;
                }
                _ => break,
            }
        }

        for bytes in container_side.written() {
            moved = true;
            to_container.print(&bytes, out)?;
            container.read(now, &bytes)?;
        }
        for bytes in client_side.written() {
            moved = true;
            to_kubectl.print(&bytes, out)?;
            kubectl.read(now, &bytes)?;
        }

        // The process: it counts what it reads, answers at the end of its input, and exits.
        while let Some(event) = container.codec.poll_event() {
            match event {
                Event::Stdin(bytes) => {
                    let count = format!("{}\n", bytes.len());
                    container.codec.send(Event::Stdout(count.into()));
                }
                Event::HalfClose => container.codec.send(Event::Exit(ExitStatus::Exited(3))),
                _ => {}
            }
        }
        while let Some(event) = kubectl.codec.poll_event() {
            match event {
                Event::Stdout(bytes) => output.extend_from_slice(&bytes),
                Event::Exit(exit) => status = Some(exit),
                _ => {}
            }
        }

        if !moved {
            break;
        }
    }

    assert_eq!(output, b"6\n");
    assert_eq!(status, Some(ExitStatus::Exited(3)));
    assert_eq!(outcome, Some(Outcome::Ended(ExitStatus::Exited(3))));
    let output = String::from_utf8_lossy(&output);
    writeln!(out, "kubectl sees {output:?} and exit code 3")?;
    Ok(())
}

/// One end of a connection, and the bytes that it has not understood yet.
struct Peer<C> {
    codec: C,
    input: BytesMut,
}

impl<C: Codec> Peer<C> {
    fn new(codec: C) -> Self {
        Self {
            codec,
            input: BytesMut::new(),
        }
    }

    fn read(&mut self, now: Instant, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.input.extend_from_slice(bytes);
        self.codec.handle_input(now, &mut self.input)
    }

    fn written(&mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.codec.poll_transmit()).collect()
    }
}

/// Prints SPDY frames of one direction.
struct SpdyPrinter {
    direction: &'static str,
    decoder: FrameDecoder,
    input: BytesMut,
}

impl SpdyPrinter {
    fn new(direction: &'static str) -> Self {
        Self {
            direction,
            decoder: FrameDecoder::new(),
            input: BytesMut::new(),
        }
    }

    fn print(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
        self.input.extend_from_slice(bytes);
        while let Some(frame) = self.decoder.decode(&mut self.input)? {
            let text = match frame {
                Frame::SynStream {
                    stream, headers, ..
                } => {
                    let stream_type = headers.get("streamtype").unwrap_or_default();
                    format!(
                        "SYN_STREAM {} {}",
                        stream.value(),
                        stream_type.escape_ascii()
                    )
                }
                Frame::SynReply { stream, .. } => format!("SYN_REPLY  {}", stream.value()),
                Frame::Data { stream, bytes, fin } => {
                    let fin = if fin { " FIN" } else { "" };
                    format!(
                        "DATA       {}{fin} \"{}\"",
                        stream.value(),
                        bytes.escape_ascii()
                    )
                }
                Frame::GoAway { status, .. } => format!("GOAWAY     {}", status.0),
                other => format!("{other:?}"),
            };
            writeln!(out, "{} SPDY       {text}", self.direction)?;
        }
        Ok(())
    }
}

/// Prints WebSocket messages of one direction.
struct WebSocketPrinter {
    direction: &'static str,
    decoder: Decoder,
    input: BytesMut,
}

impl WebSocketPrinter {
    fn new(direction: &'static str, reader: Role) -> Self {
        Self {
            direction,
            decoder: Decoder::new(reader),
            input: BytesMut::new(),
        }
    }

    fn print(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
        self.input.extend_from_slice(bytes);
        while let Some(item) = self.decoder.decode(&mut self.input)? {
            let text = match item {
                Item::Span(span) => match span.bytes.split_first() {
                    Some((channel, body)) => {
                        format!("channel {channel} \"{}\"", body.escape_ascii())
                    }
                    None => "empty message".to_owned(),
                },
                Item::Close(code) => format!("close {}", code.0),
                other => format!("{other:?}"),
            };
            writeln!(out, "          {} WebSocket {text}", self.direction)?;
        }
        Ok(())
    }
}
