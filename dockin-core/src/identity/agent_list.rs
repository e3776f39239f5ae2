use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    hash_token, new_token,
    records::{self, Followed, Records, whole_seconds},
    shared_agents::FollowedAgents,
};
use crate::{Error, ErrorKind, hex::hex, store::Store, tls};

/// The agents that a gateway speaks to, and those that may become such, from a YAML file, or from
/// the store that gateways share.
///
/// The file is `agents: [ { name, added, certificates: [ { sha256, expires } ] } ]` and
/// `invitations: [ { name, token_sha256, expires } ]`; its changes are seen within a quarter of a
/// second, whole or not at all. Those of the store
/// ([`SharedAgents`](super::SharedAgents) makes them) are seen within a second by all gateways; while
/// it does not answer nobody can be enrolled, and the agents count that were last read, for a while.
///
/// An agent that is not in the list is spoken to no more, whatever certificate it has; neither is
/// one with a certificate that is not in it.
#[derive(Debug)]
pub struct AgentList {
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Followed<Known>),
    Store(Arc<FollowedAgents>),
}

/// One agent of an [`AgentList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRecord {
    /// Its name.
    pub name: String,
    /// Since when it is in the list.
    pub added: Timestamp,
    /// What it can be known by: the newest certificate, and the one before.
    pub certificates: Vec<CertificateRecord>,
}

/// A certificate of an agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRecord {
    /// SHA-256 of its DER, in lower-case hex.
    pub sha256: String,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// Leave to become an agent, once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The name that the agent gets.
    pub name: String,
    /// SHA-256 of the token, in lower-case hex.
    pub token_sha256: String,
    /// From when on it is worthless.
    pub expires: Timestamp,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    agents: Vec<AgentRecord>,
    #[serde(default)]
    invitations: Vec<Invitation>,
}

/// The certificates of each agent.
pub(super) type Known = HashMap<String, Vec<CertificateRecord>>;

/// How long an invitation may last.
const MAX_INVITATION: Duration = Duration::from_hours(24);

impl Records for Document {
    const WHAT: &'static str = "list of agents";
    const MAKER: &'static str = "`dockin-opserver agent invite` makes it";
    const SHAPE: &'static str = "agents: [ { name, added, certificates: [ { sha256, expires } ] } ], \
                                 invitations: [ { name, token_sha256, expires } ]";
    const HEADER: &'static str =
        "# Written by `dockin-opserver`; has hashes only, never a token or a key.\n";

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::HashSet::new();
        for agent in &self.agents {
            tls::agent_name(&agent.name).map_err(|error| error.message().to_owned())?;
            if !names.insert(&agent.name) {
                return Err(format!("agent `{}` is given twice", agent.name));
            }
            for one in &agent.certificates {
                check_hash(&agent.name, &one.sha256)?;
            }
        }
        for invitation in &self.invitations {
            tls::agent_name(&invitation.name).map_err(|error| error.message().to_owned())?;
            check_hash(&invitation.name, &invitation.token_sha256)?;
        }
        Ok(())
    }
}

