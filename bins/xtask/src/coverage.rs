//! Which lines of `dockin-stream` its own tests run, on the stable toolchain.
//!
//! The tests of the crate, all features on, are built with the compiler's counters; LLVM's tools
//! make a table of what they count. Tests themselves are not counted, and nothing else is left
//! out. Examples in the documentation are not run: the stable `rustdoc` throws their counters away.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{packages, toolchain::Toolchain};

/// The crate that is measured.
const PACKAGE: &str = "dockin-stream";
/// The share of its lines that must be run.
const MUST: f64 = 0.95;
/// The share that would be best.
const AIM: f64 = 0.98;

/// Measures, prints the table, writes `target/ratios/coverage.json`.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let toolchain = Toolchain::of_rustc()?;
    let tools = Tools::find_or_install(&toolchain)?;
    let sources = root.join(PACKAGE).join("src");
    let target = root.join("target/coverage");
    let counters = target.join("counters");
    // What an earlier run counted is of other code.
    if counters.exists() {
        fs::remove_dir_all(&counters).map_err(|error| error.to_string())?;
    }
    let tests = Tests {
        root,
        toolchain: &toolchain,
        target: &target,
        counters: &counters,
    };
    let programs = tests.build()?;
    tests.run()?;
    let report = tools.report(&programs, &counters, &sources)?;
    let lines = parse(&report, &sources)?;
    let total = print(&lines);
    write(root, &total)?;
    if total.share() >= MUST {
        Ok(())
    } else {
        Err(format!(
            "the tests of {PACKAGE} run {:.2} % of its lines, must be {:.0} %",
            total.share() * 100.0,
            MUST * 100.0
        ))
    }
}

/// The test programs, built with counters.
struct Tests<'a> {
    root: &'a Path,
    toolchain: &'a Toolchain,
    target: &'a Path,
    counters: &'a Path,
}

impl Tests<'_> {
    fn cargo(&self) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--package", PACKAGE, "--all-features", "--tests"])
            // A triple keeps the flags from build scripts and macros.
            .args(["--target", &self.toolchain.host])
            .arg("--target-dir")
            .arg(self.target)
            .current_dir(self.root)
            .env("RUSTFLAGS", "-Cinstrument-coverage")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // A file for each program and process.
            .env("LLVM_PROFILE_FILE", self.counters.join("%m-%p.profraw"));
        cargo
    }

    /// Builds them and gives their paths.
    fn build(&self) -> Result<Vec<String>, String> {
        let output = self
            .cargo()
            .args(["--no-run", "--message-format=json-render-diagnostics"])
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("the tests of {PACKAGE} do not build"));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let programs: Vec<String> = messages
            .lines()
            .filter_map(|message| message.split_once("\"executable\":\""))
            .filter_map(|(_, rest)| rest.split('"').next())
            .map(str::to_owned)
            .collect();
        if programs.is_empty() {
            return Err(format!("cargo names no test program of {PACKAGE}"));
        }
        Ok(programs)
    }

    fn run(&self) -> Result<(), String> {
        let status = self
            .cargo()
            .args(["--quiet", "--no-fail-fast"])
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the tests of {PACKAGE} fail"))
        }
    }
}

/// LLVM's readers of what was counted; they have to know the format of rustc's LLVM.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    fn find_or_install(toolchain: &Toolchain) -> Result<Self, String> {
        if let Some(tools) = Self::find(toolchain) {
            return Ok(tools);
        }
        let package = format!("llvm-{}", toolchain.llvm);
        // The toolchain's own are the best, but not every machine reaches where they come from.
        let component = Command::new("rustup")
            .args(["component", "add", "llvm-tools"])
            .status();
        if !component.is_ok_and(|status| status.success()) {
            packages::install(&[&package])?;
        }
        Self::find(toolchain).ok_or_else(|| {
            format!(
                "llvm-profdata and llvm-cov of LLVM {} are missing: \
                 `rustup component add llvm-tools`, or install the package `{package}`",
                toolchain.llvm
            )
        })
    }

    /// The component `llvm-tools`, or Debian's package of the same LLVM.
    fn find(toolchain: &Toolchain) -> Option<Self> {
        let component = toolchain
            .sysroot
            .join("lib/rustlib")
            .join(&toolchain.host)
            .join("bin");
        let in_component = |name: &str| Some(component.join(name)).filter(|path| path.is_file());
        let in_package = |name: &str| packages::find(&format!("{name}-{}", toolchain.llvm));
        let find = |name: &str| in_component(name).or_else(|| in_package(name));
        Some(Self {
            profdata: find("llvm-profdata")?,
            cov: find("llvm-cov")?,
        })
    }

    /// What was counted of `sources`, in the format of lcov.
    fn report(
        &self,
        programs: &[String],
        counters: &Path,
        sources: &Path,
    ) -> Result<String, String> {
        let merged = counters.join("merged.profdata");
        let mut merge = Command::new(&self.profdata);
        merge.args(["merge", "-sparse", "-o"]).arg(&merged);
        for entry in fs::read_dir(counters).map_err(|error| error.to_string())? {
            merge.arg(entry.map_err(|error| error.to_string())?.path());
        }
        output(&mut merge)?;
        let mut export = Command::new(&self.cov);
        export.args(["export", "-format=lcov", "-instr-profile"]);
        export.arg(&merged);
        for program in programs {
            export.args(["-object", program]);
        }
        export.arg("-sources").arg(sources);
        output(&mut export)
    }
}

