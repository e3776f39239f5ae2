//! Decisions of `dockin_policy::access` beside the `casbin` crate, on the same policies.
//!
//! Sparse: every user has a policy of ten lines of his own and a group that all share a role.
//! Dense: one user is given a policy of 10,000 lines. A decision is timed alone for its
//! percentile, in blocks for throughput. The crate scans every rule, so it is asked at 100,000
//! rules and a few times only; it is the floor of nothing, but what a platform would use instead.

#![expect(
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench that cannot set up has failed; counts are far below 2^52"
)]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use casbin::{CoreApi as _, DefaultModel, Enforcer, MgmtApi as _, function_map::OperatorFunction};
use dockin_benches::{Ratio, median, percentile, report};
use dockin_policy::access::{AccessRules, Mode, Request, Source, matches_pattern};

/// Rules of the sparse set.
const SPARSE: usize = 1_000_000;
/// Rules of the sparse set at which the crate is asked, too.
const BESIDE: usize = 100_000;
/// Rules of the one user of the dense set.
const DENSE: usize = 10_000;
/// Decisions that are timed alone.
const SAMPLES: usize = 200_000;
/// Decisions in a block.
const BLOCK: usize = 100_000;
/// Blocks, of which the median counts.
const BLOCKS: usize = 9;

const MODEL: &str = include_str!("../dockin-policy/tests/access/model.conf");

/// A policy of about `rules` lines, ten for each user.
fn sparse(rules: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(rules * 90);
    let users = rules / 10;
    for user in 0..users {
        for line in 0..10 {
            let (cluster, effect) = (user % 200, if line == 9 { "deny" } else { "allow" });
            let action = if line == 9 { "createPodExec" } else { "*Pod*" };
            let _ = writeln!(
                text,
                "p, pol-{user}, *, cluster:cls-{cluster}/namespace:ns-{user}-{line}/*, {action}, {effect}"
            );
        }
        let group = user % 1000;
        let _ = writeln!(text, "g, default##user##u{user}, pol-{user}, *");
        let _ = writeln!(
            text,
            "g, default##user##u{user}, default##group##g{group}, *"
        );
    }
    for group in 0..users.min(1000) {
        let _ = writeln!(text, "g, default##group##g{group}, rol-view, *");
    }
    text.push_str("p, rol-view, *, *, listNamespaces, allow\n");
    text
}

/// One user with `rules` lines, every one with a star in its middle.
fn dense(rules: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("g, default##user##u0, pol-all, *\n");
    for line in 0..rules {
        let _ = writeln!(
            text,
            "p, pol-all, *, cluster:cls-{}/namespace:*/pod:web-{line}-*, *Pod*, allow",
            line % 200
        );
    }
    text
}

/// A question, as its texts.
struct Asked {
    subject: String,
    object: String,
    action: &'static str,
}

impl Asked {
    fn ask(&self, rules: &AccessRules) -> bool {
        let subjects = [self.subject.as_str()];
        rules
            .decide(&Request {
                subjects: &subjects,
                domain: "",
                object: &self.object,
                action: self.action,
            })
            .is_allowed()
    }
}

/// Numbers without a pattern that a cache could learn, from a fixed seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("small")
    }
}

/// Questions of any user; two in three are allowed.
fn sparse_questions(rules: usize, count: usize) -> Vec<Asked> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let question = |_| {
        let user = numbers.below(rules / 10);
        let (line, cluster) = (numbers.below(9), user % 200);
        let other = if numbers.below(3) == 0 { "x" } else { "" };
        Asked {
            subject: format!("default##user##u{user}"),
            object: format!("cluster:cls-{cluster}/namespace:ns-{user}-{line}{other}/pod:web-0"),
            action: "getPod",
        }
    };
    (0..count).map(question).collect()
}

fn dense_questions(count: usize) -> Vec<Asked> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let question = |_| {
        let (line, name) = (numbers.below(DENSE), numbers.below(1000));
        let cluster = if numbers.below(3) == 0 {
            201
        } else {
            line % 200
        };
        Asked {
            subject: "default##user##u0".to_owned(),
            object: format!("cluster:cls-{cluster}/namespace:shop-{name}/pod:web-{line}-{name}"),
            action: "getPod",
        }
    };
    (0..count).map(question).collect()
}

fn compile(text: &str) -> AccessRules {
    let source = Source::casbin(MODEL, text).expect("a policy");
    AccessRules::compile(&source, Mode::Strict).expect("no traps")
}

/// Nanoseconds of each decision, the clock's own part among them.
fn each(rules: &AccessRules, questions: &[Asked]) -> Vec<f64> {
    let mut times = Vec::with_capacity(questions.len());
    for question in questions {
        let start = Instant::now();
        black_box(question.ask(rules));
        times.push(start.elapsed().as_nanos() as f64);
    }
    times
}

/// Decisions in a second, the median of blocks.
fn throughput(rules: &AccessRules, questions: &[Asked]) -> f64 {
    let block = |_| {
        let start = Instant::now();
        let allowed = questions
            .iter()
            .take(BLOCK)
            .filter(|one| one.ask(rules))
            .count();
        assert!(allowed > 0 && allowed < BLOCK, "the answers differ");
        BLOCK.min(questions.len()) as f64 / start.elapsed().as_secs_f64()
    };
    median((0..BLOCKS).map(block).collect())
}

