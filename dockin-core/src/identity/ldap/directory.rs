use std::{path::Path, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::{
    LdapPerson, LdapSettings, UserMatcher, filter,
    person::Entry,
    session::{Found, Session},
    settings::Endpoint,
};
use crate::{
    Error, ErrorKind,
    identity::provider::{MAX_GROUPS, client_config},
};

/// A directory server that knows people's passwords and groups.
///
/// One connection for each login; sixteen at once, so that a flood of logins does not become one
/// of connections. How often somebody may try is for the caller to limit.
#[derive(Clone, Debug)]
pub struct LdapDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    settings: LdapSettings,
    endpoint: Endpoint,
    matchers: Vec<UserMatcher>,
    tls: Arc<ClientConfig>,
    time_limit: Duration,
    places: Semaphore,
}

/// Of one login, from the first byte to the last.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Logins at once.
const PLACES: usize = 16;
/// Bytes of what a person types.
const MAX_USER: usize = 256;
const MAX_PASSWORD: usize = 1024;
/// Values of one attribute that groups are searched by.
const MAX_VALUES: usize = 64;

impl LdapDirectory {
    /// The directory that `settings` name. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `Misuse` when the settings cannot be used, naming the field, or a file of theirs not be
    /// read.
    pub fn new(settings: LdapSettings) -> Result<Self, Error> {
        Self::with_time_limit(settings, TIME_LIMIT)
    }

    /// The same, with another time for a whole login.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_time_limit(settings: LdapSettings, time_limit: Duration) -> Result<Self, Error> {
        settings.check()?;
        let groups = settings.group_search.as_ref();
        let inner = Inner {
            endpoint: settings.endpoint()?,
            matchers: groups.map_or(Ok(Vec::new()), super::GroupSearch::matchers)?,
            tls: client_config(settings.root_ca.as_deref())?,
            time_limit,
            places: Semaphore::new(PLACES),
            settings,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What a page asks for instead of "user name".
    #[must_use]
    pub fn username_prompt(&self) -> Option<&str> {
        self.inner.settings.username_prompt.as_deref()
    }

    /// Who `user` is, when `password` is his.
    ///
    /// # Errors
    ///
    /// `Unauthenticated`, in the same words for an unknown name, a wrong password, an empty one,
    /// and a name that several entries have (which the log tells); `Unavailable` when the
    /// directory cannot be asked or its answer not be used. The password is in none of them.
    pub async fn login(&self, user: &str, password: &str) -> Result<LdapPerson, Error> {
        self.check(user, password).await?.ok_or_else(wrong)
    }

    /// The same; none where [`login`](Self::login) says that name or password is wrong.
    ///
    /// # Errors
    ///
    /// As [`login`](Self::login), for somebody whose password is right and whose entry is nobody
    /// who can log in.
    pub async fn check(&self, user: &str, password: &str) -> Result<Option<LdapPerson>, Error> {
        if !can_be_a_name(user) || password.is_empty() || password.len() > MAX_PASSWORD {
            return Ok(None);
        }
        self.ask(user, Some(password)).await
    }

    /// Who logs in as `user`, asked as the service; none when there is nobody of that name, or
    /// several.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn find(&self, user: &str) -> Result<Option<LdapPerson>, Error> {
        if !can_be_a_name(user) {
            return Ok(None);
        }
        self.ask(user, None).await
    }

    /// Asks in a task of its own, because the LDAP library panics at some answers that are not
    /// LDAP.
    async fn ask(&self, user: &str, password: Option<&str>) -> Result<Option<LdapPerson>, Error> {
        let inner = Arc::clone(&self.inner);
        let (user, password) = (user.to_owned(), password.map(str::to_owned));
        let asked = async move {
            let Ok(_place) = inner.places.acquire().await else {
                return Err(inner.failed("is not asked any more"));
            };
            inner.person(&user, password.as_deref()).await
        };
        let mut task = Abort(tokio::spawn(asked));
        match tokio::time::timeout(self.inner.time_limit, &mut task.0).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.inner.failed("answers what is not LDAP")),
            Err(_) => Err(self.inner.failed("took too long for a login")),
        }
    }
}

