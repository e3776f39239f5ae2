use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    Principal, Proof,
    records::{self, Followed, Records, check_name},
};
use crate::{
    Error, ErrorKind,
    rate::Rates,
    store::{CountKey, Store},
};

/// One person who can log in with a password.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
            check_name(&account.user)?;
            for group in &account.groups {
                check_name(group)?;
            }
            let user = &account.user;
            if !names.insert(user) {
                return Err(format!("account `{user}` is given twice"));
            }
            let hash = PasswordHash::new(&account.password);
            if !hash.is_ok_and(|hash| hash.algorithm.as_str() == "argon2id") {
                return Err(format!(
                    "`password` of `{user}` is no argon2id hash in PHC format"
                ));
            }
        }
        Ok(())
    }
}

/// Accounts of a YAML file: `accounts: [ { user, groups, tenant, password, disabled } ]`.
///
/// Changes are seen within a quarter of a second, whole or not at all.
///
/// A wrong password costs as much time as the right one, and an unknown user as a known one. Who
/// tries too often, for one name or from one address, waits; and no more than two passwords are
/// looked at at once, so that a flood of logins takes neither all processors nor all memory.
#[derive(Debug)]
pub struct AccountFile {
    accounts: Followed<Accounts>,
    by_name: Mutex<Rates>,
    by_address: Mutex<Rates>,
    places: Semaphore,
    /// Somebody's who does not exist.
    nobody: String,
    /// Where attempts at other gateways are counted, too.
    store: Option<Arc<dyn Store>>,
}

type Accounts = HashMap<String, AccountRecord>;

/// Shortest password in characters: NIST SP 800-63B-4 asks for 15 where it is all there is, 8
/// where there is more; nobody is asked for special characters.
pub const MIN_PASSWORD: usize = 12;
/// Longest password in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// Attempts for one name at once, and a second.
const FOR_NAME: (f64, f64) = (5.0, 1.0 / 12.0);
/// Attempts from one address at once, and a second: many people may share one.
const FROM_ADDRESS: (f64, f64) = (20.0, 1.0 / 3.0);
/// Passwords that are looked at at once; each takes 19 MiB.
const PLACES: usize = 2;
/// How long an attempt waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

