//! Why a decision is what it is, found by looking at every rule of every stop.

use std::{collections::HashMap, fmt};

use super::{
    AccessRules, Decision, Effect, Mode, Request,
    compile::{CompiledRule, PLATFORM},
    decide::DEPTH,
    pattern::{Kind, Lowered, lower},
};

/// One rule that matched.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Matched {
    /// Its line in the source, from 1.
    pub line: u32,
    /// What it does.
    pub effect: Effect,
    /// Its pattern of objects.
    pub object: String,
    /// Its pattern of actions.
    pub action: String,
    /// Whether a pattern of it is broken, so that it denies whatever it says.
    pub broken: bool,
    /// From the subject of the request to who has the rule.
    pub path: Vec<String>,
    /// The domain in which the path holds, `*` for the platform.
    pub domain: String,
}

/// A decision with everything that led to it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The same as [`AccessRules::decide`] gives.
    pub decision: Decision,
    /// The rules that matched, denials first, then by line.
    pub matched: Vec<Matched>,
    /// What the subjects are given, whether or not it matched: every name that was reached.
    pub held: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.decision {
            Decision::Allowed => Effect::Allow,
            Decision::Denied => Effect::Deny,
            Decision::NotAllowed if self.held.is_empty() => {
                return f.write_str("not allowed: the subject is given nothing");
            }
            Decision::NotAllowed => return f.write_str("not allowed: no rule matches"),
        };
        let word = if effect == Effect::Allow {
            "allowed"
        } else {
            "denied"
        };
        match self.matched.iter().find(|one| one.effect == effect) {
            None => f.write_str(word),
            Some(one) => write!(f, "{word} by {one}"),
        }
    }
}

impl fmt::Display for Matched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            object,
            action,
            domain,
            ..
        } = self;
        let effect = self.effect.as_str();
        let path = self.path.join(" → ");
        write!(
            f,
            "line {line} ({effect} `{action}` on `{object}`) through {path}"
        )?;
        if domain != "*" {
            write!(f, " in project `{domain}`")?;
        }
        match self.broken {
            true => f.write_str(", whose pattern is broken"),
            false => Ok(()),
        }
    }
}

/// A stop of a walk: a node, in the project that the chain has entered.
type Stop = (u32, u32);

/// Which links a walk follows, and whether only denials count.
struct Walk {
    /// Chains may be this long.
    depth: usize,
    /// The domain whose links are followed, `None` for any one project.
    domain: Option<u32>,
    /// Links of the platform, too.
    and_platform: bool,
    only_denials: bool,
}

