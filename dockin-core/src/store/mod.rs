//! What gateways behind one address share: the [`Store`] port and its adapters.
//!
//! Without a store a gateway keeps all of it itself: revoked sessions and personal tokens in its
//! files, counted attempts to log in and open sessions in memory. With one, the store has the last
//! word, and nothing of it is remembered here: what is revoked at one gateway is refused at the
//! next request by all of them, and while the store does not answer, what needs it is refused.

mod lists;
#[cfg(feature = "redis")]
pub mod redis;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::lists::{CommandFilter, FollowOptions, RuleAddresses, follow_commands};
use crate::{
    Error,
    identity::{AccountRecord, SharedAgent, TokenRecord},
};

/// State that several gateways share.
///
/// Every method fails with kind `Unavailable` when the store cannot be asked now, does not answer
/// in time, refuses, or holds something that cannot be what was put there. What is in doubt then
/// proves nothing: callers refuse.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Makes the session token `id` worthless until `until`, when it is worthless anyway.
    ///
    /// # Errors
    ///
    /// The store is not available; the token may still prove something then.
    async fn revoke_session(&self, id: &str, until: Timestamp) -> Result<(), Error>;

    /// Whether the session token `id`, issued at `issued`, is worthless: it was revoked, or it is
    /// from before the store's memory begins, so that nobody can know.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn is_session_revoked(&self, id: &str, issued: Timestamp) -> Result<bool, Error>;

    /// Lets session tokens be signed by the key `id`, whose public half is `public`, until `until`
    /// at least.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn publish_signer(&self, id: &str, public: &str, until: Timestamp) -> Result<(), Error>;

    /// The public half of the key `id` that session tokens may be signed by.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn signer(&self, id: &str) -> Result<Option<String>, Error>;

    /// The account of `user`, disabled or not, and which version of it that is.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn account(&self, user: &str) -> Result<Option<(AccountRecord, String)>, Error>;

    /// Puts `account` in the place of `version` of the account of `user`, which is none when he has
    /// none yet, or takes that out. Says whether it was done: another version is left alone.
    ///
    /// # Errors
    ///
    /// The store is not available; it may have been done then.
    async fn change_account(
        &self,
        user: &str,
        version: Option<&str>,
        account: Option<&AccountRecord>,
    ) -> Result<bool, Error>;

    /// The agents, invited ones with them, in any order, and what the whole of them is called;
    /// nothing when that is `known`.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn agents(
        &self,
        known: Option<&str>,
    ) -> Result<Option<(String, Vec<SharedAgent>)>, Error>;

    /// What there is of the agent `name`, and which version of it that is.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn agent(&self, name: &str) -> Result<Option<(SharedAgent, String)>, Error>;

    /// Puts `agent` in the place of `version` of the agent `name`, which is none when there is
    /// none yet, or takes that out. Says whether it was done: another version is left alone.
    ///
    /// # Errors
    ///
    /// The store is not available; it may have been done then.
    async fn change_agent(
        &self,
        name: &str,
        version: Option<&str>,
        agent: Option<&SharedAgent>,
    ) -> Result<bool, Error>;

    /// Ends whatever somebody who has no account began before `from`, for as long as `kept`.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn end_user(&self, user: &str, from: Timestamp, kept: Duration) -> Result<(), Error>;

    /// From when on what somebody who has no account begins counts, if that was ever said.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn user_ended(&self, user: &str) -> Result<Option<Timestamp>, Error>;

    /// Keeps a personal token until it expires, unless its owner has `most` already; says whether.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn add_token(&self, record: &TokenRecord, most: usize) -> Result<bool, Error>;

    /// The personal token of this hash.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn token(&self, token_sha256: &str) -> Result<Option<TokenRecord>, Error>;

    /// The personal tokens of `user`, in any order.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn tokens_of(&self, user: &str) -> Result<Vec<TokenRecord>, Error>;

    /// Makes the personal token `id` of `user` worthless; says whether he had it.
    ///
    /// # Errors
    ///
    /// The store is not available; the token may still prove something then.
    async fn remove_token(&self, user: &str, id: &str) -> Result<bool, Error>;

    /// Counts once under `key`; gives how long to wait when that is too often, and counts nothing
    /// then.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn count(&self, key: &CountKey<'_>) -> Result<Option<Duration>, Error>;

    /// Takes back what was counted under `key`.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn uncount(&self, key: &CountKey<'_>) -> Result<(), Error>;

    /// Tells which sessions are open at `gateway`. Says whether the store now has exactly `open`
    /// of it; if not, all of them are to be told. What is told is forgotten after
    /// [`SESSIONS_KEPT`], unless it is told again.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn tell_sessions(&self, gateway: &str, news: &SessionNews) -> Result<bool, Error>;

    /// The open sessions of all gateways, in any order.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn sessions(&self) -> Result<Vec<LiveSession>, Error>;

    /// What is in a list that people keep in the store.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn list(&self, list: &List) -> Result<Vec<String>, Error>;

    /// Puts `add` into a list, and takes `remove` out of it.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn change_list(
        &self,
        list: &List,
        add: &[String],
        remove: &[String],
    ) -> Result<(), Error>;

    /// Says whether gateway `who` is the one that does `what`; then nobody else is for `time`.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn lease(&self, what: &str, who: &str, time: Duration) -> Result<Lease, Error>;

    /// Puts an object of a cluster into the cache that others read, under its uid, too, if it is a
    /// pod. Of several with one name that of the cluster and namespace first in order is found by
    /// it.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn cache_object(
        &self,
        place: &ObjectPlace<'_>,
        uid: &str,
        json: &str,
    ) -> Result<(), Error>;

    /// Takes an object out of the cache. Another one of its name is found by it from then on.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn uncache_object(&self, place: &ObjectPlace<'_>) -> Result<(), Error>;

    /// Namespaces and names of the cached objects of a cluster.
    ///
    /// # Errors
    ///
    /// The store is not available.
    async fn cached_objects(
        &self,
        kind: ObjectKind,
        cluster: &str,
    ) -> Result<Vec<(String, String)>, Error>;
}

