//! Port forwarding over SPDY: many connections on one, each with a life of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dockin_stream::portforward::{Client, ForwardId, PortForwardEvent, Server};

use crate::{
    link::{Arrived, Link, Side, Weather, Written},
    random::Random,
    world::{beginning, for_seeds},
};

const PORT: NonZeroU16 = NonZeroU16::new(8080).unwrap();

/// A client and a server of port forwarding over one connection.
struct Session {
    now: Instant,
    link: Link,
    client: Client,
    server: Server,
    at_client: End,
    at_server: End,
}

/// One side's buffers, and what it heard of each connection.
#[derive(Default)]
struct End {
    output: BytesMut,
    input: BytesMut,
    opened: Vec<ForwardId>,
    data: BTreeMap<ForwardId, Vec<u8>>,
    half_closed: BTreeSet<ForwardId>,
    closed: BTreeSet<ForwardId>,
    failed: BTreeMap<ForwardId, String>,
}

impl End {
    fn hear(&mut self, event: PortForwardEvent) {
        match event {
            PortForwardEvent::Opened { connection, .. } => self.opened.push(connection),
            PortForwardEvent::Data { connection, bytes } => {
                assert!(!self.half_closed.contains(&connection), "data behind FIN");
                self.data.entry(connection).or_default().extend(bytes);
            }
            PortForwardEvent::HalfClosed { connection } => {
                assert!(self.half_closed.insert(connection), "two ends");
            }
            PortForwardEvent::Closed { connection } => {
                assert!(self.closed.insert(connection), "closed twice");
            }
            PortForwardEvent::Failed {
                connection,
                message,
            } => {
                assert!(self.failed.insert(connection, message).is_none());
            }
            event => panic!("{event:?} is no event of this test"),
        }
    }

    fn data(&self, connection: ForwardId) -> &[u8] {
        self.data.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// Writes what fits, reads what is there; whether anything moved.
    fn exchange(&mut self, side: Side, now: Instant, link: &mut Link) -> bool {
        let mut moved = false;
        if !self.output.is_empty()
            && let Written::Bytes(count) = link.write(side, now, &self.output)
        {
            let _written = self.output.split_to(count);
            moved = true;
        }
        if let Arrived::Bytes(bytes) = link.read(side, now, 4096) {
            self.input.extend_from_slice(&bytes);
            moved = true;
        }
        moved
    }
}

impl Session {
    fn new(random: &mut Random) -> Self {
        Self {
            now: beginning(),
            link: Link::new(Weather::random(random), random),
            client: Client::new(),
            server: Server::new(),
            at_client: End::default(),
            at_server: End::default(),
        }
    }

    /// One turn of both ends; `false` when nothing can happen any more.
    fn turn(&mut self) -> bool {
        // As much as a socket takes, so that connections take turns.
        while self.at_client.output.len() < 4096
            && let Some(bytes) = self.client.poll_transmit()
        {
            self.at_client.output.extend_from_slice(&bytes);
        }
        while self.at_server.output.len() < 4096
            && let Some(bytes) = self.server.poll_transmit()
        {
            self.at_server.output.extend_from_slice(&bytes);
        }
        let (now, link) = (self.now, &mut self.link);
        let moved = self.at_client.exchange(Side::Near, now, link)
            | self.at_server.exchange(Side::Far, now, link);
        self.client
            .handle_input(now, &mut self.at_client.input)
            .unwrap();
        self.server
            .handle_input(now, &mut self.at_server.input)
            .unwrap();
        while let Some(event) = self.client.poll_event() {
            self.at_client.hear(event);
        }
        while let Some(event) = self.server.poll_event() {
            self.at_server.hear(event);
        }
        if moved {
            return true;
        }
        match self.link.next_arrival(now) {
            Some(next) => self.now = next,
            None => return false,
        }
        true
    }

    fn settle(&mut self) {
        while self.turn() {}
    }

