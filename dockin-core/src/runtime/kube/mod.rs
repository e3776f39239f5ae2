//! Pods of a kube-apiserver, reached as the person who asks, by impersonation.

mod breaker;
mod carrier;
mod http1;
mod kubeconfig;
#[cfg(feature = "dockin-ops")]
mod listing;
mod token_review;
mod upstreams;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dockin_stream::{
    StreamSet, Subprotocol,
    io::Endpoint,
    upgrade::{Offer, Protocol},
};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde::Deserialize;

use self::carrier::{Carrier, never_connected};
pub use self::{
    breaker::Breaker,
    kubeconfig::ClusterConfig,
    token_review::{ReviewedUser, TokenReviewStatus},
};

use super::{BoxSession, LogOptions, LogStream, PortStream, Runtime, kube_session::KubeSession};
use crate::{
    Error, ErrorKind,
    access::Permit,
    directory::{Container, Pod},
    identity::{Principal, Proof},
    kubernetes::{ExecOptions, LogQuery},
    service::{Body, dial_over_spdy, empty, refusal},
};

/// A kube-apiserver, with the gateway's own credential for it.
pub struct KubeCluster(Arc<Server>);

/// One apiserver, and the ways to it.
struct Server {
    name: String,
    /// Sessions, over HTTP/1.1, which alone can switch protocols.
    client: Client,
    /// Everything else, over HTTP/2 when the apiserver has it.
    carrier: Carrier,
    breaker: Breaker,
}

/// A kube-apiserver as one person sees it.
pub struct KubeRuntime {
    server: Arc<Server>,
    principal: Arc<Principal>,
}

/// Bytes of a pod object that is read whole.
const MAX_POD: usize = 4 * 1024 * 1024;
/// How long connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the head of an answer may take. kubectl asks twice for a session, over WebSocket and
/// then over SPDY, and its user waits for both.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of the answer to a carried request may take, if it only reads.
const READ_TIMEOUT: Duration = Duration::from_secs(25);
/// The same if it changes something: an apiserver itself gives up after a minute, admission
/// webhooks included, and only it knows whether the change was made.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(65);
/// How long a look at an apiserver's health may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Who looks: the gateway never asks for itself, and everybody may ask for the version.
const PROBE_USER: &str = "dockin:health";

impl KubeCluster {
    /// The cluster that a kubeconfig describes.
    ///
    /// # Errors
    ///
    /// `Misuse` that names the file and what is wrong with its credential.
    pub fn open(config: ClusterConfig) -> Result<Self, Error> {
        let unfit = |what: &str| {
            let message = format!("kubeconfig {}: {what}", config.path.display());
            Error::new(ErrorKind::Misuse, message)
        };
        let carrier = Carrier::new(&config.config)
            .map_err(|error| unfit("gives no client").with_source(error))?;
        let client = Client::try_from(config.config.clone())
            .map_err(|error| unfit("gives no client").with_source(error))?;
        Ok(Self(Arc::new(Server {
            name: config.name,
            client,
            carrier,
            breaker: Breaker::default(),
        })))
    }

    /// The cluster as `principal` sees it.
    #[must_use]
    pub fn for_principal(&self, principal: &Arc<Principal>) -> KubeRuntime {
        KubeRuntime {
            server: Arc::clone(&self.0),
            principal: Arc::clone(principal),
        }
    }

