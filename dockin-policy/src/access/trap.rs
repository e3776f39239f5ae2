//! What strict mode refuses at load: lines that say something else than they seem to.

use std::{borrow::Cow, collections::HashSet};

use super::{
    Effect, Faults, Source,
    compile::PLATFORM,
    fault::Report,
    graph::{Edge, Graph},
    names::{Names, number},
    pattern::lower,
};

/// Longest pattern or name, in bytes.
const LONGEST: usize = 1024;

/// Characters that mean something to a regular expression, but for the dot and the star.
const SPECIAL: &str = r"\+?()|[]{}^$";

pub(super) fn check_rules(source: &Source<'_>) -> Result<(), Faults> {
    let mut report = Report::default();
    for rule in &source.rules {
        let effect = match &*rule.effect {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            other => {
                let fix = "has no effect at all; write `allow` or `deny`, in lower case";
                report.add(rule.line, format!("effect `{other}` {fix}"));
                continue;
            }
        };
        if rule.domain != "*" {
            let domain = &rule.domain;
            let fix = "is never compared: the rule would be for every project; write `*`, and \
                       name the project where the policy is given to somebody";
            report.add(rule.line, format!("domain `{domain}` of a policy {fix}"));
        }
        check_name(&rule.subject, rule.line, &mut report);
        for (what, pattern) in [("object", &rule.object), ("action", &rule.action)] {
            if let Some(why) = pattern_trap(pattern) {
                report.add(rule.line, format!("{what} `{}` {why}", shown(pattern)));
            }
        }
        if effect == Effect::Allow
            && let Some(why) = object_leak(&rule.object)
        {
            report.add(rule.line, format!("object `{}` {why}", shown(&rule.object)));
        }
    }
    for link in &source.links {
        check_name(&link.member, link.line, &mut report);
        check_name(&link.role, link.line, &mut report);
        if link.member == link.role {
            report.add(
                link.line,
                format!("`{}` is linked to itself", shown(&link.role)),
            );
        }
        match &*link.domain {
            "*" => {}
            "" => report.add(link.line, "the domain is empty; write `*` for the platform"),
            project if source.projects.contains(project) => {}
            project => report.add(
                link.line,
                format!(
                    "project `{}` is not declared, so a caller would choose it by a header; \
                     declare its namespaces under `projects`",
                    shown(project)
                ),
            ),
        }
    }
    report.finish()
}

/// Why a name cannot be one.
fn check_name(name: &str, line: u32, report: &mut Report) {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.len() > LONGEST {
        "is longer than 1024 bytes"
    } else if name.chars().any(char::is_control) {
        "has a control character"
    } else if name.contains("##") && !is_subject_key(name) {
        "is read as a subject key, but is not `TENANT##user##NAME` or `TENANT##group##NAME`"
    } else {
        return;
    };
    report.add(line, format!("name `{}` {fault}", shown(name)));
}

fn is_subject_key(name: &str) -> bool {
    let parts: Vec<&str> = name.split("##").collect();
    matches!(parts.as_slice(), [tenant, "user" | "group", id] if !tenant.is_empty() && !id.is_empty())
}

fn pattern_trap(pattern: &str) -> Option<Cow<'static, str>> {
    let special = || pattern.chars().find(|c| SPECIAL.contains(*c));
    let parameters = || {
        pattern
            .match_indices("/:")
            .map(|(at, _)| pattern.get(at + 2..))
    };
    let nameless = |behind: Option<&str>| {
        behind.is_none_or(|behind| behind.is_empty() || behind.starts_with(['/', ':', '*']))
    };
    if pattern.is_empty() {
        Some("is empty; write `*` for all".into())
    } else if pattern.len() > LONGEST {
        Some("is longer than 1024 bytes".into())
    } else if pattern.chars().any(char::is_control) {
        Some("has a control character".into())
    } else if let Some(special) = special() {
        Some(format!("has `{special}`, which a regular expression would read; name each thing in a rule of its own, or use `*`").into())
    } else if pattern.contains(".*") {
        Some("has `.*`, which is a regular expression; write `*` alone".into())
    } else if parameters().any(nameless) {
        Some(
            "has `/:` without a name, on which the original matcher loops; write `/*` or `/:NAME`"
                .into(),
        )
    } else {
        None
    }
}

