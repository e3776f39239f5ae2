//! The process contract of a CNI plugin: environment and standard input in, one JSON object out.
//!
//! Spec: CNI 1.1.0, SPEC.md sections 2 and 5.

mod error;
mod verb;

pub use error::{CniError, ErrorCode};
use serde::Deserialize;
pub use verb::Verb;

/// The versions whose `VERSION` we answer, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// The version used when the caller names none, as the specification says.
const UNNAMED_VERSION: &str = "0.1.0";

/// What the plugin prints on standard output, and its exit code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// One JSON object.
    pub stdout: String,
    /// 0, or 1 with an error object.
    pub exit_code: u8,
}

/// Answers one call of a plugin.
///
/// `command` is the value of `CNI_COMMAND`, `stdin` the network configuration.
///
/// ```
/// use dockin_net::cni;
///
/// let outcome = cni::run(Some("VERSION"), br#"{"cniVersion":"1.0.0"}"#);
/// assert_eq!(outcome.exit_code, 0);
/// assert!(outcome.stdout.contains("supportedVersions"));
/// ```
#[must_use]
pub fn run(command: Option<&str>, stdin: &[u8]) -> Outcome {
    let config = read(stdin);
    let version = match &config {
        Ok(config) => config.cni_version.as_deref().unwrap_or(UNNAMED_VERSION),
        Err(_) => UNNAMED_VERSION,
    };
    match answer(command, &config) {
        Ok(stdout) => Outcome {
            stdout,
            exit_code: 0,
        },
        Err(error) => Outcome {
            stdout: error.to_json(version),
            exit_code: 1,
        },
    }
}

fn read(stdin: &[u8]) -> Result<NetworkConfig, serde_json::Error> {
    // A derived reader takes an array's first element for `cniVersion`.
    if stdin.trim_ascii_start().starts_with(b"[") {
        return Err(serde::de::Error::custom("an array is no configuration"));
    }
    serde_json::from_slice(stdin)
}

fn answer(
    command: Option<&str>,
    config: &Result<NetworkConfig, serde_json::Error>,
) -> Result<String, CniError> {
    let Some(command) = command.filter(|command| !command.is_empty()) else {
        return Err(CniError::new(
            ErrorCode::INVALID_ENVIRONMENT,
            "required environment variable `CNI_COMMAND` is missing",
        ));
    };
    let verb = Verb::parse(command).ok_or_else(|| {
        CniError::new(
            ErrorCode::INVALID_ENVIRONMENT,
            format!(
                "unknown CNI_COMMAND `{}`: one of {}",
                command.escape_default(),
                Verb::NAMES
            ),
        )
    })?;
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            return Err(CniError::new(
                ErrorCode::UNDECODABLE,
                format!("network configuration cannot be decoded: {error}"),
            ));
        }
    };
    if verb != Verb::Version {
        return Err(CniError::new(
            ErrorCode::NOT_IMPLEMENTED,
            format!(
                "{} is not implemented yet: this build answers VERSION alone",
                verb.as_str()
            ),
        ));
    }
    let version = config.cni_version.as_deref().unwrap_or(UNNAMED_VERSION);
    Ok(serde_json::json!({
        "cniVersion": version,
        "supportedVersions": SUPPORTED_VERSIONS,
    })
    .to_string())
}

#[derive(Deserialize)]
struct NetworkConfig {
    #[serde(rename = "cniVersion")]
    cni_version: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{SUPPORTED_VERSIONS, run};

    fn field(stdout: &str, name: &str) -> serde_json::Value {
        let object: serde_json::Value = serde_json::from_str(stdout).unwrap_or_default();
        object.get(name).cloned().unwrap_or_default()
    }

    #[test]
    fn version_names_what_is_supported_in_the_callers_version() {
        let outcome = run(
            Some("VERSION"),
            br#"{"cniVersion":"0.4.0","name":"x","type":"y"}"#,
        );
        assert_eq!(outcome.exit_code, 0);
        assert_eq!(field(&outcome.stdout, "cniVersion"), "0.4.0");
        assert_eq!(
            field(&outcome.stdout, "supportedVersions"),
            serde_json::json!(SUPPORTED_VERSIONS)
        );
    }

    #[test]
    fn what_is_not_there_yet_is_said_as_an_error_object() {
        for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let outcome = run(Some(verb), br#"{"cniVersion":"1.0.0"}"#);
            assert_eq!(outcome.exit_code, 1);
            assert_eq!(field(&outcome.stdout, "code"), 100);
        }
    }

    #[test]
    fn bad_calls_get_their_codes() {
        assert_eq!(field(&run(None, b"{}").stdout, "code"), 4);
        assert_eq!(field(&run(Some("add"), b"{}").stdout, "code"), 4);
        assert_eq!(field(&run(Some("VERSION"), b"{").stdout, "code"), 6);
        assert_eq!(
            field(&run(Some("VERSION"), b"[\"1.0.0\"]").stdout, "code"),
            6
        );
    }

    proptest! {
        /// Whatever comes in, one JSON object goes out.
        #[test]
        fn the_answer_is_always_one_object(command: Option<String>, stdin: Vec<u8>) {
            let outcome = run(command.as_deref(), &stdin);
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> =
                serde_json::from_str(&outcome.stdout);
            prop_assert!(parsed.is_ok());
        }
    }
}
