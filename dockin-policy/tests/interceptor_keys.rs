//! Keys that run a line in another way than typing it and pressing Enter, in a real bash.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod live_session;

use live_session::Session;

/// Keys, in writes with a pause between them. Each would delete the file `keep`.
const WAYS: &[(&str, &[&str])] = &[
    (
        "a macro of Enter",
        &["\x18(", "\r", "\x18)", "rm keep", "\x18e", "\r"],
    ),
    ("a comment taken away", &["#rm keep", "\x1b1", "\x1b#"]),
    (
        "a comment taken away in vi mode",
        &["set -o vi\r", "#rm keep", "\x1b", "1", "#"],
    ),
    (
        "keys of a file",
        &[
            "echo '\"\\C-g\": \"rm keep\\n\"' > .inputrc\r",
            "\x18\x12",
            "\x07",
        ],
    ),
    (
        "a key by its name",
        &["bind 'Control-g: accept-line'\r", "rm keep", "\x07"],
    ),
    (
        "killed and yanked",
        &["rm keep", "\x15", "ls\r", "\x19", "\r"],
    ),
    (
        "operate and get next",
        &["echo rm keep\r", "\x10", "\x1bd", "\x1bd", "\x0f"],
    ),
    (
        "history replaced everywhere",
        &["ls keep\r", "!!:gs/ls/rm/\r"],
    ),
    ("history replaced quickly", &["ls keep\r", "^ls^rm\r"]),
    ("words of a line", &["echo rm keep\r", "!!:1*\r"]),
    ("words of a found line", &["echo rm keep\r", "!?rm?:1*\r"]),
    (
        "a line put into the history",
        &["history -s rm keep\r", "!!\r"],
    ),
    (
        "a line that the history leaves out",
        &[
            "HISTCONTROL=ignorespace\r",
            "echo rm keep\r",
            " ls -l\r",
            "!!:1*\r",
        ],
    ),
    (
        "a line that the history has once",
        &[
            "HISTCONTROL=ignoredups\r",
            "echo rm keep\r",
            "ls\r",
            "ls\r",
            "!-2:1*\r",
        ],
    ),
    (
        "a history that is read",
        &["echo rm keep > h\r", "history -r h\r", "!rm\r"],
    ),
    ("last word", &["echo keep\r", "rm \x1b.", "\r"]),
    ("completed", &["rm k\t", "\r"]),
    ("pasted", &["\x1b[200~rm keep\x1b[201~", "\r"]),
    (
        "pasted with its Enter",
        &["\x1b[200~ls\rrm keep\r\x1b[201~", "\r"],
    ),
    (
        "pasted with marks inside",
        &["\x1b[200~ls \x1b[200~;rm keep\x1b[201~", "\r"],
    ),
    ("half pasted", &["\x1b[200~echo a\x1b[201~;rm keep\r"]),
    ("a new line inside", &["ls\x16\x0arm keep\r"]),
    (
        "expanded on the line",
        &["x=r\r", "${x}m keep\x1b\x05", "\r"],
    ),
    ("transposed", &["mr keep\x01\x06\x14", "\r"]),
    (
        "another editor's command",
        &["set -o vi\r", "mr keep\x1b0xp\r"],
    ),
    ("undone", &["rm keep\x17\x1f", "\r"]),
    ("repeated", &["\x1b1r\x1b1m keep", "\r"]),
    (
        "searched",
        &["echo rm keep\r", "\x12echo rm", "\x01\x1bd", "\r"],
    ),
    ("typed ahead", &["sleep 0.2\rrm keep\r"]),
    (
        "recalled ahead",
        &["history -s rm keep\r", "sleep 0.2\r\x10\r"],
    ),
    (
        "vi mode, the sign by a count",
        &["set -o vi\r", "#rm keep\x1b1#"],
    ),
    (
        "vi mode, put back",
        &["set -o vi\r", "rm keep\x1bdd", "p", "\r"],
    ),
    (
        "vi mode, put twice",
        &["set -o vi\r", "keep\x1b0Drm \x1bp\r"],
    ),
    (
        "vi mode, a letter replaced",
        &["set -o vi\r", "xm keep\x1b0rr\r"],
    ),
    ("vi mode, case", &["set -o vi\r", "RM keep\x1b02~\r"]),
    (
        "vi mode, history",
        &["echo rm keep\r", "set -o vi\r", "\x1bkk0dw\r"],
    ),
    (
        "vi mode, searched",
        &["echo rm keep\r", "set -o vi\r", "\x1b/echo rm\r", "0dw\r"],
    ),
    ("vi mode, undone", &["set -o vi\r", "rm keep\x1bddu\r"]),
    ("case by word", &["RM keep\x01\x1bl\r"]),
    ("put from the ring", &["rm keep\x15ls\x15\x19\x1by\r"]),
    ("deleted sideways", &["rm keep #\x01\x1b[3~r\r"]),
    ("a count of letters", &["\x1b2rm keep\x01\x04\r"]),
    ("squared", &["rm  keep\x1b\\ \r"]),
    ("a comment by a count", &["#rm keep\x1b-\x1b#"]),
    ("a line of the past", &["echo rm keep\r", "\x10\x01\x1bd\r"]),
    (
        "a line of the past by its first word",
        &["echo rm keep\r", "\x1b<", "\x01\x1bd\r"],
    ),
    ("an alias of before", &["alias x='rm'\r", "x keep\r"]),
    (
        "a function of before",
        &["f() { rm \"$1\"; }\r", "f keep\r"],
    ),
    ("a variable of before", &["r=r m=m\r", "$r$m keep\r"]),
    (
        "a hook of the prompt",
        &["PROMPT_COMMAND+=('rm keep')\r", "\r"],
    ),
    (
        "a hook by read",
        &["read PROMPT_COMMAND <<< 'rm keep'\r", "\r"],
    ),
    ("input from a text", &["exec <<< 'rm keep'\r"]),
    ("a continued word", &["r\\\r", "m keep\r"]),
    ("a quoted new line", &["x='\r", "'; rm keep\r"]),
    (
        "another history sign",
        &["histchars=@^#\r", "echo rm keep\r", "@@:1*\r"],
    ),
    (
        "words in another count",
        &["echo a\\ b ls rm keep\r", "!!:3*\r"],
    ),
    ("part of this line", &["m keep\x01r\r"]),
    ("the line so far", &["echo rm keep; !#:1*\r"]),
    ("a tab before the name", &["\x16\trm keep\r"]),
    ("suspended and continued", &["cat\r", "\x1a", "rm keep\r"]),
    ("behind an interrupt", &["ls \x03rm keep\r"]),
    ("reset", &["printf '\\033c'\r", "rm keep\r"]),
    (
        "in the alternate screen",
        &["printf '\\033[?1049h'\r", "rm keep\r"],
    ),
    (
        "in an alternate screen of a pager",
        &["less keep\r", "!rm keep\r", "\r"],
    ),
    ("concealed", &["printf '\\033[8m'\r", "rm keep\r"]),
    ("drawn over", &["PS1='$ \\[\\e[1000D\\]'\r", "rm keep\r"]),
];

