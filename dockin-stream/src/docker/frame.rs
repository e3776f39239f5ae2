use thiserror::Error;

use crate::OutputStream;

/// How output stands on the connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
// Exhaustive: the daemon writes these two.
pub enum Shape {
    /// One stream as it is: what a process with a TTY prints.
    Raw,
    /// Frames that say which of the two outputs they belong to.
    Multiplexed,
}

impl Shape {
    /// What the daemon writes for a container or exec with or without a TTY.
    #[must_use]
    pub const fn with_tty(tty: bool) -> Self {
        if tty { Self::Raw } else { Self::Multiplexed }
    }
}

/// Where the payload of a frame belongs: its first byte.
///
/// Type 0 is standard input, which no daemon sends; the daemon's own reader takes it for
/// standard output, and so does [`Lane::from_byte`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: other types are refused.
pub enum Lane {
    /// 1 or 2: what the process prints.
    Output(OutputStream),
    /// 3: a text of the daemon itself, which ends the stream.
    SystemError,
}

impl Lane {
    /// The lane of a frame's first byte; `None` for types without a meaning.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 | 1 => Some(Self::Output(OutputStream::Stdout)),
            2 => Some(Self::Output(OutputStream::Stderr)),
            3 => Some(Self::SystemError),
            _ => None,
        }
    }

    /// The first byte of its frames.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Output(OutputStream::Stdout) => 1,
            Self::Output(OutputStream::Stderr) => 2,
            Self::SystemError => 3,
        }
    }

    /// The header of a frame with `length` payload bytes.
    ///
    /// ```
    /// use dockin_stream::{OutputStream, docker::Lane};
    ///
    /// let header = Lane::Output(OutputStream::Stderr).header(300);
    /// assert_eq!(header, [2, 0, 0, 0, 0, 0, 1, 44]);
    /// ```
    #[must_use]
    pub const fn header(self, length: u32) -> [u8; HEADER_SIZE] {
        let [a, b, c, d] = length.to_be_bytes();
        [self.byte(), 0, 0, 0, a, b, c, d]
    }
}

/// Why bytes are not a frame of a daemon.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// A first byte above 3: the stream is not multiplexed, or its frames have been lost.
    #[error("frame of unknown type {stream_type} at byte {offset}")]
    UnknownType {
        /// The first byte of the frame, `4..=255`.
        stream_type: u8,
        /// Where the frame begins, in bytes since the end of the HTTP head.
        offset: u64,
    },
}

/// Bytes of a frame before its payload.
pub const HEADER_SIZE: usize = 8;
