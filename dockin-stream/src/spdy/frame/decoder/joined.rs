use bytes::{Buf, Bytes, BytesMut};

use super::FrameDecoder;
use crate::spdy::frame::StreamId;

impl FrameDecoder {
    /// Takes the whole, short DATA frames of one stream at the front of `input` and joins their
    /// payloads inside the buffer: nothing is allocated. Gives the stream and the joined payload.
    ///
    /// `None` when the first frame is not of this kind, ends its stream, or is long enough that to
    /// move it would cost more than to hand it on: see [`decode`](Self::decode). Nothing is taken
    /// then.
    pub fn decode_joined(&mut self, input: &mut BytesMut) -> Option<(StreamId, Bytes)> {
        if self.data.is_some() {
            return None;
        }
        let mut joined: Option<Joined> = None;
        let mut at = 0;
        while let Some(&[a, b, c, d, 0, 0, high, low]) =
            input.get(at..).and_then(<[u8]>::first_chunk)
            && a & 0x80 == 0
            && let length = usize::from(u16::from_be_bytes([high, low]))
            && (1..=JOIN_MAX).contains(&length)
            && let Some(stream) = StreamId::new(u32::from_be_bytes([a, b, c, d]))
            && joined.as_ref().is_none_or(|run| run.stream == stream)
            && let start = at + HEADER
            && start + length <= input.len()
        {
            at = start + length;
            match &mut joined {
                None => {
                    joined = Some(Joined {
                        stream,
                        start,
                        end: at,
                    });
                }
                Some(run) => {
                    input.copy_within(start..at, run.end);
                    run.end += length;
                }
            }
        }
        let Joined { stream, start, end } = joined?;
        input.advance(start);
        let bytes = input.split_to(end - start).freeze();
        input.advance(at - end);
        Some((stream, bytes))
    }
}

/// Frames whose payloads lie one behind the other in the buffer.
struct Joined {
    stream: StreamId,
    start: usize,
    end: usize,
}

/// Bytes of a frame's header.
const HEADER: usize = 8;
/// Payload bytes up to which frames are joined: to move more costs what a buffer of its own does.
const JOIN_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::{Bytes, BytesMut};

    use crate::spdy::{Frame, FrameDecoder, FrameEncoder, StreamId};

    fn data(frames: &[(u32, &[u8], bool)]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for (stream, body, fin) in frames {
            let frame = Frame::Data {
                stream: StreamId::new(*stream).unwrap(),
                bytes: Bytes::copy_from_slice(body),
                fin: *fin,
            };
            FrameEncoder::new().encode(&frame, &mut bytes);
        }
        bytes
    }

    fn joined(input: &mut BytesMut) -> Option<(u32, Bytes)> {
        let (stream, bytes) = FrameDecoder::new().decode_joined(input)?;
        Some((stream.value(), bytes))
    }

    #[test]
    fn frames_of_one_stream_come_as_one_in_order() {
        let mut input = data(&[
            (5, b"ab", false),
            (5, b"c", false),
            (5, b"defg", false),
            (7, b"x", false),
            (5, b"y", true),
        ]);
        assert_eq!(
            joined(&mut input),
            Some((5, Bytes::from_static(b"abcdefg")))
        );
        assert_eq!(joined(&mut input), Some((7, Bytes::from_static(b"x"))));
        assert_eq!(joined(&mut input), None, "the end of a stream is told");
        assert_eq!(input, data(&[(5, b"y", true)]));
    }

    #[test]
    fn frame_of_another_kind_is_left_as_it_is() {
        let mut ping = BytesMut::new();
        FrameEncoder::new().encode(&Frame::Ping { id: 1 }, &mut ping);
        for other in [
            ping,
            data(&[(5, b"", false)]),
            data(&[(5, &[7; 8 * 1024], false)]),
            data(&[(5, b"cut", false)]).split_to(10),
            BytesMut::from(&b"\0\0\0\0\0\0\0\x01a"[..]),
            BytesMut::from(&b"\0\0\0\x05\x02\0\0\x01a"[..]),
        ] {
            let mut input = other.clone();
            assert_eq!(joined(&mut input), None, "{other:02x?}");
            assert_eq!(input, other);

            let mut input = data(&[(5, b"before", false)]);
            input.unsplit(other.clone());
            assert_eq!(joined(&mut input), Some((5, Bytes::from_static(b"before"))));
            assert_eq!(input, other);
        }
    }

    #[test]
    fn nothing_is_joined_inside_a_long_frame() {
        let mut decoder = FrameDecoder::new();
        let mut input = BytesMut::from(&b"\0\0\0\x05\0\0\0\x10a"[..]);
        assert!(decoder.decode(&mut input).unwrap().is_some());
        let mut rest = data(&[(5, b"in it", false)]);
        assert_eq!(decoder.decode_joined(&mut rest), None);
    }
}
