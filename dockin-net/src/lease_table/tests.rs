#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]
use std::net::IpAddr;

use proptest::prelude::*;

use super::LeaseTable;
use crate::{
    After, Attachment, Blocked, Change, Lease, LeaseStore, Leases, Ledger, Owner, Span, StickyKey,
    Timestamp, table::memory_disk::MemoryDisk,
};

fn address(number: u16) -> IpAddr {
    if number.is_multiple_of(3) {
        return [0xfd00, 0, 0, 0, 0, 0, 0, number].into();
    }
    let [high, low] = number.to_be_bytes();
    [10, 0, high, low].into()
}

fn attachment(number: u8) -> Attachment {
    Attachment::stored(&format!("{number:064x}"), "eth0")
}

fn key(number: u8) -> StickyKey {
    StickyKey {
        owner: Owner::new("default", &format!("web-{number}")),
        interface: crate::InterfaceName::parse("eth0").unwrap(),
    }
}

fn change() -> impl Strategy<Value = Change> {
    // Addresses of three chunks, of which histories fill the first.
    let address = (0_u16..1300).prop_map(address);
    let until = (0_u64..40).prop_map(Timestamp);
    let after = prop_oneof![
        Just(After::Free),
        until.clone().prop_map(After::Cool),
        proptest::option::of(until.clone()).prop_map(After::Keep),
    ];
    let owner = proptest::option::of((0_u8..4).prop_map(|it| key(it).owner));
    prop_oneof![
        8 => (0_u8..30, proptest::collection::vec(address.clone(), 1..3),
              proptest::option::of(0_u8..9))
            .prop_map(|(number, addresses, sticky)| Change::Hold(Lease {
                attachment: attachment(number),
                addresses,
                sticky: sticky.map(key),
                since: Timestamp(5),
            })),
        4 => (0_u8..30, after)
            .prop_map(|(number, after)| Change::Release { attachment: attachment(number), after }),
        1 => (0_u8..9).prop_map(|it| Change::Forget(key(it))),
        1 => (address.clone(), until).prop_map(|(address, until)| Change::Block {
            address, until, why: Blocked::Quarantine,
        }),
        1 => address.clone().prop_map(Change::Unblock),
        1 => (address.clone(), owner).prop_map(|(address, owner)| Change::Reserve { address, owner }),
        1 => address.clone().prop_map(Change::Unreserve),
        1 => address.prop_map(|address| Change::Cursor { set: "0".into(), address }),
    ]
}

