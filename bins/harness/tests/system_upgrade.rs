//! What the gateway does with upgrades that it refuses: nothing behind them is heard, nothing of
//! them stays, and no head is too long for it.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, time::Duration};

use dockin_harness::{Container, House, HouseOptions, eventually};

const SECONDS: Duration = Duration::from_secs(20);

fn house_with_container() -> (House, Container) {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    (house, container)
}

/// Upgrades that are refused for different reasons, as heads.
fn refused_upgrades(house: &House, container: &Container) -> Vec<String> {
    let token = house.token();
    let head = |method: &str, pod: &str, headers: &str| {
        format!(
            "{method} /clusters/local/api/v1/namespaces/default/pods/{pod}/exec?command=true\
             &stdout=true HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\
             connection: Upgrade\r\n{headers}\r\n"
        )
    };
    let websocket = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let spdy = "upgrade: SPDY/3.1\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n";
    let unknown = format!("{websocket}sec-websocket-protocol: v9.channel.k8s.io\r\n");
    vec![
        head("GET", container.name(), &unknown),
        head("GET", container.name(), "upgrade: websocket\r\n"),
        head("POST", container.name(), "upgrade: SPDY/3.1\r\n"),
        head("POST", "no-such-pod", spdy),
        head("POST", container.name(), "upgrade: h2c\r\n"),
    ]
}

/// T29 and T31: what follows a refused upgrade on its connection is neither a request nor bytes for
/// a container, and the connection is closed.
#[test]
fn nothing_behind_a_refused_upgrade_is_heard() {
    let (house, container) = house_with_container();
    for head in refused_upgrades(&house, &container) {
        let token = house.token();
        let second = format!(
            "GET /version HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        for behind in [
            second.as_str(),
            "\u{80}\u{3}\0\u{1}",
            "touch /tmp/smuggled\n",
        ] {
            let answer = house.exchange(format!("{head}{behind}").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 4"), "{head}{answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head}{answer}");
        }
    }
    assert_eq!(container.exec(&["ls", "/tmp"]), "");
}

/// T9: refused upgrades leave no socket and no task's socket behind.
#[test]
fn a_refused_upgrade_leaves_nothing_open() {
    let (mut house, container) = house_with_container();
    let heads = refused_upgrades(&house, &container);
    let folder = format!("/proc/{}/fd", house.gateway().pid());
    let open = || fs::read_dir(&folder).unwrap().count();
    for head in &heads {
        let _answer = house.exchange(head.as_bytes());
    }
    let before = open();
    for head in heads.iter().cycle().take(100) {
        let _answer = house.exchange(head.as_bytes());
    }
    let freed = eventually(SECONDS, || open() <= before + 2);
    assert!(freed, "{before} files were open, and now {}", open());
}

/// T41: a head without end is refused or cut, and others are served.
#[test]
fn a_handshake_with_endless_headers_is_cut() {
    let (house, container) = house_with_container();
    let head = refused_upgrades(&house, &container).swap_remove(0);
    let head = head.strip_suffix("\r\n").unwrap();
    let long = format!("{head}x-long: {}\r\n\r\n", "a".repeat(4 * 1024 * 1024));
    let many = format!("{head}{}\r\n", "x-many: a\r\n".repeat(100_000));
    let endless = format!("{head}x-endless: {}", "a".repeat(4 * 1024 * 1024));
    for request in [long, many, endless] {
        let answer = house.exchange(request.as_bytes());
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{answer}");
        let answer = house.ask("GET", "/version", &[]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
