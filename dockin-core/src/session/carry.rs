use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use dockin_stream::{
    Event, ExitStatus, Gate, Outcome, Relay, StreamSet, Transferred,
    io::{BoxCodec, Endpoint, run_relay},
    upgrade::Protocol,
};
use futures::SinkExt;
use hyper::upgrade::OnUpgrade;

use crate::{runtime::BoxSession, service::upgraded};

/// How long a client may take to hear that its session was cut.
const GOODBYE: Duration = Duration::from_secs(2);

/// A session that is over.
#[derive(Debug)]
pub(crate) struct Carried {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What went to and fro.
    pub(crate) transferred: Transferred,
}

impl Carried {
    /// The exit code, when the container told one.
    #[cfg(feature = "gateway")]
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match &self.outcome {
            Outcome::Ended(ExitStatus::Exited(code)) => Some(i32::from(*code)),
            _ => None,
        }
    }

    fn nothing() -> Self {
        Self {
            outcome: Outcome::ClientGone,
            transferred: Transferred::default(),
        }
    }
}

/// Carries a session between a client that upgrades and the container, to its end.
///
/// What `stop` gives ends the session, and the client is told it if he listens.
///
/// When this returns, or is dropped, the container's side is gone too, and with it every
/// process of the session.
pub(crate) async fn carry<G, W, F>(
    upgrade: OnUpgrade,
    protocol: Protocol,
    streams: StreamSet,
    container: BoxSession,
    relay: Relay<G>,
    write_down: W,
    stop: impl Future<Output = String> + Send,
) -> Carried
where
    G: Gate + Unpin,
    G::Note: Unpin,
    W: FnMut(G::Note) -> F + Unpin,
    F: Future<Output = Result<(), ExitStatus>>,
{
    let codec = |now| protocol.server_codec(streams, now);
    carry_with(upgrade, codec, container, relay, write_down, stop).await
}

/// As [`carry`], with the codec that `codec` makes once the client has upgraded.
pub(crate) async fn carry_with<G, W, F>(
    upgrade: OnUpgrade,
    codec: impl FnOnce(Instant) -> Option<BoxCodec>,
    mut container: BoxSession,
    relay: Relay<G>,
    write_down: W,
    stop: impl Future<Output = String> + Send,
) -> Carried
where
    G: Gate + Unpin,
    G::Note: Unpin,
    W: FnMut(G::Note) -> F + Unpin,
    F: Future<Output = Result<(), ExitStatus>>,
{
    let Ok((socket, early)) = upgraded(upgrade).await else {
        return Carried::nothing();
    };
    let Some(codec) = codec(Instant::now()) else {
        return Carried::nothing();
    };
    let mut client = Endpoint::new(socket, codec, early);
    if let Err(error) = client.ready().await {
        tracing::debug!(%error, "client never set up its streams");
        let status = ExitStatus::internal_error(error.to_string());
        // He may still read why.
        let _gone = client.send(Event::Exit(status)).await;
        let _gone = client.finish().await;
        return Carried::nothing();
    }
    let mut stop = pin!(stop);
    let relayed = {
        let relayed = run_relay(&mut client, &mut container, relay, write_down);
        tokio::select! {
            relayed = relayed => Ok(relayed),
            why = stop.as_mut() => Err(why),
        }
    };
    let (outcome, transferred) = match relayed {
        Ok(relayed) => relayed,
        Err(why) => {
            drop(container);
            let status = ExitStatus::internal_error(why);
            let goodbye = async {
                client.send(Event::Exit(status.clone())).await?;
                client.finish().await
            };
            // Without a word kubectl takes the end for success; one that does not listen is left.
            let _told = tokio::time::timeout(GOODBYE, goodbye).await;
            return Carried {
                outcome: Outcome::Stopped(status),
                transferred: Transferred::default(),
            };
        }
    };
    // The processes end now; the client may take its time with the last bytes.
    drop(container);
    tokio::select! {
        finished = client.finish() => if let Err(error) = finished {
            tracing::debug!(%error, "client went away before the last byte");
        },
        why = stop => tracing::debug!(why, "client does not take the last bytes"),
    }
    Carried {
        outcome,
        transferred,
    }
}
