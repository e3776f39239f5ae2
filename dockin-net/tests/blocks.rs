//! Nodes that share pools, one question after the other.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/shared_store.rs"]
mod shared_store;

use std::net::IpAddr;

use dockin_net::{
    After, AllocateError, AsLedger, Attachment, Beside, Change, Cidr, ContainerId, InterfaceName,
    Leases, Ledger, Owner, Policy, Pool, Range, RangeSet, RangeSpec, Reservation, Sticky,
    StickyKey, Timestamp, Want,
    blocks::{
        Clock, Conversation, Goal, Names, Outcome, Reply, Request, State, Step, Terms, Unanswered,
        operator::{self, ShareError},
    },
    parse_address,
};
use proptest::prelude::*;
use shared_store::SharedStore;

struct Node {
    terms: Terms,
    saved: Vec<u8>,
    ledger: Ledger,
}

fn names() -> Names {
    Names::new("/test", "pods")
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            terms: Terms {
                names: names(),
                node: name.to_owned(),
                session: 60,
                block: 64,
            },
            saved: State::new(&format!("instance-of-{name}")).encode(),
            ledger: Ledger::default(),
        }
    }

    fn state(&self) -> State {
        State::decode(&self.saved).unwrap()
    }

    fn converse(&mut self, store: &mut SharedStore, pools: &[Pool], goal: Goal) -> Outcome {
        let mut conversation = Conversation::new(&self.terms, pools, self.state(), goal);
        loop {
            let clock = Clock {
                now: Timestamp(store.now / 1000),
                elapsed: store.now,
                boot: "boot",
            };
            match conversation.poll(&self.ledger, clock).unwrap() {
                Step::Save(bytes) => self.saved = bytes,
                Step::Change(changes) => {
                    for change in &changes {
                        self.ledger.apply(change);
                    }
                }
                Step::Ask(request) => conversation.handle(Ok(store.answer(&request)), clock),
                Step::Done(outcome) => return outcome,
            }
        }
    }

    /// The addresses of an attachment, written down.
    fn add(
        &mut self,
        store: &mut SharedStore,
        pools: &[Pool],
        container: &str,
        sticky: Option<&str>,
        requested: &[&str],
    ) -> Result<Vec<String>, Outcome> {
        let want = Want {
            attachment: attachment(container),
            sticky: sticky.map(key),
            requested: requested.iter().map(|it| address(it)).collect(),
            beside: Beside::Nothing,
        };
        match self.converse(store, pools, Goal::Add(vec![want; pools.len()])) {
            Outcome::Granted(grant) => {
                for change in &grant.changes {
                    self.ledger.apply(change);
                }
                let addresses = grant.addresses.iter();
                Ok(addresses
                    .map(|(cidr, _)| cidr.address().to_string())
                    .collect())
            }
            outcome => Err(outcome),
        }
    }

    fn del(&mut self, store: &mut SharedStore, pools: &[Pool], container: &str) {
        let lease = self.ledger.lease(&attachment(container)).unwrap().unwrap();
        let after = match lease.sticky {
            Some(_) => After::Keep(None),
            None => After::Free,
        };
        self.ledger.apply(&Change::Release {
            attachment: lease.attachment,
            after,
        });
        if let Some(key) = lease.sticky {
            assert_eq!(
                self.converse(store, pools, Goal::Release(key)),
                Outcome::Done
            );
        }
    }
}

fn attachment(container: &str) -> Attachment {
    let interface = InterfaceName::parse("eth0").unwrap();
    Attachment::new(ContainerId::parse(container).unwrap(), interface)
}

fn key(pod: &str) -> StickyKey {
    StickyKey {
        owner: Owner::new("default", pod),
        interface: InterfaceName::parse("eth0").unwrap(),
    }
}

fn address(text: &str) -> IpAddr {
    parse_address(text).unwrap()
}

fn set(subnet: &str) -> RangeSet {
    let spec = RangeSpec {
        subnet: Some(Cidr::parse(subnet).unwrap()),
        ..RangeSpec::default()
    };
    RangeSet::new(vec![Range::new(&spec).unwrap()]).unwrap()
}

