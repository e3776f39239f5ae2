//! Lines that wait for a second person, on every route.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod driver;

use std::{sync::Arc, time::Duration};

use dockin_policy::{Decision, HeldLine, RuleSet, Settlement};
use driver::{Driver, Step};

const WAIT: Duration = Duration::from_secs(60);

fn rules(text: &str) -> RuleSet {
    RuleSet::parse(text).unwrap()
}

const RULES: &str = "
name: approvals
default: allow
on_unknown: ask
contact: the lead
rules:
  - id: ask-restart
    effect: ask
    commands: [systemctl]
    message: somebody else has to agree
  - id: no-delete
    effect: forbid
    commands: [rm]
    message: this deletes
";

fn asked(argv: &[&str], tty: bool) -> Driver {
    let mut driver = Driver::new(rules(RULES), argv, tty, Some((80, 24)));
    driver.interceptor = driver.interceptor.with_approvals(WAIT);
    driver
}

fn terminal() -> Driver {
    let mut driver = asked(&["bash"], true);
    driver.output(b"\x1b[?2004h$ ");
    driver.pass(100);
    driver
}

fn typed(driver: &mut Driver, text: &str) {
    for byte in text.bytes() {
        driver.stdin(&[byte]);
        driver.pass(2);
        if byte >= b' ' {
            driver.output(&[byte]);
        }
        driver.pass(20);
    }
}

fn held(driver: &Driver) -> Vec<HeldLine> {
    let held = driver.steps.iter().filter_map(|step| match step {
        Step::Held(held) => Some(held.clone()),
        _ => None,
    });
    held.collect()
}

fn settlements(driver: &Driver) -> Vec<Settlement> {
    let settled = driver.steps.iter().filter_map(|step| match step {
        Step::Settled(_, settlement) => Some(settlement.clone()),
        _ => None,
    });
    settled.collect()
}

fn approved() -> Settlement {
    Settlement::Approved { by: "bob".into() }
}

fn refused() -> Settlement {
    Settlement::Refused {
        by: "bob".into(),
        why: "not \x1b[2Jtoday".into(),
    }
}

#[test]
fn an_approved_line_goes_on_with_what_was_typed_meanwhile() {
    let mut driver = terminal();
    typed(&mut driver, "systemctl restart x\r");
    let waits = held(&driver);
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].line.line, "systemctl restart x");
    assert_eq!(waits[0].line.verdict.decision, Decision::Ask);
    assert_eq!(waits[0].wait, WAIT);
    assert!(
        driver
            .drawn()
            .contains("waits for a second person, by `ask-restart`")
    );
    assert!(driver.judged().is_empty());
    driver.stdin(b"ls\r");
    driver.pass(1000);
    assert_eq!(driver.forwarded(), b"systemctl restart x");

    assert!(driver.decide(waits[0].id, approved()));
    assert!(driver.drawn().contains("approved by bob"));
    assert!(driver.forwarded().starts_with(b"systemctl restart x\r"));
    driver.output(b"\r\n\x1b[?2004l\r");
    driver.output(b"\x1b[?2004h$ ls");
    driver.pass(1000);
    assert_eq!(driver.forwarded(), b"systemctl restart x\rls\r");
    let judged = driver.judged();
    assert_eq!(judged[0].approver.as_deref(), Some("bob"));
    assert!(judged[0].is_admitted() && judged[1].approver.is_none());
    assert!(!driver.decide(waits[0].id, approved()), "twice");
}

#[test]
fn a_refused_line_is_dropped_and_the_user_reads_why() {
    let mut driver = terminal();
    typed(&mut driver, "systemctl restart x\r");
    let id = held(&driver)[0].id;
    assert!(driver.decide(id, refused()));
    assert_eq!(driver.forwarded(), b"systemctl restart x\x03");
    assert!(driver.drawn().contains("refused by bob: not ?[2Jtoday"));
    assert!(!driver.judged()[0].is_admitted());
}

