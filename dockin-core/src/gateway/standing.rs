//! Open sessions end when what they stand on is taken away: the person, his credential, the
//! cluster, the agent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{Gateway, live::Open};
use crate::Error;

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long finding out about one person may take: the others must not wait for a directory.
const PATIENCE: Duration = Duration::from_secs(3);
/// People who are looked at at once.
const AT_ONCE: usize = 16;

impl Gateway {
    /// Ends sessions that have nothing to stand on any more, until `stop`.
    pub(super) async fn look_after_sessions(self: Arc<Self>, stop: CancellationToken) {
        let pause = || tokio::time::sleep(LOOK);
        while stop.run_until_cancelled(pause()).await.is_some() {
            let open = self.live.here();
            for one in &open {
                if let Some(why) = self.lost_ground(one).await {
                    one.end.order(why);
                }
            }
            self.end_of_people(&open).await;
        }
    }

    /// Why the session has no target any more.
    async fn lost_ground(&self, open: &Open) -> Option<String> {
        let cluster = &open.session.cluster;
        if self.clusters.find(Some(cluster)).is_none() {
            return Some(format!("cluster `{cluster}` was removed"));
        }
        match &open.runtime {
            Some(runtime) => runtime.ended().await,
            None => None,
        }
    }

    /// Ends the sessions of people who are gone or whose credentials were taken back.
    async fn end_of_people(&self, open: &[Open]) {
        let mut people: HashMap<_, Vec<&Open>> = HashMap::new();
        for one in open {
            let principal = &one.principal;
            let person = (&principal.user, &principal.impersonator, &principal.basis);
            people.entry(person).or_default().push(one);
        }
        let looks = stream::iter(people.into_values());
        let look = |sessions| async move {
            let looked = tokio::time::timeout(PATIENCE, self.end_of_person(sessions)).await;
            // While it cannot be known who is in stays in, and is asked about again.
            if let Ok(Err(error)) = looked {
                tracing::debug!(
                    error = error.chain(),
                    "somebody's open sessions not looked at"
                );
            }
        };
        looks.for_each_concurrent(AT_ONCE, look).await;
    }

    /// The same for one person's, oldest first: if that goes on, so do the others.
    async fn end_of_person(&self, sessions: Vec<&Open>) -> Result<(), Error> {
        for Open {
            session,
            principal,
            end,
            ..
        } in sessions
        {
            match self.authenticator.ended(principal, session.since).await? {
                Some(why) => end.order(why),
                None => break,
            }
        }
        Ok(())
    }
}
