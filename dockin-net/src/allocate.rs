use std::net::IpAddr;

use thiserror::Error;

use crate::{
    Attachment, Cidr, Pool, Range, RangeSet, Span,
    lease::{After, Change, Lease, Owner, StickyKey, Timestamp},
    leases::{Leases, Use},
    next,
    store::StoreError,
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
    /// The leases cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there is no lease, and how far the sets before were turned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub error: AllocateError,
    /// The cursors of the sets that had given an address. The reference keeps them.
    pub cursors: Vec<Change>,
}

impl Refusal {
    /// Is there no address left, or none of those that were asked for?
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        matches!(
            self.error,
            AllocateError::Exhausted(_) | AllocateError::Taken(_)
        )
    }
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
    leases: &dyn Leases,
    want: &Want,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let chooser = Chooser {
        pool,
        leases,
        want,
        now,
    };
    let mut cursors = Vec::new();
    let granted = chooser.choose(&mut cursors).and_then(|addresses| {
        let changes = chooser.changes(&addresses)?;
        Ok((addresses, changes))
    });
    match granted {
        Ok((addresses, mut changes)) => {
            changes.append(&mut cursors);
            Ok(Grant { addresses, changes })
        }
        Err(error) => Err(Refusal { error, cursors }),
    }
}

struct Chooser<'a> {
    pool: &'a Pool,
    leases: &'a dyn Leases,
    want: &'a Want,
    now: Timestamp,
}

