//! The wire shapes of Dockin-Ops, which clients written for it speak: values in, values out.
//!
//! Requests come as an encrypted JSON object in one parameter ([`EnvelopeKey`], [`OpsRequest`]),
//! answers in three shapes (`reply`), terminals as JSON messages over a WebSocket
//! ([`TerminalServer`]). The shapes are the predecessor's; what they prove is not: an envelope that
//! decrypts is only readable, and who asks is told by the session token inside it ([`AccessToken`]).
//!
//! The gateway's routes for it are in `gateway/ops`.

mod access_token;
mod envelope;
mod reply;
mod request;
mod rows;
mod terminal;

pub use access_token::AccessToken;
pub use envelope::{EnvelopeKey, IV_SIZE};
pub use reply::{NodeReply, Reply};
pub use request::OpsRequest;
pub use rows::{AppInstance, PodAddress, image_version, pod_state, wide_node, wide_pods};
pub use terminal::{TerminalServer, welcome};
