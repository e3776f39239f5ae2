//! LDAP: passwords and groups of a directory server.
//!
//! [`LdapDirectory::login`] searches for the person as the service (or anonymously), binds as that
//! person with the password given, and then, as the service again, searches for the groups.
//! Nothing that a person types gets into a search filter unescaped.
//!
//! The configuration has TKEStack's fields, which are those of dex's LDAP connector, so that a file
//! of theirs can be taken over. What would give a password away is refused: certificates that
//! nobody checks, plain connections to other machines, and the service's password inside the file.
//!
//! Specs: RFC 4511 (LDAPv3), 4513 §5.1.2 (a bind without a password proves nothing), 4515 (filters).

#[cfg(feature = "gateway")]
mod adapter;
mod directory;
mod filter;
mod person;
mod session;
mod settings;

pub use directory::LdapDirectory;
pub use person::{LdapPerson, PersonError};
pub use settings::{GroupSearch, LdapSettings, SearchScope, UserMatcher, UserSearch};

pub use super::provider::NameError;
