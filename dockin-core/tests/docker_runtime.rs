//! The Docker runtime against a real daemon.
//!
//! `DOCKIN_TEST_DOCKER_HOST` names its socket (`unix:///…`); it has the image
//! `dockin.local/busybox:test` and needs no network. Needs root, to end processes and to enter
//! network namespaces.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

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
    directory::{ContainerState, Directory},
    identity::{Principal, Proof},
    reaper::{Reaper, ReaperOptions},
    runtime::{
        BoxSession, LogOptions, Runtime,
        docker::{DockerOptions, DockerRuntime},
    },
};
use dockin_stream::{Event, ExitStatus, StreamSet, TerminalSize};
use futures::{SinkExt, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Long enough for a busy machine; no test measures time.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;

const OUTPUT: StreamSet = StreamSet {
    stdin: false,
    stdout: true,
    stderr: true,
    tty: false,
};
const PIPED: StreamSet = StreamSet {
    stdin: true,
    ..OUTPUT
};
const TERMINAL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

#[tokio::test]
async fn output_and_exit_code_arrive_with_the_streams_apart() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "echo out; echo err >&2; exit 7";
    let ended = run(&docker, &container.name, &["sh", "-c", script], OUTPUT, b"").await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.stderr, b"err\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(7)));
}

#[tokio::test]
async fn what_was_not_asked_for_does_not_arrive() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let streams = StreamSet {
        stderr: false,
        ..OUTPUT
    };
    let ended = run(
        &docker,
        &container.name,
        &["sh", "-c", "echo out; echo err >&2"],
        streams,
        b"",
    )
    .await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.stderr, b"");
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_with_126_or_127() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let ended = run(&docker, &container.name, &["/no/such/program"], OUTPUT, b"").await;
    let status = ended.status.unwrap();
    assert!(
        matches!(status, ExitStatus::Exited(126 | 127)),
        "{status:?}"
    );
    assert!(String::from_utf8_lossy(&ended.stdout).contains("/no/such/program"));
}

#[tokio::test]
async fn half_close_ends_the_input_and_keeps_the_output() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "wc -c; sleep 1; echo after";
    let ended = run(
        &docker,
        &container.name,
        &["sh", "-c", script],
        PIPED,
        b"12345",
    )
    .await;
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "5\nafter\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_hundred_megabytes_out_are_complete() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "dd if=/dev/urandom of=/tmp/blob bs=1048576 count=100 2>/dev/null; \
                  sha256sum /tmp/blob >&2; cat /tmp/blob";
    let ended = run(&docker, &container.name, &["sh", "-c", script], OUTPUT, b"").await;
    assert_eq!(ended.stdout.len(), 100 * MIB);
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with(&digest(&ended.stdout)));
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_hundred_megabytes_in_are_complete() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let mut input = vec![0; 100 * MIB];
    let mut state = 1_u32;
    for byte in &mut input {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let ended = run(&docker, &container.name, &["sha256sum"], PIPED, &input).await;
    assert!(String::from_utf8_lossy(&ended.stdout).starts_with(&digest(&input)));
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn input_that_nobody_reads_pushes_back_and_does_not_hold_the_output() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "echo ready; sleep 600"];
    let mut session = open(&docker, &container.name, &argv, PIPED).await;
    let mut sent = 0;
    while let Ok(fed) = timeout(
        Duration::from_secs(1),
        session.feed(Event::Stdin(Bytes::from(vec![0; MIB]))),
    )
    .await
    {
        fed.unwrap();
        sent += 1;
        assert!(sent < 64, "nothing pushes back");
    }
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"ready\n")))
    );
}

