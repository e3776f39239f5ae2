//! The adapters over connections and sockets that break: what came before is whole, what is lost is
//! told, and nobody else is harmed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and time has to start somewhere"
)]

use std::{io::Cursor, num::NonZeroU16, time::Duration};

use bytes::Bytes;
use dockin_stream::{
    Event, ProtocolError, StreamSet, Subprotocol, channel,
    io::{Endpoint, EndpointError, PortForward, PortStream},
    limits,
    portforward::{Client, PortForwardEvent, Server, Tunnelled},
    spdy,
};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, join},
    time::timeout,
};

const SECOND: Duration = Duration::from_secs(1);
/// Far more than any of these needs: what hangs is told.
const LONG: Duration = Duration::from_secs(30);
const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// Something that is no frame of SPDY.
const NO_FRAME: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n\xff\xff\xff\xff";

/// A client's session with one connection, and the server's end of the wire as it is.
fn open_client() -> (
    PortForward<DuplexStream, Client>,
    DuplexStream,
    DuplexStream,
) {
    let (near, far) = duplex(4096);
    let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
    let (program, theirs) = duplex(4096);
    session.open(port(80), theirs).unwrap();
    assert_eq!(session.len(), 1);
    (session, program, far)
}

/// A peer that breaks the protocol: told as an error behind all else, the sockets end, and nothing
/// more can be opened.
#[tokio::test]
async fn a_wire_that_speaks_no_spdy_ends_the_session_with_its_error() {
    let (mut session, mut program, mut far) = open_client();
    // A client hears nothing before its own first frame went out.
    let peer = async {
        let mut first = [0; 64];
        far.read_exact(&mut first).await.unwrap();
        far.write_all(&[0x80, 3, 0, 77]).await.unwrap();
        far.write_all(NO_FRAME).await.unwrap();
        far
    };
    let listen = async {
        let mut error = None;
        while let Some(event) = session.next().await {
            match event {
                Ok(event) => assert!(error.is_none(), "{event:?} behind an error"),
                Err(broken) => error = Some(broken),
            }
        }
        let error = error.expect("an error");
        assert!(matches!(error, EndpointError::Protocol(_)), "{error}");
        let (_, socket) = duplex(1);
        assert_eq!(session.open(port(80), socket), None);
        assert_eq!(session.len(), 0);
        let text = format!("{session:?}");
        assert!(text.contains("connections: 0, over: true"), "{text}");
    };
    let (far, ()) = timeout(LONG, async { tokio::join!(peer, listen) })
        .await
        .unwrap();
    assert_eq!(program.read(&mut [0]).await.unwrap(), 0);
    drop(far);
}

/// A server of ports does not dial back.
#[tokio::test]
async fn a_server_of_ports_opens_none_itself() {
    let (near, _far) = duplex(100);
    let mut session = PortForward::new(near, Server::new(), Bytes::new(), SECOND);
    let (_, socket) = duplex(1);
    assert_eq!(session.open(port(80), socket), None);
    assert!(session.is_empty());
}

/// A port that takes nothing may still have something to say: it arrives, and its end, too.
#[tokio::test]
async fn a_port_that_takes_nothing_is_still_heard() {
    let (near, far) = duplex(4096);
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        let mut speakers = Vec::new();
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, port } = event.unwrap() {
                let (speaker, heard) = duplex(100);
                if port.get() == 80 {
                    // Its reader is gone: writing to it fails.
                    let (_, gone) = duplex(1);
                    session.carry(connection, join(heard, gone));
                } else {
                    // It is full, and says so by taking no byte of what it is given.
                    let full = Cursor::new(Box::<[u8]>::from([0; 3]));
                    session.carry(connection, join(heard, full));
                }
                speakers.push(tokio::spawn(async move {
                    let mut speaker = speaker;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    speaker.write_all(b"the last word").await.unwrap();
                }));
            }
        }
        for speaker in speakers {
            speaker.await.unwrap();
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let mut programs = Vec::new();
        for number in [80, 81] {
            let (mut program, theirs) = duplex(4096);
            session.open(port(number), theirs).unwrap();
            program.write_all(b"nobody takes this").await.unwrap();
            program.shutdown().await.unwrap();
            programs.push(program);
        }
        let listen = async {
            for program in &mut programs {
                let mut text = String::new();
                program.read_to_string(&mut text).await.unwrap();
                assert_eq!(text, "the last word");
            }
        };
        tokio::select! {
            () = listen => {}
            () = async { while session.next().await.is_some() {} } => panic!("the session ended"),
        }
        session.finish().await.unwrap();
    };
    timeout(LONG, async { tokio::join!(serve, fetch) })
        .await
        .unwrap();
}

