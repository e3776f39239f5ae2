use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        setsockopt, socket, sockopt::ReceiveTimeout,
    },
    sys::time::TimeVal,
};

use super::{
    message::{Batch, DONE, ERROR, Message, messages},
    route::{NEW_ADDRESS, NEWS_OF_IPV6_ADDRESSES, read_address},
};
use crate::bridge::{Assigned, KernelError};

/// What the kernel sends at once at most: it cuts lists for buffers of this size.
const RECEIVE: usize = 8 * 1024;
/// More than what it tells of an address.
const NEWS: usize = 512;
/// Seconds. The kernel answers while it is asked, and tests an address for one; only a broken one
/// takes longer.
const PATIENCE: u32 = 10;

/// What came back: the payloads of messages with data, and for each request the error number, 0 for success.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) replies: Vec<Vec<u8>>,
    pub(super) outcomes: Vec<(u32, i32)>,
}

impl Answers {
    pub(super) fn outcome(&self, sequence: u32) -> Option<i32> {
        self.outcomes
            .iter()
            .find(|(it, _)| *it == sequence)
            .map(|(_, error)| *error)
    }
}

/// A netlink socket. The namespace it was opened in is the one it speaks for.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    /// Addresses that were told of, and the numbers of their links.
    news: Vec<(u32, Assigned)>,
}

impl Socket {
    /// Opens one in the namespace of the calling thread.
    pub(super) fn open(protocol: SockProtocol) -> Result<Self, KernelError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol);
        let descriptor = descriptor.map_err(kernel_error)?;
        setsockopt(
            &descriptor,
            ReceiveTimeout,
            &TimeVal::new(PATIENCE.into(), 0),
        )
        .map_err(kernel_error)?;
        Ok(Self {
            descriptor,
            sequence: 0,
            news: Vec::new(),
        })
    }

    /// Opens one in another namespace.
    pub(super) fn open_in(namespace: &File, home: &File) -> Result<Self, KernelError> {
        inside(namespace, home, || Self::open(SockProtocol::NetlinkRoute))?
    }

    /// Hears from now on what happens to the IPv6 addresses of its namespace; before it is used.
    pub(super) fn join_news(&self) -> Result<(), KernelError> {
        let news = NetlinkAddr::new(0, NEWS_OF_IPV6_ADDRESSES);
        bind(self.descriptor.as_raw_fd(), &news).map_err(kernel_error)
    }

    /// The next news of addresses, awaited for ten seconds at most.
    pub(super) fn hear(&mut self) -> Result<Vec<(u32, Assigned)>, KernelError> {
        if self.news.is_empty() {
            let mut buffer = [0; NEWS];
            let length = loop {
                match recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Ok(length) => break length,
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => return Err(KernelError::TooLate(PATIENCE * 1000)),
                    Err(error) => return Err(kernel_error(error)),
                }
            };
            self.take_news(messages(buffer.get(..length).unwrap_or_default()));
        }
        Ok(std::mem::take(&mut self.news))
    }

    fn take_news<'a>(&mut self, messages: impl Iterator<Item = Message<'a>>) {
        let added = messages.filter(|it| it.kind == NEW_ADDRESS);
        self.news
            .extend(added.filter_map(|it| read_address(it.payload)));
    }

    /// A number that no request had.
    pub(super) const fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends everything at once and receives until every awaited request has its answer.
    pub(super) fn exchange(&mut self, batch: &Batch) -> Result<Answers, KernelError> {
        let mut answers = Answers::default();
        let descriptor = self.descriptor.as_raw_fd();
        send(descriptor, batch.bytes(), MsgFlags::empty()).map_err(kernel_error)?;
        // On the stack: pages of the heap that nothing else touches cost more than a trip.
        let mut buffer = [0; RECEIVE];
        while answers.outcomes.len() < batch.awaited().len() {
            let length = match recv(descriptor, &mut buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > RECEIVE => {
                    let what = format!("an answer of the kernel has {length} bytes");
                    return Err(KernelError::Other(what));
                }
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(kernel_error(error)),
            };
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                match message.error() {
                    Some(error) if matches!(message.kind, ERROR | DONE) => {
                        if batch.awaited().contains(&message.sequence) {
                            answers.outcomes.push((message.sequence, error));
                        } else if error != 0 {
                            // A transaction as a whole was refused.
                            return Err(kernel_error(Errno::from_raw(error)));
                        }
                    }
                    // Nobody asked for it.
                    _ if message.sequence == 0 => self.take_news(std::iter::once(message)),
                    _ => answers.replies.push(message.payload.to_vec()),
                }
            }
        }
        Ok(answers)
    }
}

/// The namespace of the calling thread.
pub(super) fn home() -> Result<File, KernelError> {
    let home = File::open("/proc/thread-self/ns/net");
    home.map_err(|error| KernelError::Other(format!("/proc: {error}")))
}

/// Does something in the namespace and comes back. Only this thread is ever there; a thread of its
/// own for the purpose would cost an attachment a tenth of its time.
///
/// Ends the process when the way back is barred: nothing that this thread did from there on would be where it
/// should. The kernel bars it to nobody who was let in.
pub(super) fn inside<T>(
    namespace: &File,
    home: &File,
    act: impl FnOnce() -> T,
) -> Result<T, KernelError> {
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(kernel_error)?;
    let done = act();
    if setns(home, CloneFlags::CLONE_NEWNET).is_err() {
        std::process::abort();
    }
    Ok(done)
}

/// Sets a kernel parameter of this thread's namespace, unless it is so already.
pub(super) fn set_parameter(path: &str, value: &str) -> Result<(), KernelError> {
    let before = std::fs::read_to_string(parameter(path)).map_err(|it| file_error(&it))?;
    if before.trim_end() == value {
        return Ok(());
    }
    write_parameter(path, value)
}

/// Sets a kernel parameter of this thread's namespace.
pub(super) fn write_parameter(path: &str, value: &str) -> Result<(), KernelError> {
    std::fs::write(parameter(path), value).map_err(|it| file_error(&it))
}

fn parameter(path: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(path)
}

fn file_error(error: &std::io::Error) -> KernelError {
    match error.raw_os_error() {
        Some(number) => kernel_error(Errno::from_raw(number)),
        None => KernelError::Other(error.to_string()),
    }
}

pub(super) fn kernel_error(error: Errno) -> KernelError {
    match error {
        Errno::EEXIST => KernelError::Exists,
        Errno::EPERM | Errno::EACCES => KernelError::Denied,
        Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => {
            KernelError::Unsupported
        }
        other => KernelError::Other(other.desc().to_lowercase()),
    }
}
