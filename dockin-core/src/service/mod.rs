//! HTTP plumbing that gateway and agent share: serving connections, upgrades, answers, and the
//! client side of the same.

mod client;
mod connections;
mod port_forward;
mod respond;
mod serve;
mod transport;
mod upgrade;

#[cfg(feature = "kube")]
pub(crate) use client::refusal;
pub use client::{HttpConnection, HttpEndpoint, PeerCheck};
pub use connections::{Connection, ConnectionLimits, raise_open_files};
pub use port_forward::{Dial, PortsEnd, RuntimeDialer, dial_over_spdy, serve_ports};
#[cfg(any(feature = "gateway", feature = "kube"))]
pub(crate) use respond::full_body;
pub use respond::{Body, BodyError, empty, json, status_response, stream_body, text};
pub use serve::{Caller, Peer, Server, serve, serve_limited};
pub use transport::Transport;
pub use upgrade::{BoxIo, PortsProtocol, PortsUpgrade, port_forward, remote_command, upgraded};