/// A program that has said all and then goes, with an answer on its way to it: the other side is
/// told, so that it need not go on.
#[tokio::test]
async fn a_program_that_goes_before_its_answer_breaks_its_connection_off() {
    let (near, far) = duplex(4096);
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        let mut ports = Vec::new();
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, .. } = event.unwrap() {
                let (socket, mut port) = duplex(4096);
                session.carry(connection, socket);
                ports.push(tokio::spawn(async move {
                    let mut asked = Vec::new();
                    port.read_to_end(&mut asked).await.unwrap();
                    assert_eq!(asked, b"asked");
                    // Endless, until nobody takes it any more.
                    while port.write_all(&[0; 1000]).await.is_ok() {}
                }));
            }
        }
        assert_eq!(ports.len(), 1);
        for port in ports {
            port.await.unwrap();
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let (mut program, theirs) = duplex(64);
        session.open(port(80), theirs).unwrap();
        program.write_all(b"asked").await.unwrap();
        program.shutdown().await.unwrap();
        let mut first = [0];
        tokio::select! {
            read = program.read_exact(&mut first) => drop(read.unwrap()),
            () = async { while session.next().await.is_some() {} } => panic!("the session ended"),
        }
        drop(program);
        while !session.is_empty() {
            tokio::select! {
                event = session.next() => { event.unwrap().unwrap(); }
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        session.finish().await.unwrap();
    };
    timeout(LONG, async { tokio::join!(serve, fetch) })
        .await
        .unwrap();
}

/// A port nobody has dialled yet is dropped with its connection, and what waited for it.
#[tokio::test]
async fn a_connection_that_closes_before_anybody_dialled_is_over() {
    let (near, far) = duplex(64 * 1024);
    let mut server = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
    let mut client = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
    let (mut program, theirs) = duplex(100);
    client.open(port(80), theirs).unwrap();
    program.write_all(b"early").await.unwrap();
    let opened = tokio::select! {
        event = server.next() => event.unwrap().unwrap(),
        () = async { while client.next().await.is_some() {} } => panic!("the session ended"),
    };
    let PortForwardEvent::Opened { connection, .. } = opened else {
        panic!("{opened:?}");
    };
    assert_eq!(server.len(), 1);
    drop(client);
    while let Some(event) = timeout(LONG, server.next()).await.unwrap() {
        assert_eq!(event.unwrap(), PortForwardEvent::Closed { connection });
    }
    assert!(server.is_empty());
}

/// Much that waits for one program holds the session up, and it goes on where it was.
#[tokio::test]
async fn a_session_goes_on_once_a_crowded_program_reads() {
    let (near, far) = duplex(256 * 1024);
    let bulk = limits::MAX_PORT_WAITING + 2 * limits::HIGH_WATER;
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, .. } = event.unwrap() {
                let (socket, mut port) = duplex(256 * 1024);
                session.carry(connection, socket);
                tokio::spawn(async move { port.write_all(&vec![b'x'; bulk]).await });
            }
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let (mut program, theirs) = duplex(64 * 1024);
        session.open(port(80), theirs).unwrap();
        // Nobody reads for a while.
        let idle = async { while session.next().await.is_some() {} };
        assert!(timeout(SECOND, idle).await.is_err());
        let mut text = Vec::new();
        tokio::select! {
            read = program.read_to_end(&mut text) => drop(read.unwrap()),
            () = async { while session.next().await.is_some() {} } => panic!("the session ended"),
        }
        assert_eq!(text.len(), bulk);
        session.finish().await.unwrap();
    };
    timeout(LONG, async { tokio::join!(serve, fetch) })
        .await
        .unwrap();
}

