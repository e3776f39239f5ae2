//! Commands over several lines in real shells, which may end in the middle: bash, dash, busybox
//! ash and zsh must be installed.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod live_session;

use std::path::Path;

use live_session::Session;

const SHELLS: [&[&str]; 4] = [
    &["bash", "--norc", "--noprofile"],
    &["dash"],
    &["busybox", "ash"],
    &["zsh", "-f", "-i"],
];

/// Keys, in writes with a pause between them. Each would delete the file `keep`.
const WAYS: &[(&str, &[&str])] = &[
    ("a here-document", &["sh <<E\r", "rm keep\r", "E\r", "\r"]),
    (
        "a here-document of a refused command",
        &["rm keep <<E\r", "E\r"],
    ),
    (
        "the end of the input in it",
        &["sh <<E\r", "rm keep\r", "\x04"],
    ),
    (
        "the end of the input behind a refused command",
        &["rm keep <<E\r", "x\r", "\x04"],
    ),
    (
        "the end of the input behind a backslash",
        &["rm keep; \\\r", "\x04"],
    ),
    (
        "a line behind the end of the input",
        &["cat <<E\r", "\x04rm keep\r"],
    ),
    (
        "a line behind the end of the input in a line",
        &["cat <<E\r", "x\x04\x04rm keep\r"],
    ),
    (
        "a line behind the end of a program's input",
        &["cat\r", "x\x04\x04rm keep\r"],
    ),
    (
        "an interrupt that may be none",
        &["cat <<E\r", "\x03cat <<F\r", "E\rrm keep\r"],
    ),
    (
        "a program that takes the first line",
        &["head -1\r", "cat <<E\rrm keep\r"],
    ),
    (
        "a program that takes the first line, slowly typed",
        &["head -1\r", "cat <<E\r", "rm keep\r"],
    ),
    (
        "a line that was refused, again",
        &["echo 'a\r", "b'; rm keep\r", "b'; rm keep\r", "\r"],
    ),
    (
        "a quote that may still be open",
        &["echo 'a\r", "b'; rm keep\r", "'; rm keep\r", "\r"],
    ),
    (
        "an interrupt that is a key",
        &["stty -isig\r", "rm keep\x03\r"],
    ),
    (
        "an interrupt that is a key, then Enter",
        &["stty -isig\r", "rm keep\x03", "\r"],
    ),
    (
        "a refusal that is a key, and a line feed of another program",
        &["stty -isig; (sleep 0.1; echo) &\rrm keep\r", "\r"],
    ),
    (
        "no key that drops a line",
        &[
            "stty -isig intr ^X kill undef\r",
            "sh <<E\r",
            "rm keep\r",
            "E\r",
            "\r",
        ],
    ),
    (
        "another key that interrupts",
        &["stty intr ^X\r", "sh <<E\r", "rm keep\r", "E\r", "\r"],
    ),
    (
        "a line of the past in front of a here-document",
        &["echo rm keep\r", "!!:1* <<E\r", "E\r"],
    ),
    (
        "a line of the past in the middle",
        &["echo rm keep\r", "echo a; \\\r", "!?rm?:1*; \\\r", "echo\r"],
    ),
    (
        "a comment key in a here-document",
        &["cat <<E\r", "x\x1b#", "cat <<F\r", "E\rrm keep\r"],
    ),
];

/// One test at a time: a machine that is busy with many shells is slow to show what is waited for.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn started(shell: &[&str], ignores_interrupts: bool, directory: &Path) -> Session {
    let mut argv = Vec::new();
    if ignores_interrupts {
        argv.extend(["env", "--ignore-signal=INT"]);
    }
    argv.extend(shell);
    let mut session = Session::start(&argv, directory);
    session.rest();
    session
}

fn keeps_the_file(shell: &[&str], ignores_interrupts: bool, keys: &[&str]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    let mut session = started(shell, ignores_interrupts, directory.path());
    for text in keys {
        session.write(text.as_bytes());
        session.rest();
    }
    session.rest();
    keep.exists()
}

