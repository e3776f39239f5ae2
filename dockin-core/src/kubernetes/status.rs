use serde::Serialize;

use crate::{Error, ErrorKind};

/// The `Status` object that a Kubernetes client reads after a refused request.
///
/// kubectl prints `Error from server (REASON): MESSAGE`.
///
/// Spec: Kubernetes `apimachinery/pkg/apis/meta/v1/types.go`, `Status`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "Wire")]
pub struct Status {
    /// HTTP status code; the answer's own must be the same.
    pub code: u16,
    /// CamelCase word for programs, such as `NotFound`; may be empty.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What it is about, when it is about one thing.
    pub details: Option<StatusDetails>,
}

/// The thing that a [`Status`] is about.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StatusDetails {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its resource in the plural, such as `pods`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Seconds after which it is worth to ask again; 0 says nothing.
    #[serde(rename = "retryAfterSeconds", skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u64,
}

impl Status {
    /// A failure from its parts, without details.
    pub fn failure(code: u16, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
        }
    }

    /// The same failure, about `name` of the resource `kind`.
    #[must_use]
    pub fn about(mut self, kind: &str, name: &str) -> Self {
        self.details = Some(StatusDetails {
            name: name.to_owned(),
            kind: kind.to_owned(),
            retry_after_seconds: 0,
        });
        self
    }

    /// The same failure, which may be none after `seconds`.
    #[must_use]
    pub fn again_after(mut self, seconds: u64) -> Self {
        let details = self.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            kind: String::new(),
            retry_after_seconds: 0,
        });
        details.retry_after_seconds = seconds;
        self
    }

    /// Seconds after which it is worth to ask again.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let seconds = self
            .details
            .as_ref()
            .map(|details| details.retry_after_seconds);
        seconds.filter(|seconds| *seconds > 0)
    }

    /// The JSON body. Its type is `application/json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of strings and numbers always serializes; the fallback is still a Status.
        serde_json::to_string(self).unwrap_or_else(|_| {
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}"#.to_owned()
        })
    }
}

impl From<&Error> for Status {
    /// The error's kind and own message; its causes stay in the log, they may name internals.
    fn from(error: &Error) -> Self {
        let (code, reason) = error.kind().status();
        let status = Self::failure(code, reason, error.message());
        let status = match subject(error.message()) {
            Some((kind, name)) => status.about(kind, name),
            None => status,
        };
        match error.retry_after() {
            // Rounded up: clients that come too early are refused again.
            Some(wait) => status.again_after(wait.as_secs().saturating_add(1)),
            None => status,
        }
    }
}

/// The error for a pod that is not there, in the words of the kube-apiserver.
#[must_use]
pub fn pod_not_found(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("pods \"{name}\" not found"))
}

const fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

/// Kind and name of a message that starts as the kube-apiserver's do: `pods "web" …`.
fn subject(message: &str) -> Option<(&str, &str)> {
    let (kind, rest) = message.split_once(" \"")?;
    let (name, _) = rest.split_once('"')?;
    (!kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase())).then_some((kind, name))
}

#[derive(Serialize)]
struct Wire {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: serde_json::Map<String, serde_json::Value>,
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<StatusDetails>,
    code: u16,
}

impl From<Status> for Wire {
    fn from(status: Status) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: serde_json::Map::new(),
            status: "Failure",
            message: status.message,
            reason: status.reason,
            details: status.details,
            code: status.code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, pod_not_found};
    use crate::{Error, ErrorKind};

    #[test]
    fn missing_pod_is_told_in_the_words_of_the_apiserver() {
        assert_eq!(
            Status::from(&pod_not_found("web")).to_json(),
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"pods \"web\" not found","reason":"NotFound","#,
                r#""details":{"name":"web","kind":"pods"},"code":404}"#
            )
        );
    }

    #[test]
    fn causes_of_an_error_stay_out_of_the_answer() {
        let error = Error::new(ErrorKind::Unavailable, "the agent does not answer")
            .with_source("10.1.2.3:10250: refused");
        let status = Status::from(&error);
        assert_eq!(
            (status.code, status.reason.as_str()),
            (503, "ServiceUnavailable")
        );
        assert!(!status.to_json().contains("10.1.2.3"));
        assert_eq!(status.details, None);
    }
}
