use std::{sync::Arc, time::Duration};

use ldap3::{
    DerefAliases, Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry,
    SearchOptions,
};
use rustls::ClientConfig;

use super::{
    SearchScope,
    person::Entry,
    settings::{Encryption, Endpoint},
};
use crate::{Error, ErrorKind};

/// One conversation with a directory server.
pub(super) struct Session {
    ldap: Ldap,
    server: String,
    driver: tokio::task::JoinHandle<()>,
}

/// What a search found.
#[derive(Debug)]
pub(super) enum Found {
    All(Vec<Entry>),
    /// There is more than the limit.
    TooMany,
}

/// How long the server may take for one step.
const STEP: Duration = Duration::from_secs(5);

// Result codes of RFC 4511 appendix A.
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const REFERRAL: u32 = 10;
const CONSTRAINT_VIOLATION: u32 = 19;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const UNWILLING_TO_PERFORM: u32 = 53;

impl Session {
    pub(super) async fn open(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Result<Self, Error> {
        let scheme = match endpoint.encryption {
            Encryption::Tls => "ldaps",
            Encryption::StartTls | Encryption::LoopbackOnly => "ldap",
        };
        let url = format!("{scheme}://{}:{}", endpoint.host, endpoint.port);
        let settings = LdapConnSettings::new()
            .set_conn_timeout(STEP)
            .set_starttls(endpoint.encryption == Encryption::StartTls)
            .set_config(tls);
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &url)
            .await
            .map_err(|error| unavailable(&url, "cannot be reached", &error))?;
        let server = url.clone();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%server, %error, "conversation with the directory ended");
            }
        });
        Ok(Self {
            ldap,
            server: url,
            driver,
        })
    }

    /// Whether `password` is that of `dn`. Never asks with an empty one: servers say yes to that,
    /// and it means nothing (RFC 4513 §5.1.2).
    pub(super) async fn bind(&mut self, dn: &str, password: &str) -> Result<bool, Error> {
        if dn.is_empty() || password.is_empty() {
            return Ok(false);
        }
        let answer = self.ldap.with_timeout(STEP).simple_bind(dn, password).await;
        let answer = answer.map_err(|error| self.failed("a bind", &error))?;
        match answer.rc {
            SUCCESS => Ok(true),
            // All of these say no to this person and not that the server is broken: wrong,
            // without a password, or locked.
            INVALID_CREDENTIALS
            | INAPPROPRIATE_AUTHENTICATION
            | UNWILLING_TO_PERFORM
            | CONSTRAINT_VIOLATION => Ok(false),
            _ => Err(self.refused("a bind", &answer)),
        }
    }

    /// Stops being anybody.
    pub(super) async fn bind_anonymously(&mut self) -> Result<(), Error> {
        let answer = self.ldap.with_timeout(STEP).simple_bind("", "").await;
        let answer = answer.map_err(|error| self.failed("a bind", &error))?;
        match answer.rc {
            SUCCESS => Ok(()),
            _ => Err(self.refused("an anonymous bind", &answer)),
        }
    }

    /// Searches without following referrals or aliases.
    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: SearchScope,
        filter: &str,
        attributes: &[&str],
        limit: usize,
    ) -> Result<Found, Error> {
        let scope = match scope {
            SearchScope::Sub => Scope::Subtree,
            SearchScope::One => Scope::OneLevel,
        };
        let options = SearchOptions::new()
            .deref(DerefAliases::Never)
            .timelimit(i32::try_from(STEP.as_secs()).unwrap_or(1))
            // One more than the limit shows that there are more.
            .sizelimit(i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX));
        let ldap = self.ldap.with_timeout(STEP).with_search_options(options);
        let begun = ldap
            .streaming_search(base, scope, filter, attributes.to_vec())
            .await;
        let mut stream = begun.map_err(|error| self.failed("a search", &error))?;
        let mut entries = Vec::new();
        loop {
            match stream.next().await {
                Ok(None) => break,
                // What another server has is that server's to prove.
                Ok(Some(entry)) if entry.is_ref() || entry.is_intermediate() => {}
                Ok(Some(_)) if entries.len() >= limit => return Ok(Found::TooMany),
                Ok(Some(entry)) => {
                    let entry = SearchEntry::construct(entry);
                    entries.push(Entry::new(entry.dn, entry.attrs));
                }
                Err(error) => return Err(self.failed("a search", &error)),
            }
        }
        let answer = stream.finish().await;
        match answer.rc {
            SUCCESS => Ok(Found::All(entries)),
            SIZE_LIMIT_EXCEEDED => Ok(Found::TooMany),
            _ => Err(self.refused("a search", &answer)),
        }
    }

    /// Says good-bye, for servers that wait for it.
    pub(super) async fn close(mut self) {
        // The connection ends anyway.
        let _gone = self.ldap.unbind().await;
    }

    fn failed(&self, what: &str, error: &LdapError) -> Error {
        unavailable(&self.server, &format!("did not answer {what}"), error)
    }

    fn refused(&self, what: &str, answer: &LdapResult) -> Error {
        let server = &self.server;
        let message = if answer.rc == REFERRAL {
            format!(
                "the directory at `{server}` refers {what} to another server, which is not followed; name that one in the settings"
            )
        } else {
            format!(
                "the directory at `{server}` refused {what} with result {}",
                answer.rc
            )
        };
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The text of an error only: a value of it may hold the request, and with it a password.
fn unavailable(server: &str, what: &str, error: &LdapError) -> Error {
    let message = format!("the directory at `{server}` {what}");
    Error::new(ErrorKind::Unavailable, message).with_source(error.to_string())
}
