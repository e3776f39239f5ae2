use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use dockin_policy::audit::{AuditEvent, octet_counted, syslog_message};
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, UnixDatagram, UnixStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Error, ErrorKind};

/// Where a syslog server listens: `tls://HOST:PORT`, `tcp://HOST:PORT`, `udp://HOST:PORT`,
/// `unix:///PATH`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SyslogAddress {
    /// Octet-counted messages inside TLS, by RFC 5425.
    Tls(String),
    /// Octet-counted messages on a connection.
    Tcp(String),
    /// A datagram each.
    Udp(String),
    /// A socket of this machine, datagrams or, when it is one, a stream.
    Unix(PathBuf),
}

impl FromStr for SyslogAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let port = |address: &str| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        match text.split_once("://") {
            Some(("tls", address)) if port(address) => Ok(Self::Tls(address.to_owned())),
            Some(("tcp", address)) if port(address) => Ok(Self::Tcp(address.to_owned())),
            Some(("udp", address)) if port(address) => Ok(Self::Udp(address.to_owned())),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(Error::new(
                ErrorKind::Misuse,
                format!(
                    "syslog address `{text}` is none of tls://HOST:PORT, tcp://HOST:PORT, \
                     udp://HOST:PORT, unix:///PATH"
                ),
            )),
        }
    }
}

/// Sends RFC 5424 messages.
///
/// Syslog acknowledges nothing: what a server that breaks off had received but not read is not
/// sent again, and a datagram may be lost. A stream is written to only while the server has not
/// closed it.
#[derive(Debug)]
pub struct SyslogTarget {
    address: SyslogAddress,
    host: String,
    /// Whose certificate it must have, when it is spoken to in TLS.
    tls: Option<Tls>,
    socket: Option<Socket>,
}

struct Tls {
    name: ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tls({:?})", self.name)
    }
}

#[derive(Debug)]
enum Socket {
    Tls(Box<TlsStream<TcpStream>>),
    Tcp(TcpStream),
    Udp(UdpSocket),
    UnixStream(UnixStream),
    UnixDatagram(UnixDatagram),
}

/// How long connecting or sending a batch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest datagram, bytes; beyond it a message is cut: UDP takes 65,507.
const MAX_DATAGRAM: usize = 60_000;

impl SyslogTarget {
    /// The server at `address`; `host` is what messages say this machine is called.
    #[must_use]
    pub fn new(address: SyslogAddress, host: impl Into<String>) -> Self {
        Self {
            address,
            host: host.into(),
            tls: None,
            socket: None,
        }
    }

    /// Speaks TLS with the server, whose certificate must be for the host of its address and of an
    /// authority that `config` has. A `tls://` address takes no records without.
    ///
    /// # Errors
    ///
    /// `Misuse` when the address is no `tls://` one, or its host is neither a DNS name nor an IP
    /// address.
    pub fn with_tls(mut self, config: Arc<rustls::ClientConfig>) -> Result<Self, Error> {
        let SyslogAddress::Tls(address) = &self.address else {
            let what = format!("syslog address `{}` is no tls:// one", self.address);
            return Err(Error::new(ErrorKind::Misuse, what));
        };
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| {
            let what = format!(
                "syslog address `{}` has no host that TLS takes",
                self.address
            );
            Error::new(ErrorKind::Misuse, what).with_source(error)
        })?;
        // The certificates that it trusts are asked for here, not the protocol of other servers.
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols.clear();
        let config = Arc::new(config);
        self.tls = Some(Tls { name, config });
        Ok(self)
    }

    pub(super) async fn send(&mut self, batch: &[(u64, Vec<u8>)]) -> Result<(), Error> {
        let mut messages = Vec::with_capacity(batch.len());
        for (_, line) in batch {
            // What is no event is for `audit verify` to tell of.
            let Ok(event) = serde_json::from_slice::<AuditEvent>(line) else {
                continue;
            };
            let text = String::from_utf8_lossy(line);
            messages.push(syslog_message(
                &event,
                &text,
                &self.host,
                std::process::id(),
            ));
        }
        let sent = tokio::time::timeout(TIMEOUT, self.send_messages(&messages)).await;
        let outcome = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        outcome.map_err(|error| {
            self.socket = None;
            let address = &self.address;
            Error::new(
                ErrorKind::Unavailable,
                format!("syslog server at {address} does not take records"),
            )
            .with_source(error)
        })
    }

    async fn send_messages(&mut self, messages: &[String]) -> std::io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            None => {
                let socket = connect(&self.address, self.tls.as_ref()).await?;
                self.socket.insert(socket)
            }
        };
        match socket {
            Socket::Tls(stream) => {
                // A stream that is polled once: what is there by now, or nothing.
                let read = tokio::time::timeout(Duration::ZERO, stream.read(&mut [0])).await;
                is_open(read.unwrap_or_else(|_| Err(std::io::ErrorKind::WouldBlock.into())))?;
                stream.write_all(&framed(messages)).await?;
                stream.flush().await
            }
            Socket::Tcp(stream) => {
                is_open(stream.try_read(&mut [0]))?;
                stream.write_all(&framed(messages)).await?;
                stream.flush().await
            }
            Socket::UnixStream(stream) => {
                is_open(stream.try_read(&mut [0]))?;
                stream.write_all(&framed(messages)).await?;
                stream.flush().await
            }
            Socket::Udp(socket) => {
                for message in messages {
                    socket.send(datagram(message)).await?;
                }
                Ok(())
            }
            Socket::UnixDatagram(socket) => {
                for message in messages {
                    socket.send(datagram(message)).await?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(address) => write!(formatter, "tls://{address}"),
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
            Self::Udp(address) => write!(formatter, "udp://{address}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

async fn connect(address: &SyslogAddress, tls: Option<&Tls>) -> std::io::Result<Socket> {
    Ok(match address {
        SyslogAddress::Tls(address) => {
            let Some(Tls { name, config }) = tls else {
                return Err(std::io::Error::other(
                    "nobody said which authority to trust",
                ));
            };
            let socket = TcpStream::connect(address).await?;
            let connector = TlsConnector::from(Arc::clone(config));
            Socket::Tls(Box::new(connector.connect(name.clone(), socket).await?))
        }
        SyslogAddress::Tcp(address) => Socket::Tcp(TcpStream::connect(address).await?),
        SyslogAddress::Udp(address) => {
            let server = lookup_host(address)
                .await?
                .next()
                .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
            let any: SocketAddr = match server {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0; 8], 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(server).await?;
            Socket::Udp(socket)
        }
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            match socket.connect(path) {
                Ok(()) => Socket::UnixDatagram(socket),
                // The socket of that path is a stream.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PROTOTYPE) => {
                    Socket::UnixStream(UnixStream::connect(path).await?)
                }
                Err(error) => return Err(error),
            }
        }
    })
}

/// A server never says anything but its end.
fn is_open(read: std::io::Result<usize>) -> std::io::Result<()> {
    match read {
        Ok(0) => Err(std::io::ErrorKind::ConnectionReset.into()),
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn framed(messages: &[String]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| octet_counted(message))
        .collect()
}

fn datagram(message: &str) -> &[u8] {
    let mut end = message.len().min(MAX_DATAGRAM);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.as_bytes().get(..end).unwrap_or_default()
}
