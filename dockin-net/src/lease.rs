use std::{fmt, net::IpAddr, sync::Arc};

use crate::{Attachment, InterfaceName};

/// Seconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// That many seconds later; the end of time instead of beyond it.
    #[must_use]
    pub const fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// Who an address belongs to beyond one attachment, such as `default/web-0`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Owner(Arc<str>);

impl Owner {
    /// A pod, or the member of a workload called `workload-ordinal`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// Reads `namespace/name`; `None` unless both are there, and nothing more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let is_name = |it: &str| !it.is_empty() && !it.contains('/');
        (is_name(namespace) && is_name(name)).then(|| Self(text.into()))
    }

    pub(crate) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which interface of an owner keeps an address.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StickyKey {
    /// Whose.
    pub owner: Owner,
    /// Which interface.
    pub interface: InterfaceName,
}

/// One attachment's addresses, all of them in one record: both or none of a dual-stack pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Who has them.
    pub attachment: Attachment,
    /// The addresses, in the order of the pool's sets.
    pub addresses: Vec<IpAddr>,
    /// Who keeps them afterwards.
    pub sticky: Option<StickyKey>,
    /// Since when.
    pub since: Timestamp,
}

/// What becomes of released addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum After {
    /// Anyone may have them.
    Free,
    /// Nobody until then.
    Cool(Timestamp),
    /// Their owner until then, for ever when absent.
    Keep(Option<Timestamp>),
}

/// Why nobody gets an address for a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Blocked {
    /// It was released a moment ago.
    CoolDown,
    /// Somebody uses it without a lease.
    Quarantine,
}

/// One step of a ledger; what is committed together happens together.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A lease begins.
    Hold(Lease),
    /// A lease ends.
    Release {
        /// Whose.
        attachment: Attachment,
        /// What becomes of the addresses.
        after: After,
    },
    /// An owner keeps addresses no longer.
    Forget(StickyKey),
    /// An address is given to nobody for a time.
    Block {
        /// Which one.
        address: IpAddr,
        /// Until then.
        until: Timestamp,
        /// Why.
        why: Blocked,
    },
    /// That time is over early.
    Unblock(IpAddr),
    /// An address is set aside.
    Reserve {
        /// Which one.
        address: IpAddr,
        /// For whom; for nobody when absent.
        owner: Option<Owner>,
    },
    /// It no longer is.
    Unreserve(IpAddr),
    /// The last address given from a set.
    Cursor {
        /// The set.
        set: String,
        /// The address.
        address: IpAddr,
    },
    /// The machine was started; leases of before have no container any more.
    Boot(String),
    /// The leases of before are gone up to a place of the store; all of them when absent.
    Swept(Option<u32>),
}
