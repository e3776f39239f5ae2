//! `io::Endpoint` around every codec of a session: exec, attach, Docker, logs, LAIN Entry, over
//! connections that take a few bytes at a time and whose futures are dropped midway.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and time has to start somewhere"
)]

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{
    Codec, Event, ExitStatus, OpenGate, Outcome, Relay, StreamSet, Subprotocol, channel,
    docker::{self, InputEnd, Shape},
    entry::{self, Encoding, Identity},
    io::{BoxCodec, Endpoint, EndpointError, run_relay},
    limits,
    log::{self, LogSubprotocol},
    spdy,
};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// Both ends of a protocol, and what it can carry.
struct Pair {
    name: &'static str,
    client: BoxCodec,
    server: BoxCodec,
    /// Bytes of standard input arrive.
    takes_input: bool,
    /// The end of standard input arrives.
    ends_input: bool,
    /// Standard error arrives as such.
    has_stderr: bool,
    /// What the client hears of an exit with 0.
    exits: bool,
}

impl Pair {
    fn new(
        name: &'static str,
        client: impl Codec + Send + 'static,
        server: impl Codec + Send + 'static,
    ) -> Self {
        Self {
            name,
            client: Box::new(client),
            server: Box::new(server),
            takes_input: true,
            ends_input: true,
            has_stderr: true,
            exits: true,
        }
    }

    fn all() -> Vec<Self> {
        let now = Instant::now();
        let terminal = StreamSet {
            stderr: false,
            tty: true,
            ..PIPES
        };
        let log = |subprotocol| Self {
            takes_input: false,
            ends_input: false,
            has_stderr: false,
            ..Self::new(
                "log",
                log::Client::new(subprotocol, 3),
                log::Server::new(subprotocol),
            )
        };
        let identity = Identity {
            access_token: "t".to_owned(),
            ..Identity::default()
        };
        vec![
            Self::new(
                "v5.channel.k8s.io",
                channel::Client::new(Subprotocol::V5, PIPES, 1),
                channel::Server::new(Subprotocol::V5, PIPES),
            ),
            Self {
                ends_input: false,
                ..Self::new(
                    "v4.base64.channel.k8s.io",
                    channel::Client::new(Subprotocol::V4Base64, PIPES, 1),
                    channel::Server::new(Subprotocol::V4Base64, PIPES),
                )
            },
            Self::new(
                "SPDY v4",
                spdy::ExecClient::new(Subprotocol::V4, PIPES),
                spdy::ExecServer::new(Subprotocol::V4, PIPES, now),
            ),
            Self {
                exits: false,
                ..Self::new(
                    "docker multiplexed",
                    docker::Client::new(Shape::Multiplexed, PIPES, InputEnd::Shutdown),
                    docker::Server::new(PIPES),
                )
            },
            Self {
                exits: false,
                has_stderr: false,
                ..Self::new(
                    "docker raw",
                    docker::Client::new(Shape::Raw, terminal, InputEnd::Shutdown),
                    docker::Server::new(terminal),
                )
            },
            log(LogSubprotocol::Binary),
            log(LogSubprotocol::Base64),
            Self {
                ends_input: false,
                ..Self::new(
                    "entry protobuf",
                    entry::Client::native(PIPES, 5),
                    entry::Server::new(Encoding::Protobuf, PIPES, now),
                )
            },
            Self {
                ends_input: false,
                ..Self::new(
                    "entry json",
                    entry::Client::web(&identity, PIPES, 5),
                    entry::Server::new(Encoding::Json, PIPES, now),
                )
            },
        ]
    }
}

/// What one end heard.
#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    stdin: Vec<u8>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    half_closes: usize,
    exits: Vec<ExitStatus>,
    closed: bool,
}

impl Heard {
    fn take(&mut self, event: Event) {
        match event {
            Event::Stdin(bytes) => self.stdin.extend_from_slice(&bytes),
            Event::Stdout(bytes) => self.stdout.extend_from_slice(&bytes),
            Event::Stderr(bytes) => self.stderr.extend_from_slice(&bytes),
            Event::HalfClose => self.half_closes += 1,
            Event::Exit(status) => self.exits.push(status),
            Event::Close => self.closed = true,
            other => panic!("{other:?}"),
        }
    }
}

