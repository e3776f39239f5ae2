use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::https::HttpsUrl;
use crate::{Error, ErrorKind};

/// One issuer whose tokens prove people, as a configuration has it.
///
/// The names are those of kube-apiserver's flags. Stricter than there: several audiences are
/// stated, never assumed; names that begin with `system:` are refused; a groups claim that the
/// token only points to elsewhere is refused, for rules that forbid something to a group would
/// not be seen to match.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// Its `https` URL, byte for byte as tokens have it in `iss`.
    pub issuer: String,
    /// Client ids whose tokens count; a token's `aud` must have one of them.
    pub audiences: Vec<String>,
    /// Clients that may have asked for a token (`azp`) besides the `audiences`.
    #[serde(default)]
    pub authorized_parties: Vec<String>,
    /// Claim that is the user name; `sub` by default. `email` counts only when
    /// `email_verified` is absent or true.
    #[serde(default = "subject")]
    pub username_claim: String,
    /// What is put before user names. Without it the issuer's URL and `#`, except for the claim
    /// `email`; `-` for nothing.
    #[serde(default)]
    pub username_prefix: Option<String>,
    /// Claim with the groups, a text or a list of texts; without it nobody has groups.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// What is put before groups.
    #[serde(default)]
    pub groups_prefix: String,
    /// Tenant of everybody whom it knows; the default one without.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Claim with the tenant, in place of `tenant`; who has none of it is refused.
    #[serde(default)]
    pub tenant_claim: Option<String>,
    /// Claims that must have exactly this text.
    #[serde(default)]
    pub required_claims: BTreeMap<String, String>,
    /// Signatures that count; all that are known when empty.
    #[serde(default)]
    pub algorithms: Vec<SigningAlgorithm>,
    /// PEM file of the authority of the issuer's own certificate; the system's without it.
    #[serde(default)]
    pub certificate_authority: Option<PathBuf>,
    /// How far its clock may be from ours, in seconds: 0..=300.
    #[serde(default = "leeway")]
    pub leeway_seconds: u16,
}

/// A signature that can count. There is no `none` here, and nothing with a shared key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256, keys of 2048 to 8192 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519; `EdDSA` and, by RFC 9864, `Ed25519` in a header.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

impl SigningAlgorithm {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm that a header or a key calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Clocks that differ more are broken.
const MAX_LEEWAY: u16 = 300;

impl OidcSettings {
    /// Settings for one issuer and one client, with every default.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: vec![audience.into()],
            authorized_parties: Vec::new(),
            username_claim: subject(),
            username_prefix: None,
            groups_claim: None,
            groups_prefix: String::new(),
            tenant: None,
            tenant_claim: None,
            required_claims: BTreeMap::new(),
            algorithms: Vec::new(),
            certificate_authority: None,
            leeway_seconds: leeway(),
        }
    }

    /// Whether they can be used.
    ///
    /// # Errors
    ///
    /// `Misuse`, naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |what: String| Err(Error::new(ErrorKind::Misuse, what));
        let url = HttpsUrl::parse(&self.issuer)
            .map_err(|error| Error::new(ErrorKind::Misuse, format!("`issuer` {error}")))?;
        if url.has_query() {
            return bad("`issuer` has a query; it is a plain https URL".to_owned());
        }
        let texts = [
            ("username_claim", self.username_claim.as_str()),
            ("groups_claim", self.groups_claim.as_deref().unwrap_or("-")),
            ("tenant_claim", self.tenant_claim.as_deref().unwrap_or("-")),
            ("tenant", self.tenant.as_deref().unwrap_or("-")),
        ];
        if let Some((field, _)) = texts.into_iter().find(|(_, text)| text.is_empty()) {
            return bad(format!("`{field}` is empty; leave it out for the default"));
        }
        if self.tenant.is_some() && self.tenant_claim.is_some() {
            return bad("`tenant` and `tenant_claim` are both given; keep one of them".to_owned());
        }
        if self.audiences.is_empty() {
            return bad("`audiences` is empty; name the client ids whose tokens count".to_owned());
        }
        let clients = self.audiences.iter().chain(&self.authorized_parties);
        if clients.into_iter().any(String::is_empty) {
            return bad("a client id in `audiences` or `authorized_parties` is empty".to_owned());
        }
        if self.leeway_seconds > MAX_LEEWAY {
            let given = self.leeway_seconds;
            return bad(format!("`leeway_seconds` is {given}, limit {MAX_LEEWAY}"));
        }
        Ok(())
    }
}

fn subject() -> String {
    "sub".to_owned()
}

const fn leeway() -> u16 {
    30
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{OidcSettings, SigningAlgorithm};

    #[test]
    fn settings_that_would_let_anybody_in_are_refused() {
        let good = OidcSettings::new("https://id.example.com/realm", "dockin");
        good.check().unwrap();
        type Change = fn(&mut OidcSettings);
        let bad: [(Change, &str); 10] = [
            (
                |it| {
                    it.tenant = Some("acme".to_owned());
                    it.tenant_claim = Some("org".to_owned());
                },
                "`tenant_claim`",
            ),
            (|it| it.tenant = Some(String::new()), "`tenant`"),
            (
                |it| "http://id.example.com".clone_into(&mut it.issuer),
                "https",
            ),
            (
                |it| "https://id.example.com?x=1".clone_into(&mut it.issuer),
                "query",
            ),
            (
                |it| "https://a:b@id.example.com".clone_into(&mut it.issuer),
                "issuer",
            ),
            (|it| it.audiences.clear(), "audiences"),
            (|it| it.audiences.push(String::new()), "audiences"),
            (|it| it.username_claim.clear(), "username_claim"),
            (|it| it.groups_claim = Some(String::new()), "groups_claim"),
            (|it| it.leeway_seconds = 301, "300"),
        ];
        for (change, word) in bad {
            let mut settings = good.clone();
            change(&mut settings);
            let error = settings.check().unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn a_configuration_cannot_name_an_unsafe_signature() {
        for name in ["none", "None", "HS256", "RS1", "rs256", ""] {
            let text = format!("issuer: https://a\naudiences: [b]\nalgorithms: ['{name}']\n");
            assert!(
                serde_saphyr::from_str::<OidcSettings>(&text).is_err(),
                "{name}"
            );
            assert_eq!(SigningAlgorithm::named(name), None, "{name}");
        }
        let text = "issuer: https://a\naudiences: [b]\nalgorithms: [RS256, ES256, EdDSA]\n";
        let settings: OidcSettings = serde_saphyr::from_str(text).unwrap();
        assert_eq!(settings.algorithms, SigningAlgorithm::ALL);
    }
}
