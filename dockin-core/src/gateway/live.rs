//! Which sessions are open now, here and at the gateways beside this one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use http::Response;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Call, Gateway};
use crate::{
    Error, Target,
    access::{Decision, Permit, Verb},
    identity::Principal,
    runtime::Runtime,
    service::{self, Body},
    store::{LiveSession, SessionNews, Store},
};

/// The open sessions of this gateway. Opening one never waits for the store: it is told in the
/// background, and told all again when it has forgotten.
pub(super) struct LiveSessions {
    /// This run of this gateway.
    gateway: String,
    store: Option<Arc<dyn Store>>,
    open: Mutex<BTreeMap<String, Open>>,
    changed: Notify,
}

/// Keeps a session in the list while it is open.
pub(super) struct Live {
    sessions: Arc<LiveSessions>,
    id: String,
    end: Arc<End>,
}

/// A session that is open here, and what it stands on.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) session: Arc<LiveSession>,
    pub(super) principal: Arc<Principal>,
    /// What runs its pod.
    pub(super) runtime: Option<Arc<dyn Runtime>>,
    pub(super) end: Arc<End>,
}

/// By what a session is told to end, and why.
#[derive(Default)]
pub(super) struct End {
    why: OnceLock<String>,
    ordered: CancellationToken,
}

impl End {
    /// Ends the session; the first reason counts.
    pub(super) fn order(&self, why: String) {
        let _earlier = self.why.set(why);
        self.ordered.cancel();
    }
}

/// How often the store is told that this gateway is still there.
const BEAT: Duration = Duration::from_secs(5);
/// Changes within so little time are told at once.
const GATHER: Duration = Duration::from_millis(20);
/// How long a gateway that stops takes to say so.
const GOODBYE: Duration = Duration::from_secs(1);

