use std::{error::Error, fmt};

use serde::Deserialize;

use crate::printable::printable;

/// Why a command did not do what it was asked, and the exit code that says whose fault it is.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

/// Something on this machine is wrong: a file, a rule, a port.
pub(crate) const LOCAL: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// What was read is not as it was written; `EX_DATAERR` of sysexits.h.
pub(crate) const TAMPERED: u8 = 65;
/// Denied by policy; `EX_NOPERM` of sysexits.h.
pub(crate) const DENIED: u8 = 77;
/// What reads our output went away: 128 + SIGPIPE, as the shell reports it.
pub(crate) const BROKEN_PIPE: u8 = 141;
/// No connection, or the gateway failed; as ssh.
pub(crate) const GATEWAY: u8 = 255;

impl Failure {
    /// The command line asks for something that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: message.into(),
        }
    }

    /// Something on this machine is wrong.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self {
            code: LOCAL,
            message: message.into(),
        }
    }

    /// The gateway cannot be reached, or the conversation with it failed.
    pub(crate) fn gateway(message: impl Into<String>) -> Self {
        Self {
            code: GATEWAY,
            message: message.into(),
        }
    }

    /// The gateway said no with a `Status` of that reason and message.
    pub(crate) fn from_server(reason: &str, message: &str) -> Self {
        let code = if reason == "Forbidden" {
            DENIED
        } else {
            GATEWAY
        };
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        };
        Self {
            code,
            message: format!("Error from server{reason}: {message}"),
        }
    }

    /// An HTTP answer that is no success: its body should be a Kubernetes `Status`.
    pub(crate) fn from_answer(status: http::StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            reason: String,
            #[serde(default)]
            message: String,
        }
        match serde_json::from_slice::<Status>(body) {
            Ok(Status { reason, message }) if !message.is_empty() => {
                Self::from_server(&reason, &message)
            }
            _ => {
                let reason = status
                    .canonical_reason()
                    .unwrap_or_default()
                    .replace(' ', "");
                let body = String::from_utf8_lossy(body);
                let text = body.trim();
                let text = if text.is_empty() { "no message" } else { text };
                Self::from_server(&reason, &format!("{text} (HTTP {})", status.as_u16()))
            }
        }
    }

    /// Reading our output has ended before its end: not worth a word.
    pub(crate) const fn broken_pipe() -> Self {
        Self {
            code: BROKEN_PIPE,
            message: String::new(),
        }
    }

    /// A failure to write to standard output.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::broken_pipe();
        }
        Self::local(format!("cannot write output: {error}"))
    }

    /// The process's exit code.
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    /// What a person reads, safe for a terminal; `None` when silence is right.
    pub(crate) fn message(&self) -> Option<String> {
        if self.message.is_empty() {
            return None;
        }
        let lines: Vec<_> = self.message.lines().map(printable).collect();
        let text = lines.join("\n");
        Some(if text.starts_with("Error from server") {
            text
        } else {
            format!("error: {text}")
        })
    }
}

/// `error` and everything that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{DENIED, Failure, GATEWAY};

    #[test]
    fn a_status_is_shown_as_kubectl_shows_it() {
        let body = br#"{"kind":"Status","status":"Failure","message":"pods \"web\" is forbidden","reason":"Forbidden","code":403}"#;
        let failure = Failure::from_answer(StatusCode::FORBIDDEN, body);
        assert_eq!(failure.code(), DENIED);
        assert_eq!(
            failure.message().as_deref(),
            Some("Error from server (Forbidden): pods \"web\" is forbidden")
        );
    }

    #[test]
    fn an_answer_without_a_status_still_says_something() {
        let failure = Failure::from_answer(StatusCode::BAD_GATEWAY, b"");
        assert_eq!(failure.code(), GATEWAY);
        assert_eq!(
            failure.message().as_deref(),
            Some("Error from server (BadGateway): no message (HTTP 502)")
        );
    }

    #[test]
    fn control_characters_of_a_server_do_not_reach_the_terminal() {
        let failure = Failure::from_server("", "a\x1b]0;x\x07\nb");
        assert_eq!(
            failure.message().as_deref(),
            Some("Error from server: a\\x1b]0;x\\x07\nb")
        );
    }
}
