//! The few messages of the Container Runtime Interface that the tests send, over gRPC.
//!
//! Spec: Kubernetes `cri-api/pkg/apis/runtime/v1/api.proto`.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use dockin_stream::StreamSet;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// A containerd, through its CRI plugin.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
}

/// A container in a sandbox of its own, on the machine's network. Removed with
/// [`remove`](Self::remove), or with the daemon.
#[derive(Debug)]
pub struct CriContainer {
    cri: Cri,
    sandbox: String,
    id: String,
}

/// A sandbox on networks of its own. Removed with [`remove`](Self::remove), or with the daemon.
#[derive(Debug)]
pub struct CriPod {
    cri: Cri,
    sandbox: String,
    ip: String,
}

impl CriPod {
    /// The sandbox's identifier, which its own process has as well.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.sandbox
    }

    /// The address that containerd tells the kubelet.
    #[must_use]
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// Ends and removes it.
    ///
    /// # Panics
    ///
    /// containerd refuses.
    pub async fn remove(self) {
        let sandbox = || SandboxRequest {
            pod_sandbox_id: self.sandbox.clone(),
        };
        let Empty {} = self.cri.call("StopPodSandbox", sandbox()).await;
        let Empty {} = self.cri.call("RemovePodSandbox", sandbox()).await;
    }
}

/// The image of the tests: static busybox and nothing else.
const IMAGE: &str = "dockin.local/busybox:test";

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Cri {
    /// The containerd that `DOCKIN_TEST_CONTAINERD` names.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn from_environment() -> Self {
        let socket = std::env::var("DOCKIN_TEST_CONTAINERD").expect(
            "DOCKIN_TEST_CONTAINERD names no containerd: run `cargo xtask test`, or `cargo xtask \
             servers` in another terminal and export what it prints",
        );
        Self::at(PathBuf::from(socket)).await
    }

    /// The containerd that listens at `socket`.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn at(socket: PathBuf) -> Self {
        let connect = service_fn(move |_| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        let channel = Endpoint::from_static("http://containerd")
            .connect_with_connector(connect)
            .await
            .expect("a containerd that listens");
        Self { channel }
    }

    /// Runs a sandbox on the networks that the daemon's configuration gives to pods.
    ///
    /// # Errors
    ///
    /// What containerd says of a network that cannot be had.
    ///
    /// # Panics
    ///
    /// containerd refuses the rest.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<CriPod, String> {
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{namespace}-{name}"),
                namespace: namespace.to_owned(),
                attempt: 0,
            }),
            labels: HashMap::new(),
            linux: None,
        };
        let request = RunPodSandboxRequest {
            config: Some(config),
        };
        let made: RunPodSandboxResponse = self.try_call("RunPodSandbox", request).await?;
        let sandbox = made.pod_sandbox_id;
        let request = SandboxRequest {
            pod_sandbox_id: sandbox.clone(),
        };
        let answer: SandboxStatusResponse = self.call("PodSandboxStatus", request).await;
        let network = answer.status.and_then(|it| it.network).unwrap_or_default();
        Ok(CriPod {
            cri: self.clone(),
            sandbox,
            ip: network.ip,
        })
    }

    /// Runs `argv` in a new container.
    ///
    /// # Panics
    ///
    /// containerd refuses.
    pub async fn container(&self, argv: &[&str], stdin: bool, tty: bool) -> CriContainer {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let security = LinuxSandboxSecurityContext {
            namespace_options: Some(NamespaceOption {
                network: NODE_NETWORK,
            }),
        };
        let sandbox_config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.clone(),
                uid: name.clone(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            labels: HashMap::from([("io.kubernetes.pod.name".to_owned(), name.clone())]),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(security),
            }),
        };
        let made: RunPodSandboxResponse = self
            .call(
                "RunPodSandbox",
                RunPodSandboxRequest {
                    config: Some(sandbox_config.clone()),
                },
            )
            .await;
        let sandbox = made.pod_sandbox_id;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name, attempt: 0 }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            command: argv.iter().map(|&word| word.to_owned()).collect(),
            stdin,
            tty,
        };
        let made: CreateContainerResponse = self
            .call(
                "CreateContainer",
                CreateContainerRequest {
                    pod_sandbox_id: sandbox.clone(),
                    config: Some(config),
                    sandbox_config: Some(sandbox_config),
                },
            )
            .await;
        let id = made.container_id;
        let start = ContainerRequest {
            container_id: id.clone(),
        };
        let Empty {} = self.call("StartContainer", start).await;
        CriContainer {
            cri: self.clone(),
            sandbox,
            id,
        }
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> A
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let answer = self.try_call(method, request).await;
        answer.unwrap_or_else(|error| panic!("containerd refuses {method}: {error}"))
    }

    async fn try_call<Q, A>(&self, method: &str, request: Q) -> Result<A, String>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path = PathAndQuery::try_from(path).expect("a path");
        let mut client = Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .unwrap_or_else(|error| panic!("containerd: {error}"));
        let codec = ProstCodec::<Q, A>::default();
        let answer = client
            .unary(tonic::Request::new(request), path, codec)
            .await;
        let answer = answer.map_err(|error| error.message().to_owned())?;
        Ok(answer.into_inner())
    }
}

