use bytes::{Bytes, BytesMut};
use dockin_stream::websocket::{CloseCode, Decoder, Encoder, FrameError, Item, OpCode, Role};

use crate::cut::pieces;

/// WebSocket frames: how to cut, role, then the peer's bytes.
///
/// Messages and the verdict do not depend on the cut, and what was read survives our encoder.
///
/// # Panics
///
/// A law is broken.
pub fn websocket_frame(data: &[u8]) {
    let [seed, choice, bytes @ ..] = data else {
        return;
    };
    let role = if choice & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let whole = decode(role, [bytes]);
    assert_eq!(
        decode(role, pieces(bytes, *seed)),
        whole,
        "depends on the cut"
    );

    let mut encoder = match role {
        Role::Server => Encoder::client(u64::from(*seed)),
        Role::Client => Encoder::server(),
    };
    let mut items = whole.items;
    for item in &mut items {
        match item {
            Item::Span(span) => {
                // The encoder writes whole messages alone.
                span.end = true;
                encoder.encode(OpCode::Data(span.kind), &[], span.bytes.clone());
            }
            Item::Ping(payload) => encoder.encode(OpCode::Ping, &[], payload.clone()),
            Item::Pong(payload) => encoder.encode(OpCode::Pong, payload, Bytes::new()),
            Item::Close(CloseCode::NO_STATUS) => encoder.encode(OpCode::Close, &[], Bytes::new()),
            Item::Close(code) => encoder.encode(OpCode::Close, &code.0.to_be_bytes(), Bytes::new()),
            other => unreachable!("new kind of item: {other:?}"),
        }
    }
    let mut wire = Vec::new();
    while let Some(bytes) = encoder.poll_transmit() {
        wire.extend_from_slice(&bytes);
    }
    let again = decode(role, [&wire[..]]);
    assert!(again.is_clean(), "our own bytes are refused");
    assert_eq!(again.items, items, "does not survive the encoder");
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Decoded {
    /// Spans of one message with nothing between them are one.
    items: Vec<Item>,
    error: Option<FrameError>,
    between_messages: bool,
    left: usize,
}

impl Decoded {
    /// Whether the bytes were whole messages and nothing else.
    pub(crate) const fn is_clean(&self) -> bool {
        self.error.is_none() && self.between_messages && self.left == 0
    }

    /// Whether a Close frame came.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.items.last(), Some(Item::Close(_)))
    }
}

pub(crate) fn decode<'a>(role: Role, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(role);
    let mut input = BytesMut::new();
    let mut decoded = Decoded {
        items: Vec::new(),
        error: None,
        between_messages: false,
        left: 0,
    };
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match (decoder.decode(&mut input), decoded.items.last_mut()) {
                (Ok(None), _) => break,
                (Err(error), _) => {
                    assert_eq!(
                        decoder.decode(&mut input),
                        Err(error),
                        "the verdict changed"
                    );
                    decoded.error = Some(error);
                    return decoded;
                }
                (Ok(Some(Item::Span(span))), Some(Item::Span(known))) if !known.end => {
                    assert_eq!(known.kind, span.kind, "the message changed its kind");
                    known.bytes = [&known.bytes[..], &span.bytes].concat().into();
                    known.end = span.end;
                }
                (Ok(Some(item)), _) => decoded.items.push(item),
            }
        }
    }
    decoded.between_messages = decoder.is_between_messages();
    decoded.left = input.len();
    decoded
}
