use std::{future::Future, path::PathBuf, sync::OnceLock, time::Duration};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as DockerError};
use bytes::Bytes;
use dockin_stream::{
    docker::{
        Shape,
        hijack::{self, Answer},
    },
    io::into_socket,
};
use http::{Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::UnixStream, time::timeout};

use crate::{Error, ErrorKind};

/// How long the daemon may take for an answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of an error answer that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// One Docker daemon behind a Unix socket. It gets [`DEADLINE`] for every answer.
pub(super) struct Daemon {
    socket: PathBuf,
    /// Made on first use: the client refuses a socket that is not there, and the daemon may be
    /// started after us.
    client: OnceLock<Docker>,
}

/// A connection whose HTTP is over: both directions are raw from here on.
pub(super) struct Hijacked {
    pub(super) socket: UnixStream,
    /// What came right behind the answer's head; it belongs to the stream.
    pub(super) early: Bytes,
    /// How output stands on it.
    pub(super) shape: Shape,
}

impl Daemon {
    pub(super) fn new(host: Option<&str>) -> Result<Self, Error> {
        let path = match host {
            None => DEFAULT_SOCKET,
            Some(host) => host
                .strip_prefix("unix://")
                .filter(|path| path.starts_with('/'))
                .ok_or_else(|| not_a_socket(host))?,
        };
        Ok(Self {
            socket: PathBuf::from(path),
            client: OnceLock::new(),
        })
    }

    /// The client whose calls [`ask`](Self::ask) waits for.
    pub(super) fn client(&self) -> Result<&Docker, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let path = self
            .socket
            .to_str()
            .ok_or_else(|| not_a_socket(&self.name()))?;
        let made = Docker::connect_with_unix(path, DEADLINE.as_secs(), API_DEFAULT_VERSION)
            .map_err(|error| self.failure(error))?;
        Ok(self.client.get_or_init(|| made))
    }

    /// Agrees on the newest API version that both sides know.
    pub(super) async fn negotiate(&self) -> Result<(), Error> {
        // The clone shares the version it stores.
        self.ask(self.client()?.clone().negotiate_version())
            .await
            .map(drop)
    }

    /// Waits for `call`, at most [`DEADLINE`].
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, Error> {
        match timeout(DEADLINE, call).await {
            Ok(answer) => answer.map_err(|error| self.failure(error)),
            Err(_elapsed) => Err(self.silent()),
        }
    }

    /// Sends a request whose answer hands the connection over, as exec start and attach do. `tty`
    /// is what the exec or the container was made with.
    ///
    /// Spec: Docker Engine API, "Hijacking" of `ContainerAttach`.
    pub(super) async fn hijack(
        &self,
        path: &str,
        body: Option<String>,
        tty: bool,
    ) -> Result<Hijacked, Error> {
        let mut request = self.request(Method::POST, path)?;
        for (name, value) in hijack::REQUEST_HEADERS {
            request = request.header(name, value);
        }
        let response = self.send(request, body).await?;
        let headers: Vec<(&str, &str)> = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let answer = Answer::parse(response.status().as_u16(), headers.into_iter(), tty);
        let answer = answer.map_err(|error| self.no_handover().with_source(error))?;
        if !answer.upgraded {
            return Err(self.no_handover());
        }
        let lost = |error| self.unavailable("lost the connection").with_source(error);
        let upgraded = hyper::upgrade::on(response).await.map_err(lost)?;
        let (socket, early) = into_socket::<UnixStream>(upgraded)
            .map_err(|_| self.unavailable("connection is of another kind"))?;
        Ok(Hijacked {
            socket,
            early,
            shape: answer.shape,
        })
    }

    fn no_handover(&self) -> Error {
        Error::new(
            ErrorKind::Misbehaved,
            format!(
                "docker at `{}` did not hand its connection over",
                self.name()
            ),
        )
    }

    /// Sends a GET whose answer is read as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Response<Incoming>, Error> {
        let request = self.request(Method::GET, path)?;
        self.send(request, None).await
    }

    /// Sends over a connection of its own, since it is handed over or read to its end.
    async fn send(
        &self,
        request: request::Builder,
        body: Option<String>,
    ) -> Result<Response<Incoming>, Error> {
        let request = request
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| {
                Error::new(ErrorKind::Malformed, "not a request for docker").with_source(error)
            })?;
        match timeout(DEADLINE, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(self.silent()),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let away = |error| self.unavailable("does not answer").with_source(error);
        let socket = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unavailable("is not reachable").with_source(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(away)?;
        // It ends with the answer's body, or when the connection is handed over.
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to docker ended early");
            }
        });
        let response = sender.send_request(request).await.map_err(away)?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = Limited::new(response.into_body(), MAX_ERROR_BODY);
        let text = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Err(self.unavailable("does not answer").with_source(error)),
        };
        let message = serde_json::from_slice::<Refusal>(&text)
            .unwrap_or_default()
            .message;
        Err(self.refused(status.as_u16(), &message))
    }

    fn request(&self, method: Method, path: &str) -> Result<request::Builder, Error> {
        let version = self.client()?.client_version();
        let path = format!(
            "/v{}.{}{path}",
            version.major_version, version.minor_version
        );
        Ok(Request::builder().method(method).uri(path))
    }

    /// The socket, for messages.
    pub(super) fn name(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// `Unavailable`, with the socket and `what` is wrong with it.
    pub(super) fn unavailable(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("docker at `{}` {what}", self.name()),
        )
    }

    fn silent(&self) -> Error {
        self.unavailable(&format!("did not answer within {} s", DEADLINE.as_secs()))
    }

    fn refused(&self, status: u16, message: &str) -> Error {
        let kind = match status {
            400 => ErrorKind::Malformed,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            _ => ErrorKind::Unavailable,
        };
        Error::new(
            kind,
            format!("docker at `{}` refused: {message}", self.name()),
        )
    }

    pub(super) fn failure(&self, error: DockerError) -> Error {
        match error {
            DockerError::DockerResponseServerError {
                status_code,
                message,
            } => self.refused(status_code, &message),
            DockerError::RequestTimeoutError => self.silent(),
            DockerError::SocketNotFoundError(_) => {
                self.unavailable("is not reachable: there is no such socket")
            }
            error => self.unavailable("does not answer").with_source(error),
        }
    }
}

fn not_a_socket(host: &str) -> Error {
    Error::new(
        ErrorKind::Misuse,
        format!("docker host `{host}` is not `unix:///path/to/docker.sock`"),
    )
}

/// The daemon's error object.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}
