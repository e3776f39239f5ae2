//! What connections are before HTTP begins: TLS as it is configured now, or the clear on loopback.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ServerConfig, pki_types::CertificateDer, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    connections::Connection,
    serve::{Caller, buffer},
};
use crate::{
    Error, ErrorKind,
    identity::CertificateSubject,
    tls::{self, Live},
};

/// How a server's connections are secured.
#[derive(Clone, Debug)]
pub struct Transport(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Plain,
    Tls {
        people: Live<ServerConfig>,
        agents: Option<Live<ServerConfig>>,
    },
}

impl Transport {
    /// Nothing secures them: `listener` must be on a loopback address, where nobody sits in
    /// between.
    ///
    /// # Errors
    ///
    /// `Misuse` for any other address.
    pub fn plain(listener: &TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the listener has no address").with_source(error)
        })?;
        if address.ip().to_canonical().is_loopback() {
            return Ok(Self(Kind::Plain));
        }
        let what = format!(
            "plain HTTP on {address} would show tokens to everybody on the way: listen on a \
             loopback address, or give certificates under `tls`"
        );
        Err(Error::new(ErrorKind::Misuse, what))
    }

    /// TLS by `people`; who offers [`tls::AGENT_PROTOCOL`] is served by `agents`, whose client
    /// certificates are those of another authority.
    #[must_use]
    pub const fn tls(people: Live<ServerConfig>, agents: Option<Live<ServerConfig>>) -> Self {
        Self(Kind::Tls { people, agents })
    }
}

impl From<Arc<ServerConfig>> for Transport {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::tls(config.into(), None)
    }
}

impl From<Live<ServerConfig>> for Transport {
    fn from(config: Live<ServerConfig>) -> Self {
        Self::tls(config, None)
    }
}

/// A connection that HTTP can begin on.
pub(super) enum Accepted {
    Plain(ServedTcp),
    Tls(Box<TlsStream<ServedTcp>>),
}

/// What a handshake has told about the peer.
#[derive(Default)]
pub(super) struct Greeting {
    pub(super) certificate_names: Vec<String>,
    pub(super) certificate: Option<CertificateSubject>,
    pub(super) is_other: bool,
    pub(super) agent: Option<CertificateDer<'static>>,
    pub(super) server_name: Option<String>,
    #[cfg(feature = "gateway")]
    pub(super) is_http2: bool,
}

impl Transport {
    /// Shakes hands. `caller` says for whom a certificate speaks that is no agent's.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        place: Connection,
        caller: impl FnOnce(&[CertificateDer<'static>]) -> Caller,
    ) -> io::Result<(Accepted, Greeting)> {
        let socket = buffer(Held {
            socket,
            _place: place,
        });
        let Kind::Tls { people, agents } = &self.0 else {
            return Ok((Accepted::Plain(socket), Greeting::default()));
        };
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let offered = hello.client_hello().alpn();
        let by_agent = offered.is_some_and(|mut all| all.any(|one| one == tls::AGENT_PROTOCOL));
        let (config, is_agent) = match agents {
            Some(agents) if by_agent => (agents.current(), true),
            _ => (people.current(), false),
        };
        let stream = hello.into_stream(config).await?;
        let connection = stream.get_ref().1;
        let chain = connection.peer_certificates();
        let leaf = chain.and_then(<[_]>::first);
        // A person's certificate is of another authority than an agent's.
        let caller = match chain {
            Some(chain) if !is_agent => caller(chain),
            _ => Caller::Nobody,
        };
        let is_named = caller == Caller::Named;
        let greeting = Greeting {
            certificate_names: match is_named || is_agent {
                true => tls::peer_names(connection),
                false => Vec::new(),
            },
            certificate: is_named.then(|| tls::peer_subject(connection)).flatten(),
            is_other: caller == Caller::Other,
            agent: leaf
                .filter(|_| is_agent)
                .map(|leaf| leaf.clone().into_owned()),
            server_name: connection.server_name().map(str::to_ascii_lowercase),
            #[cfg(feature = "gateway")]
            is_http2: connection.alpn_protocol() == Some(tls::HTTP_2),
        };
        Ok((Accepted::Tls(Box::new(stream)), greeting))
    }
}

/// A socket that is read in large pieces below TLS.
pub(super) type ServedTcp = BufReader<Held>;

/// A socket and its place among the connections, which is free when the socket is closed,
/// whatever the connection has become meanwhile.
pub(super) struct Held {
    socket: TcpStream,
    // Only held.
    _place: Connection,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use tokio::net::TcpListener;

    use super::Transport;

    #[tokio::test]
    async fn nothing_is_served_in_the_clear_beyond_this_machine() {
        for (address, allowed) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
            let listener = TcpListener::bind(address).await.unwrap();
            let plain = Transport::plain(&listener);
            assert_eq!(plain.is_ok(), allowed, "{address}");
        }
    }
}
