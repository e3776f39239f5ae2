//! `io::PortForward` and `io::PortStream` in every port-forward protocol, over connections that
//! take a few bytes at a time and whose futures are dropped midway.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test"
)]

use std::{io, num::NonZeroU16, time::Duration};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Subprotocol,
    io::{PortForward, PortStream},
    limits,
    portforward::{
        Client, ForwardId, PortForwardCodec, PortForwardEvent, Server, Tunnelled, channel,
    },
    spdy::{Connection, ConnectionEvent, Role},
};
use futures::{FutureExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};

const SECOND: Duration = Duration::from_secs(1);

/// Both ends of a connection, until both are done.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let ends = async { tokio::join!(one, other) };
    timeout(Duration::from_secs(30), ends).await.unwrap()
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|index| (index.wrapping_mul(31) % 251) as u8 ^ seed)
        .collect()
}

/// A server that dials port 80, which answers in another pattern what it was asked in once its
/// input has ended, and 81, which nobody serves; until the session ends.
async fn serve<P: PortForwardCodec + Unpin>(socket: DuplexStream, codec: P, answers: bool) {
    let mut session = PortForward::new(socket, codec, Bytes::new(), SECOND);
    while let Some(event) = session.next().await {
        match event.unwrap() {
            PortForwardEvent::Opened { connection, port } if port.get() == 81 => {
                session.fail(connection, "connection refused");
            }
            PortForwardEvent::Opened { connection, .. } => {
                let (near, mut program) = duplex(100);
                session.carry(connection, near);
                tokio::spawn(async move {
                    let mut asked = Vec::new();
                    program.read_to_end(&mut asked).await.unwrap();
                    assert!(asked == pattern(asked.len(), 1), "not what was sent");
                    if answers {
                        program.write_all(&pattern(asked.len(), 2)).await.unwrap();
                    }
                });
            }
            _ => {}
        }
    }
    assert!(session.is_empty());
}

/// Asks over a connection and gives the answer.
async fn ask(mut program: DuplexStream, length: usize) -> Vec<u8> {
    program.write_all(&pattern(length, 1)).await.unwrap();
    program.shutdown().await.unwrap();
    let mut answer = Vec::new();
    program.read_to_end(&mut answer).await.unwrap();
    answer
}

