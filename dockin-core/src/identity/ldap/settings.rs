use std::path::PathBuf;

use serde::Deserialize;

use super::filter;
use crate::{Error, ErrorKind};

/// One directory server, with TKEStack's field names, and our own for prefixes and tenants.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LdapSettings {
    /// `HOST` or `HOST:PORT`. The port is 636, or 389 with `startTLS` or `insecureNoSSL`.
    pub host: String,
    /// Without TLS. On a loopback address only, unless `startTLS` makes up for it.
    #[serde(default, rename = "insecureNoSSL")]
    pub insecure_no_ssl: bool,
    /// Must be false: a server that is not checked can be anybody, and gets every password.
    #[serde(default)]
    pub insecure_skip_verify: bool,
    /// Begin in plain and become TLS before anything is said.
    #[serde(default, rename = "startTLS")]
    pub start_tls: bool,
    /// PEM file of the authority of the server's certificate; the system's without it.
    #[serde(default, rename = "rootCA")]
    pub root_ca: Option<PathBuf>,
    /// Name of the service that searches; anonymous without it.
    #[serde(default, rename = "bindDN")]
    pub bind_dn: String,
    /// Must be empty: a password in a configuration is read by too many.
    #[serde(default, rename = "bindPW")]
    pub bind_pw: Forbidden,
    /// File with the service's password. Read for each login, so a new one needs no restart.
    #[serde(default, rename = "bindPWFile")]
    pub bind_pw_file: Option<PathBuf>,
    /// What a page asks for instead of "user name".
    #[serde(default)]
    pub username_prompt: Option<String>,
    /// What is put before user names.
    #[serde(default)]
    pub username_prefix: String,
    /// What is put before groups.
    #[serde(default)]
    pub groups_prefix: String,
    /// Tenant of everybody whom it knows; the default one without.
    #[serde(default)]
    pub tenant: Option<String>,
    /// How people are found.
    pub user_search: UserSearch,
    /// How groups are found; nobody has any without it.
    #[serde(default)]
    pub group_search: Option<GroupSearch>,
}

/// How people are found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UserSearch {
    /// Where the search begins.
    #[serde(rename = "baseDN")]
    pub base_dn: String,
    /// What people have in common, such as `(objectClass=person)`.
    #[serde(default)]
    pub filter: String,
    /// Attribute that has what a person types. It must be unique, for it is the user name, in
    /// the directory's spelling, unless `preferredUsernameAttr` is given.
    pub username: String,
    /// How deep; all of it by default.
    #[serde(default)]
    pub scope: SearchScope,
    /// Attribute that never changes for a person.
    #[serde(default = "uid")]
    pub id_attr: String,
    /// Attribute with the address for mail.
    #[serde(default = "mail")]
    pub email_attr: String,
    /// Attribute with the name for people to read.
    #[serde(default)]
    pub name_attr: Option<String>,
    /// Attribute that is the user name here; who has none cannot log in.
    #[serde(default)]
    pub preferred_username_attr: Option<String>,
    /// Attribute with the tenant, in place of `tenant`; who has none of it cannot log in.
    #[serde(default)]
    pub tenant_attr: Option<String>,
    /// Domain for addresses made of the user name, instead of `emailAttr`.
    #[serde(default)]
    pub email_suffix: Option<String>,
}

/// How groups are found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GroupSearch {
    /// Where the search begins.
    #[serde(rename = "baseDN")]
    pub base_dn: String,
    /// What groups have in common, such as `(objectClass=groupOfNames)`.
    #[serde(default)]
    pub filter: String,
    /// How deep; all of it by default.
    #[serde(default)]
    pub scope: SearchScope,
    /// How a group says that somebody is in it; one search for each.
    #[serde(default)]
    pub user_matchers: Vec<UserMatcher>,
    /// The older way to give one matcher: the person's attribute.
    #[serde(default)]
    pub user_attr: Option<String>,
    /// The older way to give one matcher: the group's attribute.
    #[serde(default)]
    pub group_attr: Option<String>,
    /// Attribute that is the group's name.
    pub name_attr: String,
}

/// A group has in `group_attr` what its member has in `user_attr`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UserMatcher {
    /// Attribute of the person; `DN` for the distinguished name.
    pub user_attr: String,
    /// Attribute of the group, such as `member`.
    pub group_attr: String,
}

impl UserMatcher {
    /// Whether the person's distinguished name is matched.
    #[must_use]
    pub fn is_dn(&self) -> bool {
        self.user_attr.eq_ignore_ascii_case("dn")
    }
}

/// How deep a search goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
// Exhaustive: the two that TKEStack knows.
pub enum SearchScope {
    /// All of it.
    #[default]
    Sub,
    /// One level below the base.
    One,
}

/// A field that must not be used. Keeps nothing of what was written there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Forbidden {
    given: bool,
}

impl<'de> Deserialize<'de> for Forbidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Self {
            given: text.is_some_and(|text| !text.is_empty()),
        })
    }
}

/// Where the server is and how it is spoken to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encryption {
    Tls,
    StartTls,
    LoopbackOnly,
}

