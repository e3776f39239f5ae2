//! Adapters that run the state machines over tokio. The only async code of the crate; behind the
//! feature `tokio`.

#[cfg(feature = "tokio")]
mod buffer;
#[cfg(feature = "tokio")]
mod endpoint;
#[cfg(feature = "tokio")]
mod relay;

#[cfg(feature = "tokio")]
pub use endpoint::{BoxCodec, Endpoint, EndpointError};
#[cfg(feature = "tokio")]
pub use relay::{Keepalive, run_relay};

/// The time by the clock that the timers keep, so that tests may move it.
#[cfg(feature = "tokio")]
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