async fn casbin(text: &str) -> Enforcer {
    let model = DefaultModel::from_str(MODEL).await.expect("a model");
    let mut enforcer = Enforcer::new(model, casbin::MemoryAdapter::default())
        .await
        .expect("an enforcer");
    enforcer.add_function(
        "keyMatchCustom",
        // Its patterns have only stars, so the crate gets the cheapest right matcher.
        OperatorFunction::Arg2(|key, pattern| {
            let (key, pattern) = (key.into_string(), pattern.into_string());
            let (key, pattern) = (key.expect("text"), pattern.expect("text"));
            matches_pattern(&key, &pattern, Mode::Compatible).into()
        }),
    );
    let (mut rules, mut links) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut values = line.split(", ").map(str::to_owned);
        match values.next().as_deref() {
            Some("p") => rules.push(values.collect()),
            _ => links.push(values.collect()),
        }
    }
    enforcer.add_policies(rules).await.expect("rules");
    enforcer.add_grouping_policies(links).await.expect("links");
    enforcer
}

/// Nanoseconds of one decision of the crate, and whether ours agree.
fn beside(enforcer: &Enforcer, rules: &AccessRules, questions: &[Asked]) -> f64 {
    let one = |question: &Asked| {
        let start = Instant::now();
        let theirs = enforcer
            .enforce((&question.subject, "*", &question.object, question.action))
            .expect("an answer");
        let time = start.elapsed().as_nanos() as f64;
        assert_eq!(theirs, question.ask(rules), "{}", question.object);
        time
    };
    median(questions.iter().map(one).collect())
}

/// Milliseconds from a changed text to the first decision that knows it, while another thread
/// decides without end; and the longest that one of its decisions took.
fn change(text: &str, questions: &[Asked]) -> (f64, f64) {
    let shared = Arc::new(ArcSwap::from_pointee(compile(text)));
    let stop = Arc::new(AtomicBool::new(false));
    let times = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for question in questions.iter().take(1000) {
                    black_box(question.ask(&shared.load()));
                }
            }
        });
        let mut times = Vec::new();
        for turn in 0..21 {
            let changed = format!("{text}p, default##user##new{turn}, *, *, getPod, allow\n");
            let asked = Asked {
                subject: format!("default##user##new{turn}"),
                object: "pod:x".to_owned(),
                action: "getPod",
            };
            let start = Instant::now();
            shared.store(Arc::new(compile(&changed)));
            assert!(asked.ask(&shared.load()));
            times.push(start.elapsed().as_secs_f64() * 1e3);
            thread::sleep(Duration::from_millis(2));
        }
        stop.store(true, Ordering::Relaxed);
        times
    });
    (median(times.clone()), percentile(times, 0.99))
}

fn row(what: impl Into<String>, measured: f64, floor: f64, unit: &'static str, must: f64) -> Ratio {
    Ratio {
        what: what.into(),
        measured,
        floor,
        unit,
        more_is_better: false,
        must: Some(must),
        aim: None,
    }
}

/// How many times longer the crate takes.
fn slower(what: &str, theirs: f64, ours: f64) -> Ratio {
    Ratio {
        more_is_better: true,
        ..row(what, theirs, ours, "ns", 1000.0)
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut ratios = Vec::new();

    let (large, middle, small) = (sparse(SPARSE), sparse(BESIDE), sparse(10_000));
    let start = Instant::now();
    let rules = compile(&large);
    println!(
        "1M rules compiled in {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let questions = sparse_questions(SPARSE, SAMPLES);
    let times = each(&rules, &questions);
    println!("1M sparse: median {:.0} ns", median(times.clone()));
    let p99 = percentile(times, 0.99);
    ratios.push(row(
        "p99 of a decision, 1M rules sparse, by 3 µs",
        p99,
        3000.0,
        "ns",
        1.0,
    ));
    drop((rules, large));

    let rules = compile(&middle);
    let questions = sparse_questions(BESIDE, SAMPLES);
    let rate = throughput(&rules, &questions);
    ratios.push(Ratio {
        more_is_better: true,
        ..row(
            "decisions a second a core, 100k rules, by 1.5 M",
            rate / 1e3,
            1500.0,
            "k/s",
            1.0,
        )
    });
    let ours = median(each(&rules, &questions));
    let enforcer = runtime.block_on(casbin(&middle));
    let theirs = beside(&enforcer, &rules, questions.get(..9).unwrap_or_default());
    drop(enforcer);
    ratios.push(slower(
        "the casbin crate by ours, 100k rules sparse",
        theirs,
        ours,
    ));

    let dense = dense(DENSE);
    let rules = compile(&dense);
    let questions = dense_questions(SAMPLES);
    let times = each(&rules, &questions);
    let ours = median(times.clone());
    let p99 = percentile(times, 0.99);
    ratios.push(row(
        "p99 of a decision, 10k patterns dense, by 10 µs",
        p99,
        10_000.0,
        "ns",
        1.0,
    ));
    let enforcer = runtime.block_on(casbin(&dense));
    let theirs = beside(&enforcer, &rules, questions.get(..9).unwrap_or_default());
    ratios.push(slower(
        "the casbin crate by ours, 10k patterns dense",
        theirs,
        ours,
    ));

    let (typical, worst) = change(&small, &sparse_questions(10_000, 1000));
    println!("change visible, 10k rules: median {typical:.1} ms, p99 {worst:.1} ms");
    ratios.push(row(
        "a change of 10k rules visible, by 10 ms",
        typical,
        10.0,
        "ms",
        1.0,
    ));

    report("access", &ratios);
}
