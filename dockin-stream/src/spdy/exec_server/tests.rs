#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::ExecServer;
use crate::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, TerminalSize,
    spdy::{Frame, FrameDecoder, FrameEncoder, GoAwayStatus, Headers, RstStatus, StreamId},
};

const ALL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TTY: StreamSet = StreamSet { tty: true, ..ALL };

/// A client that sends frames, and what it got.
struct Client {
    server: ExecServer,
    now: Instant,
    encoder: FrameEncoder,
    decoder: FrameDecoder,
    next: u32,
}

impl Client {
    fn new(subprotocol: Subprotocol, streams: StreamSet) -> Self {
        let now = Instant::now();
        Self {
            server: ExecServer::new(subprotocol, streams, now),
            now,
            encoder: FrameEncoder::new(),
            decoder: FrameDecoder::new(),
            next: 1,
        }
    }

    fn say(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(frame, &mut bytes);
        self.server.handle_input(self.now, &mut bytes).unwrap();
        assert!(bytes.is_empty());
    }

    fn open(&mut self, headers: Headers) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.say(&Frame::SynStream {
            stream: StreamId::new(stream).unwrap(),
            associated: 0,
            priority: 0,
            slot: 0,
            fin: false,
            unidirectional: false,
            headers,
        });
        stream
    }

    fn open_type(&mut self, name: &str) -> u32 {
        self.open(Headers::new().with("streamType", name.as_bytes()))
    }

    fn data(&mut self, stream: u32, bytes: &'static [u8], fin: bool) {
        self.say(&data(stream, bytes, fin));
    }

    fn hear(&mut self) -> Vec<Frame> {
        let mut bytes = BytesMut::new();
        while let Some(part) = self.server.poll_transmit() {
            bytes.extend_from_slice(&part);
        }
        std::iter::from_fn(|| self.decoder.decode(&mut bytes).unwrap()).collect()
    }

    /// What is heard except replies.
    fn hear_content(&mut self) -> Vec<Frame> {
        self.hear()
            .into_iter()
            .filter(|frame| !matches!(frame, Frame::SynReply { .. }))
            .collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }
}

fn data(stream: u32, bytes: &'static [u8], fin: bool) -> Frame {
    Frame::Data {
        stream: StreamId::new(stream).unwrap(),
        bytes: Bytes::from_static(bytes),
        fin,
    }
}

fn fin(stream: u32) -> Frame {
    data(stream, b"", true)
}

#[test]
fn session_is_ready_when_every_stream_is_there_in_any_order() {
    let mut client = Client::new(Subprotocol::V4, TTY);
    for name in ["resize", "stdout", "error"] {
        client.open_type(name);
        assert!(!client.server.is_ready());
    }
    assert!(client.server.poll_timeout().is_some());
    let stdin = client.open_type("stdin");
    assert!(client.server.is_ready());
    assert_eq!(client.server.poll_timeout(), None);
    client.data(stdin, b"ls\r", false);
    assert_eq!(client.events(), [Event::Stdin(Bytes::from_static(b"ls\r"))]);
    assert_eq!(client.hear().len(), 4);
}

#[test]
fn events_and_output_before_the_last_stream_wait_for_it() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    let stdin = client.open_type("stdin");
    client.data(stdin, b"early", true);
    assert_eq!(client.events(), []);
    client.server.send(Event::Stdout(Bytes::from_static(b"hi")));
    client.open_type("stderr");
    client.open_type("error");
    assert_eq!(client.hear_content(), []);
    client.open_type("stdout");
    assert_eq!(
        client.events(),
        [Event::Stdin(Bytes::from_static(b"early")), Event::HalfClose]
    );
    assert_eq!(client.hear_content(), [data(7, b"hi", false)]);
}

