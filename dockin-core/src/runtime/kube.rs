//! Pods of a kube-apiserver, reached as the person who asks, by impersonation.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use dockin_stream::{
    StreamSet, Subprotocol,
    io::Endpoint,
    upgrade::{Offer, Protocol},
};
use futures::StreamExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper_util::rt::TokioIo;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;

use super::{BoxSession, LogOptions, LogStream, PortStream, Runtime, kube_session::KubeSession};
use crate::{
    Error, ErrorKind,
    access::Permit,
    directory::{Container, Pod},
    identity::Principal,
    kubernetes::{ExecOptions, LogQuery},
    service::{Body, BodyError, dial_over_spdy, refusal},
};

/// A kube-apiserver, with the gateway's own credential for it.
pub struct KubeCluster {
    name: String,
    client: Client,
}

/// A kube-apiserver as one person sees it.
pub struct KubeRuntime {
    name: String,
    client: Client,
    principal: Arc<Principal>,
}

/// The section that makes a kubeconfig one of Dockin's.
#[derive(Debug, Deserialize)]
struct DockinSection {
    #[serde(rename = "cluster-id")]
    cluster_id: String,
}

#[derive(Debug, Deserialize)]
struct WithSection {
    dockin: Option<DockinSection>,
}

/// Bytes of a pod object that is read whole.
const MAX_POD: usize = 4 * 1024 * 1024;
/// How long connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the head of an answer may take. kubectl asks twice for a session, over WebSocket and
/// then over SPDY, and its user waits for both.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl KubeCluster {
    /// The cluster of a kubeconfig file that has a `dockin:` section with its `cluster-id`.
    ///
    /// # Errors
    ///
    /// `Misuse` that names the file and what is wrong with it. A kubeconfig that turns
    /// certificate checks off, does without TLS or impersonates on its own is refused.
    pub async fn from_kubeconfig(name: &str, path: &Path) -> Result<Self, Error> {
        let wrong = |what: String| {
            Error::new(
                ErrorKind::Misuse,
                format!("kubeconfig {}: {what}", path.display()),
            )
        };
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| wrong("cannot be read".to_owned()).with_source(error))?;
        let section: WithSection = serde_saphyr::from_str(&text)
            .map_err(|error| wrong("is not YAML".to_owned()).with_source(error.to_string()))?;
        let section = section.dockin.ok_or_else(|| {
            wrong("has no `dockin:` section: add `dockin: { cluster-id: NAME }`".to_owned())
        })?;
        if section.cluster_id != name {
            return Err(wrong(format!(
                "its `cluster-id` is `{}`, the gateway's configuration calls it `{name}`",
                section.cluster_id
            )));
        }
        let kubeconfig = Kubeconfig::from_yaml(&text)
            .map_err(|error| wrong("is no kubeconfig".to_owned()).with_source(error))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| wrong("cannot be used".to_owned()).with_source(error))?;
        if config.accept_invalid_certs {
            return Err(wrong(
                "`insecure-skip-tls-verify` is not accepted: give `certificate-authority`"
                    .to_owned(),
            ));
        }
        if config.cluster_url.scheme_str() != Some("https") {
            return Err(wrong(
                "`server` must be an https URL: the credential is sent to it".to_owned(),
            ));
        }
        let own = &config.auth_info;
        if own.impersonate.is_some()
            || own.impersonate_uid.is_some()
            || own.impersonate_groups.is_some()
            || own.impersonate_user_extra.is_some()
        {
            // It would be sent beside, or instead of, the person who asks.
            return Err(wrong(
                "`as` and what begins with it are not accepted: the gateway impersonates who asks"
                    .to_owned(),
            ));
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Up to 15 times, over minutes; an exec may have been started by a request that failed.
        config.default_retry = false;
        let client = Client::try_from(config)
            .map_err(|error| wrong("gives no client".to_owned()).with_source(error))?;
        Ok(Self {
            name: name.to_owned(),
            client,
        })
    }

    /// The cluster as `principal` sees it.
    #[must_use]
    pub fn for_principal(&self, principal: &Arc<Principal>) -> KubeRuntime {
        KubeRuntime {
            name: self.name.clone(),
            client: self.client.clone(),
            principal: Arc::clone(principal),
        }
    }
}

impl KubeRuntime {
    /// Sends a request that only reads, as the principal, and streams the answer back as it is,
    /// refusals of the apiserver included.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the apiserver does not answer within 10 s, `Misbehaved` when it answers
    /// with a redirect or does not know the gateway's own credential.
    pub async fn read(
        &self,
        path_and_query: &str,
        accept: Option<&HeaderValue>,
    ) -> Result<Response<Body>, Error> {
        let mut request = self.request(Method::GET, path_and_query)?;
        if let Some(accept) = accept {
            request.headers_mut().insert(header::ACCEPT, accept.clone());
        }
        let (mut parts, body) = self.answer(request).await?.into_parts();
        for name in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ] {
            parts.headers.remove(name);
        }
        let body = body.map_err(BodyError::from).boxed_unsync();
        Ok(Response::from_parts(parts, body))
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
                format!("cluster `{}` gave a pod that cannot be read", self.name),
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
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .body(kube::client::Body::empty())
            .map_err(|error| Error::new(ErrorKind::Malformed, "request").with_source(error))?;
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| {
                Error::new(ErrorKind::Malformed, "user or group name cannot be sent on")
                    .with_source(error)
            })
        };
        let headers = request.headers_mut();
        headers.insert(
            HeaderName::from_static("impersonate-user"),
            value(&self.principal.user)?,
        );
        for group in &self.principal.groups {
            headers.append(HeaderName::from_static("impersonate-group"), value(group)?);
        }
        Ok(request)
    }

    /// Sends, and waits for the head of the answer for as long as it takes.
    async fn send(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<kube::client::Body>, Error> {
        let sent = self.client.send(request).await;
        let response =
            sent.map_err(|error| self.unavailable("does not answer").with_source(error))?;
        let status = response.status();
        let misbehaved = |what: &str| {
            let message = format!("the kube-apiserver of cluster `{}` {what}", self.name);
            Err(Error::new(ErrorKind::Misbehaved, message))
        };
        if status == StatusCode::UNAUTHORIZED {
            // The person who asks is known here; it is not him who must log in.
            return misbehaved("refuses the gateway's own credential");
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
            let message = format!("cluster `{}` does not switch protocols", self.name);
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
        Ok(Box::pin(KubeSession::new(endpoint, &self.name, takes_keys)))
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("the kube-apiserver of cluster `{}` {what}", self.name),
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
