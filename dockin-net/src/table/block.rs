/// Bytes of a block. An allocation touches four to six of them, which all go through the journal,
/// and a lease with its address takes about 150 bytes.
pub(super) const BLOCK: usize = 1024;
const HEAD: usize = 12;
/// Bytes for entries in a block, and so for the longest entry.
pub(super) const ROOM: usize = BLOCK - HEAD;
/// Bytes before the key of an entry.
const ENTRY: usize = 4;

/// Some entries of a bucket, and where the others are.
///
/// ```text
/// +-----------+-----------+-----------+-------+---------------------------------------+
/// | CRC32, u32| next, u32 | used, u16 | 0, 0  | { key length, u16 | value length, u16 |
/// +-----------+-----------+-----------+-------+     | key | value } …                 |
///                                             +---------------------------------------+
/// ```
///
/// All numbers are little endian. The checksum is that of the block's number and of all that
/// follows it up to the end of the entries, so that a block in another's place is none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Block {
    /// The block with the bucket's next entries; 0 when there is none.
    pub(super) next: u32,
    entries: Vec<u8>,
}

impl Block {
    /// An empty block with another one after it.
    pub(super) const fn before(next: u32) -> Self {
        Self {
            next,
            entries: Vec::new(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> Entries<'_> {
        Entries(&self.entries)
    }

    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        let mut entries = self.entries();
        entries.find_map(|(it, value)| (it == key).then_some(value))
    }

    /// Is there room for one entry more?
    pub(super) const fn has_room(&self, key: &[u8], value: &[u8]) -> bool {
        self.entries.len() + size(key, value) <= ROOM
    }

    /// Appends an entry, for which there is room.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            self.entries.extend_from_slice(&length.to_le_bytes());
        }
        self.entries.extend_from_slice(key);
        self.entries.extend_from_slice(value);
    }

    /// Removes an entry; how many bytes it had.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<usize> {
        let mut start = 0;
        for (it, value) in self.entries() {
            let size = size(it, value);
            if it == key {
                self.entries.drain(start..start + size);
                return Some(size);
            }
            start += size;
        }
        None
    }

    /// The block as bytes, without the zeros after the entries.
    pub(super) fn encode(&self, number: u32) -> Vec<u8> {
        let used = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(HEAD + self.entries.len());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&used.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.entries);
        let (head, rest) = bytes.split_at_mut(4);
        head.copy_from_slice(&checksum(number, rest).to_le_bytes());
        bytes
    }

    /// The block that `bytes` are, whatever follows its entries.
    pub(super) fn decode(number: u32, bytes: &[u8]) -> Option<Self> {
        let (written, rest) = bytes.split_first_chunk::<4>()?;
        let (next, after) = rest.split_first_chunk::<4>()?;
        let used = usize::from(u16::from_le_bytes(*after.first_chunk()?));
        let entries = after.get(4..)?.get(..used)?;
        let covered = rest.get(..HEAD - 4 + used)?;
        let block = Self {
            next: u32::from_le_bytes(*next),
            entries: entries.to_vec(),
        };
        let whole: usize = block.entries().map(|(key, value)| size(key, value)).sum();
        let right = checksum(number, covered) == u32::from_le_bytes(*written);
        (right && whole == used).then_some(block)
    }
}

/// Bytes that an entry takes.
pub(super) const fn size(key: &[u8], value: &[u8]) -> usize {
    ENTRY + key.len() + value.len()
}

fn checksum(number: u32, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// Keys and values.
pub(super) struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.0.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key).into())?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value).into())?;
        self.0 = rest;
        Some((key, value))
    }
}
