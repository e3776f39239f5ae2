use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    AccountRecord, Accounts, Authenticator, Basis, CheckedPeople, Credentials, KnownPerson,
    Principal, Proof,
    records::{self, Followed, Records},
    session_key::{SessionKey, is_id, public_key},
};
use crate::{Error, ErrorKind, store::Store};

/// Tokens that somebody gets for logging in: short-lived, signed, and worthless once revoked.
///
/// A token is `dks_`, then the id of the key that signed it, the claims as JSON and an Ed25519
/// signature over what is before it, both in base64url, with dots between. It names its account, or its person of the directory;
/// groups and tenant are those that the account has when the token is shown, so that who is taken
/// out of a group is out of it at once. Those of a directory are as old as [`CheckedPeople`] lets
/// them be.
///
/// With a store each gateway has a key of its own. It puts the public one into the store for as long
/// as a token that it signed may be good, and there the others find it by its id.
#[derive(Debug)]
pub struct SessionTokens {
    key: SessionKey,
    audience: String,
    lifetime: Duration,
    accounts: Arc<Accounts>,
    directory: Option<Arc<CheckedPeople>>,
    revoked: Followed<Revoked>,
    /// Where gateways look for what was revoked elsewhere, and for each other's keys.
    store: Option<Arc<dyn Store>>,
}

/// A token and what it is good for.
#[derive(Clone)]
pub struct IssuedToken {
    /// The token itself: nobody can read it again.
    pub token: String,
    /// Identifies it in the audit trail.
    pub id: String,
    /// From when on it proves nothing.
    pub expires: Timestamp,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    /// Identifies the token.
    jti: String,
    /// Account, or user name of the directory's person.
    sub: String,
    /// The person, when he is of the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<Entry>,
    /// Whom it is for: one gateway, or several that share their keys and lists.
    aud: String,
    /// When it was issued, milliseconds since the epoch: a session that is ended in the second
    /// in which it began is ended.
    issued: i64,
    /// From when on it proves nothing.
    exp: i64,
}

/// By what a person of the directory is found again, and known to be the same.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    login: String,
    id: String,
}

/// Ids of tokens that were revoked, each with the time from which on it is worthless anyway.
type Revoked = BTreeMap<String, i64>;

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    revoked: Revoked,
}

impl Records for Document {
    const WHAT: &'static str = "file of revoked tokens";
    const MAKER: &'static str = "the gateway makes it";
    const SHAPE: &'static str = "revoked: { ID: SECONDS }";
    const HEADER: &'static str = "# Written by `dockin-opserver`; has ids only, never a token.\n";

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What who shows a session token hears that was good once.
const ENDED: &str = "the session was ended; log in again";
/// What a session token begins with.
const PREFIX: &str = "dks_";
/// Longest token worth looking at, in bytes.
const MAX_TOKEN: usize = 2048;
/// How far the clocks of two gateways may be apart, in seconds.
const SKEW: i64 = 30;

impl SessionTokens {
    /// Tokens for `audience` that last `lifetime`, of the accounts in `accounts`. `directory` has
    /// the signing key and the list of revoked tokens; both are made when they are not there.
    ///
    /// # Errors
    ///
    /// `Misuse` when others may read the key, or one of the files is none; `Unavailable` when they
    /// can neither be read nor made.
    pub fn open(
        directory: &Path,
        audience: impl Into<String>,
        lifetime: Duration,
        accounts: Arc<Accounts>,
    ) -> Result<Self, Error> {
        let key = SessionKey::open(&directory.join("session.key"))?;
        let revoked = directory.join("revoked.yaml");
        if !revoked.exists() {
            records::edit(&revoked, |_: &mut Document| Ok(()))?;
        }
        Ok(Self {
            key,
            audience: audience.into(),
            lifetime,
            accounts,
            directory: None,
            revoked: Followed::load(revoked, |path| {
                records::read(path).map(|document: Document| document.revoked)
            })?,
            store: None,
        })
    }

