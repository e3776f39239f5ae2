//! Netlink messages as bytes: a header, a fixed part, and attributes that may hold attributes.
//!
//! ```text
//!  0        4      6      8          12       16
//! +--------+------+------+----------+--------+-------------+-----------------------
//! | length | kind | flags| sequence | port 0 | fixed part  | length kind value pad …
//! +--------+------+------+----------+--------+-------------+-----------------------
//! ```
//!
//! Everything is aligned to 4 bytes and in the machine's byte order, unless the kernel's headers
//! say otherwise.

use std::ops::Range;

const HEADER: usize = 16;

/// The kernel shall tell that it is done.
pub(super) const ACK: u16 = 4;
const REQUEST: u16 = 1;
/// What was made comes back.
pub(super) const ECHO: u16 = 8;
/// All of them, not one.
pub(super) const DUMP: u16 = 0x300;
/// In the place of what is there.
pub(super) const REPLACE: u16 = 0x100;
/// An error when it is there.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// Made when it is not there.
pub(super) const CREATE: u16 = 0x400;
/// Behind those that are there.
pub(super) const APPEND: u16 = 0x800;

/// A kind of answer: an error number, 0 for success.
pub(super) const ERROR: u16 = 2;
/// A kind of answer: the end of a list.
pub(super) const DONE: u16 = 3;

const NESTED: u16 = 0x8000;

/// Messages to be sent at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Sequence numbers of those that will be answered.
    awaited: Vec<u32>,
}

impl Batch {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn awaited(&self) -> &[u32] {
        &self.awaited
    }

    /// Appends a message that will be answered.
    pub(super) fn push(
        &mut self,
        sequence: u32,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let wanted = if flags & DUMP == DUMP {
            flags
        } else {
            flags | ACK
        };
        self.message(sequence, kind, wanted, fixed, fill);
        self.awaited.push(sequence);
    }

    /// Appends a message that is not answered when it is good.
    pub(super) fn message(
        &mut self,
        sequence: u32,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        fill(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        write(&mut self.bytes, start..start + 4, &length.to_ne_bytes());
    }
}

/// The attributes of a message that is being written.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.write(kind, |it| it.bytes.extend_from_slice(value));
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// In network byte order.
    pub(super) fn big(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// With the zero at the end.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.write(kind, |it| {
            it.bytes.extend_from_slice(value.as_bytes());
            it.bytes.push(0);
        });
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.write(kind | NESTED, fill);
    }

    /// A nest that begins with a fixed part.
    pub(super) fn nest_behind(
        &mut self,
        kind: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.write(kind | NESTED, |it| {
            it.bytes.extend_from_slice(fixed);
            fill(it);
        });
    }

    fn write(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = self.bytes.len() - start;
        let told = u16::try_from(length).unwrap_or(u16::MAX);
        write(self.bytes, start..start + 2, &told.to_ne_bytes());
        self.bytes.resize(start + aligned(length), 0);
    }
}

fn write(bytes: &mut [u8], at: Range<usize>, value: &[u8]) {
    if let Some(slot) = bytes.get_mut(at)
        && slot.len() == value.len()
    {
        slot.copy_from_slice(value);
    }
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// A message that was received.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error number of an answer, 0 for success.
    pub(super) fn error(&self) -> Option<i32> {
        let number = number(self.payload).unwrap_or_default();
        let number = i32::from_ne_bytes(number.to_ne_bytes());
        match self.kind {
            ERROR => Some(number.saturating_neg()),
            DONE => Some(number.min(0).saturating_neg()),
            _ => None,
        }
    }
}

/// The messages in what was received; stops at the first that is cut.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes)?).ok()?;
        let whole = bytes.get(..length)?;
        let payload = whole.get(HEADER..)?;
        let message = Message {
            kind: u16::from_ne_bytes(whole.get(4..6)?.try_into().ok()?),
            sequence: number(whole.get(8..)?)?,
            payload,
        };
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(message)
    })
}

/// Attributes that were received: kind and value of each; stops at the first that is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    }
}

impl<'a> Reader<'a> {
    /// The value of the last attribute of that kind.
    pub(super) fn find(self, kind: u16) -> Option<&'a [u8]> {
        self.filter(|(it, _)| *it == kind)
            .last()
            .map(|(_, value)| value)
    }

    pub(super) fn nest(self, kind: u16) -> Self {
        Reader(self.find(kind).unwrap_or_default())
    }
}

/// The number at the start, in the machine's byte order.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// The text up to its zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use proptest::prelude::*;

    use super::{Batch, Reader, messages, text};

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::default();
        batch.push(7, 16, 0, &[1; 16], |it| {
            it.text(3, "veth0");
            it.nest(18, |it| it.put(1, b"veth"));
        });
        batch.message(8, 17, 0, &[], |_| ());
        assert_eq!(batch.awaited(), [7]);
        let read: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!((read[0].kind, read[0].sequence, read[1].kind), (16, 7, 17));
        assert_eq!(read[0].payload[..16], [1; 16]);
        let attributes = Reader(&read[0].payload[16..]);
        assert_eq!(text(attributes.find(3).unwrap()), "veth0");
        assert_eq!(attributes.nest(18).find(1), Some(&b"veth"[..]));
    }

    proptest! {
        /// No bytes panic or loop.
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = message.error();
                prop_assert!(Reader(message.payload).count() <= bytes.len());
            }
            prop_assert!(Reader(&bytes).count() <= bytes.len());
        }
    }
}
