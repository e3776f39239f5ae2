#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "time has to start somewhere")]

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{Connection, ConnectionEvent, Role};
use crate::spdy::{
    Frame, FrameDecoder, FrameEncoder, FrameError, GoAwayStatus, Headers, RstStatus, StreamId,
};

/// A peer that says whatever a test wants.
#[derive(Default)]
struct Peer {
    encoder: FrameEncoder,
    decoder: FrameDecoder,
}

impl Peer {
    fn say(&mut self, connection: &mut Connection, frames: &[Frame]) -> Result<(), FrameError> {
        let mut bytes = BytesMut::new();
        for frame in frames {
            self.encoder.encode(frame, &mut bytes);
        }
        connection.handle_input(Instant::now(), &mut bytes)
    }

    fn hear(&mut self, connection: &mut Connection) -> Vec<Frame> {
        let mut bytes = BytesMut::new();
        while let Some(part) = connection.poll_transmit() {
            bytes.extend_from_slice(&part);
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.decode(&mut bytes).unwrap() {
            frames.push(frame);
        }
        assert!(bytes.is_empty());
        frames
    }
}

fn id(value: u32) -> StreamId {
    StreamId::new(value).unwrap()
}

fn syn(stream: u32) -> Frame {
    Frame::SynStream {
        stream: id(stream),
        associated: 0,
        priority: 0,
        slot: 0,
        fin: false,
        unidirectional: false,
        headers: Headers::new().with("streamtype", b"stdin"),
    }
}

fn reply(stream: u32) -> Frame {
    Frame::SynReply {
        stream: id(stream),
        fin: false,
        headers: Headers::new(),
    }
}

fn data(stream: u32, bytes: &'static [u8], fin: bool) -> Frame {
    Frame::Data {
        stream: id(stream),
        bytes: Bytes::from_static(bytes),
        fin,
    }
}

fn rst(stream: u32, status: RstStatus) -> Frame {
    Frame::RstStream {
        stream: id(stream),
        status,
    }
}

fn events(connection: &mut Connection) -> Vec<ConnectionEvent> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

fn data_event(stream: u32, bytes: &'static [u8]) -> ConnectionEvent {
    ConnectionEvent::Data {
        stream: id(stream),
        bytes: Bytes::from_static(bytes),
    }
}

#[test]
fn data_before_our_reply_is_kept() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    peer.say(&mut server, &[syn(1), data(1, b"early", true)])
        .unwrap();
    let events = events(&mut server);
    assert_eq!(events[1], data_event(1, b"early"));
    assert_eq!(events[2], ConnectionEvent::HalfClosed { stream: id(1) });
    server.reply(id(1));
    server.send(id(1), Bytes::from_static(b"late"));
    assert_eq!(peer.hear(&mut server), [reply(1), data(1, b"late", false)]);
}

#[test]
fn data_and_resets_behind_a_goaway_are_kept() {
    let (mut peer, mut client) = (Peer::default(), Connection::new(Role::Client, 0));
    client.open(Headers::new()).unwrap();
    let goaway = Frame::GoAway {
        last_stream: 1,
        status: GoAwayStatus::OK,
    };
    peer.say(
        &mut client,
        &[
            reply(1),
            goaway,
            data(1, b"x", false),
            rst(1, RstStatus::CANCEL),
        ],
    )
    .unwrap();
    assert_eq!(
        events(&mut client)[1..],
        [
            ConnectionEvent::GoAway {
                status: GoAwayStatus::OK
            },
            data_event(1, b"x"),
            ConnectionEvent::Reset {
                stream: id(1),
                status: RstStatus::CANCEL
            },
        ]
    );
}

#[test]
fn bytes_wait_for_the_reply_because_go_servers_drop_them() {
    let (mut peer, mut client) = (Peer::default(), Connection::new(Role::Client, 0));
    let stream = client.open(Headers::new()).unwrap();
    client.send(stream, Bytes::from_static(b"a"));
    client.finish(stream);
    client.send(stream, Bytes::from_static(b"behind the end"));
    assert_eq!(peer.hear(&mut client).len(), 1);
    assert!(!client.is_settled(stream));
    peer.say(&mut client, &[reply(1)]).unwrap();
    assert!(client.is_settled(stream));
    assert_eq!(
        peer.hear(&mut client),
        [data(1, b"a", false), data(1, b"", true)]
    );
}

