use std::net::IpAddr;

use thiserror::Error;

use crate::{
    Attachment, Cidr, Pool, Range, RangeSet, Span,
    lease::{After, Change, Lease, StickyKey, Timestamp},
    ledger::{Ledger, Use},
    next,
};

/// What an attachment wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Want {
    /// Who wants it.
    pub attachment: Attachment,
    /// Who keeps it afterwards.
    pub sticky: Option<StickyKey>,
    /// These addresses and no others; in a set without one, any.
    pub requested: Vec<IpAddr>,
    /// What it may have already.
    pub beside: Beside,
}

/// What an attachment that wants addresses may have already.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Beside {
    /// Nothing: it is added once.
    #[default]
    Nothing,
    /// Addresses of other sets, and any beside one that it asks for. The reference allows this,
    /// and several of its networks may share a directory.
    OtherSets,
}

/// Why there is no lease.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AllocateError {
    /// The attachment has one.
    #[error("{attachment} has {address} already")]
    AlreadyHeld {
        /// Whose.
        attachment: Attachment,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The address is in no set of the pool, or in one that gives another one.
    #[error("requested address {0} is not in the pool")]
    Outside(IpAddr),
    /// The address is a gateway's, excluded, or set aside for somebody else.
    #[error("requested address {0} is set aside")]
    SetAside(IpAddr),
    /// Somebody else has the address.
    #[error("requested address {0} is in use")]
    Taken(IpAddr),
    /// No address of a set is free.
    #[error("no address is free in {0}")]
    Exhausted(String),
}

/// Why there is no lease, and how far the sets before were turned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub error: AllocateError,
    /// The cursors of the sets that had given an address. The reference keeps them.
    pub cursors: Vec<Change>,
}

/// A lease, not yet written down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The addresses with prefix and gateway.
    pub addresses: Vec<(Cidr, IpAddr)>,
    /// What is to be written down, in one record.
    pub changes: Vec<Change>,
}

/// Chooses one address of each set of `pool`.
///
/// In each set: the requested address; else the one the sticky key has, also from a container
/// that was not torn down yet; else one set aside for its owner; else the first free one after
/// the last that was given, so that a released address comes back late.
///
/// # Errors
///
/// [`Refusal`] with each kind of [`AllocateError`].
///
/// ```
/// use dockin_net::{
///     Attachment, Beside, Cidr, ContainerId, InterfaceName, Ledger, Pool, Range, RangeSet,
///     RangeSpec, Timestamp, Want, allocate,
/// };
///
/// let range = Range::new(&RangeSpec {
///     subnet: Some(Cidr::parse("10.1.2.0/24")?),
///     ..RangeSpec::default()
/// })?;
/// let pool = Pool::new("", vec![RangeSet::new(vec![range])?])?;
/// let want = Want {
///     attachment: Attachment::new(ContainerId::parse("c1")?, InterfaceName::parse("eth0")?),
///     sticky: None,
///     requested: vec![],
///     beside: Beside::Nothing,
/// };
/// let grant = allocate(&pool, &Ledger::default(), &want, Timestamp(0)).unwrap();
/// assert_eq!(grant.addresses[0].0.to_string(), "10.1.2.2/24");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn allocate(
    pool: &Pool,
    ledger: &Ledger,
    want: &Want,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let mut cursors = Vec::new();
    match choose(pool, ledger, want, now, &mut cursors) {
        Ok(addresses) => {
            let mut changes = Vec::new();
            if let Some(before) = want
                .sticky
                .as_ref()
                .and_then(|key| ledger.lease_of_sticky(key))
            {
                changes.push(Change::Release {
                    attachment: before.attachment.clone(),
                    after: After::Keep(None),
                });
            }
            let held = ledger.lease_of(&want.attachment);
            let held = held.filter(|lease| lease.attachment == want.attachment);
            let held = held
                .map_or(&[][..], |lease| &lease.addresses)
                .iter()
                .copied();
            let given = addresses.iter().map(|(cidr, _)| cidr.address());
            changes.push(Change::Hold(Lease {
                attachment: want.attachment.clone(),
                addresses: held.chain(given).collect(),
                sticky: want.sticky.clone(),
                since: now,
            }));
            changes.append(&mut cursors);
            Ok(Grant { addresses, changes })
        }
        Err(error) => Err(Refusal { error, cursors }),
    }
}

fn choose(
    pool: &Pool,
    ledger: &Ledger,
    want: &Want,
    now: Timestamp,
    cursors: &mut Vec<Change>,
) -> Result<Vec<(Cidr, IpAddr)>, AllocateError> {
    let chooser = Chooser {
        pool,
        ledger,
        want,
        now,
    };
    if want.beside == Beside::Nothing {
        chooser.check_not_held(|_| true)?;
    }
    let mut requested = want.requested.clone();
    let mut addresses = Vec::with_capacity(pool.sets().len());
    for (index, set) in pool.sets().iter().enumerate() {
        let position = requested.iter().position(|it| set.range_of(*it).is_some());
        let given = match position {
            Some(position) => chooser.requested(set, requested.remove(position))?,
            None => {
                chooser.check_not_held(|address| set.range_of(address).is_some())?;
                chooser.any(set, ledger.cursor(&pool.cursor_name(index)))?
            }
        };
        cursors.push(Change::Cursor {
            set: pool.cursor_name(index),
            address: given.0.address(),
        });
        addresses.push(given);
    }
    match requested.first() {
        Some(address) => Err(AllocateError::Outside(*address)),
        None => Ok(addresses),
    }
}

struct Chooser<'a> {
    pool: &'a Pool,
    ledger: &'a Ledger,
    want: &'a Want,
    now: Timestamp,
}

