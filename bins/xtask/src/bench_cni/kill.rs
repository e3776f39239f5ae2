//! Calls of `dockin-ipam` killed at random moments: nothing given twice, nothing lost, nothing
//! left after one collection.

use std::{
    collections::BTreeMap,
    io::Write,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    Call, Programs, Row, call,
    ipam::{plain, pool},
    percentile,
};
use crate::scratch::Scratch;

const CALLS: u64 = 10_000;
/// Every third container is deleted again, and each of those calls may be killed too.
const DELETED: u64 = 3;

pub(super) fn rows(programs: &Programs) -> Result<Vec<Row>, String> {
    let scratch = Scratch::new()?;
    let program = programs.ours.join("dockin-ipam");
    let config = pool("dockin-ipam", scratch.path()).replacen("1.0.0", "1.1.0", 1);
    // What a call takes here; one is killed from its start to a little after that.
    let mut usual = Vec::new();
    for number in 0..30 {
        let (taken, _) = call(&plain(&program, "ADD", &format!("first{number}"), &config))?;
        usual.push(taken.as_secs_f64());
    }
    let usual = Duration::from_secs_f64(percentile(&usual, 0.9));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut held: BTreeMap<String, String> = BTreeMap::new();
    let (mut killed, mut twice) = (0_u32, 0_u32);
    for number in 0..CALLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let is_delete = number % DELETED == 0 && number > DELETED;
        let name = match is_delete {
            true => format!("c{}", number - 1),
            false => format!("c{number}"),
        };
        let verb = if is_delete { "DEL" } else { "ADD" };
        if is_delete {
            // Whether it is killed or not, the runtime holds this address no longer.
            held.retain(|_, holder| *holder != name);
        }
        let moment = usual.mul_f64((random % 1000) as f64 / 900.0);
        let (was_killed, stdout) = call_and_kill(&plain(&program, verb, &name, &config), moment)?;
        killed += u32::from(was_killed);
        if let Some(address) = address(&stdout)
            && held.insert(address, name).is_some()
        {
            twice += 1;
        }
    }
    let valid: Vec<_> = held
        .values()
        .map(|name| format!(r#"{{"containerID":"{name}","ifname":"eth0"}}"#))
        .collect();
    let collect = config.replacen(
        '{',
        &format!(r#"{{"cni.dev/valid-attachments":[{}],"#, valid.join(",")),
        1,
    );
    call(&plain(&program, "GC", "", &collect))?;
    let shown = Command::new(&program)
        .args(["pool", "--data-dir"])
        .arg(scratch.path())
        .args(["show", "bench"])
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let kept: Vec<_> = shown
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let lost = held
        .keys()
        .filter(|address| !kept.contains(&address.as_str()));
    let left = kept.iter().filter(|address| !held.contains_key(**address));
    println!(
        "{killed} of {CALLS} calls were killed, {} leases stayed",
        held.len()
    );
    let row = |what: &str, count: usize| Row {
        what: format!("{what} of {CALLS} calls killed at random"),
        measured: count as f64,
        floor: f64::from(killed),
        unit: "",
        must: None,
        at_most: Some(0.0),
    };
    Ok(vec![
        row("given twice", usize::try_from(twice).unwrap_or(usize::MAX)),
        row("lost", lost.count()),
        row("left after one GC", left.count()),
    ])
}

/// Was it killed before it ended, and what did it print?
fn call_and_kill(call: &Call<'_>, moment: Duration) -> Result<(bool, String), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", call.program.display());
    let begun = Instant::now();
    let mut child = call.command().spawn().map_err(wrong)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may be over already.
        let _ = stdin.write_all(call.stdin.as_bytes());
    }
    sleep(moment.saturating_sub(begun.elapsed()));
    child.kill().map_err(wrong)?;
    let output = child.wait_with_output().map_err(wrong)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code().is_some_and(|code| code != 0) {
        return Err(format!("{} {}: {stdout}", call.verb, call.container));
    }
    Ok((output.status.code().is_none(), stdout))
}

/// The address of a whole answer, without its prefix.
fn address(stdout: &str) -> Option<String> {
    let (_, rest) = stdout.split_once(r#""address":""#)?;
    let (address, _) = rest.split_once('/')?;
    stdout.ends_with('\n').then(|| address.to_owned())
}
