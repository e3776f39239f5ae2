//! The `docker` program against our side of its streams: exec and attach pass through both of our
//! codecs and the relay between them, everything else goes to the daemon as it is. What the program
//! prints and how it ends must be what it prints and how it ends on its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    convert::Infallible,
    pin::Pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use dockin_harness::{Asking, Docker, DockerApi, Finished, Input, Pty, eventually, finish, run};
use dockin_stream::{
    Event, ExitStatus, OpenGate, Outcome, Relay, StreamSet,
    docker::{
        self, InputEnd,
        hijack::{Answer, ExecStart, HijackError, is_upgrade, parse_attach_query},
    },
    io::{Endpoint, EndpointError, run_relay},
};
use futures::{Sink, Stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, ext::ReasonPhrase, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Runtime,
};

const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "dockin.local/busybox:test";

/// A daemon whose streams are ours. It ends when its owner goes.
struct Door {
    host: String,
    served: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
    _folder: tempfile::TempDir,
}

impl Door {
    fn open(docker: &Docker) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let runtime = Runtime::new().unwrap();
        let listener = runtime
            .block_on(async { UnixListener::bind(&path) })
            .unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (docker, counter) = (docker.clone(), Arc::clone(&served));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (docker, counter) = (docker.clone(), Arc::clone(&counter));
                let service = service_fn(move |request| {
                    let (docker, counter) = (docker.clone(), Arc::clone(&counter));
                    async move { Ok::<_, Infallible>(answer(docker, counter, request).await) }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                tokio::spawn(served.with_upgrades());
            }
        });
        Self {
            host: format!("unix://{}", path.display()),
            served,
            runtime: Some(runtime),
            _folder: folder,
        }
    }

    /// A `docker` command that goes through it.
    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.host);
        command
    }

    /// Streams so far.
    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

async fn answer(
    docker: Docker,
    served: Arc<AtomicUsize>,
    request: Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_start_matches('/').split('/');
    let version = segments.next().unwrap_or_default().trim_start_matches('v');
    let api = DockerApi::new(&docker, version);
    let rest: Vec<&str> = segments.collect();
    match rest.as_slice() {
        ["exec", id, "start"] => {
            let id = (*id).to_owned();
            exec(api, &id, served, request).await
        }
        ["containers", id, "attach"] => {
            let id = (*id).to_owned();
            attach(api, &id, served, request).await
        }
        _ => pass(&api, request).await,
    }
}

/// What is no stream goes to the daemon as it is.
async fn pass(api: &DockerApi, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = api
        .forward(Request::from_parts(parts, Full::new(body)))
        .await;
    answer.map(BodyExt::boxed)
}

async fn exec(
    api: DockerApi,
    id: &str,
    served: Arc<AtomicUsize>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let body = request.body_mut().collect().await.unwrap().to_bytes();
    let start = ExecStart::parse(&body).unwrap();
    assert!(!start.detach);
    let exec = api
        .json(Method::GET, &format!("/exec/{id}/json"), None)
        .await;
    let streams = StreamSet {
        stdin: exec["OpenStdin"] == true,
        stdout: exec["OpenStdout"] == true,
        stderr: exec["OpenStderr"] == true,
        tty: start.tty,
    };
    let end = if start.tty {
        InputEnd::EndOfTransmission
    } else {
        InputEnd::Shutdown
    };
    match api.start_exec(id, start.tty, Asking::Upgrade).await {
        Ok(hijacked) => join(&api, request, hijacked, streams, end, served),
        Err(error) => refuse(&error),
    }
}