impl Chooser<'_> {
    fn choose(&self, cursors: &mut Vec<Change>) -> Result<Vec<(Cidr, IpAddr)>, AllocateError> {
        if self.want.beside == Beside::Nothing {
            self.check_not_held(|_| true)?;
        }
        let pool = self.pool;
        let mut requested = self.want.requested.clone();
        let mut addresses = Vec::with_capacity(pool.sets().len());
        for (index, set) in pool.sets().iter().enumerate() {
            let position = requested.iter().position(|it| set.range_of(*it).is_some());
            let given = match position {
                Some(position) => self.requested(set, requested.remove(position))?,
                None => {
                    self.check_not_held(|address| set.range_of(address).is_some())?;
                    self.any(set, self.leases.cursor(&pool.cursor_name(index))?)?
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

    fn changes(&self, addresses: &[(Cidr, IpAddr)]) -> Result<Vec<Change>, AllocateError> {
        let mut changes = Vec::new();
        if let Some(key) = &self.want.sticky
            && let Some(before) = self.leases.lease_of_sticky(key)?
        {
            changes.push(Change::Release {
                attachment: before.attachment,
                after: After::Keep(None),
            });
        }
        let held = self.leases.lease(&self.want.attachment)?;
        let held = held.map(|lease| lease.addresses).unwrap_or_default();
        let given = addresses.iter().map(|(cidr, _)| cidr.address());
        changes.push(Change::Hold(Lease {
            attachment: self.want.attachment.clone(),
            addresses: held.into_iter().chain(given).collect(),
            sticky: self.want.sticky.clone(),
            since: self.now,
        }));
        Ok(changes)
    }

    /// Has the attachment no address of this kind?
    fn check_not_held(&self, kind: impl Fn(IpAddr) -> bool) -> Result<(), AllocateError> {
        let lease = self.leases.lease_of(&self.want.attachment)?;
        let held = lease.map(|lease| lease.addresses).unwrap_or_default();
        match held.into_iter().find(|address| kind(*address)) {
            Some(address) => Err(AllocateError::AlreadyHeld {
                attachment: self.want.attachment.clone(),
                address,
            }),
            None => Ok(()),
        }
    }

    fn requested(&self, set: &RangeSet, address: IpAddr) -> Result<(Cidr, IpAddr), AllocateError> {
        let outside = AllocateError::Outside(address);
        let range = set.range_of(address).ok_or(outside.clone())?;
        if !self.may_have(range, address)? {
            return Err(AllocateError::SetAside(address));
        }
        if !self.is_free_for_us(address)? {
            return Err(AllocateError::Taken(address));
        }
        given(range, address).ok_or(outside)
    }

    fn any(&self, set: &RangeSet, cursor: Option<IpAddr>) -> Result<(Cidr, IpAddr), AllocateError> {
        if let Some(ours) = self.ours(set)? {
            return Ok(ours);
        }
        self.next_free(set, cursor)?.ok_or_else(|| {
            let ranges: Vec<_> = set.ranges().iter().map(Range::to_string).collect();
            AllocateError::Exhausted(ranges.join(", "))
        })
    }

    /// An address of `set` that is ours before we ask: kept, or set aside for the owner.
    fn ours(&self, set: &RangeSet) -> Result<Option<(Cidr, IpAddr)>, AllocateError> {
        let Some(key) = &self.want.sticky else {
            return Ok(None);
        };
        let kept = self.leases.addresses_of(key, self.now)?;
        let configured = self.pool.reservations().iter();
        let configured = configured
            .filter(|it| it.owner.as_ref() == Some(&key.owner))
            .map(|it| it.address);
        let reserved = self.leases.reserved_for(&key.owner)?;
        for address in kept.into_iter().chain(configured).chain(reserved) {
            if let Some(range) = set.range_of(address)
                && self.may_have(range, address)?
                && self.is_free_for_us(address)?
            {
                return Ok(given(range, address));
            }
        }
        Ok(None)
    }

    /// The first free address after the cursor: to the end of its range, the other ranges in
    /// turn, and its range up to the cursor.
    fn next_free(
        &self,
        set: &RangeSet,
        cursor: Option<IpAddr>,
    ) -> Result<Option<(Cidr, IpAddr)>, AllocateError> {
        let ranges = set.ranges();
        let whole = |range: &'_ Range| (*range, range.span().first(), range.span().last());
        let place = cursor.and_then(|cursor| {
            let index = ranges.iter().position(|range| range.contains(cursor))?;
            Some((index, cursor))
        });
        let mut parts = Vec::with_capacity(ranges.len() + 1);
        match place {
            None => parts.extend(ranges.iter().map(whole)),
            Some((index, cursor)) => {
                let (before, after) = ranges.split_at(index);
                let current = after.first().into_iter();
                let rest = current.clone().filter_map(|range| {
                    let first = next(cursor).filter(|it| range.contains(*it))?;
                    Some((*range, first, range.span().last()))
                });
                parts.extend(rest);
                parts.extend(after.iter().skip(1).chain(before).map(whole));
                parts.extend(current.map(|range| (*range, range.span().first(), cursor)));
            }
        }
        for (range, first, last) in parts {
            if let Some(free) = self.first_free(&range, first, last)? {
                return Ok(Some(free));
            }
        }
        Ok(None)
    }

    fn first_free(
        &self,
        range: &Range,
        first: IpAddr,
        last: IpAddr,
    ) -> Result<Option<(Cidr, IpAddr)>, AllocateError> {
        let mut from = Some(first);
        while let Some(span) = from.and_then(|from| Span::new(from, last)) {
            let Some(candidate) = self.leases.first_unused(span, self.now)? else {
                return Ok(None);
            };
            from = if let Some(excluded) = self.pool.exclusion_of(candidate) {
                next(excluded.last())
            } else if self.is_set_aside(range, candidate)? {
                next(candidate)
            } else {
                return Ok(given(range, candidate));
            };
        }
        Ok(None)
    }

    /// Is the address the gateway's, or set aside for whomever?
    fn is_set_aside(&self, range: &Range, address: IpAddr) -> Result<bool, AllocateError> {
        let mut configured = self.pool.reservations().iter();
        Ok(range.gateway() == address
            || configured.any(|it| it.address == address)
            || self.leases.reservation(address)?.is_some())
    }

    /// Is the address neither the gateway's, nor excluded, nor set aside for somebody else?
    fn may_have(&self, range: &Range, address: IpAddr) -> Result<bool, AllocateError> {
        let owner = self.want.sticky.as_ref().map(|key| &key.owner);
        let mut configured = self.pool.reservations().iter();
        let configured = configured.find(|it| it.address == address);
        let reserved = self.leases.reservation(address)?;
        let for_us = |reserved: Option<&Owner>| reserved.is_some() && reserved == owner;
        Ok(range.gateway() != address
            && self.pool.exclusion_of(address).is_none()
            && configured.is_none_or(|it| for_us(it.owner.as_ref()))
            && reserved.as_ref().is_none_or(|it| for_us(it.as_ref())))
    }

    fn is_free_for_us(&self, address: IpAddr) -> Result<bool, AllocateError> {
        let sticky = self.want.sticky.as_ref();
        Ok(match self.leases.use_of(address, self.now)? {
            None => true,
            Some(Use::Kept(key, _)) => Some(&key) == sticky,
            Some(Use::Held(attachment)) => match sticky {
                Some(key) => {
                    let lease = self.leases.lease_of_sticky(key)?;
                    lease.is_some_and(|lease| lease.attachment == attachment)
                }
                None => false,
            },
            Some(Use::Blocked(..)) => false,
        })
    }
}

fn given(range: &Range, address: IpAddr) -> Option<(Cidr, IpAddr)> {
    Some((range.with_prefix(address)?, range.gateway()))
}
