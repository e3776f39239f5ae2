use std::{fmt, path::PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Challenge, Discovery, OidcIdentity, OidcIssuer, OidcSettings, SignedToken, TokenRules,
    https::HttpsUrl, issuer::refused, pkce::form,
};
use crate::{Error, ErrorKind};

/// Where and as which client a person logs in.
#[derive(Clone)]
// Exhaustive: what a person at a command line states.
pub struct LoginSettings {
    /// The issuer's `https` URL.
    pub issuer: String,
    /// The client id that the issuer knows this program by.
    pub client_id: String,
    /// The client's secret, for issuers that give one even to programs that cannot keep it.
    pub client_secret: Option<String>,
    /// Scopes besides `openid`, such as `email` or `groups`.
    pub scopes: Vec<String>,
    /// PEM file of the authority of the issuer's certificate; the system's without it.
    pub certificate_authority: Option<PathBuf>,
}

impl fmt::Debug for LoginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginSettings({} at {})", self.client_id, self.issuer)
    }
}

/// Logs a person in at an issuer: authorization code with PKCE (RFC 7636), for programs on the
/// person's own machine (RFC 8252).
///
/// [`begin`](Self::begin) gives the address for the browser; the browser comes back to the
/// redirect address with a query, and [`PendingLogin::finish`] makes a token of that.
#[derive(Debug)]
pub struct OidcLogin {
    settings: LoginSettings,
    issuer: OidcIssuer,
    discovery: Discovery,
    authorization: HttpsUrl,
    token: HttpsUrl,
}

/// A login whose answer has not come.
#[derive(Debug)]
pub struct PendingLogin<'a> {
    login: &'a OidcLogin,
    challenge: Challenge,
    redirect: String,
    url: String,
}

/// What a login gave. `Debug` does not show the token.
pub struct LoginTokens {
    /// The ID token: the bearer token for a gateway that trusts this issuer and client.
    pub id_token: String,
    /// Who it stands for, by the issuer's own words: without any gateway's prefixes.
    pub identity: OidcIdentity,
}

impl fmt::Debug for LoginTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginTokens({:?})", self.identity)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl OidcLogin {
    /// Asks the issuer where its pages are.
    ///
    /// # Errors
    ///
    /// `Misuse` when the settings cannot be used, `Unavailable` when the issuer cannot be reached
    /// or has no such login.
    pub async fn discover(settings: LoginSettings) -> Result<Self, Error> {
        let mut checks = OidcSettings::new(&settings.issuer, &settings.client_id);
        checks.username_prefix = Some("-".to_owned());
        checks
            .certificate_authority
            .clone_from(&settings.certificate_authority);
        let issuer = OidcIssuer::new(checks)?;
        let discovery = issuer.discover().await?;
        let lacks = |what: &str| {
            let message = format!(
                "the identity provider at `{}` has no {what}",
                settings.issuer
            );
            Error::new(ErrorKind::Unavailable, message)
        };
        let authorization = discovery
            .authorization
            .clone()
            .ok_or_else(|| lacks("authorization endpoint"))?;
        let token = discovery
            .token
            .clone()
            .ok_or_else(|| lacks("token endpoint"))?;
        Ok(Self {
            settings,
            issuer,
            discovery,
            authorization,
            token,
        })
    }

    /// Begins a login whose answer comes to `redirect`, `http://127.0.0.1:PORT/PATH`.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the system has no randomness to give.
    pub fn begin(&self, redirect: &str) -> Result<PendingLogin<'_>, Error> {
        let mut entropy = [0; 96];
        getrandom::fill(&mut entropy).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the system gives no random bytes")
                .with_source(error.to_string())
        })?;
        let challenge = Challenge::from_entropy(&entropy);
        Ok(PendingLogin {
            url: self.url(&challenge, redirect),
            login: self,
            challenge,
            redirect: redirect.to_owned(),
        })
    }

    fn url(&self, challenge: &Challenge, redirect: &str) -> String {
        let mut scopes = "openid".to_owned();
        for scope in self
            .settings
            .scopes
            .iter()
            .filter(|scope| *scope != "openid")
        {
            scopes.push(' ');
            scopes.push_str(scope);
        }
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", redirect),
            ("scope", &scopes),
            ("state", challenge.state()),
            ("nonce", challenge.nonce()),
            ("code_challenge", &challenge.code_challenge()),
            ("code_challenge_method", "S256"),
        ]);
        let between = if self.authorization.has_query() {
            '&'
        } else {
            '?'
        };
        format!("{}{between}{query}", self.authorization)
    }

    async fn exchange(&self, pending: &PendingLogin<'_>, code: &str) -> Result<String, Error> {
        let mut members = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &pending.redirect),
            ("client_id", &self.settings.client_id),
            ("code_verifier", pending.challenge.verifier()),
        ];
        if let Some(secret) = &self.settings.client_secret {
            members.push(("client_secret", secret));
        }
        let (status, body) = self
            .issuer
            .client()
            .post(&self.token, form(&members))
            .await?;
        if !status.is_success() {
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            let why = serde_json::from_slice::<Refusal>(&body)
                .ok()
                .filter(|it| it.error.len() <= 64 && it.error.chars().all(word))
                .map_or_else(|| format!("HTTP {}", status.as_u16()), |it| it.error);
            let message = format!("the identity provider gave no token for the login: {why}");
            return Err(Error::new(ErrorKind::Unauthenticated, message));
        }
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        answer.and_then(|answer| answer.id_token).ok_or_else(|| {
            let message = "the identity provider's answer has no `id_token`; is this client made \
                           for OpenID Connect?";
            Error::new(ErrorKind::Misbehaved, message)
        })
    }
}

impl PendingLogin<'_> {
    /// The address for the person's browser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether `query` answers this login. A listener passes over what does not: any page in the
    /// browser can call a loopback address.
    #[must_use]
    pub fn is_answer(&self, query: &str) -> bool {
        !matches!(self.code(query), Err(super::CallbackError::State))
    }

    /// Makes a token of the answer: exchanges the code, and checks signature, issuer, audience,
    /// times and nonce of the token before anybody gets it.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` when the issuer refused or the token is not for this login; else as
    /// [`OidcIssuer::authenticate`].
    pub async fn finish(self, query: &str, now: Timestamp) -> Result<LoginTokens, Error> {
        let code = self
            .code(query)
            .map_err(|error| Error::new(ErrorKind::Unauthenticated, error.to_string()))?;
        let text = self.login.exchange(&self, &code).await?;
        let token = SignedToken::decode(&text).map_err(refused)?;
        TokenRules::check_nonce(&token, self.challenge.nonce()).map_err(refused)?;
        let identity = self.login.issuer.verify(&token, now).await?;
        Ok(LoginTokens {
            id_token: text,
            identity,
        })
    }

    fn code(&self, query: &str) -> Result<String, super::CallbackError> {
        let discovery = &self.login.discovery;
        self.challenge
            .code(query, &discovery.issuer, discovery.names_itself)
    }
}