/// How an object allows more than it seems to.
fn object_leak(object: &str) -> Option<&'static str> {
    let object = lower(object);
    let is_path = object.starts_with('/');
    for segment in object.split('/') {
        if segment.bytes().all(|byte| byte == b'*') {
            continue;
        }
        match segment.split_once(':') {
            Some(("cluster", name)) if name != "*" && name.contains('*') => {
                return Some(
                    "reaches every cluster whose name fits, also ones to come; name each cluster, \
                     or write `cluster:*`",
                );
            }
            Some((kind, _)) if kind.contains('*') => {
                return Some("has `*` in a kind, which fits other kinds; write the kind out");
            }
            None if segment.contains('*') && !is_path => {
                return Some(
                    "has `*` in a kind, which fits other kinds, too (`cluster*` is also \
                     `clusterrole:`); write `KIND:*`",
                );
            }
            _ => {}
        }
    }
    None
}

/// Text for a message: not a whole kilobyte of it.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

/// Refuses links from which no chain leads to a rule.
pub(super) fn check_links(
    source: &Source<'_>,
    names: &Names,
    graph: &Graph,
    has_rules: impl Fn(u32) -> bool,
) -> Result<(), Faults> {
    let mut report = Report::default();
    let resolved = resolved_on_the_platform(graph, &has_rules);
    let resolves = |node: u32| resolved.get(node as usize).copied().unwrap_or(false);
    for link in &source.links {
        let Some(role) = names.find(link.role.as_bytes()) else {
            continue;
        };
        if resolves(role) {
            continue;
        }
        // The number of a domain does not matter here, only which edges share it.
        let member = names.find(link.member.as_bytes()).unwrap_or(role);
        let in_platform = link.domain == "*";
        let own = graph.all(member).iter().filter(|edge| edge.role == role);
        let mut projects = own
            .map(|edge| edge.domain)
            .filter(|domain| (*domain == PLATFORM) == in_platform);
        if projects.any(|project| leads_to_a_rule(graph, role, project, &has_rules)) {
            continue;
        }
        let (member, role_name) = (shown(&link.member), shown(&link.role));
        let why = if graph.all(role).is_empty() {
            format!("`{role_name}` has no rule and is given nothing")
        } else if in_platform {
            "every chain from there ends without a rule".to_owned()
        } else {
            format!(
                "from there no chain leads to a rule in project `{}`",
                shown(&link.domain)
            )
        };
        let fix = "correct the name, or leave the line out";
        report.add(
            link.line,
            format!("giving `{member}` `{role_name}` can never have an effect: {why}; {fix}"),
        );
    }
    report.finish()
}

/// For each node, whether links of the platform alone lead to a rule.
fn resolved_on_the_platform(graph: &Graph, has_rules: &impl Fn(u32) -> bool) -> Vec<bool> {
    let mut back: Vec<(u32, u32)> = graph
        .edges()
        .iter()
        .filter(|edge| edge.domain == PLATFORM)
        .map(|edge| (edge.role, edge.member))
        .collect();
    back.sort_unstable();
    let mut resolved: Vec<bool> = (0..number(graph.nodes())).map(has_rules).collect();
    let mut open: Vec<u32> = (0..number(graph.nodes()))
        .filter(|node| has_rules(*node))
        .collect();
    while let Some(node) = open.pop() {
        let from = back.partition_point(|(role, _)| *role < node);
        for (_, member) in back.iter().skip(from).take_while(|(role, _)| *role == node) {
            if let Some(slot) = resolved.get_mut(*member as usize)
                && !*slot
            {
                *slot = true;
                open.push(*member);
            }
        }
    }
    resolved
}

/// States that are looked at for one link; beyond, it is taken to resolve.
const SEARCHED: usize = 10_000;