async fn many_connections(
    pipe: usize,
    dropping: bool,
    client: impl PortForwardCodec + Unpin,
    server: impl PortForwardCodec + Unpin + Send + 'static,
) {
    let (near, far) = duplex(pipe);
    let served = tokio::spawn(serve(far, server, true));
    let mut session = PortForward::new(near, client, Bytes::new(), SECOND);
    let mut programs = Vec::new();
    for length in [0, 1, 5000, 150_000] {
        let (ours, theirs) = duplex(333);
        session.open(port(80), theirs).unwrap();
        let asking = ask(ours, length);
        programs.push(tokio::spawn(async move {
            assert!(asking.await == pattern(length, 2), "{length} bytes");
        }));
    }
    let (mut refused, theirs) = duplex(10);
    let refused_id = session.open(port(81), theirs).unwrap();
    let mut failures = Vec::new();
    let mut closed = 0;
    while closed < 4 || failures.is_empty() {
        let event = if dropping {
            tokio::select! {
                biased;
                event = session.next() => event,
                () = tokio::task::yield_now() => continue,
            }
        } else {
            session.next().await
        };
        match event.unwrap().unwrap() {
            PortForwardEvent::Closed { .. } => closed += 1,
            PortForwardEvent::Failed {
                connection,
                message,
            } => failures.push((connection, message)),
            _ => {}
        }
    }
    assert_eq!(failures, [(refused_id, "connection refused".to_owned())]);
    assert_eq!(refused.read(&mut [0]).await.unwrap(), 0);
    // The programs' last bytes are still on their way.
    let finish = async {
        for program in programs {
            program.await.unwrap();
        }
    };
    tokio::select! {
        () = finish => {}
        event = session.next() => panic!("{event:?}"),
    }
    session.finish().await.unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn connections_pass_bytes_and_ends_each_for_itself_over_spdy_and_tunnel() {
    timeout(Duration::from_secs(60), async {
        for pipe in [23, 4096] {
            for dropping in [false, true] {
                many_connections(pipe, dropping, Client::new(), Server::new()).await;
                let (client, server) = (Tunnelled::client(7), Tunnelled::server());
                many_connections(pipe, dropping, client, server).await;
            }
        }
    })
    .await
    .unwrap();
}

/// The numbered channels end with the socket alone: what the ports say arrives whole, and the end
/// of the last of them ends the session.
#[tokio::test]
async fn ports_of_numbered_channels_arrive_whole_raw_and_in_base64() {
    for subprotocol in [Subprotocol::V4, Subprotocol::V4Base64] {
        for pipe in [23, 4096] {
            let ports = [port(80), port(8080)];
            let (near, far) = duplex(pipe);
            let server = channel::Server::new(subprotocol, &ports).unwrap();
            let client = channel::Client::new(subprotocol, &ports, 3).unwrap();
            let ids: Vec<ForwardId> = client.connections().map(|(id, _)| id).collect();
            let serve = async {
                let mut session = PortForward::new(far, server, Bytes::new(), SECOND);
                let mut programs = Vec::new();
                while let Some(event) = session.next().await {
                    if let PortForwardEvent::Opened { connection, port } = event.unwrap() {
                        let (near, mut program) = duplex(100);
                        session.carry(connection, near);
                        programs.push(tokio::spawn(async move {
                            let mut asked = vec![0; 9000];
                            program.read_exact(&mut asked).await.unwrap();
                            assert!(asked == pattern(9000, port.get().to_le_bytes()[0]));
                            program.write_all(&asked).await.unwrap();
                        }));
                    }
                }
                for program in programs {
                    program.await.unwrap();
                }
            };
            let fetch = async {
                let mut session = PortForward::new(near, client, Bytes::new(), SECOND);
                let mut programs = Vec::new();
                for (id, port) in ids.iter().zip(ports) {
                    let (mut program, theirs) = duplex(333);
                    session.adopt(*id, port, theirs);
                    let text = pattern(9000, port.get().to_le_bytes()[0]);
                    programs.push(tokio::spawn(async move {
                        program.write_all(&text).await.unwrap();
                        let mut answer = vec![0; text.len()];
                        program.read_exact(&mut answer).await.unwrap();
                        assert!(answer == text);
                        // The end of all is the end of the session.
                        assert_eq!(program.read(&mut answer).await.unwrap(), 0);
                    }));
                }
                let mut closed = 0;
                while let Some(event) = session.next().await {
                    closed +=
                        usize::from(matches!(event.unwrap(), PortForwardEvent::Closed { .. }));
                }
                assert_eq!(closed, 2);
                for program in programs {
                    program.await.unwrap();
                }
            };
            both(serve, fetch).await;
        }
    }
}

/// T23: a port that breaks is told to its own client, and to nobody else's.
#[tokio::test]
async fn a_port_that_breaks_fails_its_own_connection_alone() {
    let (near, far) = duplex(1000);
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, port } = event.unwrap() {
                if port.get() == 80 {
                    session.carry(connection, reset::Socket);
                } else {
                    let (near, mut program) = duplex(100);
                    session.carry(connection, near);
                    tokio::spawn(async move { program.write_all(b"fine").await });
                }
            }
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let (_broken, theirs) = duplex(10);
        let broken = session.open(port(80), theirs).unwrap();
        let (mut fine, theirs) = duplex(10);
        session.open(port(81), theirs).unwrap();
        let mut text = String::new();
        let mut failure = None;
        let read = fine.read_to_string(&mut text);
        tokio::pin!(read);
        let mut done = false;
        while failure.is_none() || !done {
            tokio::select! {
                read = &mut read, if !done => { read.unwrap(); done = true; }
                event = session.next() => {
                    if let PortForwardEvent::Failed { connection, message } =
                        event.unwrap().unwrap()
                    {
                        failure = Some((connection, message));
                    }
                }
            }
        }
        let message = "connection to port 80 lost: connection reset";
        assert_eq!(failure, Some((broken, message.to_owned())));
        session.finish().await.unwrap();
        text
    };
    let (text, ()) = both(fetch, serve).await;
    assert_eq!(text, "fine");
}

