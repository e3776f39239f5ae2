//! Who people are besides those of the token file and the accounts: OpenID Connect issuers, a
//! directory, service accounts of clusters; and in which order they are asked.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use dockin_core::{
    Error, ErrorKind,
    gateway::ClusterAccounts,
    identity::{ldap::LdapSettings, oidc::OidcSettings},
};
use serde::Deserialize;

use super::{Age, Cluster};

/// The key `identity`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityConfig {
    /// Issuers whose ID tokens count.
    #[serde(default)]
    pub(crate) oidc: Vec<OidcSettings>,
    /// The directory that knows the passwords of who has no account.
    #[serde(default)]
    pub(crate) ldap: Option<LdapSettings>,
    /// How old may be what the directory said of somebody who has a session.
    #[serde(default)]
    ldap_recheck: Option<Age>,
    /// Clusters whose service accounts may come.
    #[serde(default)]
    pub(crate) service_accounts: Vec<ServiceAccountsConfig>,
    /// Who is asked first, of those that are configured.
    #[serde(default)]
    order: Vec<Method>,
}

/// Service accounts of one cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceAccountsConfig {
    /// One of `clusters`, with a kubeconfig, or of `clusters_directory`; `*` for all of both.
    pub(crate) cluster: String,
    /// For whom their tokens are made.
    pub(crate) audiences: Vec<String>,
}

impl ServiceAccountsConfig {
    /// The audience for every cluster, when it is not about one.
    pub(crate) fn audience_of_all(&self) -> Option<&str> {
        let audience = self.audiences.first().map_or("", String::as_str);
        (self.cluster == "*").then_some(audience)
    }
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    /// Client certificates: `client_authority`.
    ClientCertificates,
    /// Session tokens, of accounts and of the directory: `accounts`.
    Sessions,
    /// The token file, with personal tokens in it.
    Tokens,
    /// ID tokens.
    Oidc,
    /// Tokens of service accounts.
    ServiceAccounts,
}

/// What the directory said counts for 5 minutes, unless the configuration has another time.
const RECHECK: Duration = Duration::from_secs(5 * 60);
/// Longer than that somebody who has left would stay.
const MAX_RECHECK: Duration = Duration::from_secs(60 * 60);

impl IdentityConfig {
    /// How old may be what the directory said.
    pub(crate) fn ldap_recheck(&self) -> Duration {
        self.ldap_recheck.map_or(RECHECK, |age| age.0)
    }

    /// Who is asked, in that order, when client certificates and accounts are there or not.
    pub(crate) fn order(&self, certificates: bool, accounts: bool) -> Vec<Method> {
        match self.order.as_slice() {
            [] => self.configured(certificates, accounts),
            order => order.to_vec(),
        }
    }

    /// What there is, in the order that counts without another.
    fn configured(&self, certificates: bool, accounts: bool) -> Vec<Method> {
        let all = [
            (Method::ClientCertificates, certificates),
            (Method::Sessions, accounts),
            (Method::Tokens, true),
            (Method::Oidc, !self.oidc.is_empty()),
            (Method::ServiceAccounts, !self.service_accounts.is_empty()),
        ];
        let there = all.into_iter().filter(|(_, there)| *there);
        there.map(|(method, _)| method).collect()
    }

    /// Whether it can be used with the rest of the configuration.
    ///
    /// # Errors
    ///
    /// `Misuse` naming the key.
    pub(super) fn check(
        &self,
        certificates: bool,
        accounts: bool,
        clusters: &[Cluster],
        has_directory: bool,
    ) -> Result<(), Error> {
        let bad = |what: String| Err(Error::new(ErrorKind::Misuse, format!("`identity`: {what}")));
        let within = |what: &str, error: &Error| {
            let message = format!("`identity.{what}`: {}", error.message());
            Error::new(ErrorKind::Misuse, message)
        };
        let mut issuers = BTreeSet::new();
        for settings in &self.oidc {
            settings.check().map_err(|error| within("oidc", &error))?;
            if !issuers.insert(&settings.issuer) {
                let issuer = &settings.issuer;
                return bad(format!(
                    "issuer `{issuer}` is given twice; put the audiences together"
                ));
            }
        }
        if let Some(settings) = &self.ldap {
            settings.check().map_err(|error| within("ldap", &error))?;
            if !accounts {
                return bad(
                    "`ldap` needs `accounts: { file: accounts.yaml, sessions: sessions }`: people \
                     get sessions for logging in"
                        .to_owned(),
                );
            }
        }
        let recheck = self.ldap_recheck();
        if recheck > MAX_RECHECK {
            return bad("`ldap_recheck` is 1h at most: so long somebody who left stays".to_owned());
        }
        self.check_service_accounts(clusters, has_directory)?;
        let configured = self.configured(certificates, accounts);
        let whole = self.order.len() == configured.len()
            && configured.iter().all(|method| self.order.contains(method));
        if !self.order.is_empty() && !whole {
            let names: Vec<&str> = configured.iter().map(|method| method.name()).collect();
            return bad(format!(
                "`order` names each once of what is configured: {}",
                names.join(", ")
            ));
        }
        Ok(())
    }

