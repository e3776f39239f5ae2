use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    AgentRecord, CertificateRecord, Invitation,
    agent_list::{Known, hash, no_agent, not_invited, removed},
    hash_token,
    records::whole_seconds,
};
use crate::{Error, ErrorKind, store::Store, tls};

/// What gateways share of one name: the agent that has it, leave to become that, or both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SharedAgent {
    /// The name.
    pub name: String,
    /// The agent, once it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRecord>,
    /// What lets a machine become it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
}

/// Changes of the agents that gateways share in a [`Store`]. They count at all of them within a
/// second.
///
/// Of two changes of one agent that are made at once one is done, whole, and the other is made
/// again on what is there then.
#[derive(Clone, Debug)]
pub struct SharedAgents(Arc<dyn Store>);

/// How often a change is made again that somebody else's came before.
const TRIES: usize = 8;

impl SharedAgents {
    /// Those of `store`.
    #[must_use]
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Makes a token by which one machine may become the agent `name` within `lifetime`, in place
    /// of older ones for that name; only its hash is kept.
    ///
    /// # Errors
    ///
    /// `Malformed` for a name that no agent can have, or more than a day; `Unavailable` when the
    /// store does not answer.
    pub async fn invite(
        &self,
        name: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, Error> {
        tls::agent_name(name)
            .map_err(|error| Error::new(ErrorKind::Malformed, error.message().to_owned()))?;
        let (token, invitation) = Invitation::new(name, lifetime, now)?;
        self.change(name, |known| {
            let agent = known.and_then(|known| known.agent);
            Ok(Some(SharedAgent {
                name: name.to_owned(),
                agent,
                invitation: Some(invitation.clone()),
            }))
        })
        .await?;
        Ok(token)
    }

    /// Takes the agent `name`, and what invites it, away.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none of that name; `Unavailable` when the store does not answer.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        self.change(name, |known| match known {
            Some(_) => Ok(None),
            None => Err(no_agent(name)),
        })
        .await
    }

    /// The agents and the invitations, by name.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store does not answer.
    pub async fn list(&self) -> Result<(Vec<AgentRecord>, Vec<Invitation>), Error> {
        let (_, mut all) = self.0.agents(None).await?.unwrap_or_default();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let invitations = all.iter().filter_map(|one| one.invitation.clone());
        let invitations = invitations.collect();
        let agents = all.into_iter().filter_map(|one| one.agent).collect();
        Ok((agents, invitations))
    }

    /// Puts `agents`, and what invites others, beside what is there. Gives how many, and the names
    /// of those that were there already, which are left as they are.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the store does not answer; some of them may be there then, and the next
    /// time they are.
    pub async fn import(
        &self,
        agents: Vec<AgentRecord>,
        invitations: Vec<Invitation>,
    ) -> Result<(usize, Vec<String>), Error> {
        let mut entries: BTreeMap<String, SharedAgent> = BTreeMap::new();
        for agent in agents {
            let entry = SharedAgent {
                name: agent.name.clone(),
                agent: Some(agent),
                invitation: None,
            };
            entries.insert(entry.name.clone(), entry);
        }
        for invitation in invitations {
            let name = invitation.name.clone();
            let entry = entries.entry(name).or_insert_with_key(|name| SharedAgent {
                name: name.clone(),
                agent: None,
                invitation: None,
            });
            entry.invitation = Some(invitation);
        }
        let count = entries.len();
        let mut left = Vec::new();
        for (name, entry) in entries {
            if !self.0.change_agent(&name, None, Some(&entry)).await? {
                left.push(name);
            }
        }
        Ok((count - left.len(), left))
    }

    /// As [`AgentList::enrol`](super::AgentList::enrol).
    pub(super) async fn enrol<T: Send + 'static>(
        &self,
        token: &str,
        name: &str,
        now: Timestamp,
        issue: impl FnOnce() -> Result<(CertificateRecord, T), Error> + Send + 'static,
    ) -> Result<T, Error> {
        // What is no name is told to nobody who has no token.
        tls::agent_name(name).map_err(|_| not_invited())?;
        let token = hash_token(token);
        let invited = |known: Option<&SharedAgent>| {
            let invitation = known.and_then(|known| known.invitation.as_ref());
            let good = invitation.is_some_and(|one| one.token_sha256 == token && one.expires > now);
            if good { Ok(()) } else { Err(not_invited()) }
        };
        let known = self.0.agent(name).await?;
        invited(known.as_ref().map(|(known, _)| known))?;
        let (record, outcome) = issued(issue).await?;
        self.change(name, |known| {
            invited(known.as_ref())?;
            let agent = known.and_then(|known| known.agent);
            // What the agent of that name had before is worthless from now on.
            Ok(Some(entry(name, agent, vec![record.clone()], None, now)))
        })
        .await?;
        Ok(outcome)
    }

    /// As [`AgentList::renew`](super::AgentList::renew).
    pub(super) async fn renew<T: Send + 'static>(
        &self,
        name: &str,
        shown: &[u8],
        now: Timestamp,
        issue: impl FnOnce() -> Result<(CertificateRecord, T), Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shown = hash(shown);
        let find = |known: Option<&SharedAgent>| {
            let agent = known.and_then(|known| known.agent.as_ref());
            let certificates = agent.map(|agent| agent.certificates.as_slice());
            let mut certificates = certificates.unwrap_or_default().iter();
            let found = certificates.find(|one| one.sha256 == shown).cloned();
            found.ok_or_else(|| removed(name))
        };
        let known = self.0.agent(name).await?;
        find(known.as_ref().map(|(known, _)| known))?;
        let (record, outcome) = issued(issue).await?;
        self.change(name, |known| {
            let certificates = vec![find(known.as_ref())?, record.clone()];
            let (agent, invitation) = known.map_or((None, None), |it| (it.agent, it.invitation));
            Ok(Some(entry(name, agent, certificates, invitation, now)))
        })
        .await?;
        Ok(outcome)
    }

    async fn change(
        &self,
        name: &str,
        mut change: impl FnMut(Option<SharedAgent>) -> Result<Option<SharedAgent>, Error> + Send,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (known, version) = self.0.agent(name).await?.unzip();
            let entry = change(known)?;
            let changed = self
                .0
                .change_agent(name, version.as_deref(), entry.as_ref());
            if changed.await? {
                return Ok(());
            }
        }
        let message =
            format!("somebody else changes the agent `{name}` again and again; try again");
        Err(Error::new(ErrorKind::Conflict, message))
    }
}