impl LdapSettings {
    /// Whether they can be used.
    ///
    /// # Errors
    ///
    /// `Misuse`, naming the field.
    pub fn check(&self) -> Result<(), Error> {
        self.endpoint()?;
        if self.insecure_skip_verify {
            return Err(bad(
                "insecureSkipVerify",
                "is not done here; name the authority in `rootCA`",
            ));
        }
        if self.bind_pw.given {
            let what = "has a password in it; put it into a file and name that in `bindPWFile`";
            return Err(bad("bindPW", what));
        }
        if self.bind_dn.is_empty() != self.bind_pw_file.is_none() {
            // One without the other would silently become an anonymous bind.
            return Err(bad("bindDN", "and `bindPWFile` go together"));
        }
        let user = &self.user_search;
        present("userSearch.baseDN", &user.base_dn)?;
        filter::check("userSearch.filter", &user.filter)?;
        attribute("userSearch.username", &user.username)?;
        attribute("userSearch.idAttr", &user.id_attr)?;
        attribute("userSearch.emailAttr", &user.email_attr)?;
        let optional = [
            ("userSearch.nameAttr", &user.name_attr),
            (
                "userSearch.preferredUsernameAttr",
                &user.preferred_username_attr,
            ),
            ("userSearch.tenantAttr", &user.tenant_attr),
        ];
        for (field, name) in optional {
            name.as_deref()
                .map_or(Ok(()), |name| attribute(field, name))?;
        }
        match (&self.tenant, &user.tenant_attr) {
            (Some(_), Some(_)) => {
                return Err(bad("tenant", "and `userSearch.tenantAttr` are both given"));
            }
            (Some(tenant), None) => present("tenant", tenant)?,
            (None, _) => {}
        }
        let Some(groups) = &self.group_search else {
            return Ok(());
        };
        present("groupSearch.baseDN", &groups.base_dn)?;
        filter::check("groupSearch.filter", &groups.filter)?;
        attribute("groupSearch.nameAttr", &groups.name_attr)?;
        let matchers = groups.matchers()?;
        for matcher in &matchers {
            attribute("groupSearch.userMatchers", &matcher.user_attr)?;
            attribute("groupSearch.userMatchers", &matcher.group_attr)?;
        }
        if matchers.is_empty() {
            return Err(bad(
                "groupSearch.userMatchers",
                "is empty; nobody would be in a group",
            ));
        }
        Ok(())
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint, Error> {
        let encryption = match (self.start_tls, self.insecure_no_ssl) {
            (true, _) => Encryption::StartTls,
            (false, false) => Encryption::Tls,
            (false, true) => Encryption::LoopbackOnly,
        };
        let default = if encryption == Encryption::Tls {
            636
        } else {
            389
        };
        let (host, port) = match self.host.rsplit_once(':') {
            None => (self.host.as_str(), default),
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (
                    host,
                    port.ok_or_else(|| bad("host", "has no number as its port"))?,
                )
            }
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(legal) {
            let what = "is not `HOST` or `HOST:PORT` with a DNS name or an IPv4 address";
            return Err(bad("host", what));
        }
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback());
        if encryption == Encryption::LoopbackOnly && !loopback {
            let what = "would send passwords in plain to another machine; use `startTLS`";
            return Err(bad("insecureNoSSL", what));
        }
        Ok(Endpoint {
            host: host.to_owned(),
            port,
            encryption,
        })
    }
}

impl GroupSearch {
    /// The matchers, in the newer and the older way to give them.
    ///
    /// # Errors
    ///
    /// `Misuse` when half of an older one is missing.
    pub fn matchers(&self) -> Result<Vec<UserMatcher>, Error> {
        let mut matchers = self.user_matchers.clone();
        match (&self.user_attr, &self.group_attr) {
            (None, None) => {}
            (Some(user_attr), Some(group_attr)) => matchers.push(UserMatcher {
                user_attr: user_attr.clone(),
                group_attr: group_attr.clone(),
            }),
            _ => return Err(bad("groupSearch.userAttr", "and `groupAttr` go together")),
        }
        Ok(matchers)
    }
}

fn bad(field: &str, what: &str) -> Error {
    Error::new(ErrorKind::Misuse, format!("`{field}` {what}"))
}

fn present(field: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(bad(field, "is empty"));
    }
    Ok(())
}

/// A name of an attribute, RFC 4512 §2.5: it goes into filters as it is.
fn attribute(field: &str, name: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ';' | '.');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(legal) {
        return Ok(());
    }
    Err(bad(field, "is no name of an attribute"))
}

fn uid() -> String {
    "uid".to_owned()
}

