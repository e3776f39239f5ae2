use thiserror::Error;

/// Why bytes are not SPDY/3.1 frames, or not in an order that SPDY allows.
///
/// Every one of them ends the connection: behind a frame that cannot be understood nothing can,
/// since header blocks share one compression context.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// A control frame of another SPDY version.
    #[error("version {found} in a control frame, expected 3")]
    Version {
        /// Version received.
        found: u16,
    },
    /// A control frame whose type SPDY/3.1 in the field does not have.
    #[error("unknown control frame type {kind}")]
    UnknownControl {
        /// Type received, such as 5 (NOOP) or 10 (CREDENTIAL).
        kind: u16,
    },
    /// A flag bit that the frame type does not have.
    #[error("flags {flags:#04x} in {frame}")]
    Flags {
        /// Name of the frame type.
        frame: &'static str,
        /// Flags received.
        flags: u8,
    },
    /// A length that the frame type cannot have.
    #[error("{frame} of {length} bytes")]
    Length {
        /// Name of the frame type.
        frame: &'static str,
        /// Length received, bytes.
        length: usize,
    },
    /// A control frame above [`MAX_SPDY_CONTROL`](crate::limits::MAX_SPDY_CONTROL).
    #[error("control frame of {size} bytes, limit {max}")]
    ControlTooLong {
        /// Bytes declared.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Stream id 0, or the reserved bit is set.
    #[error("stream id {id} is not allowed in {frame}")]
    StreamId {
        /// Name of the frame type.
        frame: &'static str,
        /// Id received.
        id: u32,
    },
    /// PING id 0.
    #[error("ping id 0")]
    PingId,
    /// RST_STREAM status 0.
    #[error("reset with status 0")]
    RstStatus,
    /// WINDOW_UPDATE outside 1..=2^31-1.
    #[error("window update by {delta}")]
    WindowDelta {
        /// Delta received.
        delta: u32,
    },
    /// SETTINGS above [`MAX_SPDY_SETTINGS`](crate::limits::MAX_SPDY_SETTINGS).
    #[error("{count} settings, limit {max}")]
    TooManySettings {
        /// Entries declared.
        count: usize,
        /// Entries allowed.
        max: usize,
    },
    /// A header block that is malformed.
    #[error("header block: {0}")]
    HeaderBlock(#[from] HeaderBlockError),
    /// A frame for a stream that was never opened.
    #[error("frame for stream {stream} which was never opened")]
    UnknownStream {
        /// Stream id received.
        stream: u32,
    },
    /// SYN_STREAM with an id that does not grow.
    #[error("stream {stream} opened after stream {last}")]
    StreamOrder {
        /// Stream id received.
        stream: u32,
        /// The highest one before it.
        last: u32,
    },
    /// SYN_STREAM with an id that is ours to give: even from a client, odd from a server.
    #[error("stream {stream} has the wrong parity")]
    StreamParity {
        /// Stream id received.
        stream: u32,
    },
    /// A second SYN_REPLY for one stream.
    #[error("second reply for stream {stream}")]
    SecondReply {
        /// Stream id received.
        stream: u32,
    },
    /// More PINGs than anybody needs.
    #[error("more than {max} pings in a second")]
    PingFlood {
        /// PINGs allowed in a second.
        max: u32,
    },
}

/// Why a SPDY header block is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HeaderBlockError {
    /// The block does not end with the four bytes of a sync flush.
    #[error("no sync flush at the end")]
    Unterminated,
    /// The block holds a final deflate block, so the context cannot go on.
    #[error("deflate stream ended")]
    FinalBlock,
    /// A preset dictionary other than SPDY/3's.
    #[error("dictionary {id:#010x} is not the one of spdy/3")]
    WrongDictionary {
        /// Adler-32 received.
        id: u32,
    },
    /// Not zlib.
    #[error("malformed zlib data")]
    Corrupt,
    /// Inflates above [`MAX_SPDY_HEADER_BLOCK`](crate::limits::MAX_SPDY_HEADER_BLOCK).
    #[error("inflates to more than {max} bytes")]
    TooLong {
        /// Bytes allowed.
        max: usize,
    },
    /// More headers than [`MAX_SPDY_HEADERS`](crate::limits::MAX_SPDY_HEADERS).
    #[error("{count} headers, limit {max}")]
    TooManyHeaders {
        /// Headers declared.
        count: usize,
        /// Headers allowed.
        max: usize,
    },
    /// A name or value above
    /// [`MAX_SPDY_HEADER_VALUE`](crate::limits::MAX_SPDY_HEADER_VALUE).
    #[error("name or value of {size} bytes, limit {max}")]
    FieldTooLong {
        /// Bytes declared.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Lengths inside the block point behind its end.
    #[error("block ends inside a header")]
    Truncated,
    /// Bytes behind the last header.
    #[error("{count} bytes behind the last header")]
    Surplus {
        /// Bytes left.
        count: usize,
    },
    /// A header without a name.
    #[error("empty header name")]
    EmptyName,
    /// An upper-case letter in a name.
    #[error("upper-case header name")]
    UpperCaseName,
    /// Two headers of one name; several values belong into one, separated by NUL.
    #[error("duplicate header name")]
    DuplicateName,
    /// A header that belongs to HTTP/1.1 connections.
    #[error("header `{name}` is not allowed")]
    Forbidden {
        /// The header's name.
        name: &'static str,
    },
}
