use std::{fmt, net::IpAddr};

use crate::{RangeError, RangeSet, Span, lease::Owner};

/// Who keeps an address beyond the attachment it was given to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Sticky {
    /// Nobody.
    #[default]
    Never,
    /// The pod of that namespace and name.
    Pod,
    /// The member of a workload with that ordinal; pods without an ordinal keep nothing.
    Workload,
}

/// What happens to addresses over time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// Who keeps an address.
    pub sticky: Sticky,
    /// For how many seconds it is kept after its release; for ever when absent.
    pub keep: Option<u64>,
    /// For how many seconds a released address that nobody keeps is given to no one.
    pub cool_down: u64,
    /// Younger leases than this, in seconds, survive a collection whose list is empty: the list
    /// may be that of a runtime that lost its memory.
    pub collect_after: u64,
}

/// An address set aside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reservation {
    /// The address.
    pub address: IpAddr,
    /// For whom; for nobody when absent.
    pub owner: Option<Owner>,
}

/// Where the addresses of an attachment come from: one of each set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool {
    name: String,
    sets: Vec<RangeSet>,
    excluded: Vec<Span>,
    reserved: Vec<Reservation>,
    policy: Policy,
}

impl Pool {
    /// Checks that there is a set and that no two overlap.
    ///
    /// # Errors
    ///
    /// [`RangeError::Empty`], [`RangeError::Overlap`].
    pub fn new(name: impl Into<String>, sets: Vec<RangeSet>) -> Result<Self, RangeError> {
        if sets.is_empty() {
            return Err(RangeError::Empty);
        }
        for (index, one) in sets.iter().enumerate() {
            if let Some(error) = sets.iter().skip(index + 1).find_map(|it| one.overlap(it)) {
                return Err(error);
            }
        }
        Ok(Self {
            name: name.into(),
            sets,
            excluded: Vec::new(),
            reserved: Vec::new(),
            policy: Policy::default(),
        })
    }

    /// The same pool without these addresses.
    #[must_use]
    pub fn without(mut self, excluded: Vec<Span>) -> Self {
        self.excluded = excluded;
        self
    }

    /// The same pool without the gateways that other ranges have among its addresses.
    pub(crate) fn without_gateways(mut self, gateways: &[IpAddr]) -> Self {
        for gateway in gateways {
            let mut ranges = self.sets.iter().filter_map(|set| set.range_of(*gateway));
            if ranges.any(|range| range.gateway() != *gateway) {
                self.excluded.extend(Span::new(*gateway, *gateway));
            }
        }
        self
    }

    /// The same pool with these addresses set aside.
    #[must_use]
    pub fn with_reservations(mut self, reserved: Vec<Reservation>) -> Self {
        self.reserved = reserved;
        self
    }

    /// The same pool under that policy.
    #[must_use]
    pub const fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The same pool with those sets alone; none when there are none.
    pub(crate) fn with_sets(&self, sets: Vec<RangeSet>) -> Option<Self> {
        let pool = Self::new(self.name.clone(), sets).ok()?;
        Some(Self {
            excluded: self.excluded.clone(),
            reserved: self.reserved.clone(),
            policy: self.policy,
            ..pool
        })
    }

    /// Its name, empty for the only pool of a network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sets.
    #[must_use]
    pub fn sets(&self) -> &[RangeSet] {
        &self.sets
    }

    /// What happens to addresses over time.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Addresses set aside by the configuration.
    #[must_use]
    pub fn reservations(&self) -> &[Reservation] {
        &self.reserved
    }

    /// The span that keeps `address` from being given.
    #[must_use]
    pub fn exclusion_of(&self, address: IpAddr) -> Option<&Span> {
        self.excluded.iter().find(|span| span.contains(address))
    }

    /// Is `address` in one of the sets?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.sets.iter().any(|set| set.range_of(address).is_some())
    }

    /// The name under which the last address of a set is remembered.
    #[must_use]
    pub(crate) fn cursor_name(&self, set: usize) -> String {
        if self.name.is_empty() {
            set.to_string()
        } else {
            format!("{}/{set}", self.name)
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(formatter, "{}: ", self.name)?;
        }
        for (index, range) in self.sets.iter().flat_map(RangeSet::ranges).enumerate() {
            write!(formatter, "{}{range}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
