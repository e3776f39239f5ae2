//! A network's leases in a [table](crate::table): every question is a handful of blocks, however
//! many leases there are.
//!
//! | key | value |
//! | --- | --- |
//! | lease, attachment | start of the machine, time, sticky key, addresses |
//! | sticky key | the attachment that has its addresses, or which are kept until when |
//! | address | what it is in use for |
//! | address set aside | for whom |
//! | owner | what is set aside for it |
//! | set | the address given last |
//! | 512 addresses | which are in use, and which of those only until a time; [`Chunk`] |
//! | 512 chunks | which are full for ever |

mod audit;
mod chunk;
mod values;

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr};

use chunk::{Bits, CHUNK, Chunk};
use values::{StoredLease, Value, decode, key};

use crate::{
    Attachment, Family, Span,
    address::{from_number, to_number},
    fields::Reader,
    lease::{Change, Lease, Owner, StickyKey, Timestamp},
    leases::{Cells, Holding, Leases, Use, apply},
    ledger::Ledger,
    store::{LeaseStore, Page, StoreError},
    table::{Disk, Entry, Table},
};

/// Buckets looked through for leases of an earlier start of the machine, and such leases ended,
/// by one call.
const SWEPT_BUCKETS: u32 = 16;
const SWEPT_LEASES: usize = 8;
/// Buckets of one page, some five leases each.
const PAGE: u32 = 16;
/// Chunks whose earliest end is written anew by one call.
const HINTS: usize = 8;

/// The leases on a [`Disk`].
#[derive(Debug)]
pub struct LeaseTable<D> {
    table: Table<D>,
    /// Earliest ends that a search found to be later than noted, by the chunk's key.
    hints: RefCell<BTreeMap<Vec<u8>, u64>>,
}

impl<D: Disk> LeaseTable<D> {
    /// Opens the files, and makes them where there are none. What a crash left of a record does
    /// not count.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when a file is none of ours, or not as it was written.
    pub fn open(disk: D) -> Result<Self, StoreError> {
        Ok(Self {
            table: Table::open(disk)?,
            hints: RefCell::default(),
        })
    }

    /// Writes what the journal holds into the table, as commits do from time to time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; nothing is lost then.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        self.table.empty_journal()
    }

    /// The disk, for tests that look at it.
    pub fn into_disk(self) -> D {
        self.table.into_disk()
    }

    fn value<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let value = self.table.value(key)?;
        let read = value.map(|value| read(&mut Reader::new(&value)).ok_or_else(no_meaning));
        read.transpose()
    }

    fn is_ended(&self, lease: &StoredLease) -> bool {
        lease.epoch < self.table.header().epoch
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        match value {
            Some(value) => self.table.put(key, value),
            None => self.table.remove(key),
        }
    }

    fn chunk(&self, family: Family, number: u128) -> Result<Option<Chunk>, StoreError> {
        self.value(&key::chunk(family, number), Chunk::decode)
    }

    /// Notes in the chunk of an address whether it is in use, and until when.
    fn mark(&mut self, address: IpAddr, it: Option<&Use>) -> Result<(), StoreError> {
        let family = Family::of(address);
        let number = to_number(address);
        let name = key::chunk(family, number / CHUNK);
        let mut chunk = self.chunk(family, number / CHUNK)?.unwrap_or_default();
        let was_full = chunk.is_full();
        chunk.mark(index(number), it.is_some(), it.and_then(Use::until));
        let bytes = chunk.encode();
        self.set(&name, (!chunk.is_empty()).then_some(&bytes))?;
        if was_full == chunk.is_full() {
            return Ok(());
        }
        let number = number / CHUNK;
        let name = key::full_chunks(family, number / CHUNK);
        let mut full = self.value(&name, Bits::decode)?.unwrap_or_default();
        full.set(index(number), chunk.is_full());
        let bytes = full.encode();
        self.set(&name, (!full.is_empty()).then_some(&bytes))
    }

    /// The first address of a chunk, from `first` to `last` in it, that is in no use at `now`.
    fn unused_in(
        &self,
        family: Family,
        number: u128,
        (first, last): (usize, usize),
        now: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        let Some(chunk) = self.chunk(family, number)? else {
            return Ok(Some(first));
        };
        let never_used = chunk.first_unused(first, last);
        if chunk.earliest() > now {
            return Ok(never_used);
        }
        let mut earliest = None;
        for timed in chunk.timed(first, never_used.unwrap_or(last)) {
            let place = number * CHUNK + timed as u128;
            let until = self
                .usage(from_number(family, place))?
                .and_then(|it| it.until());
            match until {
                Some(until) if until > now => {
                    earliest = Some(earliest.map_or(until, |it: Timestamp| it.min(until)));
                }
                _ => return Ok(Some(timed)),
            }
        }
        // Everything was looked at: none is over before the earliest of them.
        let everything = first == 0 && never_used.is_none() && last + 1 == CHUNK as usize;
        if let (true, Some(earliest)) = (everything, earliest) {
            let mut hints = self.hints.borrow_mut();
            if hints.len() < HINTS {
                hints.insert(key::chunk(family, number), earliest.0);
            }
        }
        Ok(never_used)
    }

    fn take_hints(&mut self) -> Result<(), StoreError> {
        for (key, earliest) in std::mem::take(self.hints.get_mut()) {
            if let Some(mut chunk) = self.value(&key, Chunk::decode)? {
                chunk.set_earliest(Timestamp(earliest));
                self.table.put(&key, &chunk.encode())?;
            }
        }
        Ok(())
    }
}

