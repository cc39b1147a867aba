//! Every guardrail refuses at a running daemon: the answer, the record and the metric say which one, and with what number.

use crate::metrics::Scrape;
use crate::support::{Daemon, Setup, ban, wait_for};
use anyhow::Context;
use prefixd_api::client::{Error, EventQuery};
use prefixd_api::control::{ControlRequest, ControlScope, ControlState};
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::guardrail::Guardrail;
use prefixd_api::mitigation::MitigationRequest;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::ActionType;
use prefixd_api::why::{Verdict, WhyStep};

/// What makes a guardrail refuse.
struct Trip {
    setup: Setup,
    /// A text of playbooks.yaml and what takes its place.
    playbook: Option<(&'static str, &'static str)>,
    before: Before,
    asks: Ask,
    /// The number, or the name, that the sentence must have.
    says: &'static str,
}

enum Before {
    Nothing,
    /// Another victim is mitigated.
    Another,
    /// The victim was filtered for as long as it may be.
    Filtered,
    Hold,
}

enum Ask {
    Report(Box<EventRequest>),
    Operator(Box<MitigationRequest>),
}

/// How a guardrail is shown to refuse.
enum Shown {
    Here(Box<Trip>),
    /// By this text of another test.
    By(&'static str),
}

fn report(victim: &str) -> Ask {
    Ask::Report(Box::new(ban(victim, 27015)))
}

/// Police all UDP to a victim, but for what is changed.
fn asks(victim: &str, change: impl FnOnce(&mut MitigationRequest)) -> Ask {
    let mut request = MitigationRequest {
        victim_ip: victim.into(),
        action: Some(ActionType::Police),
        rate_bps: Some(BitsPerSecond(5_000_000)),
        protocol: Some(17),
        ttl_seconds: Some(600),
        reason: "test".into(),
        ..MitigationRequest::default()
    };
    change(&mut request);
    Ask::Operator(Box::new(request))
}

const VICTIM: &str = "203.0.113.20";

/// A guardrail without an answer here does not compile.
fn shown(guardrail: Guardrail) -> Shown {
    let plain = |asks, says| Trip {
        setup: Setup::default(),
        playbook: None,
        before: Before::Nothing,
        asks,
        says,
    };
    let quota = |quotas, says| Trip {
        setup: Setup {
            quotas,
            ..Setup::default()
        },
        before: Before::Another,
        ..plain(report(VICTIM), says)
    };
    let trip = match guardrail {
        Guardrail::Safelist => plain(report("203.0.113.1"), "203.0.113.1/32"),
        Guardrail::Ownership => plain(asks("192.0.2.7", |_| {}), "192.0.2.7"),
        // Only a rule for many addresses may be too wide.
        Guardrail::PrefixLength => return Shown::By(include_str!("carpet.rs")),
        Guardrail::Ports => plain(
            asks(VICTIM, |request| {
                request.dst_ports = (1..60u16).step_by(2).collect();
            }),
            "30 port terms",
        ),
        Guardrail::PacketLength => plain(
            asks(VICTIM, |request| {
                request.protocol = None;
                request.matches = "length 9500-9600 proto udp".parse().ok().map(Box::new);
            }),
            "9216 bytes",
        ),
        Guardrail::Ttl => plain(
            asks(VICTIM, |request| request.ttl_seconds = Some(86_400)),
            "86400 s",
        ),
        Guardrail::Lifetime => Trip {
            setup: Setup {
                guardrails: "{ min_ttl_seconds: 1, max_ttl_seconds: 2, max_lifetime_seconds: 2 }",
                timers: "{ hold_down_seconds: 0, default_ttl_seconds: 2 }",
                playbook_ttl: 2,
                ..Setup::default()
            },
            before: Before::Filtered,
            ..plain(report(VICTIM), "2 s it may be")
        },
        Guardrail::QuotaCustomer => quota(
            "{ max_active_per_customer: 1, max_active_per_pop: 200, max_active_global: 500 }",
            "1 active mitigations of 1",
        ),
        Guardrail::QuotaPop => quota(
            "{ max_active_per_customer: 1, max_active_per_pop: 1, max_active_global: 500 }",
            "1 active mitigations of 1",
        ),
        Guardrail::QuotaGlobal => quota(
            "{ max_active_per_customer: 1, max_active_per_pop: 1, max_active_global: 1 }",
            "1 active mitigations of 1",
        ),
        Guardrail::RateOfChange => quota(
            "{ max_new_per_minute: { pop: 1000, customer: 1000, source: 1 } }",
            "1 are allowed",
        ),
        // Two routers die there.
        Guardrail::Breaker => return Shown::By(include_str!("breaker.rs")),
        Guardrail::ProtectedFlow => Trip {
            setup: Setup {
                guardrails: "{ min_ttl_seconds: 1, protected_flows: [{ name: voice, dst: 203.0.113.0/25, protocol: udp, \
                             dst_ports: [27015] }] }",
                ..Setup::default()
            },
            ..plain(report(VICTIM), "voice")
        },
        Guardrail::Panic => Trip {
            before: Before::Hold,
            ..plain(report(VICTIM), "INC-4711")
        },
        Guardrail::SourceAction => Trip {
            setup: Setup {
                sources: "{ default: { reporting: repeats, max_action: police } }",
                ..Setup::default()
            },
            playbook: Some(("action: police, rate_bps: 5000000", "action: discard")),
            ..plain(report(VICTIM), "police at most, not discard")
        },
        Guardrail::Impossible => plain(
            asks(VICTIM, |request| {
                request.action = Some(ActionType::Discard);
                request.rate_bps = None;
            }),
            "is refused",
        ),
    };
    Shown::Here(Box::new(trip))
}

async fn filtered(daemon: &Daemon) -> anyhow::Result<()> {
    daemon.ban(VICTIM, 27015).await?;
    wait_for("its time is over", || async {
        Ok(daemon.live().await?.is_empty().then_some(()))
    })
    .await
}

async fn ask(daemon: &Daemon, asks: &Ask) -> Result<(), Error> {
    match asks {
        Ask::Report(report) => daemon.client.send_event(report).await.map(drop),
        Ask::Operator(request) => daemon.client.create_mitigation(request).await.map(drop),
    }
}

async fn refuses(guardrail: Guardrail, trip: Trip) -> anyhow::Result<()> {
    let code = guardrail.code();
    // Of quotas the narrower is asked first: only the one that is meant may be used up.
    let mut daemon = Daemon::configured(trip.setup, &[])?;
    if let Some((from, to)) = trip.playbook {
        daemon.edit("playbooks.yaml", from, to)?;
    }
    if matches!(guardrail, Guardrail::QuotaPop | Guardrail::QuotaGlobal) {
        daemon.edit(
            "prefixd.yaml",
            "max_active_per_customer: 1",
            "max_active_per_customer: 100",
        )?;
    }
    if guardrail == Guardrail::QuotaGlobal {
        daemon.edit("prefixd.yaml", "max_active_per_pop: 1", "max_active_per_pop: 100")?;
    }
    daemon.boot().await?;
    match trip.before {
        Before::Nothing => {}
        Before::Another => drop(daemon.ban("203.0.113.10", 27015).await?),
        Before::Filtered => filtered(&daemon).await?,
        Before::Hold => {
            let hold = ControlRequest {
                scope: ControlScope::Pop,
                state: ControlState::Hold,
                reason: "INC-4711".into(),
                expected_revision: None,
            };
            daemon.client.set_control(&hold).await?;
        }
    }
    let series = format!("prefixd_guardrail_refusals_total{{kind=\"{code}\"}}");
    let counted = async || anyhow::Ok(Scrape::of(&daemon).await?.value(&series).unwrap_or(0.0));
    let (before, live) = (counted().await?, daemon.live().await?.len());
    let refused = ask(&daemon, &trip.asks).await.err().context("it was granted")?;
    anyhow::ensure!(refused.code() == Some(code), "{refused}");
    let sentence = refused.to_string();
    anyhow::ensure!(
        sentence.contains(trip.says),
        "{sentence} does not say {}",
        trip.says
    );
    anyhow::ensure!(counted().await? == before + 1.0, "it was not counted once");
    anyhow::ensure!(daemon.live().await?.len() == live, "something is live by it");
    if matches!(trip.asks, Ask::Report(_)) {
        let events = daemon.client.events(&EventQuery::default()).await?.value.events;
        let newest = events.first().context("it is stored")?;
        anyhow::ensure!(newest.outcome == EventOutcome::RejectedGuardrail, "{newest:?}");
        let why = daemon.client.event_why(newest.event_id).await?.value;
        let refuses = |step: &WhyStep| step.code == code && step.verdict == Verdict::Refused;
        anyhow::ensure!(why.steps.iter().any(refuses), "{why:?}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn every_guardrail_refuses_by_its_name_and_is_counted() -> anyhow::Result<()> {
    for guardrail in Guardrail::ALL.iter().copied() {
        match shown(guardrail) {
            Shown::Here(trip) => refuses(guardrail, *trip)
                .await
                .with_context(|| guardrail.code().to_owned())?,
            Shown::By(test) => assert!(test.contains(guardrail.code()), "no test asks {guardrail}"),
        }
    }
    Ok(())
}
