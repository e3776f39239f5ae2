//! Addresses that pods keep wherever they are, given without a node's share: what a resource
//! manager does. It has nothing of its own, so any number of them serve the same pools, and one
//! that is gone is missed by nobody.
//!
//! A pod's record and the block that its addresses are in change in one transaction, so what was
//! asked for twice happens once: the second one finds the record of the first.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    block::{Block, Names},
    goal::forget,
    intent::Known,
    operator::{ShareError, entry, no_answer, read, record},
    record::{BlockRecord, StickyRecord, encode},
    search::{Found, Search},
    state::{Intent, key as parse_key, name},
    transaction::{Compare, Reply, Request, Store, Transaction, Write},
};
use crate::{Pool, RangeSet, lease::StickyKey};

/// A record that others change is tried so often.
const TRIES: u32 = 32;
/// From this try on a block that nobody has comes first: others are busy in those in use.
const CROWDED: u32 = 2;
/// Blocks with free addresses that are looked at together.
const PAGE: u32 = 4;

/// The addresses that a pod keeps, or has at a node; none when there is no record of it.
///
/// # Errors
///
/// [`ShareError::Unanswered`], [`ShareError::Damaged`].
pub fn kept(
    store: &mut dyn Store,
    names: &Names,
    of: &StickyKey,
) -> Result<Vec<IpAddr>, ShareError> {
    let sticky = names.sticky(of);
    let known = read(store, &[&sticky])?;
    let found: Option<StickyRecord> = record(&known, &sticky)?;
    Ok(found.map(|it| it.addresses).unwrap_or_default())
}

/// The addresses that a pod keeps, for ever from now on; without a record one of each set of the
/// pool, at a place of the pod's own. `None` when a set has none free.
///
/// # Errors
///
/// [`ShareError::Unanswered`]: the addresses may be the pod's all the same, and the next call finds
/// them. [`ShareError::Damaged`], [`ShareError::Contended`].
pub fn keep(
    store: &mut dyn Store,
    names: &Names,
    pool: &Pool,
    of: &StickyKey,
) -> Result<Option<Vec<IpAddr>>, ShareError> {
    let sticky = names.sticky(of);
    let mut known = read(store, &[&sticky])?;
    for turn in 0..TRIES {
        let found: Option<StickyRecord> = record(&known, &sticky)?;
        let revision = entry(&known, &sticky).map_or(0, |it| it.revision);
        let mut transaction = Transaction {
            compares: vec![Compare::Revision(sticky.clone(), revision)],
            writes: Vec::new(),
        };
        let kept = match found {
            Some(record) if record.holder.is_some() || record.until.is_none() => {
                return Ok(Some(record.addresses));
            }
            Some(record) => StickyRecord {
                until: None,
                ..record
            },
            None => {
                let place = u64::from(crc32fast::hash(name(of).as_bytes()));
                let mut choice = Choice {
                    names,
                    pool,
                    of,
                    place: place.wrapping_add(u64::from(turn).wrapping_mul(7919)),
                    blocks: BTreeMap::new(),
                };
                let Some(addresses) = choice.choose(store, turn >= CROWDED)? else {
                    return Ok(None);
                };
                choice.write(&addresses, &mut transaction);
                StickyRecord {
                    addresses,
                    ..StickyRecord::default()
                }
            }
        };
        let put = Write::Put(sticky.clone(), encode(&kept), None);
        transaction.writes.push(put);
        match store.ask(&Request::Commit(transaction))? {
            Reply::Committed(_) => return Ok(Some(kept.addresses)),
            Reply::Read(entries) => known = entries.into_iter().collect(),
            _ => return Err(no_answer()),
        }
    }
    Err(ShareError::Contended(sticky))
}

/// The pod that keeps an address and got it from [`keep`].
///
/// # Errors
///
/// [`ShareError::Unanswered`], [`ShareError::Damaged`].
pub fn keeper(
    store: &mut dyn Store,
    names: &Names,
    address: IpAddr,
) -> Result<Option<StickyKey>, ShareError> {
    let index = names.at(address);
    let known = read(store, &[&index])?;
    let Some(named) = entry(&known, &index) else {
        return Ok(None);
    };
    let of = parse_key(&named.value);
    // The index is not what counts.
    let has = kept(store, names, &of)?.contains(&address);
    Ok(has.then_some(of))
}

