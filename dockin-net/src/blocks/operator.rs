//! What operators ask of the shared store.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use thiserror::Error;

use super::{
    block::{Block, Names},
    goal::forget,
    intent::{Known, put_block},
    record::{BlockRecord, SessionRecord, StickyRecord, decode, encode},
    transaction::{Compare, Entry, Reply, Request, Store, Transaction, Unanswered, Write},
};
use crate::{Pool, lease::StickyKey};

/// Keys of one list.
const PAGE: u32 = 64;
/// A record that others change is tried so often.
const TRIES: u32 = 16;

/// Why the operator does not get it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ShareError {
    /// The store gives no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A record cannot be read, or the answer is none to the question.
    #[error("{0}")]
    Damaged(String),
    /// The node's session lasts.
    #[error(
        "node `{0}` has a session: it may be giving addresses; stop it and wait until the session \
         is over"
    )]
    Alive(String),
    /// The store has nothing of the node.
    #[error("the store has nothing of a node `{0}`")]
    NoNode(String),
    /// A node has the address in its share.
    #[error(
        "{0} is in the share of node `{1}`; set it aside in the configuration's `reservations`, \
         and the node gives it back when it is in no use"
    )]
    Shared(IpAddr, String),
    /// The address is kept or set aside already.
    #[error("{0} is kept for a pod or set aside already")]
    InUse(IpAddr),
    /// A pod that runs has the address.
    #[error(
        "{0} is kept for `{1}`, which is at node `{2}`; `--force` takes it away from a running pod"
    )]
    Running(IpAddr, String, String),
    /// The store has nothing of the address.
    #[error("nothing is noted in the store for {0}")]
    Nothing(IpAddr),
    /// Others change the same record all the time.
    #[error("`{0}` changes faster than it is read, try again")]
    Contended(String),
    /// What does not fit together.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
}

/// Everything that the store has of a network.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shares {
    /// Nodes with a session.
    pub nodes: BTreeMap<String, SessionRecord>,
    /// Who has which address of each block.
    pub blocks: BTreeMap<Block, BlockRecord>,
    /// Blocks in the index of those with free addresses.
    pub free: Vec<Block>,
    /// Sticky keys, by `namespace/pod/interface`.
    pub sticky: BTreeMap<String, StickyRecord>,
    /// Addresses set aside for nobody.
    pub aside: Vec<IpAddr>,
    /// Nodes that find no address.
    pub wants: Vec<String>,
}

impl Shares {
    /// Reads it, page by page: what changes meanwhile may be seen in part.
    ///
    /// # Errors
    ///
    /// [`ShareError::Unanswered`], [`ShareError::Damaged`].
    pub fn read(store: &mut dyn Store, names: &Names) -> Result<Self, ShareError> {
        let mut shares = Self::default();
        let tail = |kind: &str, key: &str| {
            let tail = names.tail(kind, key);
            tail.map(str::to_owned).unwrap_or_default()
        };
        each(store, names, "node/", |key, entry| {
            if let Some(record) = decode(key, Some(entry))? {
                shares.nodes.insert(tail("node/", key), record);
            }
            Ok(())
        })?;
        each(store, names, "block/", |key, entry| {
            let address = names.address("block/", key);
            let address = address.ok_or_else(|| format!("`{key}` names no block"))?;
            if let Some(record) = decode(key, Some(entry))? {
                shares.blocks.insert(Block::of(address), record);
            }
            Ok(())
        })?;
        each(store, names, "free/", |key, _| {
            shares
                .free
                .extend(names.address("free/", key).map(Block::of));
            Ok(())
        })?;
        each(store, names, "sticky/", |key, entry| {
            if let Some(record) = decode(key, Some(entry))? {
                shares.sticky.insert(tail("sticky/", key), record);
            }
            Ok(())
        })?;
        each(store, names, "aside/", |key, _| {
            shares.aside.extend(names.address("aside/", key));
            Ok(())
        })?;
        each(store, names, "want/", |key, _| {
            shares.wants.push(tail("want/", key));
            Ok(())
        })?;
        Ok(shares)
    }

