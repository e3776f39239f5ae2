//! LAIN Entry: what its Go server and clients sent, and the laws of both ends.
//!
//! Where ours says otherwise than the Go server, and why:
//!
//! | input | Go server | ours | reason |
//! |---|---|---|---|
//! | message that cannot be read | a line in its log, and what was typed is lost | error, Close 1007 | nothing is lost in silence |
//! | JSON without a type behind a WINCH | taken for a WINCH | PLAIN | each message stands for itself |
//! | JSON to be written with type 0 | left out | stands | the row above, on their side |
//! | JSON with one field twice | the last counts | error | two readers must not see two messages |
//! | character or binary bytes cut between reads | lost | as they are | T45 |
//! | end | the connection is dropped | Close frame behind CLOSE | RFC 6455 §7.1.1 |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, TerminalSize,
    entry::{Client, Encoding, Identity, Message, MessageError, RequestType, ResponseType, Server},
    limits::MAX_ENTRY_MESSAGE,
    websocket::{Encoder, OpCode},
};
use proptest::prelude::*;
use serde_json::Value;

const STREAMS: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: true,
};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn vectors(group: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("vectors/channels.json")).unwrap();
    all.into_iter()
        .filter(|vector| vector["group"] == group)
        .collect()
}

/// By name in the messages, by number in the odd ones.
fn msg_type(decoded: &Value) -> i32 {
    match decoded["msgType"].as_str() {
        Some("PLAIN") => RequestType::PLAIN.0,
        Some("WINCH") => RequestType::WINCH.0,
        Some("STDOUT") => ResponseType::STDOUT.0,
        Some("STDERR") => ResponseType::STDERR.0,
        Some("CLOSE") => ResponseType::CLOSE.0,
        Some("PING") => ResponseType::PING.0,
        Some(other) => panic!("{other}"),
        None => i32::try_from(decoded["msgType"].as_i64().unwrap()).unwrap(),
    }
}

#[test]
fn every_protobuf_vector_is_read_and_written_alike() {
    let (mut messages, mut odd) = (0, 0);
    for vector in vectors("lain-protobuf") {
        let (name, decoded) = (vector["name"].as_str().unwrap(), &vector["decoded"]);
        let wire = Bytes::from(hex(vector["hex"].as_str().unwrap()));
        let read = Message::decode(Encoding::Protobuf, wire.clone());
        if decoded["result"] == "error" {
            odd += 1;
            let size = wire.len();
            assert!(
                matches!(read, Err(MessageError::Protobuf { size: told, .. }) if told == size),
                "{name}: {read:?}"
            );
            continue;
        }
        let expected = Message {
            msg_type: msg_type(decoded),
            content: hex(decoded["content_hex"].as_str().unwrap()).into(),
        };
        assert_eq!(read, Ok(expected.clone()), "{name}");
        let again = expected.encode(Encoding::Protobuf);
        if name.starts_with("lain_odd_") {
            odd += 1;
            // Fields in another order, twice or unknown: ours is the shortest form of the same.
            assert!(again.len() <= wire.len(), "{name}");
            assert_eq!(Message::decode(Encoding::Protobuf, again), Ok(expected));
            continue;
        }
        messages += 1;
        assert_eq!(again, wire, "{name}");
        let theirs = decoded["json_of_web_method"].as_str().unwrap();
        let read = Message::decode(Encoding::Json, Bytes::copy_from_slice(theirs.as_bytes()));
        assert_eq!(read, Ok(expected.clone()), "{name}");
        let ours = expected.encode(Encoding::Json);
        if expected.msg_type != 0 && !expected.content.is_empty() {
            assert_eq!(ours, theirs, "{name}");
        } else {
            assert!(ours.starts_with(b"{\"msgType\":"), "{name}");
            assert_eq!(
                Message::decode(Encoding::Json, ours),
                Ok(expected),
                "{name}"
            );
        }
    }
    assert_eq!((messages, odd), (11, 8));
}

#[test]
fn every_json_vector_is_read_and_written_alike() {
    let mut messages = 0;
    for vector in vectors("lain-json") {
        messages += 1;
        let (name, decoded) = (vector["name"].as_str().unwrap(), &vector["decoded"]);
        let wire = Bytes::from(hex(vector["hex"].as_str().unwrap()));
        assert_eq!(wire, decoded["json"].as_str().unwrap());
        let read = Message::decode(Encoding::Json, wire.clone());
        if decoded["result"] == "error" {
            assert_eq!(read, Err(MessageError::Base64), "{name}");
            continue;
        }
        let expected = Message {
            msg_type: msg_type(decoded),
            content: hex(decoded["content_hex"].as_str().unwrap()).into(),
        };
        assert_eq!(read, Ok(expected.clone()), "{name}");
        let again = expected.encode(Encoding::Json);
        assert_eq!(again == wire, name != "lain_json_plain_type_omitted");
        assert_eq!(Message::decode(Encoding::Json, again), Ok(expected));
    }
    assert_eq!(messages, 4);
}

