use std::{
    fs,
    io::{self, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{House, Server, run};

/// A gateway beside that of a [`House`]: the same accounts, keys, rules and clusters, in a directory
/// of its own.
pub struct Replica {
    /// Its process.
    pub server: Server,
    /// Its directory.
    pub data: PathBuf,
}

impl House {
    /// Starts a gateway beside this house's.
    ///
    /// # Panics
    ///
    /// Its directory cannot be made, or it does not start.
    #[must_use]
    pub fn replica(&self) -> Replica {
        let data = self.scratch().join("replica");
        let copied = run(Command::new("cp").arg("-a").arg(self.data()).arg(&data));
        assert!(copied.status.success(), "{copied:?}");
        // A trail is one gateway's.
        fs::remove_dir_all(data.join("audit")).expect("the trail of the other");
        Replica {
            server: self.start_gateway(&data),
            data,
        }
    }
}

/// One address for several servers: each connection goes to the next of them that takes it.
pub struct Balancer(SocketAddr);

impl Balancer {
    /// Listens on loopback until the program ends.
    ///
    /// # Panics
    ///
    /// There is no port to listen on.
    #[must_use]
    pub fn start(servers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let next = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let first = next.fetch_add(1, Ordering::Relaxed);
                let turn = servers.iter().cycle().skip(first % servers.len());
                let found = turn
                    .take(servers.len())
                    .find_map(|server| TcpStream::connect(server).ok());
                if let Some(server) = found {
                    carry(&client, &server);
                }
            }
        });
        Self(address)
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.0)
    }
}

fn carry(client: &TcpStream, server: &TcpStream) {
    let both = |one: &TcpStream, other: &TcpStream| -> io::Result<()> {
        let (mut from, mut to) = (one.try_clone()?, other.try_clone()?);
        thread::spawn(move || {
            // Whatever ends it, the other side is told.
            let _ended = io::copy(&mut from, &mut to).and_then(|_| to.flush());
            let _closed = to.shutdown(Shutdown::Write);
        });
        Ok(())
    };
    let _cut = both(client, server).and_then(|()| both(server, client));
}