/// The same for shells that leave the line to the kernel, or edit it in their own way.
const WAYS_OF_SMALL_SHELLS: &[(&str, &[&str])] = &[
    ("erased and typed", &["rx\x7fm keep\r"]),
    ("killed and typed", &["ls\x15rm keep\r"]),
    ("a word erased", &["rm ls\x17keep\r"]),
    ("typed ahead", &["sleep 0.2\rrm keep\r"]),
    ("an end of file in the line", &["rm keep\x04", "\r"]),
    ("a new line in place of Enter", &["rm keep\n"]),
    ("a literal key", &["rm\x16\x20keep\r"]),
    (
        "pasted, as the screen was told",
        &[
            "printf '\\033[?2004h'\r",
            "\x1b[200~\rrm keep\r\x1b[201~",
            "\r",
        ],
    ),
    ("another end of lines", &["stty eol x\r", "rm keepx", "\r"]),
    (
        "another key to erase",
        &["stty erase x\r", "ax\r", "rqxm keep\r"],
    ),
    ("no echo", &["stty -echo\r", "rm keep\r"]),
    ("a shell in the shell", &["sh\r", "rm keep\r"]),
    ("behind a continued line", &["echo a; \\\r", "rm keep\r"]),
    ("in a here-document", &["sh <<E\r", "rm keep\r", "E\r"]),
    ("a shell that reads", &["cat | sh\r", "rm keep\r", "\x04"]),
    ("a prompt that hides", &["PS1='rm '\r", "rm keep\r"]),
];

