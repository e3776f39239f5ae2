use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

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
    io::BufReader,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Body;
use crate::{identity::CertificateSubject, tls};

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

/// How long a client may take for the TLS handshake and for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
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
/// HTTP/1.1 over TLS, and HTTP/2 where `tls` offers it. A connection that misbehaves harms
/// itself alone.
pub async fn serve<S: Server>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    server: Arc<S>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let tasks = TaskTracker::new();
    loop {
        let (socket, address) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: waiting is all that helps.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let acceptor = acceptor.clone();
        let server = Arc::clone(&server);
        let stop = stop.clone();
        tasks.spawn(async move {
            tune(&socket);
            let accepted =
                tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(buffered(socket))).await;
            match accepted {
                Ok(Ok(stream)) => connection(stream, address, server, stop).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake timed out"),
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

/// A socket that is read in large pieces below TLS.
pub(super) type BufferedTcp = BufReader<TcpStream>;

/// rustls asks for 4 KiB at a time; without a buffer each would be a system call.
pub(super) fn buffered(socket: TcpStream) -> BufferedTcp {
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
    stream: TlsStream<BufferedTcp>,
    address: SocketAddr,
    server: Arc<S>,
    stop: CancellationToken,
) {
    #[cfg(feature = "gateway")]
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP_2);
    let handshake = stream.get_ref().1;
    let chain = handshake.peer_certificates();
    let caller = chain.map_or(Caller::Nobody, |chain| server.caller(chain));
    let mut peer = Peer {
        address,
        certificate_names: Arc::default(),
        certificate: None,
        is_other: caller == Caller::Other,
    };
    if caller == Caller::Named {
        peer.certificate_names = tls::peer_names(handshake).into();
        peer.certificate = tls::peer_subject(handshake);
    }
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
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(Some(PING.0))
            .keep_alive_timeout(PING.1)
            .max_header_list_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
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
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}
