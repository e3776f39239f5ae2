//! The command parser on scripts, one core, beside brush-parser's on the same texts in the same
//! run and in turns; and on lines that are made to be slow.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{fs, hint::black_box, io::BufReader, path::Path, time::Instant};

use criterion::Criterion;
use dockin_benches::{Ratio, median, report};
use dockin_policy::{Dialect, read_script};

/// Rounds, each with every contestant once.
const ROUNDS: usize = 9;
/// Bytes of scripts that are read at most.
const MOST: usize = 4 * 1024 * 1024;
/// Bytes of a hostile line.
const HOSTILE: usize = 1024 * 1024;
/// How often each of them is read, long and short in turns.
const HOSTILE_ROUNDS: usize = 5;
/// What opens a construct that never ends, over and over.
const OPENINGS: [&str; 24] = [
    "(",
    "{ ",
    "$(",
    "\"$(",
    "${a:-",
    "if ",
    "<(",
    "`",
    "$((",
    "((",
    "a<<b ",
    "a<<b\n",
    "f() {",
    "a",
    "'",
    "a;",
    "a|",
    "a&&",
    "x=(",
    "a[",
    "{a,",
    "[[ ! ",
    "case a in ",
    "case a in a) ",
];

fn main() {
    let scripts = scripts();
    let bytes: usize = scripts.iter().map(Vec::len).sum();
    println!("{} scripts, {bytes} bytes", scripts.len());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(bytes, || {
            for script in &scripts {
                let _count = black_box(read_script(black_box(script), Dialect::Bash));
            }
        }));
        theirs.push(rate(bytes, || {
            for script in &scripts {
                brush(script);
            }
        }));
    }
    let mut ratios = vec![
        Ratio {
            what: "scripts, of 40 MB/s".to_owned(),
            measured: median(ours.clone()),
            floor: 40.0,
            unit: "MB/s",
            more_is_better: true,
            must: Some(1.0),
            aim: Some(1.5),
        },
        Ratio {
            what: "scripts, of brush-parser".to_owned(),
            measured: median(ours),
            floor: median(theirs),
            unit: "MB/s",
            more_is_better: true,
            must: Some(1.0),
            aim: Some(10.0),
        },
    ];
    ratios.extend(hostile());
    report("command_parse", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    criterion.bench_function("command_parse/scripts", |bencher| {
        bencher.iter(|| {
            for script in &scripts {
                let _count = black_box(read_script(script, Dialect::Bash));
            }
        });
    });
    criterion.final_summary();
}

/// A row for each hostile line, one for the slowest of them, and one for the one whose time grows
/// fastest with its length: four times as long a line may take five times as long, as caches are
/// no larger for it, and no more.
fn hostile() -> Vec<Ratio> {
    let mut rows = Vec::new();
    let (mut slowest, mut steepest) = (("", 0.0), ("", 0.0, 1.0));
    for open in OPENINGS {
        let long = open.repeat(HOSTILE / open.len());
        let short = open.repeat(HOSTILE / 4 / open.len());
        let (mut times, mut short_times) = (Vec::new(), Vec::new());
        for _ in 0..HOSTILE_ROUNDS {
            times.push(milliseconds(&long));
            short_times.push(milliseconds(&short));
        }
        let (time, short_time) = (median(times), median(short_times));
        rows.push(at_most(
            format!("1 MB of {open:?}, of 50 ms"),
            time,
            50.0,
            1.0,
        ));
        if time > slowest.1 {
            slowest = (open, time);
        }
        if time / short_time > steepest.1 / steepest.2 {
            steepest = (open, time, short_time);
        }
    }
    let (open, time) = slowest;
    rows.push(at_most(
        format!("the slowest hostile line, {open:?}, of 50 ms"),
        time,
        50.0,
        1.0,
    ));
    let (open, time, short_time) = steepest;
    rows.push(at_most(
        format!("the steepest, {open:?}, 1 MB of 256 KB"),
        time,
        short_time,
        5.0,
    ));
    rows
}

fn at_most(what: String, measured: f64, floor: f64, must: f64) -> Ratio {
    Ratio {
        what,
        measured,
        floor,
        unit: "ms",
        more_is_better: false,
        must: Some(must),
        aim: None,
    }
}

fn milliseconds(line: &str) -> f64 {
    let begun = Instant::now();
    let _count = black_box(read_script(black_box(line.as_bytes()), Dialect::Bash));
    begun.elapsed().as_secs_f64() * 1000.0
}

fn rate(bytes: usize, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let bytes = bytes as f64;
    bytes / begun.elapsed().as_secs_f64() / 1e6
}

fn brush(script: &[u8]) {
    let options = brush_parser::ParserOptions::default();
    let mut parser = brush_parser::Parser::new(BufReader::new(script), &options);
    let _program = black_box(parser.parse_program().is_ok());
}

/// Shell scripts of this machine, sorted by path.
fn scripts() -> Vec<Vec<u8>> {
    let mut folders = vec![
        "/bin".into(),
        "/etc".into(),
        "/usr/bin".into(),
        "/usr/sbin".into(),
        "/usr/lib".into(),
        "/usr/share".into(),
        "/var/lib/dpkg/info".into(),
    ];
    let mut found = Vec::new();
    let mut total = 0;
    let mut seen = std::collections::BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let folder: std::path::PathBuf = folder;
        let Ok(real) = fs::canonicalize(&folder) else {
            continue;
        };
        if !seen.insert(real.clone()) {
            continue;
        }
        let Ok(entries) = fs::read_dir(&real) else {
            continue;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Some(script) = script(&path)
                && total < MOST
            {
                total += script.len();
                found.push(script);
            }
        }
    }
    assert!(!found.is_empty(), "no shell scripts on this machine");
    found
}

fn script(path: &Path) -> Option<Vec<u8>> {
    let size = fs::metadata(path).ok()?.len();
    if !(20..=512 * 1024).contains(&size) {
        return None;
    }
    let text = fs::read(path).expect("a file that is there");
    let first = text.split(|byte| *byte == b'\n').next()?;
    let is_shell = first.starts_with(b"#!")
        && [&b"/sh"[..], b"/bash", b"/dash", b" bash", b" sh"]
            .iter()
            .any(|name| first.windows(name.len()).any(|window| window == *name));
    (is_shell && std::str::from_utf8(&text).is_ok()).then_some(text)
}
