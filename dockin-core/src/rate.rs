use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How often something may happen for each key: `burst` times at once, `per_second` in the long
/// run. A token bucket for each.
///
/// However many keys come, a call costs the same and no more than twice [`MANY`] are remembered: a
/// key that is not used while so many others are is forgotten, as if it had rested.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: f64,
    burst: f64,
    /// Keys used since the last time that there were too many.
    young: HashMap<String, Bucket>,
    /// Keys used in the round before; they go with the next.
    old: HashMap<String, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Keys of one round.
const MANY: usize = 4096;

impl Rates {
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Counts once for `key`.
    ///
    /// # Errors
    ///
    /// How long until it may be counted again.
    pub(crate) fn take(&mut self, key: &str, now: Instant) -> Result<(), Duration> {
        let per_second = self.per_second;
        let known = self.young.get(key).or_else(|| self.old.get(key));
        let mut bucket = known.copied().unwrap_or(Bucket {
            tokens: self.burst,
            at: now,
        });
        bucket.tokens = bucket.filled(now, per_second).min(self.burst);
        bucket.at = now;
        let taken = if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            Ok(())
        } else {
            let wait = Duration::try_from_secs_f64((1.0 - bucket.tokens) / per_second);
            Err(wait.unwrap_or(Duration::from_secs(60)))
        };
        if self.young.len() >= MANY && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.to_owned(), bucket);
        taken
    }

    /// Takes back what was counted for `key`: it was not what is rare.
    pub(crate) fn give_back(&mut self, key: &str) {
        let burst = self.burst;
        // What is in both counts where it is younger.
        let known = self.young.get_mut(key).or_else(|| self.old.get_mut(key));
        if let Some(bucket) = known {
            bucket.tokens = (bucket.tokens + 1.0).min(burst);
        }
    }
}

impl Bucket {
    fn filled(&self, now: Instant, per_second: f64) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        passed.as_secs_f64().mul_add(per_second, self.tokens)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::{Duration, Instant};

    use super::{MANY, Rates};

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut rates = Rates::new(10.0, 3.0);
        let now = Instant::now();
        for _ in 0..3 {
            rates.take("alice", now).unwrap();
        }
        assert_eq!(rates.take("alice", now), Err(Duration::from_millis(100)));
        rates.take("bob", now).unwrap();
        let later = now + Duration::from_millis(100);
        rates.take("alice", later).unwrap();
        assert!(rates.take("alice", later).is_err());
        rates.give_back("alice");
        rates.take("alice", later).unwrap();
    }

    #[test]
    fn a_crowd_of_keys_takes_no_more_room_and_does_not_hide_one_that_goes_on() {
        let mut rates = Rates::new(0.001, 2.0);
        let now = Instant::now();
        rates.take("mallory", now).unwrap();
        rates.take("mallory", now).unwrap();
        for number in 0..10 * MANY {
            rates.take(&format!("made up {number}"), now).unwrap();
            if number % 1000 == 0 {
                assert!(rates.take("mallory", now).is_err(), "{number}");
            }
            assert!(rates.young.len() + rates.old.len() <= 2 * MANY + 1);
        }
    }
}
