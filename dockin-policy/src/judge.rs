//! THE judgement: rules, who asks, and what would run.

use std::collections::BTreeMap;

use crate::{
    Decision, Reason, RuleSet, Verdict,
    file_size::UNKNOWN_SIZE,
    rule::{Match, Rule},
    shell::{
        Analysis, Certainty, ParseError, Resolved, SessionState, StdinProgram, Value, analyze_argv,
        analyze_line, stdin_program,
    },
};

/// Who asks, and for what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// User name.
    pub user: String,
    /// His groups.
    pub groups: Vec<String>,
    /// Cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// When, for rules that count at certain hours. While it is not known those that permit
    /// something never count, the others always.
    pub time: Option<WeekTime>,
    /// Sizes of files in bytes, as far as the container was asked; by absolute path, or by the path
    /// from where the session began. [`sizes_wanted`](crate::sizes_wanted) says which are needed.
    pub file_sizes: BTreeMap<String, u64>,
}

/// A minute of the week, in UTC: what a rule's `hours` are in.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WeekTime {
    /// Days since Monday, `0..=6`.
    pub day: u8,
    /// Minutes since midnight, `0..1440`.
    pub minute: u16,
}

impl WeekTime {
    /// The minute in which a Unix time lies, in seconds.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        let minutes = seconds / 60;
        // The first of January 1970 was a Thursday.
        let day = (minutes / (24 * 60) + 3) % 7;
        Self {
            day: day as u8,
            minute: (minutes % (24 * 60)) as u16,
        }
    }
}

/// Bytes of a line that are looked at.
pub(crate) const MAX_LINE: usize = 64 * 1024;
/// Characters of a command that a verdict shows.
const MAX_SHOWN: usize = 120;

/// Judges a line for a shell. `session` is what earlier lines left, and becomes what this one
/// leaves.
///
/// ```
/// use dockin_policy::{Decision, RuleSet, SessionState, Subject, judge_line};
///
/// let rules = RuleSet::parse("rules: [{id: no-rm, effect: forbid, commands: [rm]}]")?;
/// let mut session = SessionState::default();
/// let verdict = judge_line(&rules, &Subject::default(), b"x=rm; \"$x\" -rf /data", &mut session);
/// assert_eq!(verdict.decision, Decision::Deny);
/// # Ok::<(), dockin_policy::RuleSetError>(())
/// ```
#[must_use]
pub fn judge_line(
    rules: &RuleSet,
    subject: &Subject,
    line: &[u8],
    session: &mut SessionState,
) -> Verdict {
    let shown = shorten(String::from_utf8_lossy(line).trim());
    if line.len() > MAX_LINE {
        return unknown(rules, shown, "a line longer than is looked at", None);
    }
    let (analysis, error) = analyze_line(line, session);
    let mut verdict = judge_analysis(rules, subject, &analysis, &shown);
    let failed = match error {
        None => return verdict,
        Some(ParseError::TooDeep { offset }) => {
            let what = "a line that nests deeper than is looked at";
            unknown(rules, shown, what, Some(offset..line.len()))
        }
        Some(ParseError::Malformed { offset }) => unparsed(rules, shown, offset),
        Some(ParseError::Incomplete) => unparsed(rules, shown, line.len()),
    };
    if !matches!(error, Some(ParseError::Malformed { .. })) {
        verdict.programs = None;
    }
    // What could be read of it counts all the same.
    if failed.decision >= verdict.decision && verdict.decision < Decision::Deny
        || verdict.rule.is_none()
    {
        Verdict {
            programs: verdict.programs,
            ..failed
        }
    } else {
        verdict
    }
}

/// Judges an argument list that is started without a shell, and what it runs in turn.
#[must_use]
pub fn judge_argv(rules: &RuleSet, subject: &Subject, argv: &[String]) -> Verdict {
    let shown = shorten(&argv.join(" "));
    if argv.iter().map(String::len).sum::<usize>() > MAX_LINE {
        return unknown(rules, shown, "arguments longer than are looked at", None);
    }
    judge_analysis(rules, subject, &analyze_argv(argv), &shown)
}

