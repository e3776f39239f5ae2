//! Keys and values in a file of blocks, found without reading the rest.
//!
//! *Linear hashing*: a key is in the chain of blocks that its hash names, and one bucket after
//! the other is split as entries come, so that no call ever does more than its share of growing.
//! Buckets lie in groups of eight, each with two blocks for chains:
//!
//! ```text
//! | header | header | bucket 0 … 7 | extra 0, 1 | bucket 8 … 15 | extra 2, 3 | …
//! ```
//!
//! *A journal before it*: a commit writes the new content of every block that it changes as one
//! checksummed record, makes it durable, and is done. A reader takes a block from the journal
//! when it is there. When the journal is long, its blocks are written into the table and it starts
//! again; see [`Pages`]. Nothing that a crash tears in the table is not whole in the journal. The
//! newest records are there twice; see [`copies`].
//!
//! Linear hashing: Litwin, "Linear hashing: a new tool for file and table addressing", 1980.

mod block;
mod copies;
mod disk;
mod header;
mod journal;
mod pages;

use block::{Block, ROOM, size};
pub use disk::{Disk, FileName};
pub(crate) use header::Header;
use pages::Pages;

use std::rc::Rc;

use crate::store::StoreError;

/// Bytes of entries a bucket from which on the next one is split; chains stay short.
const FILL: u64 = 600;
/// Blocks; a longer chain is no chain.
const LONGEST_CHAIN: usize = 4096;
const GROUP: u32 = 8;
const EXTRA: u32 = 2;
const FIRST: u32 = 2;
/// Buckets of a new table.
const BUCKETS: u32 = GROUP;

/// A map from bytes to bytes on a [`Disk`].
#[derive(Debug)]
pub(crate) struct Table<D> {
    pages: Pages<D>,
}

impl<D: Disk> Table<D> {
    /// Opens the table, and makes it where there is none.
    pub(crate) fn open(disk: D) -> Result<Self, StoreError> {
        let pages = Pages::open(disk, BUCKETS)?;
        Ok(Self { pages })
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.pages.header
    }

    pub(crate) const fn header_mut(&mut self) -> &mut Header {
        &mut self.pages.header
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.find(key)?;
        Ok(found.and_then(|it| it.block.value(key).map(<[u8]>::to_vec)))
    }

