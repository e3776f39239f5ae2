//! A kube-apiserver as the gateway meets it: its own authority, a credential that it knows,
//! impersonation, a little RBAC, and streaming that it only relays.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use dockin_core::{
    directory::{Container, ContainerState, Pod},
    kubernetes::{self, ExecOptions, ListOptions, LogQuery, discovery, table},
    tls::authority::{Authority, Issued},
};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn,
    server,
    service::service_fn,
    upgrade,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt as _, copy, split},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    House,
    node::{AgentNode, CriNode, Node, Streaming},
    objects::Objects,
    pod_watch::{Known, known, nodes, watch_nothing, watch_pods},
    token_review::ServiceAccountTokens,
};

/// A kube-apiserver's stand-in on loopback. It ends when its owner goes.
///
/// Pods of these names exist for everybody, in every namespace, and misbehave:
/// `redirect-get`, `redirect-exec`, `error-get`, `error-exec`, `busy-get`, `busy-exec`,
/// `hang-get`, `hang-exec`. The word behind the hyphen is what goes wrong: reading the pod, or
/// every stream and log of it.
pub struct ApiServer {
    address: SocketAddr,
    authority: String,
    client: Issued,
    state: Arc<State>,
    // Its tasks end with it.
    runtime: Option<Runtime>,
}

/// By what the gateway proves who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: what the stand-in knows.
pub enum Credential {
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
}

/// A request that reached the stand-in.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: tests only read it.
pub struct Seen {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Whose token or certificate it came with.
    pub credential: Option<Credential>,
    /// `Impersonate-User`.
    pub user: Option<String>,
    /// Every `Impersonate-Group`.
    pub groups: Vec<String>,
    /// `Upgrade`.
    pub upgrade: Option<String>,
    /// Every other header, `name: value`, the credential left out.
    pub headers: Vec<String>,
    /// Whether it came over HTTP/2.
    pub http2: bool,
}

struct State {
    node: Box<dyn Node>,
    objects: Objects,
    accounts: ServiceAccountTokens,
    seen: Mutex<Vec<Seen>>,
    /// Every pod that some list had: a watch tells which of them are gone.
    listed: Mutex<Known>,
    /// Bytes that `/metrics/endless` gave, and that `/metrics/sink` took.
    moved: AtomicU64,
}

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// The gateway's own secret.
const TOKEN: &str = "the-gateways-own-token";

/// As whom the gateway looks whether it is well.
const HEALTH_USER: &str = "dockin:health";

/// Who may do what upstream. Those who are not here may do nothing.
const BINDINGS: [(&str, &[&str]); 5] = [
    ("dockin:cache", &["nodes", "pods"]),
    (
        "alice",
        &[
            "pods",
            "namespaces",
            "pods/exec",
            "pods/attach",
            "pods/log",
            "pods/portforward",
            "configmaps",
            "services/proxy",
        ],
    ),
    ("robot", &["configmaps"]),
    ("dana", &["pods", "pods/exec", "pods/log"]),
    ("reader", &["pods"]),
];

impl ApiServer {
    /// Starts one in front of the containers of `house`'s agent.
    ///
    /// # Panics
    ///
    /// It cannot listen.
    #[must_use]
    pub fn start(house: &mut House) -> Self {
        let (node, data) = (house.node().to_owned(), house.data());
        let node = AgentNode::new(&node, house.agent().address(), &data);
        Self::in_front_of(runtime(), Box::new(node))
    }

    /// Starts it in front of the tests' containerd, with one pod called `cri` that sleeps.
    ///
    /// # Panics
    ///
    /// It cannot listen, or there is no containerd.
    #[must_use]
    pub fn start_with_containerd() -> Self {
        let runtime = runtime();
        let node = runtime.block_on(CriNode::new());
        Self::in_front_of(runtime, Box::new(node))
    }

    fn in_front_of(runtime: Runtime, node: Box<dyn Node>) -> Self {
        let now = Timestamp::now();
        let authority = Authority::new(now).expect("an authority");
        let server = authority.server(&["127.0.0.1".to_owned()], now);
        let client = authority.client("dockin-gateway", "gateway.kube.test", now);
        let acceptor = acceptor(authority.certificate(), &server.expect("a certificate"));
        let state = Arc::new(State {
            node,
            objects: Objects::new(),
            accounts: ServiceAccountTokens::new(),
            seen: Mutex::default(),
            listed: Mutex::default(),
            moved: AtomicU64::new(0),
        });
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("its address");
        runtime.spawn(accept(listener, acceptor, Arc::clone(&state)));
        Self {
            address,
            authority: authority.certificate().to_owned(),
            client: client.expect("a certificate"),
            state,
            runtime: Some(runtime),
        }
    }