/// For each file, by its path inside the sources: the lines with code, and whether they were run.
type Lines = BTreeMap<String, BTreeMap<usize, bool>>;

/// Reads a report, without the lines of tests.
fn parse(report: &str, sources: &Path) -> Result<Lines, String> {
    let mut files = Lines::new();
    let mut current: Option<(String, Vec<bool>)> = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path);
            let name = path.strip_prefix(sources).unwrap_or(path);
            current = (!name.ends_with("tests.rs"))
                .then(|| Ok::<_, String>((name.display().to_string(), tests_in(path)?)))
                .transpose()?;
        } else if let (Some(counted), Some((name, tests))) = (line.strip_prefix("DA:"), &current) {
            let mut numbers = counted.split(',').map(str::parse::<usize>);
            let (Some(Ok(number)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
                return Err(format!("llvm-cov says `{line}`"));
            };
            if !tests.get(number).copied().unwrap_or_default() {
                let run = files.entry(name.clone()).or_default();
                *run.entry(number).or_default() |= count > 0;
            }
        }
    }
    if files.is_empty() {
        return Err(format!("llvm-cov knows nothing of {}", sources.display()));
    }
    Ok(files)
}

/// For each line of a file, counted from 1: whether it is part of a test module, which rustfmt
/// ends with the first brace that is not indented.
fn tests_in(path: &Path) -> Result<Vec<bool>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut inside = false;
    let mut lines = vec![false];
    for line in text.lines() {
        inside |= line == "#[cfg(test)]";
        lines.push(inside);
        inside &= line != "}" && line != "mod tests;";
    }
    Ok(lines)
}

#[derive(Default)]
struct Total {
    lines: usize,
    run: usize,
}

impl Total {
    fn of(lines: &BTreeMap<usize, bool>) -> Self {
        Self {
            lines: lines.len(),
            run: lines.values().filter(|run| **run).count(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand lines")]
    fn share(&self) -> f64 {
        self.run as f64 / self.lines.max(1) as f64
    }
}

fn print(files: &Lines) -> Total {
    println!(
        "{:<36} {:>6} {:>6} {:>8}  not run",
        "file", "lines", "run", "share"
    );
    let mut total = Total::default();
    for (name, lines) in files {
        let part = Total::of(lines);
        let percent = part.share() * 100.0;
        println!(
            "{name:<36} {:>6} {:>6} {percent:>6.2} %  {}",
            part.lines,
            part.run,
            not_run(lines)
        );
        total.lines += part.lines;
        total.run += part.run;
    }
    println!(
        "{:<36} {:>6} {:>6} {:>6.2} %  must {:.0} %, aim {:.0} %",
        "all",
        total.lines,
        total.run,
        total.share() * 100.0,
        MUST * 100.0,
        AIM * 100.0
    );
    total
}

/// `12 40-43`: what no test runs.
fn not_run(lines: &BTreeMap<usize, bool>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut before = true;
    for (&number, &run) in lines {
        match ranges.last_mut() {
            _ if run => {}
            // Lines without code between two do not part them.
            Some((_, end)) if !before => *end = number,
            _ => ranges.push((number, number)),
        }
        before = run;
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(start, end)| match start {
            _ if start == end => start.to_string(),
            _ => format!("{start}-{end}"),
        })
        .collect();
    ranges.join(" ")
}

/// The figure in the form of the benches'.
fn write(root: &Path, total: &Total) -> Result<(), String> {
    let folder = root.join("target/ratios");
    let file = folder.join("coverage.json");
    let text = format!(
        r#"[
  {{
    "what": "lines of {PACKAGE}/src run by its tests",
    "measured": {}.0,
    "unit": "lines",
    "floor": {}.0,
    "ratio": {},
    "must": {MUST},
    "aim": {AIM},
    "met": {}
  }}
]
"#,
        total.run,
        total.lines,
        total.share(),
        total.share() >= MUST
    );
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, text))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    println!("written to target/ratios/coverage.json");
    Ok(())
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{}: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
