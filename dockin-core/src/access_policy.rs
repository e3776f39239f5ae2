//! The [`AccessPolicy`]: an [`Authorizer`] from roles in projects, by files that are followed.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use dockin_policy::{
    access::{Answer, Attributes, Mode, Person},
    io::access_file::{Access, AccessFile, AccessFileError, AccessFiles},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, ErrorKind, Target,
    access::{Authorizer, Decision, Verb},
    identity::Principal,
};

/// How often the files are looked at: a change is read at the second look that sees it.
const LOOK: Duration = Duration::from_millis(4);

/// Who may reach what, by the rules in force now. Readers take no lock.
#[derive(Debug)]
pub struct AccessPolicy(ArcSwap<Access>);

/// What became of changed access files.
#[derive(Debug)]
// Exhaustive: whole or not at all.
pub enum AccessChange {
    /// As many rules are in force now.
    Accepted(usize),
    /// They are wrong; the old ones stay in force.
    Rejected(String),
}

impl AccessPolicy {
    /// A policy that changes only by [`replace`](Self::replace).
    #[must_use]
    pub fn fixed(access: Access) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(access)))
    }

    /// Loads `files`, and from then on follows their changes until `stop`, whole or not at all.
    /// `told` hears of every change.
    ///
    /// # Errors
    ///
    /// `Misuse` with file, line and the fix when the first load fails: without rules nothing
    /// starts.
    pub fn follow(
        files: AccessFiles,
        mode: Mode,
        stop: CancellationToken,
        mut told: impl FnMut(AccessChange) + Send + 'static,
    ) -> Result<Arc<Self>, Error> {
        let (mut file, first) = AccessFile::load(files, mode).map_err(misuse)?;
        let policy = Self::fixed(first);
        let followed = Arc::clone(&policy);
        tokio::spawn(async move {
            while stop
                .run_until_cancelled(tokio::time::sleep(LOOK))
                .await
                .is_some()
            {
                let looked = tokio::task::spawn_blocking(move || {
                    let changed = file.reload_if_changed();
                    (file, changed)
                });
                let changed = match looked.await {
                    Ok((same, changed)) => {
                        file = same;
                        changed
                    }
                    // It panicked, which is our bug; the rules in force stay.
                    Err(_) => {
                        told(AccessChange::Rejected("reading them failed".to_owned()));
                        return;
                    }
                };
                match changed {
                    Ok(None) => {}
                    Ok(Some(access)) => {
                        let count = access.0.rule_count();
                        followed.replace(access);
                        told(AccessChange::Accepted(count));
                    }
                    Err(error) => told(AccessChange::Rejected(error.to_string())),
                }
            }
        });
        Ok(policy)
    }

    /// Puts other rules in force.
    pub fn replace(&self, access: Access) {
        self.0.store(Arc::new(access));
    }

    /// The rules in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Access> {
        self.0.load_full()
    }

    fn ask(&self, principal: &Principal, wanted: &Attributes) -> Decision {
        let access = self.0.load();
        let (rules, tenancy) = &**access;
        let answer = tenancy.authorize(rules, &person(principal), wanted);
        match answer.allowed {
            true => Decision::Allow,
            false => Decision::Deny {
                rule: Some(decided_by(&answer).to_owned()),
                reason: answer.reason,
            },
        }
    }
}

#[async_trait]
impl Authorizer for AccessPolicy {
    async fn decide(&self, principal: &Principal, verb: Verb, target: &Target) -> Decision {
        self.ask(principal, &attributes(verb, target))
    }

    async fn decide_request(&self, principal: &Principal, wanted: &Attributes) -> Decision {
        self.ask(principal, wanted)
    }

    async fn reaches(&self, principal: &Principal, cluster: &str) -> bool {
        let access = self.0.load();
        let (rules, tenancy) = &**access;
        tenancy.reaches(rules, &person(principal), cluster)
    }
}

