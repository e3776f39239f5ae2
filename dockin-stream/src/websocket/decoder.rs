mod joined;

use bytes::{Buf, Bytes, BytesMut};

use super::{CloseCode, FrameError, MessageKind, OpCode, Role, mask::MaskKey};
use crate::limits::{MAX_WEBSOCKET_CONTROL, MAX_WEBSOCKET_FRAME};

/// Part of a message, as much as has arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// What the message's first frame said it is.
    pub kind: MessageKind,
    /// Payload that follows the last span's; empty only when `end` brings nothing more.
    pub bytes: Bytes,
    /// The message is complete; the next span begins another.
    pub end: bool,
}

/// What a decoder found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// Part of a message.
    Span(Span),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// An answer to our ping, or a sign of life.
    Pong(Bytes),
    /// The peer says goodbye; [`CloseCode::NO_STATUS`] when it gave no code. Nothing follows.
    Close(CloseCode),
}

/// Reads RFC 6455 frames of any fragmentation as spans of the caller's buffer.
///
/// ```text
///  0               1               2               3
/// +-+-+-+-+-------+-+-------------+-------------------------------+
/// |F|R|R|R| opcode|M| length 7    | length 16 or 64, if 7 bits    |
/// |I|S|S|S|  (4)  |A|             | say 126 or 127                |
/// |N|V|V|V|       |S|             | (shortest form only)          |
/// | |1|2|3|       |K|             |                               |
/// +-+-+-+-+-------+-+-------------+-------------------------------+
/// | mask key, 4 bytes, from clients only  | payload …             |
/// +---------------------------------------+-----------------------+
/// ```
///
/// Nothing is allocated from a declared length. Control frames wait in the caller's buffer until
/// they are whole. After an error every further call gives the same error; after a Close frame
/// input is thrown away.
///
/// Spec: RFC 6455 §5.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    state: State,
    /// Kind of the message whose fragments are arriving.
    message: Option<MessageKind>,
    /// The data frame whose payload is arriving.
    frame: Option<Frame>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    Closed,
    Failed(FrameError),
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: MessageKind,
    remaining: u64,
    mask: Option<MaskKey>,
    last: bool,
}

