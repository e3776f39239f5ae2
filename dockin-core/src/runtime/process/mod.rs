//! A sample pod made of local processes: what the demo and the tests run things in, without root,
//! without Docker.
//!
//! The pod is a sandbox of user, mount, PID, IPC and UTS namespaces: it sees the machine's
//! programs read-only, its own files in memory and only its own processes, and it has no
//! capabilities. It shares the machine's network. Where the kernel does not allow that,
//! [`ProcessRuntime::isolation`] says why, and the pod's processes are plain ones in a temporary
//! directory: whoever shows the pod to people must then say so.
//!
//! The binary's `main` must call [`sandbox_main`] first.

mod attach;
mod log;
mod main_process;
mod sandbox;
mod session;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use dockin_stream::StreamSet;
use jiff::Timestamp;
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
};

use self::{
    main_process::{MainProcess, POD_VARIABLE},
    session::{Launch, launch},
};
use super::{BoxSession, LogOptions, LogStream, PortStream, Runtime};
use crate::{
    Error, ErrorKind, Target,
    access::Permit,
    directory::{Container, Directory, Pod},
    reaper::Reaper,
};

pub use sandbox::sandbox_main;

/// What a sample pod is called and what it runs.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Pod name, also its host name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of its one container.
    pub container: String,
    /// Name of the node it is shown on.
    pub node: String,
    /// Where the pod's directory is made; every user must be able to reach it when the agent is
    /// root, which the sandbox is not.
    pub directory: PathBuf,
    /// The program that calls [`sandbox_main`]; usually the running one.
    pub helper: PathBuf,
    /// The main process.
    pub command: Vec<String>,
    /// Ends sessions' processes.
    pub reaper: Arc<Reaper>,
}

impl ProcessOptions {
    /// Pod `sample-pod` in `default` with a container `app` that prints a line each 5 s.
    #[must_use]
    pub fn new(helper: impl Into<PathBuf>, reaper: Arc<Reaper>) -> Self {
        Self {
            pod: "sample-pod".to_owned(),
            namespace: "default".to_owned(),
            container: "app".to_owned(),
            node: "local".to_owned(),
            directory: std::env::temp_dir(),
            helper: helper.into(),
            command: ["/bin/sh", "-c", MAIN].map(str::to_owned).to_vec(),
            reaper,
        }
    }
}

/// Makes sure that the pod's programs can be interrupted.
///
/// What a shell starts in the background ignores `^C`, and so would everything that it starts in
/// turn. A signal that is caught is not ignored any more behind the next `exec`; that we do
/// nothing with it leaves this process as it was.
fn unignore_signals() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    for kind in [SignalKind::interrupt(), SignalKind::quit()] {
        let bit = 1 << (kind.as_raw_value() - 1);
        if ignored & bit != 0
            && let Err(error) = signal(kind)
        {
            tracing::warn!(%error, "programs of the sample pod cannot be interrupted");
        }
    }
}

/// The main process of a sample pod.
const MAIN: &str = "n=0\n\
    while :; do\n\
    n=$((n + 1))\n\
    echo \"$(date -u +%Y-%m-%dT%H:%M:%SZ) INFO order service is alive, tick $n\"\n\
    sleep 5\n\
    done";
/// Where programs are looked for in a sandbox.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What separates a sample pod from the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: it is separated or it is not.
pub enum Isolation {
    /// Namespaces of its own.
    Sandbox,
    /// Nothing: its processes are plain ones of this user.
    None {
        /// What the kernel did not allow.
        reason: String,
    },
}

/// One sample pod. Dropping it ends all of its processes and removes its files.
#[derive(Debug)]
pub struct ProcessRuntime {
    options: ProcessOptions,
    uid: String,
    main: MainProcess,
}

impl ProcessRuntime {
    /// Starts the pod.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the helper program or the main process cannot be started; a kernel that
    /// allows no sandbox is no error.
    pub async fn start(options: ProcessOptions) -> Result<Self, Error> {
        unignore_signals();
        let main = MainProcess::start(&options).await?;
        if let Isolation::None { reason } = main.isolation() {
            tracing::warn!(%reason, "the sample pod is not isolated from this machine");
        }
        let uid = uuid::Uuid::now_v7().to_string();
        Ok(Self { options, uid, main })
    }

