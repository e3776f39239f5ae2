//! A thousand connections at once, some of them with a watch.

use std::{fs, io::Write, sync::Arc, time::Duration};

use dockin_harness::{HouseOptions, eventually};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Door, LIMIT, client_tls};

const MANY: usize = 1000;
/// Those with a watch. An apiserver lets one connection of HTTP/2 have so many and few more.
const WATCHES: usize = 150;
/// What a connection may cost the gateway: TLS, buffers, a watch or what a request left.
const MOST_KIB: u64 = 192;

#[test]
fn a_thousand_connections_are_kept_at_once_and_one_more_is_told_why_not() {
    dockin_core::service::raise_open_files();
    let trail = "audit: audit/audit.jsonl";
    let limits = format!(
        "{trail}\nlimits: {{ requests_per_second: 3000, burst: 3000, open_requests: 3000 }}\n\
         connections: {{ per_user: {MANY} }}"
    );
    let mut door = Door::start(HouseOptions {
        edits: vec![(trail.to_owned(), limits)],
        ..HouseOptions::default()
    });
    let robot = door.house.add_user("robot", &["admins"]);
    let before = resident(door.house.gateway().pid());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut config = (*client_tls(&door)).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = door.house.gateway_address().to_owned();
    let path = "/clusters/prod/api/v1/namespaces/default/configmaps";
    let watch = format!("{path}?watch=true");
    let ask = async |path: &str, token: &str| -> (TlsStream<TcpStream>, String) {
        let socket = TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = vec![0; 4096];
        let read = tokio::time::timeout(LIMIT, stream.read(&mut head)).await;
        let count = read.expect("an answer").unwrap();
        head.truncate(count);
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let open = runtime.block_on(async {
        let mut open = Vec::new();
        for number in 0..MANY {
            let path = if number < WATCHES { &*watch } else { path };
            let (stream, head) = ask(path, &robot).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{}: {head}", open.len());
            open.push(stream);
        }
        open
    });
    let after = resident(door.house.gateway().pid());
    let each = after.saturating_sub(before) / MANY as u64;
    let mut shown = std::io::stderr();
    writeln!(shown, "{each} KiB for each connection").unwrap();
    assert!(each <= MOST_KIB, "{each} KiB each");

    // He has no place for more, and hears why; others have.
    let (_, refused) = runtime.block_on(ask(&watch, &robot));
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\"kind\":\"Status\""), "{refused}");
    assert!(refused.contains("connections"), "{refused}");
    let alice = door.house.token().to_owned();
    let (_, others) = runtime.block_on(ask(path, &alice));
    assert!(others.starts_with("HTTP/1.1 200 "), "{others}");

    // The watches end, all of them, with the person.
    let list = door.house.data().join("tokens.yaml");
    fs::write(&list, "users: []\n").unwrap();
    let ended = runtime.block_on(async {
        let mut ended = 0;
        for mut stream in open.into_iter().take(WATCHES) {
            let mut rest = Vec::new();
            let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest));
            let _broken = read.await.expect("an end");
            assert!(!rest.ends_with(b"0\r\n\r\n"));
            ended += 1;
        }
        ended
    });
    assert_eq!(ended, WATCHES);
    let written = || door.audit("answer.ended").len() == WATCHES;
    assert!(eventually(LIMIT + Duration::from_secs(30), written));
}

/// Memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}
