//! A rule set judges as its naive model does: every rule is asked of every command, one by one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dockin_policy::{Decision, RuleSet, SessionState, Subject, judge_line};
use proptest::{prelude::*, sample::select};

const PROGRAMS: &[&str] = &["rm", "ls", "kubectl", "mkfs.xfs", "systemctl", "cp"];
const WORDS: &[&str] = &["-r", "--force", "delete", "/etc/x", "/srv/data/y", "a"];
const USERS: &[&str] = &["anna", "ben"];

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
        select(&["allow", "forbid", "ask", "alert"][..]),
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
    if rules.is_empty() {
        text.push_str("  []\n");
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
            .map(|rule| match rule.effect {
                "allow" => Decision::Allow,
                "alert" => Decision::Alert,
                "ask" => Decision::Ask,
                _ => Decision::Deny,
            })
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
        denies in any::<bool>(),
        user in select(USERS),
        commands in proptest::collection::vec(
            (select(PROGRAMS), proptest::collection::vec(select(WORDS), 0..4)),
            1..4,
        ),
    ) {
        let text = yaml(if denies { "deny" } else { "allow" }, &rules);
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
}
