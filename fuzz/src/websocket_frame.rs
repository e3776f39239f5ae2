use std::io::{self, Cursor, Read, Write};

use bytes::{Bytes, BytesMut};
use dockin_stream::websocket::{
    CloseCode, Decoder, Encoder, FrameError, Item, MessageKind, OpCode, Role,
};

use tungstenite::{
    Error, Message, WebSocket,
    protocol::{self, WebSocketConfig},
};

use crate::cut::pieces;

/// WebSocket frames: how to cut, role, then the peer's bytes.
///
/// Messages and the verdict do not depend on the cut, are what tungstenite reads, and what was
/// read survives our encoder.
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

    check_against_tungstenite(role, bytes, &whole);

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

/// What a peer says, however many frames it took.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

/// Both read the same, up to where one of them stops for a reason that the other does not have.
fn check_against_tungstenite(role: Role, bytes: &[u8], whole: &Decoded) {
    let mut ours = whole.said();
    // A code that was registered after RFC 6455, and that it does not know.
    if let Some(Said::Close(code @ BAD_GATEWAY)) = ours.last_mut() {
        *code = CloseCode::PROTOCOL.0;
    }
    let (theirs, reason) = tungstenite_reads(role, bytes);
    let both = ours.len().min(theirs.len());
    assert_eq!(ours[..both], theirs[..both], "tungstenite reads otherwise");
    match (&ours[both..], &theirs[both..]) {
        ([], []) => {}
        ([_, ..], _) => assert!(
            // Whether text is text is for those who read it.
            matches!(reason, Error::Utf8(_)),
            "tungstenite stops before {:?}: {reason}",
            &ours[both..]
        ),
        (_, surplus) => assert!(
            match (whole.error, surplus) {
                // It reads lengths in any form; a control frame's in a longer one is too long to us.
                (Some(FrameError::LengthNotMinimal { .. } | FrameError::ControlTooLong), _) => true,
                // It answers 1002 itself in the name of the peer.
                (Some(FrameError::MalformedClose), [Said::Close(code)]) => *code == 1002,
                _ => false,
            },
            "tungstenite reads on: {surplus:?} behind {:?}",
            whole.error
        ),
    }
}

fn tungstenite_reads(role: Role, bytes: &[u8]) -> (Vec<Said>, Error) {
    let role = match role {
        Role::Server => protocol::Role::Server,
        Role::Client => protocol::Role::Client,
    };
    // It makes room for what is declared; what is not there is not read anyway.
    let config = WebSocketConfig::default().max_frame_size(Some(bytes.len()));
    let wire = Wire(Cursor::new(bytes));
    let mut socket = WebSocket::from_raw_socket(wire, role, Some(config));
    let mut said = Vec::new();
    loop {
        said.push(match socket.read() {
            Ok(Message::Text(text)) => Said::Message(MessageKind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Said::Message(MessageKind::Binary, bytes.into()),
            Ok(Message::Ping(payload)) => Said::Ping(payload.into()),
            Ok(Message::Pong(payload)) => Said::Pong(payload.into()),
            Ok(Message::Close(frame)) => {
                Said::Close(frame.map_or(CloseCode::NO_STATUS.0, |frame| frame.code.into()))
            }
            Ok(Message::Frame(frame)) => unreachable!("{frame:?} is not for readers"),
            Err(error) => return (said, error),
        });
    }
}

/// IANA's registry of close codes.
const BAD_GATEWAY: u16 = 1014;

/// A peer that takes everything and says the bytes.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    /// Whole messages and control frames, in the order of their ends.
    fn said(&self) -> Vec<Said> {
        let mut said = Vec::new();
        let mut message = Vec::new();
        for item in &self.items {
            match item {
                Item::Span(span) => {
                    message.extend_from_slice(&span.bytes);
                    if span.end {
                        said.push(Said::Message(span.kind, std::mem::take(&mut message)));
                    }
                }
                Item::Ping(payload) => said.push(Said::Ping(payload.to_vec())),
                Item::Pong(payload) => said.push(Said::Pong(payload.to_vec())),
                Item::Close(code) => said.push(Said::Close(code.0)),
                other => unreachable!("new kind of item: {other:?}"),
            }
        }
        said
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