/// Ends what a pod keeps; nothing happens when it keeps nothing.
///
/// # Errors
///
/// [`ShareError::Running`] when a node has the pod's addresses from a share of its own, and those
/// of the store.
pub fn let_go(store: &mut dyn Store, names: &Names, of: &StickyKey) -> Result<(), ShareError> {
    let sticky = names.sticky(of);
    let mut known = read(store, &[&sticky])?;
    for _ in 0..TRIES {
        let found: Option<StickyRecord> = record(&known, &sticky)?;
        let Some(found) = found else {
            return Ok(());
        };
        if let (Some(holder), Some(address)) = (&found.holder, found.addresses.first()) {
            let node = holder.node.clone();
            return Err(ShareError::Running(*address, name(of), node));
        }
        let blocks = found.addresses.iter().map(|it| names.block(Block::of(*it)));
        let missing: Vec<_> = blocks.filter(|it| !known.contains_key(it)).collect();
        let missing: Vec<_> = missing.iter().map(String::as_str).collect();
        if !missing.is_empty() {
            known.extend(read(store, &missing)?);
        }
        let transaction = forget(names, &known, &sticky, &found).map_err(ShareError::Damaged)?;
        let Some(transaction) = transaction else {
            return Ok(());
        };
        match store.ask(&Request::Commit(transaction))? {
            Reply::Committed(_) => return Ok(()),
            Reply::Read(entries) => known = entries.into_iter().collect(),
            _ => return Err(no_answer()),
        }
    }
    Err(ShareError::Contended(sticky))
}

/// One address of each set, and the records of the blocks that they are in.
struct Choice<'a> {
    names: &'a Names,
    pool: &'a Pool,
    of: &'a StickyKey,
    /// Where the search begins: pods do not meet, and one that is back may find its place free.
    place: u64,
    blocks: BTreeMap<Block, (BlockRecord, i64)>,
}

