//! The engine with its store against a reference of a few hundred lines, over random stories: reports, what people ask,
//! time, configurations, and deaths of the process at the worst moments.
//!
//! | module | what it holds |
//! |---|---|
//! | `story` | what can happen |
//! | `setup` | configurations, for both |
//! | `reference`, `reports`, `passing`, `ladder`, `memory` | what should come of it, by none of the daemon's own code: of people's words, of detectors', of time, of evidence, and what is remembered |
//! | `world`, `router` | the real thing, step by step, and what must hold after each; the neighbour |
//! | `asking` | what the story asks, as the engine is asked, and what it says |
//!
//! `PREFIXD_MODEL_SEEDS=5000 cargo test -p prefixd --lib model` tries more seeds, `PREFIXD_MODEL_SEED=17` one of them. A
//! seed that fails prints the shortest story that does.

mod asking;
mod ladder;
mod memory;
mod passing;
mod reference;
mod reports;
mod router;
mod setup;
mod story;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reference::SECOND;
use std::time::{Duration, Instant};
use story::Kind;

/// Seeds in every run of the tests: what takes some ten seconds on an idle machine.
const SEEDS_SQLITE: u64 = 60;
const SEEDS_POSTGRES: u64 = 20;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

fn play(on_postgres: bool, usual: u64) {
    let seeds = match number("PREFIXD_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PREFIXD_MODEL_SEEDS").unwrap_or(usual),
    };
    let begin = Instant::now();
    for seed in seeds.clone() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 2_000,
            max_shrink_time: 60_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let kind = if seed % 3 == 2 {
            Kind::Sieges
        } else {
            Kind::Anything
        };
        let told = runner.run(&story::steps(kind), |steps| world::play(on_postgres, &steps));
        if let Err(error) = told {
            panic!("PREFIXD_MODEL_SEED={seed}: {error}");
        }
    }
    // Shown by `cargo test -- --nocapture`.
    let took: Duration = begin.elapsed();
    println!("seeds {seeds:?} in {took:?}");
}

#[test]
fn every_story_ends_as_the_reference_says_on_sqlite() {
    play(false, SEEDS_SQLITE);
}

#[test]
fn every_story_ends_as_the_reference_says_on_postgres() {
    if lab::postgres::available().unwrap() {
        play(true, SEEDS_POSTGRES);
    }
}
