//! The local-process runtime with real processes. It runs its own program as the sandbox's
//! helpers, so it has a main of its own instead of libtest's. As root it runs everything a second
//! time as an ordinary user.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    env,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    pin::Pin,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use dockin_core::{
    ErrorKind, Target,
    access::{Authorizer, Decision, Permit, SessionId, Verb, authorize},
    directory::{ContainerState, Directory},
    identity::{Principal, Proof},
    reaper::{AGENT_VARIABLE, Reaper, ReaperOptions, SESSION_VARIABLE, guardian_main},
    runtime::{
        BoxSession, LogOptions, Runtime,
        process::{Isolation, ProcessOptions, ProcessRuntime, sandbox_main},
    },
};
use dockin_stream::{Event, ExitStatus, StreamSet, TerminalSize};
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::yield_now, time::sleep};

/// This program, for whoever runs it: its path may be closed to an ordinary user.
const HELPER: &str = "/proc/self/exe";
const PIPES: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const OUTPUT: StreamSet = StreamSet {
    stdin: false,
    stdout: true,
    stderr: true,
    tty: false,
};
const TERMINAL: StreamSet = StreamSet {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

type Check = fn(Arc<Fixture>) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), (|fixture| Box::pin($name(fixture))) as Check)),*]
    };
}

fn main() -> ExitCode {
    if let Some(code) = sandbox_main(env::args_os()) {
        return ExitCode::from(code);
    }
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("guardian") => return ExitCode::from(guardian_main(&arguments[2])),
        Some("agent") => return runtime().block_on(agent(&arguments[2])),
        Some("forbid-namespaces") => return forbid_namespaces(),
        Some("plain") => {
            return ExitCode::from(u8::from(!run_checks(
                &checks![
                    without_namespaces_the_pod_says_so_and_works,
                    a_plain_escapee_is_ended,
                    a_plain_pod_leaves_nothing,
                ],
                None,
            )));
        }
        _ => {}
    }
    let filter = arguments
        .get(1)
        .filter(|argument| !argument.starts_with('-'));
    let checks = checks![
        output_and_exit_code_arrive,
        standard_error_is_a_stream_of_its_own,
        unasked_streams_are_not_there,
        end_of_input_reaches_the_command,
        commands_that_cannot_run_say_127_and_126,
        a_signal_is_128_and_its_number,
        hundred_megabytes_pass_unchanged,
        a_process_left_behind_holds_the_output_for_a_bounded_time,
        a_terminal_has_the_size_of_the_last_resize,
        control_c_interrupts_the_command_and_not_the_session,
        control_d_ends_a_terminal_session,
        a_shell_says_the_same_prompt_everywhere,
        jobs_can_be_stopped_and_continued,
        the_machine_is_read_only,
        the_machine_stays_read_only_for_root_inside,
        only_its_own_processes_are_visible,
        standard_streams_can_be_opened_by_name,
        logs_follow_and_tail,
        attach_shows_what_comes,
        dial_reaches_the_machines_ports,
        the_directory_has_the_one_pod,
        another_target_is_not_found,
        a_dropped_session_leaves_no_process,
        an_escapee_without_mark_is_ended,
        a_dropped_runtime_leaves_nothing,
        the_end_of_the_main_process_is_the_end_of_the_pod,
        kill_9_of_the_owner_leaves_no_process,
    ];
    let mut ok = run_checks(&checks, filter);
    if filter.is_none() {
        println!("again without namespaces:");
        ok &= Command::new(HELPER)
            .arg("forbid-namespaces")
            .status()
            .unwrap()
            .success();
    }
    if nix::unistd::geteuid().is_root() {
        println!("again as an ordinary user:");
        let status = Command::new(HELPER)
            .args(filter)
            .uid(65_534)
            .gid(65_534)
            .env("TMPDIR", "/tmp")
            .current_dir("/")
            .status()
            .unwrap();
        ok &= status.success();
    }
    ExitCode::from(u8::from(!ok))
}

