use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Principal, Proof,
    password_hash::{PasswordHashes, hash, is_hash},
    records::{self, Followed, Records, check_name},
};
use crate::{Error, ErrorKind, store::Store};

/// One person who can log in with a password.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRecord {
    /// Who.
    pub user: String,
    /// His groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Tenant whose access rules count for him.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Argon2id hash of the password, in PHC format.
    pub password: String,
    /// Whether nothing of his proves anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Session tokens from before prove nothing: his password was changed, or they were revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_from: Option<Timestamp>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    accounts: Vec<AccountRecord>,
    /// From when on sessions of people without an account count, by user name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ended: BTreeMap<String, Timestamp>,
}

impl Records for Document {
    const WHAT: &'static str = "account file";
    const MAKER: &'static str = "`dockin-opserver account add` makes it";
    const SHAPE: &'static str = "accounts: [ { user, groups, tenant, password, disabled } ]";
    const HEADER: &'static str =
        "# Written by `dockin-opserver account`; has hashes only, never a password.\n";

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::HashSet::new();
        for account in &self.accounts {
            account.check()?;
            let user = &account.user;
            if !names.insert(user) {
                return Err(format!("account `{user}` is given twice"));
            }
        }
        self.ended.keys().try_for_each(|user| check_name(user))
    }
}

/// Accounts of a YAML file, or of the store that gateways share.
///
/// The file is `accounts: [ { user, groups, tenant, password, disabled } ]`; its changes are seen
/// within a quarter of a second, whole or not at all. Those of the store
/// ([`SharedAccounts`](super::SharedAccounts) makes them) count at the next request everywhere, and
/// nothing of them is remembered here: while it does not answer there is no knowing any.
///
/// A wrong password costs as much time as the right one, and an unknown user as a known one. No
/// more than two passwords are looked at at once; how often somebody may try is for
/// [`Passwords`](super::Passwords) to limit.
#[derive(Debug)]
pub struct Accounts {
    source: Source,
    /// Where it says whose sessions ended who has no account; the file, without.
    ends: Option<Arc<dyn Store>>,
    hashes: PasswordHashes,
    /// Somebody's who does not exist.
    nobody: String,
}

#[derive(Debug)]
enum Source {
    File(Followed<People>),
    Store(Arc<dyn Store>),
}

#[derive(Debug)]
struct People {
    accounts: HashMap<String, AccountRecord>,
    ended: BTreeMap<String, Timestamp>,
}

/// Shortest password in characters: NIST SP 800-63B-4 asks for 15 where it is all there is, 8
/// where there is more; nobody is asked for special characters.
pub const MIN_PASSWORD: usize = 12;
/// Longest password in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// How long it is remembered that the sessions of somebody without an account ended: longer than
/// any of them lasts.
pub(super) const END_KEPT: Duration = Duration::from_hours(25);

