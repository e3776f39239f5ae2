//! A real etcd on loopback, in a directory of its own.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// The server. It ends with this.
pub(crate) struct Etcd {
    directory: TempDir,
    child: Child,
    port: u16,
    secure: u16,
    peer: u16,
}

#[allow(dead_code, reason = "each test file uses a part of this")]
impl Etcd {
    /// Starts one over plain HTTP.
    pub(crate) fn start() -> Self {
        Self::begin(tempfile::tempdir().unwrap())
    }

    /// Starts one that also speaks TLS, with `server.pem`, `server.key` and `authority.pem` of
    /// the directory.
    pub(crate) fn begin(directory: TempDir) -> Self {
        let listeners: Vec<_> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |index: usize| {
            let listener: &TcpListener = &listeners[index];
            listener.local_addr().unwrap().port()
        };
        let (first, second, third) = (port(0), port(1), port(2));
        drop(listeners);
        let child = run(directory.path(), first, second, third);
        let etcd = Self {
            directory,
            child,
            port: first,
            secure: second,
            peer: third,
        };
        etcd.wait();
        etcd
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn secure_endpoint(&self) -> String {
        format!("https://localhost:{}", self.secure)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its files.
    pub(crate) fn restart(&mut self) {
        self.child = run(self.directory.path(), self.port, self.secure, self.peer);
        self.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// One call of the gateway.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    fn wait(&self) {
        let range = serde_json::json!({"key": "YQ=="});
        for _ in 0..600 {
            if self.post("kv/range", &range).is_some() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.directory.path().join("log"));
        panic!("etcd does not answer: {}", log.unwrap_or_default());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(directory: &Path, port: u16, secure: u16, peer: u16) -> Child {
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let mut urls = format!("http://127.0.0.1:{port}");
    let mut command = Command::new("etcd");
    if directory.join("server.pem").exists() {
        urls += &format!(",https://127.0.0.1:{secure}");
        let file = |name: &str| directory.join(name);
        command.arg("--cert-file").arg(file("server.pem"));
        command.arg("--key-file").arg(file("server.key"));
        command.arg("--trusted-ca-file").arg(file("authority.pem"));
        command.arg("--client-cert-auth");
    }
    let peer = format!("http://127.0.0.1:{peer}");
    command
        .arg("--data-dir")
        .arg(directory.join("data"))
        .args(["--listen-client-urls", &urls])
        .args(["--advertise-client-urls", &urls])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("etcd (Debian: etcd-server) cannot be started: {error}"))
}
