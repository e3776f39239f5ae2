//! A store of keys in memory that answers one question after the other.

use std::collections::BTreeMap;

use dockin_net::blocks::{Compare, Entry, Reply, Request, Store, Unanswered, Write};

/// The store, and its time in milliseconds.
#[derive(Default)]
pub(crate) struct SharedStore {
    pub(crate) now: u64,
    entries: BTreeMap<String, (Entry, Option<i64>)>,
    revision: i64,
    leases: BTreeMap<i64, (u64, u64)>,
    last_lease: i64,
    /// No lease ends before.
    earliest: u64,
    pub(crate) writes: u64,
}

#[allow(dead_code, reason = "each test file uses a part of this")]
impl SharedStore {
    /// What a key holds.
    pub(crate) fn entry(&mut self, key: &str) -> Option<Entry> {
        self.end_leases();
        self.entries.get(key).map(|(entry, _)| entry.clone())
    }

    fn end_leases(&mut self) {
        if self.now < self.earliest {
            return;
        }
        let now = self.now;
        self.leases.retain(|_, (ends, _)| now < *ends);
        let leases = &self.leases;
        self.entries
            .retain(|_, (_, lease)| lease.is_none_or(|it| leases.contains_key(&it)));
        let ends = self.leases.values().map(|(ends, _)| *ends);
        self.earliest = ends.min().unwrap_or(u64::MAX);
    }

    fn lease(&mut self, lease: i64, seconds: u64) -> Reply {
        let ends = self.now + seconds * 1000;
        self.leases.insert(lease, (ends, seconds));
        self.earliest = self.earliest.min(ends);
        Reply::Lease(lease, seconds)
    }

    pub(crate) fn answer(&mut self, request: &Request) -> Reply {
        self.end_leases();
        match request {
            Request::Grant { seconds } => {
                self.last_lease += 1;
                self.lease(self.last_lease, *seconds)
            }
            Request::KeepAlive(lease) => match self.leases.get(lease) {
                Some((_, seconds)) => {
                    let seconds = *seconds;
                    self.lease(*lease, seconds)
                }
                None => Reply::Lease(*lease, 0),
            },
            Request::Read(keys) => self.read(keys.iter()),
            Request::List {
                from, to, limit, ..
            } => {
                let limit = usize::try_from(*limit).unwrap();
                let mut listed = self.entries.range(from.clone()..to.clone());
                let page = listed.by_ref().take(limit);
                let page = page.map(|(key, (entry, _))| (key.clone(), entry.clone()));
                let page: Vec<_> = page.collect();
                Reply::Listed(page, listed.next().is_some())
            }
            Request::Commit(transaction) => {
                let entries = &self.entries;
                let holds = transaction.compares.iter().all(|compare| {
                    let entry = entries.get(compare.key()).map(|(entry, _)| entry);
                    match compare {
                        Compare::Revision(_, it) => entry.map_or(0, |entry| entry.revision) == *it,
                        Compare::Created(_, it) => entry.map_or(0, |entry| entry.created) == *it,
                    }
                });
                if !holds {
                    return self.read(transaction.compares.iter().map(Compare::key));
                }
                self.revision += 1;
                self.writes += 1;
                for write in &transaction.writes {
                    self.write(write);
                }
                Reply::Committed(self.revision)
            }
            _ => panic!("an unknown question"),
        }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Put(key, value, lease) => {
                if lease.is_some_and(|it| !self.leases.contains_key(&it)) {
                    // A real one refuses; nobody can tell it from a key that ends at once.
                    return;
                }
                let created = self.entries.get(key).map(|(entry, _)| entry.created);
                let entry = Entry {
                    value: value.clone(),
                    revision: self.revision,
                    created: created.unwrap_or(self.revision),
                };
                self.entries.insert(key.clone(), (entry, *lease));
            }
            Write::Delete(key) => {
                self.entries.remove(key);
            }
        }
    }

    fn read<T: AsRef<str>>(&self, keys: impl Iterator<Item = T>) -> Reply {
        let entries = keys.map(|key| {
            let entry = self.entries.get(key.as_ref()).map(|(entry, _)| entry);
            (key.as_ref().to_owned(), entry.cloned())
        });
        Reply::Read(entries.collect())
    }
}

impl Store for SharedStore {
    fn ask(&mut self, request: &Request) -> Result<Reply, Unanswered> {
        Ok(self.answer(request))
    }
}
