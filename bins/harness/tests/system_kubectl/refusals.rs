//! What is refused, and what is wrong, is told and harms nobody.

use std::{io::Write, net::TcpStream};

use dockin_harness::{Container, House, HouseOptions, Input, Transport, eventually, finish};
use serde_json::Value;

use crate::{BOTH, LIMIT, SECONDS, house, idle, kubectl, noise};

#[test]
fn a_wrong_token_is_unauthorized_and_written_down() {
    let house = house();
    let container = idle(&house);
    let file = house.scratch().join("wrong");
    house.write_kubeconfig("not-a-token", "mallory", &file);
    for arguments in [
        &["get", "pods"][..],
        &["exec", container.name(), "--", "true"],
        &["logs", container.name()],
    ] {
        for transport in BOTH {
            let mut command = house.preferred(transport, arguments);
            let got = finish(command.env("KUBECONFIG", &file), Input::Nothing, SECONDS);
            assert_eq!(got.code, Some(1), "{arguments:?}");
            let told = got.stderr.contains("Unauthorized")
                || got
                    .stderr
                    .contains("asked for the client to provide credentials");
            assert!(told, "{arguments:?}: {}", got.stderr);
        }
    }
    let answer =
        house.exchange(b"GET /api/v1/pods HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let audit = house.audit();
    let failed: Vec<&Value> = audit
        .iter()
        .filter(|event| event["event"] == "login.failed")
        .collect();
    assert!(!failed.is_empty());
    let client = |event: &Value| event["client"].as_str().unwrap_or_default().to_owned();
    assert!(
        failed
            .iter()
            .all(|event| client(event).starts_with("127.0.0.1:"))
    );
    assert!(audit.iter().all(|event| event["event"] != "session.start"));
}

#[test]
fn nobody_reaches_what_he_has_no_right_to() {
    let entry = "{ users: [carol], verbs: [get, list, logs], clusters: [local], \
                 namespaces: [default] }";
    let options = HouseOptions {
        access: vec![entry.to_owned()],
        ..HouseOptions::default()
    };
    let house = House::start(&options);
    let container = idle(&house);
    let name = container.name();
    let (bob, carol) = (
        house.add_person("bob", &[]),
        house.add_person("carol", &["dev"]),
    );
    let try_as = |kubeconfig, transport, arguments: &[&str]| {
        let mut command = house.preferred(transport, arguments);
        finish(
            command.env("KUBECONFIG", kubeconfig),
            Input::Nothing,
            SECONDS,
        )
    };
    for transport in BOTH {
        for arguments in [
            &["get", "pods"][..],
            &["get", "pod", "nope"],
            &["exec", name, "--", "true"],
            &["logs", name],
            &["attach", name],
        ] {
            let got = try_as(&bob, transport, arguments);
            assert_eq!(got.code, Some(1), "{arguments:?}");
            assert!(
                got.stderr.contains("(Forbidden)"),
                "{arguments:?}: {}",
                got.stderr
            );
        }
        for (arguments, allowed) in [
            (&["get", "pods"][..], true),
            (&["logs", name], true),
            (&["get", "pods", "-A"], false),
            (&["get", "pods", "-n", "other"], false),
            (&["exec", name, "--", "true"], false),
            (&["attach", name], false),
        ] {
            let got = try_as(&carol, transport, arguments);
            assert_eq!(
                got.code == Some(0),
                allowed,
                "{arguments:?}: {}",
                got.stderr
            );
            let forbidden = got.stderr.to_lowercase().contains("forbidden");
            assert_eq!(forbidden, !allowed, "{arguments:?}: {}", got.stderr);
        }
    }
    let got = try_as(&carol, Transport::WebSocket, &["port-forward", name, ":80"]);
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    let denied = |event: &Value| event["event"] == "access.denied";
    let of_carol = |event: &&Value| event["principal"]["user"] == "carol" && denied(event);
    assert!(house.audit().iter().filter(of_carol).count() >= 5);
}

#[test]
fn an_agent_that_is_down_is_told_within_seconds_and_comes_back() {
    let mut house = house();
    let container = idle(&house);
    let name = container.name().to_owned();
    house.agent().kill();
    for transport in BOTH {
        for arguments in [
            &["get", "pods"][..],
            &["get", "pod", &name],
            &["exec", &name, "--", "true"],
            &["logs", &name],
        ] {
            let mut command = house.preferred(transport, arguments);
            let got = finish(&mut command, Input::Nothing, SECONDS);
            assert_eq!(got.code, Some(1), "{arguments:?}");
            assert!(
                got.stderr.contains("(ServiceUnavailable)"),
                "{arguments:?}: {}",
                got.stderr
            );
        }
    }
    house.restart_agent();
    let got = kubectl(&house, &["exec", &name, "--", "echo", "back"]);
    assert_eq!(
        (got.code, got.text().as_str()),
        (Some(0), "back\n"),
        "{}",
        got.stderr
    );
}

#[test]
fn malformed_requests_get_a_status_and_harm_nobody() {
    let mut house = house();
    let container = idle(&house);
    let pod = format!(
        "/clusters/local/api/v1/namespaces/default/pods/{}",
        container.name()
    );
    let websocket = ["connection: Upgrade", "upgrade: websocket"];
    let spdy = ["connection: Upgrade", "upgrade: SPDY/3.1"];
    let with_protocol = [
        "connection: Upgrade",
        "upgrade: SPDY/3.1",
        "x-stream-protocol-version: v9.channel.k8s.io",
    ];
    let cases: [(&str, String, &[&str]); 16] = [
        ("GET", format!("{pod}/exec?command=true&stdout=true"), &[]),
        (
            "GET",
            format!("{pod}/exec?command=true&stdout=true"),
            &websocket,
        ),
        (
            "POST",
            format!("{pod}/exec?command=true&stdout=true"),
            &spdy,
        ),
        (
            "POST",
            format!("{pod}/exec?command=true&stdout=true"),
            &with_protocol,
        ),
        ("POST", format!("{pod}/exec?stdout=true"), &spdy),
        (
            "POST",
            format!("{pod}/exec?command=%ff%fe&stdout=true"),
            &spdy,
        ),
        (
            "POST",
            format!("{pod}/exec?command=true&command=%zz"),
            &spdy,
        ),
        ("POST", format!("{pod}/portforward"), &[]),
        ("GET", format!("{pod}/log?tailLines=many"), &[]),
        ("GET", format!("{pod}/log?sinceSeconds=-5"), &[]),
        ("GET", "/clusters/nope/api/v1/pods".to_owned(), &[]),
        (
            "GET",
            "/clusters/local/api/v1/namespaces/../pods".to_owned(),
            &[],
        ),
        (
            "GET",
            "/clusters/local/api/v1/namespaces/a%2fb/pods/x".to_owned(),
            &[],
        ),
        ("DELETE", pod.clone(), &[]),
        ("PATCH", "/nowhere".to_owned(), &[]),
        ("GET", "/api/v1/pods?labelSelector=((".to_owned(), &[]),
    ];
    for (method, path, headers) in cases {
        let answer = house.ask(method, &path, headers);
        let code: u16 = answer
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        assert!((400..500).contains(&code), "{method} {path}: {answer}");
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body)
            .unwrap_or_default();
        let status: Value = serde_json::from_str(body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}"));
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &code.into()),
            "{path}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: d\r\n\r\n", "x".repeat(1 << 20));
    let header = format!(
        "GET / HTTP/1.1\r\nhost: d\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for garbage in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x80\x03\x00\x01\x00\x00\x00\x0a\0\0\0\x01\0\0\0\0\0\0",
        b"GET /api HTTP/1.1\r\nhost: d\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /api HTTP/1.1\r\nhost: d\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        long.as_bytes(),
        header.as_bytes(),
    ] {
        let answer = house.exchange(garbage);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    // Not even TLS, and some who connect and say nothing.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(house.gateway_address()).unwrap())
        .collect();
    let mut plain = TcpStream::connect(house.gateway_address()).unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: d\r\n\r\n")
        .unwrap();
    assert_unharmed(&mut house, &container);
    drop(silent);
}

