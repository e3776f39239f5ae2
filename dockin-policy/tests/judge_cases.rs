//! Lines whose real effect is known, because they were run, judged under the reference policy.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
#![expect(clippy::disallowed_methods, reason = "tests read their cases")]

use std::{collections::BTreeMap, fs};

use dockin_policy::{
    Decision, Dialect, RuleSet, SessionState, Subject, Verdict, judge_line, predict_line,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    level: String,
    input: serde_json::Value,
    category: String,
    verdict: String,
    #[serde(default)]
    shell: Option<String>,
    #[serde(default)]
    knowable: Option<String>,
    #[serde(default)]
    runs: Option<Vec<Vec<String>>>,
    #[serde(default)]
    input_encoding: Option<String>,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        let text = self.input.as_str().unwrap();
        if self.input_encoding.as_deref() == Some("latin1-bytes") {
            text.chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect()
        } else {
            text.as_bytes().to_vec()
        }
    }

    fn session(&self) -> SessionState {
        SessionState::new(dialect(self.shell.as_deref().unwrap_or_default()))
    }

    fn judge(&self, rules: &RuleSet) -> Verdict {
        judge_line(
            rules,
            &Subject::default(),
            &self.bytes(),
            &mut self.session(),
        )
    }
}

fn reference() -> RuleSet {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules/reference.yaml");
    RuleSet::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/cases/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Must-not-run lines that end in allow, and look-alikes that are denied: reached, and never to
/// grow. The policy issue takes both towards 0.
const LEAKS: usize = 0;
const FALSE_DENIALS: usize = 0;
/// Harmless lines that are denied or asked about.
const BENIGN_DENIED: usize = 0;
const BENIGN_ASKED: usize = 15;

fn line_cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(&read("policy_public.json")).unwrap();
    let lines: Vec<Case> = cases
        .into_iter()
        .filter(|case| case.level == "line" && case.input.is_string())
        .collect();
    assert!(
        lines.len() > 400,
        "{} cases are not all of them",
        lines.len()
    );
    lines
}

#[test]
fn lines_that_must_not_run_do_not_run() {
    let rules = reference();
    let mut leaks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut false_denials = Vec::new();
    let mut only_asked = Vec::new();
    let (mut must_not, mut knowable) = (0, 0);
    for case in line_cases() {
        let verdict = case.judge(&rules);
        let shown = format!("{} {:?} {:?} {verdict}", case.id, case.shell, case.input);
        match case.verdict.as_str() {
            "deny" | "ask" => {
                must_not += 1;
                if verdict.decision < Decision::Ask {
                    leaks
                        .entry(case.category.clone())
                        .or_default()
                        .push(shown.clone());
                }
                if case.verdict == "deny" && case.knowable.as_deref() == Some("static") {
                    knowable += 1;
                    if verdict.decision < Decision::Deny {
                        only_asked.push(shown);
                    }
                }
            }
            _ if verdict.decision == Decision::Deny => false_denials.push(shown),
            _ => {}
        }
    }
    let count: usize = leaks.values().map(Vec::len).sum();
    println!("{count} of {must_not} lines that must not run are allowed: {leaks:#?}");
    println!(
        "{} look-alikes are denied: {false_denials:#?}",
        false_denials.len()
    );
    println!(
        "{} of {knowable} that are knowable are not denied: {only_asked:#?}",
        only_asked.len()
    );
    assert_eq!(count, LEAKS);
    assert_eq!(false_denials.len(), FALSE_DENIALS);
    assert!(only_asked.len() * 100 <= knowable);
}

/// What really ran, compared with what was predicted: the same text for text, all of it text for
/// text, all of it but for parts that the prediction marks as not known (files that a wildcard or
/// `find` finds, names that a shell makes up), or told beforehand that it cannot be known (what is
/// downloaded). What is left would be missing and nobody the wiser.
#[test]
fn the_programs_that_a_line_runs_are_those_that_it_ran() {
    let rules = reference();
    let (mut all, mut exact, mut superset) = (0, 0, 0);
    let (mut marked, mut told, mut missing) = (0, 0, Vec::new());
    let mut wrong = Vec::new();
    for case in line_cases() {
        let (Some(runs), Some("static")) = (&case.runs, case.knowable.as_deref()) else {
            continue;
        };
        all += 1;
        let verdict = case.judge(&rules);
        let mut found = verdict.programs.clone().unwrap_or_default();
        let mut wanted = runs.clone();
        found.sort();
        wanted.sort();
        let covers = verdict.programs.is_some()
            && wanted.iter().all(|argv| {
                found.iter().filter(|it| *it == argv).count()
                    >= wanted.iter().filter(|it| *it == argv).count()
            });
        superset += usize::from(covers);
        let prediction = predict_line(&case.bytes(), &mut case.session());
        if !covers {
            if prediction.unknown.is_some() {
                told += 1;
            } else if runs.iter().all(|argv| prediction.covers(argv)) {
                marked += 1;
            } else {
                missing.push(case.id.clone());
            }
        }
        if verdict.programs.is_some() && found == wanted {
            exact += 1;
        } else {
            let sign = if covers { "more" } else { "LESS" };
            wrong.push(format!(
                "{} {sign} {:?}\n  want {wanted:?}\n  have {:?}",
                case.id, case.input, verdict.programs
            ));
        }
    }
    println!(
        "{exact} of {all} are the same, {superset} have all text for text, {marked} more have all with parts marked as not known, {told} are told to be not knowable, missing {missing:?}: {}",
        wrong.join("\n")
    );
    assert!(exact * 100 >= all * 97, "{exact} of {all}");
    // What is left depends on what is fetched, on file systems, or on chance: 6 of the cases.
    assert!(superset * 1000 >= all * 985, "{superset} of {all}");
    assert!(
        (superset + marked) * 1000 >= all * 995,
        "{superset} and {marked} of {all}"
    );
    assert!(missing.is_empty());
}

