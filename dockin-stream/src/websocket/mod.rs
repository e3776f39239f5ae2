//! RFC 6455 frames, the opening handshake and the port-forward tunnel, without I/O.
//!
//! A payload is never assembled: [`Decoder`] gives spans of the caller's own buffer as they
//! arrive, whatever the fragmentation, and [`Encoder`] never fragments. Both are needed because
//! the Go servers of the field take every fragment for a message of its own and lose data
//! silently, while their clients fragment when a write is larger than their buffer.

mod connection;
mod decoder;
mod encoder;
mod frame;
pub mod handshake;
pub mod mask;
mod tunnel;

pub use connection::{Connection, Incoming};
pub use decoder::{Decoder, Item, Span};
pub use encoder::Encoder;
pub use frame::{CloseCode, FrameError, MessageKind, OpCode, Role};
pub use tunnel::{TUNNEL_SUBPROTOCOL, Tunnel};
