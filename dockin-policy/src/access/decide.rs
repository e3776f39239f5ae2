//! The decision: a walk over what the subject has, and the index of rules at each stop.

use super::{
    AccessRules, Mode,
    compile::{ActionSet, PLATFORM},
    graph::Reached,
    pattern::{Lowered, lower},
};

/// Links in one chain that [`Mode::Compatible`] follows.
pub(super) const DEPTH: usize = 10;

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who, by every key that stands for him: himself, his groups, all users of his tenant.
    /// [`Mode::Compatible`] asks for one after the other until one is allowed; in
    /// [`Mode::Strict`] a deny for any of them is final.
    pub subjects: &'a [&'a str],
    /// Project, or `*` or nothing for none.
    pub domain: &'a str,
    /// Object, such as `cluster:cls-1/namespace:shop/pod:web`.
    pub object: &'a str,
    /// Action, such as `createPodExec`.
    pub action: &'a str,
}

/// The answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: allow and not deny has these three outcomes.
pub enum Decision {
    /// A rule allows and none denies.
    Allowed,
    /// A rule denies.
    Denied,
    /// No rule allows.
    NotAllowed,
}

impl Decision {
    /// Whether it may be done.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed)
    }
}

/// A request's texts as patterns are compared with them.
struct Key<'a> {
    object: Lowered<'a>,
    action: Lowered<'a>,
}

/// Which links are followed.
#[derive(Clone, Copy)]
enum Scope {
    /// Those of one domain, [`DEPTH`] deep.
    Only(u32),
    /// Those of one domain and of the platform.
    With(u32),
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    allowed: bool,
    denied: bool,
}