/// A port's stream over a wire that breaks the protocol is an error for whoever reads, and for
/// whoever writes.
#[tokio::test]
async fn a_port_stream_over_a_broken_wire_fails_both_ways() {
    let (near, mut far) = duplex(4096);
    let mut stream = PortStream::open(near, Tunnelled::client(1), Bytes::new(), port(80)).unwrap();
    stream.send_keepalive();
    stream.flush().await.unwrap();
    // A masked frame, which no server sends.
    far.write_all(b"\x82\x81\0\0\0\0x").await.unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert!(error.to_string().contains("masked"), "{error}");
    let text = format!("{stream:?}");
    assert!(text.starts_with("PortStream { connection: "), "{text}");
    let error = stream.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// A stream with input on its way when its wire goes says so when it is flushed.
#[tokio::test]
async fn input_that_cannot_be_flushed_is_an_error() {
    let (near, far) = duplex(16);
    let mut stream = PortStream::open(near, Client::new(), Bytes::new(), port(80)).unwrap();
    stream.write_all(&[b'x'; 1000]).await.unwrap();
    drop(far);
    let error = stream.flush().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// Who waits for a client that never opens its streams hears its end at once.
#[tokio::test]
async fn a_client_that_goes_before_it_is_ready_is_an_error() {
    let (near, far) = duplex(100);
    let codec = spdy::ExecServer::new(Subprotocol::V4, PIPES, std::time::Instant::now());
    let mut server = Endpoint::new(far, codec, Bytes::new());
    drop(near);
    let error = server.ready().await.unwrap_err();
    assert!(
        matches!(error, EndpointError::Protocol(ProtocolError::Truncated)),
        "{error}"
    );
}

/// A socket that takes no byte is a failure, not an endless try.
#[tokio::test]
async fn a_socket_that_takes_no_byte_is_a_failure() {
    let (heard, _peer) = duplex(100);
    let full = Cursor::new(Box::<[u8]>::from([0; 10]));
    let codec = channel::Client::new(Subprotocol::V5, PIPES, 1);
    let mut client = Endpoint::new(join(heard, full), codec, Bytes::new());
    let text = Event::Stdin(Bytes::from_static(b"more than ten bytes"));
    let error = timeout(LONG, client.send(text)).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, EndpointError::Io(error) if error.kind() == std::io::ErrorKind::WriteZero),
        "{error}"
    );
    // And it stays one.
    assert!(client.flush().await.is_err());
    assert!(client.finish().await.is_err());
}

/// A sink that is full when its peer goes says so to who waits for room.
#[tokio::test]
async fn room_that_never_comes_is_an_error() {
    let (near, far) = duplex(64);
    let codec = channel::Server::new(Subprotocol::V5, PIPES);
    let mut server = Endpoint::new(near, codec, Bytes::new());
    let bulk = Bytes::from(vec![b'x'; 2 * limits::HIGH_WATER]);
    server.feed(Event::Stdout(bulk)).await.unwrap();
    let waits = server.feed(Event::Stdout(Bytes::from_static(b"more")));
    let goes = async {
        tokio::task::yield_now().await;
        drop(far);
    };
    let (fed, ()) = timeout(LONG, async { tokio::join!(waits, goes) })
        .await
        .unwrap();
    assert!(matches!(fed.unwrap_err(), EndpointError::Io(_)));
}

/// Closing a sink ends our direction once, and the peer's goes on.
#[tokio::test]
async fn a_closed_sink_has_ended_our_direction_only() {
    let (near, mut far) = duplex(4096);
    let codec = channel::Server::new(Subprotocol::V5, PIPES);
    let mut server = Endpoint::new(near, codec, Bytes::new());
    server
        .feed(Event::Stdout(Bytes::from_static(b"out")))
        .await
        .unwrap();
    server.close().await.unwrap();
    server.close().await.unwrap();
    let mut wire = Vec::new();
    far.read_to_end(&mut wire).await.unwrap();
    // An empty message says that the session is open.
    assert_eq!(wire, b"\x82\x01\x01\x82\x04\x01out");
    far.write_all(b"\x82\x82\0\0\0\0\0x").await.unwrap();
    let typed = Event::Stdin(Bytes::from_static(b"x"));
    assert_eq!(server.next().await.unwrap().unwrap(), typed);
    let text = format!("{server:?}");
    assert!(text.contains("shut: true"), "{text}");
}
