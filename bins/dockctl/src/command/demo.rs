use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use dockin_core::{
    Error,
    access_list::{AccessEntry, AccessList},
    agent::Agent,
    audit::{FileSink, read_events},
    gateway::{Cluster, Gateway},
    identity::TokenFile,
    policy::{DEFAULT_RULES, Rules},
    reaper::{self, Reaper, ReaperOptions},
    runtime::{
        agent::AgentRuntime,
        docker::{DockerOptions, DockerRuntime, ExecPath},
        process::{Isolation, ProcessOptions, ProcessRuntime, sandbox_main},
    },
    service::HttpEndpoint,
    tls::{
        self, Identity,
        authority::{Authority, Issued},
    },
};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{audit_table::print_audit_table, exec, streams::SessionOptions};
use crate::{
    failure::Failure,
    kubeconfig::{Connection, KubeConfig},
    target::Target,
    terminal,
};

/// What the demo is to be like.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// What the sample pod is made of
    #[arg(long, value_name = "RUNTIME", default_value = "process")]
    pub(crate) runtime: DemoRuntime,
    /// Rule file instead of the sample rules
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Image of the sample container, with --runtime docker
    #[arg(long, value_name = "IMAGE", default_value = "busybox")]
    pub(crate) image: String,
    /// Leave the data folder behind
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What the demo's pod is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DemoRuntime {
    /// Processes of this machine, in namespaces of their own
    Process,
    /// A container of the Docker daemon that DOCKER_HOST names
    Docker,
}

/// Runs the demo: a gateway, an agent and a sample pod in this process, and a shell through
/// them. The shell's exit code is ours.
pub(crate) fn run(args: DemoArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start: {error}")))?;
    let folder = Folder::new(args.keep)?;
    let house = runtime
        .block_on(House::start(&args, &folder.path))
        .map_err(failed)?;
    house.introduce(&folder.path);
    let interactive = terminal::is_input_terminal();
    let session = exec::Exec {
        target: house.target(&folder.path)?,
        options: SessionOptions {
            stdin: true,
            tty: interactive,
            quiet: false,
            escape: Some(b'~'),
        },
        command: vec!["sh".to_owned()],
    };
    let result = super::block_on(exec::run(session));
    runtime.block_on(house.stop());
    let shown = show_audit(&folder.path);
    runtime.shutdown_timeout(Duration::from_secs(1));
    // What the shell came to weighs more than a table that could not be shown.
    let code = result?;
    shown?;
    Ok(code)
}

/// Runs this process as one of the demo's helpers, when its arguments say so.
pub(crate) fn helper(arguments: &[OsString]) -> Option<u8> {
    match arguments {
        [_, command, agent] if command == "guardian" => {
            Some(reaper::guardian_main(&agent.to_string_lossy()))
        }
        _ => sandbox_main(arguments.iter().cloned()),
    }
}

/// The gateway, the agent and the sample pod.
struct House {
    gateway: SocketAddr,
    agent: SocketAddr,
    pod: String,
    isolation: String,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    reaper: Arc<Reaper>,
    _container: Option<Container>,
}

const AGENT: &str = "demo";
const CLUSTER: &str = "demo";
const USER: &str = "you";