    /// Keeps what is revoked in `store`, and accepts tokens of the gateways that share it. While it
    /// does not answer no token proves anything: what was revoked is not remembered here.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Lets people of `directory` have sessions.
    #[must_use]
    pub fn with_directory(mut self, directory: Arc<CheckedPeople>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// A token for `person`, who has just shown his password.
    ///
    /// # Errors
    ///
    /// `Misuse` when the lifetime leaves the calendar; `Unavailable` when the other gateways cannot
    /// be told by which key it is signed.
    pub async fn issue(&self, person: &KnownPerson, now: Timestamp) -> Result<IssuedToken, Error> {
        let long = || {
            Error::new(
                ErrorKind::Misuse,
                "the lifetime of session tokens is too long",
            )
        };
        let lifetime = i64::try_from(self.lifetime.as_secs()).map_err(|_| long())?;
        let exp = now.as_second().checked_add(lifetime).ok_or_else(long)?;
        let claims = Claims {
            jti: Uuid::now_v7().to_string(),
            sub: person.user().to_owned(),
            directory: match person {
                KnownPerson::Account(_) => None,
                KnownPerson::Directory(person) => Some(Entry {
                    login: person.login.clone(),
                    id: person.id.clone(),
                }),
            },
            aud: self.audience.clone(),
            issued: now.as_millisecond(),
            exp,
        };
        let claims_json = serde_json::to_vec(&claims).map_err(|error| {
            Error::new(ErrorKind::Misuse, "the claims of a token").with_source(error)
        })?;
        let expires = Timestamp::from_second(exp).map_err(|_| long())?;
        if let Some(store) = &self.store {
            let (id, public) = (self.key.id(), self.key.public());
            store.publish_signer(id, &public, expires).await?;
        }
        let claims_text = URL_SAFE_NO_PAD.encode(claims_json);
        let signed = format!("{PREFIX}{}.{claims_text}", self.key.id());
        let signature = self.key.sign(signed.as_bytes());
        Ok(IssuedToken {
            token: format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())),
            id: claims.jti,
            expires,
        })
    }

    /// Makes `token` worthless; gives its id. One that proves nothing anyway may be revoked, too.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` when it is none of ours; `Unavailable` when the list cannot be written.
    pub async fn revoke(&self, token: &str, now: Timestamp) -> Result<String, Error> {
        let claims = self.claims(token).await?;
        if let Some(store) = &self.store {
            let until = Timestamp::from_second(claims.exp).unwrap_or(now);
            store.revoke_session(&claims.jti, until).await?;
            return Ok(claims.jti);
        }
        let (path, id, until) = (
            self.revoked.path().to_owned(),
            claims.jti.clone(),
            claims.exp,
        );
        let edit = tokio::task::spawn_blocking(move || {
            records::edit(&path, |document: &mut Document| {
                document
                    .revoked
                    .retain(|_, until| *until + SKEW > now.as_second());
                document.revoked.insert(id, until);
                Ok(())
            })
        });
        edit.await.unwrap_or_else(|error| {
            Err(
                Error::new(ErrorKind::Unavailable, "the token cannot be revoked")
                    .with_source(error),
            )
        })?;
        self.revoked.look().await;
        Ok(claims.jti)
    }