#[test]
fn missing_streams_end_the_session_with_a_reason() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    client.open_type("error");
    client.open_type("stdout");
    let deadline = client.server.poll_timeout().unwrap();
    assert_eq!(deadline, client.now + Duration::from_secs(30));
    assert_eq!(client.server.handle_timeout(client.now), Ok(()));
    assert_eq!(
        client.server.handle_timeout(deadline),
        Err(ProtocolError::StreamsMissing {
            seconds: 30,
            missing: "stdin, stderr".to_owned()
        })
    );
    let frames = client.hear_content();
    let Some(Frame::Data { bytes, .. }) = frames.first() else {
        panic!("no status");
    };
    assert!(!ExitStatus::parse_json(bytes).is_success());
    assert!(matches!(
        frames.last(),
        Some(Frame::GoAway {
            status: GoAwayStatus::PROTOCOL_ERROR,
            ..
        })
    ));
    assert!(client.server.is_finished());
}

#[test]
fn exit_sends_status_then_fin_everywhere_then_goaway() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    for name in ["error", "stdin", "stdout", "stderr"] {
        client.open_type(name);
    }
    client.hear();
    client
        .server
        .send(Event::Stdout(Bytes::from_static(b"last")));
    client.server.send(Event::Exit(ExitStatus::Exited(0)));
    client
        .server
        .send(Event::Stdout(Bytes::from_static(b"lost")));
    client.server.send(Event::Exit(ExitStatus::Exited(1)));
    assert_eq!(
        client.hear(),
        [
            data(5, b"last", false),
            data(1, br#"{"metadata":{},"status":"Success"}"#, false),
            fin(1),
            fin(5),
            fin(7),
            fin(3),
            Frame::GoAway {
                last_stream: 7,
                status: GoAwayStatus::OK
            },
        ]
    );
    assert!(client.server.is_finished());
    // T1: what is still on its way is thrown away, not an error.
    client.data(3, b"more input", false);
    client.server.handle_eof(client.now).unwrap();
    assert_eq!(client.events(), []);
}

#[test]
fn end_without_a_status_is_told_as_a_failure() {
    for subprotocol in [Subprotocol::V4, Subprotocol::V3, Subprotocol::V2] {
        let only_stdout = StreamSet {
            stdout: true,
            ..StreamSet::default()
        };
        let mut client = Client::new(subprotocol, only_stdout);
        client.open_type("error");
        client.open_type("stdout");
        client.hear();
        client.server.send(Event::Close);
        let frames = client.hear();
        assert!(matches!(
            frames.first(),
            Some(Frame::Data { bytes, .. }) if bytes.len() > 10
        ));
    }
}

#[test]
fn text_versions_send_text_and_nothing_for_success() {
    let only_stdout = StreamSet {
        stdout: true,
        ..StreamSet::default()
    };
    for (status, first) in [
        (ExitStatus::Exited(0), fin(1)),
        (ExitStatus::internal_error("boom"), data(1, b"boom", false)),
        (ExitStatus::internal_error(""), data(1, b"failed", false)),
    ] {
        let mut client = Client::new(Subprotocol::V3, only_stdout);
        client.open_type("error");
        client.open_type("stdout");
        client.hear();
        client.server.send(Event::Exit(status));
        assert_eq!(client.hear().first(), Some(&first));
    }
}

#[test]
fn v1_resets_its_error_stream_and_has_no_end_of_input() {
    let mut client = Client::new(Subprotocol::V1, ALL);
    for name in ["error", "stdin", "stdout", "stderr"] {
        client.open_type(name);
    }
    assert_eq!(
        client.hear_content(),
        [
            Frame::RstStream {
                stream: StreamId::new(1).unwrap(),
                status: RstStatus::CANCEL
            },
            fin(3),
        ]
    );
    client.data(3, b"x", true);
    assert_eq!(client.events(), [Event::Stdin(Bytes::from_static(b"x"))]);
    client.server.send(Event::Exit(ExitStatus::Exited(3)));
    assert_eq!(client.hear().first(), Some(&fin(5)));
}

