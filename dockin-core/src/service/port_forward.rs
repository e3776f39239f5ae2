use std::{
    collections::HashMap,
    future::Future,
    num::NonZeroU16,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use dockin_stream::{
    io::{self, EndpointError, PortForward},
    portforward::{
        Client, ForwardId, PortForwardCodec, PortForwardEvent, Server, Tunnelled, channel,
    },
    upgrade::Protocol,
};
use futures::{
    StreamExt,
    future::{AbortHandle, Aborted, abortable},
    stream::FuturesUnordered,
};
use hyper::upgrade::OnUpgrade;

use super::{BoxIo, PortsProtocol, upgraded};
use crate::{
    Error, ErrorKind,
    access::Permit,
    runtime::{PortStream, Runtime},
};

/// Connects to the ports that a port-forward session asks for.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A connection to `port`.
    ///
    /// # Errors
    ///
    /// The client is told the message.
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error>;
}

/// Dials through a runtime, under one permit.
pub struct RuntimeDialer {
    runtime: Arc<dyn Runtime>,
    permit: Permit,
}

impl RuntimeDialer {
    /// A dialer for the permit's pod.
    pub fn new(runtime: Arc<dyn Runtime>, permit: Permit) -> Self {
        Self { runtime, permit }
    }
}

#[async_trait]
impl Dial for RuntimeDialer {
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error> {
        self.runtime.dial(&self.permit, port).await
    }
}

/// How a port-forward session ended, and what it carried.
#[derive(Debug, Default)]
pub struct PortsEnd {
    /// Connections that were asked for.
    pub connections: u64,
    /// Why it ended, unless the client ended it.
    pub error: Option<String>,
}

/// Serves a port-forward session to its end: each connection that the client opens is dialled
/// and carried, and one connection's failure leaves the others alone.
///
/// What `stop` gives ends the session: it is told on each connection that is open then.
pub async fn serve_ports(
    upgrade: OnUpgrade,
    PortsProtocol { protocol, ports }: PortsProtocol,
    dial: Arc<dyn Dial>,
    stop: impl Future<Output = String> + Send,
) -> PortsEnd {
    let stop = pin!(stop);
    let mut end = PortsEnd::default();
    let (socket, early) = match upgraded(upgrade).await {
        Ok(connection) => connection,
        Err(error) => {
            end.error = Some(error.chain());
            return end;
        }
    };
    let result = match protocol {
        Protocol::SpdyPorts => {
            let session = PortForward::new(socket, Server::new(), early, KEEPALIVE);
            carry(session, &dial, stop, &mut end).await
        }
        Protocol::TunnelledPorts => {
            let session = PortForward::new(socket, Tunnelled::server(), early, KEEPALIVE);
            carry(session, &dial, stop, &mut end).await
        }
        Protocol::ChannelPorts(subprotocol) => match channel::Server::new(subprotocol, &ports) {
            Ok(server) => {
                let session = PortForward::new(socket, server, early, KEEPALIVE);
                carry(session, &dial, stop, &mut end).await
            }
            Err(error) => Err(Error::new(ErrorKind::Malformed, error.to_string())),
        },
        Protocol::WebSocket(_) | Protocol::Spdy(_) => {
            end.error = Some("not a port-forward protocol".to_owned());
            return end;
        }
    };
    match result {
        Ok(stopped) => end.error = stopped,
        Err(error) => end.error = Some(error.chain()),
    }
    end
}

/// Proof of life: below the 30 s after which middle boxes forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long a client may take to hear that its session has ended.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a client has to make something of what its connections were told.
const HEARING: Duration = Duration::from_millis(500);

/// A connection's number, its port, and what became of dialling it.
type Dialled = (ForwardId, NonZeroU16, Result<Box<dyn PortStream>, Error>);
type Dialling = Pin<Box<dyn Future<Output = Result<Dialled, Aborted>> + Send>>;

async fn carry<P: PortForwardCodec + Unpin>(
    mut session: PortForward<BoxIo, P>,
    dial: &Arc<dyn Dial>,
    mut stop: Pin<&mut (impl Future<Output = String> + Send)>,
    end: &mut PortsEnd,
) -> Result<Option<String>, Error> {
    let mut dialling: FuturesUnordered<Dialling> = FuturesUnordered::new();
    let mut handles: HashMap<ForwardId, AbortHandle> = HashMap::new();
    let stopped = loop {
        tokio::select! {
            why = stop.as_mut() => {
                session.fail_all(&why);
                // kubectl looks at what it was told of a connection only while the session is
                // there.
                let listening = async { while let Some(Ok(_)) = session.next().await {} };
                let _heard = tokio::time::timeout(HEARING, listening).await;
                break Some(why);
            }
            event = session.next() => match event {
                None => break None,
                Some(Err(error)) => return Err(broken(error)),
                Some(Ok(PortForwardEvent::Opened { connection, port })) => {
                    end.connections += 1;
                    let dial = Arc::clone(dial);
                    let dialled = async move { (connection, port, dial.dial(port.get()).await) };
                    let (dialled, handle) = abortable(dialled);
                    handles.insert(connection, handle);
                    dialling.push(Box::pin(dialled));
                }
                Some(Ok(
                    PortForwardEvent::Closed { connection }
                    | PortForwardEvent::Failed { connection, .. },
                )) => {
                    // Nobody waits for it any more.
                    if let Some(handle) = handles.remove(&connection) {
                        handle.abort();
                    }
                }
                Some(Ok(_)) => {}
            },
            Some(dialled) = dialling.next() => {
                let Ok((connection, port, result)) = dialled else {
                    continue;
                };
                handles.remove(&connection);
                match result {
                    Ok(stream) => session.carry(connection, stream),
                    Err(error) => {
                        let message = format!("failed to connect to port {port}: {}", error.chain());
                        session.fail(connection, &message);
                    }
                }
            }
        }
    };
    // Who is gone need not hear it.
    match &stopped {
        None => drop(session.finish().await),
        // Who does not listen is not waited for.
        Some(_) => drop(tokio::time::timeout(GOODBYE, session.finish()).await),
    }
    Ok(stopped)
}

fn broken(error: EndpointError) -> Error {
    let kind = match &error {
        EndpointError::Protocol(_) => ErrorKind::Malformed,
        _ => ErrorKind::Unavailable,
    };
    let what = match kind {
        ErrorKind::Malformed => "port-forward protocol broken",
        _ => "port-forward connection lost",
    };
    Error::new(kind, what).with_source(error)
}

/// Opens one connection to `port` over a port-forward session of its own, as the client of the
/// server behind `socket`.
///
/// Whether the port could be reached shows only later: a failure is an error of reading, with
/// the server's message.
///
/// # Errors
///
/// `Malformed` for port 0.
pub fn dial_over_spdy(
    socket: BoxIo,
    early: Bytes,
    port: u16,
) -> Result<Box<dyn PortStream>, Error> {
    let opened = NonZeroU16::new(port)
        .and_then(|port| io::PortStream::open(socket, Client::new(), early, port));
    match opened {
        Some(stream) => Ok(Box::new(stream)),
        None => Err(Error::new(
            ErrorKind::Malformed,
            "port 0 cannot be forwarded",
        )),
    }
}
