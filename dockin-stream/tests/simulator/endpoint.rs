//! `io::Endpoint` against peers that end, break, flood or do not read.

use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    Codec, Event, ExitStatus,
    io::{Endpoint, EndpointError},
    limits,
};
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    adapted::in_virtual_time,
    link::{Link, Weather},
    protocol::{BoxCodec, Protocol},
    random::Random,
    socket::{Socket, now},
    world::{PIPES, for_seeds},
};

/// A socket, and the endpoint at the other end of its connection.
fn connect(weather: Weather, random: &mut Random, codec: BoxCodec) -> (Socket, Ours) {
    let link = Rc::new(RefCell::new(Link::new(weather, random)));
    let (near, far) = Socket::pair(&link);
    (near, Endpoint::new(far, codec, Bytes::new()))
}

type Ours = Endpoint<Socket, BoxCodec>;

/// What `codec` has for the wire.
fn wire(codec: &mut impl Codec) -> Vec<u8> {
    std::iter::from_fn(|| codec.poll_transmit())
        .flatten()
        .collect()
}

/// Everything up to the end of the stream, which must not come as an error.
async fn events(endpoint: &mut Ours) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = endpoint.next().await {
        events.push(event.unwrap());
    }
    events
}

/// A container that has said everything and is gone, before we wrote what its process will never
/// read: what it said counts.
#[test]
fn write_that_fails_does_not_hide_what_was_received() {
    for protocol in Protocol::BOTH {
        in_virtual_time(async {
            let random = &mut Random::new(1);
            let (mut peer, mut ours) = connect(Weather::CALM, random, protocol.client(PIPES, 1));
            let mut server = protocol.server(PIPES, now());
            // Sets the streams up.
            ours.flush().await.unwrap();
            let mut input = BytesMut::new();
            while !server.is_ready() {
                peer.read_buf(&mut input).await.unwrap();
                server.handle_input(now(), &mut input).unwrap();
            }
            server.send(Event::Stdout(Bytes::from_static(b"all of it")));
            server.send(Event::Exit(ExitStatus::Exited(0)));
            peer.write_all(&wire(&mut server)).await.unwrap();
            drop(peer);
            tokio::time::sleep(Duration::from_secs(1)).await;
            ours.feed(Event::Stdin(Bytes::from_static(b"too late")))
                .await
                .unwrap();
            let mut heard = Vec::new();
            while let Some(Ok(event)) = ours.next().await {
                heard.push(event);
            }
            assert_eq!(
                heard[..2],
                [
                    Event::Stdout(Bytes::from_static(b"all of it")),
                    Event::Exit(ExitStatus::Exited(0)),
                ]
            );
            assert!(ours.flush().await.is_err(), "the write failed in silence");
        });
    }
}

/// What a peer said before it broke its protocol was said.
#[test]
fn events_before_a_protocol_error_come_before_it() {
    in_virtual_time(async {
        let random = &mut Random::new(1);
        let codec = Protocol::WEBSOCKET.server(PIPES, now());
        let (mut peer, mut ours) = connect(Weather::CALM, random, codec);
        let mut client = Protocol::WEBSOCKET.client(PIPES, 7);
        client.send(Event::Stdin(Bytes::from_static(b"said")));
        let mut bytes = wire(&mut client);
        // A reserved opcode.
        bytes.extend_from_slice(b"\x83\x80\0\0\0\0");
        peer.write_all(&bytes).await.unwrap();
        assert_eq!(
            ours.next().await.unwrap().unwrap(),
            Event::Stdin(Bytes::from_static(b"said"))
        );
        let error = ours.next().await.unwrap().unwrap_err();
        assert!(matches!(error, EndpointError::Protocol(_)), "{error}");
        assert!(ours.next().await.is_none());
    });
}

