use std::{error::Error as StdError, fmt, time::Duration};

/// Whose fault a failure is, and so what an operator or a client can do about it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The request cannot be understood: HTTP 400.
    Malformed,
    /// Nobody knows who asks: HTTP 401.
    Unauthenticated,
    /// Known, and not allowed: HTTP 403.
    Forbidden,
    /// What is asked for is not there: HTTP 404.
    NotFound,
    /// The peer broke its protocol.
    Misbehaved,
    /// A limit is reached: HTTP 429.
    Exhausted,
    /// The state of things does not allow it now: HTTP 409.
    Conflict,
    /// Something needed is not reachable: HTTP 503.
    Unavailable,
    /// The platform called in a wrong order or with a wrong configuration: HTTP 500.
    Misuse,
}

impl ErrorKind {
    /// HTTP status code and Kubernetes `Status` reason of this kind.
    #[must_use]
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed => (400, "BadRequest"),
            Self::Unauthenticated => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound => (404, "NotFound"),
            Self::Conflict => (409, "Conflict"),
            Self::Exhausted => (429, "TooManyRequests"),
            Self::Misbehaved | Self::Misuse => (500, "InternalError"),
            Self::Unavailable => (503, "ServiceUnavailable"),
        }
    }
}

/// A failure with its kind, a message for people, and its cause.
///
/// Messages name the thing and the way out; they never carry a secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
    rule: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            rule: None,
            source: None,
        }
    }

    /// Keeps the cause, which the message then need not repeat.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells when it is worth to ask again.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Names the rule that refused it, for the audit trail.
    #[must_use]
    pub fn with_rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// The rule that refused it, or that there is none, if rules were asked.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// When it is worth to ask again, if that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without the causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message and every cause, joined by `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
