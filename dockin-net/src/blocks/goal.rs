use std::{collections::VecDeque, net::IpAddr};

use super::{
    block::Block,
    conversation::{Conversation, Listing, Next},
    intent::{Settled, put_block},
    record::{BlockRecord, StickyRecord, decode},
    search::{Found, Search},
    state::{Claim, Clock, Intent, key, name},
    transaction::{Compare, Entry, Request, Transaction, Write},
};
use crate::{
    AllocateError, Attachment, Beside, ContainerId, Grant, Pool, RangeSet, Refusal, Span, Want,
    allocate,
    lease::{StickyKey, Timestamp},
    leases::{Holding, Leases},
    store::StoreError,
};

/// Clocks of nodes differ: so many seconds after its end a sticky key is forgotten.
const SKEW: u64 = 60;
/// Keys of one list.
const PAGE: u32 = 64;

/// What a conversation is for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Goal {
    /// Addresses for an attachment: what it wants of each pool, the first that can gives.
    Add(Vec<Want>),
    /// The sticky key may be at any node again; its attachment is gone.
    Release(StickyKey),
    /// The session renewed, and what is not needed given back.
    Sync {
        /// Also sticky keys that nobody keeps any longer forgotten.
        expire: bool,
    },
}

impl Goal {
    /// May it ask a store that gave no answer a moment ago?
    pub(super) const fn is_patient(&self) -> bool {
        matches!(self, Self::Sync { .. })
    }
}

/// How a conversation ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Addresses: its changes are to be made now, and they count only while
    /// [`State::is_valid`](super::State::is_valid).
    Granted(Grant),
    /// No addresses, for a reason of the pools' or the want's.
    Refused(AllocateError),
    /// No address is free now. Other nodes are told and give some back.
    Exhausted(String),
    /// The sticky key is at that node: its attachment there has not ended, or that node could not
    /// say so yet.
    Elsewhere(StickyKey, String),
    /// The store gives no answer.
    Unavailable(String),
    /// Another installation has a session under the node's name.
    NameTaken(String),
    /// A record of the store cannot be read.
    Damaged(String),
    /// It is done.
    Done,
}

/// Sticky keys that nobody keeps any longer, as they are found.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    from: Option<String>,
    found: VecDeque<(String, StickyRecord)>,
    over: bool,
}

