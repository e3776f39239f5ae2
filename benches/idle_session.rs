//! What a session costs that does nothing: 10,000 translated sessions, each with its streams set
//! up and one byte echoed, then left alone. Their connections are in memory, and what those take
//! is measured beside them.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::alloc::System;

use bytes::Bytes;
use criterion::Criterion;
use dockin_benches::{
    Ratio, allocations, heap, report,
    session::{
        greeting, spdy_input, spdy_output, translate_over, websocket_input, websocket_output,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    runtime::{Builder, Handle},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Sessions that are open at a time.
const SESSIONS: usize = 10_000;
/// Bytes that a connection in memory holds each way.
const CONNECTION: usize = 4096;

fn main() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (connections, sessions, tasks) = runtime.block_on(async {
        let speech = Speech::new();
        let begun = heap();
        let mut idle = Vec::with_capacity(SESSIONS);
        for _ in 0..SESSIONS {
            idle.push(speech.connections().await);
        }
        let connections = heap() - begun;
        drop(idle);

        // What the first session sets up for all.
        drop(speech.session().await);
        tokio::task::yield_now().await;
        let (begun, tasks) = (heap(), Handle::current().metrics().num_alive_tasks());
        let mut open = Vec::with_capacity(SESSIONS);
        for _ in 0..SESSIONS {
            open.push(speech.session().await);
        }
        let taken = (
            heap() - begun,
            Handle::current().metrics().num_alive_tasks() - tasks,
        );
        drop(open);
        (connections, taken.0, taken.1)
    });
    let each = |bytes: u64| kibibytes(bytes) / kibibytes(SESSIONS as u64 * 1024);
    eprintln!(
        "{:.2} KiB for the connections of a session",
        each(connections)
    );
    report(
        "idle_session",
        &[
            Ratio {
                what: "heap of an idle translated session, of 16 KiB".to_owned(),
                measured: each(sessions.saturating_sub(connections)),
                floor: 16.0,
                unit: "KiB",
                more_is_better: false,
                must: Some(1.0),
                aim: Some(0.5),
            },
            Ratio {
                what: "tasks of an idle translated session".to_owned(),
                measured: kibibytes(tasks as u64) / kibibytes(SESSIONS as u64),
                floor: 1.0,
                unit: "tasks",
                more_is_better: false,
                must: None,
                aim: Some(1.0),
            },
        ],
    );

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    criterion.bench_function("idle_session/open_echo_close", |bencher| {
        let speech = Speech::new();
        bencher.iter(|| runtime.block_on(speech.session()));
    });
    criterion.final_summary();
    eprintln!("{} allocations in all", allocations());
}

/// What both ends say, made beforehand.
struct Speech {
    greeting: usize,
    hello: Bytes,
    answer: Bytes,
    asked: Bytes,
    input: Bytes,
    output: Bytes,
    answered: Bytes,
}

impl Speech {
    fn new() -> Self {
        let (hello, input) = spdy_input(1);
        let (answer, output) = spdy_output(1);
        Self {
            greeting: greeting(),
            hello,
            answer,
            asked: websocket_input(1),
            input,
            output,
            answered: websocket_output(1),
        }
    }

    /// Connections that have carried what those of a session do, without one.
    async fn connections(&self) -> [DuplexStream; 4] {
        let (mut client, mut outside) = duplex(CONNECTION);
        let (mut container, mut inside) = duplex(CONNECTION);
        pass(&mut outside, &mut client, self.greeting).await;
        pass(&mut inside, &mut container, self.hello.len()).await;
        pass(&mut container, &mut inside, self.answer.len()).await;
        pass(&mut client, &mut outside, self.asked.len()).await;
        [client, outside, container, inside]
    }

    /// A session that has carried one byte both ways: its far ends.
    async fn session(&self) -> (DuplexStream, DuplexStream) {
        let (mut client, outside) = duplex(CONNECTION);
        let (mut container, inside) = duplex(CONNECTION);
        let _translator = tokio::spawn(translate_over(outside, inside));
        let mut heard = vec![0; self.hello.len().max(64)];
        let mut hear = async |stream: &mut DuplexStream, count: usize| {
            let heard = heard.get_mut(..count).expect("room");
            stream.read_exact(heard).await.expect("the translator");
        };
        hear(&mut client, self.greeting).await;
        hear(&mut container, self.hello.len()).await;
        container
            .write_all(&self.answer)
            .await
            .expect("the translator");
        client.write_all(&self.asked).await.expect("the translator");
        hear(&mut container, self.input.len()).await;
        container
            .write_all(&self.output)
            .await
            .expect("the translator");
        hear(&mut client, self.answered.len()).await;
        (client, container)
    }
}

async fn pass(from: &mut DuplexStream, to: &mut DuplexStream, count: usize) {
    let mut bytes = vec![0; count];
    from.write_all(&bytes).await.expect("a connection");
    to.read_exact(&mut bytes).await.expect("a connection");
}

#[expect(clippy::cast_precision_loss, reason = "small enough")]
fn kibibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