/// One message in a frame of its own.
fn frame(mut encoder: Encoder, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    encoder.encode(opcode, &[], Bytes::copy_from_slice(payload));
    std::iter::from_fn(|| encoder.poll_transmit())
        .flatten()
        .collect()
}

fn hear(
    codec: &mut impl Codec,
    wire: &[u8],
    step: usize,
) -> (Vec<Event>, Result<(), ProtocolError>) {
    let now = Instant::now();
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    for piece in wire.chunks(step) {
        input.extend_from_slice(piece);
        let result = codec.handle_input(now, &mut input);
        events.extend(std::iter::from_fn(|| codec.poll_event()));
        if result.is_err() {
            return (events, result);
        }
    }
    (events, Ok(()))
}

fn sent(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

fn joined(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Stdin(last)), Event::Stdin(next))
            | (Some(Event::Stdout(last)), Event::Stdout(next))
            | (Some(Event::Stderr(last)), Event::Stderr(next)) => {
                *last = [&last[..], &next[..]].concat().into();
            }
            (_, event) => all.push(event),
        }
    }
    all
}

fn identity() -> Identity {
    Identity {
        access_token: "token".to_owned(),
        app_name: "shop".to_owned(),
        proc_name: "web".to_owned(),
        instance_no: "1".to_owned(),
        term_type: String::new(),
    }
}

