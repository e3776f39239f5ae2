//! What a third party sees on the wire, whatever the ends do at the same time.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use dockin_stream::{
    Event, TerminalSize,
    spdy::{Frame, FrameDecoder, FrameEncoder, Headers, StreamId},
};

use crate::{
    link::{Link, Side, Weather},
    player::{Act, HALF_CLOSE, exit, stderr, stdin, stdout},
    protocol::Protocol,
    random::Random,
    world::{Session, for_seeds},
};

/// A session in which everybody says everything at once, seen on the client's connection.
fn lively(random: &mut Random, protocol: Protocol) -> Link {
    let mut session = Session::random(random, protocol);
    session.listen_in = true;
    session.client_is_hasty = false;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..random.between(5, 40) {
        let length = random.pick(&[1, 100, 3000]);
        up.push(match random.below(4) {
            0 => Act::Keepalive,
            1 => Act::Say(Event::Resize(TerminalSize {
                width: 1,
                height: 2,
            })),
            _ => stdin(random.bytes(length)),
        });
        down.push(match random.below(4) {
            0 => Act::Keepalive,
            1 => stderr(random.bytes(length)),
            2 => Act::Sleep(random.up_to(Duration::from_millis(20))),
            _ => stdout(random.bytes(length)),
        });
    }
    up.push(HALF_CLOSE);
    down.push(exit(0));
    let ended = session.client_does(up).container_does(down).run(random);
    assert!(ended.client.exit().is_success());
    ended.link
}

fn sent(link: &Link, to: Side) -> BytesMut {
    link.heard_by(to)
        .iter()
        .flat_map(|(_, bytes)| bytes)
        .copied()
        .collect()
}

/// WebSocket frames by their first byte and whether they are masked; and whether the last is whole.
fn websocket_frames(mut wire: &[u8]) -> (Vec<(u8, bool)>, bool) {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = wire {
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let header = extended + if masked { 4 } else { 0 };
        if rest.len() < header {
            return (frames, false);
        }
        let length = match extended {
            0 => usize::from(second & 0x7f),
            _ => rest[..extended]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        frames.push((*first, masked));
        match rest.get(header + length..) {
            Some(behind) => wire = behind,
            None => return (frames, false),
        }
    }
    (frames, wire.is_empty())
}

/// T18, T20 and T22: frames are whole and never fragments, however many say something at the same
/// time, and nothing follows a Close frame.
#[test]
fn websocket_ends_send_whole_frames_up_to_their_close() {
    for_seeds(200, |random| {
        let link = lively(random, Protocol::WEBSOCKET);
        for side in [Side::Near, Side::Far] {
            let (frames, whole) = websocket_frames(&sent(&link, side));
            // What the client still sends behind its status may be cut.
            assert!(whole || side == Side::Far);
            for (position, (first, masked)) in frames.iter().enumerate() {
                // FIN and binary, close, ping or pong.
                assert!([0x82, 0x88, 0x89, 0x8a].contains(first), "{first:02x}");
                assert_eq!(*masked, side == Side::Far);
                let last = position + 1 == frames.len();
                assert!(*first != 0x88 || last);
                assert!(!last || !whole || *first == 0x88, "no goodbye");
            }
        }
    });
}

/// T22 and T48: frames are whole, a server is silent before the client's first one, and nothing
/// follows the end of a stream or a goodbye.
#[test]
fn spdy_ends_send_whole_frames_and_keep_their_streams_order() {
    for_seeds(200, |random| {
        let link = lively(random, Protocol::SPDY);
        let first = |side| -> Instant { link.heard_by(side)[0].0 };
        assert!(first(Side::Near) >= first(Side::Far));
        for side in [Side::Near, Side::Far] {
            let (mut decoder, mut wire) = (FrameDecoder::new(), sent(&link, side));
            let (mut ended, mut gone) = (BTreeSet::new(), false);
            while let Some(frame) = decoder.decode(&mut wire).unwrap() {
                assert!(!gone, "{frame:?} behind GOAWAY");
                match frame {
                    Frame::Data { stream, fin, .. } => {
                        assert!(!ended.contains(&stream), "data behind FIN");
                        if fin {
                            ended.insert(stream);
                        }
                    }
                    Frame::GoAway { .. } => gone = true,
                    _ => {}
                }
            }
            let whole = wire.is_empty() && !decoder.is_inside_data();
            assert!(whole || side == Side::Far);
            assert!(gone || !whole, "no goodbye");
        }
    });
}

/// T28: how long a header block is tells nothing of what is in it or was in another, so that
/// nobody can guess a secret by its compression.
#[test]
fn length_of_a_header_block_tells_nothing_of_its_content() {
    for_seeds(200, |random| {
        let length_of = |secret: &[u8], guess: &[u8]| {
            let mut encoder = FrameEncoder::new();
            let mut wire = BytesMut::new();
            for (id, value) in [(1, secret), (3, guess), (5, secret)] {
                let frame = Frame::SynStream {
                    stream: StreamId::new(id).unwrap(),
                    associated: 0,
                    priority: 0,
                    slot: 0,
                    fin: false,
                    unidirectional: false,
                    headers: Headers::new().with("cookie", value),
                };
                encoder.encode(&frame, &mut wire);
            }
            wire.len()
        };
        let length = random.between(1, 300);
        let (secret, other) = (random.bytes(length), random.bytes(length));
        assert_eq!(length_of(&secret, &secret), length_of(&secret, &other));
        assert_eq!(
            length_of(&secret, &other),
            length_of(&vec![b'a'; length], &other)
        );
    });
}

/// T16: both legs stay alive behind boxes that forget a connection after five silent minutes,
/// when both ends say a word each minute; and without a word the loss is no success.
#[test]
fn keepalives_carry_an_idle_session_through_idle_boxes() {
    for_seeds(60, |random| {
        let client = random.pick(&Protocol::BOTH);
        for speaks in [true, false] {
            let mut session = Session::random(random, client);
            session.container = None;
            session.weather[0].idle_limit = Some(Duration::from_secs(300));
            let minutes = (0..120).flat_map(|_| {
                let word = speaks.then_some(Act::Keepalive);
                [Act::Sleep(Duration::from_secs(60))]
                    .into_iter()
                    .chain(word)
            });
            let ended = session
                .client_does(minutes.clone())
                .container_does(minutes.chain([exit(0)]))
                .run(random);
            assert_eq!(ended.client.succeeded(), speaks);
            if speaks {
                assert!(ended.lasted >= Duration::from_secs(7200));
            }
        }
    });
}

/// T17: signs of life are no events, so whoever measures idleness by events sees it though pings
/// flow.
#[test]
fn keepalives_are_no_events() {
    for_seeds(60, |random| {
        let client = random.pick(&Protocol::BOTH);
        let mut session = Session::random(random, client);
        session.weather = [Weather::CALM, Weather::CALM];
        let pings = (0..500).flat_map(|_| [Act::Keepalive, Act::Sleep(Duration::from_secs(1))]);
        let ended = session
            .client_does(pings.clone())
            .container_does(pings.chain([exit(0)]))
            .run(random);
        assert_eq!(
            (ended.client.last_output, ended.container.last_stdin),
            (None, None)
        );
        assert!(ended.client.output.is_empty() && ended.container.stdin.is_empty());
        assert!(ended.client.exit().is_success());
    });
}
