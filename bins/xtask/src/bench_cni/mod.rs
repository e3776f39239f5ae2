//! `cargo xtask bench-cni`: the plugins as runtimes start them, one process a call, beside
//! Debian's plugins in the same run.
//!
//! Each part gives its [`Row`]s; together they become a table and `target/ratios/bench-cni.json`.

mod bridge;
mod call;
mod ipam;
mod report;

pub(crate) use call::{Call, Programs, call};
pub(crate) use report::{Row, percentile};

/// What can be measured alone.
const PARTS: [(&str, Part); 2] = [("ipam", ipam::rows), ("bridge", bridge::rows)];

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
    let mut rows = Vec::new();
    for (name, part) in PARTS {
        if words.is_empty() || words.contains(&name) {
            rows.extend(part(&programs)?);
        }
    }
    report::report(&rows)
}
