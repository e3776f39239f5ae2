//! The Docker runtime against a real daemon, which starts the commands.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod docker;

use self::docker::{
    OUTPUT, PIPED, Proxy, Sample, TERMINAL, argv, cli, collect, connect, log, next, open, options,
    permit, permit_for, unique, until,
};

const EXEC: ExecPath = ExecPath::Daemon;

use std::time::Duration;

use bytes::Bytes;
use dockin_core::{
    ErrorKind, Target,
    access::Verb,
    directory::{ContainerState, Directory},
    runtime::{
        LogOptions, Runtime,
        docker::{DockerRuntime, ExecPath},
    },
};
use dockin_stream::{Event, ExitStatus, TerminalSize};
use futures::{SinkExt, StreamExt};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

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