impl Chooser<'_> {
    /// Has the attachment no address of this kind?
    fn check_not_held(&self, kind: impl Fn(IpAddr) -> bool) -> Result<(), AllocateError> {
        let lease = self.ledger.lease_of(&self.want.attachment);
        let mut held = lease.map_or(&[][..], |lease| &lease.addresses).iter();
        match held.find(|address| kind(**address)) {
            Some(address) => Err(AllocateError::AlreadyHeld {
                attachment: self.want.attachment.clone(),
                address: *address,
            }),
            None => Ok(()),
        }
    }

    fn requested(&self, set: &RangeSet, address: IpAddr) -> Result<(Cidr, IpAddr), AllocateError> {
        let outside = AllocateError::Outside(address);
        let range = set.range_of(address).ok_or(outside.clone())?;
        if !self.may_have(range, address) {
            return Err(AllocateError::SetAside(address));
        }
        if !self.is_free_for_us(address) {
            return Err(AllocateError::Taken(address));
        }
        given(range, address).ok_or(outside)
    }

    fn any(&self, set: &RangeSet, cursor: Option<IpAddr>) -> Result<(Cidr, IpAddr), AllocateError> {
        let known = self.ours(set).or_else(|| self.next_free(set, cursor));
        known.ok_or_else(|| {
            let ranges: Vec<_> = set.ranges().iter().map(Range::to_string).collect();
            AllocateError::Exhausted(ranges.join(", "))
        })
    }

    /// An address of `set` that is ours before we ask: kept, or set aside for the owner.
    fn ours(&self, set: &RangeSet) -> Option<(Cidr, IpAddr)> {
        let key = self.want.sticky.as_ref()?;
        let kept = self.ledger.addresses_of(key, self.now).iter().copied();
        let configured = self.pool.reservations().iter();
        let configured = configured
            .filter(|it| it.owner.as_ref() == Some(&key.owner))
            .map(|it| it.address);
        let reserved = self.ledger.reservations();
        let reserved = reserved
            .filter(|(_, owner)| *owner == Some(&key.owner))
            .map(|(address, _)| address);
        kept.chain(configured).chain(reserved).find_map(|address| {
            let range = set.range_of(address)?;
            let usable = self.may_have(range, address) && self.is_free_for_us(address);
            usable.then(|| given(range, address)).flatten()
        })
    }

    /// The first free address after the cursor: to the end of its range, the other ranges in
    /// turn, and its range up to the cursor.
    fn next_free(&self, set: &RangeSet, cursor: Option<IpAddr>) -> Option<(Cidr, IpAddr)> {
        let ranges = set.ranges();
        let place = cursor.and_then(|cursor| {
            let index = ranges.iter().position(|range| range.contains(cursor))?;
            Some((index, cursor))
        });
        let Some((index, cursor)) = place else {
            return ranges.iter().find_map(|range| {
                self.first_free(range, range.span().first(), range.span().last())
            });
        };
        let (before, after) = ranges.split_at(index);
        let (current, after) = after.split_first()?;
        next(cursor)
            .and_then(|first| self.first_free(current, first, current.span().last()))
            .or_else(|| {
                after.iter().chain(before).find_map(|range| {
                    self.first_free(range, range.span().first(), range.span().last())
                })
            })
            .or_else(|| self.first_free(current, current.span().first(), cursor))
    }

    fn first_free(&self, range: &Range, first: IpAddr, last: IpAddr) -> Option<(Cidr, IpAddr)> {
        let mut candidate = first;
        let mut uses = self.ledger.uses_in(Span::new(first, last)?).peekable();
        while candidate <= last {
            if let Some(excluded) = self.pool.exclusion_of(candidate) {
                candidate = next(excluded.last())?;
                continue;
            }
            while uses.peek().is_some_and(|(address, _)| *address < candidate) {
                uses.next();
            }
            let in_use = uses
                .peek()
                .is_some_and(|(address, it)| *address == candidate && !it.is_over(self.now));
            if !in_use && !self.is_set_aside(range, candidate) {
                return given(range, candidate);
            }
            candidate = next(candidate)?;
        }
        None
    }

    /// Is the address the gateway's, or set aside for whomever?
    fn is_set_aside(&self, range: &Range, address: IpAddr) -> bool {
        range.gateway() == address
            || self.ledger.reservation_of(address).is_some()
            || self
                .pool
                .reservations()
                .iter()
                .any(|it| it.address == address)
    }

    /// Is the address neither the gateway's, nor excluded, nor set aside for somebody else?
    fn may_have(&self, range: &Range, address: IpAddr) -> bool {
        let owner = self.want.sticky.as_ref().map(|key| &key.owner);
        let configured = self
            .pool
            .reservations()
            .iter()
            .find(|it| it.address == address);
        let for_us = |reserved: Option<_>| reserved.is_some() && reserved == owner;
        range.gateway() != address
            && self.pool.exclusion_of(address).is_none()
            && configured.is_none_or(|it| for_us(it.owner.as_ref()))
            && self.ledger.reservation_of(address).is_none_or(for_us)
    }

    fn is_free_for_us(&self, address: IpAddr) -> bool {
        let sticky = self.want.sticky.as_ref();
        match self.ledger.use_of(address, self.now) {
            None => true,
            Some(Use::Kept(key, _)) => Some(key) == sticky,
            Some(Use::Held(attachment)) => sticky
                .and_then(|key| self.ledger.lease_of_sticky(key))
                .is_some_and(|lease| lease.attachment == *attachment),
            Some(Use::Blocked(..)) => false,
        }
    }
}

fn given(range: &Range, address: IpAddr) -> Option<(Cidr, IpAddr)> {
    Some((range.with_prefix(address)?, range.gateway()))
}
