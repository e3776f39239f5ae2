//! What a keystroke and a submitted line cost in the interceptor: key model, screen, parser,
//! resolver and rules.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::Criterion;
use dockin_benches::{Ratio, median, percentile, report};
use dockin_policy::{
    Action, Interceptor, RuleSet, SessionState, Subject,
    terminal::{KeyDecoder, LineEditor, Screen},
};

// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RULES: &str = include_str!("../dockin-policy/tests/rules/reference.yaml");
const LINES: &str = include_str!("../dockin-policy/tests/cases/benign_public.txt");
/// Rounds of each measurement.
const ROUNDS: usize = 9;
/// Keystrokes of one round.
const KEYS: usize = 100_000;

fn main() {
    let rules = Arc::new(RuleSet::parse(RULES).expect("the reference rules"));
    let lines: Vec<&str> = LINES
        .lines()
        .filter(|line| !line.is_empty() && line.is_ascii())
        .collect();
    let (mut keys, mut screens) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        keys.push(keystrokes(&lines));
        screens.push(floor_of_a_screen(&lines));
    }
    let mut times: Vec<f64> = Vec::new();
    let mut alone: Vec<f64> = Vec::new();
    for _ in 0..3 {
        times.extend(submits(&rules, &lines));
        alone.extend(judgements(&rules, &lines));
    }
    let ratio = |what: &str, measured: f64, floor: f64, unit, must| Ratio {
        what: what.to_owned(),
        measured,
        floor,
        unit,
        more_is_better: false,
        must,
        aim: None,
    };
    let ratios = [
        ratio(
            "keystroke, model and screen, of 300 ns",
            median(keys.clone()),
            300.0,
            "ns",
            Some(1.0),
        ),
        ratio(
            "keystroke, of the emulator alone",
            median(keys),
            median(screens),
            "ns",
            None,
        ),
        ratio(
            "submitted line, all layers, p50, of 10 us",
            median(times.clone()),
            10.0,
            "us",
            Some(1.0),
        ),
        ratio(
            "submitted line, all layers, p99, of 100 us",
            percentile(times, 0.99),
            100.0,
            "us",
            Some(1.0),
        ),
        ratio(
            "line judged alone, p50, of 10 us",
            median(alone.clone()),
            10.0,
            "us",
            Some(1.0),
        ),
        ratio(
            "line judged alone, p99, of 100 us",
            percentile(alone, 0.99),
            100.0,
            "us",
            Some(1.0),
        ),
    ];
    report("terminal_line", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    criterion.bench_function("terminal_line/keystroke", |bencher| {
        bencher.iter(|| keystrokes(&lines));
    });
    criterion.final_summary();
}

/// Nanoseconds for one key: decoded, applied to the line, echoed to the screen.
fn keystrokes(lines: &[&str]) -> f64 {
    let mut decoder = KeyDecoder::new();
    let mut editor = LineEditor::new();
    let mut screen = Screen::new(80, 24);
    let mut count = 0;
    let begun = Instant::now();
    'all: for line in lines.iter().cycle() {
        for byte in line.bytes() {
            if let Some(key) = decoder.feed(byte) {
                editor.apply(key);
            }
            screen.process(&[byte]);
            count += 1;
            if count == KEYS {
                break 'all;
            }
        }
        editor.start_line();
        screen.process(b"\r\n$ ");
    }
    black_box(screen.line_feeds());
    nanoseconds(begun.elapsed())
}

/// The same bytes for the emulator alone.
fn floor_of_a_screen(lines: &[&str]) -> f64 {
    let mut screen = Screen::new(80, 24);
    let mut count = 0;
    let begun = Instant::now();
    'all: for line in lines.iter().cycle() {
        for byte in line.bytes() {
            screen.process(&[byte]);
            count += 1;
            if count == KEYS {
                break 'all;
            }
        }
        screen.process(b"\r\n$ ");
    }
    black_box(screen.line_feeds());
    nanoseconds(begun.elapsed())
}

fn nanoseconds(time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let keys = KEYS as f64;
    time.as_secs_f64() * 1e9 / keys
}

/// Microseconds from Enter to the verdict, for lines that were typed and echoed.
fn submits(rules: &Arc<RuleSet>, lines: &[&str]) -> Vec<f64> {
    let argv = ["bash".to_owned()];
    let mut interceptor = Interceptor::new(
        Arc::clone(rules),
        Subject::default(),
        &argv,
        true,
        Some((80, 24)),
    );
    let mut now = Instant::now();
    let mut times = Vec::new();
    interceptor.handle_output(now, false, b"$ ");
    for line in lines.iter().take(2000) {
        now += Duration::from_millis(100);
        for byte in line.bytes() {
            interceptor.handle_stdin(now, Bytes::copy_from_slice(&[byte]));
            while interceptor.poll_action().is_some() {}
            interceptor.handle_output(now, false, &[byte]);
        }
        now += Duration::from_millis(100);
        let begun = Instant::now();
        interceptor.handle_stdin(now, Bytes::from_static(b"\r"));
        let mut judged = None;
        loop {
            while let Some(action) = interceptor.poll_action() {
                if matches!(action, Action::Judged(_)) {
                    judged = judged.or_else(|| Some(begun.elapsed()));
                }
            }
            // A line may have to wait for its echo to come to rest: what counts is the work.
            let Some(due) = interceptor.poll_timeout() else {
                break;
            };
            now = now.max(due);
            interceptor.handle_timeout(now);
        }
        times.extend(judged.map(|time| time.as_secs_f64() * 1e6));
        interceptor.handle_output(now, false, b"\r\n$ ");
        if times.len() % 100 == 99 {
            // A session does not grow for ever.
            interceptor = Interceptor::new(
                Arc::clone(rules),
                Subject::default(),
                &argv,
                true,
                Some((80, 24)),
            );
            interceptor.handle_output(now, false, b"$ ");
        }
    }
    assert!(times.len() > 100, "{} lines were judged", times.len());
    times
}

fn judgements(rules: &RuleSet, lines: &[&str]) -> Vec<f64> {
    let subject = Subject::default();
    lines
        .iter()
        .map(|line| {
            let mut session = SessionState::default();
            let begun = Instant::now();
            let verdict = dockin_policy::judge_line(rules, &subject, line.as_bytes(), &mut session);
            black_box(verdict.decision);
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect()
}
