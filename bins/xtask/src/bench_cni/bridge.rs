//! Whole attachments into fresh namespaces: our bridge driver beside the reference's `bridge` with
//! `static`, and beside the least that the kernel needs.
//!
//! Everything happens in a network and mount namespace of its own, in which this program starts
//! itself again. Our plugins, and the least beside them, are built as they are installed.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Call, Programs, Row, call, percentile};
use crate::plugins;

/// One of a hundred calls is the slowest by chance.
const ROUNDS: usize = 200;
const TOGETHER: usize = 100;
const TOGETHER_ROUNDS: usize = 5;
const AGAIN: usize = 100;
/// The records of `dockin-cni`, where they are durable.
const STATE: &str = "/var/tmp/dockin-bench-cni";
/// The word with which this program starts itself again.
pub(super) const INSIDE: &str = "bridge-inside";
/// What a candidate is called with: how its configuration is made of an address.
type Configure = fn(address: &str) -> String;

pub(super) fn rows(programs: &Programs) -> Result<Vec<Row>, String> {
    let ours = plugins::build_with_examples()?;
    let this = std::env::current_exe().map_err(told)?;
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(this)
        .args(["bench-cni", INSIDE])
        .env("DOCKIN_BENCH_OURS", ours)
        .env("DOCKIN_BENCH_REFERENCE", &programs.debian)
        .stderr(Stdio::inherit())
        .output()
        .map_err(told)?;
    if !output.status.success() {
        return Err("the bridge bench needs root, unshare and ip".into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(read).collect()
}

/// A row as one line, with tabs between.
fn write(row: &Row) -> String {
    let number = |it: Option<f64>| it.map_or(String::new(), |it| it.to_string());
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}",
        row.what,
        row.measured,
        row.floor,
        row.unit,
        number(row.must),
        number(row.at_most)
    )
}

fn read(line: &str) -> Result<Row, String> {
    let mut words = line.split('\t');
    let mut word = || words.next().unwrap_or_default();
    let what = word().to_owned();
    let number = |it: &str| it.parse::<f64>().map_err(|_| format!("no row: {line}"));
    Ok(Row {
        what,
        measured: number(word())?,
        floor: number(word())?,
        unit: match word() {
            "KiB" => "KiB",
            "of 100" => "of 100",
            _ => "ms",
        },
        must: number(word()).ok(),
        at_most: number(word()).ok(),
    })
}

/// The bench itself, in namespaces of its own.
pub(super) fn inside() -> Result<(), String> {
    let path = |name| std::env::var(name).map(PathBuf::from).map_err(told);
    let ours = path("DOCKIN_BENCH_OURS")?;
    let bench = Bench {
        floor: ours.join("examples/netlink_floor"),
        peak: ours.join("examples/peak_memory"),
        ours: ours.join("dockin-cni"),
        reference: path("DOCKIN_BENCH_REFERENCE")?.join("bridge"),
    };
    for words in [
        "link set lo up",
        "link add br0 type bridge",
        "addr add 10.1.0.1/16 dev br0",
        "addr add fd01::1/64 dev br0 nodad",
        "link set br0 up",
    ] {
        run("ip", words)?;
    }
    fs::create_dir_all("/run/netns").map_err(told)?;
    run("mount", "-t tmpfs namespaces /run/netns")?;
    let mut rows = bench.one_by_one()?;
    rows.extend(bench.together()?);
    rows.extend(bench.again()?);
    rows.push(bench.memory()?);
    for row in rows {
        println!("{}", write(&row));
    }
    Ok(())
}

struct Bench {
    floor: PathBuf,
    peak: PathBuf,
    ours: PathBuf,
    reference: PathBuf,
}

fn network(kind: &str, addresses: &str, routes: &str) -> String {
    format!(
        r#"{{"cniVersion":"1.0.0","name":"bench","type":"bridge","bridge":"br0","ipam":{{"type":"{kind}","addresses":[{addresses}],"routes":[{routes}]}}}}"#
    )
}

