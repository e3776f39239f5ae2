//! One person's exec or attach, from permit to exit status.

#[cfg(feature = "service")]
mod carry;
mod copy;
#[cfg(feature = "gateway")]
mod gate;

#[cfg(feature = "service")]
pub(crate) use carry::{Carried, carry};
pub use copy::{CopyDirection, FileCopy};
#[cfg(feature = "gateway")]
pub use gate::InterceptorGate;