    /// Gives a key a value.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let size = size(key, value);
        if size > ROOM {
            return Err(StoreError::TooLong { size, max: ROOM });
        }
        self.remove(key)?;
        while self.header().bytes > u64::from(self.buckets()) * FILL {
            self.split()?;
        }
        self.insert(key, value)
    }

    /// Removes a key; it may be absent.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let Some(Found { before, number, .. }) = self.find(key)? else {
            return Ok(());
        };
        let block = self.pages.write(number)?;
        let freed = block.remove(key).unwrap_or(0);
        let (is_empty, next) = (block.is_empty(), block.next);
        self.count(-signed(freed));
        if is_empty && before > 0 {
            self.pages.write(before)?.next = next;
            self.release(number);
        }
        Ok(())
    }

    /// Buckets there are.
    pub(crate) const fn buckets(&self) -> u32 {
        self.header().buckets
    }

    /// Everything in one bucket.
    pub(crate) fn entries(&self, bucket: u32) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for number in self.chain(bucket_block(bucket))? {
            let block = self.pages.read(number)?;
            let all = block.entries();
            entries.extend(all.map(|(key, value)| Entry {
                key: key.to_vec(),
                value: value.to_vec(),
            }));
        }
        Ok(entries)
    }

    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        self.pages.commit()
    }

    pub(crate) fn roll_back(&mut self) {
        self.pages.roll_back();
    }

    pub(crate) fn empty_journal(&mut self) -> Result<(), StoreError> {
        self.pages.empty_journal()
    }

    pub(crate) fn into_disk(self) -> D {
        self.pages.into_disk()
    }

    /// What errors call the table's file.
    pub(crate) fn path(&self) -> String {
        self.pages.path()
    }

    fn first_block(&self, key: &[u8]) -> u32 {
        bucket_block(bucket_of(key, self.buckets()))
    }

    fn find(&self, key: &[u8]) -> Result<Option<Found>, StoreError> {
        let mut before = 0;
        let mut number = self.first_block(key);
        for _ in 0..LONGEST_CHAIN {
            let block = self.pages.read(number)?;
            if block.value(key).is_some() {
                return Ok(Some(Found {
                    before,
                    number,
                    block,
                }));
            }
            if block.next == 0 {
                return Ok(None);
            }
            before = number;
            number = block.next;
        }
        Err(self.endless(number))
    }

    fn chain(&self, first: u32) -> Result<Vec<u32>, StoreError> {
        let mut chain = vec![first];
        let mut number = self.pages.read(first)?.next;
        while number > 0 {
            if chain.len() == LONGEST_CHAIN {
                return Err(self.endless(number));
            }
            chain.push(number);
            number = self.pages.read(number)?.next;
        }
        Ok(chain)
    }

    const fn count(&mut self, bytes: i64) {
        let header = self.header_mut();
        header.bytes = header.bytes.saturating_add_signed(bytes);
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.count(signed(size(key, value)));
        let mut last = 0;
        for number in self.chain(self.first_block(key))? {
            if self.pages.read(number)?.has_room(key, value) {
                self.pages.write(number)?.push(key, value);
                return Ok(());
            }
            last = number;
        }
        let new = self.allocate()?;
        self.pages.write(last)?.next = new;
        self.pages.write(new)?.push(key, value);
        Ok(())
    }

    /// One bucket more: it gets its share of the one that it is split from.
    fn split(&mut self) -> Result<(), StoreError> {
        let new = self.buckets();
        let from = new - (1 << new.ilog2());
        let entries = self.entries(from)?;
        for number in self.chain(bucket_block(from))?.into_iter().skip(1) {
            self.release(number);
        }
        for bucket in [from, new] {
            self.pages.write_new(bucket_block(bucket), Block::default());
        }
        self.header_mut().buckets += 1;
        for Entry { key, value } in entries {
            self.count(-signed(size(&key, &value)));
            self.insert(&key, &value)?;
        }
        Ok(())
    }

    fn allocate(&mut self) -> Result<u32, StoreError> {
        let number = self.header().free;
        if number > 0 {
            let next = self.pages.read(number)?.next;
            let header = self.header_mut();
            header.free = next;
            self.pages.write_new(number, Block::default());
            return Ok(number);
        }
        let header = self.header_mut();
        let number = extra_block(header.extra);
        header.extra += 1;
        self.pages.write_new(number, Block::default());
        Ok(number)
    }

    fn endless(&self, number: u32) -> StoreError {
        StoreError::Damaged {
            path: self.path(),
            message: format!("the chain of block {number} does not end"),
        }
    }

    fn release(&mut self, number: u32) {
        let header = self.header_mut();
        let block = Block::before(header.free);
        header.free = number;
        self.pages.write_new(number, block);
    }
}

/// A key and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The block that has a key, its number and that of the one before it in its chain, or 0.
struct Found {
    before: u32,
    number: u32,
    block: Rc<Block>,
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(0)
}

const fn bucket_block(bucket: u32) -> u32 {
    FIRST + bucket / GROUP * (GROUP + EXTRA) + bucket % GROUP
}

/// Extra blocks beyond the groups there are lie where their groups will be.
const fn extra_block(extra: u32) -> u32 {
    FIRST + extra / EXTRA * (GROUP + EXTRA) + GROUP + extra % EXTRA
}

fn bucket_of(key: &[u8], buckets: u32) -> u32 {
    let round = buckets.ilog2();
    let hash = hash(key);
    let low = |bits: u32| u32::try_from(hash & ((1 << bits) - 1)).unwrap_or(0);
    let bucket = low(round + 1);
    if bucket < buckets { bucket } else { low(round) }
}

/// FNV-1a, its bits mixed: a key's place must not change with versions of a library.
fn hash(key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
pub(crate) mod memory_disk;
#[cfg(test)]
mod tests;
