//! A cluster in one thread: nodes, pods, and a store behind a network that delays and loses what
//! is said; half of what is lost happens when nobody waits for it any more. Every run of a seed is the same.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/shared_store.rs"]
mod shared_store;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    net::IpAddr,
};

use dockin_net::{
    After, Attachment, Beside, Change, Cidr, ContainerId, InterfaceName, Leases, Ledger, Owner,
    Policy, Pool, Range, RangeSet, RangeSpec, Sticky, StickyKey, Timestamp, Want,
    blocks::{
        Clock, Conversation, Goal, Names, Outcome, Reply, Request, State, Step, Terms, Unanswered,
        operator,
    },
};
use shared_store::SharedStore;

/// Milliseconds after which a node waits for an answer no longer.
const TIMEOUT: u64 = 3_000;
/// Seconds.
const SESSION: u64 = 30;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % end
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What one run is made of.
struct Plan {
    seed: u64,
    nodes: usize,
    subnet: &'static str,
    pods: usize,
    /// Of a hundred pods.
    sticky: u64,
    /// Milliseconds in which troubles happen and pods come and go.
    busy: u64,
    /// Milliseconds at most between two times that a node talks to the store by itself, and 8 s.
    sync: u64,
    /// Of a hundred questions, those whose answer is lost.
    lost: u64,
    /// Troubles in that time.
    troubles: usize,
}

#[derive(Clone, Debug)]
enum Op {
    /// A pod, and which of its containers.
    Add(usize, u64),
    /// A container.
    Del(u64),
    Sync,
}

#[derive(Debug)]
enum Event {
    /// A pod is begun, or ends.
    Turn(usize),
    Try(usize, Op),
    /// A question reaches the store; the generation and number say who waits for it.
    Arrive(usize, u64, Request),
    Answer(usize, u64, Box<Reply>),
    Timeout(usize, u64),
    Trouble,
    Heal(usize),
    /// The operator says that a node is gone.
    Drop(usize),
    Sync(usize),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Waiting,
    Running,
    Ended,
}

struct Pod {
    name: Option<StickyKey>,
    node: usize,
    container: u64,
    phase: Phase,
    addresses: Vec<IpAddr>,
    /// The same address for ever.
    first: Option<Vec<IpAddr>>,
    turns: u32,
}

struct Running<'a> {
    op: Op,
    conversation: Conversation<'a>,
    /// The question whose answer is waited for.
    question: u64,
}

struct Node<'a> {
    /// What is on its disk.
    saved: Vec<u8>,
    ledger: Ledger,
    queue: VecDeque<Op>,
    running: Option<Running<'a>>,
    boot: u64,
    booted: u64,
    /// Its clock runs at this many thousandths of the true speed.
    rate: u64,
    cut: bool,
    dead: bool,
}

struct Cluster<'a> {
    plan: &'a Plan,
    dice: Dice,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, Event>,
    sequence: u64,
    terms: &'a [Terms],
    pools: &'a [Pool],
    store: SharedStore,
    nodes: Vec<Node<'a>>,
    pods: Vec<Pod>,
    alive: BTreeMap<IpAddr, usize>,
    containers: u64,
    granted: u64,
    moved: u64,
    fenced: u64,
    calm: bool,
}

fn pool(subnet: &str) -> Pool {
    let range = Range::new(&RangeSpec {
        subnet: Some(Cidr::parse(subnet).unwrap()),
        ..RangeSpec::default()
    });
    let pool = Pool::new("", vec![RangeSet::new(vec![range.unwrap()]).unwrap()]).unwrap();
    pool.with_policy(Policy {
        sticky: Sticky::Pod,
        ..Policy::default()
    })
}

