//! A house for clients of Dockin-Ops, and a client that asks and types as theirs do.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use dockin_core::compat::EnvelopeKey;
use dockin_harness::{Container, House, HouseOptions, Input, binary, finish};
use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket, client::IntoClientRequest};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// A change of a file is seen within a quarter of a second.
pub(crate) const SEEN: Duration = Duration::from_millis(600);
pub(crate) const PASSWORD: &str = "correct horse battery";
/// The key that every client of the field has compiled in: nothing may hang on its secrecy.
pub(crate) const KEY: &[u8] = b"doc-opserver8085";
pub(crate) const RULES: &str = "
name: shop
contact: ops@example.com
rules:
  - { id: no-delete, effect: forbid, commands: [rm] }
";
/// Where the proxy of these tests is, and a stranger.
pub(crate) const PROXY: &str = "127.0.0.2";
pub(crate) const STRANGER: &str = "127.0.0.3";

/// A house with bob, who may do everything, and eve, who may only look.
pub(crate) struct Ops {
    pub(crate) house: House,
    pub(crate) container: Container,
    pub(crate) door: SocketAddr,
    pub(crate) token: String,
}

impl Ops {
    pub(crate) fn start(commands: &str) -> Self {
        let off = "# dockin_ops: { key: ops.key, rules: { default: { whitelist: [127.0.0.1] } } }";
        let on = format!(
            "dockin_ops:\n  key: ops.key\n  listen: 127.0.0.1:0\n  shell: /bin/sh\n  \
             trusted_proxies: [{PROXY}]\n{commands}  \
             rules: {{ default: {{ whitelist: [127.0.0.1] }}, far: {{ whitelist: [192.0.2.1] }} }}"
        );
        let audit = "audit: audit/audit.jsonl\n";
        let recording = format!("{audit}recording: {{ directory: recordings }}\n");
        let mut house = House::start(&HouseOptions {
            rules: Some(RULES.to_owned()),
            access: vec![
                r#"{ users: [eve], verbs: [list, get], clusters: ["*"], namespaces: ["*"] }"#
                    .to_owned(),
            ],
            edits: vec![(off.to_owned(), on), (audit.to_owned(), recording)],
            prepare: Some(write_key),
            ..HouseOptions::default()
        });
        let door = door(&mut house);
        for (user, group) in [("bob", "admins"), ("eve", "nobody")] {
            add_account(&house, user, group);
        }
        thread::sleep(SEEN);
        let container = house.docker().container(
            &["--label", "dockin.webank.com/dcn=1C1"],
            &["sleep", "2147483647"],
        );
        let mut ops = Self {
            house,
            container,
            door,
            token: String::new(),
        };
        ops.token = ops.auth("bob");
        ops
    }

    /// Starts the gateway again, with what its configuration says now.
    pub(crate) fn restart(&mut self) {
        self.house.restart_gateway();
        self.door = door(&mut self.house);
    }

    /// A request as opsctl sends it, from an address, with more headers.
    pub(crate) fn get_from(&self, from: &str, path: &str, headers: &[&str]) -> (u16, String) {
        let mut stream = connect(from, self.door);
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!(
            "GET /v1/dockin/opserver/{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: \
             Go-http-client/1.1\r\nCache-Control: no-cache\r\n{headers}Connection: close\r\n\r\n",
            self.door
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_owned())
    }

    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Value {
        let (status, body) = self.get_from("127.0.0.1", path, headers);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or(Value::String(body))
    }

    pub(crate) fn auth(&self, user: &str) -> String {
        let path = format!(
            "ctrl/auth?userName={user}&password={}&rule=default",
            sealed(PASSWORD)
        );
        let told = self.get(&path, &[]);
        assert_eq!(
            (&told["Code"], &told["Message"]),
            (&json!(0), &json!("Success")),
            "{told}"
        );
        told["Data"].as_str().unwrap().to_owned()
    }

    /// The envelope of opsctl: its keys, all of them, in its order.
    pub(crate) fn params(&self, name: &str, token: &str, flags: &[&str], inner: &Value) -> String {
        let (name, token) = (json!(name), json!(token));
        let flags = if flags.is_empty() {
            Value::Null
        } else {
            json!(flags)
        };
        let text = format!(
            r#"{{"command":"exec","resource":"pod","name":{name},"printType":"wide","flags":{flags},"params":{inner},"userName":"","password":"","accessToken":{token},"env":null,"user":"","workDir":"","container":"op_server"}}"#
        );
        format!("params={}", sealed(&text))
    }

    pub(crate) fn common_exec(&self, token: &str, flags: &[&str]) -> Value {
        let params = self.params(self.container.name(), token, flags, &json!({}));
        self.get(&format!("common-exec?{params}"), &[])
    }

