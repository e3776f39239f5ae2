use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How often something may happen for each key: `burst` times at once, `per_second` in the long
/// run. A token bucket for each.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: f64,
    burst: f64,
    buckets: HashMap<String, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Keys remembered before those that have rested are forgotten.
const MANY: usize = 4096;

impl Rates {
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            buckets: HashMap::new(),
        }
    }

    /// Counts once for `key`.
    ///
    /// # Errors
    ///
    /// How long until it may be counted again.
    pub(crate) fn take(&mut self, key: &str, now: Instant) -> Result<(), Duration> {
        let (per_second, burst) = (self.per_second, self.burst);
        if self.buckets.len() >= MANY {
            self.buckets
                .retain(|_, bucket| bucket.filled(now, per_second) < burst);
        }
        let bucket = self.buckets.entry(key.to_owned()).or_insert(Bucket {
            tokens: burst,
            at: now,
        });
        bucket.tokens = bucket.filled(now, per_second).min(burst);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::try_from_secs_f64((1.0 - bucket.tokens) / per_second);
        Err(wait.unwrap_or(Duration::from_secs(60)))
    }

    /// Takes back what was counted for `key`: it was not what is rare.
    pub(crate) fn give_back(&mut self, key: &str) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.burst);
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

    use super::Rates;

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
}
