mod decoder;
mod encoder;

use bytes::Bytes;

pub use decoder::FrameDecoder;
pub use encoder::FrameEncoder;

use super::{error::FrameError, header_block::Headers};
use crate::limits::MAX_SPDY_CONTROL;

/// The largest payload of one DATA frame, bytes.
pub const MAX_DATA: usize = 0x00ff_ffff;

/// A stream's number, `1..=2_147_483_647`: odd ones are the client's, even ones the server's.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(u32);

impl StreamId {
    /// `None` for 0 and above 2^31-1.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        match id {
            0 | 0x8000_0000.. => None,
            _ => Some(Self(id)),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Whether a client made the stream.
    #[must_use]
    pub const fn is_client(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Why a stream was reset. Never 0; unknown values pass.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RstStatus(pub u32);

impl RstStatus {
    /// Generic error.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Frame for a stream that is not there.
    pub const INVALID_STREAM: Self = Self(2);
    /// Not accepted, nothing was done.
    pub const REFUSED_STREAM: Self = Self(3);
    /// No longer needed. Go servers send it for every stream at the end of a session.
    pub const CANCEL: Self = Self(5);
    /// The receiver cannot take more bytes.
    pub const FLOW_CONTROL_ERROR: Self = Self(7);
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct GoAwayStatus(pub u32);

impl GoAwayStatus {
    /// Nothing is wrong.
    pub const OK: Self = Self(0);
    /// The receiver of the GOAWAY broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The sender failed.
    pub const INTERNAL_ERROR: Self = Self(2);
}

/// One entry of a SETTINGS frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setting {
    /// Persistence flags.
    pub flags: u8,
    /// Which setting, 24 bits.
    pub id: u32,
    /// Its value.
    pub value: u32,
}

/// A SPDY/3.1 frame, or a piece of a DATA frame.
///
/// ```text
///  control  |1|     version = 3 (15)   |  type (16)        |  flags (8) | length (24) | payload
///  DATA     |0|              stream id (31)                |  flags (8) | length (24) | payload
/// ```
///
/// Spec: SPDY Protocol draft 3.1, section 2.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: StreamId,
        /// The stream it belongs to, 0 for none.
        associated: u32,
        /// `0..=7`, 0 the most urgent.
        priority: u8,
        /// Credential slot.
        slot: u8,
        /// The sender will send nothing on it.
        fin: bool,
        /// The receiver may send nothing on it.
        unidirectional: bool,
        /// What the stream is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The accepted stream.
        stream: StreamId,
        /// The sender will send nothing on it.
        fin: bool,
        /// Empty in practice.
        headers: Headers,
    },
    /// Ends a stream in both directions at once.
    RstStream {
        /// The stream.
        stream: StreamId,
        /// Why.
        status: RstStatus,
    },
    /// Tells about limits; ignored by every peer in the field.
    Settings {
        /// Forget what was persisted.
        clear: bool,
        /// At most [`MAX_SPDY_SETTINGS`](crate::limits::MAX_SPDY_SETTINGS).
        entries: Vec<Setting>,
    },
    /// Asks for an echo or is one: ids of the other side's parity are to be echoed.
    Ping {
        /// Odd from clients, even from servers. Never 0.
        id: u32,
    },
    /// The sender accepts no more streams. Those that are open go on.
    GoAway {
        /// The last stream of the receiver that the sender has seen, 0 for none.
        last_stream: u32,
        /// Why.
        status: GoAwayStatus,
    },
    /// More headers for a stream.
    Headers {
        /// The stream.
        stream: StreamId,
        /// The sender will send nothing more on it.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// The sender takes `delta` more bytes.
    WindowUpdate {
        /// The stream; `None` for the connection.
        stream: Option<StreamId>,
        /// `1..=2^31-1`, bytes.
        delta: u32,
    },
    /// Bytes of a stream. The decoder gives a long frame in pieces as they arrive.
    Data {
        /// The stream.
        stream: StreamId,
        /// Shares the allocation that it was read into.
        bytes: Bytes,
        /// The sender will send nothing more on it. Set on the last piece alone.
        fin: bool,
    },
}

/// The control frames of the field. NOOP (5) and CREDENTIAL (10) are not among them.
#[derive(Clone, Copy, Debug)]
enum Kind {
    SynStream = 1,
    SynReply = 2,
    RstStream = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    Headers = 8,
    WindowUpdate = 9,
}

impl Kind {
    const fn new(kind: u16) -> Result<Self, FrameError> {
        Ok(match kind {
            1 => Self::SynStream,
            2 => Self::SynReply,
            3 => Self::RstStream,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::Headers,
            9 => Self::WindowUpdate,
            kind => return Err(FrameError::UnknownControl { kind }),
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::SynStream => "syn_stream",
            Self::SynReply => "syn_reply",
            Self::RstStream => "rst_stream",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::GoAway => "goaway",
            Self::Headers => "headers",
            Self::WindowUpdate => "window_update",
        }
    }

    /// The flags that the frame may have.
    const fn flags(self) -> u8 {
        match self {
            Self::SynStream => FIN | UNIDIRECTIONAL,
            Self::SynReply | Self::Headers => FIN,
            Self::Settings => CLEAR,
            Self::RstStream | Self::Ping | Self::GoAway | Self::WindowUpdate => 0,
        }
    }

    fn check_length(self, length: usize) -> Result<(), FrameError> {
        if length > MAX_SPDY_CONTROL {
            return Err(FrameError::ControlTooLong {
                size: length,
                max: MAX_SPDY_CONTROL,
            });
        }
        let fits = match self {
            Self::SynStream => length >= 10,
            Self::SynReply | Self::Headers => length >= 4,
            Self::RstStream | Self::GoAway | Self::WindowUpdate => length == 8,
            Self::Settings => length >= 4 && length % 8 == 4,
            Self::Ping => length == 4,
        };
        if fits {
            Ok(())
        } else {
            Err(FrameError::Length {
                frame: self.name(),
                length,
            })
        }
    }
}

const VERSION: u16 = 3;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;
const CLEAR: u8 = 1;
