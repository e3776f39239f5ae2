//! Recorded terminal sessions, replayed: which lines are seen, which get through.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod driver;

use std::collections::BTreeMap;

use dockin_policy::{Confidence, RuleSet};
use driver::Driver;
use serde_json::Value;

const TRANSCRIPTS: &str = include_str!("cases/policy_transcripts_public.jsonl");
const EXPECTED: &str = include_str!("cases/policy_transcripts_expected.jsonl");

/// Sessions in which something dangerous ran and no line was refused; lower it when it falls.
const MOST_LEAKS: usize = 4;
/// Harmless sessions in which a line was refused; lower it when it falls.
const MOST_FALSE_ALARMS: usize = 3;
/// Sessions of bash and zsh whose judged lines are the shell's own history; raise it when it rises.
const LEAST_EXACT: usize = 107;

struct Case {
    id: String,
    shell: String,
    verdict: String,
    note: String,
    lines: Option<Vec<String>>,
    size: (u16, u16),
    events: Vec<(f64, Vec<u8>, Kind)>,
}

#[derive(PartialEq)]
enum Kind {
    Input,
    Output,
    Resize(u16, u16),
}

fn cases() -> Vec<Case> {
    let expected: BTreeMap<String, Value> = EXPECTED
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|value| (value["id"].as_str().unwrap().to_owned(), value))
        .collect();
    TRANSCRIPTS
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let id = value["id"].as_str().unwrap().to_owned();
            let expected = &expected[&id];
            let number = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
            let events = value["events"].as_array().unwrap().iter().map(|event| {
                let (data, kind) = match (event[1].as_str().unwrap(), &event[2]) {
                    ("i", Value::String(text)) => (latin1(text), Kind::Input),
                    ("o", Value::String(text)) => (latin1(text), Kind::Output),
                    ("r", Value::String(size)) => {
                        let (columns, rows) = size.split_once('x').unwrap();
                        (
                            Vec::new(),
                            Kind::Resize(columns.parse().unwrap(), rows.parse().unwrap()),
                        )
                    }
                    other => panic!("{id}: unknown event {other:?}"),
                };
                (event[0].as_f64().unwrap(), data, kind)
            });
            Case {
                shell: expected["shell"].as_str().unwrap().to_owned(),
                verdict: expected["verdict"].as_str().unwrap().to_owned(),
                note: expected["note"].as_str().unwrap_or_default().to_owned(),
                lines: expected["lines"].as_array().map(|lines| {
                    lines
                        .iter()
                        .map(|line| line.as_str().unwrap().to_owned())
                        .collect()
                }),
                size: (number(&value["size"][0]), number(&value["size"][1])),
                events: events.collect(),
                id,
            }
        })
        .collect()
}

/// Each character of a recording is one byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap())
        .collect()
}

/// Replays a session, up to the first refusal if `stops`.
///
/// The recording was made without interception, so what a command printed
/// follows its Enter at once. While a line is held, output is therefore fed up
/// to the end of the row and the clock runs until the line is judged.
fn replay(case: &Case, rules: RuleSet, stops: bool) -> Driver {
    let mut driver = Driver::new(rules, &[case.shell.as_str()], true, Some(case.size));
    for (seconds, bytes, kind) in &case.events {
        driver.pass((seconds * 1000.0) as u64);
        match kind {
            Kind::Input => driver.stdin(bytes),
            Kind::Resize(columns, rows) => driver.interceptor.handle_resize(*columns, *rows),
            Kind::Output => {
                let mut rest = bytes.as_slice();
                while driver.is_holding() && !rest.is_empty() {
                    let row = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                    let (row, behind) = rest.split_at(row.unwrap_or(rest.len()));
                    driver.output(row);
                    rest = behind;
                    if !rest.is_empty() && driver.is_holding() {
                        driver.settle();
                    }
                }
                driver.output(rest);
            }
        }
        if stops && !driver.refusals().is_empty() {
            break;
        }
    }
    driver.settle();
    driver
}

fn rules() -> RuleSet {
    RuleSet::parse(include_str!("cases/transcript_rules.yaml")).unwrap()
}

fn allow_all() -> RuleSet {
    RuleSet::parse(include_str!("cases/allow_all_rules.yaml")).unwrap()
}

#[test]
fn dangerous_sessions_are_refused_and_harmless_ones_are_not() {
    let (mut leaks, mut alarms) = (Vec::new(), Vec::new());
    for case in cases() {
        let driver = replay(&case, rules(), true);
        let is_refused = !driver.refusals().is_empty();
        match (case.verdict.as_str(), is_refused) {
            ("deny" | "ask", false) => leaks.push(format!("{} {}", case.id, case.note)),
            ("allow", true) => {
                let line = &driver.refusals()[0];
                alarms.push(format!(
                    "{} {}: {} {}",
                    case.id, case.note, line.line, line.verdict
                ));
            }
            _ => {}
        }
    }
    println!("leaks {}:\n  {}", leaks.len(), leaks.join("\n  "));
    println!("false alarms {}:\n  {}", alarms.len(), alarms.join("\n  "));
    assert!(
        leaks.len() <= MOST_LEAKS,
        "{} leaks, at most {MOST_LEAKS}",
        leaks.len()
    );
    assert!(
        alarms.len() <= MOST_FALSE_ALARMS,
        "{} false alarms, at most {MOST_FALSE_ALARMS}",
        alarms.len()
    );
}

#[test]
fn judged_lines_are_the_lines_of_the_shells_history() {
    let (mut exact, mut all, mut sure) = (0, 0, 0);
    let mut wrong = Vec::new();
    for case in cases() {
        let Some(lines) = &case.lines else { continue };
        all += 1;
        let driver = replay(&case, allow_all(), false);
        let joined = lines
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join("\n");
        let judged = driver
            .judged()
            .into_iter()
            .map(|line| line.line.trim().to_owned())
            .collect::<Vec<_>>()
            .join("\n");
        if judged == joined {
            exact += 1;
            if driver
                .judged()
                .iter()
                .all(|line| line.confidence == Confidence::Sure)
            {
                sure += 1;
            }
        } else {
            wrong.push(format!(
                "{} {}\n      want {joined:?}\n      have {judged:?}",
                case.id, case.note
            ));
        }
    }
    println!(
        "exact {exact} of {all}, sure {sure}:\n  {}",
        wrong.join("\n  ")
    );
    assert!(
        exact >= LEAST_EXACT,
        "{exact} exact of {all}, at least {LEAST_EXACT}"
    );
}
