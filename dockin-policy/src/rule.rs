//! What one rule says, and whether it speaks of something.

use std::collections::BTreeMap;

use crate::{
    Decision, Subject,
    judge::WeekTime,
    shell::{ABOVE, Certainty, PLAIN, Resolved, Shape, Value},
};

mod above;
mod arguments;
mod mode;
mod pattern;
mod ports;
mod value_option;

pub(crate) use arguments::Arguments;
pub(crate) use pattern::Pattern;
pub(crate) use ports::Ports;

use arguments::is_flag;

/// What one rule says, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) message: String,
    pub(crate) scope: Scope,
    pub(crate) commands: Vec<Pattern>,
    pub(crate) writes: Vec<Pattern>,
    pub(crate) alters: Vec<Pattern>,
    pub(crate) reads: Vec<Pattern>,
    pub(crate) shapes: Vec<Shape>,
    /// Ports of the pod that are forwarded.
    pub(crate) ports: Vec<Ports>,
    /// A file that is named is larger than so many bytes.
    pub(crate) size_over: Option<u64>,
    pub(crate) arguments: Arguments,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// It may run, unless another rule says otherwise.
    Allow,
    /// It may not run; overrides every other rule.
    Forbid,
    /// A second person decides.
    Ask,
    /// It may run, and somebody is told.
    Alert,
}

impl Effect {
    pub(crate) const fn decision(self) -> Decision {
        match self {
            Self::Allow => Decision::Allow,
            Self::Alert => Decision::Alert,
            Self::Ask => Decision::Ask,
            Self::Forbid => Decision::Deny,
        }
    }
}

/// For whom and where a rule counts; an empty list is everybody and everywhere.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) users: Vec<Pattern>,
    pub(crate) groups: Vec<Pattern>,
    pub(crate) clusters: Vec<Pattern>,
    pub(crate) namespaces: Vec<Pattern>,
    pub(crate) pods: Vec<Pattern>,
    pub(crate) containers: Vec<Pattern>,
    pub(crate) labels: BTreeMap<String, Pattern>,
    /// The rule counts in these hours; always when there are none.
    pub(crate) hours: Vec<Hours>,
}

/// Some hours of some days.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hours {
    /// A bit for each day since Monday.
    pub(crate) days: u8,
    /// Minutes since midnight; the end lies on the next day when it is not behind the start.
    pub(crate) from: u16,
    pub(crate) to: u16,
}

impl Hours {
    pub(crate) fn contains(self, time: WeekTime) -> bool {
        let on = |day: u8| self.days & (1 << (day % 7)) != 0;
        if self.from < self.to {
            return on(time.day) && (self.from..self.to).contains(&time.minute);
        }
        on(time.day) && time.minute >= self.from || on(time.day + 6) && time.minute < self.to
    }
}

impl Scope {
    /// `effect` is what the rule does: see [`Subject::time`] for why it matters.
    pub(crate) fn covers(&self, subject: &Subject, effect: Effect) -> bool {
        let any = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        let person = if self.users.is_empty() && self.groups.is_empty() {
            true
        } else {
            self.users
                .iter()
                .any(|pattern| pattern.matches(&subject.user))
                || subject
                    .groups
                    .iter()
                    .any(|group| self.groups.iter().any(|pattern| pattern.matches(group)))
        };
        person
            && any(&self.clusters, &subject.cluster)
            && any(&self.namespaces, &subject.namespace)
            && any(&self.pods, &subject.pod)
            && any(&self.containers, &subject.container)
            && (self.hours.is_empty()
                || subject.time.map_or(effect != Effect::Allow, |time| {
                    self.hours.iter().any(|hours| hours.contains(time))
                }))
            && self.labels.iter().all(|(name, pattern)| {
                subject
                    .labels
                    .get(name)
                    .is_some_and(|value| pattern.matches(value))
            })
    }
}

/// Whether a rule speaks of a command.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Match {
    No,
    /// It depends on an argument that is not known.
    Maybe,
    Yes,
}

impl Match {
    fn from_bool(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl Rule {
    /// Whether the rule speaks of forwarding `port`.
    pub(crate) fn covers_port(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| ports.contains(port))
    }

    /// Whether the rule speaks of `command`.
    pub(crate) fn matches(&self, command: &Resolved, subject: &Subject) -> Match {
        let files = |patterns: &[Pattern], paths: &[Value]| {
            paths
                .iter()
                .map(|path| file_match(patterns, path))
                .max()
                .unwrap_or(Match::No)
        };
        if self.files().next().is_some() {
            // What is written is altered as well.
            let found = files(&self.writes, &command.writes)
                .max(files(&self.alters, &command.writes))
                .max(files(&self.alters, &command.alters))
                .max(files(&self.reads, &command.reads));
            if self.commands.is_empty() || found != Match::No {
                return found;
            }
        }
        if command.argv.is_empty() || !self.names(command) {
            return Match::No;
        }
        let arguments = command.argv.get(1..).unwrap_or_default();
        let inherited = command.certainty == Certainty::Inherited;
        let held = self
            .arguments
            .match_all(&command.name, arguments, inherited);
        match self.size_over {
            Some(limit) => held.min(self.oversized(command, limit, subject)),
            None => held,
        }
    }

    /// The patterns of files that it speaks of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Pattern> {
        self.writes.iter().chain(&self.alters).chain(&self.reads)
    }

