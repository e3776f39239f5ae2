//! Log following: what the Go reader sent, and the laws of both ends.
//!
//! Where our client says otherwise than a Go one: base64 that is malformed ends the log with Close
//! 1007 and an error, where Go's message layer drops the message: a log with a hole is no log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError,
    log::{Client, LogSubprotocol, Server},
    websocket::handshake,
};
use proptest::prelude::*;
use serde_json::Value;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn headers(head: &str) -> Vec<(&str, &str)> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .collect()
}

fn joined(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Stdout(last)), Event::Stdout(next)) => {
                *last = [&last[..], &next[..]].concat().into();
            }
            (_, event) => all.push(event),
        }
    }
    all
}

fn hear(
    codec: &mut impl Codec,
    wire: &[u8],
    step: usize,
) -> (Vec<Event>, Result<(), ProtocolError>) {
    let now = Instant::now();
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in wire.chunks(step) {
        input.extend_from_slice(piece);
        result = codec.handle_input(now, &mut input);
        events.extend(std::iter::from_fn(|| codec.poll_event()));
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = codec.handle_eof(now);
        events.extend(std::iter::from_fn(|| codec.poll_event()));
    }
    (joined(events), result)
}

fn sent(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

fn log(text: &'static [u8]) -> Event {
    Event::Stdout(Bytes::from_static(text))
}

#[test]
fn every_recorded_log_is_read_and_written_alike() {
    let all: Vec<Value> = serde_json::from_str(include_str!("vectors/channels.json")).unwrap();
    let mut objects = 0;
    for name in ["binary.k8s.io", "base64.binary.k8s.io"] {
        let subprotocol = LogSubprotocol::parse(name).unwrap();
        assert_eq!(subprotocol.as_str(), name);
        let connection = format!("ws_reader_{}", name.replace('.', "_"));
        let (mut request, mut answer) = (String::new(), String::new());
        let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
        for vector in all.iter().filter(|vector| {
            let (side, _) = vector["connection"]
                .as_str()
                .and_then(|text| text.split_once(':'))
                .unwrap_or_default();
            side == connection
        }) {
            assert_eq!(vector["group"], "ws-reader");
            objects += 1;
            let bytes = hex(vector["hex"].as_str().unwrap());
            let client = vector["direction"] == "client->server";
            match (vector["decoded"]["type"].as_str().unwrap(), client) {
                ("HTTP", true) => request = String::from_utf8(bytes).unwrap(),
                ("HTTP", false) => answer = String::from_utf8(bytes).unwrap(),
                (_, true) => from_client.extend(bytes),
                (_, false) => from_server.extend(bytes),
            }
        }
        let request = headers(&request);
        let accept = handshake::accept_request(request.iter().copied()).unwrap();
        assert!(answer.contains(&format!("\r\nSec-WebSocket-Accept: {accept}\r\n")));
        let offered = request
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case("sec-websocket-protocol"))
            .map(|(_, value)| *value);
        assert_eq!(LogSubprotocol::choose(offered), Ok(Some(subprotocol)));
        assert!(answer.contains(&format!("\r\nSec-WebSocket-Protocol: {name}\r\n")));

        for step in [1, 3, from_server.len()] {
            let mut client = Client::new(subprotocol, 1);
            let (events, result) = hear(&mut client, &from_server, step);
            let expected = [
                log(b"line 1\nline 2\n"),
                Event::Exit(ExitStatus::Exited(0)),
                Event::Close,
            ];
            assert_eq!((&events[..], result), (&expected[..], Ok(())), "{name}");
            // Ours is masked with another key.
            let mut server = Server::new(subprotocol);
            let said = hear(&mut server, &sent(&mut client), step);
            assert_eq!(said, (vec![Event::Close], Ok(())));

            let mut server = Server::new(subprotocol);
            server.send(log(b"line 1\nline 2\n"));
            server.send(Event::Exit(ExitStatus::Exited(0)));
            server.send(log(b"too late"));
            assert_eq!(sent(&mut server), from_server, "{name}");
            let said = hear(&mut server, &from_client, step);
            assert_eq!(said, (vec![Event::Close], Ok(())), "{name}");
        }
    }
    assert_eq!(objects, 12);
}

