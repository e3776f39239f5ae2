//! A real shell behind a real pseudo-terminal, and an interceptor in front of it.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test file uses a part; a failed unwrap is a failed test"
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
pub(crate) struct Session {
    pub(crate) interceptor: Interceptor,
    keyboard: pty_process::blocking::Pty,
    output: mpsc::Receiver<Vec<u8>>,
    pub(crate) seen: String,
    pub(crate) refusals: usize,
    /// Why the session was ended.
    pub(crate) ended: Option<String>,
    child: std::process::Child,
}

impl Session {
    pub(crate) fn start(argv: &[&str], directory: &Path) -> Self {
        Self::start_behind(argv, directory, Duration::ZERO)
    }

    /// The same behind a link on which output takes `delay` longer.
    pub(crate) fn start_behind(argv: &[&str], directory: &Path, delay: Duration) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        // Whoever runs the tests in the background has them ignore interrupts.
        let child = pty_process::blocking::Command::new("env")
            .arg("--default-signal=INT,QUIT,HUP")
            .args(argv)
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
        let (link, held) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let due = Instant::now() + delay;
                if link.send((due, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        });
        thread::spawn(move || {
            for (due, bytes) in held {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if sender.send(bytes).is_err() {
                    return;
                }
            }
        });
        let rules = RuleSet::parse(include_str!("../cases/transcript_rules.yaml")).unwrap();
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
            ended: None,
            child,
        };
        session.wait_for("dockin$ ");
        session
    }

    pub(crate) fn carry_out(&mut self) {
        while let Some(action) = self.interceptor.poll_action() {
            match action {
                Action::Forward(bytes) if self.ended.is_none() => {
                    self.keyboard.write_all(&bytes).unwrap()
                }
                Action::Forward(_) => panic!("bytes behind the end"),
                Action::Draw { bytes, .. } => {
                    self.seen.push_str(std::str::from_utf8(&bytes).unwrap())
                }
                Action::Judged(line) => {
                    self.refusals += usize::from(line.verdict.decision >= Decision::Ask)
                }
                Action::End { message } => {
                    self.ended = Some(message);
                    let _gone = self.child.kill();
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Takes one piece of output or lets a deadline pass.
    pub(crate) fn step(&mut self) {
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
    pub(crate) fn is_due(&self, start: Instant) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nothing more behind {:?}",
            self.seen
        );
    }

    /// Waits until the user sees `text`, and forgets everything up to it.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.seen.contains(text) {
            self.is_due(start);
            self.step();
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// Goes on for as long as `time`.
    pub(crate) fn rest_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }

    /// Lets whatever is under way come to rest.
    pub(crate) fn rest(&mut self) {
        for _ in 0..15 {
            self.step();
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.interceptor
            .handle_stdin(Instant::now(), Bytes::copy_from_slice(bytes));
        self.carry_out();
    }

    pub(crate) fn type_keys(&mut self, text: &str) {
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
