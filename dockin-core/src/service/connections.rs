//! How many connections there may be, and which of them goes when there are too many.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind};

/// How many connections a server keeps, and how long one may take to say what it wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: a configuration fills it.
pub struct ConnectionLimits {
    /// All of them. When there are as many, the oldest that has proved nothing makes room for the
    /// next.
    pub total: usize,
    /// From one address; more are closed before the handshake. People behind one translator of
    /// addresses share it.
    pub per_address: usize,
    /// Of one person; requests on more are refused.
    pub per_user: usize,
    /// For the TLS handshake, for the head of a request, and for the first request.
    pub head_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 20_000,
            per_address: 5_000,
            per_user: 2_000,
            head_timeout: Duration::from_secs(30),
        }
    }
}

/// Lets this process open as many files, and so connections, as the system allows it: a shell's
/// own limit is often a thousand. What it starts inherits that. When it cannot be, it stays as it
/// is.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    by_user: HashMap<String, usize>,
    /// Those that have proved nothing, the oldest first.
    unproved: BTreeMap<u64, CancellationToken>,
}

/// The place of one connection; it is free again when the last copy of it goes.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Place>);

#[derive(Debug)]
struct Place {
    all: Arc<Connections>,
    number: u64,
    address: IpAddr,
    cut: CancellationToken,
    users: Mutex<Vec<String>>,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::default(),
        })
    }

    pub(super) const fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// A place for a connection from `address`; none when it has too many, or when all there are
    /// have proved who they are.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        let address = address.to_canonical();
        let mut table = lock(&self.table);
        let from = table.by_address.get(&address).copied().unwrap_or_default();
        if from >= self.limits.per_address {
            return None;
        }
        if table.open >= self.limits.total && !table.cut_oldest() {
            return None;
        }
        let number = table.next;
        let cut = CancellationToken::new();
        table.next += 1;
        table.open += 1;
        table.by_address.insert(address, from + 1);
        table.unproved.insert(number, cut.clone());
        Some(Connection(Arc::new(Place {
            all: Arc::clone(self),
            number,
            address,
            cut,
            users: Mutex::default(),
        })))
    }

    /// Ends the oldest connection that has proved nothing, if there is one.
    pub(super) fn cut_oldest(&self) -> bool {
        lock(&self.table).cut_oldest()
    }
}

impl Table {
    fn cut_oldest(&mut self) -> bool {
        match self.unproved.pop_first() {
            Some((_, cut)) => {
                cut.cancel();
                true
            }
            None => false,
        }
    }
}

impl Connection {
    /// Says that `user` has proved on it who he is. The connection counts as his, and is not ended
    /// any more in favour of others.
    ///
    /// # Errors
    ///
    /// `Exhausted` when he has too many.
    pub fn proved(&self, user: &str) -> Result<(), Error> {
        let place = &*self.0;
        let mut users = lock(&place.users);
        if users.iter().any(|known| known == user) {
            return Ok(());
        }
        let mut table = lock(&place.all.table);
        let most = place.all.limits.per_user;
        let count = table.by_user.entry(user.to_owned()).or_default();
        if *count >= most {
            let message = format!("user `{user}` has {most} connections open; close some of them");
            let error = Error::new(ErrorKind::Exhausted, message);
            return Err(error.with_retry_after(Duration::from_secs(1)));
        }
        *count += 1;
        table.unproved.remove(&place.number);
        users.push(user.to_owned());
        Ok(())
    }

    /// Whether somebody has proved on it who he is.
    #[cfg(feature = "gateway")]
    pub(super) fn is_proved(&self) -> bool {
        !lock(&self.0.users).is_empty()
    }

    /// Resolves when it must go.
    pub(super) async fn cut(&self) {
        self.0.cut.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = lock(&self.all.table);
        table.open = table.open.saturating_sub(1);
        table.unproved.remove(&self.number);
        release(&mut table.by_address, &self.address);
        let users = self.users.get_mut().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            release(&mut table.by_user, user);
        }
    }
}

fn release<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{net::IpAddr, time::Duration};

    use super::{ConnectionLimits, Connections};
    use crate::ErrorKind;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 4,
        per_address: 2,
        per_user: 1,
        head_timeout: Duration::from_secs(1),
    };

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let all = Connections::new(LIMITS);
        let held = all.take(from(1)).unwrap();
        let _other = all.take(from(1)).unwrap();
        assert!(all.take(from(1)).is_none());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(all.take(mapped).is_none());
        let copy = held.clone();
        drop(held);
        assert!(all.take(from(1)).is_none());
        drop(copy);
        all.take(from(1)).unwrap();
    }

    #[tokio::test]
    async fn who_has_proved_nothing_makes_room_the_oldest_first() {
        let all = Connections::new(LIMITS);
        let mut held: Vec<_> = (1..=4).map(|last| all.take(from(last)).unwrap()).collect();
        held.first().unwrap().proved("alice").unwrap();
        let fifth = all.take(from(5)).unwrap();
        held.get(1).unwrap().cut().await;
        assert!(!held.first().unwrap().0.cut.is_cancelled());
        assert!(!held.get(2).unwrap().0.cut.is_cancelled());
        for (user, connection) in
            ["bob", "carol", "dave"]
                .into_iter()
                .zip([&held.remove(2), &held.remove(2), &fifth])
        {
            connection.proved(user).unwrap();
        }
        // Everybody who is there has proved who he is, but the places of those that went are free.
        drop(held);
        let free: Vec<_> = std::iter::from_fn(|| all.take(from(9))).take(2).collect();
        assert_eq!(free.len(), 2);
    }

    #[test]
    fn when_all_are_known_the_next_is_turned_away() {
        let all = Connections::new(LIMITS);
        let held: Vec<_> = (1..=4).map(|last| all.take(from(last)).unwrap()).collect();
        for (number, connection) in held.iter().enumerate() {
            connection.proved(&format!("user{number}")).unwrap();
        }
        assert!(all.take(from(7)).is_none());
        assert!(!all.cut_oldest());
        drop(held);
        all.take(from(7)).unwrap();
    }

    #[test]
    fn a_person_has_so_many_connections_and_each_counts_once() {
        let all = Connections::new(LIMITS);
        let (one, two) = (all.take(from(1)).unwrap(), all.take(from(2)).unwrap());
        one.proved("alice").unwrap();
        one.proved("alice").unwrap();
        let error = two.proved("alice").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(error.retry_after().is_some());
        two.proved("bob").unwrap();
        drop(one);
        two.proved("alice").unwrap();
    }
}
