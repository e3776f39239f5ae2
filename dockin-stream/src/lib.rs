//! Kubernetes, Docker and terminal streaming protocols, and the conversion between them, as
//! state machines without sockets, clocks or tasks.
//!
//! Every protocol here becomes one vocabulary, [`Event`], through a [`Codec`]. A [`Relay`] joins a
//! client's codec to a container's, with a [`Gate`] in between that may hold, drop or answer
//! what is typed. Bytes and `now` go in; bytes, events and the next deadline come out.
//!
//! # The part of the walks that is ours
//!
//! A keystroke arrives as WebSocket or SPDY bytes → [`Codec::handle_input`] → [`Event::Stdin`] →
//! [`Relay::handle_client`] → the gate → [`Output::ToContainer`] → the container side's
//! [`Codec::send`] → [`Codec::poll_transmit`] → the wire. Output takes the same way back.

mod base64;
pub mod channel;
mod codec;
pub mod docker;
#[cfg(feature = "entry")]
pub mod entry;
mod error;
mod event;
pub mod io;
pub mod limits;
pub mod log;
pub mod portforward;
mod relay;
mod resize;
pub mod spdy;
mod status;
mod subprotocol;
#[cfg(feature = "http")]
pub mod upgrade;
pub mod websocket;

pub use codec::{Codec, Direction};
pub use error::ProtocolError;
pub use event::{Event, OutputStream, StreamSet};
pub use relay::{Gate, GateAction, OpenGate, Outcome, Output, Relay, Transferred};
pub use resize::TerminalSize;
pub use status::{ExitStatus, Failure};
pub use subprotocol::{Subprotocol, choose, offers};