#[tokio::test]
async fn a_terminal_has_the_size_that_was_sent_before_the_start_and_follows_a_resize() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "while [ \"$(stty size 2>/dev/null)\" != '33 101' ]; do sleep 0.1; done; echo first; \
                  while [ \"$(stty size 2>/dev/null)\" != '50 132' ]; do sleep 0.1; done; echo second";
    let mut session = open(&docker, &container.name, &["sh", "-c", script], TERMINAL).await;
    session
        .send(Event::Resize(TerminalSize {
            width: 101,
            height: 33,
        }))
        .await
        .unwrap();
    let first = next(&mut session).await;
    assert_eq!(first, Some(Event::Stdout(Bytes::from_static(b"first\r\n"))));
    session
        .send(Event::Resize(TerminalSize {
            width: 132,
            height: 50,
        }))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(ended.stdout, b"second\r\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_prompt_without_a_line_end_arrives_at_once() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "printf 'name? '; read name; echo hello $name"];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"name? ")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"ann\n")))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(ended.stdout, b"ann\r\nhello ann\r\n");
}

#[tokio::test]
async fn the_end_of_a_terminals_input_does_not_cut_its_output() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "stty -echo; echo ready; cat; sleep 1; echo after",
    ];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"ready\r\n")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"unfinished")))
        .await
        .unwrap();
    session.send(Event::HalfClose).await.unwrap();
    let ended = collect(session).await;
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "unfinishedafter\r\n"
    );
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn control_p_reaches_the_program_and_control_p_control_q_does_not_detach() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "stty raw -echo; echo ready; dd bs=1 count=1 2>/dev/null | od -An -tx1; \
                             dd bs=1 count=1 2>/dev/null | od -An -tx1; echo after",
    ];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"ready\n")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"\x10")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b" 10\n")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"\x11")))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(String::from_utf8_lossy(&ended.stdout), " 11\nafter\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_process_that_closed_its_outputs_still_gives_its_exit_code() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "echo out; exec >/dev/null 2>&1; sleep 2; exit 5",
    ];
    let ended = run(&docker, &container.name, &argv, OUTPUT, b"").await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(5)));
}

#[tokio::test]
async fn a_grandchild_that_holds_the_outputs_does_not_hold_the_end() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "sleep 7001 & echo out; exit 3"];
    let ended = run(&docker, &container.name, &argv, OUTPUT, b"").await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(3)));
    container.until_no_process_has("7001").await;
}

#[tokio::test]
async fn a_dropped_session_leaves_no_process_behind() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "trap '' HUP TERM INT; (setsid sleep 7002 &) ; echo up; sleep 7002",
    ];
    let mut session = open(&docker, &container.name, &argv, PIPED).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\n")))
    );
    drop(session);
    container.until_no_process_has("7002").await;
}

#[tokio::test]
async fn a_session_dropped_before_its_process_is_there_leaves_none_behind() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    for _ in 0..3 {
        let argv = ["sh", "-c", "touch /seen; sleep 7003"];
        drop(open(&docker, &container.name, &argv, PIPED).await);
    }
    container.until_no_process_has("7003").await;
    // The last one may have been started since.
    sleep(Duration::from_secs(3)).await;
    container.until_no_process_has("7003").await;
}

#[tokio::test]
async fn close_ends_the_processes_and_the_stream() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "echo up; sleep 7004"];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\r\n")))
    );
    session.send(Event::Close).await.unwrap();
    assert_eq!(next(&mut session).await, None);
    container.until_no_process_has("7004").await;
}

#[tokio::test]
async fn a_container_that_ends_under_a_session_is_no_success() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "echo up; sleep 7005"];
    let mut session = open(&docker, &container.name, &argv, OUTPUT).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\n")))
    );
    cli(&["rm", "-f", &container.name]);
    let ended = collect(session).await;
    assert_ne!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn exec_in_what_is_not_there_or_does_not_run_says_which() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let permit = permit(Verb::Exec, "no-such-container").await;
    let error = docker
        .exec(&permit, &argv(&["true"]), OUTPUT)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    cli(&["kill", &container.name]);
    let permit = self::permit(Verb::Exec, &container.name).await;
    let error = docker
        .exec(&permit, &argv(&["true"]), OUTPUT)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = docker.attach(&permit, OUTPUT).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = docker.dial(&permit, 80).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn a_container_made_anew_under_its_name_is_found_at_once() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    for round in 0..3 {
        let text = round.to_string();
        let ended = run(&docker, &container.name, &["echo", &text], OUTPUT, b"").await;
        assert_eq!(ended.stdout, format!("{round}\n").as_bytes());
        cli(&["rm", "-f", &container.name]);
        cli(&[
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            &container.name,
            IMAGE,
        ]);
    }
}

