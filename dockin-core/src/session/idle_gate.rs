use std::time::{Duration, Instant};

use bytes::Bytes;
use dockin_stream::{ExitStatus, Failure, Gate, GateAction, OutputStream, TerminalSize};
use tokio_util::sync::CancellationToken;

/// A gate that ends a session in which nothing is typed and nothing printed for some time.
///
/// Only what a person or a program says counts: input, its end, a new size of the terminal,
/// output. Pings and other proofs of life never reach a gate, so a forgotten session ends
/// although its client keeps the connection alive (kubernetes/kubernetes#102569).
#[derive(Debug)]
pub struct IdleGate<G> {
    gate: G,
    limit: Duration,
    /// When something was last said.
    active: Instant,
    /// When to look again; `None` when there is no limit, or it has passed. It stays where it is
    /// while things are said, so that a busy session sets no timer for each of them.
    look: Option<Instant>,
    /// The limit has passed, and nobody was told yet.
    over: bool,
    /// Cancelled when it has passed: who is told may not listen.
    passed: CancellationToken,
}

impl<G> IdleGate<G> {
    /// Ends the session behind `gate` after `limit` of silence, first counted from `now`; never
    /// without one.
    pub fn new(gate: G, limit: Option<Duration>, now: Instant) -> Self {
        let limit = limit.unwrap_or(Duration::MAX);
        Self {
            gate,
            limit,
            active: now,
            look: now.checked_add(limit),
            over: false,
            passed: CancellationToken::new(),
        }
    }

    /// Waits until the limit has passed and the client has had a moment to hear of it; gives what to
    /// write down when he did not.
    ///
    /// A client that takes nothing (`^Z`, a lid that is closed) would else keep his session: its
    /// last word goes behind output that waits for him.
    pub(crate) fn overdue(&self) -> impl Future<Output = String> + Send + use<G> {
        let (passed, limit) = (self.passed.clone(), self.limit);
        async move {
            passed.cancelled().await;
            tokio::time::sleep(HEARING).await;
            idle_message(limit)
        }
    }
}

impl<G: Gate> Gate for IdleGate<G> {
    type Note = G::Note;

    fn handle_stdin(&mut self, now: Instant, bytes: Bytes) {
        self.active = now;
        self.gate.handle_stdin(now, bytes);
    }

    fn handle_half_close(&mut self, now: Instant) {
        self.active = now;
        self.gate.handle_half_close(now);
    }

    fn handle_resize(&mut self, size: TerminalSize) {
        self.active = Instant::now();
        self.gate.handle_resize(size);
    }

    fn handle_output(&mut self, now: Instant, stream: OutputStream, bytes: &Bytes) {
        self.active = now;
        self.gate.handle_output(now, stream, bytes);
    }

    fn shown(&mut self, now: Instant, stream: OutputStream, bytes: Bytes) -> Bytes {
        self.gate.shown(now, stream, bytes)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.gate.poll_timeout().is_some_and(|due| due <= now) {
            self.gate.handle_timeout(now);
        }
        if self.look.is_some_and(|look| look <= now) {
            let end = self.active.checked_add(self.limit);
            self.over = end.is_some_and(|end| end <= now);
            self.look = end.filter(|_| !self.over);
            if self.over {
                self.passed.cancel();
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.gate.poll_timeout(), self.look]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_action(&mut self) -> Option<GateAction<G::Note>> {
        let action = self.gate.poll_action();
        if action.is_some() || !self.over {
            return action;
        }
        self.over = false;
        Some(GateAction::End(ExitStatus::Failed(Failure {
            // As a kubelet's or an apiserver's own timeout.
            code: 504,
            reason: "Timeout".to_owned(),
            message: idle_message(self.limit),
        })))
    }
}

/// How long a client has to take the end of his session.
const HEARING: Duration = Duration::from_secs(5);

/// What the client of a session that was idle for `limit` is told, and the audit trail.
pub(crate) fn idle_message(limit: Duration) -> String {
    format!("session ended: it was idle for {}", spoken(limit))
}

/// `1h30m`, `45s`: as the configuration has it.
fn spoken(limit: Duration) -> String {
    let seconds = limit.as_secs();
    let units = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let text: String = units
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        format!("{} ms", limit.as_millis())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use dockin_stream::{Event, ExitStatus, OpenGate, Outcome, Output, Relay, TerminalSize};

    use super::{IdleGate, spoken};

    const LIMIT: Duration = Duration::from_secs(90);

    fn relay(now: Instant) -> Relay<IdleGate<OpenGate>> {
        Relay::new(IdleGate::new(OpenGate::default(), Some(LIMIT), now))
    }

    /// Drains; gives the time to wait for, or the outcome.
    fn settle(relay: &mut Relay<IdleGate<OpenGate>>) -> Result<Option<Instant>, Outcome> {
        loop {
            match relay.poll_output() {
                Output::Wait(until) => return Ok(until),
                Output::Closed(outcome) => return Err(outcome),
                _ => {}
            }
        }
    }

    #[test]
    fn silence_for_the_whole_limit_ends_the_session_and_says_why() {
        let begun = Instant::now();
        let mut relay = relay(begun);
        let due = settle(&mut relay).ok().flatten();
        assert_eq!(due, Some(begun + LIMIT));
        relay.handle_timeout(begun + LIMIT);
        let outcome = settle(&mut relay).err();
        assert!(
            matches!(
                &outcome,
                Some(Outcome::Stopped(ExitStatus::Failed(failure)))
                    if failure.message == "session ended: it was idle for 1m30s"
                        && failure.reason == "Timeout"
            ),
            "{outcome:?}"
        );
    }

    #[test]
    fn what_is_typed_printed_or_resized_counts_and_sets_no_timer_each_time() {
        let begun = Instant::now();
        let mut relay = relay(begun);
        let bytes = Bytes::from_static(b"x");
        let half = begun + LIMIT / 2;
        for event in [Event::Stdin(bytes.clone()), Event::HalfClose] {
            relay.handle_client(half, event);
            assert_eq!(settle(&mut relay), Ok(Some(begun + LIMIT)));
        }
        relay.handle_timeout(begun + LIMIT);
        assert_eq!(settle(&mut relay), Ok(Some(half + LIMIT)));
        let late = half + LIMIT - Duration::from_millis(1);
        relay.handle_container(late, Event::Stdout(bytes));
        relay.handle_timeout(half + LIMIT);
        assert_eq!(settle(&mut relay), Ok(Some(late + LIMIT)));
        relay.handle_timeout(late + LIMIT);
        assert!(settle(&mut relay).is_err());
    }

    #[test]
    fn without_a_limit_nothing_is_waited_for() {
        let mut relay = Relay::new(IdleGate::new(OpenGate::default(), None, Instant::now()));
        let size = TerminalSize {
            width: 80,
            height: 24,
        };
        relay.handle_client(Instant::now(), Event::Resize(size));
        assert_eq!(settle(&mut relay), Ok(None));
    }

    #[test]
    fn a_limit_is_told_as_it_was_configured() {
        for (seconds, text) in [
            (45, "45s"),
            (1800, "30m"),
            (14_400, "4h"),
            (5430, "1h30m30s"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }
}
