//! One call of `dockin-ipam` beside an empty program, and at many leases beside `host-local`.

use std::{fmt::Write, fs, path::Path, process::Command};

use super::{Call, Programs, Row, call, percentile};
use crate::scratch::Scratch;

/// Calls of each in the comparison of one durable exec.
const ROUNDS: usize = 300;
/// Leases there are already.
const MANY: [u32; 2] = [60_000, 1_000_000];
/// Calls of ours for one of `host-local`, which takes most of a second.
const OURS_FOR_THEIRS: usize = 8;
const THEIR_ROUNDS: usize = 9;

/// One durable call: address, lease, `fdatasync`, answer.
pub(super) fn exec(programs: &Programs) -> Result<Vec<Row>, String> {
    let scratch = Scratch::new()?;
    let ours = pool("dockin-ipam", scratch.path());
    let named = config("static", r#""addresses":[{"address":"10.0.0.2/12"}]"#);
    let file = scratch.path().join("durable");
    fs::write(&file, vec![0; 32 * 1024]).map_err(|error| format!("durable: {error}"))?;
    let file = file.display().to_string();
    let candidates = [
        (programs.floor.clone(), &ours, ""),
        (programs.ours.join("dockin-ipam"), &ours, ""),
        (programs.debian.join("static"), &named, ""),
        (programs.durable_floor.clone(), &ours, &file),
        (programs.small_floor.clone(), &ours, ""),
    ];
    let mut times: [Vec<f64>; 5] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..candidates.len() {
            let which = (round + turn) % candidates.len();
            if let (Some((program, stdin, args)), Some(times)) =
                (candidates.get(which), times.get_mut(which))
            {
                let name = format!("c{round}");
                let one = Call {
                    args,
                    ..plain(program, "ADD", &name, stdin)
                };
                times.push(call(&one)?.0.as_secs_f64() * 1e3);
            }
        }
    }
    let [floor, ours, named, durable, small] = &times;
    let row = |what: &str, measured: &[f64], part, must| Row {
        what: what.into(),
        measured: percentile(measured, part),
        floor: percentile(floor, part),
        unit: "ms",
        must,
        at_most: None,
    };
    Ok(vec![
        row("durable ADD, of an empty program", ours, 0.5, Some(1.5)),
        row("the same, p99", ours, 0.99, None),
        Row {
            floor: percentile(small, 0.5),
            ..row(
                "the same, of an empty program linked with musl as well",
                ours,
                0.5,
                None,
            )
        },
        Row {
            floor: percentile(durable, 0.5),
            ..row(
                "the same, of one of these that makes 448 bytes durable",
                ours,
                0.5,
                None,
            )
        },
        row(
            "static, which stores nothing, of the same",
            named,
            0.5,
            None,
        ),
    ])
}

