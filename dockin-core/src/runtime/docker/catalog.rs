use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::entry::Entry;
use crate::{
    Error, ErrorKind, Target,
    directory::{Container, Pod},
};

/// The containers of the daemon, and the pods they make.
///
/// Only [`watch`](super::watch) writes; whether what it holds is the present is
/// [`is_current`](Self::is_current).
pub(super) struct Catalog {
    node: String,
    entries: Mutex<HashMap<String, Entry>>,
    freshness: watch::Sender<Freshness>,
    /// Held while the daemon is asked and the answer is written, so that an older answer never
    /// overwrites a newer one.
    pub(super) writing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Freshness {
    /// Nobody has asked the daemon yet.
    Unknown,
    /// The events of the daemon keep it true.
    Current,
    /// The daemon is away.
    Stale,
}

/// A container that was looked up, and what its streams need to know.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tty: bool,
    pub(super) stdin: bool,
    pub(super) stdin_once: bool,
    pub(super) ip: Option<String>,
    /// Process 1 of the container, as the daemon numbers it.
    pub(super) main_process: Option<u32>,
}

impl Found {
    /// The container does not run.
    pub(super) fn not_running(&self) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!("container `{}` is not running", self.name),
        )
    }

    /// A refusal of the daemon's in terms of the container that was asked for.
    pub(super) fn explain(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::NotFound => {
                let text = format!("container `{}` is not there any more", self.name);
                Error::new(ErrorKind::NotFound, text).with_source(error)
            }
            ErrorKind::Conflict => {
                let text = format!("container `{}` is not running, or is paused", self.name);
                Error::new(ErrorKind::Conflict, text).with_source(error)
            }
            _ => error,
        }
    }
}

impl Catalog {
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            entries: Mutex::default(),
            freshness: watch::Sender::new(Freshness::Unknown),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until the daemon has answered once, or has not.
    pub(super) async fn first_attempt(&self) {
        let mut freshness = self.freshness.subscribe();
        // The sender is ours, so this cannot fail.
        let _answered = freshness.wait_for(|now| *now != Freshness::Unknown).await;
    }

    pub(super) fn is_current(&self) -> bool {
        *self.freshness.borrow() == Freshness::Current
    }

    pub(super) fn set_current(&self, current: bool) {
        let now = if current {
            Freshness::Current
        } else {
            Freshness::Stale
        };
        self.freshness.send_replace(now);
    }

    /// Replaces everything.
    pub(super) fn replace(&self, entries: HashMap<String, Entry>) {
        *self.lock() = entries;
    }

    /// Writes one container down, or strikes it out.
    pub(super) fn put(&self, id: &str, entry: Option<Entry>) {
        let mut entries = self.lock();
        match entry {
            Some(entry) => drop(entries.insert(id.to_owned(), entry)),
            None => drop(entries.remove(id)),
        }
    }

    /// Strikes out what is not in `listed` (ids and names), and gives the ids that are new.
    pub(super) fn keep(&self, listed: &HashMap<String, String>) -> Vec<String> {
        let mut entries = self.lock();
        entries.retain(|id, entry| listed.get(id) == Some(&entry.docker_name));
        listed
            .keys()
            .filter(|id| !entries.contains_key(*id))
            .cloned()
            .collect()
    }

    /// Every pod of `namespace`, or all, in order of namespace and name.
    pub(super) fn pods(&self, namespace: Option<&str>) -> Vec<Pod> {
        let entries = self.lock();
        pods(
            &self.node,
            entries
                .values()
                .filter(|e| namespace.is_none_or(|n| n == e.namespace)),
        )
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        let entries = self.lock();
        self.pod_of(&entries, namespace, name)
    }

    fn pod_of(
        &self,
        entries: &HashMap<String, Entry>,
        namespace: &str,
        name: &str,
    ) -> Result<Pod, Error> {
        let of_name = |entry: &&Entry| entry.namespace == namespace && entry.pod == name;
        let mut found = pods(&self.node, entries.values().filter(of_name));
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "two pods are named `{namespace}/{name}` on node `{}`",
                    self.node
                ),
            )),
            (None, _) => Err(Error::new(
                ErrorKind::NotFound,
                format!("no pod `{namespace}/{name}` on node `{}`", self.node),
            )),
        }
    }

    pub(super) fn find(&self, target: &Target) -> Result<Found, Error> {
        let entries = self.lock();
        let pod = self.pod_of(&entries, &target.namespace, &target.pod)?;
        let container = pod.container(target.container.as_deref())?;
        let entry = entries.get(&container.id);
        Ok(found(container, entry, pod.ip.clone()))
    }

    /// The run before `current` of the same container of a pod. A plain container has only one
    /// run: Docker appends to its log when it starts it again.
    pub(super) fn previous(&self, current: &Found, target: &Target) -> Result<Found, Error> {
        let entries = self.lock();
        let none = || {
            Error::new(
                ErrorKind::Malformed,
                format!(
                    "previous terminated container {} in pod {} not found",
                    current.name, target.pod
                ),
            )
        };
        let now = entries.get(&current.id).ok_or_else(none)?;
        let same = |entry: &&Entry| {
            !entry.sandbox
                && entry.uid == now.uid
                && entry.container.name == now.container.name
                && entry.created < now.created
        };
        let before = entries
            .values()
            .filter(same)
            .max_by_key(|e| e.created)
            .ok_or_else(none)?;
        Ok(found(&before.container, Some(before), None))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // A panic while it was held cannot have left half an entry: every change is one call.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn found(container: &Container, entry: Option<&Entry>, ip: Option<String>) -> Found {
    Found {
        id: container.id.clone(),
        name: container.name.clone(),
        tty: container.tty,
        stdin: container.stdin,
        stdin_once: entry.is_some_and(|entry| entry.stdin_once),
        ip,
        main_process: entry.and_then(|entry| entry.main_process),
    }
}