    /// What separates the pod from the machine.
    #[must_use]
    pub const fn isolation(&self) -> &Isolation {
        self.main.isolation()
    }

    fn check(&self, target: &Target) -> Result<(), Error> {
        let options = &self.options;
        let right = target.namespace == options.namespace
            && target.pod == options.pod
            && target
                .container
                .as_ref()
                .is_none_or(|name| *name == options.container);
        if right {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::NotFound,
                format!("container `{target}` not found"),
            ))
        }
    }

    fn check_running(&self, target: &Target) -> Result<(), Error> {
        self.check(target)?;
        if self.main.is_running() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Conflict,
                format!("container `{target}` is not running"),
            ))
        }
    }

    fn pod(&self) -> Pod {
        let options = &self.options;
        Pod {
            namespace: options.namespace.clone(),
            name: options.pod.clone(),
            uid: self.uid.clone(),
            node: options.node.clone(),
            ip: Some("127.0.0.1".to_owned()),
            labels: BTreeMap::from([("app".to_owned(), options.pod.clone())]),
            annotations: BTreeMap::new(),
            created: self.main.started(),
            containers: vec![Container {
                name: options.container.clone(),
                id: format!("process://{}", self.uid),
                image: "local-process".to_owned(),
                tty: false,
                stdin: false,
                restarts: 0,
                state: self.main.state(),
            }],
        }
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn exec(
        &self,
        permit: &Permit,
        argv: &[String],
        streams: StreamSet,
    ) -> Result<BoxSession, Error> {
        self.check_running(permit.target())?;
        if argv.is_empty() || argv.iter().any(|argument| argument.contains('\0')) {
            let message = "a command needs at least one word and no NUL characters";
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let session = permit.session();
        let guard = self.options.reaper.begin(session);
        let mut environment = environment(&self.options.pod, self.main.root());
        environment.extend(self.options.reaper.environment(session));
        environment.push((POD_VARIABLE.to_owned(), self.main.mark()));
        if streams.tty {
            environment.push(("TERM".to_owned(), "xterm-256color".to_owned()));
        }
        let directory = self.main.directory();
        let session = launch(
            Launch {
                helper: &self.options.helper,
                pid1: self.main.pid1(),
                directory: &directory,
                environment,
                argv,
                streams,
            },
            guard,
        )?;
        Ok(Box::pin(session))
    }

    async fn attach(&self, permit: &Permit, streams: StreamSet) -> Result<BoxSession, Error> {
        self.check_running(permit.target())?;
        Ok(Box::pin(self.main.attach(streams)))
    }

    async fn logs(&self, permit: &Permit, options: LogOptions) -> Result<LogStream, Error> {
        self.check(permit.target())?;
        if options.previous {
            let message = format!("container `{}` has not run before", permit.target());
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        Ok(self.main.log().read(options, Timestamp::now()))
    }

    async fn dial(&self, permit: &Permit, port: u16) -> Result<Box<dyn PortStream>, Error> {
        self.check_running(permit.target())?;
        // The pod has the machine's network, so its ports are the machine's.
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let message = format!("nothing answers on port {port} of `{}`", permit.target());
                Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
            }
        }
    }
}

#[async_trait]
impl Directory for ProcessRuntime {
    async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Pod>, Error> {
        let wanted = namespace.is_none_or(|namespace| namespace == self.options.namespace);
        Ok(wanted.then(|| self.pod()).into_iter().collect())
    }

    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        if namespace == self.options.namespace && name == self.options.pod {
            Ok(self.pod())
        } else {
            Err(Error::new(
                ErrorKind::NotFound,
                format!("pod `{namespace}/{name}` not found"),
            ))
        }
    }
}

/// The environment of everything in a pod; `root` is where its files are without a sandbox.
fn environment(pod: &str, root: Option<&Path>) -> Vec<(String, String)> {
    let home = root.map_or_else(|| PathBuf::from("/root"), |root| root.join("root"));
    [
        ("PATH", PATH.to_owned()),
        ("HOME", home.display().to_string()),
        ("HOSTNAME", pod.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PS1", sandbox::prompt(pod)),
        // There is one user id in a sandbox, and tar as root wants to restore others.
        ("TAR_OPTIONS", "--no-same-owner".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
