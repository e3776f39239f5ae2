use std::time::Instant;

use bytes::Bytes;
use dockin_stream::{
    Codec, Event,
    entry::{Client, Encoding, Identity, Message, Server},
    websocket::Role,
};

use crate::{
    cut::pieces,
    heard::{Heard, listen, say_everything},
    script::Script,
    websocket_frame::decode,
};

/// A session of LAIN Entry: how to cut, role and encoding, streams, then the peer's bytes.
///
/// What is heard does not depend on the cut and belongs to the streams that were asked for,
/// everything that is answered is well-formed, and a message that can be read survives our
/// encoder.
///
/// # Panics
///
/// A law is broken.
pub fn entry_session(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let streams = script.streams();
    let bytes = script.rest();
    let encoding = if choice & 2 == 0 {
        Encoding::Protobuf
    } else {
        Encoding::Json
    };
    if choice & 4 != 0 {
        check_message(encoding, bytes);
        return;
    }
    let now = Instant::now();
    let heard = match (choice & 1, encoding) {
        (0, _) => check(
            || Server::new(encoding, streams, now),
            Role::Client,
            bytes,
            seed,
        ),
        (_, Encoding::Protobuf) => check(|| Client::native(streams, 7), Role::Server, bytes, seed),
        (_, Encoding::Json) => {
            let identity = Identity::default();
            check(
                || Client::web(&identity, streams, 7),
                Role::Server,
                bytes,
                seed,
            )
        }
    };
    for event in heard.events {
        let asked_for = match event {
            Event::Stdin(_) => streams.stdin,
            Event::Stdout(_) => streams.stdout,
            Event::Stderr(_) => streams.stderr,
            Event::Resize(_) => streams.tty,
            Event::HalfClose => false,
            _ => true,
        };
        assert!(asked_for, "nobody asked for {event:?}");
    }
}

fn check<C: Codec>(codec: impl Fn() -> C, reader: Role, bytes: &[u8], seed: u8) -> Heard {
    let now = Instant::now();
    let run = |cut: &mut dyn Iterator<Item = &[u8]>| {
        let mut codec = codec();
        let heard = listen(&mut codec, now, cut);
        let answered = decode(reader, [&say_everything(&mut codec)[..]]);
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

fn check_message(encoding: Encoding, bytes: &[u8]) {
    let Ok(message) = Message::decode(encoding, Bytes::copy_from_slice(bytes)) else {
        return;
    };
    if let Some(size) = message.size() {
        assert_eq!(Message::winch(size).size(), Some(size));
    }
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let again = Message::decode(encoding, message.encode(encoding));
        assert_eq!(
            again.as_ref(),
            Ok(&message),
            "does not survive {encoding:?}"
        );
    }
}
