#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{num::NonZeroU16, time::Instant};

use bytes::{Bytes, BytesMut};
use dockin_stream::portforward::{PortForwardEvent, Server};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::{TcpListener, TcpStream},
};

use super::{Forwarder, PortPair};

#[test]
fn port_pairs_are_read_as_kubectl_reads_them() {
    let pair = |text: &str| PortPair::parse(text).map(|pair| (pair.local, pair.remote.get()));
    assert_eq!(pair("8080:80").unwrap(), (8080, 80));
    assert_eq!(pair("80").unwrap(), (80, 80));
    assert_eq!(pair(":80").unwrap(), (0, 80));
    for text in ["", ":", "80:", "80:0", "a:80", "70000:80", "1:2:3"] {
        assert!(pair(text).is_err(), "{text}");
    }
}

/// A gateway whose pod answers each connection's bytes in capitals, and ends when they end.
async fn shouting_gateway(mut wire: DuplexStream) {
    let mut server = Server::new();
    let mut input = BytesMut::new();
    loop {
        while let Some(event) = server.poll_event() {
            match event {
                PortForwardEvent::Opened { connection, port } if port.get() == 81 => {
                    server.fail(connection, "connection refused");
                }
                PortForwardEvent::Data { connection, bytes } => {
                    server.send(connection, Bytes::from(bytes.to_ascii_uppercase()));
                }
                PortForwardEvent::HalfClosed { connection } => server.half_close(connection),
                _ => {}
            }
        }
        while let Some(bytes) = server.poll_transmit() {
            wire.write_all(&bytes).await.unwrap();
        }
        if wire.read_buf(&mut input).await.unwrap() == 0 {
            return;
        }
        server.handle_input(Instant::now(), &mut input).unwrap();
    }
}

#[tokio::test]
async fn two_connections_pass_bytes_and_ends_each_for_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let gateway = tokio::spawn(shouting_gateway(far));
    let mut forwarder = Forwarder::new(
        near,
        Bytes::new(),
        vec![(listener, NonZeroU16::new(80).unwrap())],
    );
    let both = async {
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"second").await.unwrap();
        second.shutdown().await.unwrap();
        let mut text = String::new();
        second.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "SECOND");
        first.write_all(&vec![b'x'; 300_000]).await.unwrap();
        first.shutdown().await.unwrap();
        let mut text = Vec::new();
        first.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, vec![b'X'; 300_000]);
    };
    tokio::select! {
        failure = forwarder.run() => panic!("{failure}"),
        () = both => {}
    }
    drop(forwarder);
    gateway.await.unwrap();
}

#[tokio::test]
async fn a_port_that_nobody_serves_closes_only_its_connection() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (open.local_addr().unwrap(), refused.local_addr().unwrap());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let gateway = tokio::spawn(shouting_gateway(far));
    let listeners = vec![
        (open, NonZeroU16::new(80).unwrap()),
        (refused, NonZeroU16::new(81).unwrap()),
    ];
    let mut forwarder = Forwarder::new(near, Bytes::new(), listeners);
    let both = async {
        let mut refused = TcpStream::connect(addresses.1).await.unwrap();
        let mut text = Vec::new();
        // Closed or reset: nothing comes either way.
        let _reset = refused.read_to_end(&mut text).await;
        assert!(text.is_empty());
        let mut open = TcpStream::connect(addresses.0).await.unwrap();
        open.write_all(b"still here").await.unwrap();
        open.shutdown().await.unwrap();
        open.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"STILL HERE");
    };
    tokio::select! {
        failure = forwarder.run() => panic!("{failure}"),
        () = both => {}
    }
    drop(forwarder);
    gateway.await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_gateway_ends_the_command() {
    let (near, far) = tokio::io::duplex(1024);
    drop(far);
    let failure = Forwarder::new(near, Bytes::new(), Vec::new()).run().await;
    assert_eq!(failure.to_string(), "lost connection to pod");
}
