//! All of a table at once: as a ledger, and whether its marks are those of its leases.

use std::collections::BTreeMap;

use super::{
    LeaseTable,
    chunk::{CHUNK, Chunk},
    index, no_meaning,
    values::{Value, decode},
};
use crate::{
    Attachment, Family,
    address::{from_number, to_number},
    leases::Cells,
    ledger::Ledger,
    store::StoreError,
    table::{Disk, Entry},
};

impl<D: Disk> LeaseTable<D> {
    /// Everything, with the attachments whose leases ended with a start of the machine.
    pub(super) fn everything(&self) -> Result<(Ledger, Vec<Attachment>, Marks), StoreError> {
        let mut ledger = Ledger::default();
        let mut ended = Vec::new();
        let mut marks = Marks::default();
        if let Some(boot) = &self.table.header().boot {
            ledger.set_boot(boot)?;
        }
        for bucket in 0..self.table.buckets() {
            for Entry { key, value } in self.table.entries(bucket)? {
                match decode(&key, &value).ok_or_else(no_meaning)? {
                    Value::Lease(it) => {
                        if self.is_ended(&it) {
                            ended.push(it.lease.attachment.clone());
                        }
                        ledger.set_lease(&it.lease.attachment, Some(&it.lease))?;
                    }
                    Value::Holding(key, holding) => ledger.set_holding(&key, Some(&holding))?,
                    Value::Use(address, it) => ledger.set_use(address, Some(&it))?,
                    Value::Reservation(address, owner) => {
                        ledger.set_reservation(address, Some(owner.as_ref()))?;
                    }
                    Value::ReservedFor => {}
                    Value::Cursor(set, address) => ledger.set_cursor(&set, address)?,
                    Value::Chunk(family, number, chunk) => {
                        marks.chunks.insert((family, number), chunk);
                    }
                    Value::FullChunks(family, number, full) => {
                        let chunks = full.ones().map(|it| number * CHUNK + it as u128);
                        marks.full.extend(chunks.map(|it| (family, it)));
                    }
                }
            }
        }
        Ok((ledger, ended, marks))
    }
}

/// The chunks of a table.
#[derive(Default)]
pub(super) struct Marks {
    chunks: BTreeMap<(Family, u128), Chunk>,
    full: Vec<(Family, u128)>,
}

impl Marks {
    /// Where they are not what the addresses' uses make them.
    pub(super) fn faults(mut self, ledger: &Ledger) -> Vec<String> {
        let mut wanted: BTreeMap<(Family, u128), Chunk> = BTreeMap::new();
        for (address, it) in ledger.uses() {
            let number = to_number(address);
            let chunk = wanted
                .entry((Family::of(address), number / CHUNK))
                .or_default();
            chunk.mark(index(number), true, it.until());
        }
        let mut faults = Vec::new();
        let full = wanted.iter().filter(|(_, chunk)| chunk.is_full());
        let full: Vec<_> = full.map(|(place, _)| *place).collect();
        self.full.sort_unstable();
        if full != self.full {
            faults.push(format!(
                "{} chunks are noted as full, {} are",
                self.full.len(),
                full.len()
            ));
        }
        for (place, chunk) in wanted {
            let noted = self.chunks.remove(&place);
            let right = noted.is_some_and(|noted| noted.says(&chunk));
            if !right {
                let first = from_number(place.0, place.1 * CHUNK);
                faults.push(format!(
                    "the marks of {first} and after are not those of its uses"
                ));
            }
        }
        for (family, number) in self.chunks.into_keys() {
            let first = from_number(family, number * CHUNK);
            faults.push(format!(
                "addresses from {first} on are marked and not in use"
            ));
        }
        faults
    }
}