    pub(crate) fn names(&self, command: &Resolved) -> bool {
        self.commands.iter().any(|pattern| pattern.names(command))
    }

    /// The word or path that the rule speaks of, for its explanation.
    pub(crate) fn token(&self, command: &Resolved) -> Option<String> {
        let path = |patterns: &[Pattern], paths: &[Value]| {
            paths
                .iter()
                .find(|path| file_match(patterns, path) != Match::No)
                .map(Value::shown)
        };
        let flag = || {
            let arguments = command.argv.get(1..).unwrap_or_default();
            arguments
                .iter()
                .filter_map(Value::known)
                .find(|text| {
                    self.arguments
                        .any_flag
                        .iter()
                        .any(|flag| is_flag(text, flag))
                        || self
                            .arguments
                            .any_operand
                            .iter()
                            .any(|pattern| pattern.matches(text))
                })
                .map(str::to_owned)
        };
        path(&self.writes, &command.writes)
            .or_else(|| path(&self.alters, &command.writes))
            .or_else(|| path(&self.alters, &command.alters))
            .or_else(|| path(&self.reads, &command.reads))
            .or_else(flag)
            .or_else(|| command.argv.first().map(Value::shown))
    }
}

/// Whether a file is one of those that `patterns` name.
fn file_match(patterns: &[Pattern], path: &Value) -> Match {
    match path {
        Value::Known(path) => {
            let path = normalize(path);
            Match::from_bool(patterns.iter().any(|pattern| pattern.covers(&path)))
        }
        Value::Pattern(path) => {
            let prefix = path.split(['*', '?', '[', '\\']).next().unwrap_or_default();
            let prefix = normalize_prefix(prefix);
            let may = path.starts_with(['/', '~'])
                && patterns.iter().any(|pattern| {
                    match pattern.literal().or_else(|| pattern.folder()) {
                        Some(other) if !path.contains("**") => may_meet(path, other),
                        _ => pattern.may_begin_with(&prefix),
                    }
                });
            if may { Match::Maybe } else { Match::No }
        }
        Value::Unknown { reason, suffix, .. } if *reason == ABOVE => {
            let may = patterns.iter().any(|it| above::may_meet(it, suffix));
            if may { Match::Maybe } else { Match::No }
        }
        Value::Unknown { prefix, reason, .. } => {
            let prefix = normalize_prefix(prefix);
            if patterns.is_empty() || is_elsewhere(&prefix) && *reason == PLAIN {
                return Match::No;
            }
            // `/tmp/$x` is no file of `/tmp` where `$x` is `../etc/passwd`.
            let leaves = *reason != PLAIN && !prefix.starts_with("/dev/fd/");
            if patterns.iter().any(|pattern| pattern.takes_all(&prefix)) {
                Match::Yes
            } else if leaves
                || patterns
                    .iter()
                    .any(|pattern| pattern.may_begin_with(&prefix))
            {
                Match::Maybe
            } else {
                Match::No
            }
        }
    }
}

/// Whether a path with wildcards may be `other`, a folder above it or a file below it.
fn may_meet(path: &str, other: &str) -> bool {
    let parts = |text: &'_ str| -> Vec<String> {
        let parts = text.split('/').filter(|it| !matches!(*it, "" | "."));
        parts.map(str::to_owned).collect()
    };
    let (wild, plain) = (parts(path), parts(other));
    wild.iter().any(|part| part == "..")
        || wild
            .iter()
            .zip(&plain)
            .all(|(wild, plain)| crate::shell::matches(wild, plain) != Some(false))
}

/// Below a folder for files that nobody needs.
fn is_elsewhere(prefix: &str) -> bool {
    prefix.starts_with("/tmp/") || prefix.starts_with("/dev/fd/")
}

fn normalize_prefix(prefix: &str) -> String {
    let ends = prefix.ends_with('/') && prefix.len() > 1;
    let mut text = normalize(prefix);
    if ends && !text.ends_with('/') {
        text.push('/');
    }
    text
}

/// A path without `//`, `/./` and `/../`.
pub(crate) fn normalize(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if absolute || parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if absolute {
        format!("/{joined}")
    } else {
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn paths_have_one_spelling() {
        for path in [
            "/etc/passwd",
            "//etc//passwd",
            "/usr/../etc/./passwd",
            "/../etc/passwd",
        ] {
            assert_eq!(normalize(path), "/etc/passwd");
        }
    }
}