    /// Asks for the version, and tells the breaker whether there was an answer. An apiserver that
    /// refuses the question is well, too; its version is not known then.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it does not answer within 5 s.
    pub async fn probe(&self) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "gitVersion")]
            git_version: String,
        }

        let principal = Principal::new(PROBE_USER, Vec::new(), Proof::Internal);
        let runtime = self.for_principal(&Arc::new(principal));
        let ask = async {
            let request = runtime.head(Method::GET, "/version", HeaderMap::new())?;
            let (parts, ()) = request.into_parts();
            let answer = self
                .0
                .carrier
                .send(Request::from_parts(parts, empty()))
                .await;
            let answer = answer
                .map_err(|error| runtime.unavailable("does not answer").with_source(error))?;
            if answer.status().is_server_error() {
                return Err(runtime.unavailable("is not well"));
            }
            let known = answer.status() == StatusCode::OK;
            let body = Limited::new(answer.into_body(), MAX_POD).collect().await;
            let body = body.ok().map(|body| body.to_bytes()).filter(|_| known);
            let version = body.and_then(|body| serde_json::from_slice::<Version>(&body).ok());
            Ok(version.map(|version| version.git_version))
        };
        let answer = tokio::time::timeout(PROBE_TIMEOUT, ask).await;
        let answer =
            answer.unwrap_or_else(|_| Err(runtime.unavailable("gave no answer within 5 s")));
        match &answer {
            Ok(_) => self.0.breaker.answered(),
            Err(_) => self.0.breaker.failed(Instant::now()),
        }
        answer
    }
}

impl KubeRuntime {
    /// Carries a request to the apiserver as the principal, and its answer back as it is,
    /// refusals included. Both bodies are streamed, each as fast as its reader takes it.
    ///
    /// `headers` are the client's that may go on; who asks is added here.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the apiserver is not reached, or gives no head of an answer within 25 s
    /// to what only reads, 65 s to what does not; `Misbehaved` when it answers with a redirect or
    /// an upgrade, or does not know the gateway's own credential.
    pub async fn carry(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        self.admitted()?;
        let patience = match method {
            Method::GET | Method::HEAD => READ_TIMEOUT,
            _ => CHANGE_TIMEOUT,
        };
        let (parts, ()) = self.head(method, path_and_query, headers)?.into_parts();
        let answer = self.server.carrier.send(Request::from_parts(parts, body));
        let answer = tokio::time::timeout(patience, answer).await.map_err(|_| {
            self.unavailable(&format!("gave no answer within {} s", patience.as_secs()))
        })?;
        let answer = answer.map_err(|error| {
            if never_connected(&error) {
                self.server.breaker.failed(Instant::now());
            }
            self.unavailable("does not answer").with_source(error)
        })?;
        self.server.breaker.answered();
        let (parts, body) = self.checked(answer, false)?.into_parts();
        Ok(Response::from_parts(parts, body.boxed_unsync()))
    }

    /// Fails at once when the apiserver is known not to answer.
    fn admitted(&self) -> Result<(), Error> {
        let Err(left) = self.server.breaker.admit(Instant::now()) else {
            return Ok(());
        };
        let error = self.unavailable("did not answer lately; it is asked again in a moment");
        Err(error.with_retry_after(left))
    }

