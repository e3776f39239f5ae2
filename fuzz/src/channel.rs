use std::time::Instant;

use dockin_stream::{
    Codec, Event, Subprotocol,
    channel::{Client, Server},
    websocket::Role,
};

use crate::{
    cut::pieces,
    heard::{listen, say_everything},
    script::Script,
    websocket_frame::decode,
};

/// exec over a WebSocket: how to cut, role and subprotocol, streams, then the peer's bytes.
///
/// What is heard does not depend on the cut, keeps the order of a session and belongs to the
/// streams that were asked for; everything that is answered is well-formed and ends with a Close
/// frame.
///
/// # Panics
///
/// A law is broken.
pub fn channel(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let streams = script.streams();
    let bytes = script.rest();
    let known = Subprotocol::WEBSOCKET;
    let subprotocol = known[usize::from(choice >> 1) % known.len()];
    let heard = if choice & 1 == 0 {
        check(
            || Server::new(subprotocol, streams),
            Role::Client,
            bytes,
            seed,
        )
    } else {
        check(
            || Client::new(subprotocol, streams, 7),
            Role::Server,
            bytes,
            seed,
        )
    };
    let streams = streams.normalized();
    for event in heard {
        let asked_for = match event {
            Event::Stdin(_) | Event::HalfClose => streams.stdin,
            Event::Stdout(_) => streams.stdout,
            Event::Stderr(_) => streams.stderr,
            Event::Resize(_) => streams.tty,
            _ => true,
        };
        assert!(asked_for, "nobody asked for {event:?}");
    }
}

fn check<C: Codec>(codec: impl Fn() -> C, peer: Role, bytes: &[u8], seed: u8) -> Vec<Event> {
    let now = Instant::now();
    let run = |cut: &mut dyn Iterator<Item = &[u8]>| {
        let mut codec = codec();
        let heard = listen(&mut codec, now, cut);
        let answered = decode(peer, [&say_everything(&mut codec)[..]]);
        assert!(
            answered.is_clean() && answered.is_closed(),
            "malformed answer"
        );
        heard
    };
    let whole = run(&mut std::iter::once(bytes));
    assert_eq!(run(&mut pieces(bytes, seed)), whole, "depends on the cut");
    whole.events
}
