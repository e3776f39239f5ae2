//! Which failed logins are written down one by one: a flood of them must not fill the disk.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::{identity::network, rate::Rates};

/// Counts failed logins. Those that are too many are not written down, and the next that is says
/// how many they were.
#[derive(Debug)]
pub(super) struct LoginFailures(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    by_address: Rates,
    all: Rates,
    unwritten: u64,
}

/// Failures of one network at once, and a second.
const FROM_ADDRESS: (f64, f64) = (200.0, 5.0);
/// Failures at once, and a second.
const ALL: (f64, f64) = (1000.0, 20.0);

impl Default for LoginFailures {
    fn default() -> Self {
        Self(Mutex::new(Counted {
            by_address: Rates::new(FROM_ADDRESS.1, FROM_ADDRESS.0),
            all: Rates::new(ALL.1, ALL.0),
            unwritten: 0,
        }))
    }
}

impl LoginFailures {
    /// Counts one from `address`: how many before it were not written down, or nothing when this
    /// one is not, either.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        let few = counted.by_address.take(&address, now).is_ok();
        if few && counted.all.take("", now).is_ok() {
            return Some(std::mem::take(&mut counted.unwritten));
        }
        counted.unwritten = counted.unwritten.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::{Duration, Instant},
    };

    use super::LoginFailures;

    #[test]
    fn a_flood_is_counted_and_the_next_failure_says_how_many_were_left_out() {
        let failures = LoginFailures::default();
        let now = Instant::now();
        let from = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
        let one = (0..300).filter(|_| failures.count(from(1), now).is_some());
        assert_eq!(one.count(), 200);
        // Somebody else's failure is written, and tells of it.
        assert_eq!(failures.count(from(2), now), Some(100));
        assert_eq!(failures.count(from(2), now), Some(0));
        let many = (3..5000).filter(|number| failures.count(from(*number), now).is_some());
        assert_eq!(many.count(), 1000 - 202);
        let later = now + Duration::from_secs(1);
        assert_eq!(failures.count(from(2), later), Some(4997 - 798));
    }
}
