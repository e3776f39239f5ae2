//! One person's exec or attach, from permit to exit status.

#[cfg(any(feature = "agent", feature = "gateway"))]
mod carry;
#[cfg(feature = "gateway")]
mod client;
#[cfg(feature = "dockin-ops")]
mod collector;
mod copy;
#[cfg(feature = "gateway")]
mod gate;
#[cfg(feature = "gateway")]
mod idle_gate;
#[cfg(feature = "gateway")]
mod manifest;
#[cfg(feature = "gateway")]
mod recorded_gate;

#[cfg(feature = "gateway")]
pub(crate) use carry::Carried;
#[cfg(feature = "agent")]
pub(crate) use carry::carry;
#[cfg(feature = "gateway")]
pub(crate) use client::Client;
#[cfg(feature = "dockin-ops")]
pub(crate) use collector::{Collected, MAX_COLLECTED};
pub use copy::{CopyDirection, FileCopy};
#[cfg(feature = "gateway")]
pub(crate) use gate::week_time;
#[cfg(feature = "gateway")]
pub use gate::{InterceptorGate, SessionAnswer, SessionNote};
#[cfg(feature = "gateway")]
pub use idle_gate::IdleGate;
#[cfg(feature = "gateway")]
pub(crate) use idle_gate::idle_message;
#[cfg(feature = "gateway")]
pub(crate) use manifest::{ArchivedFile, Manifest};
#[cfg(feature = "gateway")]
pub use recorded_gate::RecordedGate;
#[cfg(feature = "gateway")]
pub(crate) use recorded_gate::record_copied;