/// The pods that `entries` make: of each container of a pod the newest run, and of several pods
/// with one name those that run, or the newest.
fn pods<'a>(node: &str, entries: impl Iterator<Item = &'a Entry>) -> Vec<Pod> {
    let mut by_name: BTreeMap<(&str, &str), BTreeMap<&str, Vec<&Entry>>> = BTreeMap::new();
    for entry in entries {
        let same_name = by_name.entry((&entry.namespace, &entry.pod)).or_default();
        same_name.entry(&entry.uid).or_default().push(entry);
    }
    let mut all = Vec::new();
    for same_name in by_name.into_values() {
        let mut living: Vec<Vec<&Entry>> = same_name.into_values().collect();
        // A sandbox without containers is a pod that is still being made, or nearly gone.
        living.retain(|parts| parts.iter().any(|entry| !entry.sandbox));
        living.sort_by_key(|parts| {
            let runs = parts
                .iter()
                .any(|entry| !entry.sandbox && entry.is_running());
            (
                Reverse(runs),
                Reverse(parts.iter().map(|entry| entry.created).max()),
            )
        });
        let runs = |parts: &Vec<&Entry>| parts.iter().any(|e| !e.sandbox && e.is_running());
        let keep = living.iter().filter(|parts| runs(parts)).count().max(1);
        all.extend(
            living
                .into_iter()
                .take(keep)
                .map(|parts| assemble(node, parts)),
        );
    }
    all
}