    /// The kubeconfig that an operator would write for the gateway, with Dockin's section that
    /// calls the cluster `prod`.
    #[must_use]
    pub fn kubeconfig(&self, credential: Credential) -> String {
        let user = match credential {
            Credential::Token => format!("token: {TOKEN}"),
            Credential::Certificate => format!(
                "client-certificate-data: {}\n    client-key-data: {}",
                BASE64.encode(&self.client.certificate),
                BASE64.encode(&self.client.key)
            ),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: upstream\n\
             clusters:\n- name: upstream\n  cluster:\n    server: https://{}\n    \
             certificate-authority-data: {}\n\
             users:\n- name: gateway\n  user:\n    {user}\n\
             contexts:\n- name: upstream\n  context:\n    cluster: upstream\n    user: gateway\n\
             dockin:\n  cluster-id: prod\n",
            self.address,
            BASE64.encode(&self.authority),
        )
    }

    /// A token of the service account `NAMESPACE:NAME` for `audiences`, good for `seconds`.
    #[must_use]
    pub fn service_account_token(&self, account: &str, audiences: &[&str], seconds: i64) -> String {
        self.state.accounts.issue(account, audiences, seconds)
    }

    /// Deletes the service account `NAMESPACE:NAME`.
    pub fn delete_service_account(&self, account: &str) {
        self.state.accounts.delete(account);
    }

