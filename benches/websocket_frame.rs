//! WebSocket framing of `v5.channel.k8s.io`: one hop up (masked) and down, beside the same bytes
//! raw, in the same run and in turns; and what masking costs in memory.

use std::{alloc::System, hint::black_box};

use criterion::{Criterion, Throughput};
use dockin_benches::{
    Ratio,
    hop::{Hop, Way, hop},
    median, report,
    session::STREAMS,
    wire::raw_hop,
};
use dockin_stream::{Subprotocol, channel, websocket::mask::MaskKey};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes of one transfer.
const BYTES: u64 = 1024 * 1024 * 1024;
/// Rounds, each with every contestant once.
const ROUNDS: usize = 9;
/// Payload of a large event.
const LARGE: usize = 32 * 1024;

fn main() {
    let (mut raw, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        raw.push(raw_hop(LARGE, BYTES));
        up.push(framed(Way::Up));
        down.push(framed(Way::Down));
    }
    let mut ratios = Vec::new();
    for (name, hops, must) in [("up, masked", &up, 0.95), ("down", &down, 1.0)] {
        ratios.push(Ratio {
            what: format!("WebSocket {name}, 32 KiB, of raw TCP"),
            measured: median(hops.iter().map(|hop| hop.rate).collect()),
            floor: median(raw.clone()),
            unit: "MB/s",
            more_is_better: true,
            must: Some(must),
            aim: Some(1.0),
        });
    }
    for (name, hops) in [("up", &up), ("down", &down)] {
        ratios.push(Ratio {
            what: format!("WebSocket {name}, allocations for a thousand messages, both ends"),
            measured: median(hops.iter().map(|hop| hop.allocations * 1000.0).collect()),
            floor: 1.0,
            unit: "",
            more_is_better: false,
            must: Some(0.5),
            aim: Some(0.0),
        });
    }
    report("websocket_frame", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("websocket_frame");
    let mut payload = vec![b'x'; LARGE];
    group.throughput(Throughput::Bytes(LARGE as u64));
    group.bench_function("unmask", |bencher| {
        bencher.iter(|| MaskKey::new([1, 2, 3, 4]).apply(black_box(&mut payload)));
    });
    let mut other = vec![0; LARGE];
    group.bench_function("copy", |bencher| {
        bencher.iter(|| black_box(&mut other).copy_from_slice(black_box(&payload)));
    });
    group.finish();
    criterion.final_summary();
}

fn framed(way: Way) -> Hop {
    hop(
        || channel::Client::new(Subprotocol::V5, STREAMS, 7),
        || channel::Server::new(Subprotocol::V5, STREAMS),
        way,
        LARGE,
        BYTES,
    )
}
