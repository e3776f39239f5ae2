//! Keys and values of the table as bytes.

use std::net::IpAddr;

use super::chunk::{Bits, Chunk};
use crate::{
    Attachment, Family,
    fields::{Reader, Writer},
    lease::{Blocked, Lease, Owner, StickyKey, Timestamp},
    leases::{Holding, Use},
};

const LEASE: u8 = 1;
const STICKY: u8 = 2;
const USE: u8 = 3;
const RESERVATION: u8 = 4;
const RESERVED_FOR: u8 = 5;
const CURSOR: u8 = 6;
const CHUNK: u8 = 7;
const FULL_CHUNKS: u8 = 8;

/// Keys, each kind with a tag of its own.
pub(super) mod key {
    use super::{
        Attachment, CHUNK, CURSOR, FULL_CHUNKS, Family, IpAddr, LEASE, Owner, RESERVATION,
        RESERVED_FOR, STICKY, StickyKey, USE, Writer,
    };

    pub(in super::super) fn lease(attachment: &Attachment) -> Vec<u8> {
        let mut key = Writer::tagged(LEASE);
        key.attachment(attachment);
        key.into_bytes()
    }

    pub(in super::super) fn sticky(of: &StickyKey) -> Vec<u8> {
        let mut key = Writer::tagged(STICKY);
        key.sticky(Some(of));
        key.into_bytes()
    }

    pub(in super::super) fn usage(address: IpAddr) -> Vec<u8> {
        let mut key = Writer::tagged(USE);
        key.address(address);
        key.into_bytes()
    }

    pub(in super::super) fn reservation(address: IpAddr) -> Vec<u8> {
        let mut key = Writer::tagged(RESERVATION);
        key.address(address);
        key.into_bytes()
    }

    pub(in super::super) fn reserved_for(owner: &Owner) -> Vec<u8> {
        let mut key = Writer::tagged(RESERVED_FOR);
        key.text(owner.as_str());
        key.into_bytes()
    }

    pub(in super::super) fn cursor(set: &str) -> Vec<u8> {
        let mut key = Writer::tagged(CURSOR);
        key.text(set);
        key.into_bytes()
    }

    pub(in super::super) fn chunk(family: Family, number: u128) -> Vec<u8> {
        numbered(CHUNK, family, number)
    }

    pub(in super::super) fn full_chunks(family: Family, number: u128) -> Vec<u8> {
        numbered(FULL_CHUNKS, family, number)
    }

    fn numbered(tag: u8, family: Family, number: u128) -> Vec<u8> {
        let mut key = Writer::tagged(tag);
        key.byte(if family == Family::V4 { 4 } else { 6 });
        key.bytes(&number.to_le_bytes());
        key.into_bytes()
    }
}

/// A lease with the start of the machine that it is of.
#[derive(Debug)]
pub(super) struct StoredLease {
    pub(super) lease: Lease,
    pub(super) epoch: u32,
}

impl StoredLease {
    pub(super) fn decode(attachment: Attachment, reader: &mut Reader<'_>) -> Option<Self> {
        let epoch = u32::from_le_bytes(reader.take()?);
        Some(Self {
            lease: Lease {
                attachment,
                since: Timestamp(reader.number()?),
                sticky: reader.sticky()?,
                addresses: reader.addresses()?,
            },
            epoch,
        })
    }
}