    /// Every request so far, the gateway's looks at its health left out.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen().clone()
    }

    /// Bytes that `/metrics/endless` has given, and `/metrics/sink` taken, so far.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.state.moved.load(Ordering::Relaxed)
    }

    /// Forgets what it has [seen](Self::seen).
    pub fn forget(&self) {
        self.state.seen().clear();
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn listed(&self) -> std::sync::MutexGuard<'_, Known> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        self: &Arc<Self>,
        certificate: bool,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let seen = Seen::new(certificate, &request);
        let looks = seen.user.as_deref() == Some(HEALTH_USER);
        if !looks {
            self.seen().push(seen.clone());
        }
        if seen.credential.is_none() {
            return failure(401, "Unauthorized", "Unauthorized", &json!({}));
        }
        let Some(user) = seen.user else {
            // A real one would let the gateway act for itself, which it never should.
            let told = "forbidden: the gateway asks for itself";
            return failure(403, "Forbidden", told, &json!({}));
        };
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match *parts.as_slice() {
            ["version"] => document(&version()),
            ["api"] => document(&discovery::api_versions()),
            ["apis"] => document(&discovery::api_groups()),
            ["api", "v1"] => document(&resources()),
            ["apis", "authentication.k8s.io", "v1", "tokenreviews"] => {
                self.accounts.answer(&user, request).await
            }
            ["metrics", "endless"] => self.endless(),
            ["metrics", "sink"] => self.sink(request).await,
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                "configmaps",
                ref rest @ ..,
            ] if rest.len() < 2 => {
                if !may(&user, "configmaps") {
                    let scope = format!("in the namespace \"{namespace}\"");
                    return forbidden("configmaps", &user, "use", "configmaps", &scope);
                }
                self.objects
                    .answer(namespace, rest.first().copied(), request)
                    .await
            }
            ["api", "v1", "namespaces", _, "services", _, "proxy", ..] => {
                let headers = [
                    ("set-cookie", "session=stolen"),
                    ("content-type", "text/html"),
                ];
                let mut response =
                    document(&json!({ "path": path, "method": request.method().as_str() }));
                for (name, value) in headers {
                    response
                        .headers_mut()
                        .insert(name, value.parse().expect("a value"));
                }
                response
            }
            ["api", "v1", "nodes"] if may(&user, "nodes") => {
                match request.uri().query().unwrap_or_default().contains("watch=") {
                    true => watch_nothing(),
                    false => document(&nodes("one")),
                }
            }
            ["api", "v1", "pods"]
                if may(&user, "pods")
                    && request.uri().query().unwrap_or_default().contains("watch=") =>
            {
                let state = Arc::clone(self);
                let listed = state.listed().clone();
                watch_pods(listed, move || {
                    let state = Arc::clone(&state);
                    async move { state.node.pods().await }
                })
            }
            ["api", "v1", "pods"] => self.list(&user, None, &request).await,
            ["api", "v1", "namespaces", namespace, "pods"] => {
                self.list(&user, Some(namespace), &request).await
            }
            ["api", "v1", "namespaces", namespace, "pods", name] => {
                self.one(&user, namespace, name, &request).await
            }
            ["api", "v1", "namespaces", namespace, "pods", name, sub] => {
                let pod = (namespace, name);
                self.sub_resource(&user, pod, sub, request).await
            }
            ["stolen"] => document(&json!({ "stolen": true })),
            _ => failure(
                404,
                "NotFound",
                "the server could not find the requested resource",
                &json!({}),
            ),
        }
    }

    /// Bytes without end, as fast as they are read.
    fn endless(self: &Arc<Self>) -> Response<Body> {
        let state = Arc::clone(self);
        let chunks = futures::stream::repeat_with(move || {
            let chunk = Bytes::from_static(&[b'x'; 64 * 1024]);
            state.moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Frame::data(chunk))
        });
        let body = StreamBody::new(chunks).map_err(|never| match never {});
        Response::new(body.boxed())
    }

    /// Takes what is sent, as it comes.
    async fn sink(&self, request: Request<Incoming>) -> Response<Body> {
        let mut body = request.into_body();
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            taken += bytes;
            self.moved.fetch_add(bytes, Ordering::Relaxed);
        }
        document(&json!({ "taken": taken }))
    }

    async fn list(
        &self,
        user: &str,
        namespace: Option<&str>,
        request: &Request<Incoming>,
    ) -> Response<Body> {
        if !may(user, "pods") {
            let scope = namespace.map_or("at the cluster scope".to_owned(), |namespace| {
                format!("in the namespace \"{namespace}\"")
            });
            return forbidden("pods", user, "list", "pods", &scope);
        }
        let options = ListOptions::parse(request.uri().query().unwrap_or_default());
        let options = options.expect("a list's query");
        let pods: Vec<Pod> = self
            .node
            .pods()
            .await
            .into_iter()
            .filter(|pod| namespace.is_none_or(|namespace| pod.namespace == namespace))
            .filter(|pod| options.matches(pod))
            .collect();
        self.listed().extend(known(&pods));
        document(&if wants_table(request.headers()) {
            upstream_table(&pods, options.include)
        } else {
            kubernetes::pod_list(&pods)
        })
    }

    async fn one(
        &self,
        user: &str,
        namespace: &str,
        name: &str,
        request: &Request<Incoming>,
    ) -> Response<Body> {
        if let Some(answer) = misbehave(name, "get").await {
            return answer;
        }
        let scope = format!("in the namespace \"{namespace}\"");
        if *request.method() != http::Method::GET {
            let verb = request.method().as_str().to_lowercase();
            return forbidden(&format!("pods \"{name}\""), user, &verb, "pods", &scope);
        }
        if !may(user, "pods") {
            return forbidden(&format!("pods \"{name}\""), user, "get", "pods", &scope);
        }
        match self.find(namespace, name).await {
            Some(pod) if wants_table(request.headers()) => {
                document(&upstream_table(&[pod], table::IncludeObject::Metadata))
            }
            Some(pod) => document(&kubernetes::pod(&pod)),
            None => not_found(name),
        }
    }

    async fn sub_resource(
        &self,
        user: &str,
        (namespace, name): (&str, &str),
        sub: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let resource = format!("pods/{sub}");
        if !may(user, &resource) {
            let scope = format!("in the namespace \"{namespace}\"");
            let verb = if sub == "log" { "get" } else { "create" };
            return forbidden(&format!("pods \"{name}\""), user, verb, &resource, &scope);
        }
        if let Some(answer) = misbehave(name, "exec").await {
            return answer;
        }
        let Some(pod) = self.find(namespace, name).await else {
            return not_found(name);
        };
        let query = request.uri().query().unwrap_or_default().to_owned();
        let wanted = match sub {
            "log" => {
                let wanted = LogQuery::parse(&query, Timestamp::now().as_second());
                let wanted = wanted.expect("a log's query");
                let container = container(&pod, wanted.container.as_deref());
                let answer = self.node.log(&pod, &container, &wanted).await;
                return answer.map(BodyExt::boxed);
            }
            "exec" => Streaming::Exec(ExecOptions::parse_exec(&query).expect("an exec's query")),
            "attach" => {
                Streaming::Attach(ExecOptions::parse_attach(&query).expect("an attach's query"))
            }
            "portforward" => Streaming::PortForward,
            _ => return not_found(name),
        };
        if !request.headers().contains_key(header::UPGRADE) {
            return failure(400, "BadRequest", "Upgrade request required", &json!({}));
        }
        let named = match &wanted {
            Streaming::Exec(options) | Streaming::Attach(options) => options.container.as_deref(),
            Streaming::PortForward => None,
        };
        let container = container(&pod, named);
        self.relay(&pod, &container, &wanted, request).await
    }

    /// The upgrade-aware proxy: the request as it came, then bytes both ways until either ends.
    async fn relay(
        &self,
        pod: &Pod,
        container: &str,
        wanted: &Streaming,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (socket, path) = self.node.streaming(pod, container, wanted).await;
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(socket))
            .await
            .expect("HTTP");
        tokio::spawn(connection.with_upgrades());
        let mut onward = Request::builder().method(request.method()).uri(path);
        for (name, value) in request.headers() {
            // As the real one does: the kubelet hears nothing of who asked.
            if *name != header::AUTHORIZATION && !name.as_str().starts_with("impersonate-") {
                onward = onward.header(name, value);
            }
        }
        let onward = onward.body(Empty::<Bytes>::new()).expect("a request");
        let answer = sender.send_request(onward).await.expect("an answer");
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return answer.map(BodyExt::boxed);
        }
        let mut response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        tokio::spawn(async move {
            let (Ok(client), Ok(kubelet)) = tokio::join!(upgrade::on(request), upgrade::on(answer))
            else {
                return;
            };
            let (mut client_reads, mut client_writes) = split(TokioIo::new(client));
            let (mut kubelet_reads, mut kubelet_writes) = split(TokioIo::new(kubelet));
            // The first direction that ends takes the other with it, as in the real one.
            tokio::select! {
                _ = copy(&mut client_reads, &mut kubelet_writes) => {}
                _ = copy(&mut kubelet_reads, &mut client_writes) => {}
            }
            let _closed = tokio::join!(client_writes.shutdown(), kubelet_writes.shutdown());
        });
        response.body(empty()).expect("a response")
    }

    async fn find(&self, namespace: &str, name: &str) -> Option<Pod> {
        if name.ends_with("-exec") || name.ends_with("-get") {
            return Some(misbehaving_pod(namespace, name));
        }
        let pods = self.node.pods().await;
        pods.into_iter()
            .find(|pod| pod.namespace == namespace && pod.name == name)
    }
}

