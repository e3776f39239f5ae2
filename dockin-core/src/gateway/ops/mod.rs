//! The routes of clients of Dockin-Ops. The shapes are those of [`compat`](crate::compat); who may
//! do what, and what is written down, is decided as for every other client.

mod answer;
mod door;
mod look;
mod pages;
mod reach;
mod run;
mod sign_in;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dockin_policy::{RuleSet, access::Attributes, audit::redact_text};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use self::answer::{Shape, failure, html, plain, trace_id};
pub use self::door::OpsDoor;
use super::{AddressList, Call, Gateway, bearer};
use crate::{
    Error, ErrorKind,
    compat::{AccessToken, EnvelopeKey, OpsRequest},
    identity::{Credentials, authenticate},
    kubernetes::query::Query,
    policy::Rules,
    service::{Body, Peer},
};

/// What clients of Dockin-Ops find here. See [`GatewayBuilder::dockin_ops`].
///
/// [`GatewayBuilder::dockin_ops`]: super::GatewayBuilder::dockin_ops
#[derive(Debug)]
pub struct DockinOps {
    key: EnvelopeKey,
    rules: BTreeMap<String, AddressList>,
    proxies: Option<AddressList>,
    shell: String,
    banner: String,
    commands: Option<CommandLists>,
    /// The rules of sessions, when the lists make others of the gateway's own.
    joined: Mutex<Option<Joined>>,
    labels: OpsLabels,
}

/// The predecessor's lists of commands, and the rules that they make with the gateway's own.
#[derive(Debug)]
struct CommandLists {
    raw: Vec<String>,
    common: Vec<String>,
    filter: String,
}

/// Rules and lists as one set.
#[derive(Debug)]
struct Joined {
    /// The gateway's rules in it.
    made_of: Arc<RuleSet>,
    rules: Arc<Rules>,
}

/// The labels of a pod that tell what `rm` shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpsLabels {
    /// Name of the subsystem.
    pub subsystem: String,
    /// Its number.
    pub subsystem_id: String,
    /// Its tag.
    pub subsystem_tag: String,
    /// Data centre.
    pub dcn: String,
    /// Pod set.
    pub pod_set: String,
}

impl Default for OpsLabels {
    fn default() -> Self {
        let label = |name: &str| format!("dockin.webank.com/{name}");
        Self {
            subsystem: label("subsystem"),
            subsystem_id: label("subsystem-id"),
            subsystem_tag: label("subsystem-tag"),
            dcn: label("dcn"),
            pod_set: label("pod-set-id"),
        }
    }
}

