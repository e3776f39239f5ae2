use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Principal, Proof,
    password_hash::{PasswordHashes, hash, is_hash},
    records::{self, Followed, Records, check_name},
};
use crate::{Error, ErrorKind};

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
            if !is_hash(&account.password) {
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
/// A wrong password costs as much time as the right one, and an unknown user as a known one. No
/// more than two passwords are looked at at once; how often somebody may try is for
/// [`Passwords`](super::Passwords) to limit.
#[derive(Debug)]
pub struct AccountFile {
    accounts: Followed<Accounts>,
    hashes: PasswordHashes,
    /// Somebody's who does not exist.
    nobody: String,
}

type Accounts = HashMap<String, AccountRecord>;

/// Shortest password in characters: NIST SP 800-63B-4 asks for 15 where it is all there is, 8
/// where there is more; nobody is asked for special characters.
pub const MIN_PASSWORD: usize = 12;
/// Longest password in bytes.
pub const MAX_PASSWORD: usize = 1024;

impl AccountFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` when it cannot be read or has a bad record, naming the file.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self {
            accounts: Followed::load(path, read)?,
            hashes: PasswordHashes::new(),
            nobody: hash("nobody has this password")?,
        })
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

    /// Whether there is an account of that name, be it disabled.
    pub async fn has(&self, user: &str) -> bool {
        self.accounts.current().await.contains_key(user)
    }

    /// The account of `user`, when `password` is its.
    ///
    /// # Errors
    ///
    /// `Exhausted` when too many passwords wait to be looked at.
    pub(super) async fn check(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Option<AccountRecord>, Error> {
        let account = self.find(user).await;
        let against = account
            .as_ref()
            .map_or(&self.nobody, |known| &known.password)
            .clone();
        let right = self.hashes.verify(password, against).await?;
        Ok(account.filter(|_| right))
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
