//! exec and attach over a WebSocket: numbered channels in messages.
//!
//! ```text
//! raw (channel.k8s.io, v4, v5), binary messages       base64 ones, text messages
//! +---------+--------------------------+              +-----------+-----------------------+
//! | channel | body                     |              | channel   | body in padded base64 |
//! | 1 byte  | any length, also 0       |              | one digit |                       |
//! +---------+--------------------------+              +-----------+-----------------------+
//!
//! 0 stdin   ──▶ container        1 stdout ──▶ client        255 close signal (v5 alone):
//! 4 resize  ──▶ container        2 stderr ──▶ client            the bytes ff 00 end stdin
//!                                3 status ──▶ client
//! ```
//!
//! The end is: outputs, the status on channel 3, a Close frame. A Close frame from the client
//! ends the whole session, so only v5 can end standard input and keep the output (kubernetes
//! #89899).
//!
//! Spec: Kubernetes `remotecommand/constants.go`, KEP-4006; the Go servers for what the text
//! leaves open.

mod client;
mod message;
mod server;

pub use client::Client;
pub use server::Server;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE_SIGNAL: u8 = 255;

/// The first channel number that does not exist.
const CHANNELS: u8 = 5;