impl<'a> Cluster<'a> {
    fn new(plan: &'a Plan, terms: &'a [Terms], pools: &'a [Pool]) -> Self {
        let mut dice = Dice(plan.seed);
        let nodes = (0..plan.nodes).map(|number| Node {
            saved: State::new(&format!("i{number}")).encode(),
            ledger: Ledger::default(),
            queue: VecDeque::new(),
            running: None,
            boot: 0,
            booted: 0,
            rate: 960 + dice.below(80),
            cut: false,
            dead: false,
        });
        let nodes = nodes.collect();
        let mut cluster = Self {
            plan,
            dice,
            now: 1_000_000,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            sequence: 0,
            terms,
            pools,
            store: SharedStore::default(),
            nodes,
            pods: Vec::new(),
            alive: BTreeMap::new(),
            containers: 0,
            granted: 0,
            moved: 0,
            fenced: 0,
            calm: false,
        };
        for number in 0..plan.pods {
            let sticky = cluster.dice.happens(plan.sticky).then(|| StickyKey {
                owner: Owner::new("default", &format!("db-{number}")),
                interface: InterfaceName::parse("eth0").unwrap(),
            });
            cluster.pods.push(Pod {
                name: sticky,
                node: 0,
                container: 0,
                phase: Phase::Ended,
                addresses: Vec::new(),
                first: None,
                turns: 0,
            });
            let at = cluster.dice.below(plan.busy / 2);
            cluster.at(at, Event::Turn(number));
        }
        for _ in 0..plan.troubles {
            let at = cluster.dice.below(plan.busy);
            cluster.at(at, Event::Trouble);
        }
        for node in 0..plan.nodes {
            let at = cluster.dice.below(15_000);
            cluster.at(at, Event::Sync(node));
        }
        cluster
    }

