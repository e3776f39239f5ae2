//! Our client against a Docker daemon, beside the `docker` program: what the one hears the other
//! hears, byte by byte. Attach and exec with the connection taken over, frames and terminals, the
//! end of input, logs and refusals.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{process::Command, time::Duration};

use bytes::Bytes;
use dockin_harness::{
    Asking, Container, Docker, DockerApi, Finished, Hijacked, Input, eventually, finish, run,
};
use dockin_stream::{
    Event, StreamSet, TerminalSize,
    docker::{
        Client, InputEnd, Shape,
        hijack::{self, HijackError},
    },
    io::{DockerLog, Endpoint},
};
use futures::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::{net::UnixStream, time::timeout};

const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "dockin.local/busybox:test";

const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const OUTPUTS: StreamSet = StreamSet {
    stdin: false,
    ..PIPES
};
const TERMINAL: StreamSet = StreamSet {
    stderr: false,
    tty: true,
    ..PIPES
};

type End = Endpoint<UnixStream, Client>;

#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn idle(docker: &Docker) -> Container {
    docker.container(&[], &["sleep", "2147483647"])
}

/// The daemon in the version that most clients of the field still ask for, and in its newest.
async fn versions(docker: &Docker) -> Vec<DockerApi> {
    let newest = DockerApi::newest(docker).await;
    let mut all = vec![newest];
    if all.iter().all(|api| api.version() != "1.41") {
        all.push(DockerApi::new(docker, "1.41"));
    }
    all
}

fn endpoint(hijacked: Hijacked, streams: StreamSet, end: InputEnd) -> End {
    let codec = Client::new(hijacked.answer.shape, streams, end);
    Endpoint::new(hijacked.socket, codec, hijacked.early)
}

/// Says `input` and its end while listening to the end.
async fn talk(end: End, input: &[u8]) -> Heard {
    let (mut sink, mut stream) = end.split();
    let input: Vec<Bytes> = input.chunks(50_000).map(Bytes::copy_from_slice).collect();
    let say = async move {
        for piece in input {
            if sink.send(Event::Stdin(piece)).await.is_err() {
                // A process that ends early reads no more.
                return sink;
            }
        }
        let _ended_before = sink.send(Event::HalfClose).await;
        sink
    };
    let mut heard = Heard::default();
    let listen = async {
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Stdout(bytes)) => heard.stdout.extend_from_slice(&bytes),
                Ok(Event::Stderr(bytes)) => heard.stderr.extend_from_slice(&bytes),
                Ok(Event::Close) => {}
                Ok(event) => panic!("{event:?}"),
                // A process that leaves input unread has the daemon reset the connection, behind
                // all output.
                Err(error) => assert!(error.to_string().contains("reset"), "{error}"),
            }
        }
    };
    let both = async {
        tokio::pin!(say);
        tokio::select! {
            _sink = &mut say => {}
            () = std::future::pending() => {}
        }
    };
    timeout(LIMIT, async {
        tokio::pin!(listen);
        tokio::select! {
            () = &mut listen => {}
            () = both => listen.await,
        }
    })
    .await
    .expect("docker ends it");
    heard
}

/// An exec as our client sees it: outputs and exit code.
async fn ours(
    api: &DockerApi,
    container: &Container,
    argv: &[&str],
    streams: StreamSet,
    asking: Asking,
    input: &[u8],
) -> (Heard, i64) {
    let id = api.create_exec(container.name(), argv, streams).await;
    let hijacked = api.start_exec(&id, streams.tty, asking).await.unwrap();
    assert_eq!(hijacked.answer.upgraded, asking == Asking::Upgrade);
    assert_eq!(hijacked.answer.shape, Shape::with_tty(streams.tty));
    let end = if streams.tty {
        InputEnd::EndOfTransmission
    } else {
        InputEnd::Shutdown
    };
    let heard = talk(endpoint(hijacked, streams, end), input).await;
    (heard, api.exit_code(&id).await)
}

/// The same by `docker exec`.
fn theirs(
    docker: &Docker,
    container: &Container,
    argv: &[&str],
    streams: StreamSet,
    input: &[u8],
) -> (Heard, i64) {
    let mut command = docker.command();
    command.arg("exec");
    if streams.stdin && !streams.tty {
        command.arg("-i");
    }
    if streams.tty {
        command.arg("-t");
    }
    command.arg(container.name()).args(argv);
    program(&mut command, input)
}

