use std::collections::BTreeMap;

use thiserror::Error;

use super::LdapSettings;
use crate::identity::provider::{MAX_GROUPS, NameError, outside_name};

/// Who logged in at a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LdapPerson {
    /// User name with its prefix, in the directory's spelling whatever was typed.
    pub user: String,
    /// Groups with their prefix, each once, in alphabetical order.
    pub groups: Vec<String>,
    /// Tenant, if the settings say how it is known.
    pub tenant: Option<String>,
    /// What he logs in with, in the directory's spelling.
    pub login: String,
    /// Distinguished name.
    pub dn: String,
    /// What never changes for this person: `idAttr`.
    pub id: String,
    /// Address for mail, when there is one.
    pub email: Option<String>,
    /// Name for people to read, when there is one.
    pub name: Option<String>,
}

/// Why an entry is nobody who can log in.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PersonError {
    /// It lacks an attribute that the settings name.
    #[error("the directory's entry has no attribute `{attribute}`")]
    Missing {
        /// Its name.
        attribute: String,
    },
    /// It has several values where one is needed.
    #[error("the directory's entry has several values of `{attribute}`")]
    Several {
        /// Its name.
        attribute: String,
    },
    /// A value cannot be the name of a user or a group.
    #[error("attribute `{attribute}` of the directory's entry {why}")]
    Name {
        /// Which attribute.
        attribute: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// More groups than anybody has.
    #[error("the directory has more than {MAX_GROUPS} groups for this person")]
    Groups,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) dn: String,
    /// Values by attribute, in lower case: servers choose their own.
    attributes: BTreeMap<String, Vec<String>>,
}

