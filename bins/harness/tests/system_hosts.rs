//! How the gateway is reached: host names of clusters, kubeconfigs as downloads, plain HTTP on
//! loopback, and more connections than there is room for.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use dockin_core::tls::authority::Authority;
use dockin_harness::{
    ConnectProxy, Finished, House, HouseOptions, Input, Kubectl, Program, Transport, binary,
    eventually, finish,
};
use jiff::Timestamp;
use tokio::{io::AsyncWriteExt as _, net::TcpSocket, runtime::Runtime};

/// Far more than anything here takes; what is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
const TRAIL: &str = "audit: audit/audit.jsonl";

fn house(more: &str, prepare: Option<fn(&Path)>) -> House {
    House::start(&HouseOptions {
        edits: vec![(TRAIL.to_owned(), format!("{TRAIL}\n{more}"))],
        prepare,
        ..HouseOptions::default()
    })
}

/// A certificate that is good for the host name of every cluster.
fn certify(data: &Path) {
    let files = data.join("tls");
    let authority = Authority::load(&files.join("ca.pem"), &files.join("ca.key")).unwrap();
    let names = ["localhost", "127.0.0.1", "gw.test", "*.gw.test"].map(str::to_owned);
    let issued = authority.server(&names, Timestamp::now()).unwrap();
    fs::write(files.join("server.pem"), issued.certificate).unwrap();
    fs::write(files.join("server.key"), issued.key).unwrap();
}

fn curl(house: &House, arguments: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--http1.1", "--cacert"]);
    command.arg(house.data().join("tls/ca.pem")).args(arguments);
    finish(&mut command, Input::Nothing, LIMIT)
}

