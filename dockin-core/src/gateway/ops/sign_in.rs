//! `ctrl/login` and `ctrl/auth`: a session token of the gateway in the field's envelope.

use std::{sync::Arc, time::Instant};

use http::Response;
use jiff::{Timestamp, Zoned};

use super::{DockinOps, Gateway, PREFIX, Wish, answer::success, check_length};
use crate::{
    Error, ErrorKind,
    compat::{AccessToken, IV_SIZE},
    gateway::Call,
    identity::Proof,
    service::{Body, Peer},
};

/// A token, and how long it is good for.
struct SignedIn {
    token: AccessToken,
    sealed: String,
    now: Zoned,
    seconds: i64,
}

impl Gateway {
    /// The identity of who shows a token, or a name with its password.
    pub(super) async fn ops_login(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        let Some(shown) = wish.header_token()? else {
            let signed = self.ops_sign_in(ops, peer, wish).await?;
            let identity = signed
                .token
                .identity(&signed.sealed, &signed.now, signed.seconds);
            return Ok(success(identity));
        };
        let (call, rule) = self.ops_let_in(ops, peer, wish, None).await?;
        let token = AccessToken {
            user: call.principal.user.clone(),
            rule,
            secret: String::new(),
        };
        // How much longer it is good for is the token's own affair.
        Ok(success(token.identity(&shown, &Zoned::now(), LEFT)))
    }

    /// The token of who knows the password of a name.
    pub(super) async fn ops_auth(
        &self,
        ops: &Arc<DockinOps>,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<Response<Body>, Error> {
        Ok(success(self.ops_sign_in(ops, peer, wish).await?.sealed))
    }

    async fn ops_sign_in(
        &self,
        ops: &DockinOps,
        peer: &Peer,
        wish: &Wish,
    ) -> Result<SignedIn, Error> {
        let logins = self.logins()?;
        let user = wish.text("userName")?;
        let malformed = |what: &str| Error::new(ErrorKind::Malformed, what);
        if user.is_empty() {
            return Err(malformed("`userName` is missing"));
        }
        let password = ops.key.open(wish.text("password")?)?;
        let password = String::from_utf8(password)
            .ok()
            .filter(|password| !password.is_empty())
            .ok_or_else(|| malformed("`password` is empty, or sealed with another key"))?;
        let rule = match wish.text("rule")? {
            "" => super::DEFAULT_RULE,
            rule => rule,
        };
        check_length(rule, "rule")?;
        let address = peer.address.ip();
        if !ops.rules.get(rule).is_some_and(|list| list.admits(address)) {
            let message = format!(
                "rule `{rule}` is not to be had from {address}: it is not known, or the address \
                 is not in its `whitelist`"
            );
            let error = Error::new(ErrorKind::Forbidden, message);
            self.auditor.login_failed(peer.address, &error).await?;
            return Err(error);
        }
        let known = logins
            .passwords
            .login(user, &password, address, Instant::now())
            .await;
        let person = match known {
            Ok(person) => person,
            Err(error) => {
                self.auditor.login_failed(peer.address, &error).await?;
                return Err(error);
            }
        };
        let now = Timestamp::now();
        let issued = logins.sessions.issue(&person, now).await?;
        let call = Call {
            principal: person.principal(Proof::Session),
            client: peer.address,
            kubectl: None,
            spdy: false,
        };
        let told = format!(
            "logged in by {PREFIX}: session `{}` until {}",
            issued.id, issued.expires
        );
        self.auditor.identity_changed(&call, told).await?;
        let token = AccessToken {
            user: person.user().to_owned(),
            rule: rule.to_owned(),
            secret: issued.token,
        };
        let seconds = issued.expires.as_second() - now.as_second();
        let now = Zoned::now();
        let sealed = token.seal(&ops.key, initial_value()?, &now, seconds)?;
        Ok(SignedIn {
            token,
            sealed,
            now,
            seconds,
        })
    }
}

/// What a token that is shown again is said to be good for, in seconds: what the predecessor says.
const LEFT: i64 = 3600;

fn initial_value() -> Result<[u8; IV_SIZE], Error> {
    let mut bytes = [0; IV_SIZE];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no random bytes")
            .with_source(error.to_string())
    })?;
    Ok(bytes)
}
