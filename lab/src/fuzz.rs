//! A corpus of inputs, replayed and mutated without a fuzzer: what a test run can afford of fuzzing.
//!
//! The inputs are counted and the random numbers seeded, so that every run tries the same ones. The long runs, which
//! follow coverage, are cargo-fuzz's (`fuzz/` in the repository), on the same functions and the same corpus.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// Where the corpora of the targets are.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");

/// Mutations of one input on top of each other.
const MOST_MUTATIONS: u32 = 5;

/// Longest input, as a multiple of nothing in particular: the largest BGP message.
const LONGEST: usize = 4096;

/// Bytes that are more often wrong than others.
const INTERESTING: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xf0, 0xfe, 0xff];

/// Calls `run` with every input of the corpus of `target`, then with `mutated` inputs made of them. An input that
/// makes it panic is printed in hexadecimal; put its bytes into the corpus with the fix.
///
/// # Errors
/// When there is no corpus.
pub fn replay(target: &str, mutated: usize, mut run: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let corpus = corpus(target)?;
    let mut try_one = |input: &[u8]| {
        let _shown = ShownOnPanic(input);
        run(input);
    };
    for input in &corpus {
        try_one(input);
    }
    let mut rng = SmallRng::seed_from_u64(0x8955);
    for _ in 0..mutated {
        let mut input = pick(&mut rng, &corpus).to_vec();
        for _ in 0..rng.random_range(1..=MOST_MUTATIONS) {
            mutate(&mut input, &corpus, &mut rng);
        }
        input.truncate(LONGEST);
        try_one(&input);
    }
    Ok(())
}

/// The inputs of `target` in the order of their names, so that it is the same everywhere.
///
/// # Errors
/// When there are none.
pub fn corpus(target: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let dir = Path::new(CORPUS).join(target);
    let list = || format!("list {}", dir.display());
    let mut files = std::fs::read_dir(&dir)
        .with_context(list)?
        .map(|entry| Ok(entry.with_context(list)?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    ensure!(!files.is_empty(), "{} holds no inputs", dir.display());
    files
        .iter()
        .map(|file| std::fs::read(file).with_context(|| format!("read {}", file.display())))
        .collect()
}

/// Mutated inputs of one target in a run of the tests. More belongs to the long runs (CONTRIBUTING.md).
pub const MUTATED: usize = 20_000;

/// Stands in for `libfuzzer_sys::fuzz_target!`: a file of `fuzz/fuzz_targets` that is compiled as a module of a crate's
/// tests, with this crate under that name, is a test of what the fuzzer would call, over the corpus of the file's name.
#[macro_export]
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $run:expr) => {
        #[test]
        fn takes_its_corpus_and_mutations_of_it() {
            let (_, target) = module_path!().rsplit_once("::").unwrap();
            $crate::fuzz::replay(target, $crate::fuzz::MUTATED, |$bytes: &[u8]| $run).unwrap();
        }
    };
}

fn pick<'a>(rng: &mut SmallRng, corpus: &'a [Vec<u8>]) -> &'a [u8] {
    corpus
        .get(rng.random_range(0..corpus.len()))
        .map_or(&[], Vec::as_slice)
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut SmallRng) {
    let at = rng.random_range(0..=input.len());
    let span = at..(at + rng.random_range(0..=8)).min(input.len());
    match rng.random_range(0..8) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.random();
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = INTERESTING[rng.random_range(0..INTERESTING.len())];
            }
        }
        3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(if rng.random() { 1 } else { 0xff });
            }
        }
        4 => input.insert(at, rng.random()),
        5 => {
            input.drain(span);
        }
        6 => {
            let again = input.get(span).unwrap_or_default().to_vec();
            input.splice(at..at, again);
        }
        _ => {
            let other = pick(rng, corpus);
            let from = rng.random_range(0..=other.len());
            let to = rng.random_range(from..=other.len());
            input.splice(span, other.get(from..to).unwrap_or_default().iter().copied());
        }
    }
}

struct ShownOnPanic<'a>(&'a [u8]);

impl Drop for ShownOnPanic<'_> {
    #[expect(clippy::print_stderr, reason = "the input is what a failed test has to show")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("the input that broke it: {hex}");
            eprintln!("as text: {:?}", String::from_utf8_lossy(self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_tries_the_same_inputs_and_many_different_ones() {
        let tried = || {
            let mut all = Vec::new();
            replay("framing", 500, |input| all.push(input.to_vec())).unwrap();
            all
        };
        let (one, mut other) = (tried(), tried());
        assert_eq!(one, other);
        assert!(one.iter().all(|input| input.len() <= LONGEST));
        other.sort();
        other.dedup();
        assert!(other.len() > 400, "{} different ones", other.len());
    }

    /// cargo-fuzz builds what its manifest names, and no test run has a fuzzer: a target that is in one place only rots.
    #[test]
    fn every_target_is_built_replayed_and_has_a_corpus() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
        let names = |dir: &str| -> Vec<String> {
            let entries = std::fs::read_dir(root.join(dir)).unwrap();
            let name = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap().path())).collect();
            names.sort();
            names
        };
        let named = |text: String| -> Vec<String> {
            let after = text.split("fuzz_targets/").skip(1);
            let mut names: Vec<_> = after
                .map(|rest| rest.split_once(".rs\"").unwrap().0.to_owned())
                .collect();
            names.sort();
            names
        };
        let targets = names("fuzz/fuzz_targets");
        assert!(!targets.is_empty());
        assert_eq!(names("fuzz/corpus"), targets);
        assert_eq!(named(read("fuzz/Cargo.toml")), targets);
        let tests = ["prefixd-api", "prefixd-bgp"].map(|one| read(&format!("{one}/src/fuzzing/tests.rs")));
        assert_eq!(named(tests.concat()), targets);
    }

    #[test]
    fn a_target_without_a_corpus_is_no_success() {
        let error = replay("nothing-is-called-so", 1, |_| ()).unwrap_err();
        assert!(error.to_string().contains("nothing-is-called-so"), "{error}");
    }
}
