//! The CNI contract and IP address management as pure functions.
//!
//! # The part of the walks that is ours
//!
//! *An address*: the runtime starts `dockin-cni` with `CNI_COMMAND` and a configuration on standard
//! input → [`cni::run`] keeps the contract → [`meta`] asks the [`resource_manager`] which networks
//! the pod gets, writes the intent down and runs their plugins → one of them asks `dockin-ipam` →
//! [`ipam`] finds the addresses, which in pools [`allocate`](allocate()) chooses and a
//! [`LeaseStore`] remembers → one [`cni::Outcome`], merged and printed by the binary.

mod address;
mod allocate;
mod attachment;
pub mod blocks;
pub mod bridge;
pub mod cni;
mod fields;
mod free_addresses;
mod hash;
pub mod host_local;
#[cfg(feature = "fs")]
pub mod io;
pub mod ipam;
mod lease;
mod lease_table;
mod leases;
mod ledger;
pub mod meta;
pub mod operator;
mod pool;
mod range;
mod range_set;
pub mod resource_manager;
mod store;
mod table;

pub use address::{AddressError, Cidr, Family, next, parse_address, previous};
pub use allocate::{AllocateError, Beside, Grant, Refusal, Want, allocate};
pub use attachment::{Attachment, ContainerId, InterfaceName, NameError, NetworkName};
pub use free_addresses::FreeAddresses;
pub use lease::{After, Blocked, Change, Lease, Owner, StickyKey, Timestamp};
pub use lease_table::LeaseTable;
pub use leases::{Holding, Leases, Use};
pub use ledger::{AsLedger, Ledger};
pub use pool::{Policy, Pool, Reservation, Sticky};
pub use range::{Range, RangeError, RangeSpec, Span};
pub use range_set::RangeSet;
pub use store::{Format, LeaseStore, Page, Place, StoreError};
pub use table::{Disk, FileName};
