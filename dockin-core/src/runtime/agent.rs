//! Pods behind a node agent: its kubelet-like API over mutual TLS.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dockin_stream::{
    StreamSet, Subprotocol, channel,
    io::{Endpoint, EndpointError},
    upgrade::Offer,
};
use futures::{SinkExt, StreamExt, TryStreamExt};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyStream;

use super::{BoxSession, LogOptions, LogStream, PortStream, Runtime, SESSION_HEADER, USER_HEADER};
use crate::{
    Error, ErrorKind,
    access::Permit,
    directory::{Directory, Pod},
    identity::{AgentList, agent_list::Listed},
    kubernetes::{ExecOptions, LogQuery, pod_not_found},
    percent_encode,
    service::{Body, BoxIo, HttpEndpoint, dial_over_spdy, empty, upgraded},
    tls::{self, Live},
};

/// The gateway's side of mutual TLS with its agents.
#[derive(Clone)]
pub struct AgentsTls {
    tls: Live<rustls::ClientConfig>,
    list: Option<Arc<AgentList>>,
}

impl AgentsTls {
    /// The side `tls`, towards agents in `list` alone; towards all that TLS finds good, without.
    pub fn new(tls: impl Into<Live<rustls::ClientConfig>>, list: Option<Arc<AgentList>>) -> Self {
        let tls = tls.into();
        Self { tls, list }
    }
}

impl From<Arc<rustls::ClientConfig>> for AgentsTls {
    fn from(config: Arc<rustls::ClientConfig>) -> Self {
        Self::new(config, None)
    }
}

/// One node agent, as runtime and as directory.
#[derive(Clone)]
pub struct AgentRuntime {
    endpoint: HttpEndpoint,
    /// Its place in the list of agents, if there is one.
    listed: Option<Arc<Listed>>,
}

impl AgentRuntime {
    /// The agent at `endpoint`, which is connected to for each request.
    #[must_use]
    pub const fn new(endpoint: HttpEndpoint) -> Self {
        Self {
            endpoint,
            listed: None,
        }
    }

    /// The agent `name` at `address` (`HOST:PORT`), spoken to with the gateway's side `side`.
    ///
    /// # Errors
    ///
    /// `Misuse` when `name` cannot be in a DNS name or `address` is not `HOST:PORT`.
    pub fn at(name: &str, address: &str, side: impl Into<AgentsTls>) -> Result<Self, Error> {
        let AgentsTls { tls, list } = side.into();
        let port = address.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok()?;
            (!host.is_empty() && port != 0).then_some(port)
        });
        if port.is_none() {
            let what = format!("address `{address}` of agent `{name}` is not HOST:PORT");
            return Err(Error::new(ErrorKind::Misuse, what));
        }
        let endpoint = HttpEndpoint::new(
            format!("agent {name}"),
            address,
            &tls::agent_name(name)?,
            tls,
        )?;
        let Some(list) = list else {
            return Ok(Self::new(endpoint));
        };
        let listed = Arc::new(Listed {
            list,
            name: name.to_owned(),
        });
        let check = Arc::clone(&listed);
        Ok(Self {
            endpoint: endpoint.with_check(check),
            listed: Some(listed),
        })
    }

    /// Asks whether it is well.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it does not answer within some seconds.
    pub async fn probe(&self) -> Result<(), Error> {
        let request = Request::get("/healthz").body(empty()).map_err(|error| {
            Error::new(ErrorKind::Misuse, "request to the agent").with_source(error)
        })?;
        self.endpoint.connect().await?.send(request).await?;
        Ok(())
    }

    async fn session(
        &self,
        permit: &Permit,
        verb: &str,
        argv: &[String],
        streams: StreamSet,
    ) -> Result<BoxSession, Error> {
        let options = ExecOptions {
            argv: argv.to_vec(),
            streams,
            container: None,
        };
        let uri = format!(
            "{}?{}",
            container_path(verb, permit)?,
            options.to_kubelet_query()
        );
        let request = self.request(permit, Method::GET, &uri)?;
        let offer = Offer::websocket(random()?, &[Subprotocol::V5]);
        let (socket, early) = self.switch(request, &offer).await?;
        let codec = channel::Client::new(Subprotocol::V5, streams, u64::from_ne_bytes(random()?));
        let name = self.endpoint.name().to_owned();
        let broken = move |error: EndpointError| {
            Error::new(
                ErrorKind::Unavailable,
                format!("connection to {name} broke"),
            )
            .with_source(error)
        };
        let endpoint = Endpoint::new(socket, codec, early);
        Ok(Box::pin(
            endpoint.map_err(broken.clone()).sink_map_err(broken),
        ))
    }

    fn request(&self, permit: &Permit, method: Method, uri: &str) -> Result<Request<Body>, Error> {
        let user = HeaderValue::from_str(&percent_encode(&permit.principal().user));
        let session = HeaderValue::from_str(&permit.session().to_string());
        let (Ok(user), Ok(session)) = (user, session) else {
            return Err(Error::new(ErrorKind::Misuse, "session header"));
        };
        Request::builder()
            .method(method)
            .uri(uri)
            .header(USER_HEADER, user)
            .header(SESSION_HEADER, session)
            .body(empty())
            .map_err(|error| {
                Error::new(ErrorKind::Malformed, "request to the agent").with_source(error)
            })
    }

    /// Sends a request that `offer` is for, and gives the connection that it becomes.
    async fn switch(
        &self,
        mut request: Request<Body>,
        offer: &Offer,
    ) -> Result<(BoxIo, Bytes), Error> {
        offer.add_to(request.headers_mut());
        let response = self.endpoint.connect().await?.send(request).await?;
        offer.check(&response).map_err(|error| {
            let message = format!("{} does not switch protocols", self.endpoint.name());
            Error::new(ErrorKind::Misbehaved, message).with_source(error)
        })?;
        upgraded(response).await
    }
}

