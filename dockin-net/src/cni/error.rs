use thiserror::Error;

/// A CNI error code: an open space, 1–99 the specification's, from 100 on the plugin's own.
///
/// Spec: CNI SPEC.md, section 5, error codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Necessary environment variables are missing or invalid.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Content cannot be decoded.
    pub const UNDECODABLE: Self = Self(6);
    /// Ours: the verb is known and not implemented in this build.
    pub const NOT_IMPLEMENTED: Self = Self(100);
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

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The error object for standard output.
    #[must_use]
    pub fn to_json(&self, version: &str) -> String {
        serde_json::json!({
            "cniVersion": version,
            "code": self.code.0,
            "msg": self.message,
        })
        .to_string()
    }
}
