//! A one-byte echo through the translator, beside one through a relay that copies: bytes made
//! beforehand at both ends, so that only what is in the middle differs.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::time::Instant;

use bytes::Bytes;
use criterion::Criterion;
use dockin_benches::{
    Ratio, percentile, report,
    session::{greeting, spdy_input, spdy_output, translate, websocket_input, websocket_output},
    wire::{adopt, on_thread, pair, plain_relay},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Rounds, each with every contestant once.
const ROUNDS: usize = 41;
/// Echoes of a round: few, so that whatever else the machine does meets both contestants.
const ECHOES: usize = 1000;
/// Echoes that only warm up.
const WARM: usize = 200;

fn main() {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        // Who begins changes, because the one before leaves the machine warm.
        let mut order = [Middle::Relay, Middle::Translator];
        if round % 2 == 1 {
            order.reverse();
        }
        for middle in order {
            match middle {
                Middle::Relay => floor.push(echoes(middle)),
                Middle::Translator => ours.push(echoes(middle)),
            }
        }
    }
    // The median of the rounds: one that met somebody else's work counts as one.
    let of_rounds = |rounds: &[Vec<f64>], part| {
        percentile(
            rounds
                .iter()
                .map(|echoes| percentile(echoes.clone(), part))
                .collect(),
            0.5,
        )
    };
    let beyond = |what: &str, part, must, aim| {
        let (measured, floor) = (of_rounds(&ours, part), of_rounds(&floor, part));
        eprintln!("{what}: {measured:.1} us, a copying relay {floor:.1} us");
        Ratio {
            what: format!("echo {what}, beyond a copying relay"),
            measured: measured - floor,
            floor: must,
            unit: "us",
            more_is_better: false,
            must: Some(1.0),
            aim,
        }
    };
    report(
        "echo_latency",
        &[
            beyond("p50", 0.5, 3.0, Some(1.0 / 3.0)),
            beyond("p99", 0.99, 15.0, None),
        ],
    );

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for middle in [Middle::Relay, Middle::Translator] {
        criterion.bench_function(&format!("echo_latency/{middle:?}"), |bencher| {
            bencher.iter_custom(|times| {
                let median = percentile(echoes(middle), 0.5);
                std::time::Duration::from_secs_f64(median / 1e6).mul_f64(exact(times))
            });
        });
    }
    criterion.final_summary();
}

fn exact(times: u64) -> f64 {
    f64::from(u32::try_from(times).unwrap_or(u32::MAX))
}

#[derive(Clone, Copy, Debug)]
enum Middle {
    Relay,
    Translator,
}

/// Microseconds of each echo.
fn echoes(middle: Middle) -> Vec<f64> {
    let (client, outside) = pair();
    let (inside, container) = pair();
    let (asked, answered) = (websocket_input(1), websocket_output(1));
    let (hello, input) = spdy_input(1);
    let (prelude, output) = spdy_output(1);
    let (asks, to_read, reads, says, hello, prelude) = match middle {
        Middle::Translator => (asked, answered.len(), input.len(), output, hello, prelude),
        // The same number of bytes, as they are.
        Middle::Relay => {
            let length = asked.len();
            (
                asked.clone(),
                length,
                length,
                asked,
                Bytes::new(),
                Bytes::new(),
            )
        }
    };
    let greeting = match middle {
        Middle::Translator => greeting(),
        Middle::Relay => 0,
    };
    let middle = match middle {
        Middle::Relay => on_thread(move || plain_relay(outside, inside)),
        Middle::Translator => on_thread(move || translate(outside, inside)),
    };
    let container = on_thread(move || async move {
        let mut socket = adopt(container);
        let mut buffer = vec![0; hello.len()];
        socket.read_exact(&mut buffer).await.expect("the streams");
        socket.write_all(&prelude).await.expect("their answer");
        let mut buffer = vec![0; reads];
        while socket.read_exact(&mut buffer).await.is_ok() {
            if socket.write_all(&says).await.is_err() {
                break;
            }
        }
    });
    let client = on_thread(move || async move {
        let mut socket = adopt(client);
        let mut buffer = vec![0; greeting];
        socket.read_exact(&mut buffer).await.expect("the greeting");
        let mut buffer = vec![0; to_read];
        let mut times = Vec::with_capacity(ECHOES);
        for turn in 0..WARM + ECHOES {
            let begun = Instant::now();
            socket.write_all(&asks).await.expect("the byte");
            socket.read_exact(&mut buffer).await.expect("its echo");
            if turn >= WARM {
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
        }
        times
    });
    let (times, _) = client.join().expect("the client");
    let _ended = (middle.join(), container.join());
    times
}
