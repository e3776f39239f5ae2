//! Many lines at once: expected verdicts beside the rules, and JSON lines for other tools.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    num::NonZeroU16,
    path::Path,
    process::ExitCode,
};

use dockin_policy::{RuleSet, SessionState, Subject, Verdict, judge_argv, judge_line, judge_port};
use serde::{Deserialize, Serialize};

use super::{dialect, load, replay};
use crate::{
    failure::Failure,
    low_args::{PolicyJudgeArgs, PolicyTestArgs},
    printable::printable,
};

/// A file of expected verdicts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    /// The rule file, from the case file's folder.
    #[serde(default)]
    rules: Option<String>,
    cases: Vec<Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// Either this,
    #[serde(default)]
    line: Option<String>,
    /// or this: a port that is forwarded.
    #[serde(default)]
    port: Option<NonZeroU16>,
    expect: Word,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    shell: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pod: String,
    #[serde(default)]
    container: String,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Alert,
    Ask,
    Deny,
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Alert => "alert",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// Compares what the rules say with what is expected; one line for each that differs.
pub(super) fn test(args: &PolicyTestArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let shown = args.cases.display().to_string();
    let text = fs::read_to_string(&args.cases)
        .map_err(|error| Failure::local(format!("cannot read cases `{shown}`: {error}")))?;
    let file: CaseFile = serde_saphyr::from_str(&text)
        .map_err(|error| Failure::local(format!("cases `{shown}`: {}", error.without_snippet())))?;
    let rules = match (&args.rules, &file.rules) {
        (Some(path), _) => load(path)?,
        (None, Some(name)) => {
            let folder = args.cases.parent().unwrap_or(Path::new("."));
            load(&folder.join(name))?
        }
        (None, None) => {
            return Err(Failure::local(format!(
                "cases `{shown}` name no `rules`: add them, or give --rules"
            )));
        }
    };
    let mut wrong = 0;
    for (number, case) in file.cases.iter().enumerate() {
        let subject = Subject {
            user: case.user.clone(),
            groups: case.groups.clone(),
            cluster: case.cluster.clone(),
            namespace: case.namespace.clone(),
            pod: case.pod.clone(),
            container: case.container.clone(),
            ..Subject::default()
        };
        let (what, verdict) = match (&case.line, case.port) {
            (Some(line), None) => {
                let mut session = SessionState::new(dialect(&case.shell)?);
                let verdict = judge_line(&rules, &subject, line.as_bytes(), &mut session);
                (line.clone(), verdict)
            }
            (None, Some(port)) => (
                format!("port {port}"),
                judge_port(&rules, &subject, port.get()),
            ),
            _ => {
                return Err(Failure::local(format!(
                    "cases `{shown}`: case {} has to have a `line` or a `port`, one of them",
                    number + 1
                )));
            }
        };
        let other_rule = case.rule.is_some() && case.rule != verdict.rule;
        if verdict.decision.as_str() == case.expect.as_str() && !other_rule {
            continue;
        }
        wrong += 1;
        writeln!(
            out,
            "{}: expected {}{}, got {} ({})",
            printable(&what),
            case.expect.as_str(),
            case.rule
                .as_ref()
                .map_or_else(String::new, |rule| format!(" by `{rule}`")),
            verdict.decision.as_str(),
            printable(&verdict.to_string())
        )
        .map_err(|error| Failure::output(&error))?;
    }
    writeln!(out, "{} cases, {wrong} wrong", file.cases.len())
        .map_err(|error| Failure::output(&error))?;
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One line or argument list.
#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    shell: String,
    input: Input,
    #[serde(default)]
    input_encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    /// Writes, one after the other; what is no text is an action of the recording.
    Pieces(Vec<serde_json::Value>),
}

/// What is printed of each.
#[derive(Serialize)]
pub(super) struct Judged {
    pub(super) id: String,
    pub(super) verdict: &'static str,
    pub(super) runs: Option<Vec<Vec<String>>>,
    pub(super) reason: String,
    pub(super) rule: Option<String>,
}

impl Judged {
    fn new(id: String, verdict: Verdict) -> Self {
        Self {
            id,
            verdict: verdict.decision.as_str(),
            reason: verdict.to_string(),
            rule: verdict.rule,
            runs: verdict.programs,
        }
    }
}

/// Judges JSON lines, one JSON line each.
pub(super) fn judge(args: &PolicyJudgeArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let rules = std::sync::Arc::new(load(&args.rules)?);
    let (path, are_sessions) = match (&args.transcripts, &args.cases) {
        (Some(path), _) => (path.clone(), true),
        (None, Some(path)) => (path.clone(), false),
        (None, None) => ("-".into(), false),
    };
    let shown = path.display().to_string();
    let input: Box<dyn BufRead> = if shown == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = fs::File::open(&path)
            .map_err(|error| Failure::local(format!("cannot read `{shown}`: {error}")))?;
        Box::new(BufReader::new(file))
    };
    for (number, line) in input.lines().enumerate() {
        let line =
            line.map_err(|error| Failure::local(format!("cannot read `{shown}`: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |error: serde_json::Error| {
            Failure::local(format!("`{shown}` line {}: {error}", number + 1))
        };
        let judged = if are_sessions {
            replay::judge(&rules, serde_json::from_str(&line).map_err(wrong)?)?
        } else {
            judge_one(&rules, serde_json::from_str(&line).map_err(wrong)?)?
        };
        let text = serde_json::to_string(&judged).map_err(wrong)?;
        writeln!(out, "{text}").map_err(|error| Failure::output(&error))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn judge_one(rules: &RuleSet, line: Line) -> Result<Judged, Failure> {
    let subject = Subject::default();
    let text = match line.input {
        Input::Text(text) => text,
        Input::Pieces(pieces) => pieces
            .iter()
            .filter_map(serde_json::Value::as_str)
            .collect::<String>()
            .replace('\r', "\n"),
    };
    if line.shell == "argv" {
        let argv: Vec<String> = serde_json::from_str(&text).map_err(|error| {
            Failure::local(format!("case `{}`: no list of arguments: {error}", line.id))
        })?;
        return Ok(Judged::new(line.id, judge_argv(rules, &subject, &argv)));
    }
    let bytes = if line.input_encoding.as_deref() == Some("latin1-bytes") {
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
            .collect()
    } else {
        text.into_bytes()
    };
    let mut session = SessionState::new(dialect(&line.shell)?);
    Ok(Judged::new(
        line.id,
        judge_line(rules, &subject, &bytes, &mut session),
    ))
}
