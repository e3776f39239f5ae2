use std::{
    fs::{self, File},
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use dockin_core::audit::{read_head, trail_files};
use dockin_policy::audit::{Finding, PublicKey, TrailReport, TrailVerifier};
use serde_json::json;

use crate::{
    failure::{Failure, TAMPERED},
    low_args::{AuditFormat, AuditVerifyArgs},
    printable::printable,
};

/// Reads the whole trail, without the gateway, and says what is not as it was written.
pub(crate) fn run(args: &AuditVerifyArgs) -> Result<ExitCode, Failure> {
    let checked = Checked::new(args)?;
    let mut out = io::stdout().lock();
    match args.output {
        AuditFormat::Table => checked.write_text(&mut out),
        AuditFormat::Json => checked.write_json(&mut out),
    }
    .and_then(|()| out.flush())
    .map_err(|error| Failure::output(&error))?;
    Ok(if checked.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(TAMPERED)
    })
}

/// Where the trusted keys came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trust {
    /// The command line.
    Given,
    /// The file beside the trail.
    Beside,
    /// Nowhere: any key that signs.
    Any,
}

#[derive(Debug)]
struct Checked {
    files: Vec<PathBuf>,
    report: TrailReport,
    findings: Vec<Finding>,
    trust: Trust,
    has_head: bool,
}

/// Bytes read at once.
const PIECE: usize = 1 << 20;

impl Checked {
    fn new(args: &AuditVerifyArgs) -> Result<Self, Failure> {
        let newest = args.files.last().map_or(Path::new(""), PathBuf::as_path);
        // Before the files: it must not speak of records that come while we read.
        let head = read_head(newest);
        let files = match args.files.as_slice() {
            [newest] => trail_files(newest).map_err(|error| unreadable(newest, &error))?,
            files => files.to_vec(),
        };
        let opened = files
            .iter()
            .map(|path| File::open(path).map_err(|error| unreadable(path, &error)))
            .collect::<Result<Vec<_>, _>>()?;
        if opened.is_empty() {
            return Err(Failure::local(format!(
                "there is no audit file `{}`",
                newest.display()
            )));
        }
        let (keys, trust) = keys(args, newest)?;
        let has_head = head.is_some();
        let mut verifier = TrailVerifier::new(keys, head);
        let mut piece = vec![0; PIECE];
        for (mut file, path) in opened.into_iter().zip(&files) {
            verifier.begin_file();
            loop {
                let size = file
                    .read(&mut piece)
                    .map_err(|error| unreadable(path, &error))?;
                match piece.get(..size) {
                    Some(bytes @ [_, ..]) => verifier.feed(bytes),
                    _ => break,
                }
            }
        }
        let (report, findings) = verifier.finish();
        Ok(Self {
            files,
            report,
            findings,
            trust,
            has_head,
        })
    }

    fn file(&self, finding: &Finding) -> String {
        let path = self.files.get(finding.file);
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for finding in &self.findings {
            let file = self.file(finding);
            let line = match finding.line {
                0 => String::new(),
                line => format!(":{line}"),
            };
            writeln!(out, "{}{line}: {}", printable(&file), finding.problem)?;
        }
        let report = &self.report;
        let range = match (report.first, report.last) {
            (Some(first), Some((last, _))) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let verdict = match self.findings.len() {
            0 => "intact".to_owned(),
            1 => "1 PROBLEM".to_owned(),
            count => format!("{count} PROBLEMS"),
        };
        let files = match self.files.len() {
            1 => "1 file".to_owned(),
            count => format!("{count} files"),
        };
        let all = report.records + report.unchained;
        writeln!(out, "{all} records in {files}{range}: {verdict}")?;
        for note in self.notes() {
            writeln!(out, "{note}")?;
        }
        Ok(())
    }

    /// What is not wrong, but must be known.
    fn notes(&self) -> Vec<String> {
        let report = &self.report;
        let mut notes = Vec::new();
        let keys: Vec<String> = report.keys.iter().map(ToString::to_string).collect();
        match report.signed_through {
            Some(through) if !keys.is_empty() => {
                notes.push(format!(
                    "signed through record {through} by {}",
                    keys.join(", ")
                ));
            }
            Some(through) => notes.push(format!("signed through record {through}")),
            None => notes.push("note: nothing is signed".to_owned()),
        }
        match self.trust {
            Trust::Given => {}
            Trust::Beside => notes.push(
                "note: the key is the one beside the trail; --key with one from elsewhere also \
                 finds a trail that was written anew"
                    .to_owned(),
            ),
            Trust::Any => notes.push(
                "note: no key was given, so any signature counts; --key finds a trail that was \
                 written anew"
                    .to_owned(),
            ),
        }
        let unsigned = report.last.map_or(0, |(last, _)| last)
            - report
                .signed_through
                .unwrap_or(0)
                .min(report.last.map_or(0, |(last, _)| last));
        if unsigned > 0 {
            notes.push(format!(
                "note: the last {unsigned} records are chained, but not signed yet"
            ));
        }
        if report.torn_bytes > 0 {
            notes.push(format!(
                "note: the last line is torn ({} bytes without an end): a write that a crash cut \
                 off, or one that goes on now; nobody was told that it is written",
                report.torn_bytes
            ));
        }
        if let Some(first) = report.first.filter(|first| *first > 1) {
            notes.push(format!(
                "note: begins with record {first}; earlier files are not here"
            ));
        }
        if report.unchained > 0 {
            notes.push(format!(
                "note: {} records are of a version without a chain, {} of them not sealed by a \
                 later one",
                report.unchained, report.unsealed
            ));
        }
        if !self.has_head {
            notes.push(
                "note: there is no signed head beside the trail, so it cannot be known whether \
                 its end was cut off"
                    .to_owned(),
            );
        }
        notes
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let report = &self.report;
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "file": self.file(finding),
                    "line": finding.line,
                    "problem": finding.problem.to_string(),
                })
            })
            .collect();
        let keys: Vec<String> = report.keys.iter().map(ToString::to_string).collect();
        let answer = json!({
            "intact": findings.is_empty(),
            "files": self.files,
            "records": report.records,
            "unchained": report.unchained,
            "unsealed": report.unsealed,
            "first": report.first,
            "last": report.last.map(|(seq, _)| seq),
            "head": report.last.map(|(_, hash)| hash.to_string()),
            "signed_through": report.signed_through,
            "keys": keys,
            "key_given": self.trust == Trust::Given,
            "torn_bytes": report.torn_bytes,
            "closed": report.closed,
            "findings": findings,
        });
        writeln!(out, "{answer}")
    }
}

