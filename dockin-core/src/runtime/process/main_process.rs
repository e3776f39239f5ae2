use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use dockin_stream::{ExitStatus, OutputStream, StreamSet};
use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe::Receiver,
    process::{Child, ChildStdin, Command},
    sync::broadcast,
};

use super::{
    Isolation, ProcessOptions,
    attach::AttachSession,
    environment,
    log::Log,
    sandbox,
    session::{pipe, receiver},
};
use crate::{
    Error, ErrorKind,
    access::SessionId,
    directory::ContainerState,
    reaper::{Reaper, SessionGuard},
};

/// Pieces of output that a slow attached client may lag behind before it loses some.
const ATTACH_BACKLOG: usize = 256;
/// Marks everything that runs in a pod. Without a sandbox nothing else holds the sessions that
/// are open when the pod ends.
pub(super) const POD_VARIABLE: &str = "DOCKIN_POD";
/// What a helper says about why it failed, at most.
const MAX_REASON: u64 = 4096;

/// What happens to the main process, for those who are attached.
#[derive(Clone, Debug)]
pub(super) enum MainEvent {
    Output(OutputStream, Bytes),
    Exit(ExitStatus),
}

/// The pod's sandbox with its main process; dropping it ends both.
#[derive(Debug)]
pub(super) struct MainProcess {
    isolation: Isolation,
    root: PathBuf,
    pid1: u32,
    started: i64,
    shared: Arc<Shared>,
    reaper: Arc<Reaper>,
    guard: Option<SessionGuard>,
    /// Its end tells process 1 that the pod is over.
    life: Option<ChildStdin>,
}

#[derive(Debug)]
struct Shared {
    log: Arc<Log>,
    events: broadcast::Sender<MainEvent>,
    ended: Mutex<Option<Ended>>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    code: i32,
    at: i64,
}

/// A helper that has reached the start of the main process.
struct Started {
    child: Child,
    pid1: u32,
    stdout: BufReader<Receiver>,
    stderr: Receiver,
    guard: SessionGuard,
    life: Option<ChildStdin>,
}

impl MainProcess {
    pub(super) async fn start(options: &ProcessOptions) -> Result<Self, Error> {
        let root = make_root(options)?;
        let result = match spawn(options, &root, sandbox::INIT).await {
            Ok(started) => Ok((started, Isolation::Sandbox)),
            Err(reason) => furnish_plain(options, &root)
                .await
                .map(|started| (started, Isolation::None { reason })),
        };
        let (started, isolation) = result.map_err(|reason| {
            remove(&root);
            Error::new(
                ErrorKind::Unavailable,
                format!("the sample pod cannot start: {reason}"),
            )
        })?;
        let shared = Arc::new(Shared {
            log: Log::new(),
            events: broadcast::Sender::new(ATTACH_BACKLOG),
            ended: Mutex::new(None),
        });
        tokio::spawn(watch(
            started.child,
            started.stdout,
            started.stderr,
            Arc::clone(&shared),
        ));
        Ok(Self {
            isolation,
            root,
            pid1: started.pid1,
            started: Timestamp::now().as_second(),
            shared,
            reaper: Arc::clone(&options.reaper),
            guard: Some(started.guard),
            life: started.life,
        })
    }

    pub(super) const fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Process 1 of the sandbox, 0 without one.
    pub(super) const fn pid1(&self) -> u32 {
        match self.isolation {
            Isolation::Sandbox => self.pid1,
            Isolation::None { .. } => 0,
        }
    }

    /// Where the pod's files are on the machine; inside a sandbox they are at `/`.
    pub(super) fn root(&self) -> Option<&Path> {
        match self.isolation {
            Isolation::Sandbox => None,
            Isolation::None { .. } => Some(&self.root),
        }
    }

    /// The working directory of commands.
    pub(super) fn directory(&self) -> PathBuf {
        self.root().unwrap_or(Path::new("/")).join("data")
    }

    /// The value of [`POD_VARIABLE`].
    pub(super) fn mark(&self) -> String {
        self.guard
            .as_ref()
            .map(|guard| guard.session().to_string())
            .unwrap_or_default()
    }

    pub(super) const fn started(&self) -> i64 {
        self.started
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.shared.log
    }

    pub(super) fn is_running(&self) -> bool {
        self.shared.ended().is_none()
    }

    pub(super) fn state(&self) -> ContainerState {
        let started = self.started;
        match self.shared.ended() {
            None => ContainerState::Running { started },
            Some(Ended { code, at }) => ContainerState::Terminated {
                exit_code: code,
                started,
                finished: at,
            },
        }
    }

    pub(super) fn attach(&self, streams: StreamSet) -> AttachSession {
        AttachSession::new(self.shared.events.subscribe(), streams)
    }
}

impl Drop for MainProcess {
    fn drop(&mut self) {
        drop(self.life.take());
        drop(self.guard.take());
        remove(&self.root);
        if self.root.exists() {
            // Plain processes may still write there while they are being ended.
            let (root, reaper) = (self.root.clone(), Arc::clone(&self.reaper));
            let _ = thread::Builder::new().spawn(move || {
                reaper.wait_idle(Duration::from_secs(5));
                remove(&root);
            });
        }
    }
}