/// Where an object of a cluster is in the cache of objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: a machine fills it.
pub struct ObjectPlace<'a> {
    /// What it is.
    pub kind: ObjectKind,
    /// Its cluster.
    pub cluster: &'a str,
    /// Its namespace; empty for a node.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// The objects that are cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: others nobody looks for.
pub enum ObjectKind {
    /// Pods.
    Pod,
    /// Nodes.
    Node,
}

/// Who may do what one gateway alone does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: there is no other answer.
pub enum Lease {
    /// Who asks, from now on: nobody did it.
    Taken,
    /// Who asks, as before.
    Kept,
    /// Somebody else.
    Others,
}

/// How long what a gateway told of its sessions is kept: so long those of one that was killed are
/// still shown.
pub const SESSIONS_KEPT: Duration = Duration::from_secs(15);

/// What is counted, and how often it may happen: `burst` times at once, once in `every` in the
/// long run.
#[derive(Clone, Copy, Debug)]
// Exhaustive: only callers make one.
pub struct CountKey<'a> {
    /// What happens, such as `login-name`.
    pub what: &'a str,
    /// To whom.
    pub whom: &'a str,
    /// How many times at once.
    pub burst: u32,
    /// How much time lets it happen once more.
    pub every: Duration,
}

/// A session that is open now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
// Exhaustive: a machine fills it.
pub struct LiveSession {
    /// Its id, as the audit trail has it.
    pub id: String,
    /// Whose.
    pub user: String,
    /// `exec`, `attach` or `port-forward`.
    pub verb: String,
    /// Cluster of its target.
    pub cluster: String,
    /// Namespace of its target.
    pub namespace: String,
    /// Pod of its target.
    pub pod: String,
    /// Container of its target; none for a port-forward.
    #[serde(default)]
    pub container: Option<String>,
    /// Where the person is.
    pub client: String,
    /// Since when.
    pub since: Timestamp,
    /// The gateway that has it.
    pub gateway: String,
}

/// What has become of a gateway's sessions since it told of them last.
#[derive(Clone, Debug, Default)]
// Exhaustive: a machine fills it.
pub struct SessionNews {
    /// Whether everything told before is to be forgotten.
    pub afresh: bool,
    /// Sessions that were opened.
    pub opened: Vec<LiveSession>,
    /// Ids of those that ended.
    pub ended: Vec<String>,
    /// How many there are now.
    pub open: usize,
}

/// A list that people keep in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum List {
    /// Names of commands that need a terminal.
    RawCommands,
    /// Names of other commands.
    CommonCommands,
    /// Names of the rules that have a list of addresses.
    Rules,
    /// Addresses from which the clusters of a rule are reached.
    Addresses(String),
}