#[test]
fn our_server_hears_every_request_of_the_vectors() {
    for vector in vectors("lain-protobuf") {
        let (name, decoded) = (vector["name"].as_str().unwrap(), &vector["decoded"]);
        if decoded["type"] != "RequestMessage" {
            continue;
        }
        let wire = hex(vector["hex"].as_str().unwrap());
        let expected = match (name, decoded["result"].as_str()) {
            (_, Some("error")) => Err(()),
            ("lain_req_winch_80x24", _) => Ok(Some(Event::Resize(TerminalSize {
                width: 80,
                height: 24,
            }))),
            ("lain_req_winch_65535x1", _) => Ok(Some(Event::Resize(TerminalSize {
                width: 65_535,
                height: 1,
            }))),
            // "a" is no size, and 9 no type.
            ("lain_odd_content_before_type" | "lain_odd_unknown_enum_9", _) => Ok(None),
            _ => {
                let content = hex(decoded["content_hex"].as_str().unwrap());
                Ok((!content.is_empty()).then(|| Event::Stdin(content.into())))
            }
        };
        // lain-cli says text, whatever the bytes.
        for opcode in [OpCode::BINARY, OpCode::TEXT] {
            let wire = frame(Encoder::client(3), opcode, &wire);
            for step in [1, 3, wire.len()] {
                let mut server = Server::new(Encoding::Protobuf, STREAMS, Instant::now());
                assert!(server.is_ready());
                let (events, result) = hear(&mut server, &wire, step);
                match &expected {
                    Ok(event) => {
                        assert_eq!(result, Ok(()), "{name}");
                        assert_eq!(events, Vec::from_iter(event.clone()), "{name}");
                    }
                    Err(()) => {
                        assert!(
                            matches!(result, Err(ProtocolError::Entry(_))),
                            "{name}: {result:?}"
                        );
                        assert_eq!(sent(&mut server), b"\x88\x02\x03\xef", "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn our_client_hears_every_response_of_the_vectors() {
    let mut responses = 0;
    for vector in vectors("lain-protobuf") {
        let (name, decoded) = (vector["name"].as_str().unwrap(), &vector["decoded"]);
        if decoded["type"] != "ResponseMessage" {
            continue;
        }
        responses += 1;
        let content = Bytes::from(hex(decoded["content_hex"].as_str().unwrap()));
        let expected = match decoded["msgType"].as_str().unwrap() {
            "STDOUT" => vec![Event::Stdout(content)],
            "STDERR" => vec![Event::Stderr(content)],
            "PING" => vec![],
            _ if name == "lain_resp_close_bye" => vec![Event::Exit(ExitStatus::Exited(0))],
            _ => vec![Event::Exit(ExitStatus::internal_error(
                "Authorization failed.",
            ))],
        };
        let protobuf = hex(vector["hex"].as_str().unwrap());
        let json = decoded["json_of_web_method"].as_str().unwrap();
        for (mut client, payload) in [
            (Client::native(STREAMS, 1), &protobuf[..]),
            (Client::web(&identity(), STREAMS, 1), json.as_bytes()),
        ] {
            let wire = frame(Encoder::server(), OpCode::BINARY, payload);
            let (events, result) = hear(&mut client, &wire, 3);
            assert_eq!((events, result), (expected.clone(), Ok(())), "{name}");
            // Entry's server leaves without a Close frame.
            assert_eq!(client.handle_eof(Instant::now()), Ok(()));
            assert_eq!(client.poll_event(), Some(Event::Close));
        }
    }
    assert_eq!(responses, 6);
}

#[test]
fn our_server_writes_every_response_of_the_vectors() {
    let now = Instant::now();
    for vector in vectors("lain-protobuf") {
        let (name, decoded) = (vector["name"].as_str().unwrap(), &vector["decoded"]);
        if decoded["type"] != "ResponseMessage" {
            continue;
        }
        let mut server = Server::new(Encoding::Protobuf, STREAMS, now);
        let content = Bytes::from(hex(decoded["content_hex"].as_str().unwrap()));
        match decoded["msgType"].as_str().unwrap() {
            "STDOUT" => server.send(Event::Stdout(content)),
            "STDERR" => server.send(Event::Stderr(content)),
            "PING" => server
                .handle_timeout(server.poll_timeout().unwrap())
                .unwrap(),
            _ if name == "lain_resp_close_bye" => server.send(Event::Exit(ExitStatus::Exited(3))),
            _ => server.send(Event::Exit(ExitStatus::internal_error(
                "Authorization failed.",
            ))),
        }
        let wire = hex(vector["hex"].as_str().unwrap());
        let expected = frame(Encoder::server(), OpCode::BINARY, &wire);
        let sent = sent(&mut server);
        assert!(sent.starts_with(&expected), "{name}: {sent:02x?}");
        let closed = &sent[expected.len()..];
        let goodbye: &[u8] = if server.is_finished() {
            b"\x88\x02\x03\xe8"
        } else {
            b""
        };
        assert_eq!(closed, goodbye, "{name}");
    }
}

#[test]
fn a_web_client_says_first_who_it_is() {
    let now = Instant::now();
    let mut client = Client::web(&identity(), STREAMS, 5);
    client.send(Event::Resize(TerminalSize {
        width: 80,
        height: 24,
    }));
    client.send(Event::Stdin(Bytes::from_static(b"ls\n")));
    client.send(Event::HalfClose);
    client.send(Event::Close);
    let wire = sent(&mut client);
    for step in [1, 7, wire.len()] {
        let mut server = Server::new(Encoding::Json, STREAMS, now);
        assert!(!server.is_ready() && server.identity().is_none());
        let (events, result) = hear(&mut server, &wire, step);
        assert_eq!(result, Ok(()));
        assert!(server.is_ready());
        assert_eq!(server.identity(), Some(&identity()));
        assert_eq!(
            events,
            [
                Event::Resize(TerminalSize {
                    width: 80,
                    height: 24
                }),
                // Not taken for a WINCH because one came before.
                Event::Stdin(Bytes::from_static(b"ls\n")),
                Event::Close,
            ]
        );
    }
    let mut server = Server::new(Encoding::Json, STREAMS, now);
    let wire = frame(Encoder::client(1), OpCode::TEXT, b"[\"token\"]");
    let (_, result) = hear(&mut server, &wire, 100);
    assert!(matches!(result, Err(ProtocolError::Entry(_))));
    assert!(!server.is_ready());
}

/// T45: the server of the field cuts its reads at characters and loses what is cut.
#[test]
fn split_characters_and_binary_output_pass_unchanged() {
    let now = Instant::now();
    let text = "你好，世界 🦀\r\n".repeat(3000);
    let binary: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        for content in [text.as_bytes(), &binary] {
            // As a process writes it: cut anywhere, one byte at a time too.
            for size in [1, 7, 4096, content.len()] {
                let mut server = Server::new(encoding, STREAMS, now);
                for piece in content.chunks(size) {
                    server.send(Event::Stdout(Bytes::copy_from_slice(piece)));
                }
                let mut client = match encoding {
                    Encoding::Protobuf => Client::native(STREAMS, 1),
                    Encoding::Json => Client::web(&identity(), STREAMS, 1),
                };
                let (events, result) = hear(&mut client, &sent(&mut server), 5000);
                assert_eq!(result, Ok(()));
                // One piece is cut by us: between characters, where there are any.
                if size == text.len() {
                    for event in &events {
                        let Event::Stdout(bytes) = event else {
                            panic!("{event:?}")
                        };
                        assert!(std::str::from_utf8(bytes).is_ok());
                    }
                }
                let expected = Event::Stdout(Bytes::copy_from_slice(content));
                assert!(joined(events) == [expected], "{encoding:?} by {size}");
            }
        }
    }
}

#[test]
fn a_session_that_is_lost_is_never_a_success() {
    let mut client = Client::native(STREAMS, 1);
    assert_eq!(client.handle_eof(Instant::now()), Ok(()));
    assert_eq!(client.poll_event(), Some(Event::Close));
    assert_eq!(client.poll_event(), None);

    let mut server = Server::new(Encoding::Protobuf, STREAMS, Instant::now());
    server.send(Event::Close);
    let mut client = Client::native(STREAMS, 1);
    let (events, _) = hear(&mut client, &sent(&mut server), 100);
    let expected = ExitStatus::internal_error("The session was closed before its end.");
    assert_eq!(events, [Event::Exit(expected), Event::Close]);
}

#[test]
fn a_close_text_without_a_colour_is_a_failure_with_that_text() {
    for (text, status) in [
        ("no colour", "no colour"),
        ("", "the server closed the session"),
        ("\x1b[31m>>> red\x1b[0m", "red"),
        ("\x1b[31", "\x1b[31"),
        (">>> bare", "bare"),
    ] {
        let close = Message::response(ResponseType::CLOSE, text.into());
        let wire = frame(
            Encoder::server(),
            OpCode::BINARY,
            &close.encode(Encoding::Protobuf),
        );
        let (events, _) = hear(&mut Client::native(STREAMS, 1), &wire, 100);
        let expected = Event::Exit(ExitStatus::internal_error(status));
        assert_eq!(events, [expected], "{text:?}");
    }
}

#[test]
fn streams_that_were_not_asked_for_are_dropped() {
    let attached = StreamSet {
        stdout: true,
        ..StreamSet::default()
    };
    let mut client = Client::native(STREAMS, 1);
    client.send(Event::Stdin(Bytes::from_static(b"typed")));
    client.send(Event::Resize(TerminalSize {
        width: 1,
        height: 1,
    }));
    let mut server = Server::new(Encoding::Protobuf, attached, Instant::now());
    let (events, result) = hear(&mut server, &sent(&mut client), 100);
    assert_eq!((events, result), (vec![], Ok(())));
    server.send(Event::Stderr(Bytes::from_static(b"unwanted")));
    assert_eq!(sent(&mut server), b"");
}

#[test]
fn a_message_that_is_too_long_is_not_assembled() {
    // In one frame or in fragments without end.
    let one = frame(
        Encoder::client(1),
        OpCode::BINARY,
        &vec![0; MAX_ENTRY_MESSAGE + 1],
    );
    let mut fragments = b"\x02\x80\0\0\0\0".to_vec();
    for _ in 0..300 {
        fragments.extend(b"\x00\xfe\x04\x00\0\0\0\0");
        fragments.extend([0; 1024]);
    }
    for wire in [one, fragments] {
        let mut server = Server::new(Encoding::Protobuf, STREAMS, Instant::now());
        let (events, result) = hear(&mut server, &wire, 4096);
        assert_eq!(events, []);
        assert!(matches!(
            result,
            Err(ProtocolError::TooLong {
                what: "entry message",
                size,
                max: MAX_ENTRY_MESSAGE
            }) if size > MAX_ENTRY_MESSAGE && size <= MAX_ENTRY_MESSAGE + 4096
        ));
        assert_eq!(sent(&mut server), b"\x88\x02\x03\xf1");
    }
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop::sample::select(vec![Encoding::Protobuf, Encoding::Json])
}

/// A protobuf reader of two fields that shares no code with ours: `None` for what it refuses.
fn model(mut wire: &[u8]) -> Option<(i32, Vec<u8>)> {
    fn varint(wire: &mut &[u8]) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let (&byte, rest) = wire.split_first()?;
            *wire = rest;
            if at == 9 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
    let (mut msg_type, mut content) = (0, Vec::new());
    while !wire.is_empty() {
        let key = varint(&mut wire)?;
        match (u32::try_from(key).ok()? >> 3, key & 7) {
            (1, 0) => msg_type = varint(&mut wire)? as i32,
            (2, 2) => {
                let size = usize::try_from(varint(&mut wire)?).ok()?;
                let (taken, rest) = wire.split_at_checked(size)?;
                content = taken.to_vec();
                wire = rest;
            }
            (0..=2, _) => return None,
            (_, 0) => drop(varint(&mut wire)?),
            (_, 1) => wire = wire.get(8..)?,
            (_, 2) => {
                let size = usize::try_from(varint(&mut wire)?).ok()?;
                wire = wire.get(size..)?;
            }
            (_, 5) => wire = wire.get(4..)?,
            // Groups are not modelled.
            _ => return None,
        }
    }
    Some((msg_type, content))
}

proptest! {
    /// decode(encode(message)) is the message, in both encodings, whatever its type and content.
    #[test]
    fn a_message_survives_its_wire(
        encoding in encodings(),
        msg_type: i32,
        content in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let message = Message { msg_type, content: content.into() };
        prop_assert_eq!(Message::decode(encoding, message.encode(encoding)), Ok(message));
    }

    /// Every terminal size survives its text.
    #[test]
    fn a_size_survives_its_text(width: u16, height: u16) {
        let size = TerminalSize { width, height };
        prop_assert_eq!(Message::winch(size).size(), Some(size));
    }

    /// No bytes panic, and what the model reads ours reads alike.
    #[test]
    fn protobuf_is_read_as_a_model_reads_it(
        wire in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(
                prop::sample::select(vec![0x08_u8, 0x12, 0x7a, 0, 1, 2, 3, 0x80, 0xff, b'a']),
                0..24,
            ),
        ],
    ) {
        let read = Message::decode(Encoding::Protobuf, Bytes::copy_from_slice(&wire));
        match model(&wire) {
            Some((msg_type, content)) => {
                let expected = Message { msg_type, content: content.into() };
                prop_assert_eq!(read, Ok(expected));
            }
            // A group that is well-formed is skipped by one and refused by the other.
            None if wire.iter().any(|byte| matches!(byte & 7, 3 | 4)) => {}
            None => prop_assert!(read.is_err()),
        }
        let _ = Message::decode(Encoding::Json, wire.into());
    }

    /// What either end says arrives in order, however it is cut.
    #[test]
    fn a_session_survives_the_wire(
        encoding in encodings(),
        said in prop::collection::vec(
            (0_u8..4, prop_oneof![
                8 => prop::collection::vec(any::<u8>(), 1..50),
                1 => (10_000_usize..50_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
            ]),
            0..10,
        ),
        step in prop_oneof![1_usize..20, 1000_usize..20_000],
    ) {
        let now = Instant::now();
        let mut client = match encoding {
            Encoding::Protobuf => Client::native(STREAMS, 3),
            Encoding::Json => Client::web(&identity(), STREAMS, 3),
        };
        let mut server = Server::new(encoding, STREAMS, now);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for (kind, bytes) in said {
            match kind {
                0 => to_server.push(Event::Stdin(bytes.into())),
                1 => {
                    let (width, height) = (bytes.len() as u16, u16::from(bytes[0]));
                    to_server.push(Event::Resize(TerminalSize { width, height }));
                }
                2 => to_client.push(Event::Stdout(bytes.into())),
                _ => to_client.push(Event::Stderr(bytes.into())),
            }
        }
        to_client.push(Event::Exit(ExitStatus::Exited(0)));
        for event in &to_server {
            client.send(event.clone());
        }
        for event in &to_client {
            server.send(event.clone());
        }
        to_client.push(Event::Close);
        let (asked, answered) = (sent(&mut client), sent(&mut server));
        let mut far = Server::new(encoding, STREAMS, now);
        let (events, result) = hear(&mut far, &asked, step);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(joined(events), joined(to_server));
        let (events, result) = hear(&mut client, &answered, step);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(joined(events), joined(to_client));
    }

    /// No bytes panic, and nothing depends on the cut.
    #[test]
    fn nothing_depends_on_the_cut(
        encoding in encodings(),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
        tail in prop::collection::vec(any::<u8>(), 0..20),
        step in 1_usize..20,
    ) {
        let mut wire = Vec::new();
        for message in messages {
            wire.extend(frame(Encoder::client(1), OpCode::BINARY, &message));
        }
        wire.extend(tail);
        let now = Instant::now();
        let whole = hear(&mut Server::new(encoding, STREAMS, now), &wire, wire.len().max(1));
        prop_assert_eq!(hear(&mut Server::new(encoding, STREAMS, now), &wire, step), whole);
    }
}
