//! Ports forwarded over numbered channels, to a WebSocket client that is not ours: what older
//! clients and web terminals speak in place of the tunnel.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dockin_harness::{Container, House, HouseOptions, Input, Program, eventually};
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tungstenite::{Error, Message, WebSocket, client::IntoClientRequest, http::HeaderValue};

const LIMIT: Duration = Duration::from_secs(40);

type Socket = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

/// Two ports: one answers what it is told, one says a word and ends.
fn house() -> (House, Container) {
    with(&HouseOptions::default())
}

fn with(options: &HouseOptions) -> (House, Container) {
    let house = House::start(options);
    let script = "nc -ll -p 9001 -e echo bye & exec nc -ll -p 9000 -e cat";
    let container = house.docker().container(&[], &["sh", "-c", script]);
    let listens = || container.exec(&["netstat", "-ltn"]).contains(":9001");
    assert!(eventually(LIMIT, listens));
    (house, container)
}

/// Asks for `query` in `subprotocol`; the refusal's status and text when there is one.
fn open(
    house: &House,
    pod: &str,
    query: &str,
    subprotocol: Option<&'static str>,
    token: &str,
) -> Result<(Socket, Option<String>), (u16, String)> {
    let path = format!("/clusters/local/api/v1/namespaces/default/pods/{pod}/portforward{query}");
    let mut request = format!("wss://localhost{path}")
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    headers.insert("authorization", bearer);
    if let Some(subprotocol) = subprotocol {
        let subprotocol = HeaderValue::from_static(subprotocol);
        headers.insert("sec-websocket-protocol", subprotocol);
    }
    match tungstenite::client(request, house.tls()) {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            let chosen = chosen.map(|name| name.to_str().unwrap().to_owned());
            Ok((socket, chosen))
        }
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            let body = response.body().clone().unwrap_or_default();
            let text = String::from_utf8_lossy(&body).into_owned();
            Err((response.status().as_u16(), text))
        }
        Err(error) => panic!("{query}: {error}"),
    }
}