impl Conversation<'_> {
    pub(super) fn goal(
        &mut self,
        leases: &dyn Leases,
        clock: Clock<'_>,
    ) -> Result<Next, StoreError> {
        match self.goal.clone() {
            Goal::Add(wants) => self.add(&wants, leases, clock.now),
            Goal::Release(key) => Ok(self.release(&key, clock.now)),
            Goal::Sync { expire } => self.sync(expire, leases, clock.now),
        }
    }

    fn add(
        &mut self,
        wants: &[Want],
        leases: &dyn Leases,
        now: Timestamp,
    ) -> Result<Next, StoreError> {
        let pools = self.pools;
        let (Some(pool), Some(want)) = (pools.get(self.pool), wants.get(self.pool)) else {
            return Ok(Next::Done(Outcome::Exhausted("every pool".into())));
        };
        if let Some(key) = &want.sticky {
            if let Some(claim) = self.state.claims.get(&name(key)) {
                return Ok(Next::Done(claimed(pools, wants, claim, leases, now)?));
            }
            if let Some(Settled::Elsewhere(node)) = self.settled.take() {
                return Ok(Next::Done(Outcome::Elsewhere(key.clone(), node)));
            }
            let record = self.terms.names.sticky(key);
            match self.known.get(&record) {
                None => return Ok(self.ask_for(vec![record])),
                Some(Some(_)) => {
                    return Ok(self.intend(Intent::Hold {
                        key: name(key),
                        fresh: Vec::new(),
                    }));
                }
                Some(None) => {}
            }
        }
        // An attachment has its addresses once, wherever they are from.
        let refusal = match allocate_in(self.view(pool, want), leases, want, now) {
            Some(Ok(grant)) => {
                let Some(key) = &want.sticky else {
                    return Ok(Next::Done(Outcome::Granted(grant)));
                };
                let fresh = grant.addresses.iter().map(|(cidr, _)| cidr.address());
                return Ok(self.intend(Intent::Hold {
                    key: name(key),
                    fresh: fresh.collect(),
                }));
            }
            Some(Err(refusal)) => Some(refusal.error),
            None => None,
        };
        match refusal {
            Some(AllocateError::Store(error)) => return Err(error),
            Some(error @ AllocateError::AlreadyHeld { .. }) => {
                return Ok(Next::Done(Outcome::Refused(error)));
            }
            _ => {}
        }
        self.more(want, refusal, leases, now)
    }

    /// What we may give from of a pool, and what its configuration sets aside for the owner.
    fn view(&self, pool: &Pool, want: &Want) -> Option<Pool> {
        let owner = want.sticky.as_ref().map(|key| &key.owner);
        let reserved = pool.reservations().iter();
        let reserved = reserved.filter(|it| it.owner.is_some() && it.owner.as_ref() == owner);
        let reserved = reserved.filter_map(|it| Span::new(it.address, it.address));
        let blocks = self.state.blocks.iter();
        let own = blocks.flat_map(|(first, held)| Block::of(*first).spans(held.bits));
        let spans: Vec<_> = own.chain(reserved).collect();
        let sets = pool.sets().iter().map(|set| set.within(&spans));
        pool.with_sets(sets.collect::<Option<Vec<_>>>()?)
    }

    /// Gets addresses of the first set that has none free for us.
    fn more(
        &mut self,
        want: &Want,
        refusal: Option<AllocateError>,
        leases: &dyn Leases,
        now: Timestamp,
    ) -> Result<Next, StoreError> {
        let pools = self.pools;
        let Some(pool) = pools.get(self.pool) else {
            return Ok(Next::Again);
        };
        let missed = matches!(self.settled.take(), Some(Settled::Missed));
        if let Some(next) = self.requested(pool, want, missed) {
            return Ok(next);
        }
        let mut needed = None;
        for (index, set) in pool.sets().iter().enumerate() {
            let asked = want.requested.iter();
            if asked.clone().any(|it| set.range_of(*it).is_some()) {
                continue;
            }
            let single = pool.with_sets(vec![set.clone()]);
            let probe = Want {
                attachment: Attachment::of_container(ContainerId::stored("")),
                sticky: None,
                requested: Vec::new(),
                beside: Beside::Nothing,
            };
            let view = single.and_then(|pool| self.view(&pool, &probe));
            if !matches!(allocate_in(view, leases, &probe, now), Some(Ok(_))) {
                needed = Some((index, set));
                break;
            }
        }
        match (needed, refusal) {
            (Some((index, set)), _) => Ok(self.search((self.pool, index), (pool, set))),
            (None, Some(error)) => Ok(Next::Done(Outcome::Refused(error))),
            (None, None) => Ok(Next::Done(Outcome::Exhausted(pool.to_string()))),
        }
    }

    /// Gets the first address that is asked for and not ours yet.
    fn requested(&mut self, pool: &Pool, want: &Want, missed: bool) -> Option<Next> {
        let own = |address: &IpAddr| {
            let block = Block::of(*address);
            let held = self.state.blocks.get(&block.first());
            held.is_some_and(|held| held.bits & block.bit(*address) != 0)
        };
        let address = *want.requested.iter().find(|it| !own(it))?;
        let block = Block::of(address);
        let mut sets = pool.sets().iter();
        let usable = match sets.find(|set| set.range_of(address).is_some()) {
            None => {
                return Some(Next::Done(Outcome::Refused(AllocateError::Outside(
                    address,
                ))));
            }
            Some(set) => block.usable(pool, set),
        };
        if usable & block.bit(address) == 0 {
            let error = AllocateError::SetAside(address);
            return Some(Next::Done(Outcome::Refused(error)));
        }
        if missed {
            let error = AllocateError::Taken(address);
            return Some(Next::Done(Outcome::Refused(error)));
        }
        Some(self.intend(Intent::Take {
            block: block.first(),
            bits: block.bit(address),
            usable,
        }))
    }

    fn search(&mut self, of: (usize, usize), at: (&Pool, &RangeSet)) -> Next {
        let terms = self.terms;
        let blocks = self.state.blocks.len();
        let search = self.search.take().filter(|search| search.of == of);
        let mut search = search.unwrap_or_else(|| {
            let place = format!("{}/{}/{blocks}", terms.node, self.state.instance);
            Search::new(of, at.1, crc32fast::hash(place.as_bytes()).into())
        });
        let found = search.next(&terms.names, at, &self.known, terms.block);
        self.search = Some(search);
        match found {
            Found::List(request) => self.ask_list(Listing::Blocks, request),
            Found::Read(key) => self.ask_for(vec![key]),
            Found::Take(intent) => {
                for key in intent.keys(&terms.names) {
                    // It was not in the list.
                    self.known.entry(key).or_insert(None);
                }
                self.intend(intent)
            }
            Found::Damaged(message) => Next::Done(Outcome::Damaged(message)),
            Found::Nothing if self.pool + 1 < self.pools.len() => {
                self.search = None;
                self.pool += 1;
                Next::Again
            }
            Found::Nothing => self.tell_others(at.0),
        }
    }

    /// Asks the other nodes to give back what they do not need.
    fn tell_others(&mut self, pool: &Pool) -> Next {
        let names = &self.terms.names;
        let want = names.want(&self.terms.node);
        let exhausted = Outcome::Exhausted(pool.to_string());
        let Some(session) = &self.state.session else {
            return Next::Again;
        };
        if matches!(self.known.get(&want), Some(Some(_))) {
            return Next::Done(exhausted);
        }
        let node = names.node(&self.terms.node);
        let transaction = Transaction {
            compares: vec![Compare::Created(node, session.token)],
            writes: vec![Write::Put(want, String::new(), Some(session.lease))],
        };
        self.ask_commit(transaction)
    }

    fn release(&mut self, of: &StickyKey, now: Timestamp) -> Next {
        let record = self.terms.names.sticky(of);
        if !self.state.claims.contains_key(&name(of)) {
            return Next::Done(Outcome::Done);
        }
        // Nothing is given up before the store has shown that it is there.
        if !self.known.contains_key(&record) {
            return self.ask_for(vec![record]);
        }
        let until = self.kept_until(of, now);
        let key = name(of);
        self.intend(Intent::Release { key, until })
    }

    fn kept_until(&self, of: &StickyKey, now: Timestamp) -> Option<u64> {
        let claim = self.state.claims.get(&name(of))?;
        let mut pools = self.pools.iter();
        let pool = pools.find(|pool| claim.addresses.iter().any(|it| pool.contains(*it)))?;
        let keep = pool.policy().keep?;
        Some(now.after(keep).0)
    }

    fn sync(
        &mut self,
        expire: bool,
        leases: &dyn Leases,
        now: Timestamp,
    ) -> Result<Next, StoreError> {
        let Some(wanted) = self.wanted else {
            let (from, to) = self.terms.names.all("want/");
            let request = Request::List {
                from,
                to,
                limit: 2,
                keys_only: true,
            };
            return Ok(self.ask_list(Listing::Wants, request));
        };
        if let Some(intent) = self.spare(wanted, leases, now)? {
            return Ok(self.intend(intent));
        }
        for of in self.state.claims.keys() {
            let of = key(of);
            if !matches!(leases.holding(&of)?, Some(Holding::Leased(_))) {
                return Ok(self.release(&of, now));
            }
        }
        if expire && self.pools.iter().any(|it| it.policy().keep.is_some()) {
            return Ok(self.expire(now));
        }
        Ok(Next::Done(Outcome::Done))
    }

    /// Addresses of one block to be given back: those that the pools have no more, all of a block
    /// in no use when there are others, and half of those in no use when another node has none.
    fn spare(
        &mut self,
        wanted: bool,
        leases: &dyn Leases,
        now: Timestamp,
    ) -> Result<Option<Intent>, StoreError> {
        let mut idle = Vec::with_capacity(self.state.blocks.len());
        for (first, held) in &self.state.blocks {
            let block = Block::of(*first);
            let mut bits = 0;
            for address in block.addresses(held.bits) {
                if leases.use_of(address, now)?.is_none() {
                    bits |= block.bit(address);
                }
            }
            idle.push((block, held.bits, bits));
        }
        let others = idle.iter().filter(|(.., bits)| *bits != 0).count();
        for (block, held, idle) in idle {
            if !self.given.insert(block) {
                continue;
            }
            let sets = self.pools.iter().flat_map(|pool| {
                let sets = pool.sets().iter();
                sets.map(move |set| block.usable(pool, set))
            });
            let usable = sets.fold(0, |bits, it| bits | it);
            let mut bits = idle & !usable;
            if idle == held && others > 1 {
                bits = idle;
                if !wanted {
                    // One at a time: the others count no longer.
                    return Ok(Some(Intent::Give {
                        block: block.first(),
                        bits,
                    }));
                }
            } else if wanted {
                let half = (idle & usable).count_ones().div_ceil(2);
                bits |= highest(idle & usable, half);
            }
            if bits != 0 {
                return Ok(Some(Intent::Give {
                    block: block.first(),
                    bits,
                }));
            }
        }
        Ok(None)
    }

    fn expire(&mut self, now: Timestamp) -> Next {
        let names = &self.terms.names;
        let Some((of, record)) = self.expiry.found.front().cloned() else {
            if self.expiry.over {
                return Next::Done(Outcome::Done);
            }
            let (first, to) = names.all("sticky/");
            let request = Request::List {
                from: self.expiry.from.clone().unwrap_or(first),
                to,
                limit: PAGE,
                keys_only: false,
            };
            return self.ask_list(Listing::Sticky, request);
        };
        let over = record
            .until
            .is_some_and(|it| now >= Timestamp(it).after(SKEW));
        if record.holder.is_some() || !over {
            self.expiry.found.pop_front();
            return Next::Again;
        }
        let blocks: Vec<Block> = record.addresses.iter().map(|it| Block::of(*it)).collect();
        let mut keys: Vec<_> = blocks.iter().map(|it| names.block(*it)).collect();
        keys.push(of.clone());
        keys.retain(|key| !self.known.contains_key(key));
        if !keys.is_empty() {
            return self.ask_for(keys);
        }
        self.expiry.found.pop_front();
        match forget(names, &self.known, &of, &record) {
            Ok(Some(mut transaction)) => {
                let node = names.node(&self.terms.node);
                let token = self.state.holder(&self.terms.node).token;
                transaction.compares.push(Compare::Created(node, token));
                self.ask_commit(transaction)
            }
            Ok(None) => Next::Again,
            Err(message) => Next::Done(Outcome::Damaged(message)),
        }
    }

    pub(super) fn take_list(&mut self, of: Listing, entries: Vec<(String, Entry)>, more: bool) {
        match of {
            Listing::Blocks => {
                if let Some(search) = &mut self.search {
                    search.take(&self.terms.names, &entries, more);
                }
            }
            Listing::Wants => {
                let ours = self.terms.names.want(&self.terms.node);
                self.wanted = Some(entries.iter().any(|(key, _)| *key != ours));
            }
            Listing::Sticky => {
                self.expiry.over = !more;
                self.expiry.from = entries.last().map(|(key, _)| format!("{key}\0"));
                for (key, entry) in entries {
                    if let Ok(Some(record)) = decode(&key, Some(&entry)) {
                        self.expiry.found.push_back((key, record));
                    }
                }
            }
        }
    }
}