    /// What does not fit together. With the network's pools also free addresses that no node
    /// would find.
    #[must_use]
    pub fn faults(&self, pools: &[Pool]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut claims: BTreeMap<IpAddr, &str> = BTreeMap::new();
        let kept = self.sticky.iter().flat_map(|(name, record)| {
            let addresses = record.addresses.iter();
            addresses.map(move |address| (*address, name.as_str()))
        });
        let aside = self.aside.iter().map(|address| (*address, "nobody"));
        for (address, name) in kept.chain(aside) {
            if let Some(other) = claims.insert(address, name) {
                faults.push(format!("{address} is kept for `{other}` and `{name}`"));
            }
            let block = Block::of(address);
            let claimed = self.blocks.get(&block).map_or(0, |it| it.claimed);
            if claimed & block.bit(address) == 0 {
                faults.push(format!("{address} is kept for `{name}` and in a share"));
            }
        }
        for (block, record) in &self.blocks {
            for address in block.addresses(record.claimed) {
                if !claims.contains_key(&address) {
                    faults.push(format!("{address} is kept for nobody"));
                }
            }
            let mut seen = record.claimed;
            for part in &record.parts {
                for address in block.addresses(seen & part.bits) {
                    let node = &part.holder.node;
                    faults.push(format!("{address} of node `{node}` is somebody else's too"));
                }
                seen |= part.bits;
            }
            let sets = pools.iter().flat_map(|pool| {
                let sets = pool.sets().iter();
                sets.map(move |set| block.usable(pool, set))
            });
            let usable = sets.fold(0, |bits, it| bits | it);
            if usable & !seen != 0 && !self.free.contains(block) {
                let first = block.first();
                faults.push(format!("free addresses from {first} on are in no index"));
            }
        }
        faults
    }

    /// Lines for an operator.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        for (block, record) in &self.blocks {
            for part in &record.parts {
                let node = &part.holder.node;
                let alive = self.nodes.get(node);
                let silent = alive.is_none_or(|it| it.instance != part.holder.instance);
                let silent = if silent { ", without a session" } else { "" };
                for span in block.spans(part.bits) {
                    let _ = writeln!(text, "{span:<39} share of node {node}{silent}");
                }
            }
        }
        for (name, record) in &self.sticky {
            for address in &record.addresses {
                let place = match &record.holder {
                    Some(holder) => format!("at node {}", holder.node),
                    None => "at no node".to_owned(),
                };
                let _ = writeln!(text, "{address:<39} kept for {name}, {place}");
            }
        }
        for address in &self.aside {
            let _ = writeln!(text, "{address:<39} set aside for nobody");
        }
        text
    }
}

/// Gives everything of a node to others: the operator knows that it runs no pods any more.
///
/// Done in part when it fails, and to be done again then.
///
/// # Errors
///
/// [`ShareError::Alive`], [`ShareError::NoNode`], and those of the store.
pub fn drop_node(store: &mut dyn Store, names: &Names, node: &str) -> Result<u32, ShareError> {
    let session = names.node(node);
    if read(store, &[&session])?
        .remove(&session)
        .flatten()
        .is_some()
    {
        return Err(ShareError::Alive(node.to_owned()));
    }
    let shares = Shares::read(store, names)?;
    let mut freed = 0;
    let mut found = false;
    let theirs = |record: &BlockRecord| record.parts.iter().any(|it| it.holder.node == node);
    for (block, _) in shares.blocks.iter().filter(|(_, record)| theirs(record)) {
        found = true;
        let key = names.block(*block);
        freed += change(store, &[&key, &session], |known| {
            if entry(known, &session).is_some() {
                return Err(ShareError::Alive(node.to_owned()));
            }
            let record: Option<BlockRecord> = record(known, &key)?;
            let Some(mut record) = record.filter(theirs) else {
                return Ok((Vec::new(), 0));
            };
            let parts = record.parts.iter().filter(|it| it.holder.node == node);
            let bits = parts.fold(0, |bits, part| bits | part.bits);
            record.parts.retain(|it| it.holder.node != node);
            Ok((put_block(names, *block, &record).into(), bits.count_ones()))
        })?;
    }
    let theirs = |record: &StickyRecord| record.holder.as_ref().is_some_and(|it| it.node == node);
    for (name, _) in shares.sticky.iter().filter(|(_, record)| theirs(record)) {
        found = true;
        let key = names.sticky(&super::state::key(name));
        change(store, &[&key, &session], |known| {
            if entry(known, &session).is_some() {
                return Err(ShareError::Alive(node.to_owned()));
            }
            let record: Option<StickyRecord> = record(known, &key)?;
            let Some(record) = record.filter(theirs) else {
                return Ok((Vec::new(), ()));
            };
            let record = StickyRecord {
                holder: None,
                ..record
            };
            Ok((vec![Write::Put(key.clone(), encode(&record), None)], ()))
        })?;
    }
    match found {
        true => Ok(freed),
        false => Err(ShareError::NoNode(node.to_owned())),
    }
}

