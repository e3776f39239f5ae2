use thiserror::Error;

use crate::{Ledger, NetworkName, lease::Change};

/// Where a network's leases are, and in which form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The directory of all networks.
    pub directory: String,
    /// The network, a directory in it.
    pub network: NetworkName,
    /// The form.
    pub format: Format,
}

/// How leases are written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// One log of checksummed records, and a snapshot.
    Log,
    /// One file an address, as the reference's `host-local` has them.
    HostLocal,
}

/// Why leases cannot be read or written.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum StoreError {
    /// The system refuses.
    #[error("`{path}`: {message}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        message: String,
    },
    /// A file holds something else.
    #[error("`{path}` is damaged: {message}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
}

/// The leases of one network, for one caller at a time.
///
/// The store is locked from opening to dropping it, so what [`ledger`](Self::ledger) says holds
/// until then.
pub trait LeaseStore {
    /// Who has which address.
    fn ledger(&self) -> &Ledger;

    /// Writes changes down, all or none. When this returns they survive a loss of power.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; then none of them happened.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StoreError>;
}