    /// A new connection, as the client and as the server call it.
    fn open(&mut self) -> (ForwardId, ForwardId) {
        let near = self.client.open(PORT).unwrap();
        let known = self.at_server.opened.len();
        self.settle();
        assert_eq!(self.at_server.opened.len(), known + 1);
        assert_eq!(self.at_client.opened.last(), Some(&near));
        (near, self.at_server.opened[known])
    }
}

/// T23: a connection that fails, and one that the client gives up, leave the others alone, in the
/// middle of everybody's bytes.
#[test]
fn reset_of_one_connection_leaves_the_others() {
    for_seeds(100, |random| {
        let mut session = Session::new(random);
        let connections: Vec<_> = (0..5).map(|_| session.open()).collect();
        let up: Vec<_> = (0..5).map(|_| random.bytes(6000)).collect();
        let down: Vec<_> = (0..5).map(|_| random.bytes(6000)).collect();
        let (failing, leaving) = (connections[0], connections[1]);
        let accident = random.below(20);
        for piece in 0..20 {
            let range = piece * 300..(piece + 1) * 300;
            for (index, (near, far)) in connections.iter().enumerate() {
                let copy = |bytes: &[u8]| Bytes::copy_from_slice(&bytes[range.clone()]);
                session.client.send(*near, copy(&up[index]));
                session.server.send(*far, copy(&down[index]));
            }
            if piece == accident {
                session.server.fail(failing.1, "connection refused");
                session.client.close(leaving.0);
            }
            session.turn();
        }
        for (near, far) in &connections[2..] {
            session.client.half_close(*near);
            session.server.half_close(*far);
        }
        session.settle();
        let message = session.at_client.failed.get(&failing.0);
        assert_eq!(message.map(String::as_str), Some("connection refused"));
        assert!(session.at_server.closed.contains(&leaving.1));
        for (index, (near, far)) in connections.iter().enumerate().skip(2) {
            assert!(session.at_server.data(*far) == up[index]);
            assert!(session.at_client.data(*near) == down[index]);
            assert!(session.at_client.closed.contains(near));
            assert!(session.at_server.closed.contains(far));
        }
    });
}

/// T24: containerd gives the second direction one second after the first has ended. Here an answer
/// may take its time.
#[test]
fn answer_arrives_long_after_the_client_has_ended_its_side() {
    for_seeds(100, |random| {
        let mut session = Session::new(random);
        let (near, far) = session.open();
        let answer = random.bytes(20_000);
        session.client.send(near, Bytes::from_static(b"question"));
        session.client.half_close(near);
        session.settle();
        assert_eq!(session.at_server.data(far), b"question");
        assert!(session.at_server.half_closed.contains(&far));
        assert!(session.at_client.closed.is_empty());
        session.now += Duration::from_secs(3600);
        session.server.send(far, answer.clone().into());
        session.server.half_close(far);
        session.settle();
        assert!(session.at_client.data(near) == answer);
        assert!(session.at_client.closed.contains(&near));
        assert!(session.at_server.closed.contains(&far));
        assert!(session.at_client.failed.is_empty());
    });
}

/// T25: a connection in bulk keeps neither another's bytes nor its failure waiting for its end.
#[test]
fn connection_in_bulk_holds_nobody_up() {
    for_seeds(40, |random| {
        let mut session = Session::new(random);
        let (bulk, failing, talking) = (session.open(), session.open(), session.open());
        let load = random.bytes(512 * 1024);
        session.server.send(bulk.1, load.clone().into());
        for _ in 0..5 {
            session.turn();
        }
        session.server.fail(failing.1, "connection refused");
        session.server.send(talking.1, Bytes::from_static(b"hello"));
        while session.at_client.failed.is_empty() || session.at_client.data(talking.0).is_empty() {
            assert!(session.turn(), "it never came");
        }
        let before = session.at_client.data(bulk.0).len();
        assert!(before < load.len() / 2, "{before} bytes came first");
        session.settle();
        assert!(session.at_client.data(bulk.0) == load);
    });
}

/// T26: a target that ends its side at once does not end a connection whose client speaks later.
#[test]
fn idle_connection_outlives_a_target_that_ends_its_side_at_once() {
    for_seeds(100, |random| {
        let mut session = Session::new(random);
        let (near, far) = session.open();
        session.server.half_close(far);
        session.settle();
        session.now += Duration::from_secs(3600);
        session.client.send_keepalive();
        session.client.send(near, Bytes::from_static(b"late"));
        session.client.half_close(near);
        session.settle();
        assert_eq!(session.at_server.data(far), b"late");
        assert!(session.at_client.closed.contains(&near));
        assert!(session.at_server.closed.contains(&far));
    });
}
