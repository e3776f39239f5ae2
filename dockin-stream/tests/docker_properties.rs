//! Laws of Docker's streams: both ends joined in memory.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and a test may read the clock"
)]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus, OutputStream, ProtocolError, StreamSet,
    docker::{Client, Demultiplexer, FrameError, InputEnd, Item, Server, Shape},
};
use proptest::prelude::*;

fn outputs() -> impl Strategy<Value = Vec<(OutputStream, Bytes)>> {
    let bytes = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..50),
        1 => prop::collection::vec(any::<u8>(), 1000..1100),
        1 => (60_000_usize..140_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let stream = prop::sample::select(vec![OutputStream::Stdout, OutputStream::Stderr]);
    prop::collection::vec((stream, bytes.prop_map(Bytes::from)), 0..12)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![3 => 1_usize..20, 1 => 100_usize..70_000], 1..8)
}

fn cut<'a>(wire: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (wire, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn joined(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Stdin(last)), Event::Stdin(next))
            | (Some(Event::Stdout(last)), Event::Stdout(next))
            | (Some(Event::Stderr(last)), Event::Stderr(next)) => {
                *last = [&last[..], &next[..]].concat().into();
            }
            (_, event) => all.push(event),
        }
    }
    all
}

fn sent(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

type Decoded = (
    Vec<(OutputStream, Vec<u8>)>,
    Option<String>,
    Option<FrameError>,
);

fn decode(pieces: &[&[u8]]) -> Decoded {
    let mut frames = Demultiplexer::new(Shape::Multiplexed);
    let (mut outputs, mut said): (Vec<(OutputStream, Vec<u8>)>, _) = (Vec::new(), None);
    let mut input = BytesMut::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match (frames.decode(&mut input), outputs.last_mut()) {
                (Ok(None), _) => break,
                (Ok(Some(Item::Output(stream, bytes))), Some((last, known))) if stream == *last => {
                    known.extend_from_slice(&bytes);
                }
                (Ok(Some(Item::Output(stream, bytes))), _) => {
                    outputs.push((stream, bytes.to_vec()));
                }
                (Ok(Some(Item::SystemError(text))), _) => said = Some(text),
                (Ok(Some(other)), _) => panic!("{other:?}"),
                (Err(error), _) => return (outputs, said, Some(error)),
            }
        }
        // A header at most, or the start of the daemon's own text.
        assert!(input.len() <= 4096);
    }
    (outputs, said, None)
}

proptest! {
    /// What the server prints the client reads, in order and however it is cut.
    #[test]
    fn output_survives_the_wire(outputs in outputs(), sizes in sizes(), tty: bool) {
        let now = Instant::now();
        let streams = StreamSet { stdin: true, stdout: true, stderr: true, tty };
        let mut server = Server::new(streams);
        let mut expected = Vec::new();
        for (stream, bytes) in outputs {
            let event = stream.event(bytes);
            server.send(event.clone());
            if !tty || stream == OutputStream::Stdout {
                expected.push(event);
            }
        }
        server.send(Event::Exit(ExitStatus::Exited(7)));
        expected.push(Event::Close);
        let wire = sent(&mut server);
        let mut client = Client::new(Shape::with_tty(tty), streams, InputEnd::Shutdown);
        let mut heard = Vec::new();
        let mut input = BytesMut::new();
        for piece in cut(&wire, &sizes) {
            input.extend_from_slice(piece);
            prop_assert_eq!(client.handle_input(now, &mut input), Ok(()));
            heard.extend(std::iter::from_fn(|| client.poll_event()));
        }
        prop_assert_eq!(client.handle_eof(now), Ok(()));
        heard.extend(std::iter::from_fn(|| client.poll_event()));
        prop_assert_eq!(joined(heard), joined(expected));
    }

    /// What is typed arrives as it is, and its end behind it.
    #[test]
    fn input_survives_the_wire(typed in prop::collection::vec(any::<u8>(), 0..3000), sizes in sizes()) {
        let now = Instant::now();
        let streams = StreamSet { stdin: true, stdout: true, stderr: true, tty: false };
        let mut client = Client::new(Shape::Multiplexed, streams, InputEnd::Shutdown);
        for piece in cut(&typed, &sizes) {
            client.send(Event::Stdin(Bytes::copy_from_slice(piece)));
        }
        client.send(Event::HalfClose);
        let wire = sent(&mut client);
        prop_assert_eq!(&wire, &typed);
        let mut server = Server::new(streams);
        let mut input = BytesMut::from(&wire[..]);
        prop_assert_eq!(server.handle_input(now, &mut input), Ok(()));
        prop_assert_eq!(server.handle_eof(now), Ok(()));
        let heard: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
        let mut expected = vec![Event::HalfClose];
        if !typed.is_empty() {
            expected.insert(0, Event::Stdin(typed.into()));
        }
        prop_assert_eq!(heard, expected);
    }

    /// Cutting the input anywhere gives the same, and no bytes panic.
    #[test]
    fn nothing_depends_on_the_cut(
        frames in prop::collection::vec((0_u8..5, prop::collection::vec(any::<u8>(), 0..30)), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..30),
        sizes in sizes(),
    ) {
        let mut wire = Vec::new();
        for (stream_type, payload) in frames {
            wire.extend([stream_type, 1, 2, 3, 0, 0, 0, payload.len() as u8]);
            wire.extend(payload);
        }
        wire.extend(tail);
        prop_assert_eq!(decode(&cut(&wire, &sizes)), decode(&[&wire]));
    }

    /// A stream that ends inside a frame is never taken for whole.
    #[test]
    fn a_cut_stream_is_an_error(length in 1_u32..=u32::MAX, have in 0_usize..40, stream in 1_u8..=3) {
        let now = Instant::now();
        let whole = 8 + length as usize;
        let mut wire = vec![stream, 0, 0, 0];
        wire.extend(length.to_be_bytes());
        wire.extend([b'x'; 40]);
        wire.truncate((1 + have).min(whole - 1));
        let mut client = Client::new(Shape::Multiplexed, StreamSet::default(), InputEnd::Hold);
        prop_assert_eq!(client.handle_input(now, &mut BytesMut::from(&wire[..])), Ok(()));
        prop_assert_eq!(client.handle_eof(now), Err(ProtocolError::Truncated));
    }
}
