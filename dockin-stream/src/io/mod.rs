//! Adapters that run the state machines over tokio. The only async code of the crate; behind the
//! feature `tokio`.
//!
//! | protocol | codec | adapter |
//! | --- | --- | --- |
//! | remotecommand over WebSocket, SPDY | [`channel`](crate::channel), [`spdy`](crate::spdy) | [`Endpoint`] |
//! | Docker's attach and exec | [`docker`](crate::docker) | [`Endpoint`] |
//! | Docker's logs | [`docker::Demultiplexer`](crate::docker::Demultiplexer) | [`DockerLog`] |
//! | log following | [`log`](crate::log) | [`Endpoint`] |
//! | LAIN Entry | `entry` | [`Endpoint`] |
//! | port forwarding over SPDY, tunnel, numbered channels | [`portforward`](crate::portforward) | [`PortForward`], [`PortStream`] |
//!
//! Each runs over any `AsyncRead + AsyncWrite`: `from_upgrade` takes the one below a hyper upgrade
//! (feature `hyper`), `TungsteniteSocket` is the one below a WebSocket that somebody else has
//! opened (feature `tungstenite`).

#[cfg(feature = "tokio")]
mod buffer;
#[cfg(feature = "tokio")]
mod carried;
#[cfg(feature = "tokio")]
mod docker_log;
#[cfg(feature = "tokio")]
mod endpoint;
#[cfg(feature = "tokio")]
mod machine;
#[cfg(feature = "tokio")]
mod port_forward;
#[cfg(feature = "tokio")]
mod port_stream;
#[cfg(feature = "tokio")]
mod relay;
#[cfg(feature = "tungstenite")]
mod tungstenite;
#[cfg(feature = "hyper")]
mod upgrade;

#[cfg(feature = "tungstenite")]
pub use self::tungstenite::{TungsteniteParts, TungsteniteSocket};
#[cfg(feature = "tokio")]
pub use docker_log::{DockerLog, DockerLogError};
#[cfg(feature = "tokio")]
pub use endpoint::{BoxCodec, Endpoint, EndpointError, Parts};
#[cfg(feature = "tokio")]
pub use machine::Machine;
#[cfg(feature = "tokio")]
pub use port_forward::{PortForward, Ports};
#[cfg(feature = "tokio")]
pub use port_stream::PortStream;
#[cfg(feature = "tokio")]
pub use relay::{Keepalive, run_relay};
#[cfg(feature = "hyper")]
pub use upgrade::into_socket;

/// The time by the clock that the timers keep, so that tests may move it.
#[cfg(feature = "tokio")]
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