#[test]
fn garbage_inside_a_session_ends_that_session_only() {
    let mut house = house();
    let container = idle(&house);
    let path = format!(
        "/clusters/local/api/v1/namespaces/default/pods/{}/exec?command=sleep&command=1000\
         &stdin=true&stdout=true&stderr=true",
        container.name()
    );
    let token = house.token().to_owned();
    let websocket = format!(
        "GET {path} HTTP/1.1\r\nhost: d\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
    );
    let spdy = format!(
        "POST {path} HTTP/1.1\r\nhost: d\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: SPDY/3.1\r\n\
         x-stream-protocol-version: v4.channel.k8s.io\r\n\r\n"
    );
    for head in [websocket, spdy] {
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&noise(100_000));
        let answer = house.exchange(&bytes);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
    assert!(
        eventually(LIMIT, || container.processes().len() == 1),
        "{:?}",
        container.processes()
    );
    assert_unharmed(&mut house, &container);
}

/// Others go on, and nothing panicked.
fn assert_unharmed(house: &mut House, container: &Container) {
    let got = kubectl(house, &["exec", container.name(), "--", "echo", "unharmed"]);
    assert_eq!(got.text(), "unharmed\n", "{}", got.stderr);
    assert!(
        !house.gateway().log().contains("panicked"),
        "{}",
        house.gateway().log()
    );
    assert!(
        !house.agent().log().contains("panicked"),
        "{}",
        house.agent().log()
    );
}