impl Inner {
    /// Who `user` is; none when a password is given that is not his.
    async fn person(
        &self,
        user: &str,
        password: Option<&str>,
    ) -> Result<Option<LdapPerson>, Error> {
        let mut session = Session::open(&self.endpoint, Arc::clone(&self.tls)).await?;
        self.bind_service(&mut session).await?;
        let Some(entry) = self.find(&mut session, user).await? else {
            return Ok(None);
        };
        if let Some(password) = password {
            if !session.bind(&entry.dn, password).await? {
                return Ok(None);
            }
            // What a person may search is not what the service may.
            self.bind_service(&mut session).await?;
        }
        let groups = self.groups(&mut session, &entry).await?;
        session.close().await;
        let name = self
            .settings
            .group_search
            .as_ref()
            .map_or("", |search| &search.name_attr);
        let person = LdapPerson::new(&self.settings, &entry, name, &groups);
        person.map(Some).map_err(|error| {
            tracing::warn!(dn = %entry.dn.escape_debug(), %error, "person of the directory refused");
            Error::new(ErrorKind::Unauthenticated, error.to_string())
        })
    }

    async fn bind_service(&self, session: &mut Session) -> Result<(), Error> {
        let Some(path) = &self.settings.bind_pw_file else {
            return session.bind_anonymously().await;
        };
        let password = secret(path).await?;
        if session.bind(&self.settings.bind_dn, &password).await? {
            return Ok(());
        }
        let message = "does not take the service's password; are `bindDN` and `bindPWFile` right?";
        Err(self.failed(message))
    }

    async fn find(&self, session: &mut Session, user: &str) -> Result<Option<Entry>, Error> {
        let search = &self.settings.user_search;
        let filter = filter::equals(&search.filter, &search.username, user);
        let mut attributes = vec![
            search.username.as_str(),
            search.id_attr.as_str(),
            search.email_attr.as_str(),
        ];
        attributes.extend(search.name_attr.as_deref());
        attributes.extend(search.preferred_username_attr.as_deref());
        attributes.extend(search.tenant_attr.as_deref());
        let matched = self.matchers.iter().filter(|matcher| !matcher.is_dn());
        attributes.extend(matched.map(|matcher| matcher.user_attr.as_str()));
        attributes.sort_unstable();
        attributes.dedup();
        let found = session
            .search(&search.base_dn, search.scope, &filter, &attributes, 1)
            .await?;
        let Found::All(mut entries) = found else {
            let attribute = &search.username;
            tracing::warn!(%attribute, "several entries of the directory match; nobody can log in by it");
            return Ok(None);
        };
        Ok(entries.pop().filter(|entry| !entry.dn.is_empty()))
    }

    async fn groups(&self, session: &mut Session, person: &Entry) -> Result<Vec<Entry>, Error> {
        let mut groups = Vec::new();
        let Some(search) = &self.settings.group_search else {
            return Ok(groups);
        };
        let dn = std::slice::from_ref(&person.dn);
        for matcher in &self.matchers {
            let values = if matcher.is_dn() {
                dn
            } else {
                person.values(&matcher.user_attr)
            };
            if values.len() > MAX_VALUES {
                return Err(self.failed("has too many values to search groups by"));
            }
            for value in values {
                let filter = filter::equals(&search.filter, &matcher.group_attr, value);
                let names = [search.name_attr.as_str()];
                let limit = MAX_GROUPS.saturating_sub(groups.len());
                let found = session
                    .search(&search.base_dn, search.scope, &filter, &names, limit)
                    .await?;
                match found {
                    Found::All(more) => groups.extend(more),
                    // Some of them only would be wrong: a rule may forbid something to the others.
                    Found::TooMany => return Err(self.failed("has too many groups for a person")),
                }
            }
        }
        Ok(groups)
    }

    fn failed(&self, what: &str) -> Error {
        let Endpoint { host, port, .. } = &self.endpoint;
        let message = format!("the directory at `{host}:{port}` {what}");
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.endpoint.host, self.endpoint.port)
    }
}

fn can_be_a_name(user: &str) -> bool {
    !user.trim().is_empty() && user.len() <= MAX_USER && !user.chars().any(char::is_control)
}

/// Ends a login that nobody waits for any more.
struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn wrong() -> Error {
    let message = "user name or password is wrong; try again, or ask who keeps the directory";
    Error::new(ErrorKind::Unauthenticated, message)
}

/// The password in a file, without the line's end that editors put there.
async fn secret(path: &Path) -> Result<String, Error> {
    let shown = path.display();
    let bad = |what: &str| {
        Error::new(
            ErrorKind::Unavailable,
            format!("`bindPWFile` `{shown}` {what}"),
        )
    };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| bad("cannot be read").with_source(error.kind().to_string()))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(bad("has no password in it"));
    }
    Ok(password.to_owned())
}
