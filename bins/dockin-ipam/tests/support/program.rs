//! The built program with a directory of its own.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program.
pub(crate) struct Program {
    directory: TempDir,
}

#[allow(dead_code, reason = "each test file uses a part of this")]
impl Program {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts one call of the plugin and hands it its configuration.
    pub(crate) fn start(&self, verb: &str, container: &str, more: &Value) -> Child {
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "bridge",
            "ipam": {
                "type": "dockin-ipam",
                "subnet": "10.0.0.0/24",
                "dataDir": self.directory.path(),
                "collectAfterSeconds": 0,
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
            .env_clear()
            .envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", container),
                ("CNI_NETNS", "/run/netns/none"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/opt/cni/bin"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        stdin
            .unwrap()
            .write_all(config.to_string().as_bytes())
            .unwrap();
        child
    }

    pub(crate) fn add(&self, container: &str) -> Output {
        self.start("ADD", container, &Value::Null)
            .wait_with_output()
            .unwrap()
    }

    /// The address of a successful `ADD`.
    pub(crate) fn address(&self, container: &str) -> String {
        address(&self.add(container).stdout)
    }

    /// Runs `dockin-ipam pool`; what it prints, or what it complains of.
    pub(crate) fn pool(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_dockin-ipam"))
            .args(["pool", "--data-dir"])
            .arg(self.directory.path())
            .args(words)
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// The first address of a result.
pub(crate) fn address(stdout: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(stdout).unwrap();
    answer["ips"][0]["address"].as_str().unwrap().to_owned()
}
