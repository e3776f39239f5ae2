//! What holds for every machine that reads a peer's bytes: no bytes panic, and how they are cut
//! changes neither the events nor the verdict.
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, ProtocolError, StreamSet, Subprotocol, TerminalSize, channel,
    portforward::{self, PortForwardEvent},
    spdy::{ExecClient, ExecServer},
    websocket::Tunnel,
};
use proptest::{collection::vec, prelude::*};

const ALL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// How bytes reach a reader: cut into pieces of these sizes, over and over.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![4 => 1..20_usize, 1 => 100..5000_usize], 1..10)
}

/// A few damaged places: where, and what stands there then.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
}

fn event() -> impl Strategy<Value = Event> {
    let bytes = || vec(any::<u8>(), 1..2000).prop_map(Bytes::from);
    prop_oneof![
        3 => bytes().prop_map(Event::Stdin),
        2 => bytes().prop_map(Event::Stdout),
        2 => bytes().prop_map(Event::Stderr),
        1 => (any::<u16>(), any::<u16>())
            .prop_map(|(width, height)| Event::Resize(TerminalSize { width, height })),
        1 => Just(Event::HalfClose),
        1 => any::<u8>().prop_map(|code| Event::Exit(ExitStatus::Exited(code))),
        1 => Just(Event::Close),
    ]
}

fn damaged(mut wire: Vec<u8>, damage: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    if !wire.is_empty() {
        for (place, byte) in damage {
            *place.get_mut(&mut wire) = *byte;
        }
    }
    wire
}

