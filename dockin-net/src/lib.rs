//! The CNI contract and IP address management as pure functions.
//!
//! What is here today is the contract's `VERSION`, honestly: every other verb is answered with an
//! error object that says so. Addresses come with the network issue.
//!
//! # The part of the walks that is ours
//!
//! *An address*: the runtime starts `dockin-cni` with `CNI_COMMAND` and a configuration on
//! standard input → [`cni::run`] → one [`cni::Outcome`], printed by the binary.

pub mod cni;
