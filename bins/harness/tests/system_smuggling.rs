//! Requests that are meant to be read in two ways, and floods of frames: what reaches the
//! apiserver is what was judged, and others are served meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    time::Duration,
};

use dockin_harness::{ApiServer, Credential, House, HouseOptions, eventually};

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with the cluster `prod` behind an apiserver.
struct Door {
    house: House,
    apiserver: ApiServer,
}

impl Door {
    fn start() -> Self {
        let mut house = House::start(&HouseOptions::default());
        let apiserver = ApiServer::start(&mut house);
        let kubeconfig = apiserver.kubeconfig(Credential::Token);
        fs::write(house.data().join("prod.kubeconfig"), kubeconfig).unwrap();
        let file = house.data().join("opserver.yaml");
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("  - name: prod\n    kubeconfig: prod.kubeconfig\n");
        fs::write(&file, text).unwrap();
        house.restart_gateway();
        let door = Self { house, apiserver };
        assert!(eventually(LIMIT, || door.serves()));
        door.apiserver.forget();
        door
    }

    fn serves(&self) -> bool {
        let answer = self.house.ask("GET", "/clusters/prod/version", &[]);
        answer.starts_with("HTTP/1.1 200 ")
    }

    /// What the gateway says to these lines of a request, `TOKEN` being alice's.
    fn says(&self, lines: &str) -> String {
        let text = lines.replace("TOKEN", self.house.token());
        self.house.exchange(text.as_bytes())
    }

    /// Paths that the apiserver has seen for people, since the last time.
    fn carried(&self) -> Vec<String> {
        let seen = self.apiserver.seen();
        self.apiserver.forget();
        for one in &seen {
            let user = one.user.as_deref();
            // The gateway looks at its health meanwhile.
            assert!(matches!(user, Some("alice" | "dockin:health")), "{one:?}");
        }
        let of_people = seen
            .into_iter()
            .filter(|one| one.user.as_deref() == Some("alice"));
        // Over HTTP/2 the apiserver's own address is before the path.
        let path = |path: String| match path.find("/api").or_else(|| path.find("/version")) {
            Some(at) => path[at..].to_owned(),
            None => path,
        };
        of_people.map(|one| path(one.path)).collect()
    }
}

const AUTHORIZATION: &str = "host: dockin\r\nauthorization: Bearer TOKEN\r\n";
const CLOSE: &str = "connection: close\r\n\r\n";

