//! A real daemon, containers on it, and sessions in them.
//!
//! `DOCKIN_TEST_DOCKER_HOST` names its socket (`unix:///…`); it has the image
//! `dockin.local/busybox:test` and needs no network. Needs root, to end processes and to enter
//! network namespaces.

#![allow(dead_code, reason = "each target uses its part")]

mod exec;

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use dockin_core::{
    Error, ErrorKind, Target,
    access::{Authorizer, Decision, Permit, SessionId, Verb, authorize},
    identity::{Principal, Proof},
    reaper::{Reaper, ReaperOptions},
    runtime::{
        BoxSession, LogOptions, Runtime,
        docker::{self, DockerOptions, DockerRuntime, ExecPath},
    },
};
use dockin_stream::{Event, ExitStatus, StreamSet, TerminalSize};
use futures::{SinkExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Long enough for a busy machine; no test measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) const OUTPUT: StreamSet = StreamSet {
    stdin: false,
    stdout: true,
    stderr: true,
    tty: false,
};
pub(crate) const PIPED: StreamSet = StreamSet {
    stdin: true,
    ..OUTPUT
};
pub(crate) const TERMINAL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

pub(crate) const IMAGE: &str = "dockin.local/busybox:test";

pub(crate) fn host() -> String {
    std::env::var("DOCKIN_TEST_DOCKER_HOST").unwrap_or_else(|_| {
        panic!(
            "set DOCKIN_TEST_DOCKER_HOST=unix:///… to a Docker daemon that has the image `{IMAGE}`"
        )
    })
}

pub(crate) fn options(host: &str) -> DockerOptions {
    if crate::EXEC == ExecPath::Direct {
        docker::adopt_orphans().unwrap();
    }
    DockerOptions {
        exec: crate::EXEC,
        host: Some(host.to_owned()),
        node: "node-1".to_owned(),
        reaper: Reaper::new(ReaperOptions::new("docker-runtime-test")),
    }
}

/// A runtime on the daemon, with the target's own way to start commands.
pub(crate) async fn connect() -> DockerRuntime {
    DockerRuntime::connect(options(&host())).await.unwrap()
}

/// A container that is removed with this.
pub(crate) struct Sample {
    pub(crate) name: String,
}

impl Sample {
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self::run_program(arguments, &[])
    }

    pub(crate) fn run_program(arguments: &[&str], program: &[&str]) -> Self {
        let name = unique();
        let mut all = vec!["run", "-d", "--network", "none", "--name", &name];
        all.extend(arguments);
        if !program.is_empty() {
            all.extend(["--entrypoint", program[0]]);
        }
        all.push(IMAGE);
        all.extend(program.iter().skip(1));
        cli(&all);
        Self { name }
    }

    pub(crate) async fn until_no_process_has(&self, argument: &str) {
        until(async || {
            let listed = cli(&["top", &self.name, "-eo", "pid,args"]);
            !listed.lines().any(|line| line.contains(argument))
        })
        .await;
    }

    pub(crate) async fn until_logged(&self, text: &str) {
        until(async || cli(&["logs", &self.name]).contains(text)).await;
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = docker_command(&["rm", "-f", &self.name]).output();
    }
}

/// A socket that leads to the daemon, and can be cut.
pub(crate) struct Proxy {
    folder: tempfile::TempDir,
    accepting: Option<tokio::task::JoinHandle<()>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut proxy = Self {
            folder,
            accepting: None,
            connections: Arc::default(),
        };
        proxy.restore();
        proxy
    }

    pub(crate) fn host(&self) -> String {
        format!(
            "unix://{}",
            self.folder.path().join("docker.sock").display()
        )
    }

    pub(crate) fn restore(&mut self) {
        let path = self.folder.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let connections = Arc::clone(&self.connections);
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.lock().unwrap().spawn(async move {
                    let path = host().trim_start_matches("unix://").to_owned();
                    let daemon = tokio::net::UnixStream::connect(path).await.unwrap();
                    let (mut daemon_read, mut daemon_write) = daemon.into_split();
                    let (mut client_read, mut client_write) = client.into_split();
                    // Ends with the client's close, which the daemon may not notice.
                    tokio::select! {
                        _ = tokio::io::copy(&mut client_read, &mut daemon_write) => {}
                        _ = tokio::io::copy(&mut daemon_read, &mut client_write) => {}
                    }
                });
            }
        }));
    }

    pub(crate) fn cut(&mut self) {
        self.accepting.take().unwrap().abort();
        std::fs::remove_file(self.folder.path().join("docker.sock")).unwrap();
        self.connections.lock().unwrap().abort_all();
    }

    pub(crate) fn open(&mut self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        while connections.try_join_next().is_some() {}
        connections.len()
    }
}

pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "dockin-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub(crate) fn docker_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(["-H", &host()]).args(arguments);
    command
}

pub(crate) fn cli(arguments: &[&str]) -> String {
    let output = docker_command(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    timeout(PATIENCE, async {
        while !condition().await {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
}

pub(crate) struct Anyone;

#[async_trait]
impl Authorizer for Anyone {
    async fn decide(&self, _: &Principal, _: Verb, _: &Target) -> Decision {
        Decision::Allow
    }
}

pub(crate) async fn permit(verb: Verb, pod: &str) -> Permit {
    permit_for(verb, Target::pod("local", "default", pod).unwrap()).await
}

pub(crate) async fn permit_for(verb: Verb, target: Target) -> Permit {
    let principal = Arc::new(Principal::new("ann".to_owned(), vec![], Proof::Token));
    authorize(&Anyone, &principal, verb, target, SessionId::new())
        .await
        .unwrap()
}

pub(crate) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

pub(crate) async fn open(
    docker: &DockerRuntime,
    pod: &str,
    words: &[&str],
    streams: StreamSet,
) -> BoxSession {
    docker
        .exec(&permit(Verb::Exec, pod).await, &argv(words), streams)
        .await
        .unwrap()
}

pub(crate) async fn next(session: &mut BoxSession) -> Option<Event> {
    timeout(PATIENCE, session.next())
        .await
        .unwrap()
        .map(Result::unwrap)
}

#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<ExitStatus>,
    pub(crate) error: Option<Error>,
}

pub(crate) async fn collect(mut session: BoxSession) -> Ended {
    let mut ended = Ended::default();
    while let Some(event) = timeout(PATIENCE, session.next()).await.unwrap() {
        match event {
            Ok(Event::Stdout(bytes)) => ended.stdout.extend_from_slice(&bytes),
            Ok(Event::Stderr(bytes)) => ended.stderr.extend_from_slice(&bytes),
            Ok(Event::Exit(status)) => ended.status = Some(status),
            Ok(other) => panic!("{other:?}"),
            Err(error) => ended.error = Some(error),
        }
    }
    ended
}

/// Runs a command with all of `input`, reading and writing at once.
pub(crate) async fn run(
    docker: &DockerRuntime,
    pod: &str,
    words: &[&str],
    streams: StreamSet,
    input: &[u8],
) -> Ended {
    let session = open(docker, pod, words, streams).await;
    let (mut sink, mut stream) = session.split();
    let input = Bytes::copy_from_slice(input);
    let writing = async {
        for piece in input.chunks(MIB) {
            sink.send(Event::Stdin(input.slice_ref(piece)))
                .await
                .unwrap();
        }
        sink.send(Event::HalfClose).await.unwrap();
    };
    let reading = async {
        let mut ended = Ended::default();
        while let Some(event) = timeout(PATIENCE, stream.next()).await.unwrap() {
            match event.unwrap() {
                Event::Stdout(bytes) => ended.stdout.extend_from_slice(&bytes),
                Event::Stderr(bytes) => ended.stderr.extend_from_slice(&bytes),
                Event::Exit(status) => ended.status = Some(status),
                other => panic!("{other:?}"),
            }
        }
        ended
    };
    futures::future::join(writing, reading).await.1
}

pub(crate) async fn log(docker: &DockerRuntime, pod: &str, options: LogOptions) -> String {
    let permit = permit(Verb::Logs, pod).await;
    let mut log = docker.logs(&permit, options).await.unwrap();
    let mut text = Vec::new();
    while let Some(bytes) = timeout(PATIENCE, log.next()).await.unwrap() {
        text.extend_from_slice(&bytes.unwrap());
    }
    String::from_utf8(text).unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
