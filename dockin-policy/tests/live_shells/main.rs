//! Lines that are made up, run by the shells of this machine, and compared with what we say that
//! they run: what really runs is predicted, or the prediction says that it cannot be known.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod doubts;
mod generator;
mod sandbox;

use dockin_policy::{
    Argument, Dialect, PredictedProgram, SessionState, format_script, predict_line,
};
use generator::Generator;
use sandbox::Sandbox;

/// Lines for each shell; `LIVE_LINES` asks for another number.
const LINES: u64 = 150;
/// Where the numbers of lines begin; `LIVE_SEED` asks for others.
const SEED: u64 = 0x5EED;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[derive(Default)]
struct Score {
    lines: usize,
    ran: usize,
    unknown: usize,
    exact: usize,
    missing: Vec<String>,
    surplus: Vec<String>,
}

fn compare(dialect: Dialect, sandbox: &Sandbox, line: &str, succeeds: bool, score: &mut Score) {
    let ran = sandbox.run(dialect, line, succeeds);
    let prediction = predict_line(line.as_bytes(), &mut SessionState::new(dialect));
    score.lines += 1;
    score.ran += usize::from(!ran.is_empty());
    if prediction.unknown.is_some() {
        score.unknown += 1;
        return;
    }
    let missing: Vec<_> = ran.iter().filter(|argv| !prediction.covers(argv)).collect();
    if !missing.is_empty() {
        score.missing.push(format!(
            "{line:?} runs {missing:?}\n    not in {}",
            shown(&prediction.programs)
        ));
        return;
    }
    let mut known: Vec<Vec<String>> = prediction
        .programs
        .iter()
        .filter_map(|program| Some(program.known()?.into_iter().map(str::to_owned).collect()))
        .collect();
    let mut sorted = ran.clone();
    known.sort();
    sorted.sort();
    if known.len() == prediction.programs.len() && known == sorted {
        score.exact += 1;
        return;
    }
    // What is sure to run did.
    let surplus: Vec<_> = prediction
        .programs
        .iter()
        .filter(|program| {
            // What is made of pieces may be no program at all.
            let name = program.argv.first().and_then(|name| match name {
                Argument::Known(name) => Some(name.as_str()),
                _ => None,
            });
            name.is_some_and(|name| sandbox::STAND_INS.contains(&name))
        })
        .filter(|program| program.is_certain && !ran.iter().any(|argv| program.covers(argv)))
        .cloned()
        .collect();
    if !surplus.is_empty() {
        score.surplus.push(format!(
            "{line:?} does not run {}, but {ran:?}",
            shown(&surplus)
        ));
    }
}

/// Programs in short: `?` is not known, and so is whether what stands in parentheses runs.
fn shown(programs: &[PredictedProgram]) -> String {
    let program = |program: &PredictedProgram| {
        let words = program.argv.iter().map(|argument| match argument {
            Argument::Known(text) => format!("{text:?}"),
            Argument::Wildcards(pattern) => format!("like {pattern}"),
            Argument::Unknown { prefix, suffix } => format!("{prefix}?{suffix}"),
        });
        let words = words.collect::<Vec<_>>().join(" ");
        if program.is_certain {
            words
        } else {
            format!("({words})")
        }
    };
    programs.iter().map(program).collect::<Vec<_>>().join("; ")
}

/// A line that was read and printed runs what it ran.
fn means_the_same_printed(dialect: Dialect, sandbox: &Sandbox, line: &str) {
    let Ok(printed) = format_script(line.as_bytes(), dialect) else {
        return;
    };
    let printed = String::from_utf8(printed).unwrap();
    if line.contains("2>&1") || line.contains(">f") {
        // Complaints name the line that they are about; a file that is written while it is read is
        // a race.
        return;
    }
    let mut first = sandbox.run(dialect, line, true);
    let mut second = sandbox.run(dialect, &printed, true);
    first.sort();
    second.sort();
    assert_eq!(first, second, "{line:?} printed as {printed:?}");
}

