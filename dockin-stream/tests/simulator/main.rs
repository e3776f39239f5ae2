//! A seeded simulator of sessions: clients, relays and containers of ours over connections that
//! delay, cut, stall, half-close and reset, with a clock of their own and without sockets.
//!
//! The codecs and the relay are moved as the adapters in `io` move them. A failing run prints its
//! seed; the same seed does the same again. The rows `T1`–`T50` are the failures of the field that
//! this crate promises to pass; `tests/README.md` says where each one is tested.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

#[cfg(feature = "tokio")]
mod adapted;
mod link;
mod player;
mod protocol;
mod random;
#[cfg(feature = "tokio")]
mod socket;
mod station;
mod world;

#[cfg(feature = "tokio")]
mod adapters;
mod end_of_session;
#[cfg(feature = "tokio")]
mod endpoint;
mod forwarding;
mod input;
mod wire;