impl Seen {
    fn new(certificate: bool, request: &Request<Incoming>) -> Self {
        let headers = request.headers();
        let text = |name: &str| {
            let value = headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let token = text("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}"));
        let credential = match (token, certificate) {
            (true, _) => Some(Credential::Token),
            (false, true) => Some(Credential::Certificate),
            (false, false) => None,
        };
        let groups = headers.get_all("impersonate-group").iter();
        // Two users would be two readings.
        let one_user = headers.get_all("impersonate-user").iter().count() == 1;
        Self {
            method: request.method().to_string(),
            path: request.uri().to_string(),
            credential,
            user: text("impersonate-user").filter(|_| one_user),
            groups: groups
                .map(|group| String::from_utf8_lossy(group.as_bytes()).into_owned())
                .collect(),
            upgrade: text("upgrade"),
            headers: headers
                .iter()
                .filter(|(name, _)| *name != header::AUTHORIZATION)
                .map(|(name, value)| {
                    format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
                })
                .collect(),
            http2: request.version() == http::Version::HTTP_2,
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, acceptor.clone(), Arc::clone(&state)));
    }
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    // Who does not trust it, or is not trusted, goes.
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let certificate = stream.get_ref().1.peer_certificates().is_some();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let handle = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, hyper::Error>(state.answer(certificate, request).await) }
    });
    if http2 {
        let builder = server::conn::http2::Builder::new(TokioExecutor::new());
        let _ended = builder.serve_connection(TokioIo::new(stream), handle).await;
        return;
    }
    let connection = server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), handle)
        .with_upgrades();
    let _ended = connection.await;
}

