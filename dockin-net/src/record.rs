//! Changes as bytes. A record is what happens together:
//!
//! ```text
//! +----------------+----------------+---------------------+
//! | length, u32 LE | CRC-32, u32 LE | changes, one by one |
//! +----------------+----------------+---------------------+
//! ```
//!
//! The checksum is that of the length and the changes, so that zeros are no record.
//!
//! A change is a tag and its fields; texts and lists start with their length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::{
    Attachment, InterfaceName,
    lease::{After, Blocked, Change, Lease, Owner, StickyKey, Timestamp},
};

/// Longer records than this are none: a batch of a collection over a million leases is shorter.
const MAX_RECORD: usize = 256 * 1024 * 1024;
const HEAD: usize = 8;

/// Why bytes are no record.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RecordError {
    /// They end within it.
    #[error("record ends after {0} bytes")]
    Cut(usize),
    /// The checksum is another one.
    #[error("checksum is wrong")]
    Checksum,
    /// A tag or a length that we do not write; a newer version may.
    #[error("byte {0} of the record has no meaning")]
    Unknown(usize),
}

/// The record of these changes.
#[must_use]
pub fn encode(changes: &[Change]) -> Vec<u8> {
    let mut writer = Writer(vec![0; HEAD]);
    for change in changes {
        writer.change(change);
    }
    let mut record = writer.0;
    let (head, body) = record.split_at_mut(HEAD);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    head.copy_from_slice(&[length, checksum(length, body).to_le_bytes()].concat());
    record
}

/// The changes of the record that `bytes` start with, and its length.
///
/// # Errors
///
/// [`RecordError`].
pub fn decode(bytes: &[u8]) -> Result<(Vec<Change>, usize), RecordError> {
    let (changes, length) = body(bytes)?;
    let mut reader = Reader {
        bytes: changes,
        offset: 0,
    };
    let mut decoded = Vec::new();
    while reader.offset < changes.len() {
        let change = reader.change();
        decoded.push(change.ok_or(RecordError::Unknown(reader.offset))?);
    }
    Ok((decoded, length))
}

/// Does a whole record with a right checksum start here?
#[must_use]
pub(crate) fn is_record(bytes: &[u8]) -> bool {
    body(bytes).is_ok()
}

fn body(bytes: &[u8]) -> Result<(&[u8], usize), RecordError> {
    let cut = RecordError::Cut(bytes.len());
    let (length_bytes, rest) = bytes.split_first_chunk::<4>().ok_or(cut)?;
    let (written, rest) = rest.split_first_chunk::<4>().ok_or(cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length_bytes)).unwrap_or(usize::MAX);
    if length > MAX_RECORD {
        return Err(RecordError::Checksum);
    }
    let body = rest.get(..length).ok_or(cut)?;
    if checksum(*length_bytes, body) != u32::from_le_bytes(*written) {
        return Err(RecordError::Checksum);
    }
    Ok((body, HEAD + length))
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

struct Writer(Vec<u8>);