/// Sets an address aside: for one pod, which gets it wherever it is, or for nobody.
///
/// # Errors
///
/// [`ShareError::Shared`], [`ShareError::InUse`], and those of the store.
pub fn reserve(
    store: &mut dyn Store,
    names: &Names,
    address: IpAddr,
    owner: Option<&StickyKey>,
) -> Result<(), ShareError> {
    let block = Block::of(address);
    let (key, aside) = (names.block(block), names.aside(address));
    let sticky = owner.map(|owner| names.sticky(owner));
    let mut keys = vec![key.as_str()];
    keys.extend(sticky.as_deref());
    change(store, &keys, |known| {
        let mut block_record: BlockRecord = record(known, &key)?.unwrap_or_default();
        let bit = block.bit(address);
        if block_record.claimed & bit != 0 {
            return Err(ShareError::InUse(address));
        }
        if let Some(part) = block_record.parts.iter().find(|it| it.bits & bit != 0) {
            return Err(ShareError::Shared(address, part.holder.node.clone()));
        }
        block_record.claimed |= bit;
        let mut writes = put_block(names, block, &block_record).to_vec();
        match &sticky {
            None => writes.push(Write::Put(aside.clone(), String::new(), None)),
            Some(sticky) => {
                let mut record: StickyRecord = record(known, sticky)?.unwrap_or_default();
                // A pod that runs has its addresses.
                if record.holder.is_some() {
                    return Err(ShareError::InUse(address));
                }
                record.addresses.push(address);
                record.until = None;
                writes.push(Write::Put(sticky.clone(), encode(&record), None));
            }
        }
        Ok((writes, ()))
    })
}

/// Ends what is noted for an address that is kept or set aside.
///
/// # Errors
///
/// [`ShareError::Running`] without `force`, [`ShareError::Shared`], [`ShareError::Nothing`], and
/// those of the store.
pub fn release(
    store: &mut dyn Store,
    names: &Names,
    address: IpAddr,
    force: bool,
) -> Result<(), ShareError> {
    let shares = Shares::read(store, names)?;
    let block = Block::of(address);
    let (key, aside) = (names.block(block), names.aside(address));
    if shares.aside.contains(&address) {
        return change(store, &[&key, &aside], |known| {
            let mut record: BlockRecord = record(known, &key)?.unwrap_or_default();
            record.claimed &= !block.bit(address);
            let mut writes = put_block(names, block, &record).to_vec();
            writes.push(Write::Delete(aside.clone()));
            Ok((writes, ()))
        });
    }
    let mut kept = shares.sticky.iter();
    let Some((name, seen)) = kept.find(|(_, it)| it.addresses.contains(&address)) else {
        let record = shares.blocks.get(&block);
        let mut parts = record.into_iter().flat_map(|it| &it.parts);
        return Err(match parts.find(|it| it.bits & block.bit(address) != 0) {
            Some(part) => ShareError::Shared(address, part.holder.node.clone()),
            None => ShareError::Nothing(address),
        });
    };
    if let Some(holder) = seen.holder.as_ref().filter(|_| !force) {
        let (name, node) = (name.clone(), holder.node.clone());
        return Err(ShareError::Running(address, name, node));
    }
    let sticky = names.sticky(&super::state::key(name));
    let blocks = seen.addresses.iter().map(|it| names.block(Block::of(*it)));
    let keys: Vec<_> = blocks.chain([sticky.clone()]).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    change(store, &keys, |known| {
        let writes = forget(names, known, &sticky, seen).map_err(ShareError::Damaged)?;
        let writes = writes.ok_or_else(|| ShareError::Contended(sticky.clone()))?;
        Ok((writes.writes, ()))
    })
}

