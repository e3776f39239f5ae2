//! How large files in a container are, for rules that count for large ones only.

use std::{collections::BTreeMap, time::Duration};

use dockin_policy::{RuleSet, Subject, sizes_wanted};
use dockin_stream::{Event, ExitStatus, StreamSet};
use futures::StreamExt as _;

use crate::{
    Error, ErrorKind,
    access::Permit,
    runtime::Runtime,
    session::{CopyDirection, FileCopy},
};

/// How long a line waits for the answer: longer than the asking takes.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(6);
/// How long asking may take, for all files together.
const LONGEST_ASKING: Duration = Duration::from_secs(5);
/// Bytes of an answer that are looked at.
const MAX_ANSWER: usize = 4096;

/// The sizes that rules want to know about the command that starts a session.
pub(super) async fn sizes_for_start(
    rules: &RuleSet,
    subject: &Subject,
    argv: &[String],
    permit: &Permit,
    runtime: &dyn Runtime,
) -> BTreeMap<String, u64> {
    let wanted = sizes_wanted(rules, subject, argv);
    // What comes is counted as it passes; what is there already does not matter.
    let is_upload =
        FileCopy::detect(argv).is_some_and(|copy| copy.direction == CopyDirection::Upload);
    if is_upload {
        return wanted.into_iter().map(|path| (path, 0)).collect();
    }
    file_sizes(&wanted, permit, runtime).await
}

/// The sizes of `files`, in bytes; of a folder, that of all in it. A file that does not exist has
/// none, and what the container does not tell in time is left out.
pub(super) async fn file_sizes(
    files: &[String],
    permit: &Permit,
    runtime: &dyn Runtime,
) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    let permit = permit.for_question();
    let asking = async {
        for file in files {
            match file_size(file, &permit, runtime).await {
                Ok(size) => drop(sizes.insert(file.clone(), size)),
                Err(error) => {
                    tracing::warn!(target = %permit.target(), error = error.chain(), "size of a file unknown");
                }
            }
        }
    };
    if tokio::time::timeout(LONGEST_ASKING, asking).await.is_err() {
        tracing::warn!(target = %permit.target(), "size of a file unknown: the container does not answer");
    }
    sizes
}

async fn file_size(file: &str, permit: &Permit, runtime: &dyn Runtime) -> Result<u64, Error> {
    // Both GNU's programs and busybox have these options; messages are in English.
    let stat = ["env", "LC_ALL=C", "stat", "-L", "-c", "%s %F", "--", file];
    let Answer { code, text, error } = run(&stat, permit, runtime).await?;
    if code == Some(1) && error.contains("No such file or directory") {
        return Ok(0);
    }
    let unclear = |what: &str| {
        let message = format!("the container does not tell the size of a file: {what}");
        Error::new(ErrorKind::Unavailable, message)
    };
    let told = text.trim().split_once(' ').filter(|_| code == Some(0));
    let Some((size, kind)) = told else {
        return Err(unclear("it has no `stat` that answers"));
    };
    if kind.starts_with("regular") {
        return size.parse().map_err(|_| unclear("`stat` answers nonsense"));
    }
    if kind != "directory" {
        return Err(unclear("it is neither a file nor a folder"));
    }
    let du = ["env", "LC_ALL=C", "du", "-s", "-k", "--", file];
    let Answer { code, text, .. } = run(&du, permit, runtime).await?;
    let kibibytes = text.split_whitespace().next().filter(|_| code == Some(0));
    let size = kibibytes.and_then(|text| text.parse::<u64>().ok());
    size.and_then(|size| size.checked_mul(1024))
        .ok_or_else(|| unclear("it has no `du` that answers"))
}

struct Answer {
    code: Option<i32>,
    text: String,
    error: String,
}

async fn run(argv: &[&str], permit: &Permit, runtime: &dyn Runtime) -> Result<Answer, Error> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let streams = StreamSet {
        stdin: false,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let mut session = runtime.exec(permit, &argv, streams).await?;
    let (mut text, mut error) = (Vec::new(), Vec::new());
    let keep = |kept: &mut Vec<u8>, bytes: &[u8]| {
        let room = MAX_ANSWER.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
    };
    while let Some(event) = session.next().await {
        match event? {
            Event::Stdout(bytes) => keep(&mut text, &bytes),
            Event::Stderr(bytes) => keep(&mut error, &bytes),
            Event::Exit(status) => {
                let code = match status {
                    ExitStatus::Exited(code) => Some(i32::from(code)),
                    ExitStatus::Failed(_) => None,
                };
                let readable = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                return Ok(Answer {
                    code,
                    text: readable(text),
                    error: readable(error),
                });
            }
            _ => {}
        }
    }
    let message = "the container was lost while it was asked for the size of a file";
    Err(Error::new(ErrorKind::Unavailable, message))
}