/// The writes that make a sticky key's addresses nobody's; none when it is not as it was.
pub(super) fn forget(
    names: &super::block::Names,
    known: &super::intent::Known,
    of: &str,
    seen: &StickyRecord,
) -> Result<Option<Transaction>, String> {
    let entry = |key: &str| known.get(key).and_then(Option::as_ref);
    let Some(current) = entry(of) else {
        return Ok(None);
    };
    if decode::<StickyRecord>(of, Some(current))?.as_ref() != Some(seen) {
        return Ok(None);
    }
    let mut transaction = Transaction {
        compares: vec![Compare::Revision(of.to_owned(), current.revision)],
        writes: vec![Write::Delete(of.to_owned())],
    };
    let mut blocks: Vec<Block> = seen.addresses.iter().map(|it| Block::of(*it)).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let indexed = seen.addresses.iter();
    transaction
        .writes
        .extend(indexed.map(|it| Write::Delete(names.at(*it))));
    for block in blocks {
        let key = names.block(block);
        let entry = entry(&key);
        let mut record: BlockRecord = decode(&key, entry)?.unwrap_or_default();
        for address in &seen.addresses {
            record.claimed &= !block.bit(*address);
        }
        let revision = entry.map_or(0, |entry| entry.revision);
        transaction.compares.push(Compare::Revision(key, revision));
        transaction.writes.extend(put_block(names, block, &record));
    }
    Ok(Some(transaction))
}

