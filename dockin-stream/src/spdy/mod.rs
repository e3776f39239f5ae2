//! SPDY/3.1 as Kubernetes speaks it: frames, header blocks, the connection, and exec over it.
//!
//! Flow control does not happen: Go peers neither send nor honour `WINDOW_UPDATE`, so nothing
//! here waits for one. Compression happens on the receiving side alone: what we send are stored
//! blocks, which cost no state and leak nothing through their length.
//!
//! Spec: SPDY Protocol draft 3.1; the reality is moby/spdystream, the peer of every Kubernetes
//! client and kubelet.

mod connection;
mod dictionary;
mod error;
mod exec_client;
mod exec_server;
mod frame;
mod header_block;
mod stream_type;

pub use connection::{Connection, ConnectionEvent, Role};
pub use error::{FrameError, HeaderBlockError};
pub use exec_client::ExecClient;
pub use exec_server::ExecServer;
pub use frame::{
    Frame, FrameDecoder, FrameEncoder, GoAwayStatus, MAX_DATA, RstStatus, Setting, StreamId,
};
pub use header_block::{HeaderDecoder, HeaderEncoder, Headers};

/// The header that says what a stream is for: `streamType` in Go, lower case on the wire.
pub(crate) const STREAM_TYPE: &str = "streamtype";
