//! Both ends of exec over a WebSocket, joined in memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, TerminalSize,
    channel::{Client, Server},
};
use proptest::prelude::*;

const STREAMS: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TERMINAL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

/// Moves what one end has to say to the other in pieces of the given sizes, over and over.
fn carry(from: &mut impl Codec, to: &mut impl Codec, sizes: &[usize]) -> Vec<Event> {
    let now = Instant::now();
    let wire: Vec<u8> = std::iter::from_fn(|| from.poll_transmit())
        .flatten()
        .collect();
    let (mut rest, mut input) = (&wire[..], BytesMut::new());
    let mut events = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at((*size).min(rest.len()));
        rest = left;
        input.extend_from_slice(piece);
        to.handle_input(now, &mut input).unwrap();
        events.extend(std::iter::from_fn(|| to.poll_event()));
    }
    assert!(input.is_empty());
    events
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

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..50),
        1 => prop::collection::vec(any::<u8>(), 1000..1100),
        1 => (32_000_usize..100_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
    .prop_map(Bytes::from)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![3 => 1_usize..20, 1 => 100_usize..70_000], 1..8)
}

fn subprotocols() -> impl Strategy<Value = Subprotocol> {
    prop::sample::select(&Subprotocol::WEBSOCKET[..])
}

/// A client's and a server's turn.
#[derive(Clone, Debug)]
enum Turn {
    Client(Event),
    Server(Event),
    ClientKeepalive,
    ServerKeepalive,
}

fn turns(tty: bool) -> impl Strategy<Value = Vec<Turn>> {
    let resize = (any::<u16>(), any::<u16>())
        .prop_map(|(width, height)| Turn::Client(Event::Resize(TerminalSize { width, height })));
    let stderr = bytes().prop_map(move |bytes| {
        Turn::Server(if tty {
            Event::Stdout(bytes)
        } else {
            Event::Stderr(bytes)
        })
    });
    prop::collection::vec(
        prop_oneof![
            4 => bytes().prop_map(|bytes| Turn::Client(Event::Stdin(bytes))),
            4 => bytes().prop_map(|bytes| Turn::Server(Event::Stdout(bytes))),
            2 => stderr,
            1 => resize,
            1 => Just(Turn::ClientKeepalive),
            1 => Just(Turn::ServerKeepalive),
        ],
        0..20,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every byte arrives, in order; one status, behind the last output; ending input keeps it.
    #[test]
    fn session_arrives_whole(
        subprotocol in subprotocols(), tty: bool, turns in turns(true),
        half_close in any::<prop::sample::Index>(), code: u8, sizes in sizes(), seed: u64,
    ) {
        let streams = if tty { TERMINAL } else { STREAMS };
        let mut client = Client::new(subprotocol, streams, seed);
        let mut server = Server::new(subprotocol, streams);
        let half_close = half_close.index(turns.len() + 1);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        let mut stdin_open = true;
        for at in 0..=turns.len() {
            if at == half_close {
                client.send(Event::HalfClose);
                stdin_open = false;
                if subprotocol == Subprotocol::V5 {
                    to_server.push(Event::HalfClose);
                }
            }
            match turns.get(at) {
                Some(Turn::Client(event)) => {
                    client.send(event.clone());
                    if match event {
                        Event::Stdin(_) => stdin_open,
                        _ => tty,
                    } {
                        to_server.push(event.clone());
                    }
                }
                Some(Turn::Server(event)) => {
                    server.send(event.clone());
                    to_client.push(event.clone());
                }
                Some(Turn::ClientKeepalive) => client.send_keepalive(),
                Some(Turn::ServerKeepalive) => server.send_keepalive(),
                None => {}
            }
            if at % 3 == 0 {
                at_server.extend(carry(&mut client, &mut server, &sizes));
                at_client.extend(carry(&mut server, &mut client, &sizes));
            }
        }
        at_server.extend(carry(&mut client, &mut server, &sizes));
        let status = ExitStatus::Exited(code);
        server.send(Event::Exit(status.clone()));
        prop_assert!(server.is_finished());
        // Nothing follows the status.
        server.send(Event::Stdout(Bytes::from_static(b"late")));
        server.send(Event::Exit(ExitStatus::Exited(0)));
        at_client.extend(carry(&mut server, &mut client, &sizes));
        to_client.push(Event::Exit(if subprotocol.has_exit_code() {
            status
        } else {
            ExitStatus::parse_text(status.to_text().as_bytes())
        }));
        to_client.push(Event::Close);
        prop_assert!(client.is_finished());
        at_server.extend(carry(&mut client, &mut server, &sizes));
        to_server.push(Event::Close);
        prop_assert_eq!(joined(at_server), joined(to_server));
        prop_assert_eq!(joined(at_client), joined(to_client));
    }

    /// No bytes panic, and cutting them does not change what they mean.
    #[test]
    fn damaged_input_has_one_verdict(
        subprotocol in subprotocols(), tty: bool, server: bool, turns in turns(false),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        sizes in sizes(),
    ) {
        let streams = if tty { TERMINAL } else { STREAMS };
        let new_client = || Client::new(subprotocol, streams, 3);
        let new_server = || Server::new(subprotocol, streams);
        let (mut client_end, mut server_end) = (new_client(), new_server());
        for turn in turns {
            match turn {
                Turn::Client(event) => client_end.send(event),
                Turn::Server(event) => server_end.send(event),
                Turn::ClientKeepalive => client_end.send_keepalive(),
                Turn::ServerKeepalive => server_end.send_keepalive(),
            }
        }
        client_end.send(Event::HalfClose);
        server_end.send(Event::Exit(ExitStatus::Exited(9)));
        let mut wire: Vec<u8> = if server {
            std::iter::from_fn(|| client_end.poll_transmit()).flatten().collect()
        } else {
            std::iter::from_fn(|| server_end.poll_transmit()).flatten().collect()
        };
        for (at, byte) in damage {
            if !wire.is_empty() {
                let at = at.index(wire.len());
                wire[at] = byte;
            }
        }
        let (whole, cut) = if server {
            (verdict(new_server(), &wire, &[wire.len()]), verdict(new_server(), &wire, &sizes))
        } else {
            (verdict(new_client(), &wire, &[wire.len()]), verdict(new_client(), &wire, &sizes))
        };
        prop_assert_eq!(whole.0, cut.0);
        // The size in "too long" counts what has arrived.
        prop_assert_eq!(whole.1.is_some(), cut.1.is_some());
    }
}

fn verdict(
    mut codec: impl Codec,
    wire: &[u8],
    sizes: &[usize],
) -> (Vec<Event>, Option<ProtocolError>) {
    let now = Instant::now();
    let (mut rest, mut input) = (wire, BytesMut::new());
    let mut error = None;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at((*size).clamp(1, rest.len()));
        rest = left;
        input.extend_from_slice(piece);
        error = codec.handle_input(now, &mut input).err();
        if error.is_some() {
            break;
        }
    }
    if error.is_none() {
        error = codec.handle_eof(now).err();
    }
    assert!(codec.is_finished());
    while codec.poll_transmit().is_some() {}
    (joined(std::iter::from_fn(|| codec.poll_event())), error)
}
