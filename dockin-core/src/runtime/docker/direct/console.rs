use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Where the runtime leaves our side of the terminal that it makes inside the container
/// (`--console-socket`; runc `docs/terminals.md`).
pub(super) struct Console(UnixListener);

/// How long the runtime's message may take once it has said that all is done.
const ARRIVAL: Duration = Duration::from_secs(1);

impl Console {
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The terminal. To be called once the runtime is done: its message is here by then.
    pub(super) fn take(self) -> io::Result<OwnedFd> {
        let (socket, _) = self.0.accept()?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(ARRIVAL))?;
        receive(&socket)
    }
}

fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    // The message is the name of the terminal, which nobody needs.
    let mut name = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sent = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let first = sent.next().and_then(|mut descriptors| descriptors.next());
    first.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no terminal was sent"))
}
