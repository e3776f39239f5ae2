//! Buffers that go from connection to connection: who waits holds none, and who works finds one
//! that is still in the processor's cache, without asking the allocator.

use std::cell::RefCell;

use bytes::BytesMut;

use crate::limits;

/// Buffers that a thread keeps for its connections: as many as may be on their way on a session's
/// two sides.
const SPARE: usize = 2 * limits::HIGH_WATER / limits::READ_BUFFER;

thread_local! {
    static SPARES: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Makes room for `additional` bytes behind what `buffer` holds, at most
/// [`limits::READ_BUFFER`] of them.
pub(super) fn make_room(buffer: &mut BytesMut, additional: usize) {
    if buffer.try_reclaim(additional) {
        return;
    }
    if !buffer.is_empty() {
        buffer.reserve(additional);
        return;
    }
    let free = SPARES
        .with_borrow_mut(|spares| {
            // What was read into the others is still on its way.
            let free = spares
                .iter_mut()
                .position(|spare| spare.try_reclaim(additional))?;
            Some(spares.swap_remove(free))
        })
        .unwrap_or_else(|| BytesMut::with_capacity(limits::READ_BUFFER + SLACK));
    give_back(&mut std::mem::replace(buffer, free));
}

/// Leaves `buffer`, which holds nothing that is needed, to the thread's next connection.
pub(super) fn give_back(buffer: &mut BytesMut) {
    let mut spare = std::mem::take(buffer);
    if spare.capacity() > 0 {
        spare.clear();
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE {
                spares.push(spare);
            }
        });
    }
}

/// Never read into, so that a full buffer still has room and is told from none.
const SLACK: usize = 64;