    /// Opens a terminal.
    pub(crate) fn terminal(
        &self,
        route: &str,
        token: &str,
        flags: &[&str],
    ) -> Result<Terminal, String> {
        let size = json!({ "height": 30, "width": 100, "tty": true });
        let params = self.params(self.container.name(), token, flags, &size);
        let url = format!("ws://{}/v1/dockin/opserver/{route}?{params}", self.door);
        let stream = connect("127.0.0.1", self.door);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        match tungstenite::client(url.into_client_request().unwrap(), stream) {
            Ok((socket, response)) => {
                assert!(!response.headers().contains_key("sec-websocket-protocol"));
                let glance = Some(Duration::from_millis(200));
                socket.get_ref().set_read_timeout(glance).unwrap();
                let shown = String::new();
                Ok(Terminal { socket, shown })
            }
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                assert_eq!(response.status().as_u16(), 200);
                let body = response.body().clone().unwrap_or_default();
                Err(String::from_utf8_lossy(&body).into_owned())
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let audit = self.house.audit().into_iter();
        audit.filter(|event| event["event"] == kind).collect()
    }
}

/// A client's end of a terminal.
pub(crate) struct Terminal {
    pub(crate) socket: WebSocket<TcpStream>,
    pub(crate) shown: String,
}

impl Terminal {
    /// Types as opsctl does: one message for each character.
    pub(crate) fn send(&mut self, keys: &str) {
        for key in keys.chars() {
            let key = json!(key.to_string());
            let message = format!(r#"{{"type":"cmd","cmd":{key},"cols":0,"rows":0,"cmdLine":""}}"#);
            self.socket.send(Message::text(message)).unwrap();
        }
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let message =
            format!(r#"{{"type":"resize","cmd":"","cols":{columns},"rows":{rows},"cmdLine":""}}"#);
        self.socket.send(Message::text(message)).unwrap();
    }

    /// Reads until `words` are shown behind what was expected before.
    pub(crate) fn expect(&mut self, words: &str) {
        let seen = self.shows(words, LIMIT);
        assert!(seen, "no `{words}` in `{}`", self.shown);
    }

    /// Whether `words` are shown within `limit` behind what was expected before.
    pub(crate) fn shows(&mut self, words: &str, limit: Duration) -> bool {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.shown.find(words) {
                self.shown.drain(..at + words.len());
                return true;
            }
            if begun.elapsed() > limit {
                return false;
            }
            match self.socket.read() {
                Ok(Message::Text(text)) => self.shown.push_str(&text),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                other => panic!("{other:?} and no `{words}` in `{}`", self.shown),
            }
        }
    }

    /// Types until the shell answers: behind a refusal the line may not be empty yet.
    pub(crate) fn answers(&mut self, word: &str) {
        let (front, back) = word.split_at(2);
        let begun = Instant::now();
        loop {
            self.send(&format!("\recho {front}''{back}\r"));
            if self.shows(&format!("\n{word}"), Duration::from_secs(2)) {
                break;
            }
            assert!(begun.elapsed() < LIMIT, "no `{word}` in `{}`", self.shown);
        }
        // What is on its way from a try before.
        thread::sleep(Duration::from_millis(200));
    }

    /// Reads to the end, and hangs up as opsctl does: code and reason of the Close frame.
    pub(crate) fn end(&mut self) -> (u16, String) {
        let begun = Instant::now();
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.shown.push_str(&text),
                Ok(Message::Close(Some(frame))) => {
                    self.socket.get_ref().shutdown(Shutdown::Both).unwrap();
                    return (frame.code.into(), frame.reason.to_string());
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(begun.elapsed() < LIMIT, "no end behind `{}`", self.shown);
                }
                Err(error) => panic!("{error} behind `{}`", self.shown),
            }
        }
    }
}

fn door(house: &mut House) -> SocketAddr {
    let log = house.gateway().log();
    let (_, door) = log.split_once("clients of Dockin-Ops on http://").unwrap();
    door.split_whitespace().next().unwrap().parse().unwrap()
}

fn write_key(data: &Path) {
    let path = data.join("ops.key");
    fs::write(&path, KEY).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn add_account(house: &House, user: &str, group: &str) {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["account", "add", "--user", user, "--group", group, "--data"])
        .arg(house.data());
    let password = format!("{PASSWORD}\n");
    let got = finish(&mut command, Input::Bytes(password.as_bytes()), LIMIT);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
}

pub(crate) fn sealed(text: &str) -> String {
    sealed_with(KEY, text)
}

pub(crate) fn sealed_with(key: &[u8], text: &str) -> String {
    let key = EnvelopeKey::new(key).unwrap();
    key.seal([7; 16], text.as_bytes()).unwrap()
}

/// A connection from an address of this machine.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(from.parse().unwrap(), 0))
            .unwrap();
        socket.connect(to).await.unwrap()
    });
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}