impl AccountFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` when it cannot be read or has a bad record, naming the file.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let (name, address) = (FOR_NAME, FROM_ADDRESS);
        Ok(Self {
            accounts: Followed::load(path, read)?,
            by_name: Mutex::new(Rates::new(name.1, name.0)),
            by_address: Mutex::new(Rates::new(address.1, address.0)),
            places: Semaphore::new(PLACES),
            nobody: hash("nobody has this password")?,
            store: None,
        })
    }

    /// Counts attempts to log in in `store`, too, so that many gateways allow no more than one.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds an account, or changes the one of that name; its sessions then end.
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
        let short = password.chars().count() < MIN_PASSWORD;
        if short || password.len() > MAX_PASSWORD {
            let message =
                format!("a password has {MIN_PASSWORD} characters to {MAX_PASSWORD} bytes");
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let account = AccountRecord {
            user: user.to_owned(),
            groups: groups.to_vec(),
            tenant: tenant.map(str::to_owned),
            password: hash(password)?,
            disabled: false,
            sessions_from: Some(Timestamp::now()),
        };
        records::edit(path, |document: &mut Document| {
            document.accounts.retain(|known| known.user != user);
            document.accounts.push(account);
            Ok(())
        })
    }

    /// Takes the account of `user` out, and with it all that it proved.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); `NotFound` when there is none.
    pub fn remove(path: &Path, user: &str) -> Result<(), Error> {
        records::edit(path, |document: &mut Document| {
            let before = document.accounts.len();
            document.accounts.retain(|known| known.user != user);
            found(user, before != document.accounts.len())
        })
    }

    /// Ends every session of `user`.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    pub fn end_sessions(path: &Path, user: &str) -> Result<(), Error> {
        records::edit(path, |document: &mut Document| {
            let account = document
                .accounts
                .iter_mut()
                .find(|known| known.user == user);
            let known = account.is_some();
            if let Some(account) = account {
                account.sessions_from = Some(Timestamp::now());
            }
            found(user, known)
        })
    }

    /// The account of `user`, unless it is disabled.
    pub async fn find(&self, user: &str) -> Option<AccountRecord> {
        let accounts = self.accounts.current().await;
        accounts
            .get(user)
            .filter(|account| !account.disabled)
            .cloned()
    }

    /// The account whose password this is.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` in the same words for a wrong name and a wrong password; `Exhausted`,
    /// with the time to wait, after too many attempts; `Unavailable` when they cannot be counted.
    pub async fn login(
        &self,
        user: &str,
        password: &str,
        address: &str,
        now: Instant,
    ) -> Result<AccountRecord, Error> {
        let wrong = || {
            let message = "user name or password is wrong; try again, or ask who keeps accounts";
            Error::new(ErrorKind::Unauthenticated, message)
        };
        let wait = |time: Duration| {
            let message = format!(
                "too many attempts to log in; try again in {} s",
                time.as_secs().saturating_add(1)
            );
            Error::new(ErrorKind::Exhausted, message).with_retry_after(time)
        };
        if user.len() > 253 || password.len() > MAX_PASSWORD {
            return Err(wrong());
        }
        lock(&self.by_address).take(address, now).map_err(wait)?;
        lock(&self.by_name).take(user, now).map_err(wait)?;
        let shared = shared_counts(user, address);
        if let Some(store) = &self.store {
            for key in &shared {
                if let Some(time) = store.count(key).await? {
                    return Err(wait(time));
                }
            }
        }
        let place = tokio::time::timeout(PATIENCE, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(wait(PATIENCE));
        };
        let account = self.find(user).await;
        let against = account
            .as_ref()
            .map_or(&self.nobody, |known| &known.password)
            .clone();
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || verify(&password, &against));
        let right = right.await.unwrap_or(false);
        let account = account.filter(|_| right).ok_or_else(wrong)?;
        lock(&self.by_address).give_back(address);
        lock(&self.by_name).give_back(user);
        if let Some(store) = &self.store {
            for key in &shared {
                // One attempt less then; he is in.
                let _lost = store.uncount(key).await;
            }
        }
        Ok(account)
    }

    /// Where the accounts are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.accounts.path()
    }
}

impl AccountRecord {
    /// Whom the account stands for.
    #[must_use]
    pub fn principal(&self, proof: Proof) -> Arc<Principal> {
        let mut principal = Principal::new(&self.user, self.groups.clone(), proof);
        principal.tenant.clone_from(&self.tenant);
        Arc::new(principal)
    }
}

fn read(path: &Path) -> Result<Accounts, Error> {
    let document: Document = records::read(path)?;
    let named = document
        .accounts
        .into_iter()
        .map(|account| (account.user.clone(), account));
    Ok(named.collect())
}

fn found(user: &str, found: bool) -> Result<(), Error> {
    match found {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no account `{user}`"),
        )),
    }
}

/// Argon2id with the parameters that RFC 9106 §4 and OWASP name for small memory: 19 MiB, two
/// passes, one lane.
fn hash(password: &str) -> Result<String, Error> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the password cannot be hashed")
                .with_source(error.to_string())
        })?;
    Ok(hash.to_string())
}

fn verify(password: &str, against: &str) -> bool {
    PasswordHash::new(against).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// What counts an attempt at every gateway: as [`FROM_ADDRESS`] and [`FOR_NAME`].
const fn shared_counts<'a>(user: &'a str, address: &'a str) -> [CountKey<'a>; 2] {
    [
        CountKey {
            what: "login-address",
            whom: address,
            burst: 20,
            every: Duration::from_secs(3),
        },
        CountKey {
            what: "login-name",
            whom: user,
            burst: 5,
            every: Duration::from_secs(12),
        },
    ]
}

fn lock(rates: &Mutex<Rates>) -> std::sync::MutexGuard<'_, Rates> {
    rates.lock().unwrap_or_else(PoisonError::into_inner)
}
