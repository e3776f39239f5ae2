//! What Go clients and servers sent each other, read by our side of the session.
//!
//! Where our server answers otherwise than the Go one, and why:
//!
//! | input | Go server | ours | reason |
//! |---|---|---|---|
//! | message in fragments | every fragment is a message of its own: data is lost or misread | fragments are joined | RFC 6455 §5.4 |
//! | malformed close signal | Close 1000, and maybe output behind it | Close 1002, nothing behind it | the client learns why; RFC 6455 §5.5.1 |
//! | unmasked frame | Close 1002, then Close 1000 | one Close 1002 | RFC 6455 §5.5.1 |
//! | nonsense on the resize channel | resizes end for good | ends with its message | messages have borders |
//! | session without a subprotocol | an empty `Sec-WebSocket-Protocol` header | v1, no header | strict clients refuse the empty one |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::{collections::BTreeMap, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, TerminalSize,
    channel::{Client, Server},
    websocket::{FrameError, Tunnel, handshake},
};
use serde_json::Value;

/// One direction of a recorded connection.
#[derive(Default)]
struct Recorded {
    group: String,
    head: String,
    frames: Vec<Frame>,
}

struct Frame {
    wire: Vec<u8>,
    payload: Vec<u8>,
    opcode: u64,
    last: bool,
    truncated: bool,
}

const CHANNEL_GROUPS: [&str; 3] = ["ws-v5-translator", "ws-v5-edge", "ws-legacy"];
const EVERYTHING: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("vectors/channels.json")).unwrap()
}

/// Name of the connection and direction, such as `("v5_ping_empty", "client->server")`.
fn recorded() -> BTreeMap<(String, String), Recorded> {
    let mut all: BTreeMap<_, Recorded> = BTreeMap::new();
    for vector in vectors() {
        let connection = vector["connection"].as_str().unwrap();
        let Some((name, direction)) = connection.split_once(':') else {
            continue;
        };
        // The others are Docker's and LAIN's, and no WebSockets.
        let group = vector["group"].as_str().unwrap();
        if !group.starts_with("ws-") {
            continue;
        }
        let decoded = &vector["decoded"];
        let entry = all
            .entry((name.to_owned(), direction.to_owned()))
            .or_default();
        entry.group = group.to_owned();
        match decoded["type"].as_str() {
            Some("HTTP") => {
                entry.head = String::from_utf8(hex(vector["hex"].as_str().unwrap())).unwrap();
            }
            Some("WS") => entry.frames.push(Frame {
                wire: hex(vector["hex"].as_str().unwrap()),
                // Left out where the payload is empty.
                payload: vector["payload_hex"].as_str().map(hex).unwrap_or_default(),
                opcode: decoded["opcode"].as_u64().unwrap(),
                last: decoded["fin"].as_bool().unwrap(),
                truncated: !decoded["hex_truncated_to_bytes"].is_null(),
            }),
            _ => {}
        }
    }
    all
}

fn headers(head: &str) -> Vec<(&str, &str)> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .collect()
}

fn subprotocol(head: &str) -> Subprotocol {
    let values = headers(head)
        .into_iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"))
        .map(|(_, value)| value);
    handshake::choose_channel(values)
        .unwrap()
        .unwrap_or(Subprotocol::V1)
}

fn streams(name: &str) -> StreamSet {
    StreamSet {
        tty: name.contains("resize") || name == "ws_v4_base64_stdin",
        ..EVERYTHING
    }
}