/// The rule of requests that name none, and of clusters that have none.
const DEFAULT_RULE: &str = "default";
/// Before every path.
const PREFIX: &str = "/v1/dockin/opserver/";
/// The header of tokens.
const TOKEN_HEADER: &str = "access-token";
/// The header of proxies.
const REAL_IP: &str = "x-real-ip";
/// Bytes of a name at most, as in Kubernetes.
const MAX_NAME: usize = 253;
/// Bytes of a form at most.
const MAX_FORM: usize = 256 * 1024;
/// How often the gateway's rules are looked at.
const FOLLOW: Duration = Duration::from_millis(500);
/// How long sending it may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl DockinOps {
    /// Nothing yet that anybody could reach: rules are to be added.
    #[must_use]
    pub fn new(key: EnvelopeKey) -> Self {
        Self {
            key,
            rules: BTreeMap::new(),
            proxies: None,
            shell: "/bin/bash".to_owned(),
            banner: String::new(),
            commands: None,
            joined: Mutex::new(None),
            labels: OpsLabels::default(),
        }
    }

    /// Lets requests for the clusters of `rule` come from `addresses`; write `0.0.0.0/0` and
    /// `::/0` for everywhere. Clusters without a rule are of the rule `default`.
    ///
    /// # Errors
    ///
    /// `Misuse` for an empty list, which would let nobody in, and for what is no address.
    pub fn rule(mut self, rule: &str, addresses: &[String]) -> Result<Self, Error> {
        if rule.is_empty() || addresses.is_empty() {
            let message = format!(
                "rule `{rule}` of `dockin_ops` needs a name and a `whitelist` of addresses"
            );
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        let addresses = AddressList::parse(addresses)?;
        self.rules.insert(rule.to_owned(), addresses);
        Ok(self)
    }

    /// Believes `X-Real-IP` of requests that come from `proxies`; without them of none.
    ///
    /// # Errors
    ///
    /// `Misuse` for what is no address.
    pub fn trusted_proxies(mut self, proxies: &[String]) -> Result<Self, Error> {
        self.proxies = match proxies {
            [] => None,
            some => Some(AddressList::parse(some).map_err(|error| {
                let message = error.message().replace("whitelist", "trusted_proxies");
                Error::new(ErrorKind::Misuse, message)
            })?),
        };
        Ok(self)
    }

    /// What `ssh-v2` runs, in place of `/bin/bash`.
    #[must_use]
    pub fn shell(mut self, shell: impl Into<String>) -> Self {
        self.shell = shell.into();
        self
    }

    /// What a shell of `ssh-v2` begins with.
    #[must_use]
    pub fn banner(mut self, banner: impl Into<String>) -> Self {
        self.banner = banner.into();
        self
    }

    /// Judges sessions of these clients by the predecessor's lists too: with a white list only
    /// what it names runs, if the gateway's rules do not forbid it; a black list forbids more.
    ///
    /// # Errors
    ///
    /// `Misuse` for a filter that is neither and for a name that can be none.
    pub fn commands(
        mut self,
        raw: &[String],
        common: &[String],
        filter: &str,
    ) -> Result<Self, Error> {
        if !matches!(filter, "whitelist" | "blacklist") {
            let message =
                format!("`filter` of `dockin_ops` is `whitelist` or `blacklist`, not `{filter}`");
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        let lists = CommandLists {
            raw: raw.to_vec(),
            common: common.to_vec(),
            filter: filter.to_owned(),
        };
        RuleSet::from_redis_lists(raw, common, filter).map_err(|error| {
            Error::new(
                ErrorKind::Misuse,
                format!("`commands` of `dockin_ops`: {error}"),
            )
        })?;
        self.commands = Some(lists);
        Ok(self)
    }

    /// The labels that tell what `rm` shows, in place of the default ones.
    #[must_use]
    pub fn labels(mut self, labels: OpsLabels) -> Self {
        self.labels = labels;
        self
    }

    /// The rules by which a session is judged: `main`, and the lists when there are any. Sessions
    /// that are open follow `main` as often as this is called.
    fn session_rules(&self, main: &Arc<Rules>) -> Result<Arc<Rules>, Error> {
        let Some(lists) = &self.commands else {
            return Ok(Arc::clone(main));
        };
        let current = main.current();
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*joined
            && Arc::ptr_eq(&known.made_of, &current)
        {
            return Ok(Arc::clone(&known.rules));
        }
        let set = RuleSet::from_redis_lists(&lists.raw, &lists.common, &lists.filter)
            .map_err(|error| Error::new(ErrorKind::Misuse, format!("command lists: {error}")))?
            .beside(Arc::clone(&current));
        let rules = match joined.take() {
            // Sessions that are open have these.
            Some(known) => {
                known.rules.replace(Arc::new(set));
                known.rules
            }
            None => Rules::fixed(set),
        };
        *joined = Some(Joined {
            made_of: current,
            rules: Arc::clone(&rules),
        });
        Ok(rules)
    }

    /// What the white list names, for people to see.
    fn listed(&self) -> Vec<String> {
        match &self.commands {
            Some(lists) if lists.filter == "whitelist" => {
                lists.raw.iter().chain(&lists.common).cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Where a request comes from: the peer, unless that is a proxy that may say something else.
    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<SocketAddr, Error> {
        let trusted = self.proxies.as_ref();
        if !trusted.is_some_and(|proxies| proxies.admits(peer.ip())) {
            return Ok(peer);
        }
        let mut said = headers.get_all(REAL_IP).iter();
        match (said.next(), said.next()) {
            (None, _) => Ok(peer),
            (Some(value), None) => {
                let address = value
                    .to_str()
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                let address: IpAddr = address.ok_or_else(|| {
                    Error::new(ErrorKind::Malformed, "`X-Real-IP` is not one address")
                })?;
                // The port is the proxy's, and means nothing for the client.
                Ok(SocketAddr::new(address, 0))
            }
            _ => {
                let what = "`X-Real-IP` is given twice";
                Err(Error::new(ErrorKind::Malformed, what))
            }
        }
    }
}

/// What a request says of itself, whatever it is about.
struct Wish {
    parameters: Query,
    headers: HeaderMap,
}

impl Wish {
    fn text(&self, name: &str) -> Result<&str, Error> {
        Ok(self.parameters.value(name)?.unwrap_or_default())
    }

    /// The object of the envelope.
    fn envelope(&self, ops: &DockinOps) -> Result<OpsRequest, Error> {
        let sealed = self.text("params")?;
        if sealed.is_empty() {
            return Err(Error::new(ErrorKind::Malformed, "`params` is missing"));
        }
        OpsRequest::parse(&ops.key.open(sealed)?)
    }

    fn header_token(&self) -> Result<Option<String>, Error> {
        let mut tokens = self.headers.get_all(TOKEN_HEADER).iter();
        let first = tokens.next();
        if tokens.next().is_some() {
            let what = "`access-token` is given twice";
            return Err(Error::new(ErrorKind::Malformed, what));
        }
        let first = first.map(|value| {
            let text = value
                .to_str()
                .map_err(|_| Error::new(ErrorKind::Malformed, "`access-token` is not plain text"));
            text.map(|text| text.trim().to_owned())
        });
        Ok(first.transpose()?.filter(|token| !token.is_empty()))
    }
}

/// Who asks, and for which rule when he says none.
struct Known {
    call: Call,
    token_rule: String,
}

impl Known {
    /// The rule that is meant.
    fn rule<'a>(&'a self, said: Option<&'a str>) -> &'a str {
        let said = said.filter(|rule| !rule.is_empty());
        said.unwrap_or(match self.token_rule.as_str() {
            "" => DEFAULT_RULE,
            rule => rule,
        })
    }
}

impl Gateway {
    /// Puts the gateway's rules in force in these clients' sessions too, each time they change.
    pub(super) async fn follow_ops_rules(self: Arc<Self>, stop: CancellationToken) {
        let Some(ops) = self.dockin_ops.clone() else {
            return;
        };
        while stop
            .run_until_cancelled(tokio::time::sleep(FOLLOW))
            .await
            .is_some()
        {
            if let Err(error) = ops.session_rules(&self.rules) {
                tracing::error!(error = error.chain(), "command lists do not fit the rules");
            }
        }
    }

    /// Whether a path is one of these; never while they are not configured.
    pub(super) fn is_ops(&self, path: &str) -> bool {
        self.dockin_ops.is_some() && path.starts_with(PREFIX)
    }

    /// Answers a request of a client of Dockin-Ops. The status is 200 also for a refusal, as its
    /// clients read no other.
    pub(super) async fn ops(
        self: &Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let Some(ops) = self.dockin_ops.clone() else {
            return plain(StatusCode::NOT_FOUND, "not found");
        };
        let path = request.uri().path().to_owned();
        let name = path.strip_prefix(PREFIX).unwrap_or_default();
        let Some(shape) = Shape::of(name) else {
            return plain(StatusCode::NOT_FOUND, "not found");
        };
        if !matches!(*request.method(), Method::GET | Method::POST) {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST");
        }
        let trace = trace_id();
        match self.ops_route(&ops, &peer, name, request, &trace).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(
                    trace,
                    error = redact_text(&error.chain()),
                    "request refused"
                );
                failure(shape, &error, &trace)
            }
        }
    }

    async fn ops_route(
        self: &Arc<Self>,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        name: &str,
        mut request: Request<Incoming>,
        trace: &str,
    ) -> Result<Response<Body>, Error> {
        let client = ops.client(peer.address, request.headers())?;
        let wish = Wish {
            parameters: parameters(&mut request).await?,
            headers: request.headers().clone(),
        };
        let peer = Peer {
            address: client,
            ..peer.clone()
        };
        match name {
            "ctrl/login" => self.ops_login(ops, &peer, &wish).await,
            "ctrl/auth" => self.ops_auth(ops, &peer, &wish).await,
            "ctrl/getPodByName" => self.ops_pod_address(ops, &peer, &wish).await,
            "echo" => self.ops_echo(ops, &peer, &wish).await,
            "rm" => self.ops_rm(ops, &peer, &wish).await,
            "node/getNodeByName" => self.ops_node(ops, &peer, &wish).await,
            "node/batchGetNode" => self.ops_nodes(ops, &peer, &wish).await,
            "common-exec" | "command-exec" => self.ops_common_exec(ops, &peer, &wish, trace).await,
            "interact-exec" | "ssh-v2" => {
                let shell = name == "ssh-v2";
                self.ops_terminal(ops, &peer, &wish, shell, request).await
            }
            "ctrl/getCmdList" => {
                self.ops_known(ops, &peer, &wish, None).await?;
                Ok(pages::command_list(ops))
            }
            "ctrl/manager" => {
                let known = self.ops_known(ops, &peer, &wish, None).await?;
                Ok(html(&pages::overview(ops, &known.call.principal.user)))
            }
            _ => {
                // What would change who may do what.
                self.ops_known(ops, &peer, &wish, None).await?;
                let message = format!(
                    "`{name}` is not done here: lists, addresses and accounts are kept in the \
                     gateway's files; ask who keeps them"
                );
                Err(Error::new(ErrorKind::Forbidden, message))
            }
        }
    }

    /// Who asks. Whatever the client says of himself proves nothing; his token does.
    async fn ops_known(
        &self,
        ops: &DockinOps,
        peer: &Peer,
        wish: &Wish,
        envelope: Option<&OpsRequest>,
    ) -> Result<Known, Error> {
        let mut shown: Vec<String> = Vec::new();
        shown.extend(envelope.map(|envelope| envelope.access_token.clone()));
        shown.extend(wish.header_token()?);
        shown.extend(wish.parameters.value("accessToken")?.map(str::to_owned));
        shown.extend(bearer(&wish.headers));
        shown.retain(|token| !token.is_empty());
        shown.dedup();
        let token = match shown.as_slice() {
            [] => None,
            [one] => Some(AccessToken::open(&ops.key, one)),
            _ => {
                let what = "two access tokens are given, and they differ: send one";
                return Err(Error::new(ErrorKind::Malformed, what));
            }
        };
        let token = match token.transpose() {
            Ok(token) => token,
            Err(error) => {
                self.auditor.login_failed(peer.address, &error).await?;
                return Err(error);
            }
        };
        let credentials = Credentials {
            bearer: token.as_ref().map(|token| token.secret.clone()),
            // A browser shows a certificate also for a page of another site: it does not count here.
            certificate: None,
            address: Some(peer.address.ip()),
        };
        if credentials.bearer.is_none() {
            let what = "no access token: log in with `ctrl/login` and send what it gives";
            return Err(Error::new(ErrorKind::Unauthenticated, what));
        }
        let principal = match authenticate(&*self.authenticator, &credentials).await {
            Ok(principal) => principal,
            Err(error) => {
                self.auditor.login_failed(peer.address, &error).await?;
                return Err(error);
            }
        };
        peer.connection.proved(&principal.user)?;
        self.limiter.count(&principal.user, Instant::now())?;
        let call = Call {
            principal,
            client: peer.address,
            kubectl: None,
            spdy: false,
        };
        let claimed = envelope.map(|envelope| envelope.user_name.as_str());
        let claimed = match claimed {
            Some(name) => name,
            None => wish.text("userName")?,
        };
        if !claimed.is_empty() && claimed != call.principal.user {
            let message = format!(
                "the access token is of `{}`, the request says `{claimed}`: leave out the name",
                call.principal.user
            );
            return Err(Error::new(ErrorKind::Forbidden, message));
        }
        Ok(Known {
            call,
            token_rule: token.map(|token| token.rule).unwrap_or_default(),
        })
    }

    /// Who asks, and the rule by which he does and may: the way in of whatever looks at clusters.
    /// `asked` is what the request has sealed; without it the rule is a parameter.
    async fn ops_let_in(
        &self,
        ops: &DockinOps,
        peer: &Peer,
        wish: &Wish,
        asked: Option<&OpsRequest>,
    ) -> Result<(Call, String), Error> {
        let known = self.ops_known(ops, peer, wish, asked).await?;
        let said = match asked {
            Some(asked) => asked.rule.as_deref(),
            None => Some(wish.text("rule")?),
        };
        let rule = known.rule(said).to_owned();
        self.ops_admitted(ops, &known.call, &rule).await?;
        Ok((known.call, rule))
    }

    /// Lets a request pass that names a rule from an address in its list, or refuses it and writes
    /// that down.
    async fn ops_admitted(&self, ops: &DockinOps, call: &Call, rule: &str) -> Result<(), Error> {
        check_length(rule, "rule")?;
        let address = call.client.ip();
        if ops.rules.get(rule).is_some_and(|list| list.admits(address)) {
            return Ok(());
        }
        let wanted = Attributes {
            verb: "reach".to_owned(),
            path: format!("{PREFIX}?rule={rule}"),
            ..Attributes::default()
        };
        let message = format!(
            "rule `{rule}` is not to be had from {address}: it is not known, or the address is \
             not in its `whitelist`"
        );
        let error = Error::new(ErrorKind::Forbidden, message);
        let error = error.with_rule(format!("`whitelist` of rule `{rule}`"));
        Err(self.refused(call, &wanted, error).await)
    }
}

/// Refuses what is longer than a name can be, before it stands in messages and records.
fn check_length(text: &str, what: &str) -> Result<(), Error> {
    if text.len() > MAX_NAME {
        let message = format!("`{what}` has more than {MAX_NAME} bytes");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    Ok(())
}

/// The parameters of the query and, when there is one, of the form.
async fn parameters(request: &mut Request<Incoming>) -> Result<Query, Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_form = kind
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if request.method() != Method::POST || !is_form {
        return Query::parse(&query);
    }
    let malformed = || Error::new(ErrorKind::Malformed, "the form is cut short or too long");
    let read = Limited::new(request.body_mut(), MAX_FORM).collect();
    let read = tokio::time::timeout(PATIENCE, read).await;
    let read = read.ok().and_then(Result::ok).ok_or_else(malformed)?;
    let form = String::from_utf8(read.to_bytes().into()).map_err(|_| malformed())?;
    Query::parse(&format!("{query}&{form}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::net::SocketAddr;

    use http::{HeaderMap, HeaderValue};

    use super::DockinOps;
    use crate::compat::EnvelopeKey;

    fn ops() -> DockinOps {
        DockinOps::new(EnvelopeKey::new(&[1; 16]).unwrap())
    }

    fn headers(said: &[&'static str]) -> HeaderMap {
        let pairs = said.iter().map(|value| HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for value in pairs {
            headers.append("x-real-ip", value);
        }
        headers
    }

    /// H21: the header counts from listed proxies alone.
    #[test]
    fn h21_a_stranger_says_nothing_about_his_address() {
        let stranger: SocketAddr = "203.0.113.9:1".parse().unwrap();
        let said = headers(&["10.0.0.1"]);
        assert_eq!(ops().client(stranger, &said).unwrap(), stranger);
        let ops = ops().trusted_proxies(&["192.0.2.7".to_owned()]).unwrap();
        assert_eq!(ops.client(stranger, &said).unwrap(), stranger);
        let proxy: SocketAddr = "192.0.2.7:1".parse().unwrap();
        let client = ops.client(proxy, &said).unwrap();
        assert_eq!(client.to_string(), "10.0.0.1:0");
        assert_eq!(ops.client(proxy, &headers(&[])).unwrap(), proxy);
        for bad in [
            &["x"][..],
            &["10.0.0.1, 10.0.0.2"],
            &["10.0.0.1", "10.0.0.1"],
        ] {
            assert!(ops.client(proxy, &headers(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_would_admit_nobody_or_everybody_unsaid_is_refused() {
        let none: [String; 0] = [];
        assert!(ops().rule("default", &none).is_err());
        assert!(ops().rule("", &["10.0.0.0/8".to_owned()]).is_err());
        let error = ops().trusted_proxies(&["x".to_owned()]).unwrap_err();
        assert!(error.message().contains("trusted_proxies"), "{error}");
        // H3: the predecessor takes every other word for a white list, and a black list for none.
        assert!(ops().commands(&none, &none, "blacklists").is_err());
    }
}