/// What an entry of the table says.
#[derive(Debug)]
pub(super) enum Value {
    Lease(StoredLease),
    Holding(StickyKey, Holding),
    Use(IpAddr, Use),
    Reservation(IpAddr, Option<Owner>),
    ReservedFor,
    Cursor(String, IpAddr),
    Chunk(Family, u128, Chunk),
    FullChunks(Family, u128, Bits),
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Value> {
    let mut key = Reader::new(key);
    let mut value = Reader::new(value);
    let value = &mut value;
    Some(match key.byte()? {
        LEASE => Value::Lease(StoredLease::decode(key.attachment()?, value)?),
        STICKY => Value::Holding(key.sticky()??, decode_holding(value)?),
        USE => Value::Use(key.address()?, decode_use(value)?),
        RESERVATION => Value::Reservation(key.address()?, decode_owner(value)?),
        RESERVED_FOR => Value::ReservedFor,
        CURSOR => Value::Cursor(key.text()?, value.address()?),
        tag @ (CHUNK | FULL_CHUNKS) => {
            let family = match key.byte()? {
                4 => Family::V4,
                6 => Family::V6,
                _ => return None,
            };
            let number = u128::from_le_bytes(key.take()?);
            match tag {
                CHUNK => Value::Chunk(family, number, Chunk::decode(value)?),
                _ => Value::FullChunks(family, number, Bits::decode(value)?),
            }
        }
        _ => return None,
    })
}

pub(super) fn encode_lease(lease: &Lease, epoch: u32) -> Vec<u8> {
    let mut value = Writer::default();
    value.bytes(&epoch.to_le_bytes());
    value.number(lease.since.0);
    value.sticky(lease.sticky.as_ref());
    for address in &lease.addresses {
        value.address(*address);
    }
    value.into_bytes()
}

pub(super) fn encode_holding(holding: &Holding) -> Vec<u8> {
    match holding {
        Holding::Leased(attachment) => {
            let mut value = Writer::tagged(0);
            value.attachment(attachment);
            value.into_bytes()
        }
        Holding::Kept { addresses, until } => {
            let mut value = Writer::tagged(1);
            value.until(*until);
            for address in addresses {
                value.address(*address);
            }
            value.into_bytes()
        }
    }
}

pub(super) fn decode_holding(value: &mut Reader<'_>) -> Option<Holding> {
    Some(match value.byte()? {
        0 => Holding::Leased(value.attachment()?),
        1 => {
            let until = value.until()?;
            let addresses = value.addresses()?;
            Holding::Kept { addresses, until }
        }
        _ => return None,
    })
}

pub(super) fn encode_use(it: &Use) -> Vec<u8> {
    match it {
        Use::Held(attachment) => {
            let mut value = Writer::tagged(0);
            value.attachment(attachment);
            value.into_bytes()
        }
        Use::Kept(key, until) => {
            let mut value = Writer::tagged(1);
            value.until(*until);
            value.sticky(Some(key));
            value.into_bytes()
        }
        Use::Blocked(why, until) => {
            let mut value = Writer::tagged(match why {
                Blocked::CoolDown => 2,
                Blocked::Quarantine => 3,
            });
            value.number(until.0);
            value.into_bytes()
        }
    }
}

pub(super) fn decode_use(value: &mut Reader<'_>) -> Option<Use> {
    Some(match value.byte()? {
        0 => Use::Held(value.attachment()?),
        1 => {
            let until = value.until()?;
            Use::Kept(value.sticky()??, until)
        }
        2 => Use::Blocked(Blocked::CoolDown, Timestamp(value.number()?)),
        3 => Use::Blocked(Blocked::Quarantine, Timestamp(value.number()?)),
        _ => return None,
    })
}

pub(super) fn encode_owner(owner: Option<&Owner>) -> Vec<u8> {
    let mut value = Writer::default();
    value.text(owner.map_or("", Owner::as_str));
    value.into_bytes()
}

/// Nobody inside, no bytes for anyone outside.
pub(super) fn decode_owner(value: &mut Reader<'_>) -> Option<Option<Owner>> {
    let owner = value.text()?;
    Some((!owner.is_empty()).then(|| Owner::stored(&owner)))
}

pub(super) fn encode_addresses(addresses: &[IpAddr]) -> Vec<u8> {
    let mut value = Writer::default();
    for address in addresses {
        value.address(*address);
    }
    value.into_bytes()
}