impl Entry {
    pub(super) fn new(
        dn: String,
        attributes: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Self {
        let lower = |(name, values): (String, _)| (name.to_ascii_lowercase(), values);
        Self {
            dn,
            attributes: attributes.into_iter().map(lower).collect(),
        }
    }

    pub(super) fn values(&self, attribute: &str) -> &[String] {
        self.attributes
            .get(&attribute.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }

    /// The first value that is not empty.
    fn any(&self, attribute: &str) -> Option<String> {
        self.values(attribute)
            .iter()
            .find(|value| !value.is_empty())
            .cloned()
    }

    fn only(&self, attribute: &str) -> Result<&str, PersonError> {
        let attribute = || attribute.to_owned();
        match self.values(&attribute()) {
            [] => Err(PersonError::Missing {
                attribute: attribute(),
            }),
            [value] => Ok(value),
            _ => Err(PersonError::Several {
                attribute: attribute(),
            }),
        }
    }

    fn name(&self, prefix: &str, attribute: &str) -> Result<String, PersonError> {
        outside_name(prefix, self.only(attribute)?).map_err(|why| PersonError::Name {
            attribute: attribute.to_owned(),
            why,
        })
    }
}

impl LdapPerson {
    /// Makes a person of an entry and the entries of the groups.
    pub(super) fn new(
        settings: &LdapSettings,
        entry: &Entry,
        group_name: &str,
        groups: &[Entry],
    ) -> Result<Self, PersonError> {
        let search = &settings.user_search;
        let named_by = search.preferred_username_attr.as_ref();
        let named_by = named_by.unwrap_or(&search.username);
        // Addresses for mail know no prefix.
        let bare = entry.only(named_by)?;
        let user = entry.name(&settings.username_prefix, named_by)?;
        let mut names = Vec::with_capacity(groups.len());
        for group in groups {
            names.push(group.name(&settings.groups_prefix, group_name)?);
        }
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_GROUPS {
            return Err(PersonError::Groups);
        }
        let email = match &search.email_suffix {
            Some(suffix) => Some(format!("{bare}@{}", suffix.trim_start_matches('@'))),
            None => entry.any(&search.email_attr),
        };
        let tenant = match &search.tenant_attr {
            Some(attribute) => Some(entry.name("", attribute)?),
            None => settings.tenant.clone(),
        };
        let login = entry
            .any(&search.username)
            .ok_or_else(|| PersonError::Missing {
                attribute: search.username.clone(),
            })?;
        Ok(Self {
            groups: names,
            tenant,
            login,
            dn: entry.dn.clone(),
            id: entry.only(&search.id_attr)?.to_owned(),
            email,
            name: search
                .name_attr
                .as_ref()
                .and_then(|attribute| entry.any(attribute)),
            user,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Entry, LdapPerson, LdapSettings, NameError, PersonError};

    fn search(more: &str) -> LdapSettings {
        let more = more.trim_end().replace('\n', "\n  ");
        serde_saphyr::from_str(&format!(
            "host: a\nuserSearch:\n  baseDN: dc=a\n  username: uid\n  nameAttr: cn\n  {more}\n"
        ))
        .unwrap()
    }

    fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> Entry {
        let owned = attributes.iter().map(|(name, values)| {
            (
                (*name).to_owned(),
                values.iter().map(|value| (*value).to_owned()).collect(),
            )
        });
        Entry::new(dn.to_owned(), owned)
    }

    #[test]
    fn the_directory_spells_the_name_not_the_person() {
        let found = entry(
            "uid=alice",
            &[("UID", &["Alice"]), ("mail", &["a@b"]), ("cn", &["A. B."])],
        );
        let groups = [
            entry("cn=b", &[("cn", &["b"])]),
            entry("cn=a", &[("cn", &["a"])]),
            entry("x", &[("cn", &["b"])]),
        ];
        let person = LdapPerson::new(&search(""), &found, "CN", &groups).unwrap();
        assert_eq!(
            (person.user.as_str(), person.id.as_str()),
            ("Alice", "Alice")
        );
        assert_eq!(person.groups, ["a", "b"]);
        assert_eq!(
            (person.email.as_deref(), person.name.as_deref()),
            (Some("a@b"), Some("A. B."))
        );
        let suffix = search("emailSuffix: example.com\n");
        let person = LdapPerson::new(&suffix, &found, "cn", &[]).unwrap();
        assert_eq!(person.email.as_deref(), Some("Alice@example.com"));
    }

    #[test]
    fn prefixes_and_tenants_are_put_on_by_the_settings() {
        let found = entry("x", &[("uid", &["alice"]), ("o", &["acme"])]);
        let groups = [entry("y", &[("cn", &["system:masters"])])];
        let mut settings = search("tenantAttr: o\nemailSuffix: example.com\n");
        settings.username_prefix = "ldap:".to_owned();
        settings.groups_prefix = "ldap:".to_owned();
        let person = LdapPerson::new(&settings, &found, "cn", &groups).unwrap();
        let told = [&person.user, &person.login, person.email.as_ref().unwrap()];
        assert_eq!(told, ["ldap:alice", "alice", "alice@example.com"]);
        assert_eq!(person.groups, ["ldap:system:masters"]);
        assert_eq!(person.tenant.as_deref(), Some("acme"));
        // Nobody gets into the default tenant for want of an attribute.
        let nowhere = entry("x", &[("uid", &["bob"])]);
        let got = LdapPerson::new(&settings, &nowhere, "cn", &[]);
        let attribute = "o".to_owned();
        assert_eq!(got, Err(PersonError::Missing { attribute }));
        settings.user_search.tenant_attr = None;
        settings.tenant = Some("fixed".to_owned());
        let person = LdapPerson::new(&settings, &nowhere, "cn", &[]).unwrap();
        assert_eq!(person.tenant.as_deref(), Some("fixed"));
    }

    #[test]
    fn an_entry_that_does_not_say_clearly_who_it_is_is_nobody() {
        let attribute = |name: &str| name.to_owned();
        let named = |name: &str, why| PersonError::Name {
            attribute: attribute(name),
            why,
        };
        for (more, attributes, why) in [
            (
                "",
                &[][..],
                PersonError::Missing {
                    attribute: attribute("uid"),
                },
            ),
            (
                "",
                &[("uid", &["a", "b"][..])][..],
                PersonError::Several {
                    attribute: attribute("uid"),
                },
            ),
            (
                "",
                &[("uid", &[""][..])][..],
                named("uid", NameError::Empty),
            ),
            (
                "",
                &[("uid", &["system:admin"][..])][..],
                named("uid", NameError::Reserved),
            ),
            (
                "",
                &[("uid", &["a\nb"][..])][..],
                named("uid", NameError::Characters),
            ),
            (
                "preferredUsernameAttr: displayName\n",
                &[("uid", &["a"][..])][..],
                PersonError::Missing {
                    attribute: attribute("displayName"),
                },
            ),
            (
                "idAttr: entryUUID\n",
                &[("uid", &["a"][..])][..],
                PersonError::Missing {
                    attribute: attribute("entryUUID"),
                },
            ),
        ] {
            let got = LdapPerson::new(&search(more), &entry("x", attributes), "cn", &[]);
            assert_eq!(got, Err(why), "{more} {attributes:?}");
        }
    }

    #[test]
    fn one_group_that_cannot_be_one_refuses_all() {
        let found = entry("x", &[("uid", &["a"])]);
        let masters = [
            entry("y", &[("cn", &["ops"])]),
            entry("z", &[("cn", &["system:masters"])]),
        ];
        let got = LdapPerson::new(&search(""), &found, "cn", &masters);
        assert_eq!(
            got,
            Err(PersonError::Name {
                attribute: "cn".to_owned(),
                why: NameError::Reserved
            })
        );
        let nameless = [entry("y", &[])];
        let got = LdapPerson::new(&search(""), &found, "cn", &nameless);
        assert_eq!(
            got,
            Err(PersonError::Missing {
                attribute: "cn".to_owned()
            })
        );
    }
}
