use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

#[cfg(feature = "gateway")]
use super::Accounts;
use super::{
    Authenticator, Basis, Credentials, Principal, Proof,
    records::{self, Followed, Records, check_name, whole_seconds},
};
#[cfg(feature = "gateway")]
use crate::store::Store;
use crate::{Error, ErrorKind, hex::hex};

/// A fresh bearer token: `dk_` and 32 random bytes in base64url. Only its hash is ever stored.
///
/// # Errors
///
/// `Unavailable` when the system has no randomness to give.
pub fn new_token() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no random bytes")
            .with_source(error.to_string())
    })?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// SHA-256 of `token` in lower-case hex, as [`TokenRecord::token_sha256`] has it.
///
/// A plain hash is enough because a token has 256 random bits: there is nothing to guess.
#[must_use]
pub fn hash_token(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// One token of a [`TokenFile`]. A user may have several.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Whose it is.
    pub user: String,
    /// His groups; those of his account, for a personal token.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What [`hash_token`] makes of it.
    pub token_sha256: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it proves nothing; never, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Identifies a personal token, which its owner made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<String>,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A personal token that has just been made.
#[derive(Clone)]
pub struct NewToken {
    /// The token itself: nobody can read it again.
    pub token: String,
    /// What is known of it from now on.
    pub record: TokenRecord,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    users: Vec<TokenRecord>,
}

impl Records for Document {
    const WHAT: &'static str = "token file";
    const MAKER: &'static str = "`dockin-opserver token add` makes it";
    const SHAPE: &'static str = "users: [ { user, groups, token_sha256, created, expires } ]";
    const HEADER: &'static str =
        "# Written by `dockin-opserver token`; has hashes only, never a token.\n";

    fn check(&self) -> Result<(), String> {
        let mut hashes = std::collections::HashSet::new();
        for record in &self.users {
            check_name(&record.user)?;
            for group in &record.groups {
                check_name(group)?;
            }
            let (user, hash) = (&record.user, &record.token_sha256);
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if hash.len() != 64 || !hash.bytes().all(hex) {
                return Err(format!(
                    "`token_sha256` of user `{user}` is not 64 lower-case hex digits"
                ));
            }
            if !hashes.insert(hash) {
                return Err(format!("user `{user}` has a token that is given twice"));
            }
        }
        Ok(())
    }
}

/// Bearer tokens from a YAML file: `users: [ { user, groups, token_sha256, created, expires } ]`.
///
/// Those that an operator makes carry their groups. Personal tokens are made by people who have
/// logged in: they are bounded in number and time, and stand for the account of their owner, with
/// the groups it has when they are shown.
///
/// Changes of the file are seen within a quarter of a second, whole or not at all: while the file
/// cannot be read, or has one bad record, the tokens of before stay in force and a warning says so.
///
/// A token is found by the SHA-256 of it, so how long a comparison takes tells nothing about it.
#[derive(Debug)]
pub struct TokenFile {
    tokens: Followed<Tokens>,
    #[cfg(feature = "gateway")]
    accounts: Option<Arc<Accounts>>,
    /// Where other gateways look for personal tokens that are made here.
    #[cfg(feature = "gateway")]
    store: Option<Arc<dyn Store>>,
}

/// Tokens by their hash.
type Tokens = HashMap<String, Known>;

#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    record: TokenRecord,
}

impl Known {
    fn new(record: TokenRecord) -> Self {
        let mut principal = Principal::new(&record.user, record.groups.clone(), Proof::Token);
        principal.basis = Some(Basis::Token(record.token_sha256.clone()));
        Self {
            principal: Arc::new(principal),
            record,
        }
    }
}

/// What a token begins with.
const PREFIX: &str = "dk_";
/// Longest bearer token worth hashing, in bytes; ours have 46.
const MAX_TOKEN: usize = 4096;
/// Personal tokens that somebody may have.
const MAX_PERSONAL: usize = 10;
/// How long a personal token may last, in days.
const MAX_DAYS: u32 = 90;

