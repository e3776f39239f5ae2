use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_HEADER, put_header};
use crate::websocket::{
    OpCode,
    mask::{MaskKey, MaskKeys},
};

/// A client's frames on their way out. Payloads stay shared until they leave; then they are copied
/// and masked in one pass, into whatever room there is.
pub(super) struct Masked {
    keys: MaskKeys,
    waiting: VecDeque<Frame>,
    /// The frame whose header has left.
    open: Option<(MaskKey, Bytes)>,
    /// Bytes of headers and payloads that have not left, at most.
    queued: usize,
}

struct Frame {
    opcode: OpCode,
    prefix: Prefix,
    payload: Bytes,
}

/// A channel byte or a close code, kept where it needs no allocation.
struct Prefix {
    bytes: [u8; MAX_PREFIX],
    length: usize,
}

impl Masked {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            keys: MaskKeys::new(seed),
            waiting: VecDeque::new(),
            open: None,
            queued: 0,
        }
    }

    pub(super) const fn next_key(&mut self) -> MaskKey {
        self.keys.next_key()
    }

    pub(super) fn queue(&mut self, opcode: OpCode, prefix: &[u8], payload: Bytes) {
        self.queued += MAX_HEADER + prefix.len() + payload.len();
        let frame = match Prefix::new(prefix) {
            Some(prefix) => Frame {
                opcode,
                prefix,
                payload,
            },
            None => Frame {
                opcode,
                prefix: Prefix::NONE,
                payload: [prefix, &payload].concat().into(),
            },
        };
        self.waiting.push_back(frame);
    }

    /// Whether a frame has left in part.
    pub(super) const fn is_inside_frame(&self) -> bool {
        self.open.is_some()
    }

    /// What room all that waits would need.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Appends what fits into the room that `out` has, but for a byte: so its owner can tell a full
    /// buffer from none.
    pub(super) fn fill(&mut self, out: &mut BytesMut) {
        loop {
            let room = (out.capacity() - out.len()).saturating_sub(1);
            if let Some((key, payload)) = &mut self.open {
                let part = payload.get(..room).unwrap_or(payload);
                key.extend(out, part);
                let count = part.len();
                self.queued -= count;
                payload.advance(count);
                if !payload.is_empty() {
                    return;
                }
                self.open = None;
                continue;
            }
            let Some(frame) = self
                .waiting
                .pop_front_if(|frame| MAX_HEADER + frame.prefix.length <= room)
            else {
                return;
            };
            let prefix = frame.prefix.as_bytes();
            self.queued -= MAX_HEADER + prefix.len();
            let mut key = self.keys.next_key();
            let length = prefix.len() + frame.payload.len();
            put_header(out, frame.opcode, Some(key), length);
            key.extend(out, prefix);
            if !frame.payload.is_empty() {
                self.open = Some((key, frame.payload));
            }
        }
    }
}

impl Prefix {
    const NONE: Self = Self {
        bytes: [0; MAX_PREFIX],
        length: 0,
    };

    fn new(prefix: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_PREFIX];
        bytes.get_mut(..prefix.len())?.copy_from_slice(prefix);
        Some(Self {
            bytes,
            length: prefix.len(),
        })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Longer ones are copied in front of their payload.
const MAX_PREFIX: usize = 4;
