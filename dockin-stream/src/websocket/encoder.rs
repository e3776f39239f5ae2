mod masked;

use std::{collections::VecDeque, fmt};

use bytes::{Bytes, BytesMut};

use self::masked::Masked;
use super::{OpCode, Role, mask::MaskKey};

/// Writes whole, unfragmented RFC 6455 frames.
///
/// A server's small frames are copied one behind the other into a batch, so that many of them leave
/// in one write. Its payload above 1 KiB is not copied: its header closes the batch, the payload
/// follows as it is. A client's payload must be masked: it is when it leaves, while it is copied
/// into what the caller writes from, see [`poll_transmit_into`](Self::poll_transmit_into).
pub struct Encoder {
    /// Present in the client role.
    masked: Option<Masked>,
    ready: VecDeque<Piece>,
    batch: BytesMut,
    /// The last piece given out was a header whose payload is still to come.
    inside_frame: bool,
}

struct Piece {
    bytes: Bytes,
    payload_follows: bool,
}

impl Encoder {
    /// Frames without a mask.
    #[must_use]
    pub fn server() -> Self {
        Self::new(None)
    }

    /// Masked frames with keys that follow from `mask_seed`.
    #[must_use]
    pub fn client(mask_seed: u64) -> Self {
        Self::new(Some(Masked::new(mask_seed)))
    }

    /// The role whose frames these are.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self.masked {
            None => Role::Server,
            Some(_) => Role::Client,
        }
    }

    /// Queues one frame whose payload is `prefix` and then `payload`.
    pub fn encode(&mut self, opcode: OpCode, prefix: &[u8], payload: Bytes) {
        if let Some(masked) = &mut self.masked {
            masked.queue(opcode, prefix, payload);
            return;
        }
        let length = prefix.len() + payload.len();
        if payload.len() <= COPY_LIMIT {
            self.make_room(MAX_HEADER + length);
            put_header(&mut self.batch, opcode, None, length);
            self.batch.extend_from_slice(prefix);
            self.batch.extend_from_slice(&payload);
            if self.batch.len() >= BATCH {
                self.close_batch(false);
            }
        } else {
            self.make_room(MAX_HEADER + prefix.len());
            put_header(&mut self.batch, opcode, None, length);
            self.batch.extend_from_slice(prefix);
            self.close_batch(true);
            self.ready.push_back(Piece {
                bytes: payload,
                payload_follows: false,
            });
        }
    }

    /// One frame by itself, for what may overtake the queue. `payload` is at most 125 bytes.
    pub fn encode_now(&mut self, opcode: OpCode, payload: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(MAX_HEADER + payload.len());
        let mut key = self.masked.as_mut().map(Masked::next_key);
        put_header(&mut frame, opcode, key, payload.len());
        match &mut key {
            Some(key) => key.extend(&mut frame, payload),
            None => frame.extend_from_slice(payload),
        }
        frame.freeze()
    }

    /// Whether the next bytes go on in the middle of a frame, so that nothing may overtake them.
    #[must_use]
    pub const fn is_inside_frame(&self) -> bool {
        match &self.masked {
            Some(masked) => masked.is_inside_frame(),
            None => self.inside_frame,
        }
    }

    /// The next bytes for the wire.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if let Some(masked) = &mut self.masked {
            if masked.queued() == 0 {
                return None;
            }
            let mut bytes = BytesMut::with_capacity(masked.queued().min(BATCH) + 1);
            masked.fill(&mut bytes);
            return (!bytes.is_empty()).then(|| bytes.freeze());
        }
        if self.ready.is_empty() {
            self.close_batch(false);
        }
        let piece = self.ready.pop_front()?;
        self.inside_frame = piece.payload_follows;
        Some(piece.bytes)
    }

    /// What of the queue has to be copied on its way out, bytes at most.
    #[must_use]
    pub const fn to_copy(&self) -> usize {
        match &self.masked {
            Some(masked) => masked.queued(),
            None => 0,
        }
    }

    /// As [`poll_transmit`](Self::poll_transmit), but what has to be copied anyway is appended to
    /// `room`, as much of it as fits there without growing it; `room` comes before the bytes given.
    pub fn poll_transmit_into(&mut self, room: &mut BytesMut) -> Option<Bytes> {
        if let Some(masked) = &mut self.masked {
            masked.fill(room);
            None
        } else {
            self.poll_transmit()
        }
    }

    fn new(masked: Option<Masked>) -> Self {
        Self {
            masked,
            ready: VecDeque::new(),
            batch: BytesMut::new(),
            inside_frame: false,
        }
    }

    /// What has left is used again, so that nothing is allocated for a header alone.
    fn make_room(&mut self, additional: usize) {
        if self.batch.capacity() - self.batch.len() < additional {
            self.batch.reserve(additional.max(ROOM));
        }
    }

    fn close_batch(&mut self, payload_follows: bool) {
        if !self.batch.is_empty() {
            self.ready.push_back(Piece {
                bytes: self.batch.split().freeze(),
                payload_follows,
            });
        }
    }
}

