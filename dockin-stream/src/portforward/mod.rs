//! Port forwarding over SPDY (`portforward.k8s.io`): many TCP connections on one, each as a pair
//! of streams.
//!
//! ```text
//!  SYN_STREAM n    streamtype: error  port: 8080  requestid: 0     failure text, server → client
//!  SYN_STREAM n+2  streamtype: data   port: 8080  requestid: 0     the bytes, both ways
//! ```
//!
//! [`Client`] and [`Server`] have the shape of a [`Codec`](crate::Codec) with a vocabulary of
//! their own, [`PortForwardEvent`]. One connection's failure leaves the others alone, each end of
//! a connection closes for itself, and connections take turns on the wire.
//!
//! Over a WebSocket there are two ways: [`channel`] is a protocol of its own, and [`Tunnelled`]
//! carries what is described here. [`PortForwardCodec`] is what they have in common.
//!
//! Spec: Kubernetes `kubelet/cri/streaming/portforward` (now cri-streaming) and client-go
//! `tools/portforward`.

pub mod channel;
mod client;
mod codec;
mod pair;
mod server;
mod tunnelled;

use std::num::NonZeroU16;

use bytes::Bytes;

pub use client::Client;
pub use codec::PortForwardCodec;
pub use server::Server;
pub use tunnelled::Tunnelled;

/// The subprotocol's name in `X-Stream-Protocol-Version`.
pub const SUBPROTOCOL: &str = "portforward.k8s.io";

/// One forwarded TCP connection of a session. Never used twice in one session.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ForwardId(u32);

/// What happened to a forwarded connection.
///
/// [`Failed`](Self::Failed) or [`Closed`](Self::Closed) is its last event, unless we ended it
/// ourselves: then there is none.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PortForwardEvent {
    /// As server: the client wants to reach `port`. As client: the server has accepted.
    Opened {
        /// The connection.
        connection: ForwardId,
        /// Its port in the container, `1..=65_535`.
        port: NonZeroU16,
    },
    /// Bytes, never empty.
    Data {
        /// The connection.
        connection: ForwardId,
        /// The bytes.
        bytes: Bytes,
    },
    /// The peer sends nothing more; our direction goes on.
    HalfClosed {
        /// The connection.
        connection: ForwardId,
    },
    /// As client: the server could not connect, or lost its connection.
    Failed {
        /// The connection.
        connection: ForwardId,
        /// What the server said, at most [`MAX_STATUS`](crate::limits::MAX_STATUS) bytes.
        message: String,
    },
    /// Both directions have ended. Without [`HalfClosed`](Self::HalfClosed) before it the peer
    /// broke off.
    Closed {
        /// The connection.
        connection: ForwardId,
    },
}

const ERROR: &str = "error";
const DATA: &str = "data";
const PORT: &str = "port";
const REQUEST_ID: &str = "requestid";

#[cfg(test)]
mod tests;
