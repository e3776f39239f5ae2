use super::{CniError, ErrorCode, Verb};
use crate::attachment::{Attachment, ContainerId, InterfaceName};

/// The variables of one call, as the runtime set them; what is not set is empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub command: String,
    /// `CNI_CONTAINERID`
    pub container_id: String,
    /// `CNI_NETNS`: the path of the container's network namespace.
    pub netns: String,
    /// `CNI_IFNAME`
    pub ifname: String,
    /// `CNI_ARGS`
    pub args: String,
    /// `CNI_PATH`: where plugins are, separated by `:`.
    pub path: String,
    /// `CNI_NETNS_OVERRIDE`: 1 or true allows a namespace that is the plugin's own.
    pub netns_override: String,
}

impl Environment {
    /// Asks `variable` for each name.
    ///
    /// ```
    /// use dockin_net::cni::Environment;
    ///
    /// let env = Environment::read(|name| (name == "CNI_COMMAND").then(|| "VERSION".into()));
    /// assert_eq!(env.command, "VERSION");
    /// ```
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name| variable(name).unwrap_or_default();
        Self {
            command: read("CNI_COMMAND"),
            container_id: read("CNI_CONTAINERID"),
            netns: read("CNI_NETNS"),
            ifname: read("CNI_IFNAME"),
            args: read("CNI_ARGS"),
            path: read("CNI_PATH"),
            netns_override: read("CNI_NETNS_OVERRIDE"),
        }
    }

    /// May the container's namespace be the plugin's own?
    #[must_use]
    pub fn allows_own_namespace(&self) -> bool {
        self.netns_override == "1" || self.netns_override.eq_ignore_ascii_case("true")
    }

    /// Are the variables set that `verb` needs?
    ///
    /// # Errors
    ///
    /// Code 4, with those that are missing.
    pub(crate) fn check(&self, verb: Verb) -> Result<(), CniError> {
        let attached = matches!(verb, Verb::Add | Verb::Del | Verb::Check);
        let needs_netns = matches!(verb, Verb::Add | Verb::Check);
        let missing: Vec<_> = [
            ("CNI_CONTAINERID", &self.container_id, attached),
            ("CNI_NETNS", &self.netns, needs_netns),
            ("CNI_IFNAME", &self.ifname, attached),
            ("CNI_PATH", &self.path, verb != Verb::Version),
        ]
        .into_iter()
        .filter(|(_, value, needed)| *needed && value.is_empty())
        .map(|(name, ..)| format!("`{name}`"))
        .collect();
        if !missing.is_empty() {
            return Err(CniError::new(
                ErrorCode::INVALID_ENVIRONMENT,
                format!(
                    "{} needs what is not set: {}",
                    verb.as_str(),
                    missing.join(", ")
                ),
            ));
        }
        Ok(())
    }

    /// What `verb` is about: the attachment, for the verbs that have one.
    ///
    /// # Errors
    ///
    /// Code 4, with the variable that is wrong.
    pub(crate) fn attachment(&self, verb: Verb) -> Result<Option<Attachment>, CniError> {
        if !matches!(verb, Verb::Add | Verb::Del | Verb::Check) {
            return Ok(None);
        }
        let wrong = |variable, error: &dyn std::fmt::Display| {
            CniError::field(ErrorCode::INVALID_ENVIRONMENT, variable, error)
        };
        let container_id = ContainerId::parse(&self.container_id)
            .map_err(|error| wrong("CNI_CONTAINERID", &error))?;
        let interface =
            InterfaceName::parse(&self.ifname).map_err(|error| wrong("CNI_IFNAME", &error))?;
        Ok(Some(Attachment::new(container_id, interface)))
    }
}