/// Bytes in which a lost, repeated or swapped piece shows.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|index| (index.wrapping_mul(31) % 251) as u8 ^ seed)
        .collect()
}

type End = Endpoint<DuplexStream, BoxCodec>;

/// How futures are treated.
#[derive(Clone, Copy)]
enum Manner {
    Patient,
    /// Each read and flush is dropped when it does not end at once, and begun anew.
    Dropping,
}

async fn next(end: &mut End, manner: Manner) -> Option<Result<Event, EndpointError>> {
    match manner {
        Manner::Patient => end.next().await,
        Manner::Dropping => loop {
            tokio::select! {
                biased;
                event = end.next() => return event,
                () = tokio::task::yield_now() => {}
            }
        },
    }
}

async fn say(end: &mut End, event: Event, manner: Manner, heard: &mut Heard) {
    end.feed(event).await.unwrap();
    match manner {
        // Who only writes may wait for one who only writes.
        Manner::Patient => loop {
            tokio::select! {
                biased;
                flushed = end.flush() => return flushed.unwrap(),
                () = tokio::task::yield_now() => {}
            }
            listen(end, heard).await;
        },
        Manner::Dropping => {
            tokio::select! {
                biased;
                flushed = end.flush() => flushed.unwrap(),
                () = tokio::task::yield_now() => {}
            }
            listen(end, heard).await;
        }
    }
}

/// Takes what is there.
async fn listen<C: Codec + Unpin>(end: &mut Endpoint<DuplexStream, C>, heard: &mut Heard) {
    tokio::select! {
        biased;
        event = end.next() => if let Some(event) = event { heard.take(event.unwrap()) },
        () = tokio::task::yield_now() => {}
    }
}

/// A whole session: input and output at once, the end of input, the last output, the status.
async fn converse(pair: Pair, pipe: usize, manner: Manner) -> (Heard, Heard) {
    let (near, far) = duplex(pipe);
    let mut client = Endpoint::new(near, pair.client, Bytes::new());
    let mut server = Endpoint::new(far, pair.server, Bytes::new());
    let name = pair.name;
    let (takes_input, ends_input) = (pair.takes_input, pair.ends_input);
    let client = async move {
        let mut heard = Heard::default();
        for chunk in pattern(INPUT, 0).chunks(700) {
            let event = Event::Stdin(Bytes::copy_from_slice(chunk));
            say(&mut client, event, manner, &mut heard).await;
        }
        say(&mut client, Event::HalfClose, manner, &mut heard).await;
        while !heard.closed {
            match next(&mut client, manner).await {
                Some(event) => heard.take(event.unwrap()),
                None => break,
            }
        }
        client.finish().await.unwrap();
        heard
    };
    let server = async move {
        let mut heard = Heard::default();
        server.ready().await.unwrap();
        for chunk in pattern(OUTPUT, 7).chunks(900) {
            let event = Event::Stdout(Bytes::copy_from_slice(chunk));
            say(&mut server, event, manner, &mut heard).await;
        }
        while (takes_input && heard.stdin.len() < INPUT) || (ends_input && heard.half_closes == 0) {
            heard.take(next(&mut server, manner).await.unwrap().unwrap());
        }
        // Behind the end of input the output goes on.
        let stderr = Event::Stderr(pattern(TAIL, 9).into());
        say(&mut server, stderr, manner, &mut heard).await;
        let exit = Event::Exit(ExitStatus::Exited(0));
        say(&mut server, exit, manner, &mut heard).await;
        server.finish().await.unwrap();
        heard
    };
    timeout(Duration::from_secs(60), async {
        tokio::join!(client, server)
    })
    .await
    .unwrap_or_else(|_| panic!("{name} hangs"))
}

const INPUT: usize = 40_000;
const OUTPUT: usize = 60_000;
const TAIL: usize = 3_000;

