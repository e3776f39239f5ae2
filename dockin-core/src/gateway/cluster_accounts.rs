//! Service accounts of clusters that come and go: whose tokens are checked is found when they are
//! shown.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use async_trait::async_trait;

use super::cluster_set::ClusterSet;
use crate::{
    Error, ErrorKind,
    identity::{
        Authenticator, Credentials, Principal, ServiceAccounts, TokenReviewer, claimed_audiences,
    },
    runtime::kube::KubeCluster,
};

/// Service accounts of one cluster that may not be there yet, or of every cluster there is.
///
/// A token is sent to a cluster's apiserver when its audience names that cluster and no other one,
/// and is checked as [`ServiceAccounts`] does it. A cluster that is gone knows nobody, and one
/// that comes again is asked anew.
pub struct ClusterAccounts {
    audience: Audience,
    clusters: OnceLock<Weak<ClusterSet>>,
    known: Mutex<HashMap<String, Known>>,
}

/// How the audience of a token tells its cluster.
#[derive(Debug)]
enum Audience {
    /// These are of that cluster.
    Of(String, Vec<String>),
    /// What is before and behind the cluster's name.
    Around(String, String),
}

/// The accounts of a cluster as it is now.
struct Known {
    cluster: Arc<KubeCluster>,
    accounts: Arc<ServiceAccounts>,
}

/// What stands for the name of a cluster in an audience.
const NAME: &str = "{cluster}";

impl ClusterAccounts {
    /// The accounts of the cluster called `cluster`, whose tokens are for one of `audiences`.
    #[must_use]
    pub fn of(cluster: impl Into<String>, audiences: Vec<String>) -> Self {
        Self::new(Audience::Of(cluster.into(), audiences))
    }

    /// The accounts of every cluster, whose tokens are for `audience` with the cluster's name in
    /// place of `{cluster}`.
    ///
    /// # Errors
    ///
    /// `Misuse` when `{cluster}` is not in it exactly once: the token of one cluster would be sent
    /// to another.
    pub fn of_all(audience: &str) -> Result<Self, Error> {
        match audience.split(NAME).collect::<Vec<_>>().as_slice() {
            [before, behind] => Ok(Self::new(Audience::Around(
                (*before).to_owned(),
                (*behind).to_owned(),
            ))),
            _ => {
                let what = format!(
                    "audience `{audience}` is for every cluster: it needs `{NAME}` in it once, as \
                     in `dockin-{NAME}`"
                );
                Err(Error::new(ErrorKind::Misuse, what))
            }
        }
    }

    fn new(audience: Audience) -> Self {
        Self {
            audience,
            clusters: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    /// The cluster that `audience` is for, when these are the accounts of every cluster.
    #[must_use]
    pub fn cluster_of<'a>(&self, audience: &'a str) -> Option<&'a str> {
        match &self.audience {
            Audience::Of(..) => None,
            Audience::Around(before, behind) => audience.strip_prefix(before)?.strip_suffix(behind),
        }
    }

    /// Says where the clusters are; before that there are none.
    pub(super) fn bind(&self, clusters: &Arc<ClusterSet>) {
        // One gateway asks it.
        let _again = self.clusters.set(Arc::downgrade(clusters));
    }

    /// The accounts that `token` says it is of.
    fn accounts(&self, token: &str) -> Result<Option<Arc<ServiceAccounts>>, Error> {
        let Some(claimed) = claimed_audiences(token) else {
            return Ok(None);
        };
        let (name, audiences) = match &self.audience {
            Audience::Of(name, audiences) => {
                match claimed.iter().any(|it| audiences.contains(it)) {
                    true => (name.clone(), audiences.clone()),
                    false => return Ok(None),
                }
            }
            Audience::Around(..) => {
                let mut named = claimed.iter().filter_map(|one| {
                    let name = self.cluster_of(one)?;
                    Some((name.to_owned(), vec![one.clone()]))
                });
                match (named.next(), named.next()) {
                    (Some(one), None) => one,
                    // Each of two could use it at the other.
                    _ => return Ok(None),
                }
            }
        };
        let Some(clusters) = self.clusters.get().and_then(Weak::upgrade) else {
            return Ok(None);
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cluster) = upstream(&clusters, &name) else {
            known.remove(&name);
            return Ok(None);
        };
        if let Some(found) = known.get(&name)
            && Arc::ptr_eq(&found.cluster, &cluster)
        {
            return Ok(Some(Arc::clone(&found.accounts)));
        }
        // Clusters that have gone meanwhile keep no connection for this.
        known.retain(|name, one| {
            upstream(&clusters, name).is_some_and(|now| Arc::ptr_eq(&now, &one.cluster))
        });
        let reviewer = Arc::clone(&cluster) as Arc<dyn TokenReviewer>;
        let accounts = Arc::new(ServiceAccounts::new(&name, audiences, reviewer)?);
        let now = Known {
            cluster,
            accounts: Arc::clone(&accounts),
        };
        known.insert(name, now);
        Ok(Some(accounts))
    }
}

/// The apiserver of the cluster called `name`, if there is one.
fn upstream(clusters: &ClusterSet, name: &str) -> Option<Arc<KubeCluster>> {
    clusters.find(Some(name))?.upstream().cloned()
}

#[async_trait]
impl Authenticator for ClusterAccounts {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let Some(token) = &credentials.bearer else {
            return Ok(None);
        };
        match self.accounts(token)? {
            Some(accounts) => accounts.authenticate(credentials).await,
            None => Ok(None),
        }
    }
}

impl fmt::Debug for ClusterAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAccounts")
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Audience, ClusterAccounts};

    #[test]
    fn an_audience_for_every_cluster_tells_which_one() {
        let all = ClusterAccounts::of_all("dockin-{cluster}.example").unwrap();
        let Audience::Around(before, behind) = &all.audience else {
            panic!("{all:?}")
        };
        assert_eq!((before.as_str(), behind.as_str()), ("dockin-", ".example"));
        for ambiguous in ["dockin", "{cluster}-{cluster}", "", "dockin-{name}"] {
            let error = ClusterAccounts::of_all(ambiguous).unwrap_err();
            assert!(error.message().contains("`dockin-{cluster}`"), "{error}");
        }
    }
}
