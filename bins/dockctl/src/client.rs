//! An HTTPS client for the gateway's Kubernetes API: one connection for one request, which may
//! become a stream.

mod connect;
mod proxy;
mod tls;

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use dockin_core::percent_encode;
use dockin_stream::{
    Subprotocol,
    upgrade::{Offer, UpgradeError},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use self::connect::Connector;
pub(crate) use self::{connect::Wire, tls::install_provider};
use crate::{
    failure::{Failure, chain},
    kubeconfig::Connection,
};

/// Makes requests to one gateway as one user.
#[derive(Debug)]
pub(crate) struct Client {
    connector: Connector,
    /// Path in front of every request, without a slash at its end.
    base: String,
    /// The same for what belongs to the gateway and not to a cluster.
    own_base: String,
    /// `host:port` for the Host header.
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// A connection that has left HTTP behind.
#[derive(Debug)]
pub(crate) struct Upgraded {
    /// The connection itself.
    pub(crate) wire: Wire,
    /// Bytes that came right behind the answer's head.
    pub(crate) early: Bytes,
}

/// How long the gateway may take to begin an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A JSON answer, bytes.
const MAX_JSON: usize = 256 * 1024 * 1024;
/// The text of a refusal, bytes.
const MAX_REFUSAL: usize = 64 * 1024;

impl Client {
    /// A client for what a kubeconfig's context points to. Nothing is connected yet.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let authority = connection
            .server
            .authority()
            .ok_or_else(|| Failure::local("the server's URL has no host"))?;
        let authorization = match &connection.token {
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    Failure::local("the token has characters that a header cannot carry")
                })?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        // Never a part before `@`: that would be a password for all to see.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let base = connection.server.path().trim_end_matches('/');
        Ok(Self {
            connector: Connector::new(connection)?,
            own_base: own_base(base).to_owned(),
            base: base.to_owned(),
            host: HeaderValue::try_from(host)
                .map_err(|_| Failure::local("the server's host is not ASCII"))?,
            authorization,
        })
    }

    /// Gets a JSON document. `path` starts behind the server's own path.
    pub(crate) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let mut body = self.stream(path).await?.into_body();
        let bytes = read_body(&mut body, MAX_JSON).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::gateway(format!(
                "answer of {} is not as expected: {error}",
                self.connector
            ))
        })
    }

    /// Gets a body as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response<Incoming>, Failure> {
        self.get(format!("{}{path}", self.base)).await
    }

    /// Gets a text that is about the gateway, not about a cluster: `/dockin/v1/…`.
    pub(crate) async fn own_text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.get(format!("{}{path}", self.own_base)).await?;
        let bytes = read_body(&mut answer.into_body(), MAX_JSON).await?;
        String::from_utf8(bytes.into())
            .map_err(|_| Failure::gateway(format!("answer of {} is not UTF-8", self.connector)))
    }

    /// Asks the gateway itself, and gives the document that it answers.
    pub(crate) async fn own_json(
        &self,
        method: &Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<serde_json::Value, Failure> {
        let path = format!("{}{path}", self.own_base);
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let body = body.map(|body| Bytes::from(body.to_string()));
        let body = body.unwrap_or_default();
        let answer = self.request(method, &path, headers, body).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer).await);
        }
        let bytes = read_body(&mut answer.into_body(), MAX_JSON).await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Failure::gateway(format!("answer of {} is no JSON", self.connector)))
    }

    async fn get(&self, path: String) -> Result<Response<Incoming>, Failure> {
        let answer = self
            .request(&Method::GET, &path, HeaderMap::new(), Bytes::new())
            .await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer).await);
        }
        Ok(answer)
    }

    /// Makes a WebSocket of a connection, for exec or attach in version 5.
    pub(crate) async fn websocket(&self, path: &str) -> Result<Upgraded, Failure> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| Failure::local(format!("no random numbers: {error}")))?;
        let offer = Offer::websocket(nonce, &[Subprotocol::V5]);
        self.upgrade(&Method::GET, path, &offer).await
    }

    /// Makes a SPDY connection of a connection, for port-forward.
    pub(crate) async fn spdy_ports(&self, path: &str) -> Result<Upgraded, Failure> {
        self.upgrade(&Method::POST, path, &Offer::spdy_ports())
            .await
    }

    async fn upgrade(
        &self,
        method: &Method,
        path: &str,
        offer: &Offer,
    ) -> Result<Upgraded, Failure> {
        let mut headers = HeaderMap::new();
        offer.add_to(&mut headers);
        let path = format!("{}{path}", self.base);
        let answer = self.request(method, &path, headers, Bytes::new()).await?;
        match offer.check(&answer) {
            Ok(_) => self.wire(answer).await,
            // A redirect is not followed: the token is for this server only.
            Err(UpgradeError::NotSwitched { status })
                if status.is_success() || status.is_redirection() =>
            {
                Err(self.no_stream(&format!("it answered HTTP {}", status.as_u16())))
            }
            Err(UpgradeError::NotSwitched { .. }) => Err(refusal(answer).await),
            Err(error) => Err(self.no_stream(&error.to_string())),
        }
    }

    async fn wire(&self, answer: Response<Incoming>) -> Result<Upgraded, Failure> {
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| self.no_stream(&chain(&error)))?;
        let parts = upgraded
            .downcast::<TokioIo<Wire>>()
            .map_err(|_| self.no_stream("the connection is of an unknown kind"))?;
        Ok(Upgraded {
            wire: parts.io.into_inner(),
            early: parts.read_buf,
        })
    }

    fn no_stream(&self, why: &str) -> Failure {
        Failure::gateway(format!("no stream to {}: {why}", self.connector))
    }

    async fn request(
        &self,
        method: &Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = path
            .parse()
            .map_err(|error| Failure::usage(format!("cannot ask for `{path}`: {error}")))?;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("dockctl/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, */*"),
        );
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }

        let wire = self.connector.connect().await?;
        let broken = |error: hyper::Error| {
            Failure::gateway(format!(
                "no answer from {}: {}",
                self.connector,
                chain(&error)
            ))
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(wire)).await.map_err(broken)?;
        // Ends with the connection; what goes wrong there also reaches the answer or the body.
        tokio::spawn(async move {
            let _told_elsewhere = connection.with_upgrades().await;
        });
        let answer = within(ANSWER_TIMEOUT, sender.send_request(request))
            .await
            .ok_or_else(|| {
                Failure::gateway(format!(
                    "no answer from {} after {} s",
                    self.connector,
                    ANSWER_TIMEOUT.as_secs()
                ))
            })?
            .map_err(broken)?;
        Ok(answer)
    }
}