/// A socket whose peer has reset it.
mod reset {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    pub(super) struct Socket;

    impl AsyncRead for Socket {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}

/// T7 and T25: a program that reads nothing holds nobody up, until very much waits for it.
#[tokio::test]
async fn a_program_that_reads_nothing_holds_the_others_up_only_at_the_limit() {
    let (near, far) = duplex(64 * 1024);
    let bulk = limits::MAX_PORT_WAITING - 300_000;
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, port } = event.unwrap() {
                let (near, mut program) = duplex(1000);
                session.carry(connection, near);
                let text = if port.get() == 80 {
                    vec![b'x'; bulk]
                } else {
                    b"quick".to_vec()
                };
                tokio::spawn(async move { program.write_all(&text).await });
            }
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let (mut idle, theirs) = duplex(4096);
        session.open(port(80), theirs).unwrap();
        for _ in 0..3 {
            let (mut quick, theirs) = duplex(10);
            session.open(port(81), theirs).unwrap();
            let mut text = String::new();
            tokio::select! {
                () = async {
                    loop { session.next().await.unwrap().unwrap(); }
                } => {}
                read = quick.read_to_string(&mut text) => { read.unwrap(); }
            }
            assert_eq!(text, "quick");
        }
        // And what waited is whole.
        let mut text = Vec::new();
        tokio::select! {
            () = async { loop { session.next().await.unwrap().unwrap(); } } => {}
            read = idle.read_to_end(&mut text) => { read.unwrap(); }
        }
        assert_eq!(text.len(), bulk);
        session.finish().await.unwrap();
    };
    both(fetch, serve).await;
}

/// The end of the wire leaves what came to its sockets, and then ends the stream.
#[tokio::test]
async fn what_came_before_the_wire_ended_reaches_its_socket() {
    let (near, far) = duplex(64 * 1024);
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, .. } = event.unwrap() {
                let (near, mut program) = duplex(30_000);
                program.write_all(&pattern(20_000, 5)).await.unwrap();
                session.carry(connection, near);
                tokio::select! {
                    event = session.next() => panic!("{event:?}"),
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                }
                // A server that dies.
                return;
            }
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let (mut program, theirs) = duplex(10);
        session.open(port(80), theirs).unwrap();
        let mut text = Vec::new();
        let all = async {
            while let Some(event) = session.next().await {
                event.unwrap();
            }
        };
        let (read, ()) = tokio::join!(program.read_to_end(&mut text), all);
        read.unwrap();
        text
    };
    let (text, ()) = both(fetch, serve).await;
    assert!(text == pattern(20_000, 5));
}

/// A program that says something and resets its connection, as one does that exits with input
/// left unread.
#[tokio::test]
async fn what_a_port_said_before_it_failed_reaches_its_socket() {
    let (near, far) = duplex(64 * 1024);
    let serve = async {
        let mut session = PortForward::new(far, Server::new(), Bytes::new(), SECOND);
        while let Some(event) = session.next().await {
            if let PortForwardEvent::Opened { connection, .. } = event.unwrap() {
                let said = io::Cursor::new(pattern(20_000, 5));
                let program = tokio::io::join(said.chain(reset::Socket), tokio::io::sink());
                session.carry(connection, program);
            }
        }
    };
    let fetch = async {
        let mut session = PortForward::new(near, Client::new(), Bytes::new(), SECOND);
        let (mut program, theirs) = duplex(10);
        session.open(port(80), theirs).unwrap();
        let mut text = Vec::new();
        let mut failures = Vec::new();
        tokio::select! {
            () = async {
                loop {
                    let event = session.next().await.unwrap().unwrap();
                    if let PortForwardEvent::Failed { message, .. } = event {
                        failures.push(message);
                    }
                }
            } => {}
            read = program.read_to_end(&mut text) => { read.unwrap(); }
        }
        assert!(session.is_empty());
        session.finish().await.unwrap();
        assert!(
            failures.len() == 1 && failures[0].contains("port 80 lost"),
            "{failures:?}"
        );
        text
    };
    let (text, ()) = both(fetch, serve).await;
    assert!(text == pattern(20_000, 5), "{} of 20000", text.len());
}

