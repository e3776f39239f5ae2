//! The reaper against real processes. It runs its own program as guardian and as an agent that is
//! killed, so it has a main of its own instead of libtest's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use dockin_core::{
    access::SessionId,
    reaper::{AGENT_VARIABLE, Reaper, ReaperOptions, guardian_main},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("guardian") => return ExitCode::from(guardian_main(&arguments[2])),
        Some("agent") => return agent(&arguments[2]),
        _ => {}
    }
    let checks: [(&str, fn()); 8] = [
        (
            "marked_processes_end_with_the_guard",
            marked_processes_end_with_the_guard,
        ),
        (
            "children_without_the_mark_end_as_descendants",
            descendants_end,
        ),
        (
            "a_process_that_ignores_every_polite_signal_is_killed",
            stubborn_process_is_killed,
        ),
        ("a_stopped_process_is_ended", stopped_process_is_ended),
        (
            "an_orphan_without_mark_ends_where_control_groups_are_allowed",
            orphan_ends,
        ),
        ("other_processes_are_left_alone", others_are_left_alone),
        (
            "a_sweep_ends_what_an_earlier_run_left",
            sweep_ends_leftovers,
        ),
        (
            "kill_9_of_the_agent_leaves_nothing",
            killed_agent_leaves_nothing,
        ),
    ];
    let filter = arguments
        .get(1)
        .filter(|argument| !argument.starts_with('-'));
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in checks {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let ok = std::panic::catch_unwind(check).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

fn marked_processes_end_with_the_guard() {
    let (reaper, session, tag) = fixture();
    let guard = reaper.begin(session);
    let mut child = shell(
        &format!("sleep {tag} & setsid sleep {tag} & wait"),
        reaper.environment(session),
    );
    await_count(&tag, 3);
    drop(guard);
    assert!(reaper.wait_idle(Duration::from_secs(5)));
    child.wait().unwrap();
    assert_eq!(running(&tag), 0);
}

fn descendants_end() {
    let (reaper, session, tag) = fixture();
    let guard = reaper.begin(session);
    let mut child = shell(&format!("env -i setsid sleep {tag}; true"), vec![]);
    await_count(&tag, 2);
    assert!(guard.add_root(child.id()));
    runtime().block_on(guard.end());
    child.wait().unwrap();
    assert_eq!(running(&tag), 0);
}

fn stubborn_process_is_killed() {
    let (reaper, session, tag) = fixture();
    let guard = reaper.begin(session);
    let script = format!("trap '' HUP TERM INT; while :; do sleep {tag}; done");
    let mut child = shell(&script, reaper.environment(session));
    await_count(&tag, 2);
    drop(guard);
    assert!(reaper.wait_idle(Duration::from_secs(5)));
    child.wait().unwrap();
    assert_eq!(running(&tag), 0);
}

fn stopped_process_is_ended() {
    let (reaper, session, tag) = fixture();
    let guard = reaper.begin(session);
    let mut child = shell(
        &format!("kill -STOP $$; sleep {tag}"),
        reaper.environment(session),
    );
    await_count(&tag, 1);
    guard.add_root(child.id());
    drop(guard);
    assert!(reaper.wait_idle(Duration::from_secs(5)));
    child.wait().unwrap();
    assert_eq!(running(&tag), 0);
}

/// The parent is gone before any scan and the environment is empty: only the control group
/// knows. Without permission to make groups it must at least not hurt anybody.
fn orphan_ends() {
    let (reaper, session, tag) = fixture();
    let guard = reaper.begin(session);
    let script = format!("read go; env -i setsid sleep {tag} & exit 0");
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(guard.add_root(child.id()));
    let grouped = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id()))
        .unwrap()
        .contains(&format!("dockin-{session}"));
    drop(child.stdin.take());
    child.wait().unwrap();
    await_count(&tag, 1);
    drop(guard);
    assert!(reaper.wait_idle(Duration::from_secs(5)));
    println!(
        "  control group: {}",
        if grouped { "yes" } else { "not allowed here" }
    );
    if grouped {
        assert_eq!(running(&tag), 0);
    } else {
        assert_eq!(running(&tag), 1);
        // Cleared away as a session of its own.
        let guard = reaper.begin(SessionId::new());
        tagged(&tag)
            .into_iter()
            .for_each(|pid| assert!(guard.add_root(pid)));
        drop(guard);
        await_count(&tag, 0);
    }
}

