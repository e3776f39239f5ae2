//! A script on stdin, data on stdin, code on stdin: sessions without a terminal.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod driver;

use dockin_policy::{Confidence, LineSource, Mode, RuleSet};
use driver::{Driver, Step};
use proptest::prelude::*;

fn rules() -> RuleSet {
    RuleSet::parse(include_str!("cases/transcript_rules.yaml")).unwrap()
}

fn shell() -> Driver {
    Driver::new(rules(), &["sh"], false, None)
}

#[test]
fn allowed_commands_go_on_and_a_refused_one_is_dropped_with_a_message() {
    let mut driver = shell();
    assert_eq!(driver.interceptor.mode(), Mode::Script);
    driver.stdin(b"ls /srv\nrm -rf /srv/data\necho done\n");
    driver.half_close();
    assert_eq!(driver.forwarded(), b"ls /srv\necho done\n");
    assert!(
        driver.drawn().starts_with("dockin: refused: "),
        "{}",
        driver.drawn()
    );
    assert_eq!(driver.drawn().lines().count(), 1);
    let judged = driver.judged();
    assert_eq!(
        judged
            .iter()
            .map(|line| line.line.as_str())
            .collect::<Vec<_>>(),
        ["ls /srv", "rm -rf /srv/data", "echo done"]
    );
    assert!(
        judged
            .iter()
            .all(|line| line.confidence == Confidence::Sure && line.source == LineSource::Script)
    );
    assert!(matches!(driver.steps.last(), Some(Step::HalfClose)));
}

#[test]
fn the_judgement_comes_before_the_bytes() {
    let mut driver = shell();
    driver.stdin(b"ls\n");
    assert!(matches!(driver.steps[0], Step::Judged(_)));
    assert!(matches!(driver.steps[1], Step::Forward(_)));
}

#[test]
fn an_unfinished_command_waits_for_its_end() {
    let mut driver = shell();
    driver.stdin(b"echo 'a\n");
    assert!(driver.steps.is_empty());
    driver.stdin(b"b'\n");
    assert_eq!(driver.forwarded(), b"echo 'a\nb'\n");
    assert_eq!(driver.judged().len(), 1);
}

#[test]
fn the_last_line_without_an_end_is_judged_at_half_close() {
    let mut driver = shell();
    driver.stdin(b"rm -rf /srv/data");
    assert!(driver.steps.is_empty());
    driver.half_close();
    assert_eq!(driver.forwarded(), b"");
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn a_construct_that_never_ends_is_refused_at_half_close() {
    let mut driver = shell();
    driver.stdin(b"echo 'a\nb\n");
    driver.half_close();
    assert_eq!(driver.forwarded(), b"");
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn a_command_beyond_the_limit_ends_the_session() {
    let mut driver = shell();
    driver.stdin(b"ls\n");
    driver.stdin(&vec![b'a'; 70_000]);
    assert!(driver.is_ended());
    driver.stdin(b"\nls\n");
    driver.half_close();
    assert_eq!(driver.forwarded(), b"ls\n");
}

#[test]
fn data_for_a_program_is_passed_through_unlooked_at() {
    for argv in [&["cat"][..], &["tar", "xf", "-"], &["sh", "-c", "cat > f"]] {
        let mut driver = Driver::new(rules(), argv, false, None);
        assert_eq!(driver.interceptor.mode(), Mode::PassThrough, "{argv:?}");
        driver.stdin(b"rm -rf /srv/data\n");
        driver.output(b"anything");
        driver.half_close();
        assert_eq!(driver.forwarded(), b"rm -rf /srv/data\n");
        assert!(driver.judged().is_empty());
    }
}

#[test]
fn passed_through_chunks_are_not_copied() {
    let mut driver = Driver::new(rules(), &["cat"], false, None);
    let chunk = bytes::Bytes::from(vec![7; 65_536]);
    driver.interceptor.handle_stdin(driver.now, chunk.clone());
    let Some(dockin_policy::Action::Forward(forwarded)) = driver.interceptor.poll_action() else {
        panic!("not forwarded")
    };
    assert_eq!(forwarded.as_ptr(), chunk.as_ptr());
}

#[test]
fn new_rules_apply_to_the_next_command() {
    let mut driver = shell();
    driver.stdin(b"uptime\n");
    let strict = RuleSet::parse(include_str!("cases/no_uptime_rules.yaml")).unwrap();
    driver.interceptor.set_rules(std::sync::Arc::new(strict));
    driver.stdin(b"uptime\n");
    assert_eq!(driver.forwarded(), b"uptime\n");
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn secrets_are_masked_in_the_record_but_not_in_the_bytes() {
    let mut driver = shell();
    driver.stdin(b"TOKEN=s3cret run -p x --password hunter2\n");
    let record = format!("{:?}", driver.judged());
    assert!(
        !record.contains("hunter2") && !record.contains("s3cret"),
        "{record}"
    );
    assert!(
        String::from_utf8(driver.forwarded())
            .unwrap()
            .contains("hunter2")
    );
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    let line = proptest::sample::select(vec![
        &b"ls -la\n"[..],
        b"rm -rf /srv/data\n",
        b"echo 'a\nb'\n",
        b"\n",
        b"cat <<E\nrm x\nE\n",
        b"echo a \\\n b\n",
        b"echo '",
        b"# comment\n",
    ]);
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    /// Cutting the input anywhere gives the same forwarded bytes and the same verdicts.
    #[test]
    fn cuts_do_not_matter(script in script(), cuts in proptest::collection::vec(1_usize..9, 0..40)) {
        let mut whole = shell();
        whole.stdin(&script);
        whole.half_close();
        let mut cut = shell();
        let mut rest = script.as_slice();
        for length in cuts.into_iter().chain(std::iter::repeat(1)) {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            cut.stdin(piece);
            rest = behind;
        }
        cut.half_close();
        prop_assert_eq!(whole.forwarded(), cut.forwarded());
        let lines = |driver: &Driver| driver.judged().into_iter().map(|line| (line.line, line.verdict.decision)).collect::<Vec<_>>();
        prop_assert_eq!(lines(&whole), lines(&cut));
    }

    /// No bytes panic, and what is forwarded is a part of what came.
    #[test]
    fn random_scripts_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut driver = shell();
        driver.stdin(&bytes);
        driver.half_close();
        prop_assert!(driver.forwarded().len() <= bytes.len());
    }
}