fn keys(args: &AuditVerifyArgs, newest: &Path) -> Result<(Vec<PublicKey>, Trust), Failure> {
    let parse = |text: &str, name: &str| {
        text.parse::<PublicKey>()
            .map_err(|error| Failure::usage(format!("key `{name}`: {error}")))
    };
    let mut keys = Vec::new();
    for given in &args.key {
        let path = Path::new(given);
        if path.exists() {
            let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            keys.push(parse(&text, given)?);
        } else {
            keys.push(parse(given, given)?);
        }
    }
    if !keys.is_empty() {
        return Ok((keys, Trust::Given));
    }
    let beside = newest.with_file_name("audit.key.pub");
    match fs::read_to_string(&beside) {
        Ok(text) => {
            let key = parse(&text, &beside.display().to_string())?;
            Ok((vec![key], Trust::Beside))
        }
        Err(_) => Ok((keys, Trust::Any)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("cannot read `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, path::PathBuf};

    use dockin_core::audit::{AuditSink as _, FileSink};
    use dockin_policy::audit::{AuditEvent, AuditKind, SessionEnd};

    use super::{AuditFormat, AuditVerifyArgs, Checked};

    fn said(file: PathBuf, key: &[&str]) -> String {
        let args = AuditVerifyArgs {
            files: vec![file],
            key: key.iter().map(|key| (*key).to_owned()).collect(),
            output: AuditFormat::Table,
        };
        let mut out = Vec::new();
        Checked::new(&args).unwrap().write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    async fn trail(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("audit.jsonl");
        let sink = FileSink::open(&path).unwrap();
        for session in ["one", "two", "three"] {
            let kind = AuditKind::SessionEnd(SessionEnd::default());
            sink.append(AuditEvent::new("2026-01-01T00:00:00Z", kind).with_session(session))
                .await
                .unwrap();
        }
        path
    }

    #[tokio::test]
    async fn file_line_and_deed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = trail(&folder).await;
        let whole = fs::read_to_string(&path).unwrap();
        let intact = said(path.clone(), &[]);
        assert!(intact.starts_with("5 records in 1 file, 1 to 5: intact\nsigned through record 5"));
        fs::write(&path, whole.replace("\"two\"", "\"ten\"")).unwrap();
        let text = said(path.clone(), &[]);
        assert!(
            text.contains("audit.jsonl:3: record 3 was changed\n"),
            "{text}"
        );
        assert!(text.contains("1 PROBLEM"), "{text}");
        let cut: String = whole.split_inclusive('\n').take(3).collect();
        fs::write(&path, cut).unwrap();
        let text = said(path.clone(), &[]);
        assert!(
            text.contains("audit.jsonl: the trail ends with record 3, but record 5 was"),
            "{text}"
        );
        fs::write(&path, whole.trim_end()).unwrap();
        let text = said(path.clone(), &[]);
        assert!(text.contains("last line is torn"), "{text}");
        fs::write(&path, whole).unwrap();
        let text = said(path, &[&"ab".repeat(32)]);
        assert!(text.contains("which is not trusted"), "{text}");
    }
}
