use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::run;

/// The Docker daemon that the tests use.
#[derive(Clone, Debug)]
pub struct Docker {
    host: String,
}

/// The image of the tests: static busybox and nothing else.
const IMAGE: &str = "dockin.local/busybox:test";

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Docker {
    /// The daemon that `DOCKIN_TEST_DOCKER_HOST` names.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn from_environment() -> Self {
        let host = std::env::var("DOCKIN_TEST_DOCKER_HOST").expect(
            "DOCKIN_TEST_DOCKER_HOST names no Docker: run `cargo xtask test`, or `cargo xtask \
             servers` in another terminal and export what it prints",
        );
        Self { host }
    }

    /// As `DOCKER_HOST` has it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A `docker` command for this daemon.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.host);
        command
    }

    /// Runs a container of the test image with `arguments` before the image and `argv` behind it.
    ///
    /// # Panics
    ///
    /// Docker refuses.
    #[must_use]
    pub fn container(&self, arguments: &[&str], argv: &[&str]) -> Container {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let output = run(self
            .command()
            .args(["run", "--detach", "--network", "none", "--name", &name])
            .args(arguments)
            .arg(IMAGE)
            .args(argv));
        assert!(
            output.status.success(),
            "docker run: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Container {
            docker: self.clone(),
            name,
        }
    }
}

/// A container that is removed when its owner goes.
#[derive(Debug)]
pub struct Container {
    docker: Docker,
    name: String,
}

impl Container {
    /// Its name, which is its pod's too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `docker exec` of `argv` prints.
    #[must_use]
    pub fn exec(&self, argv: &[&str]) -> String {
        let output = run(self.docker.command().arg("exec").arg(&self.name).args(argv));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The command lines of its processes, as `docker top` sees them.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let output = run(self
            .docker
            .command()
            .args(["top", &self.name, "-eo", "pid,args"]));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().skip(1).map(str::to_owned).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _removed = self
            .docker
            .command()
            .args(["rm", "--force", &self.name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
