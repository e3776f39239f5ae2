//! Replays what fuzzing kept, on any toolchain, and tries a few mutants of each input.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use dockin_fuzz::{TARGETS, Target};

/// Mutants of one kept input: a few seconds in all. Raise it to explore without libFuzzer.
const MUTANTS: u32 = 2_000;
/// Where every mutation starts, so that a failure comes again.
const SEED: u64 = 0x0005_eed0_f0d0_0c1e;
/// Inputs stay small: what a bug needs is short, and the repository stays light.
const MAX_FILE: u64 = 4 * 1024;

#[test]
fn every_target_has_inputs_and_a_binary_and_nothing_is_left_over() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "a name is used twice");
    assert_eq!(names("corpus"), targets, "folders of corpus/");
    let binaries = names("fuzz_targets")
        .iter()
        .map(|name| name.replace(".rs", ""))
        .collect();
    assert_eq!(targets, binaries, "files of fuzz_targets/");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "[[bin]] of {target}"
        );
        let source = fs::read_to_string(root().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(
            source.contains(&format!("dockin_fuzz::{target}(data)")),
            "call of {target}"
        );
        let inputs = inputs(target);
        assert!(
            (1..=40).contains(&inputs.len()),
            "{} inputs of {target}",
            inputs.len()
        );
        for (path, bytes) in inputs {
            assert!(
                bytes.len() as u64 <= MAX_FILE,
                "{} is too large",
                path.display()
            );
        }
    }
}

#[test]
fn no_kept_input_fails_any_more() {
    for target in TARGETS {
        run(target, b"", || "no bytes at all".to_owned());
        for (path, bytes) in inputs(target.0) {
            run(target, &bytes, || path.display().to_string());
        }
    }
}

#[test]
fn no_mutant_of_a_kept_input_fails() {
    for target in TARGETS {
        let inputs = inputs(target.0);
        let mut random = Random(SEED);
        for (path, bytes) in &inputs {
            for number in 0..MUTANTS {
                let other = &inputs[random.below(inputs.len())].1;
                let mutant = mutate(bytes, other, &mut random);
                run(target, &mutant, || {
                    format!("mutant {number} of {}", path.display())
                });
            }
        }
    }
}

/// Names the input of a failure, so that it can be kept.
fn run(target: &Target, bytes: &[u8], name: impl Fn() -> String) {
    let (target_name, function) = *target;
    if catch_unwind(AssertUnwindSafe(|| function(bytes))).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{target_name} fails on {}: {hex}", name());
    }
}

/// One to four small changes: what libFuzzer's simplest mutators do.
fn mutate(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let index = random.below(mutant.len());
        match random.below(8) {
            0 if !mutant.is_empty() => mutant[index] ^= 1 << random.below(8),
            1 if !mutant.is_empty() => mutant[index] = INTERESTING[random.below(INTERESTING.len())],
            2 if !mutant.is_empty() => mutant[index] = mutant[index].wrapping_add(1),
            3 => mutant.insert(index, INTERESTING[random.below(INTERESTING.len())]),
            4 => drop(mutant.drain(index..(index + random.below(8)).min(mutant.len()))),
            5 => mutant.truncate(index),
            6 => {
                let end = (index + random.below(32)).min(mutant.len());
                let copied = mutant[index..end].to_vec();
                mutant.splice(index..index, copied);
            }
            _ => {
                let start = random.below(other.len());
                let end = (start + random.below(64)).min(other.len());
                mutant.splice(index..index, other[start..end].iter().copied());
            }
        }
    }
    mutant
}

/// Bytes at which parsers turn.
const INTERESTING: [u8; 16] = [
    0, 1, 2, 3, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x88, 0xff, b'"', b'{', b'\n', b' ',
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 33) as usize % limit.max(1)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn names(folder: &str) -> BTreeSet<String> {
    fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// In the order of their names: the mutants depend on it.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join("corpus").join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}
