//! Several resource managers on one store, beside nodes that have shares of the same pools.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/shared_store.rs"]
mod shared_store;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
};

use dockin_net::{
    After, Attachment, Beside, Change, Cidr, ContainerId, InterfaceName, Ledger, Owner, Policy,
    Pool, Range, RangeSet, RangeSpec, Reservation, Sticky, StickyKey, StoreError, Timestamp, Want,
    blocks::{
        Clock, Conversation, Goal, Names, Outcome, Reply, Request, State, Step, Store, Terms,
        Unanswered, operator,
    },
    parse_address,
    resource_manager::{Network, Register, RegisterError, Response, SharedRegister, World, answer},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use shared_store::SharedStore;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^= it >> 31;
        usize::try_from(it % u64::try_from(end).unwrap()).unwrap()
    }

    fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The store, and a network that loses what is said: a question may not arrive, or arrive and
/// happen without an answer, or happen much later.
struct Wire {
    store: SharedStore,
    dice: Dice,
    /// Of a hundred questions.
    lost: usize,
    late: Vec<Request>,
}

/// One end of it.
#[derive(Clone)]
struct Lossy(Rc<RefCell<Wire>>);

impl Lossy {
    fn new(seed: u64, lost: usize) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            store: SharedStore::default(),
            dice: Dice(seed),
            lost,
            late: Vec::new(),
        })))
    }

    /// Something that nobody waits for any more happens.
    fn deliver(&self) {
        let mut wire = self.0.borrow_mut();
        if !wire.late.is_empty() {
            let count = wire.late.len();
            let index = wire.dice.below(count);
            let request = wire.late.swap_remove(index);
            wire.store.answer(&request);
        }
    }

    fn register(&self, network: &str) -> SharedRegister {
        SharedRegister::new(Box::new(self.clone()), Names::new("/test", network))
    }
}

impl Store for Lossy {
    fn ask(&mut self, request: &Request) -> Result<Reply, Unanswered> {
        let mut wire = self.0.borrow_mut();
        let lost = wire.lost;
        if !wire.dice.happens(lost) {
            return Ok(wire.store.answer(request));
        }
        match wire.dice.below(3) {
            0 => {}
            1 => drop(wire.store.answer(request)),
            _ => wire.late.push(request.clone()),
        }
        Err(Unanswered("lost".into()))
    }
}

fn pool(subnets: &[&str]) -> Pool {
    let sets = subnets.iter().map(|subnet| {
        let range = Range::new(&RangeSpec {
            subnet: Some(Cidr::parse(subnet).unwrap()),
            ..RangeSpec::default()
        });
        RangeSet::new(vec![range.unwrap()]).unwrap()
    });
    Pool::new("", sets.collect()).unwrap().with_policy(Policy {
        sticky: Sticky::Pod,
        ..Policy::default()
    })
}

fn key(pod: &str) -> StickyKey {
    StickyKey {
        owner: Owner::new("shop", pod),
        interface: InterfaceName::parse("eth0").unwrap(),
    }
}

fn attachment(container: usize) -> Attachment {
    let container = ContainerId::parse(&format!("c{container}")).unwrap();
    Attachment::new(container, InterfaceName::parse("eth0").unwrap())
}

const NOW: Timestamp = Timestamp(1_000);

#[test]
fn resource_managers_of_one_store_know_each_others_pods_and_give_every_address_once() {
    let store = Lossy::new(1, 0);
    let pool = pool(&["10.0.0.0/25", "fd00::/64"]);
    let mut managers = [store.register("pods"), store.register("pods")];
    let mut given = BTreeSet::new();
    for number in 0..125 {
        let of = key(&format!("web-{number}"));
        let pair = managers[number % 2].give(&pool, &of, NOW).unwrap();
        assert_eq!(pair.len(), 2);
        assert_eq!(
            managers[(number + 1) % 2].give(&pool, &of, NOW),
            Ok(pair.clone())
        );
        assert_eq!(managers[1].addresses(&of), Ok(pair.clone()));
        assert_eq!(managers[0].pod_at(pair[1], NOW), Ok(Some(of)));
        assert!(pair.into_iter().all(|it| given.insert(it)));
    }
    // Neither the network's nor the gateway's address is among them.
    for not in ["10.0.0.0", "10.0.0.1", "10.0.0.127"] {
        assert!(!given.contains(&parse_address(not).unwrap()), "{not}");
    }
    let full = managers[0].give(&pool, &key("web-125"), NOW).unwrap_err();
    assert!(full.is_later(), "{full}");
    // One that is released makes room for one.
    managers[1].release(&key("web-7")).unwrap();
    managers[1].release(&key("web-7")).unwrap();
    assert_eq!(managers[0].addresses(&key("web-7")), Ok(Vec::new()));
    assert!(managers[0].give(&pool, &key("web-125"), NOW).is_ok());
    let names = Names::new("/test", "pods");
    let mut end = store;
    operator::verify(&mut end, &names, &[pool]).unwrap();
}

