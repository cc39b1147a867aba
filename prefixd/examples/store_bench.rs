//! Commits of new mitigations, by batch size: `cargo run --release --example store_bench -- [CONNECTION]...`
//!
//! Each connection string is a database with nothing in it. Full durability, as in production.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first failure and prints"
)]

#[path = "../src/store/tests/fixture.rs"]
mod fixture;

use fixture::{Attack, START, batch, host};
use prefixd::journal::{Head, Writer};
use prefixd::policy::{Effect, MitigationEvent, Trace};
use prefixd::store::{Batch, MitigationFilter, PageRequest, Store, Written};
use prefixd_api::mitigation::MitigationStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each size is measured.
const SPAN: Duration = Duration::from_secs(3);
/// Ended and live mitigations behind the list.
const ENDED: u32 = 200_000;
const LIVE: u32 = 10_000;
/// Readers at once.
const READERS: usize = 16;

#[tokio::main(worker_threads = 2)]
async fn main() {
    for connection in std::env::args().skip(1) {
        let store = Arc::new(Store::open(&connection, 16).await.unwrap());
        println!("{}", store.backend());
        let mut run = Run {
            head: store.journal_head(fixture::POP).await.unwrap(),
            host: 0,
            store: Arc::clone(&store),
        };
        for size in [1, 16, 25, 100] {
            run.commits(size).await;
        }
        if std::env::var_os("STORE_BENCH_LISTS").is_some() {
            run.history().await;
            lists(&store).await;
        }
        store.close().await;
    }
}

struct Run {
    store: Arc<Store>,
    head: Head,
    host: u32,
}

impl Run {
    async fn commits(&mut self, size: usize) {
        let mut times = Vec::new();
        let mut total = Duration::ZERO;
        while total < SPAN {
            let decisions = self.decisions(size);
            let took = self.commit(&decisions).await;
            total += took;
            times.push(took);
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        println!(
            "  {size:>3} a batch: {:>6.0} mitigations/s, p50 {:>9.3?}, p99 {:>9.3?}, max {:>9.3?}",
            (times.len() * size) as f64 / total.as_secs_f64(),
            at(50),
            at(99),
            at(100)
        );
    }

    fn decisions(&mut self, size: usize) -> Vec<Vec<Effect>> {
        (0..size)
            .map(|_| {
                self.host += 1;
                let at = START.saturating_add(Duration::from_millis(self.host.into()));
                // Victims are not attacked in the order of their addresses.
                let scattered = self.host.wrapping_mul(40_503) % (1 << 22);
                Attack::new(host(scattered), "udp_flood", at).effects().to_vec()
            })
            .collect()
    }

    async fn commit(&mut self, decisions: &[Vec<Effect>]) -> Duration {
        let batch = batch(self.head, START, decisions);
        let began = Instant::now();
        self.store.commit(Arc::clone(&batch)).await.unwrap();
        let took = began.elapsed();
        let last = batch.entries.last().unwrap();
        self.head = Head {
            seq: last.seq,
            hash: last.hash,
        };
        took
    }

    async fn history(&mut self) {
        for number in 0..(ENDED + LIVE) / 500 {
            let attacks: Vec<Attack> = (0..500)
                .map(|place| {
                    let host = host((1 << 23) + number * 500 + place);
                    let at = START.saturating_add(Duration::from_millis((number * 500 + place).into()));
                    Attack::new(host, "udp_flood", at)
                })
                .collect();
            // One block in 21 stays live: 10,000 of 210,000.
            let ends = !number.is_multiple_of(21);
            let decisions: Vec<Vec<Effect>> = attacks
                .iter()
                .map(|attack| {
                    let mut effects = attack.effects().to_vec();
                    effects.extend(ends.then(|| attack.withdrawal(START)));
                    effects
                })
                .collect();
            self.commit(&decisions).await;
        }
    }
}

async fn lists(store: &Arc<Store>) {
    let live = vec![
        MitigationStatus::Pending,
        MitigationStatus::Active,
        MitigationStatus::Escalated,
    ];
    for (name, statuses) in [
        ("live", live),
        ("all", Vec::new()),
        ("active", vec![MitigationStatus::Active]),
    ] {
        let filter = Arc::new(MitigationFilter {
            statuses,
            ..MitigationFilter::default()
        });
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (store, filter) = (Arc::clone(store), Arc::clone(&filter));
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    for _ in 0..100 {
                        let began = Instant::now();
                        let page = PageRequest {
                            cursor: None,
                            limit: 100,
                        };
                        let page = store.list_mitigations(&filter, page).await.unwrap();
                        assert_eq!(page.items.len(), 100);
                        times.push(began.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for reader in readers {
            times.extend(reader.await.unwrap());
        }
        times.sort_unstable();
        println!(
            "  list 100 {name}: p50 {:?}, p99 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}