async fn every_pair(pipe: usize, manner: Manner) {
    for pair in Pair::all() {
        let name = pair.name;
        let (takes_input, ends_input) = (pair.takes_input, pair.ends_input);
        let (has_stderr, exits) = (pair.has_stderr, pair.exits);
        let merged = name == "log";
        let (client, server) = converse(pair, pipe, manner).await;
        if takes_input {
            assert!(server.stdin == pattern(INPUT, 0), "{name}: input");
        }
        assert_eq!(server.half_closes, usize::from(ends_input), "{name}");
        let mut printed = pattern(OUTPUT, 7);
        if merged {
            printed.extend(pattern(TAIL, 9));
        }
        assert!(client.stdout == printed, "{name}: output");
        if has_stderr {
            assert!(client.stderr == pattern(TAIL, 9), "{name}: standard error");
        }
        let statuses: &[ExitStatus] = if exits { &[ExitStatus::Exited(0)] } else { &[] };
        assert_eq!(client.exits, statuses, "{name}");
        assert!(client.closed, "{name}: no goodbye");
    }
}

#[tokio::test]
async fn every_protocol_carries_a_session_whole_over_narrow_connections() {
    for pipe in [13, 1000, 128 * 1024] {
        every_pair(pipe, Manner::Patient).await;
    }
}

/// T42: dropped futures lose nothing and repeat nothing, in any protocol.
#[tokio::test]
async fn futures_that_are_dropped_midway_lose_nothing_in_any_protocol() {
    for pipe in [13, 1000] {
        every_pair(pipe, Manner::Dropping).await;
    }
}

/// T4: the end of input shuts the writing side down, as a daemon wants it, and output goes on.
#[tokio::test]
async fn the_end_of_input_half_closes_a_connection_to_docker() {
    let (near, mut daemon) = duplex(1024);
    let codec = docker::Client::new(Shape::Multiplexed, PIPES, InputEnd::Shutdown);
    let mut client = Endpoint::new(near, codec, Bytes::new());
    client
        .feed(Event::Stdin(Bytes::from_static(b"in")))
        .await
        .unwrap();
    client.send(Event::HalfClose).await.unwrap();
    let mut input = Vec::new();
    daemon.read_to_end(&mut input).await.unwrap();
    assert_eq!(input, b"in");
    daemon.write_all(b"\x01\0\0\0\0\0\0\x04late").await.unwrap();
    drop(daemon);
    let late = Event::Stdout(Bytes::from_static(b"late"));
    assert_eq!(client.next().await.unwrap().unwrap(), late);
    assert_eq!(client.next().await.unwrap().unwrap(), Event::Close);
    assert!(client.next().await.is_none());
}

/// The end of what a Docker client says is the end of its input, not of the session.
#[tokio::test]
async fn a_docker_client_that_has_ended_its_side_hears_all_output() {
    let (mut client, far) = duplex(64);
    let (near, mut container) = duplex(64 * 1024);
    let mut front = Endpoint::new(far, docker::Server::new(PIPES), Bytes::new());
    let codec = channel::Client::new(Subprotocol::V5, PIPES, 1);
    let mut back = Endpoint::new(near, codec, Bytes::new());
    let relay = async {
        let relay = Relay::new(OpenGate::default());
        let (outcome, _) = run_relay(&mut front, &mut back, relay, |()| {
            std::future::ready(Ok(()))
        })
        .await;
        front.finish().await.unwrap();
        outcome
    };
    let process = async {
        let codec = channel::Server::new(Subprotocol::V5, PIPES);
        let mut process = Endpoint::new(&mut container, codec, Bytes::new());
        let mut heard = Heard::default();
        while heard.half_closes == 0 {
            heard.take(process.next().await.unwrap().unwrap());
        }
        process
            .feed(Event::Stdout(pattern(5000, 1).into()))
            .await
            .unwrap();
        let exit = Event::Exit(ExitStatus::Exited(0));
        process.send(exit).await.unwrap();
        heard.stdin
    };
    let person = async {
        client.write_all(b"typed").await.unwrap();
        client.shutdown().await.unwrap();
        let mut printed = Vec::new();
        client.read_to_end(&mut printed).await.unwrap();
        printed
    };
    let (outcome, typed, printed) = timeout(Duration::from_secs(30), async {
        tokio::join!(relay, process, person)
    })
    .await
    .unwrap();
    assert_eq!(outcome, Outcome::Ended(ExitStatus::Exited(0)));
    assert_eq!(typed, b"typed");
    assert_eq!(printed.get(..8), Some(&b"\x01\0\0\0\0\0\x13\x88"[..]));
    assert!(printed.get(8..) == Some(&pattern(5000, 1)[..]));
}