impl fmt::Debug for Encoder {
    // Queued bytes may be what somebody types: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Encoder")
            .field("role", &self.role())
            .field("pieces", &self.ready.len())
            .field("batch", &self.batch.len())
            .finish_non_exhaustive()
    }
}

fn put_header(output: &mut BytesMut, opcode: OpCode, key: Option<MaskKey>, length: usize) {
    let mask_bit = if key.is_some() { 0x80 } else { 0 };
    output.extend_from_slice(&[0x80 | opcode.bits()]);
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        output.extend_from_slice(&[mask_bit | short]);
    } else if let Ok(medium) = u16::try_from(length) {
        output.extend_from_slice(&[mask_bit | 126]);
        output.extend_from_slice(&medium.to_be_bytes());
    } else {
        output.extend_from_slice(&[mask_bit | 127]);
        output.extend_from_slice(&(length as u64).to_be_bytes());
    }
    if let Some(key) = key {
        output.extend_from_slice(&key.to_bytes());
    }
}

/// Header bytes at most: 2, an 8-byte length and a 4-byte mask key.
const MAX_HEADER: usize = 14;
/// Payload bytes up to which copying is cheaper than one more piece in a gathered write.
const COPY_LIMIT: usize = 1024;
/// Bytes that one allocation holds at least.
const ROOM: usize = 1024;
/// Bytes from which a batch is not continued: growing it would copy what it holds.
const BATCH: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::Bytes;

    use super::{COPY_LIMIT, Encoder};
    use crate::websocket::OpCode;

    #[test]
    fn small_frames_leave_in_one_piece() {
        let mut encoder = Encoder::server();
        encoder.encode(OpCode::BINARY, &[1], Bytes::from_static(b"ab"));
        encoder.encode(OpCode::Close, &[3, 0xe8], Bytes::new());
        assert_eq!(
            encoder.poll_transmit().as_deref(),
            Some(&b"\x82\x03\x01ab\x88\x02\x03\xe8"[..])
        );
        assert_eq!(encoder.poll_transmit(), None);
    }

    #[test]
    fn large_server_payload_is_not_copied() {
        let payload = Bytes::from(vec![7; COPY_LIMIT + 1]);
        let mut encoder = Encoder::server();
        encoder.encode(OpCode::BINARY, &[2], payload.clone());
        assert_eq!(
            encoder.poll_transmit().as_deref(),
            Some(&b"\x82\x7e\x04\x02\x02"[..])
        );
        assert!(encoder.is_inside_frame());
        let sent = encoder.poll_transmit().unwrap();
        assert_eq!(sent.as_ptr(), payload.as_ptr());
        assert!(!encoder.is_inside_frame());
    }

    #[test]
    fn lengths_use_their_shortest_form() {
        for (length, head) in [
            (125, &b"\x82\x7d"[..]),
            (126, b"\x82\x7e\x00\x7e"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let mut encoder = Encoder::server();
            encoder.encode(OpCode::BINARY, &[], vec![0; length].into());
            assert!(
                encoder.poll_transmit().unwrap().starts_with(head),
                "{length}"
            );
        }
    }
}