/// Blocks of one length: a run that fills whole chunks, some of it for a time.
fn run() -> impl Strategy<Value = Vec<Change>> {
    (0_u16..3, 0_u64..40, any::<bool>()).prop_map(|(chunk, until, ends)| {
        let addresses = (0..512).map(|it| {
            let [high, low] = (chunk * 512 + it).to_be_bytes();
            IpAddr::from([10, 0, high, low])
        });
        let changes = addresses.map(|address| match ends {
            true => Change::Block {
                address,
                until: Timestamp(until),
                why: Blocked::CoolDown,
            },
            false => Change::Hold(Lease {
                attachment: Attachment::stored(&format!("run-{address}"), "eth0"),
                addresses: vec![address],
                sticky: None,
                since: Timestamp(1),
            }),
        });
        changes.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The table says what the ledger in memory says, after any history and at any time.
    #[test]
    fn the_table_is_the_ledger(
        history in proptest::collection::vec(
            prop_oneof![
                9 => proptest::collection::vec(change(), 1..12),
                1 => run(),
            ], 1..25),
        first in 0_u16..1300, last in 0_u16..1300, now in 0_u64..50) {
        let disk = MemoryDisk::default();
        let mut ledger = Ledger::default();
        let now = Timestamp(now);
        for changes in history {
            let mut store = LeaseTable::open(disk.clone()).unwrap();
            for change in &changes {
                ledger.apply(change);
            }
            store.commit(changes).unwrap();
            let [high, low] = first.min(last).to_be_bytes();
            let [high2, low2] = first.max(last).to_be_bytes();
            for span in [
                Span::new([10, 0, high, low].into(), [10, 0, high2, low2].into()).unwrap(),
                Span::new([10, 0, 0, 0].into(), [10, 0, 5, 255].into()).unwrap(),
                Span::parse("fd00::/64").unwrap(),
            ] {
                let wanted = ledger.first_unused(span, now).unwrap();
                prop_assert_eq!(store.first_unused(span, now).unwrap(), wanted);
            }
        }
        let store = LeaseTable::open(disk).unwrap();
        prop_assert_eq!(store.to_ledger().unwrap(), ledger.clone());
        // The changes are random: what does not fit together is the same, and no mark is wrong.
        prop_assert_eq!(store.faults().unwrap(), ledger.faults());
        for number in 0..30 {
            let of = attachment(number);
            prop_assert_eq!(store.lease_of(&of).unwrap(), ledger.lease_of(&of).unwrap());
        }
        for number in 0..9 {
            prop_assert_eq!(
                store.addresses_of(&key(number), now).unwrap(),
                ledger.addresses_of(&key(number), now).unwrap()
            );
        }
        for owner in 0..4 {
            let mut reserved = store.reserved_for(&key(owner).owner).unwrap();
            reserved.sort_unstable();
            prop_assert_eq!(reserved, ledger.reserved_for(&key(owner).owner).unwrap());
        }
        let mut leases = Vec::new();
        let mut from = Some(0);
        while let Some(place) = from {
            let page = store.page(place).unwrap();
            leases.extend(page.leases);
            from = page.next;
        }
        leases.sort_by(|one, other| one.attachment.cmp(&other.attachment));
        prop_assert!(leases.iter().eq(ledger.leases()));
    }
}

fn lease(number: u16, sticky: Option<u8>) -> Change {
    let [high, low] = number.to_be_bytes();
    Change::Hold(Lease {
        attachment: Attachment::stored(&format!("c{number}"), "eth0"),
        addresses: vec![[10, 1, high, low].into()],
        sticky: sticky.map(key),
        since: Timestamp(1),
    })
}

#[test]
fn leases_of_before_the_machines_start_are_none_and_are_swept_away_bit_by_bit() {
    let disk = MemoryDisk::default();
    let mut store = LeaseTable::open(disk.clone()).unwrap();
    store.commit(vec![Change::Boot("one".into())]).unwrap();
    let leases = (0..400).map(|number| lease(number, (number == 7).then_some(1)));
    store.commit(leases.collect()).unwrap();
    store.commit(vec![Change::Boot("two".into())]).unwrap();
    let mut store = LeaseTable::open(disk).unwrap();
    let of = |number: u16| Attachment::stored(&format!("c{number}"), "eth0");
    assert_eq!(store.lease_of(&of(3)).unwrap(), None);
    // Its address can be asked for at once, unless it is kept for somebody.
    assert_eq!(
        store.use_of([10, 1, 0, 3].into(), Timestamp(9)).unwrap(),
        None
    );
    assert!(
        store
            .use_of([10, 1, 0, 7].into(), Timestamp(9))
            .unwrap()
            .is_some()
    );
    assert_eq!(store.addresses_of(&key(1), Timestamp(9)).unwrap().len(), 1);
    // A new one of the same name is one of now.
    store.commit(vec![lease(3, None)]).unwrap();
    let mut pages = 0;
    while let Some(page) = store.ended().unwrap() {
        assert!(page.leases.len() < 40, "{}", page.leases.len());
        let releases = page.leases.into_iter().map(|lease| Change::Release {
            attachment: lease.attachment,
            after: After::Keep(Some(Timestamp(100))),
        });
        let changes = releases.chain([Change::Swept(page.next)]).collect();
        store.commit(changes).unwrap();
        pages += 1;
    }
    assert!(pages > 5, "{pages}");
    let ledger = store.to_ledger().unwrap();
    let left: Vec<_> = ledger
        .leases()
        .map(|lease| lease.attachment.to_string())
        .collect();
    assert_eq!(left, ["c3/eth0"]);
    assert_eq!(ledger.uses().count(), 2);
    assert!(store.faults().unwrap().is_empty());
}

#[test]
fn names_that_are_too_long_are_refused_and_nothing_happens() {
    let mut store = LeaseTable::open(MemoryDisk::default()).unwrap();
    store.commit(vec![lease(1, None)]).unwrap();
    let before = store.to_ledger().unwrap();
    let long = Change::Hold(Lease {
        attachment: Attachment::stored(&"x".repeat(2000), "eth0"),
        addresses: vec![address(1)],
        sticky: None,
        since: Timestamp(1),
    });
    assert!(store.commit(vec![lease(2, None), long]).is_err());
    assert_eq!(store.to_ledger().unwrap(), before);
}
