//! The [`AccessList`]: an [`Authorizer`] from the `access:` entries of a configuration.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, Target,
    access::{Authorizer, Decision, Verb},
    identity::Principal,
};

/// One permission: who may do what where. All texts are globs in which `*` is any characters.
///
/// It is for a principal when `users` has him or `groups` has one of his groups.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccessEntry {
    /// User names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Group names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Verbs by their words, or `*` for all of them.
    pub verbs: Vec<String>,
    /// Cluster names.
    pub clusters: Vec<String>,
    /// Namespaces. Lists over all namespaces need `*`.
    pub namespaces: Vec<String>,
    /// Pod names; all of them when left out. Lists of a namespace need `*`.
    #[serde(default = "everything")]
    pub pods: Vec<String>,
}

/// Who may reach what. Nothing matches: denied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessList {
    entries: Vec<AccessEntry>,
}

impl AccessList {
    /// A list of checked entries.
    ///
    /// # Errors
    ///
    /// `Misuse` for an entry with a verb that does not exist or that can never match, naming the
    /// entry by its number, from 1, and the field.
    pub fn new(entries: Vec<AccessEntry>) -> Result<Self, Error> {
        for (index, entry) in entries.iter().enumerate() {
            let bad = |what: String| {
                Err(Error::new(
                    ErrorKind::Misuse,
                    format!("entry {} under `access`: {what}", index + 1),
                ))
            };
            if entry.users.is_empty() && entry.groups.is_empty() {
                return bad("is for nobody; give it `users` or `groups`".to_owned());
            }
            for (field, values) in [
                ("verbs", &entry.verbs),
                ("clusters", &entry.clusters),
                ("namespaces", &entry.namespaces),
                ("pods", &entry.pods),
            ] {
                if values.is_empty() {
                    return bad(format!("`{field}` is empty; write [\"*\"] for all"));
                }
            }
            let known = |verb: &str| verb == "*" || VERBS.iter().any(|v| v.as_str() == verb);
            if let Some(verb) = entry.verbs.iter().find(|verb| !known(verb)) {
                let words = VERBS.map(Verb::as_str).join(", ");
                return bad(format!("`{verb}` under `verbs` is none of {words}, \"*\""));
            }
        }
        Ok(Self { entries })
    }

    fn allows(&self, principal: &Principal, verb: Verb, target: &Target) -> bool {
        self.entry_for(principal, verb, target).is_some()
    }

    /// The number, from 1, of the first entry that lets `principal` do anything in `cluster`.
    #[must_use]
    pub fn entry_in(&self, principal: &Principal, cluster: &str) -> Option<usize> {
        let mut entries = self.entries.iter();
        let found =
            entries.position(|entry| entry.is_for(principal) && any(&entry.clusters, cluster));
        found.map(|index| index + 1)
    }

    /// The number, from 1, of the first entry that lets `principal` do that; none when he may not.
    #[must_use]
    pub fn entry_for(&self, principal: &Principal, verb: Verb, target: &Target) -> Option<usize> {
        let found = self.entries.iter().position(|entry| {
            entry.is_for(principal)
                && entry
                    .verbs
                    .iter()
                    .any(|word| word == "*" || word == verb.as_str())
                && any(&entry.clusters, &target.cluster)
                && any(&entry.namespaces, &target.namespace)
                && any(&entry.pods, &target.pod)
        });
        found.map(|index| index + 1)
    }
}

#[async_trait]
impl Authorizer for AccessList {
    async fn decide(&self, principal: &Principal, verb: Verb, target: &Target) -> Decision {
        if self.allows(principal, verb, target) {
            return Decision::Allow;
        }
        // The same words whether or not the target exists: a denial is not a way to look around.
        Decision::Deny {
            reason: format!("no entry under `access` gives `{verb}` there; ask for one"),
            rule: Some("no entry under `access`".to_owned()),
        }
    }

    /// Any entry for him counts, whatever it allows there.
    async fn reaches(&self, principal: &Principal, cluster: &str) -> bool {
        self.entry_in(principal, cluster).is_some()
    }
}

impl AccessEntry {
    /// Everything everywhere for one user.
    #[must_use]
    pub fn everything_for(user: &str) -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            users: vec![user.to_owned()],
            groups: Vec::new(),
            verbs: all(),
            clusters: all(),
            namespaces: all(),
            pods: all(),
        }
    }

    fn is_for(&self, principal: &Principal) -> bool {
        any(&self.users, &principal.user)
            || principal
                .groups
                .iter()
                .any(|group| any(&self.groups, group))
    }
}

const VERBS: [Verb; 9] = [
    Verb::Get,
    Verb::List,
    Verb::Exec,
    Verb::Attach,
    Verb::Logs,
    Verb::PortForward,
    Verb::Audit,
    Verb::Review,
    Verb::Write,
];

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn any(globs: &[String], text: &str) -> bool {
    globs.iter().any(|glob| matches(glob, text))
}