#[test]
fn server_sends_nothing_before_the_clients_first_frame() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    server.ping();
    assert_eq!(server.poll_transmit(), None);
    assert!(!server.has_transmit());
    peer.say(&mut server, &[Frame::Ping { id: 1 }]).unwrap();
    server.ping();
    assert_eq!(
        peer.hear(&mut server),
        [Frame::Ping { id: 1 }, Frame::Ping { id: 2 }]
    );
}

#[test]
fn echo_of_our_ping_is_a_pong_and_is_not_echoed() {
    let (mut peer, mut client) = (Peer::default(), Connection::new(Role::Client, 0));
    client.ping();
    client.ping();
    assert_eq!(
        peer.hear(&mut client),
        [Frame::Ping { id: 1 }, Frame::Ping { id: 3 }]
    );
    peer.say(&mut client, &[Frame::Ping { id: 1 }]).unwrap();
    assert_eq!(events(&mut client), [ConnectionEvent::Pong]);
    assert_eq!(peer.hear(&mut client), []);
}

#[test]
fn ping_flood_ends_the_connection() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    let start = Instant::now();
    for tick in 0..1000_u64 {
        let mut bytes = BytesMut::new();
        peer.encoder.encode(&Frame::Ping { id: 1 }, &mut bytes);
        let now = start + Duration::from_millis(tick * 20);
        server.handle_input(now, &mut bytes).unwrap();
    }
    peer.hear(&mut server);
    let flood = vec![Frame::Ping { id: 1 }; 200];
    assert_eq!(
        peer.say(&mut server, &flood),
        Err(FrameError::PingFlood { max: 100 })
    );
    assert_eq!(
        peer.hear(&mut server).last(),
        Some(&Frame::GoAway {
            last_stream: 0,
            status: GoAwayStatus::PROTOCOL_ERROR
        })
    );
}

#[test]
fn each_direction_ends_for_itself() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    peer.say(&mut server, &[syn(1)]).unwrap();
    server.reply(id(1));
    server.finish(id(1));
    server.finish(id(1));
    assert!(server.is_open(id(1)));
    peer.say(&mut server, &[data(1, b"still", false), data(1, b"", true)])
        .unwrap();
    assert!(!server.is_open(id(1)));
    assert_eq!(
        events(&mut server)[1..],
        [
            data_event(1, b"still"),
            ConnectionEvent::HalfClosed { stream: id(1) }
        ]
    );
    assert_eq!(peer.hear(&mut server), [reply(1), data(1, b"", true)]);
}

#[test]
fn go_writing_after_its_own_fin_is_tolerated() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    peer.say(
        &mut server,
        &[syn(1), data(1, b"", true), data(1, b"late", false)],
    )
    .unwrap();
    assert_eq!(events(&mut server).len(), 2);
}

#[test]
fn streams_over_the_limit_are_refused_alone() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 2));
    peer.say(&mut server, &[syn(1), syn(3), syn(5), data(5, b"x", false)])
        .unwrap();
    assert_eq!(peer.hear(&mut server), [rst(5, RstStatus::REFUSED_STREAM)]);
    server.reset(id(1), RstStatus::CANCEL);
    peer.say(&mut server, &[syn(7)]).unwrap();
    assert!(server.is_open(id(7)));
}

