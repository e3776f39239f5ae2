use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Docker, Kubectl, Server, Transport, binary, run};

/// What a [`House`] is made of.
#[derive(Clone, Debug, Default)]
// Exhaustive: only this workspace's tests make one.
pub struct HouseOptions {
    /// Rules in place of the ones that `init` writes.
    pub rules: Option<String>,
    /// More entries under `access:` of the gateway's configuration, one YAML object each.
    pub access: Vec<String>,
    /// Texts of the gateway's configuration, each with what stands in its place.
    pub edits: Vec<(String, String)>,
    /// Makes files in the gateway's directory before it starts.
    pub prepare: Option<fn(&Path)>,
    /// `RUST_LOG` of gateway and agent.
    pub log: Option<String>,
}

/// A gateway and an agent as processes on loopback, in front of the tests' Docker, and a person
/// called `alice` in group `admins` who may do everything.
pub struct House {
    // Servers go before the directory that they write into.
    gateway: Server,
    agent: Server,
    docker: Docker,
    kubeconfig: PathBuf,
    node: String,
    token: String,
    log: Option<String>,
    directory: TempDir,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl House {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// Something does not start; with what it said.
    #[must_use]
    pub fn start(options: &HouseOptions) -> Self {
        let directory = tempfile::Builder::new().prefix("dockin-house-").tempdir();
        let directory = directory.expect("temporary directory");
        let data = directory.path().join("data");
        let docker = Docker::from_environment();
        // Agents of one machine must have different names, or each ends the other's sessions.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let agent_address = free_address(number);
        let node = format!("node-{}-{number}", std::process::id());
        succeed(
            Command::new(binary("dockin-opserver"))
                .args(["init", "--listen", "127.0.0.1:0", "--cluster", "local"])
                .arg("--agent")
                .arg(format!("{node}={agent_address}"))
                .arg("--data")
                .arg(&data),
        );
        if let Some(rules) = &options.rules {
            fs::write(data.join("rules.yaml"), rules).expect("rules.yaml");
        }
        let configuration = data.join("opserver.yaml");
        let text = fs::read_to_string(&configuration).expect("opserver.yaml");
        let entries: String = options
            .access
            .iter()
            .map(|entry| format!("  - {entry}\n"))
            .collect();
        let mut text = text.replacen("access:\n", &format!("access:\n{entries}"), 1);
        for (from, to) in &options.edits {
            assert!(
                text.contains(from),
                "`{from}` is not in the configuration:\n{text}"
            );
            text = text.replacen(from, to, 1);
        }
        fs::write(&configuration, text).expect("opserver.yaml");
        if let Some(prepare) = options.prepare {
            prepare(&data);
        }
        write_agent_config(&data, &node, &agent_address, docker.host());
        let token = add_token(&data, "alice", &["admins"]);
        let log = options.log.clone();
        let agent = start_agent(&data, &node, log.as_deref());
        let gateway = start_gateway(&data, log.as_deref());
        let kubeconfig = directory.path().join("kubeconfig");
        let house = Self {
            gateway,
            agent,
            docker,
            kubeconfig,
            node,
            token,
            log,
            directory,
        };
        house.write_kubeconfig(&house.token, "alice", &house.kubeconfig);
        house
    }

    /// The Docker behind the agent.
    #[must_use]
    pub const fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The gateway's process.
    pub const fn gateway(&mut self) -> &mut Server {
        &mut self.gateway
    }

    /// The agent's process.
    pub const fn agent(&mut self) -> &mut Server {
        &mut self.agent
    }

    /// Where the gateway listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.gateway.address())
    }

    /// Where the gateway listens: `host:port`.
    #[must_use]
    pub fn gateway_address(&self) -> &str {
        self.gateway.address()
    }

    /// The gateway's directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A directory for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Alice's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Adds a person; gives the token.
    ///
    /// # Panics
    ///
    /// The gateway's binary refuses.
    #[must_use]
    pub fn add_user(&self, user: &str, groups: &[&str]) -> String {
        let token = add_token(&self.data(), user, groups);
        // The running gateway looks at the file every half second.
        thread::sleep(Duration::from_millis(1500));
        token
    }

    /// Adds a person; gives the path of a kubeconfig of his.
    ///
    /// # Panics
    ///
    /// The gateway's binary or dockctl refuses.
    #[must_use]
    pub fn add_person(&self, user: &str, groups: &[&str]) -> PathBuf {
        let token = self.add_user(user, groups);
        let file = self.directory.path().join(format!("kubeconfig-{user}"));
        self.write_kubeconfig(&token, user, &file);
        file
    }

