//! What holds for every codec of a session, whatever its protocol: about time, signs of life, ends,
//! and what is never shown.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and time has to start somewhere"
)]

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, Gate, OpenGate, Relay, StreamSet, Subprotocol, channel,
    docker::{self, InputEnd, Shape},
    entry::{self, Encoding, Identity},
    log::{self, LogSubprotocol},
    spdy,
    websocket::{self, Tunnel},
};

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

trait Shown: Codec + Debug {}
impl<C: Codec + Debug> Shown for C {}

/// Both ends of a connection.
struct Pair {
    name: String,
    client: Box<dyn Shown>,
    server: Box<dyn Shown>,
}

impl Pair {
    fn all() -> Vec<Self> {
        let now = Instant::now();
        let mut pairs = Vec::new();
        let mut add = |name: String, client: Box<dyn Shown>, server: Box<dyn Shown>| {
            pairs.push(Self {
                name,
                client,
                server,
            });
        };
        for subprotocol in Subprotocol::WEBSOCKET {
            add(
                format!("WebSocket {}", subprotocol.as_str()),
                Box::new(channel::Client::new(subprotocol, PIPES, 1)),
                Box::new(channel::Server::new(subprotocol, PIPES)),
            );
        }
        for subprotocol in Subprotocol::SPDY {
            add(
                format!("SPDY {}", subprotocol.as_str()),
                Box::new(spdy::ExecClient::new(subprotocol, PIPES)),
                Box::new(spdy::ExecServer::new(subprotocol, PIPES, now)),
            );
        }
        for shape in [Shape::Raw, Shape::Multiplexed] {
            let streams = StreamSet {
                tty: shape == Shape::Raw,
                ..PIPES
            };
            add(
                format!("docker {shape:?}"),
                Box::new(docker::Client::new(shape, streams, InputEnd::Shutdown)),
                Box::new(docker::Server::new(streams)),
            );
        }
        for subprotocol in [LogSubprotocol::Binary, LogSubprotocol::Base64] {
            add(
                format!("log {}", subprotocol.as_str()),
                Box::new(log::Client::new(subprotocol, 1)),
                Box::new(log::Server::new(subprotocol)),
            );
        }
        let identity = Identity {
            access_token: SECRET.to_owned(),
            ..Identity::default()
        };
        add(
            "entry protobuf".to_owned(),
            Box::new(entry::Client::native(PIPES, 1)),
            Box::new(entry::Server::new(Encoding::Protobuf, PIPES, now)),
        );
        add(
            "entry json".to_owned(),
            Box::new(entry::Client::web(&identity, PIPES, 1)),
            Box::new(entry::Server::new(Encoding::Json, PIPES, now)),
        );
        pairs
    }

    /// Carries what is queued, both ways, until nothing is; gives what either end heard.
    fn exchange(&mut self) -> (Vec<Event>, Vec<Event>) {
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        loop {
            let to_server = carry(&mut *self.client, &mut *self.server, &mut at_server);
            let to_client = carry(&mut *self.server, &mut *self.client, &mut at_client);
            if !to_server && !to_client {
                return (at_client, at_server);
            }
        }
    }
}

fn carry(from: &mut dyn Shown, to: &mut dyn Shown, heard: &mut Vec<Event>) -> bool {
    let wire: Vec<u8> = std::iter::from_fn(|| from.poll_transmit())
        .flatten()
        .collect();
    let mut input = BytesMut::from(&wire[..]);
    to.handle_input(Instant::now(), &mut input).unwrap();
    assert!(input.is_empty(), "whole frames are taken whole");
    heard.extend(std::iter::from_fn(|| to.poll_event()));
    !wire.is_empty()
}

/// Where nothing is due, time alone changes nothing.
#[test]
fn time_alone_changes_nothing_where_nothing_is_due() {
    for mut pair in Pair::all() {
        pair.exchange();
        let later = Instant::now() + Duration::from_secs(3600);
        for end in [&mut pair.client, &mut pair.server] {
            if end.poll_timeout().is_some() {
                continue;
            }
            assert_eq!(end.handle_timeout(later), Ok(()), "{}", pair.name);
            assert_eq!(end.poll_event(), None, "{}", pair.name);
            assert_eq!(end.poll_transmit(), None, "{}", pair.name);
            assert_eq!(end.poll_timeout(), None, "{}", pair.name);
        }
    }
}

/// A sign of life is no event, from neither end, and what is said goes on.
#[test]
fn signs_of_life_are_heard_by_nobody_and_harm_nothing() {
    for mut pair in Pair::all() {
        pair.exchange();
        assert!(
            pair.client.is_ready() && pair.server.is_ready(),
            "{}",
            pair.name
        );
        for _ in 0..3 {
            pair.client.send_keepalive();
            pair.server.send_keepalive();
            assert_eq!(pair.exchange(), (vec![], vec![]), "{}", pair.name);
        }
        let said = Event::Stdout(Bytes::from_static(b"still here"));
        pair.server.send(said.clone());
        assert_eq!(pair.exchange(), (vec![said], vec![]), "{}", pair.name);
    }
}

/// The end of the bytes is told once, without a status that nobody sent, however often it comes.
#[test]
fn the_end_of_the_bytes_is_told_once_and_is_no_status() {
    for mut pair in Pair::all() {
        pair.exchange();
        let now = Instant::now();
        for end in [&mut pair.client, &mut pair.server] {
            assert_eq!(end.handle_eof(now), Ok(()), "{}", pair.name);
            assert_eq!(end.handle_eof(now), Ok(()), "{}", pair.name);
            let events: Vec<Event> = std::iter::from_fn(|| end.poll_event()).collect();
            let ends = |event: &&Event| matches!(event, Event::Close | Event::HalfClose);
            assert_eq!(
                events.iter().filter(ends).count(),
                1,
                "{}: {events:?}",
                pair.name
            );
            assert_eq!(events.len(), 1, "{}: {events:?}", pair.name);
        }
    }
}