impl LiveSessions {
    pub(super) fn new(store: Option<Arc<dyn Store>>) -> Arc<Self> {
        Arc::new(Self {
            gateway: Uuid::now_v7().to_string(),
            store,
            open: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// This run of this gateway.
    pub(super) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Puts a session into the list until what is returned is dropped.
    pub(super) fn begin(
        self: &Arc<Self>,
        call: &Call,
        permit: &Permit,
        runtime: Option<Arc<dyn Runtime>>,
    ) -> Live {
        let target = permit.target();
        let id = permit.session().to_string();
        let session = LiveSession {
            id: id.clone(),
            user: permit.principal().user.clone(),
            verb: permit.verb().to_string(),
            cluster: target.cluster.clone(),
            namespace: target.namespace.clone(),
            pod: target.pod.clone(),
            container: target.container.clone(),
            client: call.client.to_string(),
            since: Timestamp::now(),
            gateway: self.gateway.clone(),
        };
        let end = Arc::new(End::default());
        let open = Open {
            session: Arc::new(session),
            principal: Arc::clone(permit.principal()),
            runtime,
            end: Arc::clone(&end),
        };
        self.open().insert(id.clone(), open);
        self.changed.notify_one();
        Live {
            sessions: Arc::clone(self),
            id,
            end,
        }
    }

    /// The open sessions of this gateway, oldest first.
    pub(super) fn here(&self) -> Vec<Open> {
        let mut here: Vec<Open> = self.open().values().cloned().collect();
        here.sort_by_key(|open| open.session.since);
        here
    }

    /// The open sessions here and elsewhere, oldest first.
    async fn all(&self) -> Result<Vec<LiveSession>, Error> {
        let mut all: BTreeMap<String, LiveSession> = BTreeMap::new();
        if let Some(store) = &self.store {
            // What is told of this gateway may be a moment old: its own list counts.
            let others = store.sessions().await?.into_iter();
            let others = others.filter(|session| session.gateway != self.gateway);
            all.extend(others.map(|session| (session.id.clone(), session)));
        }
        let here = self.here().into_iter();
        all.extend(here.map(|open| (open.session.id.clone(), (*open.session).clone())));
        let mut all: Vec<LiveSession> = all.into_values().collect();
        all.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        Ok(all)
    }

    /// Tells the store what changes until `stop`, then until no session is open.
    pub(super) async fn tell(self: Arc<Self>, stop: CancellationToken) {
        let Some(store) = self.store.clone() else {
            return;
        };
        // The ids the store has; nothing is known of it at first, and after an error.
        let mut told: Option<BTreeSet<String>> = None;
        while !(stop.is_cancelled() && self.open().is_empty()) {
            let (news, now) = self.news(told.as_ref());
            told = match store.tell_sessions(&self.gateway, &news).await {
                Ok(true) => Some(now),
                Ok(false) | Err(_) => None,
            };
            let is_known = told.is_some();
            tokio::select! {
                () = tokio::time::sleep(if is_known { BEAT } else { BEAT / 5 }) => {}
                () = self.changed.notified(), if is_known => tokio::time::sleep(GATHER).await,
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        let gone = SessionNews {
            afresh: true,
            ..SessionNews::default()
        };
        // It is forgotten anyway, only later.
        let _late = tokio::time::timeout(GOODBYE, store.tell_sessions(&self.gateway, &gone)).await;
    }

    fn news(&self, told: Option<&BTreeSet<String>>) -> (SessionNews, BTreeSet<String>) {
        let open = self.open();
        let now: BTreeSet<String> = open.keys().cloned().collect();
        let none = BTreeSet::new();
        let before = told.unwrap_or(&none);
        let news = SessionNews {
            afresh: told.is_none(),
            opened: open
                .values()
                .filter(|open| !before.contains(&open.session.id))
                .map(|open| (*open.session).clone())
                .collect(),
            ended: before.difference(&now).cloned().collect(),
            open: now.len(),
        };
        (news, now)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Waits until the session has to end; gives what to say then.
    pub(super) async fn ended(&self) -> String {
        self.end.ordered.cancelled().await;
        let why = self.end.why.get().map_or("it has to", String::as_str);
        format!("session ended: {why}")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.sessions.open().remove(&self.id);
        self.sessions.changed.notify_one();
    }
}

impl Gateway {
    /// The open sessions of all gateways, as far as the caller may know: his own, and those where
    /// he may read the audit trail.
    pub(super) async fn own_sessions(&self, call: &Call) -> Result<Response<Body>, Error> {
        let mut places: HashMap<(String, String), bool> = HashMap::new();
        let mut shown = Vec::new();
        for session in self.live.all().await? {
            let mut seen = session.user == call.principal.user;
            if !seen {
                let place = (session.cluster.clone(), session.namespace.clone());
                seen = match places.get(&place) {
                    Some(seen) => *seen,
                    None => {
                        let target = Target::namespace(&place.0, &place.1);
                        let asked = self
                            .authorizer
                            .decide(&call.principal, Verb::Audit, &target);
                        let seen = asked.await == Decision::Allow;
                        places.insert(place, seen);
                        seen
                    }
                };
            }
            if seen {
                shown.push(session);
            }
        }
        Ok(service::json(&json!({ "sessions": shown })))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

    use super::LiveSessions;
    use crate::{
        Target,
        access::{Permit, SessionId, Verb, authorize},
        access_list::AccessList,
        gateway::Call,
        identity::{Principal, Proof},
    };

    async fn permit(call: &Call) -> Permit {
        let entry = r#"[ { users: [alice], verbs: ["*"], clusters: ["*"], namespaces: ["*"] } ]"#;
        let list = AccessList::new(serde_saphyr::from_str(entry).unwrap()).unwrap();
        let target = Target::pod("local", "default", "web").unwrap();
        let session = SessionId::new();
        authorize(&list, &call.principal, Verb::Exec, target, session)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn only_what_changed_is_told_and_everything_after_a_loss() {
        let call = Call {
            principal: Arc::new(Principal::new("alice", Vec::new(), Proof::Session)),
            client: SocketAddr::from(([192, 0, 2, 1], 4000)),
            kubectl: None,
            spdy: false,
        };
        let sessions = LiveSessions::new(None);
        let (nothing, told) = sessions.news(None);
        assert!(nothing.afresh && nothing.opened.is_empty() && told.is_empty());

        let first = sessions.begin(&call, &permit(&call).await, None);
        let second = sessions.begin(&call, &permit(&call).await, None);
        let (news, told) = sessions.news(Some(&told));
        assert_eq!((news.afresh, news.opened.len(), news.open), (false, 2, 2));
        let all = sessions.all().await.unwrap();
        let targets: BTreeSet<&str> = all.iter().map(|one| one.pod.as_str()).collect();
        assert_eq!((all.len(), targets), (2, BTreeSet::from(["web"])));

        for open in sessions.here().into_iter().take(1) {
            assert_eq!(open.session.id, first.id);
            open.end.order("its agent was removed".to_owned());
            open.end.order("nobody hears this".to_owned());
        }
        assert_eq!(first.ended().await, "session ended: its agent was removed");
        let ended = first.id.clone();
        drop(first);
        let (news, _) = sessions.news(Some(&told));
        assert!(news.opened.is_empty() && !news.afresh);
        assert_eq!((news.ended, news.open), (vec![ended], 1));

        let (news, _) = sessions.news(None);
        assert_eq!((news.afresh, news.opened.len(), news.open), (true, 1, 1));
        drop(second);
        assert!(sessions.all().await.unwrap().is_empty());
    }
}