/// Runs each check in a fixture of its own. Whether all passed.
fn run_checks(checks: &[(&str, Check)], filter: Option<&String>) -> bool {
    let runtime = runtime();
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in checks {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let ok = std::panic::catch_unwind(|| {
            runtime.block_on(async {
                check(Arc::new(Fixture::new(name).await)).await;
            });
        })
        .is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed");
    failed == 0
}

/// Becomes an ordinary user for whom the kernel makes no more namespaces, then runs the checks
/// of the plain pod.
fn forbid_namespaces() -> ExitCode {
    use nix::{
        sched::{CloneFlags, unshare},
        unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid},
    };
    if geteuid().is_root() {
        let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
        setgroups(&[]).unwrap();
        setresgid(group, group, group).unwrap();
        setresuid(user, user, user).unwrap();
        // The maps below belong to root until the next program starts.
        let error = Command::new(HELPER)
            .arg("forbid-namespaces")
            .env("TMPDIR", "/tmp")
            .exec();
        panic!("{error}");
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")).unwrap();
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    let error = Command::new(HELPER).arg("plain").current_dir("/").exec();
    panic!("{error}");
}

async fn without_namespaces_the_pod_says_so_and_works(fixture: Arc<Fixture>) {
    let Isolation::None { reason } = fixture.runtime.isolation() else {
        panic!("isolated")
    };
    assert!(reason.contains("namespaces are not allowed"), "{reason}");
    let ended = fixture
        .run(&["sh", "-c", "cat orders.csv; exit 3"], OUTPUT, None)
        .await;
    assert!(ended.stdout.contains("bob"), "{ended:?}");
    assert_eq!(ended.status, ExitStatus::Exited(3));
    control_c_interrupts_the_command_and_not_the_session(Arc::clone(&fixture)).await;
    attach_shows_what_comes(fixture).await;
}

async fn a_plain_escapee_is_ended(fixture: Arc<Fixture>) {
    an_escapee_without_mark_is_ended(fixture).await;
}

async fn a_plain_pod_leaves_nothing(fixture: Arc<Fixture>) {
    a_dropped_runtime_leaves_nothing(fixture).await;
}

async fn output_and_exit_code_arrive(fixture: Arc<Fixture>) {
    let ended = fixture
        .run(&["sh", "-c", "echo hello; pwd; exit 7"], OUTPUT, None)
        .await;
    assert_eq!(ended.stdout, "hello\n/data\n");
    assert_eq!(ended.status, ExitStatus::Exited(7));
}

async fn standard_error_is_a_stream_of_its_own(fixture: Arc<Fixture>) {
    let ended = fixture
        .run(&["sh", "-c", "echo out; echo err >&2"], OUTPUT, None)
        .await;
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(ended.status, ExitStatus::Exited(0));
}

async fn unasked_streams_are_not_there(fixture: Arc<Fixture>) {
    let streams = StreamSet {
        stdout: true,
        ..StreamSet::default()
    };
    let ended = fixture
        .run(&["sh", "-c", "cat; echo out; echo err >&2"], streams, None)
        .await;
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\n", "")
    );
}

async fn end_of_input_reaches_the_command(fixture: Arc<Fixture>) {
    let input = Some(Bytes::from_static(b"one two three"));
    let ended = fixture.run(&["wc", "-w"], PIPES, input).await;
    assert_eq!(ended.stdout.trim(), "3");
}

async fn commands_that_cannot_run_say_127_and_126(fixture: Arc<Fixture>) {
    let ended = fixture.run(&["no-such-program"], OUTPUT, None).await;
    assert_eq!(ended.status, ExitStatus::Exited(127));
    assert!(ended.stderr.contains("no-such-program"), "{}", ended.stderr);
    let ended = fixture.run(&["/data/orders.csv"], OUTPUT, None).await;
    assert_eq!(ended.status, ExitStatus::Exited(126));
    let permit = fixture.permit(Verb::Exec).await;
    let refused = fixture
        .runtime
        .exec(&permit, &["a\0b".to_owned()], OUTPUT)
        .await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::Malformed)
    );
}