/// After our goodbye nothing is said and nothing more is heard of what comes, but the end.
#[test]
fn nothing_is_said_or_heard_behind_our_own_goodbye() {
    for mut pair in Pair::all() {
        pair.exchange();
        pair.server.send(Event::Exit(ExitStatus::Exited(0)));
        pair.server.send(Event::Close);
        assert!(pair.server.is_finished(), "{}", pair.name);
        pair.server.send(Event::Stdout(Bytes::from_static(b"late")));
        pair.server.send_keepalive();
        // The client has not heard it yet.
        for event in [Event::Stdin(Bytes::from_static(b"typed")), Event::HalfClose] {
            pair.client.send(event);
        }
        let mut at_server = Vec::new();
        carry(&mut *pair.client, &mut *pair.server, &mut at_server);
        assert_eq!(at_server, [], "{}", pair.name);
        let (at_client, _) = pair.exchange();
        let late = |event: &Event| matches!(event, Event::Stdout(_));
        assert!(!at_client.iter().any(late), "{}: {at_client:?}", pair.name);
    }
}

/// What somebody types or sees, or is let in with, is in no codec's debug text: not queued, not
/// received and not taken, not half received.
#[test]
fn debug_text_of_a_session_never_shows_its_content() {
    for mut pair in Pair::all() {
        pair.exchange();
        let now = Instant::now();
        let check = |end: &dyn Shown, when: &str| {
            let text = format!("{end:?}");
            assert!(!shows_secret(&text), "{} {when}: {text}", pair.name);
        };
        pair.client
            .send(Event::Stdin(Bytes::from_static(SECRET.as_bytes())));
        pair.server
            .send(Event::Stdout(Bytes::from_static(SECRET.as_bytes())));
        pair.server
            .send(Event::Stderr(Bytes::from_static(SECRET.as_bytes())));
        check(&*pair.client, "queued");
        check(&*pair.server, "queued");
        for to_server in [true, false] {
            let (from, to) = if to_server {
                (&mut pair.client, &mut pair.server)
            } else {
                (&mut pair.server, &mut pair.client)
            };
            let wire: Vec<u8> = std::iter::from_fn(|| from.poll_transmit())
                .flatten()
                .collect();
            let (most, last) = wire.split_at(wire.len().saturating_sub(1));
            let mut input = BytesMut::from(most);
            to.handle_input(now, &mut input).unwrap();
            check(&**to, "half received");
            input.extend_from_slice(last);
            to.handle_input(now, &mut input).unwrap();
            check(&**to, "received and not taken");
        }
    }
}

#[test]
fn debug_text_of_a_tunnel_never_shows_its_content_nor_of_masks_their_keys() {
    let secret = Bytes::from_static(SECRET.as_bytes());
    let mut sender = Tunnel::client(1);
    sender.send(secret.clone());
    assert!(!shows_secret(&format!("{sender:?}")));
    let mut receiver = Tunnel::server();
    let wire: Vec<u8> = std::iter::from_fn(|| sender.poll_transmit())
        .flatten()
        .collect();
    receiver
        .handle_input(&mut BytesMut::from(&wire[..]))
        .unwrap();
    assert!(!shows_secret(&format!("{receiver:?}")));
    assert_eq!(receiver.poll_bytes(), Some(secret));

    // The key of a frame that is not sent yet would let its payload be read.
    let keys = websocket::mask::MaskKeys::new(0x5ec2_e75e_c2e7);
    assert_eq!(format!("{keys:?}"), "MaskKeys { .. }");
}

/// A relay is in the middle of everything.
#[test]
fn debug_text_of_a_relay_never_shows_its_content() {
    let now = Instant::now();
    let secret = Bytes::from_static(SECRET.as_bytes());
    let mut relay = Relay::new(OpenGate::default());
    relay.handle_client(now, Event::Stdin(secret.clone()));
    relay.handle_container(now, Event::Stdout(secret.clone()));
    let text = format!("{relay:?}");
    assert!(!shows_secret(&text), "{text}");
    let mut gate = OpenGate::default();
    gate.handle_stdin(now, secret);
    assert_eq!(format!("{gate:?}"), "OpenGate { actions: 1, .. }");
}

/// A session ends in the middle of a frame: told as such by all that have frames.
#[test]
fn half_a_frame_at_the_end_is_never_taken_for_a_whole() {
    for mut pair in Pair::all() {
        pair.exchange();
        pair.server
            .send(Event::Stdout(Bytes::from_static(SECRET.as_bytes())));
        let wire: Vec<u8> = std::iter::from_fn(|| pair.server.poll_transmit())
            .flatten()
            .collect();
        let now = Instant::now();
        let mut input = BytesMut::from(&wire[..wire.len() - 1]);
        pair.client.handle_input(now, &mut input).unwrap();
        let ended = pair.client.handle_eof(now);
        let raw = pair.name == "docker Raw";
        assert_eq!(ended.is_err(), !raw, "{}", pair.name);
        let events: Vec<Event> = std::iter::from_fn(|| pair.client.poll_event()).collect();
        let status = |event: &Event| matches!(event, Event::Exit(_));
        assert!(!events.iter().any(status), "{}: {events:?}", pair.name);
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
