//! Real shells behind real pseudo-terminals: bash, dash and busybox ash must be installed.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod live_session;

use std::time::Instant;

use live_session::Session;

const SHELLS: [&[&str]; 3] = [
    &["bash", "--norc", "--noprofile"],
    &["dash"],
    &["busybox", "ash"],
];

#[test]
fn a_refused_command_does_not_run_and_the_next_one_does() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.type_keys("rm keep\r");
        session.wait_for("dockin: refused: ");
        session.wait_for("dockin$ ");
        session.rest();
        // A shell that is slow to drop the refused line may still show it when the next one is
        // typed; then that one is refused as well, and the one behind it runs.
        for attempt in 1..=5 {
            let refused = session.refusals;
            session.type_keys("echo al''ive\r");
            let start = Instant::now();
            while !session.seen.contains("alive\r\n") && session.refusals == refused {
                session.is_due(start);
                session.step();
            }
            if session.seen.contains("alive\r\n") {
                break;
            }
            assert!(attempt < 5, "{argv:?}: {:?}", session.seen);
            session.rest();
        }
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn lines_in_one_write_run_up_to_the_refused_one() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.write(b"echo o''ne\recho t''wo\rrm keep\rrm keep\r");
        // The refusal may come before the output of the line that still runs.
        let start = Instant::now();
        while session.refusals == 0 {
            session.is_due(start);
            session.step();
        }
        session.rest();
        for text in ["one\r\n", "two\r\n", "dockin: refused: "] {
            assert!(
                session.seen.contains(text),
                "{argv:?}: no {text:?} in {:?}",
                session.seen
            );
        }
        session.type_keys("echo al''ive\r");
        session.wait_for("alive\r\n");
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn a_refused_construct_is_dropped_from_the_continuation_prompt() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.type_keys("echo 'a\r");
        session.wait_for("> ");
        session.rest();
        session.type_keys("b'; rm keep\r");
        session.wait_for("dockin: refused: ");
        session.wait_for("dockin$ ");
        session.rest();
        session.type_keys("echo al''ive\r");
        session.wait_for("alive\r\n");
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn a_shell_that_ignores_interrupts_does_not_keep_the_refused_line() {
    for argv in SHELLS {
        let directory = tempfile::tempdir().unwrap();
        let keep = directory.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let mut session = Session::start(argv, directory.path());
        session.rest();
        session.type_keys("trap '' INT\r");
        session.wait_for("dockin$ ");
        session.rest();
        session.type_keys("rm keep\r");
        session.wait_for("dockin: refused: ");
        session.rest();
        session.type_keys("\r");
        session.rest();
        assert!(keep.exists(), "{argv:?}");
    }
}

#[test]
fn a_recalled_command_is_refused_by_what_the_screen_shows() {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    std::fs::write(directory.path().join(".bash_history"), "rm keep\n").unwrap();
    let mut session = Session::start(&["bash", "--norc", "--noprofile"], directory.path());
    session.rest();
    session.write(b"\x1b[A");
    session.wait_for("rm keep");
    session.write(b"\r");
    session.wait_for("dockin: refused: ");
    session.rest();
    assert!(keep.exists());
}
