use std::{
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
        socket, sockopt::Ipv6MulticastHops,
    },
};

use crate::bridge::Mac;

const ADVERTISEMENT: u8 = 136;
/// Neighbours that know another hardware address forget it.
const OVERRIDE: u8 = 0x20;
/// The option with the hardware address, and its length in units of eight bytes.
const TARGET: [u8; 2] = [2, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// What came through a router is not believed, and is known by a smaller number.
const HOPS: i32 = 255;

/// Tells an interface's neighbours whose its IPv6 addresses are, unasked.
///
/// The kernel would as well, after a parameter of the interface was set: that takes a fifth of all
/// that IPv6 adds to an attachment.
///
/// Spec: RFC 4861, sections 4.4 and 7.2.6; the kernel writes the checksum.
#[derive(Debug)]
pub(super) struct Advertiser(OwnedFd);

impl Advertiser {
    /// Opens one in the namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::IcmpV6;
        let descriptor = socket(AddressFamily::Inet6, SockType::Raw, flags, protocol)?;
        setsockopt(&descriptor, Ipv6MulticastHops, &HOPS)?;
        Ok(Self(descriptor))
    }

    /// Tells all neighbours of interface number `index`.
    pub(super) fn advertise(
        &self,
        index: u32,
        address: Ipv6Addr,
        mac: Mac,
        overriding: bool,
    ) -> Result<(), Errno> {
        let flags = if overriding { OVERRIDE } else { 0 };
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
        message.extend_from_slice(&address.octets());
        message.extend_from_slice(&TARGET);
        message.extend_from_slice(&mac.0);
        let everybody = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
        let none = MsgFlags::empty();
        sendto(self.0.as_raw_fd(), &message, &everybody, none).map(|_| ())
    }
}