async fn attach(
    api: DockerApi,
    id: &str,
    served: Arc<AtomicUsize>,
    request: Request<Incoming>,
) -> Response<Body> {
    let container = api
        .json(Method::GET, &format!("/containers/{id}/json"), None)
        .await;
    let config = &container["Config"];
    let tty = config["Tty"] == true;
    let streams = parse_attach_query(request.uri().query().unwrap_or_default(), tty);
    let end = match (tty, config["StdinOnce"] == true) {
        (true, _) => InputEnd::EndOfTransmission,
        (false, true) => InputEnd::Shutdown,
        (false, false) => InputEnd::Hold,
    };
    match api.attach(id, streams, Asking::Upgrade).await {
        Ok(hijacked) => join(&api, request, hijacked, streams, end, served),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &HijackError) -> Response<Body> {
    let HijackError::Refused { status } = error else {
        panic!("{error}");
    };
    let mut response = Response::new(full("{\"message\":\"refused by the daemon\"}"));
    *response.status_mut() = StatusCode::from_u16(*status).unwrap();
    response
}

/// Joins the client behind `request` and the daemon behind `hijacked` by the relay.
fn join(
    api: &DockerApi,
    mut request: Request<Incoming>,
    hijacked: dockin_harness::Hijacked,
    streams: StreamSet,
    end: InputEnd,
    served: Arc<AtomicUsize>,
) -> Response<Body> {
    let headers = request.headers().iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert!(is_upgrade(headers.into_iter()));
    let shape = hijacked.answer.shape;
    let minor = api.version().split('.').nth(1).unwrap().parse().unwrap();
    let head = Answer {
        upgraded: true,
        shape,
    }
    .to_head(minor);
    let codec = docker::Client::new(shape, streams, end);
    let mut back = Daemon(Endpoint::new(hijacked.socket, codec, hijacked.early));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = upgrade.await.unwrap();
        let mut front = Endpoint::from_upgrade(upgraded, docker::Server::new(streams));
        let relay = Relay::new(OpenGate::default());
        let write_down = |()| std::future::ready(Ok(()));
        let (outcome, _) = run_relay(&mut front, &mut back, relay, write_down).await;
        assert!(
            matches!(outcome, Outcome::Ended(_) | Outcome::ClientGone),
            "{outcome:?}"
        );
        // A client that has gone need not hear the end.
        let _gone = front.finish().await;
        served.fetch_add(1, Ordering::Relaxed);
    });
    switching(&head)
}

/// The answer whose head is `head`.
fn switching(head: &str) -> Response<Body> {
    let mut lines = head.trim_end().lines();
    assert_eq!(lines.next(), Some("HTTP/1.1 101 UPGRADED"));
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let phrase = ReasonPhrase::from_static(b"UPGRADED");
    response.extensions_mut().insert(phrase);
    let headers: HeaderMap = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    assert!(headers.contains_key(header::CONTENT_TYPE));
    *response.headers_mut() = headers;
    response
}

/// The daemon's side: the end of its connection is the end of the output, and who wants the exit
/// code asks for it beside the stream.
struct Daemon(Endpoint<UnixStream, docker::Client>);

impl Stream for Daemon {
    type Item = Result<Event, EndpointError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_next(cx)) {
            Some(Ok(Event::Close)) => Some(Ok(Event::Exit(ExitStatus::Exited(0)))),
            // Input that the process left unread, behind all output.
            Some(Err(EndpointError::Io(_))) => Some(Ok(Event::Exit(ExitStatus::Exited(0)))),
            other => other,
        })
    }
}