impl AgentList {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// `Misuse` when it cannot be read or has a bad record; the message names the file and the
    /// line.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let source = Source::File(Followed::load(path, read)?);
        Ok(Self { source })
    }

    /// Those of `store`, which count for `stale` when they cannot be read again; then no agent is
    /// spoken to.
    pub async fn in_store(store: Arc<dyn Store>, stale: Duration) -> Self {
        let source = Source::Store(FollowedAgents::follow(store, stale).await);
        Self { source }
    }

    /// Makes a token by which one machine may become the agent `name` within `lifetime`, in place
    /// of older ones for that name; only its hash is written to the file at `path`.
    ///
    /// # Errors
    ///
    /// `Malformed` for a name that no agent can have, or more than a day; `Unavailable` when the
    /// file cannot be written.
    pub fn invite(
        path: &Path,
        name: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, Error> {
        let (token, invitation) = Invitation::new(name, lifetime, now)?;
        records::edit(path, |document: &mut Document| {
            let others = |known: &Invitation| known.name != name && known.expires > now;
            document.invitations.retain(others);
            document.invitations.push(invitation);
            Ok(())
        })?;
        Ok(token)
    }

    /// Puts the agent `name` with a certificate (DER) that it has already into the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`invite`](Self::invite); `Misuse` when the certificate cannot be read.
    pub fn add(path: &Path, name: &str, certificate: &[u8], now: Timestamp) -> Result<(), Error> {
        let dates = tls::validity(&certificate.into());
        let (_, expires) = dates.ok_or_else(|| {
            let what = format!("the certificate of agent `{name}` cannot be read");
            Error::new(ErrorKind::Misuse, what)
        })?;
        let record = CertificateRecord::new(certificate, expires);
        records::edit(path, |document: &mut Document| {
            document.put(name, vec![record], now);
            Ok(())
        })
    }

    /// Takes the agent `name`, and what invites it, out of the file at `path`.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none of that name; `Unavailable` when the file cannot be written.
    pub fn remove(path: &Path, name: &str) -> Result<(), Error> {
        records::edit(path, |document: &mut Document| {
            let before = document.agents.len() + document.invitations.len();
            document.agents.retain(|known| known.name != name);
            document.invitations.retain(|known| known.name != name);
            if document.agents.len() + document.invitations.len() == before {
                return Err(no_agent(name));
            }
            Ok(())
        })
    }

    /// The agents and the invitations of the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn list(path: &Path) -> Result<(Vec<AgentRecord>, Vec<Invitation>), Error> {
        let document: Document = records::read(path)?;
        Ok((document.agents, document.invitations))
    }

    /// Whether the agent `name` with this certificate (DER) is one of the list.
    ///
    /// # Errors
    ///
    /// `Forbidden` when it is not; `Unavailable` when the store did not answer for too long.
    pub async fn check(&self, name: &str, certificate: &[u8]) -> Result<(), Error> {
        let hash = hash(certificate);
        match &self.source {
            Source::File(agents) => listed(&*agents.current().await, name, &hash),
            Source::Store(agents) => {
                if listed(&*agents.current()?, name, &hash).is_ok() {
                    return Ok(());
                }
                // Another gateway may have enrolled it, or renewed its certificate, just now.
                agents.look().await;
                listed(&*agents.current()?, name, &hash)
            }
        }
    }

    /// Whether the agent `name` is one of the list, whatever its certificate, as far as that can be
    /// known now.
    pub async fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::File(agents) => agents.current().await.contains_key(name),
            Source::Store(agents) => agents.current().map_or(true, |it| it.contains_key(name)),
        }
    }

    /// Uses up the invitation of the agent `name` that `token` is for, and puts the certificate
    /// that `issue` makes into the list. When `issue` fails, the invitation is still good.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` for a token that is not known, was used, has expired, or is for another
    /// name, always in the same words; those of `issue`; `Unavailable` when the file cannot be
    /// written.
    pub async fn enrol<T: Send + 'static>(
        &self,
        token: &str,
        name: &str,
        now: Timestamp,
        issue: impl FnOnce() -> Result<(CertificateRecord, T), Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = match &self.source {
            Source::File(file) => file,
            Source::Store(agents) => {
                let enrolled = agents.shared.enrol(token, name, now, issue).await?;
                agents.look().await;
                return Ok(enrolled);
            }
        };
        let (token, name) = (hash_token(token), name.to_owned());
        edit(file, move |document| {
            let found = document.invitations.iter().position(|known| {
                known.token_sha256 == token && known.name == name && known.expires > now
            });
            let found = found.ok_or_else(not_invited)?;
            let (record, outcome) = issue()?;
            document.invitations.remove(found);
            // What the agent of that name had before is worthless from now on.
            document.put(&name, vec![record], now);
            Ok(outcome)
        })
        .await
    }

    /// Puts the certificate that `issue` makes for the agent `name` beside the one (DER) that it
    /// shows.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check) and [`enrol`](Self::enrol).
    pub async fn renew<T: Send + 'static>(
        &self,
        name: &str,
        shown: &[u8],
        now: Timestamp,
        issue: impl FnOnce() -> Result<(CertificateRecord, T), Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.check(name, shown).await?;
        let file = match &self.source {
            Source::File(file) => file,
            Source::Store(agents) => {
                let renewed = agents.shared.renew(name, shown, now, issue).await?;
                agents.look().await;
                return Ok(renewed);
            }
        };
        let (name, shown) = (name.to_owned(), hash(shown));
        edit(file, move |document| {
            let known = document.agents.iter().find(|known| known.name == name);
            let certificates = known.map(|known| known.certificates.as_slice());
            let mut certificates = certificates.unwrap_or_default().iter();
            let shown = certificates.find(|one| one.sha256 == shown).cloned();
            let shown = shown.ok_or_else(|| removed(&name))?;
            let (record, outcome) = issue()?;
            document.put(&name, vec![shown, record], now);
            Ok(outcome)
        })
        .await
    }
}

