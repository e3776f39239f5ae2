//! What a request can mean: the clusters of a rule, and the one pod that a name stands for.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures::future::join_all;

use super::{DEFAULT_RULE, Gateway, check_length};
use crate::{
    Error, ErrorKind, Target,
    access::{Decision, Verb},
    compat::OpsRequest,
    directory::Pod,
    gateway::{Call, Cluster},
};

/// A pod, and where it is.
pub(super) struct Place {
    pub(super) cluster: Arc<Cluster>,
    pub(super) pod: Pod,
}

/// What clusters answered in time.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) places: Vec<Place>,
    /// One that did not answer.
    pub(super) lost: Option<Error>,
}

/// How long all clusters together may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Gateway {
    /// The clusters of `rule` in which the caller may do anything from where he is; with `only`
    /// none but that one.
    pub(super) async fn ops_clusters(
        &self,
        call: &Call,
        rule: &str,
        only: Option<&str>,
    ) -> Vec<Arc<Cluster>> {
        let mut reached = Vec::new();
        for cluster in self.clusters.all().iter() {
            let named = only.is_none_or(|name| name.eq_ignore_ascii_case(cluster.name()));
            let ruled = cluster.rule().unwrap_or(DEFAULT_RULE) == rule;
            if named && ruled && self.ops_reaches(call, cluster).await {
                reached.push(Arc::clone(cluster));
            }
        }
        reached
    }

    /// Whether the caller may do anything in `cluster` from where he is.
    pub(super) async fn ops_reaches(&self, call: &Call, cluster: &Cluster) -> bool {
        cluster.admits(call.client.ip())
            && self
                .authorizer
                .reaches(&call.principal, cluster.name())
                .await
    }

    /// The pods of `clusters` that the caller may see with `verb`, and that `wanted` takes.
    pub(super) async fn ops_seen(
        &self,
        call: &Call,
        clusters: &[Arc<Cluster>],
        namespace: Option<&str>,
        verb: Verb,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Seen {
        let answers = join_all(clusters.iter().map(|cluster| async move {
            let listed = tokio::time::timeout(PATIENCE, pods(call, cluster, namespace)).await;
            let late = || {
                let message = format!("cluster `{}` gave no answer in 5 s", cluster.name());
                Err(Error::new(ErrorKind::Unavailable, message))
            };
            (cluster, listed.unwrap_or_else(|_| late()))
        }))
        .await;
        let mut seen = Seen::default();
        for (cluster, answer) in answers {
            let (pods, lost) = match answer {
                Ok(answer) => answer,
                Err(error) => (Vec::new(), Some(error)),
            };
            seen.lost = seen.lost.or(lost);
            for pod in pods.into_iter().filter(|pod| wanted(pod)) {
                let Ok(target) = Target::pod(cluster.name(), &pod.namespace, &pod.name) else {
                    continue;
                };
                let decision = self.authorizer.decide(&call.principal, verb, &target).await;
                if decision == Decision::Allow {
                    let cluster = Arc::clone(cluster);
                    seen.places.push(Place { cluster, pod });
                }
            }
        }
        seen
    }

    /// The one pod that a request names, by name or by address, and that the caller may use with
    /// `verb`. Whether there is one that he may not use is not told.
    pub(super) async fn ops_place(
        &self,
        call: &Call,
        rule: &str,
        asked: &OpsRequest,
        verb: Verb,
    ) -> Result<Place, Error> {
        let name = asked.name.as_str();
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Malformed, "`name` is missing"));
        }
        check_length(name, "name")?;
        let address: Option<IpAddr> = name.parse().ok();
        let clusters = self
            .ops_clusters(call, rule, asked.cluster.as_deref())
            .await;
        let namespace = asked.namespace.as_deref();
        let wanted = |pod: &Pod| match address {
            Some(address) => pod.ip.as_deref().and_then(|ip| ip.parse().ok()) == Some(address),
            None => pod.name == name,
        };
        let mut seen = self
            .ops_seen(call, &clusters, namespace, verb, wanted)
            .await;
        match (seen.places.pop(), seen.places.len()) {
            (Some(place), 0) => Ok(place),
            (Some(_), more) => {
                let message = format!(
                    "{} pods are called `{name}`: say the namespace, with -n",
                    more + 1
                );
                Err(Error::new(ErrorKind::Conflict, message))
            }
            (None, _) => Err(self.ops_nowhere(call, rule, name, verb, seen.lost).await),
        }
    }

    /// Why there is no pod for a name; written down, because it may be a refusal.
    async fn ops_nowhere(
        &self,
        call: &Call,
        rule: &str,
        name: &str,
        verb: Verb,
        lost: Option<Error>,
    ) -> Error {
        if let Some(lost) = lost {
            return lost;
        }
        let message = format!(
            "pod `{name}` is not in a cluster of rule `{rule}`, or user `{}` may not {verb} \
             there: see `dockctl access explain`",
            call.principal.user
        );
        let error = Error::new(ErrorKind::Forbidden, message);
        // In which cluster and namespace it would be is not known, and not for him to know.
        let target = Target {
            pod: name.to_owned(),
            ..Target::namespace("*", "*")
        };
        match self
            .auditor
            .access_denied(call, verb, &target, &error)
            .await
        {
            Ok(()) => error,
            Err(unwritten) => unwritten,
        }
    }
}

/// The pods of a cluster, and why some may be missing.
async fn pods(
    call: &Call,
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<(Vec<Pod>, Option<Error>), Error> {
    #[cfg(feature = "kube")]
    if let Some(upstream) = cluster.upstream() {
        let runtime = upstream.for_principal(&call.principal);
        return Ok((runtime.pods(namespace).await?, None));
    }
    #[cfg(not(feature = "kube"))]
    let _asked_as_oneself = call;
    let listing = cluster.list(namespace).await?;
    let lost = listing
        .warnings
        .into_iter()
        .next()
        .map(|warning| Error::new(ErrorKind::Unavailable, warning));
    Ok((listing.pods, lost))
}