/// A message as channel and body; `None` for the end.
fn next(socket: &mut Socket) -> Option<(u8, Vec<u8>)> {
    loop {
        return match socket.read() {
            Ok(Message::Binary(bytes)) => {
                let (channel, body) = bytes.split_first().unwrap();
                Some((*channel, body.to_vec()))
            }
            Ok(Message::Text(text)) => {
                let (channel, body) = text.as_bytes().split_first().unwrap();
                Some((channel - b'0', STANDARD.decode(body).unwrap()))
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => None,
            Err(error) => panic!("{error}"),
        };
    }
}

fn say(socket: &mut Socket, base64: bool, channel: u8, body: &[u8]) {
    let message = if base64 {
        let digit = char::from(b'0' + channel);
        Message::text(format!("{digit}{}", STANDARD.encode(body)))
    } else {
        Message::binary([&[channel], body].concat())
    };
    socket.send(message).unwrap();
}

/// All that came on each channel, as far as `enough`.
fn listen(
    socket: &mut Socket,
    heard: &mut BTreeMap<u8, Vec<u8>>,
    enough: impl Fn(&BTreeMap<u8, Vec<u8>>) -> bool,
) {
    while !enough(heard) {
        let Some((channel, body)) = next(socket) else {
            panic!("the end, after {heard:?}");
        };
        heard.entry(channel).or_default().extend(body);
    }
}

fn events(house: &House, kind: &str) -> Vec<Value> {
    let audit = house.audit().into_iter();
    audit.filter(|event| event["event"] == kind).collect()
}

const PORTS: &str = "?ports=9000&ports=9001,81";

#[test]
fn ports_of_the_query_are_forwarded_on_their_channels_and_written_down() {
    let (house, container) = house();
    let protocols = [
        Some("v4.channel.k8s.io"),
        Some("v4.base64.channel.k8s.io"),
        None,
    ];
    for (round, protocol) in protocols.into_iter().enumerate() {
        let token = house.token();
        let (mut socket, chosen) = open(&house, container.name(), PORTS, protocol, token).unwrap();
        assert_eq!(chosen.as_deref(), protocol);
        let base64 = protocol.is_some_and(|name| name.contains("base64"));
        let mut heard = BTreeMap::new();
        let text: Vec<u8> = (0..200_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        for piece in text.chunks(30_000) {
            say(&mut socket, base64, 0, piece);
        }
        listen(&mut socket, &mut heard, |heard| {
            let length = |channel| heard.get(&channel).map_or(0, Vec::len);
            length(0) == 2 + text.len() && length(2) == 6 && length(5) > 2
        });
        // Each channel begins with its port, little endian.
        for (channel, port) in [
            (0, 9000_u16),
            (1, 9000),
            (2, 9001),
            (3, 9001),
            (4, 81),
            (5, 81),
        ] {
            assert_eq!(heard[&channel][..2], port.to_le_bytes(), "{channel}");
        }
        assert!(heard[&0][2..] == text, "{protocol:?}");
        assert_eq!(heard[&2][2..], *b"bye\n", "{protocol:?}");
        let refused = String::from_utf8_lossy(&heard[&5][2..]).into_owned();
        assert!(
            refused.contains("port 81") && refused.contains("refused"),
            "{refused}"
        );
        assert_eq!(
            (heard[&1].len(), heard[&3].len(), heard[&4].len()),
            (2, 2, 2)
        );
        // One port that failed and one that has ended leave the third alone.
        say(&mut socket, base64, 0, b"still here");
        listen(&mut socket, &mut heard, |heard| {
            heard[&0].ends_with(b"still here")
        });
        socket.close(None).unwrap();
        while next(&mut socket).is_some() {}
        drop(socket);
        let ended = || events(&house, "session.end").len() == round + 1;
        assert!(eventually(LIMIT, ended), "{:#?}", house.audit());
        let ports = events(&house, "port.forward");
        let mut ports: Vec<_> = ports.iter().skip(3 * round).collect();
        ports.sort_by_key(|event| event["port"].as_u64());
        let numbers: Vec<_> = ports.iter().map(|event| event["port"].as_u64()).collect();
        assert_eq!(numbers, [Some(81), Some(9000), Some(9001)]);
        for event in ports {
            assert_eq!(event["principal"]["user"], "alice", "{event}");
            assert_eq!(event["target"]["pod"], container.name(), "{event}");
        }
    }
    assert_eq!(events(&house, "session.start").len(), protocols.len());
}

/// The last port's end is the session's: the protocol has no other way to say it.
#[test]
fn the_session_ends_with_its_last_port() {
    let (house, container) = house();
    let raw = Some("v4.channel.k8s.io");
    let token = house.token();
    let (mut socket, _) = open(&house, container.name(), "?ports=9001", raw, token).unwrap();
    let mut said = Vec::new();
    while let Some((channel, body)) = next(&mut socket) {
        if channel == 0 {
            said.extend(body);
        }
    }
    assert_eq!(said[2..], *b"bye\n");
}

#[test]
fn what_cannot_be_forwarded_is_refused_before_the_101() {
    let (house, container) = house();
    let many = vec!["80"; 41].join(",");
    let many = format!("?ports={many}");
    let name = container.name();
    let (raw, base64) = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io");
    for (pod, query, subprotocol, status, words) in [
        (name, "", raw, 400, "no port"),
        (name, "?ports=", raw, 400, "1 to 65535"),
        (name, "?ports=0", raw, 400, "1 to 65535"),
        (name, "?ports=80,http", raw, 400, "1 to 65535"),
        (name, many.as_str(), base64, 400, "limit 40"),
        (name, PORTS, "channel.k8s.io", 403, "v4.channel.k8s.io"),
        ("no-such-pod", PORTS, raw, 404, "not found"),
    ] {
        let refused = open(&house, pod, query, Some(subprotocol), house.token());
        let (code, text) = refused.map(|_| ()).unwrap_err();
        assert_eq!(code, status, "{query}: {text}");
        assert!(text.contains(words), "{query}: {text}");
    }
    // Who may not, may not in this protocol either, and that is written down.
    let mallory = house.add_user("mallory", &["nobody"]);
    let refused = open(&house, name, PORTS, Some(raw), &mallory);
    assert_eq!(refused.map(|_| ()).unwrap_err().0, 403);
    let denied = events(&house, "access.denied");
    assert_eq!(denied.len(), 1, "{denied:?}");
    let verb = denied[0]["verb"].as_str().unwrap();
    // Who has no right in a cluster does not reach it.
    assert!(
        verb.starts_with("reach ") && verb.ends_with("/portforward"),
        "{verb}"
    );
    assert!(events(&house, "port.forward").is_empty());
}

const RULES: &str = "
name: ports
contact: the platform team
rules:
  - { id: no-word, effect: forbid, ports: [9001], message: it only says a word }
  - { id: asked, effect: ask, ports: [7000] }
  - { id: told, effect: alert, ports: [9000] }
";

fn policed() -> (House, Container) {
    with(&HouseOptions {
        rules: Some(RULES.to_owned()),
        ..HouseOptions::default()
    })
}

#[test]
fn a_forbidden_port_is_told_on_its_channel_and_the_others_go_on() {
    let (house, container) = policed();
    let raw = Some("v4.channel.k8s.io");
    let query = "?ports=9001&ports=9000";
    let (mut socket, _) = open(&house, container.name(), query, raw, house.token()).unwrap();
    let mut heard = BTreeMap::new();
    say(&mut socket, false, 2, b"still here");
    listen(&mut socket, &mut heard, |heard: &BTreeMap<u8, Vec<u8>>| {
        let ends = |channel, text: &[u8]| {
            heard
                .get(&channel)
                .is_some_and(|bytes: &Vec<u8>| bytes.ends_with(text))
        };
        ends(2, b"still here") && ends(1, b"(ask the platform team)")
    });
    let told = String::from_utf8_lossy(&heard[&1][2..]).into_owned();
    assert!(
        told.contains("`port 9001` refused by rule `no-word`: it only says a word"),
        "{told}"
    );
    // Nothing of the port came through.
    assert_eq!(heard.get(&0).map_or(0, |bytes| bytes.len() - 2), 0);
    socket.close(None).unwrap();
    let refused = events(&house, "port.refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    for (key, value) in [
        ("code", "FWD-002"),
        ("decision", "deny"),
        ("rule", "no-word"),
    ] {
        assert_eq!(refused[0][key], value, "{}", refused[0]);
    }
    assert_eq!(refused[0]["port"], 9001);
    assert_eq!(refused[0]["principal"]["user"], "alice");
    assert_eq!(refused[0]["target"]["pod"], container.name());
    let forwarded = events(&house, "port.forward");
    assert_eq!(forwarded.len(), 1, "{forwarded:?}");
    assert_eq!(
        (&forwarded[0]["decision"], &forwarded[0]["rule"]),
        (&"alert".into(), &"told".into())
    );
    assert_eq!(refused[0]["session"], forwarded[0]["session"]);
}

#[test]
fn a_request_for_none_but_forbidden_ports_is_refused_before_the_101() {
    let (house, container) = policed();
    let raw = Some("v4.channel.k8s.io");
    // Nobody is there to be asked.
    let query = "?ports=9001&ports=7000";
    let refused = open(&house, container.name(), query, raw, house.token());
    let (code, text) = refused.map(|_| ()).unwrap_err();
    assert_eq!(code, 403, "{text}");
    assert!(text.contains("no-word") && text.contains("asked"), "{text}");
    let ports: Vec<_> = events(&house, "port.refused")
        .iter()
        .map(|event| (event["port"].as_u64(), event["decision"].clone()))
        .collect();
    assert_eq!(
        ports,
        [(Some(9001), "deny".into()), (Some(7000), "ask".into())]
    );
    assert!(events(&house, "session.start").is_empty());
}

/// One session of `dockctl` for two ports, and other rules while it is open.
#[test]
fn each_connection_of_a_session_is_judged_by_the_rules_in_force() {
    let (house, container) = policed();
    let mut command = house.dockctl();
    command.args(["port-forward", container.name(), ":9000", ":9001"]);
    let program = Program::start(&mut command, Input::Nothing);
    program.expect("-> 9001");
    let said = program.stdout();
    let local = |remote: &str| -> u16 {
        let line = said.lines().find(|line| line.ends_with(remote)).unwrap();
        let address = line.split(' ').nth(2).unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    };
    let (echo, word) = (local("9000"), local("9001"));
    let answer = |port: u16| -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = String::new();
        // The port may have said its word and closed before all is said to it: what it said is
        // there all the same.
        let _closed = stream.write_all(b"hello");
        let _closed = stream.shutdown(Shutdown::Write);
        let _reset = stream.read_to_string(&mut text);
        text
    };
    assert_eq!(answer(echo), "hello");
    assert_eq!(answer(word), "");
    let told = || program.stderr();
    assert!(
        eventually(LIMIT, || told().contains("no-word")),
        "{}",
        told()
    );
    assert_eq!(answer(echo), "hello");

    let rules = RULES.replace("[9001]", "[9000]");
    fs::write(house.data().join("rules.yaml"), rules).unwrap();
    let reloaded = || events(&house, "policy.reloaded").len() == 1;
    assert!(eventually(LIMIT, reloaded));
    assert_eq!(answer(word), "bye\n");
    assert_eq!(answer(echo), "");
    let ports: Vec<_> = house
        .audit()
        .iter()
        .filter_map(|event| Some((event["code"].as_str()?.to_owned(), event["port"].as_u64()?)))
        .collect();
    let expected = [
        ("FWD-001", 9000),
        ("FWD-002", 9001),
        ("FWD-001", 9000),
        ("FWD-001", 9001),
        ("FWD-002", 9000),
    ];
    let expected = expected.map(|(code, port)| (code.to_owned(), port));
    assert_eq!(ports, expected);
}