impl<D: Disk> Leases for LeaseTable<D> {
    fn stored_lease(&self, attachment: &Attachment) -> Result<Option<Lease>, StoreError> {
        let read = |reader: &mut Reader<'_>| StoredLease::decode(attachment.clone(), reader);
        let stored = self.value(&key::lease(attachment), read)?;
        Ok(stored.map(|it| it.lease))
    }

    fn lease(&self, attachment: &Attachment) -> Result<Option<Lease>, StoreError> {
        let read = |reader: &mut Reader<'_>| StoredLease::decode(attachment.clone(), reader);
        let stored = self.value(&key::lease(attachment), read)?;
        Ok(stored.filter(|it| !self.is_ended(it)).map(|it| it.lease))
    }

    fn holding(&self, key: &StickyKey) -> Result<Option<Holding>, StoreError> {
        self.value(&key::sticky(key), values::decode_holding)
    }

    fn usage(&self, address: IpAddr) -> Result<Option<Use>, StoreError> {
        self.value(&key::usage(address), values::decode_use)
    }

    fn use_of(&self, address: IpAddr, now: Timestamp) -> Result<Option<Use>, StoreError> {
        let usage = self.usage(address)?.filter(|it| !it.is_over(now));
        if let (Some(Use::Held(by)), Some(_)) = (&usage, self.table.header().swept) {
            let goes_on = match self.stored_lease(by)? {
                Some(lease) => lease.sticky.is_some() || self.lease(by)?.is_some(),
                None => false,
            };
            return Ok(usage.filter(|_| goes_on));
        }
        Ok(usage)
    }

    fn reservation(&self, address: IpAddr) -> Result<Option<Option<Owner>>, StoreError> {
        self.value(&key::reservation(address), values::decode_owner)
    }

    fn reserved_for(&self, owner: &Owner) -> Result<Vec<IpAddr>, StoreError> {
        let addresses = self.value(&key::reserved_for(owner), |it| it.addresses())?;
        Ok(addresses.unwrap_or_default())
    }

    fn cursor(&self, set: &str) -> Result<Option<IpAddr>, StoreError> {
        self.value(&key::cursor(set), |it| it.address())
    }

    fn boot(&self) -> Result<Option<String>, StoreError> {
        Ok(self.table.header().boot.clone())
    }

    fn first_unused(&self, span: Span, now: Timestamp) -> Result<Option<IpAddr>, StoreError> {
        let family = Family::of(span.first());
        let (first, last) = (to_number(span.first()), to_number(span.last()));
        let mut full = None;
        let mut number = first / CHUNK;
        while number <= last / CHUNK {
            let group = number / CHUNK;
            if full.as_ref().is_none_or(|(it, _)| *it != group) {
                let bits = self.value(&key::full_chunks(family, group), Bits::decode)?;
                full = Some((group, bits.unwrap_or_default()));
            }
            let bits = full.as_ref().map(|(_, bits)| bits);
            let next = bits.map_or(Some(0), |bits| bits.first_zero(index(number)));
            let Some(next) = next else {
                number = (group + 1) * CHUNK;
                continue;
            };
            number = group * CHUNK + next as u128;
            if number > last / CHUNK {
                break;
            }
            let from = if number == first / CHUNK {
                index(first)
            } else {
                0
            };
            let to = if number == last / CHUNK {
                index(last)
            } else {
                CHUNK as usize - 1
            };
            if let Some(found) = self.unused_in(family, number, (from, to), now)? {
                return Ok(Some(from_number(family, number * CHUNK + found as u128)));
            }
            number += 1;
        }
        Ok(None)
    }
}

impl<D: Disk> Cells for LeaseTable<D> {
    fn set_lease(&mut self, of: &Attachment, lease: Option<&Lease>) -> Result<(), StoreError> {
        let key = key::lease(of);
        let Some(lease) = lease else {
            return self.table.remove(&key);
        };
        let read = |reader: &mut Reader<'_>| StoredLease::decode(of.clone(), reader);
        // A lease that changes stays one of its time.
        let before = self.value(&key, read)?.map(|it| it.epoch);
        let epoch = before.unwrap_or(self.table.header().epoch);
        self.table.put(&key, &values::encode_lease(lease, epoch))
    }

