//! `cargo xtask bench-cni`: the plugins as runtimes start them, one process a call, beside
//! Debian's plugins in the same run.
//!
//! Each part gives its [`Row`]s, which become a table and its rows of
//! `target/ratios/bench-cni.json`; those of other parts stay there.
//!
//! Where times are compared, everything that is compared goes before the machine's other processes
//! (the lowest priority of `SCHED_FIFO`): a call takes a millisecond or two, and somebody else's
//! turn on the processor four.

mod bridge;
mod call;
mod ipam;
mod kill;
mod report;

use std::process::{Command, Stdio};

pub(crate) use call::{Call, Programs, call, peak_memory};
pub(crate) use report::{Row, percentile};

/// What can be measured alone, and whether it is about time.
const PARTS: [(&str, Part, bool); 4] = [
    ("exec", ipam::exec, true),
    ("many", ipam::many, true),
    ("kill", kill::rows, false),
    ("bridge", bridge::rows, true),
];

type Part = fn(&Programs) -> Result<Vec<Row>, String>;

/// Runs the parts that `words` name, all of them when there are none.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    if words == [bridge::INSIDE] {
        return bridge::inside();
    }
    if let Some(wrong) = words
        .iter()
        .find(|it| !PARTS.iter().any(|(name, ..)| name == *it))
    {
        let names: Vec<_> = PARTS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("`{wrong}` is none of {}", names.join(", ")));
    }
    let programs = Programs::build()?;
    for (name, part, is_timed) in PARTS {
        if words.is_empty() || words.contains(&name) {
            go_first(is_timed);
            let rows = part(&programs);
            go_first(false);
            report::report(name, &rows?)?;
        }
    }
    Ok(())
}

/// This process and those it starts go before all others, or among them. Where that is not
/// allowed the others are measured as well, and this says so.
fn go_first(first: bool) {
    let class = if first {
        ["--fifo", "1"]
    } else {
        ["--other", "0"]
    };
    let [class, priority] = class;
    let this = std::process::id().to_string();
    let done = Command::new("chrt")
        .args([class, "--pid", priority, &this])
        .stderr(Stdio::null())
        .status();
    if first && !done.is_ok_and(|it| it.success()) {
        eprintln!(
            "xtask: `chrt` may not put this process first: times are those of a busy machine"
        );
    }
}
