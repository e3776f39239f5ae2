use std::sync::Arc;

use jiff::Timestamp;

use super::{
    AccountRecord,
    account::{END_KEPT, no_account},
};
use crate::{Error, ErrorKind, store::Store};

/// Changes of the accounts that gateways share in a [`Store`]. They count at the next request of
/// all of them.
///
/// Of two changes that are made at once one is done, whole, and the other is told so.
#[derive(Debug)]
pub struct SharedAccounts(Arc<dyn Store>);

impl SharedAccounts {
    /// Those of `store`.
    #[must_use]
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Adds an account, or changes the one of that name; its sessions then end.
    ///
    /// # Errors
    ///
    /// As [`AccountRecord::new`]; `Conflict` when somebody else changed it meanwhile;
    /// `Unavailable` when the store does not answer.
    pub async fn put(
        &self,
        user: &str,
        groups: &[String],
        tenant: Option<&str>,
        password: &str,
    ) -> Result<(), Error> {
        let known = self.0.account(user).await?;
        let version = known.map(|(_, version)| version);
        let account = AccountRecord::new(user, groups, tenant, password)?;
        self.change(user, version.as_deref(), Some(&account)).await
    }

    /// Takes the account of `user` away, and its personal tokens.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); `NotFound` when there is none.
    pub async fn remove(&self, user: &str) -> Result<(), Error> {
        let known = self.0.account(user).await?;
        let (_, version) = known.ok_or_else(|| no_account(user))?;
        self.change(user, Some(&version), None).await?;
        self.forget_tokens(user).await.map(drop)
    }

    /// Ends every session of `user`; says whether he has an account. Who has none may be a person
    /// of a directory.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn end_sessions(&self, user: &str) -> Result<bool, Error> {
        let now = Timestamp::now();
        let Some((mut account, version)) = self.0.account(user).await? else {
            self.0.end_user(user, now, END_KEPT).await?;
            return Ok(false);
        };
        account.sessions_from = Some(now);
        self.change(user, Some(&version), Some(&account)).await?;
        Ok(true)
    }

    /// Ends every session of `user`, whose account, if he has one, is not in the store.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store does not answer.
    pub async fn end_stranger(&self, user: &str) -> Result<(), Error> {
        self.0.end_user(user, Timestamp::now(), END_KEPT).await
    }

    /// Takes the personal tokens of `user` away: they would count again for the next one of that
    /// name. Says how many he had.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store does not answer.
    pub async fn forget_tokens(&self, user: &str) -> Result<usize, Error> {
        let mut count = 0;
        for token in self.0.tokens_of(user).await? {
            let id = token.personal.unwrap_or_default();
            count += usize::from(self.0.remove_token(user, &id).await?);
        }
        Ok(count)
    }

    async fn change(
        &self,
        user: &str,
        version: Option<&str>,
        account: Option<&AccountRecord>,
    ) -> Result<(), Error> {
        match self.0.change_account(user, version, account).await? {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Conflict,
                format!("somebody else changed the account of `{user}` just now; try again"),
            )),
        }
    }
}