    /// Whom `token` stands for at `now`.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` and why: forged, for another audience, expired, revoked, or of an account
    /// that is gone or disabled or has ended its sessions, or of a person who is gone from the
    /// directory; `Unavailable` when the directory, or the store that has what was revoked, does
    /// not answer.
    pub async fn principal(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, Error> {
        let claims = self.claims(token).await?;
        if claims.aud != self.audience {
            return Err(refused("the session token is for another gateway"));
        }
        if claims.exp <= now.as_second() {
            return Err(refused("the session has expired; log in again"));
        }
        if claims.issued > now.as_millisecond() + SKEW * 1000 {
            return Err(refused(
                "the session token is from the future; set the clocks",
            ));
        }
        let issued = Timestamp::from_millisecond(claims.issued).unwrap_or(Timestamp::MIN);
        if self.is_revoked(&claims.jti, issued).await? {
            return Err(refused(ENDED));
        }
        let principal = match &claims.directory {
            Some(entry) => self.of_directory(&claims.sub, entry, issued).await?,
            None => self.of_account(&claims.sub, issued).await?,
        };
        let principal = principal.ok_or_else(|| refused(ENDED))?;
        let mut principal = Arc::unwrap_or_clone(principal);
        principal.basis = Some(Basis::Session {
            id: claims.jti,
            entry: claims.directory.map(|entry| (entry.login, entry.id)),
        });
        Ok(Arc::new(principal))
    }

    /// Whom a session of an account stands for that began at `began`; nobody when it has ended.
    async fn of_account(
        &self,
        user: &str,
        began: Timestamp,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let account = self.accounts.find(user).await?;
        let ended = |account: &AccountRecord| {
            account
                .sessions_from
                .is_some_and(|from| began < whole(from))
        };
        let account = account.filter(|account| !ended(account));
        Ok(account.map(|account| account.principal(Proof::Session)))
    }

    /// The same for a person of the directory.
    async fn of_directory(
        &self,
        user: &str,
        entry: &Entry,
        began: Timestamp,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let from = self.accounts.ended_from(user).await?;
        if self.accounts.has(user).await? || from.is_some_and(|from| began < whole(from)) {
            return Ok(None);
        }
        let person = directory.find(&entry.login).await?;
        let same = person.filter(|person| person.user == user && person.id == entry.id);
        Ok(same.map(|person| person.principal(Proof::Session)))
    }

    /// Whether the session token `id`, issued at `issued`, was revoked.
    async fn is_revoked(&self, id: &str, issued: Timestamp) -> Result<bool, Error> {
        if self.revoked.current().await.contains_key(id) {
            return Ok(true);
        }
        match &self.store {
            Some(store) => store.is_session_revoked(id, issued).await,
            None => Ok(false),
        }
    }

    async fn claims(&self, token: &str) -> Result<Claims, Error> {
        let forged = || refused("the session token is not one of this gateway");
        if token.len() > MAX_TOKEN {
            return Err(forged());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| forged())?;
        let signature = Signature::from_slice(&signature).map_err(|_| forged())?;
        let rest = signed.strip_prefix(PREFIX).ok_or_else(forged)?;
        let (id, claims) = rest.split_once('.').ok_or_else(forged)?;
        let key = self.signer(id).await?.ok_or_else(forged)?;
        // Nothing inside is looked at before.
        key.verify_strict(signed.as_bytes(), &signature)
            .map_err(|_| forged())?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| forged())?;
        serde_json::from_slice(&claims).map_err(|_| forged())
    }

    /// The key `id`: this gateway's, or that of one beside it. It is not remembered: a key that is
    /// taken out of the store signs no more.
    async fn signer(&self, id: &str) -> Result<Option<VerifyingKey>, Error> {
        if id == self.key.id() {
            return Ok(Some(self.key.verifying()));
        }
        let Some(store) = self.store.as_ref().filter(|_| is_id(id)) else {
            return Ok(None);
        };
        let found = store.signer(id).await?;
        Ok(found.and_then(|text| public_key(id, &text)))
    }
}

#[async_trait]
impl Authenticator for SessionTokens {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        match &credentials.bearer {
            Some(token) if token.starts_with(PREFIX) => {
                self.principal(token, Timestamp::now()).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn ended(
        &self,
        principal: &Principal,
        since: Timestamp,
    ) -> Result<Option<String>, Error> {
        let user = principal.impersonator.as_ref().unwrap_or(&principal.user);
        let from = self.accounts.ended_from(user).await?;
        if from.is_some_and(|from| since < from) {
            return Ok(Some(format!("the sessions of `{user}` were ended")));
        }
        let Some(Basis::Session { id, entry }) = &principal.basis else {
            return Ok(None);
        };
        // A store that has lost its memory is no reason: who is in stays in.
        if self.is_revoked(id, Timestamp::MAX).await? {
            return Ok(Some("its person logged out".to_owned()));
        }
        let stands = match entry {
            None => self.of_account(user, since).await?,
            Some((login, id)) => {
                let entry = Entry {
                    login: login.clone(),
                    id: id.clone(),
                };
                self.of_directory(user, &entry, since).await?
            }
        };
        Ok(stands
            .is_none()
            .then(|| format!("`{user}` is gone from who may log in")))
    }
}

/// As precise as tokens are: milliseconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, why)
}

#[cfg(test)]
mod tests;
