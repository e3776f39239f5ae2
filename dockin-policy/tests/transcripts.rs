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
const MOST_LEAKS: usize = 0;
/// Harmless sessions in which a line was refused; lower it when it falls.
const MOST_FALSE_ALARMS: usize = 1;
/// Lines in the histories of bash and zsh that are judged as they stand there, in percent.
const LEAST_EXACT: i32 = 88;
/// Sessions in which `cat` or `read` takes a line.
const READ_BY_OTHERS: [&str; 2] = ["T-type-ahead-006", "T-type-ahead-007"];

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
                    let lines: Vec<&str> =
                        lines.iter().map(|line| line.as_str().unwrap()).collect();
                    let text = lines.join("\n");
                    // zsh writes a new line inside an entry behind a backslash.
                    if expected["shell"] == "zsh" {
                        let text = text.replace("\\\n", "\u{1}");
                        return text
                            .lines()
                            .map(|line| line.replace("\\\u{1}", "").replace('\u{1}', " "))
                            .collect();
                    }
                    text.lines().map(str::to_owned).collect()
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
        leaks.len() == MOST_LEAKS,
        "{} leaks, at most {MOST_LEAKS}",
        leaks.len()
    );
    assert!(
        alarms.len() <= MOST_FALSE_ALARMS,
        "{} false alarms, at most {MOST_FALSE_ALARMS}",
        alarms.len()
    );
}

/// A line as the history has it, where continued lines are one.
fn normal(line: &str) -> String {
    line.replace("\\\n", "")
        .split(|c: char| c == ';' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where the first run of rows ends that are `line` together.
fn run_of(rows: &[(String, Confidence)], line: &str) -> Option<usize> {
    (0..rows.len()).find_map(|start| {
        (start + 1..=rows.len().min(start + 12)).find(|end| {
            let joined: Vec<&str> = rows[start..*end]
                .iter()
                .map(|(row, _)| row.as_str())
                .collect();
            joined.join(" ") == line
        })
    })
}

#[test]
fn judged_lines_are_the_lines_of_the_shells_history() {
    let (mut exact, mut all, mut sure, mut sessions) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    let mut wrongly_sure = Vec::new();
    for case in cases() {
        let Some(lines) = &case.lines else { continue };
        sessions += 1;
        let driver = replay(&case, allow_all(), false);
        let judged = driver.judged();
        // Histories break an entry of several rows in other places than records do.
        let rows: Vec<(String, Confidence)> = judged
            .iter()
            .flat_map(|it| {
                let text = it.line.replace("\\\n", "");
                text.split('\n')
                    .map(|row| (normal(row), it.confidence))
                    .collect::<Vec<_>>()
            })
            .filter(|(row, _)| !row.is_empty())
            .collect();
        let mut behind = rows.as_slice();
        for line in lines.iter().filter(|line| !line.trim().is_empty()) {
            all += 1;
            match run_of(behind, &normal(line)) {
                Some(end) => {
                    exact += 1;
                    sure += usize::from(behind[end - 1].1 == Confidence::Sure);
                    behind = &behind[end..];
                }
                None => wrong.push(format!(
                    "{} {}: {line:?} not in {:?}",
                    case.id,
                    case.note,
                    judged.iter().map(|it| &it.line).collect::<Vec<_>>()
                )),
            }
        }
        // What a program inside the shell reads is no line of the shell's history.
        let inside = case.id.starts_with("T-nested") || READ_BY_OTHERS.contains(&case.id.as_str());
        for line in judged.iter().filter(|_| !inside) {
            let known = lines.iter().any(|it| normal(it) == normal(&line.line))
                || normal(&lines.join("\n")).contains(&normal(&line.line));
            if line.confidence == Confidence::Sure && !known {
                wrongly_sure.push(format!(
                    "{} {}: {:?} of {lines:?}",
                    case.id, case.note, line.line
                ));
            }
        }
    }
    println!(
        "exact {exact} of {all} lines in {sessions} sessions ({:.1} %), sure {sure}:\n  {}",
        100.0 * f64::from(exact) / f64::from(all),
        wrong.join("\n  ")
    );
    println!(
        "sure and wrong {}:\n  {}",
        wrongly_sure.len(),
        wrongly_sure.join("\n  ")
    );
    assert!(exact * 100 >= all * LEAST_EXACT, "{exact} exact of {all}");
    assert!(wrongly_sure.is_empty());
}