/// Whether `text` is `glob` with any characters in place of each `*`. Linear in practice: each
/// piece between stars is taken at its first place, which is always as good as a later one.
fn matches(glob: &str, text: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else {
        return glob == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut pieces = tail.split('*');
    let last = pieces.next_back().unwrap_or_default();
    for piece in pieces {
        match text.split_once(piece) {
            Some((_, rest)) => text = rest,
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{AccessEntry, AccessList, matches};
    use crate::{
        Target,
        access::{Authorizer as _, Decision, Verb},
        identity::{Principal, Proof},
    };

    fn list(yaml: &str) -> AccessList {
        AccessList::new(serde_saphyr::from_str(yaml).unwrap()).unwrap()
    }

    fn principal(user: &str, groups: &[&str]) -> Principal {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Principal::new(user, groups, Proof::Token)
    }

    async fn allowed(list: &AccessList, who: &Principal, verb: Verb, target: &Target) -> bool {
        list.decide(who, verb, target).await == Decision::Allow
    }

    const LIST: &str = r#"
- { groups: [admins], verbs: ["*"], clusters: ["*"], namespaces: ["*"] }
- { users: [alice], groups: [dev], verbs: [get, list, exec], clusters: [local], namespaces: [default, "dev-*"] }
- { users: [bob], verbs: [exec], clusters: [local], namespaces: [default], pods: ["web-*"] }
"#;

    #[tokio::test]
    async fn entry_gives_what_it_says_and_no_more() {
        let list = list(LIST);
        let web = Target::pod("local", "dev-1", "web-0").unwrap();
        for who in [principal("alice", &[]), principal("carol", &["x", "dev"])] {
            assert!(allowed(&list, &who, Verb::Exec, &web).await);
            assert!(!allowed(&list, &who, Verb::Logs, &web).await);
            let elsewhere = Target::pod("prod", "dev-1", "web-0").unwrap();
            assert!(!allowed(&list, &who, Verb::Exec, &elsewhere).await);
            let system = Target::pod("local", "kube-system", "web-0").unwrap();
            assert!(!allowed(&list, &who, Verb::Exec, &system).await);
        }
        assert!(allowed(&list, &principal("x", &["admins"]), Verb::Audit, &web).await);
        // A user is no group and a group is no user.
        assert!(!allowed(&list, &principal("dev", &["alice"]), Verb::Exec, &web).await);
    }

    #[tokio::test]
    async fn lists_need_the_whole_of_what_they_show() {
        let list = list(LIST);
        let all = Target::namespace("local", "*");
        let default = Target::namespace("local", "default");
        let (alice, bob) = (principal("alice", &[]), principal("bob", &[]));
        assert!(allowed(&list, &alice, Verb::List, &default).await);
        assert!(!allowed(&list, &alice, Verb::List, &all).await);
        assert!(allowed(&list, &principal("x", &["admins"]), Verb::List, &all).await);
        assert!(!allowed(&list, &bob, Verb::Exec, &default).await);
        assert!(list.reaches(&bob, "local").await);
        assert!(!list.reaches(&bob, "prod").await);
    }

    #[tokio::test]
    async fn denial_is_the_same_for_what_exists_and_what_does_not() {
        let list = list(LIST);
        let bob = principal("bob", &[]);
        let mut reasons = Vec::new();
        for (namespace, pod) in [("default", "db-0"), ("nowhere", "nothing")] {
            let target = Target::pod("local", namespace, pod).unwrap();
            match list.decide(&bob, Verb::Exec, &target).await {
                Decision::Deny { reason, .. } => reasons.push(reason),
                Decision::Allow => reasons.push("allowed".to_owned()),
            }
        }
        assert_eq!(reasons.first(), reasons.last());
        assert!(AccessList::default().entries.is_empty());
    }

    #[test]
    fn entries_that_cannot_match_are_refused_by_number_and_field() {
        let good = AccessEntry {
            users: vec!["a".to_owned()],
            verbs: vec!["*".to_owned()],
            clusters: vec!["*".to_owned()],
            namespaces: vec!["*".to_owned()],
            pods: vec!["*".to_owned()],
            ..AccessEntry::default()
        };
        assert!(AccessList::new(vec![good.clone()]).is_ok());
        for (bad, word) in [
            (
                AccessEntry {
                    users: vec![],
                    ..good.clone()
                },
                "nobody",
            ),
            (
                AccessEntry {
                    verbs: vec!["execute".to_owned()],
                    ..good.clone()
                },
                "`execute`",
            ),
            (
                AccessEntry {
                    clusters: vec![],
                    ..good.clone()
                },
                "`clusters`",
            ),
        ] {
            let error = AccessList::new(vec![good.clone(), bad]).unwrap_err();
            assert!(error.message().contains("entry 2"), "{error}");
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (glob, text) in [
            ("*", ""),
            ("*", "x"),
            ("a", "a"),
            ("a*", "a"),
            ("*a", "ba"),
            ("a*c*e", "abcde"),
            ("a*b*b", "abb"),
            ("**", "x"),
        ] {
            assert!(matches(glob, text), "{glob} {text}");
        }
        for (glob, text) in [
            ("", "a"),
            ("a", "ab"),
            ("a*", "ba"),
            ("a*a", "a"),
            ("a*b*b", "ab"),
            ("A", "a"),
            ("?", "a"),
        ] {
            assert!(!matches(glob, text), "{glob} {text}");
        }
    }
}