/// Events with neighbouring spans of one stream joined.
fn joined(events: impl Iterator<Item = Event>) -> Vec<Event> {
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

fn feed(
    codec: &mut impl Codec,
    wire: &[u8],
    step: usize,
) -> (Vec<Event>, Result<(), ProtocolError>) {
    let now = Instant::now();
    let mut input = BytesMut::new();
    let mut result = Ok(());
    for piece in wire.chunks(step) {
        input.extend_from_slice(piece);
        result = codec.handle_input(now, &mut input);
        if result.is_err() {
            break;
        }
    }
    let events = joined(std::iter::from_fn(|| codec.poll_event()));
    (events, result)
}

fn transmitted(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

/// What the frames mean, worked out from the vectors' own fields: a model of the server that
/// shares no code with it.
fn model(frames: &[Frame], subprotocol: Subprotocol, tty: bool) -> Vec<Event> {
    let mut events = Vec::new();
    let mut message: Option<(u64, Vec<u8>)> = None;
    let mut resize = Vec::new();
    let mut stdin_open = true;
    for frame in frames {
        match frame.opcode {
            8 => {
                events.push(Event::Close);
                break;
            }
            9 | 10 => continue,
            0 => message.as_mut().unwrap().1.extend(&frame.payload),
            opcode => message = Some((opcode, frame.payload.clone())),
        }
        if !frame.last {
            continue;
        }
        let (opcode, payload) = message.take().unwrap();
        let Some((&channel, body)) = payload.split_first() else {
            continue;
        };
        let (channel, body) = if subprotocol.is_base64() {
            match STANDARD.decode(body) {
                Ok(body) => (channel.wrapping_sub(b'0'), body),
                Err(_) => continue,
            }
        } else if opcode == 1 {
            continue;
        } else {
            (channel, body.to_vec())
        };
        match channel {
            0 if stdin_open && !body.is_empty() => events.push(Event::Stdin(body.into())),
            4 if tty => {
                resize.extend(body);
                match TerminalSize::parse(&resize) {
                    Some(size) => {
                        events.push(Event::Resize(size));
                        resize.clear();
                    }
                    None if resize.starts_with(b"{") => {}
                    None => resize.clear(),
                }
            }
            255 if subprotocol == Subprotocol::V5 => match body[..] {
                [0] if stdin_open => {
                    stdin_open = false;
                    events.push(Event::HalfClose);
                }
                [0..5] => {}
                _ => break,
            },
            _ => {}
        }
    }
    joined(events.into_iter())
}

/// The error our server ends a recorded session with.
fn expected_error(name: &str) -> Option<FrameError> {
    match name {
        "v5_close_signal_without_channel" | "v5_close_signal_three_bytes" => {
            Some(FrameError::CloseSignalLength)
        }
        "v5_close_signal_channel_9" => Some(FrameError::CloseSignalChannel { channel: 9 }),
        "v5_unmasked_client_frame" => Some(FrameError::NotMasked),
        _ => None,
    }
}

#[test]
fn our_server_reads_what_go_clients_sent() {
    let mut sessions = 0;
    for ((name, direction), recorded) in recorded() {
        let truncated = recorded.frames.iter().any(|frame| frame.truncated);
        assert!(!truncated || name == "ws_v4_fragmented_message");
        if direction != "client->server"
            || !CHANNEL_GROUPS.contains(&&*recorded.group)
            // Rebuilt in full below.
            || truncated
        {
            continue;
        }
        sessions += 1;
        let subprotocol = subprotocol(&recorded.head);
        let streams = streams(&name);
        let error = expected_error(&name);
        let mut expected = if error == Some(FrameError::NotMasked) {
            Vec::new()
        } else {
            model(&recorded.frames, subprotocol, streams.tty)
        };
        if error.is_some() {
            expected.retain(|event| *event != Event::Close);
        }
        let wire: Vec<u8> = recorded
            .frames
            .iter()
            .flat_map(|frame| frame.wire.clone())
            .collect();
        for step in [1, 2, 3, 7, 64, wire.len()] {
            let mut server = Server::new(subprotocol, streams);
            let (events, result) = feed(&mut server, &wire, step);
            assert_eq!(events, expected, "{name} in steps of {step}");
            assert_eq!(result.err(), error.map(ProtocolError::WebSocket), "{name}");
            assert!(server.is_finished(), "{name}");
            let sent = transmitted(&mut server);
            let goodbye: &[u8] = if error.is_some() {
                b"\x88\x02\x03\xea"
            } else {
                b"\x88\x02\x03\xe8"
            };
            assert!(sent.ends_with(goodbye), "{name}: {sent:02x?}");
        }
    }
    assert_eq!(sessions, 31);
}

/// The recorded process echoes `got:` and its standard input.
#[test]
fn our_server_delivers_the_input_that_the_go_server_delivered() {
    let all = recorded();
    let mut compared = 0;
    for ((name, direction), server_side) in &all {
        if direction != "server->client" || !CHANNEL_GROUPS.contains(&&*server_side.group) {
            continue;
        }
        let client_side = &all[&(name.clone(), "client->server".to_owned())];
        let subprotocol = subprotocol(&client_side.head);
        if subprotocol.is_base64() {
            continue;
        }
        let Some(theirs) = server_side
            .frames
            .iter()
            .find_map(|frame| frame.payload.strip_prefix(b"\x01got:").map(<[u8]>::to_vec))
        else {
            continue;
        };
        compared += 1;
        let wire: Vec<u8> = client_side
            .frames
            .iter()
            .flat_map(|frame| frame.wire.clone())
            .collect();
        let (events, _) = feed(
            &mut Server::new(subprotocol, streams(name)),
            &wire,
            wire.len(),
        );
        let ours: Vec<u8> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Stdin(bytes) => Some(bytes),
                _ => None,
            })
            .flatten()
            .collect();
        match &**name {
            // The Go server read 511 bytes and dropped the continuations.
            "v5_fragmented_1300_bytes_loses_tail" => {
                assert_eq!((theirs.len(), ours.len()), (511, 1300));
            }
            // The Go server took the fragment's first byte for channel 0.
            "v5_fragment_whose_tail_starts_with_byte_0" => {
                assert_eq!((&theirs[..], &ours[..]), (&b"abcd"[..], &b"ab\0cd"[..]));
            }
            _ => assert_eq!(ours, theirs, "{name}"),
        }
    }
    assert_eq!(compared, 20);
}

