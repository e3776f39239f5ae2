use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    AccountFile, AccountRecord, Authenticator, CheckedPeople, Credentials, KnownPerson, Principal,
    Proof,
    records::{self, Followed, Records},
};
use crate::{Error, ErrorKind, audit::read_secret, store::Store};

/// Tokens that somebody gets for logging in: short-lived, signed, and worthless once revoked.
///
/// A token is `dks_`, then the claims as JSON and an Ed25519 signature over what is before it,
/// both in base64url with a dot between. It names its account, or its person of the directory;
/// groups and tenant are those that the account has when the token is shown, so that who is taken
/// out of a group is out of it at once. Those of a directory are as old as [`CheckedPeople`] lets
/// them be.
#[derive(Debug)]
pub struct SessionTokens {
    key: SigningKey,
    audience: String,
    lifetime: Duration,
    accounts: Arc<AccountFile>,
    directory: Option<Arc<CheckedPeople>>,
    revoked: Followed<Revoked>,
    /// Where other gateways look for what was revoked here.
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
        accounts: Arc<AccountFile>,
    ) -> Result<Self, Error> {
        let key = directory.join("session.key");
        let seed = match read_secret(&key, "session key") {
            Err(error) if error.kind() == ErrorKind::NotFound => make_key(&key)?,
            read => read?,
        };
        let revoked = directory.join("revoked.yaml");
        if !revoked.exists() {
            records::edit(&revoked, |_: &mut Document| Ok(()))?;
        }
        Ok(Self {
            key: SigningKey::from_bytes(&seed),
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

    /// Keeps what is revoked in `store`, which gateways with the same signing key share. While it
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
    /// `Misuse` when the lifetime leaves the calendar.
    pub fn issue(&self, person: &KnownPerson, now: Timestamp) -> Result<IssuedToken, Error> {
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
        let signed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(claims_json));
        let signature = self.key.sign(signed.as_bytes());
        Ok(IssuedToken {
            token: format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())),
            id: claims.jti,
            expires: Timestamp::from_second(exp).map_err(|_| long())?,
        })
    }

    /// Makes `token` worthless; gives its id. One that proves nothing anyway may be revoked, too.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` when it is none of ours; `Unavailable` when the list cannot be written.
    pub async fn revoke(&self, token: &str, now: Timestamp) -> Result<String, Error> {
        let claims = self.claims(token)?;
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
        let claims = self.claims(token)?;
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
        if self.revoked.current().await.contains_key(&claims.jti) {
            return Err(refused("the session was ended; log in again"));
        }
        if let Some(store) = &self.store {
            let issued = Timestamp::from_millisecond(claims.issued).unwrap_or(Timestamp::MIN);
            if store.is_session_revoked(&claims.jti, issued).await? {
                return Err(refused("the session was ended; log in again"));
            }
        }
        if let Some(entry) = &claims.directory {
            return self.of_directory(&claims.sub, entry).await;
        }
        let account = self.accounts.find(&claims.sub).await;
        let ended = |account: &AccountRecord| {
            account
                .sessions_from
                .is_some_and(|from| claims.issued < from.as_millisecond())
        };
        match account {
            Some(account) if !ended(&account) => Ok(account.principal(Proof::Session)),
            _ => Err(refused("the session was ended; log in again")),
        }
    }

    async fn of_directory(&self, user: &str, entry: &Entry) -> Result<Arc<Principal>, Error> {
        let ended = || refused("the session was ended; log in again");
        let directory = self.directory.as_ref().ok_or_else(ended)?;
        if self.accounts.has(user).await {
            return Err(ended());
        }
        let person = directory.find(&entry.login).await?;
        let same = person.filter(|person| person.user == user && person.id == entry.id);
        let person = same.ok_or_else(ended)?;
        Ok(person.principal(Proof::Session))
    }

    fn claims(&self, token: &str) -> Result<Claims, Error> {
        let forged = || refused("the session token is not one of this gateway");
        if token.len() > MAX_TOKEN {
            return Err(forged());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(forged)?;
        let claims = signed.strip_prefix(PREFIX).ok_or_else(forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| forged())?;
        let signature = Signature::from_slice(&signature).map_err(|_| forged())?;
        let key = self.key.verifying_key();
        // Nothing inside is looked at before.
        key.verify_strict(signed.as_bytes(), &signature)
            .map_err(|_| forged())?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| forged())?;
        serde_json::from_slice(&claims).map_err(|_| forged())
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
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, why)
}