impl TokenFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` when it cannot be read or has a bad record; the message names the file and the
    /// line.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self {
            tokens: Followed::load(path, read)?,
            #[cfg(feature = "gateway")]
            accounts: None,
            #[cfg(feature = "gateway")]
            store: None,
        })
    }

    /// Lets people with an account in `accounts` have personal tokens.
    #[cfg(feature = "gateway")]
    #[must_use]
    pub fn with_accounts(mut self, accounts: Arc<Accounts>) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Keeps personal tokens in `store`, which gateways with the same accounts share. Those that
    /// are in the file already stay there until they expire or are revoked.
    #[cfg(feature = "gateway")]
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Gives `user` a new token, writes its hash to the file at `path` (made when it is not there),
    /// and returns the token itself: nobody can read it again.
    ///
    /// The file is replaced in one step with mode 0600; comments in it are lost.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); `Malformed` for a name that cannot be one; `Unavailable` when the
    /// file cannot be written.
    pub fn add(
        path: &Path,
        user: &str,
        groups: &[String],
        expires: Option<Timestamp>,
    ) -> Result<String, Error> {
        let token = new_token()?;
        let record = TokenRecord {
            user: user.to_owned(),
            groups: groups.to_vec(),
            token_sha256: hash_token(&token),
            created: whole_seconds(Timestamp::now()),
            expires: expires.map(whole_seconds),
            personal: None,
            note: None,
        };
        records::edit(path, |document: &mut Document| {
            document.users.push(record);
            Ok(())
        })?;
        Ok(token)
    }

    /// Takes every token of `user` out of the file at `path`; says how many there were.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); `NotFound` when he has none; `Unavailable` when the file cannot be
    /// written.
    pub fn revoke(path: &Path, user: &str) -> Result<usize, Error> {
        let missing = || Error::new(ErrorKind::NotFound, format!("user `{user}` has no token"));
        if !path.exists() {
            return Err(missing());
        }
        records::edit(path, |document: &mut Document| {
            let before = document.users.len();
            document.users.retain(|record| record.user != user);
            match before - document.users.len() {
                0 => Err(missing()),
                revoked => Ok(revoked),
            }
        })
    }

    /// Makes a personal token of `user` that lasts `days`, called `note`.
    ///
    /// # Errors
    ///
    /// `Malformed` for more than 90 days, none, or a note that is empty or long; `Exhausted` when
    /// he has ten already; `Unavailable` when the file cannot be written.
    pub async fn add_personal(
        &self,
        user: &str,
        note: &str,
        days: u32,
        now: Timestamp,
    ) -> Result<NewToken, Error> {
        if !(1..=MAX_DAYS).contains(&days) {
            let message = format!("a personal token lasts 1 to {MAX_DAYS} days, not {days}");
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        if note.is_empty() || note.len() > 100 || note.chars().any(char::is_control) {
            let message = "`note` says what the token is for, in 1 to 100 bytes on one line";
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let token = new_token()?;
        let expires = Timestamp::from_second(now.as_second() + i64::from(days) * 86_400);
        let record = TokenRecord {
            user: user.to_owned(),
            groups: Vec::new(),
            token_sha256: hash_token(&token),
            created: whole_seconds(now),
            expires: Some(expires.unwrap_or(now)),
            personal: Some(Uuid::now_v7().to_string()),
            note: Some(note.to_owned()),
        };
        let made = record.clone();
        let too_many = || {
            let message = format!("there are {MAX_PERSONAL} personal tokens already; revoke one");
            Error::new(ErrorKind::Exhausted, message)
        };
        #[cfg(feature = "gateway")]
        if let Some(store) = &self.store {
            return match store.add_token(&record, MAX_PERSONAL).await? {
                true => Ok(NewToken {
                    token,
                    record: made,
                }),
                false => Err(too_many()),
            };
        }
        self.edit(move |document| {
            // Those that prove nothing any more make room.
            document.users.retain(|known| {
                known.personal.is_none() || known.expires.is_none_or(|end| end > now)
            });
            let own = document
                .users
                .iter()
                .filter(|known| known.personal.is_some() && known.user == record.user);
            if own.count() >= MAX_PERSONAL {
                return Err(too_many());
            }
            document.users.push(record);
            Ok(())
        })
        .await?;
        Ok(NewToken {
            token,
            record: made,
        })
    }

    /// The personal tokens of `user`, oldest first.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store that has some of them does not answer.
    pub async fn personal(&self, user: &str) -> Result<Vec<TokenRecord>, Error> {
        let tokens = self.tokens.current().await;
        let own = tokens.values().map(|known| &known.record);
        let own = own.filter(|record| record.personal.is_some() && record.user == user);
        let mut own: Vec<TokenRecord> = own.cloned().collect();
        #[cfg(feature = "gateway")]
        if let Some(store) = &self.store {
            own.extend(store.tokens_of(user).await?);
        }
        own.sort_by(|a, b| (a.created, &a.personal).cmp(&(b.created, &b.personal)));
        Ok(own)
    }

    /// Revokes the personal token `id` of `user`.
    ///
    /// # Errors
    ///
    /// `NotFound` when he has none of that id, in the same words for one of somebody else.
    pub async fn revoke_personal(&self, user: &str, id: &str) -> Result<(), Error> {
        #[cfg(feature = "gateway")]
        if let Some(store) = &self.store
            && store.remove_token(user, id).await?
        {
            return Ok(());
        }
        let (user, id) = (user.to_owned(), id.to_owned());
        self.edit(move |document| {
            let before = document.users.len();
            document
                .users
                .retain(|known| known.personal.as_ref() != Some(&id) || known.user != user);
            if document.users.len() == before {
                let message = format!("you have no personal token `{id}`");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            Ok(())
        })
        .await
    }

    async fn edit(
        &self,
        change: impl FnOnce(&mut Document) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let path = self.tokens.path().to_owned();
        let edit = tokio::task::spawn_blocking(move || records::edit(&path, change));
        edit.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Unavailable, "tokens cannot be changed").with_source(error))
        })?;
        self.tokens.look().await;
        Ok(())
    }

    /// Takes the personal tokens of `user` out of the file at `path`: they would count again for
    /// the next one of that name.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn forget_personal(path: &Path, user: &str) -> Result<(), Error> {
        records::edit(path, |document: &mut Document| {
            document
                .users
                .retain(|known| known.personal.is_none() || known.user != user);
            Ok(())
        })
    }

    async fn stands(&self, known: &Known) -> Result<(), Error> {
        alive(&known.record)?;
        self.principal(known).await.map(|_| ())
    }

    /// Whether the token of this hash, which is not in the file, is in the store.
    async fn still_shared(
        &self,
        #[cfg_attr(
            not(feature = "gateway"),
            expect(unused_variables, reason = "there is no store")
        )]
        hash: &str,
    ) -> Result<(), Error> {
        #[cfg(feature = "gateway")]
        if let Some(store) = &self.store
            && let Some(record) = store.token(hash).await?
        {
            return self.stands(&Known::new(record)).await;
        }
        let message = "the bearer token was revoked";
        Err(Error::new(ErrorKind::Unauthenticated, message))
    }

    /// Whom a personal token stands for that is not in the file.
    #[cfg(feature = "gateway")]
    async fn shared(&self, token: &str) -> Result<Option<Arc<Principal>>, Error> {
        let Some(store) = self.store.as_ref().filter(|_| token.starts_with(PREFIX)) else {
            return Ok(None);
        };
        let Some(record) = store.token(&hash_token(token)).await? else {
            return Ok(None);
        };
        alive(&record)?;
        self.principal(&Known::new(record)).await.map(Some)
    }

    /// Whom a known token stands for.
    async fn principal(&self, known: &Known) -> Result<Arc<Principal>, Error> {
        if known.record.personal.is_none() {
            return Ok(Arc::clone(&known.principal));
        }
        #[cfg(feature = "gateway")]
        if let Some(accounts) = &self.accounts
            && let Some(account) = accounts.find(&known.record.user).await?
        {
            let mut principal = Arc::unwrap_or_clone(account.principal(Proof::Token));
            principal.basis.clone_from(&known.principal.basis);
            return Ok(Arc::new(principal));
        }
        let message = "the bearer token is of an account that is gone";
        Err(Error::new(ErrorKind::Unauthenticated, message))
    }
}

#[async_trait]
impl Authenticator for TokenFile {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let Some(token) = credentials
            .bearer
            .as_ref()
            .filter(|token| token.len() <= MAX_TOKEN)
        else {
            return Ok(None);
        };
        let tokens = self.tokens.current().await;
        let Some(known) = tokens.get(&hash_token(token)) else {
            #[cfg(feature = "gateway")]
            return self.shared(token).await;
            #[cfg(not(feature = "gateway"))]
            return Ok(None);
        };
        alive(&known.record)?;
        self.principal(known).await.map(Some)
    }

    async fn ended(
        &self,
        principal: &Principal,
        _since: Timestamp,
    ) -> Result<Option<String>, Error> {
        let Some(Basis::Token(hash)) = &principal.basis else {
            return Ok(None);
        };
        let stands = match self.tokens.current().await.get(hash) {
            Some(known) => self.stands(known).await,
            None => self.still_shared(hash).await,
        };
        match stands {
            Err(error) if error.kind() == ErrorKind::Unauthenticated => {
                Ok(Some("its token was revoked or has expired".to_owned()))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(None),
        }
    }
}

fn alive(record: &TokenRecord) -> Result<(), Error> {
    if record.expires.is_some_and(|end| end <= Timestamp::now()) {
        let message = "the bearer token has expired";
        return Err(Error::new(ErrorKind::Unauthenticated, message));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Tokens, Error> {
    let document: Document = records::read(path)?;
    let known = document.users.into_iter();
    let known = known.map(|record| (record.token_sha256.clone(), Known::new(record)));
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use jiff::Timestamp;

    use super::{Authenticator as _, Credentials, TokenFile, hash_token, new_token};
    use crate::{
        ErrorKind,
        identity::{authenticate, records::RELOAD_EVERY},
    };

    fn bearer(token: &str) -> Credentials {
        Credentials {
            bearer: Some(token.to_owned()),
            ..Credentials::default()
        }
    }

    #[test]
    fn tokens_are_fresh_and_hash_to_the_known_digest() {
        let token = new_token().unwrap();
        assert_eq!((token.len(), &token[..3]), (46, "dk_"));
        assert_ne!(token, new_token().unwrap());
        assert_eq!(
            hash_token("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[tokio::test]
    async fn added_token_proves_its_user_and_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let groups = ["dev".to_owned(), "@ops:#1".to_owned()];
        let token = TokenFile::add(&path, "alice", &groups, None).unwrap();
        TokenFile::add(&path, "true", &[], None).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(&token));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let file = TokenFile::load(&path).unwrap();
        let principal = authenticate(&file, &bearer(&token)).await.unwrap();
        assert_eq!(
            (principal.user.as_str(), principal.groups.as_slice()),
            ("alice", &groups[..])
        );
        for bad in ["", "dk_", &token[..45], &"x".repeat(5000)] {
            let error = authenticate(&file, &bearer(bad)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        }
        assert!(authenticate(&file, &Credentials::default()).await.is_err());
    }

    #[tokio::test]
    async fn expired_token_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let past = Timestamp::from_second(1_700_000_000).unwrap();
        let token = TokenFile::add(&path, "alice", &[], Some(past)).unwrap();
        let error = TokenFile::load(&path)
            .unwrap()
            .authenticate(&bearer(&token))
            .await
            .unwrap_err();
        assert_eq!(error.message(), "the bearer token has expired");
    }

    #[tokio::test]
    async fn changes_are_seen_and_broken_files_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let alice = TokenFile::add(&path, "alice", &[], None).unwrap();
        let file = TokenFile::load(&path).unwrap();
        let bob = TokenFile::add(&path, "bob", &[], None).unwrap();
        std::thread::sleep(RELOAD_EVERY);
        assert!(authenticate(&file, &bearer(&bob)).await.is_ok());

        let good = fs::read_to_string(&path).unwrap();
        for broken in [
            good.replace("bob", "b b"),
            good.replace("token_sha256", "hash"),
            "[".into(),
        ] {
            fs::write(&path, broken).unwrap();
            std::thread::sleep(RELOAD_EVERY);
            assert!(authenticate(&file, &bearer(&bob)).await.is_ok());
            assert!(TokenFile::load(&path).is_err());
        }

        fs::write(&path, good).unwrap();
        assert_eq!(TokenFile::revoke(&path, "bob").unwrap(), 1);
        assert!(TokenFile::revoke(&path, "bob").is_err());
        std::thread::sleep(RELOAD_EVERY);
        assert!(authenticate(&file, &bearer(&bob)).await.is_err());
        assert!(authenticate(&file, &bearer(&alice)).await.is_ok());
    }

    #[test]
    fn errors_name_file_and_line_and_quote_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let hash = hash_token("secret");
        fs::write(
            &path,
            format!("users:\n- user: a\n  token_sha256: {hash}\n  made: x\n"),
        )
        .unwrap();
        let error = TokenFile::load(&path).unwrap_err();
        assert!(error.message().contains("tokens.yaml"), "{error}");
        assert!(error.message().contains("line "), "{error}");
        assert!(!error.chain().contains(&hash));
    }
}