/// A Docker client that has ended its side and then goes shows when something is written to it.
#[tokio::test]
async fn a_docker_client_that_goes_after_its_input_ends_the_stream() {
    let (mut client, far) = duplex(64);
    let mut server = Endpoint::new(far, docker::Server::new(PIPES), Bytes::new());
    client.shutdown().await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Event::HalfClose);
    drop(client);
    server
        .feed(Event::Stdout(Bytes::from_static(b"nobody reads this")))
        .await
        .unwrap();
    let error = server.next().await.unwrap().unwrap_err();
    assert!(matches!(error, EndpointError::Io(_)), "{error}");
    assert!(server.next().await.is_none());
}

/// Taken apart and put together again in the middle of frames, a session goes on as if nothing
/// had been.
#[tokio::test]
async fn parts_of_an_endpoint_hold_every_byte() {
    let (near, far) = duplex(7);
    let codec = channel::Client::new(Subprotocol::V5, PIPES, 1);
    let mut client = Endpoint::new(near, codec, Bytes::new());
    let codec = channel::Server::new(Subprotocol::V5, PIPES);
    let mut server = Endpoint::new(far, codec, Bytes::new());
    for chunk in pattern(3000, 4).chunks(11) {
        client
            .feed(Event::Stdin(Bytes::copy_from_slice(chunk)))
            .await
            .unwrap();
    }
    client.feed(Event::HalfClose).await.unwrap();
    let mut heard = Heard::default();
    let mut turns = 0;
    while heard.half_closes == 0 {
        tokio::select! {
            biased;
            flushed = client.flush() => flushed.unwrap(),
            () = tokio::task::yield_now() => {}
        }
        listen(&mut server, &mut heard).await;
        turns += 1;
        if turns % 3 == 0 {
            let parts = client.into_parts();
            let (mut socket, rest) = (parts.socket, parts.unwritten.concat());
            let write = async { socket.write_all(&rest).await.unwrap() };
            let read = async {
                loop {
                    heard.take(server.next().await.unwrap().unwrap());
                }
            };
            tokio::select! { () = write => {} () = read => {} }
            client = Endpoint::new(socket, parts.codec, parts.unread);
            let parts = server.into_parts();
            server = Endpoint::new(parts.socket, parts.codec, parts.unread);
            // A server that says nothing has nothing to write.
            assert!(parts.unwritten.is_empty());
        }
    }
    assert!(heard.stdin == pattern(3000, 4));
}

/// What waits for the server's answer goes out with it, and however much that is, the client
/// listens on: also when somebody else does the writing.
#[tokio::test]
async fn much_input_before_the_streams_exist_stops_no_output() {
    let (near, far) = duplex(4096);
    let codec = spdy::ExecClient::new(Subprotocol::V4, PIPES);
    let mut client = Endpoint::new(near, codec, Bytes::new());
    let codec = spdy::ExecServer::new(Subprotocol::V4, PIPES, Instant::now());
    let mut server = Endpoint::new(far, codec, Bytes::new());
    // As much as is taken before the server has been heard.
    let typed = pattern(5 * 60_000, 2);
    assert!(typed.len() > limits::HIGH_WATER);
    for chunk in typed.chunks(60_000) {
        let event = Event::Stdin(Bytes::copy_from_slice(chunk));
        client.feed(event).await.unwrap();
    }
    let serve = async {
        let mut heard = Heard::default();
        while heard.stdin.len() < typed.len() {
            heard.take(server.next().await.unwrap().unwrap());
        }
        assert!(heard.stdin == typed);
        let exit = Event::Exit(ExitStatus::Exited(0));
        server.send(exit).await.unwrap();
        server.finish().await.unwrap();
    };
    let (mut sink, mut stream) = client.split();
    let write = async move { sink.send(Event::HalfClose).await.unwrap() };
    let listen = async {
        let mut heard = Heard::default();
        while heard.exits.is_empty() {
            heard.take(stream.next().await.unwrap().unwrap());
        }
        drop(stream);
    };
    // The listener comes first: whoever writes later has to call it.
    timeout(Duration::from_secs(10), async {
        tokio::join!(listen, write, serve)
    })
    .await
    .unwrap();
}

