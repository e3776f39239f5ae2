//! How much one person may ask.

use std::{
    io::{Read, Write},
    time::Duration,
};

use dockin_harness::{Credential, HouseOptions, eventually};

use crate::{Door, LIMIT};

#[test]
fn who_asks_too_much_is_told_when_to_come_again() {
    let trail = "audit: audit/audit.jsonl";
    let limited =
        format!("{trail}\nlimits: {{ requests_per_second: 1, burst: 20, open_requests: 2 }}");
    let options = HouseOptions {
        edits: vec![(trail.to_owned(), limited)],
        ..HouseOptions::default()
    };
    let door = Door::without_clusters(options);
    door.write("prod.yaml", &door.apiserver.kubeconfig(Credential::Token));
    // Alice has twenty requests; another one waits for the cluster.
    let bob = door.house.add_user("bob", &["admins"]);
    let ask_as = |token: &str, path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        door.house.exchange(request.as_bytes())
    };
    let come = || {
        std::thread::sleep(Duration::from_secs(1));
        ask_as(&bob, "/clusters/prod/version").starts_with("HTTP/1.1 200 ")
    };
    assert!(eventually(LIMIT, come));
    let endless = |_| {
        let mut stream = door.house.tls();
        let token = door.house.token();
        let request = format!(
            "GET /clusters/prod/metrics/endless HTTP/1.1\r\nhost: dockin\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 16];
        assert!(stream.read(&mut first).unwrap() > 0);
        stream
    };
    let open: Vec<_> = (0..2).map(endless).collect();
    let answer = door.house.ask("GET", "/clusters/prod/version", &[]);
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.contains("requests open in cluster `prod`"),
        "{answer}"
    );
    // Another cluster, and another person, have places.
    assert_eq!(
        door.status("/clusters/local/api/v1/pods"),
        "HTTP/1.1 200 OK"
    );
    assert!(ask_as(&bob, "/clusters/prod/version").starts_with("HTTP/1.1 200 "));
    drop(open);
    let free = || {
        std::thread::sleep(Duration::from_millis(1100));
        door.status("/clusters/prod/version") == "HTTP/1.1 200 OK"
    };
    assert!(eventually(LIMIT, free));
    let mut answer = String::new();
    let refused = || {
        answer = door.house.ask("GET", "/clusters/local/version", &[]);
        answer.starts_with("HTTP/1.1 429 ")
    };
    let refused = std::iter::repeat_with(refused)
        .take(60)
        .any(|refused| refused);
    assert!(refused, "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    assert!(
        answer.contains("\"reason\":\"TooManyRequests\""),
        "{answer}"
    );
    assert!(answer.contains("\"retryAfterSeconds\":"), "{answer}");
}