/// Judges a connection to `port` of the subject's pod by port-forward, which no command and no file
/// has a part in.
///
/// ```
/// use dockin_policy::{Decision, RuleSet, Subject, judge_port};
///
/// let rules = RuleSet::parse("rules: [{id: no-ssh, effect: forbid, ports: [22]}]")?;
/// assert_eq!(judge_port(&rules, &Subject::default(), 22).decision, Decision::Deny);
/// assert_eq!(judge_port(&rules, &Subject::default(), 80).decision, Decision::Allow);
/// # Ok::<(), dockin_policy::RuleSetError>(())
/// ```
#[must_use]
pub fn judge_port(rules: &RuleSet, subject: &Subject, port: u16) -> Verdict {
    let mut decision = Decision::Allow;
    let mut speaks: Option<&Rule> = None;
    for set in rules.all() {
        let severest = set
            .about_port(port)
            .filter(|rule| rule.scope.covers(subject, rule.effect))
            // Of several the first one, as for commands.
            .reduce(|severest, rule| {
                if rule.effect.decision() > severest.effect.decision() {
                    rule
                } else {
                    severest
                }
            });
        let found = severest.map_or(set.default_for_ports, |rule| rule.effect.decision());
        if found > decision || found == decision && speaks.is_none() {
            (decision, speaks) = (found, severest);
        }
    }
    Verdict {
        decision,
        reason: speaks.map_or(Reason::Default, |rule| Reason::Rule {
            message: rule.message.clone(),
        }),
        rule: speaks.map(|rule| rule.id.clone()),
        token: Some(port.to_string()),
        programs: Some(Vec::new()),
        span: None,
        subject: format!("port {port}"),
        contact: rules.contact().to_owned(),
    }
}

/// The verdict on something whose text nobody knows.
#[must_use]
pub fn judge_unknown(rules: &RuleSet, _subject: &Subject) -> Verdict {
    unknown(rules, String::new(), "the line cannot be known", None)
}

/// What reads commands from standard input when `argv` is run, seen through wrappers such as
/// `env`; `None` when standard input is data.
#[must_use]
pub fn reads_commands_from_stdin(argv: &[String]) -> Option<StdinProgram> {
    // The innermost program is what has standard input in the end.
    let analysis = analyze_argv(argv);
    analysis
        .commands
        .iter()
        .rfind(|command| command.certainty == Certainty::Live)
        .and_then(|command| stdin_program(&command.argv))
}

/// The most severe of what is said of each command and each unknown.
fn judge_analysis(rules: &RuleSet, subject: &Subject, analysis: &Analysis, shown: &str) -> Verdict {
    let mut worst = Verdict {
        decision: Decision::Allow,
        reason: Reason::Default,
        rule: None,
        token: None,
        programs: None,
        span: None,
        subject: shown.to_owned(),
        contact: rules.contact().to_owned(),
    };
    let mut named = false;
    let mut found: Option<(&Resolved, Finding<'_>)> = None;
    for command in &analysis.commands {
        let finding = judge_by_all(rules, subject, command);
        let decision = found.as_ref().map_or(worst.decision, |(_, it)| it.decision);
        if finding.decision > decision
            || finding.decision == decision && finding.rule.is_some() && !named
        {
            named = finding.rule.is_some();
            found = Some((command, finding));
        }
    }
    if let Some((command, finding)) = found {
        worst = finding.into_verdict(rules, command);
    }
    for (shape, span) in &analysis.shapes {
        for rule in rules
            .all()
            .flat_map(|rules| rules.shaped(*shape))
            .filter(|rule| rule.scope.covers(subject, rule.effect))
        {
            let decision = rule.effect.decision();
            if decision > worst.decision {
                worst = Verdict {
                    decision,
                    reason: Reason::Rule {
                        message: rule.message.clone(),
                    },
                    rule: Some(rule.id.clone()),
                    token: None,
                    programs: None,
                    span: Some(span.clone()),
                    subject: shown.to_owned(),
                    contact: rules.contact().to_owned(),
                };
            }
        }
    }
    if let Some(first) = analysis.unknowns.first()
        && rules.on_unknown > worst.decision
    {
        worst = unknown(
            rules,
            shown.to_owned(),
            first.what,
            Some(first.span.clone()),
        );
    }
    if analysis.unknowns.iter().all(|unknown| unknown.is_soft) {
        let programs = analysis
            .commands
            .iter()
            .filter(|command| command.is_program && command.certainty <= Certainty::Maybe);
        let text = |value: &Value| {
            let placeholder = value.known().and_then(|text| analysis.placeholder(text));
            placeholder.map_or_else(|| value.shown(), |(front, back)| format!("{front}?{back}"))
        };
        let texts = |command: &Resolved| command.argv.iter().map(text).collect();
        worst.programs = Some(programs.map(texts).collect());
    } else {
        worst.programs = None;
    }
    worst
}

/// What is said of one program.
struct Finding<'r> {
    decision: Decision,
    rule: Option<&'r Rule>,
    /// The rule whose word or path is shown.
    token: Option<&'r Rule>,
    reason: Why,
}

