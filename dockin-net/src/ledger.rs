use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, ops::RangeInclusive};

use crate::{
    Attachment, Span,
    lease::{Change, Lease, Owner, StickyKey, Timestamp},
    leases::{Cells, Holding, Leases, Use, apply},
    next,
    store::StoreError,
};

/// Who has which address of a network, in memory: the sum of all changes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ledger {
    leases: BTreeMap<Attachment, Lease>,
    sticky: BTreeMap<StickyKey, Holding>,
    uses: BTreeMap<IpAddr, Use>,
    reserved: BTreeMap<IpAddr, Option<Owner>>,
    cursors: BTreeMap<String, IpAddr>,
    boot: Option<String>,
}

impl Ledger {
    /// One step further.
    pub fn apply(&mut self, change: &Change) {
        // Memory does not fail.
        let _ = apply(self, change);
    }

    /// All leases, by attachment.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// All uses, in order of address, also those that are over.
    pub fn uses(&self) -> impl Iterator<Item = (IpAddr, &Use)> {
        self.uses.iter().map(|(address, it)| (*address, it))
    }

    /// All addresses set aside by operators.
    pub fn reservations(&self) -> impl Iterator<Item = (IpAddr, Option<&Owner>)> {
        self.reserved
            .iter()
            .map(|(address, owner)| (*address, owner.as_ref()))
    }

    /// The last address given from each set.
    pub fn cursors(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        let cursors = self.cursors.iter();
        cursors.map(|(set, address)| (set.as_str(), *address))
    }

    /// What does not fit together; nothing in a ledger that was only ever changed by us.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut claims: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for lease in self.leases.values() {
            for address in &lease.addresses {
                let claim = format!("held by {}", lease.attachment);
                claims.entry(*address).or_default().push(claim);
            }
        }
        for (key, holding) in &self.sticky {
            if let Holding::Kept { addresses, .. } = holding {
                for address in addresses {
                    let claim = format!("kept by {}", key.owner);
                    claims.entry(*address).or_default().push(claim);
                }
            }
        }
        for (address, claim) in &claims {
            if claim.len() > 1 {
                faults.push(format!("{address} is {}", claim.join(" and ")));
            }
            if matches!(self.uses.get(address), None | Some(Use::Blocked(..))) {
                faults.push(format!(
                    "{address} is {} and not in use",
                    claim.join(" and ")
                ));
            }
        }
        for (address, it) in &self.uses {
            if !matches!(it, Use::Blocked(..)) && !claims.contains_key(address) {
                let mut fault = String::new();
                let _ = write!(fault, "{address} is in use and no lease has it");
                faults.push(fault);
            }
        }
        faults
    }
}

/// What has all its leases in memory.
pub trait AsLedger {
    /// The leases.
    fn as_ledger(&self) -> &Ledger;
}

impl AsLedger for Ledger {
    fn as_ledger(&self) -> &Ledger {
        self
    }
}

impl<T: AsLedger> Leases for T {
    fn stored_lease(&self, attachment: &Attachment) -> Result<Option<Lease>, StoreError> {
        Ok(self.as_ledger().leases.get(attachment).cloned())
    }

    fn holding(&self, key: &StickyKey) -> Result<Option<Holding>, StoreError> {
        Ok(self.as_ledger().sticky.get(key).cloned())
    }

    fn usage(&self, address: IpAddr) -> Result<Option<Use>, StoreError> {
        Ok(self.as_ledger().uses.get(&address).cloned())
    }

    fn reservation(&self, address: IpAddr) -> Result<Option<Option<Owner>>, StoreError> {
        Ok(self.as_ledger().reserved.get(&address).cloned())
    }

    fn reserved_for(&self, owner: &Owner) -> Result<Vec<IpAddr>, StoreError> {
        let reserved = self.as_ledger().reservations();
        let ours = reserved.filter(|(_, it)| *it == Some(owner));
        Ok(ours.map(|(address, _)| address).collect())
    }

    fn cursor(&self, set: &str) -> Result<Option<IpAddr>, StoreError> {
        Ok(self.as_ledger().cursors.get(set).copied())
    }

    fn boot(&self) -> Result<Option<String>, StoreError> {
        Ok(self.as_ledger().boot.clone())
    }

    fn first_unused(&self, span: Span, now: Timestamp) -> Result<Option<IpAddr>, StoreError> {
        let keys: RangeInclusive<IpAddr> = span.first()..=span.last();
        let mut candidate = span.first();
        for (address, it) in self.as_ledger().uses.range(keys) {
            if *address > candidate || it.is_over(now) {
                break;
            }
            match next(candidate).filter(|it| span.contains(*it)) {
                Some(after) => candidate = after,
                None => return Ok(None),
            }
        }
        Ok(Some(candidate))
    }
}

impl Cells for Ledger {
    fn set_lease(&mut self, of: &Attachment, lease: Option<&Lease>) -> Result<(), StoreError> {
        set(&mut self.leases, of, lease);
        Ok(())
    }

    fn set_holding(&mut self, of: &StickyKey, holding: Option<&Holding>) -> Result<(), StoreError> {
        set(&mut self.sticky, of, holding);
        Ok(())
    }

    fn set_use(&mut self, of: IpAddr, it: Option<&Use>) -> Result<(), StoreError> {
        set(&mut self.uses, &of, it);
        Ok(())
    }

    fn set_reservation(
        &mut self,
        of: IpAddr,
        owner: Option<Option<&Owner>>,
    ) -> Result<(), StoreError> {
        set(
            &mut self.reserved,
            &of,
            owner.map(Option::<&Owner>::cloned).as_ref(),
        );
        Ok(())
    }

    fn set_cursor(&mut self, of: &str, address: IpAddr) -> Result<(), StoreError> {
        self.cursors.insert(of.to_owned(), address);
        Ok(())
    }

    fn set_boot(&mut self, id: &str) -> Result<(), StoreError> {
        self.boot = Some(id.to_owned());
        Ok(())
    }

    fn set_swept(&mut self, _place: Option<u32>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn set<K: Clone + Ord, V: Clone>(cells: &mut BTreeMap<K, V>, of: &K, value: Option<&V>) {
    match value {
        Some(value) => cells.insert(of.clone(), value.clone()),
        None => cells.remove(of),
    };
}
