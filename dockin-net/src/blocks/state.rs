use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    block::Block,
    record::{Holder, bits},
};
use crate::{
    InterfaceName,
    lease::{Owner, StickyKey, Timestamp},
    store::StoreError,
};

/// For how many milliseconds a store that gave no answer is not asked again.
const SILENCE: u64 = 2_000;

/// The time as a node knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock<'a> {
    /// For what other nodes read.
    pub now: Timestamp,
    /// Milliseconds since the machine's start. Nobody sets this clock, so the end of a session is
    /// told by it.
    pub elapsed: u64,
    /// What tells this start of the machine from others.
    pub boot: &'a str,
}

/// What a node knows of its share, kept in a file of its own. Each write of it is durable before
/// the store is asked for what it tells of.
///
/// The one rule: what is given up leaves this file before the store hears of it, what is gained
/// comes in after the store has confirmed it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Tells this file from one of an earlier installation of the node.
    pub(super) instance: String,
    pub(super) session: Option<Session>,
    /// What may be given from, by the first address of the block.
    pub(super) blocks: BTreeMap<IpAddr, Held>,
    /// Sticky keys that are here, by `owner/interface`.
    pub(super) claims: BTreeMap<String, Claim>,
    /// A change of the store whose end is not known yet.
    pub(super) intent: Option<Intent>,
    /// Until when the store is not asked, after it gave no answer.
    pub(super) silence: Option<Silence>,
}

/// The right to give addresses, until it ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Session {
    pub(super) lease: i64,
    pub(super) token: i64,
    /// Milliseconds since the start of the machine.
    pub(super) ends: u64,
    pub(super) boot: String,
}

/// A node's part of a block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Held {
    pub(super) token: i64,
    #[serde(with = "bits")]
    pub(super) bits: u64,
}

/// The addresses of a sticky key that is here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Claim {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) token: i64,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Silence {
    until: u64,
    boot: String,
}

/// A change of the store that was begun. It is tried until its end is known: a transaction whose
/// answer was lost may happen later, and only one with the same conditions settles that.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Intent {
    /// Take addresses of a block that nobody has.
    Take {
        block: IpAddr,
        #[serde(with = "bits")]
        bits: u64,
        /// Those of the block that any node may have.
        #[serde(with = "bits")]
        usable: u64,
    },
    /// Give addresses back; they are no longer ours.
    Give {
        block: IpAddr,
        #[serde(with = "bits")]
        bits: u64,
    },
    /// Have a sticky key here; when it has no addresses yet, these, which are no longer ours to
    /// give to others.
    Hold { key: String, fresh: Vec<IpAddr> },
    /// Let a sticky key go; it is no longer here.
    Release { key: String, until: Option<u64> },
}

impl State {
    /// A node that has nothing yet.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            session: None,
            blocks: BTreeMap::new(),
            claims: BTreeMap::new(),
            intent: None,
            silence: None,
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
            path: "share".into(),
            message: error.to_string(),
        })
    }

    /// One line of JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Texts and numbers alone: there is nothing in it that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// May addresses be given at that time?
    #[must_use]
    pub fn is_valid(&self, clock: Clock<'_>) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|it| it.boot == clock.boot && clock.elapsed < it.ends)
    }

    /// The addresses that may be given, and those of sticky keys that are here.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let blocks = self.blocks.iter();
        let own = blocks.flat_map(|(first, held)| Block::of(*first).addresses(held.bits));
        let claimed = self.claims.values().flat_map(|it| it.addresses.clone());
        own.chain(claimed).collect()
    }

    /// Is the sticky key here?
    #[must_use]
    pub fn has(&self, key: &StickyKey) -> bool {
        self.claims.contains_key(&name(key))
    }

    pub(super) fn is_silent(&self, clock: Clock<'_>) -> bool {
        let silence = self.silence.as_ref();
        silence.is_some_and(|it| it.boot == clock.boot && clock.elapsed < it.until)
    }

    pub(super) fn silence(&mut self, clock: Clock<'_>) {
        self.silence = Some(Silence {
            until: clock.elapsed.saturating_add(SILENCE),
            boot: clock.boot.to_owned(),
        });
    }

    pub(super) fn add(&mut self, block: Block, bits: u64, token: i64) {
        if bits == 0 {
            return;
        }
        let held = self.blocks.entry(block.first());
        let held = held.or_insert(Held { token, bits: 0 });
        held.bits |= bits;
        held.token = token;
    }

    pub(super) fn remove(&mut self, block: Block, bits: u64) {
        if let Some(held) = self.blocks.get_mut(&block.first()) {
            held.bits &= !bits;
            if held.bits == 0 {
                self.blocks.remove(&block.first());
            }
        }
    }

    pub(super) fn holder(&self, node: &str) -> Holder {
        Holder {
            node: node.to_owned(),
            instance: self.instance.clone(),
            token: self.session.as_ref().map_or(0, |session| session.token),
        }
    }
}

/// A sticky key as the file has it.
pub(super) fn name(key: &StickyKey) -> String {
    format!("{}/{}", key.owner, key.interface.as_str())
}

/// What [`name`] was made of.
pub(super) fn key(name: &str) -> StickyKey {
    // Interfaces have no slash.
    let (owner, interface) = name.rsplit_once('/').unwrap_or((name, ""));
    StickyKey {
        owner: Owner::stored(owner),
        interface: InterfaceName::stored(interface),
    }
}
