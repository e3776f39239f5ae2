//! Forwarded ports: local sockets on one side, one SPDY connection to the gateway on the other.

use std::{
    collections::HashMap,
    num::NonZeroU16,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use dockin_stream::{
    io::{EndpointError, PortForward},
    portforward::{Client, ForwardId, PortForwardEvent},
};
use futures::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};

use crate::failure::{Failure, chain};

/// A local port and the pod's port behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PortPair {
    /// 0 takes any that is free.
    pub(crate) local: u16,
    /// `1..=65_535`.
    pub(crate) remote: NonZeroU16,
}

impl PortPair {
    /// Reads `LOCAL:REMOTE`, `PORT` or `:REMOTE`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!(
                "`{text}` is no pair of ports, write it as LOCAL:REMOTE"
            ))
        };
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let remote: NonZeroU16 = remote.parse().map_err(|_| wrong())?;
        let local = if local.is_empty() {
            0
        } else {
            local.parse().map_err(|_| wrong())?
        };
        Ok(Self { local, remote })
    }
}

/// All forwarded connections as one future that ends when the gateway's connection does.
///
/// A connection's two directions end each for itself. A local program that does not read holds up
/// the others, but only once much waits for it.
#[derive(Debug)]
pub(crate) struct Forwarder<S> {
    session: PortForward<S, Client>,
    listeners: Vec<(TcpListener, NonZeroU16)>,
    /// The pod's port of each connection, for messages.
    ports: HashMap<ForwardId, NonZeroU16>,
}

const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long our goodbye may take: we leave either way.
const GOODBYE: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Forwarder<S> {
    /// Forwards what `listeners` accept to their port in the pod behind `wire`.
    pub(crate) fn new(wire: S, early: Bytes, listeners: Vec<(TcpListener, NonZeroU16)>) -> Self {
        Self {
            session: PortForward::new(wire, Client::new(), early, PING_INTERVAL),
            listeners,
            ports: HashMap::new(),
        }
    }

    /// Runs until the connection to the gateway ends, which is never a success.
    pub(crate) async fn run(&mut self) -> Failure {
        std::future::poll_fn(|cx| self.poll_run(cx)).await
    }

    /// Says goodbye to the gateway.
    pub(crate) async fn finish(self) {
        let _late = timeout(GOODBYE, self.session.finish()).await;
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        loop {
            let accepted = self.poll_accept(cx);
            match self.session.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(event))) => self.handle_event(event),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(lost(&error)),
                Poll::Ready(None) => {
                    return Poll::Ready(Failure::gateway("lost connection to pod"));
                }
                Poll::Pending if accepted => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        for (listener, remote) in &self.listeners {
            let Poll::Ready(accepted) = listener.poll_accept(cx) else {
                continue;
            };
            moved = true;
            let Ok((socket, _)) = accepted else { continue };
            // Without this it works, only slower.
            let _slower = socket.set_nodelay(true);
            match self.session.open(*remote, socket) {
                Some(id) => {
                    self.ports.insert(id, *remote);
                }
                None => eprintln!("too many connections at a time to port {remote}, one refused"),
            }
        }
        moved
    }

    fn handle_event(&mut self, event: PortForwardEvent) {
        match event {
            PortForwardEvent::Closed { connection } => {
                self.ports.remove(&connection);
            }
            PortForwardEvent::Failed {
                connection,
                message,
            } => {
                if let Some(remote) = self.ports.remove(&connection) {
                    let message = crate::printable::printable(&message);
                    eprintln!("error forwarding to port {remote}: {message}");
                }
            }
            _ => {}
        }
    }
}

fn lost(error: &EndpointError) -> Failure {
    Failure::gateway(format!("lost connection to pod: {}", chain(error)))
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
