//! The translator alone, WebSocket to SPDY and back, in the middle between bytes that are made
//! beforehand and a reader that only counts: beside a relay that copies, in the same run and in
//! turns. What the difference is, translation costs.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::time::Instant;

use bytes::Bytes;
use criterion::Criterion;
use dockin_benches::{
    Ratio, median, report,
    session::{spdy_input, spdy_output, translate, websocket_input, websocket_output},
    wire::{adopt, on_thread, pair, plain_relay, read_bytes, write_blocks},
};
use tokio::io::AsyncWriteExt as _;

/// Bytes of one transfer.
const BYTES: u64 = 512 * 1024 * 1024;
/// Bytes of one transfer in small messages.
const SMALL_BYTES: u64 = 128 * 1024 * 1024;
/// Rounds, each with every contestant once.
const ROUNDS: usize = 9;
/// Payload of a large message.
const LARGE: usize = 32 * 1024;
/// Payload of a small one.
const SMALL: usize = 64;

fn main() {
    let mut measured: Vec<Series> = Series::all();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for series in &mut measured {
            let taken = run(series.middle, series.way, series.payload);
            series.rates.push(taken.rate);
            series.processor.push(taken.processor);
        }
    }
    let find = |middle, way, payload| {
        let same = |series: &&Series| {
            (series.middle, series.way, series.payload) == (middle, way, payload)
        };
        measured.iter().find(same).expect("measured")
    };
    let mut ratios = Vec::new();
    for (way, name, must, aim) in [
        (Way::Up, "WebSocket to SPDY", 0.90, 0.97),
        (Way::Down, "SPDY to WebSocket", 0.92, 0.97),
    ] {
        let ours = find(Middle::Translator, way, LARGE);
        let floor = find(Middle::Relay, way, LARGE);
        ratios.push(Ratio {
            what: format!("{name}, 32 KiB, of a copying relay"),
            measured: median(ours.rates.clone()),
            floor: median(floor.rates.clone()),
            unit: "MB/s",
            more_is_better: true,
            must: Some(must),
            aim: Some(aim),
        });
        ratios.push(Ratio {
            what: format!("{name}, 32 KiB, processor of a copying relay"),
            measured: median(ours.processor.clone()),
            floor: median(floor.processor.clone()),
            unit: "s/GiB",
            more_is_better: false,
            must: Some(1.1),
            aim: Some(1.0),
        });
        let small = find(Middle::Translator, way, SMALL);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let messages = median(small.rates.clone()) / SMALL as f64;
        ratios.push(Ratio {
            what: format!("{name}, 64 bytes, of 4 million a second"),
            measured: messages,
            floor: 4.0,
            unit: "M/s",
            more_is_better: true,
            must: Some(1.0),
            aim: Some(1.5),
        });
    }
    report("translator", &ratios);

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for middle in [Middle::Relay, Middle::Translator] {
        criterion.bench_function(&format!("translator/up/{middle:?}"), |bencher| {
            bencher.iter_custom(|times| {
                let begun = Instant::now();
                for _ in 0..times {
                    let _rate = run(middle, Way::Up, LARGE);
                }
                begun.elapsed()
            });
        });
    }
    criterion.final_summary();
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Middle {
    Relay,
    Translator,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Up,
    Down,
}

struct Series {
    middle: Middle,
    way: Way,
    payload: usize,
    /// MB/s of payload.
    rates: Vec<f64>,
    /// Processor seconds of the one in the middle for a GiB of payload.
    processor: Vec<f64>,
}

impl Series {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for way in [Way::Up, Way::Down] {
            for payload in [LARGE, SMALL] {
                for middle in [Middle::Relay, Middle::Translator] {
                    all.push(Self {
                        middle,
                        way,
                        payload,
                        rates: Vec::new(),
                        processor: Vec::new(),
                    });
                }
            }
        }
        all
    }
}

struct Taken {
    rate: f64,
    processor: f64,
}

fn run(middle: Middle, way: Way, payload: usize) -> Taken {
    let total = if payload == LARGE { BYTES } else { SMALL_BYTES };
    let messages = total / payload as u64;
    let (answer, output) = spdy_output(payload);
    let (frame, frame_out, from_says, to_says) = match way {
        Way::Up => {
            let (_, input) = spdy_input(payload);
            (websocket_input(payload), input, Bytes::new(), answer)
        }
        Way::Down => (output, websocket_output(payload), answer, Bytes::new()),
    };
    let expected = match middle {
        Middle::Relay => messages * frame.len() as u64,
        Middle::Translator => messages * frame_out.len() as u64,
    };
    // Large messages one by one, small ones as many as go into one write.
    let block = frame.repeat(LARGE / payload);
    let (client, outside) = pair();
    let (inside, container) = pair();
    let (from, to) = match way {
        Way::Up => (client, container),
        Way::Down => (container, client),
    };
    let middle = match middle {
        Middle::Relay => on_thread(move || plain_relay(outside, inside)),
        Middle::Translator => on_thread(move || translate(outside, inside)),
    };
    let begun = Instant::now();
    let source = on_thread(move || async move {
        let mut socket = adopt(from);
        socket.write_all(&from_says).await.expect("the answer");
        write_blocks(&mut socket, &block, messages * frame.len() as u64).await;
        socket
    });
    let sink = on_thread(move || async move {
        let mut socket = adopt(to);
        socket.write_all(&to_says).await.expect("the answer");
        read_bytes(&mut socket, expected).await;
        socket
    });
    let (to, _) = sink.join().expect("the sink");
    let taken = begun.elapsed().as_secs_f64();
    let (from, _) = source.join().expect("the source");
    drop((from, to));
    let ((), spent) = middle.join().expect("the middle");
    #[expect(clippy::cast_precision_loss, reason = "small enough")]
    let total = total as f64;
    Taken {
        rate: total / 1e6 / taken,
        processor: spent.as_secs_f64() / (total / f64::from(1 << 30)),
    }
}
