//! A person at a terminal: what is held, judged, refused, hidden.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod driver;

use dockin_policy::{Confidence, JudgedLine, LineSource, Mode, RuleSet};
use driver::{Driver, Step};
use proptest::prelude::*;

fn rules() -> RuleSet {
    RuleSet::parse(include_str!("cases/transcript_rules.yaml")).unwrap()
}

/// A bash that has drawn its prompt.
fn at_prompt() -> Driver {
    let mut driver = Driver::new(rules(), &["bash"], true, Some((80, 24)));
    assert_eq!(driver.interceptor.mode(), Mode::Terminal);
    driver.output(b"\x1b[?2004h$ ");
    driver.pass(100);
    driver
}

/// What bash prints between Enter and its next prompt.
fn ran(driver: &mut Driver) {
    driver.output(b"\r\n\x1b[?2004l\r");
    driver.pass(5);
    driver.output(b"\x1b[?2004h$ ");
    driver.pass(100);
}

#[test]
fn a_typed_line_is_sure_and_goes_on_at_once() {
    let mut driver = at_prompt();
    driver.type_echoed("ls -la");
    driver.stdin(b"\r");
    assert!(!driver.is_holding());
    assert_eq!(driver.forwarded(), b"ls -la\r");
    let judged = driver.judged();
    assert_eq!(judged[0].line, "ls -la");
    assert_eq!(
        (judged[0].confidence, judged[0].source),
        (Confidence::Sure, LineSource::Keys)
    );
}

#[test]
fn a_refused_line_is_never_submitted_and_the_next_one_works() {
    let mut driver = at_prompt();
    driver.type_echoed("rm -rf /srv/data");
    driver.stdin(b"\r");
    assert_eq!(driver.forwarded(), b"rm -rf /srv/data\x03");
    let message = driver.drawn();
    assert!(
        message.starts_with("\r\n\x1b[31mdockin: refused: ") && message.ends_with("\x1b[0m\r\n"),
        "{message:?}"
    );
    driver.output(b"^C\r\n\x1b[?2004l\r\x1b[?2004h$ ");
    driver.pass(100);
    driver.type_echoed("ls");
    driver.stdin(b"\r");
    assert!(driver.forwarded().ends_with(b"\x03ls\r"));
    assert_eq!(driver.refusals().len(), 1);
}

/// A shell that cannot go to a folder says so and stays where it is.
#[test]
fn a_folder_that_the_shell_could_not_go_to_is_not_where_it_writes() {
    let rules = || RuleSet::parse(include_str!("rules/reference.yaml")).unwrap();
    for (second, says, refused) in [
        ("cd /opt/app", "", false),
        (
            "cd /nope",
            "bash: cd: /nope: No such file or directory\r\n",
            true,
        ),
        // Nobody hears it.
        ("cd /nope 2>/dev/null", "", true),
        ("cd /nope || true", "", true),
    ] {
        let mut driver = Driver::new(rules(), &["bash"], true, Some((80, 24)));
        driver.output(b"\x1b[?2004h$ ");
        driver.pass(100);
        for line in ["cd /etc", second] {
            driver.type_echoed(line);
            driver.stdin(b"\r");
            driver.output(b"\r\n\x1b[?2004l\r");
            driver.pass(5);
            if line == second {
                driver.output(says.as_bytes());
            }
            driver.output(b"\x1b[?2004h$ ");
            driver.pass(100);
        }
        driver.type_echoed("echo x > passwd");
        driver.stdin(b"\r");
        assert_eq!(driver.refusals().len(), usize::from(refused), "{second}");
    }
}

#[test]
fn enter_waits_for_the_echo_of_a_pasted_line() {
    let mut driver = at_prompt();
    driver.stdin(b"ls /srv\r");
    assert_eq!(driver.forwarded(), b"ls /srv");
    driver.pass(3);
    assert!(driver.is_holding());
    driver.output(b"ls /srv");
    assert_eq!(driver.forwarded(), b"ls /srv\r");
    assert_eq!(driver.judged()[0].confidence, Confidence::Sure);
}

