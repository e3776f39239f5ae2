//! The nouns as bytes, for the [table](crate::table): numbers are little endian, and texts start
//! with their length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Attachment, InterfaceName, Owner, StickyKey, Timestamp};

/// A text of lower-case hexadecimal digits is written as the bytes that they mean: container ids
/// are such texts.
const HEX: u16 = 1 << 15;
/// Bytes of a text; what is longer fits into no block.
const MAX_TEXT: usize = 4096;

/// Puts fields behind each other.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn tagged(tag: u8) -> Self {
        Self(vec![tag])
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// A time, or none.
    pub(crate) fn until(&mut self, until: Option<Timestamp>) {
        self.byte(until.is_some().into());
        self.number(until.map_or(0, |it| it.0));
    }

    pub(crate) fn text(&mut self, text: &str) {
        let end = text.floor_char_boundary(MAX_TEXT);
        let bytes = text.as_bytes().get(..end).unwrap_or_default();
        match hex(bytes) {
            Some(short) => {
                self.length(short.len(), HEX);
                self.bytes(&short);
            }
            None => {
                self.length(bytes.len(), 0);
                self.bytes(bytes);
            }
        }
    }

    fn length(&mut self, length: usize, flag: u16) {
        let length = u16::try_from(length).unwrap_or(0) | flag;
        self.bytes(&length.to_le_bytes());
    }

    pub(crate) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.byte(4);
                self.bytes(&address.octets());
            }
            IpAddr::V6(address) => {
                self.byte(6);
                self.bytes(&address.octets());
            }
        }
    }

    pub(crate) fn attachment(&mut self, attachment: &Attachment) {
        self.text(attachment.container_id().as_str());
        self.text(attachment.interface_text());
    }

    /// A key, or none.
    pub(crate) fn sticky(&mut self, key: Option<&StickyKey>) {
        self.text(key.map_or("", |key| key.owner.as_str()));
        self.text(key.map_or("", |key| key.interface.as_str()));
    }
}

/// Takes fields one after the other; none when the bytes are not such a field.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes taken.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.offset >= self.bytes.len()
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, _) = self.bytes.get(self.offset..)?.split_first_chunk()?;
        self.offset += N;
        Some(*bytes)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn until(&mut self) -> Option<Option<Timestamp>> {
        let is_there = self.byte()? > 0;
        let time = Timestamp(self.number()?);
        Some(is_there.then_some(time))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let length = u16::from_le_bytes(self.take()?);
        let count = usize::from(length & !HEX);
        let bytes = self.bytes.get(self.offset..)?.get(..count)?;
        self.offset += count;
        if length & HEX == 0 {
            return String::from_utf8(bytes.to_vec()).ok();
        }
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits
            .map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }

    pub(crate) fn address(&mut self) -> Option<IpAddr> {
        Some(match self.byte()? {
            4 => Ipv4Addr::from(self.take::<4>()?).into(),
            6 => Ipv6Addr::from(self.take::<16>()?).into(),
            _ => return None,
        })
    }

    /// Addresses up to the end.
    pub(crate) fn addresses(&mut self) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        while !self.is_at_end() {
            addresses.push(self.address()?);
        }
        Some(addresses)
    }

    pub(crate) fn attachment(&mut self) -> Option<Attachment> {
        let container = self.text()?;
        Some(Attachment::stored(&container, &self.text()?))
    }

    /// An absent key inside, no bytes for one outside.
    pub(crate) fn sticky(&mut self) -> Option<Option<StickyKey>> {
        let owner = self.text()?;
        let interface = self.text()?;
        Some((!owner.is_empty()).then(|| StickyKey {
            owner: Owner::stored(&owner),
            interface: InterfaceName::stored(&interface),
        }))
    }
}

/// The bytes that an even number of lower-case hexadecimal digits means.
fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.is_empty() {
        return None;
    }
    let pairs = text.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reader, Writer};

    proptest! {
        /// `decode(encode(x)) == x`, whatever follows.
        #[test]
        fn texts_read_back(text in "[0-9a-f]{0,70}|[ -~äß]{0,40}", tail: Vec<u8>) {
            let mut writer = Writer::default();
            writer.text(&text);
            let mut bytes = writer.into_bytes();
            bytes.extend(tail);
            prop_assert_eq!(Reader::new(&bytes).text(), Some(text));
        }

        /// No bytes panic.
        #[test]
        fn any_bytes_are_fields_or_none(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.text().is_some() {}
            let mut reader = Reader::new(&bytes);
            let _ = reader.addresses();
            let _ = Reader::new(&bytes).sticky();
        }
    }
}