#[test]
fn resize_without_a_terminal_is_ignored_a_thousand_times() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    for name in ["error", "stdin", "stdout", "stderr"] {
        client.open_type(name);
    }
    let resize = client.open_type("resize");
    for _ in 0..1000 {
        client.data(resize, b"{\"Width\":80,\"Height\":24}\n", false);
    }
    client.data(3, b"x", false);
    assert_eq!(client.events(), [Event::Stdin(Bytes::from_static(b"x"))]);
}

#[test]
fn resize_reaches_the_terminal_and_stderr_is_dropped() {
    let mut client = Client::new(Subprotocol::V4, TTY);
    for name in ["error", "stdin", "stdout", "resize"] {
        client.open_type(name);
    }
    client.data(7, b"{\"Width\":80,", false);
    client.data(7, b"\"Height\":24}{\"Width\":1,\"Height\":2}", false);
    let size = |width, height| Event::Resize(TerminalSize { width, height });
    assert_eq!(client.events(), [size(80, 24), size(1, 2)]);
    client.hear();
    client.server.send(Event::Stderr(Bytes::from_static(b"x")));
    assert_eq!(client.hear(), []);
}

#[test]
fn stream_of_unknown_type_is_accepted_and_a_second_or_nameless_one_reset() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    client.open_type("stdin");
    let unknown = client.open_type("signals");
    client.data(unknown, b"x", false);
    client.open_type("stdin");
    client.open(Headers::new());
    let kinds: Vec<u32> = client
        .hear()
        .iter()
        .map(|frame| match frame {
            Frame::SynReply { stream, .. } => stream.value(),
            Frame::RstStream { stream, .. } => 100 + stream.value(),
            _ => 0,
        })
        .collect();
    assert_eq!(kinds, [1, 3, 105, 107]);
}

#[test]
fn client_that_goes_away_is_a_close_even_before_it_is_ready() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    client.open_type("stdin");
    client.server.handle_eof(client.now).unwrap();
    assert_eq!(client.events(), [Event::Close]);

    let mut client = Client::new(Subprotocol::V4, ALL);
    let mut part = BytesMut::from(&[0x80, 3, 0][..]);
    client.server.handle_input(client.now, &mut part).unwrap();
    assert_eq!(
        client.server.handle_eof(client.now),
        Err(ProtocolError::Truncated)
    );
}

#[test]
fn output_before_the_first_frame_of_the_client_waits() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    client.server.send_keepalive();
    client.server.send(Event::Stdout(Bytes::from_static(b"x")));
    assert_eq!(client.hear(), []);
}

#[test]
fn input_without_the_other_streams_is_not_kept_without_end() {
    let mut client = Client::new(Subprotocol::V4, ALL);
    let stdin = client.open_type("stdin");
    let mut result = Ok(());
    for _ in 0..5 {
        let mut bytes = BytesMut::new();
        client
            .encoder
            .encode(&data(stdin, &[0; 60 * 1024], false), &mut bytes);
        assert_eq!(result, Ok(()));
        result = client.server.handle_input(client.now, &mut bytes);
    }
    assert!(matches!(result, Err(ProtocolError::TooLong { .. })));
    assert!(client.server.is_finished());
}

#[test]
fn events_without_the_other_streams_are_not_kept_without_end() {
    for (name, body) in [("resize", &b"{}"[..]), ("stdin", b"x")] {
        let mut client = Client::new(Subprotocol::V4, TTY);
        let stream = client.open_type(name);
        // One by one: frames that come together are joined.
        let mut result = Ok(());
        for _ in 0..10_000 {
            let mut bytes = BytesMut::new();
            client
                .encoder
                .encode(&data(stream, body, false), &mut bytes);
            result = client.server.handle_input(client.now, &mut bytes);
            if result.is_err() {
                break;
            }
        }
        assert!(
            matches!(result, Err(ProtocolError::TooLong { .. })),
            "{name}"
        );
        assert!(client.server.is_finished());
    }
}
