use std::borrow::Cow;

use thiserror::Error;

use super::json::FieldError;

/// A CNI error code: an open space, 1–99 the specification's, from 100 on the plugin's own.
///
/// Spec: CNI SPEC.md, section 5, error codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The configuration's version is not supported, or too old for the verb.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// Necessary environment variables are missing or invalid.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO: Self = Self(5);
    /// Content cannot be decoded.
    pub const UNDECODABLE: Self = Self(6);
    /// The configuration can be decoded and cannot be used.
    pub const INVALID_CONFIG: Self = Self(7);
    /// The container's network namespace is the plugin's own.
    pub const INVALID_NAMESPACE: Self = Self(8);
    /// Not now; the runtime should try again.
    pub const TRY_AGAIN: Self = Self(11);
    /// `STATUS`: no attachment can be made.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// Ours: the verb is known and not implemented in this build.
    pub const NOT_IMPLEMENTED: Self = Self(100);
    /// Ours: the attachment is there already, or is not as it was made.
    pub const ATTACHMENT: Self = Self(101);
    /// What the reference's library says for every failure of the plugin behind it. The cases
    /// pin it, so the modes that replace a reference plugin say it as well.
    pub const INTERNAL: Self = Self(999);
}

/// Why a call failed, as the runtime is told.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{message}")]
pub struct CniError {
    code: ErrorCode,
    message: String,
}

impl CniError {
    /// An error with a message that names the field and the way out.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An error that reads `field: what`.
    pub(crate) fn field(code: ErrorCode, field: &str, what: impl std::fmt::Display) -> Self {
        Self::new(code, format!("`{field}`: {what}"))
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The error object for standard output. Of a long message, which holds what somebody else
    /// said, the beginning and the end are told: runtimes pass it on in places that are short.
    #[must_use]
    pub fn to_json(&self, version: &str) -> String {
        serde_json::json!({
            "cniVersion": version,
            "code": self.code.0,
            "msg": shortened(&self.message),
        })
        .to_string()
    }
}

/// The longest message, in bytes. A gRPC client takes 8 KiB of headers, where CRI has it.
const LONGEST: usize = 2048;

fn shortened(message: &str) -> Cow<'_, str> {
    if message.len() <= LONGEST {
        return message.into();
    }
    let first = message.floor_char_boundary(LONGEST * 3 / 4);
    let last = message.ceil_char_boundary(message.len() - LONGEST / 4);
    let (start, end) = (message.get(..first), message.get(last..));
    format!(
        "{} … {}",
        start.unwrap_or_default(),
        end.unwrap_or_default()
    )
    .into()
}

impl From<FieldError> for CniError {
    fn from(error: FieldError) -> Self {
        Self::new(ErrorCode::INTERNAL, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{CniError, ErrorCode};

    #[test]
    fn a_long_message_is_told_with_its_beginning_and_its_end() {
        let error = CniError::new(ErrorCode::IO, format!("start {} end", "é".repeat(100_000)));
        let json: serde_json::Value = serde_json::from_str(&error.to_json("1.0.0")).unwrap();
        let message = json["msg"].as_str().unwrap();
        assert!(message.len() < 3000, "{}", message.len());
        assert!(
            message.starts_with("start ") && message.ends_with(" end"),
            "{message}"
        );
    }
}
