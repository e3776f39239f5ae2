//! A containerd of the tests' own, with its CRI plugin and streaming server, and the image of the
//! tests. Sandboxes use the machine's own network: no CNI chain is needed.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{daemon, docker::Docker};

pub(crate) struct Containerd {
    daemon: Child,
    socket: PathBuf,
    home: PathBuf,
}

impl Containerd {
    /// Starts a daemon whose files are all below `scratch`, and gives it `docker`'s image.
    pub(crate) fn start(scratch: &Path, docker: &Docker) -> Result<Self, String> {
        let home = scratch.join("containerd");
        std::fs::create_dir_all(home.join("cni")).map_err(|error| error.to_string())?;
        let socket = home.join("containerd.sock");
        let configuration = home.join("config.toml");
        std::fs::write(&configuration, config(&home)).map_err(|error| error.to_string())?;
        let log_path = home.join("containerd.log");
        let log = std::fs::File::create(&log_path).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let daemon = Command::new("containerd")
            .arg("--config")
            .arg(&configuration)
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("containerd: {error}"))?;
        let mut containerd = Self {
            daemon,
            socket,
            home,
        };
        containerd.wait_until_up(&log_path)?;
        containerd.load_image(docker)?;
        Ok(containerd)
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> String {
        self.socket.display().to_string()
    }

    fn wait_until_up(&mut self, log: &Path) -> Result<(), String> {
        for _ in 0..120 {
            let ended = self.daemon.try_wait().map_err(|error| error.to_string())?;
            match (ended, self.client().arg("version").output()) {
                (None, Ok(output)) if output.status.success() => {
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    let version = text
                        .lines()
                        .rev()
                        .find_map(|line| line.split_once("Version:"));
                    let version = version.map_or("?", |(_, version)| version.trim());
                    eprintln!("xtask: containerd {version} at {}", self.socket());
                    return Ok(());
                }
                (None, _) => thread::sleep(Duration::from_millis(500)),
                (Some(status), _) => {
                    let text = std::fs::read_to_string(log).unwrap_or_default();
                    return Err(format!("containerd ended with {status}:\n{text}"));
                }
            }
        }
        let text = std::fs::read_to_string(log).unwrap_or_default();
        Err(format!("containerd does not answer after 60 s:\n{text}"))
    }

    fn load_image(&self, docker: &Docker) -> Result<(), String> {
        let archive = self.home.join("images.tar");
        docker.save_image(&archive, PAUSE)?;
        let output = self
            .client()
            .args(["images", "import"])
            .arg(&archive)
            .output()
            .map_err(|error| format!("ctr: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("ctr images import: {text}"))
    }

    fn client(&self) -> Command {
        let mut client = Command::new("ctr");
        client
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "k8s.io"]);
        client
    }

    fn stop(&mut self) {
        // Containers first: they outlive their daemon.
        let listed = self.client().args(["tasks", "list", "--quiet"]).output();
        let ids = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in ids.unwrap_or_default().split_whitespace() {
            let _killed = self
                .client()
                .args(["tasks", "delete", "--force", id])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        daemon::end(&mut self.daemon, &self.home);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a sandbox's own process is: the image of the tests by another name.
const PAUSE: &str = "dockin.local/pause:test";

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
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"#
    )
}
