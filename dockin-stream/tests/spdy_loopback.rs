//! A client and a server of ours, joined in memory, over a wire that cuts bytes anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, StreamSet, Subprotocol, TerminalSize,
    spdy::{ExecClient, ExecServer},
};
use proptest::{collection::vec, prelude::*};

const ALL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// Pieces of one direction on their way.
#[derive(Default)]
struct Wire {
    bytes: BytesMut,
    arrived: BytesMut,
}

impl Wire {
    /// Moves at most `size` bytes into the buffer that the receiver reads.
    fn arrive(&mut self, size: usize) -> bool {
        let size = size.min(self.bytes.len());
        let piece = self.bytes.split_to(size);
        self.arrived.extend_from_slice(&piece);
        size > 0
    }
}

struct Session {
    client: ExecClient,
    server: ExecServer,
    up: Wire,
    down: Wire,
    at_client: Vec<Event>,
    at_server: Vec<Event>,
}

impl Session {
    fn new(subprotocol: Subprotocol, streams: StreamSet) -> Self {
        Self {
            client: ExecClient::new(subprotocol, streams),
            server: ExecServer::new(subprotocol, streams, Instant::now()),
            up: Wire::default(),
            down: Wire::default(),
            at_client: Vec::new(),
            at_server: Vec::new(),
        }
    }

    /// Moves up to `size` bytes each way; `false` when nothing moved.
    fn step(&mut self, size: usize) -> bool {
        let now = Instant::now();
        while let Some(bytes) = self.client.poll_transmit() {
            self.up.bytes.extend_from_slice(&bytes);
        }
        while let Some(bytes) = self.server.poll_transmit() {
            self.down.bytes.extend_from_slice(&bytes);
        }
        let mut moved = self.up.arrive(size);
        moved |= self.down.arrive(size);
        self.server.handle_input(now, &mut self.up.arrived).unwrap();
        self.client
            .handle_input(now, &mut self.down.arrived)
            .unwrap();
        self.at_client
            .extend(std::iter::from_fn(|| self.client.poll_event()));
        self.at_server
            .extend(std::iter::from_fn(|| self.server.poll_event()));
        moved
    }

    fn run(&mut self, sizes: &[usize]) {
        let mut sizes = sizes.iter().copied().cycle();
        while self.step(sizes.next().unwrap_or(usize::MAX)) {}
    }
}

/// Bytes of each kind in order, and everything else.
fn sorted(events: &[Event]) -> (Vec<u8>, Vec<u8>, Vec<u8>, Vec<Event>) {
    let mut sorted = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Stdin(bytes) => sorted.0.extend_from_slice(bytes),
            Event::Stdout(bytes) => sorted.1.extend_from_slice(bytes),
            Event::Stderr(bytes) => sorted.2.extend_from_slice(bytes),
            event => sorted.3.push(event.clone()),
        }
    }
    sorted
}

/// v4 carries the exit code, v2 and v3 a text, and v1 nothing: its error stream is reset before the
/// command begins, and failure and success look alike.
#[test]
fn a_failure_arrives_in_every_version_but_v1() {
    for subprotocol in Subprotocol::SPDY {
        let mut session = Session::new(subprotocol, ALL);
        session.run(&[]);
        session
            .server
            .send(Event::Stdout(Bytes::from_static(b"tail")));
        session.server.send(Event::Exit(ExitStatus::Exited(3)));
        session.run(&[]);
        let (_, out, _, rest) = sorted(&session.at_client);
        assert_eq!(out, b"tail", "{subprotocol:?}");
        let [Event::Exit(status)] = &rest[..] else {
            panic!("{subprotocol:?}: {rest:?}");
        };
        match subprotocol {
            Subprotocol::V4 => assert_eq!(*status, ExitStatus::Exited(3)),
            Subprotocol::V1 => assert_eq!(*status, ExitStatus::Exited(0)),
            _ => assert!(
                matches!(status, ExitStatus::Failed(failure) if failure.message.contains('3')),
                "{subprotocol:?}: {status:?}"
            ),
        }
    }
}

/// What v1 cannot tell it does not make up: a connection that breaks before the outputs have ended
/// is no success, with or without bytes on the error stream that is none.
#[test]
fn a_lost_connection_is_no_success_in_v1() {
    let mut session = Session::new(Subprotocol::V1, ALL);
    session.run(&[]);
    session
        .server
        .send(Event::Stdout(Bytes::from_static(b"half")));
    session.run(&[]);
    session.client.handle_eof(Instant::now()).unwrap();
    session
        .at_client
        .extend(std::iter::from_fn(|| session.client.poll_event()));
    let (_, out, _, rest) = sorted(&session.at_client);
    assert_eq!((&out[..], &rest[..]), (&b"half"[..], &[Event::Close][..]));
}