    /// One pod.
    ///
    /// # Errors
    ///
    /// What the apiserver answers, kind and message kept.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let response = self.answer(self.request(Method::GET, &path)?).await?;
        let response = self.accepted(response).await?;
        let body = Limited::new(response.into_body(), MAX_POD).collect();
        let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
        let body = body.map_err(|_| self.unavailable("stopped in the middle of its answer"))?;
        let body = body.map_err(|error| self.unavailable("broke off").with_source(error))?;
        let pod: WirePod = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            Error::new(
                ErrorKind::Misbehaved,
                format!(
                    "cluster `{}` gave a pod that cannot be read",
                    self.server.name
                ),
            )
            .with_source(error)
        })?;
        Ok(pod.into())
    }

    fn request(
        &self,
        method: Method,
        path_and_query: &str,
    ) -> Result<Request<kube::client::Body>, Error> {
        let request = self.head(method, path_and_query, HeaderMap::new())?;
        Ok(request.map(|()| kube::client::Body::empty()))
    }

    /// The head of a request, with who asks put in place of whatever `headers` say of it.
    fn head(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
    ) -> Result<Request<()>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .body(())
            .map_err(|error| Error::new(ErrorKind::Malformed, "request").with_source(error))?;
        *request.headers_mut() = headers;
        impersonate(request.headers_mut(), &self.principal)?;
        Ok(request)
    }

    /// Sends, and waits for the head of the answer for as long as it takes.
    async fn send(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<kube::client::Body>, Error> {
        self.admitted()?;
        let sent = self.server.client.send(request).await;
        let response =
            sent.map_err(|error| self.unavailable("does not answer").with_source(error))?;
        self.checked(response, true)
    }

    /// Refuses answers that nobody here may see: a redirect, and a refusal of the gateway itself.
    fn checked<B>(&self, response: Response<B>, switching: bool) -> Result<Response<B>, Error> {
        let status = response.status();
        let misbehaved = |what: &str| {
            let message = format!(
                "the kube-apiserver of cluster `{}` {what}",
                self.server.name
            );
            Err(Error::new(ErrorKind::Misbehaved, message))
        };
        if status == StatusCode::UNAUTHORIZED {
            // The person who asks is known here; it is not him who must log in.
            return misbehaved("refuses the gateway's own credential");
        }
        if status == StatusCode::SWITCHING_PROTOCOLS && !switching {
            return misbehaved("switched protocols without being asked to");
        }
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return misbehaved("answered with a redirect, which is never followed");
        }
        Ok(response)
    }

    /// Sends, and gives up after 10 s without the head of an answer.
    async fn answer(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<kube::client::Body>, Error> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.send(request)).await;
        answer.unwrap_or_else(|_| Err(self.unavailable("gave no answer within 10 s")))
    }

    /// Turns an error status into ours.
    async fn accepted(
        &self,
        response: Response<kube::client::Body>,
    ) -> Result<Response<kube::client::Body>, Error> {
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = Limited::new(response.into_body(), MAX_POD).collect();
            let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
            let body = body.ok().and_then(Result::ok);
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            return Err(refusal(status.as_u16(), &body));
        }
        Ok(response)
    }

    /// Switches to SPDY, as every kubelet and apiserver of the field knows it.
    async fn upgrade(
        &self,
        path_and_query: &str,
        offer: &Offer,
    ) -> Result<(TokioIo<hyper::upgrade::Upgraded>, Protocol), Error> {
        let mut request = self.request(Method::POST, path_and_query)?;
        offer.add_to(request.headers_mut());
        let response = self.accepted(self.answer(request).await?).await?;
        let protocol = offer.check(&response).map_err(|error| {
            let message = format!("cluster `{}` does not switch protocols", self.server.name);
            Error::new(ErrorKind::Misbehaved, message).with_source(error)
        })?;
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| {
            self.unavailable("broke off at the upgrade")
                .with_source(error)
        })?;
        Ok((TokioIo::new(upgraded), protocol))
    }

    async fn session(
        &self,
        permit: &Permit,
        verb: &str,
        argv: &[String],
        streams: StreamSet,
    ) -> Result<BoxSession, Error> {
        let target = permit.target();
        let options = ExecOptions {
            argv: argv.to_vec(),
            streams,
            container: target.container.clone(),
        };
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/{verb}?{}",
            target.namespace,
            target.pod,
            options.to_apiserver_query()
        );
        let offer = Offer::spdy(&Subprotocol::SPDY);
        let (socket, protocol) = self.upgrade(&path, &offer).await?;
        // Exec and attach always have a codec; the seed is for WebSocket.
        let codec = protocol.client_codec(streams, 0);
        let codec = codec.ok_or_else(|| Error::new(ErrorKind::Misuse, "no codec"))?;
        let endpoint = Endpoint::new(socket, codec, bytes::Bytes::new());
        // The container's own process is not ours to end.
        let takes_keys = verb == "exec" && streams.tty && streams.stdin;
        Ok(Box::pin(KubeSession::new(
            endpoint,
            &self.server.name,
            takes_keys,
        )))
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the kube-apiserver of cluster `{}` {what}",
                self.server.name
            ),
        )
    }
}

#[async_trait]
impl Runtime for KubeRuntime {
    async fn exec(
        &self,
        permit: &Permit,
        argv: &[String],
        streams: StreamSet,
    ) -> Result<BoxSession, Error> {
        self.session(permit, "exec", argv, streams).await
    }

