use thiserror::Error;

/// Why a peer's bytes break its protocol. The session ends; no other is harmed.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ProtocolError {
    /// A SPDY frame that is malformed.
    #[error("spdy: {0}")]
    Spdy(#[from] crate::spdy::FrameError),
    /// A WebSocket frame that is malformed.
    #[error("websocket: {0}")]
    WebSocket(#[from] crate::websocket::FrameError),
    /// A frame of a Docker daemon that is malformed.
    #[error("docker: {0}")]
    Docker(#[from] crate::docker::FrameError),
    /// A message of LAIN Entry that is malformed.
    #[cfg(feature = "entry")]
    #[error("entry: {0}")]
    Entry(#[from] crate::entry::MessageError),
    /// What a port-forward server says of its channels is wrong.
    #[error("port-forward: {0}")]
    PortForward(#[from] crate::portforward::channel::AnnouncementError),
    /// A text message that is not padded standard base64.
    #[error("base64 of a message is malformed at character {offset}")]
    Base64 {
        /// Characters of the message's base64 before the group of four that is wrong.
        offset: u64,
    },
    /// The peer took longer than the limit to make its streams.
    #[error("streams missing after {seconds} s: {missing}")]
    StreamsMissing {
        /// Seconds waited.
        seconds: u64,
        /// Names of the streams that did not come.
        missing: String,
    },
    /// More bytes than the limit for this kind of message.
    #[error("{what} of {size} bytes, limit {max}")]
    TooLong {
        /// What was too long.
        what: &'static str,
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A message that its protocol has no reading for.
    #[error("{what} is malformed")]
    Malformed {
        /// What it should have been.
        what: &'static str,
    },
    /// The connection ended inside a frame.
    #[error("connection ended inside a frame")]
    Truncated,
}