impl Choice<'_> {
    fn choose(
        &mut self,
        store: &mut dyn Store,
        crowded: bool,
    ) -> Result<Option<Vec<IpAddr>>, ShareError> {
        let pool = self.pool;
        let mut addresses = Vec::with_capacity(pool.sets().len());
        for set in pool.sets() {
            let mut found = self.reserved(store, set)?;
            if found.is_none() && !crowded {
                found = self.beside_others(store, set)?;
            }
            if found.is_none() {
                found = self.anywhere(store, set)?;
            }
            let Some(address) = found else {
                return Ok(None);
            };
            let block = Block::of(address);
            if let Some((record, _)) = self.blocks.get_mut(&block) {
                record.claimed |= block.bit(address);
            }
            addresses.push(address);
        }
        Ok(Some(addresses))
    }

    /// What the configuration sets aside for the pod.
    fn reserved(
        &mut self,
        store: &mut dyn Store,
        set: &RangeSet,
    ) -> Result<Option<IpAddr>, ShareError> {
        let of_set = self.pool.reservations().iter();
        let ours = of_set.filter(|it| {
            it.owner.as_ref() == Some(&self.of.owner) && set.range_of(it.address).is_some()
        });
        let ours: Vec<_> = ours.map(|it| it.address).collect();
        for address in ours {
            let block = Block::of(address);
            self.look_at(store, &[block])?;
            if self.free(block, block.bit(address)) != 0 {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// An address of a block that somebody has some of.
    fn beside_others(
        &mut self,
        store: &mut dyn Store,
        set: &RangeSet,
    ) -> Result<Option<IpAddr>, ShareError> {
        for (from, to) in self.segments(set) {
            let request = Request::List {
                from: self.names.free(from),
                // Nothing comes between a key and the same with a byte more.
                to: format!("{}\0", self.names.free(to)),
                limit: PAGE,
                keys_only: true,
            };
            let Reply::Listed(entries, _) = store.ask(&request)? else {
                return Err(no_answer());
            };
            let listed = entries.iter();
            let listed = listed.filter_map(|(key, _)| self.names.address("free/", key));
            let listed: Vec<_> = listed.map(Block::of).collect();
            self.look_at(store, &listed)?;
            for block in listed {
                let free = self.free(block, block.usable(self.pool, set));
                if let Some(address) = self.pick(block, free) {
                    return Ok(Some(address));
                }
            }
        }
        Ok(None)
    }

    /// An address of a block that nobody has, and else whatever there is.
    fn anywhere(
        &mut self,
        store: &mut dyn Store,
        set: &RangeSet,
    ) -> Result<Option<IpAddr>, ShareError> {
        let mut search = Search::new((0, 0), set, self.place);
        let mut known = Known::new();
        loop {
            match search.next(self.names, (self.pool, set), &known, 64) {
                Found::List(request) => match store.ask(&request)? {
                    Reply::Listed(entries, more) => search.take(self.names, &entries, more),
                    _ => return Err(no_answer()),
                },
                Found::Read(key) => known.extend(read(store, &[&key])?),
                Found::Take(Intent::Take { block, usable, .. }) => {
                    let block = Block::of(block);
                    self.look_at(store, &[block])?;
                    let free = self.free(block, usable);
                    if let Some(address) = self.pick(block, free) {
                        return Ok(Some(address));
                    }
                }
                Found::Take(_) | Found::Nothing => return Ok(None),
                Found::Damaged(message) => return Err(ShareError::Damaged(message)),
            }
        }
    }

    /// The blocks of the set from our place on to its end, and those before.
    fn segments(&self, set: &RangeSet) -> Vec<(Block, Block)> {
        let mut segments = Vec::new();
        let mut before = Vec::new();
        for range in set.ranges() {
            let span = range.span();
            let (first, last) = (Block::of(span.first()), Block::of(span.last()));
            let count = last.number() - first.number() + 1;
            let start = first.number() + u128::from(self.place) % count;
            let numbered = |number| Block::numbered(set.family(), number);
            segments.push((numbered(start), last));
            if start > first.number() {
                before.push((first, numbered(start - 1)));
            }
        }
        segments.extend(before);
        segments
    }

    /// Reads the records of blocks, once each.
    fn look_at(&mut self, store: &mut dyn Store, blocks: &[Block]) -> Result<(), ShareError> {
        let new = blocks.iter().filter(|it| !self.blocks.contains_key(it));
        let new: Vec<(Block, String)> = new.map(|it| (*it, self.names.block(*it))).collect();
        if new.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = new.iter().map(|(_, key)| key.as_str()).collect();
        let known = read(store, &keys)?;
        for (block, key) in new {
            let found: BlockRecord = record(&known, &key)?.unwrap_or_default();
            let revision = entry(&known, &key).map_or(0, |it| it.revision);
            self.blocks.insert(block, (found, revision));
        }
        Ok(())
    }

    /// Those of `bits` that nobody has.
    fn free(&self, block: Block, bits: u64) -> u64 {
        let assigned = self.blocks.get(&block).map(|(record, _)| record.assigned());
        bits & !assigned.unwrap_or(u64::MAX)
    }

    /// The first of `bits` from our place on.
    fn pick(&self, block: Block, bits: u64) -> Option<IpAddr> {
        if bits == 0 {
            return None;
        }
        let turn = u32::try_from(self.place % 64).unwrap_or(0);
        let ahead = bits.rotate_right(turn).trailing_zeros();
        block.addresses(1_u64.rotate_left(turn + ahead)).next()
    }

    /// What is to be written of the blocks, and the index by address.
    fn write(&self, addresses: &[IpAddr], transaction: &mut Transaction) {
        let names = self.names;
        for (block, (record, revision)) in &self.blocks {
            if !addresses.iter().any(|it| Block::of(*it) == *block) {
                continue;
            }
            let key = names.block(*block);
            transaction
                .compares
                .push(Compare::Revision(key.clone(), *revision));
            transaction
                .writes
                .push(Write::Put(key, encode(record), None));
            let sets = self.pool.sets().iter();
            let usable = sets.fold(0, |bits, set| bits | block.usable(self.pool, set));
            let index = names.free(*block);
            transaction.writes.push(match usable & !record.assigned() {
                0 => Write::Delete(index),
                _ => Write::Put(index, String::new(), None),
            });
        }
        for address in addresses {
            let put = Write::Put(names.at(*address), name(self.of), None);
            transaction.writes.push(put);
        }
    }
}
