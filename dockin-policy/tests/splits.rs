//! However the bytes of a terminal are cut into messages, its lines are the same.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod driver;

use dockin_policy::RuleSet;
use driver::Driver;
use proptest::{prelude::*, sample::select};

fn rules() -> RuleSet {
    RuleSet::parse("rules: [{id: no-rm, effect: forbid, commands: [rm]}]").unwrap()
}

/// What is typed, and what bash draws of it.
const LINES: &[(&str, &str)] = &[
    ("ls -la", "ls -la"),
    ("rm -rf /srv/data", "rm -rf /srv/data"),
    ("echo 'é 漢字'", "echo 'é 漢字'"),
    // The last key is taken back.
    ("lsx\u{7f}", "lsx\u{8}\u{1b}[K"),
    // To the front, and something before.
    ("data\u{1}rm ", "data\r$ \u{1b}[1@r\u{1b}[1@m\u{1b}[1@ "),
    ("\u{1b}[200~rm a\u{1b}[201~", "\u{1b}[7mrm a\u{1b}[27m"),
    ("", ""),
];

/// Gives `bytes` in pieces of these lengths, then whole.
fn cut(bytes: &[u8], cuts: &[usize], mut give: impl FnMut(&[u8])) {
    let mut rest = bytes;
    for length in cuts {
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        if !piece.is_empty() {
            give(piece);
        }
        rest = behind;
    }
    if !rest.is_empty() {
        give(rest);
    }
}

fn session(lines: &[(&str, &str)], cuts: &[usize]) -> Vec<String> {
    let mut driver = Driver::new(rules(), &["bash"], true, Some((80, 24)));
    cut(b"\x1b[?2004h$ ", cuts, |piece| driver.output(piece));
    driver.pass(100);
    for (typed, drawn) in lines {
        cut(typed.as_bytes(), cuts, |piece| driver.stdin(piece));
        driver.pass(5);
        cut(drawn.as_bytes(), cuts, |piece| driver.output(piece));
        driver.pass(50);
        driver.stdin(b"\r");
        driver.settle();
        let end = b"\r\n\x1b[?2004l\rout\r\n\x1b[?2004h$ ";
        cut(end, cuts, |piece| driver.output(piece));
        driver.pass(100);
    }
    driver
        .judged()
        .into_iter()
        .map(|line| {
            format!(
                "{:?} {:?} {:?} {:?}",
                line.line, line.confidence, line.source, line.verdict.decision
            )
        })
        .collect()
}

proptest! {
    /// Cutting what comes from the keyboard and what goes to the screen anywhere, in the middle of
    /// characters and of control sequences, gives the same lines, as sure, and the same verdicts.
    #[test]
    fn any_split_of_the_bytes_gives_the_same_lines(
        lines in proptest::collection::vec(select(LINES), 1..5),
        cuts in proptest::collection::vec(1_usize..7, 0..40),
    ) {
        let whole = session(&lines, &[]);
        prop_assert!(!whole.is_empty() || lines.iter().all(|(typed, _)| typed.is_empty()));
        prop_assert_eq!(whole, session(&lines, &cuts));
    }
}
