//! Whether the screen is as new as the keys it should show.

use std::time::{Duration, Instant};

/// How long a session's echo takes, and what of it is still to come.
///
/// Keys and screen meet only after a round trip: before, the screen shows the
/// line as it was. What was seen of a line says nothing about keys behind it.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// Pieces of output so far.
    outputs: u64,
    last_output: Option<Instant>,
    /// When the last key went on, and the pieces of output by then.
    last_key: Option<(Instant, u64)>,
    /// The pieces of output when the line's last key went on that is no text.
    last_edit: Option<u64>,
    /// When the line began, until its first key has shown or too much else has.
    first_key: Option<(Instant, u8)>,
    /// Whether the line has any key.
    has_keys: bool,
    /// The longest time until an echo lately.
    round_trip: Option<Duration>,
}

impl Echo {
    pub(super) fn see_output(&mut self, now: Instant) {
        self.outputs += 1;
        self.last_output = Some(now);
    }

    /// A key goes on; text shows on the screen, other keys may change nothing.
    pub(super) fn see_key(&mut self, now: Instant, is_text: bool) {
        self.last_key = Some((now, self.outputs));
        if is_text && !self.has_keys {
            self.first_key = Some((now, FIRST_LOOKS));
        }
        self.has_keys = true;
        if !is_text {
            self.last_edit = Some(self.outputs);
        }
    }

    pub(super) fn next_line(&mut self) {
        self.last_edit = None;
        self.first_key = None;
        self.has_keys = false;
    }

    /// The screen shows all keys: the echo of the last one is there.
    pub(super) fn see_agreement(&mut self) {
        let (Some((key, outputs)), Some(output)) = (self.last_key, self.last_output) else {
            return;
        };
        if self.outputs > outputs {
            let before = self.round_trip.unwrap_or_default() * 3 / 4;
            self.round_trip = Some(output.saturating_duration_since(key).max(before));
        }
    }

    /// Whether it is worth a look if the line's first key shows.
    pub(super) fn is_first_awaited(&mut self) -> bool {
        let looks = self.first_key.as_mut().map(|(_, looks)| {
            *looks = looks.saturating_sub(1);
            *looks
        });
        looks.is_some_and(|looks| looks > 0)
    }

    /// The line's first key shows now.
    pub(super) fn see_first(&mut self, now: Instant) {
        if let Some((key, _)) = self.first_key.take() {
            let sample = now.saturating_duration_since(key);
            self.round_trip = Some(self.round_trip.unwrap_or_default().max(sample));
        }
    }

    pub(super) const fn outputs(&self) -> u64 {
        self.outputs
    }

    pub(super) const fn last_output(&self) -> Option<Instant> {
        self.last_output
    }

    /// Whether the line has keys that are no text.
    pub(super) const fn has_edits(&self) -> bool {
        self.last_edit.is_some()
    }

    /// Whether anything came since the last key that is no text, which may have changed the line.
    pub(super) fn has_shown_edits(&self) -> bool {
        self.last_edit.is_none_or(|edit| self.outputs > edit)
    }

    /// Whether anything came since the last key.
    pub(super) fn has_shown_keys(&self) -> bool {
        self.last_key
            .is_none_or(|(_, outputs)| self.outputs > outputs)
    }

    /// When the echo of all keys counts as complete, as far as is known by now.
    pub(super) fn settles_at(&self, since: Instant) -> Option<Instant> {
        let quiet = self.last_output.map_or(since, |output| output.max(since)) + QUIET;
        let Some((key, _)) = self.last_key else {
            return Some(quiet);
        };
        self.has_shown_keys()
            .then(|| quiet.max(key + self.patience()))
    }

    /// How long a key waits whose line does not show.
    pub(super) fn longest_wait(&self) -> Duration {
        LONGEST_WAIT.max(self.patience() * 2)
    }

    fn patience(&self) -> Duration {
        self.round_trip
            .map_or(UNMEASURED, |time| (time * 3).min(MOST_PATIENCE))
    }
}

/// Echo counts as complete after this time without output.
pub(super) const QUIET: Duration = Duration::from_millis(30);
/// A submit key waits no longer on a fast link, whatever is missing: people notice about this much.
const LONGEST_WAIT: Duration = Duration::from_millis(300);
/// Pieces of output that are looked at for the first key of a line.
const FIRST_LOOKS: u8 = 8;
/// What an echo may take before any was seen.
const UNMEASURED: Duration = Duration::from_secs(1);
/// What an echo may take at most.
const MOST_PATIENCE: Duration = Duration::from_secs(4);
