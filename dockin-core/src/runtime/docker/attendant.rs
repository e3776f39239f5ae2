use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use bollard::query_parameters::{ResizeContainerTTYOptions, ResizeExecOptions};
use dockin_stream::TerminalSize;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{daemon::Daemon, host_process};
use crate::{
    Error, ErrorKind,
    access::SessionId,
    reaper::{Reaper, SessionGuard},
};

/// How long a started exec may take until it has a process or has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Until then the terminal has no size, and a program that asks for it at once sees that.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// How often processes are looked for that a session which is over may still get.
const LATE_PAUSE: Duration = Duration::from_secs(1);

/// Newest terminal size. Its sender is the session: when that is gone, the session is over.
type Sizes = watch::Receiver<Option<TerminalSize>>;

/// Stands beside one exec session, off its data path.
pub(super) struct ExecAttendant {
    pub(super) daemon: Arc<Daemon>,
    pub(super) reaper: Arc<Reaper>,
    pub(super) session: SessionId,
    pub(super) container: String,
    pub(super) exec: String,
    pub(super) sizes: Sizes,
}

impl ExecAttendant {
    /// Gives the exec's process to the reaper, resizes its terminal, and lets go of `guard` when
    /// the session is over, which ends what is left of it.
    ///
    /// A session may end while its process is still being started: then what is there is ended at
    /// once, and the process as soon as it appears.
    pub(super) async fn attend(self, guard: SessionGuard) {
        let over = ended(self.sizes.clone());
        let mut starting = pin!(self.first_process());
        let started = tokio::select! {
            process = &mut starting => Some(process),
            () = over => None,
        };
        let Some(process) = started else {
            return self.end_late(guard, starting).await;
        };
        self.adopt(&guard, process);
        // Docker refuses a resize before the start, so the first size waits for it.
        let terminal = Terminal::Exec(&self.exec);
        follow_sizes(&self.daemon, terminal, self.sizes.clone()).await;
        drop(guard);
    }

    async fn end_late(
        &self,
        mut guard: SessionGuard,
        mut starting: impl Future<Output = Option<u32>> + Unpin,
    ) {
        loop {
            drop(guard);
            guard = self.reaper.begin(self.session);
            if let Ok(process) = timeout(LATE_PAUSE, &mut starting).await {
                return self.adopt(&guard, process);
            }
        }
    }

    fn adopt(&self, guard: &SessionGuard, process: Option<u32>) {
        let Some(pid) = process else { return };
        if let Err(error) = host_process::check(pid, &self.container) {
            tracing::warn!(
                session = %self.session, %error,
                "process of a session is not visible here, it may outlive the session",
            );
        } else if !guard.add_root(pid) {
            // What it left is found by its mark.
            tracing::debug!(session = %self.session, pid, "process has ended already");
        }
    }

    /// Waits for the exec's process; `None` when it will not come, or has ended already.
    async fn first_process(&self) -> Option<u32> {
        let limit = Instant::now() + START_LIMIT;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < limit {
            match started(&self.daemon, &self.exec).await {
                Ok(Start::Pending) => {}
                Ok(Start::Running(pid)) => return Some(pid),
                Ok(Start::Over) => return None,
                Err(error) if error.kind() == ErrorKind::NotFound => return None,
                Err(error) => tracing::debug!(error = %error.chain(), "exec cannot be inspected"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        None
    }
}

/// Stands beside an attached session: resizes the container's terminal until the session is over.
pub(super) async fn attend_container(daemon: Arc<Daemon>, container: String, sizes: Sizes) {
    follow_sizes(&daemon, Terminal::Container(&container), sizes).await;
}

#[derive(Clone, Copy)]
enum Terminal<'a> {
    Exec(&'a str),
    Container(&'a str),
}

impl Terminal<'_> {
    async fn resize(self, daemon: &Daemon, size: TerminalSize) -> Result<(), Error> {
        let client = daemon.client()?;
        let (h, w) = (size.height.into(), size.width.into());
        match self {
            Self::Exec(id) => {
                daemon
                    .ask(client.resize_exec(id, ResizeExecOptions { h, w }))
                    .await
            }
            Self::Container(id) => {
                let options = ResizeContainerTTYOptions { h, w };
                daemon.ask(client.resize_container_tty(id, options)).await
            }
        }
    }
}

/// Applies every size, of several the newest, until the session is over.
async fn follow_sizes(daemon: &Daemon, terminal: Terminal<'_>, mut sizes: Sizes) {
    let over = ended(sizes.clone());
    let applying = async {
        while sizes.changed().await.is_ok() {
            let size = *sizes.borrow_and_update();
            let Some(size) = size else { continue };
            if let Err(error) = terminal.resize(daemon, size).await {
                tracing::debug!(error = %error.chain(), "terminal was not resized");
            }
        }
    };
    tokio::select! {
        () = over => {}
        () = applying => {}
    }
}

/// Waits until the session is over.
async fn ended(mut sizes: Sizes) {
    while sizes.changed().await.is_ok() {}
}

enum Start {
    Pending,
    /// With this process id, as the host sees it.
    Running(u32),
    Over,
}

async fn started(daemon: &Daemon, exec: &str) -> Result<Start, Error> {
    let state = daemon.ask(daemon.client()?.inspect_exec(exec)).await?;
    let pid = state
        .pid
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid > 0);
    Ok(match (state.running, pid, state.exit_code) {
        (Some(true), Some(pid), _) => Start::Running(pid),
        (Some(false) | None, _, Some(_)) => Start::Over,
        _ => Start::Pending,
    })
}
