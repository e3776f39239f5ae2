use bytes::{Buf, Bytes, BytesMut};

use super::{Decoder, State};
use crate::websocket::{MessageKind, OpCode, mask::MaskKey};

impl Decoder {
    /// Takes the whole, unfragmented binary messages at the front of `input` that begin with the
    /// same byte, one that `accept` takes, and joins what follows that byte in each: payloads move
    /// together inside the buffer, nothing is allocated. Gives the byte and the joined payload.
    ///
    /// `None` when the first message is not of this kind, is not complete, or is long enough that
    /// to move it would cost more than to hand it on: see [`decode`](Self::decode). Nothing is
    /// taken then.
    pub fn decode_joined(
        &mut self,
        input: &mut BytesMut,
        accept: impl Fn(u8) -> bool,
    ) -> Option<(u8, Bytes)> {
        if !matches!(self.state, State::Open) || !self.is_between_messages() {
            return None;
        }
        let mut joined: Option<Joined> = None;
        let mut at = 0;
        // A malformed header ends the run; to say so is for `decode`.
        while let Some(rest) = input.get(at..)
            && let Ok(Some(header)) = self.header(rest)
            && let OpCode::Data(MessageKind::Binary) = header.opcode
            && header.last
            && (2..=JOIN_MAX).contains(&header.length)
            && let Ok(length) = usize::try_from(header.length)
            && let start = at + header.size
            && let Some(payload) = input.get_mut(start..start + length)
            && let Some(&first) = payload.first()
        {
            let mut mask = header.mask;
            let [key, ..] = mask.map_or([0; 4], MaskKey::to_bytes);
            let first = first ^ key;
            match &joined {
                None if !accept(first) => break,
                Some(run) if run.first != first => break,
                _ => {}
            }
            if let Some(mask) = &mut mask {
                mask.apply(payload);
            }
            let body = start + 1..start + length;
            at = body.end;
            match &mut joined {
                None => {
                    joined = Some(Joined {
                        first,
                        start: body.start,
                        end: body.end,
                    });
                }
                Some(run) => {
                    let length = body.len();
                    input.copy_within(body, run.end);
                    run.end += length;
                }
            }
        }
        let Joined { first, start, end } = joined?;
        input.advance(start);
        let bytes = input.split_to(end - start).freeze();
        input.advance(at - end);
        Some((first, bytes))
    }
}

/// Messages whose bodies lie one behind the other in the buffer.
struct Joined {
    first: u8,
    start: usize,
    end: usize,
}

/// Payload bytes up to which messages are joined: to move more costs what a buffer of its own does.
const JOIN_MAX: u64 = 4 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::{Bytes, BytesMut};

    use crate::websocket::{Decoder, Encoder, Item, OpCode, Role};

    /// What a client says on channels: (channel, body).
    fn masked(messages: &[(u8, &[u8])]) -> BytesMut {
        let mut encoder = Encoder::client(3);
        for (channel, body) in messages {
            encoder.encode(OpCode::BINARY, &[*channel], Bytes::copy_from_slice(body));
        }
        std::iter::from_fn(|| encoder.poll_transmit())
            .flatten()
            .collect()
    }

    fn joined(input: &mut BytesMut) -> Option<(u8, Bytes)> {
        Decoder::new(Role::Server).decode_joined(input, |channel| channel < 2)
    }

    #[test]
    fn messages_of_one_channel_come_as_one_in_order() {
        let mut input = masked(&[(0, b"ab"), (0, b"c"), (0, b"defg"), (1, b"x"), (0, b"y")]);
        assert_eq!(
            joined(&mut input),
            Some((0, Bytes::from_static(b"abcdefg")))
        );
        assert_eq!(joined(&mut input), Some((1, Bytes::from_static(b"x"))));
        assert_eq!(joined(&mut input), Some((0, Bytes::from_static(b"y"))));
        assert_eq!(joined(&mut input), None);
        assert!(input.is_empty());
    }

    #[test]
    fn message_of_another_kind_is_left_as_it_is() {
        let long = vec![7; 8 * 1024];
        for other in [
            masked(&[(2, b"nobody reads this")]),
            masked(&[(0, b"")]),
            masked(&[(0, &long)]),
            BytesMut::from(&b"\x81\x82\0\0\0\x00a"[..]),
            BytesMut::from(&b"\x02\x82\0\0\0\0\0a"[..]),
            BytesMut::from(&b"\x89\x80\0\0\0\0"[..]),
            BytesMut::from(&b"\x82\x02\0a"[..]),
            masked(&[(0, b"cut")]).split_to(9),
        ] {
            let mut input = other.clone();
            assert_eq!(joined(&mut input), None, "{other:02x?}");
            assert_eq!(input, other);

            let mut input = masked(&[(0, b"before")]);
            input.unsplit(other.clone());
            assert_eq!(joined(&mut input), Some((0, Bytes::from_static(b"before"))));
            assert_eq!(input, other, "what follows a run is not unmasked");
        }
    }

    #[test]
    fn nothing_is_joined_inside_a_fragmented_message() {
        let mut decoder = Decoder::new(Role::Client);
        let mut input = BytesMut::from(&b"\x02\x02\x01a\x82\x02\x01b"[..]);
        assert!(matches!(
            decoder.decode(&mut input),
            Ok(Some(Item::Span(_)))
        ));
        assert_eq!(decoder.decode_joined(&mut input, |_| true), None);
        assert!(decoder.decode(&mut input).is_err());
        assert_eq!(decoder.decode_joined(&mut input, |_| true), None);
    }
}
