//! Real bash and zsh behind a real pseudo-terminal, asked for their edit buffer: the lines that are
//! judged beside those that their own history has.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    io::{Read, Write},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{
    Action, BufferQuery, Confidence, Interceptor, JudgedLine, LineSource, RuleSet, Subject,
};

/// Keys of one session each; `\r` ends a line.
const SESSIONS: &[&str] = &[
    "echo plain\r",
    "echo one\recho two\r",
    "echo 'a b'  \"c\"\r",
    "eco\x02h\x05 moved\r",
    "echo xx\x7f\x7fyy\r",
    "wrong\x15echo killed\r",
    "echo a b c\x17\x17z\r",
    "echo yank\x15\x19\x19\r",
    "echo ab\x14\r",
    "echo word\x1bu\x1bb\x1bu\r",
    "echo first\r\x1b[A\r",
    "echo first\recho second\r\x1b[A\x1b[A\r",
    "echo first\recho second\r\x10\x10\x0e\r",
    "echo findme\recho other\r\x12find\r",
    "echo findme\recho other\r\x12find\x1b[C changed\r",
    "echo last word\recho \x1b.\r",
    "echo again\r!!\r",
    "echo again\recho b\r!echo\r",
    "echo from\r^from^to\r",
    "ech\t tab\r",
    "echo some_fi\t\r",
    "echo some\x1b*\r",
    "echo 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\r",
    "echo 0123456789012345678901234567890123456789012345678901234567890123456789\x01\x06\x06\x06\x06\x06X\r",
    "echo h\u{e9}llo w\u{f6}rld\r",
    "echo 漢字 wide\x02\x02\x02\x02\x02\x7f\r",
    "echo joined \\\rmore\r",
    "echo 'two\rlines'\r",
    "if true\rthen echo x\rfi\r",
    "cat <<E\rtext\rE\r",
    "\x1b[200~echo pasted\x1b[201~\r",
    "echo quoted \x16\x01 end\r",
    "set -o vi\recho vi\x1bhxp\r",
    "set -o vi\recho abc def\x1bbcwxyz\x1b\r",
    "PS1='other> '\recho prompt\r",
    "PS1=''\recho none\r",
    "PS1='a\\nb> '\recho two rows\r",
    "stty -echo\recho hidden\rstty echo\r",
    "alias e=echo\re aliased\r",
    "echo undone\x1f\x1f\x1f\x1f\x1f\x1f\recho next\r",
];

struct Session {
    interceptor: Interceptor,
    keyboard: pty_process::blocking::Pty,
    output: mpsc::Receiver<Vec<u8>>,
    lines: Vec<JudgedLine>,
    /// What the user sees.
    shown: Vec<u8>,
    last: Instant,
    child: std::process::Child,
    directory: tempfile::TempDir,
}