fn no_way_runs(shells: &[&'static [&'static str]], ignores_interrupts: bool) {
    let _turn = turn();
    let mut wrong = Vec::new();
    let ways: Vec<_> = shells
        .iter()
        .flat_map(|shell| WAYS.iter().map(move |(name, keys)| (*shell, *name, *keys)))
        .collect();
    // Some at a time: what they wait for is mostly time.
    for ways in ways.chunks(30) {
        std::thread::scope(|scope| {
            let running: Vec<_> = ways
                .iter()
                .map(|(shell, name, keys)| {
                    let way = move || keeps_the_file(shell, ignores_interrupts, keys);
                    (shell, name, scope.spawn(way))
                })
                .collect();
            wrong.extend(running.into_iter().filter_map(|(shell, name, way)| {
                (!way.join().unwrap()).then_some((*shell, *name))
            }));
        });
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_refused_runs_out_of_an_unfinished_command() {
    no_way_runs(&SHELLS[..2], false);
}

#[test]
fn nothing_refused_runs_out_of_an_unfinished_command_where_interrupts_are_ignored() {
    no_way_runs(&SHELLS, true);
}

#[test]
fn a_refused_line_is_taken_out_of_its_here_document_and_the_user_is_told() {
    let _turn = turn();
    for ignores_interrupts in [false, true] {
        std::thread::scope(|scope| {
            for shell in SHELLS {
                scope.spawn(move || takes_a_line_out(shell, ignores_interrupts));
            }
        });
    }
}

fn takes_a_line_out(shell: &[&str], ignores_interrupts: bool) {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    let mut session = started(shell, ignores_interrupts, directory.path());
    session.write(b"cat <<E | sh\r");
    session.rest();
    session.write(b"echo a > first\r");
    session.rest();
    session.write(b"rm keep\r");
    session.wait_for("dockin: refused: `rm keep`");
    session.wait_for("only this line is taken out");
    session.rest();
    // Not even the part that was not refused runs, before the user ends the document.
    assert!(!directory.path().join("first").exists(), "{shell:?}");
    session.write(b"echo b > second\r");
    session.rest();
    session.write(b"E\r");
    session.rest();
    session.write(b"echo al''ive\r");
    session.wait_for("alive\r\n");
    assert!(directory.path().join("first").exists(), "{shell:?}");
    assert!(directory.path().join("second").exists(), "{shell:?}");
    assert!(keep.exists(), "{shell:?}");
    assert_eq!(session.refusals, 1, "{shell:?}");
}

#[test]
fn the_text_of_a_here_document_may_name_what_is_forbidden() {
    let _turn = turn();
    std::thread::scope(|scope| {
        for shell in SHELLS {
            scope.spawn(move || {
                for keys in [
                    &["cat <<E\rrm keep\rE\recho al''ive\r"][..],
                    &["cat <<E\r", "rm keep\r", "E\r", "echo al''ive\r"],
                ] {
                    let directory = tempfile::tempdir().unwrap();
                    let mut session = started(shell, false, directory.path());
                    for text in keys {
                        session.write(text.as_bytes());
                        session.rest();
                    }
                    session.wait_for("alive\r\n");
                    assert_eq!(session.refusals, 0, "{shell:?} {keys:?}");
                }
            });
        }
    });
}

#[test]
fn a_shell_that_ignores_interrupts_and_shows_it_takes_the_next_line() {
    let _turn = turn();
    // busybox ash ends at an ignored interrupt.
    for shell in [SHELLS[0], SHELLS[1], SHELLS[3]] {
        let directory = tempfile::tempdir().unwrap();
        let mut session = started(shell, true, directory.path());
        session.write(b"rm keep\r");
        session.wait_for("dockin: refused: `rm keep`");
        session.rest();
        session.rest();
        // A shell that is slow to show it has one more line refused.
        for attempt in 1..=2 {
            let refused = session.refusals;
            session.write(b"echo al''ive\r");
            let start = std::time::Instant::now();
            while !session.seen.contains("alive\r\n") && session.refusals == refused {
                session.is_due(start);
                session.step();
            }
            if session.seen.contains("alive\r\n") {
                break;
            }
            assert!(attempt < 2, "{shell:?}: {:?}", session.seen);
            session.rest();
            session.rest();
        }
    }
}

#[test]
fn a_session_ends_whose_shell_never_shows_that_it_dropped_a_line() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    let mut session = started(SHELLS[1], true, directory.path());
    session.write(b"stty -isig kill undef\r");
    session.rest();
    session.write(b"rm keep\r");
    for _ in 0..3 {
        session.rest();
        session.rest();
        session.write(b"\r");
    }
    session.rest();
    let message = session.ended.clone().unwrap();
    assert!(
        message.contains("does not show that it dropped a refused line"),
        "{message}"
    );
    assert_eq!(session.refusals, 4);
    assert!(keep.exists());
}