impl Shared {
    fn ended(&self) -> Option<Ended> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a helper and waits until it says that the main process comes next. The error is why it
/// did not get there, for people.
async fn spawn(options: &ProcessOptions, root: &Path, role: &str) -> Result<Started, String> {
    let session = SessionId::new();
    let guard = options.reaper.begin(session);
    guard.add_mark(POD_VARIABLE, &session.to_string());
    let plain = (role == sandbox::PLAIN).then_some(root);
    let (stdout, stderr, mut child) = {
        let (stdout, stdout_writer) = pipe().map_err(|error| error.to_string())?;
        let (stderr, stderr_writer) = pipe().map_err(|error| error.to_string())?;
        let child = Command::new(&options.helper)
            .arg(role)
            .arg(root)
            .arg(&options.pod)
            .args(&options.command)
            .env_clear()
            .envs(environment(&options.pod, plain))
            .envs(options.reaper.environment(session))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(stdout_writer)
            .stderr(stderr_writer)
            .spawn()
            .map_err(|error| format!("`{}`: {error}", options.helper.display()))?;
        (stdout, stderr, child)
    };
    if let Some(pid) = child.id() {
        guard.add_root(pid);
    }
    let life = child.stdin.take();
    let mut stdout = BufReader::new(receiver(stdout).map_err(|error| error.to_string())?);
    let mut stderr = receiver(stderr).map_err(|error| error.to_string())?;
    let mut line = String::new();
    let read = (&mut stdout).take(MAX_REASON).read_line(&mut line).await;
    let pid1 = line.trim_end().split_once(' ').and_then(|(word, pid)| {
        (word == sandbox::READY_LINE)
            .then(|| pid.parse().ok())
            .flatten()
    });
    let Some(pid1) = pid1 else {
        if matches!(read, Ok(read) if read > 0) {
            return Err(format!(
                "`{}` is not the helper program",
                options.helper.display()
            ));
        }
        let mut reason = String::new();
        let _ = (&mut stderr)
            .take(MAX_REASON)
            .read_to_string(&mut reason)
            .await;
        let reason = reason.trim().trim_start_matches("dockin: ");
        return Err(if reason.is_empty() {
            "the helper ended"
        } else {
            reason
        }
        .to_owned());
    };
    Ok(Started {
        child,
        pid1,
        stdout,
        stderr,
        guard,
        life,
    })
}

async fn furnish_plain(options: &ProcessOptions, root: &Path) -> Result<Started, String> {
    sandbox::sample_files(root).map_err(|error| error.to_string())?;
    if let Some(user) = sandbox::sandbox_user() {
        give(root, user).map_err(|error| error.to_string())?;
    }
    spawn(options, root, sandbox::PLAIN).await
}

/// Gives a tree that was just made to `user`.
fn give(path: &Path, user: u32) -> io::Result<()> {
    chown(path, Some(user), Some(user))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Carries the main process's output to the log and to who is attached, until it ends.
async fn watch(
    mut child: Child,
    stdout: BufReader<Receiver>,
    stderr: Receiver,
    shared: Arc<Shared>,
) {
    let (_, _, status) = tokio::join!(
        carry(stdout, OutputStream::Stdout, &shared),
        carry(stderr, OutputStream::Stderr, &shared),
        child.wait(),
    );
    let code = status.ok().and_then(|status| status.code()).unwrap_or(137);
    let now = Timestamp::now();
    shared.log.end(now);
    *shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ended {
        code,
        at: now.as_second(),
    });
    let status = u8::try_from(code).map_or_else(
        |_| ExitStatus::internal_error("exit code of the main process is not known"),
        ExitStatus::Exited,
    );
    // Nobody may be attached.
    let _ = shared.events.send(MainEvent::Exit(status));
}

async fn carry(mut source: impl AsyncReadExt + Unpin, stream: OutputStream, shared: &Shared) {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    while matches!(source.read_buf(&mut buffer).await, Ok(read) if read > 0) {
        let bytes = buffer.split().freeze();
        shared.log.push(stream, &bytes, Timestamp::now());
        let _ = shared.events.send(MainEvent::Output(stream, bytes));
        buffer.reserve(16 * 1024);
    }
}

fn make_root(options: &ProcessOptions) -> Result<PathBuf, Error> {
    let name = format!("dockin-{}-{}", options.pod, uuid::Uuid::now_v7());
    let root = options.directory.join(name);
    let made = fs::create_dir(&root)
        .and_then(|()| fs::set_permissions(&root, Permissions::from_mode(0o755)));
    match made {
        Ok(()) => Ok(root),
        Err(error) => {
            let message = format!(
                "cannot make the sample pod's directory `{}`",
                root.display()
            );
            Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
        }
    }
}

fn remove(root: &Path) {
    if let Err(error) = fs::remove_dir_all(root)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(root = %root.display(), %error, "not removed yet");
    }
}