async fn a_signal_is_128_and_its_number(fixture: Arc<Fixture>) {
    let ended = fixture
        .run(&["sh", "-c", "kill -KILL $$"], OUTPUT, None)
        .await;
    assert_eq!(ended.status, ExitStatus::Exited(137));
}

async fn hundred_megabytes_pass_unchanged(fixture: Arc<Fixture>) {
    const SIZE: usize = 100 * 1024 * 1024;
    let session = fixture.exec(&["cat"], PIPES).await;
    let (mut sink, mut stream) = session.split();
    let write = async {
        let mut sum = Checksum::default();
        let mut sent = 0;
        while sent < SIZE {
            let block: Vec<u8> = (0..65_536)
                .map(|i| ((sent / 251 + i * 7) % 256) as u8)
                .collect();
            sum.add(&block);
            sent += block.len();
            sink.send(Event::Stdin(block.into())).await.unwrap();
        }
        sink.send(Event::HalfClose).await.unwrap();
        sum
    };
    let read = async {
        let mut sum = Checksum::default();
        loop {
            match stream.next().await.unwrap().unwrap() {
                Event::Stdout(bytes) => sum.add(&bytes),
                Event::Exit(status) => break (sum, status),
                other => panic!("{other:?}"),
            }
        }
    };
    let (sent, (received, status)) = tokio::join!(write, read);
    assert_eq!(sent, received);
    assert_eq!(received.bytes, SIZE as u64);
    assert_eq!(status, ExitStatus::Exited(0));
}

async fn a_process_left_behind_holds_the_output_for_a_bounded_time(fixture: Arc<Fixture>) {
    let script = format!("sleep {} & echo done; exit 3", fixture.tag);
    let ended = fixture.run(&["sh", "-c", &script], OUTPUT, None).await;
    assert_eq!(
        (ended.stdout.as_str(), ended.status),
        ("done\n", ExitStatus::Exited(3))
    );
    fixture.await_count(0).await;
}

async fn a_terminal_has_the_size_of_the_last_resize(fixture: Arc<Fixture>) {
    let mut session = fixture
        .exec(&["sh", "-c", "read go; stty size; tty >&2"], TERMINAL)
        .await;
    let size = |width, height| Event::Resize(TerminalSize { width, height });
    session.send(size(100, 30)).await.unwrap();
    session.send(size(132, 50)).await.unwrap();
    session
        .send(Event::Stdin(Bytes::from_static(b"\n")))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert!(ended.stdout.contains("50 132"), "{}", ended.stdout);
}

async fn control_c_interrupts_the_command_and_not_the_session(fixture: Arc<Fixture>) {
    for shell in shells() {
        let mut session = fixture.exec(&[shell], TERMINAL).await;
        await_text(&mut session, "$ ").await;
        type_in(&mut session, &format!("sleep {}\n", fixture.tag)).await;
        fixture.await_count(1).await;
        type_in(&mut session, "\u{3}").await;
        fixture.await_count(0).await;
        type_in(&mut session, "echo still-$((40 + 2)); exit 5\n").await;
        let ended = collect(session).await;
        assert!(
            ended.stdout.contains("still-42"),
            "{shell}: {}",
            ended.stdout
        );
        assert_eq!(ended.status, ExitStatus::Exited(5), "{shell}");
    }
    // Also where the command is the terminal's first process.
    let mut session = fixture.exec(&["sleep", &fixture.tag], TERMINAL).await;
    fixture.await_count(1).await;
    type_in(&mut session, "\u{3}").await;
    assert_eq!(collect(session).await.status, ExitStatus::Exited(130));
}

async fn control_d_ends_a_terminal_session(fixture: Arc<Fixture>) {
    let mut session = fixture.exec(&["sh"], TERMINAL).await;
    await_text(&mut session, "$ ").await;
    session.send(Event::HalfClose).await.unwrap();
    assert_eq!(collect(session).await.status, ExitStatus::Exited(0));
}

