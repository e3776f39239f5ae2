//! Which ports may be forwarded, by whom, where and when.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use dockin_policy::{
    Decision, Reason, RuleSet, SessionState, Subject, WeekTime, judge_line, judge_port,
};

const RULES: &str = "
name: ports
contact: the platform team
rules:
  - { id: no-system, effect: forbid, ports: [1-1023], message: these are the system's }
  - { id: web, effect: allow, ports: [80, 443] }
  - { id: database, effect: ask, ports: [5432], labels: { app: db } }
  - { id: told, effect: alert, ports: ['*'], groups: [guests] }
  - { id: nights, effect: forbid, ports: [9000-9999], hours: ['22:00-06:00'] }
  - { id: prod, effect: forbid, ports: ['*'], clusters: [prod], namespaces: ['pay*'], pods: [db-0] }
  - { id: no-delete, effect: forbid, commands: [rm] }
";

fn rules() -> RuleSet {
    RuleSet::parse(RULES).unwrap()
}

fn decision(rules: &RuleSet, subject: &Subject, port: u16) -> Decision {
    judge_port(rules, subject, port).decision
}

#[test]
fn the_most_severe_rule_of_a_port_counts() {
    let rules = rules();
    let anybody = Subject::default();
    for (port, expected) in [
        (1, Decision::Deny),
        (22, Decision::Deny),
        // What allows it does not make up for what forbids it.
        (80, Decision::Deny),
        (1023, Decision::Deny),
        (1024, Decision::Allow),
        (5432, Decision::Allow),
        (65535, Decision::Allow),
    ] {
        assert_eq!(decision(&rules, &anybody, port), expected, "{port}");
    }
}

#[test]
fn a_rule_counts_for_its_people_places_and_hours() {
    let rules = rules();
    let at = |minute| Some(WeekTime { day: 0, minute });
    let labelled = Subject {
        labels: [("app".to_owned(), "db".to_owned())].into(),
        ..Subject::default()
    };
    let guest = Subject {
        groups: vec!["dev".to_owned(), "guests".to_owned()],
        ..Subject::default()
    };
    let paying = Subject {
        cluster: "prod".to_owned(),
        namespace: "payments".to_owned(),
        pod: "db-0".to_owned(),
        ..Subject::default()
    };
    let other_pod = Subject {
        pod: "db-1".to_owned(),
        ..paying.clone()
    };
    let noon = Subject {
        time: at(12 * 60),
        ..Subject::default()
    };
    let night = Subject {
        time: at(23 * 60),
        ..Subject::default()
    };
    for (who, subject, port, expected) in [
        ("labelled", &labelled, 5432, Decision::Ask),
        ("guest", &guest, 5432, Decision::Alert),
        ("guest", &guest, 22, Decision::Deny),
        ("paying", &paying, 8080, Decision::Deny),
        ("other pod", &other_pod, 8080, Decision::Allow),
        ("noon", &noon, 9000, Decision::Allow),
        ("night", &night, 9000, Decision::Deny),
        // While the time is not known what forbids counts.
        ("no time", &Subject::default(), 9000, Decision::Deny),
    ] {
        assert_eq!(decision(&rules, subject, port), expected, "{who} {port}");
    }
}

#[test]
fn where_the_default_denies_a_port_needs_a_rule_that_allows_it() {
    let rules = RuleSet::parse(
        "default: deny\nrules:\n  - { id: web, effect: allow, ports: [8080] }\n  \
         - { id: ls, effect: allow, commands: ['*'] }\n",
    )
    .unwrap();
    assert_eq!(decision(&rules, &Subject::default(), 8080), Decision::Allow);
    let verdict = judge_port(&rules, &Subject::default(), 8081);
    assert_eq!(
        (verdict.decision, &verdict.reason, &verdict.rule),
        (Decision::Deny, &Reason::Default, &None)
    );
    assert_eq!(
        verdict.to_string(),
        "`port 8081` refused: no rule allows it"
    );
}

#[test]
fn the_verdict_names_rule_port_message_and_whom_to_ask() {
    let verdict = judge_port(&rules(), &Subject::default(), 22);
    assert_eq!(verdict.rule.as_deref(), Some("no-system"));
    assert_eq!(verdict.token.as_deref(), Some("22"));
    assert_eq!(verdict.programs, Some(Vec::new()));
    assert_eq!(
        verdict.to_string(),
        "`port 22` refused by rule `no-system`: these are the system's (ask the platform team)"
    );
}

/// The lists of Dockin-Ops name commands; what they stand beside decides about ports.
#[test]
fn lists_of_commands_say_nothing_of_ports() {
    for kind in ["whitelist", "blacklist"] {
        let list = || RuleSet::from_redis_lists(&["ls".to_owned()], &[], kind).unwrap();
        assert_eq!(
            decision(&list(), &Subject::default(), 22),
            Decision::Allow,
            "{kind}"
        );
        let beside = list().beside(Arc::new(rules()));
        let verdict = judge_port(&beside, &Subject::default(), 22);
        assert_eq!(verdict.rule.as_deref(), Some("no-system"), "{kind}");
        assert_eq!(verdict.decision, Decision::Deny, "{kind}");
        assert_eq!(
            decision(&beside, &Subject::default(), 8080),
            Decision::Allow,
            "{kind}"
        );
    }
}

#[test]
fn a_rule_of_ports_is_no_rule_of_commands() {
    let all = RuleSet::parse("rules: [{ id: closed, effect: forbid, ports: ['*'] }]").unwrap();
    for line in ["nc -l -p 22", "ssh -p 22 host", "ls", "> /dev/tcp/x/22"] {
        let verdict = judge_line(
            &all,
            &Subject::default(),
            line.as_bytes(),
            &mut SessionState::default(),
        );
        assert_eq!(verdict.decision, Decision::Allow, "{line}");
    }
}

/// However a document spells it.
#[test]
fn ports_are_read_quoted_or_not() {
    for ports in [
        "[22]",
        "['22']",
        "[\"22\"]",
        "[20-22]",
        "['20-22', 80]",
        "\n      - 22",
    ] {
        let text = format!("rules:\n  - id: a\n    effect: forbid\n    ports: {ports}\n");
        let rules = RuleSet::parse(&text).unwrap();
        assert_eq!(
            decision(&rules, &Subject::default(), 22),
            Decision::Deny,
            "{ports}"
        );
        assert_eq!(
            decision(&rules, &Subject::default(), 23),
            Decision::Allow,
            "{ports}"
        );
    }
    for ports in [
        "[0x16]", "[22.0]", "[null]", "[true]", "[[22]]", "[1_000]", "[+22]", "[]",
    ] {
        let text = format!("rules:\n  - id: a\n    effect: forbid\n    ports: {ports}\n");
        let error = RuleSet::parse(&text).err();
        assert!(error.is_some_and(|it| it.line > 1), "{ports}");
    }
}