#[async_trait]
impl Runtime for AgentRuntime {
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
        let query = LogQuery {
            options,
            ..LogQuery::default()
        };
        let uri = format!(
            "{}?{}",
            container_path("containerLogs", permit)?,
            query.to_query()
        );
        let request = self.request(permit, Method::GET, &uri)?;
        let response = self.endpoint.connect().await?.send(request).await?;
        let frames = BodyStream::new(response.into_body());
        Ok(Box::pin(frames.filter_map(|frame| async {
            match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(Error::new(
                    ErrorKind::Unavailable,
                    "connection to the agent broke in the log",
                )
                .with_source(error))),
            }
        })))
    }

    async fn dial(&self, permit: &Permit, port: u16) -> Result<Box<dyn PortStream>, Error> {
        let target = permit.target();
        let uri = format!("/portForward/{}/{}", target.namespace, target.pod);
        let request = self.request(permit, Method::POST, &uri)?;
        let (socket, early) = self.switch(request, &Offer::spdy_ports()).await?;
        dial_over_spdy(socket, early, port)
    }

    async fn ended(&self) -> Option<String> {
        let Listed { list, name } = self.listed.as_deref()?;
        let listed = list.has(name).await;
        (!listed).then(|| format!("agent `{name}` was removed"))
    }
}

#[async_trait]
impl Directory for AgentRuntime {
    async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Pod>, Error> {
        let request = Request::get("/pods").body(empty()).map_err(|error| {
            Error::new(ErrorKind::Misuse, "request to the agent").with_source(error)
        })?;
        let body = self.endpoint.connect().await?.fetch(request).await?;
        let mut pods: Vec<Pod> = serde_json::from_slice(&body).map_err(|error| {
            Error::new(
                ErrorKind::Misbehaved,
                format!(
                    "{} gave a list of pods that cannot be read",
                    self.endpoint.name()
                ),
            )
            .with_source(error)
        })?;
        if let Some(namespace) = namespace {
            pods.retain(|pod| pod.namespace == namespace);
        }
        Ok(pods)
    }

    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        let pods = self.pods(Some(namespace)).await?;
        pods.into_iter()
            .find(|pod| pod.name == name)
            .ok_or_else(|| pod_not_found(name))
    }
}

fn container_path(verb: &str, permit: &Permit) -> Result<String, Error> {
    let target = permit.target();
    let container = target
        .container
        .as_deref()
        .ok_or_else(|| Error::new(ErrorKind::Misuse, format!("`{target}` names no container")))?;
    // A target's parts are checked names: no byte of them needs escaping in a path.
    Ok(format!(
        "/{verb}/{}/{}/{container}",
        target.namespace, target.pod
    ))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "no randomness from the system").with_source(error)
    })?;
    Ok(bytes)
}
