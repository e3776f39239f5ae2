//! The translator alone, WebSocket to SPDY and back, in the middle between bytes that are made
//! beforehand and a reader that only counts: beside a relay that copies, in the same run and in
//! turns. What the difference is, translation costs.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{net::TcpStream, time::Instant};

use bytes::Bytes;
use criterion::Criterion;
use dockin_benches::{
    Ratio, median, report,
    session::{STREAMS, spdy_output, translate, websocket_input},
    wire::{adopt, on_thread, pair, plain_relay, write_blocks},
};
use dockin_stream::{
    Codec, Subprotocol, channel,
    io::Endpoint,
    spdy::{ExecClient, ExecServer},
};
use futures::StreamExt as _;
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
    let (answer, output) = spdy_output(payload);
    let (frame, from_says) = match way {
        Way::Up => (websocket_input(payload), Bytes::new()),
        Way::Down => (output, answer),
    };
    // Large messages one by one, small ones as many as go into one write.
    let block = frame.repeat(LARGE / payload);
    let blocks = total / LARGE as u64;
    let (client, outside) = pair();
    let (inside, container) = pair();
    let (from, to) = match way {
        Way::Up => (client, container),
        Way::Down => (container, client),
    };
    let translated = middle == Middle::Translator;
    let middle = match middle {
        Middle::Relay => on_thread(move || plain_relay(outside, inside)),
        Middle::Translator => on_thread(move || translate(outside, inside)),
    };
    let begun = Instant::now();
    let source = on_thread(move || async move {
        let mut socket = adopt(from);
        socket.write_all(&from_says).await.expect("the answer");
        write_blocks(&mut socket, &block, blocks * block.len() as u64).await;
        socket
    });
    // A relay hands on what the source says, the translator the other protocol.
    let sink = on_thread(move || async move {
        match (way, translated) {
            (Way::Up, false) => {
                take(to, channel::Server::new(Subprotocol::V5, STREAMS), total).await
            }
            (Way::Up, true) => {
                let server = ExecServer::new(Subprotocol::V4, STREAMS, Instant::now());
                take(to, server, total).await
            }
            (Way::Down, false) => take(to, ExecClient::new(Subprotocol::V4, STREAMS), total).await,
            (Way::Down, true) => {
                take(to, channel::Client::new(Subprotocol::V5, STREAMS, 7), total).await
            }
        }
    });
    sink.join().expect("the sink");
    let taken = begun.elapsed().as_secs_f64();
    let (from, _) = source.join().expect("the source");
    drop(from);
    let ((), spent) = middle.join().expect("the middle");
    #[expect(clippy::cast_precision_loss, reason = "small enough")]
    let total = total as f64;
    Taken {
        rate: total / 1e6 / taken,
        processor: spent.as_secs_f64() / (total / f64::from(1 << 30)),
    }
}

/// Reads payload until all of it has come.
async fn take(socket: TcpStream, codec: impl Codec + Unpin, total: u64) {
    let mut endpoint = Endpoint::new(adopt(socket), codec, Bytes::new());
    let mut seen = 0;
    while seen < total {
        let event = endpoint
            .next()
            .await
            .expect("more")
            .expect("our own protocol");
        seen += event.len() as u64;
    }
    assert_eq!(seen, total, "nothing twice");
}
