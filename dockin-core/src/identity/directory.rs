//! People whom somebody else keeps: the [`PeopleDirectory`] port.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{Principal, Proof};
use crate::Error;

/// A directory that knows people's passwords and what they are in.
#[async_trait]
pub trait PeopleDirectory: Send + Sync {
    /// Who `login` is, when `password` is his; none when name or password is wrong.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` and why, for somebody whose password is right and who cannot log in all
    /// the same; `Unavailable` when it cannot be known now. The password is in none of them.
    async fn check(&self, login: &str, password: &str) -> Result<Option<DirectoryPerson>, Error>;

    /// Who `login` is now; none when there is nobody of that name any more.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    async fn find(&self, login: &str) -> Result<Option<DirectoryPerson>, Error>;
}

/// Somebody of a [`PeopleDirectory`].
#[derive(Clone, Debug, Eq, PartialEq)]
// Exhaustive: an adapter fills it.
pub struct DirectoryPerson {
    /// User name.
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Tenant whose access rules count for him.
    pub tenant: Option<String>,
    /// What he is found by again.
    pub login: String,
    /// What never changes for him: somebody else who gets the name later has another.
    pub id: String,
}

impl DirectoryPerson {
    /// Whom the entry stands for.
    #[must_use]
    pub fn principal(&self, proof: Proof) -> Arc<Principal> {
        let mut principal = Principal::new(&self.user, self.groups.clone(), proof);
        principal.tenant.clone_from(&self.tenant);
        Arc::new(principal)
    }
}

/// A directory whose answers about people are kept for a while, so that not every request of a
/// session asks it.
///
/// After that time the next request of the person asks again, and what the directory says then
/// counts: other groups, or that he is gone. While it cannot be asked nobody gets in whose answer
/// is too old.
pub struct CheckedPeople {
    directory: Arc<dyn PeopleDirectory>,
    every: Duration,
    known: Mutex<HashMap<String, Slot>>,
}

/// What is known of one person, and when it was asked; whoever holds the lock may ask.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Option<DirectoryPerson>)>>>;

/// People remembered at once. With more of them than that the directory is asked more often.
const MANY: usize = 4096;

impl CheckedPeople {
    /// Answers of `directory`, each good for `every`.
    pub fn new(directory: Arc<dyn PeopleDirectory>, every: Duration) -> Self {
        Self {
            directory,
            every,
            known: Mutex::default(),
        }
    }

    /// Who logs in with that name and password; asks always.
    ///
    /// # Errors
    ///
    /// Those of [`PeopleDirectory::check`].
    pub async fn check(
        &self,
        login: &str,
        password: &str,
    ) -> Result<Option<DirectoryPerson>, Error> {
        let person = self.directory.check(login, password).await?;
        if let Some(person) = &person {
            let slot = self.slot(&person.login);
            *slot.lock().await = Some((Instant::now(), Some(person.clone())));
        }
        Ok(person)
    }

    /// Who `login` is, as far as is known since [`new`](Self::new)'s time; requests that come
    /// together ask once.
    ///
    /// # Errors
    ///
    /// Those of [`PeopleDirectory::find`].
    pub async fn find(&self, login: &str) -> Result<Option<DirectoryPerson>, Error> {
        let slot = self.slot(login);
        let mut known = slot.lock().await;
        if let Some((at, person)) = &*known
            && at.elapsed() < self.every
        {
            return Ok(person.clone());
        }
        // If it cannot be asked what was known stays too old, and the next one asks again.
        let person = self.directory.find(login).await?;
        *known = Some((Instant::now(), person.clone()));
        Ok(person)
    }

    fn slot(&self, login: &str) -> Slot {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY && !known.contains_key(login) {
            known.clear();
        }
        Arc::clone(known.entry(login.to_owned()).or_default())
    }
}

impl fmt::Debug for CheckedPeople {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedPeople")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use async_trait::async_trait;

    use super::{CheckedPeople, DirectoryPerson, MANY, PeopleDirectory};
    use crate::{Error, ErrorKind};

    /// Knows one person at most, and counts who asks.
    #[derive(Default)]
    pub(in crate::identity) struct One {
        pub(in crate::identity) person: Mutex<Option<DirectoryPerson>>,
        pub(in crate::identity) password: &'static str,
        pub(in crate::identity) away: Mutex<bool>,
        pub(in crate::identity) asked: AtomicUsize,
    }

    impl One {
        pub(in crate::identity) fn knowing(user: &str, login: &str) -> Arc<Self> {
            let person = DirectoryPerson {
                user: user.to_owned(),
                groups: vec!["dev".to_owned()],
                tenant: None,
                login: login.to_owned(),
                id: "1".to_owned(),
            };
            Arc::new(Self {
                person: Mutex::new(Some(person)),
                password: "right",
                ..Self::default()
            })
        }
    }

    #[async_trait]
    impl PeopleDirectory for One {
        async fn check(
            &self,
            login: &str,
            password: &str,
        ) -> Result<Option<DirectoryPerson>, Error> {
            let found = self.find(login).await?;
            Ok(found.filter(|_| password == self.password))
        }

        async fn find(&self, login: &str) -> Result<Option<DirectoryPerson>, Error> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if *self.away.lock().unwrap() {
                return Err(Error::new(ErrorKind::Unavailable, "away"));
            }
            let known = self.person.lock().unwrap().clone();
            Ok(known.filter(|person| person.login == login))
        }
    }

    #[tokio::test]
    async fn an_answer_is_good_for_a_while_and_then_asked_for_again() {
        let directory = One::knowing("alice", "alice");
        let hour = Duration::from_secs(3600);
        let long = CheckedPeople::new(directory.clone(), hour);
        let short = CheckedPeople::new(directory.clone(), Duration::ZERO);
        let together = (0..20).map(|_| long.find("alice"));
        let all = futures::future::join_all(together).await;
        assert!(all.iter().all(|one| one.as_ref().unwrap().is_some()));
        assert_eq!(directory.asked.load(Ordering::Relaxed), 1);
        *directory.person.lock().unwrap() = None;
        assert!(long.find("alice").await.unwrap().is_some());
        assert!(short.find("alice").await.unwrap().is_none());
        *directory.away.lock().unwrap() = true;
        assert!(long.find("alice").await.unwrap().is_some());
        let error = short.find("alice").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_crowd_of_names_is_not_kept() {
        let people = CheckedPeople::new(One::knowing("a", "a"), Duration::from_secs(3600));
        for number in 0..2 * MANY {
            people.find(&number.to_string()).await.unwrap();
        }
        assert!(people.known.lock().unwrap().len() <= MANY);
    }
}
