//! Logging in and out, and the personal tokens of who has logged in.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Call, Gateway, bearer};
use crate::{
    Error, ErrorKind,
    identity::{Passwords, Proof, SessionTokens, TokenFile, TokenRecord},
    service::{self, Body},
};

/// What people log in with and get for it.
pub struct Logins {
    /// Who has a password.
    pub passwords: Arc<Passwords>,
    /// What they get for it.
    pub sessions: Arc<SessionTokens>,
    /// What they may make themselves then, for programs.
    pub tokens: Arc<TokenFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    user: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    note: String,
    days: u32,
}

/// Bytes of what is sent to log in or for a token.
const MAX_BODY: usize = 8 * 1024;
/// How long sending it may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Gateway {
    /// A session token for the right name and password.
    pub(super) async fn login(
        &self,
        client: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let logins = self.logins()?;
        let sent: Password = body(request, "{ \"user\": …, \"password\": … }").await?;
        let known = logins
            .passwords
            .login(&sent.user, &sent.password, client.ip(), Instant::now())
            .await;
        let person = match known {
            Ok(person) => person,
            Err(error) => {
                self.auditor.login_failed(client, &error).await?;
                return Err(error);
            }
        };
        let issued = logins.sessions.issue(&person, Timestamp::now()).await?;
        let call = Call {
            principal: person.principal(Proof::Session),
            client,
            kubectl: None,
            spdy: false,
        };
        let told = format!(
            "logged in: session `{}` until {}",
            issued.id, issued.expires
        );
        self.auditor.identity_changed(&call, told).await?;
        Ok(secret(&json!({
            "user": person.user(),
            "groups": person.groups(),
            "token": issued.token,
            "expires": issued.expires.to_string(),
        })))
    }

    /// Ends the session whose token the request came with.
    pub(super) async fn logout(
        &self,
        call: &Call,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Error> {
        let logins = self.logins()?;
        let token = bearer(headers).unwrap_or_default();
        if call.principal.proof != Proof::Session {
            let what = "only what `dockctl login` gave can be ended; revoke a token instead";
            return Err(Error::new(ErrorKind::Malformed, what));
        }
        let id = logins.sessions.revoke(&token, Timestamp::now()).await?;
        self.auditor
            .identity_changed(call, format!("logged out: session `{id}`"))
            .await?;
        Ok(service::json(&json!({ "ended": id })))
    }

    /// Lists, makes and revokes the caller's personal tokens.
    pub(super) async fn own_tokens(
        &self,
        call: &Call,
        id: Option<&str>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let logins = self.logins()?;
        let user = &call.principal.user;
        if request.method() == Method::GET {
            let own = logins.tokens.personal(user).await?;
            let own: Vec<Value> = own.iter().map(described).collect();
            return Ok(service::json(&json!({ "tokens": own })));
        }
        if call.principal.proof != Proof::Session {
            // Or a token could outlive its time by making others.
            let what = "personal tokens are made and revoked in a session: `dockctl login` first";
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        if let Some(id) = id {
            logins.tokens.revoke_personal(user, id).await?;
            let told = format!("personal token `{id}` revoked");
            self.auditor.identity_changed(call, told).await?;
            return Ok(service::json(&json!({ "revoked": id })));
        }
        if !logins.passwords.accounts().has(user).await? {
            // They stand for an account, with what it is in when they are shown.
            let what = "personal tokens are for people with an account of this gateway; log in \
                        again when your session ends";
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        let wish: Wish = body(request, "{ \"note\": …, \"days\": 1 to 90 }").await?;
        let now = Timestamp::now();
        let made = logins
            .tokens
            .add_personal(user, &wish.note, wish.days, now)
            .await?;
        let mut answer = described(&made.record);
        let told = format!(
            "personal token `{}` made",
            made.record.personal.as_deref().unwrap_or_default()
        );
        self.auditor.identity_changed(call, told).await?;
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("token".to_owned(), made.token.into());
        }
        Ok(secret(&answer))
    }

    pub(super) fn logins(&self) -> Result<&Logins, Error> {
        self.logins.as_ref().ok_or_else(|| {
            let what = "this gateway has no accounts to log in to: ask who keeps it for a token";
            Error::new(ErrorKind::NotFound, what)
        })
    }
}

fn described(record: &TokenRecord) -> Value {
    json!({
        "id": record.personal,
        "note": record.note,
        "created": record.created.to_string(),
        "expires": record.expires.map(|end| end.to_string()),
    })
}

/// An answer that nobody on the way keeps.
pub(super) fn secret(document: &Value) -> Response<Body> {
    let mut response = service::json(document);
    let never = http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

/// The document that was sent. What is wrong with it is not quoted: it may be a password.
pub(super) async fn body<T: DeserializeOwned>(
    request: Request<Incoming>,
    shape: &str,
) -> Result<T, Error> {
    let malformed = || Error::new(ErrorKind::Malformed, format!("JSON `{shape}` is expected"));
    let read = Limited::new(request.into_body(), MAX_BODY).collect();
    let read = tokio::time::timeout(PATIENCE, read).await;
    let read = read.ok().and_then(Result::ok).ok_or_else(malformed)?;
    serde_json::from_slice(&read.to_bytes()).map_err(|_| malformed())
}
