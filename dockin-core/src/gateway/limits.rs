use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Error, ErrorKind, rate::Rates};

/// What one person may ask of the gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
// Exhaustive: a configuration fills it.
pub struct RequestLimits {
    /// Requests a second in the long run; a program that lists and watches everything needs some
    /// tens.
    pub per_second: f64,
    /// Requests at once after a pause: kubectl asks for every API group when its cache is empty,
    /// which are some hundred.
    pub burst: f64,
    /// Requests whose answer has not ended, in one cluster: watches and followed logs above all.
    /// Each cluster counts alone, so that one that hangs takes nobody's place in another.
    pub open: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            per_second: 100.0,
            burst: 600.0,
            open: 400,
        }
    }
}

/// Counts the requests of each person.
#[derive(Debug)]
pub(super) struct Limiter {
    rates: Mutex<Rates>,
    most_open: usize,
    open: Arc<Mutex<Open>>,
}

/// How many requests are open, by person and cluster.
type Open = HashMap<Arc<(String, String)>, usize>;

/// A request that has not ended; its place is free again when this goes.
#[derive(Debug)]
pub(super) struct OpenRequest {
    open: Arc<Mutex<Open>>,
    key: Arc<(String, String)>,
}

impl Limiter {
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self {
            rates: Mutex::new(Rates::new(limits.per_second, limits.burst)),
            most_open: limits.open,
            open: Arc::default(),
        }
    }

    /// Counts a request of `user`.
    ///
    /// # Errors
    ///
    /// `Exhausted` with the time after which one more is taken.
    pub(super) fn count(&self, user: &str, now: Instant) -> Result<(), Error> {
        lock(&self.rates).take(user, now).map_err(|wait| {
            let message = format!("user `{user}` sends too many requests; send fewer, or wait");
            Error::new(ErrorKind::Exhausted, message).with_retry_after(wait)
        })
    }

    /// Takes a place for a request of `user` to `cluster` until the guard goes.
    ///
    /// # Errors
    ///
    /// `Exhausted` when he has as many already.
    pub(super) fn open(&self, user: &str, cluster: &str) -> Result<OpenRequest, Error> {
        let key = Arc::new((user.to_owned(), cluster.to_owned()));
        let mut all = lock(&self.open);
        let open = all.entry(Arc::clone(&key)).or_default();
        if *open >= self.most_open {
            let message = format!(
                "user `{user}` has {open} requests open in cluster `{cluster}`; end some of them"
            );
            let error = Error::new(ErrorKind::Exhausted, message);
            return Err(error.with_retry_after(Duration::from_secs(1)));
        }
        *open += 1;
        drop(all);
        Ok(OpenRequest {
            open: Arc::clone(&self.open),
            key,
        })
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut all = lock(&self.open);
        if let Some(open) = all.get_mut(&self.key) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                all.remove(&self.key);
            }
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::{Duration, Instant};

    use super::{Limiter, RequestLimits};
    use crate::ErrorKind;

    const LIMITS: RequestLimits = RequestLimits {
        per_second: 10.0,
        burst: 3.0,
        open: 2,
    };

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let limiter = Limiter::new(LIMITS);
        let now = Instant::now();
        for _ in 0..3 {
            limiter.count("alice", now).unwrap();
        }
        let error = limiter.count("alice", now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(100)));
        limiter.count("bob", now).unwrap();
        let later = now + Duration::from_millis(100);
        limiter.count("alice", later).unwrap();
        assert!(limiter.count("alice", later).is_err());
    }

    #[test]
    fn a_cluster_that_hangs_takes_no_place_in_another() {
        let limiter = Limiter::new(LIMITS);
        let held = limiter.open("alice", "slow").unwrap();
        let _other = limiter.open("alice", "slow").unwrap();
        assert!(limiter.open("alice", "slow").is_err());
        limiter.open("alice", "quick").unwrap();
        limiter.open("bob", "slow").unwrap();
        drop(held);
        limiter.open("alice", "slow").unwrap();
    }
}
