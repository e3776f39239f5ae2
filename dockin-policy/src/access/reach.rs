//! Whether somebody may do anything at all in a cluster, for lists of clusters.

use std::collections::HashSet;

use super::{
    AccessRules, DEFAULT_TENANT, Mode, Person, Tenancy,
    compile::PLATFORM,
    group_key,
    pattern::{Kind, STAR, lower},
    user_key,
};

impl Tenancy {
    /// Whether some rule may allow `person` something in `cluster`. A denial does not count, and
    /// what a rule of a project allows counts where the project has namespaces: this is for what
    /// is shown, not for what is done.
    #[must_use]
    pub fn reaches(&self, rules: &AccessRules, person: &Person, cluster: &str) -> bool {
        let tenant = person
            .extra
            .get("tenantid")
            .and_then(|values| values.first());
        let tenant = tenant.map_or(DEFAULT_TENANT, String::as_str);
        let administers = self.tenants.get(tenant);
        if self.privileged.as_ref() == Some(&person.user)
            || administers.is_some_and(|users| users.contains(&person.user))
        {
            return true;
        }
        let mut subjects = vec![user_key(tenant, &person.user), user_key(tenant, "*")];
        if rules.mode() == Mode::Strict {
            let groups = person.groups.iter().map(|group| group_key(tenant, group));
            subjects.extend(groups);
        }
        let in_cluster = |project: &[u8]| {
            let project = std::str::from_utf8(project).unwrap_or_default();
            self.projects.get(project).is_none_or(|places| {
                let mut places = places.iter();
                places.any(|place| place.cluster == "*" || place.cluster == cluster)
            })
        };
        subjects
            .iter()
            .any(|subject| rules.allows_something(subject, cluster, in_cluster))
    }
}

impl AccessRules {
    fn allows_something(
        &self,
        subject: &str,
        cluster: &str,
        in_cluster: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let Some(start) = self.names.find(subject.as_bytes()) else {
            return false;
        };
        let whole = format!("cluster:{}", lower(cluster));
        let inside = format!("{whole}/");
        let mut seen = HashSet::from([start]);
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            let node_rules = self.nodes.get(node as usize).copied().unwrap_or_default();
            let rules = self.rules.get(node_rules.rules.range()).unwrap_or_default();
            let fits = |pattern: u32| match self.patterns.kind(pattern) {
                Kind::Poison => false,
                Kind::Any | Kind::Regex(_) => true,
                Kind::Literal => {
                    let bytes = self.patterns.bytes(pattern);
                    bytes == whole.as_bytes() || bytes.starts_with(inside.as_bytes())
                }
                Kind::Prefix | Kind::Glob => {
                    let mut pieces = self.patterns.bytes(pattern).split(|byte| *byte == STAR);
                    let head = pieces.next().unwrap_or_default();
                    head.starts_with(inside.as_bytes()) || inside.as_bytes().starts_with(head)
                }
            };
            if rules.iter().any(|rule| !rule.denies() && fits(rule.object)) {
                return true;
            }
            for edge in self.graph.all(node) {
                let counts = edge.domain == PLATFORM || in_cluster(self.domains.text(edge.domain));
                if counts && seen.insert(edge.role) {
                    open.push(edge.role);
                }
            }
        }
        false
    }
}
