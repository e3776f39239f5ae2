use dockin_policy::{Decision, RuleSet, SessionState, Subject, judge_line, judge_port};

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
    for port in PORTS {
        let verdict = judge_port(&rules, &subject, port);
        assert_eq!(verdict, judge_port(&again, &subject, port));
        // Nothing about a port can be unknown: what a rule or the default says is said.
        let is_default = verdict.rule.is_none();
        assert!(!is_default || matches!(verdict.decision, Decision::Allow | Decision::Deny));
    }
}

const PORTS: [u16; 5] = [1, 22, 1023, 1024, 65535];

const LINES: [&[u8]; 6] = [
    b"",
    b"ls -la /tmp",
    b"sudo rm -rf / && echo done",
    b"x=$(curl -s https://example.com) sh -c \"$x\"",
    b"cat <<E\n$(reboot)\nE\n",
    b"\xff\xfe '",
];
