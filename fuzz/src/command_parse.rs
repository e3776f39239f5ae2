use std::sync::LazyLock;

use dockin_policy::{Decision, RuleSet, SessionState, Subject, is_complete, judge_line};

/// A shell session: one line of the input is one command line.
///
/// Every line gets a verdict, the same one each time, and under rules that allow nothing no
/// program is let through.
///
/// # Panics
///
/// A law is broken.
pub fn command_parse(data: &[u8]) {
    let subject = Subject::default();
    let mut states = [SessionState::default(), SessionState::default()];
    for line in data.split(|byte| *byte == 0) {
        let [first, second] = &mut states;
        let verdict = judge_line(&NOTHING, &subject, line, first);
        let again = judge_line(&NOTHING, &subject, line, second);
        assert_eq!(
            format!("{verdict:?}"),
            format!("{again:?}"),
            "the verdict changed"
        );
        let runs_nothing = verdict.programs.as_ref().is_some_and(Vec::is_empty);
        assert!(
            verdict.decision >= Decision::Ask || runs_nothing,
            "{:?} is let through: {verdict:?}",
            line.escape_ascii().to_string()
        );
        let _ = is_complete(line, dockin_policy::Dialect::Bash);
    }
}

static NOTHING: LazyLock<RuleSet> = LazyLock::new(|| {
    RuleSet::parse("name: nothing\ndefault: deny\non_unknown: deny\nrules: []\n")
        .expect("the rules are right")
});
