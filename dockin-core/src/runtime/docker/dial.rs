use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use tokio::{net::TcpStream, sync::oneshot, time::timeout};

use super::{catalog::Found, daemon::Daemon, host_process};
use crate::{Error, ErrorKind, runtime::PortStream};

/// How long one connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Connects to `port` as a program inside the container would, so that one that listens on
/// loopback only is reached too.
///
/// Without the right to enter the container's network, the connection goes to its address.
pub(super) async fn dial(
    daemon: &Daemon,
    found: &Found,
    port: u16,
) -> Result<Box<dyn PortStream>, Error> {
    let inspected = daemon
        .ask(daemon.client()?.inspect_container(&found.id, None))
        .await;
    let state = inspected
        .map_err(|error| found.explain(error))?
        .state
        .unwrap_or_default();
    let pid = state
        .pid
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid > 0);
    let (Some(pid), Some(true)) = (pid, state.running) else {
        return Err(found.not_running());
    };

    let failed = |error: io::Error| {
        let what = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused, nothing listens there",
            io::ErrorKind::TimedOut => "no answer in time",
            _ => "not reachable",
        };
        let text = format!("port {port} of container `{}`: {what}", found.name);
        Error::new(ErrorKind::Unavailable, text).with_source(error)
    };
    let reached = match enter_and_connect(pid, found.id.clone(), port).await {
        Err(Inside::Unreached(error)) => Err(error),
        Ok(socket) => Ok(socket),
        Err(Inside::Barred(error)) => {
            tracing::debug!(%error, container = found.name, "network namespace cannot be entered");
            let Some(address) = found.ip.as_ref().and_then(|ip| ip.parse::<IpAddr>().ok()) else {
                let text = format!(
                    "network of container `{}` cannot be entered, and it has no address",
                    found.name
                );
                return Err(Error::new(ErrorKind::Unavailable, text).with_source(error));
            };
            match timeout(CONNECT_LIMIT, TcpStream::connect((address, port))).await {
                Ok(connected) => connected,
                Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            }
        }
    };
    let socket = reached.map_err(failed)?;
    // Without it small writes wait for the peer's acknowledgement; the connection works as well.
    let _best_effort = socket.set_nodelay(true);
    Ok(Box::new(socket))
}

/// Why there is no connection from inside.
enum Inside {
    /// We may not enter, or the process is not what we look for.
    Barred(io::Error),
    /// We were inside, and nothing answered.
    Unreached(io::Error),
}

/// Connects from a thread of its own, which stays in the container's network until it ends: a
/// thread of the runtime would carry the namespace on to other work.
async fn enter_and_connect(pid: u32, container: String, port: u16) -> Result<TcpStream, Inside> {
    let (answer, answered) = oneshot::channel();
    thread::Builder::new()
        .name("dockin-dial".to_owned())
        .spawn(move || {
            // Nobody waits any more: the socket is closed with the answer.
            let _unwanted = answer.send(connect_inside(pid, &container, port));
        })
        .map_err(Inside::Barred)?;
    let socket = match answered.await {
        Ok(connected) => connected?,
        Err(_) => {
            return Err(Inside::Barred(io::Error::other(
                "thread ended without an answer",
            )));
        }
    };
    socket.set_nonblocking(true).map_err(Inside::Unreached)?;
    TcpStream::from_std(socket).map_err(Inside::Unreached)
}

fn connect_inside(pid: u32, container: &str, port: u16) -> Result<StdTcpStream, Inside> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(Inside::Barred)?;
    // Opened first, checked second: the handle stays with the process that was checked.
    host_process::check(pid, container).map_err(Inside::Barred)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|error| Inside::Barred(error.into()))?;
    let mut first = None;
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        match StdTcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_LIMIT) {
            Ok(socket) => return Ok(socket),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(Inside::Unreached(
        first.unwrap_or_else(|| io::ErrorKind::NotConnected.into()),
    ))
}