#[test]
fn large_fragmented_message_arrives_whole() {
    // ws_v4_fragmented_message: client-go's buffer holds 33,792 bytes; the vector is cut.
    let mut wire = vec![0x02, 0xfe, 0x84, 0x00, 0, 0, 0, 0, 0];
    wire.extend([b'A'; 33_791]);
    wire.extend([0x80, 0x80 | 101, 0, 0, 0, 0]);
    wire.extend([b'A'; 101]);
    let (events, result) = feed(&mut Server::new(Subprotocol::V4, EVERYTHING), &wire, 1000);
    assert_eq!(result, Ok(()));
    assert_eq!(events, [Event::Stdin(vec![b'A'; 33_791 + 101].into())]);
}

#[test]
fn our_client_reads_what_go_servers_sent() {
    let all = recorded();
    let mut sessions = 0;
    for ((name, direction), recorded) in &all {
        if direction != "server->client" || !CHANNEL_GROUPS.contains(&&*recorded.group) {
            continue;
        }
        sessions += 1;
        let subprotocol = subprotocol(&all[&(name.clone(), "client->server".to_owned())].head);
        let mut expected = Vec::new();
        let mut exited = false;
        for frame in recorded.frames.iter().take_while(|frame| frame.opcode != 8) {
            let Some((channel, body)) = frame.payload.split_first() else {
                continue;
            };
            let body: Bytes = if subprotocol.is_base64() {
                STANDARD.decode(body).unwrap().into()
            } else {
                body.to_vec().into()
            };
            match channel & 0x0f {
                _ if frame.opcode > 2 || body.is_empty() => {}
                1 => expected.push(Event::Stdout(body)),
                2 => expected.push(Event::Stderr(body)),
                3 => {
                    exited = true;
                    expected.push(Event::Exit(if subprotocol.has_exit_code() {
                        ExitStatus::parse_json(&body)
                    } else {
                        ExitStatus::parse_text(&body)
                    }));
                }
                other => panic!("{name}: channel {other}"),
            }
        }
        // Close 1000 without a text is all that v1 has for success.
        if !exited && !subprotocol.has_exit_code() {
            expected.push(Event::Exit(ExitStatus::Exited(0)));
        }
        expected.push(Event::Close);
        let expected = joined(expected.into_iter());
        let wire: Vec<u8> = recorded
            .frames
            .iter()
            .flat_map(|frame| frame.wire.clone())
            .collect();
        for step in [1, 2, 5, wire.len()] {
            let mut client = Client::new(subprotocol, EVERYTHING, 1);
            let (events, result) = feed(&mut client, &wire, step);
            assert_eq!(result, Ok(()), "{name}");
            assert_eq!(events, expected, "{name} in steps of {step}");
            assert!(client.is_finished());
        }
    }
    assert_eq!(sessions, 32);
}

