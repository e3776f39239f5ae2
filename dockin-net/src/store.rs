use thiserror::Error;

use crate::{
    Ledger, NetworkName,
    lease::{Change, Lease},
    leases::Leases,
};

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
    /// A table of checksummed blocks, and a journal before it.
    Table,
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
    /// Names are too long together.
    #[error("{size} bytes of names and addresses for one lease, there is room for {max}")]
    TooLong {
        /// Bytes.
        size: usize,
        /// Bytes there is room for.
        max: usize,
    },
    /// The files were written by a version before this one.
    #[error(
        "`{path}` is of an earlier form: export it with the version that wrote it \
         (`dockin-ipam pool export`), remove it, and import the directory"
    )]
    Earlier {
        /// The file.
        path: String,
    },
}

/// Leases from a place of a store on, and the place to go on from; none at the end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The leases.
    pub leases: Vec<Lease>,
    /// Where the next ones are.
    pub next: Option<u32>,
}

/// The leases of one network, for one caller at a time.
///
/// The store is locked from opening to dropping it, so what [`Leases`] says holds until then.
pub trait LeaseStore: Leases {
    /// Writes changes down, all or none. When this returns they survive a loss of power.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; then none of them happened.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Some of the leases, from a place on; 0 is the first. Changes between two pages that only
    /// end leases move no lease that was not seen.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn page(&self, from: u32) -> Result<Page, StoreError>;

    /// Some leases of an earlier start of the machine, none when none are left.
    /// [`Change::Swept`] says that the page is done.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn ended(&self) -> Result<Option<Page>, StoreError> {
        Ok(None)
    }

    /// Everything at once, for operators.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn to_ledger(&self) -> Result<Ledger, StoreError>;

    /// What does not fit together; nothing in a store that was only ever changed by us.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn faults(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.to_ledger()?.faults())
    }
}