impl Sink<Event> for Daemon {
    type Error = EndpointError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        Pin::new(&mut self.0).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<(), EndpointError> {
        Pin::new(&mut self.0).start_send(event)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// The same arguments with and without the door between.
fn both(
    docker: &Docker,
    door: &Door,
    arguments: &[&str],
    input: Input<'_>,
) -> (Finished, Finished) {
    let alone = finish(docker.command().args(arguments), input, LIMIT);
    let before = door.served();
    let through = finish(door.command().args(arguments), input, LIMIT);
    assert!(
        eventually(LIMIT, || door.served() == before + 1),
        "{arguments:?} went past the door: {}",
        through.stderr
    );
    (alone, through)
}

fn assert_same(which: &str, (alone, through): &(Finished, Finished)) {
    assert_eq!(through.code, alone.code, "{which}: {}", through.stderr);
    assert_eq!(through.stderr, alone.stderr, "{which}");
    assert!(
        through.stdout == alone.stdout,
        "{which}: {} bytes, {} without us",
        through.stdout.len(),
        alone.stdout.len()
    );
}

fn bytes(length: u32) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

#[test]
fn docker_exec_does_the_same_through_our_streams() {
    let docker = Docker::from_environment();
    let door = Door::open(&docker);
    let container = docker.container(&[], &["sleep", "2147483647"]);
    let name = container.name();
    let (small, large) = (b"a\0\xff\n".to_vec(), bytes(6_000_000));
    for (flags, script, input) in [
        (&[][..], "echo out; echo error >&2; exit 3", Input::Nothing),
        (&[], "seq 1 30000; seq 1 30000 >&2", Input::Nothing),
        (&[], "kill -9 $$", Input::Nothing),
        (&["-i"], "cat; exit 255", Input::Bytes(&small)),
        (&["-i"], "cat", Input::Bytes(&large)),
        (&["-i"], "md5sum; echo counted >&2", Input::Bytes(&large)),
        (
            &["-i"],
            "cat; sleep 1; echo later; exit 9",
            Input::Bytes(&small),
        ),
        (&["-i"], "cat", Input::Nothing),
        (&["-i"], "head -c 3000000 /dev/zero; exit 6", Input::Endless),
        (
            &["-t"],
            "stty size; echo a; echo b >&2; exit 4",
            Input::Nothing,
        ),
    ] {
        let mut arguments = vec!["exec"];
        arguments.extend(flags);
        arguments.extend([name, "sh", "-c", script]);
        assert_same(script, &both(&docker, &door, &arguments, input));
    }
    let missing = ["exec", name, "no-such-program"];
    assert_same(
        "no-such-program",
        &both(&docker, &door, &missing, Input::Nothing),
    );
}

#[test]
fn docker_start_and_attach_do_the_same_through_our_streams() {
    let docker = Docker::from_environment();
    let door = Door::open(&docker);
    let create = |name: &str| {
        let script = "echo first; cat; echo error >&2; sleep 1; echo later; exit 11";
        let mut command = docker.command();
        command.args(["create", "-i", "--network", "none", "--name", name, IMAGE]);
        let output = run(command.args(["sh", "-c", script]));
        assert!(output.status.success(), "{output:?}");
    };
    let name = format!("door-{}", std::process::id());
    let input = bytes(400_000);
    let mut seen = Vec::new();
    for mut command in [docker.command(), door.command()] {
        create(&name);
        let input = Input::Bytes(&input);
        seen.push(finish(command.args(["start", "-ai", &name]), input, LIMIT));
        run(docker.command().args(["rm", "--force", &name]));
    }
    let (through, alone) = (seen.pop().unwrap(), seen.pop().unwrap());
    assert_eq!(alone.code, Some(11));
    assert_same("start -ai", &(alone, through));
    // Somebody else's output, without input of ours, to its end.
    let talk = "for i in 1 2 3 4 5 6; do echo $i; sleep 1; done; exit 13";
    let container = docker.container(&[], &["sh", "-c", talk]);
    let arguments = ["attach", "--no-stdin", container.name()];
    let got = finish(door.command().args(arguments), Input::Nothing, LIMIT);
    assert_eq!(got.code, Some(13), "{}", got.stderr);
    assert!(got.text().ends_with("5\n6\n"), "{}", got.text());
}

/// A person at a terminal: the prompt, what he types, the window's size, and the end.
#[test]
fn a_terminal_of_dockers_own_client_works_through_our_streams() {
    let docker = Docker::from_environment();
    let door = Door::open(&docker);
    let container = docker.container(&[], &["sleep", "2147483647"]);
    let mut command = door.command();
    command.args(["exec", "-it", container.name(), "sh"]);
    let mut terminal = Pty::spawn(&command);
    let shown = terminal.expect(0, "# ");
    // The client awaits another size only when the daemon has taken the first one: what changes
    // until then it never tells, with this door and without.
    let mut columns = 131;
    let sized = eventually(LIMIT, || {
        columns += 1;
        terminal.resize(columns, 43);
        eventually(Duration::from_secs(5), || {
            let size = "for p in $(pidof sh); do stty size < /proc/$p/fd/0; done";
            let told = container.exec(&["sh", "-c", size]);
            told.contains(&format!("43 {columns}"))
        })
    });
    assert!(sized, "{}", terminal.screen());
    terminal.send("stty size; echo $((6*7)); exit 9\r");
    terminal.expect(shown, &format!("43 {columns}\r\n42"));
    let mut code = None;
    assert!(eventually(LIMIT, || {
        code = terminal.exit_code();
        code.is_some()
    }));
    assert_eq!(code, Some(9));
}

/// A client that is killed leaves nothing of ours hanging.
#[test]
fn a_client_that_is_killed_ends_its_stream() {
    let docker = Docker::from_environment();
    let door = Door::open(&docker);
    let container = docker.container(&[], &["sleep", "2147483647"]);
    let mut command = door.command();
    command.args([
        "exec",
        "-i",
        container.name(),
        "sh",
        "-c",
        "while echo tick; do sleep 1; done",
    ]);
    let mut program = dockin_harness::Program::start(&mut command, Input::Held);
    program.expect("tick");
    program.kill();
    assert!(eventually(LIMIT, || door.served() == 1));
}