fn pool(name: &str, subnets: &[&str], keep: Option<u64>) -> Pool {
    let sets = subnets.iter().map(|subnet| set(subnet)).collect();
    Pool::new(name, sets).unwrap().with_policy(Policy {
        sticky: Sticky::Pod,
        keep,
        ..Policy::default()
    })
}

/// A session, and a write for each 64 addresses.
#[test]
fn a_node_writes_to_the_store_once_for_64_addresses() {
    let pools = [pool("", &["10.0.0.0/16"], None)];
    let mut store = SharedStore::default();
    for number in 0..4 {
        let mut node = Node::new(&format!("n{number}"));
        let before = store.writes;
        for pod in 0..640 {
            let container = format!("c{number}x{pod}");
            node.add(&mut store, &pools, &container, None, &[]).unwrap();
        }
        // The network's first and last block have fewer addresses.
        let writes = store.writes - before;
        assert!((11..=12).contains(&writes), "{writes}");
    }
    operator::verify(&mut store, &names(), &pools).unwrap();
}

#[test]
fn a_dual_stack_pair_is_one_record_and_moves_as_one() {
    let pools = [pool("", &["10.0.0.0/24", "fd00::/64"], None)];
    let mut store = SharedStore::default();
    let (mut one, mut other) = (Node::new("one"), Node::new("other"));
    let pair = one
        .add(&mut store, &pools, "c1", Some("db-0"), &[])
        .unwrap();
    assert!(
        pair[0].starts_with("10.0.0.") && pair[1].starts_with("fd00::"),
        "{pair:?}"
    );
    let elsewhere = other.add(&mut store, &pools, "c2", Some("db-0"), &[]);
    assert_eq!(
        elsewhere,
        Err(Outcome::Elsewhere(key("db-0"), "one".into()))
    );
    one.del(&mut store, &pools, "c1");
    assert_eq!(
        other.add(&mut store, &pools, "c2", Some("db-0"), &[]),
        Ok(pair)
    );
    operator::verify(&mut store, &names(), &pools).unwrap();
}

#[test]
fn a_requested_address_is_taken_by_itself_unless_another_node_has_it() {
    let pools = [pool("", &["10.0.0.0/24"], None)];
    let mut store = SharedStore::default();
    let (mut one, mut other) = (Node::new("one"), Node::new("other"));
    let given = one.add(&mut store, &pools, "c1", None, &["10.0.0.200"]);
    assert_eq!(given, Ok(vec!["10.0.0.200".into()]));
    for (asked, error) in [
        ("10.0.0.200", AllocateError::Taken(address("10.0.0.200"))),
        ("10.0.0.1", AllocateError::SetAside(address("10.0.0.1"))),
        ("10.1.0.1", AllocateError::Outside(address("10.1.0.1"))),
    ] {
        let refused = other.add(&mut store, &pools, "c2", None, &[asked]);
        assert_eq!(refused, Err(Outcome::Refused(error)));
    }
    // The rest of the block is still to be had.
    let next = other.add(&mut store, &pools, "c2", None, &["10.0.0.201"]);
    assert_eq!(next, Ok(vec!["10.0.0.201".into()]));
}

#[test]
fn the_next_pool_gives_when_the_first_has_nothing_left() {
    let pools = [
        pool("small", &["10.0.0.0/30"], None),
        pool("large", &["10.1.0.0/24"], None),
    ];
    let mut store = SharedStore::default();
    let mut one = Node::new("one");
    let first = one.add(&mut store, &pools, "c1", None, &[]);
    assert_eq!(first, Ok(vec!["10.0.0.2".into()]));
    let next = one.add(&mut store, &pools, "c2", None, &[]).unwrap();
    assert!(next[0].starts_with("10.1.0."), "{next:?}");
    let twice = one.add(&mut store, &pools, "c2", None, &[]);
    assert!(
        matches!(
            twice,
            Err(Outcome::Refused(AllocateError::AlreadyHeld { .. }))
        ),
        "{twice:?}"
    );
}