impl Session {
    fn start(asks: bool, argv: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let query = BufferQuery::new("n0nce");
        let bash = "PS1='[app@pod-0 /data]$ '\nHISTFILE=$HOME/.hist\nPROMPT_COMMAND='history -a'\n";
        let zsh = "PS1='[app@pod-0 /data]$ '\nHISTFILE=$HOME/.hist HISTSIZE=99 SAVEHIST=99\nsetopt INC_APPEND_HISTORY\nbindkey -e\n";
        let login = bash.replace(
            "PROMPT_COMMAND='history -a'",
            "PROMPT_COMMAND=\"${PROMPT_COMMAND:+$PROMPT_COMMAND; }history -a\"",
        );
        for (file, text) in [
            (".bashrc", bash),
            (".bash_profile", &login),
            (".zshrc", zsh),
        ] {
            std::fs::write(directory.path().join(file), text).unwrap();
        }
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let run = if asks {
            query.wrap(&argv).unwrap()
        } else {
            argv.clone()
        };
        std::fs::write(directory.path().join("some_file"), "").unwrap();
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let child = pty_process::blocking::Command::new(&run[0])
            .args(&run[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .env("HOME", directory.path())
            .current_dir(directory.path())
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
        let rules = RuleSet::parse(include_str!("cases/allow_all_rules.yaml")).unwrap();
        let interceptor = Interceptor::new(
            Arc::new(rules),
            Subject::default(),
            &argv,
            true,
            Some((80, 24)),
        );
        let interceptor = if asks {
            interceptor.with_query(&query)
        } else {
            interceptor
        };
        let mut session = Self {
            interceptor,
            keyboard: pty,
            output,
            lines: Vec::new(),
            shown: Vec::new(),
            last: Instant::now(),
            child,
            directory,
        };
        // A slow machine takes its time to start a shell.
        let due = Instant::now() + Duration::from_secs(10);
        while !String::from_utf8_lossy(&session.shown).contains("/data]$ ") {
            assert!(Instant::now() < due, "{:?}", session.shown);
            session.step();
        }
        session.rest();
        session
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.interceptor.poll_action() {
            match action {
                Action::Forward(bytes) => self.keyboard.write_all(&bytes).unwrap(),
                Action::Judged(line) => self.lines.push(line),
                _ => {}
            }
        }
    }

    fn step(&mut self) {
        let pause = Duration::from_millis(5);
        let pause = self.interceptor.poll_timeout().map_or(pause, |due| {
            due.saturating_duration_since(Instant::now()).min(pause)
        });
        if let Ok(bytes) = self.output.recv_timeout(pause) {
            self.last = Instant::now();
            let (now, bytes) = (Instant::now(), Bytes::from(bytes));
            self.interceptor.handle_output(now, false, &bytes);
            let shown = self.interceptor.shown(now, false, bytes);
            self.shown.extend_from_slice(&shown);
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

    /// Until nothing has come for a while and nothing is held.
    fn rest(&mut self) {
        self.last = Instant::now();
        while self.last.elapsed() < Duration::from_millis(120)
            || self.interceptor.poll_timeout().is_some()
        {
            self.step();
        }
    }

    fn type_keys(&mut self, keys: &str) {
        for key in keys.chars() {
            let mut bytes = [0; 4];
            let text = key.encode_utf8(&mut bytes);
            self.interceptor
                .handle_stdin(Instant::now(), Bytes::copy_from_slice(text.as_bytes()));
            self.carry_out();
            self.step();
            if key == '\r' {
                self.rest();
            }
        }
        self.rest();
    }

    fn history(&self) -> Vec<String> {
        let text = std::fs::read(self.directory.path().join(".hist")).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Nothing of the question or the answer.
    fn shows_no_query(&self) -> bool {
        let shown = String::from_utf8_lossy(&self.shown);
        !shown.contains("]633") && !shown.contains("dockin") && !shown.contains("99;7~")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn normal(line: &str) -> String {
    line.replace("\\\n", "")
        .split(|c: char| c == ';' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Sessions whose lines are all as the history has them, those that are not, and lines that were
/// taken as sure and are none of the history's.
fn measure(asks: bool, sessions: &[&str], argv: &[&str]) -> (usize, Vec<String>, Vec<String>) {
    let mut exact = 0;
    let mut wrong = Vec::new();
    let mut wrongly_sure = Vec::new();
    for keys in sessions {
        let mut session = Session::start(asks, argv);
        session.type_keys(keys);
        // A construct over several lines stands in the file as several lines.
        let wanted = normal(&session.history().join("\n"));
        let judged: Vec<&str> = session
            .lines
            .iter()
            .map(|line| line.line.as_str())
            .collect();
        if normal(&judged.join("\n")) == wanted {
            exact += 1;
        } else {
            wrong.push(format!(
                "{keys:?}\n    want {wanted:?}\n    have {judged:?}"
            ));
        }
        for line in &session.lines {
            if line.confidence == Confidence::Sure && !wanted.contains(&normal(&line.line)) {
                wrongly_sure.push(format!("{keys:?}: {:?} is not in {wanted:?}", line.line));
            }
        }
        if asks {
            assert!(
                session.shows_no_query(),
                "{keys:?}: {:?}",
                String::from_utf8_lossy(&session.shown)
            );
            assert!(
                session
                    .lines
                    .iter()
                    .any(|line| line.source == LineSource::Buffer),
                "{keys:?}: the shell was not asked: {:?}",
                session.lines
            );
        }
    }
    (exact, wrong, wrongly_sure)
}

#[test]
fn a_shell_that_is_asked_tells_the_line_that_it_runs() {
    let (exact, wrong, wrongly_sure) = measure(true, SESSIONS, &["bash"]);
    println!(
        "with the query {exact} of {} sessions are exact ({:.1} %):\n  {}",
        SESSIONS.len(),
        100.0 * exact as f64 / SESSIONS.len() as f64,
        wrong.join("\n  ")
    );
    assert!(wrongly_sure.is_empty(), "{wrongly_sure:#?}");
    assert!(
        exact * 100 >= SESSIONS.len() * 97,
        "{exact} of {}",
        SESSIONS.len()
    );
}

#[test]
fn a_line_that_is_not_asked_for_is_never_wrong_and_sure() {
    let (exact, wrong, wrongly_sure) = measure(false, SESSIONS, &["bash"]);
    println!(
        "without the query {exact} of {} sessions are exact ({:.1} %):\n  {}",
        SESSIONS.len(),
        100.0 * exact as f64 / SESSIONS.len() as f64,
        wrong.join("\n  ")
    );
    assert!(wrongly_sure.is_empty(), "{wrongly_sure:#?}");
    assert!(
        exact * 100 >= SESSIONS.len() * 80,
        "{exact} of {}",
        SESSIONS.len()
    );
}

/// Keys that mean the same to zsh and to a login shell.
const OTHERS: &[&str] = &[
    "echo plain\r",
    "eco\x02h\x05 moved\r",
    "echo a b c\x17\x17z\r",
    "echo first\recho second\r\x1b[A\x1b[A\r",
    "echo findme\recho other\r\x12find\r",
    "echo some_fi\t\r",
    "echo h\u{e9}llo w\u{f6}rld\r",
    "\x1b[200~echo pasted\x1b[201~\r",
    "PS1='other> '\recho prompt\r",
    "alias e=echo\re aliased\r",
];

#[test]
fn zsh_and_login_shells_can_be_asked_as_well() {
    for argv in [&["zsh"][..], &["zsh", "-l"], &["bash", "-l"]] {
        let (exact, wrong, wrongly_sure) = measure(true, OTHERS, argv);
        assert!(wrongly_sure.is_empty(), "{argv:?}: {wrongly_sure:#?}");
        assert!(exact == OTHERS.len(), "{argv:?}: {wrong:#?}");
    }
}

/// The key would be text to whatever reads lines inside the shell that knows it.
#[test]
fn nothing_but_the_shell_that_knows_the_key_is_asked() {
    let mut session = Session::start(true, &["bash"]);
    session.type_keys("bash --norc\recho in''ner\rexit\recho back\r");
    let shown = String::from_utf8_lossy(&session.shown).into_owned();
    assert!(shown.contains("inner") && !shown.contains('~'), "{shown:?}");
    let sources: Vec<_> = session
        .lines
        .iter()
        .map(|line| (line.line.as_str(), line.source == LineSource::Buffer))
        .collect();
    assert_eq!(
        sources,
        [
            ("bash --norc", true),
            ("echo in''ner", false),
            ("exit", false),
            ("echo back", true)
        ]
    );
}

#[test]
fn a_shell_that_no_longer_answers_is_not_waited_for_at_every_line() {
    let mut session = Session::start(true, &["bash"]);
    session.type_keys("bind -r '\\e[99;7~'\r");
    for _ in 0..4 {
        session.type_keys("echo on\r");
    }
    assert_eq!(session.lines.len(), 5);
    let before = Instant::now();
    session.type_keys("echo la''st\r");
    assert!(before.elapsed() < Duration::from_secs(5));
    let shown = String::from_utf8_lossy(&session.shown);
    assert!(shown.contains("last"), "{shown}");
    assert_eq!(session.lines.last().unwrap().source, LineSource::Keys);
}
