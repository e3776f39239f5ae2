//! Lines that are made to be slow or deep: work that grows with their length and no faster, and a
//! stack that does not grow with their depth.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test, and a thread has a stack of its own"
)]

use std::alloc::System;

use dockin_policy::{
    Decision, Dialect, RuleSet, SessionState, Subject, judge_line, predict_line, read_script,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Stack that is enough for any line, bytes: half of what threads have by default. It is not built
/// for speed here; what is takes a part of it.
const STACK: usize = 1024 * 1024;
/// A line that is judged, bytes; longer ones are refused unread.
const JUDGED: usize = 60 * 1024;
/// Bytes of a long script.
const LONG: usize = 1024 * 1024;
/// Bytes that are allocated for one of a line, in all.
const PER_BYTE: usize = 1024;
/// Bytes that any line may cost.
const ANY_LINE: usize = 4 * 1024 * 1024;

/// What is said over and over, and what closes each, where it can be closed.
const CONSTRUCTS: &[(&str, &str)] = &[
    ("(", ")"),
    ("{ ", ";}"),
    ("$(", ")"),
    ("\"$(", ")\""),
    ("`", "`"),
    ("\\`", ""),
    ("${a:-", "}"),
    ("\"${a:-", "}\""),
    ("${a[", "]}"),
    ("${!a", "}"),
    ("$((", "))"),
    ("$((a[", "]))"),
    ("((", "))"),
    ("$[", "]"),
    ("<(", ")"),
    (">(", ")"),
    ("=(", ")"),
    ("[[ ( ", " )"),
    ("[[ ! ", ""),
    ("[[ a == $(", ") ]]"),
    ("if ", ";then a;fi"),
    ("if a;then ", ";fi"),
    ("if a;then b;else ", ";fi"),
    ("while ", ";do a;done"),
    ("while a;do ", ";done"),
    ("until a;do ", ";done"),
    ("for a in b;do ", ";done"),
    ("for ((;;)) do ", ";done"),
    ("select a in b;do ", ";done"),
    ("case a in a) ", ";;esac"),
    ("case a in (", ""),
    ("f() { ", ";}"),
    ("f() ( ", ")"),
    ("function f { ", ";}"),
    ("coproc { ", ";}"),
    ("! ", ""),
    ("time ", ""),
    ("a<<b ", ""),
    ("a<<b$(", ")"),
    ("a<<<$(", ")"),
    (">&$(", ")"),
    ("x=(", ")"),
    ("x=([$(", ")])"),
    ("x[$(", ")]=1 "),
    ("{a,", "}"),
    ("{a,b}", ""),
    ("{1..9}", ""),
    ("@(", ")"),
    ("!(a|", ")"),
    ("eval ", ""),
    ("eval eval\\ ", ""),
    ("sh -c ", ""),
    ("command ", ""),
    ("builtin exec ", ""),
    ("echo {", ""),
    ("cp ../../", ""),
    ("env ", ""),
    ("sudo -u a ", ""),
    ("find . -exec ", ""),
    ("find . ", ""),
    ("fd -x ", ""),
    ("unset a ", ""),
    ("cd a;", ""),
    ("pushd a/a;", ""),
    ("@(a|b)", ""),
    ("*(a)", ""),
    ("alias a='b ", "'"),
    ("alias a=b b=a;", ""),
    ("$'\\", "'"),
    ("$\"", "\""),
    ("a|", "b"),
    ("a&&", "b"),
    ("a;", ""),
    ("a\n", ""),
    ("a\\\n", ""),
    ("$x", ""),
    ("$x ", ""),
    ("a=$a$a;", ""),
    ("a=${a}b;", ""),
    ("'", "'"),
    ("a", ""),
    ("#", ""),
    ("*", ""),
    ("\\", ""),
    ("\u{e9}", ""),
    ("\0", ""),
];

fn lines(bytes: usize) -> impl Iterator<Item = (String, String)> {
    CONSTRUCTS.iter().flat_map(move |(open, close)| {
        let count = bytes / (open.len() + close.len());
        let unclosed = open.repeat(bytes / open.len());
        let closed = format!("{}a{}", open.repeat(count), close.repeat(count));
        [unclosed, closed].map(|line| ((*open).to_owned(), line))
    })
}

/// Bytes that `work` allocates in all, whether it gives them back or not.
fn allocated(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    region.change().bytes_allocated
}

fn with_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    thread.unwrap().join().unwrap();
}

/// One test, since what others allocate meanwhile would count as well.
#[test]
fn no_construct_makes_work_or_stack_grow_faster_than_the_line() {
    // Long texts are read as scripts: depth is counted, and never a call.
    with_a_small_stack(|| {
        for (open, line) in lines(LONG).step_by(2) {
            let cost = allocated(|| {
                let read = read_script(line.as_bytes(), Dialect::Bash);
                assert!(read.map_or_else(|at| at <= line.len(), |count| count <= line.len()));
            });
            assert!(
                cost <= ANY_LINE + PER_BYTE * line.len(),
                "{open:?}: {cost} bytes for {}",
                line.len()
            );
        }
    });
    // What is judged is followed as well.
    with_a_small_stack(|| {
        let rules = RuleSet::parse(
            "{on_unknown: ask, rules: [{id: no-rm, effect: forbid, commands: [rm]}]}",
        );
        let rules = rules.unwrap();
        let dialects = [Dialect::Bash, Dialect::Zsh, Dialect::Busybox, Dialect::Sh];
        for (number, (open, line)) in lines(JUDGED).enumerate() {
            // What is closed in bash, what is left open in one of the others.
            let others = [dialects[1 + number / 2 % 3]];
            for dialect in if number % 2 == 1 {
                &dialects[..1]
            } else {
                &others[..]
            } {
                let dialect = *dialect;
                let line = format!("rm x\n{line}");
                let mut session = SessionState::new(dialect);
                let mut decision = Decision::Allow;
                let cost = allocated(|| {
                    let verdict =
                        judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
                    decision = verdict.decision;
                });
                assert_eq!(decision, Decision::Deny, "{open:?} {dialect:?}");
                assert!(
                    cost <= ANY_LINE + 4 * PER_BYTE * line.len(),
                    "{open:?} {dialect:?}: {cost} bytes for {}",
                    line.len()
                );
            }
        }
    });
    // The longest is refused unread, and told to be not knowable.
    let line = "a;".repeat(LONG / 2);
    let cost = allocated(|| {
        let mut session = SessionState::default();
        assert!(
            predict_line(line.as_bytes(), &mut session)
                .unknown
                .is_some()
        );
        let rules = RuleSet::parse("on_unknown: ask").unwrap();
        let verdict = judge_line(&rules, &Subject::default(), line.as_bytes(), &mut session);
        assert_eq!(verdict.decision, Decision::Ask);
    });
    assert!(cost <= ANY_LINE, "{cost}");
}