/// A shell on a busy machine draws a part of the line, and the rest much later.
#[test]
fn a_line_that_shows_in_part_is_not_that_part() {
    let mut driver = at_prompt();
    driver.type_echoed("ls");
    driver.stdin(b"\r");
    ran(&mut driver);
    driver.stdin(b"exit 7\r");
    driver.pass(2);
    driver.output(b"e");
    driver.pass(600);
    assert!(driver.is_holding());
    driver.output(b"xit 7");
    assert_eq!(driver.judged()[1].line, "exit 7");
    assert_eq!(driver.judged()[1].confidence, Confidence::Sure);
    assert_eq!(driver.forwarded(), b"ls\rexit 7\r");
    // It is not waited for longer than that: then both are looked at, and neither is sure.
    ran(&mut driver);
    driver.stdin(b"echo rm\r");
    driver.output(b"echo");
    driver.pass(5000);
    assert!(!driver.is_holding());
    assert_eq!(driver.judged()[2].confidence, Confidence::Likely);
    // And what the keys say is refused although it does not show.
    ran(&mut driver);
    driver.stdin(b"ls; rm x\r");
    driver.output(b"ls");
    driver.pass(5000);
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn every_submit_key_is_held_until_the_judgement() {
    for key in [&b"\r"[..], b"\n", b"\x0f", b"\x1b\r", b"\r\n", b"\x04"] {
        let mut driver = at_prompt();
        driver.type_echoed("rm -rf /srv/data");
        driver.stdin(key);
        driver.settle();
        let forwarded = driver.forwarded();
        let behind = &forwarded[b"rm -rf /srv/data".len()..];
        assert!(
            behind
                .iter()
                .all(|byte| !matches!(byte, b'\r' | b'\n' | 0x0f | 0x04)),
            "{} {behind:?}",
            key.escape_ascii()
        );
        assert_eq!(driver.refusals().len(), 1, "{}", key.escape_ascii());
    }
}

#[test]
fn lines_typed_ahead_are_judged_one_by_one() {
    let mut driver = at_prompt();
    driver.stdin(b"ls\rid\rrm -rf /srv/data\rwho\r");
    driver.output(b"ls");
    ran(&mut driver);
    driver.output(b"id");
    ran(&mut driver);
    driver.output(b"rm -rf /srv/data");
    driver.settle();
    let lines: Vec<_> = driver.judged().into_iter().map(|line| line.line).collect();
    assert_eq!(lines, ["ls", "id", "rm -rf /srv/data"]);
    assert_eq!(driver.forwarded(), b"ls\rid\rrm -rf /srv/data\x03\x05\x15");
}

#[test]
fn a_recalled_line_is_read_from_the_screen() {
    let mut driver = at_prompt();
    driver.stdin(b"\x1b[A");
    driver.pass(5);
    driver.output(b"rm -rf /srv/data");
    driver.pass(200);
    driver.stdin(b"\r");
    driver.settle();
    let refused = &driver.refusals()[0];
    assert_eq!(
        (refused.line.as_str(), refused.confidence, refused.source),
        ("rm -rf /srv/data", Confidence::Likely, LineSource::Screen)
    );
}

#[test]
fn a_line_that_neither_keys_nor_screen_tell_is_refused() {
    let mut driver = at_prompt();
    driver.stdin(b"\x1b[A\r");
    driver.settle();
    assert_eq!(driver.forwarded(), b"\x1b[A\x03\x05\x15");
    let refused = &driver.refusals()[0];
    assert_eq!(
        (refused.line.as_str(), refused.confidence),
        (JudgedLine::UNKNOWN, Confidence::Opaque)
    );
}

#[test]
fn a_password_is_forwarded_and_never_written_down() {
    let mut driver = at_prompt();
    driver.type_echoed("sudo id");
    driver.stdin(b"\r");
    driver.output(b"\r\n\x1b[?2004l\r[sudo] password for ann: ");
    driver.pass(500);
    driver.stdin(b"hunter'2 (\r");
    driver.settle();
    assert!(
        driver.forwarded().ends_with(b"hunter'2 (\r"),
        "{:?}",
        driver.steps
    );
    let record = format!("{:?}", driver.judged());
    assert!(!record.contains("hunter"), "{record}");
    assert_eq!(driver.judged().last().unwrap().line, JudgedLine::HIDDEN);
}

#[test]
fn a_forbidden_command_typed_without_echo_is_refused_and_not_shown() {
    let mut driver = Driver::new(rules(), &["sh"], true, None);
    driver.output(b"$ ");
    driver.pass(100);
    driver.stdin(b"rm -rf /srv/hidden\r");
    driver.settle();
    assert_eq!(driver.refusals().len(), 1);
    assert!(
        !driver.drawn().contains("hidden/") && !driver.drawn().contains("/srv"),
        "{}",
        driver.drawn()
    );
    assert!(!format!("{:?}", driver.judged()).contains("/srv"));
}

#[test]
fn switching_the_echo_off_hides_nothing() {
    let mut driver = Driver::new(rules(), &["sh"], true, None);
    driver.output(b"$ ");
    driver.pass(100);
    driver.type_echoed("stty -echo");
    driver.stdin(b"\r");
    driver.output(b"\r\n$ ");
    driver.pass(100);
    driver.stdin(b"ls /srv\r");
    driver.settle();
    assert_eq!(driver.judged().last().unwrap().line, "ls /srv");
}

#[test]
fn a_construct_over_several_lines_is_judged_whole() {
    let mut driver = at_prompt();
    driver.type_echoed("echo 'a");
    driver.stdin(b"\r");
    assert!(driver.judged().is_empty());
    driver.output(b"\r\n\x1b[?2004l\r\x1b[?2004h> ");
    driver.pass(100);
    driver.type_echoed("b'; rm -rf /srv/data");
    driver.stdin(b"\r");
    driver.settle();
    assert_eq!(driver.refusals()[0].line, "echo 'a\nb'; rm -rf /srv/data");
    assert!(driver.forwarded().ends_with(b"data\x03\x05\x15"));
}

#[test]
fn a_bracketed_paste_is_one_line_until_enter() {
    let mut driver = at_prompt();
    driver.stdin(b"\x1b[200~ls\rid\x1b[201~");
    assert!(driver.judged().is_empty());
    driver.output(b"ls\r\nid");
    driver.pass(50);
    driver.stdin(b"\r");
    driver.settle();
    assert_eq!(driver.judged()[0].line, "ls\nid");
    assert_eq!(driver.forwarded(), b"\x1b[200~ls\rid\x1b[201~\r");
}

#[test]
fn paste_marks_do_not_smuggle_an_enter_past_a_shell_that_ignores_them() {
    for paste_mode in [&b""[..], b"\x1b[?2004h"] {
        let mut driver = Driver::new(rules(), &["dash"], true, None);
        driver.output(paste_mode);
        driver.output(b"$ ");
        driver.pass(100);
        driver.stdin(b"\x1b[200~rm -rf /srv/data\rls\x1b[201~");
        driver.settle();
        assert!(!driver.forwarded().contains(&b'\r'));
        assert_eq!(driver.refusals().len(), 1);
    }
}

#[test]
fn keys_in_an_editor_pass_and_are_not_written_down() {
    let mut driver = at_prompt();
    driver.type_echoed("vi f");
    driver.stdin(b"\r");
    driver.output(b"\r\n\x1b[?2004l\r\x1b[?1049h\x1b[H\x1b[2Jtext\x1b[2;1H~");
    driver.pass(100);
    driver.stdin(b"irm -rf /srv/data\rx\x1b");
    driver.settle();
    assert!(driver.forwarded().ends_with(b"data\rx\x1b"));
    assert_eq!(driver.judged().len(), 1);
}

#[test]
fn a_command_from_within_an_editor_is_judged() {
    let mut driver = at_prompt();
    driver.type_echoed("vi f");
    driver.stdin(b"\r");
    driver.output(b"\r\n\x1b[?2004l\r\x1b[?1049h\x1b[H\x1b[2Jtext");
    driver.pass(100);
    driver.stdin(b":!rm -rf /srv/data");
    driver.output(b"\x1b[24;1H:!rm -rf /srv/data");
    driver.pass(100);
    driver.stdin(b"\r");
    driver.settle();
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn a_printed_alternate_screen_does_not_switch_judging_off() {
    let mut driver = at_prompt();
    driver.type_echoed("printf x");
    driver.stdin(b"\r");
    driver.output(b"\r\n\x1b[?2004l\r\x1b[?1049h\x1b[2;1H\x1b[?2004h$ ");
    driver.pass(100);
    driver.type_echoed("rm -rf /srv/data");
    driver.stdin(b"\r");
    driver.settle();
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn a_refused_line_that_stays_in_the_shell_is_not_run_by_the_next_enter() {
    let mut driver = at_prompt();
    driver.type_echoed("rm -rf /srv/data");
    driver.stdin(b"\r");
    // The shell ignores interrupts and kill keys: nothing changes on its row.
    driver.pass(200);
    driver.stdin(b"\r");
    driver.settle();
    assert!(!driver.forwarded().contains(&b'\r'));
    assert_eq!(driver.refusals().len(), 2);
}

#[test]
fn references_to_the_history_cannot_be_known() {
    let mut driver = at_prompt();
    driver.type_echoed("sudo !!");
    driver.stdin(b"\r");
    driver.settle();
    assert_eq!(driver.refusals().len(), 1);
}

#[test]
fn typing_ahead_without_end_ends_the_session() {
    let mut driver = at_prompt();
    driver.stdin(b"\x1b[A\r");
    driver.stdin(&vec![b'x'; 2 << 20]);
    assert!(driver.is_ended());
}

#[test]
fn the_judgement_comes_before_the_submit_key() {
    let mut driver = at_prompt();
    driver.type_echoed("ls");
    driver.stdin(b"\r");
    let judged = driver
        .steps
        .iter()
        .position(|step| matches!(step, Step::Judged(_)))
        .unwrap();
    let submitted = driver
        .steps
        .iter()
        .position(|step| matches!(step, Step::Forward(bytes) if bytes == b"\r"))
        .unwrap();
    assert!(judged < submitted);
}

#[derive(Clone, Debug)]
enum Operation {
    Stdin(Vec<u8>),
    Output(Vec<u8>),
    Pass(u64),
    Resize(u16, u16),
}

fn operation() -> impl Strategy<Value = Operation> {
    let bytes = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..30),
            proptest::collection::vec(
                prop_oneof![
                    Just(b'\r'),
                    Just(0x1b),
                    Just(b'['),
                    Just(b'A'),
                    Just(b'x'),
                    Just(b' '),
                    Just(0x0f),
                    Just(b'\n')
                ],
                0..30
            ),
        ]
    };
    prop_oneof![
        bytes().prop_map(Operation::Stdin),
        bytes().prop_map(Operation::Output),
        (0_u64..400).prop_map(Operation::Pass),
        (0_u16..120, 0_u16..60).prop_map(|(columns, rows)| Operation::Resize(columns, rows)),
    ]
}

