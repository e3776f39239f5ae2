//! Attached to a main process that nobody knows: it is watched as what may do most, a shell.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod driver;

use dockin_policy::{Mode, RuleSet};
use driver::{Driver, Step};

fn rules(on_unknown: &str) -> RuleSet {
    let text = format!(
        "on_unknown: {on_unknown}\nrules:\n  - {{ id: no-delete, effect: forbid, commands: [rm, rmdir] }}\n"
    );
    RuleSet::parse(&text).unwrap()
}

/// What the gateway makes of an attach.
fn attached(on_unknown: &str, tty: bool) -> Driver {
    let mut driver = Driver::new(rules(on_unknown), &["sh"], tty, Some((80, 24)));
    let mode = if tty { Mode::Terminal } else { Mode::Script };
    assert_eq!(driver.interceptor.mode(), mode);
    driver.output(b"the main process said this before\r\n");
    driver
}

/// Types `text` key by key at a program that draws `prompt`, with echo.
fn typed(driver: &mut Driver, prompt: &str, text: &str) {
    driver.output(prompt.as_bytes());
    driver.pass(100);
    driver.type_echoed(text);
    driver.stdin(b"\r");
    driver.settle();
}

fn is_submitted(driver: &Driver) -> bool {
    driver.forwarded().ends_with(b"\r")
}

#[test]
fn a_shell_is_policed_without_a_terminal() {
    let mut driver = attached("deny", false);
    driver.stdin(b"ls /srv\nrm -rf /srv\necho on\n");
    driver.half_close();
    assert_eq!(driver.forwarded(), b"ls /srv\necho on\n");
    assert!(driver.drawn().contains("no-delete"), "{}", driver.drawn());
    assert_eq!(driver.judged().len(), 3);
    assert!(matches!(driver.steps.last(), Some(Step::HalfClose)));
}

#[test]
fn a_shell_is_policed_at_a_terminal() {
    let mut driver = attached("deny", true);
    typed(&mut driver, "$ ", "ls /srv");
    assert!(is_submitted(&driver));
    driver.output(b"\r\n");
    typed(&mut driver, "$ ", "rm -rf /srv");
    assert!(!is_submitted(&driver));
    assert!(driver.drawn().contains("no-delete"), "{}", driver.drawn());
    assert_eq!(driver.refusals().len(), 1);
}

/// What a shell could read as well goes on as it is, byte for byte.
#[test]
fn lines_for_a_program_that_is_no_shell_go_on_unless_a_rule_names_them() {
    let mut driver = attached("deny", false);
    let text = b"hello world\n42\nname=value\n\nsay hello, please!\n";
    driver.stdin(text);
    assert_eq!(driver.forwarded(), text);
    assert!(driver.refusals().is_empty());
    // Nobody knows that it does not reach a shell.
    driver.stdin(b"rm everything\n");
    driver.stdin(b"bye\n");
    assert!(driver.forwarded().ends_with(b"please!\nbye\n"));
    assert_eq!(driver.refusals().len(), 1);
}

/// The code of an interpreter is mostly no command line, so it is decided as what cannot be known.
#[test]
fn code_for_an_interpreter_is_decided_by_on_unknown() {
    const CODE: &str = "import shutil; shutil.rmtree(\"/srv\")";
    for tty in [false, true] {
        let submitted = |on_unknown| {
            let mut driver = attached(on_unknown, tty);
            if tty {
                typed(&mut driver, ">>> ", CODE);
                return (is_submitted(&driver), driver.refusals().len());
            }
            driver.stdin(format!("{CODE}\n").as_bytes());
            driver.half_close();
            let is_whole = driver.forwarded() == format!("{CODE}\n").as_bytes();
            (is_whole, driver.refusals().len())
        };
        assert_eq!(submitted("deny"), (false, 1), "{tty}");
        assert_eq!(submitted("ask"), (false, 1), "{tty}");
        assert_eq!(submitted("allow"), (true, 0), "{tty}");
    }
}

#[test]
fn who_only_looks_is_not_judged() {
    for tty in [false, true] {
        let mut driver = attached("deny", tty);
        driver.output(b"$ rm -rf /srv\r\n");
        driver.pass(10_000);
        assert!(driver.steps.is_empty(), "{tty}: {:?}", driver.steps);
        assert!(!driver.is_holding(), "{tty}");
    }
    let mut driver = attached("deny", false);
    driver.half_close();
    assert!(matches!(driver.steps.as_slice(), [Step::HalfClose]));
}