fn mail() -> String {
    "mail".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Encryption, LdapSettings, SearchScope};

    const TKESTACK: &str = r#"{
        "host": "ldap.example.com",
        "insecureNoSSL": true, "insecureSkipVerify": false, "startTLS": true,
        "rootCA": "ca.pem", "bindDN": "cn=admin,dc=example,dc=com", "bindPWFile": "password",
        "usernamePrompt": "User",
        "userSearch": {
            "baseDN": "ou=people,dc=example,dc=com", "filter": "(objectClass=person)",
            "username": "uid", "scope": "one", "idAttr": "uid", "emailAttr": "mail",
            "nameAttr": "cn", "preferredUsernameAttr": "uid", "emailSuffix": "example.com"
        },
        "groupSearch": {
            "baseDN": "ou=groups,dc=example,dc=com", "filter": "(objectClass=groupOfNames)",
            "userMatchers": [ { "userAttr": "DN", "groupAttr": "member" } ],
            "nameAttr": "cn"
        }
    }"#;

    fn read(text: &str) -> Result<LdapSettings, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_field_of_tkestack_is_understood() {
        let settings = read(TKESTACK).unwrap();
        settings.check().unwrap();
        let endpoint = settings.endpoint().unwrap();
        assert_eq!(
            (endpoint.port, endpoint.encryption),
            (389, Encryption::StartTls)
        );
        assert_eq!(settings.user_search.scope, SearchScope::One);
        let groups = settings.group_search.unwrap();
        assert!(
            groups
                .matchers()
                .unwrap()
                .iter()
                .all(super::UserMatcher::is_dn)
        );
    }

    #[test]
    fn what_gives_passwords_away_or_finds_nobody_is_refused_by_its_field() {
        for (from, to, field) in [
            (
                r#""insecureSkipVerify": false"#,
                r#""insecureSkipVerify": true"#,
                "`insecureSkipVerify`",
            ),
            (
                r#""startTLS": true"#,
                r#""startTLS": false"#,
                "`insecureNoSSL`",
            ),
            (
                r#""bindPWFile": "password""#,
                r#""bindPW": "hunter2""#,
                "`bindPW`",
            ),
            (r#""bindPWFile": "password","#, "", "`bindDN`"),
            (r#""cn=admin,dc=example,dc=com""#, r#""""#, "`bindDN`"),
            ("ldap.example.com", "ldap.example.com:ldap", "`host`"),
            ("ldap.example.com", "ldap.example.com:0", "`host`"),
            ("ldap.example.com", "ldaps://ldap.example.com", "`host`"),
            ("ldap.example.com", "a/b", "`host`"),
            ("ldap.example.com", "", "`host`"),
            (
                r#""username": "uid""#,
                r#""username": "uid)(a""#,
                "`userSearch.username`",
            ),
            (
                r#""username": "uid""#,
                r#""username": """#,
                "`userSearch.username`",
            ),
            (
                r#""filter": "(objectClass=person)""#,
                r#""filter": "(objectClass=person""#,
                "`userSearch.filter`",
            ),
            (
                r#""filter": "(objectClass=person)""#,
                r#""filter": "(a=b)(c=d)""#,
                "`userSearch.filter`",
            ),
            ("ou=people,dc=example,dc=com", " ", "`userSearch.baseDN`"),
            (
                r#"{ "userAttr": "DN", "groupAttr": "member" }"#,
                "",
                "`groupSearch.userMatchers`",
            ),
            (
                r#""groupAttr": "member""#,
                r#""groupAttr": "*""#,
                "`groupSearch.userMatchers`",
            ),
        ] {
            let text = TKESTACK.replacen(from, to, 1);
            assert_ne!(text, TKESTACK, "{from}");
            let settings = read(&text).unwrap();
            let error = settings.check().unwrap_err();
            assert!(error.message().contains(field), "{to}: {error}");
            assert!(!format!("{error:?} {settings:?}").contains("hunter2"));
        }
        assert!(read(&TKESTACK.replace("usernamePrompt", "userNamePrompt")).is_err());
        assert!(read(&TKESTACK.replace("\"one\"", "\"base\"")).is_err());
    }

    #[test]
    fn the_port_follows_the_encryption() {
        for (host, changes, port) in [
            ("ldap.example.com", ("", ""), 389),
            ("ldap.example.com:10389", ("", ""), 10389),
            (
                "ldap.example.com",
                (r#""insecureNoSSL": true"#, r#""insecureNoSSL": false"#),
                389,
            ),
        ] {
            let text = TKESTACK
                .replace("ldap.example.com", host)
                .replace(changes.0, changes.1);
            assert_eq!(
                read(&text).unwrap().endpoint().unwrap().port,
                port,
                "{host}"
            );
        }
        let tls = TKESTACK.replace(r#""insecureNoSSL": true"#, r#""insecureNoSSL": false"#);
        let tls = tls.replace(r#""startTLS": true"#, r#""startTLS": false"#);
        assert_eq!(read(&tls).unwrap().endpoint().unwrap().port, 636);
        for host in ["localhost", "127.0.0.1:1389", "127.9.9.9"] {
            let plain = TKESTACK.replace("ldap.example.com", host);
            let plain = plain.replace(r#""startTLS": true"#, r#""startTLS": false"#);
            let endpoint = read(&plain).unwrap().endpoint().unwrap();
            assert_eq!(endpoint.encryption, Encryption::LoopbackOnly);
        }
    }
}