impl CriContainer {
    /// A URL of containerd's streaming server that runs `argv`, once, within a minute.
    ///
    /// # Panics
    ///
    /// containerd refuses.
    pub async fn exec(&self, argv: &[&str], streams: StreamSet) -> String {
        let request = ExecRequest {
            container_id: self.id.clone(),
            cmd: argv.iter().map(|&word| word.to_owned()).collect(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let UrlResponse { url } = self.cri.call("Exec", request).await;
        url
    }

    /// As [`exec`](Self::exec), for the container's own process.
    ///
    /// # Panics
    ///
    /// containerd refuses.
    pub async fn attach(&self, streams: StreamSet) -> String {
        let request = AttachRequest {
            container_id: self.id.clone(),
            stdin: streams.stdin,
            tty: streams.tty,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let UrlResponse { url } = self.cri.call("Attach", request).await;
        url
    }

    /// As [`exec`](Self::exec), for ports of the sandbox.
    ///
    /// # Panics
    ///
    /// containerd refuses.
    pub async fn port_forward(&self, ports: &[u16]) -> String {
        let request = PortForwardRequest {
            pod_sandbox_id: self.sandbox.clone(),
            port: ports.iter().map(|port| i32::from(*port)).collect(),
        };
        let UrlResponse { url } = self.cri.call("PortForward", request).await;
        url
    }

    /// Ends and removes it.
    ///
    /// # Panics
    ///
    /// containerd refuses.
    pub async fn remove(self) {
        let sandbox = || SandboxRequest {
            pod_sandbox_id: self.sandbox.clone(),
        };
        let Empty {} = self.cri.call("StopPodSandbox", sandbox()).await;
        let Empty {} = self.cri.call("RemovePodSandbox", sandbox()).await;
    }
}

/// `NamespaceMode.NODE`.
const NODE_NETWORK: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct SandboxRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<SandboxNetworkStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxNetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(message, optional, tag = "2")]
    security_context: Option<LinuxSandboxSecurityContext>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerResponse {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(bool, tag = "12")]
    stdin: bool,
    #[prost(bool, tag = "14")]
    tty: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ExecRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(bool, tag = "3")]
    tty: bool,
    #[prost(bool, tag = "4")]
    stdin: bool,
    #[prost(bool, tag = "5")]
    stdout: bool,
    #[prost(bool, tag = "6")]
    stderr: bool,
}

#[derive(Clone, PartialEq, Message)]
struct AttachRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(bool, tag = "2")]
    stdin: bool,
    #[prost(bool, tag = "3")]
    tty: bool,
    #[prost(bool, tag = "4")]
    stdout: bool,
    #[prost(bool, tag = "5")]
    stderr: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PortForwardRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(int32, repeated, tag = "2")]
    port: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct UrlResponse {
    #[prost(string, tag = "1")]
    url: String,
}