fn make_key(path: &Path) -> Result<[u8; 32], Error> {
    let unavailable = |error: std::io::Error| {
        let message = format!("session key `{}` cannot be made", path.display());
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no random bytes")
            .with_source(error.to_string())
    })?;
    let digits: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut fresh = PathBuf::from(path);
    fresh.set_extension("key.new");
    // Half a key from a crash is no key.
    let _none = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(unavailable)?;
    file.write_all(format!("{digits}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(unavailable)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{
        path::Path,
        sync::Arc,
        time::{Duration, Instant},
    };

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jiff::{SignedDuration, Timestamp};

    use super::{AccountFile, CheckedPeople, KnownPerson, SessionTokens};
    use crate::{
        ErrorKind,
        identity::{Passwords, Proof, directory::tests::One, records::RELOAD_EVERY},
    };

    const PASSWORD: &str = "correct horse battery";

    fn accounts(folder: &Path) -> Arc<AccountFile> {
        let path = folder.join("accounts.yaml");
        let groups = ["dev".to_owned()];
        AccountFile::put(&path, "alice", &groups, Some("acme"), PASSWORD).unwrap();
        Arc::new(AccountFile::load(path).unwrap())
    }

    fn tokens(folder: &Path, audience: &str, accounts: &Arc<AccountFile>) -> SessionTokens {
        let hour = Duration::from_secs(3600);
        SessionTokens::open(folder, audience, hour, Arc::clone(accounts)).unwrap()
    }

    #[tokio::test]
    async fn a_session_stands_for_its_account_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path());
        let tokens = tokens(folder.path(), "gate", &accounts);
        let now = Timestamp::now();
        let passwords = Passwords::new(Arc::clone(&accounts));
        let here = std::net::IpAddr::from([127, 0, 0, 1]);
        let account = passwords.login("alice", PASSWORD, here, Instant::now());
        let account = account.await.unwrap();
        let issued = tokens.issue(&account, now).unwrap();
        let principal = tokens.principal(&issued.token, now).await.unwrap();
        assert_eq!(
            (principal.user.as_str(), principal.proof),
            ("alice", Proof::Session)
        );
        assert_eq!(
            (principal.groups.as_slice(), principal.tenant.as_deref()),
            (&["dev".to_owned()][..], Some("acme"))
        );
        // Another gateway that shares the directory knows it, too.
        let other = self::tokens(folder.path(), "gate", &accounts);
        assert!(other.principal(&issued.token, now).await.is_ok());

        let told = async |token: &str, at| {
            let error = tokens.principal(token, at).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            error.to_string()
        };
        assert_eq!(
            told(&issued.token, issued.expires).await,
            "the session has expired; log in again"
        );
        let early = now - SignedDuration::from_mins(10);
        assert!(told(&issued.token, early).await.contains("future"));
        let second = tokens.issue(&account, now).unwrap();
        assert_eq!(tokens.revoke(&issued.token, now).await.unwrap(), issued.id);
        assert_eq!(
            told(&issued.token, now).await,
            "the session was ended; log in again"
        );
        assert!(tokens.principal(&second.token, now).await.is_ok());
        // Every session of the account ends with another password, and with the account.
        let later = now + SignedDuration::from_secs(2);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        AccountFile::end_sessions(accounts.path(), "alice").unwrap();
        tokio::time::sleep(RELOAD_EVERY).await;
        assert!(told(&second.token, later).await.contains("was ended"));
        let third = tokens.issue(&account, later).unwrap();
        assert!(tokens.principal(&third.token, later).await.is_ok());
        AccountFile::remove(accounts.path(), "alice").unwrap();
        tokio::time::sleep(RELOAD_EVERY).await;
        assert!(told(&third.token, later).await.contains("was ended"));
    }

    #[tokio::test]
    async fn a_session_of_the_directory_follows_what_the_directory_says() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path());
        let directory = One::knowing("dora", "d.smith");
        let people = Arc::new(CheckedPeople::new(directory.clone(), Duration::ZERO));
        let alone = tokens(folder.path(), "gate", &accounts);
        let tokens = tokens(folder.path(), "gate", &accounts).with_directory(people.clone());
        let now = Timestamp::now();
        let person = people.check("d.smith", "right").await.unwrap().unwrap();
        let token = tokens
            .issue(&KnownPerson::Directory(person), now)
            .unwrap()
            .token;
        let dora = tokens.principal(&token, now).await.unwrap();
        assert_eq!((dora.user.as_str(), dora.proof), ("dora", Proof::Session));
        assert_eq!(dora.groups, ["dev"]);
        let change = |change: fn(&mut super::super::DirectoryPerson)| {
            change(directory.person.lock().unwrap().as_mut().unwrap());
        };
        change(|person| person.groups = vec!["ops".to_owned()]);
        assert_eq!(tokens.principal(&token, now).await.unwrap().groups, ["ops"]);
        let ended = async |tokens: &SessionTokens| {
            let error = tokens.principal(&token, now).await.unwrap_err();
            assert_eq!(error.message(), "the session was ended; log in again");
        };
        ended(&alone).await;
        // Somebody else has got the name.
        change(|person| person.id = "2".to_owned());
        ended(&tokens).await;
        change(|person| person.id = "1".to_owned());
        assert!(tokens.principal(&token, now).await.is_ok());
        *directory.away.lock().unwrap() = true;
        let error = tokens.principal(&token, now).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        *directory.away.lock().unwrap() = false;
        *directory.person.lock().unwrap() = None;
        ended(&tokens).await;
    }

    #[tokio::test]
    async fn forged_tokens_and_those_of_others_prove_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path());
        let ours = tokens(folder.path(), "gate", &accounts);
        let wrong_key = tokens(elsewhere.path(), "gate", &accounts);
        let wrong_audience = tokens(folder.path(), "other", &accounts);
        let now = Timestamp::now();
        let account = KnownPerson::Account(accounts.find("alice").await.unwrap());
        let issued = ours.issue(&account, now).unwrap();
        let (signed, signature) = issued.token.rsplit_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD
            .decode(signed.trim_start_matches("dks_"))
            .unwrap();
        let claims = String::from_utf8(claims).unwrap().replace("alice", "admin");
        let renamed = format!("dks_{}.{signature}", URL_SAFE_NO_PAD.encode(claims));
        let unsigned = format!("{signed}.");
        for (token, words) in [
            (
                wrong_key.issue(&account, now).unwrap().token,
                "not one of this gateway",
            ),
            (
                wrong_audience.issue(&account, now).unwrap().token,
                "another gateway",
            ),
            (renamed, "not one of this gateway"),
            (unsigned, "not one of this gateway"),
            (signed.to_owned(), "not one of this gateway"),
            (format!("{}A", issued.token), "not one of this gateway"),
            (
                issued.token.replacen("dks_", "dkx_", 1),
                "not one of this gateway",
            ),
            ("dks_.".to_owned(), "not one of this gateway"),
            (
                format!("dks_{}", "A".repeat(10_000)),
                "not one of this gateway",
            ),
        ] {
            let error = ours.principal(&token, now).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.message().contains(words), "{token}: {error}");
            assert!(!error.chain().contains(signature));
        }
    }

    #[tokio::test]
    async fn floods_of_logins_wait_and_names_are_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path());
        let now = Instant::now();
        let passwords = Passwords::new(accounts);
        let login = async |user: &str, password: &str, address: &str, now| {
            let address = address.parse().unwrap();
            passwords.login(user, password, address, now).await
        };
        // What is right is not counted.
        for _ in 0..7 {
            login("alice", PASSWORD, "192.0.2.1", now).await.unwrap();
        }
        let wrong = login("alice", "wrong", "192.0.2.1", now).await.unwrap_err();
        let unknown = login("mallory", "wrong", "192.0.2.1", now)
            .await
            .unwrap_err();
        assert_eq!(wrong.to_string(), unknown.to_string());
        for _ in 0..4 {
            let error = login("alice", "wrong", "192.0.2.2", now).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        }
        // Also the right one waits then: there is no telling them apart.
        let error = login("alice", PASSWORD, "192.0.2.3", now)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        let wait = error.retry_after().unwrap();
        assert!(wait <= Duration::from_secs(12), "{wait:?}");
        login("alice", PASSWORD, "192.0.2.3", now + wait)
            .await
            .unwrap();
        // From one address, whatever the names.
        let mut exhausted = 0;
        for number in 0..25 {
            let error = login(&format!("user{number}"), "wrong", "192.0.2.9", now).await;
            exhausted += usize::from(error.unwrap_err().kind() == ErrorKind::Exhausted);
        }
        assert_eq!(exhausted, 5);
        assert!(
            login("alice", &"x".repeat(5000), "192.0.2.4", now + wait)
                .await
                .is_err()
        );
    }

    #[test]
    fn weak_passwords_and_bad_names_make_no_account() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.yaml");
        for (user, password) in [("alice", "short"), ("a b", PASSWORD), ("", PASSWORD)] {
            let error = AccountFile::put(&path, user, &[], None, password).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{user}");
        }
        AccountFile::put(&path, "alice", &[], None, PASSWORD).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        std::fs::write(&path, text.replace("argon2id", "argon2d")).unwrap();
        let error = AccountFile::load(&path).unwrap_err();
        assert!(error.message().contains("argon2id"), "{error}");
    }
}
