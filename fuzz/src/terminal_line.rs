use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{
    Action, Completeness, Decision, Dialect, Interceptor, RuleSet, SessionState, Subject,
    is_complete, judge_line,
};

use crate::script::Script;

/// A terminal session as a list of operations: keys, output, resizes, time.
///
/// Under rules that allow nothing, no byte that submits a plainly typed line reaches the shell;
/// nothing follows the end of a session, and a deadline that has come is not asked for again.
///
/// # Panics
///
/// A law is broken.
pub fn terminal_line(data: &[u8]) {
    let mut script = Script::new(data);
    let argv = match script.byte() % 4 {
        0 => vec!["bash".to_owned()],
        1 => vec!["sh".to_owned(), "-i".to_owned()],
        2 => vec!["zsh".to_owned()],
        _ => vec!["/bin/ash".to_owned(), "-l".to_owned()],
    };
    let size = (
        1 + u16::from(script.byte()),
        1 + u16::from(script.byte() % 64),
    );
    let mut now = Instant::now();
    let mut session = Session {
        interceptor: Interceptor::new(NOTHING.clone(), Subject::default(), &argv, true, Some(size)),
        forwarded: Vec::new(),
        ended: false,
    };
    while !script.is_empty() {
        match script.byte() % 16 {
            0..=6 => session.interceptor.handle_stdin(now, script.payload()),
            7 => session
                .interceptor
                .handle_stdin(now, Bytes::from_static(b"\r")),
            8..=11 => session
                .interceptor
                .handle_output(now, false, &script.payload()),
            // What a shell shows when it is asked nothing.
            12 => session.interceptor.handle_output(now, false, b"\r\n$ "),
            13 => {
                let (columns, rows) = (u16::from(script.byte()), u16::from(script.byte()));
                session.interceptor.handle_resize(columns, rows);
            }
            14 => {
                now += Duration::from_millis(u64::from(script.byte()) * 4);
                session.interceptor.handle_timeout(now);
            }
            _ => session.interceptor.handle_half_close(now),
        }
        session.drain();
    }
    session.settle(now);
    check_forwarded(&session.forwarded);
}

struct Session {
    interceptor: Interceptor,
    forwarded: Vec<u8>,
    ended: bool,
}

impl Session {
    fn drain(&mut self) {
        while let Some(action) = self.interceptor.poll_action() {
            assert!(!self.ended, "{action:?} behind the end");
            match action {
                Action::Forward(bytes) => self.forwarded.extend_from_slice(&bytes),
                Action::End { .. } => self.ended = true,
                Action::Draw { .. }
                | Action::Judged(_)
                | Action::SizesWanted(_)
                | Action::Held(_)
                | Action::Settled { .. }
                | Action::HalfClose => {}
            }
        }
    }

    fn settle(&mut self, mut now: Instant) {
        for _ in 0..1000 {
            let Some(due) = self.interceptor.poll_timeout() else {
                return;
            };
            now = due.max(now);
            self.interceptor.handle_timeout(now);
            self.drain();
        }
        panic!("deadlines without end");
    }
}

/// The first line of a session or behind a `^C`, typed without a control key: nothing but its
/// own text can be what the shell runs.
fn check_forwarded(forwarded: &[u8]) {
    for attempt in forwarded.split(|byte| *byte == 0x03) {
        let Some(end) = attempt
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
        else {
            continue;
        };
        let (line, _) = attempt.split_at(end);
        if !line.iter().all(|byte| matches!(byte, b' '..=b'~'))
            || is_complete(line, Dialect::Bash) == Completeness::NeedsMore
        {
            continue;
        }
        let verdict = judge_line(
            &NOTHING,
            &Subject::default(),
            line,
            &mut SessionState::default(),
        );
        assert!(
            verdict.decision < Decision::Ask,
            "\"{}\" was submitted: {verdict:?}",
            line.escape_ascii()
        );
    }
}

static NOTHING: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let rules = RuleSet::parse("name: nothing\ndefault: deny\non_unknown: deny\nrules: []\n");
    Arc::new(rules.expect("the rules are right"))
});
