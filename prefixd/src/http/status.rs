//! How things are: statistics, neighbours, health, metrics, the API itself.

use super::elsewhere::{self, Asked};
use super::extract::{Query, answer, ok};
use super::identity::Principal;
use super::{App, Failure, control, routes};
use crate::metrics::{
    CauseLabel, FamilyLabel, FormLabel, NeighborLabel, Now, PeerKindLabel, StopLabel, label,
};
use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prefixd_api::control::{ControlScope, Stop};
use prefixd_api::mitigation::MitigationStatus;
use prefixd_api::problem::{Code, Problem};
use prefixd_api::resource::{
    AnnouncementForm, EngineHealth, Health, HealthDetail, LiveCounts, Mode, Peer, PeerState, Stats,
    StoreHealth, Usage,
};
use std::collections::BTreeMap;

/// Counts and bounds.
#[utoipa::path(get, path = "/v1/stats", tag = "status", params(
    ("pop" = Option<String>, Query, description = "A POP to count what is live at besides, or all"),
), responses((status = 200, body = Stats), (status = 400, body = Problem)))]
pub(super) async fn stats(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let asked = Asked::of(query.text("pop")?);
    query.finish()?;
    let snapshot = app.engine.snapshot();
    let quotas = snapshot.policy.quotas();
    let tally = match snapshot.policy.mode() {
        Mode::Enforced => &snapshot.state.counts.enforced,
        Mode::DryRun => &snapshot.state.counts.dry_run,
    };
    // Statistics are there while the store is away, too: then what the others may have counts.
    let elsewhere = app.store.live_elsewhere(&app.pop).await;
    let elsewhere = elsewhere.unwrap_or_else(|_| app.store.reserved_elsewhere());
    let mut stats = Stats {
        pop: app.pop.clone(),
        at: app.clock.now(),
        active: 0,
        escalated: 0,
        ending: 0,
        pending: 0,
        by_vector: BTreeMap::new(),
        by_action: BTreeMap::new(),
        by_severity: BTreeMap::new(),
        by_customer: tally
            .customers
            .iter()
            .map(|(id, used)| {
                (
                    id.to_string(),
                    Usage {
                        used: *used,
                        max: quotas.per_customer,
                    },
                )
            })
            .collect(),
        quota_pop: Usage {
            used: tally.pop,
            max: quotas.per_pop,
        },
        quota_global: Usage {
            used: tally.pop + elsewhere,
            max: quotas.global,
        },
        new_per_minute: Usage {
            used: tally.starts.pop(),
            max: quotas.new_pop,
        },
        events_per_minute: app.metrics.events_per_minute.count(),
        events_by_outcome: app.metrics.events_by_outcome(),
        rules: app.announcer.rule_counts(),
        pops: Vec::new(),
        total: None,
        elsewhere_unknown: None,
    };
    for mitigation in snapshot.state.mitigations.values() {
        match mitigation.status {
            MitigationStatus::Pending => stats.pending += 1,
            status if status.is_announced() => {
                stats.active += 1;
                stats.escalated += u64::from(status == MitigationStatus::Escalated);
                stats.ending += u64::from(mitigation.ending_since.is_some());
                *stats.by_vector.entry(mitigation.vector.to_string()).or_insert(0) += 1;
                *stats.by_action.entry(mitigation.action_type).or_insert(0) += 1;
                *stats.by_severity.entry(mitigation.severity).or_insert(0) += 1;
            }
            _ => {}
        }
    }
    let own = LiveCounts {
        active: stats.active,
        escalated: stats.escalated,
        pending: stats.pending,
        by_vector: stats.by_vector.clone(),
        by_action: stats.by_action.clone(),
    };
    let counted = elsewhere::counts(&app, asked, own).await?;
    ok(&Stats {
        pops: counted.pops,
        total: counted.total,
        elsewhere_unknown: counted.unknown,
        ..stats
    })
}

/// Whether the daemon answers; touches nothing.
#[utoipa::path(get, path = "/v1/health", tag = "status", responses((status = 200, body = Health)))]
pub(super) async fn health(State(app): State<App>) -> Result<Response, Failure> {
    ok(&Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        auth_mode: app.live.load().access.mode().as_str().to_owned(),
    })
}