/// The addresses of a sticky key that is here, whatever else is free.
fn claimed(
    pools: &[Pool],
    wants: &[Want],
    claim: &Claim,
    leases: &dyn Leases,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    let has_all = |pool: &Pool| claim.addresses.iter().all(|it| pool.contains(*it));
    let mut both = pools.iter().zip(wants);
    let outside = || {
        let address = claim.addresses.first().copied();
        Outcome::Refused(match address {
            Some(address) => AllocateError::Outside(address),
            None => AllocateError::Exhausted("a sticky key without addresses".into()),
        })
    };
    let Some((pool, want)) = both.find(|(pool, _)| has_all(pool)) else {
        return Ok(outside());
    };
    let mut asked = want.requested.iter();
    if let Some(other) = asked.find(|it| !claim.addresses.contains(it)) {
        return Ok(Outcome::Refused(AllocateError::Outside(*other)));
    }
    let addresses = claim.addresses.iter();
    let spans: Vec<_> = addresses.filter_map(|it| Span::new(*it, *it)).collect();
    let sets = pool.sets().iter().filter_map(|set| set.within(&spans));
    let Some(view) = pool.with_sets(sets.collect()) else {
        return Ok(outside());
    };
    let want = Want {
        requested: claim.addresses.clone(),
        ..want.clone()
    };
    match allocate(&view, leases, &want, now) {
        Ok(grant) => Ok(Outcome::Granted(grant)),
        Err(Refusal {
            error: AllocateError::Store(error),
            ..
        }) => Err(error),
        Err(refusal) => Ok(Outcome::Refused(refusal.error)),
    }
}

fn allocate_in(
    view: Option<Pool>,
    leases: &dyn Leases,
    want: &Want,
    now: Timestamp,
) -> Option<Result<Grant, Refusal>> {
    view.map(|pool| allocate(&pool, leases, want, now))
}

/// The highest `count` bits that are set.
fn highest(bits: u64, count: u32) -> u64 {
    let mut rest = bits;
    let mut taken = 0;
    for _ in 0..count.min(rest.count_ones()) {
        let bit = 1 << (63 - rest.leading_zeros());
        rest &= !bit;
        taken |= bit;
    }
    taken
}
