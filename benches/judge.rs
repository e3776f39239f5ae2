//! A command beside 10,000 rules; lines that are made to be slow; and how much a session keeps.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{fmt::Write as _, hint::black_box, time::Instant};

use criterion::Criterion;
use dockin_benches::{Ratio, median, report};
use dockin_policy::{Decision, RuleSet, SessionState, Subject, judge_line};

/// Rules of the large set.
const RULES: usize = 10_000;
/// Lines of one round.
const LINES: u32 = 2_000;
/// Rounds.
const ROUNDS: usize = 9;
/// Bytes of a hostile line.
const HOSTILE: usize = 1024 * 1024;

fn main() {
    let many = rules(RULES);
    let few = rules(10);
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        large.push(microseconds(&many));
        small.push(microseconds(&few));
    }
    let mut ratios = vec![
        Ratio {
            what: "a command, 10,000 rules, of 5 us".to_owned(),
            measured: median(large.clone()),
            floor: 5.0,
            unit: "us",
            more_is_better: false,
            must: Some(1.0),
            aim: None,
        },
        Ratio {
            what: "a command, 10,000 rules, of 10 rules".to_owned(),
            measured: median(large),
            floor: median(small),
            unit: "us",
            more_is_better: false,
            must: None,
            aim: Some(1.2),
        },
    ];
    for text in [
        "(",
        "$(",
        "a;",
        "x=1;",
        "\"$(",
        "{a,b}",
        "${a:-",
        "a|",
        "if a; then ",
        "eval '",
        "a && ",
        "<<a ",
        "x=$x$x;",
        "f(){ f;};f;",
        "[[ a",
        "*",
        "((",
        "`",
        "alias a=b\n",
    ] {
        let line = text.repeat(HOSTILE / text.len());
        let small = line.as_bytes().get(..63 * 1024).expect("a part");
        let mut times = Vec::new();
        for line in [line.as_bytes(), small] {
            let mut rounds = Vec::new();
            for _ in 0..3 {
                let mut session = SessionState::default();
                let begun = Instant::now();
                black_box(judge_line(&few, &Subject::default(), line, &mut session));
                rounds.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            times.push(median(rounds));
        }
        ratios.push(Ratio {
            what: format!("`{}` repeated, of 50 ms", text.trim()),
            measured: times.into_iter().fold(0.0, f64::max),
            floor: 50.0,
            unit: "ms",
            more_is_better: false,
            must: Some(1.0),
            aim: None,
        });
    }
    let mut session = SessionState::default();
    for number in 0..20_000 {
        let line = format!(
            "variable_{number}='{number} and some text'; f_{number}() {{ ls; }}; alias a{number}=ls"
        );
        let _verdict = judge_line(&few, &Subject::default(), line.as_bytes(), &mut session);
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let size = session.size() as f64 / 1024.0;
    ratios.push(Ratio {
        what: "state of a session after 60,000 names, of 64 KiB".to_owned(),
        measured: size,
        floor: 64.0,
        unit: "KiB",
        more_is_better: false,
        must: Some(1.0),
        aim: None,
    });
    report("judge", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    criterion.bench_function("judge/10000 rules", |bencher| {
        bencher.iter(|| microseconds(&many));
    });
    criterion.final_summary();
}

fn rules(count: usize) -> RuleSet {
    let mut text = "rules:\n".to_owned();
    for number in 0..count {
        let kind = match number % 4 {
            0 => format!("commands: [program{number}]"),
            1 => format!("writes: [\"/data/{number}/**\"]"),
            2 => format!(
                "commands: [tool{number}], users: [user{number}], arguments: {{ any_flag: [--force] }}"
            ),
            _ => format!("commands: [program{number}], namespaces: [\"prod-{number}-*\"]"),
        };
        writeln!(text, "  - {{ id: r{number}, effect: forbid, {kind} }}").expect("a text");
    }
    RuleSet::parse(&text).expect("rules")
}

/// Microseconds for one command.
fn microseconds(rules: &RuleSet) -> f64 {
    let subject = Subject::default();
    let begun = Instant::now();
    for _ in 0..LINES {
        let mut session = SessionState::default();
        let verdict = judge_line(
            rules,
            &subject,
            b"cp report.txt /data/report.txt",
            &mut session,
        );
        assert_eq!(verdict.decision, Decision::Allow);
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(LINES)
}
