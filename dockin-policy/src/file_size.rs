//! Rules that count for large files only: which sizes they need, and what they say to them.

use std::collections::BTreeSet;

use crate::{
    Decision, RuleSet, SessionState, Subject,
    rule::{Match, Rule, normalize},
    shell::{Analysis, Resolved, analyze_argv, analyze_line},
};

/// Most files whose sizes are asked for at once; a rule about further ones cannot be answered.
const MAX_FILES: usize = 16;

/// The files whose sizes rules for `subject` need to judge the start of `argv`, as they are called
/// in the directory in which it starts.
///
/// Ask the container, put what it says into [`Subject::file_sizes`], and judge then. A file that
/// does not exist has size 0; one whose size is left out is judged by `on_unknown`.
///
/// ```
/// use dockin_policy::{RuleSet, Subject, sizes_wanted};
///
/// let rules = RuleSet::parse("rules: [{id: big, effect: forbid, commands: [vi], size_over: 10MiB}]")?;
/// let argv = ["vi", "-R", "/data/../log"].map(str::to_owned);
/// assert_eq!(sizes_wanted(&rules, &Subject::default(), &argv), ["/log"]);
/// # Ok::<(), dockin_policy::RuleSetError>(())
/// ```
#[must_use]
pub fn sizes_wanted(rules: &RuleSet, subject: &Subject, argv: &[String]) -> Vec<String> {
    if !rules.has_size_rules() {
        return Vec::new();
    }
    wanted(rules, subject, &analyze_argv(argv))
}

/// The same for a line of a shell that is in the state `session`.
pub(crate) fn sizes_wanted_by_line(
    rules: &RuleSet,
    subject: &Subject,
    line: &[u8],
    session: &SessionState,
) -> Vec<String> {
    if !rules.has_size_rules() {
        return Vec::new();
    }
    let (analysis, _) = analyze_line(line, &mut session.clone());
    wanted(rules, subject, &analysis)
}

/// How much a copy may carry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopyLimit {
    /// Bytes of all files together.
    pub bytes: u64,
    /// The rule that says so.
    pub rule: String,
    /// What it tells the user.
    pub message: String,
}

/// The lowest limit that rules for `subject` set to a copy that `argv` does, whatever sizes the
/// files turn out to have: what passes must be counted, and the copy ended when it is over.
///
/// Rules that forbid, and those that ask: nobody can be asked in the middle of a copy.
#[must_use]
pub fn copy_limit(rules: &RuleSet, subject: &Subject, argv: &[String]) -> Option<CopyLimit> {
    if !rules.has_size_rules() {
        return None;
    }
    let analysis = analyze_argv(argv);
    let limits = analysis.commands.iter().flat_map(|command| {
        let speaking = sized(rules, subject, command);
        speaking.filter(|(rule, _)| rule.effect.decision() >= Decision::Ask)
    });
    let (rule, bytes) = limits.min_by_key(|(_, bytes)| *bytes)?;
    Some(CopyLimit {
        bytes,
        rule: rule.id.clone(),
        message: rule.message.clone(),
    })
}

impl CopyLimit {
    /// What the user is told when the copy is over it.
    #[must_use]
    pub fn refusal(&self) -> String {
        let Self {
            bytes,
            rule,
            message,
        } = self;
        let why = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        format!("refused: the copy is larger than {bytes} bytes, by `{rule}`{why}")
    }
}

fn wanted(rules: &RuleSet, subject: &Subject, analysis: &Analysis) -> Vec<String> {
    let mut files = BTreeSet::new();
    for command in &analysis.commands {
        for (rule, _) in sized(rules, subject, command) {
            let known = rule.sized_files(command).into_iter().flatten();
            files.extend(known.filter(|path| !subject.file_sizes.contains_key(path)));
        }
    }
    files.into_iter().take(MAX_FILES).collect()
}

/// The rules that speak of `command` if a file is larger than so many bytes.
fn sized<'a>(
    rules: &'a RuleSet,
    subject: &'a Subject,
    command: &'a Resolved,
) -> impl Iterator<Item = (&'a Rule, u64)> {
    let candidates = rules.all().flat_map(|rules| rules.candidates(command));
    candidates.filter_map(|rule| {
        let limit = rule.size_over?;
        let arguments = command.argv.get(1..).unwrap_or_default();
        let speaks = rule.scope.covers(subject, rule.effect)
            && rule.names(command)
            && rule.arguments.match_all(&command.name, arguments, false) != Match::No;
        speaks.then_some((rule, limit))
    })
}

