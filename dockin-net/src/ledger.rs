use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, ops::RangeInclusive};

use crate::{
    Attachment, Span,
    lease::{After, Blocked, Change, Lease, Owner, StickyKey, Timestamp},
};

/// Who has which address of a network: the sum of all changes.
///
/// [`Ledger::apply`] never fails. What it is asked to do is decided before, by
/// [`allocate`](crate::allocate) and by operators.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ledger {
    leases: BTreeMap<Attachment, Lease>,
    sticky: BTreeMap<StickyKey, Holding>,
    uses: BTreeMap<IpAddr, Use>,
    reserved: BTreeMap<IpAddr, Option<Owner>>,
    cursors: BTreeMap<String, IpAddr>,
    boot: Option<String>,
}

/// Where the addresses of a sticky key are.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Holding {
    Leased(Attachment),
    Kept {
        addresses: Vec<IpAddr>,
        until: Option<Timestamp>,
    },
}

/// What an address is in use for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Use {
    /// An attachment has it.
    Held(Attachment),
    /// An owner keeps it, until then or for ever.
    Kept(StickyKey, Option<Timestamp>),
    /// Nobody gets it before then.
    Blocked(Blocked, Timestamp),
}

impl Use {
    /// Is this over at `now`?
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        match self {
            Self::Held(_) => false,
            Self::Kept(_, until) => until.is_some_and(|until| until <= now),
            Self::Blocked(_, until) => *until <= now,
        }
    }
}

impl Ledger {
    /// A ledger out of a snapshot's changes. Leases that follow each other in order, which is how
    /// [`to_changes`](Self::to_changes) gives them, are put in place at once.
    #[must_use]
    pub fn from_changes(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut ledger = Self::default();
        let mut plain: Vec<(Attachment, Lease)> = Vec::new();
        let mut uses = Vec::new();
        for change in changes {
            match change {
                Change::Hold(lease)
                    if lease.sticky.is_none()
                        && plain
                            .last()
                            .is_none_or(|(last, _)| *last < lease.attachment) =>
                {
                    for address in &lease.addresses {
                        uses.push((*address, Use::Held(lease.attachment.clone())));
                    }
                    plain.push((lease.attachment.clone(), lease));
                }
                change => ledger.apply(change),
            }
        }
        uses.sort_by_key(|(address, _)| *address);
        ledger.leases.append(&mut plain.into_iter().collect());
        ledger.uses.append(&mut uses.into_iter().collect());
        ledger
    }