/// A peer that broke its protocol learns why, also when it goes on sending: our goodbye lingers.
#[test]
fn close_code_reaches_a_peer_that_floods_nonsense() {
    for_seeds(100, |random| {
        let weather = Weather::random(random);
        in_virtual_time(async {
            let codec = Protocol::WEBSOCKET.server(PIPES, now());
            let (peer, mut ours) = connect(weather, random, codec);
            let (mut reader, mut writer) = tokio::io::split(peer);
            let flood = async {
                while writer.write_all(&[0x83; 1000]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                std::future::pending::<()>().await;
            };
            let hear = async {
                let mut heard = Vec::new();
                let _reset = reader.read_to_end(&mut heard).await;
                heard
            };
            let goodbye = async {
                assert!(ours.next().await.unwrap().is_err());
                ours.finish().await.unwrap();
                drop(ours);
            };
            let hear = async {
                tokio::select! { heard = hear => heard, () = flood => Vec::new() }
            };
            let (heard, ()) = tokio::join!(hear, goodbye);
            assert!(heard.ends_with(b"\x88\x02\x03\xea"), "{heard:02x?}");
        });
    });
}

/// T11: a peer that does not read before all of its input is written hears the end all the same.
#[test]
fn goodbye_reaches_a_peer_that_writes_before_it_reads() {
    for_seeds(50, |random| {
        let weather = Weather::random(random);
        let output = Bytes::from(random.bytes(100_000));
        in_virtual_time(async {
            let codec = Protocol::WEBSOCKET.server(PIPES, now());
            let (mut peer, mut ours) = connect(weather, random, codec);
            ours.feed(Event::Stdout(output.clone())).await.unwrap();
            ours.feed(Event::Exit(ExitStatus::Exited(0))).await.unwrap();
            let finish = async {
                ours.finish().await.unwrap();
                drop(ours);
            };
            let converse = async {
                let mut client = Protocol::WEBSOCKET.client(PIPES, 7);
                client.send(Event::Stdin(vec![b'x'; 200_000].into()));
                peer.write_all(&wire(&mut client)).await.unwrap();
                let mut heard = BytesMut::new();
                while peer.read_buf(&mut heard).await.unwrap() > 0 {}
                client.handle_input(now(), &mut heard).unwrap();
                std::iter::from_fn(|| client.poll_event()).collect::<Vec<_>>()
            };
            let (events, ()) = tokio::join!(converse, finish);
            assert!(events.contains(&Event::Exit(ExitStatus::Exited(0))));
        });
    });
}

/// T1 and T6: the tail reaches a client that reads slowly and still sends, however long that takes.
#[test]
fn tail_reaches_a_slow_client_that_still_sends() {
    for_seeds(20, |random| {
        in_virtual_time(async {
            let weather = Weather {
                buffer: 64 * 1024,
                unread_outlives_reset: false,
                ..Weather::CALM
            };
            let codec = Protocol::WEBSOCKET.server(PIPES, now());
            let (peer, mut ours) = connect(weather, random, codec);
            let output = Bytes::from(random.bytes(120_000));
            ours.feed(Event::Stdout(output.clone())).await.unwrap();
            ours.feed(Event::Exit(ExitStatus::Exited(0))).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(peer);
            let send = async {
                while writer.write_all(&[0; 10]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                std::future::pending::<()>().await;
            };
            let hear = async {
                let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
                loop {
                    match reader.read(&mut piece).await {
                        Ok(1..) => heard.extend_from_slice(&piece),
                        _ => return heard.len(),
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let finish = async {
                ours.finish().await.unwrap();
                drop(ours);
            };
            let hear = async {
                tokio::select! { heard = hear => heard, () = send => 0 }
            };
            let (heard, ()) = tokio::join!(hear, finish);
            assert!(heard > output.len(), "{heard} bytes of {}", output.len());
        });
    });
}

/// T27: a peer that makes us answer and never reads cannot make us keep the answers.
#[test]
fn answers_to_a_peer_that_never_reads_are_bounded() {
    for_seeds(4, |random| {
        in_virtual_time(async {
            let codec = Protocol::SPDY.server(PIPES, now());
            let weather = Weather {
                buffer: 4096,
                ..Weather::CALM
            };
            let (mut peer, mut ours) = connect(weather, random, codec);
            let mut client = Protocol::SPDY.client(PIPES, 1);
            peer.write_all(&wire(&mut client)).await.unwrap();
            ours.ready().await.unwrap();
            // Each asks for an echo; a hundred in a second are no flood.
            let pings = async {
                for second in 0..1000_u32 {
                    for ping in 0..99 {
                        let id = 1 + 2 * (100 * second + ping);
                        let frame = [&b"\x80\x03\0\x06\0\0\0\x04"[..], &id.to_be_bytes()].concat();
                        if peer.write_all(&frame).now_or_never().is_none() {
                            return;
                        }
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let read = poll_fn(|cx| match ours.poll_next_unpin(cx) {
                Poll::Pending => {
                    assert!(ours.queued() <= limits::HIGH_WATER + limits::READ_BUFFER);
                    Poll::<()>::Pending
                }
                Poll::Ready(event) => panic!("{event:?}"),
            });
            tokio::select! { () = pings => {} () = read => {} }
        });
    });
}

/// T37: bytes that came right behind the head of the request are not lost.
#[test]
fn bytes_behind_the_head_are_the_first_of_the_session() {
    for protocol in Protocol::BOTH {
        in_virtual_time(async {
            let random = &mut Random::new(1);
            let mut client = protocol.client(PIPES, 1);
            if protocol == Protocol::WEBSOCKET {
                client.send(Event::Stdin(Bytes::from_static(b"early")));
                client.send(Event::HalfClose);
            }
            let bytes = wire(&mut client);
            for cut in 0..=bytes.len() {
                let link = Rc::new(RefCell::new(Link::new(Weather::CALM, random)));
                let (mut near, far) = Socket::pair(&link);
                let (early, late) = bytes.split_at(cut);
                let codec = protocol.server(PIPES, now());
                let mut ours = Endpoint::new(far, codec, Bytes::copy_from_slice(early));
                near.write_all(late).await.unwrap();
                ours.ready().await.unwrap();
                near.shutdown().await.unwrap();
                let expected: &[Event] = match protocol {
                    Protocol::WEBSOCKET => &[
                        Event::Stdin(Bytes::from_static(b"early")),
                        Event::HalfClose,
                        Event::Close,
                    ],
                    _ => &[Event::Close],
                };
                assert_eq!(joined(events(&mut ours).await), expected, "cut at {cut}");
            }
        });
    }
}

fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Event::Stdin(last)), Event::Stdin(next)) => {
                *last = [&last[..], &next[..]].concat().into();
            }
            (_, event) => all.push(event),
        }
    }
    all
}

/// T42: a read or a write that is dropped midway loses nothing and repeats nothing.
#[test]
fn dropped_reads_and_writes_lose_nothing() {
    for_seeds(100, |random| {
        let weather = Weather::random(random);
        in_virtual_time(async {
            let codec = Protocol::WEBSOCKET.server(PIPES, now());
            let (mut peer, mut ours) = connect(weather, random, codec);
            let mut client = Protocol::WEBSOCKET.client(PIPES, 7);
            let typed = random.bytes(5000);
            let printed = random.bytes(5000);
            client.send(Event::Stdin(typed.clone().into()));
            client.send(Event::Close);
            let bytes = wire(&mut client);
            let converse = async {
                let (mut reader, mut writer) = tokio::io::split(&mut peer);
                let (mut heard, write) = (BytesMut::new(), writer.write_all(&bytes));
                let read = async {
                    while !heard.ends_with(b"\x88\x02\x03\xe8") {
                        reader.read_buf(&mut heard).await.unwrap();
                    }
                };
                let (written, ()) = tokio::join!(write, read);
                written.unwrap();
                heard
            };
            let impatient = async {
                let mut heard = Vec::new();
                let mut chunks = printed.chunks(100);
                loop {
                    let patience = random.up_to(Duration::from_millis(30));
                    if let Some(chunk) = chunks.next() {
                        let event = Event::Stdout(Bytes::copy_from_slice(chunk));
                        ours.feed(event).await.unwrap();
                        let _dropped = tokio::time::timeout(patience, ours.flush()).await;
                    }
                    match tokio::time::timeout(patience, ours.next()).await {
                        Err(_) => {}
                        Ok(Some(event)) => match event.unwrap() {
                            Event::Stdin(bytes) => heard.extend_from_slice(&bytes),
                            event => {
                                assert_eq!(event, Event::Close);
                                break;
                            }
                        },
                        Ok(None) => panic!("no goodbye came"),
                    }
                }
                ours.flush().await.unwrap();
                heard
            };
            let (mut to_client, to_server) = tokio::join!(converse, impatient);
            assert!(to_server == typed);
            client.handle_input(now(), &mut to_client).unwrap();
            let mut heard = Vec::new();
            while let Some(Event::Stdout(bytes)) = client.poll_event() {
                heard.extend_from_slice(&bytes);
            }
            // All that was said before the client's goodbye was answered, and nothing twice.
            assert!(printed.starts_with(&heard));
        });
    });
}
