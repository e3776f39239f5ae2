//! Watches and followed logs end with what they stand on, as sessions do.

use std::{
    fs,
    io::{Read, Write},
    time::Duration,
};

use bytes::Bytes;
use dockin_harness::{HouseOptions, Input, Kubectl, Program, Transport, eventually};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::{Door, LIMIT, client_tls, pointed_at};

const WATCH: &str = "/clusters/prod/api/v1/namespaces/default/configmaps?watch=true";

/// What `kubectl` shows of a watch that goes on for as long as it may.
fn watch(door: &Door, kubeconfig: &std::path::Path) -> Program {
    let kubectl = Kubectl::preferred();
    let scratch = door.house.scratch();
    let mut command = kubectl.command(Transport::WebSocket, kubeconfig, scratch);
    command.args(["get", "--raw", WATCH]);
    Program::start(&mut command, Input::Nothing)
}

/// Waits until the apiserver has `count` watches from `user`.
fn watched(door: &Door, user: &str, count: usize) {
    let there = || {
        let seen = door.apiserver.seen();
        let watches = seen.iter().filter(|one| {
            one.user.as_deref() == Some(user) && one.path.contains("configmaps?watch")
        });
        watches.count() == count
    };
    assert!(eventually(LIMIT, there), "{:?}", door.apiserver.seen());
}

fn ended(door: &Door, user: &str) -> Vec<Value> {
    let events = door.audit("answer.ended").into_iter();
    let of_user = events.filter(|one| one["principal"]["user"] == user);
    of_user.collect()
}

#[test]
fn a_watch_and_a_followed_log_end_with_the_token_the_cluster_and_the_agent() {
    let door = Door::start(HouseOptions::default());
    let container = door.house.docker().container(
        &["--init"],
        &["sh", "-c", "while :; do echo line; sleep 1; done"],
    );
    let robot = door.house.add_person("robot", &["admins"]);
    let token = bearer(&robot);
    let others = watch(&door, &door.kubeconfig);
    let his = watch(&door, &pointed_at(&robot, "prod"));
    watched(&door, "robot", 1);
    // Over HTTP/2 and HTTP/1.1, and of an agent's pod.
    let second = Http2::open(&door, &token);
    let mut third = door.house.tls();
    let head =
        format!("GET {WATCH} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n");
    third.write_all(head.as_bytes()).unwrap();
    watched(&door, "robot", 3);
    let kubectl = Kubectl::preferred();
    let logs = ["logs", "--follow", container.name()];
    let mut follow = kubectl.command(Transport::WebSocket, &robot, door.house.scratch());
    let log = Program::start(follow.args(logs), Input::Nothing);
    log.expect("line");
    std::thread::sleep(Duration::from_secs(1));

    let mut revoke = std::process::Command::new(dockin_harness::binary("dockin-opserver"));
    revoke
        .args(["token", "revoke", "--user", "robot", "--data"])
        .arg(door.house.data());
    let got = dockin_harness::finish(&mut revoke, Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    // Each of them is told that it was cut: no end of its own.
    assert_ne!(his.finish(LIMIT).code, Some(0));
    assert_ne!(log.finish(LIMIT).code, Some(0));
    let why = second.ends();
    assert!(
        why.contains("INTERNAL_ERROR") || why.contains("stream error"),
        "{why}"
    );
    let mut cut = Vec::new();
    let _broken = third.read_to_end(&mut cut);
    let cut = String::from_utf8_lossy(&cut).into_owned();
    assert!(cut.starts_with("HTTP/1.1 200 "), "{cut}");
    assert!(
        cut.contains("chunked") && !cut.ends_with("0\r\n\r\n"),
        "{cut}"
    );
    let all = || ended(&door, "robot").len() == 4;
    assert!(eventually(LIMIT, all), "{:?}", door.house.audit());
    let mut resources: Vec<String> = Vec::new();
    for event in ended(&door, "robot") {
        assert_eq!(
            event["reason"], "its token was revoked or has expired",
            "{event}"
        );
        assert_eq!(event["code"], "REQ-002", "{event}");
        resources.push(event["resource"].as_str().unwrap().to_owned());
    }
    resources.sort();
    assert_eq!(
        resources,
        ["configmaps", "configmaps", "configmaps", "pods/log"]
    );
    assert_eq!(ended(&door, "alice"), [] as [Value; 0]);

    // The cluster goes, and with it the others'.
    door.remove("prod.yaml");
    assert_ne!(others.finish(LIMIT).code, Some(0));
    let told = || ended(&door, "alice").len() == 1;
    assert!(eventually(LIMIT, told), "{:?}", door.house.audit());
    assert_eq!(
        ended(&door, "alice")[0]["reason"],
        "cluster `prod` was removed"
    );

    // So does the agent.
    let mut follow = kubectl.command(
        Transport::WebSocket,
        door.house.kubeconfig(),
        door.house.scratch(),
    );
    let log = Program::start(follow.args(logs), Input::Nothing);
    log.expect("line");
    let list = door.house.data().join("agents.yaml");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, "agents: []\n").unwrap();
    assert_ne!(log.finish(LIMIT).code, Some(0));
    let told = || ended(&door, "alice").len() == 2;
    assert!(eventually(LIMIT, told), "{:?}", door.house.audit());
    let reason = ended(&door, "alice")[1]["reason"].clone();
    assert_eq!(reason, format!("agent `{}` was removed", door.house.node()));
    fs::write(&list, text).unwrap();
}

fn bearer(kubeconfig: &std::path::Path) -> String {
    let text = fs::read_to_string(kubeconfig).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once("token:"));
    lines.next().unwrap().1.trim().trim_matches('"').to_owned()
}

/// A watch over HTTP/2.
struct Http2 {
    runtime: tokio::runtime::Runtime,
    body: hyper::body::Incoming,
}

impl Http2 {
    fn open(door: &Door, token: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config = (*client_tls(door)).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let request = Request::builder()
            .uri(format!("https://localhost{WATCH}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let body = runtime.block_on(async {
            let address = door.house.gateway_address();
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(std::sync::Arc::new(config));
            let stream = connector.connect(name, socket).await.unwrap();
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body()
        });
        Self { runtime, body }
    }

    /// With what error the watch ends.
    fn ends(mut self) -> String {
        self.runtime.block_on(async {
            loop {
                match tokio::time::timeout(LIMIT, self.body.frame())
                    .await
                    .unwrap()
                {
                    None => return "a clean end".to_owned(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return format!("{error:?}"),
                }
            }
        })
    }
}
