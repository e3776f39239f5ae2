//! Users, groups, roles, policies, projects and tenants as one readable document.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    AccessRules, DEFAULT_TENANT, Faults, Link, Mode, Place, Rule, Source, Tenancy, fault::Report,
    group_key, user_key,
};

/// A YAML document of who may do what.
///
/// ```
/// use dockin_policy::access::{Attributes, Document, Mode, Person};
///
/// let (rules, tenancy) = Document::parse(
///     "
/// groups:
///   dev: { users: [alice] }
/// policies:
///   shell:
///     - { allow: [exec, logs, \"get*\", \"list*\"], on: [\"*\"] }
///   no-prod-shell:
///     - { deny: [exec, attach], on: [\"cluster:prod/*\"] }
/// roles:
///   developer: { policies: [shell, no-prod-shell] }
/// projects:
///   shop:
///     namespaces: [cls-1/shop, prod/shop]
///     members:
///       - { role: developer, groups: [dev] }
/// ",
/// )?
/// .compile(Mode::Strict)?;
/// let alice = Person { user: "alice".to_owned(), ..Person::default() };
/// let exec = |cluster: &str, namespace: &str| Attributes {
///     verb: "create".to_owned(),
///     resource: "pods".to_owned(),
///     subresource: "exec".to_owned(),
///     name: "web-0".to_owned(),
///     namespace: namespace.to_owned(),
///     cluster: Some(cluster.to_owned()),
///     ..Attributes::default()
/// };
/// assert!(tenancy.authorize(&rules, &alice, &exec("cls-1", "shop")).allowed);
/// assert!(!tenancy.authorize(&rules, &alice, &exec("cls-1", "other")).allowed);
/// assert!(!tenancy.authorize(&rules, &alice, &exec("prod", "shop")).allowed);
/// # Ok::<(), dockin_policy::access::Faults>(())
/// ```
///
/// # Keys
///
/// - `tenants: {NAME: {administrators: [USER…], everyone: [ROLE…]}}`; who names no tenant is of
///   `default`, which there always is.
/// - `users: {NAME: {tenant, roles: [ROLE…]}}`
/// - `groups: {NAME: {tenant, users: [USER…], roles: [ROLE…]}}`; a group that an authenticator
///   tells of needs no `users`.
/// - `policies: {NAME: [{allow or deny: [ACTION…], on: [OBJECT…]}…]}`; an action is a pattern
///   such as `get*`, or one of the words `exec`, `attach`, `port-forward` and `logs`.
/// - `roles: {NAME: {policies: [POLICY…], roles: [ROLE…]}}`
/// - `projects: {NAME: {tenant, namespaces: [CLUSTER/NAMESPACE…], members: [{role, users,
///   groups}…]}}`; either side of a namespace may be `*`.
/// - `privileged: USER`, who may do everything.
///
/// # Roles that are always there
///
/// | role | may |
/// | --- | --- |
/// | `pod-viewer` | list and read namespaces, pods and their logs |
/// | `pod-shell` | as `pod-viewer`, and exec and attach |
/// | `pod-forwarder` | as `pod-viewer`, and port-forward |
/// | `reader` | read everything, secrets too; opens no session |
/// | `auditor` | read the audit trail |
/// | `administrator` | everything |
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    privileged: Option<String>,
    tenants: BTreeMap<String, Spanned<Tenant>>,
    users: BTreeMap<String, Spanned<User>>,
    groups: BTreeMap<String, Spanned<Group>>,
    policies: BTreeMap<String, Spanned<Vec<Spanned<Statement>>>>,
    roles: BTreeMap<String, Spanned<Role>>,
    projects: BTreeMap<String, Spanned<Project>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tenant {
    administrators: BTreeSet<String>,
    everyone: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct User {
    tenant: Option<Spanned<String>>,
    roles: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Group {
    tenant: Option<Spanned<String>>,
    users: Vec<Spanned<String>>,
    roles: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    on: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Role {
    policies: Vec<Spanned<String>>,
    roles: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Project {
    tenant: Option<Spanned<String>>,
    namespaces: Vec<Spanned<String>>,
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    role: Spanned<String>,
    #[serde(default)]
    users: Vec<Spanned<String>>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
}

/// Roles that are always there: what each may do everywhere it is given.
const PREDEFINED: [(&str, &[&str]); 6] = [
    ("administrator", &["*"]),
    ("auditor", &["getAudit"]),
    ("pod-forwarder", &["view", "port-forward"]),
    ("pod-shell", &["view", "exec", "attach"]),
    ("pod-viewer", &["view"]),
    ("reader", &["get*", "list*", "watch*"]),
];

/// What `view` among the predefined ones stands for.
const VIEW: [&str; 7] = [
    "listNamespaces",
    "getNamespace",
    "listPods",
    "getPod",
    "watchPod",
    "getPodLog",
    "list",
];

/// The pattern of an action word.
fn action(word: &str) -> &str {
    match word {
        "exec" => "createPodExec",
        "attach" => "createPodAttach",
        "port-forward" => "createPodPortforward",
        "logs" => "getPodLog",
        pattern => pattern,
    }
}

fn role_key(name: &str) -> String {
    format!("role:{name}")
}

fn policy_key(name: &str) -> String {
    format!("policy:{name}")
}

fn line<T>(spanned: &Spanned<T>) -> u32 {
    u32::try_from(spanned.referenced.line()).unwrap_or(u32::MAX)
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// It is no YAML of this shape, or says nothing at all: with its line.
    pub fn parse(yaml: &str) -> Result<Self, Faults> {
        let says_something = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
        if !yaml.lines().any(says_something) {
            return Err(Faults::one(
                0,
                "there is nothing; write `policies: {}` for no rights",
            ));
        }
        serde_saphyr::from_str(yaml).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let line = usize::try_from(line).unwrap_or(usize::MAX);
            Faults::one(line, error.without_snippet().to_string())
        })
    }

    /// The rules and what is known beside them.
    ///
    /// # Errors
    ///
    /// A name that is nowhere defined, a place that is none, or what
    /// [`AccessRules::compile`] refuses: each with its line.
    pub fn compile(&self, mode: Mode) -> Result<(AccessRules, Tenancy), Faults> {
        let mut report = Report::default();
        let tenancy = self.tenancy(&mut report);
        let source = self.source(&mut report);
        report.finish()?;
        Ok((AccessRules::compile(&source, mode)?, tenancy))
    }

    /// Tenants and projects of a document that has nothing else, for rules from elsewhere.
    ///
    /// # Errors
    ///
    /// It has rules of its own, or members of projects, or a place that is none.
    pub fn tenancy_alone(&self) -> Result<Tenancy, Faults> {
        let mut report = Report::default();
        let everyone = self
            .tenants
            .values()
            .find(|one| !one.value.everyone.is_empty());
        let members = self
            .projects
            .values()
            .find(|one| !one.value.members.is_empty());
        let rules = [
            self.users.is_empty(),
            self.groups.is_empty(),
            self.policies.is_empty(),
            self.roles.is_empty(),
        ];
        let line = everyone.map(line).or_else(|| members.map(line));
        if line.is_some() || rules.contains(&false) {
            let fix = "beside a Casbin policy there may be only `privileged`, `tenants` with \
                       `administrators`, and `projects` with `namespaces`";
            report.add(line.unwrap_or(0), fix);
        }
        let tenancy = self.tenancy(&mut report);
        report.finish()?;
        Ok(tenancy)
    }

    fn tenancy(&self, report: &mut Report) -> Tenancy {
        let mut tenants = BTreeMap::from([(DEFAULT_TENANT.to_owned(), BTreeSet::new())]);
        for (name, tenant) in &self.tenants {
            tenants.insert(name.clone(), tenant.value.administrators.clone());
        }
        let mut projects: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
        let mut owners: BTreeMap<Place, &str> = BTreeMap::new();
        for (name, project) in &self.projects {
            let places = projects.entry(name.clone()).or_default();
            for place in &project.value.namespaces {
                let parts = place.value.split_once('/');
                let is_name =
                    |part: &str| part == "*" || !part.is_empty() && !part.contains(['/', ':', '*']);
                let Some((cluster, namespace)) =
                    parts.filter(|(cluster, namespace)| is_name(cluster) && is_name(namespace))
                else {
                    let text = &place.value;
                    let fix = "is no CLUSTER/NAMESPACE, where either may be `*`";
                    report.add(line(place), format!("`{text}` {fix}"));
                    continue;
                };
                let place_key = Place {
                    cluster: cluster.to_owned(),
                    namespace: namespace.to_owned(),
                };
                if let Some(other) = owners.insert(place_key.clone(), name) {
                    let text = &place.value;
                    report.add(
                        line(place),
                        format!("`{text}` belongs to project `{other}` already; one must have it"),
                    );
                }
                places.insert(place_key);
            }
        }
        Tenancy {
            privileged: self.privileged.clone(),
            tenants,
            projects,
        }
    }

    fn source(&self, report: &mut Report) -> Source<'static> {
        let mut builder = Builder {
            document: self,
            source: Source {
                projects: self.projects.keys().cloned().collect(),
                ..Source::default()
            },
            used: BTreeSet::new(),
            report,
        };
        builder.policies();
        builder.roles();
        builder.subjects();
        builder.predefined();
        builder.source
    }
}

/// Makes the lines of a [`Source`] from a document.
struct Builder<'d, 'r> {
    document: &'d Document,
    source: Source<'static>,
    /// Predefined roles that somebody has.
    used: BTreeSet<&'static str>,
    report: &'r mut Report,
}

impl Builder<'_, '_> {
    fn policies(&mut self) {
        for (name, statements) in &self.document.policies {
            for statement in &statements.value {
                let Statement { allow, deny, on } = &statement.value;
                if allow.is_empty() && deny.is_empty() {
                    let fix = "neither allows nor denies; give it `allow` or `deny`";
                    self.report
                        .add(line(statement), format!("policy `{name}` {fix}"));
                }
                for (effect, actions) in [("allow", allow), ("deny", deny)] {
                    for (word, object) in actions
                        .iter()
                        .flat_map(|one| on.iter().map(move |on| (one, on)))
                    {
                        self.rule(
                            policy_key(name),
                            &object.value,
                            action(&word.value),
                            effect,
                            line(word),
                        );
                    }
                }
            }
        }
    }

    fn roles(&mut self) {
        for (name, role) in &self.document.roles {
            if PREDEFINED.iter().any(|(predefined, _)| predefined == name) {
                let fix = "is always there and cannot be given again; rename it";
                self.report.add(line(role), format!("role `{name}` {fix}"));
            }
            for policy in &role.value.policies {
                if !self.document.policies.contains_key(&policy.value) {
                    let policy_name = &policy.value;
                    self.report.add(
                        line(policy),
                        format!("policy `{policy_name}` is not defined under `policies`"),
                    );
                }
                self.link(role_key(name), policy_key(&policy.value), "*", line(policy));
            }
            for other in &role.value.roles {
                self.give(role_key(name), other, "*");
            }
        }
    }

    fn subjects(&mut self) {
        let document = self.document;
        for (name, tenant) in &document.tenants {
            for role in &tenant.value.everyone {
                self.give(user_key(name, "*"), role, "*");
            }
        }
        for (name, user) in &document.users {
            let tenant = self.tenant(user.value.tenant.as_ref());
            for role in &user.value.roles {
                self.give(user_key(tenant, name), role, "*");
            }
        }
        for (name, group) in &document.groups {
            let tenant = self.tenant(group.value.tenant.as_ref());
            let in_project = |member: &Member| member.groups.iter().any(|one| one.value == *name);
            let mut projects = document.projects.values();
            let is_given = !group.value.roles.is_empty()
                || projects.any(|project| project.value.members.iter().any(in_project));
            // A group that is given nothing gives nothing, and that is no mistake.
            for user in group.value.users.iter().filter(|_| is_given) {
                self.link(
                    user_key(tenant, &user.value),
                    group_key(tenant, name),
                    "*",
                    line(user),
                );
            }
            for role in &group.value.roles {
                self.give(group_key(tenant, name), role, "*");
            }
        }
        for (name, project) in &document.projects {
            let tenant = self.tenant(project.value.tenant.as_ref());
            for Member {
                role,
                users,
                groups,
            } in &project.value.members
            {
                for user in users {
                    self.give(user_key(tenant, &user.value), role, name);
                }
                for group in groups {
                    self.give(group_key(tenant, &group.value), role, name);
                }
            }
        }
    }

    /// Rules of the predefined roles that are used.
    fn predefined(&mut self) {
        for (name, words) in PREDEFINED {
            if !self.used.contains(name) {
                continue;
            }
            for word in words {
                let one = [action(word)];
                let patterns: &[&str] = if *word == "view" { &VIEW } else { &one };
                for pattern in patterns {
                    self.rule(role_key(name), "*", pattern, "allow", 0);
                }
            }
        }
    }

    fn tenant<'t>(&mut self, name: Option<&'t Spanned<String>>) -> &'t str {
        let Some(name) = name else {
            return DEFAULT_TENANT;
        };
        if name.value != DEFAULT_TENANT && !self.document.tenants.contains_key(&name.value) {
            let text = &name.value;
            self.report.add(
                line(name),
                format!("tenant `{text}` is not defined under `tenants`"),
            );
        }
        &name.value
    }

    fn give(&mut self, member: String, role: &Spanned<String>, domain: &str) {
        let name = &role.value;
        if let Some((predefined, _)) = PREDEFINED.iter().find(|(one, _)| one == name) {
            self.used.insert(predefined);
        } else if !self.document.roles.contains_key(name) {
            let known = PREDEFINED.map(|(name, _)| name).join(", ");
            let what = format!("role `{name}` is neither under `roles` nor one of {known}");
            self.report.add(line(role), what);
        }
        self.link(member, role_key(name), domain, line(role));
    }

    fn link(&mut self, member: String, role: String, domain: &str, line: u32) {
        self.source.links.push(Link {
            member: member.into(),
            role: role.into(),
            domain: Cow::Owned(domain.to_owned()),
            line,
        });
    }

    fn rule(
        &mut self,
        subject: String,
        object: &str,
        action: &str,
        effect: &'static str,
        line: u32,
    ) {
        self.source.rules.push(Rule {
            subject: subject.into(),
            domain: Cow::Borrowed("*"),
            object: Cow::Owned(object.to_owned()),
            action: Cow::Owned(action.to_owned()),
            effect: Cow::Borrowed(effect),
            line,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::Document;
    use crate::access::{Attributes, Mode, Person};

    const GOOD: &str = "\
privileged: root
tenants:
  acme: { administrators: [boss], everyone: [pod-viewer] }
users:
  alice: { roles: [shell] }
groups:
  dev: { users: [bob], roles: [] }
policies:
  own:
    - { allow: [exec, \"get*\"], on: [\"cluster:cls-1/*\"] }
    - { deny: [exec], on: [\"cluster:cls-1/namespace:kube-system/*\"] }
roles:
  shell: { policies: [own] }
projects:
  shop:
    namespaces: [\"*/shop\"]
    members:
      - { role: pod-shell, groups: [dev] }
";

    fn allowed(person: &Person, sub: &str, cluster: &str, namespace: &str) -> bool {
        let (rules, tenancy) = Document::parse(GOOD)
            .unwrap()
            .compile(Mode::Strict)
            .unwrap();
        let wanted = Attributes {
            verb: "get".to_owned(),
            resource: "pods".to_owned(),
            subresource: sub.to_owned(),
            name: "p".to_owned(),
            namespace: namespace.to_owned(),
            cluster: Some(cluster.to_owned()),
            ..Attributes::default()
        };
        tenancy.authorize(&rules, person, &wanted).allowed
    }

    fn person(user: &str, groups: &[&str], tenant: &str) -> Person {
        Person {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            extra: [("tenantid".to_owned(), vec![tenant.to_owned()])].into(),
        }
    }

    #[test]
    fn a_document_gives_what_it_says_and_no_more() {
        let (alice, bob) = (person("alice", &[], ""), person("bob", &[], ""));
        assert!(allowed(&alice, "exec", "cls-1", "default"));
        assert!(!allowed(&alice, "exec", "cls-1", "kube-system"));
        assert!(!allowed(&alice, "exec", "cls-2", "default"));
        assert!(!allowed(&alice, "portforward", "cls-1", "default"));
        // Bob through his group, only in the project's namespaces; so is who brings the group.
        for shop in [&bob, &person("carol", &["dev"], "")] {
            assert!(allowed(shop, "exec", "cls-9", "shop"));
            assert!(!allowed(shop, "exec", "cls-9", "shop2"));
        }
        // A header that names a project gives nothing.
        let liar = person("bob", &["project:shop"], "");
        assert!(!allowed(&liar, "exec", "cls-9", "shop2"));
        assert!(allowed(&person("zoe", &[], "acme"), "log", "any", "any"));
        assert!(!allowed(&person("zoe", &[], "acme"), "exec", "any", "any"));
        assert!(!allowed(&person("zoe", &[], ""), "log", "any", "any"));
        assert!(allowed(&person("boss", &[], "acme"), "exec", "any", "any"));
        assert!(!allowed(&person("boss", &[], ""), "exec", "any", "any"));
        assert!(allowed(&person("root", &[], ""), "exec", "any", "any"));
        assert!(!allowed(
            &person("alice", &[], "unknown"),
            "exec",
            "cls-1",
            "default"
        ));
    }

    #[test]
    fn faults_have_the_line_of_what_is_wrong() {
        for (from, to, line, words) in [
            (
                "roles: [shell]",
                "roles: [shel]",
                5,
                "`shel` is neither under `roles`",
            ),
            (
                "policies: [own]",
                "policies: [one]",
                13,
                "policy `one` is not defined",
            ),
            ("*/shop", "shop", 16, "`shop` is no CLUSTER/NAMESPACE"),
            (
                "cluster:cls-1/*",
                "cluster:cls-*",
                10,
                "every cluster whose name fits",
            ),
            ("{ deny: [exec],", "{ deni: [exec],", 11, "deni"),
            ("deny: [exec]", "deny: []", 11, "neither allows nor denies"),
            ("users: [bob]", "users: [a##b]", 7, "subject key"),
            (
                "dev: { users",
                "dev: { tenant: none, users",
                7,
                "tenant `none`",
            ),
            ("  shell: {", "  reader: {", 13, "`reader` is always there"),
        ] {
            let result = Document::parse(&GOOD.replacen(from, to, 1))
                .and_then(|document| document.compile(Mode::Strict));
            let faults = result.unwrap_err();
            let found = faults
                .faults
                .iter()
                .any(|fault| fault.line == line && fault.message.contains(words));
            assert!(found, "{from} → {to}: {faults}");
        }
        assert!(Document::parse("# nothing\n").is_err());
    }
}