/// The agent with `certificates` in place of those that it had.
fn entry(
    name: &str,
    agent: Option<AgentRecord>,
    certificates: Vec<CertificateRecord>,
    invitation: Option<Invitation>,
    now: Timestamp,
) -> SharedAgent {
    let added = agent.map_or_else(|| whole_seconds(now), |agent| agent.added);
    SharedAgent {
        name: name.to_owned(),
        agent: Some(AgentRecord {
            name: name.to_owned(),
            added,
            certificates,
        }),
        invitation,
    }
}

/// Signs off the threads that serve.
async fn issued<T: Send + 'static>(
    issue: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let issued = tokio::task::spawn_blocking(issue);
    issued.await.unwrap_or_else(|error| {
        let what = "the agent's certificate cannot be made";
        Err(Error::new(ErrorKind::Unavailable, what).with_source(error))
    })
}

/// The agents of a store as they were a moment ago: while it does not answer those count that were
/// last read, for a while.
#[derive(Debug)]
pub(super) struct FollowedAgents {
    pub(super) shared: SharedAgents,
    stale: Duration,
    /// Who reads; the others wait for what he finds.
    looking: Mutex<()>,
    seen: RwLock<Option<Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    known: Arc<Known>,
    version: String,
    at: Instant,
}

/// How often the agents are read.
const LOOK: Duration = Duration::from_millis(500);

impl FollowedAgents {
    /// Reads them, and again twice a second as long as somebody has them. That the store is not
    /// available is no reason not to start.
    pub(super) async fn follow(store: Arc<dyn Store>, stale: Duration) -> Arc<Self> {
        let followed = Arc::new(Self {
            shared: SharedAgents::new(store),
            stale,
            looking: Mutex::new(()),
            seen: RwLock::new(None),
        });
        followed.look().await;
        let weak: Weak<Self> = Arc::downgrade(&followed);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(followed) = weak.upgrade() else {
                    break;
                };
                followed.look().await;
            }
        });
        followed
    }

    /// The certificates of each agent.
    ///
    /// # Errors
    ///
    /// `Unavailable` when they have not been readable for too long.
    pub(super) fn current(&self) -> Result<Arc<Known>, Error> {
        let seen = self.seen();
        let seen = seen.filter(|seen| seen.at.elapsed() < self.stale);
        seen.map(|seen| seen.known).ok_or_else(|| {
            let what = "which agents there are is not known now: the store that gateways share \
                        does not answer; try again in a moment, or tell who keeps the gateway";
            Error::new(ErrorKind::Unavailable, what)
        })
    }

    /// Reads them now.
    pub(super) async fn look(&self) {
        let _alone = self.looking.lock().await;
        let begun = Instant::now();
        let before = self.seen();
        let version = before.as_ref().map(|seen| seen.version.as_str());
        let seen = match (self.shared.0.agents(version).await, before) {
            (Ok(Some((version, all))), _) => Seen {
                known: Arc::new(certificates(all)),
                version,
                at: begun,
            },
            (Ok(None), Some(before)) => Seen {
                at: begun,
                ..before
            },
            // The store tells in the log why it does not answer.
            (Ok(None) | Err(_), _) => return,
        };
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    fn seen(&self) -> Option<Seen> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

fn certificates(all: Vec<SharedAgent>) -> Known {
    let agents = all.into_iter().filter_map(|one| one.agent);
    agents
        .map(|agent| (agent.name, agent.certificates))
        .collect()
}
