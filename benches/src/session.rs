//! What an exec session looks like on the wire, made once: frames that may be sent again and
//! again, since neither a WebSocket message nor a DATA frame depends on what went before.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, OpenGate, Relay, StreamSet, Subprotocol, channel,
    io::{Endpoint, run_relay},
    spdy::{ExecClient, ExecServer},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::wire::adopt;

/// Input and output, no terminal.
pub const STREAMS: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: false,
};

/// A client's WebSocket message of `size` bytes of input.
#[must_use]
pub fn websocket_input(size: usize) -> Bytes {
    let mut client = channel::Client::new(Subprotocol::V5, STREAMS, 7);
    let _hello = drain(&mut client);
    client.send(Event::Stdin(vec![b'x'; size].into()));
    drain(&mut client)
}

/// A server's WebSocket message of `size` bytes of output.
#[must_use]
pub fn websocket_output(size: usize) -> Bytes {
    let mut server = channel::Server::new(Subprotocol::V5, STREAMS);
    let _hello = drain(&mut server);
    server.send(Event::Stdout(vec![b'x'; size].into()));
    drain(&mut server)
}

/// A SPDY server's answer to a client's streams, and its DATA frame of `size` bytes of output.
///
/// # Panics
///
/// Our two codecs do not understand each other.
#[must_use]
pub fn spdy_output(size: usize) -> (Bytes, Bytes) {
    let now = Instant::now();
    let mut client = ExecClient::new(Subprotocol::V4, STREAMS);
    let mut server = ExecServer::new(Subprotocol::V4, STREAMS, now);
    let mut hello = BytesMut::from(drain(&mut client));
    server
        .handle_input(now, &mut hello)
        .expect("our own client");
    assert!(server.is_ready(), "the client asks for its streams at once");
    let answer = drain(&mut server);
    server.send(Event::Stdout(vec![b'x'; size].into()));
    (answer, drain(&mut server))
}

/// A SPDY client's request for its streams, and its DATA frame of `size` bytes of input.
///
/// # Panics
///
/// Our two codecs do not understand each other.
#[must_use]
pub fn spdy_input(size: usize) -> (Bytes, Bytes) {
    let now = Instant::now();
    let mut client = ExecClient::new(Subprotocol::V4, STREAMS);
    let hello = drain(&mut client);
    let mut answer = BytesMut::from(&spdy_output(size).0[..]);
    client
        .handle_input(now, &mut answer)
        .expect("our own server");
    client.send(Event::Stdin(vec![b'x'; size].into()));
    (hello, drain(&mut client))
}

/// Everything the codec has to say.
pub fn drain(codec: &mut impl Codec) -> Bytes {
    let mut bytes = BytesMut::new();
    while let Some(piece) = codec.poll_transmit() {
        bytes.extend_from_slice(&piece);
    }
    bytes.freeze()
}

/// Bytes of the message that tells a WebSocket client that its session is open.
#[must_use]
pub fn greeting() -> usize {
    drain(&mut channel::Server::new(Subprotocol::V5, STREAMS)).len()
}

/// Translates between a WebSocket client and a SPDY container until either goes away.
pub async fn translate(client: std::net::TcpStream, container: std::net::TcpStream) {
    translate_over(adopt(client), adopt(container)).await;
}

/// The same over any streams.
pub async fn translate_over(
    client: impl AsyncRead + AsyncWrite + Unpin,
    container: impl AsyncRead + AsyncWrite + Unpin,
) {
    let outside = channel::Server::new(Subprotocol::V5, STREAMS);
    let inside = ExecClient::new(Subprotocol::V4, STREAMS);
    let mut client = Endpoint::new(client, outside, Bytes::new());
    let mut container = Endpoint::new(container, inside, Bytes::new());
    let relay = Relay::new(OpenGate::default());
    let note = |()| std::future::ready(Ok(()));
    let _ended = run_relay(&mut client, &mut container, relay, note).await;
}
