//! Open sessions and long answers end when what they stand on is taken away: the person, his
//! credential, the cluster, the agent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    Gateway,
    live::{End, Open},
    long_answer::OpenAnswer,
};
use crate::{Error, identity::Principal, runtime::Runtime};

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long finding out about one person may take: the others must not wait for a directory.
const PATIENCE: Duration = Duration::from_secs(3);
/// People who are looked at at once.
const AT_ONCE: usize = 16;

/// Something that is open, and what it stands on.
struct Standing {
    cluster: String,
    principal: Arc<Principal>,
    since: Timestamp,
    runtime: Option<Arc<dyn Runtime>>,
    what: What,
}

enum What {
    Session(Arc<End>),
    Answer(Arc<OpenAnswer>),
}

impl Gateway {
    /// Ends what has nothing to stand on any more, until `stop`.
    pub(super) async fn look_after_sessions(self: Arc<Self>, stop: CancellationToken) {
        let pause = || tokio::time::sleep(LOOK);
        while stop.run_until_cancelled(pause()).await.is_some() {
            let open = self.standing();
            for one in &open {
                if let Some(why) = self.lost_ground(one).await {
                    self.end(one, why).await;
                }
            }
            self.end_of_people(&open).await;
        }
    }

    /// All that is open here, oldest first.
    fn standing(&self) -> Vec<Standing> {
        let sessions = self.live.here().into_iter().map(Standing::from);
        let answers = self.answers.here().into_iter().map(Standing::from);
        let mut all: Vec<Standing> = sessions.chain(answers).collect();
        all.sort_by_key(|one| one.since);
        all
    }

    /// Why it has no target any more.
    async fn lost_ground(&self, open: &Standing) -> Option<String> {
        let cluster = &open.cluster;
        if self.clusters.find(Some(cluster)).is_none() {
            return Some(format!("cluster `{cluster}` was removed"));
        }
        match &open.runtime {
            Some(runtime) => runtime.ended().await,
            None => None,
        }
    }

    /// Ends what people have open who are gone or whose credentials were taken back.
    async fn end_of_people(&self, open: &[Standing]) {
        let mut people: HashMap<_, Vec<&Standing>> = HashMap::new();
        for one in open {
            let principal = &one.principal;
            let person = (&principal.user, &principal.impersonator, &principal.basis);
            people.entry(person).or_default().push(one);
        }
        let looks = stream::iter(people.into_values());
        let look = |open| async move {
            let looked = tokio::time::timeout(PATIENCE, self.end_of_person(open)).await;
            // While it cannot be known who is in stays in, and is asked about again.
            if let Ok(Err(error)) = looked {
                tracing::debug!(
                    error = error.chain(),
                    "what somebody has open was not looked at"
                );
            }
        };
        looks.for_each_concurrent(AT_ONCE, look).await;
    }

    /// The same for one person's, oldest first: if that goes on, so do the others.
    async fn end_of_person(&self, open: Vec<&Standing>) -> Result<(), Error> {
        for one in open {
            let ended = self.authenticator.ended(&one.principal, one.since).await?;
            match ended {
                Some(why) => self.end(one, why).await,
                None => break,
            }
        }
        Ok(())
    }

    /// Ends it. A session writes its end down itself.
    async fn end(&self, one: &Standing, why: String) {
        match &one.what {
            What::Session(end) => end.order(why),
            What::Answer(answer) => {
                if !answer.order(why.clone()) {
                    return;
                }
                let asked = &answer.asked;
                let told = self.auditor.answer_ended(&asked.call, &asked.wanted, why);
                if let Err(error) = told.await {
                    tracing::error!(error = error.chain(), "end of an answer not audited");
                }
            }
        }
    }
}

impl From<Open> for Standing {
    fn from(open: Open) -> Self {
        Self {
            cluster: open.session.cluster.clone(),
            principal: open.principal,
            since: open.session.since,
            runtime: open.runtime,
            what: What::Session(open.end),
        }
    }
}

impl From<Arc<OpenAnswer>> for Standing {
    fn from(answer: Arc<OpenAnswer>) -> Self {
        let asked = &answer.asked;
        Self {
            cluster: asked.wanted.cluster.clone().unwrap_or_default(),
            principal: Arc::clone(&asked.call.principal),
            since: asked.since,
            runtime: asked.runtime.clone(),
            what: What::Answer(answer),
        }
    }
}
