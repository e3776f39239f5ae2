use std::cmp;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    OutputStream,
    docker::{Demultiplexer, Item, Shape},
};

use crate::{Error, ErrorKind};

/// Bytes reserved for a read of a quiet stream: an idle session holds at most this.
const SMALL_READ: usize = 4 * 1024;
/// Bytes reserved for a read of a busy stream.
const LARGE_READ: usize = 128 * 1024;

/// Splits the daemon's raw stream into the process's two outputs, and owns the buffer that it is
/// read into.
pub(super) struct Demux {
    buffer: BytesMut,
    frames: Demultiplexer,
    /// How much to read next: grows while reads fill it.
    appetite: usize,
}

impl Demux {
    pub(super) fn new(tty: bool, early: BytesMut) -> Self {
        Self {
            buffer: early,
            frames: Demultiplexer::new(Shape::with_tty(tty)),
            appetite: SMALL_READ,
        }
    }

    /// Where the next read goes; only spare capacity is to be filled.
    pub(super) fn spare(&mut self) -> &mut BytesMut {
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < self.appetite / 2 {
            self.buffer.reserve(self.appetite);
        }
        &mut self.buffer
    }

    /// Tells how much a read into [`spare`](Self::spare) gave.
    pub(super) fn filled(&mut self, read: usize) {
        if self.buffer.len() == self.buffer.capacity() {
            self.appetite = cmp::min(self.appetite * 4, LARGE_READ);
        } else if read < self.appetite / 8 {
            self.appetite = cmp::max(self.appetite / 2, SMALL_READ);
        }
    }

    /// Nothing came: gives a large empty buffer back. The appetite stays, for a stream that is
    /// read faster than it is written is idle between all its frames.
    pub(super) fn idle(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > SMALL_READ {
            self.buffer = BytesMut::new();
        }
    }

    /// Takes bytes that were read elsewhere.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            // Copies only when somebody else holds the same allocation.
            self.buffer = BytesMut::from(bytes);
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The next piece of output in what was read, `None` when more must be read.
    pub(super) fn next(&mut self) -> Result<Option<(OutputStream, Bytes)>, Error> {
        match self.frames.decode(&mut self.buffer) {
            Ok(Some(Item::Output(stream, bytes))) => Ok(Some((stream, bytes))),
            Ok(Some(Item::SystemError(text))) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("docker ended the stream: {text}"),
            )),
            Ok(_) => Ok(None),
            Err(error) => Err(Error::new(
                ErrorKind::Misbehaved,
                format!("docker sent a {error}"),
            )),
        }
    }

    /// Whether the stream may end here, behind what [`next`](Self::next) said `None` to: not
    /// inside a frame.
    pub(super) const fn may_end(&self) -> bool {
        self.frames.may_end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use bytes::{Bytes, BytesMut};
    use dockin_stream::OutputStream::{Stderr, Stdout};

    use super::Demux;
    use crate::ErrorKind;

    #[test]
    fn outputs_come_apart_wherever_the_input_is_cut() {
        let wire = [
            frame(1, b"one"),
            frame(2, b"two"),
            frame(1, b""),
            frame(0, b"three"),
            frame(2, &[7; 300]),
        ]
        .concat();
        for step in 1..wire.len() {
            let mut demux = Demux::new(false, BytesMut::new());
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for piece in wire.chunks(step) {
                demux.push(Bytes::copy_from_slice(piece));
                while let Some((stream, bytes)) = demux.next().unwrap() {
                    assert!(!bytes.is_empty());
                    match stream {
                        Stdout => stdout.extend_from_slice(&bytes),
                        Stderr => stderr.extend_from_slice(&bytes),
                    }
                }
            }
            assert_eq!(stdout, b"onethree", "cut every {step}");
            assert_eq!(
                stderr,
                [&b"two"[..], &[7; 300]].concat(),
                "cut every {step}"
            );
            assert!(demux.may_end());
        }
    }

    #[test]
    fn a_payload_is_passed_on_before_its_frame_is_complete() {
        let mut demux = Demux::new(
            false,
            BytesMut::from(&b"\x01\0\0\0\xff\xff\xff\xffpart"[..]),
        );
        assert_eq!(
            demux.next().unwrap(),
            Some((Stdout, Bytes::from_static(b"part")))
        );
        assert_eq!(demux.next().unwrap(), None);
        assert!(!demux.may_end());
    }

    #[test]
    fn a_terminals_bytes_are_no_frames() {
        let mut demux = Demux::new(true, BytesMut::from(&b"\x01\x02\x03"[..]));
        assert_eq!(
            demux.next().unwrap(),
            Some((Stdout, Bytes::from_static(b"\x01\x02\x03")))
        );
        assert!(demux.may_end());
    }

    #[test]
    fn an_unknown_type_and_the_daemons_own_error_end_the_stream() {
        let mut demux = Demux::new(false, BytesMut::from(&frame(4, b"x")[..]));
        assert_eq!(demux.next().unwrap_err().kind(), ErrorKind::Misbehaved);
        let wire = frame(3, b"disk is full\n");
        let mut demux = Demux::new(false, BytesMut::from(&wire[..10]));
        assert_eq!(demux.next().unwrap(), None);
        demux.push(Bytes::copy_from_slice(&wire[10..]));
        let error = demux.next().unwrap_err();
        assert_eq!(error.message(), "docker ended the stream: disk is full");
    }

    #[test]
    fn a_cut_header_is_no_end() {
        let mut demux = Demux::new(false, BytesMut::from(&b"\x01\0\0"[..]));
        assert_eq!(demux.next().unwrap(), None);
        assert!(!demux.may_end());
    }

    #[test]
    fn an_idle_stream_gives_its_buffer_back() {
        let mut demux = Demux::new(true, BytesMut::new());
        for _ in 0..8 {
            let spare = demux.spare();
            spare.resize(spare.capacity(), 0);
            demux.filled(spare_length(&demux));
            while demux.next().unwrap().is_some() {}
        }
        assert!(demux.spare().capacity() > 64 * 1024);
        demux.idle();
        assert_eq!(demux.buffer.capacity(), 0);
    }

    fn spare_length(demux: &Demux) -> usize {
        demux.buffer.len()
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0, 0][..], &length, payload].concat()
    }
}
