#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::sync::Arc;

use super::RuleSet;
use crate::{Decision, Dialect, SessionState, Subject, WeekTime, judge_line};

fn decision(rules: &RuleSet, subject: &Subject, line: &str) -> Decision {
    judge_line(
        rules,
        subject,
        line.as_bytes(),
        &mut SessionState::default(),
    )
    .decision
}

#[test]
fn the_lists_of_redis_become_rules() {
    let lists = (["vi".to_owned(), "Top".to_owned()], ["ls".to_owned()]);
    let white = RuleSet::from_redis_lists(&lists.0, &lists.1, "whitelist").unwrap();
    let black = RuleSet::from_redis_lists(&lists.0, &lists.1, "blacklist").unwrap();
    for (line, by_white, by_black) in [
        ("ls /", Decision::Allow, Decision::Deny),
        ("top", Decision::Allow, Decision::Deny),
        ("rm x", Decision::Deny, Decision::Allow),
        ("ls; rm x", Decision::Deny, Decision::Deny),
    ] {
        assert_eq!(
            decision(&white, &Subject::default(), line),
            by_white,
            "{line}"
        );
        assert_eq!(
            decision(&black, &Subject::default(), line),
            by_black,
            "{line}"
        );
    }
}

#[test]
fn rules_count_in_their_hours() {
    let rules = RuleSet::parse(
        "rules: [{id: night, effect: forbid, commands: [deploy], hours: ['mon-fri 22:00-06:00']}]",
    )
    .unwrap();
    let at = |day, hour: u16| Subject {
        time: Some(WeekTime {
            day,
            minute: hour * 60,
        }),
        ..Subject::default()
    };
    for (day, hour, expected) in [
        (0, 23, Decision::Deny),
        (5, 3, Decision::Deny),
        (0, 12, Decision::Allow),
        (5, 23, Decision::Allow),
        (0, 3, Decision::Allow),
    ] {
        assert_eq!(
            decision(&rules, &at(day, hour), "deploy now"),
            expected,
            "{day} {hour}"
        );
    }
    // When it is not known what forbids counts, and what permits does not.
    assert_eq!(
        decision(&rules, &Subject::default(), "deploy now"),
        Decision::Deny
    );
    let rules = RuleSet::parse(
        "default: deny\nrules: [{id: day, effect: allow, commands: [deploy], hours: ['09:00-17:00']}]",
    )
    .unwrap();
    assert_eq!(decision(&rules, &at(2, 12), "deploy now"), Decision::Allow);
    assert_eq!(decision(&rules, &at(2, 3), "deploy now"), Decision::Deny);
    assert_eq!(
        decision(&rules, &Subject::default(), "deploy now"),
        Decision::Deny
    );
}

#[test]
fn week_begins_on_monday() {
    // 2026-11-21 was a Saturday, 13:20 UTC.
    assert_eq!(
        WeekTime::from_unix(1_795_266_000 + 20 * 60),
        WeekTime {
            day: 5,
            minute: 13 * 60 + 20
        }
    );
}

#[test]
fn sizes_and_files_that_are_read_are_judged() {
    let rules = RuleSet::parse(
        "on_unknown: ask\nrules:\n  - {id: big, effect: forbid, commands: [vi, vim], size_over: 10MiB}\n  \
         - {id: keys, effect: forbid, reads: ['/etc/shadow']}\n",
    )
    .unwrap();
    let subject = Subject {
        file_sizes: [("small".to_owned(), 10), ("large".to_owned(), 11 << 20)].into(),
        ..Subject::default()
    };
    for (line, expected) in [
        ("vi small", Decision::Allow),
        ("vi large", Decision::Deny),
        ("vi unheard", Decision::Ask),
        ("cat /etc/shadow", Decision::Deny),
        ("cat < /etc/../etc/shadow", Decision::Deny),
        ("cp /etc/shadow x", Decision::Deny),
        ("cat /etc/hosts", Decision::Allow),
    ] {
        assert_eq!(decision(&rules, &subject, line), expected, "{line}");
    }
}

