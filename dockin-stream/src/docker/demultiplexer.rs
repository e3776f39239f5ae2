use bytes::{Buf, Bytes, BytesMut};

use super::{FrameError, HEADER_SIZE, Lane, Shape};
use crate::{OutputStream, limits::MAX_DOCKER_ERROR};

/// What a [`Demultiplexer`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// Part of what the process printed. Never empty.
    Output(OutputStream, Bytes),
    /// The daemon gave up and says why; the first
    /// [`MAX_DOCKER_ERROR`](crate::limits::MAX_DOCKER_ERROR) bytes of it. Nothing follows.
    SystemError(String),
}

/// Splits a daemon's stream into the process's two outputs.
///
/// ```text
/// +------+---------+------------------+-----------+
/// | type | ignored | length           | payload   |   with a TTY: payload only
/// | 1    | 3       | 4, big endian    | length    |
/// +------+---------+------------------+-----------+
/// ```
///
/// A payload is given as spans of the caller's buffer as its bytes arrive, so that no length it
/// declares costs memory. Frames without a payload are legal and give nothing. After an error
/// every further call gives the same error; after [`Item::SystemError`] input is thrown away.
///
/// # Example
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use dockin_stream::{OutputStream, docker::{Demultiplexer, Item, Shape}};
///
/// let mut frames = Demultiplexer::new(Shape::Multiplexed);
/// let mut input = BytesMut::from(&b"\x02\0\0\0\0\0\0\x05oo"[..]);
/// let item = Item::Output(OutputStream::Stderr, Bytes::from_static(b"oo"));
/// assert_eq!(frames.decode(&mut input)?, Some(item));
/// assert!(!frames.may_end());
/// # Ok::<(), dockin_stream::docker::FrameError>(())
/// ```
///
/// Spec: Docker Engine API, "Stream format" of `ContainerAttach`.
#[derive(Debug)]
pub struct Demultiplexer {
    state: State,
    /// Bytes taken so far.
    offset: u64,
    /// Part of a header or of an error text waits in the caller's buffer.
    partial: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Raw,
    Header,
    /// Inside a frame that has so many bytes left, at least one.
    Payload(OutputStream, u32),
    /// Inside the daemon's own text of so many bytes.
    SystemError(u32),
    Ended,
    Failed(FrameError),
}

impl Demultiplexer {
    /// A demultiplexer for a stream of this shape, right behind the HTTP head.
    #[must_use]
    pub const fn new(shape: Shape) -> Self {
        Self {
            state: match shape {
                Shape::Raw => State::Raw,
                Shape::Multiplexed => State::Header,
            },
            offset: 0,
            partial: false,
        }
    }

    /// Takes the next item off `input`; `None` when more input is needed.
    ///
    /// # Errors
    ///
    /// [`FrameError::UnknownType`].
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Item>, FrameError> {
        let result = self.next(input);
        self.partial = !input.is_empty();
        result
    }

    /// Whether the stream may end here: not inside a frame. True only if the last
    /// [`decode`](Self::decode) left nothing in its input.
    #[must_use]
    pub const fn may_end(&self) -> bool {
        match self.state {
            State::Raw | State::Header => !self.partial,
            State::Ended => true,
            State::Payload(..) | State::SystemError(_) | State::Failed(_) => false,
        }
    }

