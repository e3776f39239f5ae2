//! What holds for every codec of port forwarding, whatever its protocol.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and time has to start somewhere"
)]

use std::{
    fmt::Debug,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dockin_stream::portforward::{
    self, ForwardId, PortForwardCodec, PortForwardEvent, Tunnelled,
    channel::{self, SUBPROTOCOLS},
};

trait Shown: PortForwardCodec + Debug {}
impl<P: PortForwardCodec + Debug> Shown for P {}

/// Both ends of a session with one connection.
struct Pair {
    name: String,
    client: Box<dyn Shown>,
    server: Box<dyn Shown>,
    /// The connection, at the client and at the server.
    near: ForwardId,
    far: ForwardId,
}

const PORT: NonZeroU16 = NonZeroU16::new(8080).unwrap();

impl Pair {
    fn all() -> Vec<Self> {
        let mut pairs = vec![
            Self::new(
                "SPDY".to_owned(),
                Box::new(portforward::Client::default()),
                Box::new(portforward::Server::default()),
            ),
            Self::new(
                "tunnel".to_owned(),
                Box::new(Tunnelled::client(1)),
                Box::new(Tunnelled::server()),
            ),
        ];
        for subprotocol in SUBPROTOCOLS {
            pairs.push(Self::new(
                format!("channels, {}", subprotocol.as_str()),
                Box::new(channel::Client::new(subprotocol, &[PORT], 1).unwrap()),
                Box::new(channel::Server::new(subprotocol, &[PORT]).unwrap()),
            ));
        }
        pairs
    }

    fn new(name: String, mut client: Box<dyn Shown>, mut server: Box<dyn Shown>) -> Self {
        // A server does not dial, and numbered channels are open from the start.
        assert_eq!(server.open(PORT), None, "{name}");
        let opened = client.open(PORT);
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        exchange(&mut *client, &mut *server, &mut at_client, &mut at_server);
        let id = |events: &[PortForwardEvent]| match events {
            [PortForwardEvent::Opened { connection, port }] if *port == PORT => *connection,
            events => panic!("{name}: {events:?}"),
        };
        let (near, far) = (id(&at_client), id(&at_server));
        assert!(opened.is_none_or(|opened| opened == near), "{name}");
        Self {
            name,
            client,
            server,
            near,
            far,
        }
    }

    /// Carries all that is queued; gives what the client heard, and the server.
    fn exchange(&mut self) -> (Vec<PortForwardEvent>, Vec<PortForwardEvent>) {
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        exchange(
            &mut *self.client,
            &mut *self.server,
            &mut at_client,
            &mut at_server,
        );
        (at_client, at_server)
    }
}

fn wire(codec: &mut dyn Shown) -> BytesMut {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

fn exchange(
    client: &mut dyn Shown,
    server: &mut dyn Shown,
    at_client: &mut Vec<PortForwardEvent>,
    at_server: &mut Vec<PortForwardEvent>,
) {
    let now = Instant::now();
    loop {
        let (mut up, mut down) = (wire(client), wire(server));
        if up.is_empty() && down.is_empty() {
            return;
        }
        server.handle_input(now, &mut up).unwrap();
        client.handle_input(now, &mut down).unwrap();
        at_client.extend(std::iter::from_fn(|| client.poll_event()));
        at_server.extend(std::iter::from_fn(|| server.poll_event()));
    }
}

fn data(connection: ForwardId, bytes: &'static [u8]) -> PortForwardEvent {
    PortForwardEvent::Data {
        connection,
        bytes: Bytes::from_static(bytes),
    }
}

#[test]
fn time_alone_changes_nothing_where_nothing_is_due() {
    for mut pair in Pair::all() {
        let later = Instant::now() + Duration::from_secs(3600);
        for end in [&mut pair.client, &mut pair.server] {
            assert_eq!(end.poll_timeout(), None, "{}", pair.name);
            assert_eq!(end.handle_timeout(later), Ok(()), "{}", pair.name);
            assert_eq!(end.poll_transmit(), None, "{}", pair.name);
        }
        assert_eq!(pair.exchange(), (vec![], vec![]), "{}", pair.name);
    }
}

#[test]
fn signs_of_life_are_heard_by_nobody_and_harm_nothing() {
    for mut pair in Pair::all() {
        pair.client.send_keepalive();
        pair.server.send_keepalive();
        assert_eq!(pair.exchange(), (vec![], vec![]), "{}", pair.name);
        pair.client.send(pair.near, Bytes::from_static(b"request"));
        pair.server.send(pair.far, Bytes::from_static(b"answer"));
        assert_eq!(
            pair.exchange(),
            (
                vec![data(pair.near, b"answer")],
                vec![data(pair.far, b"request")]
            ),
            "{}",
            pair.name
        );
    }
}

/// The end of the wire is told once for each connection, however often it comes.
#[test]
fn the_end_of_the_wire_closes_each_connection_once() {
    let now = Instant::now();
    for mut pair in Pair::all() {
        for (end, connection) in [(&mut pair.client, pair.near), (&mut pair.server, pair.far)] {
            assert_eq!(end.handle_eof(now), Ok(()), "{}", pair.name);
            assert_eq!(end.handle_eof(now), Ok(()), "{}", pair.name);
            let events: Vec<PortForwardEvent> = std::iter::from_fn(|| end.poll_event()).collect();
            assert_eq!(
                events,
                [PortForwardEvent::Closed { connection }],
                "{}",
                pair.name
            );
        }
    }
}

/// A server's failure arrives with its words, behind what was said before it.
#[test]
fn a_servers_failure_arrives_behind_what_it_said() {
    for (given, arrives) in [
        ("connection refused", "connection refused"),
        // Nothing would mean success.
        ("", "port forwarding failed"),
    ] {
        for mut pair in Pair::all() {
            pair.server.send(pair.far, Bytes::from_static(b"half"));
            pair.server.fail(pair.far, given);
            // Once is enough, and what follows concerns nobody.
            pair.server.fail(pair.far, "again");
            pair.server.send(pair.far, Bytes::from_static(b"late"));
            let (at_client, _) = pair.exchange();
            let failed = PortForwardEvent::Failed {
                connection: pair.near,
                message: arrives.to_owned(),
            };
            assert_eq!(
                at_client,
                [data(pair.near, b"half"), failed],
                "{}",
                pair.name
            );
        }
    }
}

/// A client has no words for its failure: the connection is broken off, and where the protocol can
/// say so, the server hears it.
#[test]
fn a_clients_failure_breaks_its_connection_off() {
    for mut pair in Pair::all() {
        pair.client.send(pair.near, Bytes::from_static(b"waits"));
        pair.client.fail(pair.near, "the program crashed");
        assert_eq!(pair.client.queued(pair.near), 0, "{}", pair.name);
        let (at_client, at_server) = pair.exchange();
        assert_eq!(at_client, [], "{}", pair.name);
        let connection = pair.far;
        assert_eq!(
            at_server,
            [PortForwardEvent::Closed { connection }],
            "{}",
            pair.name
        );
        // What the server still says concerns nobody.
        pair.server.send(pair.far, Bytes::from_static(b"late"));
        assert_eq!(pair.exchange(), (vec![], vec![]), "{}", pair.name);
    }
}

/// A server that breaks a connection off says no word of its own, and nobody takes the rest of it
/// for the whole, where the protocol can tell.
#[test]
fn a_server_that_breaks_a_connection_off_drops_what_waits() {
    for mut pair in Pair::all() {
        pair.server.send(pair.far, Bytes::from_static(b"waits"));
        pair.server.close(pair.far);
        let (at_client, at_server) = pair.exchange();
        let connection = pair.near;
        let closed = PortForwardEvent::Closed { connection };
        // One Close frame for all ports: it stays a clean one for those that ended well.
        let expected = if pair.name.starts_with("channels") {
            vec![PortForwardEvent::HalfClosed { connection }, closed]
        } else {
            vec![closed]
        };
        assert_eq!(at_client, expected, "{}", pair.name);
        assert_eq!(at_server, [], "{}", pair.name);
    }
}

/// What passes is in no codec's debug text: not queued, not received, not half received.
#[test]
fn debug_text_of_a_session_never_shows_its_traffic() {
    let now = Instant::now();
    for mut pair in Pair::all() {
        let secret = Bytes::from_static(SECRET.as_bytes());
        let check = |end: &dyn Shown, when: &str| {
            let text = format!("{end:?}");
            assert!(!shows_secret(&text), "{} {when}: {text}", pair.name);
        };
        pair.client.send(pair.near, secret.clone());
        check(&*pair.client, "queued");
        let mut most = wire(&mut *pair.client);
        let mut last = most.split_off(most.len() - 1);
        pair.server.handle_input(now, &mut most).unwrap();
        check(&*pair.server, "half received");
        most.unsplit(last.split());
        pair.server.handle_input(now, &mut most).unwrap();
        check(&*pair.server, "received");
        let received: Vec<u8> = std::iter::from_fn(|| pair.server.poll_event())
            .filter_map(|event| match event {
                PortForwardEvent::Data { bytes, .. } => Some(bytes),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(received, SECRET.as_bytes(), "{}", pair.name);
    }
}

/// In the clear, as a list of numbers, or as it travels in text messages.
fn shows_secret(text: &str) -> bool {
    let numbers = SECRET.bytes().map(|byte| byte.to_string());
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    text.contains(SECRET) || text.contains(&numbers) || text.contains(SECRET_BASE64)
}

const SECRET: &str = "correct horse battery";
const SECRET_BASE64: &str = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5";