/// What is asked of the index is what asking every rule gives.
#[test]
fn the_index_leaves_no_rule_out() {
    let rules = RuleSet::parse(include_str!("../../tests/rules/reference.yaml")).unwrap();
    for line in include_str!("../../tests/cases/benign_public.txt").lines() {
        let mut session = SessionState::default();
        let (analysis, _) = crate::shell::analyze_line(line.as_bytes(), &mut session);
        for command in &analysis.commands {
            let found: Vec<&str> = rules
                .candidates(command)
                .iter()
                .map(|rule| rule.id.as_str())
                .collect();
            for rule in &rules.rules {
                if rule.matches(command, &Subject::default()) != crate::rule::Match::No {
                    assert!(found.contains(&rule.id.as_str()), "{line}: {}", rule.id);
                }
            }
        }
    }
}

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
        (
            "rules:\n  - id: a\n    effect: forbid\n    ports: [ssh]\n",
            2,
            "`ssh` is no port",
        ),
        (
            "rules:\n  - id: b\n    effect: ask\n    ports: [80]\n  - id: a\n    effect: forbid\n    ports: [80, 70000]\n",
            5,
            "`70000` is no port",
        ),
        (
            "rules:\n  - id: a\n    effect: forbid\n    ports: 22\n",
            4,
            "`22` is no list of ports: write `[22]`",
        ),
        (
            "rules:\n  - id: a\n    effect: forbid\n    ports: 1-1023\n",
            4,
            "`1-1023` is no list of ports: write `[1-1023]`",
        ),
        (
            "rules:\n  - id: a\n    effect: forbid\n    ports: { from: 1 }\n",
            4,
            "a list of ports, such as",
        ),
        (
            "rules:\n  - id: a\n    effect: forbid\n    ports: []\n",
            2,
            "matches nothing",
        ),
        (
            "rules:\n  - { id: a, effect: forbid, ports: [22], commands: [ssh] }\n",
            2,
            "`commands` says nothing of a port-forward",
        ),
        (
            "rules:\n  - { id: a, effect: forbid, ports: [22], reads: [/etc/x] }\n",
            2,
            "`reads` says nothing of a port-forward",
        ),
        (
            "rules:\n  - { id: a, effect: forbid, ports: [22], arguments: { any_flag: [-x] } }\n",
            2,
            "`arguments` says nothing of a port-forward",
        ),
        (
            "rules:\n  - { id: a, effect: forbid, ports: [22], size_over: 1KiB }\n",
            2,
            "`size_over` says nothing of a port-forward",
        ),
        (
            "rules:\n  - { id: a, effect: forbid, ports: [22], containers: [web] }\n",
            2,
            "`containers` cannot stand beside",
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

/// What steers the shell itself needs no rule where everything else does.
#[test]
fn where_nothing_is_allowed_only_what_steers_the_shell_runs() {
    let rules = RuleSet::parse("default: deny").unwrap();
    for line in [
        ":",
        "true",
        "false",
        "[ 1 ]",
        "test x",
        "break",
        "continue",
        "return",
        "exit",
        "shift",
        "export x=1",
        "readonly x=1",
        "local x",
        "read x",
        "getopts a x",
        "cd /",
        "pwd",
        "eval :",
        ". /dev/null",
        "exec",
        "command :",
        "x=1",
        "! :",
        "(:)",
    ] {
        for dialect in [Dialect::Bash, Dialect::Sh, Dialect::Busybox, Dialect::Zsh] {
            let mut session = SessionState::new(dialect);
            let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
            assert_eq!(verdict.decision, Decision::Allow, "{line} {dialect:?}");
        }
    }
    for line in [
        "let 1",
        "declare x",
        "typeset x",
        "mapfile x",
        "pushd /",
        "popd",
        "builtin :",
    ] {
        assert_eq!(
            decision(&rules, &Subject::default(), line),
            Decision::Allow,
            "{line}"
        );
    }
    for line in [
        "echo x",
        "printf x",
        "umask",
        "type x",
        "type -p x",
        "jobs",
        "kill 1",
        "history",
        "set",
        "unset x",
        "alias x=y",
        "unalias x",
        "trap : EXIT",
        "hash x",
        "enable x",
        "bind -l",
        "complete x",
        "compgen x",
        "fc -l",
        "ulimit",
        "times",
        "wait",
        "help",
        "shopt",
        "ls",
        "eval ls",
        "exec ls",
        "command ls",
        "builtin echo",
        "cd /; ls",
        "exit | ls",
        "> /dev/x; id",
    ] {
        assert_eq!(
            decision(&rules, &Subject::default(), line),
            Decision::Deny,
            "{line}"
        );
    }
    for line in [
        "bindkey",
        "zle",
        "print x",
        "autoload x",
        "zmodload x",
        "r",
        "whence x",
        "sched",
    ] {
        let mut session = SessionState::new(Dialect::Zsh);
        let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
        assert_eq!(verdict.decision, Decision::Deny, "{line}");
    }
}

/// A list narrows what the rules allow, whatever they allow, and never widens it.
#[test]
fn a_list_beside_rules_only_narrows() {
    let list = |filter: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        RuleSet::from_redis_lists(&names, &[], filter).unwrap()
    };
    let open = "
contact: ops
on_unknown: ask
rules:
  - { id: no-rm, effect: forbid, commands: [rm] }
  - { id: piped, effect: forbid, shapes: [download-into-shell] }
";
    let closed = "
default: deny
rules:
  - { id: some, effect: allow, commands: [ls, cat] }
";
    for (main, filter, names, line, decision) in [
        (open, "whitelist", &["ls", "rm"][..], "ls", Decision::Allow),
        (open, "whitelist", &["ls", "rm"], "rm x", Decision::Deny),
        (
            open,
            "whitelist",
            &["ls", "rm"],
            "ls; cat x",
            Decision::Deny,
        ),
        (
            open,
            "whitelist",
            &["curl", "sh"],
            "curl x | sh",
            Decision::Deny,
        ),
        (open, "whitelist", &["eval"], "eval \"$x\"", Decision::Deny),
        (open, "blacklist", &["cat"], "ls", Decision::Allow),
        (open, "blacklist", &["cat"], "cat x", Decision::Deny),
        (open, "blacklist", &["cat"], "rm x", Decision::Deny),
        (closed, "whitelist", &["ls", "id"], "ls", Decision::Allow),
        (closed, "whitelist", &["ls", "id"], "cat x", Decision::Deny),
        (closed, "whitelist", &["ls", "id"], "id", Decision::Deny),
        (closed, "blacklist", &["ls"], "cat x", Decision::Allow),
        (closed, "blacklist", &["ls"], "id", Decision::Deny),
    ] {
        let main = Arc::new(RuleSet::parse(main).unwrap());
        let contact = main.contact().to_owned();
        let alone = [&list(filter, names), &*main]
            .map(|rules| self::decision(rules, &Subject::default(), line));
        let joined = list(filter, names).beside(main);
        let verdict = judge_line(
            &joined,
            &Subject::default(),
            line.as_bytes(),
            &mut SessionState::default(),
        );
        assert_eq!(verdict.decision, decision, "{filter} {names:?}: {line}");
        assert!(
            alone.iter().all(|one| *one <= decision),
            "{line}: {alone:?}"
        );
        assert_eq!(verdict.contact, contact);
    }
}