#[test]
fn harmless_lines_run() {
    let rules = reference();
    let text = read("benign_public.txt");
    let (mut denied, mut asked) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut session = SessionState::default();
        let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
        match verdict.decision {
            Decision::Deny => denied.push(format!("{line} -- {verdict}")),
            Decision::Ask => asked.push(format!("{line} -- {verdict}")),
            _ => {}
        }
    }
    println!("{} denied: {denied:#?}", denied.len());
    println!(
        "{} asked of {}: {asked:#?}",
        asked.len(),
        text.lines().count()
    );
    assert_eq!(denied.len(), BENIGN_DENIED);
    assert!(asked.len() <= BENIGN_ASKED, "{}", asked.len());
}

/// Lines of our own, one of each trick: at least as severe as they must be, and harmless ones run.
#[test]
fn lines_of_our_own_are_judged_as_they_must_be() {
    let rules = reference();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in read("own_lines.jsonl").lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        let mut session = SessionState::new(dialect(&text("shell")));
        let verdict = judge_line(
            &rules,
            &Subject::default(),
            text("input").as_bytes(),
            &mut session,
        );
        count += 1;
        if verdict.decision.as_str() != text("verdict") {
            wrong.push(format!(
                "{} {:?}: {verdict} {:?}",
                text("id"),
                text("input"),
                verdict.programs
            ));
        }
    }
    println!("{} of {count} are wrong: {wrong:#?}", wrong.len());
    assert!(wrong.is_empty());
}

/// Lines that delete the folder `d` by `rm` when a shell runs them, which was tried: none is
/// allowed, but for those that are known to be. In the files `\\n` stands for the end of a line.
#[test]
fn lines_that_delete_are_not_allowed() {
    let rules = reference();
    let rows = |file: &str| -> Vec<(String, String)> {
        let text = read(file);
        let rows = text.lines().map(|row| row.split_once('\t').unwrap());
        rows.map(|(shell, line)| (shell.to_owned(), line.to_owned()))
            .collect()
    };
    let lines = rows("deleting_lines.tsv");
    let allowed: Vec<_> = lines
        .iter()
        .filter(|(shell, line)| {
            let mut session = SessionState::new(dialect(shell));
            let line = line.replace("\\n", "\n");
            let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
            verdict.decision < Decision::Ask
        })
        .cloned()
        .collect();
    println!("{} of {} are allowed", allowed.len(), lines.len());
    for (shell, line) in &allowed {
        println!("ALLOWED\t{shell}\t{line}");
    }
    assert_eq!(allowed, rows("deleting_lines_open.tsv"));
}

fn dialect(shell: &str) -> Dialect {
    match shell {
        "sh" => Dialect::Sh,
        "busybox" => Dialect::Busybox,
        "zsh" => Dialect::Zsh,
        _ => Dialect::Bash,
    }
}

mod laws {
    use dockin_policy::{
        Decision, Dialect, RuleSet, SessionState, Subject, judge_argv, judge_line,
    };
    use proptest::prelude::*;

    use super::reference;

    proptest! {
        /// Any bytes get a verdict; none panics.
        #[test]
        fn judging_is_total(line: Vec<u8>, argv in proptest::collection::vec(".*", 1..6)) {
            let rules = reference();
            let _verdict =
                judge_line(&rules, &Subject::default(), &line, &mut SessionState::default());
            let _verdict = judge_argv(&rules, &Subject::default(), &argv);
        }

        /// Shell-like text gets a verdict; a forbidden program in front of it is never allowed.
        #[test]
        fn a_forbidden_program_is_found_before_anything(rest in "[ a-z$(){}`'\";|&<>*=\\\\\n#!-]{0,40}") {
            let rules = RuleSet::parse("rules: [{id: no-rm, effect: forbid, commands: [rm]}]").unwrap();
            let line = format!("rm x\n{rest}");
            let mut session = SessionState::default();
            let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
            prop_assert!(verdict.decision >= Decision::Deny);
        }
    }

    #[test]
    fn hostile_nesting_is_refused_and_not_fatal() {
        let rules = reference();
        for open in [
            "(", "{ ", "$(", "\"$(", "${a:-", "if ", "<(", "`", "$((", "((", "<<a ", "f() {",
        ] {
            let line = open.repeat(60_000 / open.len());
            let mut session = SessionState::default();
            let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
            assert!(verdict.decision >= Decision::Ask, "{open}");
        }
    }

    #[test]
    fn a_forbidden_program_is_found_before_hostile_nesting() {
        let rules = reference();
        for open in [
            "[[ ( ",
            "[[ ! ",
            "case x in x) ",
            "a=(",
            "a=([$(",
            "@(",
            "!(",
            "${a[",
            "$((1+(",
            "$((a[",
            "((a?(",
            "${a:",
            "${a/",
            "\"${a:-\"",
            "for ((;;)) do ",
            "while ",
            "until ",
            "function f { ",
            "coproc { ",
            "x[$(",
            "$[",
            "{a,",
            "${!a[",
            "echo $(<",
            "=(",
            "select x in $(",
            "time ( ",
            "! ( ",
            "${a@",
            "<<<$(",
            ">&$(",
            "$'\\",
            "\"`",
        ] {
            let line = format!("rm x\n{}", open.repeat(60_000 / open.len()));
            for dialect in [Dialect::Bash, Dialect::Zsh] {
                let mut session = SessionState::new(dialect);
                let verdict =
                    judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
                assert!(verdict.decision >= Decision::Deny, "{open} {dialect:?}");
            }
        }
    }
}
