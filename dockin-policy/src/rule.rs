use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

use crate::{
    Decision, Subject,
    judge::WeekTime,
    shell::{ABOVE, Certainty, PLAIN, Resolved, Shape, Value},
};

mod above;

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

/// A text with `*`, `**`, `?`, `[…]` and `{a,b}`.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: String,
    matcher: GlobMatcher,
    /// Nothing in it is a wildcard.
    is_literal: bool,
    /// Bytes of the folder, when it is all below one.
    folder: Option<usize>,
    /// Bytes that it begins with, when anything may follow.
    prefix: Option<usize>,
}

/// What makes a text more than itself.
const WILD: [char; 5] = ['*', '?', '[', '{', '\\'];

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(text)
            .literal_separator(text.contains('/'))
            .build()
            .map_err(|error| format!("`{text}` is no pattern: {}", error.kind()))?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
            is_literal: !text.contains(WILD),
            folder: text
                .strip_suffix("/**")
                .filter(|folder| !folder.contains(WILD))
                .map(str::len),
            prefix: text
                .strip_suffix('*')
                .filter(|prefix| !prefix.contains(WILD) && !prefix.contains('/'))
                .map(str::len),
        })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.is_literal {
            return text == self.text;
        }
        if let Some(folder) = self.folder() {
            return text
                .strip_prefix(folder)
                .is_some_and(|below| below.starts_with('/'));
        }
        match self.prefix.and_then(|length| self.text.get(..length)) {
            Some(prefix) => text.starts_with(prefix),
            None => self.matcher.is_match(text),
        }
    }

    /// Whether a program that is named so is meant: by its name, or by its path.
    pub(crate) fn names(&self, command: &Resolved) -> bool {
        if self.text.contains('/') {
            let program = command.argv.first().and_then(Value::known);
            self.matches(&normalize(program.unwrap_or_default()))
        } else {
            self.matches(&command.name)
        }
    }

    /// Whether a path, or a folder that takes its files along, is meant.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.matches(path)
            || self
                .text
                .strip_suffix("/**")
                .is_some_and(|folder| folder == path)
    }

    /// The text, when it stands for itself.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.is_literal.then_some(self.text.as_str())
    }

    /// The folder, when it is all below one.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.text.get(..self.folder?)
    }

    /// Whether some text that begins with `prefix` may match.
    fn may_begin_with(&self, prefix: &str) -> bool {
        let fixed = self
            .text
            .split(['*', '?', '[', '{'])
            .next()
            .unwrap_or_default();
        fixed.starts_with(prefix) || prefix.starts_with(fixed)
    }
}

