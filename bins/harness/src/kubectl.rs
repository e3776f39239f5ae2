use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::run;

/// One kubectl that the tests drive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kubectl {
    path: PathBuf,
    minor: u32,
}

/// What kubectl speaks for exec, attach and port-forward.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: kubectl knows these two.
pub enum Transport {
    /// WebSocket; exec since 1.29 behind a switch and 1.30 by default.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

impl Kubectl {
    /// Every kubectl that `DOCKIN_TEST_KUBECTL` lists, or the one on PATH.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let listed = std::env::var("DOCKIN_TEST_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
        listed
            .split(':')
            .map(|path| Self::new(PathBuf::from(path)))
            .collect()
    }

    /// The first of [`all`](Self::all): the one on PATH.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn preferred() -> Self {
        Self::all().swap_remove(0)
    }

    fn new(path: PathBuf) -> Self {
        let output = run(Command::new(&path).args(["version", "--client", "-o", "json"]));
        let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let minor = version
            .pointer("/clientVersion/minor")
            .and_then(|minor| minor.as_str());
        let digits: String = minor
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let minor = digits.parse();
        let minor = minor.unwrap_or_else(|_| panic!("{}: which version is it?", path.display()));
        Self { path, minor }
    }

    /// The `NN` of `1.NN`.
    #[must_use]
    pub const fn minor(&self) -> u32 {
        self.minor
    }

    /// What it can be told to speak.
    #[must_use]
    pub fn transports(&self) -> &'static [Transport] {
        if self.minor >= 29 {
            &[Transport::WebSocket, Transport::Spdy]
        } else {
            &[Transport::Spdy]
        }
    }

    /// A command of it, told which transport to speak and which kubeconfig to read.
    #[must_use]
    pub fn command(&self, transport: Transport, kubeconfig: &Path, home: &Path) -> Command {
        let switch = match transport {
            Transport::WebSocket => "true",
            Transport::Spdy => "false",
        };
        let mut command = Command::new(&self.path);
        command
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", home)
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", switch)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", switch);
        command
    }
}
