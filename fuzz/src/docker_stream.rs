use std::time::Instant;

use bytes::BytesMut;
use dockin_stream::{
    Codec, Event, OutputStream,
    docker::{Client, Demultiplexer, InputEnd, Item, Server, Shape},
};

use crate::{
    cut::pieces,
    heard::{Heard, listen, say_everything},
    script::Script,
};

/// Attach or exec of a Docker daemon: how to cut, role and shape, streams, then the peer's bytes.
///
/// What is heard does not depend on the cut and belongs to the streams that were asked for; what
/// is printed survives our own demultiplexer.
///
/// # Panics
///
/// A law is broken.
pub fn docker_stream(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte();
    let choice = script.byte();
    let streams = script.streams();
    let bytes = script.rest();
    let heard = if choice & 1 == 0 {
        let shape = Shape::with_tty(choice & 2 != 0);
        let end = ENDS[usize::from(choice >> 2) % ENDS.len()];
        check(|| Client::new(shape, streams, end), bytes, seed)
    } else {
        let heard = check(|| Server::new(streams), bytes, seed);
        check_printed(Server::new(streams), Shape::with_tty(streams.tty), bytes);
        heard
    };
    for event in heard.events {
        let asked_for = match event {
            Event::Stdin(_) | Event::HalfClose => streams.stdin,
            Event::Stdout(_) => streams.stdout,
            Event::Stderr(_) => streams.stderr,
            Event::Resize(_) => false,
            _ => true,
        };
        assert!(asked_for, "nobody asked for {event:?}");
    }
}

fn check<C: Codec>(codec: impl Fn() -> C, bytes: &[u8], seed: u8) -> Heard {
    let now = Instant::now();
    let run = |cut: &mut dyn Iterator<Item = &[u8]>| {
        let mut codec = codec();
        let heard = listen(&mut codec, now, cut);
        say_everything(&mut codec);
        heard
    };
    let whole = run(&mut std::iter::once(bytes));
    assert_eq!(run(&mut pieces(bytes, seed)), whole, "depends on the cut");
    whole
}

/// Prints the input, a byte of it at a time on either stream, and reads it again.
fn check_printed(mut server: Server, shape: Shape, bytes: &[u8]) {
    let streams = [OutputStream::Stdout, OutputStream::Stderr];
    for piece in bytes.chunks(3) {
        let stream = streams[usize::from(piece[0]) % 2];
        server.send(stream.event(piece.to_vec().into()));
    }
    let mut wire = BytesMut::new();
    while let Some(bytes) = server.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    let mut frames = Demultiplexer::new(shape);
    while let Some(item) = frames.decode(&mut wire).expect("our own bytes are refused") {
        assert!(matches!(item, Item::Output(..)), "{item:?}");
    }
    assert!(frames.may_end() && wire.is_empty());
}

const ENDS: [InputEnd; 3] = [
    InputEnd::Shutdown,
    InputEnd::EndOfTransmission,
    InputEnd::Hold,
];
