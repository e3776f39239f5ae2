//! One hop: events into a codec, over loopback, out of another codec. What the difference to the
//! same bytes unframed is, framing costs.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dockin_stream::{Codec, Event, io::Endpoint};
use futures::{SinkExt as _, StreamExt as _};

use crate::{
    allocations,
    wire::{adopt, megabytes, on_thread, pair},
};

/// Which way the payload of a hop goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Input, towards the container.
    Up,
    /// Output, towards the client.
    Down,
}

/// What a hop took.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// MB/s of payload.
    pub rate: f64,
    /// Allocations for each event in the second half of the hop, of both ends together.
    pub allocations: f64,
    /// Processor seconds for a GiB of payload, of the end that sends.
    pub sender: f64,
    /// The same of the end that receives.
    pub receiver: f64,
}

/// Carries `total` bytes in events of `size` from one end of a connection to the other.
///
/// # Panics
///
/// The two codecs do not understand each other.
pub fn hop<C, S>(
    client: impl FnOnce() -> C + Send + 'static,
    server: impl FnOnce() -> S + Send + 'static,
    way: Way,
    size: usize,
    total: u64,
) -> Hop
where
    C: Codec + Unpin,
    S: Codec + Unpin,
{
    let (near, far) = pair();
    let payload = Bytes::from(vec![b'x'; size]);
    let times = total / size as u64;
    let begun = Instant::now();
    let (client, server, receiver_is_server) = match way {
        Way::Up => (
            on_thread(move || send(near, client(), Event::Stdin(payload), times)),
            on_thread(move || receive(far, server(), total, size)),
            true,
        ),
        Way::Down => (
            on_thread(move || receive(near, client(), total, size)),
            on_thread(move || send(far, server(), Event::Stdout(payload), times)),
            false,
        ),
    };
    let client = client.join().expect("the client");
    let server = server.join().expect("the server");
    let rate = megabytes(total) / begun.elapsed().as_secs_f64();
    let (sender, receiver) = if receiver_is_server {
        (client, server)
    } else {
        (server, client)
    };
    let per_gib = |took: Duration| took.as_secs_f64() * 1_073.741_824 / megabytes(total);
    Hop {
        rate,
        allocations: receiver.0,
        sender: per_gib(sender.1),
        receiver: per_gib(receiver.1),
    }
}

async fn send(socket: TcpStream, codec: impl Codec + Unpin, event: Event, times: u64) -> f64 {
    let mut endpoint = Endpoint::new(adopt(socket), codec, Bytes::new());
    endpoint.flush().await.expect("a connection");
    endpoint.ready().await.expect("our own protocol");
    for _ in 0..times {
        endpoint.feed(event.clone()).await.expect("a reader");
    }
    endpoint.flush().await.expect("a reader");
    // The other end goes when it has all.
    while endpoint.next().await.is_some() {}
    0.0
}

/// Gives the allocations for each event that was sent, both ends together.
async fn receive(socket: TcpStream, codec: impl Codec + Unpin, total: u64, size: usize) -> f64 {
    let mut endpoint = Endpoint::new(adopt(socket), codec, Bytes::new());
    endpoint.flush().await.expect("a connection");
    let (mut seen, mut half) = (0, None);
    while seen < total {
        let event = endpoint.next().await.expect("more");
        seen += event.expect("our own protocol").len() as u64;
        if half.is_none() && seen >= total / 2 {
            half = Some((allocations(), seen));
        }
    }
    let (before, from) = half.expect("a middle");
    let counted = allocations() - before;
    assert_eq!(seen, total, "nothing twice");
    exact(counted) * exact(size as u64) / exact(total - from)
}

#[expect(clippy::cast_precision_loss, reason = "small enough")]
const fn exact(count: u64) -> f64 {
    count as f64
}