    /// Alice's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The agent's name, which is the node's.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Writes a kubeconfig with `dockctl kubeconfig`, as a person would.
    ///
    /// # Panics
    ///
    /// dockctl refuses.
    pub fn write_kubeconfig(&self, token: &str, user: &str, file: &Path) {
        let mut child = Command::new(binary("dockctl"))
            .args([
                "kubeconfig",
                "--cluster",
                "local",
                "--token-file",
                "-",
                "--user",
                user,
            ])
            .args(["--server", &self.url()])
            .arg("--certificate-authority")
            .arg(self.data().join("tls/ca.pem"))
            .arg("-o")
            .arg(file)
            .stdin(Stdio::piped())
            .spawn()
            .expect("dockctl");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(token.as_bytes()).expect("token");
        drop(stdin);
        let status = child.wait().expect("dockctl");
        assert!(status.success(), "dockctl kubeconfig: {status}");
    }

    /// A kubectl command as alice.
    #[must_use]
    pub fn kubectl(&self, kubectl: &Kubectl, transport: Transport) -> Command {
        kubectl.command(transport, &self.kubeconfig, self.directory.path())
    }

    /// A command of the kubectl on PATH as alice, over `transport`.
    ///
    /// # Panics
    ///
    /// There is no kubectl.
    #[must_use]
    pub fn preferred(&self, transport: Transport, arguments: &[&str]) -> Command {
        let mut command = self.kubectl(&Kubectl::preferred(), transport);
        command.args(arguments);
        command
    }

    /// A dockctl command as alice.
    #[must_use]
    pub fn dockctl(&self) -> Command {
        let mut command = Command::new(binary("dockctl"));
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.directory.path());
        command
    }

    /// The audit trail so far, one JSON object each.
    ///
    /// # Panics
    ///
    /// A line is no JSON.
    #[must_use]
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.data().join("audit/audit.jsonl")).unwrap_or_default();
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("audit `{line}`: {error}"))
        };
        text.lines().map(parse).collect()
    }

    /// Starts the gateway again on another port, after it was stopped or killed; the kubeconfig
    /// follows.
    pub fn restart_gateway(&mut self) {
        self.gateway.kill();
        let old = self.url();
        self.gateway = start_gateway(&self.data(), self.log.as_deref());
        let text = fs::read_to_string(&self.kubeconfig).expect("kubeconfig");
        fs::write(&self.kubeconfig, text.replace(&old, &self.url())).expect("kubeconfig");
    }

    /// Starts a gateway with the configuration in `data`.
    pub(crate) fn start_gateway(&self, data: &Path) -> Server {
        start_gateway(data, self.log.as_deref())
    }

    /// Starts the agent again on its port, after it was stopped or killed.
    pub fn restart_agent(&mut self) {
        self.agent.kill();
        self.agent = start_agent(&self.data(), &self.node, self.log.as_deref());
    }
}

fn start_gateway(data: &Path, log: Option<&str>) -> Server {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .arg("serve")
        .arg("--config")
        .arg(data.join("opserver.yaml"));
    Server::start(command.env("RUST_LOG", log.unwrap_or("info")))
}

fn start_agent(data: &Path, node: &str, log: Option<&str>) -> Server {
    let config = data.join("agents").join(node).join("opagent.yaml");
    let mut command = Command::new(binary("dockin-opagent"));
    Server::start(
        command
            .arg("--config")
            .arg(config)
            .env("RUST_LOG", log.unwrap_or("info")),
    )
}

fn write_agent_config(data: &Path, node: &str, address: &str, docker: &str) {
    let config = format!(
        "name: {node}\nlisten: {address}\n\
         tls: {{ certificate: identity.pem, key: identity.pem, authority: ca.pem }}\n\
         docker: {{ host: \"{docker}\" }}\n"
    );
    fs::write(data.join("agents").join(node).join("opagent.yaml"), config).expect("opagent.yaml");
}

fn add_token(data: &Path, user: &str, groups: &[&str]) -> String {
    let mut command = Command::new(binary("dockin-opserver"));
    command
        .args(["token", "add", "--user", user])
        .arg("--data")
        .arg(data);
    for group in groups {
        command.args(["--group", group]);
    }
    let output = run(&mut command);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A free port on a loopback address of this process's house `number` alone: on 127.0.0.1 another
/// program's connection may take the port before the agent does.
fn free_address(number: u32) -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let [_, _, _, number] = number.to_be_bytes();
    let host = Ipv4Addr::new(127, high | 0x80, low, number);
    let listener = TcpListener::bind((host, 0)).expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

fn succeed(command: &mut Command) {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
