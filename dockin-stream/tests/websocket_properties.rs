//! Laws of the WebSocket frames, with tungstenite as the second opinion.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::io::{self, Cursor, Read, Write};

use bytes::{Bytes, BytesMut};
use dockin_stream::websocket::{
    CloseCode, Decoder, Encoder, FrameError, Item, MessageKind, OpCode, Role,
};
use proptest::prelude::*;
use tungstenite::{Message, WebSocket, protocol};

/// What a peer says: whole messages, however many frames they took.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

/// A message in its fragments, with a ping before each but the first.
#[derive(Clone, Debug)]
struct Fragmented {
    kind: MessageKind,
    fragments: Vec<(Option<Vec<u8>>, Vec<u8>)>,
}

fn kinds() -> impl Strategy<Value = MessageKind> {
    prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)]
}

/// ASCII, so that text is UTF-8 wherever it is cut; every border of the length forms occurs.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![
        6 => 0_usize..40,
        2 => 120_usize..130,
        1 => 1020_usize..1030,
        1 => 65_530_usize..65_540,
    ];
    (lengths, 0_u8..=127).prop_map(|(length, seed)| {
        (0..length)
            .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed) & 0x7f)
            .collect()
    })
}

fn messages() -> impl Strategy<Value = Vec<Fragmented>> {
    let ping = prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 0..=125));
    let fragments = prop::collection::vec((ping, payloads()), 1..4);
    let message = (kinds(), fragments).prop_map(|(kind, fragments)| Fragmented { kind, fragments });
    prop::collection::vec(message, 0..5)
}

/// Written without the crate's encoder, which never fragments.
fn put_frame(wire: &mut Vec<u8>, first: u8, mask: Option<[u8; 4]>, payload: &[u8]) {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    wire.push(first);
    match payload.len() {
        short @ 0..=125 => wire.push(bit | short as u8),
        medium @ 126..=0xffff => {
            wire.push(bit | 126);
            wire.extend((medium as u16).to_be_bytes());
        }
        long => {
            wire.push(bit | 127);
            wire.extend((long as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| wire.extend(mask)).unwrap_or_default();
    wire.extend(
        payload
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ mask[at % 4]),
    );
}

fn write(messages: &[Fragmented], mask: Option<[u8; 4]>) -> (Vec<u8>, Vec<Said>) {
    let (mut wire, mut said) = (Vec::new(), Vec::new());
    for message in messages {
        let mut whole = Vec::new();
        let last = message.fragments.len() - 1;
        for (at, (ping, fragment)) in message.fragments.iter().enumerate() {
            if let Some(ping) = ping {
                put_frame(&mut wire, 0x89, mask, ping);
                said.push(Said::Ping(ping.clone()));
            }
            let opcode = if at == 0 {
                OpCode::Data(message.kind)
            } else {
                OpCode::Continuation
            };
            let fin = if at == last { 0x80 } else { 0 };
            put_frame(&mut wire, fin | opcode.bits(), mask, fragment);
            whole.extend(fragment);
        }
        said.push(Said::Message(message.kind, whole));
    }
    put_frame(&mut wire, 0x88, mask, &1000_u16.to_be_bytes());
    said.push(Said::Close(1000));
    (wire, said)
}

/// Decodes `wire` in pieces that end at `cuts`.
fn read(role: Role, wire: &[u8], cuts: &[prop::sample::Index]) -> (Vec<Said>, Option<FrameError>) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    ends.push(wire.len());
    ends.sort_unstable();
    let mut decoder = Decoder::new(role);
    let mut input = BytesMut::new();
    let (mut said, mut partial) = (Vec::new(), Vec::new());
    let mut start = 0;
    for end in ends {
        input.extend_from_slice(&wire[start..end]);
        start = end;
        loop {
            match decoder.decode(&mut input) {
                Ok(None) => break,
                Ok(Some(Item::Span(span))) => {
                    assert!(span.end || !span.bytes.is_empty());
                    partial.extend_from_slice(&span.bytes);
                    if span.end {
                        said.push(Said::Message(span.kind, std::mem::take(&mut partial)));
                    }
                }
                Ok(Some(Item::Ping(payload))) => said.push(Said::Ping(payload.into())),
                Ok(Some(Item::Pong(payload))) => said.push(Said::Pong(payload.into())),
                Ok(Some(Item::Close(code))) => said.push(Said::Close(code.0)),
                Ok(Some(other)) => panic!("{other:?}"),
                Err(error) => return (said, Some(error)),
            }
        }
    }
    (said, None)
}

struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tungstenite_reads(role: Role, wire: Vec<u8>) -> Vec<Said> {
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(wire)), role, None);
    let mut said = Vec::new();
    loop {
        said.push(match socket.read().unwrap() {
            Message::Text(text) => Said::Message(MessageKind::Text, text.as_bytes().to_vec()),
            Message::Binary(bytes) => Said::Message(MessageKind::Binary, bytes.into()),
            Message::Ping(payload) => Said::Ping(payload.into()),
            Message::Pong(payload) => Said::Pong(payload.into()),
            Message::Close(frame) => {
                said.push(Said::Close(frame.map_or(1005, |frame| frame.code.into())));
                return said;
            }
            Message::Frame(frame) => panic!("{frame:?}"),
        });
    }
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

