//! A question to the resource manager that another program asks: `dockin-ask`, beside this one.
//! It has TLS, so that plugins need not have it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::http;
use crate::meta::{NoAnswer, Trust};

/// The exit code with which `dockin-ask` says that there may be an answer later.
pub const ASK_LATER: u8 = 11;

/// The name of the program.
const PROGRAM: &str = "dockin-ask";

/// Asks: what is secret through the program beside this one, where it is.
pub(super) fn ask(url: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
    let beside = match url.starts_with("https://") {
        true => std::env::current_exe().ok(),
        false => None,
    };
    let program = beside.map(|this| this.with_file_name(PROGRAM));
    match program.filter(|it| it.is_file()) {
        Some(program) => run(&program, url, trust),
        None => http::get(url, trust),
    }
}

fn run(program: &Path, url: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
    let wrong = |error: std::io::Error| NoAnswer {
        message: format!("`{}`: {error}", program.display()),
        later: true,
    };
    let (certificate, key) = match &trust.identity {
        Some((certificate, key)) => (Some(certificate), Some(key)),
        None => (None, None),
    };
    let question = json!({
        "url": url, "authority": trust.authority, "certificate": certificate, "key": key,
        "token": trust.token,
    });
    let mut child = Command::new(program)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(wrong)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(question.to_string().as_bytes())
            .map_err(wrong)?;
    }
    let output = child.wait_with_output().map_err(wrong)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(NoAnswer {
        message: match message.is_empty() {
            true => format!("`{}`: {}", program.display(), output.status),
            false => message,
        },
        later: output.status.code() == Some(i32::from(ASK_LATER)),
    })
}

/// What `dockin-ask` does with its standard input.
///
/// # Errors
///
/// [`NoAnswer`], as in [`meta::World::ask`](crate::meta::World::ask).
pub fn answer_question(question: &[u8]) -> Result<Vec<u8>, NoAnswer> {
    let question: Value = serde_json::from_slice(question).map_err(|error| NoAnswer {
        message: format!("standard input is no question: {error}"),
        later: false,
    })?;
    let text = |name: &str| {
        let value = question.get(name).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let trust = Trust {
        authority: text("authority"),
        identity: text("certificate").zip(text("key")),
        token: text("token"),
    };
    http::get(&text("url").unwrap_or_default(), &trust)
}
