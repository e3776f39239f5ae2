use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Stops asking an API server that cannot be reached, so that who asks hears it at once and does
/// not pile up waiting.
///
/// ```text
/// closed ──3 failures in a row──▶ open ──after 5 s──▶ one trial ──failed──▶ open
///    ▲                                                   │
///    └───────────────────── answered ────────────────────┘
/// ```
///
/// Only what says that nobody is there is a failure: no connection, no answer to the look at its
/// health. A slow answer is none, or one person's slow request would close the door for all.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    failures: u32,
    /// Nobody is let through before, but for one trial then.
    closed_until: Option<Instant>,
}

/// Failures in a row after which it opens.
const FAILURES: u32 = 3;
/// How long it stays open before a trial, and between trials.
const PAUSE: Duration = Duration::from_secs(5);

impl Breaker {
    /// Whether to ask.
    ///
    /// # Errors
    ///
    /// How long not to.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match state.closed_until {
            Some(until) if now < until => Err(until - now),
            // The one trial; the next waits for what becomes of it, or for as long again.
            Some(_) => {
                state.closed_until = Some(now + PAUSE);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// There was an answer, whatever it said.
    pub fn answered(&self) {
        *self.state() = State::default();
    }

    /// Nobody was there.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.closed_until = Some(now + PAUSE);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Breaker, PAUSE};

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        for _ in 0..2 {
            breaker.failed(now);
            breaker.failed(now);
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.answered();
        }
        for _ in 0..3 {
            breaker.failed(now);
        }
        assert_eq!(
            breaker.admit(now + Duration::from_secs(1)),
            Err(PAUSE - Duration::from_secs(1))
        );
        now += PAUSE;
        assert_eq!(breaker.admit(now), Ok(()));
        assert_eq!(breaker.admit(now), Err(PAUSE));
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Err(PAUSE));
        now += PAUSE;
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.answered();
        assert_eq!(breaker.admit(now), Ok(()));
        assert_eq!(breaker.admit(now), Ok(()));
    }
}
