use std::time::Instant;

use bytes::Bytes;
use dockin_stream::{
    Codec, Event, ExitStatus,
    log::{Client, LogSubprotocol, Server},
    websocket::Role,
};

use crate::{
    cut::pieces,
    heard::{Heard, listen, say_everything},
    script::Script,
    websocket_frame::decode,
};

/// A log over a WebSocket: how to cut, role and subprotocol, then the peer's bytes.
///
/// What is heard does not depend on the cut, everything that is answered is well-formed, and the
/// bytes survive as a log of ours.
///
/// # Panics
///
/// A law is broken.
pub fn log_stream(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let bytes = script.rest();
    let subprotocol = if choice & 2 == 0 {
        LogSubprotocol::Binary
    } else {
        LogSubprotocol::Base64
    };
    if choice & 1 == 0 {
        check(|| Client::new(subprotocol, 7), Role::Server, bytes, seed);
    } else {
        let heard = check(|| Server::new(subprotocol), Role::Client, bytes, seed);
        assert!(heard.events.iter().all(|event| *event == Event::Close));
        check_printed(subprotocol, bytes, seed);
    }
}

fn check<C: Codec>(codec: impl Fn() -> C, peer: Role, bytes: &[u8], seed: u8) -> Heard {
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
    whole
}

fn check_printed(subprotocol: LogSubprotocol, bytes: &[u8], seed: u8) {
    let mut server = Server::new(subprotocol);
    for piece in pieces(bytes, seed) {
        server.send(Event::Stdout(Bytes::copy_from_slice(piece)));
    }
    server.send(Event::Exit(ExitStatus::Exited(0)));
    let mut wire = Vec::new();
    while let Some(bytes) = server.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    let mut client = Client::new(subprotocol, 7);
    let heard = listen(&mut client, Instant::now(), [&wire[..]]);
    let mut expected = vec![Event::Exit(ExitStatus::Exited(0)), Event::Close];
    if !bytes.is_empty() {
        expected.insert(0, Event::Stdout(Bytes::copy_from_slice(bytes)));
    }
    assert_eq!(heard.events, expected);
    assert_eq!(heard.result, Ok(()));
}
