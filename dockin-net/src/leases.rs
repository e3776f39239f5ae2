use std::net::IpAddr;

use crate::{
    Attachment, Span,
    lease::{After, Blocked, Change, Lease, Owner, StickyKey, Timestamp},
    store::StoreError,
};

/// Where the addresses of a sticky key are.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Holding {
    /// An attachment has them.
    Leased(Attachment),
    /// They are kept.
    Kept {
        /// Which ones.
        addresses: Vec<IpAddr>,
        /// Until then, for ever when absent.
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
    /// When this is over; never when absent.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Held(_) => None,
            Self::Kept(_, until) => *until,
            Self::Blocked(_, until) => Some(*until),
        }
    }

    /// Is this over at `now`?
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until().is_some_and(|until| until <= now)
    }
}

/// What can be asked of a network's leases. Each answer is found without reading the others.
///
/// Leases of an earlier start of the machine have ended: [`lease`](Self::lease) does not give
/// them, [`stored_lease`](Self::stored_lease) does until they are swept away.
pub trait Leases {
    /// What is noted for exactly this attachment, also from an earlier start of the machine.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as for the others.
    fn stored_lease(&self, attachment: &Attachment) -> Result<Option<Lease>, StoreError>;

    /// The lease of exactly this attachment.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn lease(&self, attachment: &Attachment) -> Result<Option<Lease>, StoreError> {
        self.stored_lease(attachment)
    }

    /// Where the addresses of a sticky key are.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn holding(&self, key: &StickyKey) -> Result<Option<Holding>, StoreError>;

    /// What is noted for an address, also when it is over.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn usage(&self, address: IpAddr) -> Result<Option<Use>, StoreError>;

    /// For whom an address is set aside: `Some(None)` when for nobody.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn reservation(&self, address: IpAddr) -> Result<Option<Option<Owner>>, StoreError>;

    /// What is set aside for an owner.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn reserved_for(&self, owner: &Owner) -> Result<Vec<IpAddr>, StoreError>;

    /// The last address given from a set.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn cursor(&self, set: &str) -> Result<Option<IpAddr>, StoreError>;

    /// The machine's start that this was last used in.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn boot(&self) -> Result<Option<String>, StoreError>;

    /// The first address of `span` that is in no use at `now`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn first_unused(&self, span: Span, now: Timestamp) -> Result<Option<IpAddr>, StoreError>;

    /// The lease of an attachment, or that of its whole container where interfaces were not
    /// written down.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn lease_of(&self, attachment: &Attachment) -> Result<Option<Lease>, StoreError> {
        if let Some(lease) = self.lease(attachment)? {
            return Ok(Some(lease));
        }
        self.lease(&Attachment::of_container(attachment.container_id().clone()))
    }

    /// The lease that a sticky key has, also from an earlier start of the machine.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn lease_of_sticky(&self, key: &StickyKey) -> Result<Option<Lease>, StoreError> {
        match self.holding(key)? {
            Some(Holding::Leased(attachment)) => self.stored_lease(&attachment),
            _ => Ok(None),
        }
    }

    /// The addresses that a sticky key has or keeps at `now`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn addresses_of(&self, key: &StickyKey, now: Timestamp) -> Result<Vec<IpAddr>, StoreError> {
        Ok(match self.holding(key)? {
            Some(Holding::Leased(attachment)) => {
                let lease = self.stored_lease(&attachment)?;
                lease.map(|lease| lease.addresses).unwrap_or_default()
            }
            Some(Holding::Kept { addresses, until }) if until.is_none_or(|until| now < until) => {
                addresses
            }
            _ => Vec::new(),
        })
    }

    /// What `address` is in use for at `now`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn use_of(&self, address: IpAddr, now: Timestamp) -> Result<Option<Use>, StoreError> {
        Ok(self.usage(address)?.filter(|it| !it.is_over(now)))
    }
}