#[test]
fn a_line_that_nobody_approves_in_time_does_not_run() {
    let mut driver = terminal();
    typed(&mut driver, "systemctl restart x\r");
    driver.pass(59_000);
    assert!(settlements(&driver).is_empty());
    driver.pass(2_000);
    assert_eq!(settlements(&driver), [Settlement::Expired]);
    assert!(driver.forwarded().starts_with(b"systemctl restart x\x03"));
    let id = held(&driver)[0].id;
    assert!(!driver.decide(id, approved()), "too late");
    assert!(!driver.forwarded().contains(&b'\r'));
}

#[test]
fn an_interrupt_takes_a_waiting_line_back() {
    let mut driver = terminal();
    typed(&mut driver, "systemctl restart x\r");
    driver.stdin(b"typed ahead\x03");
    assert_eq!(settlements(&driver), [Settlement::Cancelled]);
    driver.output(b"^C\r\n\x1b[?2004l\r\x1b[?2004h$ ");
    driver.pass(500);
    assert_eq!(driver.forwarded(), b"systemctl restart x\x03");
    typed(&mut driver, "ls\r");
    assert!(driver.forwarded().ends_with(b"ls\r"));
}

#[test]
fn an_approval_under_rules_that_have_changed_is_none() {
    let mut driver = terminal();
    typed(&mut driver, "systemctl restart x\r");
    let id = held(&driver)[0].id;
    driver.interceptor.set_rules(Arc::new(rules(RULES)));
    assert!(driver.decide(id, approved()));
    assert!(matches!(
        &settlements(&driver)[..],
        [Settlement::Refused { .. }]
    ));
    assert!(!driver.forwarded().contains(&b'\r'));
}

#[test]
fn what_is_denied_is_never_asked_about_and_nobody_to_ask_is_a_refusal() {
    let mut driver = terminal();
    typed(&mut driver, "rm x; systemctl restart x\r");
    assert!(held(&driver).is_empty());
    assert!(!driver.forwarded().contains(&b'\r'));

    let mut driver = Driver::new(rules(RULES), &["bash"], true, Some((80, 24)));
    driver.output(b"\x1b[?2004h$ ");
    driver.pass(100);
    typed(&mut driver, "systemctl restart x\r");
    assert!(held(&driver).is_empty());
    assert!(driver.drawn().contains("refused until somebody approves"));
    assert!(!driver.forwarded().contains(&b'\r'));
}

#[test]
fn a_script_waits_at_its_command_and_goes_on_behind_it() {
    for (settlement, sent) in [
        (approved(), &b"echo a\nsystemctl stop x\necho b\n"[..]),
        (refused(), &b"echo a\necho b\n"[..]),
    ] {
        let mut driver = asked(&["sh"], false);
        driver.stdin(b"echo a\nsystemctl stop x\necho b\n");
        driver.half_close();
        assert_eq!(driver.forwarded(), b"echo a\n");
        let id = held(&driver)[0].id;
        assert!(driver.decide(id, settlement));
        assert_eq!(driver.forwarded(), sent);
        assert!(matches!(driver.steps.last(), Some(Step::HalfClose)));
    }
}

#[test]
fn code_for_an_interpreter_waits_whole() {
    let mut driver = asked(&["python3"], false);
    driver.stdin(b"print(1)\n");
    driver.stdin(b"print(2)\n");
    driver.half_close();
    assert!(driver.forwarded().is_empty());
    let id = held(&driver)[0].id;
    assert!(driver.decide(id, approved()));
    assert_eq!(driver.forwarded(), b"print(1)\nprint(2)\n");
    assert!(matches!(driver.steps.last(), Some(Step::HalfClose)));

    let mut driver = asked(&["python3"], false);
    driver.stdin(b"print(1)\n");
    driver.pass(61_000);
    assert!(driver.forwarded().is_empty() && driver.is_ended());
}
