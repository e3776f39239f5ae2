use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    Body,
    serve::{buffered, tune},
};
use crate::{Error, ErrorKind, tls::Live};

/// How long connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the head of an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer that is read whole.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A server that is spoken to over HTTP/1.1, with TLS unless it was made as [`plain`](Self::plain).
#[derive(Clone)]
pub struct HttpEndpoint {
    /// For messages: what the server is, such as `agent \`node1\``.
    name: String,
    address: String,
    /// Whose certificate it must have; `None` for one that is spoken to in the clear.
    tls: Option<(ServerName<'static>, Live<rustls::ClientConfig>)>,
    check: Option<Arc<dyn PeerCheck>>,
}

/// Looks at a server's certificate after the handshake has found it good: it may have been taken
/// back.
#[async_trait]
pub trait PeerCheck: Send + Sync {
    /// Whether the server with this certificate is spoken to.
    ///
    /// # Errors
    ///
    /// Why it is not.
    async fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error>;
}

/// One connection to a server, for one request.
pub struct HttpConnection {
    name: String,
    sender: http1::SendRequest<Body>,
}

impl HttpEndpoint {
    /// The server at `address` (`host:port`), whose certificate must be for `server_name`.
    ///
    /// # Errors
    ///
    /// `Misuse` when `server_name` is neither a DNS name nor an address.
    pub fn new(
        name: impl Into<String>,
        address: impl Into<String>,
        server_name: &str,
        tls: impl Into<Live<rustls::ClientConfig>>,
    ) -> Result<Self, Error> {
        let server_name = ServerName::try_from(server_name.to_owned()).map_err(|error| {
            Error::new(
                ErrorKind::Misuse,
                format!("`{server_name}` is not a server name"),
            )
            .with_source(error)
        })?;
        Ok(Self {
            name: name.into(),
            address: address.into(),
            tls: Some((server_name, tls.into())),
            check: None,
        })
    }

    /// Has `check` look at the server's certificate on each connection.
    #[must_use]
    pub fn with_check(mut self, check: Arc<dyn PeerCheck>) -> Self {
        self.check = Some(check);
        self
    }

    /// A server at `address` (`host:port`) that is spoken to without TLS: on this machine, or
    /// because somebody asked for it by name.
    pub fn plain(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            tls: None,
            check: None,
        }
    }

    /// For messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// `Unavailable`, with the address, within 5 s.
    pub async fn connect(&self) -> Result<HttpConnection, Error> {
        let unavailable = |what: &str| {
            Error::new(
                ErrorKind::Unavailable,
                format!("{} at {} {what}", self.name, self.address),
            )
        };
        let connect = async {
            let socket = TcpStream::connect(&self.address)
                .await
                .map_err(|error| unavailable("is not reachable").with_source(error))?;
            tune(&socket);
            let Some((server_name, tls)) = &self.tls else {
                return self.handshake(buffered(socket)).await;
            };
            let stream = TlsConnector::from(tls.current())
                .connect(server_name.clone(), buffered(socket))
                .await
                .map_err(|error| unavailable("refuses TLS").with_source(error))?;
            if let Some(check) = &self.check {
                let shown = stream.get_ref().1.peer_certificates();
                let shown = shown.and_then(<[_]>::first);
                let leaf = shown.ok_or_else(|| unavailable("shows no certificate"))?;
                check.check(leaf).await?;
            }
            self.handshake(stream).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| unavailable("does not answer within 5 s"))?
    }

    async fn handshake(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<HttpConnection, Error> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| {
                    Error::new(
                        ErrorKind::Unavailable,
                        format!("{} at {} does not speak HTTP", self.name, self.address),
                    )
                    .with_source(error)
                })?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "client connection ended");
            }
        });
        Ok(HttpConnection {
            name: self.name.clone(),
            sender,
        })
    }
}

impl HttpConnection {
    /// Sends the one request. The answer may be anything but a redirect: those are never
    /// followed, and an error is turned into ours.
    ///
    /// # Errors
    ///
    /// What the server answered with a status of 400 and above, kind and message kept;
    /// `Unavailable` when no answer comes within 20 s.
    pub async fn send(mut self, mut request: Request<Body>) -> Result<Response<Incoming>, Error> {
        request
            .headers_mut()
            .entry(header::HOST)
            .or_insert(http::HeaderValue::from_static("dockin"));
        let name = self.name;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.sender.send_request(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{name} broke off before its answer"),
                )
                .with_source(error));
            }
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{name} gave no answer within 20 s"),
                ));
            }
        };
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = read_body(response).await.unwrap_or_default();
            return Err(refusal(status.as_u16(), &body));
        }
        if status.is_redirection() {
            return Err(Error::new(
                ErrorKind::Misbehaved,
                format!("{name} answered with a redirect, which is never followed"),
            ));
        }
        Ok(response)
    }

    /// Sends the one request and reads the whole answer, at most 64 MiB.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn fetch(self, request: Request<Body>) -> Result<Vec<u8>, Error> {
        let name = self.name.clone();
        let response = self.send(request).await?;
        let read = tokio::time::timeout(ANSWER_TIMEOUT, read_body(response)).await;
        match read {
            Ok(Some(body)) => Ok(body),
            Ok(None) | Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{name} broke off in its answer"),
            )),
        }
    }
}

async fn read_body(response: Response<Incoming>) -> Option<Vec<u8>> {
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .ok()?;
    Some(body.to_bytes().into())
}

/// The error that a server's refusal stands for: the message of its `Status`, and the kind of
/// its code.
pub(crate) fn refusal(code: u16, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }

    let kind = match code {
        400 | 405 | 422 => ErrorKind::Malformed,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::Exhausted,
        503 | 504 => ErrorKind::Unavailable,
        _ => ErrorKind::Misbehaved,
    };
    let message = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(512).collect();
            format!("status {code}: {}", text.trim().escape_debug())
        }
    };
    Error::new(kind, message)
}
