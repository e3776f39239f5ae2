//! A rule set judges as its naive model does: every rule is asked of every command, one by one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use dockin_policy::{Decision, RuleSet, SessionState, Subject, WeekTime, judge_line, judge_port};
use proptest::{prelude::*, sample::select};

const PROGRAMS: &[&str] = &["rm", "ls", "kubectl", "mkfs.xfs", "systemctl", "cp"];
const WORDS: &[&str] = &["-r", "--force", "delete", "/etc/x", "/srv/data/y", "a"];
const USERS: &[&str] = &["anna", "ben"];
const EFFECTS: &[&str] = &["allow", "forbid", "ask", "alert"];
const NAMESPACES: &[&str] = &["dev", "prod"];
/// The ends of the ranges below, and what lies beside them.
const PORTS: &[u16] = &[1, 21, 22, 23, 1023, 1024, 5432, 65535];

#[derive(Clone, Debug)]
struct ModelRule {
    effect: &'static str,
    commands: Vec<&'static str>,
    flag: Option<&'static str>,
    operand: Option<&'static str>,
    user: Option<&'static str>,
}

fn rule() -> impl Strategy<Value = ModelRule> {
    (
        select(EFFECTS),
        proptest::collection::vec(
            select(&["rm", "ls", "kubectl", "mkfs.*", "*ctl", "*"][..]),
            1..3,
        ),
        proptest::option::of(select(&["-r", "--force"][..])),
        proptest::option::of(select(&["delete", "/etc/*", "/srv/**", "?"][..])),
        proptest::option::of(select(USERS)),
    )
        .prop_map(|(effect, commands, flag, operand, user)| ModelRule {
            effect,
            commands,
            flag,
            operand,
            user,
        })
}

#[derive(Clone, Debug)]
struct ModelPortRule {
    effect: &'static str,
    ports: Vec<(u16, u16)>,
    user: Option<&'static str>,
    namespace: Option<&'static str>,
    label: bool,
    mornings: bool,
}

fn port_rule() -> impl Strategy<Value = ModelPortRule> {
    let ports = select(&[(22, 22), (1, 1023), (1024, 65535), (23, 5432), (1, 65535)][..]);
    (
        select(EFFECTS),
        proptest::collection::vec(ports, 1..3),
        proptest::option::of(select(USERS)),
        proptest::option::of(select(NAMESPACES)),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(effect, ports, user, namespace, label, mornings)| ModelPortRule {
                effect,
                ports,
                user,
                namespace,
                label,
                mornings,
            },
        )
}

/// Behind the rules of [`yaml`].
fn ports_yaml(rules: &[ModelPortRule]) -> String {
    let mut text = String::new();
    for (number, rule) in rules.iter().enumerate() {
        let ports: Vec<String> = rule
            .ports
            .iter()
            .map(|ports| match ports {
                (1, 65535) => "'*'".to_owned(),
                (from, to) if from == to => from.to_string(),
                (from, to) => format!("{from}-{to}"),
            })
            .collect();
        text.push_str(&format!(
            "  - id: p{number}\n    effect: {}\n    ports: [{}]\n",
            rule.effect,
            ports.join(", ")
        ));
        if let Some(user) = rule.user {
            text.push_str(&format!("    users: [{user}]\n"));
        }
        if let Some(namespace) = rule.namespace {
            text.push_str(&format!("    namespaces: [{namespace}]\n"));
        }
        if rule.label {
            text.push_str("    labels: { app: db }\n");
        }
        if rule.mornings {
            text.push_str("    hours: ['06:00-12:00']\n");
        }
    }
    text
}

fn yaml(default: &str, rules: &[ModelRule]) -> String {
    let mut text = format!("name: model\ndefault: {default}\nrules:\n");
    for (number, rule) in rules.iter().enumerate() {
        text.push_str(&format!(
            "  - id: r{number}\n    effect: {}\n    commands: {:?}\n",
            rule.effect, rule.commands
        ));
        if rule.flag.is_some() || rule.operand.is_some() {
            text.push_str("    arguments:\n");
        }
        if let Some(flag) = rule.flag {
            text.push_str(&format!("      any_flag: [{flag:?}]\n"));
        }
        if let Some(operand) = rule.operand {
            text.push_str(&format!("      any_operand: [{operand:?}]\n"));
        }
        if let Some(user) = rule.user {
            text.push_str(&format!("    users: [{user}]\n"));
        }
    }
    text
}

/// `*` is anything but a slash in operands, `**` anything at all, `?` one character.
fn is_like(pattern: &str, text: &str) -> bool {
    let translated: String = pattern
        .replace("**", "\u{1}")
        .chars()
        .map(|c| match c {
            '\u{1}' => ".*".to_owned(),
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            c => regex::escape(&c.to_string()),
        })
        .collect();
    regex::Regex::new(&format!("^{translated}$"))
        .unwrap()
        .is_match(text)
}

fn decision_of(effect: &str) -> Decision {
    match effect {
        "allow" => Decision::Allow,
        "alert" => Decision::Alert,
        "ask" => Decision::Ask,
        _ => Decision::Deny,
    }
}

