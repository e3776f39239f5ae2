use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use thiserror::Error;

/// IPv4 or IPv6. Exhaustive: there are two families.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The digit that results up to 0.4.0 carry.
    #[must_use]
    pub const fn digit(self) -> &'static str {
        match self {
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// Why text is no address.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AddressError {
    /// Not an IPv4 or IPv6 address; octets have no leading zeros and zones are not addresses.
    #[error("`{0}` is not an IP address")]
    Malformed(String),
    /// An address without `/` and a length, where the length is required.
    #[error("`{0}` is not an address with a prefix length, such as `10.0.0.2/24`")]
    NoPrefix(String),
    /// The length is not a number of the family's bits.
    #[error("`{text}` has no prefix length in 0..={max}")]
    Prefix {
        /// What was given.
        text: String,
        /// Bits of the family.
        max: u8,
    },
    /// An IPv4 address in IPv6 form whose length would be below zero as IPv4.
    #[error("`{0}` is an IPv4 address in IPv6 form with a prefix length below 96")]
    MappedPrefix(String),
}

/// The address in `text`; IPv4 written in IPv6 form comes out as IPv4.
///
/// # Errors
///
/// [`AddressError::Malformed`].
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| AddressError::Malformed(text.into()))
}

/// An address and the length of its network's prefix; host bits stay.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The pair, unless `prefix` exceeds the family's bits.
    #[must_use]
    pub const fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        if prefix > Family::of(address).bits() {
            return None;
        }
        Some(Self { address, prefix })
    }

    /// Reads `10.0.0.2/24` or `fd00::2/64`.
    ///
    /// `::ffff:10.0.0.2/120` is `10.0.0.2/24`. A length may have leading zeros, an octet may not.
    ///
    /// # Errors
    ///
    /// [`AddressError`], each kind.
    ///
    /// ```
    /// use dockin_net::Cidr;
    ///
    /// assert_eq!(Cidr::parse("FD00:0::a/064")?.to_string(), "fd00::a/64");
    /// assert!(Cidr::parse("10.0.0.02/24").is_err());
    /// # Ok::<(), dockin_net::AddressError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let Some((address, length)) = text.split_once('/') else {
            return Err(AddressError::NoPrefix(text.into()));
        };
        let written: IpAddr = address
            .parse()
            .map_err(|_| AddressError::Malformed(text.into()))?;
        let max = Family::of(written).bits();
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = length
            .parse::<u32>()
            .ok()
            .and_then(|prefix| u8::try_from(prefix).ok())
            .filter(|prefix| digits && *prefix <= max)
            .ok_or_else(|| AddressError::Prefix {
                text: text.into(),
                max,
            })?;
        let address = written.to_canonical();
        if Family::of(address) == Family::of(written) {
            return Ok(Self { address, prefix });
        }
        let prefix = prefix
            .checked_sub(96)
            .ok_or_else(|| AddressError::MappedPrefix(text.into()))?;
        Ok(Self { address, prefix })
    }

    /// The address, host bits included.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix, in bits.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// IPv4 or IPv6.
    #[must_use]
    pub const fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The first address of the network: all host bits zero.
    #[must_use]
    pub fn first(self) -> IpAddr {
        from_number(self.family(), to_number(self.address) & !self.host_mask())
    }

    /// The last address of the network: all host bits one; the broadcast address in IPv4.
    #[must_use]
    pub fn last(self) -> IpAddr {
        from_number(self.family(), to_number(self.address) | self.host_mask())
    }

    /// Is `address` in the network? Never, when it is of the other family.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.first() <= address && address <= self.last()
    }

    /// Bits of the host part.
    #[must_use]
    pub const fn host_bits(self) -> u8 {
        self.family().bits().saturating_sub(self.prefix)
    }

    const fn host_mask(self) -> u128 {
        match self.host_bits() {
            128 => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// The address after `address` in its family, `None` after the last.
#[must_use]
pub fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address)
            .checked_add(1)
            .map(|number| Ipv4Addr::from(number).into()),
        IpAddr::V6(address) => u128::from(address)
            .checked_add(1)
            .map(|number| Ipv6Addr::from(number).into()),
    }
}

/// The address before `address` in its family, `None` before the first.
#[must_use]
pub fn previous(address: IpAddr) -> Option<IpAddr> {
    to_number(address)
        .checked_sub(1)
        .map(|number| from_number(Family::of(address), number))
}

/// The address as a number.
#[must_use]
pub(crate) fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of that number; bits past the family's are cut.
#[must_use]
pub(crate) fn from_number(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let [.., a, b, c, d] = number.to_be_bytes();
            Ipv4Addr::new(a, b, c, d).into()
        }
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AddressError, Cidr, Family, from_number, next, previous, to_number};

    #[test]
    fn what_is_no_address_with_a_prefix_is_refused() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/33",
            "10.0.0.1/-1",
            "10.0.0.1/+1",
            "10.0.0.1/24 ",
            "10.0.0.1/24/8",
            "10.0.1/24",
            "010.0.0.1/24",
            "10.0.0.1/255.255.255.0",
            "fd00::1/129",
            "fe80::1%eth0/64",
        ] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_or_nothing() {
        assert_eq!(
            Cidr::parse("::ffff:10.0.0.1/120").unwrap().to_string(),
            "10.0.0.1/24"
        );
        assert_eq!(
            Cidr::parse("::ffff:10.0.0.1/24"),
            Err(AddressError::MappedPrefix("::ffff:10.0.0.1/24".into()))
        );
    }

    #[test]
    fn networks_know_their_ends() {
        let network = Cidr::parse("10.1.2.3/29").unwrap();
        assert_eq!(network.first().to_string(), "10.1.2.0");
        assert_eq!(network.last().to_string(), "10.1.2.7");
        let all = Cidr::parse("::1/0").unwrap();
        assert_eq!(to_number(all.last()), u128::MAX);
        assert!(!network.contains("fd00::1".parse().unwrap()));
    }

    proptest! {
        /// `parse(display(x)) == x`, but for IPv4 in IPv6 form, which becomes IPv4.
        #[test]
        fn text_and_back_is_the_same(number: u128, v4: bool, prefix in 0_u8..=128) {
            let family = if v4 { Family::V4 } else { Family::V6 };
            let address = from_number(family, number).to_canonical();
            prop_assume!(Family::of(address) == family);
            if let Some(cidr) = Cidr::new(address, prefix) {
                prop_assert_eq!(Cidr::parse(&cidr.to_string()), Ok(cidr));
                prop_assert!(cidr.contains(address));
            }
        }

        /// `previous(next(x)) == x`.
        #[test]
        fn one_forth_and_one_back_is_the_same(number: u128, v4: bool) {
            let address = from_number(if v4 { Family::V4 } else { Family::V6 }, number);
            if let Some(after) = next(address) {
                prop_assert_eq!(previous(after), Some(address));
            }
        }
    }
}