proptest! {
    /// No bytes panic, and every held key is released or refused in bounded time.
    #[test]
    fn random_sessions_do_not_panic(operations in proptest::collection::vec(operation(), 0..30)) {
        let mut driver = at_prompt();
        for operation in operations {
            match operation {
                Operation::Stdin(bytes) => driver.stdin(&bytes),
                Operation::Output(bytes) => driver.output(&bytes),
                Operation::Pass(milliseconds) => driver.pass(milliseconds),
                Operation::Resize(columns, rows) => driver.interceptor.handle_resize(columns, rows),
            }
        }
        driver.settle();
        prop_assert!(!driver.is_holding());
    }

    /// However a forbidden line is cut into writes, its submit key is never forwarded.
    #[test]
    fn no_cut_of_a_forbidden_line_lets_it_through(
        cuts in proptest::collection::vec(1_usize..6, 0..20), echo in any::<bool>(), key in prop_oneof![Just('\r'), Just('\n'), Just('\u{f}')],
    ) {
        let mut driver = at_prompt();
        let line = format!("rm -rf /srv/data{key}");
        let mut rest = line.as_bytes();
        for length in cuts.into_iter().chain(std::iter::repeat(3)) {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            driver.stdin(piece);
            if echo {
                driver.output(piece.split(|byte| byte.is_ascii_control()).next().unwrap());
            }
            driver.pass(7);
            rest = behind;
        }
        driver.settle();
        prop_assert!(!driver.forwarded().contains(&(key as u8)));
        prop_assert_eq!(driver.refusals().len(), 1);
    }
}
