use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dockin_stream::limits;
use http::{HeaderValue, Request, Response, StatusCode, header};
#[cfg(feature = "gateway")]
use hyper::server::conn::http2;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
#[cfg(feature = "gateway")]
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Body,
    connections::{Connection, ConnectionLimits, Connections},
    transport::{Accepted, Transport},
};
use crate::identity::CertificateSubject;
#[cfg(doc)]
use crate::tls;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The names of its verified client certificate, when it showed one.
    pub certificate_names: Arc<[String]>,
    /// Whom that certificate is for, for who reads certificates as Kubernetes does.
    pub certificate: Option<CertificateSubject>,
    /// It showed a certificate of [`Caller::Other`].
    pub is_other: bool,
    /// The certificate of an agent that came by [`tls::AGENT_PROTOCOL`]: of the agents' authority,
    /// which is not that of people.
    pub agent: Option<Arc<CertificateDer<'static>>>,
    /// The host name that it asked for in the handshake, in lower case.
    pub server_name: Option<Arc<str>>,
    /// Its connection's place among all.
    pub connection: Connection,
}

/// For whom a client certificate speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: there is no fourth.
pub enum Caller {
    /// Whom it names.
    Named,
    /// A caller of another kind, whatever it names.
    Other,
    /// Nobody.
    Nobody,
}

/// What handles the requests of every connection.
pub trait Server: Send + Sync + 'static {
    /// For whom the certificate speaks that a client showed. It is asked once a connection.
    fn caller(&self, _chain: &[CertificateDer<'static>]) -> Caller {
        Caller::Named
    }

    /// Answers one request. Never fails: an error is an answer too.
    fn handle(
        self: Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// How often the log says that connections are turned away.
const WARNING: Duration = Duration::from_secs(10);
/// How long sessions may go on after the order to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Requests at once on one connection of HTTP/2: as many as Go's servers take.
#[cfg(feature = "gateway")]
const STREAMS: u32 = 250;
/// How often a connection of HTTP/2 is tried, and how long the answer may take.
#[cfg(feature = "gateway")]
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
/// Bytes of the head of a request over HTTP/2.
#[cfg(feature = "gateway")]
const MAX_HEAD: u32 = 64 * 1024;

/// Serves connections of `listener` until `stop`, then lets what is open end for a while.
///
/// HTTP/1.1, and HTTP/2 where TLS offers it. A connection that misbehaves harms itself alone, and
/// there are as many as the [default limits](ConnectionLimits::default) say.
pub async fn serve<S: Server>(
    listener: TcpListener,
    transport: impl Into<Transport>,
    server: Arc<S>,
    stop: CancellationToken,
) {
    let limits = ConnectionLimits::default();
    serve_limited(listener, transport, limits, server, stop).await;
}

/// Serves as [`serve`] does, with as many connections as `limits` say.
pub async fn serve_limited<S: Server>(
    listener: TcpListener,
    transport: impl Into<Transport>,
    limits: ConnectionLimits,
    server: Arc<S>,
    stop: CancellationToken,
) {
    let transport = transport.into();
    let connections = Connections::new(limits);
    let tasks = TaskTracker::new();
    let mut warned: Option<Instant> = None;
    loop {
        let (socket, address) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: who has proved nothing makes room.
                    if !connections.cut_oldest() {
                        tracing::warn!(%error, "accept failed");
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let Some(place) = connections.take(address.ip()) else {
            // Not for each: who is turned away may come a thousand times a second.
            if warned.is_none_or(|at| at.elapsed() > WARNING) {
                warned = Some(Instant::now());
                tracing::warn!(%address, "connections are turned away: there are too many");
            }
            continue;
        };
        let transport = transport.clone();
        let server = Arc::clone(&server);
        let stop = stop.clone();
        let timeout = connections.limits().head_timeout;
        tasks.spawn(async move {
            tune(&socket);
            let handshake = transport.accept(socket, place.clone(), |chain| server.caller(chain));
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(timeout, handshake) => accepted,
                () = place.cut() => return,
            };
            let (stream, greeting) = match accepted {
                Ok(Ok(accepted)) => accepted,
                Ok(Err(error)) => {
                    return tracing::debug!(%address, %error, "TLS handshake failed");
                }
                Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
            };
            let peer = Peer {
                address,
                certificate_names: greeting.certificate_names.into(),
                certificate: greeting.certificate,
                is_other: greeting.is_other,
                agent: greeting.agent.map(Arc::new),
                server_name: greeting.server_name.map(Into::into),
                connection: place,
            };
            let http = Http {
                #[cfg(feature = "gateway")]
                is_http2: greeting.is_http2,
                timeout,
            };
            match stream {
                Accepted::Plain(stream) => connection(stream, http, peer, server, stop).await,
                Accepted::Tls(stream) => connection(*stream, http, peer, server, stop).await,
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::info!(
            open = tasks.len(),
            "drain time is over, connections are cut"
        );
    }
}

/// How HTTP is spoken on a connection.
#[derive(Clone, Copy)]
struct Http {
    #[cfg(feature = "gateway")]
    is_http2: bool,
    /// For the head of a request, and for the first one.
    timeout: Duration,
}

/// A client's socket that is read in large pieces below TLS.
pub(super) type BufferedTcp = BufReader<TcpStream>;

/// rustls asks for 4 KiB at a time; without a buffer each would be a system call.
pub(super) fn buffered(socket: TcpStream) -> BufferedTcp {
    buffer(socket)
}

pub(super) fn buffer<T: AsyncRead>(socket: T) -> BufReader<T> {
    BufReader::with_capacity(limits::READ_BUFFER, socket)
}

/// What every socket of ours gets: no Nagle delay, and a dead peer is found.
pub(super) fn tune(socket: &TcpStream) {
    let tuned = socket.set_nodelay(true);
    if let Err(error) = tuned {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    #[cfg(feature = "service")]
    keepalive(socket);
}

fn keepalive(socket: &TcpStream) {
    use rustix::net::sockopt;

    let result = sockopt::set_socket_keepalive(socket, true)
        .and_then(|()| sockopt::set_tcp_keepidle(socket, Duration::from_secs(30)))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10)))
        .and_then(|()| sockopt::set_tcp_keepcnt(socket, 3));
    if let Err(error) = result {
        tracing::debug!(%error, "keepalive not set");
    }
}

async fn connection<S: Server>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    http: Http,
    peer: Peer,
    server: Arc<S>,
    stop: CancellationToken,
) {
    let address = peer.address;
    let place = peer.connection.clone();
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        let peer = peer.clone();
        async move {
            let upgrading = request.headers().contains_key(header::UPGRADE);
            let mut response = server.handle(peer, request).await;
            // What follows a refused upgrade may be meant for another protocol: it is not read.
            if upgrading && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    #[cfg(feature = "gateway")]
    if http.is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(Some(PING.0))
            .keep_alive_timeout(PING.1)
            .max_header_list_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // Its pings keep it alive, whatever else it never says.
        let mute = async {
            tokio::time::sleep(http.timeout).await;
            if place.is_proved() {
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = place.cut() => return,
            () = mute => return,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%address, %error, "connection ended");
        }
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(http.timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = place.cut() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}
