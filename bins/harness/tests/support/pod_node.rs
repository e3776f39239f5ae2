//! A node with pods: a containerd of its own in network and mount namespaces of its own, our
//! plugins installed beside Debian's, and nothing on the machine when it is gone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use dockin_harness::binary;
use serde_json::{Value, json};

/// Static busybox that sleeps: what every container and sandbox runs.
const IMAGE: &str = "dockin.local/sleep:test";

static EXECS: AtomicU32 = AtomicU32::new(0);

pub struct PodNode {
    daemon: Child,
    home: tempfile::TempDir,
}

/// Makes the namespaces: what runtimes write outside their own folders is in memory or on top of
/// the machine's, which stays as it is.
const PREPARE: &str = r#"set -e
for folder in etc opt var/lib; do
    mkdir -p "$HOME/top/$folder/upper" "$HOME/top/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$HOME/top/$folder/upper,workdir=$HOME/top/$folder/work" "/$folder"
done
mount -t tmpfs run /run
mkdir -p /run/netns /opt/cni/bin /etc/cni/net.d
rm -rf /etc/cni/net.d/*
cp "$REFERENCE"/* /opt/cni/bin/
"$DOCKIN_CNI" install
ip link set lo up
exec containerd --config "$HOME/config.toml"
"#;

impl PodNode {
    /// Starts the daemon.
    pub fn start() -> Self {
        let reference = "/usr/lib/cni";
        assert!(
            Path::new(reference).join("bridge").is_file(),
            "no {reference}/bridge: install containernetworking-plugins"
        );
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config.toml"), config(home.path())).unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let daemon = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["sh", "-c", PREPARE])
            .env("HOME", home.path())
            .env("REFERENCE", reference)
            .env("DOCKIN_CNI", binary("dockin-cni"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("unshare");
        let mut node = Self { daemon, home };
        node.wait_until_up();
        make_image(node.home.path());
        let archive = node.path("image.tar");
        node.ctr(&["images", "import", &archive]);
        node
    }

    /// The socket of its CRI.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("containerd.sock")
    }

    /// A path below the node's own folder.
    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Runs a program on the node, by its bare name.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--target"])
            .arg(self.daemon.id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, program: &str, words: &[&str]) -> Output {
        self.command(program).args(words).output().unwrap()
    }

    /// `ctr` with these words, which must succeed; what it prints.
    pub fn ctr(&self, words: &[&str]) -> String {
        let output = self.client().args(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "ctr {words:?}: {told}\n{}",
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn client(&self) -> Command {
        let mut client = self.command("ctr");
        client
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"]);
        client
    }

    /// Writes the network configuration that the runtime uses from now on.
    pub fn configure(&self, plugins: &Value) {
        let list = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugins]});
        // The runtime sees the directory through the node's own overlay.
        let mut tee = self.command("tee");
        tee.arg("/etc/cni/net.d/10-pods.conflist");
        let mut tee = tee
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        serde_json::to_writer(tee.stdin.take().unwrap(), &list).unwrap();
        assert!(tee.wait().unwrap().success());
    }

    /// A container that `ctr run --cni` attaches, in the foreground: its network ends with it.
    pub fn run_container(&self, name: &str) -> Child {
        let mut client = self.client();
        client
            .args(["run", "--rm", "--cni", IMAGE, name])
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.home.path().join(name)).unwrap());
        let mut child = client.spawn().unwrap();
        for _ in 0..200 {
            let tasks = self.ctr(&["tasks", "list"]);
            let mut lines = tasks.lines();
            if lines.any(|line| line.starts_with(name) && line.contains("RUNNING")) {
                return child;
            }
            if child.try_wait().unwrap().is_some() {
                let told = fs::read_to_string(self.home.path().join(name)).unwrap();
                panic!("{name} ended: {told}");
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{name} does not run after 20 s");
    }

    /// Runs words in a container.
    pub fn exec(&self, container: &str, words: &[&str]) -> Output {
        let name = format!("x{}", EXECS.fetch_add(1, Ordering::Relaxed));
        let mut client = self.client();
        client
            .args(["tasks", "exec", "--exec-id", &name, container])
            .args(words);
        client.output().unwrap()
    }

    /// Does an address answer a container?
    pub fn pings(&self, container: &str, address: &str) -> bool {
        let output = self.exec(container, &["ping", "-c1", "-W2", address]);
        if !output.status.success() {
            eprintln!("{container} to {address}: {output:?}");
        }
        output.status.success()
    }

    /// The addresses of an interface in a container.
    pub fn address(&self, container: &str, interface: &str) -> String {
        let output = self.exec(container, &["ip", "-4", "addr", "show", interface]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace().skip_while(|word| *word != "inet");
        let address = words.nth(1).and_then(|it| it.split('/').next());
        address
            .unwrap_or_else(|| panic!("no address on {interface}: {text}"))
            .to_owned()
    }

    /// Ends a container that [`run_container`](Self::run_container) started.
    pub fn end(&self, name: &str, mut child: Child) {
        self.ctr(&["tasks", "kill", "--signal", "SIGKILL", name]);
        let _status = child.wait().unwrap();
    }

    /// The links on the node, without `lo` and without those of type bridge.
    pub fn links(&self) -> Vec<String> {
        let output = self.run("ip", &["-d", "-j", "link"]);
        let links: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let left = links
            .iter()
            .filter(|link| link["ifname"] != "lo" && link["linkinfo"]["info_kind"] != "bridge");
        left.map(|link| link["ifname"].to_string()).collect()
    }

    /// What the daemon says.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        let start = log.len().saturating_sub(4000);
        log.get(start..).unwrap_or_default().to_owned()
    }

    fn wait_until_up(&mut self) {
        for _ in 0..120 {
            let ended = self.daemon.try_wait().unwrap();
            assert!(ended.is_none(), "containerd ended: {}", self.log());
            let answer = self.client().arg("version").output().unwrap();
            if self.socket().exists() && answer.status.success() {
                return;
            }
            thread::sleep(Duration::from_millis(250));
        }
        panic!("containerd does not answer after 30 s: {}", self.log());
    }
}

impl Drop for PodNode {
    fn drop(&mut self) {
        // Containers first: they outlive their daemon.
        let listed = self.client().args(["tasks", "list", "--quiet"]).output();
        let ids = listed.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        for id in ids.unwrap_or_default().split_whitespace() {
            let _gone = self
                .client()
                .args(["tasks", "delete", "--force", id])
                .output();
        }
        let _told = Command::new("kill")
            .arg(self.daemon.id().to_string())
            .status();
        for _ in 0..40 {
            if matches!(self.daemon.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(Duration::from_millis(250));
        }
        let _killed = self.daemon.kill();
        let _reaped = self.daemon.wait();
    }
}

/// An archive as Docker writes them: one layer with busybox and its applets.
fn make_image(home: &Path) {
    let root = home.join("image");
    fs::create_dir_all(root.join("layer/bin")).unwrap();
    let found = Command::new("sh")
        .args(["-c", "command -v busybox"])
        .output()
        .unwrap();
    let busybox = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    assert!(!busybox.is_empty(), "no busybox: install busybox-static");
    fs::copy(&busybox, root.join("layer/bin/busybox")).unwrap();
    for applet in ["sleep", "ping", "ip", "sh"] {
        std::os::unix::fs::symlink("busybox", root.join("layer/bin").join(applet)).unwrap();
    }
    shell(&root, "tar -C layer -cf layer.tar .");
    let digest = shell(&root, "sha256sum layer.tar");
    let digest = digest.split(' ').next().unwrap();
    let config = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    fs::write(root.join("config.json"), config.to_string()).unwrap();
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
    shell(
        &root,
        "tar -cf ../image.tar manifest.json config.json layer.tar",
    );
}

fn shell(directory: &Path, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn config(home: &Path) -> String {
    let home = home.display();
    format!(
        r#"version = 2
root = "{home}/root"
state = "{home}/state"
[grpc]
  address = "{home}/containerd.sock"
[ttrpc]
  address = "{home}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  sandbox_image = "{IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"#
    )
}