    /// One step further.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Hold(lease) => self.hold(lease),
            Change::Release { attachment, after } => self.release(&attachment, after),
            Change::Forget(key) => self.forget(&key),
            Change::Block {
                address,
                until,
                why,
            } => {
                self.uses.insert(address, Use::Blocked(why, until));
            }
            Change::Unblock(address) => {
                if let Some(Use::Blocked(..)) = self.uses.get(&address) {
                    self.uses.remove(&address);
                }
            }
            Change::Reserve { address, owner } => {
                self.reserved.insert(address, owner);
            }
            Change::Unreserve(address) => {
                self.reserved.remove(&address);
            }
            Change::Cursor { set, address } => {
                self.cursors.insert(set, address);
            }
            Change::Boot(id) => self.boot = Some(id),
        }
    }

    fn hold(&mut self, lease: Lease) {
        self.release(&lease.attachment, After::Free);
        if let Some(key) = &lease.sticky {
            self.forget(key);
            let holding = Holding::Leased(lease.attachment.clone());
            self.sticky.insert(key.clone(), holding);
        }
        for address in &lease.addresses {
            // Kept for too long: whoever kept it does so no longer.
            if let Some(Use::Kept(key, _)) = self.uses.get(address) {
                self.forget(&key.clone());
            }
            let held = Use::Held(lease.attachment.clone());
            self.uses.insert(*address, held);
        }
        self.leases.insert(lease.attachment.clone(), lease);
    }

    fn release(&mut self, attachment: &Attachment, after: After) {
        let Some(lease) = self.leases.remove(attachment) else {
            return;
        };
        let mut sticky = lease.sticky;
        if let Some(key) = &sticky
            && !matches!(self.sticky.get(key), Some(Holding::Leased(by)) if by == attachment)
        {
            sticky = None;
        }
        for address in &lease.addresses {
            if !matches!(self.uses.get(address), Some(Use::Held(by)) if by == attachment) {
                continue;
            }
            let then = match (&after, &sticky) {
                (After::Cool(until), _) => Some(Use::Blocked(Blocked::CoolDown, *until)),
                (After::Keep(until), Some(key)) => Some(Use::Kept(key.clone(), *until)),
                _ => None,
            };
            match then {
                Some(then) => self.uses.insert(*address, then),
                None => self.uses.remove(address),
            };
        }
        if let Some(key) = sticky {
            match after {
                After::Keep(until) => {
                    let addresses = lease.addresses;
                    self.sticky.insert(key, Holding::Kept { addresses, until });
                }
                _ => {
                    self.sticky.remove(&key);
                }
            }
        }
    }

    fn forget(&mut self, key: &StickyKey) {
        match self.sticky.remove(key) {
            Some(Holding::Kept { addresses, .. }) => {
                for address in addresses {
                    if matches!(self.uses.get(&address), Some(Use::Kept(by, _)) if by == key) {
                        self.uses.remove(&address);
                    }
                }
            }
            Some(Holding::Leased(attachment)) => {
                if let Some(lease) = self.leases.get_mut(&attachment) {
                    lease.sticky = None;
                }
            }
            None => {}
        }
    }

    /// The lease of an attachment, or that of its whole container where interfaces were not
    /// written down.
    #[must_use]
    pub fn lease_of(&self, attachment: &Attachment) -> Option<&Lease> {
        self.leases.get(attachment).or_else(|| {
            let container = attachment.container_id().clone();
            self.leases.get(&Attachment::of_container(container))
        })
    }

    /// All leases, by attachment.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The lease that a sticky key has now.
    #[must_use]
    pub fn lease_of_sticky(&self, key: &StickyKey) -> Option<&Lease> {
        match self.sticky.get(key)? {
            Holding::Leased(attachment) => self.leases.get(attachment),
            Holding::Kept { .. } => None,
        }
    }

    /// The addresses that a sticky key has or keeps at `now`.
    #[must_use]
    pub fn addresses_of(&self, key: &StickyKey, now: Timestamp) -> &[IpAddr] {
        match self.sticky.get(key) {
            Some(Holding::Leased(attachment)) => self
                .leases
                .get(attachment)
                .map_or(&[], |lease| &lease.addresses),
            Some(Holding::Kept { addresses, until }) if until.is_none_or(|until| now < until) => {
                addresses
            }
            _ => &[],
        }
    }

    /// What `address` is in use for at `now`.
    #[must_use]
    pub fn use_of(&self, address: IpAddr, now: Timestamp) -> Option<&Use> {
        self.uses.get(&address).filter(|it| !it.is_over(now))
    }

    /// All uses of the addresses of `span`, in order, also those that are over.
    pub fn uses_in(&self, span: Span) -> impl Iterator<Item = (IpAddr, &Use)> {
        let keys: RangeInclusive<IpAddr> = span.first()..=span.last();
        self.uses.range(keys).map(|(address, it)| (*address, it))
    }

    /// All uses, in order of address.
    pub fn uses(&self) -> impl Iterator<Item = (IpAddr, &Use)> {
        self.uses.iter().map(|(address, it)| (*address, it))
    }

    /// For whom `address` is set aside: `Some(None)` when for nobody.
    #[must_use]
    pub fn reservation_of(&self, address: IpAddr) -> Option<Option<&Owner>> {
        self.reserved.get(&address).map(Option::as_ref)
    }

    /// All addresses set aside by operators.
    pub fn reservations(&self) -> impl Iterator<Item = (IpAddr, Option<&Owner>)> {
        self.reserved
            .iter()
            .map(|(address, owner)| (*address, owner.as_ref()))
    }

    /// The last address given from a set.
    #[must_use]
    pub fn cursor(&self, set: &str) -> Option<IpAddr> {
        self.cursors.get(set).copied()
    }

    /// The machine's start that this was last used in.
    #[must_use]
    pub fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// Changes that make this ledger out of an empty one, without what is over at `now`.
    #[must_use]
    pub fn to_changes(&self, now: Timestamp) -> Vec<Change> {
        let mut changes: Vec<_> = self.boot.iter().cloned().map(Change::Boot).collect();
        for (set, address) in &self.cursors {
            changes.push(Change::Cursor {
                set: set.clone(),
                address: *address,
            });
        }
        for (address, owner) in &self.reserved {
            changes.push(Change::Reserve {
                address: *address,
                owner: owner.clone(),
            });
        }
        for (key, holding) in &self.sticky {
            if let Holding::Kept { addresses, until } = holding
                && until.is_none_or(|until| now < until)
            {
                // Keeping is what a lease leaves behind: one that no runtime can name.
                let attachment = Attachment::stored("", key.interface.as_str());
                changes.push(Change::Hold(Lease {
                    attachment: attachment.clone(),
                    addresses: addresses.clone(),
                    sticky: Some(key.clone()),
                    since: Timestamp(0),
                }));
                changes.push(Change::Release {
                    attachment,
                    after: After::Keep(*until),
                });
            }
        }
        changes.extend(self.leases.values().cloned().map(Change::Hold));
        for (address, it) in &self.uses {
            if let Use::Blocked(why, until) = it
                && now < *until
            {
                changes.push(Change::Block {
                    address: *address,
                    until: *until,
                    why: *why,
                });
            }
        }
        changes
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