impl Decoder {
    /// A decoder for what the other side of `role` sends.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            state: State::Open,
            message: None,
            frame: None,
        }
    }

    /// Takes the next item off `input`; `None` when it holds no more than part of a header or
    /// of a control frame.
    ///
    /// # Errors
    ///
    /// The frame is malformed; [`FrameError::close_code`] says how to tell the peer.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Item>, FrameError> {
        match self.state {
            State::Open => {}
            State::Closed => {
                input.clear();
                return Ok(None);
            }
            State::Failed(error) => return Err(error),
        }
        let result = self.next(input);
        match &result {
            Ok(Some(Item::Close(_))) => self.state = State::Closed,
            Err(error) => self.state = State::Failed(*error),
            Ok(_) => {}
        }
        result
    }

    /// Whether the last byte taken ended a message.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        self.frame.is_none() && self.message.is_none()
    }

    fn next(&mut self, input: &mut BytesMut) -> Result<Option<Item>, FrameError> {
        loop {
            if self.frame.is_some() {
                if let Some(span) = self.span(input) {
                    return Ok(Some(Item::Span(span)));
                }
                if self.frame.is_some() {
                    return Ok(None);
                }
            }
            let Some(header) = self.header(input)? else {
                return Ok(None);
            };
            if !header.opcode.is_control() {
                input.advance(header.size);
                self.begin(&header);
                continue;
            }
            let size = usize::try_from(header.length).unwrap_or(usize::MAX);
            if input.len().saturating_sub(header.size) < size {
                return Ok(None);
            }
            input.advance(header.size);
            let mut payload = input.split_to(size);
            if let Some(mut mask) = header.mask {
                mask.apply(&mut payload);
            }
            return control(header.opcode, payload.freeze()).map(Some);
        }
    }

    /// `None` when nothing has arrived, or when an empty fragment ended that is not the last.
    fn span(&mut self, input: &mut BytesMut) -> Option<Span> {
        let frame = self.frame.as_mut()?;
        let take =
            usize::try_from(frame.remaining).map_or(input.len(), |left| left.min(input.len()));
        if take == 0 && frame.remaining > 0 {
            return None;
        }
        let mut bytes = if take == 0 {
            BytesMut::new()
        } else {
            input.split_to(take)
        };
        if let Some(mask) = &mut frame.mask {
            mask.apply(&mut bytes);
        }
        frame.remaining = frame.remaining.saturating_sub(take as u64);
        let kind = frame.kind;
        let frame_ended = frame.remaining == 0;
        let end = frame_ended && frame.last;
        if frame_ended {
            self.frame = None;
        }
        if end {
            self.message = None;
        }
        (take > 0 || end).then(|| Span {
            kind,
            bytes: bytes.freeze(),
            end,
        })
    }

    fn begin(&mut self, header: &Header) {
        let kind = match header.opcode {
            OpCode::Data(kind) => kind,
            // INVARIANT: `header` lets a continuation through only inside a message.
            _ => self.message.unwrap_or(MessageKind::Binary),
        };
        self.message = Some(kind);
        self.frame = Some(Frame {
            kind,
            remaining: header.length,
            mask: header.mask,
            last: header.last,
        });
    }

    /// Every fault that the first two bytes show is found as soon as they are there, so that
    /// the verdict does not depend on how the input is cut.
    fn header(&self, input: &[u8]) -> Result<Option<Header>, FrameError> {
        let Some(&[first, second]) = input.first_chunk::<2>() else {
            return Ok(None);
        };
        let bits = first >> 4 & 0b111;
        if bits != 0 {
            return Err(FrameError::ReservedBits { bits });
        }
        let opcode = first & 0x0f;
        let opcode = OpCode::from_bits(opcode).ok_or(FrameError::UnknownOpCode { opcode })?;
        let last = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        match (self.role, masked) {
            (Role::Server, false) => return Err(FrameError::NotMasked),
            (Role::Client, true) => return Err(FrameError::Masked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        let short = second & 0x7f;
        match (opcode, self.message) {
            (OpCode::Close | OpCode::Ping | OpCode::Pong, _) => {
                if !last {
                    return Err(FrameError::ControlFragmented);
                }
                if usize::from(short) > MAX_WEBSOCKET_CONTROL {
                    return Err(FrameError::ControlTooLong);
                }
            }
            (OpCode::Continuation, None) => return Err(FrameError::NothingToContinue),
            (OpCode::Data(_), Some(_)) => return Err(FrameError::MessageInsideMessage),
            (OpCode::Continuation, Some(_)) | (OpCode::Data(_), None) => {}
        }
        let (length, shortest, size) = match short {
            126 => match input.first_chunk::<4>() {
                Some(&[_, _, a, b]) => (u64::from(u16::from_be_bytes([a, b])), 126, 4),
                None => return Ok(None),
            },
            127 => match input.first_chunk::<10>() {
                Some(&[_, _, ref length @ ..]) => (u64::from_be_bytes(*length), 0x1_0000, 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 0, 2),
        };
        if length < shortest {
            return Err(FrameError::LengthNotMinimal { length });
        }
        if length > MAX_WEBSOCKET_FRAME {
            return Err(FrameError::TooLong { length });
        }
        let mask = if masked {
            let Some(key) = input.get(size..).and_then(|rest| rest.first_chunk::<4>()) else {
                return Ok(None);
            };
            Some(MaskKey::new(*key))
        } else {
            None
        };
        Ok(Some(Header {
            opcode,
            last,
            length,
            size: if masked { size + 4 } else { size },
            mask,
        }))
    }
}

struct Header {
    opcode: OpCode,
    last: bool,
    length: u64,
    /// Bytes of the header itself.
    size: usize,
    mask: Option<MaskKey>,
}

fn control(opcode: OpCode, payload: Bytes) -> Result<Item, FrameError> {
    match opcode {
        OpCode::Ping => Ok(Item::Ping(payload)),
        OpCode::Pong => Ok(Item::Pong(payload)),
        _ => close(&payload).map(Item::Close),
    }
}

fn close(payload: &[u8]) -> Result<CloseCode, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(CloseCode::NO_STATUS)
        } else {
            Err(FrameError::MalformedClose)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(FrameError::MalformedClose);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(FrameError::CloseReasonNotUtf8);
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::BytesMut;

    use super::{Decoder, Item, Span};
    use crate::websocket::{CloseCode, FrameError, MessageKind, Role};

    fn decode_all(role: Role, wire: &[u8]) -> Result<Vec<Item>, FrameError> {
        let mut decoder = Decoder::new(role);
        let mut input = BytesMut::from(wire);
        let mut items = Vec::new();
        while let Some(item) = decoder.decode(&mut input)? {
            items.push(item);
        }
        Ok(items)
    }

    fn span(bytes: &'static [u8], end: bool) -> Item {
        Item::Span(Span {
            kind: MessageKind::Text,
            bytes: bytes.into(),
            end,
        })
    }

    /// RFC 6455 §5.7.
    #[test]
    fn examples_of_the_rfc_decode() {
        assert_eq!(
            decode_all(
                Role::Server,
                b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
            ),
            Ok(vec![span(b"Hello", true)])
        );
        assert_eq!(
            decode_all(Role::Client, b"\x01\x03Hel\x80\x02lo"),
            Ok(vec![span(b"Hel", false), span(b"lo", true)])
        );
    }

    #[test]
    fn control_frame_between_fragments_is_given_in_place() {
        assert_eq!(
            decode_all(
                Role::Client,
                b"\x01\x01a\x89\x01p\x00\x00\x80\x01b\x88\x02\x03\xe8"
            ),
            Ok(vec![
                span(b"a", false),
                Item::Ping(b"p"[..].into()),
                span(b"b", true),
                Item::Close(CloseCode::NORMAL),
            ])
        );
    }

    #[test]
    fn empty_messages_are_messages() {
        assert_eq!(
            decode_all(Role::Client, b"\x81\x00\x01\x00\x80\x00"),
            Ok(vec![span(b"", true), span(b"", true)])
        );
    }

    #[test]
    fn payload_shares_the_callers_buffer() {
        let mut input = BytesMut::from(&b"\x82\x03abc"[..]);
        let address = input.as_ptr().wrapping_add(2);
        let item = Decoder::new(Role::Client).decode(&mut input).unwrap();
        assert!(matches!(item, Some(Item::Span(span)) if span.bytes.as_ptr() == address));
    }

    #[test]
    fn every_fault_has_its_error_and_close_code() {
        for (wire, error, code) in [
            (
                &b"\xc2\x00"[..],
                FrameError::ReservedBits { bits: 0b100 },
                1002,
            ),
            (b"\x83\x00", FrameError::UnknownOpCode { opcode: 3 }, 1002),
            (b"\x82\x80", FrameError::Masked, 1002),
            (b"\x09\x00", FrameError::ControlFragmented, 1002),
            (b"\x89\x7e", FrameError::ControlTooLong, 1002),
            (b"\x80\x00", FrameError::NothingToContinue, 1002),
            (b"\x02\x00\x82\x00", FrameError::MessageInsideMessage, 1002),
            (
                b"\x82\x7e\x00\x7d",
                FrameError::LengthNotMinimal { length: 125 },
                1002,
            ),
            (
                b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
                FrameError::LengthNotMinimal { length: 65_535 },
                1002,
            ),
            (
                b"\x82\x7f\x00\x00\x00\x00\x02\x00\x00\x01",
                FrameError::TooLong {
                    length: 32 * 1024 * 1024 + 1,
                },
                1009,
            ),
            (
                b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
                FrameError::TooLong { length: u64::MAX },
                1009,
            ),
            (b"\x88\x01\x03", FrameError::MalformedClose, 1002),
            (b"\x88\x02\x03\xed", FrameError::MalformedClose, 1002),
            (
                b"\x88\x03\x03\xe8\xff",
                FrameError::CloseReasonNotUtf8,
                1007,
            ),
        ] {
            assert_eq!(decode_all(Role::Client, wire), Err(error), "{wire:02x?}");
            assert_eq!(error.close_code(), CloseCode(code), "{error}");
        }
        assert_eq!(
            decode_all(Role::Server, b"\x82\x03"),
            Err(FrameError::NotMasked)
        );
    }

    #[test]
    fn failed_decoder_stays_failed_and_closed_one_swallows() {
        let mut decoder = Decoder::new(Role::Client);
        assert!(
            decoder
                .decode(&mut BytesMut::from(&b"\x83\x00"[..]))
                .is_err()
        );
        assert!(
            decoder
                .decode(&mut BytesMut::from(&b"\x82\x00"[..]))
                .is_err()
        );

        let mut decoder = Decoder::new(Role::Client);
        let mut input = BytesMut::from(&b"\x88\x00\x82\x01a"[..]);
        assert_eq!(
            decoder.decode(&mut input),
            Ok(Some(Item::Close(CloseCode::NO_STATUS)))
        );
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(input.is_empty());
    }
}
