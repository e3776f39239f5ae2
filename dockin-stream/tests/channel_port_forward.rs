//! Port forwarding over numbered channels: what a Go server and its client sent, and the laws of
//! both ends.
//!
//! Where ours says otherwise than the Go server: base64 that is malformed ends the session with
//! Close 1007, where Go drops the message and goes on with a hole in the bytes of a connection.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::{collections::BTreeMap, num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    ProtocolError, Subprotocol,
    portforward::{
        ForwardId, PortForwardEvent,
        channel::{self, AnnouncementError, Client, PortsError, Server},
    },
    websocket::{CloseCode, Connection, Encoder, Incoming, MessageKind, OpCode, Span, handshake},
};
use proptest::prelude::*;
use serde_json::Value;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn ports(ports: &[u16]) -> Vec<NonZeroU16> {
    ports
        .iter()
        .map(|port| NonZeroU16::new(*port).unwrap())
        .collect()
}

fn headers(head: &str) -> Vec<(&str, &str)> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .collect()
}

/// Either end, so that one function feeds both.
enum End {
    Client(Client),
    Server(Server),
}

impl End {
    fn handle_input(&mut self, input: &mut BytesMut) -> Result<(), ProtocolError> {
        let now = Instant::now();
        match self {
            Self::Client(client) => client.handle_input(now, input),
            Self::Server(server) => server.handle_input(now, input),
        }
    }

    fn handle_eof(&mut self) -> Result<(), ProtocolError> {
        let now = Instant::now();
        match self {
            Self::Client(client) => client.handle_eof(now),
            Self::Server(server) => server.handle_eof(now),
        }
    }

    fn events(&mut self) -> Vec<PortForwardEvent> {
        let mut all = Vec::new();
        let events: Vec<PortForwardEvent> = std::iter::from_fn(|| match self {
            Self::Client(client) => client.poll_event(),
            Self::Server(server) => server.poll_event(),
        })
        .collect();
        join(&mut all, events);
        all
    }

    fn sent(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| match self {
            Self::Client(client) => client.poll_transmit(),
            Self::Server(server) => server.poll_transmit(),
        })
        .flatten()
        .collect()
    }
}

fn join(all: &mut Vec<PortForwardEvent>, events: Vec<PortForwardEvent>) {
    for event in events {
        match (all.last_mut(), event) {
            (
                Some(PortForwardEvent::Data {
                    connection: last,
                    bytes: known,
                }),
                PortForwardEvent::Data { connection, bytes },
            ) if *last == connection => *known = [&known[..], &bytes[..]].concat().into(),
            (_, event) => all.push(event),
        }
    }
}

fn hear(
    end: &mut End,
    wire: &[u8],
    step: usize,
) -> (Vec<PortForwardEvent>, Result<(), ProtocolError>) {
    let mut all = end.events();
    let mut input = BytesMut::new();
    for piece in wire.chunks(step) {
        input.extend_from_slice(piece);
        let result = end.handle_input(&mut input);
        join(&mut all, end.events());
        if result.is_err() {
            return (all, result);
        }
    }
    (all, Ok(()))
}

fn client(subprotocol: Subprotocol, wanted: &[u16]) -> (End, Vec<ForwardId>) {
    let client = Client::new(subprotocol, &ports(wanted), 7).unwrap();
    let ids = client.connections().map(|(id, _)| id).collect();
    (End::Client(client), ids)
}

fn server(subprotocol: Subprotocol, wanted: &[u16]) -> End {
    End::Server(Server::new(subprotocol, &ports(wanted)).unwrap())
}

