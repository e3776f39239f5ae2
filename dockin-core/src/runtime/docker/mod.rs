//! Containers of a Docker daemon, as pods, through its API socket.
//!
//! ```text
//! DockerRuntime ─┬─ Catalog  what is there: a map kept by the daemon's events
//!                ├─ Daemon   requests with a deadline, and hijacked connections
//!                └─ Reaper   ends what a session started
//! ```
//!
//! A command is started by the container's own runtime (`direct`) where that works, or by the
//! daemon. In the latter case a session is one `session::HijackedSession`: the daemon's raw socket and the state machine
//! that reads its frames, polled by whoever holds it. No task stands between the socket and the
//! caller; one task beside them (`attendant`) resizes and ends processes.

mod attach;
mod attendant;
mod catalog;
mod daemon;
mod dial;
mod direct;
mod entry;
mod exec;
mod host_process;
mod logs;
mod session;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use dockin_stream::StreamSet;
use tokio_util::task::AbortOnDropHandle;

use self::{
    catalog::{Catalog, Found},
    daemon::Daemon,
};
use super::{BoxSession, LogOptions, LogStream, PortStream, Runtime};
use crate::{
    Error, ErrorKind,
    access::Permit,
    directory::{Directory, Pod},
    reaper::Reaper,
};

/// What [`DockerRuntime::connect`] needs.
pub struct DockerOptions {
    /// The daemon's socket, `unix:///path`; `None` for `unix:///var/run/docker.sock`.
    pub host: Option<String>,
    /// Name of this node, for [`Pod::node`].
    pub node: String,
    /// Ends the processes of sessions.
    pub reaper: Arc<Reaper>,
    /// How commands are started.
    pub exec: ExecPath,
}

/// How commands are started in containers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ExecPath {
    /// By the daemon, which carries every byte.
    #[default]
    Daemon,
    /// By the container's own runtime, with pipes to this process, where that is known to work;
    /// else by the daemon. The process must run as root on the host and have called
    /// [`adopt_orphans`].
    Direct,
}

/// Makes this process the parent of every process that its children leave behind (a child
/// subreaper, `prctl(2)`), as [`ExecPath::Direct`] needs. For a program's `main`: it is a setting
/// of the whole process.
///
/// # Errors
///
/// The kernel refuses.
pub fn adopt_orphans() -> std::io::Result<()> {
    direct::adopt_orphans()
}

/// The containers of one Docker daemon: [`Runtime`] and [`Directory`] in one.
///
/// Containers that a Kubernetes node made are grouped into their pods by their labels; every
/// other container is a pod of its own in namespace `default`. Dropping the runtime stops
/// watching the daemon; sessions that are open go on.
pub struct DockerRuntime {
    daemon: Arc<Daemon>,
    catalog: Arc<Catalog>,
    reaper: Arc<Reaper>,
    direct: bool,
    _watcher: AbortOnDropHandle<()>,
}

impl DockerRuntime {
    /// Starts to watch the daemon, and waits for its first answer for at most 5 s.
    ///
    /// A daemon that is away is no error here: the runtime keeps trying, and until then answers
    /// `Unavailable`. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// `Misuse` when `host` is no Unix socket.
    pub async fn connect(options: DockerOptions) -> Result<Self, Error> {
        let daemon = Arc::new(Daemon::new(options.host.as_deref())?);
        let catalog = Arc::new(Catalog::new(options.node));
        let task = tokio::spawn(watch::watch(Arc::clone(&daemon), Arc::clone(&catalog)));
        let watcher = AbortOnDropHandle::new(task);
        catalog.first_attempt().await;
        let direct = options.exec == ExecPath::Direct && direct::is_possible();
        if options.exec == ExecPath::Direct && !direct {
            tracing::info!("not root or no child subreaper: commands are started by the daemon");
        }
        Ok(Self {
            daemon,
            catalog,
            reaper: options.reaper,
            direct,
            _watcher: watcher,
        })
    }

    /// The container that `permit` names, listed afresh before it is said not to be there.
    async fn find(&self, permit: &Permit) -> Result<Found, Error> {
        if self.catalog.is_current()
            && let Ok(found) = self.catalog.find(permit.target())
        {
            return Ok(found);
        }
        watch::list_new(&self.daemon, &self.catalog).await?;
        self.catalog.find(permit.target())
    }

    /// As [`find`](Self::find), when what the catalog said turned out to be gone.
    async fn find_again(&self, permit: &Permit) -> Result<Found, Error> {
        watch::list_new(&self.daemon, &self.catalog).await?;
        self.catalog.find(permit.target())
    }
}

#[async_trait]
impl Directory for DockerRuntime {
    async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Pod>, Error> {
        if !self.catalog.is_current() {
            watch::list_new(&self.daemon, &self.catalog).await?;
        }
        Ok(self.catalog.pods(namespace))
    }

    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        if self.catalog.is_current() {
            match self.catalog.pod(namespace, name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                known => return known,
            }
        }
        watch::list_new(&self.daemon, &self.catalog).await?;
        self.catalog.pod(namespace, name)
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn exec(
        &self,
        permit: &Permit,
        argv: &[String],
        streams: StreamSet,
    ) -> Result<BoxSession, Error> {
        let found = self.find(permit).await?;
        if self.direct
            && let Some(session) = direct::exec(&self.reaper, &found, permit, argv, streams).await?
        {
            return Ok(session);
        }
        let created =
            match exec::create(&self.daemon, &self.reaper, &found, permit, argv, streams).await {
                // Removed, or made anew under the same name, before its event was seen.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let found = self.find_again(permit).await?;
                    exec::create(&self.daemon, &self.reaper, &found, permit, argv, streams).await?
                }
                created => created?,
            };
        exec::start(&self.daemon, &self.reaper, created, permit, streams).await
    }

    async fn attach(&self, permit: &Permit, streams: StreamSet) -> Result<BoxSession, Error> {
        let found = self.find(permit).await?;
        match attach::attach(&self.daemon, &found, streams).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let found = self.find_again(permit).await?;
                attach::attach(&self.daemon, &found, streams).await
            }
            attached => attached,
        }
    }

    async fn logs(&self, permit: &Permit, options: LogOptions) -> Result<LogStream, Error> {
        let mut found = self.find(permit).await?;
        if options.previous {
            found = self.catalog.previous(&found, permit.target())?;
        }
        match logs::logs(&self.daemon, &found, options).await {
            Err(error) if error.kind() == ErrorKind::NotFound && !options.previous => {
                let found = self.find_again(permit).await?;
                logs::logs(&self.daemon, &found, options).await
            }
            opened => opened,
        }
    }

    async fn dial(&self, permit: &Permit, port: u16) -> Result<Box<dyn PortStream>, Error> {
        let found = self.find(permit).await?;
        match dial::dial(&self.daemon, &found, port).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let found = self.find_again(permit).await?;
                dial::dial(&self.daemon, &found, port).await
            }
            dialled => dialled,
        }
    }
}
