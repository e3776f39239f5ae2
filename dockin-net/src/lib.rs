//! The CNI contract and IP address management as pure functions.
//!
//! # The part of the walks that is ours
//!
//! *An address*: the runtime starts a plugin with `CNI_COMMAND` and a configuration on standard
//! input → [`cni::run`] keeps the contract → [`ipam`] finds the addresses that were asked for →
//! one [`cni::Outcome`], printed by the binary.

mod address;
mod attachment;
pub mod cni;
pub mod ipam;

pub use address::{AddressError, Cidr, Family, next, parse_address, previous};
pub use attachment::{Attachment, ContainerId, InterfaceName, NameError, NetworkName};
