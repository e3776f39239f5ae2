//! `cargo xtask bench-cni`: the plugins as runtimes start them, one process a call, beside
//! Debian's plugins in the same run.
//!
//! Each part gives its [`Row`]s, which become a table and its rows of
//! `target/ratios/bench-cni.json`; those of other parts stay there.

mod bridge;
mod call;
mod ipam;
mod kill;
mod report;

pub(crate) use call::{Call, Programs, call, peak_memory};
pub(crate) use report::{Row, percentile};

/// What can be measured alone.
const PARTS: [(&str, Part); 4] = [
    ("exec", ipam::exec),
    ("many", ipam::many),
    ("kill", kill::rows),
    ("bridge", bridge::rows),
];

type Part = fn(&Programs) -> Result<Vec<Row>, String>;

/// Runs the parts that `words` name, all of them when there are none.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    if words == [bridge::INSIDE] {
        return bridge::inside();
    }
    if let Some(wrong) = words
        .iter()
        .find(|it| !PARTS.iter().any(|(name, _)| name == *it))
    {
        let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("`{wrong}` is none of {}", names.join(", ")));
    }
    let programs = Programs::build()?;
    for (name, part) in PARTS {
        if words.is_empty() || words.contains(&name) {
            report::report(name, &part(&programs)?)?;
        }
    }
    Ok(())
}
