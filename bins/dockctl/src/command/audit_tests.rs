#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{fs::OpenOptions, io::Write as _};

use super::{Filter, Lines, moment, query};

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
fn a_gateway_is_asked_for_all_that_was_given() {
    let asked = "user=ann&cluster=c&namespace=n&pod=web-1&container=k&program=rm&verdict=deny&\
                 rule=r&code=CMD-002&session=s1&since=2026-11-21T05:21:06Z&\
                 until=2026-11-21T06:21:06Z";
    let filter = Filter::parse(asked).unwrap();
    let sent = query(&filter, 20);
    let sent = sent.as_str().strip_prefix("?limit=20&").unwrap();
    assert_eq!(Filter::parse(sent).unwrap(), filter);
}

#[test]
fn a_time_may_be_told_in_two_ways() {
    assert_eq!(
        moment("2026-01-31T12:00:00Z").unwrap().to_string(),
        "2026-01-31T12:00:00Z"
    );
    assert!(moment("2h").unwrap() < jiff::Timestamp::now());
    assert!(moment("yesterday").is_err());
}
