//! Ports of a pod.

/// Ports from one to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ports {
    from: u16,
    to: u16,
}

impl Ports {
    /// One port, `1-1023` or `*`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no port: write a number from 1 to 65535, two of them such as \
                 `1-1023`, or `'*'` for every port"
            )
        };
        let port = |text: &str| {
            let is_number =
                text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
            let number = text.parse::<u16>().ok();
            number.filter(|_| is_number).ok_or_else(wrong)
        };
        if text == "*" {
            return Ok(Self {
                from: 0,
                to: u16::MAX,
            });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (from, to) = (port(from)?, port(to)?);
        if from > to {
            return Err(format!(
                "`{text}` has no port in it: write the smaller one first, `{to}-{from}`"
            ));
        }
        Ok(Self { from, to })
    }

    pub(crate) const fn contains(self, port: u16) -> bool {
        self.from <= port && port <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn a_port_a_range_and_all_of_them_are_ports() {
        for (text, within, without) in [
            ("22", &[22][..], &[21, 23][..]),
            ("1-1023", &[1, 22, 1023], &[0, 1024]),
            ("8080-8080", &[8080], &[8079, 8081]),
            ("65535", &[65535], &[65534]),
            ("*", &[0, 1, 22, 65535], &[]),
        ] {
            let ports = Ports::parse(text);
            let contains = |port: &u16| ports.as_ref().is_ok_and(|ports| ports.contains(*port));
            assert!(within.iter().all(contains), "{text}");
            assert!(!without.iter().any(contains), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_named_with_what_would_be() {
        for text in [
            "0", "65536", "-1", "+22", "022", "22.5", "0x16", "ssh", "", " 22", "1-", "-", "0-22",
            "1-65536", "1-2-3", "1 - 2", "22,80", "**", "8*", "٢٢",
        ] {
            let told = Ports::parse(text).err().unwrap_or_default();
            assert!(told.contains(&format!("`{text}`")), "{text}: {told}");
            assert!(told.contains("1 to 65535"), "{text}: {told}");
        }
        let told = Ports::parse("1023-1").err().unwrap_or_default();
        assert!(told.contains("`1-1023`"), "{told}");
    }
}