impl House {
    async fn start(args: &DemoArgs, folder: &Path) -> Result<Self, Error> {
        let files = Files::write(folder)?;
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();

        let program = std::env::current_exe()
            .map_err(|error| unavailable("own program").with_source(error))?;
        let reaper = Reaper::new(ReaperOptions::new(format!(
            "{AGENT}-{}",
            std::process::id()
        )));
        reaper
            .spawn_guardian(&program)
            .map_err(|error| unavailable("the guardian does not start").with_source(error))?;
        let (agent, pod, isolation, container) = match args.runtime {
            DemoRuntime::Process => {
                let options = ProcessOptions::new(program, Arc::clone(&reaper));
                let pod = options.pod.clone();
                let runtime = ProcessRuntime::start(options).await?;
                let isolation = describe(runtime.isolation());
                (Agent::new(AGENT, Arc::new(runtime)), pod, isolation, None)
            }
            DemoRuntime::Docker => {
                let container = Container::run(&args.image)?;
                let runtime = DockerRuntime::connect(DockerOptions {
                    host: std::env::var("DOCKER_HOST").ok(),
                    node: AGENT.to_owned(),
                    reaper: Arc::clone(&reaper),
                    exec: ExecPath::Daemon,
                });
                let pod = container.name.clone();
                let isolation = format!("a Docker container of image {}", args.image);
                (
                    Agent::new(AGENT, Arc::new(runtime.await?)),
                    pod,
                    isolation,
                    Some(container),
                )
            }
        };
        let (listener, agent_address) = listen().await?;
        let authority = tls::certificates(&files.authority)?;
        let agent_tls = tls::server_config(files.agent.identity()?, Some(&authority))?;
        tasks.push(tokio::spawn(agent.serve(listener, agent_tls, stop.clone())));

        let client_tls = tls::client_config(&authority, Some(files.gateway.identity()?))?;
        let endpoint = HttpEndpoint::new(
            "the demo's agent",
            agent_address.to_string(),
            &tls::agent_name(AGENT)?,
            client_tls,
        )?;
        let rules = match &args.rules {
            Some(file) => Rules::follow(file.clone(), stop.clone(), |_| {})?,
            None => Rules::from_text(DEFAULT_RULES)?,
        };
        let access = AccessList::new(vec![AccessEntry::everything_for(USER)])?;
        let audit = Arc::new(FileSink::open(audit_file(folder))?);
        let token_file = folder.join("tokens.yaml");
        let token = TokenFile::add(&token_file, USER, &[], None)?;
        let tokens = Arc::new(TokenFile::load(&token_file)?);
        let agents = [(AGENT.to_owned(), AgentRuntime::new(endpoint))];
        let gateway = Gateway::builder(tokens, Arc::new(access), audit, rules)
            .cluster(Cluster::of_agents(CLUSTER, agents))
            .build()?;
        let (listener, gateway_address) = listen().await?;
        let server_tls = tls::server_config(files.server.identity()?, None)?;
        tasks.push(tokio::spawn(Arc::new(gateway).serve(
            listener,
            server_tls,
            stop.clone(),
        )));
        files.write_kubeconfig(folder, gateway_address, &token)?;

        Ok(Self {
            gateway: gateway_address,
            agent: agent_address,
            pod,
            isolation,
            stop,
            tasks,
            reaper,
            _container: container,
        })
    }

    /// Says what there is, and how to reach it with kubectl.
    fn introduce(&self, folder: &Path) {
        let Self {
            gateway,
            agent,
            pod,
            isolation,
            ..
        } = self;
        eprintln!("gateway  https://{gateway}");
        eprintln!("agent    https://{agent}");
        eprintln!("pod      default/{pod}: {isolation}");
        eprintln!(
            "kubectl  export KUBECONFIG={}",
            kubeconfig_file(folder).display()
        );
        eprintln!("         kubectl get pods; kubectl exec -it {pod} -- sh");
        if terminal::is_input_terminal() {
            eprintln!("Try `ls /data`, then `rm -rf /data`; `exit` shows what was written down.");
        }
        eprintln!();
    }

    fn target(&self, folder: &Path) -> Result<Target, Failure> {
        let config = KubeConfig::load(&[kubeconfig_file(folder)])?;
        let connection: Connection = config.resolve(None, None)?;
        Ok(Target {
            connection,
            namespace: "default".to_owned(),
            pod: self.pod.clone(),
            container: None,
        })
    }

    async fn stop(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            // A task that panicked has said so.
            let _ended = task.await;
        }
        let reaper = Arc::clone(&self.reaper);
        let idle = tokio::task::spawn_blocking(move || reaper.wait_idle(Duration::from_secs(5)));
        if !matches!(idle.await, Ok(true)) {
            eprintln!("processes of the session may still be there");
        }
    }
}

fn describe(isolation: &Isolation) -> String {
    match isolation {
        Isolation::Sandbox => {
            "local processes in user, mount and PID namespaces of their own".to_owned()
        }
        Isolation::None { reason } => format!(
            "local processes WITHOUT isolation, because this kernel allows no sandbox ({reason}): \
             what you type touches this machine's files"
        ),
    }
}

/// Certificates and keys of the demo.
struct Files {
    authority: PathBuf,
    server: Pair,
    gateway: Pair,
    agent: Pair,
}

struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn write(folder: &Path) -> Result<Self, Error> {
        let now = Timestamp::now();
        let authority = Authority::new(now)?;
        let file = folder.join("ca.pem");
        authority.write(&file, &folder.join("ca.key"))?;
        let server = authority.server(&["127.0.0.1".to_owned()], now)?;
        let gateway = authority.client("dockin-gateway", tls::GATEWAY_NAME, now)?;
        let agent = authority.server(&[tls::agent_name(AGENT)?], now)?;
        Ok(Self {
            authority: file,
            server: Pair::write(&server, folder, "server")?,
            gateway: Pair::write(&gateway, folder, "gateway")?,
            agent: Pair::write(&agent, folder, "agent")?,
        })
    }

    fn write_kubeconfig(
        &self,
        folder: &Path,
        gateway: SocketAddr,
        token: &str,
    ) -> Result<(), Error> {
        let failed = || unavailable("the demo's kubeconfig cannot be written");
        let token_file = folder.join("token");
        private(&token_file, token.as_bytes()).map_err(|error| failed().with_source(error))?;
        let text = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters:\n- name: {CLUSTER}\n  cluster:\n    \
             server: https://{gateway}/clusters/{CLUSTER}\n    \
             certificate-authority: {}\n\
             users:\n- name: {USER}\n  user:\n    tokenFile: {}\n\
             contexts:\n- name: {CLUSTER}\n  context: {{ cluster: {CLUSTER}, user: {USER} }}\n\
             current-context: {CLUSTER}\n",
            self.authority.display(),
            token_file.display()
        );
        private(&kubeconfig_file(folder), text.as_bytes())
            .map_err(|error| failed().with_source(error))
    }
}

impl Pair {
    fn write(issued: &Issued, folder: &Path, name: &str) -> Result<Self, Error> {
        let pair = Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        issued.write(&pair.certificate, &pair.key)?;
        Ok(pair)
    }

    fn identity(&self) -> Result<Identity, Error> {
        Identity::load(&self.certificate, &self.key)
    }
}

/// A file that only its owner may read.
fn private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

fn kubeconfig_file(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

fn audit_file(folder: &Path) -> PathBuf {
    folder.join("audit/audit.jsonl")
}

async fn listen() -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error: io::Error| unavailable("no port on loopback").with_source(error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn unavailable(what: &str) -> Error {
    Error::new(dockin_core::ErrorKind::Unavailable, what)
}

fn failed(error: Error) -> Failure {
    Failure::local(error.chain())
}

/// Prints what was written down.
fn show_audit(folder: &Path) -> Result<(), Failure> {
    let events: Vec<_> = read_events(audit_file(folder))
        .map_err(failed)?
        .map(|event| event.map(|(_, event)| event))
        // What is about the trail itself is for those who verify it.
        .filter(|event| {
            !event
                .as_ref()
                .is_ok_and(|event| event.code.as_str().starts_with("AUD-"))
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    println!();
    print_audit_table(&events, &mut io::stdout()).map_err(|error| Failure::output(&error))
}

/// The sample container; it goes when the demo does.
struct Container {
    name: String,
}

impl Container {
    fn run(image: &str) -> Result<Self, Error> {
        let name = format!("dockin-demo-{}", std::process::id());
        let output = Command::new("docker")
            .args([
                "run",
                "--detach",
                "--rm",
                "--network",
                "none",
                "--name",
                &name,
            ])
            .args([image, "sh", "-c"])
            .arg("mkdir -p /data && echo 1,apple >/data/orders.csv; exec sleep 86400")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| unavailable("docker does not start").with_source(error))?;
        if output.status.success() {
            return Ok(Self { name });
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(unavailable(&format!(
            "docker runs no container of image `{image}`: {said}"
        )))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _removed = Command::new("docker")
            .args(["rm", "--force", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The demo's files; they go when it does, unless they are kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;

        let random = getrandom::u64()
            .map_err(|error| Failure::local(format!("no random numbers: {error}")))?;
        let path = std::env::temp_dir().join(format!("dockin-demo-{random:016x}"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                Failure::local(format!("cannot make folder `{}`: {error}", path.display()))
            })?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("left behind: {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("`{}` stays: {error}", self.path.display());
        }
    }
}
