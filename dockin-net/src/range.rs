use std::{fmt, net::IpAddr};

use thiserror::Error;

use crate::{AddressError, Cidr, Family, next, parse_address, previous};

/// Why a range cannot be used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RangeError {
    /// No subnet is given.
    #[error("a range needs a `subnet`")]
    NoSubnet,
    /// Fewer than four addresses: nothing is left beside network, gateway and broadcast.
    #[error("subnet {0} is too small to give addresses from")]
    TooSmall(Cidr),
    /// The subnet's address is not the network's.
    #[error("subnet {given} has host bits, the network is {network}")]
    HostBits {
        /// As written.
        given: Cidr,
        /// The network's address.
        network: IpAddr,
    },
    /// An address of the range is not in its subnet.
    #[error("`{field}` {address} is not in subnet {subnet}")]
    Outside {
        /// Which one.
        field: &'static str,
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: Cidr,
    },
    /// The first address comes after the last.
    #[error("`rangeStart` {first} comes after `rangeEnd` {last}")]
    Reversed {
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
    /// Two ranges share addresses.
    #[error("{one} overlaps {other}")]
    Overlap {
        /// One range.
        one: Span,
        /// The other one.
        other: Span,
    },
    /// A set without ranges.
    #[error("a range set needs a range")]
    Empty,
    /// A set with both families.
    #[error("{0} is of another family than the ranges before it in its set")]
    MixedFamilies(Span),
    /// A span is neither an address, nor `first-last`, nor a network.
    #[error("`{text}` is no address, `first-last` or network: {error}")]
    Span {
        /// As written.
        text: String,
        /// What is wrong.
        error: AddressError,
    },
}

/// A range as it is configured: what is absent gets its usual value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RangeSpec {
    /// The network.
    pub subnet: Option<Cidr>,
    /// The first address to give; the subnet's second when absent.
    pub first: Option<IpAddr>,
    /// The last address to give; when absent the subnet's last, in IPv4 the one before broadcast.
    pub last: Option<IpAddr>,
    /// The gateway; the subnet's second address when absent. It may be outside the subnet.
    pub gateway: Option<IpAddr>,
}

/// Addresses of one subnet from a first to a last; the gateway among them is never given.
///
/// ```
/// use dockin_net::{Cidr, Range, RangeSpec};
///
/// let range = Range::new(&RangeSpec {
///     subnet: Some(Cidr::parse("10.1.2.0/24")?),
///     ..RangeSpec::default()
/// })?;
/// assert_eq!(range.to_string(), "10.1.2.1-10.1.2.254");
/// assert_eq!(range.gateway().to_string(), "10.1.2.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    subnet: Cidr,
    span: Span,
    gateway: IpAddr,
}

impl Range {
    /// Checks the parts and fills in the absent ones.
    ///
    /// # Errors
    ///
    /// [`RangeError`] of a single range.
    pub fn new(spec: &RangeSpec) -> Result<Self, RangeError> {
        let subnet = spec.subnet.ok_or(RangeError::NoSubnet)?;
        if subnet.host_bits() < 2 {
            return Err(RangeError::TooSmall(subnet));
        }
        let network = subnet.first();
        if network != subnet.address() {
            return Err(RangeError::HostBits {
                given: subnet,
                network,
            });
        }
        let inside = |field, address: Option<IpAddr>, usual: IpAddr| match address {
            Some(address) if !subnet.contains(address) => Err(RangeError::Outside {
                field,
                address,
                subnet,
            }),
            Some(address) => Ok(address),
            None => Ok(usual),
        };
        let second = next(network).unwrap_or(network);
        let end = subnet.last();
        let usual_end = match subnet.family() {
            Family::V4 => previous(end).unwrap_or(end),
            Family::V6 => end,
        };
        let gateway = spec.gateway.unwrap_or(second);
        let first = inside("rangeStart", spec.first, second)?;
        let last = inside("rangeEnd", spec.last, usual_end)?;
        if first > last {
            return Err(RangeError::Reversed { first, last });
        }
        Ok(Self {
            subnet,
            span: Span { first, last },
            gateway,
        })
    }

