//! The steps that are no single message.

use std::{
    net::{IpAddr, Ipv6Addr},
    thread::{sleep, yield_now},
    time::{Duration, Instant},
};

use super::{
    super::{
        advertise::Advertiser,
        message::Batch,
        nftables,
        probe::probe,
        route,
        socket::{set_parameter, write_parameter},
    },
    Kernel, all_good,
};
use crate::{
    Family,
    bridge::{Detection, KernelError, Mac, Owner, Place, Step},
};

/// How long a port may take until it carries packets, in milliseconds.
const PORT_PATIENCE: u32 = 2500;
/// How often the kernel is asked again at once, before the pauses begin.
const YIELDS: u32 = 8;

impl Kernel {
    pub(super) fn act(&mut self, step: &Step) -> Result<(), KernelError> {
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

    pub(super) fn switch_ipv6_on(&mut self, name: &str) -> Result<(), KernelError> {
        self.ipv6_on = true;
        self.in_pod(|| {
            for name in ["lo", name] {
                set_parameter(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
            }
            Ok(())
        })?
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