impl Writer {
    fn change(&mut self, change: &Change) {
        match change {
            Change::Hold(lease) => {
                self.byte(1);
                self.attachment(&lease.attachment);
                self.number(lease.since.0);
                self.sticky(lease.sticky.as_ref());
                self.length(lease.addresses.len());
                for address in &lease.addresses {
                    self.address(*address);
                }
            }
            Change::Release { attachment, after } => {
                self.byte(2);
                self.attachment(attachment);
                match after {
                    After::Free => self.byte(0),
                    After::Cool(until) => {
                        self.byte(1);
                        self.number(until.0);
                    }
                    After::Keep(None) => self.byte(2),
                    After::Keep(Some(until)) => {
                        self.byte(3);
                        self.number(until.0);
                    }
                }
            }
            Change::Forget(key) => {
                self.byte(3);
                self.sticky(Some(key));
            }
            Change::Block {
                address,
                until,
                why,
            } => {
                self.byte(4);
                self.address(*address);
                self.number(until.0);
                self.byte(match why {
                    Blocked::CoolDown => 0,
                    Blocked::Quarantine => 1,
                });
            }
            Change::Unblock(address) => {
                self.byte(5);
                self.address(*address);
            }
            Change::Reserve { address, owner } => {
                self.byte(6);
                self.address(*address);
                self.text(owner.as_ref().map_or("", Owner::as_str));
            }
            Change::Unreserve(address) => {
                self.byte(7);
                self.address(*address);
            }
            Change::Cursor { set, address } => {
                self.byte(8);
                self.text(set);
                self.address(*address);
            }
            Change::Boot(id) => {
                self.byte(9);
                self.text(id);
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// 65,535 at most, and longer texts are cut: names of runtimes are 64 bytes.
    fn length(&mut self, length: usize) {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        let end = text.floor_char_boundary(usize::from(u16::MAX));
        let bytes = text.as_bytes().get(..end).unwrap_or_default();
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.byte(4);
                self.0.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                self.byte(6);
                self.0.extend_from_slice(&address.octets());
            }
        }
    }

    fn attachment(&mut self, attachment: &Attachment) {
        self.text(attachment.container_id().as_str());
        self.text(attachment.interface_text());
    }

    fn sticky(&mut self, key: Option<&StickyKey>) {
        self.text(key.map_or("", |key| key.owner.as_str()));
        self.text(key.map_or("", |key| key.interface.as_str()));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Reader<'_> {
    fn change(&mut self) -> Option<Change> {
        Some(match self.byte()? {
            1 => {
                let attachment = self.attachment()?;
                let since = Timestamp(self.number()?);
                let sticky = self.sticky()?;
                let count = self.length()?;
                let addresses = (0..count).map(|_| self.address()).collect::<Option<_>>()?;
                Change::Hold(Lease {
                    attachment,
                    addresses,
                    sticky,
                    since,
                })
            }
            2 => Change::Release {
                attachment: self.attachment()?,
                after: match self.byte()? {
                    0 => After::Free,
                    1 => After::Cool(Timestamp(self.number()?)),
                    2 => After::Keep(None),
                    3 => After::Keep(Some(Timestamp(self.number()?))),
                    _ => return None,
                },
            },
            3 => Change::Forget(self.sticky()??),
            4 => Change::Block {
                address: self.address()?,
                until: Timestamp(self.number()?),
                why: match self.byte()? {
                    0 => Blocked::CoolDown,
                    1 => Blocked::Quarantine,
                    _ => return None,
                },
            },
            5 => Change::Unblock(self.address()?),
            6 => Change::Reserve {
                address: self.address()?,
                owner: Some(self.text()?)
                    .filter(|owner| !owner.is_empty())
                    .map(Owner::stored),
            },
            7 => Change::Unreserve(self.address()?),
            8 => Change::Cursor {
                set: self.text()?.to_owned(),
                address: self.address()?,
            },
            9 => Change::Boot(self.text()?.to_owned()),
            _ => return None,
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, _) = self.bytes.get(self.offset..)?.split_first_chunk()?;
        self.offset += N;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.take().map(u16::from_le_bytes).map(usize::from)
    }

    fn text(&mut self) -> Option<&str> {
        let length = self.length()?;
        let bytes = self.bytes.get(self.offset..)?.get(..length)?;
        self.offset += length;
        std::str::from_utf8(bytes).ok()
    }

    fn address(&mut self) -> Option<IpAddr> {
        Some(match self.byte()? {
            4 => Ipv4Addr::from(self.take::<4>()?).into(),
            6 => Ipv6Addr::from(self.take::<16>()?).into(),
            _ => return None,
        })
    }

    fn attachment(&mut self) -> Option<Attachment> {
        let container = self.text()?.to_owned();
        Some(Attachment::stored(&container, self.text()?))
    }

    /// An absent key inside, no bytes for one outside.
    fn sticky(&mut self) -> Option<Option<StickyKey>> {
        let owner = self.text()?.to_owned();
        let interface = self.text()?;
        Some((!owner.is_empty()).then(|| StickyKey {
            owner: Owner::stored(&owner),
            interface: InterfaceName::stored(interface),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RecordError, decode, encode};
    use crate::{
        Attachment, Blocked, Change, Family, InterfaceName, Lease, Owner, StickyKey, Timestamp,
        address::from_number, lease::After,
    };

    prop_compose! {
        fn address()(number: u128, v4: bool) -> std::net::IpAddr {
            from_number(if v4 { Family::V4 } else { Family::V6 }, number)
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        let attachment = ("[a-z0-9]{1,70}", "[a-z0-9]{0,15}")
            .prop_map(|(container, interface)| Attachment::stored(&container, &interface));
        let key =
            ("[a-z]{1,9}/[a-z0-9-]{1,30}", "[a-z0-9]{1,15}").prop_map(|(owner, interface)| {
                StickyKey {
                    owner: Owner::stored(&owner),
                    interface: InterfaceName::stored(&interface),
                }
            });
        let after = prop_oneof![
            Just(After::Free),
            any::<u64>().prop_map(|until| After::Cool(Timestamp(until))),
            proptest::option::of(any::<u64>()).prop_map(|it| After::Keep(it.map(Timestamp))),
        ];
        let addresses = proptest::collection::vec(address(), 0..4);
        prop_oneof![
            (
                attachment.clone(),
                addresses,
                proptest::option::of(key.clone()),
                any::<u64>()
            )
                .prop_map(|(attachment, addresses, sticky, since)| Change::Hold(
                    Lease {
                        attachment,
                        addresses,
                        sticky,
                        since: Timestamp(since),
                    }
                )),
            (attachment, after)
                .prop_map(|(attachment, after)| Change::Release { attachment, after }),
            key.prop_map(Change::Forget),
            (address(), any::<u64>(), any::<bool>()).prop_map(|(address, until, cool)| {
                Change::Block {
                    address,
                    until: Timestamp(until),
                    why: if cool {
                        Blocked::CoolDown
                    } else {
                        Blocked::Quarantine
                    },
                }
            }),
            address().prop_map(Change::Unblock),
            (address(), proptest::option::of("[a-z]{1,9}/[a-z]{1,9}")).prop_map(
                |(address, owner)| Change::Reserve {
                    address,
                    owner: owner.as_deref().map(Owner::stored),
                }
            ),
            address().prop_map(Change::Unreserve),
            ("[a-z0-9/]{0,20}", address())
                .prop_map(|(set, address)| Change::Cursor { set, address }),
            "[a-f0-9-]{36}".prop_map(Change::Boot),
        ]
    }

    proptest! {
        /// `decode(encode(x)) == x`, whatever follows.
        #[test]
        fn a_record_reads_back(changes in proptest::collection::vec(change(), 0..8),
            tail: Vec<u8>) {
            let mut bytes = encode(&changes);
            let length = bytes.len();
            bytes.extend(tail);
            prop_assert_eq!(decode(&bytes), Ok((changes, length)));
        }

        /// A record that is cut anywhere, or has one bit flipped, is none.
        #[test]
        fn a_record_that_is_not_whole_is_none(changes in proptest::collection::vec(change(), 1..4),
            at: proptest::sample::Index, bit in 0_u32..8) {
            let mut bytes = encode(&changes);
            let at = at.index(bytes.len());
            prop_assert_eq!(decode(&bytes[..at]), Err(RecordError::Cut(at)));
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        /// No bytes panic.
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let mut framed = encode(&[]);
            framed.splice(..4, u32::try_from(bytes.len()).unwrap().to_le_bytes());
            framed.splice(4..8, super::checksum(framed[..4].try_into().unwrap(), &bytes).to_le_bytes());
            framed.extend(&bytes);
            let _ = decode(&framed);
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode(&[0; 64]), Err(RecordError::Checksum));
    }
}
