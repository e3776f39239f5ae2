use std::{
    net::IpAddr,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};

use super::socket::kernel_error;
use crate::bridge::{KernelError, Mac};

const ETHERNET: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet and IPv4, with addresses of six and four bytes, a request.
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];

/// Asks who has an IPv4 address, and waits for an answer: `wait` milliseconds at most.
///
/// Runs in the container's namespace. The interface must carry packets and not have the address.
///
/// Spec: RFC 5227, section 2.1.1, with one probe and a shorter wait.
pub(super) fn probe(interface: &str, address: IpAddr, wait: u32) -> Result<(), KernelError> {
    let IpAddr::V4(address) = address else {
        return Ok(());
    };
    let link = own_link(interface)?;
    let Mac(mac) = Mac(link.addr().unwrap_or_default());
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .map_err(kernel_error)?;
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ARP);
    frame.extend_from_slice(&REQUEST);
    frame.extend_from_slice(&mac);
    // The sender's address is zero, so that nobody learns it, and the target's hardware unknown.
    frame.extend_from_slice(&[0; 10]);
    frame.extend_from_slice(&address.octets());
    sendto(socket.as_raw_fd(), &frame, &link, MsgFlags::empty()).map_err(kernel_error)?;
    let deadline = Instant::now() + Duration::from_millis(wait.into());
    let mut buffer = [0; 256];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX);
        let timeout = TimeVal::new(micros / 1_000_000, (micros % 1_000_000).max(1));
        setsockopt(&socket, ReceiveTimeout, &timeout).map_err(kernel_error)?;
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => return Err(kernel_error(error)),
        };
        let other = buffer
            .get(..length)
            .and_then(|frame| claims(frame, address.octets()));
        if let Some(other) = other.filter(|it| it.0 != mac) {
            return Err(KernelError::Taken(other));
        }
    }
}

/// Who says in this frame that the address is theirs, or is about to be.
fn claims(frame: &[u8], address: [u8; 4]) -> Option<Mac> {
    let (ethernet, arp) = frame.split_at_checked(ETHERNET)?;
    if ethernet.get(12..)? != ARP {
        return None;
    }
    let sender = Mac(arp.get(8..14)?.try_into().ok()?);
    let sender_has = arp.get(14..18)? == address;
    let sender_asks = arp.get(14..18)? == [0; 4] && arp.get(24..28)? == address;
    (sender_has || sender_asks).then_some(sender)
}

fn own_link(interface: &str) -> Result<LinkAddr, KernelError> {
    let all = getifaddrs().map_err(kernel_error)?;
    let own = all.filter(|it| it.interface_name == interface);
    let mut links = own.filter_map(|it| it.address?.as_link_addr().copied());
    links.next().ok_or_else(|| kernel_error(Errno::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::{ARP, Mac, claims};

    fn frame(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&ARP);
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
        frame.extend_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame.extend_from_slice(&sender);
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&target);
        frame
    }

    #[test]
    fn an_answer_and_another_probe_claim_the_address() {
        let (ours, other) = ([10, 0, 0, 2], [10, 0, 0, 9]);
        let somebody = Some(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(claims(&frame(ours, other), ours), somebody);
        assert_eq!(claims(&frame([0; 4], ours), ours), somebody);
        assert_eq!(claims(&frame(other, ours), ours), None);
        assert_eq!(claims(&frame(ours, other)[..20], ours), None);
    }
}
