//! The node agent's service: a kubelet-like API over mutual TLS, for gateways alone.

#[cfg(feature = "authority")]
pub mod enrolment;

use std::{
    future::{pending, ready},
    sync::Arc,
};

use async_trait::async_trait;
use dockin_stream::{OpenGate, Relay};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, ErrorKind, Target,
    access::{self, Authorizer, Decision, Permit, SessionId, Verb},
    directory::Directory,
    identity::{Principal, Proof},
    kubernetes::{ExecOptions, LogQuery},
    runtime::Runtime,
    service::{
        Body, ConnectionLimits, Peer, RuntimeDialer, Server, Transport, json, port_forward,
        remote_command, serve_limited, serve_ports, status_response, stream_body, text,
    },
    session::carry,
    tls,
};

/// Serves the containers of one node to gateways.
///
/// Only a client whose certificate is for [`tls::GATEWAY_NAME`] is answered; what a gateway asks
/// is then not judged again, the gateway has judged and written it down.
pub struct Agent {
    name: String,
    runtime: Arc<dyn Runtime>,
    directory: Arc<dyn Directory>,
}

impl Agent {
    /// An agent named `name` for the containers of `runtime`.
    pub fn new<R: Runtime + Directory + 'static>(name: impl Into<String>, runtime: Arc<R>) -> Self {
        let directory = Arc::clone(&runtime) as Arc<dyn Directory>;
        Self {
            name: name.into(),
            runtime,
            directory,
        }
    }

    /// Serves `listener` until `stop`.
    pub async fn serve(
        self,
        listener: TcpListener,
        transport: impl Into<Transport>,
        stop: CancellationToken,
    ) {
        // All connections that count are a few gateways'.
        let all = ConnectionLimits::default().total;
        let limits = ConnectionLimits {
            per_address: all,
            per_user: all,
            ..ConnectionLimits::default()
        };
        serve_limited(listener, transport, limits, Arc::new(self), stop).await;
    }

    async fn route(&self, peer: Peer, request: Request<Incoming>) -> Result<Response<Body>, Error> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let get = request.method() == Method::GET;
        let upgrade = get || request.method() == Method::POST;
        if parts == ["healthz"] {
            return Ok(text(StatusCode::OK, "ok\n"));
        }
        if !peer
            .certificate_names
            .iter()
            .any(|name| name == tls::GATEWAY_NAME)
        {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "this agent serves gateways alone: show a gateway's certificate",
            ));
        }
        peer.connection.proved(tls::GATEWAY_NAME)?;
        match *parts.as_slice() {
            ["pods"] if get => {
                let pods = self.directory.pods(None).await?;
                let pods = serde_json::to_value(pods).map_err(|error| {
                    Error::new(ErrorKind::Misuse, "list of pods").with_source(error)
                })?;
                Ok(json(&pods))
            }
            ["containerLogs", namespace, pod, container] if get => {
                let permit = self
                    .permit(&request, Verb::Logs, namespace, pod, Some(container))
                    .await?;
                let now = jiff::Timestamp::now().as_second();
                let query = LogQuery::parse(request.uri().query().unwrap_or_default(), now)?;
                let log = self.runtime.logs(&permit, query.options).await?;
                Ok(Response::new(stream_body(log)))
            }
            ["exec", namespace, pod, container] if upgrade => {
                let permit = self
                    .permit(&request, Verb::Exec, namespace, pod, Some(container))
                    .await?;
                self.session(request, permit).await
            }
            ["attach", namespace, pod, container] if upgrade => {
                let permit = self
                    .permit(&request, Verb::Attach, namespace, pod, Some(container))
                    .await?;
                self.session(request, permit).await
            }
            ["portForward", namespace, pod] if upgrade => {
                let permit = self
                    .permit(&request, Verb::PortForward, namespace, pod, None)
                    .await?;
                self.ports(request, permit)
            }
            _ => Err(Error::new(
                ErrorKind::NotFound,
                format!("no such path: `{path}`"),
            )),
        }
    }

    async fn permit(
        &self,
        request: &Request<Incoming>,
        verb: Verb,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<Permit, Error> {
        let malformed = |error| Error::new(ErrorKind::Malformed, "bad target").with_source(error);
        let mut target = Target::pod(&self.name, namespace, pod).map_err(malformed)?;
        let found = self.directory.pod(namespace, pod).await?;
        target = target
            .with_container(&found.container(container)?.name)
            .map_err(malformed)?;
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let session = header(crate::runtime::SESSION_HEADER).and_then(SessionId::parse);
        let user = header(crate::runtime::USER_HEADER).unwrap_or("gateway");
        let proof = Proof::ClientCertificate;
        let principal = Arc::new(Principal::new(user, Vec::new(), proof));
        access::authorize(
            &Gateways,
            &principal,
            verb,
            target,
            session.unwrap_or_default(),
        )
        .await
    }

    async fn session(
        &self,
        mut request: Request<Incoming>,
        permit: Permit,
    ) -> Result<Response<Body>, Error> {
        let upgrade = remote_command(&request)?;
        let query = request.uri().query().unwrap_or_default();
        let (options, container) = if permit.verb() == Verb::Exec {
            let options = ExecOptions::parse_exec(query)?;
            let opened = self
                .runtime
                .exec(&permit, &options.argv, options.streams)
                .await?;
            (options, opened)
        } else {
            let options = ExecOptions::parse_attach(query)?;
            let opened = self.runtime.attach(&permit, options.streams).await?;
            (options, opened)
        };
        tracing::info!(
            session = %permit.session(), user = %permit.principal().user,
            target = %permit.target(), verb = %permit.verb(), "session opened"
        );
        let on_upgrade = hyper::upgrade::on(&mut request);
        let protocol = upgrade.protocol();
        let streams = options.streams;
        tokio::spawn(async move {
            let relay = Relay::new(OpenGate::default());
            // The gateway is told by the end of the connection.
            let never = pending();
            let write_down = |()| ready(Ok(()));
            let carried = carry(
                on_upgrade, protocol, streams, container, relay, write_down, never,
            )
            .await;
            tracing::info!(
                session = %permit.session(), outcome = ?carried.outcome,
                transferred = ?carried.transferred, "session ended"
            );
        });
        Ok(upgrade.into_response())
    }

    fn ports(
        &self,
        mut request: Request<Incoming>,
        permit: Permit,
    ) -> Result<Response<Body>, Error> {
        let upgrade = port_forward(&request)?;
        let on_upgrade = hyper::upgrade::on(&mut request);
        let protocol = upgrade.protocol();
        let dialer = Arc::new(RuntimeDialer::new(Arc::clone(&self.runtime), permit));
        tokio::spawn(async move {
            let end = serve_ports(on_upgrade, protocol, dialer, pending()).await;
            tracing::debug!(?end, "port-forward ended");
        });
        Ok(upgrade.into_response())
    }
}

impl Server for Agent {
    async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
        match self.route(peer, request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(error = error.chain(), "request refused");
                status_response(&error)
            }
        }
    }
}

/// The agent's authorizer: who gets past the certificate check is a gateway, which has asked
/// its own.
struct Gateways;

#[async_trait]
impl Authorizer for Gateways {
    async fn decide(&self, principal: &Principal, _verb: Verb, _target: &Target) -> Decision {
        match principal.proof {
            Proof::ClientCertificate => Decision::Allow,
            _ => Decision::Deny {
                reason: "not a gateway".to_owned(),
                rule: None,
            },
        }
    }
}