#[test]
fn an_address_set_aside_by_the_configuration_is_its_pods_on_any_node() {
    let reserved = vec![Reservation {
        address: address("10.0.0.77"),
        owner: Some(key("db-0").owner),
    }];
    let pools = [pool("", &["10.0.0.0/24"], None).with_reservations(reserved)];
    let mut store = SharedStore::default();
    let (mut one, mut other) = (Node::new("one"), Node::new("other"));
    for number in 0..200 {
        let given = one.add(&mut store, &pools, &format!("w{number}"), None, &[]);
        assert_ne!(given, Ok(vec!["10.0.0.77".into()]));
    }
    let given = other.add(&mut store, &pools, "c1", Some("db-0"), &[]);
    assert_eq!(given, Ok(vec!["10.0.0.77".into()]));
    operator::verify(&mut store, &names(), &pools).unwrap();
}

#[test]
fn a_sticky_key_is_forgotten_after_its_time_and_its_address_is_given_again() {
    let pools = [pool("", &["10.0.0.0/29"], Some(100))];
    let mut store = SharedStore::default();
    let mut one = Node::new("one");
    for pod in 0..5 {
        let (container, name) = (format!("c{pod}"), format!("db-{pod}"));
        let given = one.add(&mut store, &pools, &container, Some(&name), &[]);
        given.unwrap();
        one.del(&mut store, &pools, &container);
    }
    let refused = one.add(&mut store, &pools, "new", Some("db-9"), &[]);
    assert!(matches!(refused, Err(Outcome::Exhausted(_))), "{refused:?}");
    store.now += 300_000;
    let sync = Goal::Sync { expire: true };
    assert_eq!(one.converse(&mut store, &pools, sync), Outcome::Done);
    operator::verify(&mut store, &names(), &pools).unwrap();
    one.add(&mut store, &pools, "new", Some("db-9"), &[])
        .unwrap();
}

#[test]
fn a_share_that_was_given_away_is_noticed_and_its_pods_keep_no_claim() {
    let pools = [pool("", &["10.0.0.0/26"], None)];
    let mut store = SharedStore::default();
    let (mut one, mut other) = (Node::new("one"), Node::new("other"));
    one.add(&mut store, &pools, "c1", Some("db-0"), &[])
        .unwrap();
    let alive = operator::drop_node(&mut store, &names(), "one");
    assert_eq!(alive, Err(ShareError::Alive("one".into())));
    store.now += 61_000;
    assert_eq!(operator::drop_node(&mut store, &names(), "one"), Ok(60));
    other
        .add(&mut store, &pools, "c2", Some("db-0"), &[])
        .unwrap();
    let sync = Goal::Sync { expire: false };
    assert_eq!(one.converse(&mut store, &pools, sync), Outcome::Done);
    assert_eq!(one.state().addresses(), Vec::<IpAddr>::new());
    let lease = one.ledger.as_ledger().leases().next().unwrap();
    assert_eq!(
        lease.sticky, None,
        "the pod runs, and its address is another's"
    );
    let nobody = operator::drop_node(&mut store, &names(), "nobody");
    assert_eq!(nobody, Err(ShareError::NoNode("nobody".into())));
}

/// Fencing: what a node asked for in a session that is over happens never.
#[test]
fn a_transaction_that_comes_after_the_end_of_its_session_is_refused() {
    let pools = [pool("", &["10.0.0.0/24"], None)];
    let mut store = SharedStore::default();
    let mut node = Node::new("one");
    let want = Want {
        attachment: attachment("c1"),
        sticky: None,
        requested: vec![],
        beside: Beside::Nothing,
    };
    let goal = Goal::Add(vec![want]);
    let state = node.state();
    let mut conversation = Conversation::new(&node.terms, &pools, state, goal);
    let clock = Clock {
        now: Timestamp(1),
        elapsed: 1,
        boot: "boot",
    };
    let mut commits = Vec::new();
    // The first transaction begins the session; the next takes a block, and is late.
    while commits.len() < 2 {
        match conversation.poll(&node.ledger, clock).unwrap() {
            Step::Save(bytes) => node.saved = bytes,
            Step::Ask(request) => {
                if matches!(request, Request::Commit(_)) {
                    commits.push(request.clone());
                }
                if commits.len() < 2 {
                    conversation.handle(Ok(store.answer(&request)), clock);
                }
            }
            step => panic!("{step:?}"),
        }
    }
    store.now += 61_000;
    assert!(matches!(store.answer(&commits[1]), Reply::Read(_)));
    assert!(
        operator::Shares::read(&mut store, &names())
            .unwrap()
            .blocks
            .is_empty()
    );
}

