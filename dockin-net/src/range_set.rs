use std::net::IpAddr;

use crate::{Family, Range, RangeError, Span};

/// Ranges of one family, of which an attachment gets one address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RangeSet {
    ranges: Vec<Range>,
}

impl RangeSet {
    /// Checks that there is a range, that all are of one family and that none overlap.
    ///
    /// # Errors
    ///
    /// [`RangeError::Empty`], [`RangeError::MixedFamilies`], [`RangeError::Overlap`].
    pub fn new(ranges: Vec<Range>) -> Result<Self, RangeError> {
        let family = ranges.first().ok_or(RangeError::Empty)?.family();
        if let Some(other) = ranges.iter().find(|range| range.family() != family) {
            return Err(RangeError::MixedFamilies(other.span()));
        }
        for (index, one) in ranges.iter().enumerate() {
            if let Some(other) = ranges.iter().skip(index + 1).find(|it| one.overlaps(it)) {
                return Err(RangeError::Overlap {
                    one: one.span(),
                    other: other.span(),
                });
            }
        }
        Ok(Self { ranges })
    }

    /// The ranges, in the order they are given from.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// IPv4 or IPv6.
    #[must_use]
    pub fn family(&self) -> Family {
        self.ranges.first().map_or(Family::V4, Range::family)
    }

    /// The range that `address` is in.
    #[must_use]
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.ranges.iter().find(|range| range.contains(address))
    }

    /// The parts of it that are in `spans`, none when there are none.
    pub(crate) fn within(&self, spans: &[Span]) -> Option<Self> {
        let parts = self.ranges.iter();
        let parts = parts.flat_map(|range| spans.iter().filter_map(|span| range.within(*span)));
        Self::new(parts.collect()).ok()
    }

    /// Two ranges, one of each set, that share addresses.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<RangeError> {
        self.ranges.iter().find_map(|one| {
            let other = other.ranges.iter().find(|other| one.overlaps(other))?;
            Some(RangeError::Overlap {
                one: one.span(),
                other: other.span(),
            })
        })
    }
}