#[test]
fn a_reserved_address_is_its_pods_and_excluded_ones_are_nobodys() {
    let store = Lossy::new(1, 0);
    let reserved = parse_address("10.0.0.77").unwrap();
    let excluded = dockin_net::Span::parse("10.0.0.2-10.0.0.60").unwrap();
    let pool = pool(&["10.0.0.0/24"])
        .without(vec![excluded])
        .with_reservations(vec![Reservation {
            address: reserved,
            owner: Some(key("db-0").owner),
        }]);
    let mut manager = store.register("pods");
    for number in 0..100 {
        let given = manager.give(&pool, &key(&format!("web-{number}")), NOW);
        let given = given.unwrap()[0];
        assert!(given != reserved && !excluded.contains(given), "{given}");
    }
    assert_eq!(manager.give(&pool, &key("db-0"), NOW), Ok(vec![reserved]));
}

#[test]
fn a_damaged_record_stops_its_pod_alone() {
    let store = Lossy::new(1, 0);
    let pool = pool(&["10.0.0.0/24"]);
    let put = dockin_net::blocks::Write::Put(
        "/test/pods/sticky/shop/web-0/eth0".into(),
        "nonsense".into(),
        None,
    );
    let transaction = dockin_net::blocks::Transaction {
        compares: Vec::new(),
        writes: vec![put],
    };
    store.clone().ask(&Request::Commit(transaction)).unwrap();
    let mut manager = store.register("pods");
    let error = manager.give(&pool, &key("web-0"), NOW).unwrap_err();
    assert!(
        !error.is_later() && error.to_string().contains("web-0"),
        "{error}"
    );
    assert!(manager.give(&pool, &key("web-1"), NOW).is_ok());
}

/// The resource manager's world where every network is in the store.
struct Machine(Lossy);

impl World for Machine {
    fn now(&mut self) -> Timestamp {
        NOW
    }

    fn open(&mut self, network: &str) -> Result<Box<dyn Register>, StoreError> {
        Ok(Box::new(self.0.register(network)))
    }
}

#[test]
fn the_calls_are_answered_from_the_store_and_a_silent_one_is_for_later() {
    let store = Lossy::new(1, 0);
    let network = |name: &str, interface: &str, subnet: &str, master| Network {
        name: name.into(),
        interface: InterfaceName::parse(interface).unwrap(),
        master,
        pool: pool(&[subnet]),
    };
    let networks = [
        network("webank", "eth0", "10.0.0.0/29", true),
        network("storage", "eth1", "fd00::/64", false),
    ];
    let call = |method: &str, call: &str| -> Response {
        answer(&networks, method, call, &mut Machine(store.clone()))
    };
    let data = |response: Response| -> Value {
        let envelope: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(envelope["code"], 0, "{envelope}");
        envelope["data"].clone()
    };
    let first = data(call("GET", "getPodMultiNetwork?podName=web-0"));
    assert_eq!(first.as_array().unwrap().len(), 2);
    assert_eq!(data(call("GET", "getPodMultiNetwork?podName=web-0")), first);
    let address = first[0]["podIp"].as_str().unwrap();
    let by_ip = data(call("GET", &format!("getPodInfoByPodIp?podIp={address}")));
    assert_eq!(
        (&by_ip["podName"], &by_ip["podIp"]),
        (&json!("web-0"), &json!(address))
    );
    assert_eq!(
        data(call("GET", "getPodInfoByPodName?podName=web-0")),
        by_ip
    );
    assert_eq!(data(call("POST", "releasePod?podName=web-0")), Value::Null);
    assert_eq!(call("GET", "getPodNetworkInfo?podName=web-0").status, 200);
    store.0.borrow_mut().lost = 100;
    assert_eq!(call("GET", "getPodMultiNetwork?podName=web-1").status, 503);
    assert_eq!(call("POST", "releasePod?podName=web-1").status, 503);
}

/// A node whose plugins give addresses of its share, and remember what a resource manager said.
struct Node {
    terms: Terms,
    saved: Vec<u8>,
    ledger: Ledger,
    /// Last answers, by pod.
    answers: BTreeMap<usize, IpAddr>,
}

impl Node {
    fn new(number: usize) -> Self {
        Self {
            terms: Terms {
                names: Names::new("/test", "pods"),
                node: format!("n{number}"),
                session: 1_000_000,
                block: 16,
            },
            saved: State::new(&format!("i{number}")).encode(),
            ledger: Ledger::default(),
            answers: BTreeMap::new(),
        }
    }