impl AccessRules {
    /// Decides like [`decide`](Self::decide), and says why. It looks at every rule of the
    /// subjects, one by one.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let (object, action) = (lower(request.object), lower(request.action));
        let key = (Lowered::new(&object), Lowered::new(&action));
        let mut whole = Explanation {
            decision: Decision::NotAllowed,
            matched: Vec::new(),
            held: Vec::new(),
        };
        for subject in request.subjects {
            let Some(node) = self.names.find(subject.as_bytes()) else {
                continue;
            };
            let mut matched = Vec::new();
            for walk in self.walks(request.domain) {
                self.walk_all(node, &walk, key, &mut matched, &mut whole.held);
            }
            let has = |effect| matched.iter().any(|one: &Matched| one.effect == effect);
            let decision = match (has(Effect::Deny), has(Effect::Allow)) {
                (true, _) => Decision::Denied,
                (false, true) => Decision::Allowed,
                (false, false) => Decision::NotAllowed,
            };
            // The first yes ends it when compatible, the first no when strict.
            let (last, rank): (bool, fn(Decision) -> u8) = match self.mode {
                Mode::Compatible => (decision == Decision::Allowed, |one| match one {
                    Decision::NotAllowed => 0,
                    Decision::Denied => 1,
                    Decision::Allowed => 2,
                }),
                Mode::Strict => (decision == Decision::Denied, |one| match one {
                    Decision::NotAllowed => 0,
                    Decision::Allowed => 1,
                    Decision::Denied => 2,
                }),
            };
            if rank(decision) > rank(whole.decision) {
                whole.decision = decision;
            }
            whole.matched.extend(matched);
            if last {
                break;
            }
        }
        whole
            .matched
            .sort_by_key(|one| (one.effect == Effect::Allow, one.line));
        whole.matched.dedup();
        whole.held.sort_unstable();
        whole.held.dedup();
        whole
    }

    fn walks(&self, domain: &str) -> Vec<Walk> {
        let number = self.domain(domain);
        let walk = |domain, and_platform, depth| Walk {
            depth,
            domain: Some(domain),
            and_platform,
            only_denials: false,
        };
        match self.mode {
            Mode::Compatible => number
                .filter(|number| *number != PLATFORM)
                .into_iter()
                .chain([PLATFORM])
                .map(|domain| walk(domain, false, DEPTH))
                .collect(),
            Mode::Strict => {
                let mut walks = vec![walk(number.unwrap_or(PLATFORM), true, usize::MAX)];
                if matches!(domain, "" | "*") {
                    walks.push(Walk {
                        depth: usize::MAX,
                        domain: None,
                        and_platform: true,
                        only_denials: true,
                    });
                }
                walks
            }
        }
    }

    fn walk_all(
        &self,
        start: u32,
        walk: &Walk,
        key: (Lowered<'_>, Lowered<'_>),
        matched: &mut Vec<Matched>,
        held: &mut Vec<String>,
    ) {
        let first = (start, PLATFORM);
        let mut from: HashMap<Stop, Option<Stop>> = HashMap::from([(first, None)]);
        let mut level = vec![first];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for stop in level {
                self.ask_all(stop, walk, key, &from, matched, held);
                if depth == walk.depth {
                    continue;
                }
                for edge in self.graph.all(stop.0) {
                    let within = match (edge.domain, walk.domain) {
                        (PLATFORM, _) if walk.and_platform => stop.1,
                        (domain, Some(wanted)) if domain == wanted => domain,
                        (domain, None) if [PLATFORM, domain].contains(&stop.1) => domain,
                        _ => continue,
                    };
                    let stop_there = (edge.role, within);
                    from.entry(stop_there).or_insert_with(|| {
                        next.push(stop_there);
                        Some(stop)
                    });
                }
            }
            level = next;
            depth += 1;
        }
    }

    fn ask_all(
        &self,
        stop: Stop,
        walk: &Walk,
        (object, action): (Lowered<'_>, Lowered<'_>),
        from: &HashMap<Stop, Option<Stop>>,
        matched: &mut Vec<Matched>,
        held: &mut Vec<String>,
    ) {
        let is_start = from.get(&stop) == Some(&None);
        if !is_start && (stop.0 as usize) < self.names.len() {
            held.push(self.name(stop.0));
        }
        let node = self.nodes.get(stop.0 as usize).copied().unwrap_or_default();
        for rule in self.rules.get(node.rules.range()).unwrap_or_default() {
            if stop.0 as usize >= self.names.len() {
                held.push(self.name(rule.subject));
            }
            let counts = !walk.only_denials || (rule.denies() && stop.1 != PLATFORM);
            if counts
                && self.patterns.matches(rule.action, action)
                && self.patterns.matches(rule.object, object)
            {
                matched.push(self.matched(stop, rule, from));
            }
        }
    }

    fn matched(
        &self,
        stop: Stop,
        rule: &CompiledRule,
        from: &HashMap<Stop, Option<Stop>>,
    ) -> Matched {
        let mut path = vec![self.name(rule.subject)];
        let mut at = Some(stop);
        while let Some(stop) = at {
            // A bundle has no name; the rule's subject stands for it already.
            if (stop.0 as usize) < self.names.len() && stop.0 != rule.subject {
                path.push(self.name(stop.0));
            }
            at = from.get(&stop).copied().flatten();
        }
        path.reverse();
        let broken = |pattern| self.patterns.kind(pattern) == Kind::Poison;
        Matched {
            line: rule.line(),
            effect: if rule.denies() {
                Effect::Deny
            } else {
                Effect::Allow
            },
            object: self.patterns.written(rule.object).into_owned(),
            action: self.patterns.written(rule.action).into_owned(),
            broken: broken(rule.object) || broken(rule.action),
            path,
            domain: String::from_utf8_lossy(self.domains.text(stop.1)).into_owned(),
        }
    }

    fn name(&self, node: u32) -> String {
        String::from_utf8_lossy(self.names.text(node)).into_owned()
    }
}