fn acceptor(authority: &str, server: &Issued) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM");
    roots.add(root).expect("an authority");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
    let chain = CertificateDer::from_pem_slice(server.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).expect("PEM");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![chain], key)
        .expect("an identity");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn may(user: &str, resource: &str) -> bool {
    BINDINGS
        .iter()
        .any(|(name, resources)| *name == user && resources.contains(&resource))
}

/// The container that is meant: the named one, or the pod's only or first.
fn container(pod: &Pod, named: Option<&str>) -> String {
    let first = pod.containers.first().map(|first| first.name.as_str());
    named.or(first).unwrap_or_default().to_owned()
}

/// What a pod does that is there to misbehave at `what`.
async fn misbehave(name: &str, what: &str) -> Option<Response<Body>> {
    let how = name.strip_suffix(what)?.strip_suffix('-')?;
    match how {
        "redirect" => Some(
            Response::builder()
                .status(StatusCode::FOUND)
                .header(header::LOCATION, "/stolen")
                .body(empty())
                .expect("a response"),
        ),
        "error" => {
            let told = "Internal error occurred: the kubelet is on fire";
            Some(failure(500, "InternalError", told, &json!({})))
        }
        "busy" => {
            let told = "the server is currently unable to handle the request";
            Some(failure(503, "ServiceUnavailable", told, &json!({})))
        }
        "hang" => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            None
        }
        _ => None,
    }
}

fn misbehaving_pod(namespace: &str, name: &str) -> Pod {
    let container = Container {
        name: "main".to_owned(),
        state: ContainerState::Running { started: 1 },
        ..Container::default()
    };
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: "00000000-0000-0000-0000-000000000000".to_owned(),
        node: "nowhere".to_owned(),
        created: 1,
        containers: vec![container],
        ..Pod::default()
    }
}

/// The version that only the stand-in has.
fn version() -> Value {
    let mut version = discovery::version();
    let fields = version.as_object_mut().expect("an object");
    fields.insert("gitVersion".to_owned(), "v1.33.0-upstream".into());
    version
}

/// What the gateway's own discovery has, and config maps.
fn resources() -> Value {
    let mut resources = discovery::resources();
    array(&mut resources, "resources").push(json!({
        "name": "configmaps", "singularName": "configmap", "namespaced": true,
        "kind": "ConfigMap", "shortNames": ["cm"],
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    }));
    resources
}

/// The table of the gateway's own making has no such column.
fn upstream_table(pods: &[Pod], include: table::IncludeObject) -> Value {
    let mut table = table::pods(pods, include, Timestamp::now().as_second());
    let column = json!({
        "name": "Upstream", "type": "string", "format": "", "description": "", "priority": 0,
    });
    array(&mut table, "columnDefinitions").push(column);
    for row in array(&mut table, "rows") {
        array(row, "cells").push("yes".into());
    }
    table
}

fn array<'a>(object: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    let found = object.get_mut(field).and_then(Value::as_array_mut);
    found.expect("an array")
}

fn wants_table(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(table::wants_table)
}

pub(crate) fn document(value: &Value) -> Response<Body> {
    answer(200, value)
}

fn not_found(name: &str) -> Response<Body> {
    let told = format!("pods \"{name}\" not found");
    failure(
        404,
        "NotFound",
        &told,
        &json!({ "name": name, "kind": "pods" }),
    )
}

/// RBAC's words.
fn forbidden(what: &str, user: &str, verb: &str, resource: &str, scope: &str) -> Response<Body> {
    let told = format!(
        "{what} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \
         \"\" {scope}"
    );
    failure(403, "Forbidden", &told, &json!({ "kind": "pods" }))
}

pub(crate) fn failure(code: u16, reason: &str, message: &str, details: &Value) -> Response<Body> {
    answer(
        code,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        }),
    )
}

pub(crate) fn answer(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_err(|never| match never {}).boxed())
        .expect("a response")
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}
