use std::{
    collections::BTreeMap,
    fs::File,
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    thread::{sleep, yield_now},
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::socket::SockProtocol};

use super::{
    advertise::Advertiser,
    message::Batch,
    nftables::{self, MASQUERADE, Rule, SOURCES},
    probe::probe,
    route::{self, Change, Pair},
    socket::{Answers, Socket, home, inside, kernel_error, set_parameter, write_parameter},
};
use crate::{
    Family,
    bridge::{
        Applied, Assigned, Detection, KernelError, KernelRoute, Link, Mac, Owner, Place, Step,
    },
};

/// How long a port may take until it carries packets, in milliseconds.
const PORT_PATIENCE: u32 = 2500;

/// How often the kernel is asked again at once, before the pauses begin.
const YIELDS: u32 = 8;

/// The namespaces of one call.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    home: Option<File>,
    host: Option<Socket>,
    pod: Option<(File, Socket)>,
    filter: Option<Socket>,
    advertiser: Option<Advertiser>,
    /// IPv6 was off in the container, and this call switched it on.
    ipv6_on: bool,
    /// Links as they were last seen.
    links: BTreeMap<(Place, String), Link>,
    /// The bridge that got a port: its hardware address may be another one than was seen.
    changed: Option<String>,
}

/// Messages of some steps of one place, not sent yet.
#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    place: Option<Place>,
    steps: Vec<(Step, u32)>,
}

impl Kernel {
    /// Does the path lead to the namespace that this process is in?
    pub(super) fn is_home(&mut self, path: &str) -> bool {
        let ours = self.home().ok().and_then(|home| home.metadata().ok());
        let theirs = std::fs::metadata(path).ok();
        let identity = |it: std::fs::Metadata| (it.dev(), it.ino());
        ours.is_some() && ours.map(identity) == theirs.map(identity)
    }

    /// The way back: finding it takes the kernel longer than going it.
    fn home(&mut self) -> Result<&File, KernelError> {
        if self.home.is_none() {
            self.home = Some(home()?);
        }
        self.home.as_ref().ok_or_else(not_entered)
    }

    /// Does something in the container's namespace.
    fn in_pod<T>(&mut self, act: impl FnOnce() -> T) -> Result<T, KernelError> {
        self.home()?;
        match (&self.pod, &self.home) {
            (Some((pod, _)), Some(home)) => inside(pod, home, act),
            _ => Err(not_entered()),
        }
    }

