//! Recorded sessions, fed to an interceptor by a clock of their own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_policy::{Action, Decision, Interceptor, JudgedLine, RuleSet, Subject};
use serde::Deserialize;

use super::cases::Judged;
use crate::failure::Failure;

/// A recorded session; each character of its data is one byte unless `encoding` says otherwise.
#[derive(Deserialize)]
pub(super) struct Transcript {
    id: String,
    size: (u16, u16),
    events: Vec<(f64, String, String)>,
    #[serde(default)]
    shell: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
}

/// The most severe verdict on the lines of a session, up to the first that is refused.
pub(super) fn judge(rules: &Arc<RuleSet>, transcript: Transcript) -> Result<Judged, Failure> {
    let shell = transcript.shell.unwrap_or_else(|| "bash".to_owned());
    let argv = match shell.as_str() {
        "busybox" => vec!["busybox".to_owned(), "ash".to_owned()],
        other => vec![other.to_owned()],
    };
    let mut replay = Replay {
        interceptor: Interceptor::new(
            Arc::clone(rules),
            Subject::default(),
            &argv,
            true,
            Some(transcript.size),
        ),
        now: now(),
        lines: Vec::new(),
    };
    let is_text = transcript.encoding.as_deref() == Some("utf-8");
    for (seconds, kind, data) in transcript.events {
        replay.pass(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let bytes = if is_text {
            data.clone().into_bytes()
        } else {
            data.chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                .collect()
        };
        match kind.as_str() {
            "i" => replay.stdin(bytes),
            "o" => replay.output(&bytes),
            "r" => {
                let size = data
                    .split_once('x')
                    .and_then(|(columns, rows)| Some((columns.parse().ok()?, rows.parse().ok()?)));
                let Some((columns, rows)) = size else {
                    return Err(Failure::local(format!(
                        "session `{}`: `{data}` is no size: write 80x24",
                        transcript.id
                    )));
                };
                replay.interceptor.handle_resize(columns, rows);
            }
            _ => {}
        }
        if replay.is_refused() {
            break;
        }
    }
    replay.settle();
    let runs = replay
        .lines
        .iter()
        .map(|line| line.verdict.programs.clone())
        .collect::<Option<Vec<_>>>()
        .map(|programs| programs.concat());
    let worst = replay.lines.into_iter().reduce(|worst, line| {
        if line.verdict.decision > worst.verdict.decision {
            line
        } else {
            worst
        }
    });
    Ok(match worst {
        Some(line) => Judged {
            id: transcript.id,
            verdict: line.verdict.decision.as_str(),
            runs,
            reason: line.verdict.to_string(),
            rule: line.verdict.rule,
        },
        None => Judged {
            id: transcript.id,
            verdict: Decision::Allow.as_str(),
            runs,
            reason: "no line was submitted".to_owned(),
            rule: None,
        },
    })
}

/// The moment the clock of a replay starts from; it is never read again.
#[allow(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise"
)]
fn now() -> Instant {
    Instant::now()
}

struct Replay {
    interceptor: Interceptor,
    now: Instant,
    lines: Vec<JudgedLine>,
}

impl Replay {
    fn is_refused(&self) -> bool {
        self.lines
            .iter()
            .any(|line| line.verdict.decision >= Decision::Ask)
    }

    fn drain(&mut self) {
        while let Some(action) = self.interceptor.poll_action() {
            if let Action::Judged(line) = action {
                self.lines.push(line);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.interceptor.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.interceptor.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn settle(&mut self) {
        while let Some(due) = self.interceptor.poll_timeout() {
            self.now = due.max(self.now);
            self.interceptor.handle_timeout(self.now);
            self.drain();
        }
    }

    fn stdin(&mut self, bytes: Vec<u8>) {
        self.interceptor.handle_stdin(self.now, Bytes::from(bytes));
        self.drain();
    }

    /// The recording was made without interception, so what a command printed follows its Enter
    /// at once. While a line is held, output is fed up to the end of the row, and the clock runs
    /// until the line is judged.
    fn output(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.interceptor.poll_timeout().is_some() && !rest.is_empty() {
            let row = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (row, behind) = rest.split_at(row.unwrap_or(rest.len()));
            self.interceptor.handle_output(self.now, false, row);
            self.drain();
            rest = behind;
            if !rest.is_empty() && self.interceptor.poll_timeout().is_some() {
                self.settle();
            }
        }
        self.interceptor.handle_output(self.now, false, rest);
        self.drain();
    }
}
