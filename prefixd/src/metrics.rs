//! What is counted. Every label has a bounded set of values: no address, no name from outside.

mod lag;

use crate::announce::Drift;
use crate::policy::Effect;
use prefixd_api::event::EventOutcome;
use prefixd_api::guardrail::Guardrail;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

pub use lag::Lag;

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Label {
    /// Its value.
    pub kind: String,
}

/// A route and a status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// Method and route template.
    pub route: String,
    /// HTTP status.
    pub status: u16,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NeighborLabel {
    /// Its name in the configuration.
    pub neighbor: String,
}

/// A neighbour, and an address family there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FamilyLabel {
    /// Its name in the configuration.
    pub neighbor: String,
    /// `ipv4-flowspec`, ...
    pub family: String,
}

/// A neighbour, and what was written to it or came from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerKindLabel {
    /// Its name in the configuration.
    pub neighbor: String,
    /// `updates_sent`, `keepalives_received`, `rules_announced`, ...
    pub kind: String,
}

/// A neighbour, and why its session was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabel {
    /// Its name in the configuration.
    pub neighbor: String,
    /// The cause; the speaker bounds how many there are.
    pub cause: String,
}

/// What a person stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StopLabel {
    /// `pop`, `customer:ID` or `neighbor:NAME`.
    pub scope: String,
    /// `hold` or `panic`.
    pub state: String,
}

/// A neighbour, and what rules are there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FormLabel {
    /// Its name in the configuration.
    pub neighbor: String,
    /// `exact`, `split`, `widened` or `refused`.
    pub form: String,
}

/// All counters of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Events by outcome.
    pub events: Family<Label, Counter>,
    /// Exact duplicates.
    pub replays: Counter,
    /// Refusals by guardrail.
    pub guardrails: Family<Label, Counter>,
    /// Changes of mitigations by kind.
    pub mitigations: Family<Label, Counter>,
    /// Time of a commit.
    pub commit_seconds: Histogram,
    /// Commands in a batch.
    pub batch_commands: Histogram,
    /// Commits that failed.
    pub store_errors: Counter,
    /// Decisions that failed by a defect.
    pub defects: Counter,
    /// Differences that reconciliation repaired, by kind.
    pub drift: Family<Label, Counter>,
    /// Requests by route and status.
    pub requests: Family<RouteLabel, Counter>,
    /// Refused credentials.
    pub auth_failures: Counter,
    /// Requests refused by the rate limit.
    pub rate_limited: Counter,
    /// Feed subscribers now.
    pub feed_subscribers: Gauge,
    /// Subscribers that fell behind and had to resync.
    pub feed_resyncs: Counter,
    /// Events of the last minute.
    pub events_per_minute: LastMinute,
    /// Gauges that are set when they are asked for.
    now: Now,
    /// One scrape at a time sets them and writes them down: another would meet them half set, and find no neighbour at all.
    scraping: Mutex<()>,
}

/// Counts what happened in the last sixty whole seconds.
#[derive(Debug)]
pub struct LastMinute {
    started: Instant,
    seconds: Mutex<[(u64, u64); 60]>,
}

impl Default for LastMinute {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            seconds: Mutex::new([(0, 0); 60]),
        }
    }
}

impl LastMinute {
    /// Counts one.
    pub fn inc(&self) {
        let second = self.started.elapsed().as_secs();
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut seconds[usize::try_from(second % 60).unwrap_or(0)];
        *slot = if slot.0 == second {
            (second, slot.1 + 1)
        } else {
            (second, 1)
        };
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        let second = self.started.elapsed().as_secs();
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds
            .iter()
            .filter(|(at, _)| second.saturating_sub(*at) < 60)
            .map(|(_, count)| count)
            .sum()
    }
}