    fn check_service_accounts(
        &self,
        clusters: &[Cluster],
        has_directory: bool,
    ) -> Result<(), Error> {
        let bad = |what: String| {
            let message = format!("`identity.service_accounts`: {what}");
            Err(Error::new(ErrorKind::Misuse, message))
        };
        let mut all = self
            .service_accounts
            .iter()
            .filter_map(ServiceAccountsConfig::audience_of_all);
        let of_all = all.next();
        if all.next().is_some() {
            return bad("cluster `*` is given twice".to_owned());
        }
        let of_all = match of_all.map(ClusterAccounts::of_all).transpose() {
            Ok(accounts) => accounts,
            Err(error) => return bad(error.message().to_owned()),
        };
        let mut audiences = BTreeSet::new();
        for entry in &self.service_accounts {
            let ServiceAccountsConfig {
                cluster,
                audiences: own,
            } = entry;
            if entry.audience_of_all().is_some() {
                if own.len() != 1 {
                    return bad("cluster `*` has one audience".to_owned());
                }
                continue;
            }
            let found = clusters.iter().find(|one| one.name == *cluster);
            let usable = found.map_or(has_directory, |one| one.kubeconfig.is_some());
            if !usable {
                return bad(format!(
                    "`{cluster}` is none of `clusters` that have a `kubeconfig`, and there is no \
                     `clusters_directory`"
                ));
            }
            let is_others = |audience: &&String| {
                let named = of_all.as_ref().and_then(|all| all.cluster_of(audience));
                named.is_some_and(|name| name != cluster)
            };
            if let Some(audience) = own.iter().find(is_others) {
                // Or the token of that cluster would be sent to this one.
                return bad(format!(
                    "audience `{audience}` of `{cluster}` is that of another cluster by the \
                     audience of cluster `*`"
                ));
            }
            if own.is_empty() || own.iter().any(String::is_empty) {
                return bad(format!(
                    "`audiences` of `{cluster}` are empty; name this gateway"
                ));
            }
            for audience in own {
                // Or the token of one cluster would be sent to another, which could use it.
                if !audiences.insert(audience) {
                    return bad(format!(
                        "audience `{audience}` is given twice; each cluster needs its own"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Every path in it.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let oidc = self.oidc.iter_mut();
        let oidc = oidc.filter_map(|settings| settings.certificate_authority.as_mut());
        let ldap = self.ldap.iter_mut();
        let ldap =
            ldap.flat_map(|settings| [settings.root_ca.as_mut(), settings.bind_pw_file.as_mut()]);
        oidc.chain(ldap.flatten())
    }
}

impl Method {
    /// As the configuration calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::ClientCertificates => "client-certificates",
            Self::Sessions => "sessions",
            Self::Tokens => "tokens",
            Self::Oidc => "oidc",
            Self::ServiceAccounts => "service-accounts",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::Duration;

    use super::{Cluster, IdentityConfig, Method, ServiceAccountsConfig};

    const LDAP: &str = "
ldap:
  host: ldap.example.com
  rootCA: tls/ldap.pem
  bindDN: cn=dockin,dc=example,dc=com
  bindPWFile: ldap.password
  groupsPrefix: 'ldap:'
  userSearch: { baseDN: 'ou=people,dc=example,dc=com', username: uid, tenantAttr: o }
";
    const OIDC: &str = "
oidc:
  - { issuer: 'https://id.example.com', audiences: [dockin], certificate_authority: id.pem }
";
    const ROBOTS: &str = "
service_accounts:
  - { cluster: prod, audiences: [dockin-prod] }
";

    const ALL: &str = "  - { cluster: '*', audiences: ['dockin-{cluster}'] }\n";

    fn parsed(text: &str) -> IdentityConfig {
        serde_saphyr::from_str(text).unwrap()
    }

    fn checked(text: &str, accounts: bool) -> Result<(), String> {
        let clusters: Vec<Cluster> = serde_saphyr::from_str(
            "[ { name: prod, kubeconfig: p }, { name: test, kubeconfig: t }, { name: local } ]",
        )
        .unwrap();
        let checked = parsed(text).check(false, accounts, &clusters, text.contains("# directory"));
        checked.map_err(|error| error.message().to_owned())
    }

    #[test]
    fn everything_configured_is_asked_in_a_stated_order() {
        let all = format!("{OIDC}{LDAP}{ROBOTS}");
        let mut config = parsed(&all);
        assert_eq!(checked(&all, true), Ok(()));
        assert_eq!(
            config.order(true, true),
            [
                Method::ClientCertificates,
                Method::Sessions,
                Method::Tokens,
                Method::Oidc,
                Method::ServiceAccounts
            ]
        );
        assert_eq!(
            IdentityConfig::default().order(false, false),
            [Method::Tokens]
        );
        assert_eq!(config.paths().count(), 3);
        assert_eq!(config.ldap_recheck(), Duration::from_secs(300));
        let other = format!("{OIDC}order: [oidc, tokens]\nldap_recheck: 30s\n");
        assert_eq!(checked(&other, false), Ok(()));
        let config = parsed(&other);
        assert_eq!(config.order(false, false), [Method::Oidc, Method::Tokens]);
        assert_eq!(config.ldap_recheck(), Duration::from_secs(30));
    }

    #[test]
    fn service_accounts_of_clusters_that_are_not_there_yet_may_be_named() {
        let later = ROBOTS.replace("prod", "later");
        assert!(checked(&later, false).is_err());
        for good in [
            format!("{later}# directory\n"),
            format!("{ROBOTS}{ALL}"),
            format!("service_accounts:\n{ALL}"),
        ] {
            assert_eq!(checked(&good, false), Ok(()), "{good}");
        }
        let all = parsed(&format!("{ROBOTS}{ALL}"));
        let of_all: Vec<_> = all
            .service_accounts
            .iter()
            .map(ServiceAccountsConfig::audience_of_all)
            .collect();
        assert_eq!(of_all, [None, Some("dockin-{cluster}")]);
    }

    #[test]
    fn what_would_let_in_others_or_nobody_is_refused_by_its_key() {
        for (text, accounts, words) in [
            (LDAP.to_owned(), false, "`ldap` needs `accounts"),
            (
                LDAP.replace("rootCA: tls/ldap.pem", "insecureSkipVerify: true"),
                true,
                "insecureSkip",
            ),
            (
                LDAP.replace("bindPWFile: ldap.password", "bindPW: hunter2"),
                true,
                "`bindPW`",
            ),
            (format!("{LDAP}ldap_recheck: 2h\n"), true, "`ldap_recheck`"),
            (OIDC.replace("https", "http"), false, "`identity.oidc`"),
            (OIDC.replace("[dockin]", "[]"), false, "`audiences`"),
            (
                format!("{OIDC}{}", OIDC.replace("oidc:\n", "")),
                false,
                "given twice",
            ),
            (format!("{OIDC}order: [oidc]\n"), false, "tokens, oidc"),
            (format!("{OIDC}order: [tokens, tokens]\n"), false, "`order`"),
            ("order: [tokens, oidc]".to_owned(), false, "`order`"),
            (ROBOTS.replace("prod", "local"), false, "`kubeconfig`"),
            (ROBOTS.replace("prod", "nowhere"), false, "`nowhere`"),
            (ROBOTS.replace("[dockin-prod]", "[]"), false, "`audiences`"),
            (
                format!("{ROBOTS}  - {{ cluster: test, audiences: [dockin-prod] }}\n"),
                false,
                "`dockin-prod`",
            ),
            (
                ROBOTS.replace("prod, audiences: [dockin-prod]", "'*', audiences: [dockin]"),
                false,
                "`dockin-{cluster}`",
            ),
            (format!("{ROBOTS}{ALL}{ALL}"), false, "given twice"),
            (
                format!("{}{ALL}", ROBOTS.replace("[dockin-prod]", "[dockin-test]")),
                false,
                "another cluster",
            ),
        ] {
            let told = checked(&text, accounts).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        for unknown in [
            "oidcs: []",
            "order: [passwords]",
            "oidc: [ { issuers: [] } ]",
        ] {
            assert!(
                serde_saphyr::from_str::<IdentityConfig>(unknown).is_err(),
                "{unknown}"
            );
        }
    }
}