async fn a_shell_says_the_same_prompt_everywhere(fixture: Arc<Fixture>) {
    for shell in shells() {
        let mut session = fixture.exec(&[shell], TERMINAL).await;
        await_text(&mut session, "app@sample-pod:/data$ ").await;
        type_in(&mut session, "cd /tmp\n").await;
        await_text(&mut session, "app@sample-pod:/tmp$ ").await;
        type_in(
            &mut session,
            "echo $TERM-$HOME-$(whoami)-$(hostname); exit\n",
        )
        .await;
        let ended = collect(session).await;
        assert!(
            ended.stdout.contains("xterm-256color-/root-app-sample-pod"),
            "{}",
            ended.stdout
        );
    }
}

async fn jobs_can_be_stopped_and_continued(fixture: Arc<Fixture>) {
    let mut session = fixture.exec(&["bash"], TERMINAL).await;
    await_text(&mut session, "$ ").await;
    type_in(&mut session, &format!("sleep {}\n", fixture.tag)).await;
    fixture.await_count(1).await;
    type_in(&mut session, "\u{1a}").await;
    await_text(&mut session, "Stopped").await;
    type_in(
        &mut session,
        "jobs; kill %1; fg; echo over-$((1 + 1)); exit\n",
    )
    .await;
    let ended = collect(session).await;
    assert!(ended.stdout.contains("over-2"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("no job control"), "{}", ended.stdout);
}

async fn the_machine_is_read_only(fixture: Arc<Fixture>) {
    let name = format!("dockin-{}", fixture.tag);
    let script = format!(
        "for d in /usr /usr/bin /bin /lib /etc/alternatives; do touch $d/{name} && echo wrote $d; \
         done; touch /tmp/{name} /data/{name} /root/{name} && ls /tmp; cat /data/orders.csv"
    );
    let ended = fixture.run(&["sh", "-c", &script], OUTPUT, None).await;
    assert!(!ended.stdout.contains("wrote"), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("Read-only file system"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stdout.starts_with(&format!("{name}\n")),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("1002,bob,monitor"));
    for directory in ["/usr", "/usr/bin", "/bin", "/lib", "/tmp", "/root"] {
        assert!(!Path::new(directory).join(&name).exists(), "{directory}");
    }
}

async fn the_machine_stays_read_only_for_root_inside(fixture: Arc<Fixture>) {
    let script = "mount -o remount,rw,bind /usr; echo remount $?; umount -l /proc; echo umount $?; \
        grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status; id -u; ls /home";
    let ended = fixture.run(&["sh", "-c", script], OUTPUT, None).await;
    assert!(!ended.stdout.contains("remount 0"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("umount 0"), "{}", ended.stdout);
    assert_eq!(
        ended.stdout.matches("\t0000000000000000").count(),
        3,
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.ends_with("0\napp\n"), "{}", ended.stdout);
}

async fn only_its_own_processes_are_visible(fixture: Arc<Fixture>) {
    let script = "cat /proc/1/cmdline | tr '\\0' ' '; echo; \
        ls /proc | grep -c '^[0-9]'; test -e /proc/sys/kernel/ostype && echo proc";
    let ended = fixture.run(&["sh", "-c", script], OUTPUT, None).await;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("dockin-init"), "{}", ended.stdout);
    assert!(lines[1].parse::<u32>().unwrap() < 12, "{}", ended.stdout);
    assert_eq!(lines[2], "proc");
}

async fn standard_streams_can_be_opened_by_name(fixture: Arc<Fixture>) {
    let script = "echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin";
    let input = Some(Bytes::from_static(b"in\n"));
    let ended = fixture.run(&["sh", "-c", script], PIPES, input).await;
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("out\nin\n", "err\n")
    );
    let script = "echo out > /dev/tty; echo there > /dev/stdout; exit 4";
    let ended = fixture.run(&["sh", "-c", script], TERMINAL, None).await;
    assert_eq!(
        (ended.stdout.as_str(), ended.status),
        ("out\r\nthere\r\n", ExitStatus::Exited(4))
    );
}

async fn logs_follow_and_tail(fixture: Arc<Fixture>) {
    let runtime = &fixture.runtime;
    let permit = fixture.permit(Verb::Logs).await;
    let follow = LogOptions {
        follow: true,
        timestamps: true,
        ..LogOptions::default()
    };
    let mut log = runtime.logs(&permit, follow).await.unwrap();
    let mut text = BytesMut::new();
    while !text.windows(6).any(|part| part == b"tick 3") {
        text.extend_from_slice(&log.next().await.unwrap().unwrap());
    }
    assert!(text.starts_with(b"20"), "{text:?}");
    let tail = LogOptions {
        tail: Some(1),
        ..LogOptions::default()
    };
    let lines: Vec<_> = runtime.logs(&permit, tail).await.unwrap().collect().await;
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0]
            .as_ref()
            .unwrap()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        1
    );
}