/// In a shell that is in vi mode since before the session.
const WAYS_OF_VI: &[(&str, &[&str])] = &[
    ("an editor", &["echo rm keep\r", "\x1bk0dwv"]),
    ("an editor on what was typed", &["rm keep\x1b", "v"]),
    ("an editor behind a word", &["rm keep", "\x1bb", "v"]),
    (
        "an editor, moved to",
        &["rm ll keep", "\x1b0", "l", "l", "v"],
    ),
    (
        "an editor, the letter in a sequence",
        &["rm keep\x1b", "[", "v"],
    ),
    (
        "an editor, the letter in another",
        &["rm keep\x1b", "O", "v"],
    ),
    ("a comment taken away", &["#rm keep\x1b", "1#"]),
    ("a comment of the past", &["#rm keep\r", "\x1bk", "1#"]),
    (
        "no comment, where a sign begins none",
        &["shopt -u interactive_comments\r", "x; rm keep", "\x1b", "#"],
    ),
    (
        "a comment behind a quote",
        &["x='\r", "'; rm keep", "\x1b", "#"],
    ),
    ("put", &["#rm keep\x1b0x$", "\r"]),
    ("changed", &["ls keep", "\x1bccrm keep\r"]),
    ("replaced", &["xm keep\x1b0rr\r"]),
    ("history", &["echo rm keep\r", "\x1bk0dw\r"]),
    ("moved, then text", &["m keep\x1b0ir\r"]),
    ("again", &["rm keep\x1bdd", "P\r"]),
];

/// Types each of `ways` into a shell of its own; the names of those that deleted the file.
fn deleting(argv: &[&str], inputrc: &str, ways: &[(&'static str, &[&str])]) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    // A few shells at a time: what they wait for is mostly time.
    for ways in ways.chunks(10) {
        std::thread::scope(|scope| {
            let running: Vec<_> = ways
                .iter()
                .map(|(name, keys)| (*name, scope.spawn(|| keeps_the_file(argv, inputrc, keys))))
                .collect();
            wrong.extend(
                running
                    .into_iter()
                    .filter_map(|(name, way)| (!way.join().unwrap()).then_some(name)),
            );
        });
    }
    wrong
}

fn keeps_the_file(argv: &[&str], inputrc: &str, keys: &[&str]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().join("keep");
    std::fs::write(&keep, "x").unwrap();
    if !inputrc.is_empty() {
        std::fs::write(directory.path().join(".inputrc"), inputrc).unwrap();
    }
    let mut session = Session::start(argv, directory.path());
    session.rest();
    for text in keys {
        session.write(text.as_bytes());
        session.rest();
    }
    session.rest();
    session.rest();
    keep.exists()
}

#[test]
fn no_key_of_bash_runs_what_enter_would_not() {
    let wrong = deleting(&["bash", "--norc", "--noprofile"], "", WAYS);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_key_of_small_shells_runs_what_enter_would_not() {
    for argv in [&["dash"][..], &["busybox", "ash"]] {
        let wrong = deleting(argv, "", WAYS_OF_SMALL_SHELLS);
        assert!(wrong.is_empty(), "{argv:?}: {wrong:#?}");
    }
}

#[test]
fn vi_mode_that_nobody_saw_switched_on_runs_nothing_unjudged() {
    let bash = ["env", "EDITOR=true", "bash", "--norc", "--noprofile"];
    let inputrc = "set editing-mode vi\nset keyseq-timeout 1\n";
    let wrong = deleting(&bash, inputrc, WAYS_OF_VI);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Without the interceptor's doubt the file would be gone: it is, where a rule allows it.
    assert!(!keeps_the_file(&bash, inputrc, &["mv keep kept\x1b0\r"]));
}

/// The file is deleted when nothing forbids it, so that the other tests prove something.
#[test]
fn what_is_not_forbidden_deletes_the_file() {
    assert!(!keeps_the_file(&["dash"], "", &["mv keep kept\r"]));
    let bash = ["bash", "--norc", "--noprofile"];
    for keys in [
        &["ls keep\r", "mv \x1b.", " ", "n", "v", "\r"][..],
        &["mv keep new", "\x1bb", "x", "v", "\r"],
        &["echo mv keep new", "\x01\x1bd", "#\x7f", "\r"],
    ] {
        assert!(!keeps_the_file(&bash, "", keys), "{keys:?}");
    }
}
