//! Real shells behind real pseudo-terminals: bash, dash and busybox ash must be installed.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    io::{Read, Write},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{Action, Decision, Interceptor, RuleSet, Subject};

/// A shell, an interceptor in front of it, and what the user sees.
struct Session {
    interceptor: Interceptor,
    keyboard: pty_process::blocking::Pty,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
    refusals: usize,
    child: std::process::Child,
}

impl Session {
    fn start(argv: &[&str], directory: &Path) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let child = pty_process::blocking::Command::new(argv[0])
            .args(&argv[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PS1", "dockin$ ")
            .env("TERM", "xterm")
            .env("HOME", directory)
            .current_dir(directory)
            .spawn(pts)
            .unwrap();
        let file = std::os::fd::AsFd::as_fd(&pty).try_clone_to_owned().unwrap();
        let mut screen = std::fs::File::from(file);
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let rules = RuleSet::parse(include_str!("cases/transcript_rules.yaml")).unwrap();
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let interceptor = Interceptor::new(
            Arc::new(rules),
            Subject::default(),
            &argv,
            true,
            Some((80, 24)),
        );
        let mut session = Self {
            interceptor,
            keyboard: pty,
            output,
            seen: String::new(),
            refusals: 0,
            child,
        };
        session.wait_for("dockin$ ");
        session
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.interceptor.poll_action() {
            match action {
                Action::Forward(bytes) => self.keyboard.write_all(&bytes).unwrap(),
                Action::Draw { bytes, .. } => {
                    self.seen.push_str(std::str::from_utf8(&bytes).unwrap())
                }
                Action::Judged(line) => {
                    self.refusals += usize::from(line.verdict.decision >= Decision::Ask)
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Takes one piece of output or lets a deadline pass.
    fn step(&mut self) {
        let pause = Duration::from_millis(20);
        let pause = self.interceptor.poll_timeout().map_or(pause, |due| {
            due.saturating_duration_since(Instant::now()).min(pause)
        });
        if let Ok(bytes) = self.output.recv_timeout(pause) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
            self.interceptor
                .handle_output(Instant::now(), false, &bytes);
        }
        self.carry_out();
        if self
            .interceptor
            .poll_timeout()
            .is_some_and(|due| due <= Instant::now())
        {
            self.interceptor.handle_timeout(Instant::now());
            self.carry_out();
        }
    }

    /// What is waited for since `start` must come at last.
    fn is_due(&self, start: Instant) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nothing more behind {:?}",
            self.seen
        );
    }

    /// Waits until the user sees `text`, and forgets everything up to it.
    fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.seen.contains(text) {
            self.is_due(start);
            self.step();
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// Lets whatever is under way come to rest.
    fn rest(&mut self) {
        for _ in 0..15 {
            self.step();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.interceptor
            .handle_stdin(Instant::now(), Bytes::copy_from_slice(bytes));
        self.carry_out();
    }

    fn type_keys(&mut self, text: &str) {
        for byte in text.as_bytes() {
            self.write(&[*byte]);
            self.step();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

const SHELLS: [&[&str]; 3] = [
    &["bash", "--norc", "--noprofile"],
    &["dash"],
    &["busybox", "ash"],
];

#[test]
fn a_refused_command_does_not_run_and_the_next_one_does() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.type_keys("rm keep\r");
        session.wait_for("dockin: refused: ");
        session.wait_for("dockin$ ");
        session.rest();
        // A shell that is slow to drop the refused line may still show it when the next one is
        // typed; then that one is refused as well, and the one behind it runs.
        for attempt in 1..=5 {
            let refused = session.refusals;
            session.type_keys("echo al''ive\r");
            let start = Instant::now();
            while !session.seen.contains("alive\r\n") && session.refusals == refused {
                session.is_due(start);
                session.step();
            }
            if session.seen.contains("alive\r\n") {
                break;
            }
            assert!(attempt < 5, "{argv:?}: {:?}", session.seen);
            session.rest();
        }
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn lines_in_one_write_run_up_to_the_refused_one() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.write(b"echo o''ne\recho t''wo\rrm keep\rrm keep\r");
        // The refusal may come before the output of the line that still runs.
        let start = Instant::now();
        while session.refusals == 0 {
            session.is_due(start);
            session.step();
        }
        session.rest();
        for text in ["one\r\n", "two\r\n", "dockin: refused: "] {
            assert!(
                session.seen.contains(text),
                "{argv:?}: no {text:?} in {:?}",
                session.seen
            );
        }
        session.type_keys("echo al''ive\r");
        session.wait_for("alive\r\n");
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn a_refused_construct_is_dropped_from_the_continuation_prompt() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.type_keys("echo 'a\r");
        session.wait_for("> ");
        session.rest();
        session.type_keys("b'; rm keep\r");
        session.wait_for("dockin: refused: ");
        session.wait_for("dockin$ ");
        session.rest();
        session.type_keys("echo al''ive\r");
        session.wait_for("alive\r\n");
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn a_shell_that_ignores_interrupts_does_not_keep_the_refused_line() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.type_keys("trap '' INT\r");
        session.wait_for("dockin$ ");
        session.rest();
        session.type_keys("rm keep\r");
        session.wait_for("dockin: refused: ");
        session.rest();
        session.type_keys("\r");
        session.rest();
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn a_recalled_command_is_refused_by_what_the_screen_shows() {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    std::fs::write(directory.path().join(".bash_history"), "rm keep\n").unwrap();
    let mut session = Session::start(&["bash", "--norc", "--noprofile"], directory.path());
    session.rest();
    session.write(b"\x1b[A");
    session.wait_for("rm keep");
    session.write(b"\r");
    session.wait_for("dockin: refused: ");
    session.rest();
    assert!(keep.exists());
}
