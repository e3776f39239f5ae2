use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a session reaches: `cluster/namespace/pod/container`.
///
/// Without a container it names the whole pod; the directory fills the container in before
/// anything runs.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Target {
    /// Cluster, as the gateway's configuration names it.
    pub cluster: String,
    /// Kubernetes namespace; `default` for plain containers.
    pub namespace: String,
    /// Pod name, empty for requests on a whole namespace.
    pub pod: String,
    /// Container name, once it is chosen.
    pub container: Option<String>,
}

/// Why text is not part of a target.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TargetError {
    /// Characters that no Kubernetes or Docker name has, or too long, or empty.
    #[error("`{what}` name `{name}` is not valid: 1 to 253 of letters, digits, `-`, `.` and `_`")]
    Name {
        /// Which part.
        what: &'static str,
        /// The text, shortened and printable.
        name: String,
    },
}

impl Target {
    /// A pod, checked part by part.
    ///
    /// # Errors
    ///
    /// [`TargetError::Name`] for the first part that cannot be a name.
    pub fn pod(cluster: &str, namespace: &str, pod: &str) -> Result<Self, TargetError> {
        Ok(Self {
            cluster: name("cluster", cluster)?,
            namespace: name("namespace", namespace)?,
            pod: name("pod", pod)?,
            container: None,
        })
    }

    /// The same pod with a container.
    ///
    /// # Errors
    ///
    /// [`TargetError::Name`] when `container` cannot be a name.
    pub fn with_container(mut self, container: &str) -> Result<Self, TargetError> {
        self.container = Some(name("container", container)?);
        Ok(self)
    }

    /// A whole namespace, or with `*` every one, for lists.
    #[must_use]
    pub fn namespace(cluster: &str, namespace: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            pod: String::new(),
            container: None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.namespace, self.pod)?;
        match &self.container {
            Some(container) => write!(f, "/{container}"),
            None => Ok(()),
        }
    }
}

fn name(what: &'static str, text: &str) -> Result<String, TargetError> {
    let legal = !text.is_empty()
        && text.len() <= 253
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if legal {
        Ok(text.to_owned())
    } else {
        Err(TargetError::Name {
            what,
            name: text
                .chars()
                .take(64)
                .flat_map(char::escape_default)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a\u{0}", "ä"] {
            assert!(Target::pod("local", "default", bad).is_err(), "{bad:?}");
        }
        let target = Target::pod("local", "default", "web-0").and_then(|t| t.with_container("app"));
        assert_eq!(
            target.map(|t| t.to_string()),
            Ok("local/default/web-0/app".to_owned())
        );
    }
}
