//! The least that an attachment can be: one process, the pair in one message, address and default
//! route in another, nothing checked and nothing told. `cargo xtask bench-cni` measures beside it.
//!
//! `CNI_ARGS` is the IPv4 address, its network has 16 bits and the gateway ends in `.0.1`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot run has failed"
)]

use std::{
    env,
    fs::File,
    io::Read,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

fn attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap();
    into.extend_from_slice(&length.to_ne_bytes());
    into.extend_from_slice(&kind.to_ne_bytes());
    into.extend_from_slice(value);
    into.resize(into.len().next_multiple_of(4), 0);
}

fn message(into: &mut Vec<u8>, kind: u16, flags: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&kind.to_ne_bytes());
    into.extend_from_slice(&(flags | 1).to_ne_bytes());
    into.extend_from_slice(&[0; 8]);
    into.extend_from_slice(fixed);
    for (kind, value) in attributes {
        attribute(into, *kind, value);
    }
    let length = u32::try_from(into.len() - start).unwrap();
    into[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn open() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )
    .unwrap()
}

/// Sends, receives as many answers as were asked for, and gives the first data.
fn exchange(socket: &OwnedFd, bytes: &[u8], answers: usize) -> Vec<u8> {
    send(socket.as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
    let mut data = Vec::new();
    for _ in 0..answers {
        let mut buffer = [0; 8192];
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        let error = i32::from_ne_bytes(buffer[16..20].try_into().unwrap());
        assert!(
            buffer[4..6] != 2_u16.to_ne_bytes() || error == 0,
            "error {error}"
        );
        if data.is_empty() {
            data = buffer[..length].to_vec();
        }
    }
    data
}

fn index(socket: &OwnedFd, name: &str) -> [u8; 4] {
    let mut bytes = Vec::new();
    let name = format!("{name}\0");
    message(
        &mut bytes,
        18,
        0,
        &[0; 16],
        &[(3, name.as_bytes()), (29, &8_u32.to_ne_bytes())],
    );
    exchange(socket, &bytes, 1)[20..24].try_into().unwrap()
}

fn main() {
    let variable = |name| env::var(name).unwrap();
    let mut stdin = Vec::new();
    std::io::stdin().read_to_end(&mut stdin).unwrap();
    let namespace = File::open(variable("CNI_NETNS")).unwrap();
    let host = open();
    let bridge = index(&host, "br0");
    let interface = format!("{}\0", variable("CNI_IFNAME"));
    let end = format!("vf{}\0", variable("CNI_CONTAINERID"));
    let up: Vec<u8> = [0_u32, 0, 1, 1]
        .iter()
        .flat_map(|it| it.to_ne_bytes())
        .collect();
    let mut peer = vec![0; 16];
    attribute(&mut peer, 3, interface.as_bytes());
    attribute(&mut peer, 28, &namespace.as_raw_fd().to_ne_bytes());
    let (mut data, mut info) = (Vec::new(), Vec::new());
    attribute(&mut data, 1, &peer);
    attribute(&mut info, 1, b"veth\0");
    attribute(&mut info, 2, &data);
    let mut bytes = Vec::new();
    let pair: [(u16, &[u8]); 3] = [(3, end.as_bytes()), (10, &bridge), (18, &info)];
    message(&mut bytes, 16, 0x604, &up, &pair);
    exchange(&host, &bytes, 1);

    setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
    let pod = open();
    let link = index(&pod, &variable("CNI_IFNAME"));
    let address: Ipv4Addr = variable("CNI_ARGS").parse().unwrap();
    let octets = address.octets();
    let gateway = [octets[0], octets[1], 0, 1];
    let mut bytes = Vec::new();
    let mut raise = up;
    raise[4..8].copy_from_slice(&link);
    message(&mut bytes, 16, 4, &raise, &[]);
    let mut header = vec![2, 16, 0, 0];
    header.extend_from_slice(&link);
    message(
        &mut bytes,
        20,
        0x604,
        &header,
        &[(2, &octets), (1, &octets)],
    );
    let header = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    message(&mut bytes, 24, 0x604, &header, &[(4, &link), (5, &gateway)]);
    exchange(&pod, &bytes, 3);
    println!("{{}}");
}
