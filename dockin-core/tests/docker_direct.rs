//! The Docker runtime against a real daemon, with commands that the container's own runtime starts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod docker;

use dockin_core::{
    ErrorKind,
    access::Verb,
    runtime::{
        Runtime as _,
        docker::{DockerRuntime, ExecPath},
    },
};
use dockin_stream::{Event, ExitStatus};
use futures::SinkExt as _;

use self::docker::{
    OUTPUT, PIPED, Proxy, Sample, argv, cli, collect, connect, next, open, options, permit, run,
    until,
};

/// Who starts the commands of this target's tests.
const EXEC: ExecPath = ExecPath::Direct;

#[tokio::test]
async fn the_daemon_has_no_part_in_it() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let mut session = open(&docker, &container.name, &["cat"], PIPED).await;
    session.send(Event::Stdin("x".into())).await.unwrap();
    assert_eq!(next(&mut session).await, Some(Event::Stdout("x".into())));
    let execs = cli(&["inspect", "--format", "{{.ExecIDs}}", &container.name]);
    assert_eq!(execs.trim(), "[]");
}

#[tokio::test]
async fn a_command_is_what_it_would_be_through_the_daemon() {
    let container = Sample::run(&[
        "--user=1234:4321",
        "--cap-drop=ALL",
        "--cap-add=NET_BIND_SERVICE",
        "--workdir=/tmp",
        "--env=COLOUR=blue",
        "--ulimit=fsize=1000000:2000000",
    ]);
    let docker = connect().await;
    // The session's marks and group are all that may differ, and the open files, whose soft limit
    // runc built with Go 1.19 sometimes raises.
    let script = "id; pwd; umask; env | grep -v ^DOCKIN_ | sort; \
                  grep -E '^(Cap|NoNew|Seccomp|Groups|Uid)' /proc/self/status; \
                  sed 's|/dockin-[^/]*$||' /proc/self/cgroup; cat /proc/self/oom_score_adj; \
                  grep -v 'open files' /proc/self/limits; ls -l /proc/self/ns | sed 's/.* //'";
    let ours = run(&docker, &container.name, &["sh", "-c", script], OUTPUT, b"").await;
    let theirs = cli(&["exec", &container.name, "sh", "-c", script]);
    for set in ["COLOUR=blue", "uid=1234", "1000000"] {
        assert!(theirs.contains(set), "{set}: {theirs}");
    }
    assert_eq!(String::from_utf8_lossy(&ours.stdout), theirs);
}

#[tokio::test]
async fn another_user_may_open_his_outputs_by_name() {
    let container = Sample::run(&["--user=1234"]);
    let docker = connect().await;
    let script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin";
    let ended = run(
        &docker,
        &container.name,
        &["sh", "-c", script],
        PIPED,
        b"in",
    )
    .await;
    assert_eq!(ended.stdout, b"out\nin");
    assert_eq!(ended.stderr, b"err\n");
}

#[tokio::test]
async fn a_daemon_that_forgets_itself_at_once_is_ended_too() {
    // No mark, no parent, a session of its own, and all of it before anybody could look.
    let container = Sample::run(&[]);
    let docker = connect().await;
    for _ in 0..10 {
        let script = "(setsid env -i sleep 27182 >/dev/null 2>&1 &); exit 0";
        let ended = run(&docker, &container.name, &["sh", "-c", script], OUTPUT, b"").await;
        assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
        container.until_no_process_has("27182").await;
    }
}

#[tokio::test]
async fn the_dead_are_waited_for() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    for _ in 0..5 {
        let ended = run(&docker, &container.name, &["true"], OUTPUT, b"").await;
        assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
    }
    drop(open(&docker, &container.name, &["sleep", "31415"], OUTPUT).await);
    container.until_no_process_has("31415").await;
    until(async || zombies().is_empty()).await;
}

/// Children of ours that nobody has waited for and that were commands in containers.
fn zombies() -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let (name, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let command = name.ends_with("(true") || name.ends_with("(sleep");
        if command && fields[0] == "Z" && fields[1] == own {
            found.push(stat);
        }
    }
    found
}

#[tokio::test]
async fn a_paused_container_is_a_conflict() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    cli(&["pause", &container.name]);
    let permit = permit(Verb::Exec, &container.name).await;
    let refused = docker.exec(&permit, &argv(&["true"]), OUTPUT).await;
    cli(&["unpause", &container.name]);
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_signalled_command_ends_with_128_and_the_signal() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "kill -9 $$"];
    let ended = run(&docker, &container.name, &argv, OUTPUT, b"").await;
    assert_eq!(ended.status, Some(ExitStatus::Exited(137)));
}

#[tokio::test]
async fn a_session_goes_on_without_the_daemon() {
    let container = Sample::run(&[]);
    let mut proxy = Proxy::start();
    let docker = DockerRuntime::connect(options(&proxy.host()))
        .await
        .unwrap();
    let mut session = open(&docker, &container.name, &["cat"], PIPED).await;
    proxy.cut();
    session.send(Event::Stdin("still".into())).await.unwrap();
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout("still".into()))
    );
    session.send(Event::HalfClose).await.unwrap();
    assert_eq!(collect(session).await.status, Some(ExitStatus::Exited(0)));
}
