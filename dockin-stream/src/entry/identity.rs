use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MessageError, message::parse_object};

/// Who wants into which container.
///
/// A native client sends it as request headers, a web client as a JSON object in its first
/// message. The upgrade succeeds in both cases: a refusal comes as a CLOSE message.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Identity {
    /// A secret; not shown by `Debug`.
    pub access_token: String,
    /// Name of the application.
    pub app_name: String,
    /// Name of the process in it.
    pub proc_name: String,
    /// Which instance of the process, decimal.
    pub instance_no: String,
    /// The client's `TERM`; empty from web clients, which cannot say it.
    #[serde(skip)]
    pub term_type: String,
}

impl Identity {
    /// Reads a request's headers, given as `(name, value)`; what is missing is empty. Of a header
    /// that is there twice the first counts.
    pub fn from_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let value = |wanted: &str| {
            headers
                .clone()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        Self {
            access_token: value(ACCESS_TOKEN),
            app_name: value(APP_NAME),
            proc_name: value(PROC_NAME),
            instance_no: value(INSTANCE_NO),
            term_type: value(TERM_TYPE),
        }
    }

    /// The headers of a native client's request.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, &str); 5] {
        [
            (ACCESS_TOKEN, &self.access_token),
            (APP_NAME, &self.app_name),
            (PROC_NAME, &self.proc_name),
            (INSTANCE_NO, &self.instance_no),
            (TERM_TYPE, &self.term_type),
        ]
    }

    /// Reads a web client's first message; what is missing is empty.
    ///
    /// # Errors
    ///
    /// [`MessageError::Json`].
    ///
    /// ```
    /// use dockin_stream::entry::Identity;
    ///
    /// let identity = Identity::parse(br#"{"app_name":"shop","instance_no":"1"}"#)?;
    /// assert_eq!((&*identity.app_name, &*identity.instance_no), ("shop", "1"));
    /// # Ok::<(), dockin_stream::entry::MessageError>(())
    /// ```
    pub fn parse(message: &[u8]) -> Result<Self, MessageError> {
        parse_object(message)
    }

    /// A web client's first message, without the `TERM`.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "access_token": self.access_token,
            "app_name": self.app_name,
            "proc_name": self.proc_name,
            "instance_no": self.instance_no,
        })
        .to_string()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("app_name", &self.app_name)
            .field("proc_name", &self.proc_name)
            .field("instance_no", &self.instance_no)
            .field("term_type", &self.term_type)
            .finish_non_exhaustive()
    }
}

const ACCESS_TOKEN: &str = "access-token";
const APP_NAME: &str = "app-name";
const PROC_NAME: &str = "proc-name";
const INSTANCE_NO: &str = "instance-no";
const TERM_TYPE: &str = "term-type";

#[cfg(test)]
mod tests {
    use super::Identity;

    fn identity() -> Identity {
        Identity {
            access_token: "s3cr3t".to_owned(),
            app_name: "shop \"x\"".to_owned(),
            proc_name: "web".to_owned(),
            instance_no: "2".to_owned(),
            term_type: "xterm".to_owned(),
        }
    }

    #[test]
    fn an_identity_survives_its_headers_and_its_json() {
        let identity = identity();
        let headers = identity.headers();
        assert_eq!(Identity::from_headers(headers.into_iter()), identity);
        let web = Identity {
            term_type: String::new(),
            ..identity.clone()
        };
        assert_eq!(Identity::parse(identity.to_json().as_bytes()), Ok(web));
        assert!(Identity::parse(b"[\"s3cr3t\"]").is_err());
        assert!(Identity::parse(b"{\"instance_no\":2}").is_err());
    }

    #[test]
    fn the_token_is_not_shown() {
        assert!(!format!("{:?}", identity()).contains("s3cr3t"));
    }
}