/// Gauges that are set when they are asked for.
#[derive(Debug, Default)]
pub struct Now {
    /// Live mitigations by status.
    pub active: Family<Label, Gauge>,
    /// Commands that wait.
    pub queue: Gauge,
    /// Position of the newest journal entry.
    pub head: Gauge,
    /// Removals that are not recorded yet.
    pub owed: Gauge,
    /// Whether the breaker is tripped.
    pub breaker_tripped: Gauge,
    /// What people stopped.
    pub stopped: Family<StopLabel, Gauge>,
    /// Whether the store takes changes.
    pub store_up: Gauge,
    /// Whether the session is established.
    pub peer_up: Family<NeighborLabel, Gauge>,
    /// Rules the neighbour should have.
    pub peer_desired: Family<FamilyLabel, Gauge>,
    /// Rules sent and not taken back.
    pub peer_advertised: Family<FamilyLabel, Gauge>,
    /// Rules it cannot take.
    pub peer_unsupported: Family<FamilyLabel, Gauge>,
    /// Rules of live mitigations by what they are there.
    pub peer_announcements: Family<FormLabel, Gauge>,
    /// Rules that wait for room in its budget.
    pub peer_over_budget: Family<FamilyLabel, Gauge>,
    /// Those among them that something more important displaced.
    pub peer_displaced: Family<FamilyLabel, Gauge>,
    /// Rules it may have, where there is a bound.
    pub peer_budget: Family<NeighborLabel, Gauge>,
    /// Rules that are held back because they ended its session.
    pub peer_quarantined: Family<FamilyLabel, Gauge>,
    /// Rules that may have, and wait to be tried.
    pub peer_on_probation: Family<FamilyLabel, Gauge>,
    /// Rules of kinds that another neighbour is told first.
    pub peer_waiting: Family<FamilyLabel, Gauge>,
    /// Changes that wait to be written to it.
    pub peer_queued: Family<FamilyLabel, Gauge>,
    /// From a rule being wanted to its UPDATE being written.
    pub peer_lag: Family<NeighborLabel, Lag>,
    /// From the session to the last End-of-RIB.
    pub peer_end_of_rib: Family<NeighborLabel, Gauge<f64, AtomicU64>>,
    /// How long its socket took nothing.
    pub peer_blocked: Family<NeighborLabel, Gauge<f64, AtomicU64>>,
    /// Rules and withdrawals written, rules ended by the speaker, refreshes, and messages, each by its kind.
    pub peer_written: Family<PeerKindLabel, Gauge>,
    /// Sessions since the start.
    pub peer_established: Family<NeighborLabel, Gauge>,
    /// Whether an operator disabled it.
    pub peer_disabled: Family<NeighborLabel, Gauge>,
    /// Sessions lost since the start.
    pub peer_flaps: Family<NeighborLabel, Gauge>,
    /// The same by cause.
    pub peer_flaps_by_cause: Family<CauseLabel, Gauge>,
}