fn program(command: &mut Command, input: &[u8]) -> (Heard, i64) {
    let input = if input.is_empty() {
        Input::Nothing
    } else {
        Input::Bytes(input)
    };
    let Finished {
        code,
        stdout,
        stderr,
    } = finish(command, input, LIMIT);
    let stderr = stderr.into_bytes();
    (Heard { stdout, stderr }, code.unwrap_or(-1).into())
}

fn bytes(length: u32) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

/// What is run, and what it is told.
fn scripts() -> Vec<(&'static str, StreamSet, Vec<u8>)> {
    vec![
        ("echo out; echo error >&2; exit 3", OUTPUTS, Vec::new()),
        ("exit 255", OUTPUTS, Vec::new()),
        ("kill -9 $$", OUTPUTS, Vec::new()),
        ("seq 1 30000; seq 1 30000 >&2", OUTPUTS, Vec::new()),
        ("cat; exit 1", PIPES, b"typed".to_vec()),
        ("cat", PIPES, bytes(3_000_000)),
        ("md5sum; echo counted >&2", PIPES, bytes(8_000_000)),
        // Output long after the input's end.
        (
            "cat; sleep 1; echo later; exit 9",
            PIPES,
            b"a\0\xff\n".to_vec(),
        ),
        // All of the tail while input is unread.
        ("head -c 2000000 /dev/zero; exit 6", PIPES, bytes(900_000)),
        ("exec 1>&-; cat >&2", PIPES, vec![b'e'; 100_000]),
        ("cat", PIPES, Vec::new()),
        (
            "stty size; echo a; echo b >&2; exit 4",
            StreamSet {
                stdin: false,
                ..TERMINAL
            },
            Vec::new(),
        ),
        (
            "seq 1 3000",
            StreamSet {
                stdin: false,
                ..TERMINAL
            },
            Vec::new(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_is_heard_as_dockers_own_client_hears_it() {
    let docker = Docker::from_environment();
    let container = idle(&docker);
    for (script, streams, input) in scripts() {
        let argv = ["sh", "-c", script];
        let expected = theirs(&docker, &container, &argv, streams, &input);
        for api in versions(&docker).await {
            for asking in [Asking::Upgrade, Asking::Plain] {
                let got = ours(&api, &container, &argv, streams, asking, &input).await;
                let which = format!("{script} in {} {asking:?}", api.version());
                assert_eq!(got.1, expected.1, "{which}");
                assert!(
                    got.0 == expected.0,
                    "{which}: {} and {} bytes, expected {} and {}",
                    got.0.stdout.len(),
                    got.0.stderr.len(),
                    expected.0.stdout.len(),
                    expected.0.stderr.len(),
                );
            }
        }
    }
}

/// T1: all that was said before the end arrives, round after round, whatever is still on its way in.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_arrives_whole_although_input_never_stops() {
    let docker = Docker::from_environment();
    let container = idle(&docker);
    let api = DockerApi::newest(&docker).await;
    let argv = ["sh", "-c", "head -c 2000000 /dev/zero; exit 3"];
    for round in 0..10 {
        let id = api.create_exec(container.name(), &argv, PIPES).await;
        let hijacked = api.start_exec(&id, false, Asking::Upgrade).await.unwrap();
        let (mut sink, mut stream) = endpoint(hijacked, PIPES, InputEnd::Shutdown).split();
        let flood = async {
            let piece = Bytes::from(vec![0; 32 * 1024]);
            while sink.send(Event::Stdin(piece.clone())).await.is_ok() {
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        let mut count = 0;
        let listen = async {
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Stdout(bytes)) => count += bytes.len(),
                    Ok(Event::Close) | Err(_) => {}
                    Ok(event) => panic!("{event:?}"),
                }
            }
        };
        timeout(LIMIT, async {
            tokio::select! { () = listen => {} () = flood => {} }
        })
        .await
        .unwrap();
        assert_eq!(count, 2_000_000, "round {round}");
        assert_eq!(api.exit_code(&id).await, 3, "round {round}");
    }
    let mut command = docker.command();
    command.args(["exec", "-i", container.name()]).args(argv);
    let got = finish(&mut command, Input::Endless, LIMIT);
    assert_eq!((got.code, got.stdout.len()), (Some(3), 2_000_000));
}

/// A terminal that is typed into: echo, the size it is given, its own end of input, exit code.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_typed_into_resized_and_ended() {
    let docker = Docker::from_environment();
    let container = idle(&docker);
    for api in versions(&docker).await {
        let argv = ["sh", "-c", "read x; stty size; cat; echo over; exit 5"];
        let id = api.create_exec(container.name(), &argv, TERMINAL).await;
        let hijacked = api.start_exec(&id, true, Asking::Upgrade).await.unwrap();
        let mut end = endpoint(hijacked, TERMINAL, InputEnd::EndOfTransmission);
        let query = hijack::resize_query(TerminalSize {
            width: 133,
            height: 41,
        });
        let path = format!("/exec/{id}/resize?{query}");
        // The daemon knows the terminal only once the process runs.
        loop {
            let (status, told) = api.try_json(Method::POST, &path, None).await;
            if status.is_success() {
                break;
            }
            assert!(status.as_u16() >= 400, "{status} {told}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        end.send(Event::Stdin(Bytes::from_static(b"go\nla")))
            .await
            .unwrap();
        let heard = talk(end, b"st").await;
        let text = String::from_utf8_lossy(&heard.stdout).into_owned();
        // The echo of what is typed may come before the size.
        assert!(text.contains("41 133\r\n"), "{text:?}");
        assert!(text.ends_with("lastover\r\n"), "{text:?}");
        assert_eq!(api.exit_code(&id).await, 5, "{text:?}");
    }
}

/// A container that is made and not started; it is removed by name.
fn create(docker: &Docker, name: &str, flags: &[&str], script: &str) {
    let mut command = docker.command();
    command.args(["create", "--network", "none", "--name", name]);
    let output = run(command.args(flags).args([IMAGE, "sh", "-c", script]));
    assert!(output.status.success(), "{output:?}");
}

fn remove(docker: &Docker, name: &str) {
    run(docker.command().args(["rm", "--force", name]));
}

/// Attach before the start, as `docker start -ai` does: nothing of the output is missed, and the
/// end of input ends no output where the container takes its input once.
#[tokio::test(flavor = "multi_thread")]
async fn an_attached_container_is_heard_as_docker_start_hears_it() {
    let docker = Docker::from_environment();
    let api = DockerApi::newest(&docker).await;
    let name = format!("attached-{}", std::process::id());
    let script = "echo first; cat; echo error >&2; sleep 1; echo later; exit 11";
    let input = bytes(400_000);
    create(&docker, &name, &["-i"], script);
    let expected = program(docker.command().args(["start", "-ai", &name]), &input);
    remove(&docker, &name);
    for asking in [Asking::Upgrade, Asking::Plain] {
        create(&docker, &name, &["-i"], script);
        let hijacked = api.attach(&name, PIPES, asking).await.unwrap();
        let end = endpoint(hijacked, PIPES, InputEnd::Shutdown);
        let start = format!("/containers/{name}/start");
        api.json(Method::POST, &start, None).await;
        let heard = talk(end, &input).await;
        let wait = format!("/containers/{name}/wait");
        let ended = api.json(Method::POST, &wait, None).await;
        assert_eq!(ended["StatusCode"], 11);
        assert_eq!(expected.1, 11);
        assert!(
            heard == expected.0,
            "{asking:?}: {} bytes",
            heard.stdout.len()
        );
        remove(&docker, &name);
    }
}

/// A container whose input stays open for the next client: what we do not end goes on.
#[tokio::test(flavor = "multi_thread")]
async fn input_that_is_held_leaves_the_container_to_the_next() {
    let docker = Docker::from_environment();
    let api = DockerApi::newest(&docker).await;
    for (flags, streams) in [(&["-i"][..], PIPES), (&["-i", "-t"], TERMINAL)] {
        let container =
            docker.container(flags, &["sh", "-c", "while read x; do echo got $x; done"]);
        for word in ["one", "two"] {
            let hijacked = api.attach(container.name(), streams, Asking::Upgrade).await;
            let mut end = endpoint(hijacked.unwrap(), streams, InputEnd::Hold);
            end.feed(Event::Stdin(Bytes::from(format!("{word}\n"))))
                .await
                .unwrap();
            end.send(Event::HalfClose).await.unwrap();
            let wanted = format!("got {word}");
            let mut text = String::new();
            while !text.contains(&wanted) {
                let event = timeout(LIMIT, end.next()).await.unwrap().unwrap().unwrap();
                let Event::Stdout(bytes) = event else {
                    panic!("{event:?}");
                };
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }
}

/// Logs so far and logs that are followed to the container's end, framed and of a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_and_followed_as_docker_logs_does() {
    let docker = Docker::from_environment();
    let api = DockerApi::newest(&docker).await;
    let script = "seq 1 5000; echo error >&2; sleep 2; echo last; echo least >&2";
    for (flags, shape) in [(&[][..], Shape::Multiplexed), (&["-t"], Shape::Raw)] {
        let container = docker.container(flags, &["sh", "-c", script]);
        let read = async |query: &str| {
            let path = format!(
                "/containers/{}/logs?stdout=1&stderr=1&{query}",
                container.name()
            );
            let answer = api.ask(Method::GET, &path, None).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let mut log = DockerLog::new(answer.into_body().into_data_stream(), shape);
            let mut heard = Heard::default();
            while let Some(event) = timeout(LIMIT, log.next()).await.unwrap() {
                match event.unwrap() {
                    Event::Stdout(bytes) => heard.stdout.extend_from_slice(&bytes),
                    Event::Stderr(bytes) => heard.stderr.extend_from_slice(&bytes),
                    event => panic!("{event:?}"),
                }
            }
            heard
        };
        let followed = read("follow=1").await;
        let theirs = |flags: &[&str]| {
            let mut command = docker.command();
            program(command.arg("logs").args(flags).arg(container.name()), b"").0
        };
        assert_eq!(followed, theirs(&["-f"]), "{flags:?}");
        assert!(
            String::from_utf8_lossy(&followed.stdout).contains("last"),
            "{flags:?}"
        );
        assert_eq!(read("tail=3").await, theirs(&["--tail", "3"]), "{flags:?}");
        assert_eq!(read("").await, followed, "{flags:?}");
    }
}

/// A program that is not there: the daemon tells it as output, with a code of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_told_as_docker_tells_it() {
    let docker = Docker::from_environment();
    let container = idle(&docker);
    for argv in [&["no-such-program"][..], &["/etc"]] {
        let expected = theirs(&docker, &container, argv, OUTPUTS, b"");
        for api in versions(&docker).await {
            let got = ours(&api, &container, argv, OUTPUTS, Asking::Upgrade, b"").await;
            assert!([126, 127].contains(&got.1), "{got:?}");
            assert_eq!(got, expected);
        }
    }
}

/// A refusal is no stream, and its status is the daemon's.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_open_no_stream() {
    let docker = Docker::from_environment();
    let api = DockerApi::newest(&docker).await;
    let container = idle(&docker);
    let id = api.create_exec(container.name(), &["true"], OUTPUTS).await;
    let first = api.start_exec(&id, false, Asking::Upgrade).await.unwrap();
    talk(endpoint(first, OUTPUTS, InputEnd::Shutdown), b"").await;
    api.exit_code(&id).await;
    for asking in [Asking::Upgrade, Asking::Plain] {
        match api.start_exec(&id, false, asking).await {
            Err(error) => assert_eq!(error, HijackError::Refused { status: 409 }),
            // Older daemons have left the connection before they look.
            Ok(hijacked) => {
                let heard = talk(endpoint(hijacked, OUTPUTS, InputEnd::Shutdown), b"").await;
                let told = String::from_utf8_lossy(&heard.stdout).into_owned();
                assert!(told.contains("has already run"), "{told}");
            }
        }
        let unknown = api
            .start_exec("0123456789", false, asking)
            .await
            .map(|_| ());
        assert_eq!(unknown, Err(HijackError::Refused { status: 404 }));
        let nobody = api.attach("nobody-there", PIPES, asking).await.map(|_| ());
        assert_eq!(nobody, Err(HijackError::Refused { status: 404 }));
    }
    // An exec whose container has ended since.
    let late = api.create_exec(container.name(), &["true"], OUTPUTS).await;
    run(docker.command().args(["kill", container.name()]));
    let ended = || {
        let state = run(docker
            .command()
            .args(["inspect", "-f", "{{.State.Running}}"])
            .arg(container.name()));
        state.stdout == b"false\n"
    };
    assert!(eventually(LIMIT, ended));
    let refused = api
        .start_exec(&late, false, Asking::Upgrade)
        .await
        .map(|_| ());
    assert!(
        matches!(refused, Err(HijackError::Refused { status: 404 | 409 })),
        "{refused:?}"
    );
}