async fn edit<T: Send + 'static>(
    file: &Followed<Known>,
    change: impl FnOnce(&mut Document) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let path = file.path().to_owned();
    let edit = tokio::task::spawn_blocking(move || records::edit(&path, change));
    let outcome = edit.await.unwrap_or_else(|error| {
        let what = "the list of agents cannot be changed";
        Err(Error::new(ErrorKind::Unavailable, what).with_source(error))
    })?;
    file.look().await;
    Ok(outcome)
}

/// Whether the agent `name` with a certificate of this hash is one of `known`.
fn listed(known: &Known, name: &str, hash: &str) -> Result<(), Error> {
    let refused = |what: String| Err(Error::new(ErrorKind::Forbidden, what));
    let Some(certificates) = known.get(name) else {
        return refused(format!(
            "agent `{name}` is not in the list of agents: it was removed, or never enrolled"
        ));
    };
    if certificates.iter().any(|one| one.sha256 == hash) {
        return Ok(());
    }
    refused(format!(
        "agent `{name}` shows a certificate that is not in the list of agents: enrol it again"
    ))
}

pub(super) fn no_agent(name: &str) -> Error {
    let message = format!("there is no agent `{name}` in the list");
    Error::new(ErrorKind::NotFound, message)
}

pub(super) fn not_invited() -> Error {
    let what = "the token is not one that was given for this agent, was used already, or has \
                expired: `dockin-opserver agent invite` makes another";
    Error::new(ErrorKind::Unauthenticated, what)
}

pub(super) fn removed(name: &str) -> Error {
    let message = format!("agent `{name}` was removed just now");
    Error::new(ErrorKind::Forbidden, message)
}

impl Invitation {
    /// An invitation of the agent `name` for `lifetime`, and the token that it is the hash of.
    pub(super) fn new(
        name: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(String, Self), Error> {
        if lifetime.is_zero() || lifetime > MAX_INVITATION {
            let what = "an invitation lasts for a day at most, and for a second at least";
            return Err(Error::new(ErrorKind::Malformed, what));
        }
        let token = new_token()?;
        let invitation = Self {
            name: name.to_owned(),
            token_sha256: hash_token(&token),
            expires: whole_seconds(later(now, lifetime)),
        };
        Ok((token, invitation))
    }
}

impl CertificateRecord {
    /// The record of a certificate (DER) that is good until `expires`.
    #[must_use]
    pub fn new(certificate: &[u8], expires: Timestamp) -> Self {
        Self {
            sha256: hash(certificate),
            expires,
        }
    }
}

impl Document {
    fn put(&mut self, name: &str, certificates: Vec<CertificateRecord>, now: Timestamp) {
        match self.agents.iter_mut().find(|known| known.name == name) {
            Some(known) => known.certificates = certificates,
            None => self.agents.push(AgentRecord {
                name: name.to_owned(),
                added: whole_seconds(now),
                certificates,
            }),
        }
    }
}

fn read(path: &Path) -> Result<Known, Error> {
    let document: Document = records::read(path)?;
    let agents = document.agents.into_iter();
    Ok(agents
        .map(|agent| (agent.name, agent.certificates))
        .collect())
}

fn check_hash(name: &str, hash: &str) -> Result<(), String> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match hash.len() == 64 && hash.bytes().all(hex) {
        true => Ok(()),
        false => Err(format!(
            "a hash of agent `{name}` is not 64 lower-case hex digits"
        )),
    }
}

