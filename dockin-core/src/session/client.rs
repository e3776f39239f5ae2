use std::future::Future;

use dockin_stream::{ExitStatus, Gate, Relay, StreamSet, upgrade::Protocol};
use hyper::upgrade::OnUpgrade;

use super::{Carried, carry::carry};
use crate::runtime::BoxSession;
#[cfg(feature = "dockin-ops")]
use crate::{
    compat::TerminalServer,
    session::{
        carry::carry_with,
        collector::{Collected, collect},
    },
};

/// Who is at the client's end of a session.
pub(crate) enum Client {
    /// One that switches to one of the Kubernetes protocols.
    Upgrade {
        on_upgrade: OnUpgrade,
        protocol: Protocol,
    },
    /// A terminal of Dockin-Ops.
    #[cfg(feature = "dockin-ops")]
    Terminal {
        on_upgrade: OnUpgrade,
        size: Option<dockin_stream::TerminalSize>,
        welcome: String,
    },
    /// A request that is answered when all is over.
    #[cfg(feature = "dockin-ops")]
    Request(tokio::sync::oneshot::Sender<Collected>),
}

impl Client {
    /// Whether it may drop what comes right behind the 101.
    pub(crate) const fn needs_settling(&self) -> bool {
        matches!(
            self,
            Self::Upgrade {
                protocol: Protocol::WebSocket(_),
                ..
            }
        )
    }

    /// Carries a session between the client and the container to its end: see
    /// [`carry`](super::carry::carry).
    pub(crate) async fn carry<G, W, F>(
        self,
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
        match self {
            Self::Upgrade {
                on_upgrade,
                protocol,
            } => {
                carry(
                    on_upgrade, protocol, streams, container, relay, write_down, stop,
                )
                .await
            }
            #[cfg(feature = "dockin-ops")]
            Self::Terminal {
                on_upgrade,
                size,
                welcome,
            } => {
                let codec = |now| {
                    let server = TerminalServer::new(streams, size, welcome, now);
                    Some(Box::new(server) as dockin_stream::io::BoxCodec)
                };
                carry_with(on_upgrade, codec, container, relay, write_down, stop).await
            }
            #[cfg(feature = "dockin-ops")]
            Self::Request(answer) => collect(answer, container, relay, write_down, stop).await,
        }
    }
}
