use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::sync::Semaphore;

use super::{
    AccountRecord, Accounts, CheckedPeople, DirectoryPerson, MAX_PASSWORD, Principal, Proof,
};
use crate::{
    Error, ErrorKind,
    rate::Rates,
    store::{CountKey, Store},
};

/// Logins with a password: the accounts, then the directory, if there is one.
///
/// A name that has an account is that account's alone, also while it is disabled: the directory
/// is not asked about it, and nobody becomes somebody of that name through it.
///
/// Who tries too often, for one name or from one address (of IPv6 the network of 64 bits), waits;
/// no more than 64 attempts are under way at once, and no more than two accounts' passwords are
/// looked at, so that a flood of logins takes neither all processors nor all memory, however many
/// names and addresses it has. For an account a wrong password costs as much time as the right
/// one, and an unknown user as a known one.
pub struct Passwords {
    accounts: Arc<Accounts>,
    directory: Option<Arc<CheckedPeople>>,
    by_name: Mutex<Rates>,
    by_address: Mutex<Rates>,
    under_way: Semaphore,
    /// Where attempts at other gateways are counted, too.
    store: Option<Arc<dyn Store>>,
}

/// Somebody whose password was right.
#[derive(Clone, Debug)]
// Exhaustive: these are kept here or elsewhere.
pub enum KnownPerson {
    /// Of the account file.
    Account(AccountRecord),
    /// Of the directory.
    Directory(DirectoryPerson),
}

/// Attempts for one name at once, and after what time there is one more.
const FOR_NAME: (u32, Duration) = (5, Duration::from_secs(12));
/// The same from one address: many people may share one.
const FROM_ADDRESS: (u32, Duration) = (20, Duration::from_secs(3));
/// Attempts under way at once; each may keep 8 KiB and a connection to the directory.
const UNDER_WAY: usize = 64;
/// When a flood may be over.
const FLOOD: Duration = Duration::from_secs(5);
/// Bytes of a user name.
const MAX_USER: usize = 253;

impl Passwords {
    /// Logins to `accounts` alone.
    #[must_use]
    pub fn new(accounts: Arc<Accounts>) -> Self {
        let rates = |(burst, every): (u32, Duration)| {
            Mutex::new(Rates::new(every.as_secs_f64().recip(), f64::from(burst)))
        };
        Self {
            accounts,
            directory: None,
            by_name: rates(FOR_NAME),
            by_address: rates(FROM_ADDRESS),
            under_way: Semaphore::new(UNDER_WAY),
            store: None,
        }
    }

