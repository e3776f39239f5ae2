use std::time::Instant;

use bytes::Bytes;
use dockin_stream::{
    Codec, Event,
    entry::{Client, Encoding, Identity, Message, Server},
    websocket::Role,
};
use prost::Message as _;

use crate::{
    cut::pieces,
    heard::{Heard, listen, say_everything},
    script::Script,
    websocket_frame::decode,
};

/// A session of LAIN Entry: how to cut, role and encoding, streams, then the peer's bytes.
///
/// What is heard does not depend on the cut and belongs to the streams that were asked for,
/// everything that is answered is well-formed, and a message is read and written as generated
/// protobuf does.
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

/// Entry's own description of its messages, in the form that prost makes of it.
#[derive(Clone, PartialEq, prost::Message)]
struct RequestMessage {
    #[prost(enumeration = "RequestType", tag = "1")]
    msg_type: i32,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
enum RequestType {
    Plain = 0,
    Winch = 1,
}

/// The wire format by hand: tags, varints, lengths; `None` for what is no message.
fn read_fields(mut bytes: &[u8]) -> Option<(i32, Vec<u8>)> {
    let (mut msg_type, mut content) = (0, Vec::new());
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let tag = u32::try_from(tag).ok()?;
        match (tag >> 3, tag & 7) {
            (0, _) | (1, 1..) | (2, 0 | 1 | 3..) => return None,
            // An enum is the low half of its varint.
            (1, 0) => msg_type = varint(&mut bytes)? as i32,
            (2, 2) => content = taken(&mut bytes)?.to_vec(),
            (number, kind) => skip(&mut bytes, number, kind, 0)?,
        }
    }
    Some((msg_type, content))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if place == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn taken<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Passes over a field that nobody knows.
fn skip(bytes: &mut &[u8], number: u32, kind: u32, depth: u32) -> Option<()> {
    // prost's limit.
    if depth == 100 {
        return None;
    }
    match kind {
        0 => drop(varint(bytes)?),
        1 => *bytes = bytes.get(8..)?,
        2 => drop(taken(bytes)?),
        // A group, up to its end.
        3 => loop {
            let tag = u32::try_from(varint(bytes)?).ok()?;
            match (tag >> 3, tag & 7) {
                (end, 4) if end == number => break,
                (0, _) | (_, 4) => return None,
                (inner, kind) => skip(bytes, inner, kind, depth + 1)?,
            }
        },
        5 => *bytes = bytes.get(4..)?,
        _ => return None,
    }
    Some(())
}

fn check_message(encoding: Encoding, bytes: &[u8]) {
    if encoding == Encoding::Protobuf {
        let ours = Message::decode(encoding, Bytes::copy_from_slice(bytes)).ok();
        let ours = ours.map(|message| (message.msg_type, message.content.to_vec()));
        assert_eq!(ours, read_fields(bytes), "the wire format says otherwise");
        let theirs = RequestMessage::decode(bytes).ok();
        let theirs = theirs.map(|message| (message.msg_type, message.content));
        assert_eq!(ours, theirs, "a generated reader says otherwise");
    }
    let Ok(message) = Message::decode(encoding, Bytes::copy_from_slice(bytes)) else {
        return;
    };
    if let Some(size) = message.size() {
        assert_eq!(Message::winch(size).size(), Some(size));
    }
    let generated = RequestMessage {
        msg_type: message.msg_type,
        content: message.content.to_vec(),
    };
    assert_eq!(
        message.encode(Encoding::Protobuf),
        generated.encode_to_vec(),
        "a generated writer writes otherwise"
    );
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let again = Message::decode(encoding, message.encode(encoding));
        assert_eq!(
            again.as_ref(),
            Ok(&message),
            "does not survive {encoding:?}"
        );
    }
}