#[test]
fn a_cluster_is_reached_by_its_host_name_and_by_that_of_the_handshake() {
    let house = house("cluster_domain: gw.test", Some(certify));
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let own = fs::read_to_string(house.kubeconfig()).unwrap();
    let port = house.gateway_address().rsplit_once(':').unwrap().1;
    let by_path = format!("{}/clusters/local", house.url());
    let proxy = ConnectProxy::start(None);
    let by_host = format!(
        "https://local.gw.test:{port}\n    proxy-url: {}",
        proxy.url("")
    );
    let by_handshake = format!("{}\n    tls-server-name: local.gw.test", house.url());
    let kubectl = Kubectl::preferred();
    for (name, server) in [("host", by_host), ("handshake", by_handshake)] {
        let file = house.scratch().join(name);
        assert!(own.contains(&by_path), "{own}");
        fs::write(&file, own.replace(&by_path, &server)).unwrap();
        for transport in [Transport::WebSocket, Transport::Spdy] {
            let mut command = kubectl.command(transport, &file, house.scratch());
            command.args(["exec", container.name(), "--", "echo", "reached"]);
            let got = finish(&mut command, Input::Nothing, LIMIT);
            assert_eq!(got.text(), "reached\n", "{name}: {}", got.stderr);
        }
        let mut command = kubectl.command(Transport::WebSocket, &file, house.scratch());
        let got = finish(command.args(["get", "pods"]), Input::Nothing, LIMIT);
        assert!(got.text().contains(container.name()), "{}", got.stderr);
    }
    assert!(
        proxy
            .asked()
            .iter()
            .all(|one| one.starts_with("local.gw.test:"))
    );

    // Behind a cluster's name there is nothing of the gateway's own, and no other cluster.
    let bearer = format!("authorization: Bearer {}", house.token());
    let ask = |host: &str, path: &str, more: &[&str]| {
        let url = format!("https://{host}:{port}{path}");
        let resolve = format!("{host}:{port}:127.0.0.1");
        let mut arguments = vec!["--resolve", &resolve, "-H", &bearer, &url];
        arguments.extend(more);
        curl(&house, &arguments).text()
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(status(&ask("local.gw.test", "/version", &[])), "200");
    assert_eq!(
        status(&ask("gw.test", "/clusters/local/version", &[])),
        "200"
    );
    assert_eq!(status(&ask("gw.test", "/dockin/v1/clusters", &[])), "200");
    for path in [
        "/dockin/v1/clusters",
        "/kubeconfig",
        "/clusters/local/version",
    ] {
        assert_eq!(status(&ask("local.gw.test", path, &[])), "404", "{path}");
    }
    assert_eq!(status(&ask("nowhere.gw.test", "/version", &[])), "404");
    // A connection for one cluster carries no request for another.
    let other = ["-H", "host: other.gw.test"];
    let answer = ask("local.gw.test", "/version", &other);
    assert_eq!(status(&answer), "400", "{answer}");
}

#[test]
fn a_kubeconfig_is_downloaded_without_a_secret_and_works_after_a_login() {
    const PASSWORD: &str = "correct horse battery";
    let entry = "{ users: [bob], verbs: [\"*\"], clusters: [local], namespaces: [\"*\"] }";
    let house = House::start(&HouseOptions {
        access: vec![entry.to_owned()],
        edits: vec![(
            TRAIL.to_owned(),
            format!("{TRAIL}\nclusters_directory: clusters"),
        )],
        prepare: Some(|data| {
            fs::create_dir(data.join("clusters")).unwrap();
            let text = "dockin: { cluster-id: hidden }\n\
                        agents: [ { name: nobody, address: \"127.0.0.1:1\" } ]\n";
            fs::write(data.join("clusters/hidden.yaml"), text).unwrap();
        }),
        ..HouseOptions::default()
    });
    let container = house.docker().container(&[], &["sleep", "2147483647"]);
    let mut command = Command::new(binary("dockin-opserver"));
    command.args(["account", "add", "--user", "bob", "--data"]);
    let got = finish(
        command.arg(house.data()),
        Input::Bytes(PASSWORD.as_bytes()),
        LIMIT,
    );
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let ca = house.data().join("tls/ca.pem");
    let home = house.scratch().join("bob");
    fs::create_dir(&home).unwrap();
    let dockctl = |arguments: &[&str], input: &str| {
        let mut command = Command::new(binary("dockctl"));
        command
            .args(arguments)
            .args(["--server", &house.url(), "--certificate-authority"])
            .arg(&ca)
            .env("HOME", &home)
            .env_remove("DOCKIN_HOME")
            .env_remove("KUBECONFIG");
        finish(&mut command, Input::Bytes(input.as_bytes()), LIMIT)
    };
    let unused = home.join("unused").to_string_lossy().into_owned();
    let login = [
        "login",
        "--user",
        "bob",
        "--password-file",
        "-",
        "-o",
        &unused,
    ];
    let logged_in = || dockctl(&login, PASSWORD).code == Some(0);
    assert!(eventually(LIMIT, logged_in));

    let credential = dockctl_credential(&house, &home);
    let bearer = format!("authorization: Bearer {credential}");
    let url = format!("{}/kubeconfig", house.url());
    let answer = curl(&house, &["-H", &bearer, &url]).text();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let lower = head.to_lowercase();
    assert!(
        lower.contains("content-disposition: attachment; filename=\"dockin.kubeconfig\""),
        "{head}"
    );
    assert!(lower.contains("cache-control: no-store"), "{head}");
    assert!(
        !text.contains(&credential) && !text.contains("hidden"),
        "{text}"
    );
    assert!(
        !text.contains("token:") && !text.contains("insecure"),
        "{text}"
    );
    let same = dockctl(&["kubeconfig", "--all", "-o", "-"], "");
    assert_eq!(same.text(), text, "{}", same.stderr);

    let file = home.join("downloaded");
    fs::write(&file, text).unwrap();
    let kubectl = Kubectl::preferred();
    let mut command = kubectl.command(Transport::WebSocket, &file, &home);
    let programs = binary("dockctl").parent().unwrap().to_owned();
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    command.env("PATH", path).env_remove("DOCKIN_HOME").args([
        "exec",
        container.name(),
        "--",
        "echo",
        "reached",
    ]);
    let got = finish(&mut command, Input::Nothing, LIMIT);
    assert_eq!(got.text(), "reached\n", "{}", got.stderr);

    let one = curl(&house, &["-H", &bearer, &format!("{url}?cluster=local")]).text();
    assert!(one.ends_with(text), "{one}");
    let known = curl(&house, &["-H", &bearer, &format!("{url}?cluster=hidden")]).text();
    let unknown = curl(&house, &["-H", &bearer, &format!("{url}?cluster=absent")]).text();
    let body = |answer: &str| {
        answer
            .split("\r\n\r\n")
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    assert!(known.starts_with("HTTP/1.1 403 "), "{known}");
    assert_eq!(body(&known).replace("hidden", "absent"), body(&unknown));
    let nobody = curl(&house, &[&url]).text();
    assert!(nobody.starts_with("HTTP/1.1 401 "), "{nobody}");
}

/// The token that kubectl would get.
fn dockctl_credential(house: &House, home: &Path) -> String {
    let mut command = Command::new(binary("dockctl"));
    command
        .args(["credential", "--server", &house.url()])
        .env("HOME", home)
        .env_remove("DOCKIN_HOME");
    let got = finish(&mut command, Input::Nothing, LIMIT);
    let told: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    told["status"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn plain_http_is_served_on_loopback_and_nowhere_else() {
    let house = House::start(&HouseOptions::default());
    let data = house.data();
    let text = fs::read_to_string(data.join("opserver.yaml")).unwrap();
    let tls = text.lines().find(|line| line.starts_with("tls: ")).unwrap();
    let plain = text
        .replace(tls, "tls: none")
        .replace(TRAIL, "audit: audit/plain.jsonl");
    let listen = text.lines().find(|line| line.starts_with("listen: "));
    let listen = listen.unwrap();
    let start = |text: &str, flag: bool| {
        fs::write(data.join("plain.yaml"), text).unwrap();
        let mut command = Command::new(binary("dockin-opserver"));
        command.arg("serve").arg("--config");
        command.arg(data.join("plain.yaml"));
        if flag {
            command.arg("--insecure-http");
        }
        Program::start(&mut command, Input::Nothing)
    };
    for (text, flag) in [
        (plain.replace(listen, "listen: \"0.0.0.0:0\""), false),
        (plain.replace(listen, "listen: \"[::]:0\""), false),
        (
            plain
                .replace("tls: none", tls)
                .replace(listen, "listen: \"0.0.0.0:0\""),
            true,
        ),
    ] {
        let got = start(&text, flag).finish(LIMIT);
        assert_eq!(got.code, Some(1), "{}", got.stderr);
        assert!(got.stderr.contains("plain HTTP"), "{}", got.stderr);
        assert!(!got.stderr.contains("listening"), "{}", got.stderr);
    }
    for (text, flag) in [
        (plain.clone(), false),
        (plain.replace("tls: none", tls), true),
    ] {
        let mut server = start(&text, flag);
        let said = || server.stderr().contains("listening on http://127.0.0.1:");
        assert!(eventually(LIMIT, said), "{}", server.stderr());
        let log = server.stderr();
        let url = log
            .lines()
            .find_map(|line| line.split_once("listening on "));
        let url = url.unwrap().1.split_whitespace().next().unwrap().to_owned();
        let bearer = format!("authorization: Bearer {}", house.token());
        let path = format!("{url}/clusters/local/api/v1/pods");
        let answer = curl(&house, &["-H", &bearer, &path]).text();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let answer = curl(&house, &[&path]).text();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        server.kill();
    }
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().next().unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// Files and sockets that a process has open.
fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Connections from `addresses`, in turn, that say a few bytes and then nothing.
fn flood(runtime: &Runtime, to: &str, addresses: &[Ipv4Addr], count: usize) -> Vec<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    let connect = |number: usize| {
        let from = addresses[number % addresses.len()];
        runtime.block_on(async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            let mut stream = socket.connect(to).await.unwrap();
            // Those that are turned away may be closed already.
            let _closed = stream.write_all(&[0x16, 3, 1]).await;
            let stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            stream
        })
    };
    (0..count).map(connect).collect()
}

#[test]
fn who_opens_connections_and_says_nothing_keeps_nobody_out_and_is_closed() {
    let mut house = house(
        "connections: { total: 60, per_address: 20, head_timeout: 3s }",
        None,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let served = |house: &House| house.ask("GET", "/clusters/local/version", &[]);
    assert!(served(&house).starts_with("HTTP/1.1 200 "));
    let pid = house.gateway().pid();
    let before = (resident(pid), open_files(pid));
    let address = house.gateway_address().to_owned();
    // From one address, and from more of them than there is room for.
    let one = [Ipv4Addr::new(127, 0, 9, 1)];
    let many: Vec<_> = (1..=50)
        .map(|last| Ipv4Addr::new(127, 0, 8, last))
        .collect();
    let mut held = Vec::new();
    for (addresses, count, places) in [(&one[..], 400, 20), (&many[..], 400, 60)] {
        held.extend(flood(&runtime, &address, addresses, count));
        // Some more, for what it asks its agent meanwhile.
        let most = before.1 + places + 10;
        let bounded = || open_files(pid) <= most;
        assert!(eventually(LIMIT, bounded), "{} files", open_files(pid));
        for _ in 0..5 {
            let answer = served(&house);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    let grown = resident(pid).saturating_sub(before.0);
    assert!(grown < 24 * 1024 * 1024, "{grown} bytes more");
    // They are all closed in the end.
    for stream in &mut held {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut rest = [0; 64];
        loop {
            match stream.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                    break;
                }
            }
        }
    }
}

#[test]
fn the_head_of_a_request_has_so_long_and_others_do_not_wait_for_it() {
    let house = house("connections: { head_timeout: 2s }", None);
    let mut slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = house.tls();
            stream
                .write_all(b"GET /version HTTP/1.1\r\nhost: d")
                .unwrap();
            stream.flush().unwrap();
            stream
        })
        .collect();
    let answer = house.ask("GET", "/clusters/local/version", &[]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for stream in &mut slow {
        let mut answer = Vec::new();
        // Closed, with or without a word: a timeout of the test's own would be an error of another
        // kind.
        if let Err(error) = stream.read_to_end(&mut answer) {
            let ended = [
                std::io::ErrorKind::UnexpectedEof,
                std::io::ErrorKind::ConnectionReset,
            ];
            assert!(ended.contains(&error.kind()), "{error}");
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn who_speaks_http2_and_asks_nothing_is_closed() {
    let house = house("connections: { head_timeout: 2s }", None);
    let mut stream = house.tls_offering(&[b"h2"]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).unwrap();
    stream.flush().unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    }
    assert!(!rest.is_empty());
}

#[test]
fn a_person_has_so_many_connections_and_another_has_his_own() {
    let house = house("connections: { per_user: 3 }", None);
    let bob = house.add_user("bob", &["admins"]);
    let ask = |stream: &mut dyn ReadWrite, token: &str| {
        let request = format!(
            "GET /dockin/v1/clusters HTTP/1.1\r\nhost: d\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.flush().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1);
            head.push(byte[0]);
        }
        String::from_utf8_lossy(&head).into_owned()
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = house.tls();
        let answer = ask(&mut stream, house.token());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        held.push(stream);
    }
    let answer = house.ask("GET", "/dockin/v1/clusters", &[]);
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("3 connections open"), "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    let mut stream = house.tls();
    assert!(ask(&mut stream, &bob).starts_with("HTTP/1.1 200 "));
    held.clear();
    let free = || {
        house
            .ask("GET", "/dockin/v1/clusters", &[])
            .starts_with("HTTP/1.1 200 ")
    };
    assert!(eventually(LIMIT, free));
}

trait ReadWrite: std::io::Read + std::io::Write {}

impl<T: std::io::Read + std::io::Write> ReadWrite for T {}
