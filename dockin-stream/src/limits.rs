//! Every size and time of the wire formats, with its reason.

use std::time::Duration;

/// Payload of a SPDY control frame, bytes. Header blocks of the field are under 1 KiB.
pub const MAX_SPDY_CONTROL: usize = 64 * 1024;
/// Headers in one SPDY header block. Kubernetes sends at most 4.
pub const MAX_SPDY_HEADERS: usize = 64;
/// Inflated SPDY header block, bytes: bounds what a compressed bomb can become.
pub const MAX_SPDY_HEADER_BLOCK: usize = 16 * 1024;
/// Name or value of one SPDY header, bytes.
pub const MAX_SPDY_HEADER_VALUE: usize = 8 * 1024;
/// Entries of a SPDY SETTINGS frame.
pub const MAX_SPDY_SETTINGS: usize = 32;
/// Streams of one exec or attach connection: error, stdin, stdout, stderr, resize and slack.
pub const MAX_EXEC_STREAMS: usize = 8;
/// Streams of one port-forward connection: 512 forwarded connections at a time.
pub const MAX_PORT_FORWARD_STREAMS: usize = 1024;
/// Declared length of one WebSocket frame, bytes; Go servers refuse larger ones.
pub const MAX_WEBSOCKET_FRAME: u64 = 32 * 1024 * 1024;
/// Payload of a WebSocket control frame, bytes. RFC 6455 §5.5.
pub const MAX_WEBSOCKET_CONTROL: usize = 125;
/// Status object on the error stream, bytes.
pub const MAX_STATUS: usize = 64 * 1024;
/// One resize object, bytes.
pub const MAX_RESIZE: usize = 256;
/// A whole base64 text message, bytes: unlike raw ones it must be assembled.
pub const MAX_BASE64_MESSAGE: usize = 4 * 1024 * 1024;
/// Bytes of a log or a forwarded port in one base64 message that we write: a multiple of 3, so that
/// only the last message of a run is padded.
pub const MAX_BASE64_BODY: usize = 48 * 1024;
/// Text of a Docker daemon that ends a stream, bytes kept; what follows is dropped.
pub const MAX_DOCKER_ERROR: usize = 4 * 1024;
/// Payload of one Docker frame that we write, bytes: Go clients hold a whole frame in memory.
pub const MAX_DOCKER_FRAME: usize = 64 * 1024;
/// A whole message of LAIN Entry, bytes: it must be assembled to be decoded. Clients of the field
/// send one character each, servers 10 KiB.
pub const MAX_ENTRY_MESSAGE: usize = 256 * 1024;
/// Content of one message of LAIN Entry that we write, bytes: what its own server writes at most.
pub const MAX_ENTRY_CONTENT: usize = 10 * 1024;
/// How often a LAIN Entry server sends PING.
pub const ENTRY_PING: Duration = Duration::from_secs(10);
/// How long a SPDY client may take to make its streams. Kubernetes: 30 s.
pub const STREAM_CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// One read from a socket, bytes. 256 KiB was not faster, 32 KiB was slower.
pub const READ_BUFFER: usize = 64 * 1024;
/// Bytes queued for a peer above which nothing more is read for it.
pub const HIGH_WATER: usize = 256 * 1024;
/// How often a side whose input is blocked is told that we live. client-go gives up after 61 s.
pub const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long input is drained after the last byte was written, until the peer ends its side: so the
/// kernel does not throw away output with a reset (lost tail, `T1`). A peer ends as soon as it has
/// read the end, so long only when the way to it is slow: 4 MiB in the kernel's buffer take half a
/// minute at 1 Mbit/s, and 5 s lost tails behind a slow reader.
pub const LINGER: Duration = Duration::from_secs(60);
/// How many bytes are drained during [`LINGER`].
pub const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that wait for one forwarded connection's socket before the whole session waits for it.
pub const MAX_PORT_WAITING: usize = 4 * 1024 * 1024;
/// Bytes that wait for all sockets of a port-forward session before it waits for them.
pub const MAX_PORTS_WAITING: usize = 16 * 1024 * 1024;
