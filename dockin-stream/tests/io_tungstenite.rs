//! Sessions embedded in WebSockets that a real tokio-tungstenite has opened and goes on reading.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::time::Duration;

use bytes::Bytes;
use dockin_stream::{
    Event, ExitStatus, StreamSet, Subprotocol, channel,
    io::{BoxCodec, Endpoint, TungsteniteSocket},
    websocket::Role,
};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};
use tungstenite::Message;

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

type Peer = WebSocketStream<DuplexStream>;

async fn connect(pipe: usize) -> (Peer, Peer) {
    let (near, far) = duplex(pipe);
    let (client, server) = tokio::join!(client_async("ws://pod/exec", near), accept_async(far));
    (client.unwrap().0, server.unwrap())
}

fn embed(
    websocket: Peer,
    role: Role,
    subprotocol: Subprotocol,
) -> Endpoint<TungsteniteSocket<Peer>, BoxCodec> {
    let codec: BoxCodec = match role {
        Role::Server => Box::new(channel::Server::new(subprotocol, PIPES)),
        Role::Client => Box::new(channel::Client::new(subprotocol, PIPES, 9)),
    };
    Endpoint::new(TungsteniteSocket::new(websocket, role), codec, Bytes::new())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index.wrapping_mul(31) % 251) as u8)
        .collect()
}

