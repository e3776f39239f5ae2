//! The README's first command, as a newcomer types it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use dockin_harness::{Docker, Finished, Input, Pty, binary, eventually, finish};

const LIMIT: Duration = Duration::from_secs(90);
const SCRIPT: &[u8] = b"echo hello\nrm -rf /data\nexit 3\n";

fn demo(home: &Path) -> Command {
    let mut command = Command::new(binary("dockctl"));
    command
        .arg("demo")
        .env("HOME", home)
        .env("TMPDIR", home)
        .env_remove("KUBECONFIG");
    command.current_dir("/");
    command
}

fn assert_shown(got: &Finished) {
    let told = format!("--- stdout\n{}--- stderr\n{}", got.text(), got.stderr);
    assert_eq!(got.code, Some(3), "{told}");
    assert!(got.text().lines().any(|line| line == "hello"), "{told}");
    let refusal = told
        .lines()
        .find(|line| line.contains("refused") && line.contains("rm"));
    assert!(refusal.is_some(), "{told}");
    // The trail: what was started, judged, refused and how it ended.
    for part in ["echo hello", "rm -rf /data", "deny", "allow", "exit 3"] {
        assert!(told.contains(part), "`{part}` is not in {told}");
    }
    assert!(told.contains("kubectl"), "{told}");
}

fn leftovers(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home).unwrap().flatten();
    entries
        .map(|entry| entry.path().display().to_string())
        .collect()
}

#[test]
fn the_demo_reads_commands_from_its_input() {
    let home = tempfile::tempdir().unwrap();
    assert_shown(&finish(&mut demo(home.path()), Input::Bytes(SCRIPT), LIMIT));
    assert_eq!(leftovers(home.path()), Vec::<String>::new());
}

#[test]
fn the_demo_runs_without_any_right() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The binary, too, must be where nobody may read it.
    let program = home.path().join("dockctl");
    fs::copy(binary("dockctl"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let work = home.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--no-new-privs",
        ])
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(&program)
        .arg("demo")
        .env("HOME", &work)
        .env("TMPDIR", &work)
        .env_remove("KUBECONFIG")
        .current_dir("/");
    assert_shown(&finish(&mut command, Input::Bytes(SCRIPT), LIMIT));
    assert_eq!(leftovers(&work), Vec::<String>::new());
}

#[test]
fn the_demo_in_a_real_container_does_the_same() {
    let docker = Docker::from_environment();
    // What it would fetch from a registry.
    let tagged = docker
        .command()
        .args(["tag", "dockin.local/busybox:test", "busybox"])
        .status();
    assert!(tagged.unwrap().success());
    let home = tempfile::tempdir().unwrap();
    let ids = || {
        let output = docker
            .command()
            .args(["ps", "-aq", "--filter", "label=dockin.demo"])
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    };
    let mut command = demo(home.path());
    command
        .args(["--runtime", "docker"])
        .env("DOCKER_HOST", docker.host());
    assert_shown(&finish(&mut command, Input::Bytes(SCRIPT), LIMIT));
    assert_eq!(ids(), "");
}

#[test]
fn nothing_typed_in_the_demo_touches_the_machine() {
    let home = tempfile::tempdir().unwrap();
    let witness = home.path().join("witness");
    fs::write(&witness, "here").unwrap();
    let script = format!(
        "echo gone > {path}; mv {path} {path}.moved; id -u; exit 0\n",
        path = witness.display()
    );
    let _any = finish(
        &mut demo(home.path()),
        Input::Bytes(script.as_bytes()),
        LIMIT,
    );
    assert_eq!(fs::read_to_string(&witness).unwrap(), "here");
}

#[test]
fn the_demo_opens_a_shell_on_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let mut pty = Pty::spawn(&demo(home.path()));
    let seen = |pty: &Pty, from: usize, text: &str| {
        eventually(LIMIT, || {
            pty.screen()
                .get(from..)
                .is_some_and(|new| new.contains(text))
        })
    };
    assert!(
        eventually(LIMIT, || {
            let screen = pty.screen();
            let last = screen.lines().last().unwrap_or_default().to_owned();
            last.contains("$ ") || last.contains("# ")
        }),
        "{}",
        pty.screen()
    );
    let from = pty.screen().len();
    pty.send("echo he''llo\r");
    assert!(seen(&pty, from, "\nhello"), "{}", pty.screen());
    let from = pty.screen().len();
    pty.send("rm -rf /data\r");
    assert!(seen(&pty, from, "refused"), "{}", pty.screen());
    std::thread::sleep(Duration::from_millis(500));
    let from = pty.screen().len();
    pty.send("exit 3\r");
    assert_eq!(pty.exit_code(), Some(3), "{}", pty.screen());
    assert!(
        seen(&pty, from, "rm -rf /data"),
        "no trail: {}",
        pty.screen()
    );
    assert!(
        eventually(LIMIT, || leftovers(home.path()).is_empty()),
        "{:?}",
        leftovers(home.path())
    );
}

#[test]
fn an_interrupted_or_killed_demo_leaves_no_process() {
    let home = tempfile::tempdir().unwrap();
    let mut pty = Pty::spawn(&demo(home.path()));
    assert!(
        eventually(LIMIT, || {
            let screen = pty.screen();
            let last = screen.lines().last().unwrap_or_default().to_owned();
            last.contains("$ ") || last.contains("# ")
        }),
        "{}",
        pty.screen()
    );
    // A number that nothing else on the machine sleeps.
    let number = 100_000 + u64::from(pty.pid());
    let sleeping = || {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&format!("sleep\0{number}"))
        })
    };
    pty.send(&format!("sleep {number}\r"));
    assert!(eventually(LIMIT, sleeping), "{}", pty.screen());
    pty.kill();
    assert!(eventually(Duration::from_secs(5), || !sleeping()));
}
