use std::time::Instant;

use dockin_stream::{
    Codec, ExitStatus, StreamSet, Subprotocol, channel,
    spdy::{ExecClient, ExecServer},
};

/// A codec whose protocol the scenario chose.
pub(crate) type BoxCodec = Box<dyn Codec + Send>;

/// What two ends speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Spdy(Subprotocol),
    WebSocket(Subprotocol),
}

impl Protocol {
    pub(crate) const SPDY: Self = Self::Spdy(Subprotocol::V4);
    pub(crate) const WEBSOCKET: Self = Self::WebSocket(Subprotocol::V5);

    /// The two that clients and nodes of today speak.
    pub(crate) const BOTH: [Self; 2] = [Self::SPDY, Self::WEBSOCKET];

    /// Those that can end standard input.
    pub(crate) const WITH_HALF_CLOSE: [Self; 4] = [
        Self::Spdy(Subprotocol::V4),
        Self::Spdy(Subprotocol::V3),
        Self::Spdy(Subprotocol::V2),
        Self::WebSocket(Subprotocol::V5),
    ];

    pub(crate) const ALL: [Self; 9] = [
        Self::Spdy(Subprotocol::V4),
        Self::Spdy(Subprotocol::V3),
        Self::Spdy(Subprotocol::V2),
        Self::Spdy(Subprotocol::V1),
        Self::WebSocket(Subprotocol::V5),
        Self::WebSocket(Subprotocol::V4),
        Self::WebSocket(Subprotocol::V4Base64),
        Self::WebSocket(Subprotocol::V1),
        Self::WebSocket(Subprotocol::V1Base64),
    ];

    pub(crate) fn client(self, streams: StreamSet, mask_seed: u64) -> BoxCodec {
        match self {
            Self::Spdy(subprotocol) => Box::new(ExecClient::new(subprotocol, streams)),
            Self::WebSocket(subprotocol) => {
                Box::new(channel::Client::new(subprotocol, streams, mask_seed))
            }
        }
    }

    pub(crate) fn server(self, streams: StreamSet, now: Instant) -> BoxCodec {
        match self {
            Self::Spdy(subprotocol) => Box::new(ExecServer::new(subprotocol, streams, now)),
            Self::WebSocket(subprotocol) => Box::new(channel::Server::new(subprotocol, streams)),
        }
    }

    /// What arrives of a status that was given at the other end.
    pub(crate) fn carried(self, status: &ExitStatus) -> ExitStatus {
        match self {
            // Its error stream is closed before the command has begun.
            Self::Spdy(Subprotocol::V1) => ExitStatus::Exited(0),
            Self::Spdy(subprotocol) | Self::WebSocket(subprotocol) => {
                if subprotocol.has_exit_code() {
                    status.clone()
                } else {
                    ExitStatus::parse_text(status.to_text().as_bytes())
                }
            }
        }
    }
}
