//! The whole path, as a person meets it: bytes out of, into and back from a command in a real
//! container, through client, gateway and agent; beside `docker exec` of the same command, and a
//! raw loopback TCP copy, all in the same run and in turns.
//!
//! Needs Docker: `cargo xtask bench` starts a private one; by hand, `cargo xtask servers` prints
//! what to export. Every program runs as its own process, as it would in use.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use criterion::Criterion;
use dockin_benches::{Ratio, median, percentile, report};
use dockin_harness::{Container, House, HouseOptions};

/// Bytes of one transfer: long against set-up, short against patience.
const BYTES: u64 = 256 * 1024 * 1024;
/// Rounds, each with every contestant once.
const ROUNDS: usize = 7;
/// One-byte echoes of a round.
const ECHOES: usize = 1500;
/// Echoes that only warm up.
const WARM: usize = 200;

fn main() {
    let house = House::start(&HouseOptions::default());
    let container = house.docker().container(&[], &["/bin/sleep", "2147483647"]);
    let stage = Stage { house, container };

    let mut ours = Measured::default();
    let mut docker = Measured::default();
    let mut raw = Measured::default();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for (who, measured) in [(Who::Dockin, &mut ours), (Who::Docker, &mut docker)] {
            measured.out.push(stage.output(who));
            measured.input.push(stage.input(who));
            measured.echo.extend(stage.echo(who));
        }
        raw.out.push(raw_copy());
        raw.echo.extend(raw_echo());
    }

    let throughput = |what: &str, measured: &[f64], floor: &[f64], must| Ratio {
        what: what.to_owned(),
        measured: median(measured.to_vec()),
        floor: median(floor.to_vec()),
        unit: "MB/s",
        more_is_better: true,
        must,
        aim: None,
    };
    let latency = |what: &str, part: f64, measured: &[f64], floor: &[f64], must| Ratio {
        what: what.to_owned(),
        measured: percentile(measured.to_vec(), part),
        floor: percentile(floor.to_vec(), part),
        unit: "us",
        more_is_better: false,
        must,
        aim: None,
    };
    let ratios = [
        throughput(
            "exec output, of docker exec",
            &ours.out,
            &docker.out,
            Some(1.0),
        ),
        throughput(
            "exec input, of docker exec",
            &ours.input,
            &docker.input,
            Some(1.0),
        ),
        latency(
            "echo p50, of docker exec",
            0.5,
            &ours.echo,
            &docker.echo,
            Some(1.0),
        ),
        latency(
            "echo p99, of docker exec",
            0.99,
            &ours.echo,
            &docker.echo,
            None,
        ),
        throughput("exec output, of a raw TCP copy", &ours.out, &raw.out, None),
        throughput("exec input, of a raw TCP copy", &ours.input, &raw.out, None),
        latency(
            "echo p50, of a raw TCP echo",
            0.5,
            &ours.echo,
            &raw.echo,
            None,
        ),
    ];
    report("stream_throughput", &ratios);

    // The same through criterion, for its history and its statistics.
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for who in [Who::Dockin, Who::Docker] {
        criterion.bench_function(&format!("stream_throughput/output/{who:?}"), |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| seconds_of(stage.output(who)))
                    .sum::<Duration>()
            });
        });
    }
    criterion.final_summary();
}

/// The time that `BYTES` take at `rate` MB/s.
fn seconds_of(rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "256 MiB fit")]
    Duration::from_secs_f64(BYTES as f64 / 1e6 / rate)
}

#[derive(Default)]
struct Measured {
    out: Vec<f64>,
    input: Vec<f64>,
    echo: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Dockin,
    Docker,
}

struct Stage {
    house: House,
    container: Container,
}

impl Stage {
    fn exec(&self, who: Who, argv: &[&str]) -> Child {
        let mut command = match who {
            Who::Dockin => {
                let mut command = self.house.dockctl();
                command.args(["exec", "-i", self.container.name(), "--"]);
                command
            }
            Who::Docker => {
                let mut command: Command = self.house.docker().command();
                command.args(["exec", "-i", self.container.name()]);
                command
            }
        };
        command
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.spawn().expect("the client starts")
    }