    fn set_holding(&mut self, of: &StickyKey, holding: Option<&Holding>) -> Result<(), StoreError> {
        let value = holding.map(values::encode_holding);
        self.set(&key::sticky(of), value.as_deref())
    }

    fn set_use(&mut self, of: IpAddr, it: Option<&Use>) -> Result<(), StoreError> {
        let value = it.map(values::encode_use);
        self.set(&key::usage(of), value.as_deref())?;
        self.mark(of, it)
    }

    fn set_reservation(
        &mut self,
        of: IpAddr,
        owner: Option<Option<&Owner>>,
    ) -> Result<(), StoreError> {
        if let Some(Some(before)) = self.reservation(of)? {
            let mut addresses = self.reserved_for(&before)?;
            addresses.retain(|it| *it != of);
            let value = values::encode_addresses(&addresses);
            self.set(
                &key::reserved_for(&before),
                (!addresses.is_empty()).then_some(&value),
            )?;
        }
        if let Some(Some(owner)) = owner {
            let mut addresses = self.reserved_for(owner)?;
            addresses.push(of);
            self.table.put(
                &key::reserved_for(owner),
                &values::encode_addresses(&addresses),
            )?;
        }
        let value = owner.map(values::encode_owner);
        self.set(&key::reservation(of), value.as_deref())
    }

    fn set_cursor(&mut self, set: &str, address: IpAddr) -> Result<(), StoreError> {
        self.table
            .put(&key::cursor(set), &values::encode_addresses(&[address]))
    }

    fn set_boot(&mut self, id: &str) -> Result<(), StoreError> {
        let header = self.table.header_mut();
        // Leases of before the first start that is known may be of this one: they were imported.
        if header.boot.is_some() {
            header.epoch = header.epoch.saturating_add(1);
            header.swept = Some(0);
        }
        header.boot = Some(id.to_owned());
        Ok(())
    }

    fn set_swept(&mut self, place: Option<u32>) -> Result<(), StoreError> {
        self.table.header_mut().swept = place;
        Ok(())
    }
}

impl<D: Disk> LeaseStore for LeaseTable<D> {
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut done = self.take_hints();
        for change in &changes {
            done = done.and_then(|()| apply(self, change));
        }
        if done.is_err() {
            self.table.roll_back();
            return done;
        }
        self.table.commit()
    }

    fn page(&self, from: u32) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let end = from.saturating_add(PAGE).min(self.table.buckets());
        for bucket in from..end {
            for Entry { key, value } in self.table.entries(bucket)? {
                if let Some(Value::Lease(it)) = decode(&key, &value)
                    && !self.is_ended(&it)
                {
                    page.leases.push(it.lease);
                }
            }
        }
        page.next = Some(end).filter(|end| *end < self.table.buckets());
        Ok(page)
    }

    fn ended(&self) -> Result<Option<Page>, StoreError> {
        let Some(swept) = self.table.header().swept else {
            return Ok(None);
        };
        let mut page = Page::default();
        let end = swept
            .saturating_add(SWEPT_BUCKETS)
            .min(self.table.buckets());
        let mut bucket = swept;
        while bucket < end && page.leases.len() < SWEPT_LEASES {
            for Entry { key, value } in self.table.entries(bucket)? {
                if let Some(Value::Lease(it)) = decode(&key, &value)
                    && self.is_ended(&it)
                {
                    page.leases.push(it.lease);
                }
            }
            bucket += 1;
        }
        page.next = Some(bucket).filter(|it| *it < self.table.buckets());
        Ok(Some(page))
    }

    fn to_ledger(&self) -> Result<Ledger, StoreError> {
        let (mut ledger, ended, _) = self.everything()?;
        for attachment in ended {
            let after = crate::lease::After::Keep(None);
            ledger.apply(&Change::Release { attachment, after });
        }
        Ok(ledger)
    }

    fn faults(&self) -> Result<Vec<String>, StoreError> {
        let (ledger, _, marks) = self.everything()?;
        let mut faults = ledger.faults();
        faults.extend(marks.faults(&ledger));
        Ok(faults)
    }
}

/// The place of an address in its chunk, or of a chunk in its group.
fn index(number: u128) -> usize {
    usize::try_from(number % CHUNK).unwrap_or(0)
}

fn no_meaning() -> StoreError {
    StoreError::Damaged {
        path: crate::table::FileName::Table.as_str().into(),
        message: "an entry has no meaning; a newer version may have written it".into(),
    }
}

#[cfg(test)]
mod tests;
