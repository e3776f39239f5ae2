use std::collections::{BTreeMap, BTreeSet};

use super::{
    block::{Block, Names},
    goal::{Expiry, Goal, Outcome},
    intent::{Judgement, Known, Settled},
    record::{BlockRecord, SessionRecord, StickyRecord, decode, encode},
    search::Search,
    state::{Clock, Intent, Session, State, key},
    transaction::{Compare, Entry, Reply, Request, Transaction, Unanswered, Write},
};
use crate::{Pool, lease::Change, leases::Leases, store::StoreError};

/// A conversation that does not come to an end by then meets others at every step.
const MAX_QUESTIONS: u32 = 400;
/// Keys of one question.
const BATCH: usize = 64;

/// What a node says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// What the keys are called.
    pub names: Names,
    /// The node.
    pub node: String,
    /// For how many seconds a session lasts that is not renewed.
    pub session: u64,
    /// How many addresses are taken at once.
    pub block: u32,
}

/// What the caller of a [`Conversation`] does next.
#[derive(Debug)]
pub enum Step {
    /// Make these bytes durable as the node's [`State`], and go on.
    Save(Vec<u8>),
    /// Make these changes of the node's leases durable, and go on.
    Change(Vec<Change>),
    /// Ask the store, and hand the answer to [`Conversation::handle`].
    Ask(Request),
    /// It is over.
    Done(Outcome),
}

/// One operation of a node, with what it asks the store for.
///
/// The caller has the node's leases to itself meanwhile. It calls [`poll`](Self::poll) and does
/// what it says, until [`Step::Done`]. It may stop at any point, as in a crash: what is saved
/// is enough to go on from.
#[derive(Debug)]
pub struct Conversation<'a> {
    pub(super) terms: &'a Terms,
    pub(super) pools: &'a [Pool],
    pub(super) goal: Goal,
    pub(super) state: State,
    pub(super) known: Known,
    /// How an intent of this conversation ended.
    pub(super) settled: Option<Settled>,
    pub(super) search: Option<Search>,
    /// The pool that is tried.
    pub(super) pool: usize,
    /// Blocks that were given from, or looked at for that.
    pub(super) given: BTreeSet<Block>,
    /// Does another node find no address? Unknown before it was asked.
    pub(super) wanted: Option<bool>,
    /// Sticky keys that nobody keeps any longer.
    pub(super) expiry: Expiry,
    pub(super) changes: Vec<Change>,
    pub(super) save: bool,
    waiting: Option<Waiting>,
    questions: u32,
    renewed: bool,
    /// A session that is ours in the store; what we have is not looked through yet.
    candidate: Option<Session>,
    /// A lease without a session.
    lease: Option<(i64, u64)>,
    done: Option<Outcome>,
}

/// What an answer is to.
#[derive(Debug)]
enum Waiting {
    Renewal { asked: u64 },
    Adoption { asked: u64, token: i64 },
    Lease { asked: u64 },
    Opening { lease: i64, ends: u64 },
    Writes(Transaction),
    Keys,
    List(Listing),
}

/// What a list is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Listing {
    Blocks,
    Wants,
    Sticky,
}

/// What a part of the conversation comes to.
pub(super) enum Next {
    /// This part is as it should be.
    Ready,
    /// Something has changed: from the top.
    Again,
    /// The store is to be asked.
    Ask(Request),
    /// The conversation is over.
    Done(Outcome),
}

impl<'a> Conversation<'a> {
    /// Begins one.
    #[must_use]
    pub fn new(terms: &'a Terms, pools: &'a [Pool], state: State, goal: Goal) -> Self {
        Self {
            terms,
            pools,
            goal,
            state,
            known: Known::new(),
            settled: None,
            search: None,
            pool: 0,
            given: BTreeSet::new(),
            wanted: None,
            expiry: Expiry::default(),
            changes: Vec::new(),
            save: false,
            waiting: None,
            questions: 0,
            renewed: false,
            candidate: None,
            lease: None,
            done: None,
        }
    }

    /// The node's state, as it was saved last or is about to be.
    #[must_use]
    pub fn into_state(self) -> State {
        self.state
    }