fn four(address: &str) -> String {
    format!(r#"{{"address":"{address}/16","gateway":"10.1.0.1"}}"#)
}

const ROUTE: &str = r#"{"dst":"0.0.0.0/0"}"#;

fn of_reference(address: &str) -> String {
    network("static", &four(address), ROUTE)
}

fn of_ours(address: &str) -> String {
    network("dockin-ipam", &four(address), ROUTE)
}

fn of_both(address: &str) -> String {
    let six = address.replacen("10.1.", "fd01::", 1).replace('.', ":");
    let addresses = format!(
        r#"{},{{"address":"{six}/64","gateway":"fd01::1"}}"#,
        four(address)
    );
    network(
        "dockin-ipam",
        &addresses,
        r#"{"dst":"0.0.0.0/0"},{"dst":"::/0"}"#,
    )
}

fn of_meta(address: &str) -> String {
    format!(
        r#"{{"cniVersion":"1.0.0","name":"dockin","type":"dockin-cni","confDir":"/run/netns/.net.d","stateDir":"{STATE}","networks":[{{"type":"bench","podIp":"{address}","subnetMask":"16","gateway":"10.1.0.1","ifName":"eth0","master":true}}]}}"#
    )
}

impl Bench {
    /// One attachment after the other, each candidate once a round, the order turning.
    fn one_by_one(&self) -> Result<Vec<Row>, String> {
        // What a run left that was stopped.
        let _ = fs::remove_dir_all(STATE);
        fs::create_dir_all("/run/netns/.net.d").map_err(told)?;
        let file = r#"{"cniVersion":"1.0.0","name":"bench","type":"bridge","bridge":"br0"}"#;
        fs::write("/run/netns/.net.d/bench.conf", file).map_err(told)?;
        let candidates: [(&Path, Configure); 5] = [
            (&self.floor, |_| "{}".into()),
            (&self.ours, of_ours),
            (&self.ours, of_both),
            (&self.reference, of_reference),
            (&self.ours, of_meta),
        ];
        let mut times = vec![Vec::new(); candidates.len()];
        for round in 0..ROUNDS {
            for turn in 0..candidates.len() {
                let chosen = (round + turn) % candidates.len();
                let (Some((program, configure)), Some(times)) =
                    (candidates.get(chosen), times.get_mut(chosen))
                else {
                    continue;
                };
                let name = format!("c{round}x{chosen}");
                let address = format!("10.1.{}.{}", chosen + 1, round + 2);
                run("ip", &format!("netns add {name}"))?;
                let netns = format!("/run/netns/{name}");
                let stdin = configure(&address);
                let one = Call {
                    program,
                    verb: "ADD",
                    container: &name,
                    netns: &netns,
                    args: if chosen == 0 { &address } else { "" },
                    stdin: &stdin,
                };
                let (taken, _) = call(&one)?;
                times.push(taken.as_secs_f64() * 1e3);
            }
            // Together, and not while something is measured: the end of a namespace holds the
            // kernel's lock.
            let gone = (0..candidates.len()).map(|it| format!("netns del c{round}x{it}\n"));
            batch(&gone.collect::<String>())?;
            std::thread::sleep(Duration::from_millis(60));
        }
        let _ = fs::remove_dir_all(STATE);
        let [floor, ours, both, reference, meta] = times.as_slice() else {
            return Err("five candidates were measured".into());
        };
        let row = |what: &str, ours: &[f64], beside: &[f64], part, must| Row {
            what: what.into(),
            measured: percentile(ours, part),
            floor: percentile(beside, part),
            unit: "ms",
            must,
            at_most: None,
        };
        Ok(vec![
            row(
                "bridge ADD p50, of the netlink floor",
                ours,
                floor,
                0.5,
                Some(1.3),
            ),
            row(
                "bridge ADD p50, of bridge + static",
                ours,
                reference,
                0.5,
                Some(0.2),
            ),
            row(
                "bridge ADD p99, of bridge + static",
                ours,
                reference,
                0.99,
                Some(0.25),
            ),
            row(
                "dual-stack ADD p50, of IPv4 only",
                both,
                ours,
                0.5,
                Some(1.1),
            ),
            row(
                "dockin-cni ADD p50, records durable, of the floor",
                meta,
                floor,
                0.5,
                None,
            ),
            row(
                "dockin-cni ADD p50, of bridge + static alone",
                meta,
                reference,
                0.5,
                None,
            ),
            row(
                "bridge + static p50, of the netlink floor",
                reference,
                floor,
                0.5,
                None,
            ),
        ])
    }

    /// Many at the same moment, until the last is done.
    fn together(&self) -> Result<Vec<Row>, String> {
        let candidates: [(&Path, Configure); 3] = [
            (&self.floor, |_| "{}".into()),
            (&self.ours, of_ours),
            (&self.reference, of_reference),
        ];
        let mut times = vec![Vec::new(); candidates.len()];
        for round in 0..TOGETHER_ROUNDS {
            for turn in 0..candidates.len() {
                let chosen = (round + turn) % candidates.len();
                let Some((program, configure)) = candidates.get(chosen) else {
                    continue;
                };
                let names: Vec<_> = (0..TOGETHER)
                    .map(|it| format!("t{round}x{chosen}x{it}"))
                    .collect();
                let all = |verb: &str| {
                    let lines = names.iter().map(|it| format!("netns {verb} {it}\n"));
                    batch(&lines.collect::<String>())
                };
                all("add")?;
                let begun = Instant::now();
                let mut children = Vec::new();
                for (index, name) in names.iter().enumerate() {
                    let address = format!("10.1.{}.{}", 20 + chosen, index + 2);
                    let stdin = configure(&address);
                    let netns = format!("/run/netns/{name}");
                    let mut command = Call {
                        program,
                        verb: "ADD",
                        container: name,
                        netns: &netns,
                        args: if chosen == 0 { &address } else { "" },
                        stdin: &stdin,
                    }
                    .command();
                    let mut child = command.stdout(Stdio::null()).spawn().map_err(told)?;
                    if let Some(mut pipe) = child.stdin.take() {
                        pipe.write_all(stdin.as_bytes()).map_err(told)?;
                    }
                    children.push(child);
                }
                for child in &mut children {
                    if !child.wait().map_err(told)?.success() {
                        return Err(format!("{} failed among many", program.display()));
                    }
                }
                if let Some(times) = times.get_mut(chosen) {
                    times.push(begun.elapsed().as_secs_f64() * 1e3);
                }
                all("del")?;
                // Namespaces end in the background.
                std::thread::sleep(Duration::from_millis(500));
            }
        }
        let [floor, ours, reference] = times.as_slice() else {
            return Err("three candidates were measured".into());
        };
        let row = |beside: &str, than: &[f64], must| Row {
            what: format!("{TOGETHER} concurrent ADDs, of {beside}"),
            measured: percentile(ours, 0.5),
            floor: percentile(than, 0.5),
            unit: "ms",
            must,
            at_most: None,
        };
        Ok(vec![
            row("bridge + static", reference, Some(0.3)),
            row("the netlink floor", floor, None),
        ])
    }

    /// A pod ends and another gets its address, every second time under another hardware address:
    /// how long after `ADD` until it answers the host, which has talked to the one before.
    fn again(&self) -> Result<Vec<Row>, String> {
        let mut waits = Vec::new();
        let configure = |round: usize| {
            let mac = format!("02:00:00:00:{:02x}:{round:02x}", round % 2);
            let config = of_ours("10.1.30.2");
            let end = config.len().saturating_sub(1);
            let start = config.get(..end).unwrap_or_default();
            match round % 4 {
                0 | 1 => config.clone(),
                _ => format!(r#"{start},"runtimeConfig":{{"mac":"{mac}"}}}}"#),
            }
        };
        let at = |verb: &'static str, name: &str, stdin: &str| {
            call(&Call {
                program: &self.ours,
                verb,
                container: name,
                netns: &format!("/run/netns/{name}"),
                args: "",
                stdin,
            })
        };
        // Somebody else, so that the bridge does not go down in between and forget everything.
        run("ip", "netns add other")?;
        at("ADD", "other", &of_ours("10.1.30.9"))?;
        for round in 0..AGAIN {
            let name = format!("a{round}");
            let stdin = configure(round);
            run("ip", &format!("netns add {name}"))?;
            at("ADD", &name, &stdin)?;
            waits.push(answers("10.1.30.2:9").as_secs_f64() * 1e3);
            at("DEL", &name, &stdin)?;
            run("ip", &format!("netns del {name}"))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let late = waits.iter().filter(|it| **it > 50.0).count() as f64;
        Ok(vec![
            Row {
                what: "the same address again: answers after, worst of 100".into(),
                measured: percentile(&waits, 1.0),
                floor: percentile(&waits, 0.5),
                unit: "ms",
                must: None,
                at_most: Some(50.0),
            },
            Row {
                what: "the same address again: later than 50 ms".into(),
                measured: late,
                floor: 100.0,
                unit: "of 100",
                must: None,
                at_most: Some(0.0),
            },
        ])
    }

    /// The most memory of one `ADD`, with everything a configuration can ask for.
    fn memory(&self) -> Result<Row, String> {
        let peak = |program: &Path, name: &str, stdin: &str| -> Result<f64, String> {
            run("ip", &format!("netns add {name}"))?;
            let of = Call {
                program,
                verb: "ADD",
                container: name,
                netns: &format!("/run/netns/{name}"),
                args: "",
                stdin,
            };
            let like = of.command();
            let mut command = Command::new(&self.peak);
            command
                .arg(program)
                .env_clear()
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            for (key, value) in like.get_envs() {
                command.envs(value.map(|value| (key, value)));
            }
            let mut child = command.stderr(Stdio::null()).spawn().map_err(told)?;
            if let Some(mut pipe) = child.stdin.take() {
                pipe.write_all(stdin.as_bytes()).map_err(told)?;
            }
            let output = child.wait_with_output().map_err(told)?;
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .map_err(told)
        };
        let everything = of_both("10.1.40.2").replacen(
            r#""bridge":"br0","#,
            r#""bridge":"br0","ipMasq":true,"macspoofchk":true,"isGateway":true,"#,
            1,
        );
        Ok(Row {
            what: "peak memory of ADD, of bridge + static".into(),
            measured: peak(&self.ours, "m1", &everything)?,
            floor: peak(&self.reference, "m2", &of_reference("10.1.40.3"))?,
            unit: "KiB",
            must: None,
            at_most: Some(2048.0),
        })
    }
}

/// How long until somebody at the address says anything: a refusal is an answer.
fn answers(address: &str) -> Duration {
    let begun = Instant::now();
    let Ok(address) = address.parse::<SocketAddr>() else {
        return Duration::MAX;
    };
    let _ = TcpStream::connect_timeout(&address, Duration::from_secs(60));
    begun.elapsed()
}

fn run(program: &str, words: &str) -> Result<(), String> {
    let done = Command::new(program)
        .args(words.split(' '))
        .status()
        .map_err(told)?;
    match done.success() {
        true => Ok(()),
        false => Err(format!("{program} {words} failed")),
    }
}

/// Many commands of `ip` in one process.
fn batch(lines: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(told)?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(lines.as_bytes()).map_err(told)?;
    }
    match child.wait().map_err(told)?.success() {
        true => Ok(()),
        false => Err("ip -batch failed".into()),
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
