//! Bytes both ways, however slow somebody is, and over whichever HTTP.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use dockin_harness::{HouseOptions, eventually};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::{Door, LIMIT, client_tls};

#[test]
fn a_slow_reader_holds_the_apiserver_back_and_an_upload_is_not_collected() {
    let door = Door::start(HouseOptions::default());
    let mut reader = door.house.tls();
    let token = door.house.token();
    let head = |method: &str, path: &str, more: &str| {
        format!(
            "{method} /clusters/prod{path} HTTP/1.1\r\nhost: dockin\r\n\
             authorization: Bearer {token}\r\n{more}\r\n"
        )
    };
    reader
        .write_all(head("GET", "/metrics/endless", "").as_bytes())
        .unwrap();
    let mut first = [0; 4096];
    assert!(reader.read(&mut first).unwrap() > 0);
    // Buffers on the way fill, and then nothing moves.
    let mut before = 0;
    let stands = || {
        let now = door.apiserver.moved();
        let stands = now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(500));
        stands
    };
    assert!(eventually(LIMIT, stands));
    assert!(before < 64 * 1024 * 1024, "{before} bytes for nobody");
    // And what is read goes on.
    let mut read = 0;
    let mut buffer = vec![0; 64 * 1024];
    while read < 2 * before {
        read += reader.read(&mut buffer).unwrap() as u64;
    }
    drop(reader);
    // The apiserver hears that the reader is gone.
    let mut last = 0;
    let over = || {
        let now = door.apiserver.moved();
        let over = now == last;
        last = now;
        over
    };
    assert!(eventually(LIMIT, over));

    let taken = door.apiserver.moved();
    let mut writer = door.house.tls();
    let chunked = head("POST", "/metrics/sink", "transfer-encoding: chunked\r\n");
    writer.write_all(chunked.as_bytes()).unwrap();
    let chunk = [&b"10000\r\n"[..], &[b'y'; 0x10000], b"\r\n"].concat();
    writer.write_all(&chunk).unwrap();
    writer.flush().unwrap();
    // It is there before the request has ended.
    assert!(eventually(LIMIT, || door.apiserver.moved() >= taken + 0x10000));
    writer.write_all(b"0\r\n\r\n").unwrap();
    writer.flush().unwrap();
    let mut answer = [0; 4096];
    let count = writer.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn clients_that_offer_http2_get_it() {
    let door = Door::start(HouseOptions::default());
    let negotiated = |offered: &[&[u8]]| {
        let mut config = (*client_tls(&door)).clone();
        config.alpn_protocols = offered.iter().map(|one| one.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = std::net::TcpStream::connect(door.house.gateway_address()).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        connection.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(negotiated(&[b"h2", b"http/1.1"]), Some(b"h2".to_vec()));
    assert_eq!(negotiated(&[b"http/1.1"]), Some(b"http/1.1".to_vec()));
    assert_eq!(negotiated(&[]), None);
    let answer = over_http2(&door, "/clusters/prod/version");
    assert!(answer.contains("v1.33.0-upstream"), "{answer}");
}

/// Asks as alice over HTTP/2.
fn over_http2(door: &Door, path: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut config = (*client_tls(door)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let request = Request::builder()
        .uri(format!("https://localhost{path}"))
        .header("authorization", format!("Bearer {}", door.house.token()))
        .body(Empty::<Bytes>::new())
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(door.house.gateway_address())
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    })
}
