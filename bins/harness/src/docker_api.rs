use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use dockin_stream::{
    StreamSet,
    docker::hijack::{self, Answer, ExecStart, HijackError},
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::Docker;

/// The API of a Docker daemon, as its own clients use it.
#[derive(Clone, Debug)]
pub struct DockerApi {
    socket: PathBuf,
    /// `1.NN`, in front of every path.
    version: String,
}

/// A connection that a daemon has left to a process.
#[derive(Debug)]
pub struct Hijacked {
    /// The connection.
    pub socket: UnixStream,
    /// What came right behind the head.
    pub early: Bytes,
    /// What the head says.
    pub answer: Answer,
}

/// How a client asks for a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: with the headers or without.
pub enum Asking {
    /// `Upgrade: tcp`, as clients do: 101.
    Upgrade,
    /// Without: 200, and the connection is the process's all the same.
    Plain,
}

impl DockerApi {
    /// That of `docker`, in `version` (`1.NN`).
    ///
    /// # Panics
    ///
    /// It is not on a Unix socket.
    #[must_use]
    pub fn new(docker: &Docker, version: &str) -> Self {
        let socket = docker
            .host()
            .strip_prefix("unix://")
            .expect("a Unix socket");
        Self {
            socket: socket.into(),
            version: version.to_owned(),
        }
    }

    /// The newest version that `docker` knows.
    ///
    /// # Panics
    ///
    /// It does not answer.
    pub async fn newest(docker: &Docker) -> Self {
        let mut api = Self::new(docker, "1.24");
        let known = api.json(Method::GET, "/version", None).await;
        let newest = known.get("ApiVersion").and_then(Value::as_str);
        let newest = newest.expect("a version");
        newest.clone_into(&mut api.version);
        api
    }

    /// `1.NN`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A request as it is, and its answer.
    ///
    /// # Panics
    ///
    /// There is no answer.
    pub async fn forward(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let socket = UnixStream::connect(&self.socket).await.expect("docker");
        let handshake = http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = handshake.expect("HTTP");
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }

    /// Asks for `path`; the answer is to come.
    ///
    /// # Panics
    ///
    /// There is no answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response<Incoming> {
        let body = body.map(|value| value.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/v{}{path}", self.version))
            .header("host", "docker")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        self.forward(request).await
    }

    /// What `path` answers; `null` when that is no JSON.
    ///
    /// # Panics
    ///
    /// There is no answer, or a refusal.
    pub async fn json(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, value) = self.try_json(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {value}");
        value
    }

    /// What `path` answers, a refusal too.
    ///
    /// # Panics
    ///
    /// There is no answer.
    pub async fn try_json(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let answer = self.ask(method, path, body).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body");
        let value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        (status, value)
    }

    /// Makes an exec; its id.
    ///
    /// # Panics
    ///
    /// The daemon refuses.
    pub async fn create_exec(&self, container: &str, argv: &[&str], streams: StreamSet) -> String {
        let wanted = json!({
            "AttachStdin": streams.stdin,
            "AttachStdout": streams.stdout,
            "AttachStderr": streams.stderr,
            "Tty": streams.tty,
            "Cmd": argv,
        });
        let path = format!("/containers/{container}/exec");
        let made = self.json(Method::POST, &path, Some(wanted)).await;
        let id = made.get("Id").and_then(Value::as_str);
        id.expect("an id").to_owned()
    }

    /// Starts an exec and takes its stream.
    ///
    /// # Errors
    ///
    /// What the daemon answers instead.
    pub async fn start_exec(
        &self,
        id: &str,
        tty: bool,
        asking: Asking,
    ) -> Result<Hijacked, HijackError> {
        let start = ExecStart { detach: false, tty };
        let path = format!("/exec/{id}/start");
        self.hijack(&path, &start.to_json(), tty, asking).await
    }

    /// Joins a container's own process.
    ///
    /// # Errors
    ///
    /// What the daemon answers instead.
    pub async fn attach(
        &self,
        container: &str,
        streams: StreamSet,
        asking: Asking,
    ) -> Result<Hijacked, HijackError> {
        let query = hijack::attach_query(streams);
        let path = format!("/containers/{container}/attach?{query}");
        self.hijack(&path, "", streams.tty, asking).await
    }

    /// The exit code of an exec that has ended.
    ///
    /// # Panics
    ///
    /// The daemon does not know it.
    pub async fn exit_code(&self, id: &str) -> i64 {
        loop {
            let exec = self
                .json(Method::GET, &format!("/exec/{id}/json"), None)
                .await;
            if exec.get("Running") == Some(&Value::Bool(false)) {
                let code = exec.get("ExitCode").and_then(Value::as_i64);
                return code.expect("a code");
            }
            // The stream may end before the daemon has seen the process end.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Asks for a stream, byte by byte as a client that knows no library.
    ///
    /// # Errors
    ///
    /// What the daemon answers instead.
    ///
    /// # Panics
    ///
    /// The daemon breaks off.
    pub async fn hijack(
        &self,
        path: &str,
        body: &str,
        tty: bool,
        asking: Asking,
    ) -> Result<Hijacked, HijackError> {
        let mut socket = UnixStream::connect(&self.socket).await.expect("docker");
        let mut head = format!(
            "POST /v{}{path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n",
            self.version,
            body.len()
        );
        if asking == Asking::Upgrade {
            for (name, value) in hijack::REQUEST_HEADERS {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let request = format!("{head}\r\n{body}");
        socket.write_all(request.as_bytes()).await.expect("docker");
        let mut bytes = BytesMut::new();
        let end = loop {
            let found = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(position) = found {
                break position + 4;
            }
            let count = socket.read_buf(&mut bytes).await.expect("docker");
            assert!(count > 0, "docker broke off: {bytes:?}");
        };
        let head = bytes.split_to(end);
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|code| code.parse().ok()).expect("a status");
        let headers = lines.filter_map(|line| line.split_once(": "));
        let answer = Answer::parse(status, headers, tty)?;
        Ok(Hijacked {
            socket,
            early: bytes.freeze(),
            answer,
        })
    }
}