async fn attach_shows_what_comes(fixture: Arc<Fixture>) {
    let permit = fixture.permit(Verb::Attach).await;
    let mut session = fixture.runtime.attach(&permit, PIPES).await.unwrap();
    session
        .send(Event::Stdin(Bytes::from_static(b"ignored")))
        .await
        .unwrap();
    await_text(&mut session, "tick").await;
}

async fn dial_reaches_the_machines_ports(fixture: Arc<Fixture>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let permit = fixture.permit(Verb::PortForward).await;
    let (dialed, accepted) = tokio::join!(fixture.runtime.dial(&permit, port), listener.accept());
    assert!(dialed.is_ok() && accepted.is_ok());
    drop((listener, accepted, dialed));
    let refused = fixture.runtime.dial(&permit, port).await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::Unavailable)
    );
}

async fn the_directory_has_the_one_pod(fixture: Arc<Fixture>) {
    let runtime = &fixture.runtime;
    assert_eq!(runtime.pods(None).await.unwrap().len(), 1);
    assert_eq!(runtime.pods(Some("other")).await.unwrap().len(), 0);
    let pod = runtime.pod("default", "sample-pod").await.unwrap();
    assert_eq!(pod.container(None).unwrap().name, "app");
    assert!(runtime.pod("default", "other").await.is_err());
}

async fn another_target_is_not_found(fixture: Arc<Fixture>) {
    let target = Target::pod("local", "default", "other").unwrap();
    let permit = fixture.permit_for(Verb::Exec, target).await;
    let refused = fixture
        .runtime
        .exec(&permit, &["true".to_owned()], OUTPUT)
        .await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::NotFound)
    );
}

async fn a_dropped_session_leaves_no_process(fixture: Arc<Fixture>) {
    for streams in [PIPES, TERMINAL] {
        let script = format!(
            "trap '' HUP TERM; sleep {0} & sleep {0}; sleep {0}",
            fixture.tag
        );
        let session = fixture.exec(&["sh", "-c", &script], streams).await;
        fixture.await_count(3).await;
        drop(session);
        fixture.await_count(0).await;
    }
    assert!(
        fixture
            .run(&["true"], OUTPUT, None)
            .await
            .status
            .is_success()
    );
}

async fn an_escapee_without_mark_is_ended(fixture: Arc<Fixture>) {
    let script = format!(
        "(env -i setsid sleep {} >/dev/null 2>&1 &); exit 0",
        fixture.tag
    );
    let session = fixture.exec(&["sh", "-c", &script], OUTPUT).await;
    let ended = collect_open(session).await;
    assert_eq!(ended.1.status, ExitStatus::Exited(0));
    fixture.await_count(1).await;
    drop(ended);
    fixture.await_count(0).await;
    assert!(
        fixture
            .run(&["true"], OUTPUT, None)
            .await
            .status
            .is_success()
    );
}