    /// The node's state.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What is to be done next.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the node's leases cannot be read.
    pub fn poll(&mut self, leases: &dyn Leases, clock: Clock<'_>) -> Result<Step, StoreError> {
        loop {
            if !self.changes.is_empty() {
                return Ok(Step::Change(std::mem::take(&mut self.changes)));
            }
            if std::mem::take(&mut self.save) {
                return Ok(Step::Save(self.state.encode()));
            }
            if let Some(outcome) = self.done.take() {
                return Ok(Step::Done(outcome));
            }
            let next = match self.session(clock) {
                Next::Ready => match self.intent(clock) {
                    Next::Ready => self.goal(leases, clock)?,
                    next => next,
                },
                next => next,
            };
            match next {
                Next::Ready | Next::Again => {}
                Next::Done(outcome) => self.done = Some(outcome),
                Next::Ask(request) => {
                    if !self.goal.is_patient() && self.state.is_silent(clock) {
                        let message = "the store gave no answer a moment ago".to_owned();
                        return Ok(Step::Done(Outcome::Unavailable(message)));
                    }
                    self.questions += 1;
                    if self.questions > MAX_QUESTIONS {
                        let message = "the store changes faster than it is read".to_owned();
                        return Ok(Step::Done(Outcome::Unavailable(message)));
                    }
                    return Ok(Step::Ask(request));
                }
            }
        }
    }

