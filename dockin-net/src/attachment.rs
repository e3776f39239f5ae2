use std::{fmt, sync::Arc};

use thiserror::Error;

/// Why a name is none.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NameError {
    /// Identifiers and network names: a letter or digit, then letters, digits, `_`, `.`, `-`.
    #[error("`{0}` must start with a letter or digit and go on with those, `_`, `.` or `-`")]
    Identifier(String),
    /// Interface names: 1 to 15 bytes, not `.` or `..`, without `/`, `:` and spaces.
    #[error("`{0}` is no interface name: 1 to 15 bytes without `/`, `:` and spaces")]
    Interface(String),
}

/// The runtime's name of a container or sandbox.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`NameError::Identifier`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_identifier(text).map(|()| Self(text.into()))
    }

    /// What a store holds, whoever wrote it: not checked, because what is held must be kept.
    pub(crate) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a network, from its configuration.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NetworkName(String);

impl NetworkName {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`NameError::Identifier`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_identifier(text).map(|()| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name of an interface inside a container.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InterfaceName(Arc<str>);

impl InterfaceName {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`NameError::Interface`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let bad = |character: char| matches!(character, '/' | ':') || character.is_whitespace();
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(bad) {
            return Err(NameError::Interface(text.into()));
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One interface of one container: what a lease is for.
///
/// The interface is absent in records of programs that did not write it down; such a record
/// stands for every interface of its container.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Attachment {
    container_id: ContainerId,
    interface: Option<InterfaceName>,
}

impl Attachment {
    /// The pair.
    #[must_use]
    pub const fn new(container_id: ContainerId, interface: InterfaceName) -> Self {
        Self {
            container_id,
            interface: Some(interface),
        }
    }

    /// A record without an interface.
    #[must_use]
    pub const fn of_container(container_id: ContainerId) -> Self {
        Self {
            container_id,
            interface: None,
        }
    }

    pub(crate) fn stored(container_id: &str, interface: &str) -> Self {
        Self {
            container_id: ContainerId::stored(container_id),
            interface: (!interface.is_empty()).then(|| InterfaceName::stored(interface)),
        }
    }

    /// The container.
    #[must_use]
    pub const fn container_id(&self) -> &ContainerId {
        &self.container_id
    }

    /// The interface, where it is known.
    #[must_use]
    pub const fn interface(&self) -> Option<&InterfaceName> {
        self.interface.as_ref()
    }

    /// The interface's name, empty when it is not known.
    #[must_use]
    pub fn interface_text(&self) -> &str {
        self.interface.as_ref().map_or("", InterfaceName::as_str)
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}/{}",
            self.container_id.0,
            self.interface.as_ref().map_or("*", InterfaceName::as_str)
        )
    }
}

fn check_identifier(text: &str) -> Result<(), NameError> {
    let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if starts && text.bytes().all(rest) {
        return Ok(());
    }
    Err(NameError::Identifier(text.into()))
}

#[cfg(test)]
mod tests {
    use super::{ContainerId, InterfaceName};

    #[test]
    fn identifiers_start_with_a_letter_or_digit() {
        for good in ["a", "A1_b.c-D", "9f"] {
            assert!(ContainerId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n"] {
            assert!(ContainerId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        for good in ["eth0", "eeeeeeeeeeeeeee", "a.b", "..."] {
            assert!(InterfaceName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\u{a0}b",
            "eeeeeeeeeeeeeeee",
        ] {
            assert!(InterfaceName::parse(bad).is_err(), "{bad}");
        }
    }
}
