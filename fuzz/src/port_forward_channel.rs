use std::{collections::BTreeMap, num::NonZeroU16, time::Instant};

use bytes::BytesMut;
use dockin_stream::{
    ProtocolError, Subprotocol,
    portforward::{
        ForwardId, PortForwardEvent,
        channel::{Client, SUBPROTOCOLS, Server},
    },
    websocket::Role,
};

use crate::{cut::pieces, script::Script, websocket_frame::decode};

/// Port forwarding over numbered channels: how to cut, role and subprotocol, how many ports, then
/// the peer's bytes.
///
/// What happens does not depend on the cut, every port has its events in order and one end, and
/// everything that is answered is well-formed.
///
/// # Panics
///
/// A law is broken.
pub fn port_forward_channel(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let ports: Vec<NonZeroU16> = (8080..)
        .take(1 + usize::from(script.byte() % 4))
        .filter_map(NonZeroU16::new)
        .collect();
    let bytes = script.rest();
    let subprotocol = SUBPROTOCOLS[usize::from(choice >> 1) % SUBPROTOCOLS.len()];
    let run = |cut: &mut dyn Iterator<Item = &[u8]>, answering| {
        if choice & 1 == 0 {
            serve(subprotocol, &ports, cut, answering)
        } else {
            ask(subprotocol, &ports, cut, answering)
        }
    };
    let whole = run(&mut std::iter::once(bytes), false);
    assert_eq!(
        run(&mut pieces(bytes, seed), false),
        whole,
        "depends on the cut"
    );
    drop(run(&mut pieces(bytes, seed), true));
}

type Happened = (Vec<PortForwardEvent>, Result<(), ProtocolError>);

fn serve(
    subprotocol: Subprotocol,
    ports: &[NonZeroU16],
    pieces: &mut dyn Iterator<Item = &[u8]>,
    answering: bool,
) -> Happened {
    let now = Instant::now();
    let mut server = Server::new(subprotocol, ports).expect("there are channels for 4 ports");
    let mut log = Log::default();
    let mut wire = Vec::new();
    let mut input = BytesMut::new();
    let mut result = Ok(());
    for piece in pieces {
        input.extend_from_slice(piece);
        result = server.handle_input(now, &mut input);
        while let Some(event) = server.poll_event() {
            if answering && let PortForwardEvent::Data { connection, bytes } = &event {
                match bytes.len() % 5 {
                    0 => {
                        server.fail(*connection, "refused");
                        log.ended_by_us(*connection);
                    }
                    1 => server.half_close(*connection),
                    2 => {
                        server.close(*connection);
                        log.ended_by_us(*connection);
                    }
                    _ => server.send(*connection, bytes.clone()),
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
        result = server.handle_eof(now);
    }
    while let Some(event) = server.poll_event() {
        log.push(event, true);
    }
    if result.is_ok() {
        log.check_all_ended();
    }
    server.send_keepalive();
    server.go_away();
    while let Some(bytes) = server.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    check_answer(Role::Client, &wire);
    (log.events, result)
}

fn ask(
    subprotocol: Subprotocol,
    ports: &[NonZeroU16],
    pieces: &mut dyn Iterator<Item = &[u8]>,
    answering: bool,
) -> Happened {
    let now = Instant::now();
    let mut client = Client::new(subprotocol, ports, 7).expect("there are channels for 4 ports");
    let mut log = Log::default();
    for (connection, _) in client.connections() {
        log.known.insert(connection, State::Asked);
    }
    let mut wire = Vec::new();
    let mut input = BytesMut::new();
    let mut result = Ok(());
    for piece in pieces {
        input.extend_from_slice(piece);
        result = client.handle_input(now, &mut input);
        while let Some(event) = client.poll_event() {
            if answering && let PortForwardEvent::Data { connection, bytes } = &event {
                match bytes.len() % 5 {
                    0 => {
                        client.close(*connection);
                        log.ended_by_us(*connection);
                    }
                    1 => client.half_close(*connection),
                    _ => client.send(*connection, bytes.clone()),
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
    }
    while let Some(event) = client.poll_event() {
        log.push(event, false);
    }
    if result.is_ok() {
        log.check_all_ended();
    }
    client.send_keepalive();
    client.go_away();
    while let Some(bytes) = client.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    check_answer(Role::Server, &wire);
    (log.events, result)
}

fn check_answer(reader: Role, wire: &[u8]) {
    let answered = decode(reader, [wire]);
    assert!(
        answered.is_clean() && answered.is_closed(),
        "malformed answer"
    );
}

/// The events of a session, with the law that each port keeps.
#[derive(Default)]
struct Log {
    /// Bytes of one port that follow one another are one.
    events: Vec<PortForwardEvent>,
    known: BTreeMap<ForwardId, State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// As client: not announced yet.
    Asked,
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
            (Some(State::Asked), PortForwardEvent::Opened { .. }) => State::Open,
            (Some(State::Open), PortForwardEvent::Data { bytes, .. }) if !bytes.is_empty() => {
                State::Open
            }
            (Some(State::Asked | State::Open), PortForwardEvent::HalfClosed { .. }) => {
                State::HalfClosed
            }
            (Some(State::Asked | State::Open), PortForwardEvent::Failed { .. }) if !serving => {
                State::Ended
            }
            (
                Some(State::Asked | State::Open | State::HalfClosed),
                PortForwardEvent::Closed { .. },
            ) => State::Ended,
            _ => panic!("{event:?} of a port that is {state:?}"),
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
