use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use thiserror::Error;

use crate::{
    Decision,
    rule::{Arguments, Effect, Pattern, Rule, Scope},
};

/// Rules that were read and checked as a whole.
#[derive(Debug)]
pub struct RuleSet {
    name: String,
    contact: String,
    pub(crate) default: Decision,
    pub(crate) on_unknown: Decision,
    pub(crate) rules: Vec<Rule>,
}

/// Why a text is no rule set. The rules that were in force stay.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("line {line}: {message}")]
pub struct RuleSetError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Rules of one set: more would be a data base.
const MAX_RULES: usize = 100_000;

impl RuleSet {
    /// Reads rules, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`RuleSetError`] with the line and the fix: a key that is not known, a value that a key
    /// cannot have, a pattern that is none, an id given twice, a rule that matches nothing.
    pub fn parse(yaml: &str) -> Result<Self, RuleSetError> {
        if yaml.trim().is_empty() {
            // A file that is cut short must not become rules that forbid nothing.
            let message = "there is nothing: give at least a `name`".to_owned();
            return Err(RuleSetError { line: 1, message });
        }
        let text: Text = serde_saphyr::from_str(yaml).map_err(|error| RuleSetError {
            line: error.location().map_or(1, |location| {
                usize::try_from(location.line()).unwrap_or(usize::MAX)
            }),
            message: error.without_snippet().to_string(),
        })?;
        if text.rules.len() > MAX_RULES {
            let message = format!("{} rules, limit {MAX_RULES}", text.rules.len());
            return Err(RuleSetError { line: 1, message });
        }
        let mut seen = BTreeSet::new();
        let mut rules = Vec::with_capacity(text.rules.len());
        for rule in text.rules {
            let line = line_of(yaml, &rule.id);
            let wrong = |message| RuleSetError { line, message };
            if !seen.insert(rule.id.clone()) {
                return Err(wrong(format!(
                    "rule `{}` is given twice; rename one",
                    rule.id
                )));
            }
            let id = rule.id.clone();
            rules.push(check(rule).map_err(|error| wrong(format!("rule `{id}`: {error}")))?);
        }
        Ok(Self {
            name: text.name,
            contact: text.contact,
            default: match text.default {
                DefaultText::Allow => Decision::Allow,
                DefaultText::Deny => Decision::Deny,
            },
            on_unknown: text.on_unknown.decision(),
            rules,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom a refusal tells people to ask; may be empty.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// Number of rules.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no rules.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Where a rule begins: its id, behind `id:`.
fn line_of(yaml: &str, id: &str) -> usize {
    let found = yaml.lines().position(|line| {
        line.split_once("id:").is_some_and(|(_, rest)| {
            let rest = rest.trim_start().trim_start_matches(['"', '\'']);
            rest.strip_prefix(id).is_some_and(|behind| {
                behind
                    .chars()
                    .next()
                    .is_none_or(|c| !(c.is_alphanumeric() || "-_.".contains(c)))
            })
        })
    });
    found.map_or(1, |index| index + 1)
}

fn check(rule: RuleText) -> Result<Rule, String> {
    if rule.id.is_empty()
        || !rule
            .id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        return Err("`id` must be of letters, digits, `-`, `_` and `.`".to_owned());
    }
    if rule.commands.is_empty() && rule.writes.is_empty() {
        return Err("it matches nothing: give `commands` or `writes`".to_owned());
    }
    let patterns = |texts: &[String]| -> Result<Vec<Pattern>, String> {
        texts.iter().map(|text| Pattern::new(text)).collect()
    };
    let labels: Result<BTreeMap<String, Pattern>, String> = rule
        .labels
        .iter()
        .map(|(name, text)| Ok((name.clone(), Pattern::new(text)?)))
        .collect();
    let arguments = rule.arguments;
    Ok(Rule {
        effect: match rule.effect {
            EffectText::Allow => Effect::Allow,
            EffectText::Forbid => Effect::Forbid,
            EffectText::Ask => Effect::Ask,
            EffectText::Alert => Effect::Alert,
        },
        message: rule.message,
        scope: Scope {
            users: patterns(&rule.users)?,
            groups: patterns(&rule.groups)?,
            clusters: patterns(&rule.clusters)?,
            namespaces: patterns(&rule.namespaces)?,
            pods: patterns(&rule.pods)?,
            containers: patterns(&rule.containers)?,
            labels: labels?,
        },
        commands: patterns(&rule.commands)?,
        writes: patterns(&rule.writes)?,
        arguments: Arguments {
            any_flag: arguments.any_flag,
            any_operand: patterns(&arguments.any_operand)?,
            verb: arguments
                .verb
                .iter()
                .map(|verb| verb.split_whitespace().map(str::to_owned).collect())
                .collect(),
            value_options: arguments.value_options,
            min_operands: arguments.min_operands,
            signal: arguments
                .signal
                .iter()
                .map(|it| it.to_ascii_uppercase())
                .collect(),
            world_writable: arguments.world_writable,
        },
        id: rule.id,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    name: String,
    #[serde(default)]
    default: DefaultText,
    #[serde(default)]
    on_unknown: UnknownText,
    #[serde(default)]
    contact: String,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DefaultText {
    #[default]
    Allow,
    Deny,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnknownText {
    #[default]
    Deny,
    Ask,
    Alert,
    Allow,
}

impl UnknownText {
    const fn decision(&self) -> Decision {
        match self {
            Self::Deny => Decision::Deny,
            Self::Ask => Decision::Ask,
            Self::Alert => Decision::Alert,
            Self::Allow => Decision::Allow,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EffectText {
    Allow,
    Forbid,
    Ask,
    Alert,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    id: String,
    effect: EffectText,
    #[serde(default)]
    message: String,
    #[serde(default)]
    commands: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
    #[serde(default)]
    arguments: ArgumentsText,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    clusters: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    pods: Vec<String>,
    #[serde(default)]
    containers: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArgumentsText {
    #[serde(default)]
    any_flag: Vec<String>,
    #[serde(default)]
    any_operand: Vec<String>,
    #[serde(default)]
    verb: Vec<String>,
    #[serde(default)]
    value_options: Vec<String>,
    #[serde(default)]
    min_operands: usize,
    #[serde(default)]
    signal: Vec<String>,
    #[serde(default)]
    world_writable: bool,
}

#[cfg(test)]
mod tests {
    use super::RuleSet;

    #[test]
    fn a_wrong_rule_refuses_the_whole_text_and_names_its_line() {
        for (text, line, word) in [
            ("name: x\nrule: []\n", 2, "rule"),
            (
                "rules:\n  - id: a\n    effect: forbit\n    commands: [x]\n",
                3,
                "forbit",
            ),
            (
                "rules:\n  - id: a\n    effect: forbid\n",
                2,
                "matches nothing",
            ),
            (
                "rules:\n  - { id: a, effect: forbid, commands: [x] }\n  - { id: a, effect: ask, commands: [y] }\n",
                2,
                "twice",
            ),
            (
                "rules:\n  - id: a\n    effect: forbid\n    commands: ['[']\n",
                2,
                "pattern",
            ),
            ("on_unknown: perhaps\n", 1, "perhaps"),
            (" \n", 1, "nothing"),
        ] {
            let error = RuleSet::parse(text)
                .err()
                .map(|error| (error.line, error.to_string()));
            let (at, message) = error.unwrap_or_default();
            assert_eq!(at, line, "{message}");
            assert!(message.contains(word), "{message}");
        }
    }
}