#[test]
fn what_another_could_read_otherwise_is_not_carried() {
    let door = Door::start();
    let configmaps = "/clusters/prod/api/v1/namespaces/default/configmaps";
    let head = format!("GET {configmaps} HTTP/1.1\r\n{AUTHORIZATION}");
    let post = format!("POST {configmaps} HTTP/1.1\r\n{AUTHORIZATION}");
    let behind = format!("0\r\n\r\nGET /clusters/prod/api/v1/secrets HTTP/1.1\r\n{AUTHORIZATION}");
    for (request, code) in [
        // Two lengths.
        (
            format!("{post}content-length: 5\r\ncontent-length: 6\r\n\r\n{behind}"),
            "400",
        ),
        (format!("{post}content-length: 5, 6\r\n\r\n{behind}"), "400"),
        (format!("{post}content-length: +5\r\n\r\n{behind}"), "400"),
        (
            format!("{post}transfer-encoding: identity\r\n\r\n{behind}"),
            "400",
        ),
        (
            format!("{post}transfer-encoding: chunked, identity\r\n\r\n{behind}"),
            "400",
        ),
        (
            format!("{post}transfer-encoding : chunked\r\n\r\n{behind}"),
            "400",
        ),
        (
            format!("{post}transfer-encoding: xchunked\r\n\r\n{behind}"),
            "400",
        ),
        // Lines that go on, or end otherwise.
        (
            format!("{head}x-mine: a\r\n impersonate-user: root\r\n{CLOSE}"),
            "400",
        ),
        (
            format!("{head}x-mine: a\rimpersonate-user: root\r\n{CLOSE}"),
            "400",
        ),
        (
            format!("{head}x-mine: a\nimpersonate-user: root\r\n{CLOSE}"),
            "403",
        ),
        (format!("{head}impersonate-user\0: root\r\n{CLOSE}"), "400"),
        // Two hosts, two people.
        (format!("{head}host: elsewhere\r\n{CLOSE}"), "400"),
        (format!("{head}authorization: Bearer x\r\n{CLOSE}"), "400"),
        (
            format!("GET https://elsewhere{configmaps} HTTP/1.1\r\n{AUTHORIZATION}{CLOSE}"),
            "400",
        ),
        // Methods that Kubernetes has no verb for.
        (
            format!("TRACE {configmaps} HTTP/1.1\r\n{AUTHORIZATION}{CLOSE}"),
            "400",
        ),
        (
            format!("CONNECT prod:443 HTTP/1.1\r\n{AUTHORIZATION}{CLOSE}"),
            "400",
        ),
        (
            format!("OPTIONS * HTTP/1.1\r\n{AUTHORIZATION}{CLOSE}"),
            "404",
        ),
        // Another protocol on the same connection.
        (
            format!(
                "{head}connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
            "403",
        ),
        // More than a head has room for.
        (
            format!("{head}{}{CLOSE}", "x-mine: a\r\n".repeat(150)),
            "431",
        ),
    ] {
        let answer = door.says(&request);
        let shown = &request[..request.len().min(400)];
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{shown}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown}: {answer}");
    }
    assert_eq!(door.carried(), [""; 0]);
    // Of a length and chunks the chunks count for everybody, and nothing behind them is read.
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let answer = door.says(&format!(
            "{post}content-type: application/json\r\n{lengths}\r\n\r\n{behind}{CLOSE}"
        ));
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{lengths}: {answer}"
        );
    }
    let seen = door.apiserver.seen();
    assert_eq!(door.carried().len(), 2, "{seen:?}");
    for one in seen {
        assert!(one.path.ends_with("/configmaps"), "{one:?}");
        let lengths = one
            .headers
            .iter()
            .filter(|line| line.starts_with("content-length: "));
        assert!(
            lengths.into_iter().all(|line| line == "content-length: 0"),
            "{one:?}"
        );
    }
}

