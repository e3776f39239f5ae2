use super::{
    conversation::{Conversation, Step, Terms},
    goal::{Goal, Outcome},
    state::{Clock, State},
    transaction::Store,
};
use crate::{
    Pool,
    lease::Timestamp,
    store::{LeaseStore, StoreError},
};

/// What a node's share touches outside itself.
pub trait Share {
    /// The node's name.
    fn node(&self) -> &str;

    /// The state as it was saved last, none when it never was.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn load(&mut self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts the state in the place of the one before. When this returns it survives a loss of
    /// power.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn save(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// A name that no other installation of a node has.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn new_instance(&mut self) -> Result<String, StoreError>;

    /// Milliseconds since the start of the machine, by a clock that runs while it sleeps.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn elapsed(&mut self) -> Result<u64, StoreError>;

    /// The store of all nodes.
    fn store(&mut self) -> &mut dyn Store;
}

/// The state that was saved last, or that of a new node.
fn load(share: &mut dyn Share) -> Result<State, StoreError> {
    match share.load()? {
        Some(bytes) => State::decode(&bytes),
        None => {
            let state = State::new(&share.new_instance()?);
            // Its name is in the store before anything else is saved.
            share.save(&state.encode())?;
            Ok(state)
        }
    }
}

/// Has one conversation to its end. The leases are locked by the caller.
///
/// # Errors
///
/// [`StoreError`] of the node's own files.
pub fn converse(
    terms: &Terms,
    pools: &[Pool],
    goal: Goal,
    leases: &mut dyn LeaseStore,
    share: &mut dyn Share,
    (now, boot): (Timestamp, &str),
) -> Result<(Outcome, State), StoreError> {
    let state = load(share)?;
    let mut conversation = Conversation::new(terms, pools, state, goal);
    loop {
        let elapsed = share.elapsed()?;
        let clock = Clock { now, elapsed, boot };
        match conversation.poll(leases, clock)? {
            Step::Save(bytes) => share.save(&bytes)?,
            Step::Change(changes) => leases.commit(changes)?,
            Step::Ask(request) => {
                let answer = share.store().ask(&request);
                let elapsed = share.elapsed()?;
                conversation.handle(answer, Clock { now, elapsed, boot });
            }
            Step::Done(outcome) => return Ok((outcome, conversation.into_state())),
        }
    }
}
