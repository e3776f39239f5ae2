use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU16,
};

use bytes::Bytes;

use super::ForwardId;
use crate::spdy::{Connection, StreamId};

/// The two streams of one forwarded connection, and what waits to be sent on it.
pub(super) struct Pair {
    pub(super) port: NonZeroU16,
    pub(super) error: StreamId,
    pub(super) data: StreamId,
    /// What came on the error stream.
    pub(super) message: Vec<u8>,
    pub(super) error_ended: bool,
    /// The peer has ended its direction of the data stream, or we have ended ours.
    pub(super) remote_ended: bool,
    pub(super) local_ended: bool,
    /// The data stream has its SYN_REPLY: bytes may go out.
    accepted: bool,
    queue: VecDeque<Bytes>,
    queued: usize,
    finishing: bool,
    /// Has a place in `Pairs::turns`.
    waiting: bool,
}

impl Pair {
    pub(super) const fn new(
        port: NonZeroU16,
        error: StreamId,
        data: StreamId,
        accepted: bool,
    ) -> Self {
        Self {
            port,
            error,
            data,
            message: Vec::new(),
            error_ended: false,
            remote_ended: false,
            local_ended: false,
            accepted,
            queue: VecDeque::new(),
            queued: 0,
            finishing: false,
            waiting: false,
        }
    }

    /// Hands all that waits to `connection`, out of turn.
    pub(super) fn flush(&mut self, connection: &mut Connection) {
        self.queued = 0;
        for bytes in self.queue.drain(..) {
            connection.send(self.data, bytes);
        }
    }
}

/// The open pairs of a session. Those with something to send take turns, so that one in bulk does
/// not keep the others waiting.
#[derive(Default)]
pub(super) struct Pairs {
    pairs: BTreeMap<ForwardId, Pair>,
    streams: BTreeMap<StreamId, ForwardId>,
    turns: VecDeque<ForwardId>,
    last: u32,
}

impl Pairs {
    pub(super) fn insert(&mut self, pair: Pair) -> ForwardId {
        self.last = self.last.wrapping_add(1);
        let id = ForwardId(self.last);
        self.streams.insert(pair.error, id);
        self.streams.insert(pair.data, id);
        self.pairs.insert(id, pair);
        id
    }

    pub(super) fn remove(&mut self, id: ForwardId) -> Option<Pair> {
        let pair = self.pairs.remove(&id)?;
        self.streams.remove(&pair.error);
        self.streams.remove(&pair.data);
        Some(pair)
    }

    pub(super) fn find(&mut self, id: ForwardId) -> Option<&mut Pair> {
        self.pairs.get_mut(&id)
    }

    pub(super) fn of_stream(&mut self, stream: StreamId) -> Option<(ForwardId, &mut Pair)> {
        let id = *self.streams.get(&stream)?;
        Some((id, self.pairs.get_mut(&id)?))
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn ids(&self) -> Vec<ForwardId> {
        self.pairs.keys().copied().collect()
    }

    pub(super) fn queued(&self, id: ForwardId) -> usize {
        self.pairs.get(&id).map_or(0, |pair| pair.queued)
    }

    /// Whether the peer's error stream has not ended.
    pub(super) fn error_is_open(&self, id: ForwardId) -> bool {
        self.pairs.get(&id).is_some_and(|pair| !pair.error_ended)
    }

    pub(super) fn send(&mut self, id: ForwardId, bytes: Bytes) {
        if let Some(pair) = self.pairs.get_mut(&id)
            && !pair.finishing
            && !pair.local_ended
            && !bytes.is_empty()
        {
            pair.queued += bytes.len();
            pair.queue.push_back(bytes);
            self.take_turn(id);
        }
    }

    /// FIN behind what waits.
    pub(super) fn finish(&mut self, id: ForwardId) {
        if let Some(pair) = self.pairs.get_mut(&id)
            && !pair.local_ended
        {
            pair.finishing = true;
            self.take_turn(id);
        }
    }

    pub(super) fn accept(&mut self, id: ForwardId) {
        if let Some(pair) = self.pairs.get_mut(&id) {
            pair.accepted = true;
            if pair.finishing || !pair.queue.is_empty() {
                self.take_turn(id);
            }
        }
    }

    /// Hands all that waits to `connection`, except what its peer would drop.
    pub(super) fn flush(&mut self, connection: &mut Connection) {
        self.turns.clear();
        for pair in self.pairs.values_mut().filter(|pair| pair.accepted) {
            pair.waiting = false;
            pair.flush(connection);
            if pair.finishing && !pair.local_ended {
                pair.local_ended = true;
                connection.finish(pair.data);
            }
        }
    }

    fn take_turn(&mut self, id: ForwardId) {
        if let Some(pair) = self.pairs.get_mut(&id)
            && pair.accepted
            && !pair.waiting
        {
            pair.waiting = true;
            self.turns.push_back(id);
        }
    }

    /// Gives the next pair its turn on an idle `connection`; the id of one that sent its FIN.
    /// `None` when nothing waits.
    pub(super) fn next_turn(&mut self, connection: &mut Connection) -> Option<Turn> {
        let (id, pair) = loop {
            let id = self.turns.pop_front()?;
            // A pair that was closed leaves its place behind.
            if let Some(pair) = self.pairs.get_mut(&id) {
                break (id, pair);
            }
        };
        pair.waiting = false;
        let mut quantum = QUANTUM;
        while quantum > 0
            && let Some(mut bytes) = pair.queue.pop_front()
        {
            let part = bytes.split_to(bytes.len().min(quantum));
            quantum -= part.len();
            pair.queued -= part.len();
            connection.send(pair.data, part);
            if !bytes.is_empty() {
                pair.queue.push_front(bytes);
            }
        }
        if !pair.queue.is_empty() {
            self.take_turn(id);
        } else if pair.finishing && !pair.local_ended {
            pair.local_ended = true;
            connection.finish(pair.data);
            return Some(Turn::Finished(id));
        }
        Some(Turn::Sent)
    }
}

/// What a turn did.
#[derive(Debug)]
pub(super) enum Turn {
    Sent,
    Finished(ForwardId),
}

/// Bytes of one connection that go out before another's.
const QUANTUM: usize = 64 * 1024;