#[test]
fn our_client_concludes_what_client_go_concluded() {
    let all = recorded();
    let mut results = 0;
    for vector in vectors() {
        let connection = vector["connection"].as_str().unwrap();
        if vector["group"] != "ws-v5-translator" || vector["direction"] != "result" {
            continue;
        }
        results += 1;
        let recorded = &all[&(connection.to_owned(), "server->client".to_owned())];
        let wire: Vec<u8> = recorded
            .frames
            .iter()
            .flat_map(|frame| frame.wire.clone())
            .collect();
        let (events, _) = feed(
            &mut Client::new(Subprotocol::V5, EVERYTHING, 1),
            &wire,
            4096,
        );
        let status = events.iter().find_map(|event| match event {
            Event::Exit(status) => Some(status.clone()),
            _ => None,
        });
        match (
            vector["decoded"]["client_error"].as_str().unwrap(),
            status.unwrap(),
        ) {
            ("nil", status) => assert_eq!(status, ExitStatus::Exited(0)),
            ("command terminated with exit code 3", status) => {
                assert_eq!(status, ExitStatus::Exited(3));
            }
            (message, ExitStatus::Failed(failure)) => assert_eq!(failure.message, message),
            (message, status) => panic!("{message}: {status:?}"),
        }
    }
    assert_eq!(results, 4);
}

#[test]
fn our_server_writes_a_successful_session_as_the_go_server_did() {
    let all = recorded();
    let theirs: Vec<u8> = all[&("ws_v5_exec_success".to_owned(), "server->client".to_owned())]
        .frames
        .iter()
        .flat_map(|frame| frame.wire.clone())
        .collect();
    let mut server = Server::new(Subprotocol::V5, EVERYTHING);
    server.send(Event::Stdout(Bytes::from_static(b"got:abc")));
    server.send(Event::Exit(ExitStatus::Exited(0)));
    assert_eq!(transmitted(&mut server), theirs);
}

#[test]
fn accept_keys_are_those_of_the_go_servers() {
    let all = recorded();
    let mut checked = 0;
    for ((name, direction), recorded) in &all {
        if direction != "server->client" || !recorded.head.contains(" 101 ") {
            continue;
        }
        let request = &all[&(name.clone(), "client->server".to_owned())].head;
        if !handshake::is_upgrade(headers(request).into_iter()) {
            continue;
        }
        let accept = handshake::accept_request(headers(request).into_iter()).unwrap();
        assert!(recorded.head.contains(&accept), "{name}");
        let key = headers(request)
            .into_iter()
            .find(|(header, _)| header.eq_ignore_ascii_case("sec-websocket-key"))
            .unwrap()
            .1;
        assert_eq!(
            handshake::check_response(headers(&recorded.head).into_iter(), key.trim()),
            Ok(())
        );
        checked += 1;
    }
    assert!(checked >= 31, "{checked}");
}

#[test]
fn tunnel_gives_the_bytes_that_went_in() {
    let all = recorded();
    for direction in ["client->server", "server->client"] {
        let recorded = &all[&("ws_tunnel_portforward".to_owned(), direction.to_owned())];
        let expected: Vec<u8> = recorded
            .frames
            .iter()
            .filter(|frame| frame.opcode == 2)
            .flat_map(|frame| frame.payload.clone())
            .collect();
        let wire: Vec<u8> = recorded
            .frames
            .iter()
            .flat_map(|frame| frame.wire.clone())
            .collect();
        for step in [1, 3, 10, wire.len()] {
            let mut tunnel = if direction == "client->server" {
                Tunnel::server()
            } else {
                Tunnel::client(1)
            };
            let mut input = BytesMut::new();
            for piece in wire.chunks(step) {
                input.extend_from_slice(piece);
                tunnel.handle_input(&mut input).unwrap();
            }
            let bytes: Vec<u8> = std::iter::from_fn(|| tunnel.poll_bytes())
                .flatten()
                .collect();
            assert_eq!(bytes, expected, "{direction} in steps of {step}");
            assert!(tunnel.is_eof() && tunnel.is_finished());
        }
    }
}