/// Where changes are made: each cell by itself, the rules are [`apply`]'s.
pub(crate) trait Cells: Leases {
    fn set_lease(&mut self, of: &Attachment, lease: Option<&Lease>) -> Result<(), StoreError>;
    fn set_holding(&mut self, of: &StickyKey, holding: Option<&Holding>) -> Result<(), StoreError>;
    fn set_use(&mut self, of: IpAddr, it: Option<&Use>) -> Result<(), StoreError>;
    fn set_reservation(
        &mut self,
        of: IpAddr,
        owner: Option<Option<&Owner>>,
    ) -> Result<(), StoreError>;
    fn set_cursor(&mut self, set: &str, address: IpAddr) -> Result<(), StoreError>;
    fn set_boot(&mut self, id: &str) -> Result<(), StoreError>;
    /// Up to there no lease of an earlier start of the machine is left; nowhere when absent.
    fn set_swept(&mut self, place: Option<u32>) -> Result<(), StoreError>;
}

/// One step further. It is decided before whether it may be, by [`allocate`](crate::allocate())
/// and by operators.
pub(crate) fn apply(cells: &mut dyn Cells, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Hold(lease) => hold(cells, lease),
        Change::Release { attachment, after } => release(cells, attachment, *after),
        Change::Forget(key) => forget(cells, key),
        Change::Block {
            address,
            until,
            why,
        } => cells.set_use(*address, Some(&Use::Blocked(*why, *until))),
        Change::Unblock(address) => match cells.usage(*address)? {
            Some(Use::Blocked(..)) => cells.set_use(*address, None),
            _ => Ok(()),
        },
        Change::Reserve { address, owner } => cells.set_reservation(*address, Some(owner.as_ref())),
        Change::Unreserve(address) => cells.set_reservation(*address, None),
        Change::Cursor { set, address } => cells.set_cursor(set, *address),
        Change::Boot(id) => cells.set_boot(id),
        Change::Swept(place) => cells.set_swept(*place),
    }
}

fn hold(cells: &mut dyn Cells, lease: &Lease) -> Result<(), StoreError> {
    release(cells, &lease.attachment, After::Free)?;
    if let Some(key) = &lease.sticky {
        forget(cells, key)?;
        let holding = Holding::Leased(lease.attachment.clone());
        cells.set_holding(key, Some(&holding))?;
    }
    for address in &lease.addresses {
        // Kept for too long: whoever kept it does so no longer.
        if let Some(Use::Kept(key, _)) = cells.usage(*address)? {
            forget(cells, &key)?;
        }
        let held = Use::Held(lease.attachment.clone());
        cells.set_use(*address, Some(&held))?;
    }
    cells.set_lease(&lease.attachment, Some(lease))
}

fn release(cells: &mut dyn Cells, attachment: &Attachment, after: After) -> Result<(), StoreError> {
    let Some(lease) = cells.stored_lease(attachment)? else {
        return Ok(());
    };
    cells.set_lease(attachment, None)?;
    let mut sticky = lease.sticky;
    if let Some(key) = &sticky
        && !matches!(cells.holding(key)?, Some(Holding::Leased(by)) if by == *attachment)
    {
        sticky = None;
    }
    for address in &lease.addresses {
        if !matches!(cells.usage(*address)?, Some(Use::Held(by)) if by == *attachment) {
            continue;
        }
        let then = match (&after, &sticky) {
            (After::Cool(until), _) => Some(Use::Blocked(Blocked::CoolDown, *until)),
            (After::Keep(until), Some(key)) => Some(Use::Kept(key.clone(), *until)),
            _ => None,
        };
        cells.set_use(*address, then.as_ref())?;
    }
    match (sticky, after) {
        (Some(key), After::Keep(until)) => {
            let addresses = lease.addresses;
            cells.set_holding(&key, Some(&Holding::Kept { addresses, until }))
        }
        (Some(key), _) => cells.set_holding(&key, None),
        (None, _) => Ok(()),
    }
}

fn forget(cells: &mut dyn Cells, key: &StickyKey) -> Result<(), StoreError> {
    let holding = cells.holding(key)?;
    cells.set_holding(key, None)?;
    match holding {
        Some(Holding::Kept { addresses, .. }) => {
            for address in addresses {
                if matches!(cells.usage(address)?, Some(Use::Kept(by, _)) if by == *key) {
                    cells.set_use(address, None)?;
                }
            }
            Ok(())
        }
        Some(Holding::Leased(attachment)) => match cells.stored_lease(&attachment)? {
            Some(lease) => {
                let sticky = None;
                cells.set_lease(&attachment, Some(&Lease { sticky, ..lease }))
            }
            None => Ok(()),
        },
        None => Ok(()),
    }
}
