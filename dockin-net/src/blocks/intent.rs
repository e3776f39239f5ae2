use std::{collections::BTreeMap, net::IpAddr};

use super::{
    block::{Block, Names},
    record::{BlockRecord, Holder, StickyRecord, decode, encode},
    state::{Intent, key},
    transaction::{Compare, Entry, Transaction, Write},
};

/// What keys held when they were last seen.
pub(super) type Known = BTreeMap<String, Option<Entry>>;

/// What is to be done about an intent.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Try this, under the condition that the session lasts.
    Try(Transaction),
    /// Nothing more: it is known how it ended.
    Settled(Settled),
}

/// How an intent ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Settled {
    /// Addresses came to us.
    Taken { bits: u64, token: i64 },
    /// Somebody else has them.
    Missed,
    /// Addresses are no longer ours.
    Given,
    /// The sticky key is here, with these addresses.
    Held { addresses: Vec<IpAddr>, token: i64 },
    /// The sticky key is at that node.
    Elsewhere(String),
    /// The sticky key is no longer here.
    Released,
}

impl Intent {
    /// The keys that it is about.
    pub(super) fn keys(&self, names: &Names) -> Vec<String> {
        match self {
            Self::Take { block, .. } | Self::Give { block, .. } => {
                vec![names.block(Block::of(*block))]
            }
            Self::Hold { key: of, fresh } => {
                let blocks = fresh.iter().map(|it| names.block(Block::of(*it)));
                let mut keys: Vec<_> = blocks.chain([names.sticky(&key(of))]).collect();
                keys.dedup();
                keys
            }
            Self::Release { key: of, .. } => vec![names.sticky(&key(of))],
        }
    }

    /// What is to be done, from what its keys hold. The same records give the same transaction,
    /// so trying again settles one whose answer was lost.
    pub(super) fn judge(
        &self,
        names: &Names,
        ours: &Holder,
        known: &Known,
    ) -> Result<Judgement, String> {
        let judge = Judge { names, ours, known };
        match self {
            Self::Take {
                block,
                bits,
                usable,
            } => judge.take(Block::of(*block), *bits, *usable),
            Self::Give { block, bits } => judge.give(Block::of(*block), *bits),
            Self::Hold { key: of, fresh } => judge.hold(&names.sticky(&key(of)), fresh),
            Self::Release { key: of, until } => judge.release(&names.sticky(&key(of)), *until),
        }
    }
}

struct Judge<'a> {
    names: &'a Names,
    ours: &'a Holder,
    known: &'a Known,
}