#[tokio::test]
async fn attach_joins_the_main_process_and_gives_its_exit_code() {
    let script = "read line; echo got $line; read line; echo err >&2; exit 4";
    let container = Sample::run_program(&["-i"], &["sh", "-c", script]);
    let docker = connect().await;
    let permit = permit(Verb::Attach, &container.name).await;
    let mut first = docker.attach(&permit, PIPED).await.unwrap();
    first
        .send(Event::Stdin(Bytes::from_static(b"one\n")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut first).await,
        Some(Event::Stdout(Bytes::from_static(b"got one\n")))
    );
    // Only detaches.
    drop(first);
    let mut second = docker.attach(&permit, PIPED).await.unwrap();
    // Nor does the end of one client's input cut the output.
    second
        .send(Event::Stdin(Bytes::from_static(b"two\n")))
        .await
        .unwrap();
    second.send(Event::HalfClose).await.unwrap();
    let ended = collect(second).await;
    assert_eq!(ended.stderr, b"err\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(4)));
}

#[tokio::test]
async fn attach_to_a_container_without_input_takes_none() {
    let container = Sample::run_program(&[], &["sh", "-c", "sleep 3; echo out"]);
    let docker = connect().await;
    let permit = permit(Verb::Attach, &container.name).await;
    let mut session = docker.attach(&permit, PIPED).await.unwrap();
    session
        .send(Event::Stdin(Bytes::from_static(b"nobody reads this\n")))
        .await
        .unwrap();
    session.send(Event::HalfClose).await.unwrap();
    let ended = collect(session).await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn attach_resizes_the_containers_terminal() {
    let script =
        "while [ \"$(stty size 2>/dev/null)\" != '21 61' ]; do sleep 0.1; done; echo sized";
    let container = Sample::run_program(&["-it"], &["sh", "-c", script]);
    let docker = connect().await;
    let permit = permit(Verb::Attach, &container.name).await;
    let mut session = docker.attach(&permit, TERMINAL).await.unwrap();
    session
        .send(Event::Resize(TerminalSize {
            width: 61,
            height: 21,
        }))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(ended.stdout, b"sized\r\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn logs_follow_in_order_until_the_container_ends() {
    let script = "for i in 1 2 3; do echo out$i; sleep 0.3; echo err$i >&2; sleep 0.3; done";
    let container = Sample::run_program(&[], &["sh", "-c", script]);
    let docker = connect().await;
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let text = log(&docker, &container.name, options).await;
    assert_eq!(text, "out1\nerr1\nout2\nerr2\nout3\nerr3\n");
    let options = LogOptions {
        tail: Some(2),
        timestamps: true,
        ..LogOptions::default()
    };
    let text = log(&docker, &container.name, options).await;
    let lines: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!([lines[0].1, lines[1].1], ["out3", "err3"]);
    assert!(
        lines
            .iter()
            .all(|(time, _)| time.ends_with('Z') && time.starts_with("20"))
    );
    let options = LogOptions {
        since_seconds: Some(3600),
        ..LogOptions::default()
    };
    assert_eq!(
        log(&docker, &container.name, options).await.lines().count(),
        6
    );
    let options = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    let permit = permit(Verb::Logs, &container.name).await;
    assert!(docker.logs(&permit, options).await.is_err());
}

#[tokio::test]
async fn logs_of_a_terminal_are_its_bytes() {
    let container = Sample::run_program(&["-t"], &["printf", "one\\ntwo"]);
    let docker = connect().await;
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    assert_eq!(log(&docker, &container.name, options).await, "one\r\ntwo");
}

#[tokio::test]
async fn dial_reaches_what_listens_on_loopback_inside_the_container() {
    let script = "mkdir /www; echo page > /www/index.html; httpd -p 127.0.0.1:8080 -h /www; \
                  echo up; sleep 600";
    let container = Sample::run_program(&[], &["sh", "-c", script]);
    let docker = connect().await;
    container.until_logged("up").await;
    let permit = permit(Verb::PortForward, &container.name).await;
    for _ in 0..3 {
        let mut socket = docker.dial(&permit, 8080).await.unwrap();
        socket
            .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("page\n"), "{answer}");
    }
    let error = docker.dial(&permit, 8081).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn a_container_is_a_pod_until_it_is_removed() {
    let docker = connect().await;
    let container = Sample::run(&["--label", "app=web"]);
    let pod = docker.pod("default", &container.name).await.unwrap();
    assert_eq!(
        (pod.node.as_str(), pod.labels["app"].as_str()),
        ("node-1", "web")
    );
    assert_eq!(pod.containers.len(), 1);
    assert_eq!(pod.containers[0].name, container.name);
    assert!(matches!(pod.containers[0].state, ContainerState::Running { started } if started > 0));
    let listed = docker.pods(Some("default")).await.unwrap();
    assert!(listed.contains(&pod));
    assert!(docker.pods(Some("elsewhere")).await.unwrap().is_empty());

    let renamed = format!("{}-renamed", container.name);
    cli(&["rename", &container.name, &renamed]);
    until(async || docker.pod("default", &renamed).await.is_ok()).await;
    until(async || docker.pod("default", &container.name).await.is_err()).await;
    cli(&["rm", "-f", &renamed]);
    until(async || {
        docker
            .pods(None)
            .await
            .unwrap()
            .iter()
            .all(|pod| pod.name != renamed)
    })
    .await;
    let error = docker.pod("default", &renamed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn containers_of_a_kubernetes_pod_are_one_pod_without_its_sandbox() {
    let docker = connect().await;
    let name = unique();
    let labels = |container: &str, kind: &str| {
        [
            "io.kubernetes.pod.namespace=shop".to_owned(),
            format!("io.kubernetes.pod.name={name}"),
            format!("io.kubernetes.pod.uid=uid-{name}"),
            format!("io.kubernetes.container.name={container}"),
            format!("io.kubernetes.docker.type={kind}"),
            "app=shop".to_owned(),
            "annotation.kubectl.kubernetes.io/default-container=web".to_owned(),
        ]
    };
    let start = |labels: &[String], program: &[&str]| {
        let mut arguments = Vec::new();
        for label in labels {
            arguments.extend(["--label", label.as_str()]);
        }
        Sample::run_program(&arguments, program)
    };
    let forever = ["sleep", "600"];
    let _sandbox = start(&labels("POD", "podsandbox"), &forever);
    let _older = start(
        &labels("web", "container"),
        &["sh", "-c", "echo old; exit 1"],
    );
    sleep(Duration::from_millis(50)).await;
    let _web = start(&labels("web", "container"), &forever);
    let _log = start(&labels("log", "container"), &forever);
    until(async || {
        docker
            .pod("shop", &name)
            .await
            .is_ok_and(|pod| pod.containers.len() == 2)
    })
    .await;
    let pod = docker.pod("shop", &name).await.unwrap();
    assert_eq!(pod.uid, format!("uid-{name}"));
    assert_eq!(pod.labels.keys().collect::<Vec<_>>(), ["app"]);
    let names: Vec<&str> = pod.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["log", "web"]);
    let running =
        |c: &dockin_core::directory::Container| matches!(c.state, ContainerState::Running { .. });
    assert!(pod.containers.iter().all(running));
    assert_eq!(pod.container(None).unwrap().name, "web");

    let target = Target::pod("local", "shop", &name)
        .unwrap()
        .with_container("web")
        .unwrap();
    let permit = permit_for(Verb::Logs, target).await;
    let options = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    let mut log = docker.logs(&permit, options).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), "old\n");
}

#[tokio::test]
async fn many_sessions_at_once_do_not_mix() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let name = &container.name;
    let docker = &docker;
    let sessions = (0..12).map(|i| async move {
        let text = format!("{i}").repeat(1000);
        run(docker, name, &["cat"], PIPED, text.as_bytes())
            .await
            .stdout
            == text.as_bytes()
    });
    assert!(
        futures::future::join_all(sessions)
            .await
            .into_iter()
            .all(|same| same)
    );
}

#[tokio::test]
async fn a_daemon_that_is_away_is_unavailable_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let host = format!("unix://{}", path.display());
    let docker = DockerRuntime::connect(options(&host)).await.unwrap();
    let error = docker.pods(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains(&host), "{error}");

    // One that takes connections and is silent is no better.
    let _silent = tokio::net::UnixListener::bind(&path).unwrap();
    let error = docker.pod("default", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let permit = permit(Verb::Exec, "x").await;
    let error = docker
        .exec(&permit, &argv(&["true"]), OUTPUT)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_exit_and_its_processes_end() {
    let container = Sample::run(&[]);
    let mut proxy = Proxy::start();
    let docker = DockerRuntime::connect(options(&proxy.host()))
        .await
        .unwrap();
    let argv = ["sh", "-c", "echo up; sleep 7006"];
    let mut session = open(&docker, &container.name, &argv, PIPED).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\n")))
    );
    proxy.cut();
    let ended = collect(session).await;
    assert_eq!(ended.status, None);
    assert_eq!(ended.error.unwrap().kind(), ErrorKind::Unavailable);
    container.until_no_process_has("7006").await;
}

#[tokio::test]
async fn after_an_outage_what_is_gone_is_gone_and_what_is_new_is_there() {
    let gone = Sample::run(&[]);
    let mut proxy = Proxy::start();
    let docker = DockerRuntime::connect(options(&proxy.host()))
        .await
        .unwrap();
    docker.pod("default", &gone.name).await.unwrap();
    proxy.cut();
    until(async || docker.pods(None).await.is_err()).await;
    assert_eq!(
        docker.pods(None).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    cli(&["rm", "-f", &gone.name]);
    let new = Sample::run(&[]);
    proxy.restore();
    until(async || docker.pods(None).await.is_ok()).await;
    let names: Vec<String> = docker
        .pods(None)
        .await
        .unwrap()
        .into_iter()
        .map(|pod| pod.name)
        .collect();
    assert!(names.contains(&new.name));
    assert!(!names.contains(&gone.name));
    // And it follows again.
    let newer = Sample::run(&[]);
    until(async || {
        docker
            .pods(None)
            .await
            .unwrap()
            .iter()
            .any(|pod| pod.name == newer.name)
    })
    .await;
}

#[tokio::test]
async fn what_is_dropped_leaves_no_connection_open() {
    let container = Sample::run(&[]);
    let mut proxy = Proxy::start();
    let docker = DockerRuntime::connect(options(&proxy.host()))
        .await
        .unwrap();
    let permit = permit(Verb::Logs, &container.name).await;
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let log = docker.logs(&permit, follow).await.unwrap();
    let attached = docker.attach(&permit, PIPED).await.unwrap();
    let mut session = open(&docker, &container.name, &["cat"], PIPED).await;
    session
        .send(Event::Stdin(Bytes::from_static(b"up")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up")))
    );
    assert!(proxy.open() >= 4);
    drop((log, attached, session, docker));
    until(async || proxy.open() == 0).await;
}

#[tokio::test]
async fn a_host_that_is_no_unix_socket_is_misuse() {
    for host in [
        "tcp://127.0.0.1:2375",
        "unix://relative",
        "",
        "/var/run/docker.sock",
    ] {
        let error = DockerRuntime::connect(options(host)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Misuse, "{host}");
    }
}

const IMAGE: &str = "dockin.local/busybox:test";

fn host() -> String {
    std::env::var("DOCKIN_TEST_DOCKER_HOST").unwrap_or_else(|_| {
        panic!(
            "set DOCKIN_TEST_DOCKER_HOST=unix:///… to a Docker daemon that has the image `{IMAGE}`"
        )
    })
}

fn options(host: &str) -> DockerOptions {
    DockerOptions {
        host: Some(host.to_owned()),
        node: "node-1".to_owned(),
        reaper: Reaper::new(ReaperOptions::new("docker-runtime-test")),
    }
}

async fn connect() -> DockerRuntime {
    DockerRuntime::connect(options(&host())).await.unwrap()
}

/// A container that is removed with this.
struct Sample {
    name: String,
}

impl Sample {
    fn run(arguments: &[&str]) -> Self {
        Self::run_program(arguments, &[])
    }

    fn run_program(arguments: &[&str], program: &[&str]) -> Self {
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

    async fn until_no_process_has(&self, argument: &str) {
        until(async || {
            let listed = cli(&["top", &self.name, "-eo", "pid,args"]);
            !listed.lines().any(|line| line.contains(argument))
        })
        .await;
    }

    async fn until_logged(&self, text: &str) {
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
struct Proxy {
    folder: tempfile::TempDir,
    accepting: Option<tokio::task::JoinHandle<()>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Proxy {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut proxy = Self {
            folder,
            accepting: None,
            connections: Arc::default(),
        };
        proxy.restore();
        proxy
    }

    fn host(&self) -> String {
        format!(
            "unix://{}",
            self.folder.path().join("docker.sock").display()
        )
    }

    fn restore(&mut self) {
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

    fn cut(&mut self) {
        self.accepting.take().unwrap().abort();
        std::fs::remove_file(self.folder.path().join("docker.sock")).unwrap();
        self.connections.lock().unwrap().abort_all();
    }

    fn open(&mut self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        while connections.try_join_next().is_some() {}
        connections.len()
    }
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "dockin-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn docker_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(["-H", &host()]).args(arguments);
    command
}

fn cli(arguments: &[&str]) -> String {
    let output = docker_command(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    timeout(PATIENCE, async {
        while !condition().await {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
}

struct Anyone;

#[async_trait]
impl Authorizer for Anyone {
    async fn decide(&self, _: &Principal, _: Verb, _: &Target) -> Decision {
        Decision::Allow
    }
}

async fn permit(verb: Verb, pod: &str) -> Permit {
    permit_for(verb, Target::pod("local", "default", pod).unwrap()).await
}

async fn permit_for(verb: Verb, target: Target) -> Permit {
    let principal = Arc::new(Principal {
        user: "ann".to_owned(),
        groups: vec![],
        proof: Proof::Token,
    });
    authorize(&Anyone, &principal, verb, target, SessionId::new())
        .await
        .unwrap()
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

async fn open(docker: &DockerRuntime, pod: &str, words: &[&str], streams: StreamSet) -> BoxSession {
    docker
        .exec(&permit(Verb::Exec, pod).await, &argv(words), streams)
        .await
        .unwrap()
}

async fn next(session: &mut BoxSession) -> Option<Event> {
    timeout(PATIENCE, session.next())
        .await
        .unwrap()
        .map(Result::unwrap)
}

#[derive(Debug, Default)]
struct Ended {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<ExitStatus>,
    error: Option<Error>,
}

async fn collect(mut session: BoxSession) -> Ended {
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
async fn run(
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

async fn log(docker: &DockerRuntime, pod: &str, options: LogOptions) -> String {
    let permit = permit(Verb::Logs, pod).await;
    let mut log = docker.logs(&permit, options).await.unwrap();
    let mut text = Vec::new();
    while let Some(bytes) = timeout(PATIENCE, log.next()).await.unwrap() {
        text.extend_from_slice(&bytes.unwrap());
    }
    String::from_utf8(text).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