/// Who sends all input before he asks for an event waits for the streams all the same, however
/// narrow the connection is.
#[tokio::test]
async fn much_input_may_be_sent_before_anything_is_asked_for() {
    for width in [7, 4096] {
        let (near, far) = duplex(width);
        let codec = spdy::ExecClient::new(Subprotocol::V4, PIPES);
        let mut client = Endpoint::new(near, codec, Bytes::new());
        let codec = spdy::ExecServer::new(Subprotocol::V4, PIPES, Instant::now());
        let mut server = Endpoint::new(far, codec, Bytes::new());
        let typed = pattern(3 * limits::HIGH_WATER, 2);
        let serve = async {
            let mut heard = Heard::default();
            while heard.stdin.len() < typed.len() {
                heard.take(server.next().await.unwrap().unwrap());
            }
            assert!(heard.stdin == typed);
            let exit = Event::Exit(ExitStatus::Exited(0));
            // The client goes once it has heard that, whatever else is on its way.
            let _gone = server.send(exit).await;
            let _gone = server.finish().await;
        };
        let write_then_listen = async {
            for chunk in typed.chunks(60_000) {
                let event = Event::Stdin(Bytes::copy_from_slice(chunk));
                client.feed(event).await.unwrap();
            }
            client.send(Event::HalfClose).await.unwrap();
            let mut heard = Heard::default();
            while heard.exits.is_empty() {
                heard.take(client.next().await.unwrap().unwrap());
            }
            drop(client);
        };
        timeout(Duration::from_secs(30), async {
            tokio::join!(serve, write_then_listen)
        })
        .await
        .unwrap();
    }
}

/// A server that accepts no stream gets no input yet: what waits for it is bounded, and all of it
/// arrives once the streams are accepted.
#[tokio::test]
async fn input_stops_while_a_spdy_server_accepts_no_stream_and_goes_on_once_it_does() {
    const PIECE: usize = 16 * 1024;
    const ALL: usize = 4 * limits::HIGH_WATER;
    let (near, far) = duplex(4096);
    let client = spdy::ExecClient::new(Subprotocol::V4, PIPES);
    let (mut sink, mut stream) = Endpoint::new(near, client, Bytes::new()).split();
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut sent = 0;
    while let Poll::Ready(result) = futures::poll!(sink.send(Event::Stdin(piece.clone()))) {
        result.unwrap();
        sent += PIECE;
        assert!(sent <= limits::HIGH_WATER, "{sent} bytes wait");
    }
    assert!(sent > limits::HIGH_WATER / 2, "{sent}");
    // The sink's half keeps the piece that it could not pass on.
    sent += PIECE;
    let say = async {
        while sent < ALL {
            sink.send(Event::Stdin(piece.clone())).await.unwrap();
            sent += PIECE;
        }
        sink.send(Event::HalfClose).await.unwrap();
        std::future::pending::<()>().await
    };
    let listen = async {
        while let Some(event) = stream.next().await {
            event.unwrap();
        }
    };
    let serve = async {
        let codec = spdy::ExecServer::new(Subprotocol::V4, PIPES, Instant::now());
        let mut server = Endpoint::new(far, codec, Bytes::new());
        server.ready().await.unwrap();
        let mut heard = 0;
        loop {
            match server.next().await.unwrap().unwrap() {
                Event::Stdin(bytes) => heard += bytes.len(),
                Event::HalfClose => return heard,
                event => panic!("{event:?}"),
            }
        }
    };
    let all = async {
        tokio::select! {
            heard = serve => heard,
            () = say => 0,
            () = listen => 0,
        }
    };
    let heard = timeout(Duration::from_secs(20), all).await.unwrap();
    assert_eq!(heard, ALL);
}
