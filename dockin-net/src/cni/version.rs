use std::fmt;

/// A version of the CNI specification that we speak, in order of age.
///
/// ```
/// use dockin_net::cni::Version;
///
/// assert!(Version::parse("0.4.0") < Version::parse("1.0.0"));
/// assert_eq!(Version::parse("0.3.2"), None);
/// ```
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Version {
    /// 0.1.0, which is also meant when none is named.
    V0_1_0,
    /// 0.2.0
    V0_2_0,
    /// 0.3.0
    V0_3_0,
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: `CHECK`, and `prevResult` on `DEL`.
    V0_4_0,
    /// 1.0.0
    V1_0_0,
    /// 1.1.0: `GC`, `STATUS`.
    V1_1_0,
}

/// How a version writes results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Shape {
    /// 0.1.0 and 0.2.0: `ip4` and `ip6`.
    PerFamily,
    /// 0.3.0 to 0.4.0: a list of addresses that say their family.
    Tagged,
    /// From 1.0.0 on: a list of addresses.
    Plain,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// The version of exactly that text; the empty text is [`Version::V0_1_0`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::V0_1_0);
        }
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// How it writes results.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::V0_1_0 | Self::V0_2_0 => Shape::PerFamily,
            Self::V0_3_0 | Self::V0_3_1 | Self::V0_4_0 => Shape::Tagged,
            Self::V1_0_0 | Self::V1_1_0 => Shape::Plain,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Does `text` read as up to three numbers with dots between, known version or not?
///
/// The verbs that came later tell text that is no version (undecodable) from a version that is
/// not ours (incompatible).
pub(crate) fn is_numeric(text: &str) -> bool {
    let mut parts = 0;
    text.is_empty()
        || text.split('.').all(|part| {
            parts += 1;
            parts <= 3 && part.parse::<i64>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::{Version, is_numeric};

    #[test]
    fn every_version_reads_back() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        assert_eq!(Version::parse(""), Some(Version::V0_1_0));
    }

    #[test]
    fn numbers_are_told_from_words() {
        for (text, numeric) in [
            ("1.2.0", true),
            ("2", true),
            ("9.9.9", true),
            ("v1.0.0", false),
            ("1.0.0.0", false),
            ("latest", false),
            ("1..0", false),
        ] {
            assert_eq!(is_numeric(text), numeric, "{text}");
        }
    }
}