/// The rule that refused, or that there is none.
pub(crate) fn decided_by(answer: &Answer) -> &str {
    match (&answer.rule, &answer.question) {
        (Some(rule), _) => rule,
        (None, Some(_)) => "no rule matches",
        (None, None) => "no rule was asked",
    }
}

/// A principal as the rules know people. Groups that TKEStack reads as context are left out:
/// they would let an identity provider choose the tenant.
fn person(principal: &Principal) -> Person {
    let context = ["tenant:", "project:", "cluster:", "namespace:"];
    let is_plain = |group: &&String| !context.iter().any(|prefix| group.starts_with(prefix));
    Person {
        user: principal.user.clone(),
        groups: principal.groups.iter().filter(is_plain).cloned().collect(),
        // Without a tenant nothing is converted by rules in compatible mode.
        extra: [(
            "tenantid".to_owned(),
            principal.tenant.iter().cloned().collect(),
        )]
        .into(),
    }
}

/// What a verb of the gateway is to an API server.
#[must_use]
pub fn attributes(verb: Verb, target: &Target) -> Attributes {
    let all = |text: &str| match text {
        "*" => String::new(),
        text => text.to_owned(),
    };
    let (word, resource, subresource) = match verb {
        Verb::Get => ("get", "pods", ""),
        Verb::List => ("list", "pods", ""),
        Verb::Exec => ("create", "pods", "exec"),
        Verb::Attach => ("create", "pods", "attach"),
        Verb::Logs => ("get", "pods", "log"),
        Verb::PortForward => ("create", "pods", "portforward"),
        Verb::Audit => ("get", "audits", ""),
        Verb::Review => ("create", "subjectaccessreviews", ""),
        Verb::Write => ("update", "pods", ""),
    };
    let name = match verb {
        // There is one trail.
        Verb::Audit => "trail".to_owned(),
        _ => target.pod.clone(),
    };
    Attributes {
        verb: word.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name,
        namespace: all(&target.namespace),
        cluster: Some(all(&target.cluster)),
        ..Attributes::default()
    }
}

