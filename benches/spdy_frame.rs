//! SPDY/3.1 framing: one stream over one hop, beside the same bytes raw, in the same run and in
//! turns; and what the decoder alone does with frames in memory.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{alloc::System, time::Instant};

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use dockin_benches::{
    Ratio,
    hop::{Hop, Way, hop},
    median, report,
    session::{STREAMS, spdy_output},
    wire::raw_hop,
};
use dockin_stream::{
    Subprotocol,
    spdy::{ExecClient, ExecServer, FrameDecoder},
};
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
    for (name, hops) in [("input", &up), ("output", &down)] {
        ratios.push(Ratio {
            what: format!("SPDY, one stream of {name}, 32 KiB, of raw TCP"),
            measured: median(hops.iter().map(|hop| hop.rate).collect()),
            floor: median(raw.clone()),
            unit: "MB/s",
            more_is_better: true,
            must: Some(0.9),
            aim: Some(1.0),
        });
    }
    for (name, hops) in [("up", &up), ("down", &down)] {
        ratios.push(Ratio {
            what: format!("SPDY {name}, allocations for a thousand frames, both ends"),
            measured: median(hops.iter().map(|hop| hop.allocations * 1000.0).collect()),
            floor: 1.0,
            unit: "",
            more_is_better: false,
            must: Some(0.5),
            aim: Some(0.0),
        });
    }
    report("spdy_frame", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("spdy_frame");
    for size in [64, LARGE] {
        let (_, frame) = spdy_output(size);
        let wire = frame.repeat(1024 * 1024 / size);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(format!("decode/{size}"), |bencher| {
            bencher.iter_batched(
                || BytesMut::from(&wire[..]),
                |mut input| {
                    let mut decoder = FrameDecoder::new();
                    while decoder.decode(&mut input).expect("our own").is_some() {}
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    criterion.final_summary();
}

fn framed(way: Way) -> Hop {
    hop(
        || ExecClient::new(Subprotocol::V4, STREAMS),
        || ExecServer::new(Subprotocol::V4, STREAMS, Instant::now()),
        way,
        LARGE,
        BYTES,
    )
}
