//! Docker's attach and exec streams: an HTTP connection that becomes the process's own.
//!
//! ```text
//! client                                     daemon
//!   POST …/attach or …/start, Upgrade: tcp ──▶
//!   ◀── 101 UPGRADED, the stream's content type
//!   standard input, never framed ──────────▶
//!   ◀── output: frames, or with a TTY as it is
//!   end of the writing side = end of input ▶
//!   ◀── end of the connection = end of output
//! ```
//!
//! The stream has no ping, no resize and no exit code: those are HTTP requests beside it, for
//! which [`hijack`] has the words. [`Client`] and [`Server`] are the two ends as
//! [`Codec`](crate::Codec)s; [`Demultiplexer`] reads the frames alone, for example those of
//! `logs`, which come in a chunked answer.
//!
//! Spec: Docker Engine API, "Hijacking" and "Stream format" of `ContainerAttach`.

mod client;
mod demultiplexer;
mod frame;
pub mod hijack;
mod outbox;
mod server;

pub use client::{Client, InputEnd};
pub use demultiplexer::{Demultiplexer, Item};
pub use frame::{FrameError, HEADER_SIZE, Lane, Shape};
pub use server::Server;