impl Judge<'_> {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.known.get(key).and_then(Option::as_ref)
    }

    fn unchanged(&self, key: &str) -> Compare {
        let revision = self.entry(key).map_or(0, |entry| entry.revision);
        Compare::Revision(key.to_owned(), revision)
    }

    fn block(&self, block: Block) -> Result<BlockRecord, String> {
        let key = self.names.block(block);
        Ok(decode(&key, self.entry(&key))?.unwrap_or_default())
    }

    /// The holder of our part: as it was granted first.
    fn holder(&self, record: &BlockRecord) -> Holder {
        let part = record.part(&self.ours.node, &self.ours.instance);
        part.map_or_else(|| self.ours.clone(), |part| part.holder.clone())
    }

    fn bits(&self, record: &BlockRecord) -> u64 {
        let part = record.part(&self.ours.node, &self.ours.instance);
        part.map_or(0, |part| part.bits)
    }

    fn take(&self, block: Block, bits: u64, usable: u64) -> Result<Judgement, String> {
        let mut record = self.block(block)?;
        let (ours, holder) = (self.bits(&record), self.holder(&record));
        if ours & bits != 0 {
            return Ok(Judgement::Settled(Settled::Taken {
                bits: ours & bits,
                token: holder.token,
            }));
        }
        let bits = bits & !record.assigned();
        if bits == 0 {
            return Ok(Judgement::Settled(Settled::Missed));
        }
        record.set_part(&holder, ours | bits);
        let index = self.names.free(block);
        let index = match usable & !record.assigned() {
            0 => Write::Delete(index),
            _ => Write::Put(index, String::new(), None),
        };
        let key = self.names.block(block);
        Ok(Judgement::Try(Transaction {
            compares: vec![self.unchanged(&key)],
            writes: vec![
                Write::Put(key, encode(&record), None),
                index,
                Write::Delete(self.names.want(&self.ours.node)),
            ],
        }))
    }

    fn give(&self, block: Block, bits: u64) -> Result<Judgement, String> {
        let mut record = self.block(block)?;
        let ours = self.bits(&record);
        if ours & bits == 0 {
            return Ok(Judgement::Settled(Settled::Given));
        }
        record.set_part(&self.holder(&record), ours & !bits);
        let key = self.names.block(block);
        Ok(Judgement::Try(Transaction {
            compares: vec![self.unchanged(&key)],
            writes: put_block(self.names, block, &record).into(),
        }))
    }

    fn hold(&self, sticky: &str, fresh: &[IpAddr]) -> Result<Judgement, String> {
        let record: Option<StickyRecord> = decode(sticky, self.entry(sticky))?;
        let mut transaction = Transaction {
            compares: vec![self.unchanged(sticky)],
            writes: Vec::new(),
        };
        let record = match record {
            Some(record) => match &record.holder {
                Some(holder) if holder.is(&self.ours.node, &self.ours.instance) => {
                    return Ok(Judgement::Settled(Settled::Held {
                        addresses: record.addresses,
                        token: holder.token,
                    }));
                }
                Some(holder) => {
                    let node = holder.node.clone();
                    return Ok(Judgement::Settled(Settled::Elsewhere(node)));
                }
                None => record,
            },
            None if fresh.is_empty() => return Ok(Judgement::Settled(Settled::Missed)),
            None => {
                let mut records: BTreeMap<Block, BlockRecord> = BTreeMap::new();
                for address in fresh {
                    let block = Block::of(*address);
                    let bit = block.bit(*address);
                    let record = match records.get(&block) {
                        Some(record) => record.clone(),
                        None => self.block(block)?,
                    };
                    let mut record = record;
                    let ours = self.bits(&record);
                    if record.assigned() & !ours & bit != 0 {
                        return Ok(Judgement::Settled(Settled::Missed));
                    }
                    if ours & bit == 0 {
                        // A record made here has free addresses beside it.
                        let index = self.names.free(block);
                        let put = Write::Put(index, String::new(), None);
                        if !transaction.writes.contains(&put) {
                            transaction.writes.push(put);
                        }
                    }
                    record.set_part(&self.holder(&record), ours & !bit);
                    record.claimed |= bit;
                    records.insert(block, record);
                }
                for (block, record) in records {
                    let key = self.names.block(block);
                    transaction.compares.push(self.unchanged(&key));
                    let put = Write::Put(key, encode(&record), None);
                    transaction.writes.push(put);
                }
                StickyRecord {
                    addresses: fresh.to_vec(),
                    ..StickyRecord::default()
                }
            }
        };
        let record = StickyRecord {
            addresses: record.addresses,
            holder: Some(self.ours.clone()),
            until: None,
        };
        let put = Write::Put(sticky.to_owned(), encode(&record), None);
        transaction.writes.push(put);
        Ok(Judgement::Try(transaction))
    }

    fn release(&self, sticky: &str, until: Option<u64>) -> Result<Judgement, String> {
        let record: Option<StickyRecord> = decode(sticky, self.entry(sticky))?;
        let ours = record.filter(|record| {
            let holder = record.holder.as_ref();
            holder.is_some_and(|it| it.is(&self.ours.node, &self.ours.instance))
        });
        let Some(record) = ours else {
            return Ok(Judgement::Settled(Settled::Released));
        };
        let record = StickyRecord {
            addresses: record.addresses,
            holder: None,
            until,
        };
        Ok(Judgement::Try(Transaction {
            compares: vec![self.unchanged(sticky)],
            writes: vec![Write::Put(sticky.to_owned(), encode(&record), None)],
        }))
    }
}

/// The writes of a block of which some address became nobody's.
pub(super) fn put_block(names: &Names, block: Block, record: &BlockRecord) -> [Write; 2] {
    let (key, index) = (names.block(block), names.free(block));
    if record.is_empty() {
        [Write::Delete(key), Write::Delete(index)]
    } else {
        [
            Write::Put(key, encode(record), None),
            Write::Put(index, String::new(), None),
        ]
    }
}