impl Now {
    /// Forgets every neighbour, before those that there are now are set.
    pub fn forget_peers(&self) {
        for family in [
            &self.peer_up,
            &self.peer_budget,
            &self.peer_established,
            &self.peer_disabled,
            &self.peer_flaps,
        ] {
            family.clear();
        }
        for family in [
            &self.peer_desired,
            &self.peer_advertised,
            &self.peer_queued,
            &self.peer_unsupported,
            &self.peer_over_budget,
            &self.peer_displaced,
            &self.peer_quarantined,
            &self.peer_on_probation,
            &self.peer_waiting,
        ] {
            family.clear();
        }
        self.peer_flaps_by_cause.clear();
        self.peer_written.clear();
        self.peer_lag.clear();
        self.peer_end_of_rib.clear();
        self.peer_blocked.clear();
        self.peer_announcements.clear();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("prefixd"),
            events: Family::default(),
            replays: Counter::default(),
            guardrails: Family::default(),
            mitigations: Family::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            batch_commands: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            store_errors: Counter::default(),
            defects: Counter::default(),
            drift: Family::default(),
            requests: Family::default(),
            auth_failures: Counter::default(),
            rate_limited: Counter::default(),
            feed_subscribers: Gauge::default(),
            feed_resyncs: Counter::default(),
            events_per_minute: LastMinute::default(),
            now: Now::default(),
            scraping: Mutex::new(()),
        };
        metrics.register();
        metrics.start_at_zero();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, now, .. } = self;
        registry.register("events", "Events by outcome", self.events.clone());
        registry.register(
            "event_replays",
            "Exact duplicates of events",
            self.replays.clone(),
        );
        registry.register(
            "guardrail_refusals",
            "What guardrails refused or ended, on whatever path",
            self.guardrails.clone(),
        );
        registry.register(
            "mitigation_changes",
            "Changes of mitigations by kind",
            self.mitigations.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Time of a durable commit",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register(
            "batch_commands",
            "Commands decided in one batch",
            self.batch_commands.clone(),
        );
        registry.register("store_errors", "Commits that failed", self.store_errors.clone());
        registry.register(
            "defects",
            "Decisions that failed by a defect",
            self.defects.clone(),
        );
        registry.register(
            "drift_repairs",
            "Differences that reconciliation repaired, by kind",
            self.drift.clone(),
        );
        registry.register(
            "http_requests",
            "Requests by route and status",
            self.requests.clone(),
        );
        registry.register("auth_failures", "Refused credentials", self.auth_failures.clone());
        registry.register(
            "rate_limited",
            "Requests refused by the rate limit",
            self.rate_limited.clone(),
        );
        registry.register(
            "feed_subscribers",
            "Feed subscribers",
            self.feed_subscribers.clone(),
        );
        registry.register(
            "feed_resyncs",
            "Feed subscribers that fell behind",
            self.feed_resyncs.clone(),
        );
        registry.register("mitigations", "Live mitigations by status", now.active.clone());
        registry.register(
            "queue_commands",
            "Commands that wait for the engine",
            now.queue.clone(),
        );
        registry.register(
            "journal_head",
            "Position of the newest journal entry",
            now.head.clone(),
        );
        registry.register(
            "owed_removals",
            "Rules that ended and are not recorded yet",
            now.owed.clone(),
        );
        registry.register(
            "breaker_tripped",
            "Whether lost sessions keep everything new from being announced",
            now.breaker_tripped.clone(),
        );
        registry.register(
            "control_stopped",
            "What people stopped, and how: 1 while it is so",
            now.stopped.clone(),
        );
        registry.register(
            "store_up",
            "Whether the store takes changes",
            now.store_up.clone(),
        );
        registry.register(
            "peer_up",
            "Whether the session is established",
            now.peer_up.clone(),
        );
        registry.register(
            "peer_rules_desired",
            "Rules the neighbour should have",
            now.peer_desired.clone(),
        );
        registry.register(
            "peer_rules_advertised",
            "Rules written to the neighbour",
            now.peer_advertised.clone(),
        );
        registry.register(
            "peer_rules_unsupported",
            "Rules it cannot take",
            now.peer_unsupported.clone(),
        );
        registry.register(
            "peer_announcements",
            "Rules of live mitigations by what they are at the neighbour",
            now.peer_announcements.clone(),
        );
        registry.register(
            "peer_rules_over_budget",
            "Rules that wait because it has as many as it may have",
            now.peer_over_budget.clone(),
        );
        registry.register(
            "peer_rules_displaced",
            "Those among them that were sent before a more important rule took their place",
            now.peer_displaced.clone(),
        );
        registry.register(
            "peer_rules_budget",
            "Rules it may have at most; there only where there is a bound",
            now.peer_budget.clone(),
        );
        registry.register(
            "peer_rules_quarantined",
            "Rules that are held back because they, or rules like them, ended its session",
            now.peer_quarantined.clone(),
        );
        registry.register(
            "peer_rules_on_probation",
            "Rules that may have ended its session and wait to be tried",
            now.peer_on_probation.clone(),
        );
        registry.register(
            "peer_rules_waiting",
            "Rules of a kind that another neighbour of its profile is told first",
            now.peer_waiting.clone(),
        );
        registry.register(
            "peer_rules_queued",
            "Changes that wait to be written to the neighbour",
            now.peer_queued.clone(),
        );
        registry.register_with_unit(
            "peer_lag",
            "From a rule being wanted to its UPDATE being written to the socket",
            Unit::Seconds,
            now.peer_lag.clone(),
        );
        registry.register_with_unit(
            "peer_end_of_rib",
            "From the last session to its last End-of-RIB: how long it took to tell everything",
            Unit::Seconds,
            now.peer_end_of_rib.clone(),
        );
        registry.register_with_unit(
            "peer_blocked",
            "How long its socket took nothing while there was something to write",
            Unit::Seconds,
            now.peer_blocked.clone(),
        );
        registry.register(
            "peer_messages",
            "What was written to it and came from it, by kind",
            now.peer_written.clone(),
        );
        registry.register(
            "peer_sessions",
            "Sessions since the start",
            now.peer_established.clone(),
        );
        registry.register(
            "peer_disabled",
            "Whether an operator disabled it",
            now.peer_disabled.clone(),
        );
        registry.register(
            "peer_flaps",
            "Sessions lost since the start",
            now.peer_flaps.clone(),
        );
        registry.register(
            "peer_flaps_by_cause",
            "Sessions lost since the start, by cause",
            now.peer_flaps_by_cause.clone(),
        );
    }

    /// Every value of a bounded label is there from the start, so that an alert can tell zero from absent.
    fn start_at_zero(&self) {
        for outcome in EventOutcome::NAMES {
            drop(self.events.get_or_create(&label(outcome)));
        }
        for guardrail in Guardrail::ALL {
            drop(self.guardrails.get_or_create(&label(guardrail.code())));
        }
        for kind in ["missing", "unexplained"] {
            drop(self.drift.get_or_create(&label(kind)));
        }
    }

    /// Counts what a committed effect is.
    pub fn count(&self, effect: &Effect) {
        match effect {
            Effect::Event(event, _) => {
                self.events_per_minute.inc();
                self.events.get_or_create(&label(event.outcome.as_str())).inc();
            }
            Effect::Mitigation { what, .. } => {
                let kind = crate::journal::Kind::from(*what).as_str();
                self.mitigations
                    .get_or_create(&label(kind.trim_start_matches("mitigation.")))
                    .inc();
            }
            Effect::Group(_)
            | Effect::Suppressed(_)
            | Effect::Unsuppressed { .. }
            | Effect::WideSuppressed(_)
            | Effect::WideUnsuppressed { .. }
            | Effect::Unconfirmed(_)
            | Effect::Confirmed { .. }
            | Effect::SafelistAdded(_)
            | Effect::SafelistRemoved { .. }
            | Effect::SafelistLearned(_)
            | Effect::SafelistForgotten { .. }
            | Effect::Peer(_)
            | Effect::Quarantine(_)
            | Effect::Breaker(_)
            | Effect::Source(_)
            | Effect::Control(_) => {}
        }
    }

    /// Counts what guardrails refused or ended.
    pub fn count_refusals(&self, refused: &[Guardrail]) {
        for guardrail in refused {
            self.guardrails.get_or_create(&label(guardrail.code())).inc();
        }
    }

    /// Counts what reconciliation repaired.
    pub fn count_drift(&self, drift: &Drift) {
        self.drift.get_or_create(&label("missing")).inc_by(drift.missing);
        self.drift
            .get_or_create(&label("unexplained"))
            .inc_by(drift.unexplained);
    }

    /// What reconciliation has repaired since the start.
    #[must_use]
    pub fn drift_total(&self) -> u64 {
        ["missing", "unexplained"]
            .iter()
            .map(|kind| self.drift.get_or_create(&label(kind)).get())
            .sum()
    }

    /// Events by outcome since the start.
    #[must_use]
    pub fn events_by_outcome(&self) -> std::collections::BTreeMap<String, u64> {
        let count = |name: &&str| ((*name).to_owned(), self.events.get_or_create(&label(name)).get());
        EventOutcome::NAMES.iter().map(count).collect()
    }

    /// The text that Prometheus reads, once `set` has set the gauges as they are now.
    ///
    /// # Errors
    /// When a metric cannot be written, which is a defect.
    pub fn scrape(&self, set: impl FnOnce(&Now)) -> Result<String, std::fmt::Error> {
        let _alone = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        set(&self.now);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A label of one value.
#[must_use]
pub fn label(kind: &str) -> Label {
    Label {
        kind: kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let metrics = Metrics::new();
        let text = metrics.scrape(|_| {}).unwrap();
        let documented = include_str!("../../docs/metrics.md");
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let name = if kind == "counter" {
                format!("{name}_total")
            } else {
                name.to_owned()
            };
            assert!(
                documented.contains(&format!("| `{name}` | {kind} |")),
                "docs/metrics.md says nothing of {name} ({kind})"
            );
        }
    }

    /// Two who scrape at once both see every neighbour: `absent()` alerts must not flap.
    #[test]
    fn a_scrape_never_meets_another_one_half_way() {
        const NEIGHBORS: u8 = 40;
        let metrics = Metrics::new();
        let scrape = || {
            let set = |now: &Now| {
                now.forget_peers();
                for number in 0..NEIGHBORS {
                    let neighbor = format!("edge{number}");
                    now.peer_up.get_or_create(&NeighborLabel { neighbor }).set(1);
                }
            };
            let text = metrics.scrape(set).unwrap();
            text.matches("prefixd_peer_up{").count()
        };
        std::thread::scope(|scope| {
            let scraper = || (0..200).all(|_| scrape() == usize::from(NEIGHBORS));
            let all = [scope.spawn(scraper), scope.spawn(scraper)];
            for one in all {
                assert!(one.join().unwrap(), "a neighbour was missing");
            }
        });
    }

    #[test]
    fn a_minute_forgets() {
        let minute = LastMinute::default();
        minute.inc();
        minute.inc();
        assert_eq!(minute.count(), 2);
        // Another thread may have counted in the second after the one that is asked about.
        minute.seconds.lock().unwrap()[59] = (59, 3);
        assert_eq!(minute.count(), 5);
    }
}
