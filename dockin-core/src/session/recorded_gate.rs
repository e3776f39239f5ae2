use std::time::Instant;

use bytes::Bytes;
use dockin_policy::{JudgedLine, audit::redact_text};

use dockin_stream::{ExitStatus, Failure, Gate, GateAction, OutputStream, TerminalSize};

use super::{ArchivedFile, FileCopy, Manifest, SessionNote};
use crate::recording::Recorder;

/// A gate past which everything is recorded that the person sees, and each judged line as a
/// marker.
///
/// When the recording is strict and fails, the session ends: what cannot be recorded does not
/// happen.
#[derive(Debug)]
pub struct RecordedGate<G> {
    gate: G,
    recorder: Option<Recorder>,
    tty: bool,
    /// What passes is an archive: only what is said beside it is recorded.
    is_copy: bool,
    /// Judged lines so far: the markers' numbers.
    judged: u64,
    ended: bool,
}

impl<G> RecordedGate<G> {
    /// Records what passes `gate`, when there is a recorder. Without a terminal lines end as a
    /// terminal would show them.
    pub const fn new(gate: G, recorder: Option<Recorder>, tty: bool) -> Self {
        Self {
            gate,
            recorder,
            tty,
            is_copy: false,
            judged: 0,
            ended: false,
        }
    }

    /// Records a copy: that it is one, by a marker, and what the program says on its standard
    /// error.
    pub fn of_copy(gate: G, recorder: Option<Recorder>, copy: &FileCopy) -> Self {
        if let Some(recorder) = &recorder {
            let label = format!("{}: {}", copy.direction, redact_text(&copy.path));
            recorder.marker(Instant::now(), label);
        }
        Self {
            is_copy: true,
            ..Self::new(gate, recorder, false)
        }
    }

    fn record_output(&self, now: Instant, bytes: &Bytes) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        if self.tty || !bytes.contains(&b'\n') {
            recorder.output(now, bytes);
        } else {
            let mut shown = Vec::with_capacity(bytes.len() + 64);
            for byte in bytes {
                if *byte == b'\n' {
                    shown.push(b'\r');
                }
                shown.push(*byte);
            }
            recorder.output(now, &shown.into());
        }
    }
}

impl<G: Gate<Note = SessionNote>> Gate for RecordedGate<G> {
    type Note = SessionNote;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        if let Some(recorder) = &self.recorder
            && !self.is_copy
        {
            recorder.input(now, &bytes);
        }
        self.gate.handle_stdin(now, bytes);
    }

    fn handle_half_close(&mut self, now: Instant) {
        self.gate.handle_half_close(now);
    }

    fn handle_resize(&mut self, size: TerminalSize) {
        if let Some(recorder) = &self.recorder {
            recorder.resize(Instant::now(), size.width, size.height);
        }
        self.gate.handle_resize(size);
    }

    fn handle_output(&mut self, now: Instant, stream: OutputStream, bytes: &Bytes) {
        self.gate.handle_output(now, stream, bytes);
    }

    fn shown(&mut self, now: Instant, stream: OutputStream, bytes: Bytes) -> Bytes {
        let bytes = self.gate.shown(now, stream, bytes);
        if !self.is_copy || stream == OutputStream::Stderr {
            self.record_output(now, &bytes);
        }
        bytes
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.gate.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.gate.poll_timeout()
    }

    fn poll_action(&mut self) -> Option<GateAction<SessionNote>> {
        if !self.ended && self.recorder.as_ref().is_some_and(Recorder::must_end) {
            self.ended = true;
            return Some(GateAction::End(ExitStatus::Failed(Failure {
                code: 503,
                reason: "ServiceUnavailable".to_owned(),
                message: "session ended: it cannot be recorded any more".to_owned(),
            })));
        }
        let action = self.gate.poll_action()?;
        match &action {
            GateAction::Draw(_, bytes) => self.record_output(Instant::now(), bytes),
            GateAction::Note(SessionNote::Judged(line)) => {
                self.judged += 1;
                if let Some(recorder) = &self.recorder {
                    recorder.marker(Instant::now(), label(self.judged, line));
                }
            }
            _ => {}
        }
        Some(action)
    }
}

/// A marker for each file that was copied, as far as they are listed.
pub(crate) fn record_copied(recorder: &Recorder, copy: &FileCopy, manifest: &Manifest) {
    let now = Instant::now();
    let (files, more) = manifest.files();
    let tell = |what: String| recorder.marker(now, format!("{} {what}", copy.direction));
    for ArchivedFile { path, bytes } in files {
        tell(format!("{}, {bytes} bytes", redact_text(path)));
    }
    if more > 0 {
        tell(format!("of {more} more files"));
    }
}

/// What a player shows at the marker: number, verdict, line, rule.
fn label(number: u64, line: &JudgedLine) -> String {
    let decision = line.verdict.decision.as_str();
    match &line.verdict.rule {
        Some(rule) => format!("{number} {decision}: {} [{rule}]", line.line),
        None => format!("{number} {decision}: {}", line.line),
    }
}
