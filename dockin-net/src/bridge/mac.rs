use std::{fmt, net::IpAddr};

use thiserror::Error;

use crate::hash::hash;

/// Text that is no hardware address of one interface.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is not six bytes such as `0a:58:0a:00:00:02` that stand for one interface")]
pub struct MacError(String);

/// The hardware address of an Ethernet interface.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads six bytes in hexadecimal, separated by `:` or `-`.
    ///
    /// # Errors
    ///
    /// [`MacError`]; also for group addresses and for zero, which no interface can have.
    ///
    /// ```
    /// use dockin_net::bridge::Mac;
    ///
    /// assert_eq!(Mac::parse("C2-11-22-33-44-55")?.to_string(), "c2:11:22:33:44:55");
    /// assert!(Mac::parse("01:00:5e:00:00:01").is_err());
    /// # Ok::<(), dockin_net::bridge::MacError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, MacError> {
        let wrong = || MacError(text.into());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let digits = part.filter(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(digits.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        let group = bytes.first().is_some_and(|first| first & 1 == 1);
        if parts.next().is_some() || group || bytes == [0; 6] {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }

    /// The one that belongs to an address: a new pod with an old address answers under the old
    /// hardware address, so that no neighbour has to learn anything.
    ///
    /// `0a:58` and the four bytes of an IPv4 address, or of the hash of an IPv6 address. The first
    /// byte says: locally administered, one interface.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        let [a, b, c, d] = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => low(hash(&[&address.octets()])).to_be_bytes(),
        };
        Self([0x0a, 0x58, a, b, c, d])
    }

    /// The one of an attachment without addresses.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let [a, b, c, d] = low(hash(&[name.as_bytes()])).to_be_bytes();
        Self([0x0a, 0x58, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// The name of the pair's end on the host: a function of the attachment, so that `DEL` and `GC`
/// find it when the container is gone and nothing was written down.
pub(super) fn host_name(network: &str, container_id: &str, interface: &str) -> String {
    let number = hash(&[
        network.as_bytes(),
        container_id.as_bytes(),
        interface.as_bytes(),
    ]);
    format!("veth{:011x}", number & 0xfff_ffff_ffff)
}

/// Is this a name that [`host_name`] makes?
pub(super) fn is_host_name(name: &str) -> bool {
    name.strip_prefix("veth")
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The link group of a network: the mark by which `GC` knows its links. Never 0, the kernel's
/// default group, and never more than 31 bits, which is what `ip` prints.
pub(super) fn group(network: &str) -> u32 {
    low(hash(&[b"group", network.as_bytes()])) >> 1 | 1
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
const fn low(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Mac, group, host_name, is_host_name};

    #[test]
    fn the_same_address_has_the_same_hardware_address() {
        let mac = Mac::of_address("10.1.2.3".parse().unwrap());
        assert_eq!(mac.to_string(), "0a:58:0a:01:02:03");
        let six = Mac::of_address("fd00::1".parse().unwrap());
        assert_ne!(six, Mac::of_address("fd00::2".parse().unwrap()));
        assert_eq!(Mac::parse(&six.to_string()).unwrap(), six);
    }

    #[test]
    fn what_is_no_hardware_address_of_one_interface_is_refused() {
        for text in [
            "",
            "0a:58",
            "0a:58:0a:01:02:03:04",
            "0a:58:0a:01:02:3",
            "+a:58:0a:01:02:03",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(Mac::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_on_the_host_fit_the_kernel_and_differ() {
        let one = host_name("pods", "c1", "eth0");
        assert!(one.len() == 15 && is_host_name(&one), "{one}");
        assert_ne!(one, host_name("pods", "c1", "eth1"));
        assert_ne!(host_name("a", "bc", "eth0"), host_name("ab", "c", "eth0"));
        assert!(!is_host_name("veth0a1b2c3d") && group("pods") != 0);
    }
}