/// SHA-256 of a certificate's DER, in lower-case hex.
pub(super) fn hash(certificate: &[u8]) -> String {
    hex(&Sha256::digest(certificate))
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(now)
}

/// An agent of a list, for who speaks to it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) list: Arc<AgentList>,
    pub(crate) name: String,
}

#[async_trait::async_trait]
impl crate::service::PeerCheck for Listed {
    async fn check(
        &self,
        certificate: &rustls::pki_types::CertificateDer<'_>,
    ) -> Result<(), Error> {
        self.list.check(&self.name, certificate).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, time::Duration};

    use jiff::Timestamp;

    use super::{AgentList, CertificateRecord, Source, later};
    use crate::ErrorKind;

    const HOUR: Duration = Duration::from_hours(1);

    async fn enrol(list: &AgentList, token: &str, name: &str, now: Timestamp) -> Option<ErrorKind> {
        let issued = move || Ok((CertificateRecord::new(b"first", later(now, HOUR)), ()));
        let outcome = list.enrol(token, name, now, issued).await;
        outcome.err().map(|error| error.kind())
    }

    #[tokio::test]
    async fn an_invitation_lets_one_machine_in_once_in_time_and_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.yaml");
        let now = Timestamp::now();
        let late = AgentList::invite(&path, "node2", HOUR, now).unwrap();
        let token = AgentList::invite(&path, "node1", HOUR, now).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&token) && !text.contains("dk_"), "{text}");
        let list = AgentList::load(&path).unwrap();
        let unknown = Some(ErrorKind::Unauthenticated);
        assert_eq!(enrol(&list, "dk_forged", "node1", now).await, unknown);
        assert_eq!(enrol(&list, &token, "node2", now).await, unknown);
        let after = later(now, HOUR);
        assert_eq!(enrol(&list, &late, "node2", after).await, unknown);
        // What fails for another reason has not used it up.
        let failing = list
            .enrol(&token, "node1", now, || {
                Err::<(CertificateRecord, ()), _>(crate::Error::new(ErrorKind::Forbidden, "no"))
            })
            .await;
        assert_eq!(failing.unwrap_err().kind(), ErrorKind::Forbidden);
        assert_eq!(enrol(&list, &token, "node1", now).await, None);
        assert_eq!(enrol(&list, &token, "node1", now).await, unknown);
        list.check("node1", b"first").await.unwrap();
        // A newer invitation takes the place of an older one.
        let older = AgentList::invite(&path, "node1", HOUR, now).unwrap();
        AgentList::invite(&path, "node1", HOUR, now).unwrap();
        assert_eq!(enrol(&list, &older, "node1", now).await, unknown);
        for (name, lifetime) in [("a b", HOUR), ("n", HOUR * 25), ("n", Duration::ZERO)] {
            assert!(AgentList::invite(&path, name, lifetime, now).is_err());
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_known_beside_the_one_before_until_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.yaml");
        let now = Timestamp::now();
        let token = AgentList::invite(&path, "node1", HOUR, now).unwrap();
        let list = AgentList::load(&path).unwrap();
        assert_eq!(enrol(&list, &token, "node1", now).await, None);
        let renew = async |shown: &'static [u8], new: &'static [u8]| {
            let issue = move || Ok((CertificateRecord::new(new, later(now, HOUR)), ()));
            list.renew("node1", shown, now, issue).await
        };
        renew(b"first", b"second").await.unwrap();
        list.check("node1", b"first").await.unwrap();
        list.check("node1", b"second").await.unwrap();
        renew(b"second", b"third").await.unwrap();
        assert!(list.check("node1", b"first").await.is_err());
        assert!(renew(b"first", b"fourth").await.is_err());
        // Enrolled again, it has nothing left of before.
        let token = AgentList::invite(&path, "node1", HOUR, now).unwrap();
        assert_eq!(enrol(&list, &token, "node1", now).await, None);
        assert!(list.check("node1", b"third").await.is_err());
        AgentList::remove(&path, "node1").unwrap();
        assert!(AgentList::remove(&path, "node1").is_err());
        let Source::File(agents) = &list.source else {
            panic!("it is of a file");
        };
        agents.look().await;
        let error = list.check("node1", b"first").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(renew(b"first", b"fifth").await.is_err());
    }
}
