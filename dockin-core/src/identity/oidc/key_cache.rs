use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{KeySet, SignedToken};

/// How long keys are kept, and how often the issuer may be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: what an operator may choose.
pub struct CachePolicy {
    /// Older keys still count, and are renewed meanwhile. 5 minutes: that long a key that the
    /// issuer took back goes on.
    pub fresh: Duration,
    /// Older keys do not count. 1 hour: that long an issuer may be away.
    pub usable: Duration,
    /// Between two questions to the issuer, whatever anybody sends. 10 seconds.
    pub between_fetches: Duration,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(5 * 60),
            usable: Duration::from_secs(60 * 60),
            between_fetches: Duration::from_secs(10),
        }
    }
}

/// Decides when the issuer is asked for its keys; asks nobody itself.
///
/// Before a fetch comes [`begin`](Self::begin), after a good one [`put`](Self::put).
#[derive(Debug)]
pub struct KeyCache {
    policy: CachePolicy,
    fetched: Option<(Instant, Arc<KeySet>)>,
    begun: Option<Instant>,
}

/// What to do for a token.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// These keys are it.
    Use(Arc<KeySet>),
    /// These keys are it; ask for newer ones meanwhile.
    UseAndRenew(Arc<KeySet>),
    /// Ask for keys first.
    Fetch,
    /// There are none, and it is too early to ask again.
    Unavailable {
        /// When it will be time.
        retry_in: Duration,
    },
}

impl KeyCache {
    /// Without keys.
    #[must_use]
    pub const fn new(policy: CachePolicy) -> Self {
        Self {
            policy,
            fetched: None,
            begun: None,
        }
    }

    /// What to do for `token`.
    #[must_use]
    pub fn lookup(&self, token: &SignedToken<'_>, now: Instant) -> Lookup {
        let wait = self.begun.map_or(Duration::ZERO, |begun| {
            self.policy
                .between_fetches
                .saturating_sub(now.saturating_duration_since(begun))
        });
        let Some((age, keys)) = self.usable(now) else {
            return if wait.is_zero() {
                Lookup::Fetch
            } else {
                Lookup::Unavailable { retry_in: wait }
            };
        };
        if !wait.is_zero() || (keys.knows(token) && age < self.policy.fresh) {
            Lookup::Use(Arc::clone(keys))
        } else if keys.knows(token) {
            Lookup::UseAndRenew(Arc::clone(keys))
        } else {
            Lookup::Fetch
        }
    }

    /// The issuer is asked now.
    pub fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
    }

    /// It answered.
    pub fn put(&mut self, keys: KeySet, now: Instant) {
        self.fetched = Some((now, Arc::new(keys)));
    }

    fn usable(&self, now: Instant) -> Option<(Duration, &Arc<KeySet>)> {
        let (at, keys) = self.fetched.as_ref()?;
        let age = now.saturating_duration_since(*at);
        (age < self.policy.usable).then_some((age, keys))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::{Duration, Instant};

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::{CachePolicy, KeyCache, KeySet, Lookup, SignedToken};

    fn keys(id: &str) -> KeySet {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": id });
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }

    fn token(id: &str) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#);
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
    }

    fn word(cache: &KeyCache, id: &str, now: Instant) -> &'static str {
        let token = token(id);
        match cache.lookup(&SignedToken::decode(&token).unwrap(), now) {
            Lookup::Use(_) => "use",
            Lookup::UseAndRenew(_) => "renew",
            Lookup::Fetch => "fetch",
            Lookup::Unavailable { .. } => "unavailable",
        }
    }

    #[test]
    fn the_issuer_is_asked_rarely_whatever_anybody_sends() {
        let mut cache = KeyCache::new(CachePolicy::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(word(&cache, "a", at(0)), "fetch");
        cache.begin(at(0));
        // Not answered: nobody asks again for ten seconds, and nobody gets in.
        assert_eq!(word(&cache, "a", at(9)), "unavailable");
        assert_eq!(word(&cache, "a", at(10)), "fetch");
        cache.begin(at(10));
        cache.put(keys("a"), at(11));
        assert_eq!(word(&cache, "a", at(12)), "use");
        // Made-up key ids: one question, then ten seconds without.
        assert_eq!(word(&cache, "x", at(19)), "use");
        assert_eq!(word(&cache, "x", at(20)), "fetch");
        cache.begin(at(20));
        assert_eq!(word(&cache, "y", at(29)), "use");
        cache.put(keys("b"), at(29));
        assert_eq!(word(&cache, "b", at(31)), "use");
        // The key that was rotated out is unknown now.
        assert_eq!(word(&cache, "a", at(31)), "fetch");
    }

    #[test]
    fn keys_are_renewed_when_old_and_do_not_count_when_very_old() {
        let mut cache = KeyCache::new(CachePolicy::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        cache.begin(at(0));
        cache.put(keys("a"), at(0));
        assert_eq!(word(&cache, "a", at(299)), "use");
        assert_eq!(word(&cache, "a", at(300)), "renew");
        // The issuer is away: the keys go on, asked for every ten seconds, until the hour is over.
        cache.begin(at(300));
        assert_eq!(word(&cache, "a", at(301)), "use");
        cache.begin(at(3595));
        assert_eq!(word(&cache, "a", at(3599)), "use");
        assert_eq!(word(&cache, "a", at(3600)), "unavailable");
        assert_eq!(word(&cache, "a", at(3605)), "fetch");
    }
}
