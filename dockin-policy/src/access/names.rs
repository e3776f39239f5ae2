//! Texts as numbers: each different text once, all in one arena.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Different texts, numbered from 0 in the order they came.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each text ends; it starts where the one before it ends.
    ends: Vec<u32>,
    table: HashTable<u32>,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a number, or nothing for a number that was never given.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        span(&self.bytes, &self.ends, id)
    }

    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        let equal = |id: &u32| self.text(*id) == text;
        self.table.find(hash(text), equal).copied()
    }

    /// The number of a text, a new one when it is new.
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        if let Some(id) = self.find(text) {
            return id;
        }
        let id = number(self.ends.len());
        self.bytes.extend_from_slice(text);
        self.ends.push(number(self.bytes.len()));
        let (bytes, ends) = (&self.bytes, &self.ends);
        let rehash = |id: &u32| hash(span(bytes, ends, *id));
        self.table.insert_unique(hash(text), id, rehash);
        id
    }
}

fn span<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = id.checked_sub(1).and_then(|before| ends.get(before));
    let (start, end) = (start.copied().unwrap_or(0), ends.get(id).copied());
    bytes
        .get(start as usize..end.unwrap_or(0) as usize)
        .unwrap_or_default()
}

/// The seed is fixed: who could choose texts that collide can write rules, and needs no more.
fn hash(text: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0x0d0c_4149).build_hasher();
    hasher.write(text);
    hasher.finish()
}

/// A count as it is stored. Sources of more than 4 GiB are refused before any is made.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
