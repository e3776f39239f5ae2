use bytes::BytesMut;
use dockin_stream::spdy::{Frame, FrameDecoder, FrameEncoder, FrameError};

use crate::cut::pieces;

/// SPDY frames: how to cut, then a connection's bytes.
///
/// The frames and the verdict do not depend on the cut, and what was read survives our encoder.
///
/// # Panics
///
/// A law is broken.
pub fn spdy_frame(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else {
        return;
    };
    let whole = decode([bytes]);
    assert_eq!(decode(pieces(bytes, seed)), whole, "depends on the cut");

    let mut encoder = FrameEncoder::new();
    let mut wire = BytesMut::new();
    for frame in &whole.frames {
        encoder.encode(frame, &mut wire);
    }
    let again = decode([&wire[..]]);
    assert_eq!(again.frames, whole.frames, "does not survive the encoder");
    assert!(again.is_clean(), "our own bytes are refused");
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Decoded {
    /// Pieces of one DATA frame are one.
    pub(crate) frames: Vec<Frame>,
    error: Option<FrameError>,
    inside_data: bool,
    left: usize,
}

impl Decoded {
    /// Whether the bytes were frames and nothing else.
    pub(crate) const fn is_clean(&self) -> bool {
        self.error.is_none() && !self.inside_data && self.left == 0
    }
}

pub(crate) fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = FrameDecoder::new();
    let mut input = BytesMut::new();
    let mut decoded = Decoded {
        frames: Vec::new(),
        error: None,
        inside_data: false,
        left: 0,
    };
    // Whether the last frame is the beginning of a DATA frame that goes on.
    let mut inside = false;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match (decoder.decode(&mut input), decoded.frames.last_mut()) {
                (Ok(None), _) => break,
                (Err(error), _) => {
                    decoded.error = Some(error);
                    return decoded;
                }
                (
                    Ok(Some(Frame::Data { bytes, fin, .. })),
                    Some(Frame::Data {
                        bytes: known,
                        fin: ended,
                        ..
                    }),
                ) if inside => {
                    *known = [&known[..], &bytes].concat().into();
                    *ended = fin;
                }
                (Ok(Some(frame)), _) => decoded.frames.push(frame),
            }
            inside = decoder.is_inside_data();
        }
    }
    decoded.inside_data = decoder.is_inside_data();
    decoded.left = input.len();
    decoded
}
