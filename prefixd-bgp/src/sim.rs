//! The whole speaker against model routers over a simulated network, in virtual time, one story per seed.
//!
//! | module | what it holds |
//! |---|---|
//! | `stream` | one connection: delay, bounded buffers, freezing, resets |
//! | `net` | who can reach whom, and what happens to connections |
//! | `router` | a model router in raw bytes, nothing of the speaker's own code |
//! | `wishes` | what the routers should hold, as told to the speaker |
//! | `story` | what happens in a seed: to rules, neighbours, links, routers and the speaker itself |
//! | `check` | what must hold at every second, and at the end |
//!
//! `PREFIXD_SIM_SEEDS=100000 cargo test -p prefixd-bgp sim` tries more seeds, `PREFIXD_SIM_SEED=17` one of them. A seed
//! that breaks a promise prints its story. Two runs of a seed are the same: one thread, paused time, seeded jitter.

mod check;
mod net;
mod router;
mod story;
mod stream;
mod wishes;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

pub(crate) use net::Net;
pub(crate) use stream::Stream;

/// Seeds in every run of the tests.
const SEEDS: u64 = 2_000;
/// No story takes a hundredth of this.
const STANDSTILL: Duration = Duration::from_secs(60);

#[test]
fn every_story_ends_well() {
    if let Some(seed) = number("PREFIXD_SIM_SEED") {
        let lines = play(seed).unwrap_or_else(|lines| panic!("{}", lines.join("\n")));
        // Shown by `cargo test -- --nocapture`, or when the test fails.
        println!("{}", lines.join("\n"));
        return;
    }
    let seeds = number("PREFIXD_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (begun, begins) = mpsc::channel();
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = |begun: mpsc::Sender<u64>| {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return None;
                }
                // The receiver is there until every sender is gone.
                let _ = begun.send(seed);
                if let Err(lines) = play(seed) {
                    // One story is enough to read.
                    next.store(seeds, Ordering::Relaxed);
                    return Some(format!("seed {seed}:\n{}", lines.join("\n")));
                }
            }
        };
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let begun = begun.clone();
                scope.spawn(move || work(begun))
            })
            .collect();
        drop(begun);
        watch(&begins, threads);
        workers
            .into_iter()
            .filter_map(|worker| worker.join().expect("a story panicked"))
            .collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// A task that is always ready keeps virtual time from passing, and its story from ending: says which ones it may be.
fn watch(begins: &mpsc::Receiver<u64>, threads: usize) {
    let mut last = VecDeque::new();
    loop {
        match begins.recv_timeout(STANDSTILL) {
            Ok(seed) => {
                last.push_front(seed);
                last.truncate(threads);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                eprintln!("time stands still in one of the seeds {last:?}");
                std::process::exit(101);
            }
        }
    }
}

#[test]
fn a_seed_is_one_story() {
    for seed in [7, 8] {
        assert_eq!(play(seed), play(seed));
    }
}

/// The story of a seed, line by line; an error when a promise was broken, with the last line saying which.
fn play(seed: u64) -> Result<Vec<String>, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(story::play(seed))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
