use thiserror::Error;

/// Why `CNI_ARGS` cannot be used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ArgsError {
    /// A pair without exactly one `=`; a trailing `;` makes an empty one.
    #[error("CNI_ARGS: `{0}` is not one `KEY=value`")]
    Pair(String),
    /// `IgnoreUnknown` is neither 1, true, 0 nor false.
    #[error("CNI_ARGS: `IgnoreUnknown={0}` is neither 1, true, 0 nor false")]
    IgnoreUnknown(String),
    /// Keys that nobody asked for, without `IgnoreUnknown=1`.
    #[error("CNI_ARGS: unknown keys {0}; `IgnoreUnknown=1` would allow them")]
    Unknown(String),
}

/// The pairs of `CNI_ARGS`, such as `IgnoreUnknown=1;K8S_POD_NAME=web-0`.
///
/// ```
/// use dockin_net::cni::Args;
///
/// let args = Args::parse("IP=10.0.0.2/24;IgnoreUnknown=1;X=y", &["IP"])?;
/// assert_eq!(args.value("IP"), Some("10.0.0.2/24"));
/// # Ok::<(), dockin_net::cni::ArgsError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Args {
    pairs: Vec<(String, String)>,
}

impl Args {
    /// Reads the text; `known` are the keys the plugin knows. Keys are case-sensitive.
    ///
    /// # Errors
    ///
    /// [`ArgsError`], each kind.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, ArgsError> {
        let mut args = Self::default();
        if text.is_empty() {
            return Ok(args);
        }
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in text.split(';') {
            let (key, value) = pair
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| ArgsError::Pair(pair.into()))?;
            if key == "IgnoreUnknown" {
                ignore_unknown = parse_boolean(value)?;
            } else if known.contains(&key) {
                args.pairs.push((key.into(), value.into()));
            } else {
                unknown.push(format!("`{key}`"));
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(ArgsError::Unknown(unknown.join(", ")));
        }
        Ok(args)
    }

    /// The last value of that key; an empty value is as good as none.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|(other, _)| other == key)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

fn parse_boolean(text: &str) -> Result<bool, ArgsError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(ArgsError::IgnoreUnknown(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, ArgsError};

    #[test]
    fn pairs_have_exactly_one_equals_sign() {
        for text in ["FOO", "IP=1=2", "IP=1;", ";", "IgnoreUnknown=1;FOO"] {
            assert!(
                matches!(Args::parse(text, &["IP"]), Err(ArgsError::Pair(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn unknown_keys_need_leave_wherever_it_stands() {
        assert!(Args::parse("FOO=1;IgnoreUnknown=True", &[]).is_ok());
        assert!(Args::parse("IgnoreUnknown=0;FOO=1", &[]).is_err());
        assert!(Args::parse("ip=1", &["IP"]).is_err());
        assert!(Args::parse("IgnoreUnknown=yes", &[]).is_err());
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let args = Args::parse("IP=a;IP=b", &["IP"]).unwrap();
        assert_eq!(args.value("IP"), Some("b"));
        assert_eq!(Args::parse("IP=", &["IP"]).unwrap().value("IP"), None);
    }
}