    fn next(&mut self, input: &mut BytesMut) -> Result<Option<Item>, FrameError> {
        loop {
            match self.state {
                State::Raw => {
                    let bytes = self.take(input, u32::MAX);
                    return Ok(bytes.map(|bytes| Item::Output(OutputStream::Stdout, bytes)));
                }
                State::Header => {
                    // A wrong type is found by its one byte, however the input is cut.
                    let Some(&stream_type) = input.first() else {
                        return Ok(None);
                    };
                    let Some(lane) = Lane::from_byte(stream_type) else {
                        let error = FrameError::UnknownType {
                            stream_type,
                            offset: self.offset,
                        };
                        self.state = State::Failed(error);
                        return Err(error);
                    };
                    let Some(&[_, _, _, _, a, b, c, d]) = input.first_chunk::<HEADER_SIZE>() else {
                        return Ok(None);
                    };
                    self.advance(input, HEADER_SIZE);
                    self.state = match (lane, u32::from_be_bytes([a, b, c, d])) {
                        (Lane::Output(_), 0) => State::Header,
                        (Lane::Output(stream), length) => State::Payload(stream, length),
                        (Lane::SystemError, length) => State::SystemError(length),
                    };
                }
                State::Payload(stream, left) => {
                    let Some(bytes) = self.take(input, left) else {
                        return Ok(None);
                    };
                    // INVARIANT: at most `left` bytes were taken.
                    let left = left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(left));
                    self.state = if left == 0 {
                        State::Header
                    } else {
                        State::Payload(stream, left)
                    };
                    return Ok(Some(Item::Output(stream, bytes)));
                }
                State::SystemError(length) => {
                    // The start of a text that never ends is enough.
                    let want = (length as usize).min(MAX_DOCKER_ERROR);
                    let Some(text) = input.get(..want) else {
                        return Ok(None);
                    };
                    let text = String::from_utf8_lossy(text).trim_end().to_owned();
                    self.advance(input, want);
                    self.state = State::Ended;
                    return Ok(Some(Item::SystemError(text)));
                }
                State::Ended => {
                    input.clear();
                    return Ok(None);
                }
                State::Failed(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, input: &mut BytesMut, limit: u32) -> Option<Bytes> {
        let size = input.len().min(limit as usize);
        if size == 0 {
            return None;
        }
        self.offset = self.offset.saturating_add(size as u64);
        Some(input.split_to(size).freeze())
    }

    fn advance(&mut self, input: &mut BytesMut, size: usize) {
        self.offset = self.offset.saturating_add(size as u64);
        input.advance(size);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::{Bytes, BytesMut};

    use super::{Demultiplexer, Item};
    use crate::{
        OutputStream::{Stderr, Stdout},
        docker::{FrameError, Lane, Shape},
        limits::MAX_DOCKER_ERROR,
    };

    fn decode(shape: Shape, wire: &[u8], step: usize) -> (Vec<Item>, Option<FrameError>, bool) {
        let mut frames = Demultiplexer::new(shape);
        let mut items: Vec<Item> = Vec::new();
        let mut input = BytesMut::new();
        for piece in wire.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match (frames.decode(&mut input), items.last_mut()) {
                    (Ok(None), _) => break,
                    (Ok(Some(Item::Output(stream, bytes))), Some(Item::Output(last, known)))
                        if stream == *last =>
                    {
                        *known = [&known[..], &bytes].concat().into()
                    }
                    (Ok(Some(item)), _) => items.push(item),
                    (Err(error), _) => {
                        assert_eq!(frames.decode(&mut input), Err(error));
                        return (items, Some(error), frames.may_end());
                    }
                }
            }
        }
        (items, None, frames.may_end())
    }

    fn frame(lane: Lane, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        [&lane.header(length)[..], payload].concat()
    }

    #[test]
    fn outputs_come_apart_wherever_the_input_is_cut() {
        let wire = [
            frame(Lane::Output(Stdout), b"one"),
            frame(Lane::Output(Stderr), b"two"),
            frame(Lane::Output(Stdout), b""),
            b"\x00\xaa\xbb\xcc\0\0\0\x05three".to_vec(),
            frame(Lane::Output(Stderr), &[7; 300]),
        ]
        .concat();
        let expected = [
            Item::Output(Stdout, Bytes::from_static(b"one")),
            Item::Output(Stderr, Bytes::from_static(b"two")),
            Item::Output(Stdout, Bytes::from_static(b"three")),
            Item::Output(Stderr, Bytes::from(vec![7; 300])),
        ];
        for step in 1..=wire.len() {
            let (items, error, may_end) = decode(Shape::Multiplexed, &wire, step);
            assert_eq!((&items[..], error), (&expected[..], None), "every {step}");
            assert!(may_end);
        }
    }

    #[test]
    fn a_payload_is_passed_on_before_its_frame_is_complete_and_shares_the_buffer() {
        let mut input = BytesMut::from(&b"\x01\0\0\0\xff\xff\xff\xffpart"[..]);
        let address = input.as_ptr().wrapping_add(8);
        let mut frames = Demultiplexer::new(Shape::Multiplexed);
        let item = frames.decode(&mut input).unwrap();
        assert!(matches!(item, Some(Item::Output(Stdout, bytes)) if bytes.as_ptr() == address));
        assert_eq!(frames.decode(&mut input), Ok(None));
        assert!(!frames.may_end());
    }

    #[test]
    fn a_terminals_bytes_are_no_frames() {
        let (items, error, may_end) = decode(Shape::Raw, b"\x04\0\0", 3);
        assert_eq!(
            items,
            [Item::Output(Stdout, Bytes::from_static(b"\x04\0\0"))]
        );
        assert!(error.is_none() && may_end);
    }

    #[test]
    fn an_unknown_type_is_named_with_its_place() {
        let wire = [frame(Lane::Output(Stdout), b"ok"), vec![9, 0]].concat();
        for step in 1..=wire.len() {
            let (items, error, may_end) = decode(Shape::Multiplexed, &wire, step);
            assert_eq!(items.len(), 1);
            assert_eq!(
                error,
                Some(FrameError::UnknownType {
                    stream_type: 9,
                    offset: 10
                })
            );
            assert!(!may_end);
        }
    }

    #[test]
    fn the_daemons_own_error_ends_the_stream() {
        let wire = [
            frame(Lane::SystemError, b"disk is full\n"),
            b"\x09 is no frame".to_vec(),
        ]
        .concat();
        for step in 1..=wire.len() {
            let (items, error, may_end) = decode(Shape::Multiplexed, &wire, step);
            assert_eq!(items, [Item::SystemError("disk is full".to_owned())]);
            assert!(error.is_none() && may_end);
        }
        // A text of 4 GiB is over with its first bytes.
        let wire = [
            &b"\x03\0\0\0\xff\xff\xff\xff"[..],
            &[b'a'; MAX_DOCKER_ERROR],
        ]
        .concat();
        let (items, _, may_end) = decode(Shape::Multiplexed, &wire, wire.len());
        assert_eq!(items, [Item::SystemError("a".repeat(MAX_DOCKER_ERROR))]);
        assert!(may_end);
    }

    #[test]
    fn a_cut_header_or_payload_is_no_end() {
        for wire in [
            &b"\x01\0\0"[..],
            b"\x01\0\0\0\0\0\0\x02a",
            b"\x03\0\0\0\0\0\0\x02a",
        ] {
            let (_, error, may_end) = decode(Shape::Multiplexed, wire, 1);
            assert!(error.is_none() && !may_end, "{wire:02x?}");
        }
    }
}
