use thiserror::Error;

use crate::limits::{MAX_WEBSOCKET_CONTROL, MAX_WEBSOCKET_FRAME};

/// Which end of the connection we are: it decides who masks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: RFC 6455 knows these two.
pub enum Role {
    /// We accepted the handshake: what comes must be masked, what goes is not.
    Server,
    /// We opened the handshake: what comes must not be masked, what goes is.
    Client,
}

/// Whether a message says it is text or binary.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: other opcodes are reserved and refused.
pub enum MessageKind {
    /// Opcode 1. Its UTF-8 is not checked here: what reads text checks more than that.
    Text,
    /// Opcode 2.
    Binary,
}

/// What a frame is.
///
/// Spec: RFC 6455 §5.2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: other opcodes are reserved and refused.
pub enum OpCode {
    /// The next part of a message.
    Continuation,
    /// A message or its first part.
    Data(MessageKind),
    /// Goodbye.
    Close,
    /// Asks for a [`Pong`](Self::Pong) with the same payload.
    Ping,
    /// Answers a [`Ping`](Self::Ping), or is a sign of life nobody asked for.
    Pong,
}

impl OpCode {
    /// A whole text message.
    pub const TEXT: Self = Self::Data(MessageKind::Text);
    /// A whole binary message.
    pub const BINARY: Self = Self::Data(MessageKind::Binary);

    /// The four bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Data(MessageKind::Text) => 0x1,
            Self::Data(MessageKind::Binary) => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// The opcode of four bits; `None` for reserved ones.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::TEXT),
            0x2 => Some(Self::BINARY),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    /// Whether the frame is a control frame: short, whole, and allowed between fragments.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why a connection was closed.
///
/// Spec: RFC 6455 §7.4.1.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of message that this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The Close frame named no code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// Content that does not fit its message's kind.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// Larger than we take.
    pub const TOO_BIG: Self = Self(1009);
    /// We could not go on.
    pub const INTERNAL: Self = Self(1011);

    /// Whether the code may stand in a Close frame.
    #[must_use]
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Why bytes are not a WebSocket frame that belongs here.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// A reserved bit is set; no extension was negotiated.
    #[error("reserved bits {bits:#05b} are set")]
    ReservedBits {
        /// RSV1, RSV2 and RSV3, `0b001..=0b111`.
        bits: u8,
    },
    /// An opcode without a meaning.
    #[error("unknown opcode {opcode:#x}")]
    UnknownOpCode {
        /// Four bits.
        opcode: u8,
    },
    /// A client's frame must be masked. RFC 6455 §5.1.
    #[error("client frame is not masked")]
    NotMasked,
    /// A server's frame must not be masked. RFC 6455 §5.1.
    #[error("server frame is masked")]
    Masked,
    /// A control frame in parts. RFC 6455 §5.5.
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// A control frame above [`MAX_WEBSOCKET_CONTROL`]. RFC 6455 §5.5.
    #[error("control frame has more than {MAX_WEBSOCKET_CONTROL} bytes")]
    ControlTooLong,
    /// A continuation without a message to continue.
    #[error("continuation frame outside a message")]
    NothingToContinue,
    /// A new message before the last one ended.
    #[error("new message inside a fragmented one")]
    MessageInsideMessage,
    /// A length in more bytes than it needs. RFC 6455 §5.2.
    #[error("length {length} is not in its shortest form")]
    LengthNotMinimal {
        /// Bytes declared.
        length: u64,
    },
    /// A frame above [`MAX_WEBSOCKET_FRAME`].
    #[error("frame of {length} bytes, limit {MAX_WEBSOCKET_FRAME}")]
    TooLong {
        /// Bytes declared.
        length: u64,
    },
    /// A Close frame with half a code or one that must not be sent.
    #[error("close frame is malformed")]
    MalformedClose,
    /// A Close frame whose reason is not UTF-8.
    #[error("close reason is not utf-8")]
    CloseReasonNotUtf8,
    /// A v5 close signal must be the byte 255 and one channel number.
    #[error("close signal is not 2 bytes long")]
    CloseSignalLength,
    /// A v5 close signal for a channel that does not exist.
    #[error("close signal for channel {channel}")]
    CloseSignalChannel {
        /// The number that was sent, `5..=255`.
        channel: u8,
    },
    /// A text message where only bytes are carried.
    #[error("text message in a binary tunnel")]
    TextInTunnel,
}

impl FrameError {
    /// The code that tells the peer.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::TooLong { .. } => CloseCode::TOO_BIG,
            Self::CloseReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::TextInTunnel => CloseCode::UNSUPPORTED,
            Self::ReservedBits { .. }
            | Self::UnknownOpCode { .. }
            | Self::NotMasked
            | Self::Masked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::NothingToContinue
            | Self::MessageInsideMessage
            | Self::LengthNotMinimal { .. }
            | Self::MalformedClose
            | Self::CloseSignalLength
            | Self::CloseSignalChannel { .. } => CloseCode::PROTOCOL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CloseCode, OpCode};

    #[test]
    fn every_opcode_survives_its_bits() {
        for bits in 0..16 {
            assert!(OpCode::from_bits(bits).is_none_or(|opcode| opcode.bits() == bits));
        }
    }

    #[test]
    fn codes_that_only_describe_are_never_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
        assert!(CloseCode::NORMAL.may_be_sent());
    }
}