    /// One call of the plugin. With `steps` it is cut off after so many of them; what is on its
    /// disk remains.
    fn converse(
        &mut self,
        store: &mut Lossy,
        pools: &[Pool],
        goal: Goal,
        mut steps: usize,
    ) -> Option<Outcome> {
        let state = State::decode(&self.saved).unwrap();
        let mut conversation = Conversation::new(&self.terms, pools, state, goal);
        loop {
            steps = steps.checked_sub(1)?;
            // So far apart that no store is silent for long.
            let elapsed = {
                let wire = &mut store.0.borrow_mut().store;
                wire.now += 3_000;
                wire.now
            };
            let clock = Clock {
                now: Timestamp(elapsed / 1000),
                elapsed,
                boot: "boot",
            };
            match conversation.poll(&self.ledger, clock).unwrap() {
                Step::Save(bytes) => self.saved = bytes,
                Step::Change(changes) => changes.iter().for_each(|it| self.ledger.apply(it)),
                Step::Ask(request) => {
                    let reply = store.ask(&request);
                    conversation.handle(reply, clock);
                }
                Step::Done(Outcome::Granted(grant)) => {
                    grant.changes.iter().for_each(|it| self.ledger.apply(it));
                    return Some(Outcome::Granted(grant));
                }
                Step::Done(outcome) => return Some(outcome),
            }
        }
    }
}

/// A pod that a resource manager gives an address, or one that its node does.
#[derive(Default)]
struct Pod {
    /// The node where it runs.
    runs: Option<usize>,
    /// What it was given first; the same for ever.
    address: Option<IpAddr>,
    /// It was released: nobody starts it again.
    gone: bool,
}

/// A pod whose address a node gives it, and which moves between nodes with it.
#[derive(Default)]
struct Mover {
    /// The node and the container.
    runs: Option<(usize, usize)>,
    address: Option<IpAddr>,
}

struct Cluster {
    dice: Dice,
    store: Lossy,
    pools: [Pool; 1],
    nodes: Vec<Node>,
    managed: Vec<Pod>,
    movers: Vec<Mover>,
    /// Containers of the nodes' own pods, with node and address.
    own: BTreeMap<usize, (usize, IpAddr)>,
    containers: usize,
    started_from_memory: usize,
    moved: usize,
}

impl Cluster {
    /// The address is nobody's who runs.
    fn check(&self, address: IpAddr) {
        let managed = self.managed.iter().filter(|it| it.runs.is_some());
        let managed = managed.filter_map(|it| it.address);
        let own = self.own.values().map(|(_, address)| *address);
        let movers = self.movers.iter().filter(|it| it.runs.is_some());
        let movers = movers.filter_map(|it| it.address);
        let holders = managed
            .chain(own)
            .chain(movers)
            .filter(|it| *it == address)
            .count();
        assert_eq!(holders, 1, "{address}");
    }

    fn step(&mut self) {
        let node = self.dice.below(self.nodes.len());
        match self.dice.below(15) {
            0..3 => self.start_managed(node),
            3 | 4 => self.end_managed(),
            5 => self.release(),
            6..8 => self.start_own(node),
            8 => self.end_own(),
            9 => self.store.deliver(),
            10 | 11 => self.start_mover(node),
            12 | 13 => self.end_mover(),
            _ => {
                let goal = Goal::Sync { expire: true };
                self.nodes[node].converse(&mut self.store, &self.pools, goal, 10_000);
            }
        }
    }

    fn start_managed(&mut self, node: usize) {
        let number = self.dice.below(self.managed.len());
        let pod = &mut self.managed[number];
        if pod.runs.is_some() || pod.gone {
            return;
        }
        // Whichever resource manager it is: it was started a moment ago.
        let mut manager = self.store.register("pods");
        let of = key(&format!("web-{number}"));
        let address = match manager.give(&self.pools[0], &of, NOW) {
            Ok(addresses) => {
                self.nodes[node].answers.insert(number, addresses[0]);
                addresses[0]
            }
            Err(error) => {
                assert!(error.is_later(), "{error}");
                let Some(known) = self.nodes[node].answers.get(&number) else {
                    return;
                };
                self.started_from_memory += 1;
                *known
            }
        };
        assert_eq!(*pod.address.get_or_insert(address), address, "web-{number}");
        pod.runs = Some(node);
        self.check(address);
    }

    fn end_managed(&mut self) {
        let number = self.dice.below(self.managed.len());
        self.managed[number].runs = None;
    }