    /// Counts attempts in `store`, too, so that many gateways allow no more than one.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Asks `directory` about names that have no account.
    #[must_use]
    pub fn with_directory(mut self, directory: Arc<CheckedPeople>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// The accounts.
    #[must_use]
    pub const fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Whose name and password these are.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` in the same words for a wrong name and a wrong password; `Exhausted`,
    /// with the time to wait, after too many attempts or in a flood of them; `Unavailable` when
    /// the directory or the store cannot be asked, or attempts cannot be counted.
    pub async fn login(
        &self,
        user: &str,
        password: &str,
        address: IpAddr,
        now: Instant,
    ) -> Result<KnownPerson, Error> {
        if user.len() > MAX_USER || password.len() > MAX_PASSWORD {
            return Err(wrong());
        }
        let address = network(address);
        lock(&self.by_address).take(&address, now).map_err(wait)?;
        let Ok(_place) = self.under_way.try_acquire() else {
            return Err(wait(FLOOD));
        };
        let name = folded(user);
        lock(&self.by_name).take(&name, now).map_err(wait)?;
        let shared = shared_counts(&name, &address);
        if let Some(store) = &self.store {
            for key in &shared {
                if let Some(time) = store.count(key).await? {
                    return Err(wait(time));
                }
            }
        }
        let known = self.known(user, password).await?.ok_or_else(wrong)?;
        lock(&self.by_address).give_back(&address);
        lock(&self.by_name).give_back(&name);
        if let Some(store) = &self.store {
            for key in &shared {
                // One attempt less then; he is in.
                let _lost = store.uncount(key).await;
            }
        }
        Ok(known)
    }

    async fn known(&self, user: &str, password: &str) -> Result<Option<KnownPerson>, Error> {
        let account = self.accounts.check(user, password).await?;
        if let Some(account) = account {
            return Ok(Some(KnownPerson::Account(account)));
        }
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        if self.accounts.has(user).await? {
            return Ok(None);
        }
        let Some(person) = directory.check(user, password).await? else {
            return Ok(None);
        };
        if self.accounts.has(&person.user).await? {
            let user = &person.user;
            tracing::warn!(user, "has an account: the directory's person cannot log in");
            return Ok(None);
        }
        Ok(Some(KnownPerson::Directory(person)))
    }
}

impl KnownPerson {
    /// User name.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Account(account) => &account.user,
            Self::Directory(person) => &person.user,
        }
    }

    /// Groups.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        match self {
            Self::Account(account) => &account.groups,
            Self::Directory(person) => &person.groups,
        }
    }

    /// Whom he stands for.
    #[must_use]
    pub fn principal(&self, proof: Proof) -> Arc<Principal> {
        match self {
            Self::Account(account) => account.principal(proof),
            Self::Directory(person) => person.principal(proof),
        }
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords")
            .field("accounts", &self.accounts)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// A name as directories compare it, and coarser: each spelling of one person would have its own
/// tries.
///
/// Spec: RFC 4518, string preparation for LDAP.
fn folded(user: &str) -> String {
    let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(user);
    let lower = normal.chars().flat_map(char::to_lowercase);
    lower
        .filter(|c| c.is_alphanumeric() || c.is_ascii_graphic())
        .collect()
}

/// What of an address counts: who has one of IPv6 has all of its network.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
    }
}

pub(super) fn wait(time: Duration) -> Error {
    let message = format!(
        "too many attempts to log in; try again in {} s",
        time.as_secs().saturating_add(1)
    );
    Error::new(ErrorKind::Exhausted, message).with_retry_after(time)
}

/// What counts an attempt at every gateway: as [`FROM_ADDRESS`] and [`FOR_NAME`].
const fn shared_counts<'a>(name: &'a str, address: &'a str) -> [CountKey<'a>; 2] {
    [
        CountKey {
            what: "login-address",
            whom: address,
            burst: FROM_ADDRESS.0,
            every: FROM_ADDRESS.1,
        },
        CountKey {
            what: "login-name",
            whom: name,
            burst: FOR_NAME.0,
            every: FOR_NAME.1,
        },
    ]
}

fn wrong() -> Error {
    let message = "user name or password is wrong; try again, or ask who keeps accounts";
    Error::new(ErrorKind::Unauthenticated, message)
}

fn lock(rates: &Mutex<Rates>) -> MutexGuard<'_, Rates> {
    rates.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
        sync::{Arc, atomic::Ordering},
        time::{Duration, Instant},
    };

    use super::{Accounts, CheckedPeople, KnownPerson, Passwords, UNDER_WAY, folded, network};
    use crate::{ErrorKind, identity::directory::tests::One};

    const PASSWORD: &str = "correct horse battery";
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn passwords(folder: &tempfile::TempDir) -> Passwords {
        let path = folder.path().join("accounts.yaml");
        Accounts::put(&path, "alice", &[], None, PASSWORD).unwrap();
        Passwords::new(Arc::new(Accounts::load(path).unwrap()))
    }

    #[tokio::test]
    async fn accounts_come_first_and_a_name_of_theirs_is_nobody_s_else() {
        let folder = tempfile::tempdir().unwrap();
        // What this person logs in with is not what he is called then.
        let directory = One::knowing("alice", "a.smith");
        let people = CheckedPeople::new(directory.clone(), Duration::ZERO);
        let passwords = passwords(&folder).with_directory(Arc::new(people));
        let now = Instant::now();
        let login = async |user: &str, password: &str| {
            let known = passwords.login(user, password, HERE, now).await;
            known.map_err(|error| error.kind())
        };
        let known = login("alice", PASSWORD).await;
        assert!(matches!(known, Ok(KnownPerson::Account(_))));
        let refused = Some(ErrorKind::Unauthenticated);
        assert_eq!(login("alice", "right").await.err(), refused);
        assert_eq!(directory.asked.load(Ordering::Relaxed), 0);
        // He would be the account's alice.
        assert_eq!(login("a.smith", "right").await.err(), refused);
        assert_eq!(directory.asked.load(Ordering::Relaxed), 1);
        directory.person.lock().unwrap().as_mut().unwrap().user = "smith".to_owned();
        let known = login("a.smith", "right").await.unwrap();
        assert_eq!((known.user(), known.groups().len()), ("smith", 1));
        assert_eq!(login("a.smith", "wrong").await.err(), refused);
        *directory.away.lock().unwrap() = true;
        let away = Some(ErrorKind::Unavailable);
        assert_eq!(login("a.smith", "right").await.err(), away);
        // Who has an account does not wait for the directory.
        assert!(login("alice", PASSWORD).await.is_ok());
    }

    #[tokio::test]
    async fn a_flood_of_names_and_addresses_is_refused_before_it_costs_anything() {
        let folder = tempfile::tempdir().unwrap();
        let passwords = passwords(&folder);
        let now = Instant::now();
        let attempts = (0..1000_u32).map(|number| {
            let passwords = &passwords;
            async move {
                let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
                let user = format!("user{number}");
                passwords.login(&user, "a guess", address, now).await
            }
        });
        let told = futures::future::join_all(attempts).await;
        let kinds: Vec<ErrorKind> = told
            .iter()
            .map(|one| one.as_ref().unwrap_err().kind())
            .collect();
        let looked_at = kinds
            .iter()
            .filter(|kind| **kind == ErrorKind::Unauthenticated);
        assert!((1..=UNDER_WAY).contains(&looked_at.count()), "{kinds:?}");
        let refused = kinds.iter().filter(|kind| **kind == ErrorKind::Exhausted);
        assert!(refused.count() >= 1000 - UNDER_WAY, "{kinds:?}");
        // And when it is over everything is as before.
        assert!(passwords.login("alice", PASSWORD, HERE, now).await.is_ok());
    }

    #[tokio::test]
    async fn spellings_of_a_name_and_addresses_of_a_network_share_their_tries() {
        let folder = tempfile::tempdir().unwrap();
        let passwords = passwords(&folder);
        let now = Instant::now();
        let mut kinds = Vec::new();
        for (number, user) in ["bob", "Bob", "BOB", "bOb", "boB", "BoB"]
            .iter()
            .enumerate()
        {
            let address = Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into();
            let told = passwords.login(user, "a guess", address, now).await;
            kinds.push(told.unwrap_err().kind());
        }
        assert_eq!(kinds.pop(), Some(ErrorKind::Exhausted));
        assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unauthenticated));
        for spelling in [
            " bob",
            "b\u{ad}ob",
            "\u{ff42}ob",
            "bo\u{200b}b\u{a0}",
            "B o b",
        ] {
            assert_eq!(folded(spelling), "bob", "{spelling:?}");
        }
        assert_eq!(folded("Jose\u{301}"), folded("JOS\u{c9}"));
        assert_ne!(folded("a.smith"), folded("asmith"));
        let v6 = |text: &str| network(text.parse::<Ipv6Addr>().unwrap().into());
        assert_eq!(v6("2001:db8:1:2::1"), v6("2001:db8:1:2:ffff::7"));
        assert_ne!(v6("2001:db8:1:2::1"), v6("2001:db8:1:3::1"));
        assert_eq!(v6("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
