//! One pool for many nodes: each has a share of the addresses and gives from it without asking.
//!
//! The addresses of a network are divided in a store that all nodes share ([`Store`]; etcd is
//! one). 64 addresses in a row are one record, which says which node has which of them; it is
//! changed by transactions on its revision alone. A node keeps its leases by itself, as it does
//! without a store, and chooses among the addresses of its share.
//!
//! - *Session.* A node has the right to give addresses while its key `node/NAME` is in the store,
//!   which goes with a lease of the store that the node renews. The node knows by its own clock
//!   when the session is over, before the store does, and gives nothing from then on. Every
//!   transaction has the condition that the session lasts: the revision at which it began is the
//!   fencing token.
//! - *A node that is silent keeps its share.* Its pods may be running. Nobody else gets its
//!   addresses before it is back, or before an operator says that it is gone
//!   ([`operator::drop_node`]). What it had it looks through when it has a new session.
//! - *Lost answers.* A transaction whose answer is lost may happen later. A node writes down what
//!   it is about to change before it asks ([`State`]): what it gives up is no longer its own from
//!   then on, what it gains becomes its own when the store has confirmed it, and it tries the
//!   same until one of them is certain.
//! - *Sticky keys.* An address that a pod keeps belongs to its key, not to a node's share. The
//!   record names the node where the pod is; another one can have it by a transaction on the
//!   record's revision once the pod's end was told.
//! - *Exhaustion.* A node first takes a block that nobody has, then single addresses of blocks
//!   that others have given from, and then tells the others (`want/NAME`): each gives back half
//!   of what it does not use.
//! - *Without a node.* A resource manager gives addresses that pods keep by transactions alone
//!   ([`keep`]), beside the nodes' shares.
//!
//! Everything here is without I/O: [`Conversation`] says what to ask and what to write down.

mod block;
mod conversation;
mod drive;
mod goal;
mod intent;
pub mod keep;
pub mod operator;
mod record;
mod search;
mod state;
mod transaction;

pub use block::{Block, Names};
pub use conversation::{Conversation, Step, Terms};
pub use drive::{Share, converse};
pub use goal::{Goal, Outcome};
pub use record::{BlockRecord, Holder, Part, SessionRecord, StickyRecord};
pub use state::{Clock, State};
pub use transaction::{Compare, Entry, Reply, Request, Store, Transaction, Unanswered, Write};