#[test]
fn what_does_not_fit_together_is_told() {
    let pools = [pool("", &["10.0.0.0/26"], None)];
    let mut store = SharedStore::default();
    let mut one = Node::new("one");
    one.add(&mut store, &pools, "c1", Some("db-0"), &[])
        .unwrap();
    let mut other = SharedStore::default();
    let mut two = Node::new("two");
    two.add(&mut other, &pools, "c2", Some("db-1"), &[])
        .unwrap();
    // A key of another cluster, put there by hand.
    let name = "/test/pods/sticky/default/db-1/eth0";
    let value = other.entry(name).unwrap().value;
    store.answer(&Request::Commit(dockin_net::blocks::Transaction {
        compares: vec![],
        writes: vec![dockin_net::blocks::Write::Put(name.into(), value, None)],
    }));
    let told = operator::verify(&mut store, &names(), &pools);
    let Err(ShareError::Faults(faults)) = told else {
        panic!("{told:?}");
    };
    assert_eq!(
        faults,
        ["10.0.0.2 is kept for `default/db-0/eth0` and `default/db-1/eth0`"]
    );
}

proptest! {
    /// Whatever the store answers, a conversation ends and nothing panics.
    #[test]
    fn any_record_and_any_answer_is_survived(
        value in "[\\[\\]{}\":,a-z0-9]{0,40}|\\{\"parts\":\\[\\],\"claimed\":\"[0-9a-g]{0,18}\"\\}",
        kinds in prop::collection::vec(0_u8..6, 1..30),
    ) {
        let pools = [pool("", &["10.0.0.0/24"], None)];
        let mut store = SharedStore::default();
        let mut node = Node::new("one");
        let want = Want {
            attachment: attachment("c1"),
            sticky: Some(key("db-0")),
            requested: vec![],
            beside: Beside::Nothing,
        };
        let state = node.state();
        let mut conversation = Conversation::new(&node.terms, &pools, state, Goal::Add(vec![want]));
        let clock = Clock { now: Timestamp(1), elapsed: 1, boot: "boot" };
        let mut kinds = kinds.into_iter();
        let outcome = loop {
            match conversation.poll(&node.ledger, clock).unwrap() {
                Step::Save(bytes) => node.saved = bytes,
                Step::Change(changes) => changes.iter().for_each(|it| node.ledger.apply(it)),
                Step::Done(outcome) => break outcome,
                Step::Ask(request) => {
                    let entry = dockin_net::blocks::Entry {
                        value: value.clone(), revision: 5, created: 4,
                    };
                    let answer = match kinds.next() {
                        Some(0) => Err(Unanswered("gone".into())),
                        Some(1) => Ok(Reply::Committed(7)),
                        Some(2) => Ok(Reply::Lease(-1, u64::MAX)),
                        Some(3) => Ok(match &request {
                            Request::Read(keys) => {
                                let keys = keys.iter();
                                Reply::Read(keys.map(|it| (it.clone(), Some(entry.clone()))).collect())
                            }
                            _ => Reply::Read(vec![]),
                        }),
                        Some(4) => Ok(Reply::Listed(
                            vec![("/test/pods/block/4/ffffffff".into(), entry)], true,
                        )),
                        _ => Ok(store.answer(&request)),
                    };
                    conversation.handle(answer, clock);
                }
            }
        };
        // An answer that is none never comes to a success that was not written down.
        if let Outcome::Granted(_) = outcome {
            prop_assert!(node.state().has(&key("db-0")));
        }
    }

    /// A state that is none is told.
    #[test]
    fn any_state_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(state) = State::decode(&bytes) {
            prop_assert_eq!(State::decode(&state.encode()).unwrap(), state);
        }
    }
}
