//! A Docker daemon of the tests' own, on a Unix socket, without networks, with one image.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::daemon;

/// The image that the tests run: the machine's static busybox, and its bash and zsh with the
/// libraries they need.
const IMAGE: &str = "dockin.local/busybox:test";

pub(crate) struct Docker {
    daemon: Child,
    socket: PathBuf,
    data: PathBuf,
}

impl Docker {
    /// Starts a daemon whose files are all below `scratch`, and loads the image.
    pub(crate) fn start(scratch: &Path) -> Result<Self, String> {
        mount_control_groups()?;
        let socket = scratch.join("docker.sock");
        let data = scratch.join("docker");
        let log_path = scratch.join("dockerd.log");
        let log = std::fs::File::create(&log_path).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--bridge=none"])
            .arg(format!("--host=unix://{}", socket.display()))
            .arg("--data-root")
            .arg(&data)
            .arg("--exec-root")
            .arg(scratch.join("exec"))
            .arg("--pidfile")
            .arg(scratch.join("docker.pid"))
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("dockerd: {error}"))?;
        let mut docker = Self {
            daemon,
            socket,
            data,
        };
        docker.wait_until_up(&log_path)?;
        docker.load_image(scratch)?;
        Ok(docker)
    }

    /// What `DOCKER_HOST` must say.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    fn wait_until_up(&mut self, log: &Path) -> Result<(), String> {
        for _ in 0..120 {
            let ended = self.daemon.try_wait().map_err(|error| error.to_string())?;
            let up = || {
                let mut version = self.client();
                version
                    .args(["version", "--format", "{{.Server.Version}}"])
                    .output()
            };
            match (ended, up()) {
                (None, Ok(output)) if output.status.success() => {
                    let version = String::from_utf8_lossy(&output.stdout);
                    eprintln!("xtask: dockerd {} at {}", version.trim(), self.host());
                    return Ok(());
                }
                (None, _) => thread::sleep(Duration::from_millis(500)),
                (Some(status), _) => {
                    let text = std::fs::read_to_string(log).unwrap_or_default();
                    return Err(format!("dockerd ended with {status}:\n{text}"));
                }
            }
        }
        let text = std::fs::read_to_string(log).unwrap_or_default();
        Err(format!("dockerd does not answer after 60 s:\n{text}"))
    }

    fn load_image(&self, scratch: &Path) -> Result<(), String> {
        let root = scratch.join("image");
        for folder in ["bin", "etc", "tmp", "root", "dev", "proc", "sys", "data"] {
            std::fs::create_dir_all(root.join(folder)).map_err(|error| error.to_string())?;
        }
        let busybox = crate::packages::find("busybox").ok_or("no busybox")?;
        std::fs::copy(&busybox, root.join("bin/busybox")).map_err(|error| error.to_string())?;
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
            .map_err(|error| error.to_string())?;
        let applets = Command::new(&busybox)
            .arg("--list")
            .output()
            .map_err(|error| format!("busybox --list: {error}"))?;
        for applet in String::from_utf8_lossy(&applets.stdout).lines() {
            if applet != "busybox" {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))
                    .map_err(|error| format!("{applet}: {error}"))?;
            }
        }
        for shell in ["bash", "zsh"] {
            copy_program(shell, &root)?;
        }
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("tar: {error}"))?;
        let archive = tar.stdout.take().ok_or("tar gives no output")?;
        let status = self
            .client()
            .args(["import", "--change", "CMD [\"/bin/sleep\",\"2147483647\"]"])
            .args(["--change", "ENV PATH=/bin", "-", IMAGE])
            .stdin(archive)
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("docker import: {error}"))?;
        let packed = tar.wait().map_err(|error| error.to_string())?;
        if status.success() && packed.success() {
            Ok(())
        } else {
            Err(format!(
                "image {IMAGE} could not be made: tar {packed}, docker import {status}"
            ))
        }
    }

    /// Writes the image to an archive, under its own name and a second one.
    pub(crate) fn save_image(&self, archive: &Path, second_name: &str) -> Result<(), String> {
        let mut tag = self.client();
        tag.args(["tag", IMAGE, second_name]);
        let mut save = self.client();
        save.arg("save").arg("--output").arg(archive);
        save.args([IMAGE, second_name]);
        for command in [&mut tag, &mut save] {
            let status = command.status();
            let status = status.map_err(|error| format!("{command:?}: {error}"))?;
            if !status.success() {
                return Err(format!("{command:?}: {status}"));
            }
        }
        Ok(())
    }

    fn client(&self) -> Command {
        let mut client = Command::new("docker");
        client.env("DOCKER_HOST", self.host()).stderr(Stdio::null());
        client
    }

    fn stop(&mut self) {
        // Containers first: they outlive their daemon.
        let listed = self.client().args(["ps", "-aq"]).output();
        let ids = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let ids = ids.unwrap_or_default();
        if !ids.trim().is_empty() {
            let _removed = self
                .client()
                .args(["rm", "-f"])
                .args(ids.split_whitespace())
                .stdout(Stdio::null())
                .status();
        }
        daemon::end(&mut self.daemon, &self.data);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies a program of the machine and the libraries it is linked with into the image's `root`.
fn copy_program(name: &str, root: &Path) -> Result<(), String> {
    let program = crate::packages::find(name).ok_or_else(|| format!("no {name}"))?;
    let copy = |from: &Path, to: PathBuf| {
        let folder = to.parent().unwrap_or(root);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::copy(from, &to))
            .map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
    };
    copy(&program, root.join("bin").join(name))?;
    let listed = Command::new("ldd").arg(&program).output();
    let listed = listed.map_err(|error| format!("ldd {name}: {error}"))?;
    let mut libraries: Vec<PathBuf> = String::from_utf8_lossy(&listed.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    let terminals = ["/lib/terminfo/x/xterm", "/usr/share/terminfo/x/xterm"];
    libraries.extend(terminals.map(PathBuf::from));
    for file in libraries.iter().filter(|file| file.exists()) {
        copy(file, root.join(file.strip_prefix("/").unwrap_or(file)))?;
    }
    // zsh loads its line editor as a module.
    let modules = Path::new("/usr/lib").join(format!("{}-linux-gnu/zsh", std::env::consts::ARCH));
    if name == "zsh" {
        let to = root.join(modules.strip_prefix("/").unwrap_or(&modules));
        std::fs::create_dir_all(to.parent().unwrap_or(root)).map_err(|error| error.to_string())?;
        let mut copied = Command::new("cp");
        let status = copied.arg("-a").arg(&modules).arg(&to).status();
        let status = status.map_err(|error| format!("{copied:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{copied:?}: {status}"));
        }
    }
    Ok(())
}

/// Docker needs control groups; a bare machine may have none mounted.
fn mount_control_groups() -> Result<(), String> {
    let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let mounted = mounts.lines().any(|line| {
        let kind = line.split(' ').nth(2);
        kind == Some("cgroup") || kind == Some("cgroup2")
    });
    if mounted {
        return Ok(());
    }
    let status = Command::new("cgroupfs-mount")
        .status()
        .map_err(|error| format!("control groups are not mounted, and cgroupfs-mount: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cgroupfs-mount ended with {status}"))
    }
}
