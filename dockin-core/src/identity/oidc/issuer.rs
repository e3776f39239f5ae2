use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::Timestamp;

use super::{
    CachePolicy, Discovery, KeyCache, KeySet, Lookup, OidcIdentity, OidcSettings, SignedToken,
    TokenError, TokenRules,
    https::{HttpsClient, HttpsUrl},
};
use crate::{Error, ErrorKind, identity::provider::client_config};

/// An issuer whose bearer tokens prove people.
///
/// Its keys are fetched when the first token comes, kept, and renewed; a token with a key id that
/// is not known makes it ask again, but not more often than [`CachePolicy`] says. While the issuer
/// cannot be reached, known keys count for an hour; after that nobody gets in.
#[derive(Clone, Debug)]
pub struct OidcIssuer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rules: TokenRules,
    issuer: HttpsUrl,
    client: HttpsClient,
    cache: Mutex<KeyCache>,
    /// One question at a time; who waited looks again before he asks.
    asking: tokio::sync::Mutex<()>,
}

impl OidcIssuer {
    /// The issuer that `settings` name. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// `Misuse` when the settings cannot be used or their file of authorities not be read.
    pub fn new(settings: OidcSettings) -> Result<Self, Error> {
        Self::with_policy(settings, CachePolicy::default())
    }

    /// The same, with other times for the keys.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_policy(settings: OidcSettings, policy: CachePolicy) -> Result<Self, Error> {
        let client = HttpsClient::new(client_config(settings.certificate_authority.as_deref())?);
        let rules = TokenRules::new(settings)?;
        let issuer = HttpsUrl::parse(&rules.settings().issuer)
            .map_err(|error| Error::new(ErrorKind::Misuse, format!("`issuer` {error}")))?;
        Ok(Self {
            inner: Arc::new(Inner {
                rules,
                issuer,
                client,
                cache: Mutex::new(KeyCache::new(policy)),
                asking: tokio::sync::Mutex::new(()),
            }),
        })
    }

    /// Whether `token` says that it is of this issuer, so that another authenticator need not be
    /// asked about it. Proves nothing.
    #[must_use]
    pub fn is_of(&self, token: &str) -> bool {
        let issuer = &self.inner.rules.settings().issuer;
        SignedToken::claimed_issuer(token).is_some_and(|claimed| claimed == *issuer)
    }

    /// Who `token` stands for at `now`.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` when it stands for nobody; `Unavailable` when that cannot be known
    /// because the issuer's keys are not there. Nothing of the token is in the message.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Result<OidcIdentity, Error> {
        let token = SignedToken::decode(token).map_err(refused)?;
        self.verify(&token, now).await
    }

    pub(super) async fn verify(
        &self,
        token: &SignedToken<'_>,
        now: Timestamp,
    ) -> Result<OidcIdentity, Error> {
        let inner = &self.inner;
        inner.rules.check(token, now).map_err(refused)?;
        let keys = self.keys_for(token).await?;
        let verified = keys.verify(token).map_err(refused)?;
        inner.rules.identity(&verified, now).map_err(refused)
    }

    pub(super) async fn discover(&self) -> Result<Discovery, Error> {
        self.inner.discover().await
    }

    pub(super) fn client(&self) -> &HttpsClient {
        &self.inner.client
    }

    async fn keys_for(&self, token: &SignedToken<'_>) -> Result<Arc<KeySet>, Error> {
        let inner = &self.inner;
        // The guard ends with this line: what follows takes the lock again.
        let lookup = inner.cache().lookup(token, Instant::now());
        match lookup {
            Lookup::Use(keys) => return Ok(keys),
            Lookup::UseAndRenew(keys) => {
                self.renew();
                return Ok(keys);
            }
            Lookup::Fetch | Lookup::Unavailable { .. } => {}
        }
        let _turn = inner.asking.lock().await;
        // Whoever had the turn before may have got what this token needs.
        let lookup = inner.cache().lookup(token, Instant::now());
        match lookup {
            Lookup::Use(keys) | Lookup::UseAndRenew(keys) => Ok(keys),
            Lookup::Fetch => inner.fetch().await,
            Lookup::Unavailable { retry_in } => {
                let message = format!(
                    "the keys of the identity provider at `{}` are not known; try again in {} s",
                    inner.issuer,
                    retry_in.as_secs().saturating_add(1)
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Fetches keys behind the back of the request that found them old.
    fn renew(&self) {
        let inner = Arc::clone(&self.inner);
        inner.cache().begin(Instant::now());
        tokio::spawn(async move {
            // Whoever has the turn is fetching already.
            let Ok(_turn) = inner.asking.try_lock() else {
                return;
            };
            // `fetch` tells the log itself.
            let _told = inner.fetch().await;
        });
    }
}

impl Inner {
    async fn discover(&self) -> Result<Discovery, Error> {
        let settings = self.rules.settings();
        let address = Discovery::address(&self.issuer)
            .map_err(|error| Error::new(ErrorKind::Misuse, format!("`issuer` {error}")))?;
        let document = self.client.fetch(&address).await?;
        Discovery::parse(&settings.issuer, &document).map_err(|error| self.strange(error))
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, Error> {
        self.cache().begin(Instant::now());
        let fetched = async {
            let discovery = self.discover().await?;
            let document = self.client.fetch(&discovery.keys).await?;
            KeySet::parse(&document).map_err(|error| self.strange(error))
        };
        match fetched.await {
            Ok(keys) => {
                tracing::debug!(issuer = %self.issuer, ?keys, "keys fetched");
                self.cache().put(keys.clone(), Instant::now());
                Ok(Arc::new(keys))
            }
            Err(error) => {
                tracing::warn!(issuer = %self.issuer, error = %error.chain(), "no keys");
                Err(error)
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strange(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        let message = format!("the identity provider at `{}` cannot be used", self.issuer);
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    }
}

pub(super) fn refused(error: TokenError) -> Error {
    Error::new(ErrorKind::Unauthenticated, error.to_string())
}
