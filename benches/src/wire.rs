//! Loopback TCP between threads, each with a runtime of its own: a contestant never shares its
//! thread with whoever feeds it.

use std::{
    future::Future,
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
};

/// A pair of connected sockets without Nagle's delay, ready for tokio.
///
/// # Panics
///
/// Loopback is not there.
#[must_use]
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("loopback");
    let (far, _) = listener.accept().expect("loopback");
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
    }
    (near, far)
}

/// Runs a future on a thread and a runtime of its own; gives its value and the processor time
/// that the thread took.
///
/// # Panics
///
/// There are no more threads.
pub fn on_thread<T, F>(make: impl FnOnce() -> F + Send + 'static) -> JoinHandle<(T, Duration)>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let value = runtime.expect("a runtime").block_on(make());
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        let spent = Duration::try_from(spent).expect("time goes forward");
        (value, spent)
    })
}

/// A socket of [`pair`] inside a runtime.
///
/// # Panics
///
/// Called outside of one.
#[must_use]
pub fn adopt(socket: TcpStream) -> tokio::net::TcpStream {
    tokio::net::TcpStream::from_std(socket).expect("a runtime")
}

/// Writes `block` again and again, until `total` bytes are written or nobody reads any more.
pub async fn write_blocks(socket: &mut tokio::net::TcpStream, block: &[u8], total: u64) {
    let mut left = total;
    while left > 0 {
        let Ok(()) = socket.write_all(block).await else {
            return;
        };
        left = left.saturating_sub(block.len() as u64);
    }
}

/// Reads until `total` bytes have come.
///
/// # Panics
///
/// They end before.
pub async fn read_bytes(socket: &mut tokio::net::TcpStream, total: u64) {
    let mut buffer = Vec::with_capacity(READ);
    let mut seen = 0;
    while seen < total {
        buffer.clear();
        let count = socket.read_buf(&mut buffer).await.expect("bytes");
        assert!(count > 0, "{seen} of {total} bytes");
        seen += count as u64;
    }
}

/// One hop of `total` bytes in blocks of `size`, raw: the floor of everything that is framed. Gives
/// MB/s.
///
/// # Panics
///
/// The bytes end before.
#[must_use]
pub fn raw_hop(size: usize, total: u64) -> f64 {
    let (near, far) = pair();
    let begun = Instant::now();
    let source = on_thread(move || async move {
        let mut socket = adopt(near);
        write_blocks(&mut socket, &vec![b'x'; size], total).await;
        socket
    });
    let sink = on_thread(move || async move { read_bytes(&mut adopt(far), total).await });
    sink.join().expect("the sink");
    let rate = megabytes(total) / begun.elapsed().as_secs_f64();
    source.join().expect("the source");
    rate
}

/// Bytes as millions of them.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "small enough")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The floor of everything in the middle: copies both ways, in pieces of 64 KiB, until either
/// side ends.
pub async fn plain_relay(one: TcpStream, other: TcpStream) {
    let (mut one, mut other) = (adopt(one), adopt(other));
    // The end is the sockets' end, in whatever way.
    let _ended = tokio::io::copy_bidirectional_with_sizes(&mut one, &mut other, READ, READ).await;
}

/// Bytes of one read.
pub const READ: usize = 64 * 1024;
