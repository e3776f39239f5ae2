use serde::Deserialize;

/// How the process in the container ended, the one terminal status of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: it ran and has a code, or it did not and has a reason.
pub enum ExitStatus {
    /// It ran and ended with this code; 0 is success.
    Exited(u8),
    /// It did not run, or its end is not known. Never success.
    Failed(Failure),
}

/// Why a session has no exit code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// HTTP-like code of the `Status` object, 500 for an internal error.
    pub code: u16,
    /// Kubernetes reason such as `InternalError` or `Forbidden`.
    pub reason: String,
    /// What a person reads.
    pub message: String,
}

impl ExitStatus {
    /// A failure with reason `InternalError` and code 500.
    #[must_use]
    pub fn internal_error(message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            code: 500,
            reason: "InternalError".to_owned(),
            message: message.into(),
        })
    }

    /// The connection that carried the session ended without a status. Never success.
    #[must_use]
    pub fn connection_lost(side: &str) -> Self {
        Self::internal_error(format!(
            "connection to the {side} lost before the exit status"
        ))
    }

    /// Whether the process ran and ended with code 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// The `Status` object of remotecommand v4 and v5, without a newline.
    ///
    /// Spec: Kubernetes `remotecommand/constants.go` (v4), key order of the CRI servers.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Exited(0) => r#"{"metadata":{},"status":"Success"}"#.to_owned(),
            Self::Exited(code) => format!(
                concat!(
                    r#"{{"metadata":{{}},"status":"Failure","#,
                    r#""message":"command terminated with non-zero exit code: exit status {code}","#,
                    r#""reason":"NonZeroExitCode","#,
                    r#""details":{{"causes":[{{"reason":"ExitCode","message":"{code}"}}]}}}}"#,
                ),
                code = code
            ),
            Self::Failed(failure) => serde_json::json!({
                "metadata": {},
                "status": "Failure",
                "message": failure.message,
                "reason": failure.reason,
                "code": failure.code,
            })
            .to_string(),
        }
    }

    /// The plain text of remotecommand v2 and v3: empty for success.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Exited(0) => String::new(),
            Self::Exited(code) => {
                format!("command terminated with non-zero exit code: exit status {code}")
            }
            Self::Failed(failure) => failure.message.clone(),
        }
    }

    /// Reads a v4 or v5 `Status` object. An exit code outside 0..=255 and anything that is not a
    /// status is a failure: what cannot be read is never success.
    #[must_use]
    pub fn parse_json(text: &[u8]) -> Self {
        // A derived reader takes an array's first element for `status`.
        let object = text.trim_ascii_start().starts_with(b"{");
        let Some(status) = object
            .then(|| serde_json::from_slice::<WireStatus>(text).ok())
            .flatten()
        else {
            return Self::internal_error("error stream is not a Status object");
        };
        if status.status == "Success" {
            return Self::Exited(0);
        }
        if status.status != "Failure" {
            return Self::internal_error("error stream is not a Status object");
        }
        if status.reason == "NonZeroExitCode" {
            let code = status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .find(|cause| cause.reason == "ExitCode")
                .map(|cause| cause.message.parse::<u8>());
            return match code {
                Some(Ok(0)) | None => {
                    Self::internal_error("status says non-zero exit code but carries none")
                }
                Some(Ok(code)) => Self::Exited(code),
                Some(Err(_)) => Self::internal_error("exit code outside 0..=255"),
            };
        }
        Self::Failed(Failure {
            code: status.code.unwrap_or(500),
            reason: if status.reason.is_empty() {
                "InternalError".to_owned()
            } else {
                status.reason
            },
            message: status.message,
        })
    }

    /// Reads the error stream of v2 and v3: empty is success, text is a failure.
    #[must_use]
    pub fn parse_text(text: &[u8]) -> Self {
        if text.is_empty() {
            Self::Exited(0)
        } else {
            Self::internal_error(String::from_utf8_lossy(text).into_owned())
        }
    }
}

#[derive(Deserialize)]
struct WireStatus {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    details: Option<WireDetails>,
    #[serde(default)]
    code: Option<u16>,
}

#[derive(Deserialize)]
struct WireDetails {
    #[serde(default)]
    causes: Vec<WireCause>,
}

#[derive(Deserialize)]
struct WireCause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::{ExitStatus, Failure};

    #[test]
    fn every_status_survives_its_json() {
        for code in 0..=255 {
            let status = ExitStatus::Exited(code);
            assert_eq!(ExitStatus::parse_json(status.to_json().as_bytes()), status);
        }
        let failed = ExitStatus::Failed(Failure {
            code: 403,
            reason: "Forbidden".to_owned(),
            message: "no \"quotes\" lost".to_owned(),
        });
        assert_eq!(ExitStatus::parse_json(failed.to_json().as_bytes()), failed);
    }

    #[test]
    fn what_is_no_status_is_never_success() {
        for text in [
            &b""[..],
            b"{}",
            b"null",
            b"[\"Success\"]",
            b"{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\"}",
            b"{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"256\"}]}}",
        ] {
            assert!(!ExitStatus::parse_json(text).is_success());
        }
    }

    #[test]
    fn a_failure_without_a_reason_is_an_internal_error() {
        for (text, code, reason) in [
            (
                r#"{"status":"Failure","message":"m"}"#,
                500,
                "InternalError",
            ),
            (
                r#"{"status":"Failure","message":"m","reason":"Expired","code":410}"#,
                410,
                "Expired",
            ),
        ] {
            let failure = Failure {
                code,
                reason: reason.to_owned(),
                message: "m".to_owned(),
            };
            assert_eq!(
                ExitStatus::parse_json(text.as_bytes()),
                ExitStatus::Failed(failure)
            );
        }
    }
}