#[test]
fn a_log_that_breaks_off_is_never_a_log_that_ended() {
    for (wire, result) in [
        (&b"\x82\x01a"[..], Ok(())),
        (b"\x82\x02a", Err(ProtocolError::Truncated)),
        (b"\x02\x01a", Err(ProtocolError::Truncated)),
        (b"\x82\x01a\x88\x02\x03\xf3", Ok(())),
    ] {
        let mut client = Client::new(LogSubprotocol::Binary, 1);
        let heard = hear(&mut client, wire, wire.len());
        assert_eq!(heard, (vec![log(b"a"), Event::Close], result));
    }
    let mut server = Server::new(LogSubprotocol::Binary);
    server.send(Event::Exit(ExitStatus::internal_error("the node is gone")));
    assert_eq!(sent(&mut server), b"\x82\x00\x88\x02\x03\xf3");
}

#[test]
fn malformed_base64_ends_the_log_behind_what_was_right() {
    let wire = b"\x81\x0bYWJjYWJj*QQ\x81\x04YWJj";
    for step in 1..=wire.len() {
        let mut client = Client::new(LogSubprotocol::Base64, 1);
        let (events, result) = hear(&mut client, wire, step);
        assert_eq!(events, [log(b"abcabc")], "{step}");
        assert_eq!(result, Err(ProtocolError::Base64 { offset: 8 }));
        assert!(sent(&mut client).starts_with(b"\x88\x82"));
    }
}

#[test]
fn nothing_that_a_reader_sends_is_kept() {
    let mut server = Server::new(LogSubprotocol::Binary);
    let wire = b"\x82\x83\0\0\0\0abc".repeat(1000);
    let heard = hear(&mut server, &wire, 100);
    assert_eq!(heard, (vec![Event::Close], Ok(())));
}

proptest! {
    /// What is printed arrives, binary too, however it is cut.
    #[test]
    fn a_log_survives_the_wire(
        base64: bool,
        printed in prop::collection::vec(prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..50),
            1 => (48_000_usize..200_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        ], 0..8),
        step in prop_oneof![1_usize..20, 1000_usize..70_000],
    ) {
        let subprotocol = if base64 { LogSubprotocol::Base64 } else { LogSubprotocol::Binary };
        let mut server = Server::new(subprotocol);
        for (at, bytes) in printed.iter().enumerate() {
            let bytes = Bytes::copy_from_slice(bytes);
            server.send(if at % 2 == 0 { Event::Stdout(bytes) } else { Event::Stderr(bytes) });
        }
        server.send(Event::Exit(ExitStatus::Exited(1)));
        let whole = printed.concat();
        let mut expected = vec![Event::Exit(ExitStatus::Exited(0)), Event::Close];
        if !whole.is_empty() {
            expected.insert(0, Event::Stdout(whole.into()));
        }
        let mut client = Client::new(subprotocol, 1);
        prop_assert_eq!(hear(&mut client, &sent(&mut server), step), (expected, Ok(())));
    }

    /// No bytes panic, and nothing depends on the cut.
    #[test]
    fn nothing_depends_on_the_cut(
        base64: bool,
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(4), Just(b'A')], 0..60),
        step in 1_usize..20,
    ) {
        let subprotocol = if base64 { LogSubprotocol::Base64 } else { LogSubprotocol::Binary };
        let whole = hear(&mut Client::new(subprotocol, 1), &bytes, bytes.len().max(1));
        prop_assert_eq!(hear(&mut Client::new(subprotocol, 1), &bytes, step), whole);
    }
}