/// Looks for what does not fit together, twice: what a node changes between two pages is none.
///
/// # Errors
///
/// [`ShareError::Faults`], and those of the store.
pub fn verify(store: &mut dyn Store, names: &Names, pools: &[Pool]) -> Result<String, ShareError> {
    let shares = Shares::read(store, names)?;
    let mut faults = shares.faults(pools);
    if !faults.is_empty() {
        let again = Shares::read(store, names)?.faults(pools);
        faults.retain(|fault| again.contains(fault));
    }
    if !faults.is_empty() {
        return Err(ShareError::Faults(faults));
    }
    Ok(format!(
        "{} blocks, {} sticky keys, {} nodes with a session, all fit together\n",
        shares.blocks.len(),
        shares.sticky.len(),
        shares.nodes.len()
    ))
}

/// Writes what `decide` says, under the condition that none of the keys changes meanwhile.
fn change<T>(
    store: &mut dyn Store,
    keys: &[&str],
    mut decide: impl FnMut(&Known) -> Result<(Vec<Write>, T), ShareError>,
) -> Result<T, ShareError> {
    let mut known = read(store, keys)?;
    for _ in 0..TRIES {
        let (writes, done) = decide(&known)?;
        if writes.is_empty() {
            return Ok(done);
        }
        let compares = keys.iter().map(|key| {
            let revision = entry(&known, key).map_or(0, |it| it.revision);
            Compare::Revision((*key).to_owned(), revision)
        });
        let transaction = Transaction {
            compares: compares.collect(),
            writes,
        };
        match store.ask(&Request::Commit(transaction))? {
            Reply::Committed(_) => return Ok(done),
            Reply::Read(entries) => known.extend(entries),
            _ => return Err(no_answer()),
        }
    }
    let key = keys.first().copied().unwrap_or_default();
    Err(ShareError::Contended(key.to_owned()))
}

pub(super) fn read(store: &mut dyn Store, keys: &[&str]) -> Result<Known, ShareError> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    match store.ask(&Request::Read(keys))? {
        Reply::Read(entries) => Ok(entries.into_iter().collect()),
        _ => Err(no_answer()),
    }
}

pub(super) fn entry<'a>(known: &'a Known, key: &str) -> Option<&'a Entry> {
    known.get(key).and_then(Option::as_ref)
}

pub(super) fn record<T: serde::de::DeserializeOwned>(
    known: &Known,
    key: &str,
) -> Result<Option<T>, ShareError> {
    decode(key, entry(known, key)).map_err(ShareError::Damaged)
}

fn each(
    store: &mut dyn Store,
    names: &Names,
    kind: &str,
    mut see: impl FnMut(&str, &Entry) -> Result<(), String>,
) -> Result<(), ShareError> {
    let (mut from, to) = names.all(kind);
    loop {
        let request = Request::List {
            from,
            to: to.clone(),
            limit: PAGE,
            keys_only: false,
        };
        let Reply::Listed(entries, more) = store.ask(&request)? else {
            return Err(no_answer());
        };
        for (key, entry) in &entries {
            see(key, entry).map_err(ShareError::Damaged)?;
        }
        match entries.last() {
            Some((key, _)) if more => from = format!("{key}\0"),
            _ => return Ok(()),
        }
    }
}

pub(super) fn no_answer() -> ShareError {
    ShareError::Damaged("the store's answer is none to the question".into())
}
