#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{fs::OpenOptions, io::Write as _};

use super::{Filter, Lines, since};

const REFUSED: &str = r#"{"seq":7,"time":"2026-11-21T05:21:06Z","code":"CMD-002","session":"s1","principal":{"user":"ann"},"target":{"namespace":"default","pod":"web-1"},"event":"command.refused","line":"rm","decision":"deny","rule":"no-rm","reason":"x"}"#;

#[test]
fn a_line_that_is_being_written_is_left_for_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (first, rest) = REFUSED.split_at(50);
    std::fs::write(&path, format!("{REFUSED}\nno event\n{first}")).unwrap();
    let mut lines = Lines::open(&path).unwrap();
    assert_eq!(lines.next().unwrap().unwrap().event.seq, Some(7));
    assert!(lines.next().unwrap().is_none());
    assert!(lines.next().unwrap().is_none());

    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(file, "{rest}").unwrap();
    assert_eq!(lines.next().unwrap().unwrap().line, REFUSED);
    assert!(lines.next().unwrap().is_none());
}

#[test]
fn all_that_is_asked_for_must_fit() {
    let event = super::Record::parse(REFUSED).unwrap().event;
    let some = |text: &str| Some(text.to_owned());
    let all = Filter {
        user: some("ann"),
        pod: some("web-1"),
        namespace: some("default"),
        verdict: some("deny"),
        code: some("CMD-002"),
        session: some("s1"),
        since: Some("2026-11-21T05:21:06Z".parse().unwrap()),
    };
    assert!(all.fits(&event));
    assert!(
        !Filter {
            user: some("bob"),
            ..Filter::default()
        }
        .fits(&event)
    );
    assert!(
        !Filter {
            verdict: some("allow"),
            ..Filter::default()
        }
        .fits(&event)
    );
    let later = Some("2026-11-21T05:21:07Z".parse().unwrap());
    assert!(
        !Filter {
            since: later,
            ..Filter::default()
        }
        .fits(&event)
    );
    let query = all.query(20);
    assert!(query.as_str().starts_with("?limit=20&user=ann&pod=web-1&"));
    assert!(query.as_str().ends_with("&since=2026-11-21T05%3A21%3A06Z"));
}

#[test]
fn a_time_may_be_told_in_two_ways() {
    assert_eq!(
        since("2026-01-31T12:00:00Z").unwrap().to_string(),
        "2026-01-31T12:00:00Z"
    );
    assert!(since("2h").unwrap() < jiff::Timestamp::now());
    assert!(since("yesterday").is_err());
}