/// Tries so many lines, and tells what became of them: nothing that ran may be missing.
fn score(
    dialect: Dialect,
    mut each: impl FnMut(u64, &mut Generator, &Sandbox, &mut Score),
) -> Score {
    let sandbox = Sandbox::new();
    let mut score = Score::default();
    let seed = number("LIVE_SEED", SEED);
    for index in 0..number("LIVE_LINES", LINES) {
        let mut generator = Generator::new(seed.wrapping_add(index), dialect);
        each(index, &mut generator, &sandbox, &mut score);
    }
    score.missing.sort_by_key(String::len);
    score.surplus.sort_by_key(String::len);
    println!(
        "{dialect:?}: {} lines, {} run something, {} cannot be known, {} exact, {} missing, {} surplus",
        score.lines,
        score.ran,
        score.unknown,
        score.exact,
        score.missing.len(),
        score.surplus.len()
    );
    for text in score.missing.iter().take(40) {
        println!("MISSING {text}");
    }
    for text in score.surplus.iter().take(10) {
        println!("SURPLUS {text}");
    }
    assert!(score.missing.is_empty());
    // The lines are no empty ones.
    assert!(score.ran * 2 > score.lines);
    score
}

fn agree(dialect: Dialect) {
    let score = score(dialect, |index, generator, sandbox, score| {
        let line = generator.line();
        compare(dialect, sandbox, &line, index % 2 == 0, score);
        if index % 8 == 0 {
            means_the_same_printed(dialect, sandbox, &line);
        }
    });
    // The answer is seldom that nothing can be known.
    assert!(score.unknown * 4 < score.lines);
}

/// What may not have been done is not taken for done.
fn doubts(dialect: Dialect) {
    let score = score(dialect, |_, generator, sandbox, score| {
        let line = doubts::line(generator);
        // What cannot be read is not judged by what it would run.
        if format_script(line.as_bytes(), dialect).is_ok() {
            compare(dialect, sandbox, &line, true, score);
        }
    });
    assert!(score.unknown < score.lines);
}

#[test]
fn what_bash_may_not_do_is_not_taken_for_done() {
    doubts(Dialect::Bash);
}

#[test]
fn what_dash_may_not_do_is_not_taken_for_done() {
    doubts(Dialect::Sh);
}

#[test]
fn what_busybox_may_not_do_is_not_taken_for_done() {
    doubts(Dialect::Busybox);
}

#[test]
fn what_zsh_may_not_do_is_not_taken_for_done() {
    doubts(Dialect::Zsh);
}

#[test]
fn what_bash_runs_is_predicted() {
    agree(Dialect::Bash);
}

#[test]
fn what_dash_runs_is_predicted() {
    agree(Dialect::Sh);
}

#[test]
fn what_busybox_runs_is_predicted() {
    agree(Dialect::Busybox);
}

#[test]
fn what_zsh_runs_is_predicted() {
    agree(Dialect::Zsh);
}

/// Lines written by hand, one trick each.
#[test]
fn what_lines_of_our_own_run_is_predicted() {
    let sandbox = Sandbox::new();
    let mut score = Score::default();
    let text = include_str!("lines.jsonl");
    for line in text.lines() {
        let (shells, line): (Vec<String>, String) = serde_json::from_str(line).unwrap();
        for shell in shells {
            let dialect = match shell.as_str() {
                "sh" => Dialect::Sh,
                "busybox" => Dialect::Busybox,
                "zsh" => Dialect::Zsh,
                _ => Dialect::Bash,
            };
            for succeeds in [true, false] {
                compare(dialect, &sandbox, &line, succeeds, &mut score);
            }
        }
    }
    println!(
        "own lines: {} runs, {} cannot be known, {} exact",
        score.lines, score.unknown, score.exact
    );
    for text in &score.missing {
        println!("MISSING {text}");
    }
    for text in &score.surplus {
        println!("SURPLUS {text}");
    }
    assert!(score.missing.is_empty());
}
