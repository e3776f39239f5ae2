use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::transaction::Entry;

/// Which node, told from an earlier installation of the same name and an earlier session of its.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Holder {
    /// The node.
    pub node: String,
    /// What tells one installation of a node's files from another.
    pub instance: String,
    /// The fencing token: the store's revision when the node's session began.
    pub token: i64,
}

impl Holder {
    pub(super) fn is(&self, node: &str, instance: &str) -> bool {
        self.node == node && self.instance == instance
    }
}

/// What `node/NAME` holds while the node's lease of the store lasts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SessionRecord {
    /// The installation.
    pub instance: String,
    /// The lease.
    pub lease: i64,
}

/// Who has which addresses of a block. An address of no part that is not claimed is nobody's.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct BlockRecord {
    /// A node each.
    pub parts: Vec<Part>,
    /// Addresses that sticky keys or operators have.
    #[serde(with = "bits")]
    pub claimed: u64,
}

/// What one node has of a block: it gives these addresses to whom it likes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Part {
    /// The node.
    #[serde(flatten)]
    pub holder: Holder,
    /// The addresses.
    #[serde(with = "bits")]
    pub bits: u64,
}

impl BlockRecord {
    /// Addresses that somebody has.
    #[must_use]
    pub fn assigned(&self) -> u64 {
        let parts = self.parts.iter();
        parts.fold(self.claimed, |bits, part| bits | part.bits)
    }

    /// A node's part.
    pub(super) fn part(&self, node: &str, instance: &str) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| part.holder.is(node, instance))
    }

    /// The node's part becomes these bits; none, and it is gone.
    pub(super) fn set_part(&mut self, holder: &Holder, bits: u64) {
        self.parts
            .retain(|part| !part.holder.is(&holder.node, &holder.instance));
        if bits != 0 {
            self.parts.push(Part {
                holder: holder.clone(),
                bits,
            });
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.claimed == 0
    }
}

/// The addresses that a sticky key has in the whole cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StickyRecord {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The node where the pod is; when absent any node may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// When nobody holds it: until when it is kept, in seconds since 1970; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

pub(super) fn encode(record: &impl Serialize) -> String {
    // Texts and numbers alone: there is nothing in it that JSON cannot say.
    serde_json::to_string(record).unwrap_or_default()
}

/// A record as it stands in the store; a text that is none is an error that names the key.
pub(super) fn decode<T: DeserializeOwned>(
    key: &str,
    entry: Option<&Entry>,
) -> Result<Option<T>, String> {
    let decoded = entry.map(|entry| serde_json::from_str(&entry.value));
    decoded
        .transpose()
        .map_err(|error| format!("`{key}` in the store is no record: {error}"))
}

/// Bits as 16 hexadecimal digits: JSON's numbers are too short.
pub(super) mod bits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(
        bits: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{bits:016x}"))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
