//! What the benches share: medians of interleaved rounds, and the table and file of ratios.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot write its result has failed"
)]

pub mod hop;
pub mod nginx;
pub mod session;
pub mod wire;

use std::{fs, path::PathBuf};

use serde_json::json;

/// One measured thing beside its floor, both measured in turns in the same run.
#[derive(Clone, Debug)]
pub struct Ratio {
    /// What was measured.
    pub what: String,
    /// Our median.
    pub measured: f64,
    /// The floor's median.
    pub floor: f64,
    /// Unit of both.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// The ratio that must be reached, if any: at least it when more is better, else at most.
    pub must: Option<f64>,
    /// The ratio that would be best.
    pub aim: Option<f64>,
}

impl Ratio {
    /// Measured by floor.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.measured / self.floor
    }

    /// Whether it is as good as it must be.
    #[must_use]
    pub fn met(&self) -> bool {
        match self.must {
            None => true,
            Some(must) if self.more_is_better => self.ratio() >= must,
            Some(must) => self.ratio() <= must,
        }
    }
}

/// How often this process has asked the allocator for memory, also to make a piece larger. Counted
/// in programs that have [`stats_alloc::INSTRUMENTED_SYSTEM`] for their allocator, else 0.
#[must_use]
pub fn allocations() -> u64 {
    let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// The bytes that this process has on its heap; counted as [`allocations`] are.
#[must_use]
pub fn heap() -> u64 {
    let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated) as u64
}

/// The middle of `values`, which come in any order.
///
/// # Panics
///
/// There are none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    *values.get(values.len() / 2).expect("at least one value")
}

/// The value below which the share `part` (0 to 1) of `values` lies.
///
/// # Panics
///
/// There are none.
#[must_use]
pub fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few thousand values"
    )]
    let index = (values.len() as f64 * part) as usize;
    *values
        .get(index.min(values.len() - 1))
        .expect("at least one value")
}

/// Prints the table and writes `target/ratios/<bench>.json`.
///
/// # Panics
///
/// The file cannot be written.
pub fn report(bench: &str, ratios: &[Ratio]) {
    println!();
    println!(
        "{:<52} {:>10} {:>10} {:<6} {:>7} {:>9} met",
        "what", "measured", "floor", "unit", "ratio", "must"
    );
    for ratio in ratios {
        let sign = if ratio.more_is_better { ">=" } else { "<=" };
        let must = ratio
            .must
            .map_or_else(|| "-".to_owned(), |must| format!("{sign} {must:.2}"));
        println!(
            "{:<52} {:>10.1} {:>10.1} {:<6} {:>7.2} {:>9} {}",
            ratio.what,
            ratio.measured,
            ratio.floor,
            ratio.unit,
            ratio.ratio(),
            must,
            if ratio.met() { "yes" } else { "NO" }
        );
    }
    let list: Vec<serde_json::Value> = ratios
        .iter()
        .map(|ratio| {
            json!({
                "what": ratio.what,
                "measured": ratio.measured,
                "unit": ratio.unit,
                "floor": ratio.floor,
                "ratio": ratio.ratio(),
                "must": ratio.must,
                "aim": ratio.aim,
                "met": ratio.met(),
            })
        })
        .collect();
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/ratios")
        .join(format!("{bench}.json"));
    fs::create_dir_all(file.parent().expect("a folder")).expect("target/ratios");
    let text = serde_json::to_string_pretty(&list).expect("JSON");
    fs::write(&file, text + "\n").expect("ratios");
    println!("\nwritten to target/ratios/{bench}.json");
}