#[test]
fn order_of_streams_is_checked() {
    for (frames, error) in [
        (
            vec![syn(3), syn(1)],
            FrameError::StreamOrder { stream: 1, last: 3 },
        ),
        (
            vec![syn(1), syn(1)],
            FrameError::StreamOrder { stream: 1, last: 1 },
        ),
        (vec![syn(2)], FrameError::StreamParity { stream: 2 }),
        (vec![reply(1)], FrameError::StreamParity { stream: 1 }),
        (vec![reply(2)], FrameError::UnknownStream { stream: 2 }),
        (
            vec![data(1, b"x", false)],
            FrameError::UnknownStream { stream: 1 },
        ),
        (
            vec![rst(1, RstStatus::CANCEL)],
            FrameError::UnknownStream { stream: 1 },
        ),
    ] {
        let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
        assert_eq!(peer.say(&mut server, &frames), Err(error));
    }
    let (mut peer, mut client) = (Peer::default(), Connection::new(Role::Client, 0));
    client.open(Headers::new()).unwrap();
    assert_eq!(
        peer.say(&mut client, &[reply(1), reply(1)]),
        Err(FrameError::SecondReply { stream: 1 })
    );
}

#[test]
fn reset_may_come_before_the_reply() {
    let (mut peer, mut client) = (Peer::default(), Connection::new(Role::Client, 0));
    let stream = client.open(Headers::new()).unwrap();
    client.send(stream, Bytes::from_static(b"lost"));
    peer.say(&mut client, &[rst(1, RstStatus::CANCEL), reply(1)])
        .unwrap();
    assert_eq!(
        events(&mut client),
        [ConnectionEvent::Reset {
            stream,
            status: RstStatus::CANCEL
        }]
    );
    assert_eq!(peer.hear(&mut client).len(), 1);
}

#[test]
fn nothing_is_opened_behind_our_goaway() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    peer.say(&mut server, &[syn(1)]).unwrap();
    server.go_away(GoAwayStatus::OK);
    server.go_away(GoAwayStatus::INTERNAL_ERROR);
    assert_eq!(server.open(Headers::new()), None);
    peer.say(&mut server, &[syn(3), data(3, b"x", false)])
        .unwrap();
    assert_eq!(events(&mut server).len(), 1);
    assert_eq!(
        peer.hear(&mut server),
        [Frame::GoAway {
            last_stream: 1,
            status: GoAwayStatus::OK
        }]
    );
}

#[test]
fn large_payloads_are_not_copied_and_small_ones_share_a_buffer() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    peer.say(&mut server, &[syn(1)]).unwrap();
    server.reply(id(1));
    let large = Bytes::from(vec![1; 1025]);
    server.send(id(1), Bytes::from_static(b"small"));
    server.send(id(1), large.clone());
    server.send(id(1), Bytes::from_static(b"small"));
    server.finish(id(1));
    let parts: Vec<Bytes> = std::iter::from_fn(|| server.poll_transmit()).collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[1].as_ptr(), large.as_ptr());
    assert_eq!(parts[2].len(), 8 + 5 + 8);
}

#[test]
fn peer_without_flow_control_and_peer_with_it_are_the_same() {
    let (mut peer, mut server) = (Peer::default(), Connection::new(Role::Server, 8));
    peer.say(
        &mut server,
        &[
            syn(1),
            Frame::Settings {
                clear: false,
                entries: Vec::new(),
            },
            Frame::WindowUpdate {
                stream: None,
                delta: 1,
            },
        ],
    )
    .unwrap();
    server.reply(id(1));
    for _ in 0..64 {
        server.send(id(1), Bytes::from(vec![0; 64 * 1024]));
    }
    let sent: usize = std::iter::from_fn(|| server.poll_transmit())
        .map(|part| part.len())
        .sum();
    assert!(sent > 4 * 1024 * 1024);
}

#[test]
fn ids_of_pings_start_again_before_they_would_be_a_servers() {
    for (role, last, first) in [(Role::Client, u32::MAX, 1), (Role::Server, u32::MAX - 1, 2)] {
        let mut connection = Connection::new(role, 8);
        connection.may_transmit = true;
        connection.next_ping = last;
        connection.ping();
        connection.ping();
        let mut wire: BytesMut = std::iter::from_fn(|| connection.poll_transmit())
            .flatten()
            .collect();
        let mut decoder = FrameDecoder::new();
        let ids: Vec<Frame> = std::iter::from_fn(|| decoder.decode(&mut wire).unwrap()).collect();
        assert_eq!(
            ids,
            [Frame::Ping { id: last }, Frame::Ping { id: first }],
            "{role:?}"
        );
    }
}