/// One connection as a byte stream, its halves in tasks of their own.
#[tokio::test]
async fn a_port_stream_carries_both_directions_from_two_tasks() {
    for pipe in [29, 4096] {
        let (near, far) = duplex(pipe);
        let served = tokio::spawn(serve(far, Tunnelled::server(), true));
        let client = Tunnelled::client(3);
        let stream = PortStream::open(near, client, Bytes::new(), port(80)).unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = tokio::spawn(async move {
            // Nobody flushes before the end: writing alone gets bytes across.
            writer.write_all(&pattern(300_000, 1)).await.unwrap();
            writer.shutdown().await.unwrap();
            writer
        });
        let reading = tokio::spawn(async move {
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.unwrap();
            assert!(answer == pattern(300_000, 2));
            reader
        });
        let both = async { (reading.await.unwrap(), writing.await.unwrap()) };
        drop(timeout(Duration::from_secs(30), both).await.unwrap());
        served.await.unwrap();
    }
}

#[tokio::test]
async fn a_port_streams_failure_is_an_error_with_the_servers_words() {
    let (near, far) = duplex(4096);
    let served = tokio::spawn(serve(far, Server::new(), true));
    let mut stream = PortStream::open(near, Client::new(), Bytes::new(), port(81)).unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.to_string(), "connection refused");
    let error = stream.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    drop(stream);
    served.await.unwrap();
}

/// containerd ends the bytes of a port that it could not reach before it says so.
#[tokio::test]
async fn a_failure_behind_the_end_of_the_bytes_is_still_a_failure() {
    let (near, mut far) = duplex(4096);
    let mut stream = PortStream::open(near, Client::new(), Bytes::new(), port(80)).unwrap();
    let serve = async {
        let mut request = BytesMut::new();
        while !request.ends_with(b"\0\0\0\x03\x01\0\0\0") && request.len() < 200 {
            if far.read_buf(&mut request).now_or_never().is_none() {
                break;
            }
        }
        let mut wire = Connection::new(Role::Server, 8);
        wire.handle_input(std::time::Instant::now(), &mut request)
            .unwrap();
        let mut opened = Vec::new();
        while let Some(event) = wire.poll_event() {
            if let ConnectionEvent::StreamOpened { stream, .. } = event {
                wire.reply(stream);
                opened.push(stream);
            }
        }
        let [error, data] = opened[..] else {
            panic!("{opened:?}")
        };
        wire.finish(data);
        wire.send(error, Bytes::from_static(b"no such port"));
        wire.finish(error);
        let mut bytes = Vec::new();
        while let Some(piece) = wire.poll_transmit() {
            bytes.extend_from_slice(&piece);
        }
        // A pause between each two bytes.
        for byte in bytes {
            far.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    stream.flush().await.unwrap();
    let mut first = [0];
    let (read, ()) = tokio::join!(stream.read(&mut first), serve);
    assert_eq!(read.unwrap_err().to_string(), "no such port");
}

/// A session that ends before its port did has perhaps lost something, which no reader may take
/// for the end.
#[tokio::test]
async fn a_port_stream_that_is_cut_is_no_end() {
    let (near, far) = duplex(4096);
    let mut stream = PortStream::open(near, Client::new(), Bytes::new(), port(80)).unwrap();
    drop(far);
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
