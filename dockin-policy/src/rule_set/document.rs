//! The text of a rule set: what may stand in it, and what is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::RuleSetError;
use crate::{
    Decision,
    rule::{Arguments, Effect, Hours, Pattern, Ports, Rule, Scope},
    shell::Shape,
};

/// What a text says, checked.
pub(super) struct Document {
    pub(super) name: String,
    pub(super) contact: String,
    pub(super) default: Decision,
    pub(super) on_unknown: Decision,
    pub(super) rules: Vec<Rule>,
}

/// Rules of one set: more would be a data base.
const MAX_RULES: usize = 100_000;

impl Document {
    pub(super) fn parse(yaml: &str) -> Result<Self, RuleSetError> {
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
            default: text.default.decision(),
            on_unknown: text.on_unknown.decision(),
            rules,
        })
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
    if rule.commands.is_empty()
        && rule.writes.is_empty()
        && rule.alters.is_empty()
        && rule.reads.is_empty()
        && rule.shapes.is_empty()
        && rule.ports.is_empty()
    {
        return Err(
            "it matches nothing: give `commands`, `writes`, `alters`, `reads`, `shapes` or `ports`"
                .to_owned(),
        );
    }
    if !rule.ports.is_empty() {
        stands_for_ports(&rule)?;
    }
    let hours = rule
        .hours
        .iter()
        .map(|text| hours(text))
        .collect::<Result<_, _>>()?;
    let size_over = rule.size_over.as_deref().map(bytes_of).transpose()?;
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
            hours,
        },
        commands: patterns(&rule.commands)?,
        writes: patterns(&rule.writes)?,
        alters: patterns(&rule.alters)?,
        reads: patterns(&rule.reads)?,
        shapes: rule.shapes.iter().map(|shape| shape.shape()).collect(),
        ports: rule
            .ports
            .iter()
            .map(|text| Ports::parse(text))
            .collect::<Result<_, _>>()?,
        size_over,
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

/// Whether all that a rule with `ports` says can be said of a port-forward.
fn stands_for_ports(rule: &RuleText) -> Result<(), String> {
    for (key, is_given) in [
        ("commands", !rule.commands.is_empty()),
        ("writes", !rule.writes.is_empty()),
        ("alters", !rule.alters.is_empty()),
        ("reads", !rule.reads.is_empty()),
        ("shapes", !rule.shapes.is_empty()),
        ("size_over", rule.size_over.is_some()),
        ("arguments", rule.arguments != ArgumentsText::default()),
    ] {
        if is_given {
            return Err(format!(
                "`{key}` says nothing of a port-forward, so it cannot stand beside `ports`; make two rules of it"
            ));
        }
    }
    if !rule.containers.is_empty() {
        return Err(
            "a port-forward reaches its pod as a whole, so `containers` cannot stand beside \
             `ports`; name the pod by `pods` or `labels`"
                .to_owned(),
        );
    }
    Ok(())
}

/// `10MiB`, `512KiB`, `1GiB` or a number of bytes.
fn bytes_of(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write bytes, or a number with KiB, MiB or GiB");
    let text_only = text.trim();
    let (number, factor) = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text_only.strip_suffix(unit)?, factor)))
        .unwrap_or((text_only, 1));
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// `mon-fri 22:00-06:00`, `sat,sun`, `09:00-17:00`.
fn hours(text: &str) -> Result<Hours, String> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let wrong =
        || format!("`{text}` is no time window: write `mon-fri 22:00-06:00`, days or hours alone");
    let day = |name: &str| DAYS.iter().position(|day| *day == name).ok_or_else(wrong);
    let minute = |clock: &str| {
        let (hour, minute) = clock.split_once(':').ok_or_else(wrong)?;
        let (hour, minute): (u16, u16) = (
            hour.parse().map_err(|_| wrong())?,
            minute.parse().map_err(|_| wrong())?,
        );
        if hour > 24 || minute > 59 || hour == 24 && minute > 0 {
            return Err(wrong());
        }
        Ok(hour * 60 + minute)
    };
    let mut found = Hours {
        days: 0,
        from: 0,
        to: 24 * 60,
    };
    for part in text.split_whitespace() {
        if part.contains(':') {
            let (from, to) = part.split_once('-').ok_or_else(wrong)?;
            (found.from, found.to) = (minute(from)?, minute(to)?);
            continue;
        }
        for piece in part.split(',') {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (day(first)?, day(last)?);
            let mut at = first;
            loop {
                found.days |= 1 << at;
                if at == last {
                    break;
                }
                at = (at + 1) % 7;
            }
        }
    }
    if text.trim().is_empty() {
        return Err(wrong());
    }
    if found.days == 0 {
        found.days = 0x7F;
    }
    Ok(found)
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ShapeText {
    DownloadIntoShell,
    ForkBomb,
}

impl ShapeText {
    const fn shape(self) -> Shape {
        match self {
            Self::DownloadIntoShell => Shape::DownloadIntoShell,
            Self::ForkBomb => Shape::ForkBomb,
        }
    }
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

impl DefaultText {
    const fn decision(&self) -> Decision {
        match self {
            Self::Allow => Decision::Allow,
            Self::Deny => Decision::Deny,
        }
    }
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
    alters: Vec<String>,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    shapes: Vec<ShapeText>,
    #[serde(default, deserialize_with = "ports")]
    ports: Vec<String>,
    #[serde(default)]
    size_over: Option<String>,
    #[serde(default)]
    hours: Vec<String>,
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

/// A list, of which each port is taken as it is written: `0x16` is none.
fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(PortList)
}

/// Says what would be right where there is no list, which people forget of a single port.
struct PortList;

impl<'de> Visitor<'de> for PortList {
    type Value = Vec<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of ports, such as `[22, 1-1023]` or `['*']`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut ports = Vec::new();
        while let Some(port) = list.next_element()? {
            ports.push(port);
        }
        Ok(ports)
    }

    fn visit_u64<E: de::Error>(self, port: u64) -> Result<Self::Value, E> {
        self.visit_str(&port.to_string())
    }

    fn visit_str<E: de::Error>(self, port: &str) -> Result<Self::Value, E> {
        Err(E::custom(format!(
            "`{port}` is no list of ports: write `[{port}]`"
        )))
    }
}

#[derive(Default, Deserialize, PartialEq)]
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