async fn a_dropped_runtime_leaves_nothing(fixture: Arc<Fixture>) {
    let session = fixture.exec(&["sleep", &fixture.tag], OUTPUT).await;
    fixture.await_count(1).await;
    let agent = fixture.agent.clone();
    let tag = fixture.tag.clone();
    assert!(marked(&agent) > 0);
    let Fixture {
        runtime, directory, ..
    } = Arc::into_inner(fixture).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    drop(runtime);
    until(|| tagged(&tag) == 0 && marked(&agent) == 0).await;
    let ended = collect(session).await;
    assert!(!ended.status.is_success());
    until(|| std::fs::read_dir(directory.path()).unwrap().count() == 0).await;
}

async fn the_end_of_the_main_process_is_the_end_of_the_pod(fixture: Arc<Fixture>) {
    let permit = fixture.permit(Verb::Attach).await;
    let mut attached = fixture.runtime.attach(&permit, OUTPUT).await.unwrap();
    let _ = fixture
        .run(&["sh", "-c", "kill -KILL 2"], OUTPUT, None)
        .await;
    let status = loop {
        if let Event::Exit(status) = attached.next().await.unwrap().unwrap() {
            break status;
        }
    };
    assert_eq!(status, ExitStatus::Exited(137));
    let pod = fixture.runtime.pod("default", "sample-pod").await.unwrap();
    assert!(matches!(
        pod.containers[0].state,
        ContainerState::Terminated { exit_code: 137, .. }
    ));
    let permit = fixture.permit(Verb::Exec).await;
    let refused = fixture
        .runtime
        .exec(&permit, &["true".to_owned()], OUTPUT)
        .await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::Conflict)
    );
}

async fn kill_9_of_the_owner_leaves_no_process(fixture: Arc<Fixture>) {
    let mut owner = Command::new(HELPER)
        .args(["agent", &fixture.tag])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(owner.stdout.as_mut().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert_eq!(ready, "ready\n");
    // Two shells and two sleeps.
    fixture.await_count(4).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    let agent = format!("agent-{}", fixture.tag);
    until(|| tagged(&fixture.tag) == 0 && marked(&agent) == 0).await;
}

/// An owner with a guardian and two sessions, until it is killed.
async fn agent(tag: &str) -> ExitCode {
    let reaper = Reaper::new(ReaperOptions::new(format!("agent-{tag}")));
    reaper.spawn_guardian(Path::new(HELPER)).unwrap();
    let fixture = Fixture::with(reaper, &format!("agent-{tag}"), tag).await;
    let _terminal = fixture
        .exec(&["bash", "-c", &format!("sleep {tag}; true")], TERMINAL)
        .await;
    let script = format!("env -i setsid sleep {tag} & wait");
    let _plain = fixture.exec(&["sh", "-c", &script], OUTPUT).await;
    println!("ready");
    std::future::pending().await
}

struct Fixture {
    runtime: ProcessRuntime,
    directory: TempDir,
    agent: String,
    /// A number of seconds that no other process sleeps.
    tag: String,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        let number = SessionId::new()
            .to_string()
            .bytes()
            .fold(0_u64, |sum, byte| {
                (sum * 31 + u64::from(byte)) % 1_000_000_007
            });
        let agent = format!("{name}-{number}");
        let reaper = Reaper::new(ReaperOptions::new(&agent));
        Self::with(reaper, &agent, &format!("9{number:010}")).await
    }

    async fn with(reaper: Arc<Reaper>, agent: &str, tag: &str) -> Self {
        let mut options = ProcessOptions::new(HELPER, reaper);
        options.command = ["/bin/sh", "-c", MAIN].map(str::to_owned).to_vec();
        let directory = tempfile::tempdir().unwrap();
        // An ordinary user's process 1 must find its way there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        options.directory = directory.path().to_owned();
        let runtime = ProcessRuntime::start(options).await.unwrap();
        let plain = env::args()
            .nth(1)
            .is_some_and(|argument| argument == "plain");
        assert_eq!(
            *runtime.isolation() == Isolation::Sandbox,
            !plain,
            "{:?}",
            runtime.isolation()
        );
        Self {
            runtime,
            directory,
            agent: agent.to_owned(),
            tag: tag.to_owned(),
        }
    }

    async fn permit(&self, verb: Verb) -> Permit {
        let target = Target::pod("local", "default", "sample-pod").unwrap();
        self.permit_for(verb, target.with_container("app").unwrap())
            .await
    }

    async fn permit_for(&self, verb: Verb, target: Target) -> Permit {
        let principal = Principal::new("alice".to_owned(), vec![], Proof::Token);
        authorize(
            &Anybody,
            &Arc::new(principal),
            verb,
            target,
            SessionId::new(),
        )
        .await
        .unwrap()
    }

    async fn exec(&self, argv: &[&str], streams: StreamSet) -> BoxSession {
        let permit = self.permit(Verb::Exec).await;
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        self.runtime.exec(&permit, &argv, streams).await.unwrap()
    }

    async fn run(&self, argv: &[&str], streams: StreamSet, input: Option<Bytes>) -> Ended {
        let mut session = self.exec(argv, streams).await;
        if let Some(input) = input {
            session.send(Event::Stdin(input)).await.unwrap();
            session.send(Event::HalfClose).await.unwrap();
        }
        collect(session).await
    }

    async fn await_count(&self, wanted: usize) {
        until(|| tagged(&self.tag) == wanted).await;
    }
}