fn transmitted(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

/// Bytes of one kind behind each other are one event.
fn joined(events: Vec<Event>) -> Vec<Event> {
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

/// What a reader makes of `wire`, and of the end of the connection behind it.
fn verdict(
    mut reader: Box<dyn Codec>,
    wire: &[u8],
    cuts: &[usize],
) -> (Vec<Event>, Result<(), ProtocolError>) {
    let now = Instant::now();
    let (mut rest, mut input, mut result) = (wire, BytesMut::new(), Ok(()));
    let mut events = Vec::new();
    for size in cuts.iter().cycle() {
        if rest.is_empty() || result.is_err() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        rest = behind;
        input.extend_from_slice(piece);
        result = reader.handle_input(now, &mut input);
        events.extend(std::iter::from_fn(|| reader.poll_event()));
    }
    result = result.and_then(|()| reader.handle_eof(now));
    events.extend(std::iter::from_fn(|| reader.poll_event()));
    while reader.poll_transmit().is_some() {}
    (joined(events), result)
}

/// The same reader again and again.
type NewReader = Box<dyn Fn() -> Box<dyn Codec>>;

/// A machine that speaks and the one that reads it, both in the same protocol.
fn pair(which: usize) -> (Box<dyn Codec>, NewReader) {
    let now = Instant::now();
    match which {
        0 => (
            Box::new(ExecClient::new(Subprotocol::V4, ALL)),
            Box::new(move || Box::new(ExecServer::new(Subprotocol::V4, ALL, now))),
        ),
        1 => {
            let mut server = ExecServer::new(Subprotocol::V4, ALL, now);
            let mut client = ExecClient::new(Subprotocol::V4, ALL);
            let mut wire = BytesMut::from(&transmitted(&mut client)[..]);
            assert_eq!(server.handle_input(now, &mut wire), Ok(()));
            (
                Box::new(server),
                Box::new(|| Box::new(ExecClient::new(Subprotocol::V4, ALL))),
            )
        }
        2 => (
            Box::new(channel::Client::new(Subprotocol::V5, ALL, 7)),
            Box::new(|| Box::new(channel::Server::new(Subprotocol::V5, ALL))),
        ),
        _ => (
            Box::new(channel::Server::new(Subprotocol::V5, ALL)),
            Box::new(|| Box::new(channel::Client::new(Subprotocol::V5, ALL, 7))),
        ),
    }
}

/// What a port-forward server makes of `wire`: of each connection its bytes and how it ended.
fn forwarded(wire: &[u8], cuts: &[usize]) -> (Vec<PortForwardEvent>, Result<(), ProtocolError>) {
    let now = Instant::now();
    let mut server = portforward::Server::new();
    let (mut rest, mut input, mut result) = (wire, BytesMut::new(), Ok(()));
    let mut events: Vec<PortForwardEvent> = Vec::new();
    for size in cuts.iter().cycle() {
        if rest.is_empty() || result.is_err() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        rest = behind;
        input.extend_from_slice(piece);
        result = server.handle_input(now, &mut input);
        while let Some(event) = server.poll_event() {
            match (events.last_mut(), event) {
                (
                    Some(PortForwardEvent::Data {
                        connection: last,
                        bytes,
                    }),
                    PortForwardEvent::Data {
                        connection,
                        bytes: next,
                    },
                ) if *last == connection => *bytes = [&bytes[..], &next[..]].concat().into(),
                (_, event) => events.push(event),
            }
        }
    }
    result = result.and_then(|()| server.handle_eof(now));
    events.extend(std::iter::from_fn(|| server.poll_event()));
    (events, result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Cutting a session's bytes anywhere, damaged or not, changes neither events nor verdict.
    #[test]
    fn cuts_change_no_session(
        which in 0..4_usize,
        said in vec(event(), 0..12),
        damage in damage(),
        cuts in cuts(),
    ) {
        let (mut speaker, reader) = pair(which);
        let mut wire = transmitted(&mut speaker);
        for event in said {
            speaker.send(event);
            wire.extend(transmitted(&mut speaker));
        }
        let wire = damaged(wire, &damage);
        let whole = verdict(reader(), &wire, &[usize::MAX]);
        let cut = verdict(reader(), &wire, &cuts);
        prop_assert_eq!(whole, cut);
    }

    /// No bytes panic, and no bytes end a session in success.
    #[test]
    fn random_bytes_are_no_success(
        which in 0..4_usize,
        wire in vec(any::<u8>(), 0..300),
        cuts in cuts(),
    ) {
        let (_, reader) = pair(which);
        let (events, _) = verdict(reader(), &wire, &cuts);
        let success = Event::Exit(ExitStatus::Exited(0));
        prop_assert!(!events.contains(&success), "{events:?}");
    }

    /// The same for port forwarding: cuts change neither the connections' bytes nor the verdict.
    #[test]
    fn cuts_change_no_forwarding(
        bodies in vec(vec(any::<u8>(), 1..3000), 0..5),
        damage in damage(),
        cuts in cuts(),
    ) {
        let now = Instant::now();
        let (mut client, mut server) = (portforward::Client::new(), portforward::Server::new());
        let mut wire = Vec::new();
        let take = |client: &mut portforward::Client, wire: &mut Vec<u8>| {
            let bytes: Vec<u8> = std::iter::from_fn(|| client.poll_transmit()).flatten().collect();
            wire.extend_from_slice(&bytes);
            BytesMut::from(&bytes[..])
        };
        for body in bodies {
            let port = std::num::NonZeroU16::MIN;
            let connection = client.open(port);
            prop_assert!(connection.is_some());
            // The server has to accept before bytes flow.
            server.handle_input(now, &mut take(&mut client, &mut wire)).ok();
            let mut answer: BytesMut = std::iter::from_fn(|| server.poll_transmit()).flatten().collect();
            client.handle_input(now, &mut answer).ok();
            if let Some(connection) = connection {
                client.send(connection, body.clone().into());
                client.half_close(connection);
            }
            server.handle_input(now, &mut take(&mut client, &mut wire)).ok();
        }
        let wire = damaged(wire, &damage);
        prop_assert_eq!(forwarded(&wire, &[usize::MAX]), forwarded(&wire, &cuts));
    }

    /// A tunnel's bytes come out as they went in, whatever the messages and the cuts.
    #[test]
    fn tunnel_carries_bytes_as_they_are(
        pieces in vec(vec(any::<u8>(), 0..3000), 0..8),
        cuts in cuts(),
        from_client: bool,
        seed: u64,
    ) {
        let (mut from, mut to) = if from_client {
            (Tunnel::client(seed), Tunnel::server())
        } else {
            (Tunnel::server(), Tunnel::client(seed))
        };
        for piece in &pieces {
            from.send(piece.clone().into());
            from.send_keepalive();
        }
        from.finish();
        let wire: Vec<u8> = std::iter::from_fn(|| from.poll_transmit()).flatten().collect();
        let (mut rest, mut input, mut arrived) = (&wire[..], BytesMut::new(), Vec::new());
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            rest = behind;
            input.extend_from_slice(piece);
            prop_assert_eq!(to.handle_input(&mut input), Ok(()));
            arrived.extend(std::iter::from_fn(|| to.poll_bytes()).flatten());
        }
        prop_assert_eq!(arrived, pieces.concat());
        prop_assert!(to.is_eof() && to.is_finished());
    }
}
