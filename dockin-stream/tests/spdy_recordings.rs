//! Sessions recorded between Go peers, replayed to each of our sides.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::Instant;

use bytes::BytesMut;
use dockin_stream::{
    Codec, Event, ExitStatus, StreamSet, Subprotocol, TerminalSize,
    portforward::{Client, PortForwardEvent, Server},
    spdy::{ExecClient, ExecServer},
};
use serde_json::Value;

/// The frames of one direction of a recorded session, joined.
fn recording(session: &str, direction: &str) -> BytesMut {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors/spdy.json")).unwrap();
    let hex: String = vectors
        .iter()
        .filter(|vector| {
            vector["connection"] == format!("{session}:{direction}")
                && vector["decoded"]["type"] != "HTTP"
        })
        .map(|vector| vector["hex"].as_str().unwrap())
        .collect();
    assert!(!hex.is_empty(), "{session}");
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

const fn streams(stdin: bool, stderr: bool, tty: bool) -> StreamSet {
    StreamSet {
        stdin,
        stdout: true,
        stderr,
        tty,
    }
}

/// Joins what came on one stream, for sessions that may cut it anywhere.
fn joined(events: &[Event]) -> (String, String, Vec<&Event>) {
    let (mut out, mut err, mut rest) = (String::new(), String::new(), Vec::new());
    for event in events {
        match event {
            Event::Stdin(bytes) | Event::Stdout(bytes) => {
                out.push_str(std::str::from_utf8(bytes).unwrap());
            }
            Event::Stderr(bytes) => err.push_str(std::str::from_utf8(bytes).unwrap()),
            event => rest.push(event),
        }
    }
    (out, err, rest)
}

#[test]
fn sessions_recorded_from_a_go_server_end_as_they_ended() {
    use Subprotocol::{V1, V2, V3, V4};
    for (session, subprotocol, set, out, err, code) in [
        (
            "spdy_exec_v4_exit3",
            V4,
            streams(true, true, false),
            "got:input line\n",
            "hello stderr\n",
            Some(3),
        ),
        (
            "spdy_exec_v4_internal_error",
            V4,
            streams(false, false, false),
            "hello stdout\n",
            "",
            None,
        ),
        (
            "spdy_exec_v4_success_no_stdin",
            V4,
            streams(false, false, false),
            "hello stdout\n",
            "",
            Some(0),
        ),
        (
            "spdy_exec_v4_tty_resize",
            V4,
            streams(true, true, true),
            "size 80x24\r\nsize 65535x1\r\ngot:ls\r",
            "",
            Some(0),
        ),
        (
            "spdy_exec_v3_text_error",
            V3,
            streams(true, true, false),
            "got:input line\n",
            "hello stderr\n",
            None,
        ),
        (
            "spdy_exec_v2_text_error",
            V2,
            streams(true, true, false),
            "got:input line\n",
            "hello stderr\n",
            None,
        ),
        (
            "spdy_exec_v1_success",
            V1,
            streams(false, false, false),
            "hello stdout\n",
            "",
            Some(0),
        ),
        (
            "ws_v5_exec_exit3",
            V4,
            streams(true, true, false),
            "got:input line\n",
            "hello stderr\n",
            Some(3),
        ),
        (
            "ws_v5_exec_success",
            V4,
            streams(true, false, false),
            "got:abc",
            "",
            Some(0),
        ),
        (
            "ws_v5_exec_internal_error",
            V4,
            streams(false, false, false),
            "hello stdout\n",
            "",
            None,
        ),
    ] {
        let now = Instant::now();
        let mut client = ExecClient::new(subprotocol, set);
        let mut input = recording(session, "server->client");
        client.handle_input(now, &mut input).unwrap();
        client.handle_eof(now).unwrap();
        let events: Vec<Event> = std::iter::from_fn(|| client.poll_event()).collect();
        let (got_out, got_err, rest) = joined(&events);
        assert_eq!((&got_out[..], &got_err[..]), (out, err), "{session}");
        match (&rest[..], code) {
            ([Event::Exit(status), Event::Close], Some(code)) => {
                assert_eq!(*status, ExitStatus::Exited(code), "{session}");
            }
            ([Event::Exit(ExitStatus::Failed(failure)), Event::Close], None) => {
                assert!(
                    failure.message.contains("command"),
                    "{session}: {failure:?}"
                );
            }
            (rest, _) => panic!("{session}: {rest:?}"),
        }
        assert!(client.is_finished());
    }
}

#[test]
fn sessions_recorded_from_a_go_client_are_understood() {
    use Subprotocol::{V1, V2, V3, V4};
    let size = |width, height| Event::Resize(TerminalSize { width, height });
    for (session, subprotocol, set, typed, rest) in [
        (
            "spdy_exec_v4_exit3",
            V4,
            streams(true, true, false),
            "input line\n",
            vec![Event::HalfClose, Event::Close],
        ),
        (
            "spdy_exec_v4_success_no_stdin",
            V4,
            streams(false, false, false),
            "",
            vec![Event::Close],
        ),
        (
            "spdy_exec_v4_tty_resize",
            V4,
            streams(true, true, true),
            "ls\r",
            vec![
                size(80, 24),
                size(65_535, 1),
                Event::HalfClose,
                Event::Close,
            ],
        ),
        (
            "spdy_exec_v3_text_error",
            V3,
            streams(true, true, false),
            "input line\n",
            vec![Event::HalfClose, Event::Close],
        ),
        (
            "spdy_exec_v2_text_error",
            V2,
            streams(true, true, false),
            "input line\n",
            vec![Event::HalfClose, Event::Close],
        ),
        (
            "spdy_exec_v1_success",
            V1,
            streams(false, false, false),
            "",
            vec![Event::Close],
        ),
        (
            "ws_v5_exec_exit3",
            V4,
            streams(true, true, false),
            "input line\n",
            vec![Event::HalfClose, Event::Close],
        ),
        (
            "ws_v5_exec_tty_resize",
            V4,
            streams(true, true, true),
            "ls\r",
            vec![size(80, 24), size(132, 43), Event::HalfClose, Event::Close],
        ),
    ] {
        let now = Instant::now();
        let mut server = ExecServer::new(subprotocol, set, now);
        let mut input = recording(session, "client->server");
        server.handle_input(now, &mut input).unwrap();
        assert!(server.is_ready(), "{session}");
        server.handle_eof(now).unwrap();
        let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
        let (got, _, got_rest) = joined(&events);
        assert_eq!(got, typed, "{session}");
        assert_eq!(got_rest, rest.iter().collect::<Vec<_>>(), "{session}");
    }
}

#[test]
fn port_forward_recorded_from_go_is_understood_on_both_sides() {
    let now = Instant::now();
    let mut client = Client::new();
    let first = client.open(8080.try_into().unwrap()).unwrap();
    let second = client.open(9090.try_into().unwrap()).unwrap();
    let mut input = recording("spdy_portforward", "server->client");
    client.handle_input(now, &mut input).unwrap();
    // A connection is closed when both sides have ended it.
    client.half_close(first);
    while client.poll_transmit().is_some() {}
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert!(
        matches!(
            &events[..],
            [
                PortForwardEvent::Opened { port, .. },
                PortForwardEvent::Data { bytes, .. },
                PortForwardEvent::HalfClosed { .. },
                PortForwardEvent::Failed { connection: failed, message },
                PortForwardEvent::Closed { connection },
            ] if port.get() == 8080
                && bytes == "pong:ping-0"
                && *connection == first
                && *failed == second
                && message.contains("connection refused")
        ),
        "{events:?}"
    );

    let mut server = Server::new();
    let mut input = recording("spdy_portforward", "client->server");
    server.handle_input(now, &mut input).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    assert!(
        matches!(
            &events[..],
            [
                PortForwardEvent::Opened { .. },
                PortForwardEvent::Data { bytes, .. },
                PortForwardEvent::Closed { .. },
                PortForwardEvent::Opened { port, .. },
            ] if bytes == "ping-0" && port.get() == 9090
        ),
        "{events:?}"
    );
}