    fn release(&mut self) {
        let number = self.dice.below(self.managed.len());
        let pod = &mut self.managed[number];
        if pod.runs.is_none() && self.dice.happens(30) {
            // Whether it is heard or not.
            let released = self
                .store
                .register("pods")
                .release(&key(&format!("web-{number}")));
            assert!(!matches!(released, Err(RegisterError::Store(_))));
            pod.gone = true;
            self.managed.push(Pod::default());
        }
    }

    /// Has a node give a container an address; none when it cannot, or is cut off.
    fn give(&mut self, node: usize, sticky: Option<StickyKey>) -> Option<IpAddr> {
        self.containers += 1;
        let want = Want {
            attachment: attachment(self.containers),
            sticky,
            requested: Vec::new(),
            beside: Beside::Nothing,
        };
        let steps = match self.dice.happens(20) {
            true => self.dice.below(12),
            false => 10_000,
        };
        let goal = Goal::Add(vec![want]);
        match self.nodes[node].converse(&mut self.store, &self.pools, goal, steps) {
            Some(Outcome::Granted(grant)) => Some(grant.addresses[0].0.address()),
            _ => None,
        }
    }

    fn start_own(&mut self, node: usize) {
        if let Some(address) = self.give(node, None) {
            self.own.insert(self.containers, (node, address));
            self.check(address);
        }
    }

    fn start_mover(&mut self, node: usize) {
        let number = self.dice.below(self.movers.len());
        if self.movers[number].runs.is_some() {
            return;
        }
        let Some(address) = self.give(node, Some(key(&format!("db-{number}")))) else {
            return;
        };
        let mover = &mut self.movers[number];
        if mover.address.is_some() {
            self.moved += 1;
        }
        assert_eq!(
            *mover.address.get_or_insert(address),
            address,
            "db-{number}"
        );
        mover.runs = Some((node, self.containers));
        self.check(address);
    }

    fn end_mover(&mut self) {
        let number = self.dice.below(self.movers.len());
        let Some((node, container)) = self.movers[number].runs.take() else {
            return;
        };
        self.nodes[node].ledger.apply(&Change::Release {
            attachment: attachment(container),
            after: After::Keep(None),
        });
        // When the store does not hear it the node says it later.
        let goal = Goal::Release(key(&format!("db-{number}")));
        let steps = self.dice.below(20);
        self.nodes[node].converse(&mut self.store, &self.pools, goal, steps);
    }

    fn end_own(&mut self) {
        let count = self.own.len();
        if count == 0 {
            return;
        }
        let index = self.dice.below(count);
        let container = *self.own.keys().nth(index).unwrap();
        let (node, _) = self.own.remove(&container).unwrap();
        self.nodes[node].ledger.apply(&Change::Release {
            attachment: attachment(container),
            after: After::Free,
        });
    }
}

/// Resource managers that come and go, plugins that start pods from their memory, nodes that are
/// cut off in the middle, and a store of whose answers so many in a hundred are lost or late. How
/// many pods were started from memory, and how many with their address at a node once more.
fn run(seed: u64, lost: usize) -> (usize, usize) {
    let mut cluster = Cluster {
        dice: Dice(seed),
        store: Lossy::new(seed ^ 1, lost),
        pools: [pool(&["10.0.0.0/26"])],
        nodes: (0..3).map(Node::new).collect(),
        managed: (0..20).map(|_| Pod::default()).collect(),
        own: BTreeMap::new(),
        containers: 0,
        started_from_memory: 0,
        moved: 0,
        movers: (0..8).map(|_| Mover::default()).collect(),
    };
    for _ in 0..900 {
        cluster.step();
    }
    // When everything arrives all fits together.
    cluster.store.0.borrow_mut().lost = 0;
    while !cluster.store.0.borrow().late.is_empty() {
        cluster.store.deliver();
    }
    let names = Names::new("/test", "pods");
    operator::verify(&mut cluster.store, &names, &cluster.pools).unwrap();
    for (number, pod) in cluster.managed.iter().enumerate() {
        if let (Some(address), false) = (pod.address, pod.gone) {
            let of = key(&format!("web-{number}"));
            let known = cluster.store.register("pods").addresses(&of);
            assert_eq!(known, Ok(vec![address]), "web-{number}");
        }
    }
    assert!(cluster.managed.iter().any(|pod| pod.address.is_some()));
    (cluster.started_from_memory, cluster.moved)
}

#[test]
fn pods_that_a_node_knows_start_and_others_move_while_answers_are_lost() {
    let runs = (0..20).map(|seed| run(seed, 40));
    let [started, moved] = runs.fold([0, 0], |sum, it| [sum[0] + it.0, sum[1] + it.1]);
    assert!(started > 20 && moved > 20, "{started}, {moved}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_address_is_given_twice_and_a_pods_is_the_same_at_every_start(
        seed: u64,
        lost in 0_usize..40,
    ) {
        run(seed, lost);
    }
}