fn leads_to_a_rule(
    graph: &Graph,
    start: u32,
    project: u32,
    has_rules: &impl Fn(u32) -> bool,
) -> bool {
    let mut seen = HashSet::from([(start, project)]);
    let mut open = vec![(start, project)];
    while let Some((node, project)) = open.pop() {
        if has_rules(node) || seen.len() > SEARCHED {
            return true;
        }
        let follow =
            |edge: &&Edge| edge.domain == PLATFORM || project == PLATFORM || edge.domain == project;
        for edge in graph.all(node).iter().filter(follow) {
            let within = if edge.domain == PLATFORM {
                project
            } else {
                edge.domain
            };
            if seen.insert((edge.role, within)) {
                open.push((edge.role, within));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use crate::access::{AccessRules, Mode, Source, model::MODEL};

    /// The first fault of strict mode.
    fn fault(policy: &str) -> String {
        let mut source = Source::casbin(MODEL, policy).unwrap();
        source.projects = ["prj-1".to_owned(), "prj-2".to_owned()].into();
        AccessRules::compile(&source, Mode::Compatible).unwrap();
        match AccessRules::compile(&source, Mode::Strict) {
            Ok(_) => String::new(),
            Err(faults) => faults.to_string(),
        }
    }

    #[test]
    fn every_trap_is_refused_with_its_line_and_the_way_out() {
        for (policy, words) in [
            (
                "p, a, *, pod:p?1, get, allow",
                "line 1: object `pod:p?1` has `?`",
            ),
            (
                "#\np, a, *, *, get(Pod|Log), deny",
                "line 2: action `get(Pod|Log)` has `(`",
            ),
            (
                "p, a, *, pod:.*, get, allow",
                "`.*`, which is a regular expression",
            ),
            (
                "p, a, *, cluster:cls-x*, get*, allow",
                "every cluster whose name fits",
            ),
            (
                "p, a, *, CLUSTER:cls-*/namespace:n, get*, allow",
                "name each cluster",
            ),
            (
                "p, a, *, cluster*, get*, allow",
                "`cluster*` is also `clusterrole:`",
            ),
            ("p, a, *, a/:/b, get*, allow", "`/:` without a name"),
            ("p, a, *, /:, get*, deny", "`/:` without a name"),
            (
                "p, a, prj-77, *, get*, allow",
                "domain `prj-77` of a policy is never compared",
            ),
            ("p, a, *, *, *, Allow", "effect `Allow` has no effect"),
            (
                "p, a, *, *, *, allow\ng, u, a, prj-9",
                "line 2: project `prj-9` is not declared",
            ),
            (
                "p, a, *, *, *, allow\ng, u, a,",
                "line 2: the domain is empty",
            ),
            (
                "p, a, *, *, *, allow\ng, u, b, *",
                "`b` has no rule and is given nothing",
            ),
            (
                "g, u, r, *\ng, r, s, *\ng, s, r, *",
                "every chain from there ends without a rule",
            ),
            (
                "p, a, *, *, *, allow\ng, u, r, prj-1\ng, r, a, prj-2",
                "line 2: giving `u` `r` can never have an effect: from there no chain",
            ),
            (
                "p, a, *, *, *, allow\ng, t##user##a##b, a, *",
                "read as a subject key",
            ),
            ("p, a, *, *, *, allow\ng, a, a, *", "linked to itself"),
        ] {
            let found = fault(policy);
            assert!(
                found.contains(words),
                "{policy}\n gives {found:?}\n not {words}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_trap_is_taken() {
        for policy in [
            "p, a, *, cluster:prod-*/pod:*, createPodExec, deny",
            "p, a, *, cluster:cls-1/namespace:a*, *Pod*, allow",
            "p, a, *, cluster:*/node:ip-10.example.org, get*, allow",
            "p, a, *, /users/:id/pods, get, allow\np, a, *, /api*, get, allow",
            "p, a, *, *, *, allow\ng, u, t##group##g, *\ng, t##group##g, a, prj-1",
            "p, a, *, *, *, allow\ng, u, r, prj-1\ng, r, a, *",
        ] {
            assert_eq!(fault(policy), "", "{policy}");
        }
    }
}