#[test]
fn a_path_means_the_same_to_the_gateway_and_to_the_apiserver() {
    let door = Door::start();
    for path in [
        "/clusters/prod//api/v1/secrets",
        "/clusters//prod/api/v1/secrets",
        "/clusters/local/../prod/api/v1/secrets",
        "/clusters/prod/api/v1/./secrets",
        "/clusters/prod/api/v1/namespaces/default/pods/../../kube-system/secrets",
        "/clusters/prod/api/v1/%2e%2e/v1/secrets",
        "/clusters/prod/api/v1/namespaces/%2e%2e/secrets",
        "/clusters/prod/api%2fv1%2fsecrets",
        "/clusters/prod/api/v1/namespaces/default%2fsecrets",
        "/clusters/prod/api/v1/namespaces/a%00b/secrets",
        "/clusters/prod/api/v1/namespaces/a%5cb/secrets",
        "/clusters/prod/api/v1/%73ecrets",
        "/clusters/prod/api/v1/secrets%",
        "/clusters/prod/api/v1/secrets%2",
        "/clusters/%70rod/api/v1/secrets",
        "/clusters/prod%2fapi/v1/secrets",
        "/CLUSTERS/prod/api/v1/secrets",
        "/clusters/PROD/api/v1/secrets",
        "/clusters/prod;x=1/api/v1/secrets",
        "/clusters/local/..;/prod/api/v1/secrets",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\n{AUTHORIZATION}{CLOSE}");
        let answer = door.says(&request);
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    assert_eq!(door.carried(), [""; 0]);
    // A semicolon is no separator to Kubernetes, and goes on as it is.
    let path = "/api/v1/namespaces/default/configmaps/a;b";
    door.says(&format!(
        "GET /clusters/prod{path} HTTP/1.1\r\n{AUTHORIZATION}{CLOSE}"
    ));
    assert_eq!(door.carried(), [path]);
}

#[test]
fn nobody_becomes_somebody_else_by_a_trailer_or_a_spelling() {
    let door = Door::start();
    let path = "/clusters/prod/api/v1/namespaces/default/configmaps";
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    let chunk = format!("{:x}\r\n{object}\r\n0\r\n", object.len());
    let answer = door.says(&format!(
        "POST {path} HTTP/1.1\r\n{AUTHORIZATION}content-type: application/json\r\n\
         transfer-encoding: chunked\r\ntrailer: impersonate-user, impersonate-group\r\n\
         connection: close\r\n\r\n{chunk}impersonate-user: root\r\n\
         impersonate-group: system:masters\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for name in [
        "Impersonate_User",
        "impersonate_group",
        "X_Remote_User",
        "X-Remote_Group",
    ] {
        let answer = door.house.ask("GET", path, &[&format!("{name}: root")]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let seen = door.apiserver.seen();
    let by_people = seen.iter().filter(|one| one.path.ends_with("/configmaps"));
    let mut count = 0;
    for one in by_people {
        count += 1;
        assert_eq!(one.user.as_deref(), Some("alice"), "{one:?}");
        assert_eq!(one.groups, ["admins"], "{one:?}");
        let odd = one
            .headers
            .iter()
            .any(|line| line.contains("root") || line.contains("master"));
        assert!(!odd, "{one:?}");
    }
    assert_eq!(count, 5, "{seen:?}");
    // Twice, and beside itself.
    for headers in [
        &["Impersonate-User: bob", "impersonate-user: root"][..],
        &[
            "Connection: close, impersonate-user",
            "Impersonate-User: root",
        ],
    ] {
        let answer = door.house.ask("GET", path, headers);
        assert!(answer.starts_with("HTTP/1.1 40"), "{headers:?}: {answer}");
    }
}

#[test]
fn a_body_that_waits_to_be_asked_for_is_carried_once_it_was() {
    let door = Door::start();
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"late"}}"#;
    let mut stream = door.house.tls();
    let head = format!(
        "POST /clusters/prod/api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: d\r\n\
         authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\nconnection: close\r\n\r\n",
        door.house.token(),
        object.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.flush().unwrap();
    let asked = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut told = vec![0; asked.len()];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(told, asked);
    stream.write_all(object.as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Who may not is told so before he sends it.
    let head = head.replace(door.house.token(), "nobody");
    let mut stream = door.house.tls();
    stream.write_all(head.as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

/// One frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Header fields as they are, none of them in a table (RFC 7541 §6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // Below 127 bytes.
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const GO_AWAY: u8 = 7;
const END_HEADERS: u8 = 4;

/// Sends `frames` on a connection of HTTP/2 until it is closed or all were sent, and reads until it
/// is closed or one of the kinds `last` came; gives what came, as kinds of frames with payloads.
fn flood(door: &Door, frames: impl Iterator<Item = Vec<u8>>, last: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut stream = door.house.tls_offering(&[b"h2"]);
    // Who reads nothing of the answers may not be listened to any more.
    let patience = Some(Duration::from_secs(2));
    stream.sock.set_write_timeout(patience).unwrap();
    let mut batch = PREFACE.to_vec();
    for frame in frames {
        batch.extend(frame);
        if batch.len() > 32 * 1024 {
            let sent = stream.write_all(&batch).and_then(|()| stream.flush());
            batch.clear();
            if sent.is_err() {
                break;
            }
        }
    }
    let _closed = stream.write_all(&batch).and_then(|()| stream.flush());
    let (mut answer, mut found) = (Vec::new(), Vec::new());
    while !last.is_empty() && !found.iter().any(|(kind, _)| last.contains(kind)) {
        // Not as the stream reads, which would try to send the rest first.
        let more = stream.conn.read_tls(&mut stream.sock);
        if !more.is_ok_and(|count| count > 0) || stream.conn.process_new_packets().is_err() {
            break;
        }
        let _nothing_more = stream.conn.reader().read_to_end(&mut answer);
        found = split(&answer);
    }
    found
}

/// The frames that are whole.
fn split(mut rest: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
        let Some(payload) = rest.get(9..9 + usize::try_from(length).unwrap()) else {
            break;
        };
        frames.push((rest[3], payload.to_vec()));
        rest = &rest[9 + payload.len()..];
    }
    frames
}

/// The reason of the farewell, if there was one.
fn farewell(frames: &[(u8, Vec<u8>)]) -> Option<u32> {
    let last = frames.iter().rfind(|(kind, _)| *kind == GO_AWAY)?;
    Some(u32::from_be_bytes(last.1[4..8].try_into().unwrap()))
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[test]
fn floods_of_frames_end_their_own_connection_and_harm_no_other() {
    let mut door = Door::start();
    let request = |path: &str| {
        fields(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", path),
            (":authority", "dockin"),
        ])
    };
    let head = request("/clusters/prod/api/v1/secrets");
    let pid = door.house.gateway().pid();
    let before = resident(pid);
    // CVE-2023-44487: streams that are opened and reset.
    let resets = (0..20_000u32).flat_map(|number| {
        let stream = 2 * number + 1;
        [
            frame(HEADERS, END_HEADERS | 1, stream, &head),
            frame(RESET, 0, stream, &8u32.to_be_bytes()),
        ]
    });
    let told = flood(&door, resets, &[GO_AWAY]);
    assert_eq!(farewell(&told), Some(ENHANCE_YOUR_CALM), "{}", told.len());
    assert!(door.serves());
    // A head that never ends.
    let more = fields(&[("x-mine", &"a".repeat(100))]);
    let endless = std::iter::once(frame(HEADERS, 1, 1, &head))
        .chain((0..100_000).map(|_| frame(CONTINUATION, 0, 1, &more)));
    let told = flood(&door, endless, &[GO_AWAY]);
    assert!(
        farewell(&told).is_some_and(|reason| reason != 0),
        "{}",
        told.len()
    );
    assert!(door.serves());
    // Settings, pings and empty pieces of a body: bounded in what they cost, whatever is answered.
    let settings = (0..50_000).map(|_| frame(SETTINGS, 0, 0, &[]));
    flood(&door, settings, &[]);
    assert!(door.serves());
    let pings = (0..50_000).map(|_| frame(PING, 0, 0, &[0; 8]));
    flood(&door, pings, &[]);
    assert!(door.serves());
    let post = fields(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/dockin/v1/login"),
        (":authority", "dockin"),
    ]);
    let empty = std::iter::once(frame(HEADERS, END_HEADERS, 1, &post))
        .chain((0..50_000).map(|_| frame(DATA, 0, 1, &[])));
    flood(&door, empty, &[]);
    assert!(door.serves());
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 48 * 1024 * 1024, "{grown} bytes more");
    assert!(door.carried().iter().all(|path| path == "/version"));
}

#[test]
fn heads_of_http2_that_are_none_reach_nobody() {
    let door = Door::start();
    let token = format!("Bearer {}", door.house.token());
    let good = [
        (":method", "GET"),
        (":scheme", "https"),
        (
            ":path",
            "/clusters/prod/api/v1/namespaces/default/configmaps",
        ),
        (":authority", "dockin"),
        ("authorization", &*token),
    ];
    let with = |more: &[(&str, &str)]| {
        let all: Vec<(&str, &str)> = good.iter().chain(more).copied().collect();
        let head = frame(HEADERS, END_HEADERS | 1, 1, &fields(&all));
        flood(&door, std::iter::once(head), &[HEADERS, RESET, GO_AWAY])
    };
    for more in [
        &[("Impersonate-User", "root")][..],
        &[("impersonate-user", "root")],
        &[
            ("connection", "impersonate-user"),
            ("impersonate-user", "root"),
        ],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "h2c")],
        &[("host", "elsewhere")],
        &[(":path", "/clusters/prod/api/v1/secrets")],
        &[(":authority", "elsewhere")],
        &[(":protocol", "websocket")],
        &[("x-mine", "a\r\nimpersonate-user: root")],
        &[("x-mine\r\nimpersonate-user", "root")],
        &[("te", "gzip")],
    ] {
        assert!(!with(more).is_empty(), "{more:?}");
        assert_eq!(door.carried(), [""; 0], "{more:?}");
    }
    with(&[("x-mine", "a")]);
    assert_eq!(door.carried().len(), 1);
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().next().unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}