    fn at(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + after, self.sequence)));
        self.what.insert(self.sequence, event);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(Reverse((time, sequence))) = self.events.peek().copied() {
            if time > end {
                break;
            }
            self.events.pop();
            self.now = time;
            self.store.now = time;
            let event = self.what.remove(&sequence).unwrap();
            self.happen(event);
        }
        self.now = end;
        self.store.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(pod) => self.turn(pod),
            Event::Try(node, op) => {
                self.nodes[node].queue.push_back(op);
                self.start(node);
            }
            Event::Arrive(node, question, request) => {
                let reply = self.store.answer(&request);
                if !self.nodes[node].cut && !self.is_lost() {
                    let after = 1 + self.dice.below(5);
                    self.at(after, Event::Answer(node, question, Box::new(reply)));
                }
            }
            Event::Answer(node, question, reply) => {
                if !self.nodes[node].cut {
                    self.answered(node, question, Ok(*reply));
                }
            }
            Event::Timeout(node, question) => {
                self.answered(node, question, Err(Unanswered("no answer".into())));
            }
            Event::Trouble if self.calm => {}
            Event::Trouble => self.trouble(),
            Event::Drop(node) => {
                let names = Names::new("/sim", "pods");
                match operator::drop_node(&mut self.store, &names, &format!("n{node}")) {
                    Err(operator::ShareError::Alive(_)) => self.at(2_000, Event::Drop(node)),
                    Ok(_) | Err(operator::ShareError::NoNode(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Event::Heal(node) => self.nodes[node].cut = false,
            Event::Sync(node) => {
                if !self.nodes[node].dead {
                    self.nodes[node].queue.push_back(Op::Sync);
                    self.start(node);
                }
                let after = 8_000 + self.dice.below(self.plan.sync);
                self.at(after, Event::Sync(node));
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        !self.calm && self.dice.happens(self.plan.lost)
    }

    /// A pod begins at some node, or ends; then it begins again, maybe elsewhere.
    fn turn(&mut self, number: usize) {
        let Phase::Ended = self.pods[number].phase else {
            self.end(number);
            return;
        };
        if self.calm {
            return;
        }
        let node = loop {
            let node = usize::try_from(self.dice.below(self.plan.nodes as u64)).unwrap();
            if !self.nodes[node].dead {
                break node;
            }
        };
        self.containers += 1;
        let pod = &mut self.pods[number];
        if pod.turns > 0 && pod.node != node {
            self.moved += 1;
        }
        pod.turns += 1;
        pod.node = node;
        pod.container = self.containers;
        pod.phase = Phase::Waiting;
        let container = self.containers;
        self.at(1, Event::Try(node, Op::Add(number, container)));
        let lives = 5_000 + self.dice.below(self.plan.busy / 2);
        self.at(lives, Event::Turn(number));
    }

    fn end(&mut self, number: usize) {
        let pod = &mut self.pods[number];
        pod.phase = Phase::Ended;
        for address in std::mem::take(&mut pod.addresses) {
            assert_eq!(self.alive.remove(&address), Some(number));
        }
        let (node, container) = (pod.node, pod.container);
        self.at(1, Event::Try(node, Op::Del(container)));
        let pause = 500 + self.dice.below(10_000);
        self.at(pause, Event::Turn(number));
    }

    fn trouble(&mut self) {
        let node = usize::try_from(self.dice.below(self.plan.nodes as u64)).unwrap();
        if self.nodes[node].dead {
            return;
        }
        match self.dice.below(10) {
            0..=4 => {
                // From less than a session to several.
                self.nodes[node].cut = true;
                let after = 1_000 + self.dice.below(90_000);
                self.at(after, Event::Heal(node));
            }
            5..=7 => {
                // A call is killed; its runtime calls again.
                if let Some(running) = self.nodes[node].running.take() {
                    let after = 100 + self.dice.below(2_000);
                    self.at(after, Event::Try(node, running.op));
                }
            }
            8 => self.reboot(node),
            // Some place is left for the pods.
            _ if self.nodes.iter().filter(|it| it.dead).count() < self.nodes.len() / 2 => {
                self.nodes[node].dead = true;
                self.stop(node);
                self.at(2_000, Event::Drop(node));
            }
            _ => {}
        }
    }

    /// The machine stops: its pods are gone.
    fn stop(&mut self, node: usize) {
        self.nodes[node].running = None;
        self.nodes[node].queue.clear();
        for number in 0..self.pods.len() {
            let pod = &mut self.pods[number];
            if pod.node == node && pod.phase != Phase::Ended {
                pod.phase = Phase::Ended;
                for address in std::mem::take(&mut pod.addresses) {
                    assert_eq!(self.alive.remove(&address), Some(number));
                }
                // The turn that would have ended it begins it again.
            }
        }
    }

    fn reboot(&mut self, node: usize) {
        self.stop(node);
        let machine = &mut self.nodes[node];
        machine.boot += 1;
        machine.booted = self.now;
        // What the start of the machine ends, and what the runtime collects then.
        let leases: Vec<_> = machine.ledger.leases().cloned().collect();
        for lease in leases {
            let state = State::decode(&machine.saved).unwrap();
            let change = release(&state, &lease);
            machine.ledger.apply(&change);
        }
    }

    fn start(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        if machine.running.is_some() || machine.dead {
            return;
        }
        let Some(op) = machine.queue.pop_front() else {
            return;
        };
        let state = State::decode(&machine.saved).unwrap();
        let goal = match &op {
            Op::Sync => Goal::Sync { expire: false },
            Op::Add(number, container) => {
                let pod = &self.pods[*number];
                if pod.phase != Phase::Waiting || pod.container != *container {
                    return self.start(node);
                }
                Goal::Add(vec![Want {
                    attachment: attachment(pod.container),
                    sticky: pod.name.clone(),
                    requested: Vec::new(),
                    beside: Beside::Nothing,
                }])
            }
            Op::Del(container) => {
                let lease = machine.ledger.lease(&attachment(*container)).unwrap();
                let Some(lease) = lease else {
                    return self.start(node);
                };
                let change = release(&state, &lease);
                machine.ledger.apply(&change);
                match lease.sticky {
                    Some(key) if state.has(&key) => Goal::Release(key),
                    _ => return self.start(node),
                }
            }
        };
        let conversation = Conversation::new(&self.terms[node], self.pools, state, goal);
        machine.running = Some(Running {
            op,
            conversation,
            question: 0,
        });
        self.drive(node);
    }

    fn answered(&mut self, node: usize, question: u64, answer: Result<Reply, Unanswered>) {
        let boot = self.nodes[node].boot.to_string();
        let clock = self.clock(node, &boot);
        let Some(running) = &mut self.nodes[node].running else {
            return;
        };
        if running.question != question {
            return;
        }
        running.question = 0;
        running.conversation.handle(answer, clock);
        self.drive(node);
    }

    fn clock<'b>(&self, node: usize, boot: &'b str) -> Clock<'b> {
        let machine = &self.nodes[node];
        Clock {
            now: Timestamp(self.now / 1000),
            elapsed: (self.now - machine.booted) * machine.rate / 1000,
            boot,
        }
    }

    fn drive(&mut self, node: usize) {
        loop {
            let boot = self.nodes[node].boot.to_string();
            let clock = self.clock(node, &boot);
            let machine = &mut self.nodes[node];
            let Some(running) = &mut machine.running else {
                return;
            };
            match running.conversation.poll(&machine.ledger, clock).unwrap() {
                Step::Save(bytes) => {
                    assert_eq!(State::decode(&bytes).unwrap().encode(), bytes);
                    machine.saved = bytes;
                }
                Step::Change(changes) => {
                    for change in changes {
                        machine.ledger.apply(&change);
                    }
                }
                Step::Ask(request) => {
                    self.sequence += 1;
                    let question = self.sequence;
                    running.question = question;
                    let cut = machine.cut;
                    self.at(TIMEOUT, Event::Timeout(node, question));
                    if cut || self.is_lost() {
                        // Half of what is lost on its way arrives when nobody waits any more.
                        if self.dice.happens(50) {
                            let after = self.dice.below(40_000);
                            self.at(after, Event::Arrive(node, question, request));
                        }
                    } else {
                        let after = 1 + self.dice.below(5);
                        self.at(after, Event::Arrive(node, question, request));
                    }
                    return;
                }
                Step::Done(outcome) => {
                    let op = machine.running.take().unwrap().op;
                    self.done(node, op, outcome);
                    self.start(node);
                    return;
                }
            }
        }
    }

    fn done(&mut self, node: usize, op: Op, outcome: Outcome) {
        let Op::Add(number, container) = op else {
            assert!(
                matches!(outcome, Outcome::Done | Outcome::Unavailable(_)),
                "{outcome:?}"
            );
            return;
        };
        let pod = &self.pods[number];
        if pod.phase != Phase::Waiting || pod.container != container {
            // The runtime has given up; the call's answer is nobody's.
            return;
        }
        match outcome {
            Outcome::Granted(grant) => {
                // Fencing: whoever gives has a session in the store at this moment.
                let boot = self.nodes[node].boot.to_string();
                let state = State::decode(&self.nodes[node].saved).unwrap();
                assert!(state.is_valid(self.clock(node, &boot)));
                let session = format!("/sim/pods/node/n{node}");
                assert!(
                    self.store.entry(&session).is_some(),
                    "node {node} is fenced"
                );
                for change in &grant.changes {
                    self.nodes[node].ledger.apply(change);
                }
                let addresses = grant.addresses.iter();
                let addresses: Vec<_> = addresses.map(|(cidr, _)| cidr.address()).collect();
                for address in &addresses {
                    let other = self.alive.insert(*address, number);
                    assert_eq!(other, None, "{address} twice, seed {}", self.plan.seed);
                }
                let pod = &mut self.pods[number];
                if pod.name.is_some() {
                    let first = pod.first.get_or_insert_with(|| addresses.clone());
                    assert_eq!(
                        *first, addresses,
                        "another address, seed {}",
                        self.plan.seed
                    );
                }
                pod.addresses = addresses;
                pod.phase = Phase::Running;
                self.granted += 1;
            }
            Outcome::Exhausted(_) | Outcome::Elsewhere(..) | Outcome::Unavailable(_) => {
                if matches!(outcome, Outcome::Unavailable(_)) {
                    self.fenced += 1;
                }
                let after = 500 + self.dice.below(4_000);
                self.at(after, Event::Try(node, Op::Add(number, container)));
            }
            other => panic!("{other:?}, seed {}", self.plan.seed),
        }
    }

    /// No trouble any more, no new pods; every node talks to the store a few times.
    fn heal(&mut self) {
        self.run_until(self.now + self.plan.busy);
        self.calm = true;
        for node in 0..self.nodes.len() {
            self.nodes[node].cut = false;
        }
        // Longer than what is under way, and than any session of a node that is gone.
        self.run_until(self.now + 120_000);
        let names = Names::new("/sim", "pods");
        for node in (0..self.nodes.len()).filter(|it| self.nodes[*it].dead) {
            // Nothing came to it after the operator had said so, however late it was said.
            let left = operator::drop_node(&mut self.store, &names, &format!("n{node}"));
            let nothing = operator::ShareError::NoNode(format!("n{node}"));
            assert_eq!(left, Err(nothing), "seed {}", self.plan.seed);
        }
        // What is gone comes back, with the files it had.
        for machine in &mut self.nodes {
            if std::mem::take(&mut machine.dead) {
                machine.boot += 1;
                machine.booted = self.now;
                let state = State::decode(&machine.saved).unwrap();
                let leases: Vec<_> = machine.ledger.leases().cloned().collect();
                for lease in leases {
                    machine.ledger.apply(&release(&state, &lease));
                }
            }
        }
        // And what pods are waiting get their addresses.
        self.run_until(self.now + 120_000);
    }

    /// Every address is exactly one's: a node's that knows of it, a sticky key's, or nobody's.
    fn check(&mut self) {
        let seed = self.plan.seed;
        let names = Names::new("/sim", "pods");
        operator::verify(&mut self.store, &names, self.pools)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let shares = operator::Shares::read(&mut self.store, &names).unwrap();
        let mut in_store: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (block, record) in &shares.blocks {
            for part in &record.parts {
                let node: usize = part.holder.node[1..].parse().unwrap();
                in_store.extend(block.addresses(part.bits).map(|it| (it, node)));
            }
        }
        for record in shares.sticky.values() {
            if let Some(holder) = &record.holder {
                let node: usize = holder.node[1..].parse().unwrap();
                in_store.extend(record.addresses.iter().map(|it| (*it, node)));
            }
        }
        let mut at_nodes = BTreeMap::new();
        for (number, machine) in self.nodes.iter().enumerate() {
            let state = State::decode(&machine.saved).unwrap();
            at_nodes.extend(state.addresses().into_iter().map(|it| (it, number)));
            assert_eq!(machine.ledger.faults(), Vec::<String>::new());
            for (address, it) in machine.ledger.uses() {
                let pod = self.alive.get(&address).map(|it| &self.pods[*it]);
                assert!(
                    pod.is_some_and(|pod| pod.node == number),
                    "seed {seed}: {address} is lost at node {number}: {it:?}"
                );
            }
        }
        assert_eq!(in_store, at_nodes, "seed {seed}");
        for (address, number) in &self.alive {
            let node = self.pods[*number].node;
            assert_eq!(at_nodes.get(address), Some(&node), "seed {seed}: {address}");
        }
        for pod in &self.pods {
            assert_ne!(
                pod.phase,
                Phase::Waiting,
                "seed {seed}: a pod without address"
            );
        }
    }
}

fn release(state: &State, lease: &dockin_net::Lease) -> Change {
    let here = lease.sticky.as_ref().is_some_and(|key| state.has(key));
    Change::Release {
        attachment: lease.attachment.clone(),
        after: if here { After::Keep(None) } else { After::Free },
    }
}

fn attachment(container: u64) -> Attachment {
    Attachment::new(
        ContainerId::parse(&format!("c{container}")).unwrap(),
        InterfaceName::parse("eth0").unwrap(),
    )
}

fn simulate(plan: &Plan) -> (u64, u64, u64, u64) {
    let terms: Vec<_> = (0..plan.nodes)
        .map(|number| Terms {
            names: Names::new("/sim", "pods"),
            node: format!("n{number}"),
            session: SESSION,
            block: 64,
        })
        .collect();
    let pools = [pool(plan.subnet)];
    let mut cluster = Cluster::new(plan, &terms, &pools);
    cluster.heal();
    cluster.check();
    (
        cluster.granted,
        cluster.moved,
        cluster.fenced,
        cluster.store.writes,
    )
}

#[test]
fn a_thousand_nodes_with_partitions_give_no_address_twice_and_lose_none() {
    let plan = Plan {
        seed: 1,
        nodes: 1_000,
        subnet: "10.0.0.0/15",
        pods: 3_000,
        sticky: 30,
        busy: 60_000,
        sync: 30_000,
        lost: 2,
        troubles: 600,
    };
    let (granted, moved, fenced, _) = simulate(&plan);
    assert!(
        granted > 3_000 && moved > 100 && fenced > 10,
        "{granted} given, {moved} moved, {fenced} fenced"
    );
}

/// Small clusters in which everything meets: few addresses, many troubles.
#[test]
fn crowded_clusters_with_many_troubles_give_no_address_twice_and_lose_none() {
    let mut given = 0;
    for seed in 0..60 {
        let plan = Plan {
            seed,
            nodes: 5,
            subnet: "10.0.0.0/25",
            pods: 60,
            sticky: 50,
            busy: 200_000,
            sync: 4_000,
            lost: 15,
            troubles: 40,
        };
        given += simulate(&plan).0;
    }
    assert!(given > 5_000, "{given} given");
}
