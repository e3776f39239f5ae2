use crate::fields::{Reader, Writer};

const MAGIC: [u8; 8] = *b"DKNETTB2";
/// Of the form whose journal has its records from the beginning on and no copies.
const WITHOUT_COPIES: [u8; 8] = *b"DKNETTB1";

/// Buckets; the numbers of their blocks have 32 bits.
const MOST: u32 = 1 << 30;

/// What is known of a table as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    /// How often the journal was emptied into the table. A record of the journal counts when it
    /// has this number.
    pub(super) generation: u64,
    /// Buckets.
    pub(super) buckets: u32,
    /// Bytes of all entries.
    pub(super) bytes: u64,
    /// Blocks beside the buckets that were ever used.
    pub(super) extra: u32,
    /// The first of those that are free again; 0 when there is none.
    pub(super) free: u32,
    /// The start of the machine, counted; leases have the number of theirs.
    pub(crate) epoch: u32,
    /// The buckets before this one hold no lease of an earlier start; none when no bucket does.
    pub(crate) swept: Option<u32>,
    /// What the machine calls this start.
    pub(crate) boot: Option<String>,
    /// Is this of the form before copies? It is never written.
    pub(super) without_copies: bool,
}

impl Header {
    pub(super) const fn new(buckets: u32) -> Self {
        Self {
            generation: 1,
            buckets,
            bytes: 0,
            extra: 0,
            free: 0,
            epoch: 0,
            swept: None,
            boot: None,
            without_copies: false,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(&MAGIC);
        writer.number(self.generation);
        writer.number(self.bytes);
        for number in [
            self.buckets,
            self.extra,
            self.free,
            self.epoch,
            self.swept.unwrap_or(u32::MAX),
        ] {
            writer.bytes(&number.to_le_bytes());
        }
        writer.text(self.boot.as_deref().unwrap_or(""));
        let mut bytes = writer.into_bytes();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The header that `bytes` are, whatever follows it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let magic = reader.take()?;
        let without_copies = magic == WITHOUT_COPIES;
        if magic != MAGIC && !without_copies {
            return None;
        }
        let generation = reader.number()?;
        let size = reader.number()?;
        let mut number = || reader.take().map(u32::from_le_bytes);
        let mut header = Self {
            generation,
            bytes: size,
            buckets: number()?,
            extra: number()?,
            free: number()?,
            epoch: number()?,
            swept: Some(number()?).filter(|it| *it < u32::MAX),
            boot: None,
            without_copies,
        };
        header.boot = Some(reader.text()?).filter(|it| !it.is_empty());
        let covered = bytes.get(..reader.offset())?;
        let written = reader.take().map(u32::from_le_bytes)?;
        let possible = (1..=MOST).contains(&header.buckets) && header.extra <= MOST / 4;
        (written == crc32fast::hash(covered) && possible).then_some(header)
    }
}