const fn mask_for(reader: Role, key: [u8; 4]) -> Option<[u8; 4]> {
    match reader {
        Role::Server => Some(key),
        Role::Client => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any fragmentation and any cut give the messages that were sent; tungstenite agrees.
    #[test]
    fn fragments_and_cuts_do_not_change_messages(
        messages in messages(), role in roles(), key: [u8; 4], cuts in cuts(),
    ) {
        let (wire, said) = write(&messages, mask_for(role, key));
        prop_assert_eq!(read(role, &wire, &cuts), (said.clone(), None));
        prop_assert_eq!(tungstenite_reads(role, wire), said);
    }

    /// decode(encode(x)) == x, for us and for tungstenite.
    #[test]
    fn encoded_frames_decode_to_themselves(
        frames in prop::collection::vec((kinds(), payloads(), payloads()), 0..6),
        seed: Option<u64>,
        cuts in cuts(),
    ) {
        let mut encoder = seed.map_or_else(Encoder::server, Encoder::client);
        let mut said = Vec::new();
        for (kind, prefix, payload) in frames {
            encoder.encode(OpCode::Data(kind), &prefix, Bytes::from(payload.clone()));
            said.push(Said::Message(kind, [prefix, payload].concat()));
        }
        encoder.encode(OpCode::Close, &CloseCode::NORMAL.0.to_be_bytes(), Bytes::new());
        said.push(Said::Close(1000));
        let reader = match encoder.role() {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let wire: Vec<u8> = std::iter::from_fn(|| encoder.poll_transmit()).flatten().collect();
        prop_assert_eq!(read(reader, &wire, &cuts), (said.clone(), None));
        prop_assert_eq!(tungstenite_reads(reader, wire), said);
    }

    /// Damaged input gives the same items and the same error wherever it is cut, and no panic.
    #[test]
    fn damaged_input_has_one_verdict(
        messages in messages(), role in roles(), key: [u8; 4], cuts in cuts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (mut wire, _) = write(&messages, mask_for(role, key));
        for (at, byte) in damage {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        prop_assert_eq!(read(role, &wire, &cuts), read(role, &wire, &[]));
    }

    /// No bytes panic.
    #[test]
    fn random_bytes_have_one_verdict(
        wire in prop::collection::vec(any::<u8>(), 0..300), role in roles(), cuts in cuts(),
    ) {
        prop_assert_eq!(read(role, &wire, &cuts), read(role, &wire, &[]));
    }
}