    /// MB/s of output, from the first byte to the last.
    fn output(&self, who: Who) -> f64 {
        let blocks = BYTES / 65_536;
        let script = format!("dd if=/dev/zero bs=64k count={blocks} 2>/dev/null");
        let mut child = self.exec(who, &["sh", "-c", &script]);
        drop(child.stdin.take());
        let mut stdout = child.stdout.take().expect("piped");
        let mut buffer = vec![0; 256 * 1024];
        let mut total = stdout.read(&mut buffer).expect("output") as u64;
        let begun = Instant::now();
        let first = total;
        loop {
            let count = stdout.read(&mut buffer).expect("output");
            if count == 0 {
                break;
            }
            total += count as u64;
        }
        let taken = begun.elapsed();
        assert!(
            child.wait().expect("its end").success(),
            "{who:?}: the command failed"
        );
        assert_eq!(total, BYTES, "{who:?}: bytes are lost");
        rate(total - first, taken)
    }

    /// MB/s of input, from the first byte until the command has counted the last.
    fn input(&self, who: Who) -> f64 {
        // `dd` counts without looking: `wc` of a busybox would be the slowest part by far.
        let script = "head -c 1 >/dev/null; echo; dd bs=64k iflag=fullblock of=/dev/null 2>&1";
        let mut child = self.exec(who, &["sh", "-c", script]);
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = child.stdout.take().expect("piped");
        // The newline says that the command runs.
        stdin.write_all(b"x").expect("input");
        let mut newline = [0];
        stdout.read_exact(&mut newline).expect("output");
        let block = vec![0; 65_536];
        let begun = Instant::now();
        for _ in 0..BYTES / 65_536 {
            stdin.write_all(&block).expect("input");
        }
        drop(stdin);
        let mut said = String::new();
        stdout.read_to_string(&mut said).expect("output");
        let taken = begun.elapsed();
        assert!(
            child.wait().expect("its end").success(),
            "{who:?}: the command failed"
        );
        // Whole blocks, and no rest.
        let whole = format!("{}+0 records in", BYTES / 65_536);
        assert!(said.starts_with(&whole), "{who:?}: bytes are lost: {said}");
        rate(BYTES, taken)
    }

    /// Microseconds of each one-byte echo through `cat`.
    fn echo(&self, who: Who) -> Vec<f64> {
        let mut child = self.exec(who, &["cat"]);
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = child.stdout.take().expect("piped");
        let mut one = || {
            let begun = Instant::now();
            stdin.write_all(b"x").expect("input");
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("output");
            assert_eq!(byte, *b"x", "{who:?}: another byte came back");
            begun.elapsed().as_secs_f64() * 1e6
        };
        for _ in 0..WARM {
            one();
        }
        let times = (0..ECHOES).map(|_| one()).collect();
        drop(stdin);
        assert!(
            child.wait().expect("its end").success(),
            "{who:?}: the command failed"
        );
        times
    }
}

/// MB/s of one loopback TCP connection.
fn raw_copy() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let writer = thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        let block = vec![0; 65_536];
        for _ in 0..BYTES / 65_536 {
            socket.write_all(&block).unwrap();
        }
    });
    let (mut socket, _) = listener.accept().unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let begun = Instant::now();
    let mut total = 0;
    loop {
        let count = socket.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        total += count as u64;
    }
    let taken = begun.elapsed();
    writer.join().unwrap();
    assert_eq!(total, BYTES, "raw: bytes are lost");
    rate(total, taken)
}

/// Microseconds of each one-byte echo over one loopback TCP connection.
fn raw_echo() -> Vec<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let mut byte = [0];
        while socket.read_exact(&mut byte).is_ok() {
            socket.write_all(&byte).unwrap();
        }
    });
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut one = || {
        let begun = Instant::now();
        socket.write_all(b"x").unwrap();
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        begun.elapsed().as_secs_f64() * 1e6
    };
    for _ in 0..WARM {
        one();
    }
    let times = (0..ECHOES).map(|_| one()).collect();
    drop(socket);
    echo.join().unwrap();
    times
}

fn rate(bytes: u64, taken: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "256 MiB fit")]
    let megabytes = bytes as f64 / 1e6;
    megabytes / taken.as_secs_f64()
}
