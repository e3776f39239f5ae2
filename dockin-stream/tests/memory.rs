//! What the heap holds, counted: of connections where nothing happens, and of peers that mean
//! harm (`T27`).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    alloc::System,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use dockin_stream::{
    Codec, Event, StreamSet, Subprotocol, channel,
    docker::{self, InputEnd, Shape},
    entry::{self, Encoding},
    io::{BoxCodec, Endpoint, PortForward, PortStream},
    limits,
    log::{self, LogSubprotocol},
    portforward::{Client, PortForwardEvent, Server, Tunnelled},
    spdy,
};
use futures::{FutureExt, SinkExt, StreamExt};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The counters are the process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn held() -> isize {
    let stats = HEAP.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

fn in_virtual_time<F: Future>(future: F) -> F::Output {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

fn ends() -> Vec<(&'static str, BoxCodec, BoxCodec)> {
    fn boxed<C: Codec + Send + 'static>(codec: C) -> BoxCodec {
        Box::new(codec)
    }
    vec![
        (
            "channel",
            boxed(channel::Client::new(Subprotocol::V5, PIPES, 1)),
            boxed(channel::Server::new(Subprotocol::V5, PIPES)),
        ),
        (
            "base64",
            boxed(channel::Client::new(Subprotocol::V4Base64, PIPES, 1)),
            boxed(channel::Server::new(Subprotocol::V4Base64, PIPES)),
        ),
        (
            "SPDY",
            boxed(spdy::ExecClient::new(Subprotocol::V4, PIPES)),
            boxed(spdy::ExecServer::new(Subprotocol::V4, PIPES, now())),
        ),
        (
            "docker",
            boxed(docker::Client::new(
                Shape::Multiplexed,
                PIPES,
                InputEnd::Hold,
            )),
            boxed(docker::Server::new(PIPES)),
        ),
        (
            "log",
            boxed(log::Client::new(LogSubprotocol::Binary, 1)),
            boxed(log::Server::new(LogSubprotocol::Binary)),
        ),
        (
            "entry",
            boxed(entry::Client::native(PIPES, 1)),
            boxed(entry::Server::new(Encoding::Protobuf, PIPES, now())),
        ),
    ]
}

type End = Endpoint<DuplexStream, BoxCodec>;

/// Writes from one end to the other until nothing more arrives.
async fn settle(from: &mut End, to: &mut End) -> usize {
    let mut bytes = 0;
    for _ in 0..1000 {
        // Tokio lets nobody poll without end.
        tokio::task::yield_now().await;
        let flushed = from.flush().now_or_never();
        match to.next().now_or_never() {
            Some(Some(event)) => bytes += event.unwrap().len(),
            Some(None) => break,
            None if flushed.is_some() => break,
            None => {}
        }
    }
    // Each has seen that nothing more is there.
    tokio::task::yield_now().await;
    assert!(from.next().now_or_never().is_none());
    bytes
}

/// Bytes that both ends of an idle session may hold together: their state, small queues and the
/// rests of small batches, and none of the buffers that carried 600,000 bytes.
const IDLE: isize = 2 * 16 * 1024;

#[test]
fn idle_connections_hold_no_buffer_in_any_protocol() {
    in_virtual_time(async {
        // The first time also fills what a thread keeps for all its connections.
        let numbers = 0..ends().len();
        for (number, counts) in numbers
            .clone()
            .map(|number| (number, false))
            .chain(numbers.map(|number| (number, true)))
        {
            let (near, far) = used_pipe().await;
            let before = held();
            let (name, client, server) = ends().swap_remove(number);
            let mut client: End = Endpoint::new(near, client, Bytes::new());
            let mut server: End = Endpoint::new(far, server, Bytes::new());
            client.flush().await.unwrap();
            server.ready().await.unwrap();
            // Whoever waits for an answer to the set-up gets it.
            assert_eq!(settle(&mut server, &mut client).await, 0, "{name}");
            // Work, so that buffers have been needed.
            for _ in 0..3 {
                let piece = Bytes::from(vec![1; 100_000]);
                client.feed(Event::Stdin(piece.clone())).await.unwrap();
                let arrived = settle(&mut client, &mut server).await;
                assert_eq!(arrived, if name == "log" { 0 } else { 100_000 }, "{name}");
                server.feed(Event::Stdout(piece)).await.unwrap();
                assert_eq!(settle(&mut server, &mut client).await, 100_000, "{name}");
            }
            let grown = held() - before;
            assert!(!counts || grown < IDLE, "{name}: {grown} bytes on the heap");
        }
    });
}

/// A narrow pipe whose own buffers have grown as large as they get.
async fn used_pipe() -> (DuplexStream, DuplexStream) {
    const WIDTH: usize = 2048;
    let (mut near, mut far) = duplex(WIDTH);
    let mut read = [0; WIDTH];
    near.write_all(&[1; WIDTH]).await.unwrap();
    far.read_exact(&mut read).await.unwrap();
    far.write_all(&[1; WIDTH]).await.unwrap();
    near.read_exact(&mut read).await.unwrap();
    (near, far)
}

#[test]
fn idle_forwarded_connections_hold_no_buffer() {
    in_virtual_time(async {
        let (near, far) = duplex(256 * 1024);
        let hour = Duration::from_secs(3600);
        let mut client = PortForward::new(near, Tunnelled::client(1), Bytes::new(), hour);
        let mut server = PortForward::new(far, Tunnelled::server(), Bytes::new(), hour);
        let port = 80.try_into().unwrap();
        let mut programs = Vec::new();
        // The first one is work, the others are counted.
        let mut before = 0;
        for number in 0..101 {
            if number == 1 {
                before = held();
            }
            let (mut program, theirs) = duplex(16);
            client.open(port, theirs).unwrap();
            let (near, mut service) = duplex(16);
            let mut near = Some(near);
            let opened = async {
                loop {
                    if let PortForwardEvent::Opened { connection, .. } =
                        server.next().await.unwrap().unwrap()
                    {
                        server.carry(connection, near.take().unwrap());
                    }
                }
            };
            let echo = async {
                program.write_all(&[1; 1000]).await.unwrap();
            };
            let read = async {
                service.read_exact(&mut [0; 1000]).await.unwrap();
            };
            let all = async { tokio::join!(echo, read) };
            tokio::select! {
                _ = all => {}
                () = opened => {}
                event = async { loop { client.next().await.unwrap().unwrap(); } } => event,
            }
            programs.push((program, service));
        }
        let each = (held() - before) / 100;
        assert!(each < 4096, "{each} bytes for each idle connection");
    });
}

/// Runs `attack` against a server of `codec` that reads as long as it can, and gives the most that
/// the heap held above what it held before the attack.
async fn peak_under_attack(codec: BoxCodec, set_up: Vec<u8>, attack: Vec<u8>) -> isize {
    let (mut near, far) = duplex(4096);
    let mut server: End = Endpoint::new(far, codec, Bytes::new());
    near.write_all(&set_up).await.unwrap();
    let mut ended = false;
    while let Some(event) = server.next().now_or_never() {
        ended = event.is_none();
        assert!(!ended, "the set-up was refused");
    }
    let before = held();
    let mut peak = 0;
    let mut rest = attack.as_slice();
    // Nobody reads what the server answers.
    while !ended && !rest.is_empty() {
        tokio::task::yield_now().await;
        let count = rest.len().min(1500);
        let (piece, _) = rest.split_at(count);
        match near.write(piece).now_or_never() {
            Some(Ok(count)) => rest = rest.split_at(count).1,
            // It does not listen any more: that is a defence, too.
            Some(Err(_)) | None => break,
        }
        for _ in 0..10_000 {
            match server.next().now_or_never() {
                None => break,
                Some(None) => {
                    ended = true;
                    break;
                }
                // What it says is not ours to keep.
                Some(Some(_)) => {}
            }
            peak = peak.max(held() - before);
        }
        peak = peak.max(held() - before);
    }
    peak
}

fn wire(codec: &mut dyn Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

/// T27: a peer's bytes never cost more memory than our budget for answers to it and this.
#[test]
fn a_hostile_peer_takes_no_more_than_its_budget_and_256_kib() {
    const ALLOWED: isize = (limits::HIGH_WATER + 256 * 1024) as isize;
    in_virtual_time(async {
        let frame = |header: &[u8], payload: &[u8]| [header, payload].concat();
        // Each as often as it takes to send some 4 MiB.
        let floods: Vec<(&str, Vec<u8>)> = vec![
            // 8 bytes that declare 16 MiB (CVE-2026-35469).
            ("data header", b"\x00\x00\x00\x03\x00\xff\xff\xff".to_vec()),
            (
                "data for no stream",
                frame(b"\x00\x00\x00\x63\x00\x00\x00\x04", b"data"),
            ),
            (
                "settings count",
                frame(b"\x80\x03\x00\x04\x00\x00\x00\x04", b"\xff\xff\xff\xff"),
            ),
            (
                "control header",
                b"\x80\x03\x00\x01\x00\xff\xff\xff".to_vec(),
            ),
            (
                "window updates",
                frame(
                    b"\x80\x03\x00\x09\x00\x00\x00\x08",
                    b"\x00\x00\x00\x03\x7f\xff\xff\xff",
                ),
            ),
            (
                "resets",
                frame(
                    b"\x80\x03\x00\x03\x00\x00\x00\x08",
                    b"\x00\x00\x00\x63\x00\x00\x00\x05",
                ),
            ),
            (
                "pings",
                frame(b"\x80\x03\x00\x06\x00\x00\x00\x04", b"\x00\x00\x00\x07"),
            ),
            (
                "unknown control",
                b"\x80\x03\x00\x0a\x00\x00\x00\x00".to_vec(),
            ),
        ];
        for (name, flood) in floods {
            let mut client = spdy::ExecClient::new(Subprotocol::V4, PIPES);
            let set_up = wire(&mut client);
            let server = spdy::ExecServer::new(Subprotocol::V4, PIPES, now());
            let attack = flood.repeat(4 * 1024 * 1024 / flood.len());
            let peak = peak_under_attack(Box::new(server), set_up, attack).await;
            assert!(peak <= ALLOWED, "SPDY {name}: {peak} bytes");
        }
        // New streams without end, each with a header block of its own.
        let mut many = spdy::Connection::new(spdy::Role::Client, 0);
        let mut attack = Vec::new();
        for _ in 0..50_000 {
            let headers = spdy::Headers::new().with("streamtype", b"stdin");
            many.open(headers).unwrap();
            while let Some(bytes) = many.poll_transmit() {
                attack.extend_from_slice(&bytes);
            }
        }
        let server = spdy::ExecServer::new(Subprotocol::V4, PIPES, now());
        let peak = peak_under_attack(Box::new(server), Vec::new(), attack).await;
        assert!(peak <= ALLOWED, "SPDY streams: {peak} bytes");

        let masked: [(&str, &[u8]); 5] = [
            (
                "long frame",
                b"\x82\xff\x00\x00\x00\x00\x01\xff\xff\xff\0\0\0\0\0",
            ),
            ("pings", b"\x89\x84\0\0\0\0ping"),
            ("empty messages", b"\x82\x80\0\0\0\0"),
            ("fragments without end", b"\x02\x81\0\0\0\0\x00"),
            ("resizes", b"\x82\x84\0\0\0\0\x04{\"W"),
        ];
        for subprotocol in [Subprotocol::V5, Subprotocol::V4Base64] {
            for (name, flood) in masked {
                let server = channel::Server::new(subprotocol, PIPES);
                let attack = flood.repeat(4 * 1024 * 1024 / flood.len());
                let peak = peak_under_attack(Box::new(server), Vec::new(), attack).await;
                assert!(peak <= ALLOWED, "{subprotocol:?} {name}: {peak} bytes");
            }
        }
        for (name, flood) in masked {
            let server = entry::Server::new(Encoding::Protobuf, PIPES, now());
            let attack = flood.repeat(4 * 1024 * 1024 / flood.len());
            let peak = peak_under_attack(Box::new(server), Vec::new(), attack).await;
            assert!(peak <= ALLOWED, "entry {name}: {peak} bytes");
        }
        // A daemon, for once: lengths of 4 GiB and texts without end.
        for flood in [
            &b"\x01\0\0\0\xff\xff\xff\xff"[..],
            b"\x03\0\0\0\xff\xff\xff\xffx",
        ] {
            let client = docker::Client::new(Shape::Multiplexed, PIPES, InputEnd::Hold);
            let attack = flood.repeat(4 * 1024 * 1024 / flood.len());
            let peak = peak_under_attack(Box::new(client), Vec::new(), attack).await;
            assert!(peak <= ALLOWED, "docker: {peak} bytes");
        }
    });
}

/// T27, port forwarding: connections that nobody can serve, and answers that nobody reads.
#[test]
fn a_hostile_port_forward_client_takes_no_more_than_its_budget_and_256_kib() {
    const ALLOWED: isize = (limits::HIGH_WATER + 256 * 1024) as isize;
    in_virtual_time(async {
        let mut floods: Vec<(&str, Vec<u8>)> = Vec::new();
        // Streams of a kind that there is not: each is answered with a reset.
        let mut many = spdy::Connection::new(spdy::Role::Client, 0);
        let mut refused = Vec::new();
        for _ in 0..50_000 {
            let headers = spdy::Headers::new().with("streamtype", b"nonsense");
            many.open(headers).unwrap();
            while let Some(bytes) = many.poll_transmit() {
                refused.extend_from_slice(&bytes);
            }
        }
        floods.push(("refused streams", refused));
        // Connections as many as there may be, and more.
        let mut client = Client::new();
        let mut opened = Vec::new();
        let mut number = 0;
        while client.open(80.try_into().unwrap()).is_some() {
            number += 1;
            while let Some(bytes) = client.poll_transmit() {
                opened.extend_from_slice(&bytes);
            }
        }
        assert_eq!(number, limits::MAX_PORT_FORWARD_STREAMS / 2);
        floods.push(("connections", opened));
        for (name, attack) in floods {
            let (mut near, far) = duplex(4096);
            let hour = Duration::from_secs(3600);
            let mut server = PortForward::new(far, Server::new(), Bytes::new(), hour);
            let before = held();
            let mut peak = 0;
            for piece in attack.chunks(1500) {
                tokio::task::yield_now().await;
                if near.write_all(piece).now_or_never().is_none() {
                    break;
                }
                while let Some(Some(event)) = server.next().now_or_never() {
                    event.unwrap();
                }
                peak = peak.max(held() - before);
            }
            assert!(peak <= ALLOWED, "{name}: {peak} bytes");
        }
    });
}

/// A port's bytes that nobody reads are bounded, too: at the high-water mark the wire waits.
#[test]
fn a_port_stream_that_nobody_reads_holds_no_more_than_the_high_water_mark() {
    in_virtual_time(async {
        let (near, far) = duplex(64 * 1024);
        let port = 80.try_into().unwrap();
        let mut stream = PortStream::open(near, Client::new(), Bytes::new(), port).unwrap();
        let hour = Duration::from_secs(3600);
        let mut server = PortForward::new(far, Server::new(), Bytes::new(), hour);
        stream.flush().await.unwrap();
        let opened = server.next().await.unwrap().unwrap();
        let PortForwardEvent::Opened { connection, .. } = opened else {
            panic!("{opened:?}");
        };
        let (socket, mut program) = duplex(64 * 1024);
        server.carry(connection, socket);
        let before = held();
        for _ in 0..200 {
            let _full = program.write_all(&[0; 60_000]).now_or_never();
            let _more = server.next().now_or_never();
            let _moved = stream.flush().now_or_never();
        }
        let grown = held() - before;
        // Both ends have their own mark and read buffer, and the pipes are full.
        assert!(grown < 6 * limits::HIGH_WATER as isize, "{grown} bytes");
    });
}

/// Both ends of a session that is under way ask the allocator for nothing, whichever of them
/// speaks: what is read and written lies in buffers that are used again.
#[test]
fn messages_of_a_session_under_way_allocate_nothing() {
    const MESSAGES: usize = 512;
    in_virtual_time(async {
        for speaker in ["client", "server"] {
            for (what, client, server) in ends() {
                // Two translate each payload into bytes of its own, and nobody types into a log.
                if matches!(what, "base64" | "entry") || (what, speaker) == ("log", "client") {
                    continue;
                }
                let (near, far) = duplex(64 * 1024);
                let mut client: End = Endpoint::new(near, client, Bytes::new());
                let mut server: End = Endpoint::new(far, server, Bytes::new());
                // Streams are made before anything is said.
                for _ in 0..4 {
                    settle(&mut client, &mut server).await;
                    settle(&mut server, &mut client).await;
                }
                let payload = Bytes::from(vec![b'x'; 4096]);
                let (mut from, mut to, event) = if speaker == "client" {
                    (client, server, Event::Stdin(payload))
                } else {
                    (server, client, Event::Stdout(payload))
                };
                let mut counted = 0;
                for message in 0..2 * MESSAGES {
                    let before = HEAP.stats();
                    from.feed(event.clone()).await.unwrap();
                    let arrived = settle(&mut from, &mut to).await;
                    let after = HEAP.stats();
                    assert_eq!(arrived, event.len(), "{what}: {speaker}");
                    if message >= MESSAGES {
                        counted += after.allocations - before.allocations;
                    }
                }
                assert!(
                    counted < MESSAGES / 100,
                    "{what}: {counted} for {MESSAGES} messages of the {speaker}"
                );
            }
        }
    });
}
