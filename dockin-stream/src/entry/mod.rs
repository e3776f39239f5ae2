//! LAIN Entry: a terminal in a container over a WebSocket, one message of type and content each.
//!
//! ```text
//! proto3, binary messages                    JSON (?method=web)
//!   1 msgType  enum   left out when 0        {"msgType":1,"content":"ODAgMjQ="}
//!   2 content  bytes  left out when empty      content in padded base64
//!
//! client ──▶ PLAIN 0 what is typed           server ──▶ STDOUT 0, STDERR 1
//!            WINCH 1 "columns rows"                     CLOSE 2 a text, the end
//!                                                       PING 3 every 10 s, no answer
//! ```
//!
//! A native client says who it is in request headers, a web client in its first message:
//! [`Identity`]. The protocol has no end of input, no exit code and no WebSocket pings, and its
//! server leaves without a Close frame; ours sends one.
//!
//! Contents are bytes: a character may be cut between two messages, and binary output is as good as
//! text. The server of the field loses both (`T45`).
//!
//! Spec: laincloud/entry `message/message.proto`, `server/handler`, `server/pipe`.

mod client;
mod frames;
mod identity;
mod message;
mod server;

pub use client::Client;
pub use identity::Identity;
pub use message::{Encoding, Message, MessageError, RequestType, ResponseType};
pub use server::Server;