    /// Takes the store's answer to the last question, at the time it came.
    pub fn handle(&mut self, answer: Result<Reply, Unanswered>, clock: Clock<'_>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        match answer {
            Ok(reply) => {
                if let Err(message) = self.take_in(waiting, reply, clock) {
                    self.done = Some(Outcome::Unavailable(message));
                }
            }
            Err(Unanswered(message)) => {
                self.state.silence(clock);
                self.save = true;
                let early =
                    matches!(waiting, Waiting::Renewal { .. }) && self.state.is_valid(clock);
                if early && !self.goal.is_patient() {
                    // The session lasts a while yet.
                    self.renewed = true;
                } else {
                    self.done = Some(Outcome::Unavailable(message));
                }
            }
        }
    }

    fn take_in(&mut self, waiting: Waiting, reply: Reply, clock: Clock<'_>) -> Result<(), String> {
        match (waiting, reply) {
            (Waiting::Renewal { .. }, Reply::Lease(_, 0)) => {
                self.state.session = None;
                self.save = true;
            }
            (Waiting::Renewal { asked }, Reply::Lease(_, seconds)) => {
                self.renewed = true;
                self.save = true;
                if let Some(session) = &mut self.state.session {
                    session.ends = ends(asked, seconds);
                    session.boot = clock.boot.to_owned();
                }
            }
            (Waiting::Adoption { .. }, Reply::Lease(_, 0)) => {
                self.known.remove(&self.terms.names.node(&self.terms.node));
            }
            (Waiting::Adoption { asked, token }, Reply::Lease(lease, seconds)) => {
                self.begin(lease, token, ends(asked, seconds), clock);
            }
            (Waiting::Lease { asked }, Reply::Lease(lease, seconds)) => {
                self.lease = Some((lease, ends(asked, seconds)));
            }
            (Waiting::Opening { lease, ends }, Reply::Committed(revision)) => {
                self.begin(lease, revision, ends, clock);
            }
            (Waiting::Writes(transaction), Reply::Committed(revision)) => {
                for write in transaction.writes {
                    self.learn(write, revision);
                }
            }
            (
                Waiting::Opening { .. } | Waiting::Writes(_) | Waiting::Keys,
                Reply::Read(entries),
            ) => self.known.extend(entries),
            (Waiting::List(of), Reply::Listed(entries, more)) => self.take_list(of, entries, more),
            (waiting, _) => return Err(format!("the store's answer is none to {waiting:?}")),
        }
        let node = self.terms.names.node(&self.terms.node);
        if let (Some(session), Some(entry)) = (&self.state.session, self.known.get(&node))
            && entry.as_ref().map(|it| it.created) != Some(session.token)
        {
            // Fenced: the session ended without us.
            self.state.session = None;
            self.save = true;
        }
        Ok(())
    }

    fn learn(&mut self, write: Write, revision: i64) {
        match write {
            Write::Put(key, value, _) => {
                let before = self.known.get(&key).and_then(Option::as_ref);
                let created = before.map_or(revision, |it| it.created);
                let entry = Entry {
                    value,
                    revision,
                    created,
                };
                self.known.insert(key, Some(entry));
            }
            Write::Delete(key) => {
                self.known.insert(key, None);
            }
        }
    }

    fn begin(&mut self, lease: i64, token: i64, ends: u64, clock: Clock<'_>) {
        // What was read before may have been changed while we were away.
        self.known.clear();
        self.search = None;
        self.lease = None;
        self.candidate = Some(Session {
            lease,
            token,
            ends,
            boot: clock.boot.to_owned(),
        });
    }

    /// Has the node a session that lasts?
    fn session(&mut self, clock: Clock<'_>) -> Next {
        if self.candidate.is_some() {
            return self.look_through();
        }
        let Some(session) = &self.state.session else {
            return self.open(clock);
        };
        let due = if self.state.is_valid(clock) {
            let left = session.ends - clock.elapsed;
            let early =
                left < self.terms.session.saturating_mul(1000) / 3 && !self.state.is_silent(clock);
            !self.renewed && (early || self.goal.is_patient())
        } else {
            true
        };
        if !due {
            return Next::Ready;
        }
        let asked = clock.elapsed;
        let request = Request::KeepAlive(session.lease);
        self.wait(Waiting::Renewal { asked }, request)
    }

    fn open(&mut self, clock: Clock<'_>) -> Next {
        let asked = clock.elapsed;
        let key = self.terms.names.node(&self.terms.node);
        let Some(entry) = self.known.get(&key) else {
            return self.ask_for(vec![key]);
        };
        if let Some(entry) = entry {
            let token = entry.created;
            let record: SessionRecord = match decode(&key, Some(entry)) {
                Ok(Some(record)) => record,
                Ok(None) => return Next::Again,
                Err(message) => return Next::Done(Outcome::Damaged(message)),
            };
            if record.instance != self.state.instance {
                return Next::Done(Outcome::NameTaken(self.terms.node.clone()));
            }
            let request = Request::KeepAlive(record.lease);
            return self.wait(Waiting::Adoption { asked, token }, request);
        }
        let Some((lease, ends)) = self.lease else {
            let seconds = self.terms.session;
            return self.wait(Waiting::Lease { asked }, Request::Grant { seconds });
        };
        let record = SessionRecord {
            instance: self.state.instance.clone(),
            lease,
        };
        let transaction = Transaction {
            compares: vec![Compare::Revision(key.clone(), 0)],
            writes: vec![Write::Put(key, encode(&record), Some(lease))],
        };
        self.wait(
            Waiting::Opening { lease, ends },
            Request::Commit(transaction),
        )
    }

    /// Keeps of what the node knows to have what it still has: an operator may have given it to
    /// others while there was no session.
    fn look_through(&mut self) -> Next {
        let names = &self.terms.names;
        let blocks = self.state.blocks.keys();
        let blocks = blocks.map(|first| names.block(Block::of(*first)));
        let claims = self.state.claims.keys();
        let claims = claims.map(|it| names.sticky(&key(it)));
        let missing = blocks
            .chain(claims)
            .filter(|it| !self.known.contains_key(it));
        let missing: Vec<_> = missing.take(BATCH).collect();
        if !missing.is_empty() {
            return self.ask_for(missing);
        }
        match self.remaining() {
            Ok((blocks, claims)) => {
                let lost = self.state.claims.keys();
                let lost = lost.filter(|it| !claims.contains_key(*it));
                self.changes.extend(lost.map(|it| Change::Forget(key(it))));
                self.state.blocks = blocks;
                self.state.claims = claims;
                self.state.session = self.candidate.take();
                self.renewed = true;
                self.save = true;
                Next::Again
            }
            Err(message) => Next::Done(Outcome::Damaged(message)),
        }
    }

    #[expect(clippy::type_complexity, reason = "the two maps of the state")]
    fn remaining(
        &self,
    ) -> Result<
        (
            BTreeMap<std::net::IpAddr, super::state::Held>,
            BTreeMap<String, super::state::Claim>,
        ),
        String,
    > {
        let (names, state) = (&self.terms.names, &self.state);
        let entry = |key: &str| self.known.get(key).and_then(Option::as_ref);
        let mut blocks = state.blocks.clone();
        for (first, held) in &mut blocks {
            let name = names.block(Block::of(*first));
            let record: BlockRecord = decode(&name, entry(&name))?.unwrap_or_default();
            let part = record.part(&self.terms.node, &state.instance);
            let part = part.filter(|part| part.holder.token == held.token);
            held.bits &= part.map_or(0, |part| part.bits);
        }
        blocks.retain(|_, held| held.bits != 0);
        let mut claims = BTreeMap::new();
        for (of, claim) in &state.claims {
            let name = names.sticky(&key(of));
            let record: Option<StickyRecord> = decode(&name, entry(&name))?;
            let holder = record.and_then(|record| record.holder);
            let ours = |it: &super::record::Holder| {
                it.is(&self.terms.node, &state.instance) && it.token == claim.token
            };
            if holder.is_some_and(|it| ours(&it)) {
                claims.insert(of.clone(), claim.clone());
            }
        }
        Ok((blocks, claims))
    }

    /// Is there nothing begun whose end is not known?
    fn intent(&mut self, _clock: Clock<'_>) -> Next {
        let Some(intent) = self.state.intent.clone() else {
            return Next::Ready;
        };
        let names = &self.terms.names;
        let mut missing = intent.keys(names);
        missing.retain(|key| !self.known.contains_key(key));
        if !missing.is_empty() {
            return self.ask_for(missing);
        }
        let ours = self.state.holder(&self.terms.node);
        match intent.judge(names, &ours, &self.known) {
            Ok(Judgement::Try(mut transaction)) => {
                let node = names.node(&self.terms.node);
                transaction
                    .compares
                    .push(Compare::Created(node, ours.token));
                let request = Request::Commit(transaction.clone());
                self.wait(Waiting::Writes(transaction), request)
            }
            Ok(Judgement::Settled(settled)) => {
                self.settle(&intent, settled);
                Next::Again
            }
            Err(message) => Next::Done(Outcome::Damaged(message)),
        }
    }

    fn settle(&mut self, intent: &Intent, settled: Settled) {
        match (intent, &settled) {
            (Intent::Take { block, .. }, Settled::Taken { bits, token }) => {
                self.state.add(Block::of(*block), *bits, *token);
            }
            (Intent::Hold { key: of, fresh }, settled) => {
                let mut unused = fresh.clone();
                if let Settled::Held { addresses, token } = settled {
                    let claim = super::state::Claim {
                        addresses: addresses.clone(),
                        token: *token,
                    };
                    self.state.claims.insert(of.clone(), claim);
                    unused.retain(|address| !addresses.contains(address));
                }
                for address in unused {
                    self.take_back(address);
                }
            }
            (Intent::Release { key: of, .. }, _) => self.changes.push(Change::Forget(key(of))),
            _ => {}
        }
        self.state.intent = None;
        self.settled = Some(settled);
        self.save = true;
    }

    /// An address that a sticky key did not need is ours again, if it was.
    fn take_back(&mut self, address: std::net::IpAddr) {
        let block = Block::of(address);
        let key = self.terms.names.block(block);
        let entry = self.known.get(&key).and_then(Option::as_ref);
        let record: Option<BlockRecord> = decode(&key, entry).ok().flatten();
        if let Some(part) = record
            .as_ref()
            .and_then(|it| it.part(&self.terms.node, &self.state.instance))
        {
            let bits = part.bits & block.bit(address);
            self.state.add(block, bits, part.holder.token);
        }
    }

    /// Begins a change of the store. What it gives up is ours no more.
    pub(super) fn intend(&mut self, intent: Intent) -> Next {
        match &intent {
            Intent::Take { .. } => {}
            Intent::Give { block, bits } => self.state.remove(Block::of(*block), *bits),
            Intent::Hold { fresh, .. } => {
                for address in fresh {
                    let block = Block::of(*address);
                    self.state.remove(block, block.bit(*address));
                }
            }
            Intent::Release { key, .. } => {
                self.state.claims.remove(key);
            }
        }
        self.state.intent = Some(intent);
        self.settled = None;
        self.save = true;
        Next::Again
    }

    fn wait(&mut self, waiting: Waiting, request: Request) -> Next {
        self.waiting = Some(waiting);
        Next::Ask(request)
    }

    pub(super) fn ask_for(&mut self, keys: Vec<String>) -> Next {
        self.wait(Waiting::Keys, Request::Read(keys))
    }

    pub(super) fn ask_list(&mut self, of: Listing, request: Request) -> Next {
        self.wait(Waiting::List(of), request)
    }

    pub(super) fn ask_commit(&mut self, transaction: Transaction) -> Next {
        let request = Request::Commit(transaction.clone());
        self.wait(Waiting::Writes(transaction), request)
    }
}

/// When a session ends that was asked for at `asked`: an eighth early, for clocks that run at
/// different speeds.
const fn ends(asked: u64, seconds: u64) -> u64 {
    asked.saturating_add(seconds.saturating_mul(1000) / 8 * 7)
}