impl Accounts {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` when it cannot be read or has a bad record, naming the file.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::of(Source::File(Followed::load(path, read)?), None)
    }

    /// Those of `store`.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the system has no randomness to give.
    pub fn in_store(store: Arc<dyn Store>) -> Result<Self, Error> {
        Self::of(Source::Store(Arc::clone(&store)), Some(store))
    }

    fn of(source: Source, ends: Option<Arc<dyn Store>>) -> Result<Self, Error> {
        Ok(Self {
            source,
            ends,
            hashes: PasswordHashes::new(),
            nobody: hash("nobody has this password")?,
        })
    }

    /// Looks in `store` for whose sessions ended who has no account.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.ends = Some(store);
        self
    }

    /// Adds an account to the file at `path`, or changes the one of that name; its sessions then
    /// end.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); `Malformed` for a name that cannot be one and for a password of
    /// fewer than 12 characters or more than 1024 bytes; `Unavailable` when the file cannot be
    /// written.
    pub fn put(
        path: &Path,
        user: &str,
        groups: &[String],
        tenant: Option<&str>,
        password: &str,
    ) -> Result<(), Error> {
        let account = AccountRecord::new(user, groups, tenant, password)?;
        records::edit(path, |document: &mut Document| {
            document.accounts.retain(|known| known.user != user);
            document.accounts.push(account);
            Ok(())
        })
    }

    /// Takes the account of `user` out of the file at `path`, and with it all that it proved.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); `NotFound` when there is none.
    pub fn remove(path: &Path, user: &str) -> Result<(), Error> {
        records::edit(path, |document: &mut Document| {
            let before = document.accounts.len();
            document.accounts.retain(|known| known.user != user);
            match before == document.accounts.len() {
                true => Err(no_account(user)),
                false => Ok(()),
            }
        })
    }

    /// Ends every session of the account of `user` in the file at `path`; says whether there is
    /// such an account.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn end_sessions(path: &Path, user: &str) -> Result<bool, Error> {
        records::edit(path, |document: &mut Document| {
            let mut accounts = document.accounts.iter_mut();
            let account = accounts.find(|known| known.user == user);
            let known = account.is_some();
            if let Some(account) = account {
                account.sessions_from = Some(Timestamp::now());
            }
            Ok(known)
        })
    }

    /// Ends every session of `user`, who has no account, by the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn end_stranger(path: &Path, user: &str) -> Result<(), Error> {
        let now = Timestamp::now();
        records::edit(path, |document: &mut Document| {
            let old = |from: &Timestamp| now.duration_since(*from).unsigned_abs() > END_KEPT;
            document.ended.retain(|_, from| !old(from));
            document.ended.insert(user.to_owned(), now);
            Ok(())
        })
    }

    /// The account of `user`, unless it is disabled.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store that has it does not answer.
    pub async fn find(&self, user: &str) -> Result<Option<AccountRecord>, Error> {
        let account = self.any(user).await?;
        Ok(account.filter(|account| !account.disabled))
    }

    /// Whether there is an account of that name, be it disabled.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn has(&self, user: &str) -> Result<bool, Error> {
        self.any(user).await.map(|account| account.is_some())
    }

    /// From when on sessions of `user` count, if any were ended: those of his account, or of him
    /// who has none.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn ended_from(&self, user: &str) -> Result<Option<Timestamp>, Error> {
        if let Some(account) = self.any(user).await? {
            return Ok(account.sessions_from);
        }
        match (&self.ends, &self.source) {
            (Some(store), _) | (None, Source::Store(store)) => store.user_ended(user).await,
            (None, Source::File(people)) => Ok(people.current().await.ended.get(user).copied()),
        }
    }

    async fn any(&self, user: &str) -> Result<Option<AccountRecord>, Error> {
        match &self.source {
            Source::File(people) => Ok(people.current().await.accounts.get(user).cloned()),
            Source::Store(store) => Ok(store.account(user).await?.map(|(account, _)| account)),
        }
    }

    /// The account of `user`, when `password` is its.
    ///
    /// # Errors
    ///
    /// `Exhausted` when too many passwords wait to be looked at; those of [`find`](Self::find).
    pub(super) async fn check(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Option<AccountRecord>, Error> {
        let account = self.find(user).await?;
        let against = account
            .as_ref()
            .map_or(&self.nobody, |known| &known.password)
            .clone();
        let right = self.hashes.verify(password, against).await?;
        Ok(account.filter(|_| right))
    }
}

impl AccountRecord {
    /// An account whose sessions begin now.
    ///
    /// # Errors
    ///
    /// `Malformed` for a name that cannot be one and for a password of fewer than 12 characters or
    /// more than 1024 bytes.
    pub fn new(
        user: &str,
        groups: &[String],
        tenant: Option<&str>,
        password: &str,
    ) -> Result<Self, Error> {
        let malformed = |what: String| Error::new(ErrorKind::Malformed, what);
        let short = password.chars().count() < MIN_PASSWORD;
        if short || password.len() > MAX_PASSWORD {
            let message =
                format!("a password has {MIN_PASSWORD} characters to {MAX_PASSWORD} bytes");
            return Err(malformed(message));
        }
        let account = Self {
            user: user.to_owned(),
            groups: groups.to_vec(),
            tenant: tenant.map(str::to_owned),
            password: hash(password)?,
            disabled: false,
            sessions_from: Some(Timestamp::now()),
        };
        account.check().map_err(malformed)?;
        Ok(account)
    }

    fn check(&self) -> Result<(), String> {
        check_name(&self.user)?;
        self.groups.iter().try_for_each(|group| check_name(group))?;
        let user = &self.user;
        match is_hash(&self.password) {
            true => Ok(()),
            false => Err(format!(
                "`password` of `{user}` is no argon2id hash in PHC format"
            )),
        }
    }

    /// Whom the account stands for.
    #[must_use]
    pub fn principal(&self, proof: Proof) -> Arc<Principal> {
        let mut principal = Principal::new(&self.user, self.groups.clone(), proof);
        principal.tenant.clone_from(&self.tenant);
        Arc::new(principal)
    }
}

impl fmt::Debug for AccountRecord {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRecord")
            .field("user", &self.user)
            .field("groups", &self.groups)
            .field("tenant", &self.tenant)
            .field("disabled", &self.disabled)
            .field("sessions_from", &self.sessions_from)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<People, Error> {
    let document: Document = records::read(path)?;
    let accounts = document.accounts.into_iter();
    Ok(People {
        accounts: accounts
            .map(|account| (account.user.clone(), account))
            .collect(),
        ended: document.ended,
    })
}

pub(super) fn no_account(user: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no account `{user}`"))
}