fn data(connection: ForwardId, bytes: &'static [u8]) -> PortForwardEvent {
    PortForwardEvent::Data {
        connection,
        bytes: Bytes::from_static(bytes),
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Recorded {
    head: String,
    wire: Vec<u8>,
}

fn recorded() -> BTreeMap<String, Recorded> {
    let all: Vec<Value> = serde_json::from_str(include_str!("vectors/channels.json")).unwrap();
    let mut recorded: BTreeMap<String, Recorded> = BTreeMap::new();
    let mut objects = 0;
    for vector in all {
        if vector["group"] != "ws-portforward" {
            continue;
        }
        objects += 1;
        let name = vector["connection"].as_str().unwrap().to_owned();
        let bytes = hex(vector["hex"].as_str().unwrap());
        let entry = recorded.entry(name).or_default();
        if vector["decoded"]["type"] == "HTTP" {
            entry.head = String::from_utf8(bytes).unwrap();
        } else {
            entry.wire.extend(bytes);
        }
    }
    assert_eq!(objects, 19);
    recorded
}

const REFUSED: &str = "error forwarding port 9090 to pod pod, uid uid: failed to connect to \
                       localhost:9090 inside namespace: connection refused";

#[test]
fn every_recorded_session_is_read_and_written_alike() {
    let all = recorded();
    for (name, subprotocol, wanted) in [
        (
            "ws_portforward_v4_two_ports",
            Subprotocol::V4,
            &[8080, 9090][..],
        ),
        ("ws_portforward_v4_base64", Subprotocol::V4Base64, &[8080]),
    ] {
        let from_client = &all[&format!("{name}:client->server")];
        let from_server = &all[&format!("{name}:server->client")];
        let (request, client_wire) = (&*from_client.head, &from_client.wire);
        let (answer, server_wire) = (&*from_server.head, &from_server.wire);
        let accept = handshake::accept_request(headers(request).into_iter()).unwrap();
        assert!(answer.contains(&accept), "{name}");
        let values = |head| {
            headers(head)
                .into_iter()
                .filter(|(header, _)| header.eq_ignore_ascii_case("sec-websocket-protocol"))
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        assert_eq!(channel::choose(values(request)), Ok(Some(subprotocol)));
        assert_eq!(values(answer), [subprotocol.as_str()]);

        for step in [1, 2, 7, 1000] {
            // Our client hears the Go server.
            let (mut ours, ids) = client(subprotocol, wanted);
            let (events, result) = hear(&mut ours, server_wire, step);
            let mut expected: Vec<PortForwardEvent> = ids
                .iter()
                .zip(ports(wanted))
                .map(|(connection, port)| PortForwardEvent::Opened {
                    connection: *connection,
                    port,
                })
                .collect();
            if let [_, second] = ids[..] {
                expected.push(PortForwardEvent::Failed {
                    connection: second,
                    message: REFUSED.to_owned(),
                });
            }
            let connection = ids[0];
            expected.extend([
                data(connection, b"pong:ping-a"),
                PortForwardEvent::HalfClosed { connection },
                PortForwardEvent::Closed { connection },
            ]);
            assert_eq!((events, result), (expected, Ok(())), "{name} by {step}");
            assert_eq!(ours.handle_eof(), Ok(()));
            assert_eq!(ours.events(), []);

            // Our server hears the Go client.
            let mut ours = server(subprotocol, wanted);
            let (events, result) = hear(&mut ours, client_wire, step);
            let mut expected: Vec<PortForwardEvent> = ids
                .iter()
                .zip(ports(wanted))
                .map(|(connection, port)| PortForwardEvent::Opened {
                    connection: *connection,
                    port,
                })
                .collect();
            expected.push(data(connection, b"ping-a"));
            expected.extend(ids.iter().map(|connection| PortForwardEvent::Closed {
                connection: *connection,
            }));
            assert_eq!((events, result), (expected, Ok(())), "{name} by {step}");
        }

        // Our server writes what the Go server wrote.
        let (_, ids) = client(subprotocol, wanted);
        let End::Server(mut ours) = server(subprotocol, wanted) else {
            unreachable!()
        };
        if let [_, second] = ids[..] {
            ours.fail(second, REFUSED);
        }
        ours.send(ids[0], Bytes::from_static(b"pong:ping-a"));
        ours.half_close(ids[0]);
        assert_eq!(&End::Server(ours).sent(), server_wire, "{name}");

        // Our client writes what the Go client wrote, but for the mask.
        let End::Client(mut ours) = client(subprotocol, wanted).0 else {
            unreachable!()
        };
        ours.send(ids[0], Bytes::from_static(b"ping-a"));
        ours.go_away();
        let wire = End::Client(ours).sent();
        assert_eq!(wire.len(), client_wire.len());
        assert_eq!(unmasked(&wire), unmasked(client_wire), "{name}");
    }
}

/// The messages of a client.
fn unmasked(wire: &[u8]) -> Vec<(Option<MessageKind>, Vec<u8>)> {
    let mut connection = Connection::server();
    let mut input = BytesMut::from(wire);
    let mut all = Vec::new();
    while let Some(incoming) = connection.read(&mut input).unwrap() {
        match incoming {
            Incoming::Span(Span { kind, bytes, .. }) => all.push((Some(kind), bytes.to_vec())),
            Incoming::Close(code) => all.push((None, code.0.to_be_bytes().to_vec())),
            other => panic!("{other:?}"),
        }
    }
    all
}

fn message(opcode: OpCode, payload: &'static [u8]) -> Vec<u8> {
    let mut encoder = Encoder::server();
    encoder.encode(opcode, &[], Bytes::from_static(payload));
    encoder.poll_transmit().unwrap().to_vec()
}

fn close_code(end: &mut End) -> Option<Vec<u8>> {
    unmasked(&end.sent())
        .into_iter()
        .find(|(kind, _)| kind.is_none())
        .map(|(_, code)| code)
}

#[test]
fn an_announcement_that_is_wrong_ends_the_session() {
    let (a, b) = (Subprotocol::V4, Subprotocol::V4Base64);
    for (subprotocol, wire, error) in [
        (
            a,
            message(OpCode::BINARY, b"\0\x90"),
            AnnouncementError::Length { channel: 0 },
        ),
        (
            a,
            message(OpCode::BINARY, b"\x01\x90\x1f\0"),
            AnnouncementError::Length { channel: 1 },
        ),
        (
            b,
            message(OpCode::TEXT, b"0kB8A"),
            AnnouncementError::Length { channel: 0 },
        ),
        (
            a,
            message(OpCode::BINARY, b"\0\x1f\x90"),
            AnnouncementError::Port {
                channel: 0,
                port: 0x901f,
                expected: NonZeroU16::new(8080).unwrap(),
            },
        ),
    ] {
        for step in 1..=wire.len() {
            let (mut ours, _) = client(subprotocol, &[8080]);
            let (_, result) = hear(&mut ours, &wire, step);
            assert_eq!(result, Err(error.into()));
            assert_eq!(close_code(&mut ours), Some(vec![3, 0xea]));
        }
    }
}

#[test]
fn a_hole_in_the_bytes_of_a_connection_ends_the_session() {
    let good = message(OpCode::TEXT, b"0kB8=");
    let wire = [good, message(OpCode::TEXT, b"0YWJj*AAA")].concat();
    for step in 1..=wire.len() {
        let (mut ours, ids) = client(Subprotocol::V4Base64, &[8080]);
        let (events, result) = hear(&mut ours, &wire, step);
        assert_eq!(events[1..], [data(ids[0], b"abc")], "{step}");
        assert_eq!(result, Err(ProtocolError::Base64 { offset: 4 }));
        assert_eq!(close_code(&mut ours), Some(vec![3, 0xef]));
    }
}

#[test]
fn messages_for_channels_that_do_not_exist_or_are_not_read_are_dropped() {
    let mut encoder = Encoder::client(3);
    for (opcode, payload) in [
        (OpCode::BINARY, &b"\x01to the error channel"[..]),
        (OpCode::BINARY, b"\x02to nobody"),
        (OpCode::BINARY, b"\xff\0"),
        (OpCode::BINARY, b"\0"),
        (OpCode::BINARY, b""),
        (OpCode::TEXT, b"\0text"),
        (OpCode::BINARY, b"\0data"),
    ] {
        encoder.encode(opcode, &[], Bytes::from_static(payload));
    }
    let wire: Vec<u8> = std::iter::from_fn(|| encoder.poll_transmit())
        .flatten()
        .collect();
    for step in [1, 5, wire.len()] {
        let mut ours = server(Subprotocol::V4, &[8080]);
        let (events, result) = hear(&mut ours, &wire, step);
        assert_eq!(result, Ok(()));
        let (_, ids) = client(Subprotocol::V4, &[8080]);
        assert_eq!(events[1..], [data(ids[0], b"data")]);
    }
}

#[test]
fn a_ports_failure_leaves_the_others_alone_and_the_last_one_closes() {
    let (_, ids) = client(Subprotocol::V4, &[1, 2, 3]);
    let mut ours = Server::new(Subprotocol::V4, &ports(&[1, 2, 3])).unwrap();
    while ours.poll_event().is_some() {}
    ours.send(ids[0], Bytes::from_static(b"before"));
    ours.fail(ids[0], "");
    ours.send(ids[0], Bytes::from_static(b"behind"));
    ours.close(ids[1]);
    ours.send(ids[2], Bytes::from_static(b"last"));
    let mut wire: Vec<u8> = std::iter::from_fn(|| ours.poll_transmit())
        .flatten()
        .collect();
    assert!(!ours.is_finished());
    ours.half_close(ids[2]);
    wire.extend(std::iter::from_fn(|| ours.poll_transmit()).flatten());
    assert!(ours.is_finished());
    assert_eq!(
        ours.poll_event(),
        Some(PortForwardEvent::Closed { connection: ids[2] })
    );
    assert_eq!(ours.poll_event(), None);

    let (mut theirs, _) = client(Subprotocol::V4, &[1, 2, 3]);
    let (events, result) = hear(&mut theirs, &wire, 5);
    assert_eq!(result, Ok(()));
    assert_eq!(
        events[3..],
        [
            data(ids[0], b"before"),
            PortForwardEvent::Failed {
                connection: ids[0],
                message: "port forwarding failed".to_owned()
            },
            data(ids[2], b"last"),
            PortForwardEvent::HalfClosed { connection: ids[1] },
            PortForwardEvent::Closed { connection: ids[1] },
            PortForwardEvent::HalfClosed { connection: ids[2] },
            PortForwardEvent::Closed { connection: ids[2] },
        ]
    );
}

#[test]
fn a_lost_connection_is_no_clean_end() {
    let (mut ours, ids) = client(Subprotocol::V4, &[8080]);
    assert_eq!(ours.handle_eof(), Ok(()));
    assert_eq!(
        ours.events(),
        [PortForwardEvent::Closed { connection: ids[0] }]
    );
    let mut ours = server(Subprotocol::V4, &[8080]);
    let mut input = BytesMut::from(&b"\x82\x85\0\0"[..]);
    ours.handle_input(&mut input).unwrap();
    assert_eq!(ours.handle_eof(), Err(ProtocolError::Truncated));
}

#[test]
fn giving_up_the_last_port_ends_the_session() {
    let ids = client(Subprotocol::V4, &[1, 2]).1;
    let mut ours = Client::new(Subprotocol::V4, &ports(&[1, 2]), 1).unwrap();
    ours.close(ids[1]);
    assert!(!ours.is_finished());
    ours.half_close(ids[0]);
    assert!(!ours.is_finished());
    ours.close(ids[0]);
    assert!(ours.is_finished());
    assert_eq!(unmasked(&End::Client(ours).sent()), [(None, vec![3, 0xe8])]);
}

#[test]
fn more_ports_than_channels_are_refused() {
    for (subprotocol, max) in [
        (Subprotocol::V4, channel::MAX_RAW_PORTS),
        (Subprotocol::V4Base64, channel::MAX_BASE64_PORTS),
    ] {
        let wanted: Vec<u16> = (1..=max as u16).collect();
        assert!(Server::new(subprotocol, &ports(&wanted)).is_ok());
        let wanted: Vec<u16> = (1..=max as u16 + 1).collect();
        let error = PortsError::TooMany {
            ports: max + 1,
            max,
        };
        assert_eq!(Server::new(subprotocol, &ports(&wanted)).err(), Some(error));
        assert_eq!(
            Client::new(subprotocol, &[], 0).err(),
            Some(PortsError::None)
        );
    }
}

#[test]
fn bulk_on_one_port_does_not_keep_another_waiting() {
    let ids = client(Subprotocol::V4, &[1, 2]).1;
    let mut ours = Server::new(Subprotocol::V4, &ports(&[1, 2])).unwrap();
    ours.send(ids[0], Bytes::from(vec![0; 1024 * 1024]));
    ours.send(ids[1], Bytes::from_static(b"quick"));
    assert_eq!(ours.queued(ids[0]), 1024 * 1024);
    let mut before = 0;
    while let Some(bytes) = ours.poll_transmit() {
        if bytes.windows(5).any(|window| window == b"quick") {
            break;
        }
        before += bytes.len();
    }
    assert!(before < 100 * 1024, "{before}");
    assert!(ours.queued(ids[0]) > 900 * 1024);
    ours.send_keepalive();
    assert_eq!(ours.poll_transmit().as_deref(), Some(&b"\x8a\x00"[..]));
}

#[derive(Clone, Debug)]
enum Turn {
    FromClient(usize, Vec<u8>),
    FromServer(usize, Vec<u8>),
}

proptest! {
    /// The bytes of each port arrive in order, however they are cut and whoever else speaks.
    #[test]
    fn bytes_survive_the_wire(
        base64: bool,
        turns in prop::collection::vec(
            (any::<bool>(), 0_usize..5, prop_oneof![
                8 => prop::collection::vec(any::<u8>(), 0..50),
                1 => (40_000_usize..120_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
            ]).prop_map(|(client, port, bytes)| if client {
                Turn::FromClient(port, bytes)
            } else {
                Turn::FromServer(port, bytes)
            }),
            0..12,
        ),
        step in prop_oneof![1_usize..20, 1000_usize..70_000],
    ) {
        let wanted = [1, 2, 3, 4, 65_535];
        let subprotocol = if base64 { Subprotocol::V4Base64 } else { Subprotocol::V4 };
        let ids = client(subprotocol, &wanted).1;
        let mut near = Client::new(subprotocol, &ports(&wanted), 9).unwrap();
        let mut far = Server::new(subprotocol, &ports(&wanted)).unwrap();
        let mut expected: [Vec<Vec<u8>>; 2] = [vec![Vec::new(); 5], vec![Vec::new(); 5]];
        for turn in turns {
            match turn {
                Turn::FromClient(port, bytes) => {
                    expected[0][port].extend(&bytes);
                    near.send(ids[port], bytes.into());
                }
                Turn::FromServer(port, bytes) => {
                    expected[1][port].extend(&bytes);
                    far.send(ids[port], bytes.into());
                }
            }
        }
        for id in &ids {
            far.half_close(*id);
        }
        let (mut near, mut far) = (End::Client(near), End::Server(far));
        let asked = near.sent();
        let (at_server, result) = hear(&mut far, &asked, step);
        prop_assert_eq!(result, Ok(()));
        let answered = far.sent();
        let (at_client, result) = hear(&mut near, &answered, step);
        prop_assert_eq!(result, Ok(()));
        for (events, expected) in [(at_server, &expected[0]), (at_client, &expected[1])] {
            for (port, id) in ids.iter().enumerate() {
                let arrived: Vec<u8> = events.iter().filter_map(|event| match event {
                    PortForwardEvent::Data { connection, bytes } if connection == id => Some(bytes.to_vec()),
                    _ => None,
                }).flatten().collect();
                prop_assert_eq!(&arrived, &expected[port]);
            }
        }
        let closed = near.events().len();
        prop_assert_eq!(closed, 0, "all was told by the Close frame");
    }

    /// No bytes panic, and nothing depends on the cut.
    #[test]
    fn nothing_depends_on_the_cut(
        base64: bool,
        serving: bool,
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x82), Just(0x81), Just(3), Just(b'0')], 0..60),
        step in 1_usize..20,
    ) {
        let subprotocol = if base64 { Subprotocol::V4Base64 } else { Subprotocol::V4 };
        let end = || if serving { server(subprotocol, &[8080]) } else { client(subprotocol, &[8080]).0 };
        let (mut whole, mut cut) = (end(), end());
        let heard = hear(&mut whole, &bytes, bytes.len().max(1));
        prop_assert_eq!(&hear(&mut cut, &bytes, step), &heard);
        if heard.1.is_err() {
            return Ok(());
        }
        prop_assert_eq!(cut.handle_eof(), whole.handle_eof());
        prop_assert_eq!(cut.events(), whole.events());
    }
}

/// The close code of our goodbye is one that may be sent.
#[test]
fn going_away_is_a_normal_close() {
    let mut ours = Server::new(Subprotocol::V4, &ports(&[1])).unwrap();
    ours.go_away();
    let wire = End::Server(ours).sent();
    assert!(wire.ends_with(&CloseCode::NORMAL.0.to_be_bytes()));
}
