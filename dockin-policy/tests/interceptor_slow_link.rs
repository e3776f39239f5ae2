//! Real shells behind a link on which the echo is late: what the screen shows is older than what
//! was typed. bash, dash and zsh must be installed.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod live_session;

use std::time::Duration;

use live_session::Session;

const BASH: &[&str] = &["bash", "--norc", "--noprofile"];
const DASH: &[&str] = &["dash"];
const ZSH: &[&str] = &["zsh", "-f", "-i"];

/// One thing a user does.
#[derive(Clone, Copy)]
enum Step {
    Keys(&'static str),
    /// A pause until everything has been shown.
    Rest,
    /// A pause of so many percent of the link's delay.
    Part(u32),
}

use Step::{Keys, Part, Rest};

/// Each would delete the file `keep` if the screen were believed too early.
const WAYS: &[(&str, &[&str], &[Step])] = &[
    (
        "recalled with Enter",
        BASH,
        &[Keys("history -s rm keep\r"), Rest, Keys("\x10\r")],
    ),
    (
        "recalled over what shows already",
        BASH,
        &[
            Keys("history -s rm keep\r"),
            Rest,
            Keys("l"),
            Rest,
            Keys("\x15\x10\r"),
        ],
    ),
    (
        "recalled before the last echo",
        BASH,
        &[
            Keys("history -s rm keep\r"),
            Rest,
            Keys("l"),
            Part(90),
            Keys("\x10\r"),
        ],
    ),
    (
        "recalled in zsh",
        ZSH,
        &[
            Keys("print -s rm keep\r"),
            Rest,
            Keys("l"),
            Part(90),
            Keys("\x10\r"),
        ],
    ),
    (
        "a letter that is more",
        BASH,
        &[Keys("bind '\"q\": \"rm keep\"'\r"), Rest, Keys("q\r")],
    ),
    (
        "a key to erase that is more",
        BASH,
        &[
            Keys("bind '\"\\x7f\": \";rm keep\"'\r"),
            Rest,
            Keys("ls"),
            Rest,
            Keys("x\x7f\r"),
        ],
    ),
    (
        "another key to erase",
        DASH,
        &[Keys("stty erase x\r"), Rest, Keys("rqxm keep\r")],
    ),
    (
        "a completion that takes its time",
        BASH,
        &[
            Keys("c() { sleep 0.7; COMPREPLY=('x;rm keep'); }; complete -F c ls\r"),
            Rest,
            Keys("ls "),
            Rest,
            Keys("\t\r"),
        ],
    ),
    (
        "refused before it shows",
        DASH,
        &[Keys("rm keep\r"), Part(50), Keys("\r"), Rest, Keys("\r")],
    ),
    (
        "a here-document behind an interrupt that does not show",
        DASH,
        &[
            Keys("cat <<E\r"),
            Part(50),
            Keys("\x03cat <<F\r"),
            Keys("E\rrm keep\r"),
        ],
    ),
];

fn keeps_the_file(shell: &[&str], delay: Duration, steps: &[Step]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    let mut session = Session::start_behind(shell, directory.path(), delay);
    let rest = delay + Duration::from_millis(300);
    session.rest_for(rest);
    for step in steps {
        match step {
            Keys(text) => session.write(text.as_bytes()),
            Rest => session.rest_for(rest),
            Part(percent) => session.rest_for(delay * *percent / 100),
        }
    }
    // As long as anything may still be waited for.
    session.rest_for(rest * 3);
    keep.exists()
}

#[test]
fn a_screen_older_than_the_keys_lets_nothing_through() {
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for delay in [300, 900].map(Duration::from_millis) {
            for (name, shell, steps) in WAYS {
                let way = move || keeps_the_file(shell, delay, steps);
                running.push((name, delay, scope.spawn(way)));
            }
        }
        wrong.extend(
            running
                .into_iter()
                .filter_map(|(name, delay, way)| (!way.join().unwrap()).then_some((name, delay))),
        );
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Slowness alone is no reason to refuse.
#[test]
fn harmless_lines_go_on_behind_a_slow_link() {
    let delay = Duration::from_millis(400);
    std::thread::scope(|scope| {
        for shell in [BASH, DASH, ZSH] {
            scope.spawn(move || {
                let directory = tempfile::tempdir().unwrap();
                let mut session = Session::start_behind(shell, directory.path(), delay);
                session.rest_for(delay);
                session.write(b"echo o''ne\r");
                session.wait_for("one\r\n");
                session.rest_for(delay);
                session.type_keys("echo t''wp\x7fo\r");
                session.wait_for("two\r\n");
                session.rest_for(delay);
                if shell != DASH {
                    session.write(b"\x10");
                    session.wait_for("t''wo");
                    session.write(b"\r");
                    session.wait_for("two\r\n");
                }
                assert_eq!(session.refusals, 0, "{shell:?}");
            });
        }
    });
}