/// Conditions on arguments; all that are given must hold.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// One of these options is there, alone, in a cluster, glued to its value or abbreviated.
    pub(crate) any_flag: Vec<String>,
    /// An operand is like one of these.
    pub(crate) any_operand: Vec<Pattern>,
    /// The first operands, such as `container rm`.
    pub(crate) verb: Vec<Vec<String>>,
    /// Options whose value is the next argument, so that it is no operand.
    pub(crate) value_options: Vec<String>,
    /// So many operands at least.
    pub(crate) min_operands: usize,
    /// `kill`: one of these signals is sent.
    pub(crate) signal: Vec<String>,
    /// `chmod`: the mode gives everybody read, write and execute.
    pub(crate) world_writable: bool,
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
        let held = self.arguments.match_all(arguments, inherited);
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
            let folder = |pattern: &Pattern| {
                pattern.text.strip_suffix("**").is_some_and(|folder| {
                    !folder.contains(['*', '?', '[', '{']) && prefix.starts_with(folder)
                })
            };
            // `/tmp/$x` is no file of `/tmp` where `$x` is `../etc/passwd`.
            let leaves = *reason != PLAIN && !prefix.starts_with("/dev/fd/");
            if patterns.iter().any(folder) {
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

impl Arguments {
    /// All conditions that are given, by the weakest of them.
    ///
    /// `inherited`: what is not known may be what the environment has. That holds places, names and
    /// numbers: an argument of which nothing is known is no verb then, and no option.
    pub(crate) fn match_all(&self, arguments: &[Value], inherited: bool) -> Match {
        let operands = self.operands(arguments);
        let unknown = |mut values: std::slice::Iter<'_, Value>| {
            if values.any(|value| value.known().is_none()) {
                Match::Maybe
            } else {
                Match::No
            }
        };
        let or = |holds: bool, otherwise: Match| if holds { Match::Yes } else { otherwise };
        let any_operand = || {
            operands
                .iter()
                .filter_map(|it| it.known())
                .any(|text| self.any_operand.iter().any(|pattern| pattern.matches(text)))
        };
        let grants = || {
            operands
                .first()
                .is_some_and(|it| it.known().is_some_and(grants_all))
        };
        let mut weakest = Match::Yes;
        if !self.verb.is_empty() {
            weakest = weakest.min(if inherited {
                let told = operands.iter().copied().filter(|it| !is_open(it));
                self.verb(&told.collect::<Vec<_>>())
            } else {
                self.verb(&operands)
            });
        }
        if self.min_operands > 0 {
            weakest = weakest.min(Match::from_bool(operands.len() >= self.min_operands));
        }
        if weakest == Match::No {
            return weakest;
        }
        let anything = unknown(arguments.iter());
        let optional = arguments
            .iter()
            .any(|it| may_be_option(it) && !(inherited && is_open(it)));
        if !self.any_flag.is_empty() {
            let maybe = if optional { Match::Maybe } else { Match::No };
            weakest = weakest.min(or(self.any_flag(arguments), maybe));
        }
        if !self.any_operand.is_empty() {
            weakest = weakest.min(or(any_operand(), anything));
        }
        if !self.signal.is_empty() {
            let maybe = if optional || !inherited {
                anything
            } else {
                Match::No
            };
            weakest = weakest.min(or(self.signal(arguments), maybe));
        }
        if self.world_writable {
            let first = operands
                .first()
                .map_or([].as_slice(), |first| std::slice::from_ref(*first));
            let mode = unknown(first.iter());
            weakest = weakest.min(or(grants(), mode));
        }
        weakest
    }

    pub(crate) fn operands<'a>(&self, arguments: &'a [Value]) -> Vec<&'a Value> {
        let mut operands = Vec::new();
        let mut options = true;
        let mut skip = false;
        for argument in arguments {
            if std::mem::take(&mut skip) {
                continue;
            }
            match argument.known() {
                Some("--") if options => options = false,
                // A negative number is a process group, not an option.
                Some(text)
                    if options
                        && text.len() > 1
                        && text.starts_with('-')
                        && text.parse::<i64>().is_err() =>
                {
                    skip = self.value_options.iter().any(|option| option == text);
                }
                _ => operands.push(argument),
            }
        }
        operands
    }

    fn any_flag(&self, arguments: &[Value]) -> bool {
        arguments
            .iter()
            .filter_map(Value::known)
            .take_while(|text| *text != "--")
            .any(|text| self.any_flag.iter().any(|flag| is_flag(text, flag)))
    }

    fn verb(&self, operands: &[&Value]) -> Match {
        let one = |verb: &Vec<String>| {
            if operands.len() < verb.len() {
                return Match::No;
            }
            let words = verb
                .iter()
                .zip(operands)
                .map(|(word, operand)| match operand.known() {
                    Some(text) => Match::from_bool(text == word),
                    None => Match::Maybe,
                });
            words.min().unwrap_or(Match::No)
        };
        self.verb.iter().map(one).max().unwrap_or(Match::No)
    }

    fn signal(&self, arguments: &[Value]) -> bool {
        let wanted = |text: &str| {
            let name = text.to_ascii_uppercase();
            let name = name.trim_start_matches("SIG").to_owned();
            self.signal
                .iter()
                .any(|signal| signal.trim_start_matches("SIG") == name)
        };
        let mut previous = "";
        arguments.iter().filter_map(Value::known).any(|text| {
            let named = matches!(previous, "-s" | "-n" | "--signal") && wanted(text);
            previous = text;
            let glued = text
                .strip_prefix("--signal=")
                .or_else(|| text.strip_prefix("-s"));
            named || glued.is_some_and(&wanted) || text.strip_prefix('-').is_some_and(&wanted)
        })
    }
}

/// Whether what is not known may be an option.
fn may_be_option(value: &Value) -> bool {
    match value {
        Value::Known(_) => false,
        Value::Pattern(text) => text.starts_with(['-', '*', '?', '[']),
        Value::Unknown { prefix, .. } => prefix.is_empty() || prefix.starts_with('-'),
    }
}

/// Whether nothing is known of how an argument begins, or it is an option's value.
fn is_open(value: &Value) -> bool {
    matches!(value, Value::Unknown { prefix, .. }
        if prefix.is_empty() || prefix.starts_with("--") && prefix.contains('='))
}

/// Whether the argument `text` is or contains the option `flag`.
fn is_flag(text: &str, flag: &str) -> bool {
    if let Some(long) = flag.strip_prefix("--") {
        let name = text.split('=').next().unwrap_or(text);
        return name == flag
            || name
                .strip_prefix("--")
                .is_some_and(|short| short.len() > 2 && long.starts_with(short));
    }
    let Some(letters) = flag.strip_prefix('-') else {
        return text == flag;
    };
    if letters.chars().count() > 1 {
        return text == flag;
    }
    text.starts_with('-') && !text.starts_with("--") && text.contains(letters)
}

/// Whether a mode gives others read, write and execute.
fn grants_all(mode: &str) -> bool {
    if !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit()) {
        return mode.ends_with('7');
    }
    mode.split(',').any(|clause| {
        let Some(at) = clause.find(['+', '=']) else {
            return false;
        };
        let (who, what) = clause.split_at(at);
        let others = who.is_empty() || who.contains(['o', 'a']);
        others && ['r', 'w', 'x'].iter().all(|right| what.contains(*right))
    })
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
    use super::{grants_all, is_flag, normalize};

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

    #[test]
    fn options_are_found_however_they_are_written() {
        assert!(
            is_flag("-rf", "-f") && is_flag("--force", "--force") && is_flag("--forc", "--force")
        );
        assert!(is_flag("-delete", "-delete"));
        assert!(!is_flag("--file", "-f") && !is_flag("-x", "-f") && !is_flag("--", "--force"));
    }

    #[test]
    fn modes_that_give_everybody_everything_are_seen() {
        for mode in ["777", "0777", "a+rwx", "+rwx", "u=r,o=rwx"] {
            assert!(grants_all(mode), "{mode}");
        }
        for mode in ["755", "u+rwx", "go-rwx", "a+r", ""] {
            assert!(!grants_all(mode), "{mode}");
        }
    }
}