const MAIN: &str = "n=0; while :; do n=$((n + 1)); echo tick $n; sleep 0.1; done";

struct Anybody;

#[async_trait]
impl Authorizer for Anybody {
    async fn decide(&self, _: &Principal, _: Verb, _: &Target) -> Decision {
        Decision::Allow
    }
}

#[derive(Debug)]
struct Ended {
    stdout: String,
    stderr: String,
    status: ExitStatus,
}

async fn collect(session: BoxSession) -> Ended {
    collect_open(session).await.1
}

async fn collect_open(mut session: BoxSession) -> (BoxSession, Ended) {
    let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
    let status = loop {
        match session
            .next()
            .await
            .expect("an exit status comes last")
            .unwrap()
        {
            Event::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Event::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            Event::Exit(status) => break status,
            other => panic!("{other:?}"),
        }
    };
    assert!(session.next().await.is_none());
    let text = |bytes: BytesMut| String::from_utf8_lossy(&bytes).into_owned();
    (
        session,
        Ended {
            stdout: text(stdout),
            stderr: text(stderr),
            status,
        },
    )
}

async fn await_text(session: &mut BoxSession, wanted: &str) {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        match session.next().await {
            Some(Ok(Event::Stdout(bytes))) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} after {seen:?}, wanted {wanted:?}"),
        }
    }
}

async fn type_in(session: &mut BoxSession, text: &str) {
    session
        .send(Event::Stdin(Bytes::copy_from_slice(text.as_bytes())))
        .await
        .unwrap();
}

/// The shells of this machine: `sh` is everywhere.
fn shells() -> Vec<&'static str> {
    ["bash", "sh"]
        .into_iter()
        .filter(|name| Path::new("/bin").join(name).exists())
        .collect()
}

/// A sum that notices missing, changed and exchanged bytes.
#[derive(Debug, Default, Eq, PartialEq)]
struct Checksum {
    sum: u64,
    sums: u64,
    bytes: u64,
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.sum = self.sum.wrapping_add(u64::from(*byte));
            self.sums = self.sums.wrapping_add(self.sum);
        }
        self.bytes += bytes.len() as u64;
    }
}

/// Living processes that sleep, or run a script that sleeps, `tag` seconds; not this program's.
fn tagged(tag: &str) -> usize {
    count(|process| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(tag) && !line.contains("sandbox-") && !line.starts_with(HELPER)
    })
}

/// Living processes with the agent's mark.
fn marked(agent: &str) -> usize {
    let mark = format!("{AGENT_VARIABLE}={agent}");
    count(|process| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
    })
}

fn count(wanted: impl Fn(&Path) -> bool) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| wanted(&entry.path()))
        .count()
}

async fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "did not come about"
        );
        sleep(Duration::from_millis(20)).await;
        yield_now().await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    assert!(
        env::var_os(SESSION_VARIABLE).is_none(),
        "the tests run outside of a session"
    );
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
