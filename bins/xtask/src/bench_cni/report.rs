use std::path::Path;

/// One measured thing beside its floor or reference, taken in turns in the same run.
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// Ours.
    pub(crate) measured: f64,
    /// That which it is compared with.
    pub(crate) floor: f64,
    /// Unit of both.
    pub(crate) unit: &'static str,
    /// The largest ratio that is good enough.
    pub(crate) must: Option<f64>,
    /// The largest value that is good enough, in the unit.
    pub(crate) at_most: Option<f64>,
}

impl Row {
    fn met(&self) -> bool {
        self.must
            .is_none_or(|must| self.measured <= must * self.floor)
            && self.at_most.is_none_or(|most| self.measured <= most)
    }
}

/// The value below which the share `part` (0 to 1) of `values` lies; 0 of none.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few thousand values"
    )]
    let index = (values.len() as f64 * part) as usize;
    let last = values.len().saturating_sub(1);
    values.get(index.min(last)).copied().unwrap_or_default()
}

/// Prints the table of a part and writes it into `target/ratios/bench-cni.json`, where the other
/// parts keep their rows.
pub(crate) fn report(part: &str, rows: &[Row]) -> Result<(), String> {
    println!(
        "{:<56} {:>10} {:>10} {:<5} {:>8} {:>9} met",
        "what", "measured", "beside", "unit", "ratio", "must"
    );
    let mut lines = Vec::new();
    for row in rows {
        let ratio = row.measured / row.floor;
        let must = match (row.must, row.at_most) {
            (Some(must), _) => format!("<= {must:.2}"),
            (None, Some(most)) => format!("<= {most} {}", row.unit),
            (None, None) => "-".into(),
        };
        let met = if row.met() { "yes" } else { "NO" };
        println!(
            "{:<56} {:>10.3} {:>10.3} {:<5} {:>8.3} {:>9} {met}",
            row.what, row.measured, row.floor, row.unit, ratio, must
        );
        let number = |value: Option<f64>| value.map_or("null".into(), |it| it.to_string());
        lines.push(format!(
            "{} \"what\": \"{}\", \"measured\": {}, \"unit\": \"{}\", \"floor\": {}, \
             \"ratio\": {}, \"must\": {}, \"at_most\": {}, \"met\": {}}}",
            start(part),
            row.what,
            row.measured,
            row.unit,
            row.floor,
            number(Some(ratio).filter(|it| it.is_finite())),
            number(row.must),
            number(row.at_most),
            row.met(),
        ));
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ratios");
    let file = directory.join("bench-cni.json");
    let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
    // A row is a line. What is none of ours goes.
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let others = before.lines().map(|line| line.trim_end_matches(','));
    let others = others.filter(|line| line.starts_with(START) && !line.starts_with(&start(part)));
    let all: Vec<_> = others.map(str::to_owned).chain(lines).collect();
    std::fs::create_dir_all(&directory).map_err(wrong)?;
    std::fs::write(&file, format!("[\n{}\n]\n", all.join(",\n"))).map_err(wrong)?;
    println!("\nwritten to target/ratios/bench-cni.json");
    Ok(())
}

const START: &str = "  {\"part\": ";

/// How the line of a part's row starts.
fn start(part: &str) -> String {
    format!("{START}\"{part}\",")
}