    pub(super) fn enter(&mut self, netns: &str) -> Result<bool, KernelError> {
        let file = match File::open(netns) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(KernelError::Other(format!("`{netns}`: {error}"))),
        };
        let socket = match Socket::open_in(&file, self.home()?) {
            Ok(socket) => socket,
            // A plain file, such as the place where a namespace was mounted until it was removed.
            Err(KernelError::Other(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.pod = Some((file, socket));
        Ok(true)
    }

    pub(super) fn apply(&mut self, steps: &[Step]) -> Applied {
        let mut applied = Applied::default();
        let mut pending = Pending::default();
        for step in steps {
            let placed = pending.place.is_none_or(|place| place == step.place());
            let queued = match placed {
                true => Ok(()),
                false => self.flush(&mut pending, &mut applied),
            };
            let queued = queued.and_then(|()| self.take(step, &mut pending, &mut applied));
            if let Err(failed) = queued {
                applied.failed = Some(*failed);
                return applied;
            }
        }
        if let Err(failed) = self.flush(&mut pending, &mut applied) {
            applied.failed = Some(*failed);
        }
        applied
    }

    /// Appends a step to those that are sent together, or does it at once.
    fn take(
        &mut self,
        step: &Step,
        pending: &mut Pending,
        applied: &mut Applied,
    ) -> Result<(), Box<(Step, KernelError)>> {
        let together = matches!(
            step,
            Step::MakeBridge { .. }
                | Step::RaiseBridge { .. }
                | Step::RemoveLink { .. }
                | Step::SetPort { .. }
                | Step::RaisePod { .. }
                | Step::AddAddress { .. }
                | Step::AddRoute { .. }
                | Step::UpdateNeighbour { .. }
                | Step::Announce { .. }
                | Step::AddBridgeAddress { .. }
                | Step::RemoveBridgeAddress { .. }
                | Step::MakePair { .. }
        );
        // What a port waits for is asked on the way.
        if let Step::AwaitPort { host } = step
            && pending.place == Some(Place::Host)
        {
            self.ask_port(&mut pending.batch, host)
                .map_err(|error| Box::new((step.clone(), error)))?;
        }
        // A number that is not known is asked for, and that needs what is pending to be there.
        let known = step_link(step).is_none_or(|name| {
            let key = (step.place(), name.to_owned());
            self.links.contains_key(&key)
        });
        if !(together && known) {
            self.flush(pending, applied)?;
        }
        let done = match together {
            true => self.queue(step, pending),
            false => self.act(step),
        };
        done.map_err(|error| Box::new((step.clone(), error)))?;
        if !together {
            applied.done.push(step.clone());
        }
        // What follows must not touch a pair of that name which somebody else made.
        if matches!(step, Step::MakePair { .. }) {
            self.flush(pending, applied)?;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        pending: &mut Pending,
        applied: &mut Applied,
    ) -> Result<(), Box<(Step, KernelError)>> {
        let Pending {
            batch,
            place,
            steps,
        } = std::mem::take(pending);
        let (Some(place), Some((first, _))) = (place, steps.first().cloned()) else {
            return Ok(());
        };
        let sent = self
            .socket(place)
            .and_then(|socket| socket.exchange(&batch));
        let answers = sent.map_err(|error| Box::new((first, error)))?;
        self.learn(place, &answers);
        let mut failed = Vec::new();
        for (step, sequence) in steps {
            let error = answers.outcome(sequence).unwrap_or_default();
            if error == 0 || tolerated(&step, error) {
                self.learn_pair(&step);
                applied.done.push(step);
            } else {
                failed.push((step, Errno::from_raw(error)));
            }
        }
        let Some((first, error)) = failed.first() else {
            return Ok(());
        };
        // IPv6 is off in the container. Asking first would take every attachment longer.
        match first {
            Step::AddAddress { name, .. } if *error == Errno::EACCES && !self.ipv6_on => {
                let failing = |error| Box::new((first.clone(), error));
                self.switch_ipv6_on(name).map_err(failing)?;
                for (step, _) in &failed {
                    self.queue(step, pending).map_err(failing)?;
                }
                self.flush(pending, applied)
            }
            _ => Err(Box::new((first.clone(), kernel_error(*error)))),
        }
    }

    fn switch_ipv6_on(&mut self, name: &str) -> Result<(), KernelError> {
        self.ipv6_on = true;
        self.in_pod(|| {
            for name in ["lo", name] {
                set_parameter(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
            }
            Ok(())
        })?
    }

    /// Remembers the links among answers.
    fn learn(&mut self, place: Place, answers: &Answers) {
        let links = answers.replies.iter().filter_map(|it| route::read_link(it));
        for (link, _) in links {
            if place == Place::Host && self.changed.as_ref() == Some(&link.name) {
                self.changed = None;
            }
            self.links.insert((place, link.name.clone()), link);
        }
    }

    /// Remembers the other end of a pair whose first end came back, which saves asking for it.
    fn learn_pair(&mut self, step: &Step) {
        let Step::MakePair {
            host,
            pod,
            bridge,
            mac,
            ..
        } = step
        else {
            return;
        };
        self.changed = Some(bridge.clone());
        // It is told before it is a port, and with a state that nobody has looked at.
        let Some(link) = self.links.get_mut(&(Place::Host, host.clone())) else {
            return;
        };
        link.operational = false;
        let other = Link {
            index: link.peer,
            name: pod.clone(),
            mac: *mac,
            peer: link.index,
            up: false,
            ..link.clone()
        };
        if other.index != 0 {
            self.links.insert((Place::Pod, pod.clone()), other);
        }
    }

    /// Asks for the port, which has the kernel look at its carrier (since Linux 6.7), and for the
    /// bridge that it changed.
    fn ask_port(&mut self, batch: &mut Batch, host: &str) -> Result<(), KernelError> {
        let bridge = self.changed.clone();
        let socket = self.socket(Place::Host)?;
        route::get_link(batch, socket.next(), host);
        if let Some(bridge) = bridge {
            route::get_link(batch, socket.next(), &bridge);
        }
        Ok(())
    }

    fn queue(&mut self, step: &Step, pending: &mut Pending) -> Result<(), KernelError> {
        let index = match step_link(step) {
            Some(name) => self.index(step.place(), name)?,
            None => 0,
        };
        let namespace = self.pod.as_ref().map(|(file, _)| file.as_raw_fd());
        let sequence = self.socket(step.place())?.next();
        pending.place = Some(step.place());
        pending.steps.push((step.clone(), sequence));
        let batch = &mut pending.batch;
        match step {
            Step::MakeBridge {
                name,
                mtu,
                mac,
                vlan_filtering,
            } => route::make_bridge(batch, sequence, name, *mtu, *mac, *vlan_filtering),
            Step::RaiseBridge {
                name,
                promiscuous,
                mac,
            } => {
                let change = match promiscuous {
                    true => Change::up().promiscuous(),
                    false => Change::up(),
                };
                let change = Change {
                    mac: *mac,
                    ..change
                };
                route::change_link(batch, sequence, name, change);
            }
            Step::MakePair {
                host,
                pod,
                mtu,
                mac,
                group,
                ..
            } => {
                let pair = Pair {
                    host,
                    pod,
                    bridge: index,
                    mtu: *mtu,
                    mac: *mac,
                    group: *group,
                    namespace: namespace.ok_or_else(not_entered)?,
                };
                route::make_pair(batch, sequence, pair);
            }
            Step::RemoveLink { name, .. } => route::remove_link(batch, sequence, name),
            Step::SetPort {
                host,
                hairpin,
                isolated,
            } => route::set_port(batch, sequence, host, *hairpin, *isolated),
            Step::RaisePod { name } => {
                let change = Change {
                    arp_notify: true,
                    ..Change::up()
                };
                route::change_link(batch, sequence, name, change);
            }
            Step::AddAddress {
                address, detection, ..
            } => route::add_address(batch, sequence, index, *address, *detection),
            Step::AddBridgeAddress { address, .. } => {
                let detection = Detection::Off;
                route::add_address(batch, sequence, index, *address, detection);
            }
            Step::RemoveBridgeAddress { address, .. } => {
                route::remove_address(batch, sequence, index, *address);
            }
            Step::AddRoute { route, .. } => route::add_route(batch, sequence, index, route),
            Step::UpdateNeighbour { address, mac, .. } => {
                route::update_neighbour(batch, sequence, index, *address, *mac);
            }
            // Setting the address it has makes the kernel tell everybody.
            Step::Announce { name, mac, .. } => {
                let change = Change {
                    mac: Some(*mac),
                    ..Change::default()
                };
                route::change_link(batch, sequence, name, change);
            }
            _ => {}
        }
        Ok(())
    }

    /// The steps that are no single message.
    fn act(&mut self, step: &Step) -> Result<(), KernelError> {
        match step {
            Step::SettleBridge { name } => {
                // A kernel without IPv6 has nothing to be set.
                for word in ["accept_ra", "accept_dad"] {
                    let _ = set_parameter(&format!("ipv6/conf/{name}/{word}"), "0");
                }
                Ok(())
            }
            Step::Forward(Family::V4) => set_parameter("ipv4/ip_forward", "1"),
            Step::Forward(Family::V6) => set_parameter("ipv6/conf/all/forwarding", "1"),
            Step::SetVlans {
                host,
                untagged,
                tagged,
                leave_default,
            } => self.set_vlans(host, *untagged, tagged, *leave_default),
            Step::CheckSource { host, mac, owner } => self.filter(|batch, next| {
                nftables::check_source(batch, next, host, *mac, owner);
            }),
            Step::Masquerade { address, owner } => self.filter(|batch, next| {
                nftables::masquerade(batch, next, *address, owner);
            }),
            Step::RemoveRules(owner) => self.remove_rules(owner),
            Step::EnableIpv6 {
                name,
                detection,
                announce,
            } => self.enable_ipv6(name, *detection, *announce),
            Step::AwaitPort { host } => self.await_port(host),
            Step::Advertise {
                name,
                addresses,
                mac,
                overriding,
            } => self.advertise(name, addresses, *mac, *overriding),
            Step::AwaitDetection { name, addresses } => self.await_detection(name, addresses),
            Step::Probe {
                name,
                address,
                wait,
            } => self.in_pod(|| probe(name, *address, *wait))?,
            _ => Ok(()),
        }
    }

    fn set_vlans(
        &mut self,
        host: &str,
        untagged: u16,
        tagged: &[u16],
        leave_default: bool,
    ) -> Result<(), KernelError> {
        let index = self.index(Place::Host, host)?;
        let socket = self.socket(Place::Host)?;
        let mut batch = Batch::default();
        if leave_default {
            route::leave_default_vlan(&mut batch, socket.next(), index);
        }
        route::join_vlans(&mut batch, socket.next(), index, untagged, tagged);
        all_good(&socket.exchange(&batch)?)
    }

    fn enable_ipv6(
        &mut self,
        name: &str,
        detection: Detection,
        announce: bool,
    ) -> Result<(), KernelError> {
        self.socket(Place::Pod)?.join_news()?;
        if detection == Detection::Off && !announce {
            return Ok(());
        }
        // Without these an address is usable later, or an announcement is lost: no reason to fail
        // where a kernel does not know them.
        let advertiser = self.in_pod(|| {
            let set = |word: &str| {
                let _ = write_parameter(&format!("ipv6/conf/{name}/{word}"), "1");
            };
            match detection {
                Detection::Off => {}
                Detection::Optimistic => set("optimistic_dad"),
                Detection::First => {
                    set("accept_dad");
                    set("enhanced_dad");
                }
            }
            announce.then(Advertiser::open)
        })?;
        self.advertiser = advertiser.and_then(Result::ok);
        Ok(())
    }

    fn advertise(
        &mut self,
        name: &str,
        addresses: &[Ipv6Addr],
        mac: Mac,
        overriding: bool,
    ) -> Result<(), KernelError> {
        let index = self.index(Place::Pod, name)?;
        for address in addresses {
            // One that is lost costs a neighbour a question.
            if let Some(advertiser) = &self.advertiser {
                let _ = advertiser.advertise(index, *address, mac, overriding);
            }
        }
        Ok(())
    }

    fn await_port(&mut self, host: &str) -> Result<(), KernelError> {
        let is_ready = |kernel: &Self| {
            let link = kernel.seen(Place::Host, host);
            link.is_some_and(|it| it.operational)
        };
        wait_until(PORT_PATIENCE, || {
            if is_ready(self) {
                return Ok(true);
            }
            let mut batch = Batch::default();
            self.ask_port(&mut batch, host)?;
            let answers = self.socket(Place::Host)?.exchange(&batch)?;
            self.learn(Place::Host, &answers);
            all_good(&answers)?;
            Ok(is_ready(self))
        })
    }

    /// Waits for the worker of the kernel that takes addresses into use, tested or not: it joins
    /// the group in which they are asked for, tells of each, and makes its route before it
    /// gives the kernel's lock to the next request.
    fn await_detection(&mut self, name: &str, addresses: &[Ipv6Addr]) -> Result<(), KernelError> {
        let index = self.index(Place::Pod, name)?;
        let mut awaited = addresses.to_vec();
        while !awaited.is_empty() {
            let heard = self.socket(Place::Pod)?.hear()?;
            for (_, it) in heard.into_iter().filter(|(of, _)| *of == index) {
                let is = |address: &Ipv6Addr| it.address.address() == IpAddr::V6(*address);
                if it.duplicate && awaited.iter().any(is) {
                    return Err(KernelError::Duplicate);
                }
                awaited.retain(|address| it.tentative || !is(address));
            }
        }
        Ok(())
    }

    pub(super) fn link(&mut self, place: Place, name: &str) -> Result<Option<Link>, KernelError> {
        let socket = self.socket(place)?;
        let mut batch = Batch::default();
        let sequence = socket.next();
        route::get_link(&mut batch, sequence, name);
        let answers = socket.exchange(&batch)?;
        match answers.outcome(sequence).unwrap_or_default() {
            0 => {}
            error if Errno::from_raw(error) == Errno::ENODEV => return Ok(None),
            error => return Err(kernel_error(Errno::from_raw(error))),
        }
        self.learn(place, &answers);
        let found = answers.replies.iter().find_map(|it| route::read_link(it));
        // By the name it was asked for, which may be another one of its names.
        Ok(found.map(|(link, _)| {
            let key = (place, name.to_owned());
            self.links.insert(key, link.clone());
            link
        }))
    }

    /// A link as it was last seen, unless it has changed since.
    pub(super) fn seen(&self, place: Place, name: &str) -> Option<Link> {
        if place == Place::Host && self.changed.as_deref() == Some(name) {
            return None;
        }
        self.links.get(&(place, name.to_owned())).cloned()
    }

    pub(super) fn addresses(
        &mut self,
        place: Place,
        index: u32,
    ) -> Result<Vec<Assigned>, KernelError> {
        let answers = self.list(place, route::list_addresses)?;
        let all = answers
            .replies
            .iter()
            .filter_map(|it| route::read_address(it));
        Ok(all
            .filter(|(of, _)| *of == index)
            .map(|(_, it)| it)
            .collect())
    }

    pub(super) fn routes(&mut self) -> Result<Vec<KernelRoute>, KernelError> {
        let answers = self.list(Place::Pod, route::list_routes)?;
        let all = answers
            .replies
            .iter()
            .filter_map(|it| route::read_route(it));
        Ok(all.collect())
    }

    pub(super) fn group(&mut self, group: u32) -> Result<Vec<String>, KernelError> {
        let answers = self.list(Place::Host, route::list_links)?;
        let all = answers.replies.iter().filter_map(|it| route::read_link(it));
        let of_group = all.filter(|(link, of)| *of == group && link.kind == "veth");
        Ok(of_group.map(|(link, _)| link.name).collect())
    }

    pub(super) fn owners(&mut self) -> Result<Vec<Owner>, KernelError> {
        let mut owners: Vec<_> = self.rules()?.into_iter().map(|it| it.owner).collect();
        owners.sort();
        owners.dedup();
        Ok(owners)
    }

    fn list(
        &mut self,
        place: Place,
        ask: impl Fn(&mut Batch, u32),
    ) -> Result<Answers, KernelError> {
        let socket = self.socket(place)?;
        let mut batch = Batch::default();
        ask(&mut batch, socket.next());
        let answers = socket.exchange(&batch)?;
        all_good(&answers)?;
        Ok(answers)
    }

    fn rules(&mut self) -> Result<Vec<Rule>, KernelError> {
        let socket = self.filter_socket()?;
        let mut rules = Vec::new();
        for chain in [MASQUERADE, SOURCES] {
            let mut batch = Batch::default();
            let sequence = socket.next();
            nftables::list(&mut batch, sequence, chain);
            let answers = socket.exchange(&batch)?;
            let replies = answers.replies.iter();
            rules.extend(replies.filter_map(|it| nftables::read(it, chain)));
        }
        Ok(rules)
    }

    fn remove_rules(&mut self, owner: &Owner) -> Result<(), KernelError> {
        let rules = self.rules()?;
        let rules: Vec<_> = rules.iter().filter(|it| it.owner == *owner).collect();
        if rules.is_empty() {
            return Ok(());
        }
        self.filter(|batch, next| {
            for rule in rules {
                nftables::remove(batch, next(), rule);
            }
        })
    }

    fn filter(
        &mut self,
        fill: impl FnOnce(&mut Batch, &mut dyn FnMut() -> u32),
    ) -> Result<(), KernelError> {
        let socket = self.filter_socket()?;
        let batch = nftables::transaction(&mut || socket.next(), fill);
        all_good(&socket.exchange(&batch)?)
    }

    fn filter_socket(&mut self) -> Result<&mut Socket, KernelError> {
        opened(&mut self.filter, SockProtocol::NetlinkNetFilter)
    }

    fn socket(&mut self, place: Place) -> Result<&mut Socket, KernelError> {
        match place {
            Place::Host => opened(&mut self.host, SockProtocol::NetlinkRoute),
            Place::Pod => {
                let pod = self.pod.as_mut().map(|(_, socket)| socket);
                pod.ok_or_else(not_entered)
            }
        }
    }

    fn index(&mut self, place: Place, name: &str) -> Result<u32, KernelError> {
        if let Some(link) = self.links.get(&(place, name.to_owned())) {
            return Ok(link.index);
        }
        let link = self.link(place, name)?;
        link.map(|link| link.index)
            .ok_or_else(|| kernel_error(Errno::ENODEV))
    }
}

/// The link whose number a step's message holds.
fn step_link(step: &Step) -> Option<&str> {
    match step {
        Step::AddAddress { name, .. }
        | Step::AddRoute { name, .. }
        | Step::RaisePod { name }
        | Step::AddBridgeAddress { name, .. }
        | Step::RemoveBridgeAddress { name, .. }
        | Step::UpdateNeighbour { bridge: name, .. }
        | Step::MakePair { bridge: name, .. } => Some(name),
        _ => None,
    }
}

/// Is what the kernel says as good as done?
fn tolerated(step: &Step, error: i32) -> bool {
    let error = Errno::from_raw(error);
    match step {
        Step::MakeBridge { .. } | Step::AddBridgeAddress { .. } | Step::AddRoute { .. } => {
            error == Errno::EEXIST
        }
        Step::RemoveLink { .. } => error == Errno::ENODEV,
        Step::RemoveBridgeAddress { .. } => error == Errno::EADDRNOTAVAIL,
        // Nobody remembered it.
        Step::UpdateNeighbour { .. } => true,
        _ => false,
    }
}

fn all_good(answers: &Answers) -> Result<(), KernelError> {
    let failed = answers.outcomes.iter().find(|(_, error)| *error != 0);
    failed.map_or(Ok(()), |(_, error)| {
        Err(kernel_error(Errno::from_raw(*error)))
    })
}

fn opened(socket: &mut Option<Socket>, protocol: SockProtocol) -> Result<&mut Socket, KernelError> {
    if socket.is_none() {
        *socket = Some(Socket::open(protocol)?);
    }
    socket.as_mut().ok_or_else(not_entered)
}

fn not_entered() -> KernelError {
    KernelError::Other("the container's namespace is not open".into())
}

/// Asks again and again, first as soon as others have had the processor, then with pauses of 0.05
/// to 20 milliseconds: the shortest pause takes longer than most of what is awaited.
fn wait_until(
    patience: u32,
    mut ready: impl FnMut() -> Result<bool, KernelError>,
) -> Result<(), KernelError> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(50);
    let mut yields = YIELDS;
    while !ready()? {
        if yields > 0 {
            yields -= 1;
            yield_now();
            continue;
        }
        if begun.elapsed() > Duration::from_millis(patience.into()) {
            return Err(KernelError::TooLate(patience));
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}