fn misuse(error: AccessFileError) -> Error {
    Error::new(ErrorKind::Misuse, format!("access rules {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, time::Duration};

    use dockin_policy::{
        access::{ActionOnObject, Document, Mode, action_on_object},
        io::access_file::AccessFiles,
    };
    use http::Method;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::{AccessChange, AccessPolicy};
    use crate::{
        Target,
        access::{Authorizer as _, Decision, Verb},
        identity::{Principal, Proof},
        kubernetes::request_attributes,
    };

    fn principal(user: &str, groups: &[&str]) -> Principal {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Principal::new(user, groups, Proof::Token)
    }

    const DOCUMENT: &str = "
groups:
  dev: { roles: [] }
  ops: { roles: [reader, auditor] }
projects:
  shop:
    namespaces: [local/shop]
    members:
      - { role: pod-shell, groups: [dev] }
";

    #[tokio::test]
    async fn verbs_are_decided_by_roles_in_projects() {
        let access = Document::parse(DOCUMENT)
            .unwrap()
            .compile(Mode::Strict)
            .unwrap();
        let policy = AccessPolicy::fixed(access);
        let dev = principal("alice", &["dev"]);
        let ops = principal("olga", &["ops"]);
        let shop = Target::pod("local", "shop", "web-0").unwrap();
        let other = Target::pod("local", "other", "web-0").unwrap();
        let trail = Target::namespace("*", "*");
        for (who, verb, target, allowed) in [
            (&dev, Verb::Exec, &shop, true),
            (&dev, Verb::Logs, &shop, true),
            (&dev, Verb::List, &Target::namespace("local", "shop"), true),
            (&dev, Verb::List, &Target::namespace("local", "*"), false),
            (&dev, Verb::PortForward, &shop, false),
            (&dev, Verb::Exec, &other, false),
            (&dev, Verb::Audit, &trail, false),
            (&ops, Verb::Get, &other, true),
            (&ops, Verb::Exec, &other, false),
            (&ops, Verb::List, &Target::namespace("local", "*"), true),
            (&ops, Verb::Audit, &trail, true),
        ] {
            let decision = policy.decide(who, verb, target).await;
            assert_eq!(
                decision == Decision::Allow,
                allowed,
                "{verb} {target}: {decision:?}"
            );
        }
        assert!(policy.reaches(&dev, "local").await);
        assert!(!policy.reaches(&dev, "prod").await);
        assert!(policy.reaches(&ops, "prod").await);
        assert!(!policy.reaches(&principal("nobody", &[]), "local").await);
        // Who may list pods does not read secrets by it.
        let request = |path| request_attributes(&Method::GET, "local", path, "").unwrap();
        for (path, allowed) in [
            ("/api/v1/namespaces/shop/pods", true),
            ("/api/v1/namespaces/shop/secrets", false),
            ("/api/v1/watch/namespaces/shop/secrets", false),
        ] {
            let decision = policy.decide_request(&dev, &request(path)).await;
            assert_eq!(decision == Decision::Allow, allowed, "{path}");
        }
    }

    #[test]
    fn a_path_is_read_as_an_apiserver_reads_it() {
        for (method, path, query, action, object) in [
            (
                "GET",
                "/api/v1/namespaces/a/secrets/s",
                "",
                "getSecret",
                "cluster:c/namespace:a/secret:s",
            ),
            (
                "GET",
                "/apis/apps/v1/deployments",
                "limit=5",
                "listDeployments",
                "cluster:c/deployment:*",
            ),
            (
                "GET",
                "/apis/apps/v1/deployments",
                "watch=1",
                "watchDeployment",
                "cluster:c/deployment:*",
            ),
            (
                "GET",
                "/api/v1/namespaces",
                "",
                "listNamespaces",
                "cluster:c/namespace:*",
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                "",
                "getNamespace",
                "cluster:c/namespace:a",
            ),
            ("GET", "/api/v1/nodes/n", "", "getNode", "cluster:c/node:n"),
            ("GET", "/metrics", "", "list", "cluster:c//metrics"),
            ("POST", "/metrics", "", "post", "cluster:c//metrics"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "",
                "updateDeploymentScale",
                "cluster:c/namespace:a/deployment:d",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                "",
                "deletePod",
                "cluster:c/namespace:a/pod:*",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/services/s/proxy/x",
                "",
                "getServiceProxy",
                "cluster:c/namespace:a/service:s",
            ),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let wanted = request_attributes(&method, "c", path, query).unwrap();
            let asked = action_on_object(&wanted, Mode::Strict);
            let expected = ActionOnObject {
                action: action.to_owned(),
                object: object.to_owned(),
            };
            assert_eq!(asked, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn changed_files_are_in_force_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.yaml");
        let of = |role: &str| format!("users: {{ alice: {{ roles: [{role}] }} }}\n");
        fs::write(&path, of("pod-viewer")).unwrap();
        let stop = CancellationToken::new();
        let (told, mut changes) = mpsc::unbounded_channel();
        let files = AccessFiles::Document(path.clone());
        let policy = AccessPolicy::follow(files, Mode::Strict, stop.clone(), move |change| {
            told.send(change).unwrap();
        })
        .unwrap();
        let alice = principal("alice", &[]);
        let pod = Target::pod("c", "n", "p").unwrap();
        let mut next = async || {
            let wait = tokio::time::timeout(Duration::from_secs(20), changes.recv());
            wait.await.unwrap().unwrap()
        };
        for (role, may) in [("no-such-role", false), ("pod-shell", true), ("{", true)] {
            fs::write(&path, of(role)).unwrap();
            let accepted = matches!(next().await, AccessChange::Accepted(_));
            assert_eq!(accepted, role == "pod-shell");
            let decision = policy.decide(&alice, Verb::Exec, &pod).await;
            assert_eq!(decision == Decision::Allow, may, "{role}");
        }
        stop.cancel();
    }
}
