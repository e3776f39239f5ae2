//! Lines that wait until the container has said how large a file is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod driver;

use std::time::Duration;

use dockin_policy::{Reason, RuleSet};
use driver::Driver;

const RULES: &str = "on_unknown: deny\ncontact: ops\nrules:\n  - {id: big-edit, effect: forbid, \
                     message: copy it first, commands: [vi, vim], size_over: 10MiB}\n";
const WAIT: Duration = Duration::from_secs(5);
const PROMPT: &str = "[app@pod /data]$ ";

fn driver(argv: &[&str], tty: bool) -> Driver {
    let mut driver = Driver::new(RuleSet::parse(RULES).unwrap(), argv, tty, None);
    driver.interceptor = driver.interceptor.with_file_sizes(WAIT);
    driver
}

/// A shell at its prompt, and a line typed into it as far as Enter.
fn typed(driver: &mut Driver, line: &str) {
    driver.pass(50);
    for key in line.bytes() {
        driver.stdin(&[key]);
        driver.output(&[key]);
        driver.pass(5);
    }
    driver.stdin(b"\r");
    driver.pass(400);
}

fn terminal() -> Driver {
    let mut driver = driver(&["bash"], true);
    driver.output(PROMPT.as_bytes());
    driver
}

#[test]
fn a_line_goes_on_when_the_file_turns_out_to_be_small() {
    let mut driver = terminal();
    typed(&mut driver, "vi notes.txt");
    assert_eq!(driver.wanted(), ["notes.txt"]);
    assert!(driver.judged().is_empty() && !driver.forwarded().ends_with(b"\r"));
    driver.answer_sizes(&[("notes.txt", 10 << 20)]);
    assert!(driver.forwarded().ends_with(b"vi notes.txt\r"));
    assert_eq!(driver.judged().len(), 1);
}

#[test]
fn a_line_is_refused_when_the_file_turns_out_to_be_large() {
    let mut driver = terminal();
    typed(&mut driver, "vi notes.txt");
    driver.answer_sizes(&[("notes.txt", (10 << 20) + 1)]);
    assert!(
        driver.drawn().contains("copy it first"),
        "{}",
        driver.drawn()
    );
    assert!(driver.forwarded().ends_with(b"\x03"));
    let refused = driver.refusals();
    assert_eq!(refused[0].verdict.rule.as_deref(), Some("big-edit"));
}

#[test]
fn a_size_that_nobody_tells_in_time_is_not_known_and_refused() {
    let mut driver = terminal();
    typed(&mut driver, "vi notes.txt");
    driver.pass(5000);
    assert!(
        driver
            .drawn()
            .contains("the size of a file that it names is not known")
    );
    assert!(matches!(
        driver.refusals()[0].verdict.reason,
        Reason::Unknown { .. }
    ));
    // Too late.
    driver.answer_sizes(&[("notes.txt", 1)]);
    assert_eq!(driver.judged().len(), 1);
}

#[test]
fn sizes_count_for_one_line_only() {
    let mut driver = terminal();
    typed(&mut driver, "vi notes.txt");
    driver.answer_sizes(&[("notes.txt", 1)]);
    driver.output(format!("\r\n{PROMPT}").as_bytes());
    let before = driver.steps.len();
    typed(&mut driver, "vi notes.txt");
    driver.steps.drain(..before);
    assert_eq!(driver.wanted(), ["notes.txt"]);
}

#[test]
fn a_path_is_asked_for_from_where_the_shell_stands() {
    let mut driver = driver(&["sh"], false);
    driver.stdin(b"cd /var/log; vi ../notes $HOME/x\nvi y\n");
    assert_eq!(driver.wanted(), ["/var/notes"]);
    driver.answer_sizes(&[("/var/notes", 1)]);
    // What `$HOME/x` is cannot be known.
    assert_eq!(driver.refusals().len(), 1);
    // The refused line left no directory behind.
    assert_eq!(driver.wanted(), ["y"]);
    driver.answer_sizes(&[("y", 1)]);
    assert_eq!(driver.forwarded(), b"vi y\n");
}

#[test]
fn a_file_in_one_of_two_folders_has_no_known_size() {
    let mut driver = driver(&["sh"], false);
    driver.stdin(b"cd /var/log; cd /nope; vi y\n");
    assert_eq!(driver.wanted(), [""; 0]);
    assert_eq!(driver.refusals().len(), 1);
    driver.stdin(b"cd /var/log && cd /nope && vi y\n");
    assert_eq!(driver.wanted(), ["/nope/y"]);
}

#[test]
fn a_script_and_its_end_wait_for_the_answer() {
    let mut driver = driver(&["sh"], false);
    driver.stdin(b"vi a -- -b\nls");
    driver.half_close();
    assert_eq!(driver.forwarded(), b"");
    assert_eq!(driver.wanted(), ["-b", "a"]);
    driver.answer_sizes(&[("a", 1), ("-b", 2)]);
    assert_eq!(driver.forwarded(), b"vi a -- -b\nls");
    assert!(matches!(driver.steps.last(), Some(driver::Step::HalfClose)));
}

#[test]
fn lines_that_no_size_rule_speaks_of_do_not_wait() {
    let mut driver = terminal();
    typed(&mut driver, "cat notes.txt");
    assert!(driver.wanted().is_empty() && driver.forwarded().ends_with(b"\r"));
}