fn others_are_left_alone() {
    let (reaper, session, tag) = fixture();
    let mut other = Command::new("sleep")
        .arg(&tag)
        .envs(reaper.environment(SessionId::new()))
        .spawn()
        .unwrap();
    let guard = reaper.begin(session);
    assert!(!guard.add_root(1), "process 1 is never a root");
    drop(guard);
    assert!(reaper.wait_idle(Duration::from_secs(5)));
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

fn sweep_ends_leftovers() {
    let (reaper, session, tag) = fixture();
    let mut ours = Command::new("sleep")
        .arg(&tag)
        .envs(reaper.environment(session))
        .spawn()
        .unwrap();
    let mut theirs = Command::new("sleep")
        .arg(&tag)
        .env(AGENT_VARIABLE, "another-agent")
        .spawn()
        .unwrap();
    assert_eq!(reaper.sweep(), 0);
    ours.wait().unwrap();
    assert!(theirs.try_wait().unwrap().is_none());
    theirs.kill().unwrap();
    theirs.wait().unwrap();
}

fn killed_agent_leaves_nothing() {
    let (_, _, tag) = fixture();
    let mut agent = Command::new(env::current_exe().unwrap())
        .args(["agent", &tag])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(agent.stdout.as_mut().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert_eq!(ready, "ready\n");
    await_count(&tag, 3);
    agent.kill().unwrap();
    agent.wait().unwrap();
    await_count(&tag, 0);
}

/// An agent with a guardian and a session of a marked and an unmarked process.
fn agent(tag: &str) -> ExitCode {
    let reaper = Reaper::new(ReaperOptions::new(format!("agent-{tag}")));
    reaper.spawn_guardian(&env::current_exe().unwrap()).unwrap();
    let session = SessionId::new();
    let guard = reaper.begin(session);
    let mut marked = shell(&format!("sleep {tag}; true"), reaper.environment(session));
    let plain = Command::new("sleep")
        .arg(tag)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut plain = plain.unwrap();
    guard.add_root(marked.id());
    guard.add_root(plain.id());
    println!("ready");
    marked.wait().unwrap();
    plain.wait().unwrap();
    ExitCode::FAILURE
}

fn fixture() -> (std::sync::Arc<Reaper>, SessionId, String) {
    let session = SessionId::new();
    // A number of seconds that no other process sleeps.
    let digits: u64 = session
        .to_string()
        .bytes()
        .map(u64::from)
        .fold(7, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte) % 1_000_000_007
        });
    let tag = format!("9{digits:010}");
    (
        Reaper::new(ReaperOptions::new(format!("test-{tag}"))),
        session,
        tag,
    )
}

fn shell(script: &str, environment: Vec<(String, String)>) -> Child {
    Command::new("/bin/sh")
        .args(["-c", script])
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Living processes whose command line has `tag`, besides this program's own.
fn running(tag: &str) -> usize {
    tagged(tag).len()
}

fn tagged(tag: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| has_tag(&entry.path(), tag))
        .filter_map(|entry| entry.file_name().to_str().unwrap().parse().ok())
        .collect()
}

fn has_tag(process: &Path, tag: &str) -> bool {
    let own = env::current_exe().unwrap();
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.contains(tag) && !line.starts_with(own.to_str().unwrap())
}

fn await_count(tag: &str, wanted: usize) {
    let began = Instant::now();
    while running(tag) != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{} are running",
            running(tag)
        );
        sleep(Duration::from_millis(20));
    }
}