    async fn attach(&self, permit: &Permit, streams: StreamSet) -> Result<BoxSession, Error> {
        self.session(permit, "attach", &[], streams).await
    }

    async fn logs(&self, permit: &Permit, options: LogOptions) -> Result<LogStream, Error> {
        let target = permit.target();
        let container = target.container.clone();
        let follow = options.follow;
        let query = LogQuery {
            options,
            container,
            limit_bytes: None,
        };
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/log?{}",
            target.namespace,
            target.pod,
            query.to_query()
        );
        let request = self.request(Method::GET, &path)?;
        // Apiservers before 1.28 send the head of a followed log with its first line.
        let response = if follow {
            self.send(request).await
        } else {
            self.answer(request).await
        }?;
        let frames = BodyStream::new(self.accepted(response).await?.into_body());
        Ok(Box::pin(frames.filter_map(|frame| async {
            match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(Error::new(
                    ErrorKind::Unavailable,
                    "connection to the kube-apiserver broke in the log",
                )
                .with_source(error))),
            }
        })))
    }

    async fn dial(&self, permit: &Permit, port: u16) -> Result<Box<dyn PortStream>, Error> {
        let target = permit.target();
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/portforward?ports={port}",
            target.namespace, target.pod
        );
        let (socket, _) = self.upgrade(&path, &Offer::spdy_ports()).await?;
        dial_over_spdy(Box::new(socket), bytes::Bytes::new(), port)
    }
}

/// Puts who asks into `headers`, and nobody else.
fn impersonate(headers: &mut HeaderMap, principal: &Principal) -> Result<(), Error> {
    let unfit = || {
        let what = "user, group or extra value cannot be sent on: it is no text for a header";
        Error::new(ErrorKind::Malformed, what)
    };
    let value = |text: &str| {
        // Other bytes would be read as Latin-1 by one and as UTF-8 by another.
        let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let trimmed = text.trim().len() == text.len() && !text.is_empty();
        let value = HeaderValue::from_str(text).ok();
        value.filter(|_| plain && trimmed).ok_or_else(unfit)
    };
    headers.insert(
        HeaderName::from_static("impersonate-user"),
        value(&principal.user)?,
    );
    let groups = HeaderName::from_static("impersonate-group");
    headers.remove(&groups);
    for group in &principal.groups {
        headers.append(groups.clone(), value(group)?);
    }
    for (key, values) in &principal.extra {
        let name = format!("impersonate-extra-{}", escape_key(key));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        headers.remove(&name);
        for one in values {
            headers.append(name.clone(), value(one)?);
        }
    }
    Ok(())
}

/// An extra key as a part of a header's name: what is no token there is percent-encoded.
fn escape_key(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Two digits of a byte; a `String` takes them always.
            let _always = std::fmt::Write::write_fmt(&mut escaped, format_args!("%{byte:02x}"));
        }
    }
    escaped
}

/// What is needed of a v1 Pod; the rest is the apiserver's affair.
#[derive(Deserialize)]
struct WirePod {
    metadata: WireMetadata,
    spec: WireSpec,
}

#[derive(Deserialize)]
struct WireMetadata {
    name: String,
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WireSpec {
    #[serde(rename = "nodeName", default)]
    node_name: String,
    containers: Vec<WireContainer>,
}

#[derive(Deserialize)]
struct WireContainer {
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    tty: bool,
    #[serde(default)]
    stdin: bool,
}

impl From<WirePod> for Pod {
    fn from(pod: WirePod) -> Self {
        let containers = pod.spec.containers.into_iter().map(|container| Container {
            name: container.name,
            image: container.image,
            tty: container.tty,
            stdin: container.stdin,
            ..Container::default()
        });
        Self {
            namespace: pod.metadata.namespace,
            name: pod.metadata.name,
            uid: pod.metadata.uid,
            node: pod.spec.node_name,
            labels: pod.metadata.labels,
            annotations: pod.metadata.annotations,
            containers: containers.collect(),
            ..Self::default()
        }
    }
}