impl Rule {
    /// Whether a file that `command` names is larger than `limit` bytes.
    pub(crate) fn oversized(&self, command: &Resolved, limit: u64, subject: &Subject) -> Match {
        let compared = self.sized_files(command).into_iter().map(|path| {
            match path.and_then(|path| subject.file_sizes.get(&path)) {
                Some(size) if *size > limit => Match::Yes,
                Some(_) => Match::No,
                None => Match::Maybe,
            }
        });
        compared.max().unwrap_or(Match::No)
    }

    /// The operands of `command` as paths from where the session began; `None` for one that is not
    /// known. `-` is no file.
    fn sized_files(&self, command: &Resolved) -> Vec<Option<String>> {
        let arguments = command.argv.get(1..).unwrap_or_default();
        let operands = self
            .arguments
            .operands(&command.name, arguments)
            .into_iter();
        operands
            .filter(|operand| operand.known() != Some("-"))
            .map(|operand| {
                let path = operand.known()?;
                match command.directory.as_deref() {
                    // Whose home that is, is not known.
                    _ if path.starts_with('~') => None,
                    _ if path.starts_with('/') => Some(normalize(path)),
                    None => Some(normalize(path)),
                    Some("?") => None,
                    Some(directory) => Some(normalize(&format!("{directory}/{path}"))),
                }
            })
            .collect()
    }
}

/// Why a rule with a size cannot be judged.
pub(crate) const UNKNOWN_SIZE: &str = "the size of a file that it names is not known";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::judge_argv;

    const RULES: &str = "on_unknown: ask
rules:
  - {id: edit, effect: forbid, commands: [vi], size_over: 10MiB, users: ['a*']}
  - {id: copy, effect: forbid, commands: [tar], size_over: 500MiB, message: use the store}
  - {id: told, effect: alert, commands: [tar], size_over: 1MiB}
";

    fn subject(user: &str) -> Subject {
        Subject {
            user: user.to_owned(),
            ..Subject::default()
        }
    }

    fn argv(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_rules_for_the_subject_ask() {
        let rules = RuleSet::parse(RULES).unwrap();
        let line = argv("nice vi -R /data//x y");
        assert_eq!(
            sizes_wanted(&rules, &subject("alice"), &line),
            ["/data/x", "y"]
        );
        assert!(sizes_wanted(&rules, &subject("bob"), &line).is_empty());
        assert!(sizes_wanted(&rules, &subject("alice"), &argv("cat x")).is_empty());
    }

    #[test]
    fn what_is_asked_for_is_what_the_judgement_needs() {
        let rules = RuleSet::parse(RULES).unwrap();
        let line = argv("vi /data//x y");
        let mut subject = subject("alice");
        assert_eq!(judge_argv(&rules, &subject, &line).decision, Decision::Ask);
        for path in sizes_wanted(&rules, &subject, &line) {
            subject.file_sizes.insert(path, 10 << 20);
        }
        assert!(sizes_wanted(&rules, &subject, &line).is_empty());
        assert_eq!(
            judge_argv(&rules, &subject, &line).decision,
            Decision::Allow
        );
        subject.file_sizes.insert("y".to_owned(), (10 << 20) + 1);
        assert_eq!(judge_argv(&rules, &subject, &line).decision, Decision::Deny);
    }

    #[test]
    fn a_copy_has_the_lowest_limit_of_the_rules_that_forbid() {
        let rules = RuleSet::parse(RULES).unwrap();
        let limit = copy_limit(&rules, &subject("bob"), &argv("tar -xmf - -C /data")).unwrap();
        assert_eq!(limit.bytes, 500 << 20);
        assert_eq!(
            limit.refusal(),
            "refused: the copy is larger than 524288000 bytes, by `copy`: use the store"
        );
        assert_eq!(copy_limit(&rules, &subject("bob"), &argv("cat x")), None);
    }

    #[test]
    fn more_files_than_are_asked_for_at_once_stay_unknown() {
        let rules = RuleSet::parse(RULES).unwrap();
        let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
        let line = argv(&format!("vi {}", names.join(" ")));
        let mut subject = subject("alice");
        let wanted = sizes_wanted(&rules, &subject, &line);
        assert_eq!(wanted.len(), MAX_FILES);
        subject
            .file_sizes
            .extend(wanted.into_iter().map(|path| (path, 0)));
        assert_eq!(judge_argv(&rules, &subject, &line).decision, Decision::Ask);
    }
}
