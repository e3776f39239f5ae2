use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use dockin_stream::limits;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

use super::{
    proxy::{Proxy, host_of},
    tls, within,
};
use crate::{
    failure::{Failure, chain},
    kubeconfig::Connection,
};

/// Opens connections to one server.
pub(super) struct Connector {
    host: String,
    port: u16,
    /// `None` for plain HTTP, which is for loopback only.
    tls: Option<Tls>,
    /// What stands in between, and the TLS that it is spoken to with.
    proxy: Option<(Proxy, Option<Tls>)>,
}

/// How to begin TLS, and whose certificate it must bring.
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    async fn handshake<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), socket).await
    }
}

/// A connection, perhaps inside that to a proxy.
type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How long a connection may take, and again its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Connector {
    pub(super) fn new(connection: &Connection) -> Result<Self, Failure> {
        let server = &connection.server;
        let host = host_of(server).to_owned();
        let encrypted = server.scheme_str() != Some("http");
        let tls = if encrypted {
            let name = connection.server_name.as_deref().unwrap_or(&host);
            let name = ServerName::try_from(name.to_owned())
                .map_err(|_| Failure::local(format!("`{name}` is no server name")))?;
            let config = tls::client_config(connection)?;
            Some(Tls { config, name })
        } else {
            None
        };
        let port = server
            .port_u16()
            .unwrap_or(if encrypted { 443 } else { 80 });
        let variable = |name: &str| std::env::var(name).ok();
        let proxy = Proxy::between(connection, &host, port, variable)?
            .map(|proxy| {
                let tls = proxy
                    .encrypted
                    .then(|| proxy_tls(&proxy, connection))
                    .transpose()?;
                Ok((proxy, tls))
            })
            .transpose()?;
        Ok(Self {
            host,
            port,
            tls,
            proxy,
        })
    }

    pub(super) async fn connect(&self) -> Result<Wire, Failure> {
        let late = |what: &str| {
            Failure::gateway(format!(
                "{what} {self} took longer than {} s\nis the gateway running, and the way to it open?",
                CONNECT_TIMEOUT.as_secs()
            ))
        };
        let socket = match &self.proxy {
            None => {
                let socket = within(CONNECT_TIMEOUT, dial(&self.host, self.port))
                    .await
                    .ok_or_else(|| late("connecting to"))?
                    .map_err(|error| {
                        Failure::gateway(format!(
                            "cannot connect to {self}: {}\nis the gateway running, and is the server in the kubeconfig right?",
                            chain(&error)
                        ))
                    })?;
                // rustls asks for 4 KiB at a time; without a buffer each would be a system call.
                BufReader::with_capacity(limits::READ_BUFFER, Either::Left(socket))
            }
            Some((proxy, tls)) => {
                let through = self.through(proxy, tls.as_ref());
                within(CONNECT_TIMEOUT, through).await.ok_or_else(|| {
                    Failure::gateway(format!(
                        "connecting to {self} through {proxy} took longer than {} s",
                        CONNECT_TIMEOUT.as_secs()
                    ))
                })??
            }
        };
        let Some(tls) = &self.tls else {
            return Ok(Wire::Plain(socket));
        };
        let stream = within(CONNECT_TIMEOUT, tls.handshake(socket))
            .await
            .ok_or_else(|| late("TLS handshake with"))?
            .map_err(|error| self.refused_certificate(&error))?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// A connection that `proxy` has opened.
    async fn through(
        &self,
        proxy: &Proxy,
        tls: Option<&Tls>,
    ) -> Result<BufReader<Socket>, Failure> {
        let unreachable = |error: io::Error| {
            Failure::gateway(format!(
                "cannot connect to {proxy}: {}\nif {self} is to be reached without it, name its host in NO_PROXY",
                chain(&error)
            ))
        };
        let socket = dial(&proxy.host, proxy.port).await.map_err(unreachable)?;
        let socket = match tls {
            None => Either::Left(socket),
            Some(tls) => {
                let stream = tls.handshake(socket).await.map_err(unreachable)?;
                Either::Right(Box::new(stream))
            }
        };
        let mut socket = BufReader::with_capacity(limits::READ_BUFFER, socket);
        proxy.open(&mut socket, &self.host, self.port).await?;
        Ok(socket)
    }

    fn refused_certificate(&self, error: &io::Error) -> Failure {
        let text = chain(error);
        let next = if text.contains("UnknownIssuer") {
            "\nits certificate is not signed by the certificate-authority of the kubeconfig"
        } else if text.contains("NotValidForName") || text.contains("not valid for") {
            "\nconnect by a name in its certificate, or set tls-server-name in the kubeconfig"
        } else {
            ""
        };
        Failure::gateway(format!("TLS handshake with {self}: {text}{next}"))
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({self})")
    }
}

async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((host, port)).await?;
    // A keystroke must not wait for the one before it. Without this it works, only slower.
    let _slower = socket.set_nodelay(true);
    Ok(socket)
}

/// The TLS of a proxy: it is trusted when the system trusts it, or the gateway's authority vouches
/// for it.
fn proxy_tls(proxy: &Proxy, connection: &Connection) -> Result<Tls, Failure> {
    let name = ServerName::try_from(proxy.host.clone())
        .map_err(|_| Failure::local(format!("`{}` is no server name", proxy.host)))?;
    let config = tls::proxy_config(connection)?;
    Ok(Tls { config, name })
}

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) enum Wire {
    /// Encrypted.
    Tls(Box<TlsStream<BufReader<Socket>>>),
    /// Not encrypted; loopback only.
    Plain(BufReader<Socket>),
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Plain(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
