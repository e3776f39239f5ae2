use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use dockin_policy::audit::{AuditEvent, octet_counted, syslog_message};
use rustix::io::Errno;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket, UnixDatagram, UnixStream, lookup_host},
};

use crate::{Error, ErrorKind};

/// Where a syslog server listens: `tcp://HOST:PORT`, `udp://HOST:PORT`, `unix:///PATH`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SyslogAddress {
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
            Some(("tcp", address)) if port(address) => Ok(Self::Tcp(address.to_owned())),
            Some(("udp", address)) if port(address) => Ok(Self::Udp(address.to_owned())),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(Error::new(
                ErrorKind::Misuse,
                format!(
                    "syslog address `{text}` is none of tcp://HOST:PORT, udp://HOST:PORT, \
                     unix:///PATH"
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
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
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
            socket: None,
        }
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
            None => self.socket.insert(connect(&self.address).await?),
        };
        match socket {
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

impl std::fmt::Display for SyslogAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
            Self::Udp(address) => write!(formatter, "udp://{address}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

async fn connect(address: &SyslogAddress) -> std::io::Result<Socket> {
    Ok(match address {
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