    /// The addresses.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// The gateway of who gets an address.
    #[must_use]
    pub const fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// IPv4 or IPv6.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.subnet.family()
    }

    /// Is `address` one of them?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.span.contains(address)
    }

    /// `address` with the length of the subnet's prefix.
    #[must_use]
    pub fn with_prefix(&self, address: IpAddr) -> Option<Cidr> {
        Cidr::new(address, self.subnet.prefix())
    }

    /// The part of it that is in `span`.
    pub(crate) fn within(&self, span: Span) -> Option<Self> {
        if self.family() != Family::of(span.first) {
            return None;
        }
        let first = self.span.first.max(span.first);
        let span = Span::new(first, self.span.last.min(span.last))?;
        Some(Self { span, ..*self })
    }

    /// Do the two share an address?
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family()
            && self.span.first <= other.span.last
            && other.span.first <= self.span.last
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(formatter)
    }
}

/// Addresses of one family from a first to a last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    first: IpAddr,
    last: IpAddr,
}

impl Span {
    /// Reads `10.0.0.5`, `10.0.0.5-10.0.0.9` or `10.0.0.64/26`.
    ///
    /// # Errors
    ///
    /// [`RangeError::Span`] and [`RangeError::Reversed`]; both ends must be of one family.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let wrong = |error| RangeError::Span {
            text: text.into(),
            error,
        };
        if text.contains('/') {
            let network = Cidr::parse(text).map_err(wrong)?;
            return Ok(Self {
                first: network.first(),
                last: network.last(),
            });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = parse_address(first.trim()).map_err(wrong)?;
        let last = parse_address(last.trim()).map_err(wrong)?;
        if first > last || Family::of(first) != Family::of(last) {
            return Err(RangeError::Reversed { first, last });
        }
        Ok(Self { first, last })
    }

    /// From `first` to `last`; none when they are the wrong way round.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let ordered = first <= last && Family::of(first) == Family::of(last);
        ordered.then_some(Self { first, last })
    }

    /// The first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// Is `address` one of them?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == Family::of(self.first)
            && self.first <= address
            && address <= self.last
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, RangeSpec, Span};
    use crate::{Cidr, parse_address};

    fn range(subnet: &str, first: &str, last: &str) -> Result<Range, super::RangeError> {
        Range::new(&RangeSpec {
            subnet: Cidr::parse(subnet).ok(),
            first: parse_address(first).ok(),
            last: parse_address(last).ok(),
            gateway: None,
        })
    }

    #[test]
    fn ends_have_their_usual_values() {
        assert_eq!(
            range("fd00:1::/64", "", "").unwrap().to_string(),
            "fd00:1::1-fd00:1::ffff:ffff:ffff:ffff"
        );
        assert_eq!(
            range("10.1.2.0/29", "10.1.2.0", "10.1.2.7")
                .unwrap()
                .to_string(),
            "10.1.2.0-10.1.2.7"
        );
    }

    #[test]
    fn what_cannot_be_given_from_is_refused() {
        for (subnet, first, last) in [
            ("10.1.2.1/32", "", ""),
            ("10.1.2.0/31", "", ""),
            ("fd00::/127", "", ""),
            ("10.1.2.3/24", "", ""),
            ("10.1.2.0/24", "10.1.3.1", ""),
            ("10.1.2.0/24", "", "10.1.3.1"),
            ("10.1.2.0/24", "fd00::1", ""),
            ("10.1.2.0/24", "10.1.2.20", "10.1.2.10"),
            ("", "", ""),
        ] {
            assert!(
                range(subnet, first, last).is_err(),
                "{subnet} {first} {last}"
            );
        }
    }

    #[test]
    fn spans_are_read_in_three_forms() {
        for (text, display) in [
            ("10.0.0.5", "10.0.0.5-10.0.0.5"),
            ("10.0.0.5 - 10.0.0.9", "10.0.0.5-10.0.0.9"),
            ("10.0.0.64/30", "10.0.0.64-10.0.0.67"),
        ] {
            assert_eq!(Span::parse(text).unwrap().to_string(), display);
        }
        assert!(Span::parse("10.0.0.9-10.0.0.5").is_err());
        assert!(Span::parse("10.0.0.9-fd00::1").is_err());
    }
}
