use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Error, ErrorKind};

/// Addresses that requests may come from; an empty list is all of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressList(Vec<IpNet>);

impl AddressList {
    /// The list of `texts`, each an address or a network such as `10.0.0.0/8`.
    ///
    /// # Errors
    ///
    /// `Misuse` that names the text that is neither. A network with bits behind its prefix is
    /// refused: nobody knows which of its two readings was meant.
    pub fn parse(texts: &[String]) -> Result<Self, Error> {
        let one = |text: &String| {
            let wrong = |what: &str| {
                let message = format!("`{}` under `whitelist` {what}", text.escape_debug());
                Error::new(ErrorKind::Misuse, message)
            };
            if let Ok(address) = text.parse::<IpAddr>() {
                return Ok(IpNet::from(address.to_canonical()));
            }
            let network: IpNet = text
                .parse()
                .map_err(|_| wrong("is no address and no network such as `10.0.0.0/8`"))?;
            if network.trunc() != network {
                let fix = format!("has host bits; write `{}`", network.trunc());
                return Err(wrong(&fix));
            }
            Ok(network)
        };
        texts.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// No restriction.
    #[must_use]
    pub const fn everywhere() -> Self {
        Self(Vec::new())
    }

    /// Whether requests may come from `address`. One of IPv4 is the same written in IPv6.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::AddressList;

    fn list(texts: &[&str]) -> Result<AddressList, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        AddressList::parse(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn networks_and_addresses_admit_what_is_in_them() {
        let some = list(&["10.0.0.0/8", "192.0.2.7", "fd00::/8"]).unwrap();
        for (address, admitted) in [
            ("10.255.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(some.admits(address.parse().unwrap()), admitted, "{address}");
        }
        assert!(list(&[]).unwrap().admits("203.0.113.9".parse().unwrap()));
        let mapped = list(&["::ffff:192.0.2.7"]).unwrap();
        assert!(mapped.admits("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_fix() {
        for (text, words) in [
            ("10.0.0.1/8", "`10.0.0.0/8`"),
            ("localhost", "`localhost`"),
            ("10.0.0.0/33", "`10.0.0.0/33`"),
            ("", "``"),
        ] {
            let error = list(&[text]).unwrap_err();
            assert!(
                error.contains(words) && error.contains("whitelist"),
                "{error}"
            );
        }
    }
}