/// ADD where there are many leases already, and what a call takes in memory there.
pub(super) fn many(programs: &Programs) -> Result<Vec<Row>, String> {
    let scratch = Scratch::new()?;
    let program = programs.ours.join("dockin-ipam");
    let theirs = scratch.path().join("host-local");
    let mut configs = Vec::new();
    for leases in MANY {
        let directory = scratch.path().join(format!("leases-{leases}"));
        let list = scratch.path().join("list");
        fs::write(&list, lease_list(leases)).map_err(|error| format!("list: {error}"))?;
        let imported = Command::new(&program)
            .args(["pool", "--data-dir"])
            .arg(&directory)
            .args(["import", "bench"])
            .arg(&list)
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        if !imported.status.success() {
            return Err(String::from_utf8_lossy(&imported.stderr).into_owned());
        }
        configs.push(pool("dockin-ipam", &directory));
    }
    let [few, most] = configs.as_slice() else {
        return Err("two sizes are compared".into());
    };
    host_local_directory(&theirs.join("bench"), MANY[0])?;
    // What was just written is written out now, and not by the calls that are measured.
    let written = Command::new("sync").status();
    written.map_err(|error| format!("sync: {error}"))?;
    let their_config = pool("host-local", &theirs);
    let their_program = programs.debian.join("host-local");
    let (mut at_few, mut at_most, mut of_theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..THEIR_ROUNDS {
        for turn in 0..OURS_FOR_THEIRS {
            let name = format!("new-{round}-{turn}");
            at_few.push(milliseconds(&program, "ADD", &name, few)?);
            at_most.push(milliseconds(&program, "ADD", &name, most)?);
        }
        let name = format!("new-{round}");
        of_theirs.push(milliseconds(&their_program, "ADD", &name, &their_config)?);
    }
    let row = |what: &str, measured: &[f64], floor: &[f64], part, at_most| Row {
        what: what.into(),
        measured: percentile(measured, part),
        floor: percentile(floor, part),
        unit: "ms",
        must: None,
        at_most,
    };
    let mut rows = vec![
        row(
            "ADD at 60,000 leases, beside host-local",
            &at_few,
            &of_theirs,
            0.5,
            Some(4.0),
        ),
        row(
            "ADD at 1,000,000, beside host-local at 60,000",
            &at_most,
            &of_theirs,
            0.5,
            Some(4.0),
        ),
        row(
            "ADD at 1,000,000, of that at 60,000",
            &at_most,
            &at_few,
            0.5,
            None,
        ),
        row(
            "the slowest of ADD at 1,000,000, of host-local",
            &at_most,
            &of_theirs,
            1.0,
            None,
        ),
    ];
    rows.extend(memory(programs, most, &their_config)?);
    Ok(rows)
}

/// How long and how much memory each verb takes, with a million leases.
fn memory(programs: &Programs, config: &str, theirs: &str) -> Result<Vec<Row>, String> {
    let program = programs.ours.join("dockin-ipam");
    let config = config.replacen("1.0.0", "1.1.0", 1);
    let valid: Vec<_> = (0..MANY[1])
        .step_by(1000)
        .map(|number| {
            format!(
                r#"{{"containerID":"{}","ifname":"eth0"}}"#,
                container(number)
            )
        })
        .collect();
    let collect = config.replacen(
        '{',
        &format!(r#"{{"cni.dev/valid-attachments":[{}],"#, valid.join(",")),
        1,
    );
    let reference = kibibytes(&programs.debian.join("host-local"), "ADD", "memory", theirs)?;
    let mut rows = Vec::new();
    let with_lease = "checked";
    milliseconds(&program, "ADD", with_lease, &config)?;
    let mut checks = Vec::new();
    for _ in 0..OURS_FOR_THEIRS {
        checks.push(milliseconds(&program, "CHECK", with_lease, &config)?);
    }
    let their_program = programs.debian.join("host-local");
    milliseconds(&their_program, "ADD", with_lease, theirs)?;
    let of_theirs = milliseconds(&their_program, "CHECK", with_lease, theirs)?;
    rows.push(Row {
        what: "CHECK at 1,000,000, beside host-local at 60,000".into(),
        measured: percentile(&checks, 0.5),
        floor: of_theirs,
        unit: "ms",
        must: None,
        at_most: Some(4.0),
    });
    for (verb, name, stdin) in [
        ("ADD", "memory", &config),
        ("CHECK", "memory", &config),
        ("DEL", "memory", &config),
        ("STATUS", "", &config),
        // The last: it ends all but the thousand leases that it names.
        ("GC", "", &collect),
    ] {
        rows.push(Row {
            what: format!("peak memory of {verb} at 1,000,000, beside host-local"),
            measured: kibibytes(&program, verb, name, stdin)?,
            floor: reference,
            unit: "KiB",
            must: None,
            at_most: Some(2048.0),
        });
    }
    Ok(rows)
}

fn milliseconds(program: &Path, verb: &str, name: &str, stdin: &str) -> Result<f64, String> {
    let (taken, _) = call(&plain(program, verb, name, stdin))?;
    Ok(taken.as_secs_f64() * 1e3)
}

/// What GNU time says of the process and of those that it waited for.
fn kibibytes(program: &Path, verb: &str, name: &str, stdin: &str) -> Result<f64, String> {
    super::peak_memory(&plain(program, verb, name, stdin))
}

pub(super) const fn plain<'a>(
    program: &'a Path,
    verb: &'a str,
    name: &'a str,
    stdin: &'a str,
) -> Call<'a> {
    Call {
        program,
        verb,
        container: name,
        netns: "/run/netns/none",
        args: "",
        stdin,
    }
}

fn config(kind: &str, ipam: &str) -> String {
    format!(
        r#"{{"cniVersion":"1.0.0","name":"bench","type":"bridge","ipam":{{"type":"{kind}",{ipam}}}}}"#
    )
}

pub(super) fn pool(kind: &str, directory: &Path) -> String {
    let ranges = format!(
        r#""subnet":"10.0.0.0/8","dataDir":"{}","collectAfterSeconds":0"#,
        directory.display()
    );
    config(kind, &ranges)
}

/// A name as long as those of runtimes.
fn container(number: u32) -> String {
    let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}{number:048x}")
}

fn address(number: u32) -> String {
    let [_, one, two, three] = (number + 2).to_be_bytes();
    format!("10.{one}.{two}.{three}")
}

fn lease_list(count: u32) -> String {
    let mut list = String::new();
    for number in 0..count {
        let _ = writeln!(list, "{} {} eth0", address(number), container(number));
    }
    list
}

fn host_local_directory(directory: &Path, count: u32) -> Result<(), String> {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(directory)?;
        for number in 0..count {
            let content = format!("{}\r\neth0", container(number));
            fs::write(directory.join(address(number)), content)?;
        }
        fs::write(directory.join("last_reserved_ip.0"), address(count - 1))
    };
    write().map_err(|error| format!("{}: {error}", directory.display()))
}