/// Our server in a tungstenite server, a client that is tungstenite alone.
#[tokio::test]
async fn a_tungstenite_client_talks_to_a_session_inside_a_tungstenite_server() {
    for pipe in [17, 8192] {
        let (mut client, server) = connect(pipe).await;
        let mut server = embed(server, Role::Server, Subprotocol::V5);
        let serve = async {
            let mut typed = Vec::new();
            loop {
                match server.next().await.unwrap().unwrap() {
                    Event::Stdin(bytes) => typed.extend_from_slice(&bytes),
                    Event::HalfClose => break,
                    event => panic!("{event:?}"),
                }
            }
            server.feed(Event::Stdout(typed.into())).await.unwrap();
            server
                .feed(Event::Exit(ExitStatus::Exited(0)))
                .await
                .unwrap();
            server.finish().await.unwrap();
            // Tungstenite leaves the socket open: it ends with its owner.
            drop(server);
        };
        let talk = async {
            let text = pattern(100_000);
            for chunk in text.chunks(7000) {
                let body = [&[0], chunk].concat();
                client.feed(Message::Binary(body.into())).await.unwrap();
                client
                    .feed(Message::Ping(Bytes::from_static(b"?")))
                    .await
                    .unwrap();
            }
            let close = Bytes::from_static(&[255, 0]);
            client.send(Message::Binary(close)).await.unwrap();
            let (mut echoed, mut status, mut pongs) = (Vec::new(), Vec::new(), 0);
            while let Some(message) = client.next().await {
                match message.unwrap() {
                    Message::Binary(body) if body[0] == 1 => echoed.extend_from_slice(&body[1..]),
                    Message::Binary(body) if body[0] == 3 => status.extend_from_slice(&body[1..]),
                    Message::Pong(payload) if payload == "?" => pongs += 1,
                    Message::Close(frame) => {
                        assert_eq!(u16::from(frame.unwrap().code), 1000);
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(echoed == text, "{} bytes came back", echoed.len());
            assert!(status.starts_with(b"{\"metadata\":{},\"status\":\"Success\""));
            // Tungstenite answers the newest of those that it has not answered yet.
            assert!((1..=15).contains(&pongs), "{pongs} pongs");
        };
        timeout(Duration::from_secs(30), async { tokio::join!(serve, talk) })
            .await
            .unwrap();
    }
}

/// Both ends embedded, binary messages and text.
#[tokio::test]
async fn both_ends_inside_tungstenite_carry_a_session_whole() {
    for subprotocol in [Subprotocol::V5, Subprotocol::V4Base64] {
        let (client, server) = connect(1000).await;
        let mut client = embed(client, Role::Client, subprotocol);
        let mut server = embed(server, Role::Server, subprotocol);
        let serve = async {
            let mut typed = 0;
            while typed < 50_000 {
                if let Event::Stdin(bytes) = server.next().await.unwrap().unwrap() {
                    typed += bytes.len();
                    server.send(Event::Stdout(bytes)).await.unwrap();
                }
            }
            let exit = Event::Exit(ExitStatus::Exited(42));
            server.feed(exit).await.unwrap();
            server.finish().await.unwrap();
            // Tungstenite leaves the socket open: it ends with its owner.
            drop(server);
        };
        let talk = async {
            let text = pattern(50_000);
            for chunk in text.chunks(600) {
                client
                    .feed(Event::Stdin(Bytes::copy_from_slice(chunk)))
                    .await
                    .unwrap();
            }
            let (mut echoed, mut exits) = (Vec::new(), Vec::new());
            while let Some(event) = client.next().await {
                match event.unwrap() {
                    Event::Stdout(bytes) => echoed.extend_from_slice(&bytes),
                    Event::Exit(status) => exits.push(status),
                    Event::Close => break,
                    event => panic!("{event:?}"),
                }
            }
            client.finish().await.unwrap();
            assert!(echoed == text);
            assert_eq!(exits, [ExitStatus::Exited(42)]);
        };
        timeout(Duration::from_secs(30), async { tokio::join!(serve, talk) })
            .await
            .unwrap();
    }
}

/// What tungstenite has read ahead of the takeover, with the 101 and behind messages that somebody
/// else has taken, belongs to the session; given back, the WebSocket goes on where it was.
#[tokio::test]
async fn takeover_and_return_in_mid_connection_lose_no_byte() {
    let (near, mut far) = duplex(64 * 1024);
    let server = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .unwrap();
        let accept = dockin_stream::websocket::handshake::accept_key(key);
        // One segment: the head, a message of the embedding program, two of the session, the
        // first bytes of a third.
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let frames = b"\x81\x05hello\x82\x01\x01\x82\x04\x01abc\x82\x04\x01d";
        far.write_all(&[answer.as_bytes(), frames].concat())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        far.write_all(b"ef\x81\x03bye").await.unwrap();
        far
    };
    let ((websocket, mut far), _) = tokio::join!(
        async {
            let (websocket, far) = tokio::join!(client_async("ws://pod/exec", near), server);
            (websocket.unwrap().0, far)
        },
        async {}
    );
    let mut websocket = websocket;
    let first = websocket.next().await.unwrap().unwrap();
    assert_eq!(first, Message::text("hello"));
    let mut client = embed(websocket, Role::Client, Subprotocol::V5);
    let mut printed = Vec::new();
    while printed.len() < 6 {
        match client.next().await.unwrap().unwrap() {
            Event::Stdout(bytes) => printed.extend_from_slice(&bytes),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(printed, b"abcdef");
    client
        .send(Event::Stdin(Bytes::from_static(b"typed")))
        .await
        .unwrap();
    let parts = client.into_parts();
    assert!(parts.unread.is_empty() && parts.unwritten.is_empty());
    let parts = parts.socket.into_parts();
    assert!(parts.unread.is_empty() && parts.unfinished.is_empty() && parts.unsent.is_empty());
    let mut websocket = parts.websocket;
    let last = websocket.next().await.unwrap().unwrap();
    assert_eq!(last, Message::text("bye"));
    websocket.send(Message::text("ok")).await.unwrap();
    drop(websocket);
    let mut wire = Vec::new();
    far.read_to_end(&mut wire).await.unwrap();
    // Two masked frames: channel 0 and 5 bytes, then 2 bytes of text.
    assert_eq!((wire[0], wire[1]), (0x82, 0x86));
    assert_eq!((wire[12], wire[13]), (0x81, 0x82));
    assert_eq!(wire.len(), 12 + 8);
}

/// A peer that goes without a Close frame is a lost connection, not an error of the protocol.
#[tokio::test]
async fn a_peer_that_goes_without_a_goodbye_ends_the_stream() {
    let (client, server) = connect(1000).await;
    let mut server = embed(server, Role::Server, Subprotocol::V5);
    drop(client);
    assert_eq!(server.next().await.unwrap().unwrap(), Event::Close);
    assert!(server.next().await.is_none());
}

/// What an embedding program or its peer says against the protocol is an error with its reason, not
/// an end.
#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_an_error_and_no_end() {
    let (near, mut raw) = duplex(1000);
    let websocket =
        WebSocketStream::from_raw_socket(near, tungstenite::protocol::Role::Server, None).await;
    let mut server = embed(websocket, Role::Server, Subprotocol::V5);
    // Not masked, as every client has to.
    raw.write_all(b"\x82\x02\0x").await.unwrap();
    let error = server.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("mask"), "{error}");
    assert!(server.next().await.is_none());
}

/// Writing to a peer that has gone fails, however it is found out: while there is room, when there
/// is none, when it is flushed, when it is shut down.
#[tokio::test]
async fn a_peer_that_is_gone_fails_what_is_written_to_it() {
    let (client, server) = connect(64).await;
    let mut socket = TungsteniteSocket::new(server, Role::Server);
    drop(client);
    let frame = [&b"\x82\x7e\x03\xe8\x01"[..], &[b'x'; 999]].concat();
    let written = async {
        for _ in 0..1000 {
            socket.write_all(&frame).await?;
        }
        socket.flush().await
    };
    let error = timeout(Duration::from_secs(30), written)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(socket.flush().await.is_err());
    assert!(socket.shutdown().await.is_err());
}

/// What is written in frames of a session arrives as tungstenite's messages: whole, with its kind,
/// control frames, too; and what is no frame, or no text, is an error.
#[tokio::test]
async fn frames_that_are_written_become_messages_of_their_kind() {
    let (mut client, server) = connect(8192).await;
    let mut socket = TungsteniteSocket::new(server, Role::Server);
    // In pieces that end anywhere; the text in two fragments.
    let wire = b"\x01\x02gr\x89\x01?\x80\x03\xc3\xbcn\x8a\x00\x82\x02ok";
    for piece in wire.chunks(3) {
        socket.write_all(piece).await.unwrap();
    }
    socket.flush().await.unwrap();
    for expected in [
        Message::Ping(Bytes::from_static(b"?")),
        Message::text("gr\u{fc}n"),
        Message::Pong(Bytes::new()),
        Message::binary(&b"ok"[..]),
    ] {
        assert_eq!(client.next().await.unwrap().unwrap(), expected);
    }
    let text = format!("{socket:?}");
    assert_eq!(text, "TungsteniteSocket { ended: false, messages: 0, .. }");

    let not_utf8 = socket.write_all(b"\x81\x01\xff").await.unwrap_err();
    assert_eq!(not_utf8.kind(), std::io::ErrorKind::InvalidData);
    let (_client, server) = connect(8192).await;
    let mut socket = TungsteniteSocket::new(server, Role::Server);
    let no_frame = socket.write_all(b"\xff\xff").await.unwrap_err();
    assert_eq!(no_frame.kind(), std::io::ErrorKind::InvalidData);
}

/// Given back in the middle of everything: what was received and not read, what was written and not
/// sent, and half a message. None of it is in the debug text.
#[tokio::test]
async fn what_is_given_back_holds_every_byte_and_shows_none() {
    let (mut client, server) = connect(64).await;
    let mut socket = TungsteniteSocket::new(server, Role::Server);
    client.send(Message::binary(&b"secret"[..])).await.unwrap();
    let mut first = [0; 3];
    socket.read_exact(&mut first).await.unwrap();
    // More than the connection takes, then the start of a message.
    let frame = [&b"\x82\x7e\x03\xe8"[..], &[b's'; 1000]].concat();
    while timeout(Duration::from_millis(20), socket.write_all(&frame))
        .await
        .is_ok()
    {}
    let (pieces, text) = {
        let parts = socket.into_parts();
        let text = format!("{parts:?}");
        let pieces = (parts.unread, parts.unsent, parts.unfinished);
        (pieces, text)
    };
    let (unread, unsent, _unfinished) = pieces;
    // The client's frame, as it would have been read: masked anew, or not at all.
    assert!(
        !unread.is_empty() && unread.len() < 6 + 6,
        "{}",
        unread.len()
    );
    assert!(unsent.iter().all(|message| message.len() == 1000));
    assert!(!text.contains("sss") && !text.contains("secret"), "{text}");
}
