//! Sessions over connections that hyper has upgraded, in both roles.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{convert::Infallible, num::NonZeroU16, time::Duration};

use bytes::Bytes;
use dockin_stream::{
    Codec, Event, ExitStatus, StreamSet, Subprotocol,
    io::{Endpoint, EndpointError, PortForward, into_socket},
    portforward::{Client, PortForwardEvent, Server},
    upgrade::{Accepted, Offer, Protocol},
};
use futures::{SinkExt, Stream, StreamExt};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{client::conn, server, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// Sends a request with `offer` to a server that answers with `accept`, both of hyper; gives the
/// two upgrades and what they agreed on.
async fn upgrade(
    offer: &Offer,
    accept: fn(&http::HeaderMap) -> Accepted,
) -> (Protocol, Upgraded, Upgraded) {
    let (near, far) = duplex(4096);
    let (tell, mut upgraded) = mpsc::unbounded_channel();
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let on = hyper::upgrade::on(&mut request);
        let tell = tell.clone();
        tokio::spawn(async move { tell.send(on.await.unwrap()).unwrap() });
        let accepted = accept(request.headers());
        async move { Ok::<_, Infallible>(accepted.into_response::<Empty<Bytes>>()) }
    });
    tokio::spawn(
        server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades(),
    );
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get("/exec").body(Empty::<Bytes>::new()).unwrap();
    offer.add_to(request.headers_mut());
    let response: Response<_> = sender.send_request(request).await.unwrap();
    let protocol = offer.check(&response).unwrap();
    let client = hyper::upgrade::on(response).await.unwrap();
    (protocol, client, upgraded.recv().await.unwrap())
}

async fn collect(stream: impl Stream<Item = Result<Event, EndpointError>>) -> Vec<Event> {
    stream.map(Result::unwrap).collect().await
}

#[tokio::test]
async fn a_session_runs_over_both_ends_of_a_hyper_upgrade() {
    for offer in [
        Offer::websocket([7; 16], &[Subprotocol::V5]),
        Offer::spdy(&[Subprotocol::V4]),
    ] {
        let accept = |headers: &http::HeaderMap| Accepted::remote_command(headers).unwrap();
        let (protocol, client, server) = upgrade(&offer, accept).await;
        let codec = protocol.client_codec(PIPES, 5).unwrap();
        let mut client = Endpoint::from_upgrade(client, codec);
        let codec = protocol
            .server_codec(PIPES, tokio::time::Instant::now().into_std())
            .unwrap();
        let mut server = Endpoint::from_upgrade(server, codec);
        let serve = async {
            server.ready().await.unwrap();
            let mut heard = Vec::new();
            loop {
                let event = server.next().await.unwrap().unwrap();
                if event == Event::HalfClose {
                    break;
                }
                heard.push(event);
            }
            server
                .feed(Event::Stdout(Bytes::from_static(b"out")))
                .await
                .unwrap();
            server
                .feed(Event::Exit(ExitStatus::Exited(3)))
                .await
                .unwrap();
            server.finish().await.unwrap();
            heard
        };
        let ask = async {
            client
                .feed(Event::Stdin(Bytes::from_static(b"in")))
                .await
                .unwrap();
            client.send(Event::HalfClose).await.unwrap();
            let heard = collect(&mut client).await;
            client.finish().await.unwrap();
            drop(client);
            heard
        };
        let (typed, printed) = tokio::join!(serve, ask);
        assert_eq!(typed, [Event::Stdin(Bytes::from_static(b"in"))]);
        assert_eq!(
            printed,
            [
                Event::Stdout(Bytes::from_static(b"out")),
                Event::Exit(ExitStatus::Exited(3)),
                Event::Close
            ]
        );
    }
}

#[tokio::test]
async fn ports_are_forwarded_over_both_ends_of_a_hyper_upgrade() {
    let accept = |headers: &http::HeaderMap| Accepted::port_forward(headers).unwrap();
    let (protocol, client, server) = upgrade(&Offer::spdy_ports(), accept).await;
    assert_eq!(protocol, Protocol::SpdyPorts);
    let second = Duration::from_secs(1);
    let mut client = PortForward::from_upgrade(client, Client::new(), second);
    let mut server = PortForward::from_upgrade(server, Server::new(), second);
    let serve = async {
        while let Some(event) = server.next().await {
            if let PortForwardEvent::Opened { connection, .. } = event.unwrap() {
                let (near, mut program) = duplex(64);
                server.carry(connection, near);
                tokio::spawn(async move { program.write_all(b"hello").await });
            }
        }
    };
    let fetch = async {
        let (mut program, theirs) = duplex(64);
        client.open(NonZeroU16::new(80).unwrap(), theirs).unwrap();
        let mut text = String::new();
        tokio::select! {
            read = program.read_to_string(&mut text) => { read.unwrap(); }
            event = async { loop { client.next().await.unwrap().unwrap(); } } => event,
        }
        client.finish().await.unwrap();
        text
    };
    let (text, ()) = tokio::join!(fetch, serve);
    assert_eq!(text, "hello");
}

/// T37: the socket below hyper's wrapper comes with what hyper has read ahead.
#[tokio::test]
async fn the_socket_below_an_upgrade_comes_with_the_bytes_behind_the_head() {
    let (near, mut far) = duplex(4096);
    tokio::spawn(async move {
        let mut request = [0; 16];
        let _some = far.read(&mut request).await.unwrap();
        far.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
              Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n\
              \x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x02",
        )
        .await
        .unwrap();
        std::future::pending::<()>().await;
    });
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let offer = Offer::spdy(&[Subprotocol::V4]);
    let mut request = Request::post("/exec").body(Empty::<Bytes>::new()).unwrap();
    offer.add_to(request.headers_mut());
    let response = sender.send_request(request).await.unwrap();
    let protocol = offer.check(&response).unwrap();
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let Err(upgraded) = into_socket::<tokio::net::TcpStream>(upgraded) else {
        panic!("a pipe is no TCP socket");
    };
    let (socket, early) = into_socket::<DuplexStream>(upgraded).unwrap();
    assert_eq!(early.len(), 12, "{early:02x?}");
    let codec = protocol.client_codec(PIPES, 5).unwrap();
    let mut client = Endpoint::new(socket, codec, early);
    // A PING with an even id is the server's, and wants an answer.
    let waiting = tokio::time::timeout(Duration::from_millis(50), client.next()).await;
    assert!(waiting.is_err());
    assert!(!client.codec().is_finished());
}