#[derive(Clone, Debug)]
enum Act {
    Client(Event),
    Server(Event),
    Move(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = || vec(any::<u8>(), 1..3000).prop_map(Bytes::from);
    prop_oneof![
        bytes().prop_map(|bytes| Act::Client(Event::Stdin(bytes))),
        bytes().prop_map(|bytes| Act::Server(Event::Stdout(bytes))),
        bytes().prop_map(|bytes| Act::Server(Event::Stderr(bytes))),
        (1..2000_usize).prop_map(Act::Move),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// All bytes arrive once and in order, and exactly one status behind them, whatever happens
    /// in which order and however the wire cuts it.
    #[test]
    fn every_byte_and_exactly_one_status_arrive(
        acts in vec(act(), 0..40),
        code in any::<u8>(),
        sizes in vec(1..500_usize, 1..20),
    ) {
        let mut session = Session::new(Subprotocol::V4, ALL);
        let (mut typed, mut printed, mut complained) = (Vec::new(), Vec::new(), Vec::new());
        for act in acts {
            match act {
                Act::Client(event) => {
                    if let Event::Stdin(bytes) = &event {
                        typed.extend_from_slice(bytes);
                    }
                    session.client.send(event);
                }
                Act::Server(event) => {
                    match &event {
                        Event::Stdout(bytes) => printed.extend_from_slice(bytes),
                        Event::Stderr(bytes) => complained.extend_from_slice(bytes),
                        _ => {}
                    }
                    session.server.send(event);
                }
                Act::Move(size) => {
                    session.step(size);
                }
            }
        }
        session.client.send(Event::HalfClose);
        session.run(&sizes);
        prop_assert!(session.server.is_ready());
        prop_assert!(session.client.is_ready());
        prop_assert_eq!(
            sorted(&session.at_server),
            (typed, Vec::new(), Vec::new(), vec![Event::HalfClose])
        );
        session.server.send(Event::Exit(ExitStatus::Exited(code)));
        session.run(&sizes);
        session.client.handle_eof(Instant::now()).unwrap();
        while let Some(event) = session.client.poll_event() {
            session.at_client.push(event);
        }
        let exit = Event::Exit(ExitStatus::Exited(code));
        prop_assert_eq!(session.at_client.iter().rev().nth(1), Some(&exit));
        prop_assert_eq!(
            sorted(&session.at_client),
            (Vec::new(), printed, complained, vec![exit, Event::Close])
        );
        prop_assert!(session.client.is_finished() && session.server.is_finished());
    }
}

#[test]
fn tail_and_status_arrive_while_stdin_is_still_coming() {
    let mut session = Session::new(Subprotocol::V4, ALL);
    session.run(&[]);
    let tail = vec![b'x'; 2 * 1024 * 1024];
    session.server.send(Event::Stdout(tail.clone().into()));
    session.server.send(Event::Exit(ExitStatus::Exited(3)));
    for _ in 0..10_000 {
        session
            .client
            .send(Event::Stdin(Bytes::from_static(&[0; 4096])));
        if !session.step(4096) || session.client.is_finished() {
            break;
        }
    }
    let (_, printed, _, rest) = sorted(&session.at_client);
    assert!(printed == tail);
    assert_eq!(rest, [Event::Exit(ExitStatus::Exited(3))]);
    assert!(session.at_server.is_empty());
}

#[test]
fn closing_stdin_does_not_cut_output() {
    for subprotocol in [Subprotocol::V4, Subprotocol::V3, Subprotocol::V2] {
        let mut session = Session::new(subprotocol, ALL);
        session.client.send(Event::HalfClose);
        session.run(&[]);
        assert_eq!(session.at_server, [Event::HalfClose]);
        session
            .server
            .send(Event::Stdout(Bytes::from_static(b"late")));
        session.run(&[]);
        session.server.send(Event::Exit(ExitStatus::Exited(0)));
        session.run(&[]);
        assert_eq!(
            session.at_client,
            [
                Event::Stdout(Bytes::from_static(b"late")),
                Event::Exit(ExitStatus::Exited(0))
            ]
        );
    }
}

#[test]
fn terminal_gets_its_sizes_in_order_with_what_is_typed() {
    let streams = StreamSet { tty: true, ..ALL };
    let mut session = Session::new(Subprotocol::V4, streams);
    let size = |width| Event::Resize(TerminalSize { width, height: 24 });
    session.run(&[]);
    for width in 1..100 {
        session.client.send(size(width));
        session.client.send(Event::Stdin(Bytes::from_static(b"k")));
    }
    session.run(&[7]);
    let (typed, _, _, sizes) = sorted(&session.at_server);
    assert_eq!(typed.len(), 99);
    assert_eq!(sizes, (1..100).map(size).collect::<Vec<_>>());
}

#[test]
fn failure_without_a_code_keeps_its_reason() {
    let mut session = Session::new(Subprotocol::V4, ALL);
    let status = ExitStatus::internal_error("no such container");
    session.server.send(Event::Exit(status.clone()));
    session.run(&[]);
    assert_eq!(session.at_client, [Event::Exit(status)]);
}

#[test]
fn server_that_loses_its_container_is_a_failure_for_the_client() {
    for subprotocol in [Subprotocol::V4, Subprotocol::V3, Subprotocol::V2] {
        let mut session = Session::new(subprotocol, ALL);
        session.run(&[]);
        session.server.send(Event::Close);
        session.run(&[]);
        assert!(matches!(
            &session.at_client[..],
            [Event::Exit(status)] if !status.is_success()
        ));
    }
}