fn port_model(
    default: Decision,
    rules: &[ModelPortRule],
    subject: &Subject,
    port: u16,
) -> (Decision, Option<String>) {
    let heard: Vec<(Decision, String)> = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| {
            let effect = decision_of(rule.effect);
            rule.ports
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&port))
                && rule.user.is_none_or(|only| only == subject.user)
                && rule.namespace.is_none_or(|only| only == subject.namespace)
                && (!rule.label || subject.labels.get("app").is_some_and(|app| app == "db"))
                && (!rule.mornings
                    || subject.time.map_or(effect != Decision::Allow, |time| {
                        (6 * 60..12 * 60).contains(&time.minute)
                    }))
        })
        .map(|(number, rule)| (decision_of(rule.effect), format!("p{number}")))
        .collect();
    let severest = heard.iter().map(|(decision, _)| *decision).max();
    let first = heard
        .into_iter()
        .find(|(decision, _)| Some(*decision) == severest);
    first.map_or((default, None), |(decision, id)| (decision, Some(id)))
}

fn model(default: Decision, rules: &[ModelRule], user: &str, commands: &[Vec<&str>]) -> Decision {
    let mut worst = Decision::Allow;
    for command in commands {
        let (name, words) = command.split_first().unwrap();
        let (flags, operands): (Vec<&&str>, Vec<&&str>) =
            words.iter().partition(|word| word.starts_with('-'));
        let heard = rules.iter().filter(|rule| {
            rule.commands.iter().any(|pattern| is_like(pattern, name))
                && rule.user.is_none_or(|only| only == user)
                && rule
                    .flag
                    .is_none_or(|flag| flags.iter().any(|it| **it == flag))
                && rule
                    .operand
                    .is_none_or(|pattern| operands.iter().any(|it| is_like(pattern, it)))
        });
        let decision = heard
            .map(|rule| decision_of(rule.effect))
            .max()
            .unwrap_or(default);
        worst = worst.max(decision);
    }
    worst
}

proptest! {
    /// The most severe of all rules that speak of a command counts, without any the default; of
    /// several commands the worst.
    #[test]
    fn a_rule_set_judges_as_its_naive_model(
        rules in proptest::collection::vec(rule(), 0..8),
        port_rules in proptest::collection::vec(port_rule(), 0..3),
        denies in any::<bool>(),
        user in select(USERS),
        commands in proptest::collection::vec(
            (select(PROGRAMS), proptest::collection::vec(select(WORDS), 0..4)),
            1..4,
        ),
    ) {
        let text = document(denies, &rules, &port_rules);
        let set = RuleSet::parse(&text).unwrap();
        let commands: Vec<Vec<&str>> = commands
            .into_iter()
            .map(|(program, words)| std::iter::once(program).chain(words).collect())
            .collect();
        let line = commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join("; ");
        let subject = Subject { user: user.to_owned(), ..Subject::default() };
        let verdict = judge_line(&set, &subject, line.as_bytes(), &mut SessionState::default());
        let default = if denies { Decision::Deny } else { Decision::Allow };
        let expected = model(default, &rules, user, &commands);
        prop_assert_eq!(verdict.decision, expected, "{} under\n{}", line, text);
    }
    /// The same of ports: rules of commands are not heard, nor is a list of commands beside.
    #[test]
    fn ports_are_judged_as_by_their_naive_model(
        rules in proptest::collection::vec(rule(), 0..3),
        port_rules in proptest::collection::vec(port_rule(), 0..8),
        denies in any::<bool>(),
        list in proptest::option::of(select(&["whitelist", "blacklist"][..])),
        user in select(USERS),
        namespace in select(NAMESPACES),
        is_db in any::<bool>(),
        hour in proptest::option::of(0_u16..24),
        port in select(PORTS),
    ) {
        let text = document(denies, &rules, &port_rules);
        let set = RuleSet::parse(&text).unwrap();
        let set = match list {
            Some(kind) => RuleSet::from_redis_lists(&["ls".to_owned()], &[], kind)
                .unwrap()
                .beside(Arc::new(set)),
            None => set,
        };
        let app = if is_db { "db" } else { "web" };
        let subject = Subject {
            user: user.to_owned(),
            namespace: namespace.to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            time: hour.map(|hour| WeekTime { day: 1, minute: hour * 60 }),
            ..Subject::default()
        };
        let verdict = judge_port(&set, &subject, port);
        let default = if denies { Decision::Deny } else { Decision::Allow };
        let expected = port_model(default, &port_rules, &subject, port);
        prop_assert_eq!((verdict.decision, verdict.rule), expected, "{} under\n{}", port, text);
    }
}

fn document(denies: bool, rules: &[ModelRule], port_rules: &[ModelPortRule]) -> String {
    let mut text = yaml(if denies { "deny" } else { "allow" }, rules);
    text.push_str(&ports_yaml(port_rules));
    if rules.is_empty() && port_rules.is_empty() {
        text.push_str("  []\n");
    }
    text
}
