use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use dockin_policy::{
    Decision, Dialect, RuleSet, SessionState, Subject, Verdict, judge_line, judge_port,
};

mod cases;
mod replay;

use crate::{
    failure::{DENIED, Failure},
    low_args::{PolicyExplainArgs, PolicyJudgeArgs, PolicyTestArgs},
    printable::printable,
};

/// A question about a rule file.
#[derive(Debug)]
pub(crate) enum Policy {
    /// Is it right?
    Check(PathBuf),
    /// What does it say to a line or a port?
    Explain(PolicyExplainArgs),
    /// Does it say what is expected of it?
    Test(PolicyTestArgs),
    /// What does it say to each of many lines or recorded sessions?
    Judge(PolicyJudgeArgs),
}

/// Answers it; the exit code of an explained line or port that would be refused is 77.
pub(crate) fn run(policy: Policy) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match policy {
        Policy::Check(file) => {
            let count = load(&file)?.len();
            let plural = if count == 1 { "" } else { "s" };
            let file = file.display().to_string();
            writeln!(
                out,
                "{}: {count} rule{plural}, no fault found",
                printable(&file)
            )
            .map_err(|error| Failure::output(&error))?;
            Ok(ExitCode::SUCCESS)
        }
        Policy::Explain(args) => explain(args, &mut out),
        Policy::Test(args) => cases::test(&args, &mut out),
        Policy::Judge(args) => cases::judge(&args, &mut out),
    }
}

/// The grammar of the shell called `name`.
fn dialect(name: &str) -> Result<Dialect, Failure> {
    Ok(match name.rsplit('/').next().unwrap_or(name) {
        "bash" | "ksh" | "mksh" | "" => Dialect::Bash,
        "sh" | "dash" => Dialect::Sh,
        "busybox" | "ash" => Dialect::Busybox,
        "zsh" => Dialect::Zsh,
        other => {
            return Err(Failure::local(format!(
                "no shell is called `{other}`: give bash, sh, busybox or zsh"
            )));
        }
    })
}

fn load(path: &Path) -> Result<RuleSet, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::local(format!("cannot read rules `{}`: {error}", path.display()))
    })?;
    RuleSet::parse(&text)
        .map_err(|error| Failure::local(format!("rules `{}`: {error}", path.display())))
}

fn explain(args: PolicyExplainArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let rules = load(&args.rules)?;
    let subject = Subject {
        user: args.user,
        groups: args.group,
        cluster: args.cluster,
        namespace: args.namespace,
        pod: args.pod,
        container: args.container,
        ..Subject::default()
    };
    let verdict = match args.port {
        Some(port) => judge_port(&rules, &subject, port),
        None => {
            let line = args.line.unwrap_or_default();
            let mut session = SessionState::new(dialect(&args.shell)?);
            judge_line(&rules, &subject, line.as_bytes(), &mut session)
        }
    };
    write_explanation(&verdict, out).map_err(|error| Failure::output(&error))?;
    Ok(match verdict.decision {
        Decision::Allow | Decision::Alert => ExitCode::SUCCESS,
        // Approval cannot be asked for yet: the gateway refuses, too.
        _ => ExitCode::from(DENIED),
    })
}

/// Decision, rule, reason, and the programs that the line would run.
fn write_explanation(verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "decision   {}", verdict.decision.as_str())?;
    writeln!(
        out,
        "rule       {}",
        printable(verdict.rule.as_deref().unwrap_or("-"))
    )?;
    writeln!(out, "reason     {}", printable(&verdict.to_string()))?;
    if let Some(token) = &verdict.token {
        writeln!(out, "token      {}", printable(token))?;
    }
    if let Some(span) = &verdict.span {
        writeln!(out, "bytes      {}..{}", span.start, span.end)?;
    }
    match &verdict.programs {
        Some(programs) => {
            for argv in programs {
                writeln!(out, "program    {}", printable(&argv.join(" ")))?;
            }
            Ok(())
        }
        None => writeln!(out, "program    cannot be known"),
    }
}

#[cfg(test)]
mod tests;