/// The reason of a [`Finding`].
#[derive(Clone, Copy)]
enum Why {
    Default,
    Rule,
    Unknown(&'static str),
}

impl Finding<'_> {
    fn into_verdict(self, rules: &RuleSet, command: &Resolved) -> Verdict {
        let shown = if command.argv.is_empty() {
            let writes = command.writes.iter();
            let writes: Vec<String> = writes.map(|path| format!("> {}", path.shown())).collect();
            writes.join(" ")
        } else {
            let words: Vec<String> = command.argv.iter().map(Value::shown).collect();
            words.join(" ")
        };
        Verdict {
            decision: self.decision,
            reason: match (self.reason, self.rule) {
                (Why::Rule, Some(rule)) => Reason::Rule {
                    message: rule.message.clone(),
                },
                (Why::Unknown(what), _) => Reason::Unknown { what },
                _ => Reason::Default,
            },
            rule: self.rule.map(|rule| rule.id.clone()),
            token: self.token.and_then(|rule| rule.token(command)),
            programs: None,
            span: Some(command.span.clone()),
            subject: shorten(&shown),
            contact: rules.contact().to_owned(),
        }
    }
}

/// Judges one program by every set that must allow it.
fn judge_by_all<'r>(rules: &'r RuleSet, subject: &Subject, command: &Resolved) -> Finding<'r> {
    let mut finding = judge(rules, subject, command);
    for rules in rules.all().skip(1) {
        let other = judge(rules, subject, command);
        let named = other.rule.is_some() && finding.rule.is_none();
        if other.decision > finding.decision || (other.decision == finding.decision && named) {
            finding = other;
        }
    }
    finding
}

/// Judges one program: every rule for the subject that matches is heard, the most severe wins,
/// and without any the default decides.
fn judge<'r>(rules: &'r RuleSet, subject: &Subject, command: &Resolved) -> Finding<'r> {
    let mut finding = Finding {
        // A redirection alone is nothing that a white list could name.
        decision: if command.argv.is_empty() {
            Decision::Allow
        } else {
            rules.default
        },
        rule: None,
        token: None,
        reason: Why::Default,
    };
    let mut maybe = None;
    let mut spoken = false;
    for rule in rules
        .candidates(command)
        .into_iter()
        .filter(|rule| rule.scope.covers(subject, rule.effect))
    {
        match rule.matches(command, subject) {
            Match::No => {}
            Match::Maybe => maybe = maybe.or(Some(rule)),
            Match::Yes => {
                let decision = rule.effect.decision();
                if !spoken || decision > finding.decision {
                    finding = Finding {
                        decision,
                        rule: Some(rule),
                        token: Some(rule),
                        reason: Why::Rule,
                    };
                }
                spoken = true;
            }
        }
    }
    if let Some(rule) = maybe {
        // Whether the rule holds depends on an argument that is not known.
        let severest = rules.on_unknown.min(rule.effect.decision());
        if severest > finding.decision {
            finding.decision = severest;
            finding.rule = Some(rule);
            finding.reason = Why::Unknown(if rule.size_over.is_some() {
                UNKNOWN_SIZE
            } else {
                "whether the rule holds depends on an argument that is not known"
            });
        }
    }
    match command.certainty {
        // As where an argument is not known.
        Certainty::Inherited if finding.decision == Decision::Deny => {
            finding.decision = rules.on_unknown;
        }
        // Who defines a function has not run it; who calls it is judged then.
        Certainty::Latent if finding.decision == Decision::Deny => {
            finding.decision = rules.on_unknown.max(Decision::Ask);
        }
        Certainty::Latent | Certainty::Dead if finding.rule.is_none() => {
            finding.decision = Decision::Allow;
        }
        _ => {}
    }
    finding
}

fn unknown(
    rules: &RuleSet,
    subject: String,
    what: &'static str,
    span: Option<std::ops::Range<usize>>,
) -> Verdict {
    Verdict {
        decision: rules.on_unknown,
        reason: Reason::Unknown { what },
        rule: None,
        token: None,
        programs: None,
        span,
        subject,
        contact: rules.contact().to_owned(),
    }
}

fn unparsed(rules: &RuleSet, subject: String, offset: usize) -> Verdict {
    Verdict {
        decision: rules.on_unknown,
        reason: Reason::Unparsed { offset },
        rule: None,
        token: None,
        programs: None,
        span: None,
        subject,
        contact: rules.contact().to_owned(),
    }
}

/// One printable line of bounded length.
fn shorten(text: &str) -> String {
    let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if text.len() <= MAX_SHOWN && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut shown: String = text
        .chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(MAX_SHOWN + 1)
        .collect();
    if shown.chars().count() > MAX_SHOWN {
        shown = shown.chars().take(MAX_SHOWN - 1).chain(['…']).collect();
    }
    shown
}