/// Whether it can work: the state is loaded and the store takes changes.
#[utoipa::path(get, path = "/v1/health/ready", tag = "status",
    responses((status = 200), (status = 503, body = Problem)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Response, Failure> {
    // The engine serves requests only after the state is loaded.
    if app.engine.snapshot().store_failing_since.is_none() && app.store.ping().await.is_ok() {
        return answer(200, &serde_json::json!({ "status": "ready" }));
    }
    Err(Problem::new(Code::StoreUnavailable, "not ready")
        .with_retry_after(1)
        .into())
}

/// What a router without a session may hold all the same.
fn may_hold(peer: &Peer) -> String {
    peer.may_hold_until.map_or_else(String::new, |until| {
        format!(
            "; the router agreed to graceful restart and may hold what it was told until {until}, whatever is withdrawn \
             meanwhile"
        )
    })
}

/// Rules that a router does not have because it holds as many as it may.
fn over_budget(peer: &Peer) -> Option<String> {
    if peer.rules_over_budget == 0 {
        return None;
    }
    let budget = peer
        .rules_budget
        .map_or_else(String::new, |max| format!(" of {max}"));
    let displaced = match peer.rules_displaced {
        0 => String::new(),
        some => format!(" ({some} of them had been sent before more important ones took their places)"),
    };
    Some(format!(
        "{} rules{displaced} wait for a place in the budget{budget} of {}; prefixdctl peers rib {} lists them, \
         prefixdctl peers show {} says where the bound comes from",
        peer.rules_over_budget, peer.name, peer.name, peer.name
    ))
}

/// Rules that a router will be told later, which is as it should be.
fn held_back(peer: &Peer) -> Option<String> {
    match (peer.rules_on_probation, peer.rules_waiting) {
        (0, 0) => None,
        (probation, waiting) => Some(format!(
            "at {}, {probation} rules that may have ended its session wait to be tried one by one, and {waiting} of a kind that is \
             new to its profile wait until another neighbour has kept them",
            peer.name
        )),
    }
}

/// How its parts are.
#[utoipa::path(get, path = "/v1/health/detail", tag = "status", responses((status = 200, body = HealthDetail)))]
pub(super) async fn detail(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Failure> {
    let snapshot = app.engine.snapshot();
    let peers = app.announcer.peers();
    let established = peers
        .iter()
        .filter(|peer| peer.state == PeerState::Established)
        .count() as u64;
    let rules = app.announcer.rule_counts();
    let mut reasons: Vec<String> = peers
        .iter()
        .filter(|peer| peer.state != PeerState::Established && peer.disabled.is_none())
        .map(|peer| {
            format!(
                "the session with {} is {}{}",
                peer.name,
                peer.state,
                may_hold(peer)
            )
        })
        .collect();
    if peers.is_empty() {
        reasons.push("no neighbour is configured: nothing is announced".to_owned());
    }
    if !peers.is_empty() && peers.iter().all(|peer| peer.disabled.is_some()) {
        reasons.push("every neighbour is disabled: nothing is announced".to_owned());
    }
    let disabled: Vec<_> = peers.iter().filter_map(|peer| peer.disabled.as_ref()).collect();
    let wider = peers.iter().filter_map(|peer| {
        let rules = *peer.rules_by_form.get(AnnouncementForm::Widened.as_str())?;
        (rules > 0).then(|| {
            format!(
                "{rules} rules are wider at {} than decided, because it takes fewer ports; prefixdctl mitigations get says which",
                peer.name
            )
        })
    });
    let given_up = peers.iter().filter_map(|peer| {
        let rules = *peer.rules_by_form.get(AnnouncementForm::Rtbh.as_str())?;
        (rules > 0).then(|| {
            format!(
                "{rules} rules are blackhole routes at {}, because it has no FlowSpec and their steps have allow_rtbh; prefixdctl mitigations get says which",
                peer.name
            )
        })
    });
    let notes = peers.iter().filter_map(|peer| {
        let disabled = peer.disabled.as_ref()?;
        Some(format!(
            "{} is disabled by {} since {}: {}{}",
            disabled.neighbor,
            disabled.disabled_by,
            disabled.disabled_at,
            disabled.reason,
            may_hold(peer)
        ))
    });
    if snapshot.trip_unrecorded {
        reasons.push(
            "the breaker has tripped and the store has not recorded it: nothing new is announced".to_owned(),
        );
    }
    if let Some(breaker) = &snapshot.state.breaker {
        reasons.insert(
            0,
            format!(
                "the breaker is tripped since {}: the sessions with {} were lost right after an announcement; nothing new \
                 is announced until prefixdctl breaker reset",
                breaker.tripped_at,
                breaker.neighbors.join(" and ")
            ),
        );
    }
    for stopped in control::in_force(&snapshot).iter().rev() {
        reasons.insert(0, control::sentence(stopped));
    }
    if let Some(since) = snapshot.store_failing_since {
        reasons.push(format!("the store takes no changes since {since}"));
    }
    if snapshot.clock_stepped {
        reasons.push("the system clock was set while the daemon ran; check NTP".to_owned());
    }
    if snapshot.unreadable > 0 {
        reasons.push(format!(
            "{} stored rows could not be read and are not announced; the log names them",
            snapshot.unreadable
        ));
    }
    if rules.intended != rules.announced && peers.iter().any(|peer| peer.enforce) {
        reasons.push(format!(
            "{} rules are intended, {} announced",
            rules.intended, rules.announced
        ));
    }
    for peer in peers.iter().filter(|peer| peer.rules_unsupported > 0) {
        reasons.push(format!(
            "{} rules are not sent to {}, which cannot take them; prefixdctl mitigations get says why",
            peer.rules_unsupported, peer.name
        ));
    }
    for peer in peers.iter().filter(|peer| peer.rules_quarantined > 0) {
        reasons.push(format!(
            "{} is not told {} rules, because they or rules like them ended its session; prefixdctl peers show {} has \
             the router's words",
            peer.name, peer.rules_quarantined, peer.name
        ));
    }
    reasons.extend(peers.iter().filter_map(over_budget));
    let paused = snapshot.state.paused.values().map(|paused| {
        format!(
            "{} is paused by {} since {}: {}; its bans are stored and not acted on",
            paused.source, paused.paused_by, paused.paused_at, paused.reason
        )
    });
    ok(&HealthDetail {
        status: if reasons.is_empty() { "healthy" } else { "degraded" }.to_owned(),
        reasons,
        notes: notes
            .chain(peers.iter().filter_map(held_back))
            .chain(wider)
            .chain(given_up)
            .chain(paused)
            .chain(snapshot.policy.on_trial())
            .collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pop: app.pop.clone(),
        mode: snapshot.policy.mode(),
        now: app.clock.now(),
        started_at: app.started_at,
        store: StoreHealth {
            backend: app.store.backend().to_owned(),
            ok: snapshot.store_failing_since.is_none(),
            failing_since: snapshot.store_failing_since,
            owed: snapshot.owed,
        },
        engine: EngineHealth {
            queue: Usage {
                used: app.engine.queued() as u64,
                max: crate::engine::QUEUE as u64,
            },
            head: snapshot.head,
        },
        peers_established: established,
        peers_total: peers.len() as u64,
        peers_disabled: disabled.len() as u64,
        active: snapshot.state.counts.enforced.pop + snapshot.state.counts.dry_run.pop,
        rules,
        drift_total: app.metrics.drift_total(),
        role: principal.role,
    })
}

/// The media type of what Prometheus reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "status", responses((status = 200, body = String, content_type = OPENMETRICS)))]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let text = app.metrics.scrape(|now| set_gauges(&app, now));
    let text = text.map_err(|error| Failure::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

fn set_gauges(app: &App, now: &Now) {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let snapshot = app.engine.snapshot();
    let mut by_status: BTreeMap<&str, i64> = MitigationStatus::ALL
        .iter()
        .filter(|status| status.is_live())
        .map(|status| (status.as_str(), 0))
        .collect();
    for mitigation in snapshot.state.mitigations.values() {
        *by_status.entry(mitigation.status.as_str()).or_insert(0) += 1;
    }
    for (status, count) in by_status {
        now.active.get_or_create(&label(status)).set(count);
    }
    now.queue.set(signed(app.engine.queued() as u64));
    now.head.set(signed(snapshot.head));
    now.owed.set(signed(snapshot.owed));
    now.breaker_tripped
        .set(i64::from(snapshot.state.breaker.is_some()));
    // What goes on must not stay.
    now.stopped.clear();
    let stopped = |scope: &ControlScope, state: Stop, is_so: bool| {
        let label = StopLabel {
            scope: scope.to_string(),
            state: state.to_string(),
        };
        now.stopped.get_or_create(&label).set(i64::from(is_so));
    };
    // There also while nothing is stopped, so that an alert has something to look at.
    stopped(&ControlScope::Pop, Stop::Hold, false);
    stopped(&ControlScope::Pop, Stop::Panic, false);
    for one in control::in_force(&snapshot) {
        stopped(&one.scope, one.state, true);
    }
    now.store_up
        .set(i64::from(snapshot.store_failing_since.is_none()));
    // A neighbour that a reload removed must not stay.
    now.forget_peers();
    for peer in app.announcer.peers() {
        let neighbor = NeighborLabel { neighbor: peer.name };
        now.peer_up
            .get_or_create(&neighbor)
            .set(i64::from(peer.state == PeerState::Established));
        if let Some(bound) = peer.rules_budget {
            now.peer_budget.get_or_create(&neighbor).set(signed(bound));
        }
        now.peer_disabled
            .get_or_create(&neighbor)
            .set(i64::from(peer.disabled.is_some()));
        now.peer_flaps.get_or_create(&neighbor).set(signed(peer.flaps));
        now.peer_established
            .get_or_create(&neighbor)
            .set(signed(peer.established_total));
        for (family, rules) in peer.rules_by_family {
            let neighbor = neighbor.neighbor.clone();
            let label = FamilyLabel { neighbor, family };
            for (gauge, rules) in [
                (&now.peer_desired, rules.desired),
                (&now.peer_advertised, rules.advertised),
                (&now.peer_queued, rules.queued),
                (&now.peer_unsupported, rules.unsupported),
                (&now.peer_over_budget, rules.over_budget),
                (&now.peer_displaced, rules.displaced),
                (&now.peer_quarantined, rules.quarantined),
                (&now.peer_on_probation, rules.on_probation),
                (&now.peer_waiting, rules.waiting),
            ] {
                gauge.get_or_create(&label).set(signed(rules));
            }
        }
        let writing = peer.writing;
        now.peer_lag.get_or_create(&neighbor).set(writing.lag);
        now.peer_blocked
            .get_or_create(&neighbor)
            .set(writing.blocked_seconds);
        if let Some(seconds) = writing.end_of_rib_seconds {
            now.peer_end_of_rib.get_or_create(&neighbor).set(seconds);
        }
        let rules = [
            ("rules_announced", writing.announced),
            ("rules_withdrawn", writing.withdrawn),
            ("rules_expired", writing.expired),
            ("refreshes_served", writing.refreshes),
        ];
        let rules = rules.map(|(kind, count)| (kind.to_owned(), count));
        for (kind, count) in rules.into_iter().chain(peer.counters) {
            let neighbor = neighbor.neighbor.clone();
            now.peer_written
                .get_or_create(&PeerKindLabel { neighbor, kind })
                .set(signed(count));
        }
        for (form, rules) in peer.rules_by_form {
            let neighbor = neighbor.neighbor.clone();
            now.peer_announcements
                .get_or_create(&FormLabel { neighbor, form })
                .set(signed(rules));
        }
        for (cause, times) in peer.flaps_by_cause {
            let neighbor = neighbor.neighbor.clone();
            now.peer_flaps_by_cause
                .get_or_create(&CauseLabel { neighbor, cause })
                .set(signed(times));
        }
    }
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "status", responses((status = 200, body = Object)))]
pub(super) async fn openapi() -> Result<Response, Failure> {
    ok(&routes::openapi())
}
