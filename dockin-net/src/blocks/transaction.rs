use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a key holds, and when it was written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// The value.
    pub value: String,
    /// The store's revision of the last write, its mod-revision.
    pub revision: i64,
    /// The store's revision of the write that made the key.
    pub created: i64,
}

/// A condition of a transaction.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Compare {
    /// The key was last written at that revision; 0 when it is not there.
    Revision(String, i64),
    /// The key was made at that revision; 0 when it is not there.
    Created(String, i64),
}

impl Compare {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Revision(key, _) | Self::Created(key, _) => key,
        }
    }
}

/// A write of a transaction.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Write {
    /// The key gets a value, which goes with the lease when there is one.
    Put(String, String, Option<i64>),
    /// The key goes; one that is not there stays so.
    Delete(String),
}

/// Writes that happen together when every condition holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Transaction {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The writes.
    pub writes: Vec<Write>,
}

/// A question to the store. Each is answered as if nobody else asked at the same time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Request {
    /// [`Reply::Committed`], or [`Reply::Read`] with the keys of the conditions.
    Commit(Transaction),
    /// [`Reply::Read`].
    Read(Vec<String>),
    /// [`Reply::Listed`]: at most `limit` keys from `from` to before `to`, in order.
    List {
        /// The first key.
        from: String,
        /// The first key behind the last one.
        to: String,
        /// How many at most.
        limit: u32,
        /// Without their values.
        keys_only: bool,
    },
    /// [`Reply::Lease`]: a new lease that ends when it is not renewed.
    Grant {
        /// After how many seconds.
        seconds: u64,
    },
    /// [`Reply::Lease`]: the lease renewed; with 0 seconds when it has ended.
    KeepAlive(i64),
}

/// What the store answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Reply {
    /// The transaction happened, at that revision.
    Committed(i64),
    /// What the keys hold, none where they are not there.
    Read(Vec<(String, Option<Entry>)>),
    /// Keys in order, and whether there are more.
    Listed(Vec<(String, Entry)>, bool),
    /// The lease, and for how many seconds from when it was asked for.
    Lease(i64, u64),
}

/// The store gave no answer. What was asked for may have happened, or may happen yet.
#[derive(Clone, Debug, Deserialize, Eq, Error, PartialEq, Serialize)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// A store of keys shared by all nodes.
pub trait Store {
    /// Asks once.
    ///
    /// # Errors
    ///
    /// [`Unanswered`].
    fn ask(&mut self, request: &Request) -> Result<Reply, Unanswered>;
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Commit(_) => "a transaction",
            Self::Read(_) | Self::List { .. } => "a read",
            Self::Grant { .. } | Self::KeepAlive(_) => "a lease",
        })
    }
}
