use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{OidcSettings, SignedToken, SigningAlgorithm, TokenError, VerifiedToken};
use crate::{
    Error,
    identity::provider::{MAX_GROUPS, outside_name},
};

/// Who a token stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OidcIdentity {
    /// User name, with its prefix.
    pub user: String,
    /// Groups, with their prefix, in the token's order, each once.
    pub groups: Vec<String>,
    /// Tenant, if the settings say how it is known.
    pub tenant: Option<String>,
    /// Who issued the token.
    pub issuer: String,
    /// What the issuer calls him: `sub`.
    pub subject: String,
    /// When the token was issued.
    pub issued: Timestamp,
    /// From when on the token proves nothing.
    pub expires: Timestamp,
}

/// Which tokens of an issuer count, and what becomes of their claims: checked settings.
#[derive(Clone, Debug)]
pub struct TokenRules {
    settings: OidcSettings,
    username_prefix: String,
}

impl TokenRules {
    /// The rules that `settings` state.
    ///
    /// # Errors
    ///
    /// As [`OidcSettings::check`].
    pub fn new(settings: OidcSettings) -> Result<Self, Error> {
        settings.check()?;
        let username_prefix = match settings.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            _ if settings.username_claim == "email" => String::new(),
            _ => format!("{}#", settings.issuer),
        };
        Ok(Self {
            settings,
            username_prefix,
        })
    }

    /// The settings that were checked.
    #[must_use]
    pub const fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Whether a token with a right signature would count; proves nothing on its own.
    ///
    /// # Errors
    ///
    /// The first of [`TokenError`] that applies.
    pub fn check(&self, token: &SignedToken<'_>, now: Timestamp) -> Result<(), TokenError> {
        let allowed = match self.settings.algorithms.as_slice() {
            [] => &SigningAlgorithm::ALL[..],
            some => some,
        };
        if !allowed.contains(&token.algorithm) {
            return Err(TokenError::Algorithm);
        }
        let claims = &token.claims;
        if text(claims, "iss")? != self.settings.issuer {
            return Err(TokenError::Issuer);
        }
        self.check_audience(claims)?;
        self.check_times(claims, now)?;
        for (claim, wanted) in &self.settings.required_claims {
            if text(claims, claim)? != wanted {
                return Err(bad(claim));
            }
        }
        Ok(())
    }

    /// Who a token stands for whose signature was right.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); and `EmailNotVerified`, `Name` or `Groups`.
    pub fn identity(
        &self,
        verified: &VerifiedToken<'_>,
        now: Timestamp,
    ) -> Result<OidcIdentity, TokenError> {
        let token = verified.token;
        self.check(token, now)?;
        let claims = &token.claims;
        let claim = &self.settings.username_claim;
        if claim == "email" && claims.get("email_verified").is_some_and(|it| it != true) {
            return Err(TokenError::EmailNotVerified);
        }
        let user = name(claim, &self.username_prefix, text(claims, claim)?)?;
        Ok(OidcIdentity {
            user,
            groups: self.groups(claims)?,
            tenant: self.tenant(claims)?,
            issuer: self.settings.issuer.clone(),
            subject: text(claims, "sub")?.to_owned(),
            issued: seconds(claims, "iat")?.ok_or_else(|| missing("iat"))?,
            expires: seconds(claims, "exp")?.ok_or_else(|| missing("exp"))?,
        })
    }

    /// Whether `token` answers the login that made `nonce`.
    pub(super) fn check_nonce(token: &SignedToken<'_>, nonce: &str) -> Result<(), TokenError> {
        if text(&token.claims, "nonce")? == nonce {
            Ok(())
        } else {
            Err(TokenError::Nonce)
        }
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let wanted = &self.settings.audiences;
        let audiences = texts(claims, "aud")?.ok_or_else(|| missing("aud"))?;
        let ours = |audience: &&str| wanted.iter().any(|each| each == audience);
        if !audiences.iter().any(ours) {
            return Err(TokenError::Audience);
        }
        let parties = || wanted.iter().chain(&self.settings.authorized_parties);
        match claims.get("azp") {
            // With strangers among the audiences only `azp` tells for whom it was made.
            None if audiences.iter().all(ours) => Ok(()),
            Some(Value::String(party)) if parties().any(|each| each == party) => Ok(()),
            None | Some(Value::String(_)) => Err(TokenError::AuthorizedParty),
            Some(_) => Err(bad("azp")),
        }
    }

    fn check_times(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenError> {
        let leeway = i64::from(self.settings.leeway_seconds);
        let now = now.as_second();
        let time = |claim| Ok(seconds(claims, claim)?.map(Timestamp::as_second));
        let expires = time("exp")?.ok_or_else(|| missing("exp"))?;
        if expires.saturating_add(leeway) <= now {
            return Err(TokenError::Expired);
        }
        if time("nbf")?.is_some_and(|from| from.saturating_sub(leeway) > now) {
            return Err(TokenError::NotYet);
        }
        let issued = time("iat")?.ok_or_else(|| missing("iat"))?;
        if issued.saturating_sub(leeway) > now {
            return Err(TokenError::FromTheFuture);
        }
        Ok(())
    }

    /// Who has no claim with a tenant is nobody: he would be of the default one.
    fn tenant(&self, claims: &Map<String, Value>) -> Result<Option<String>, TokenError> {
        match &self.settings.tenant_claim {
            Some(claim) => name(claim, "", text(claims, claim)?).map(Some),
            None => Ok(self.settings.tenant.clone()),
        }
    }

    fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<String>, TokenError> {
        let Some(claim) = &self.settings.groups_claim else {
            return Ok(Vec::new());
        };
        let elsewhere = claims
            .get("_claim_names")
            .and_then(|names| names.get(claim));
        if elsewhere.is_some() {
            return Err(bad(claim));
        }
        let given = texts(claims, claim)?.unwrap_or_default();
        if given.len() > MAX_GROUPS {
            return Err(TokenError::Groups {
                count: given.len(),
                max: MAX_GROUPS,
            });
        }
        let mut groups: Vec<String> = Vec::with_capacity(given.len());
        for group in given {
            let group = name(claim, &self.settings.groups_prefix, group)?;
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }
}

fn missing(claim: &str) -> TokenError {
    TokenError::Missing {
        claim: claim.to_owned(),
    }
}

fn bad(claim: &str) -> TokenError {
    TokenError::Claim {
        claim: claim.to_owned(),
    }
}

fn name(claim: &str, prefix: &str, given: &str) -> Result<String, TokenError> {
    outside_name(prefix, given).map_err(|why| TokenError::Name {
        claim: claim.to_owned(),
        why,
    })
}

fn text<'a>(claims: &'a Map<String, Value>, claim: &str) -> Result<&'a str, TokenError> {
    match claims.get(claim) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(bad(claim)),
        None => Err(missing(claim)),
    }
}

/// A claim that is one text or a list of them.
fn texts<'a>(
    claims: &'a Map<String, Value>,
    claim: &str,
) -> Result<Option<Vec<&'a str>>, TokenError> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(vec![text])),
        Some(Value::Array(list)) => {
            let texts = list
                .iter()
                .map(|each| each.as_str().ok_or_else(|| bad(claim)));
            texts.collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(bad(claim)),
    }
}

/// A time in seconds since 1970, whole or not (RFC 7519 §2, `NumericDate`).
fn seconds(claims: &Map<String, Value>, claim: &str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let whole = value.as_i64();
    let time = match whole {
        Some(whole) => Timestamp::from_second(whole).ok(),
        None => value
            .as_f64()
            .and_then(|fraction| jiff::SignedDuration::try_from_secs_f64(fraction).ok())
            .and_then(|since| Timestamp::from_duration(since).ok()),
    };
    time.map(Some).ok_or_else(|| bad(claim))
}

#[cfg(test)]
mod tests;