fn assemble(node: &str, mut parts: Vec<&Entry>) -> Pod {
    parts.sort_by_key(|entry| entry.created);
    let mut pod = Pod {
        node: node.to_owned(),
        ..Pod::default()
    };
    let mut containers: BTreeMap<&str, &Container> = BTreeMap::new();
    if let Some(oldest) = parts.first() {
        pod.namespace.clone_from(&oldest.namespace);
        pod.name.clone_from(&oldest.pod);
        pod.uid.clone_from(&oldest.uid);
        pod.created = oldest.created.as_second();
    }
    let has_sandbox = parts.iter().any(|entry| entry.sandbox);
    for entry in parts {
        // Ascending by age: what is newer overwrites.
        if entry.sandbox || !has_sandbox {
            pod.labels.clone_from(&entry.labels);
            pod.annotations.clone_from(&entry.annotations);
        }
        if entry.ip.is_some() {
            pod.ip.clone_from(&entry.ip);
        }
        if !entry.sandbox {
            containers.insert(&entry.container.name, &entry.container);
        }
    }
    pod.containers = containers.into_values().cloned().collect();
    pod
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use std::collections::HashMap;

    use bollard::models::ContainerInspectResponse;

    use super::{Catalog, Entry};
    use crate::{ErrorKind, Target, directory::ContainerState};

    #[test]
    fn a_plain_container_is_a_pod_of_its_own() {
        let catalog = catalog(&[plain("a1", "web", "running")]);
        let pod = catalog.pod("default", "web").unwrap();
        assert_eq!(
            (pod.name.as_str(), pod.containers[0].name.as_str()),
            ("web", "web")
        );
        assert_eq!(pod.created, 1_767_225_600);
        assert_eq!(pod.labels.len(), 1);
        let missing = catalog.pod("default", "api").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_uid_is_made_from_the_container_id() {
        let id = "0123456789abcdef0123456789abcdef".repeat(2);
        let catalog = catalog(&[plain(&id, "web", "running")]);
        let pod = catalog.pod("default", "web").unwrap();
        assert_eq!(pod.uid, "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn of_a_restarted_container_only_the_newest_run_is_shown() {
        let catalog = catalog(&[
            of_pod("old", "u1", "app", "exited", 1),
            of_pod("new", "u1", "app", "running", 2),
            of_pod("net", "u1", "POD", "running", 0),
        ]);
        let pod = catalog.pod("shop", "web-0").unwrap();
        assert_eq!(pod.containers.len(), 1);
        assert_eq!(pod.containers[0].id, "new");
        let target = Target::pod("c", "shop", "web-0").unwrap();
        let found = catalog.find(&target).unwrap();
        assert_eq!(catalog.previous(&found, &target).unwrap().id, "old");
    }

    #[test]
    fn what_is_left_of_a_replaced_pod_is_not_shown() {
        let dead = of_pod("old", "u1", "app", "exited", 1);
        let now = of_pod("new", "u2", "app", "running", 2);
        let both = catalog(&[dead.clone(), now.clone()]);
        assert_eq!(both.pod("shop", "web-0").unwrap().uid, "u2");
        assert_eq!(both.pods(Some("shop")).len(), 1);
        // Also when the new one has ended as well.
        let ended = of_pod("new", "u2", "app", "exited", 2);
        assert_eq!(
            catalog(&[dead, ended]).pod("shop", "web-0").unwrap().uid,
            "u2"
        );
    }

    #[test]
    fn two_living_pods_of_one_name_are_a_conflict() {
        let catalog = catalog(&[
            of_pod("a", "u1", "app", "running", 1),
            of_pod("b", "u2", "app", "running", 2),
        ]);
        assert_eq!(
            catalog.pod("shop", "web-0").unwrap_err().kind(),
            ErrorKind::Conflict
        );
        assert_eq!(catalog.pods(None).len(), 2);
    }

    #[test]
    fn a_sandbox_alone_is_no_pod() {
        let catalog = catalog(&[of_pod("net", "u1", "POD", "running", 0)]);
        assert!(catalog.pods(None).is_empty());
    }

    #[test]
    fn containers_that_are_gone_or_renamed_are_struck_out() {
        let catalog = catalog(&[
            plain("a", "stays", "running"),
            plain("b", "gone", "running"),
            plain("c", "before", "running"),
        ]);
        let listed = [("a", "stays"), ("c", "after"), ("d", "new")];
        let listed = listed
            .map(|(id, name)| (id.to_owned(), name.to_owned()))
            .into();
        let mut new = catalog.keep(&listed);
        new.sort();
        assert_eq!(new, ["c", "d"]);
        let names: Vec<String> = catalog.pods(None).into_iter().map(|pod| pod.name).collect();
        assert_eq!(names, ["stays"]);
    }

    #[test]
    fn every_state_of_the_daemon_is_one_of_ours() {
        let state = |status| {
            let pod = catalog(&[plain("a", "web", status)])
                .pod("default", "web")
                .unwrap();
            pod.containers[0].state.clone()
        };
        for status in ["created", "paused", "restarting", ""] {
            assert_eq!(state(status), ContainerState::Waiting, "{status}");
        }
        assert_eq!(
            state("running"),
            ContainerState::Running {
                started: 1_767_225_601
            }
        );
        for status in ["exited", "dead", "removing"] {
            let ended = ContainerState::Terminated {
                exit_code: 9,
                started: 1_767_225_601,
                finished: 0,
            };
            assert_eq!(state(status), ended, "{status}");
        }
    }

    fn catalog(entries: &[ContainerInspectResponse]) -> Catalog {
        let catalog = Catalog::new("node".to_owned());
        let entries = entries
            .iter()
            .cloned()
            .map(|entry| Entry::read(entry).unwrap());
        let entries: HashMap<_, _> = entries
            .map(|entry| (entry.container.id.clone(), entry))
            .collect();
        catalog.replace(entries);
        catalog
    }

    fn plain(id: &str, name: &str, status: &str) -> ContainerInspectResponse {
        inspected(id, name, status, 0, serde_json::json!({"app": "web"}))
    }

    fn of_pod(
        id: &str,
        uid: &str,
        name: &str,
        status: &str,
        second: u32,
    ) -> ContainerInspectResponse {
        let labels = serde_json::json!({
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.name": "web-0",
            "io.kubernetes.pod.uid": uid,
            "io.kubernetes.container.name": name,
        });
        inspected(
            id,
            &format!("k8s_{name}_web-0_shop_{uid}_{id}"),
            status,
            second,
            labels,
        )
    }

    fn inspected(
        id: &str,
        name: &str,
        status: &str,
        second: u32,
        labels: serde_json::Value,
    ) -> ContainerInspectResponse {
        serde_json::from_value(serde_json::json!({
            "Id": id,
            "Name": format!("/{name}"),
            "Created": format!("2026-01-01T00:00:{second:02}.000000001Z"),
            "State": {
                "Status": status,
                "ExitCode": 9,
                "StartedAt": "2026-01-01T00:00:01Z",
                "FinishedAt": "0001-01-01T00:00:00Z",
            },
            "Config": { "Labels": labels, "Image": "busybox" },
        }))
        .unwrap()
    }
}