/// The path in front of the gateway's own endpoints: a cluster's without its end.
fn own_base(base: &str) -> &str {
    match base.rsplit_once('/') {
        Some((rest, _)) => rest.strip_suffix("/clusters").unwrap_or(base),
        None => base,
    }
}

/// `future`'s result, or nothing when it takes longer than `limit`.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// The failure that a refusing answer tells of.
async fn refusal(answer: Response<Incoming>) -> Failure {
    let status = answer.status();
    if status.is_redirection() {
        return Failure::gateway(format!(
            "the server answered with a redirect (HTTP {}), which is not followed",
            status.as_u16()
        ));
    }
    let mut body = answer.into_body();
    let bytes = within(Duration::from_secs(5), read_body(&mut body, MAX_REFUSAL)).await;
    Failure::from_answer(status, &bytes.and_then(Result::ok).unwrap_or_default())
}

async fn read_body(body: &mut Incoming, limit: usize) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Failure::gateway(format!("answer cut short: {}", chain(&error))))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(Failure::gateway(format!(
                "answer longer than {limit} bytes"
            )));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// A query string out of names and values, with its `?`.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    /// Adds `name=value`.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&percent_encode(value));
    }

    /// Adds `name=value` when there is a value.
    pub(crate) fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// The query string; empty without any name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Query, own_base};

    #[test]
    fn the_gateways_own_endpoints_are_above_the_clusters() {
        for (base, expected) in [
            ("", ""),
            ("/clusters/local", ""),
            ("/dockin/clusters/a", "/dockin"),
            ("/x", "/x"),
        ] {
            assert_eq!(own_base(base), expected);
        }
    }

    #[test]
    fn arguments_survive_the_query_string() {
        let mut query = Query::default();
        query.add("command", "sh");
        query.add("command", "echo a&b=c +%\nä");
        query.add_some("container", None);
        assert_eq!(
            query.as_str(),
            "?command=sh&command=echo%20a%26b%3Dc%20%2B%25%0A%C3%A4"
        );
    }
}
