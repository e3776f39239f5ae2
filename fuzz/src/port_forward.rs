use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    ProtocolError, limits,
    portforward::{Client, ForwardId, PortForwardEvent, Server},
};

use crate::{cut::pieces, script::Script, spdy_frame::decode};

/// Port forwarding: how to cut, role and manners, then the peer's bytes.
///
/// Without answers of ours what happens does not depend on the cut. With them every connection
/// has its events in order, one end, and everything that is answered is well-formed.
///
/// # Panics
///
/// A law is broken.
pub fn port_forward(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let bytes = script.rest();
    match choice & 0b11 {
        0b00 => assert_eq!(serve(pieces(bytes, seed), false), serve([bytes], false)),
        0b01 => check_client(&ask([bytes], false), &ask(pieces(bytes, seed), false)),
        0b10 => drop(serve(pieces(bytes, seed), true)),
        _ => drop(ask(pieces(bytes, seed), true)),
    }
}

/// A stream that we have reset takes a second reply, one that is about to be reset does not: which
/// of the two it is depends on what came in one read. What happened before is the same.
fn check_client((whole, verdict): &Happened, (cut, cut_verdict): &Happened) {
    if verdict == cut_verdict {
        assert_eq!(cut, whole, "depends on the cut");
        return;
    }
    assert!(
        verdict.is_err(),
        "{verdict:?} as a whole, cut {cut_verdict:?}"
    );
    // Bytes that come last may go on.
    let before = match whole.split_last() {
        Some((PortForwardEvent::Data { .. }, before)) => before,
        _ => whole,
    };
    assert!(cut.starts_with(before), "{whole:?} as a whole, cut {cut:?}");
}

type Happened = (Vec<PortForwardEvent>, Result<(), ProtocolError>);

fn serve<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, answering: bool) -> Happened {
    let now = Instant::now();
    let mut server = Server::new();
    let mut log = Log::default();
    let mut wire = Vec::new();
    let mut input = BytesMut::new();
    let mut result = Ok(());
    for piece in pieces {
        input.extend_from_slice(piece);
        result = server.handle_input(now, &mut input);
        while let Some(event) = server.poll_event() {
            if answering {
                match &event {
                    PortForwardEvent::Opened { connection, port } if port.get() % 5 == 0 => {
                        server.fail(*connection, "refused");
                        log.ended_by_us(*connection);
                    }
                    PortForwardEvent::Data { connection, bytes } => {
                        server.send(*connection, bytes.clone());
                    }
                    PortForwardEvent::HalfClosed { connection } => server.half_close(*connection),
                    _ => {}
                }
            }
            log.push(event, true);
        }
        while let Some(bytes) = server.poll_transmit() {
            wire.extend_from_slice(&bytes);
        }
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        if answering && let Some(deadline) = server.poll_timeout() {
            assert!(deadline <= now + limits::STREAM_CREATION_TIMEOUT);
            let late = deadline + Duration::from_secs(1);
            assert_eq!(server.handle_timeout(late), Ok(()));
            assert!(
                server.poll_timeout().is_none(),
                "a deadline stays in the past"
            );
        }
        result = server.handle_eof(now);
        while let Some(event) = server.poll_event() {
            log.push(event, true);
        }
        log.check_all_ended();
    }
    server.go_away();
    while let Some(bytes) = server.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    assert!(decode([&wire[..]]).is_clean(), "malformed answer");
    (log.events, result)
}

fn ask<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, answering: bool) -> Happened {
    let now = Instant::now();
    let mut client = Client::new();
    let mut log = Log::default();
    for port in [80, 443] {
        let connection = NonZeroU16::new(port).and_then(|port| client.open(port));
        let connection = connection.expect("a new session has room");
        log.known.insert(connection, State::Open);
        client.send(connection, Bytes::from_static(b"early"));
    }
    let mut wire = Vec::new();
    let mut input = BytesMut::new();
    let mut result = Ok(());
    for piece in pieces {
        input.extend_from_slice(piece);
        result = client.handle_input(now, &mut input);
        while let Some(event) = client.poll_event() {
            if answering {
                match &event {
                    PortForwardEvent::Data { connection, bytes } if bytes.len() % 7 == 0 => {
                        client.close(*connection);
                        log.ended_by_us(*connection);
                    }
                    PortForwardEvent::Data { connection, bytes } => {
                        client.send(*connection, bytes.clone());
                    }
                    PortForwardEvent::HalfClosed { connection } => client.half_close(*connection),
                    _ => {}
                }
            }
            log.push(event, false);
        }
        while let Some(bytes) = client.poll_transmit() {
            wire.extend_from_slice(&bytes);
        }
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = client.handle_eof(now);
        while let Some(event) = client.poll_event() {
            log.push(event, false);
        }
        log.check_all_ended();
    }
    client.go_away();
    while let Some(bytes) = client.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    assert!(decode([&wire[..]]).is_clean(), "malformed request");
    (log.events, result)
}

/// The events of a session, with the law that each connection keeps.
#[derive(Default)]
struct Log {
    /// Bytes of one connection that follow one another are one.
    events: Vec<PortForwardEvent>,
    known: BTreeMap<ForwardId, State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    HalfClosed,
    Ended,
    /// What was queued before we ended it may still come out.
    EndedByUs,
}

impl Log {
    fn ended_by_us(&mut self, connection: ForwardId) {
        self.known.insert(connection, State::EndedByUs);
    }

    fn check_all_ended(&self) {
        for (connection, state) in &self.known {
            assert!(
                matches!(state, State::Ended | State::EndedByUs),
                "{connection:?} is {state:?} behind the end"
            );
        }
    }

    fn push(&mut self, event: PortForwardEvent, serving: bool) {
        let connection = match &event {
            PortForwardEvent::Opened { connection, .. }
            | PortForwardEvent::Data { connection, .. }
            | PortForwardEvent::HalfClosed { connection }
            | PortForwardEvent::Failed { connection, .. }
            | PortForwardEvent::Closed { connection } => *connection,
            other => unreachable!("new kind of event: {other:?}"),
        };
        let state = self.known.get(&connection).copied();
        let next = match (state, &event) {
            (Some(State::EndedByUs), _) => State::EndedByUs,
            (None, PortForwardEvent::Opened { .. }) if serving => State::Open,
            (Some(State::Open), PortForwardEvent::Opened { .. }) if !serving => State::Open,
            (Some(State::Open), PortForwardEvent::Data { bytes, .. }) if !bytes.is_empty() => {
                State::Open
            }
            (Some(State::Open), PortForwardEvent::HalfClosed { .. }) => State::HalfClosed,
            (Some(State::HalfClosed), PortForwardEvent::Opened { .. }) if !serving => {
                State::HalfClosed
            }
            (
                Some(State::Open | State::HalfClosed),
                PortForwardEvent::Closed { .. } | PortForwardEvent::Failed { .. },
            ) => State::Ended,
            _ => panic!("{event:?} of a connection that is {state:?}"),
        };
        self.known.insert(connection, next);
        match (self.events.last_mut(), event) {
            (
                Some(PortForwardEvent::Data {
                    connection: last,
                    bytes: known,
                }),
                PortForwardEvent::Data { connection, bytes },
            ) if *last == connection => *known = [&known[..], &bytes].concat().into(),
            (_, event) => self.events.push(event),
        }
    }
}