impl AccessRules {
    /// Decides. Never allocates for ASCII requests of who has fewer than 32 roles.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let mut buffers = [[0; SHORT]; 2];
        let [first, second] = &mut buffers;
        let (object, action);
        let key = Key {
            object: Lowered::new(match lower_short(request.object, first) {
                Some(text) => text,
                None => {
                    object = lower(request.object);
                    &object
                }
            }),
            action: Lowered::new(match lower_short(request.action, second) {
                Some(text) => text,
                None => {
                    action = lower(request.action);
                    &action
                }
            }),
        };
        match self.mode {
            Mode::Compatible => self.decide_compatible(request, &key),
            Mode::Strict => self.decide_strict(request, &key),
        }
    }

    fn decide_compatible(&self, request: &Request<'_>, key: &Key<'_>) -> Decision {
        let mut last = Decision::NotAllowed;
        let domain = self.domain(request.domain);
        for subject in request.subjects {
            let Some(node) = self.names.find(subject.as_bytes()) else {
                continue;
            };
            let mut found = Found::default();
            if let Some(domain) = domain.filter(|domain| *domain != PLATFORM) {
                self.walk(node, Scope::Only(domain), key, &mut found);
            }
            if !found.denied {
                self.walk(node, Scope::Only(PLATFORM), key, &mut found);
            }
            match found.decision() {
                Decision::Allowed => return Decision::Allowed,
                Decision::Denied => last = Decision::Denied,
                Decision::NotAllowed => {}
            }
        }
        last
    }

    fn decide_strict(&self, request: &Request<'_>, key: &Key<'_>) -> Decision {
        let mut found = Found::default();
        let scope = Scope::With(self.domain(request.domain).unwrap_or(PLATFORM));
        let without_project = matches!(request.domain, "" | "*");
        for subject in request.subjects {
            let Some(node) = self.names.find(subject.as_bytes()) else {
                continue;
            };
            self.walk(node, scope, key, &mut found);
            if !found.denied && without_project && self.projects_may_deny {
                found.denied = self.denied_in_a_project(node, key);
            }
            if found.denied {
                return Decision::Denied;
            }
        }
        found.decision()
    }

    /// The number of a domain; none when nothing is linked in it.
    pub(super) fn domain(&self, name: &str) -> Option<u32> {
        match name {
            "" | "*" => Some(PLATFORM),
            name => self.domains.find(name.as_bytes()),
        }
    }

    fn walk(&self, start: u32, scope: Scope, key: &Key<'_>, found: &mut Found) {
        let mut reached = Reached::from(start);
        let (mut next, mut depth, mut level_end) = (0, 0, 1);
        while let Some(node) = (next < reached.len()).then(|| reached.get(next)).flatten() {
            if next == level_end {
                depth += 1;
                level_end = reached.len();
            }
            next += 1;
            self.ask(node, key, found);
            if found.denied {
                return;
            }
            let mut follow = |domain| {
                for edge in self.graph.in_domain(node, domain) {
                    reached.add(edge.role);
                }
            };
            match scope {
                Scope::Only(_) if depth == DEPTH => {}
                Scope::Only(domain) => follow(domain),
                Scope::With(domain) => {
                    follow(PLATFORM);
                    if domain != PLATFORM {
                        follow(domain);
                    }
                }
            }
        }
    }

    /// Whether a rule denies to whom some project gives it: who leaves out the project does not
    /// get past its denials.
    fn denied_in_a_project(&self, start: u32, key: &Key<'_>) -> bool {
        let mut seen = std::collections::HashSet::from([(start, PLATFORM)]);
        let mut open = vec![(start, PLATFORM)];
        while let Some((node, project)) = open.pop() {
            let mut found = Found {
                allowed: true,
                denied: false,
            };
            if project != PLATFORM {
                self.ask(node, key, &mut found);
            }
            if found.denied {
                return true;
            }
            for edge in self.graph.all(node) {
                let within = match (edge.domain, project) {
                    (PLATFORM, project) => project,
                    (domain, PLATFORM) => domain,
                    (domain, project) if domain == project => project,
                    _ => continue,
                };
                if seen.insert((edge.role, within)) {
                    open.push((edge.role, within));
                }
            }
        }
        false
    }

    /// Asks the rules of one node.
    #[inline]
    fn ask(&self, node: u32, key: &Key<'_>, found: &mut Found) {
        let Some(node) = self.nodes.get(node as usize) else {
            return;
        };
        let index = node
            .index
            .and_then(|index| self.indexes.get(index as usize));
        if let Some(index) = index {
            let acts = |set: &u32| self.acts(*set, key);
            if index.deny.any(&self.patterns, key.object, acts) {
                found.denied = true;
            } else if !found.allowed {
                found.allowed = index.allow.any(&self.patterns, key.object, acts);
            }
            return;
        }
        // Rules side by side are often for the same action.
        let mut last = (u32::MAX, false);
        for rule in self.rules.get(node.rules.range()).unwrap_or_default() {
            if !rule.denies() && found.allowed {
                return;
            }
            if last.0 != rule.action {
                last = (rule.action, self.patterns.matches(rule.action, key.action));
            }
            if last.1 && self.patterns.matches(rule.object, key.object) {
                if rule.denies() {
                    found.denied = true;
                    return;
                }
                found.allowed = true;
            }
        }
    }

    fn acts(&self, set: u32, key: &Key<'_>) -> bool {
        match self.action_sets.get(set as usize) {
            None => false,
            Some(ActionSet::Few(actions)) => actions
                .iter()
                .any(|action| self.patterns.matches(*action, key.action)),
            Some(ActionSet::Many(set)) => set.any(&self.patterns, key.action, |()| true),
        }
    }
}

impl Found {
    const fn decision(&self) -> Decision {
        match (self.denied, self.allowed) {
            (true, _) => Decision::Denied,
            (false, true) => Decision::Allowed,
            (false, false) => Decision::NotAllowed,
        }
    }
}

/// Longest text that is lower-cased on the stack, in bytes.
const SHORT: usize = 192;

fn lower_short<'a>(text: &str, buffer: &'a mut [u8; SHORT]) -> Option<&'a str> {
    let buffer = buffer.get_mut(..text.len())?;
    buffer.copy_from_slice(text.as_bytes());
    if !buffer.is_ascii() {
        return None;
    }
    buffer.make_ascii_lowercase();
    std::str::from_utf8(buffer).ok()
}
