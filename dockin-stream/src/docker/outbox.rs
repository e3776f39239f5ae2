use std::{collections::VecDeque, fmt};

use bytes::{Bytes, BytesMut};

/// Bytes for the wire: small ones gathered, so that many leave in one write, large ones as they
/// are.
#[derive(Default)]
pub(super) struct Outbox {
    ready: VecDeque<Bytes>,
    batch: BytesMut,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_LIMIT {
            self.push_copy(&bytes);
        } else {
            self.close_batch();
            self.ready.push_back(bytes);
        }
    }

    pub(super) fn push_copy(&mut self, bytes: &[u8]) {
        self.batch.extend_from_slice(bytes);
        if self.batch.len() >= BATCH {
            self.close_batch();
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.close_batch();
        }
        let next = self.ready.pop_front();
        if next.is_none() && self.batch.capacity() > COPY_LIMIT {
            // Who has nothing to say holds no buffer.
            self.batch = BytesMut::new();
        }
        next
    }

    fn close_batch(&mut self) {
        if !self.batch.is_empty() {
            self.ready.push_back(self.batch.split().freeze());
        }
    }
}

impl fmt::Debug for Outbox {
    // Queued bytes may be what somebody types: they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outbox")
            .field("pieces", &self.ready.len())
            .field("batch", &self.batch.len())
            .finish()
    }
}

/// Bytes up to which copying is cheaper than one more piece in a gathered write.
const COPY_LIMIT: usize = 1024;
/// Bytes from which a batch is not continued: growing it would copy what it holds.
const BATCH: usize = 16 * 1024;
