//! Addresses given and taken back in memory, where there are 2²⁴, beside ten million a second; and
//! the whole choice of an address for a pod.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{hint::black_box, net::IpAddr, time::Instant};

use dockin_benches::{Ratio, median, report};
use dockin_net::{
    Attachment, Beside, Cidr, ContainerId, FreeAddresses, InterfaceName, Ledger, Pool, Range,
    RangeSet, RangeSpec, Span, Timestamp, Want, allocate,
};

/// Rounds.
const ROUNDS: usize = 5;
/// Every how many addresses one stays free where nearly everything is taken.
const SPARSE: u32 = 1024;
/// Pods that get an address one after the other.
const PODS: u32 = 100_000;

fn main() {
    let (mut filled, mut sparse, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        filled.push(fill());
        sparse.push(nearly_full());
        chosen.push(choose());
    }
    let row = |what: &str, measured: Vec<f64>, must| Ratio {
        what: what.to_owned(),
        measured: median(measured),
        floor: 10.0,
        unit: "M/s",
        more_is_better: true,
        must,
        aim: None,
    };
    let ratios = [
        row("2^24 addresses, one after the other", filled, Some(1.0)),
        row(
            "given and released, 99.9 % of 2^24 taken",
            sparse,
            Some(1.0),
        ),
        row("chosen for pods and written down in memory", chosen, None),
    ];
    report("allocate", &ratios);
}

fn free() -> FreeAddresses {
    let span = Span::parse("10.0.0.0/8").expect("a network");
    FreeAddresses::new(span).expect("2^24 addresses")
}

/// Millions a second.
fn rate(count: u32, begun: Instant) -> f64 {
    f64::from(count) / begun.elapsed().as_secs_f64() / 1e6
}

fn fill() -> f64 {
    let mut free = free();
    let begun = Instant::now();
    let mut count = 0;
    while let Some(address) = free.take() {
        black_box(address);
        count += 1;
    }
    assert_eq!(count, 1 << 24);
    rate(count, begun)
}

/// One is taken and another, far away, comes back.
fn nearly_full() -> f64 {
    let mut free = free();
    while free.take().is_some() {}
    for number in 0..(1 << 24) / SPARSE {
        let [_, one, two, three] = (number * SPARSE).to_be_bytes();
        assert!(free.release(IpAddr::from([10, one, two, three])));
    }
    let mut random = 0x9e37_79b9_u32;
    let count = 2_000_000;
    let mut released = 0;
    let begun = Instant::now();
    for _ in 0..count {
        black_box(free.take().expect("some are free"));
        // Those that are free already are passed over.
        loop {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [one, two, three, _] = random.to_be_bytes();
            if free.release(IpAddr::from([10, one, two, three])) {
                released += 1;
                break;
            }
        }
    }
    assert_eq!(released, count);
    rate(count, begun)
}

fn choose() -> f64 {
    let range = Range::new(&RangeSpec {
        subnet: Some(Cidr::parse("10.0.0.0/8").expect("a network")),
        ..RangeSpec::default()
    });
    let set = RangeSet::new(vec![range.expect("a range")]).expect("a set");
    let pool = Pool::new("", vec![set]).expect("a pool");
    let interface = InterfaceName::parse("eth0").expect("a name");
    let mut ledger = Ledger::default();
    let begun = Instant::now();
    for number in 0..PODS {
        let container = ContainerId::parse(&format!("c{number}")).expect("a name");
        let want = Want {
            attachment: Attachment::new(container, interface.clone()),
            sticky: None,
            requested: Vec::new(),
            beside: Beside::Nothing,
        };
        let grant = allocate(&pool, &ledger, &want, Timestamp(0)).expect("an address");
        for change in &grant.changes {
            ledger.apply(change);
        }
    }
    assert_eq!(ledger.leases().count(), PODS as usize);
    rate(PODS, begun)
}
