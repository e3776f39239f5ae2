//! What is behind the apiserver stand-in: where pods run, and who streams for them.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use dockin_core::{
    directory::{Container, ContainerState, Pod},
    kubernetes::{ExecOptions, LogQuery},
    tls::{self, Identity},
};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{Cri, CriContainer};

/// A connection to a streaming server.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// What a streaming server is asked for.
pub(crate) enum Streaming {
    Exec(ExecOptions),
    Attach(ExecOptions),
    PortForward,
}

/// One node of the cluster, as its kubelet gives it to the apiserver.
#[async_trait]
pub(crate) trait Node: Send + Sync + 'static {
    /// The pods that run there.
    async fn pods(&self) -> Vec<Pod>;

    /// A connection to what streams for `container` of `pod`, and the path to ask it for.
    async fn streaming(
        &self,
        pod: &Pod,
        container: &str,
        wanted: &Streaming,
    ) -> (Box<dyn Socket>, String);

    /// The container's log.
    async fn log(&self, pod: &Pod, container: &str, wanted: &LogQuery) -> Response<Incoming>;
}

/// A node whose kubelet is a Dockin agent, which speaks the kubelet's API.
pub(crate) struct AgentNode {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl AgentNode {
    /// The agent called `name` at `address`, dialled with the gateway certificate in `data`.
    pub(crate) fn new(name: &str, address: &str, data: &Path) -> Self {
        let files = data.join("tls");
        let identity = Identity::load(&files.join("gateway.pem"), &files.join("gateway.key"));
        let authority = tls::certificates(&files.join("ca.pem")).expect("the authority");
        let config = tls::client_config(&authority, Some(identity.expect("an identity")));
        let name = tls::agent_name(name).expect("an agent's name");
        Self {
            address: address.to_owned(),
            name: ServerName::try_from(name).expect("a server's name"),
            tls: TlsConnector::from(Arc::clone(&config.expect("TLS"))),
        }
    }

    async fn dial(&self) -> Box<dyn Socket> {
        let socket = TcpStream::connect(&self.address).await.expect("the agent");
        let stream = self.tls.connect(self.name.clone(), socket).await;
        Box::new(stream.expect("TLS with the agent"))
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.dial().await))
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header("host", "kubelet")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        sender.send_request(request).await.expect("an answer")
    }
}

/// A node whose kubelet has the streams come from containerd itself, as kubelets do.
pub(crate) struct CriNode {
    container: CriContainer,
}

impl CriNode {
    /// With one container, in the only pod `cri`.
    pub(crate) async fn new() -> Self {
        let cri = Cri::from_environment().await;
        let container = cri.container(&["sleep", "2147483647"], false, false).await;
        Self { container }
    }
}

#[async_trait]
impl Node for CriNode {
    async fn pods(&self) -> Vec<Pod> {
        vec![Pod {
            namespace: "default".to_owned(),
            name: "cri".to_owned(),
            node: "containerd".to_owned(),
            containers: vec![Container {
                name: "main".to_owned(),
                state: ContainerState::Running { started: 1 },
                ..Container::default()
            }],
            ..Pod::default()
        }]
    }

    async fn streaming(
        &self,
        _pod: &Pod,
        _container: &str,
        wanted: &Streaming,
    ) -> (Box<dyn Socket>, String) {
        let url = match wanted {
            Streaming::Exec(options) => {
                let argv: Vec<&str> = options.argv.iter().map(String::as_str).collect();
                self.container.exec(&argv, options.streams).await
            }
            Streaming::Attach(options) => self.container.attach(options.streams).await,
            Streaming::PortForward => self.container.port_forward(&[]).await,
        };
        let url: Uri = url.parse().expect("a URL");
        let address = url.authority().expect("an address").as_str();
        let socket = TcpStream::connect(address).await.expect("containerd");
        (Box::new(socket), url.path().to_owned())
    }

    async fn log(&self, _pod: &Pod, _container: &str, _wanted: &LogQuery) -> Response<Incoming> {
        panic!("containerd's logs are files, which only a kubelet reads")
    }
}

#[async_trait]
impl Node for AgentNode {
    async fn pods(&self) -> Vec<Pod> {
        let answer = self.get("/pods").await.into_body().collect().await;
        serde_json::from_slice(&answer.expect("pods").to_bytes()).expect("a list of pods")
    }

    async fn streaming(
        &self,
        pod: &Pod,
        container: &str,
        wanted: &Streaming,
    ) -> (Box<dyn Socket>, String) {
        let (namespace, pod) = (&pod.namespace, &pod.name);
        let path = match wanted {
            Streaming::Exec(options) => {
                let query = options.to_kubelet_query();
                format!("/exec/{namespace}/{pod}/{container}?{query}")
            }
            Streaming::Attach(options) => {
                let query = options.to_kubelet_query();
                format!("/attach/{namespace}/{pod}/{container}?{query}")
            }
            Streaming::PortForward => format!("/portForward/{namespace}/{pod}"),
        };
        (self.dial().await, path)
    }

    async fn log(&self, pod: &Pod, container: &str, wanted: &LogQuery) -> Response<Incoming> {
        let (namespace, pod) = (&pod.namespace, &pod.name);
        let query = wanted.to_query();
        self.get(&format!(
            "/containerLogs/{namespace}/{pod}/{container}?{query}"
        ))
        .await
    }
}
