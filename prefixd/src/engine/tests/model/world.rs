//! The engine as it is, driven by a story beside the reference.

use super::super::{Bench, SETTLED, Told, report};
use super::reference::{At, Reference, nlri};
use super::story::{
    Ask, Killed, PORTS, PREFIXES, RATES, Report, SOURCES, Scope, Step, VICTIMS, Vector, Word,
};
use crate::engine::commit::outcome;
use crate::engine::{Answer, Reload, Request, SubmitError};
use crate::policy::{
    About, AdjustCommand, AnnotateCommand, Annotation, Command, CreateCommand, EventCommand, ExtendCommand,
    FreshIds, Implicit, Outcome, PauseSource, Policy, ResumeSource, SafelistAdd, SetControl, UndoCommand,
    WithdrawCommand,
};
use crate::store::tests::Place;
use crate::store::{Store, StoreError, Verification};
use prefixd_api::config::Config;
use prefixd_api::control::{ControlScope, ControlState};
use prefixd_api::event::{Event, EventAction, EventRequest};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, MitigationRequest};
use prefixd_api::operation::AdjustRequest;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{ActionType, MatchRequest};
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::Effect;
use proptest::test_runner::TestCaseError;
use sqlx::{Connection, Executor, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{OnceCell, oneshot};

const SETTINGS: &str = "
pop: {POP}
mode: enforced
http: { socket: null, auth: { mode: none } }
bgp:
  local_asn: 65010
  router_id: 10.255.0.1
  listen: null
  marker_large_community: \"65010:8955:1\"
  neighbors: [{ name: edge, address: 192.0.2.1, peer_asn: 65001, profile: bird }]
sources:
  default: { reporting: repeats, claim_ttl_seconds: 90 }
  once: { reporting: once, claim_ttl_seconds: 400 }
guardrails:
  min_ttl_seconds: 1
  max_ttl_seconds: 300
  max_ttl_operator_seconds: 300
  max_lifetime_seconds: 600
  max_lifetime_operator_seconds: 1200
quotas:
  max_active_per_customer: {CUSTOMER}
  max_active_per_pop: {PER_POP}
  max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 }
timers:
  hold_down_seconds: 10
  quiet_period_seconds: 100
  correlation_window_seconds: 60
  max_event_age_seconds: 60
escalation: { enabled: false }
";
const ACME: &str = "
customers:
  - { customer_id: acme, name: ACME, prefixes: [203.0.113.0/25], link_bps: 10000000000, services: [] }
";
const BETA: &str = "  - { customer_id: beta, name: Beta, prefixes: [203.0.113.128/25], link_bps: 10000000000, services: [] }\n";
const PLAYBOOKS: &str = "
playbooks:
  - { name: udp, match: { vector: udp_flood }, steps: [{ action: police, rate_bps: 5000000, ttl_seconds: {TTL} }] }
  - { name: ntp, match: { vector: ntp_amplification }, steps: [{ action: discard, ttl_seconds: 30 }] }
";

type Verdict = Result<(), TestCaseError>;

/// Plays a story in paused time, and says what was otherwise than the reference has it.
pub(super) fn play(on_postgres: bool, steps: &[Step]) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Keeps paused time from going on by itself while everybody waits for the store.
        let (_still, waits) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || waits.recv());
        let mut world = World::new(on_postgres).await;
        tokio::time::pause();
        for (place, step) in steps.iter().enumerate() {
            Box::pin(world.step(step))
                .await
                .map_err(|error| TestCaseError::fail(format!("step {place}, {step:?}: {error}")))?;
        }
        Box::pin(world.holds_from_the_beginning()).await
    })
}

struct World {
    bench: Option<Bench>,
    _directory: Option<tempfile::TempDir>,
    connection: String,
    pop: String,
    configuration: usize,
    reference: Reference,
    /// Reports that have a name and a time.
    said: Vec<(Report, At)>,
    /// Up to where the journal was verified.
    verified: u64,
}

impl World {
    async fn new(on_postgres: bool) -> Self {
        static STORIES: AtomicU64 = AtomicU64::new(0);
        let pop = format!("pop{}", STORIES.fetch_add(1, Ordering::Relaxed));
        let mut place = if on_postgres {
            postgres().await
        } else {
            crate::store::tests::sqlite().await
        };
        let (connection, directory) = (place.connection.clone(), place.directory.take());
        let config = config(&pop, 0);
        let mut bench = Bench::starting_at(Timestamp::wall_clock(), place, SETTLED, &config).await;
        bench.engine.start().await.unwrap();
        Self {
            bench: Some(bench),
            _directory: directory,
            connection,
            pop,
            configuration: 0,
            reference: Reference::new(super::setup(0)),
            said: Vec::new(),
            verified: 0,
        }
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn now(&mut self) -> At {
        self.bench().clock.now().as_micros()
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask(ask) => self.together(&[*ask]).await?,
            Step::Together(asks) => self.together(asks).await?,
            Step::Repeat(back) => {
                let said = self.said.iter().rev().nth(*back).copied();
                if let Some((report, seen_at)) = said {
                    self.together(&[Ask::Again { report, seen_at }]).await?;
                }
            }
            Step::Wait(seconds) => {
                let until = self.now() + seconds * super::SECOND;
                while let Some(next) = self.next().filter(|next| *next < until) {
                    self.stand_still_until(next).await?;
                }
                self.stand_still_until(until).await?;
            }
            Step::Stall(seconds) => {
                let until = self.now() + seconds * super::SECOND;
                self.stand_still_until(until).await?;
            }
            Step::Deadline { just_before } => {
                if let Some(next) = self.next() {
                    self.stand_still_until(next - At::from(*just_before)).await?;
                }
            }
            Step::Reload(configuration) => self.reload(*configuration).await?,
            Step::Crash { asked, down } => Box::pin(self.crash(*asked, *down)).await?,
        }
        self.holds().await
    }

    /// When either of both has something to do; a microsecond later at the earliest.
    fn next(&mut self) -> Option<At> {
        let now = self.now();
        let engine = self.bench().engine.deadlines.next().map(Timestamp::as_micros);
        let reference = self.reference.next(now);
        [engine, reference]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    async fn stand_still_until(&mut self, until: At) -> Result<(), String> {
        let now = self.now();
        tokio::time::advance(Duration::from_micros(u64::try_from(until - now).unwrap_or(0))).await;
        self.together(&[]).await
    }

    /// Has all of this decided in one batch, and compares what is told.
    async fn together(&mut self, asks: &[Ask]) -> Result<(), String> {
        let now = self.now();
        self.reference.pass(now);
        let mut answers = Vec::new();
        for ask in asks {
            if let Some((told, expected)) = self.ask(ask, now).await {
                answers.push((ask, told, expected));
            }
        }
        self.rest().await;
        for (ask, mut told, expected) in answers {
            let told = told
                .try_recv()
                .map_err(|error| format!("{ask:?} was not answered: {error}"))?;
            let told = in_a_word(told);
            if told != expected {
                return Err(format!("{ask:?} was answered {told}, not {expected}"));
            }
        }
        Ok(())
    }

    /// Puts it into the queue, and answers what should be told. Nothing where it makes no sense.
    async fn ask(&mut self, ask: &Ask, now: At) -> Option<(Told, String)> {
        let (ids, command) = self.command(ask, now).await?;
        let bench = self.bench();
        let told = match &command {
            Command::Control(set) if set.is_panic() => bench.urgently(command),
            _ => bench.ask(command),
        };
        let expected = self.reference.ask(ask, ids.mitigation, now);
        if let Ask::Report(report) = ask
            && let (Some(_), Some(age)) = (report.name, report.age)
        {
            self.said.push((*report, now - age * super::SECOND));
        }
        Some((told, expected))
    }

    /// Until the engine has nothing left to do now.
    async fn rest(&mut self) {
        let bench = self.bench();
        loop {
            bench.decide().await;
            if bench.engine.commit.is_some() {
                bench.committed().await;
            }
            let engine = &bench.engine;
            let waits = !engine.own.is_empty() || !engine.waiting.is_empty();
            let is_due = engine.deadlines.next().is_some_and(|at| at <= bench.clock.now());
            if !waits && !is_due && engine.draft.is_none() && engine.commit.is_none() {
                break;
            }
        }
        bench.announcer.forget_ended();
    }

    async fn reload(&mut self, configuration: usize) -> Result<(), String> {
        let now = self.now();
        let config = config(&self.pop, configuration);
        let bench = self.bench();
        let (configs, announce) = bench.neighbors.clone();
        let next = Reload {
            policy: Arc::new(Policy::compile(&config, &Implicit::default())),
            settings: SETTLED,
            neighbors: configs,
            announce,
            subject: "config".to_owned(),
            keyed: None,
            told: "{}".to_owned(),
            expect_count: None,
        };
        let (reply, mut told) = oneshot::channel();
        bench.engine.waiting.push_back(Request::Reload {
            next: Box::new(next),
            actor: "token:root".to_owned(),
            reply,
        });
        self.configuration = configuration;
        self.reference.pass(now);
        self.reference.setup = super::setup(configuration);
        self.reference.judge(now);
        self.rest().await;
        match told.try_recv() {
            Ok(Ok(_)) => Ok(()),
            other => Err(format!("the reload was answered {other:?}")),
        }
    }

    /// The process ends without a word, and another starts with what is stored.
    async fn crash(&mut self, asked: Option<(Ask, Killed)>, down: i64) -> Result<(), String> {
        if let Some((ask, killed)) = asked {
            let now = self.now();
            let before = self.reference.clone();
            self.reference.pass(now);
            let told = self.ask(&ask, now).await;
            let bench = self.bench();
            bench.engine.decide_waiting().await.unwrap();
            match killed {
                Killed::Undurable => self.reference = before,
                Killed::Untold => {
                    bench.engine.commit_draft();
                    if bench.engine.commit.is_some() {
                        outcome(&mut bench.engine.commit).await.unwrap();
                    }
                }
            }
            drop(told);
        }
        let bench = self.bench.take().unwrap();
        let now = bench.clock.now();
        drop(bench);
        let place = Place {
            store: opened_again(&self.connection).await,
            connection: self.connection.clone(),
            directory: None,
        };
        let now = now.saturating_add(Duration::from_secs(down.unsigned_abs()));
        let config = config(&self.pop, self.configuration);
        let mut bench = Bench::starting_at(now, place, SETTLED, &config).await;
        bench.engine.start().await.unwrap();
        self.bench = Some(bench);
        self.rest().await;
        self.reference.restart(now.as_micros());
        Ok(())
    }

    /// What must hold whatever happened.
    async fn holds(&mut self) -> Result<(), String> {
        let now = self.now();
        self.reference.look_beside(now);
        let (pop, verified) = (self.pop.clone(), self.verified);
        let bench = self.bench();
        let snapshot = bench.handle.snapshot();
        let store = Arc::clone(&bench.engine.parts.store);
        let announced = announced(bench);
        let live: BTreeMap<Scope, Arc<Mitigation>> = snapshot
            .state
            .mitigations
            .values()
            .map(|live| (scope_of(live), Arc::clone(live)))
            .collect();
        self.live_is_as_expected(&live, now)?;
        self.announced_is_as_expected(&announced)?;
        let state = &snapshot.state;
        let counts = &state.counts.enforced;
        same(
            "mitigations that count",
            counts.pop,
            self.reference.live.len() as u64,
        )?;
        for customer in ["acme", "beta"] {
            let expected = self.reference.of_customer(customer) as u64;
            same(customer, counts.customer(customer), expected)?;
        }
        let suppressions = state
            .suppressions
            .values()
            .filter(|one| one.expires_at.as_micros() > now);
        let suppressed = suppressions
            .map(|one| {
                let scope = (
                    victim_of(one.scope.victim.address()),
                    Vector::named(&one.scope.vector),
                );
                (scope, one.expires_at.as_micros())
            })
            .collect();
        same("suppressions", suppressed, self.reference.suppressed(now))?;
        let counts = |at: Option<Timestamp>| at.is_none_or(|at| at.as_micros() > now);
        let protected: BTreeSet<String> = state
            .safelist
            .values()
            .filter(|entry| counts(entry.expires_at))
            .map(|entry| entry.prefix.to_string())
            .collect();
        let expected = self.reference.safelist.iter().filter(|(_, until)| **until > now);
        same(
            "safelist",
            protected,
            expected.map(|(prefix, _)| PREFIXES[*prefix].to_owned()).collect(),
        )?;
        let paused: BTreeSet<String> = state.paused.keys().map(ToString::to_string).collect();
        let expected = self
            .reference
            .paused
            .iter()
            .map(|source| SOURCES[*source].to_owned());
        same("paused sources", paused, expected.collect())?;
        let stopped: BTreeSet<bool> = state
            .stopped
            .keys()
            .map(|scope| *scope == ControlScope::Pop)
            .collect();
        same(
            "what is stopped",
            stopped,
            self.reference.stopped.keys().copied().collect(),
        )?;
        let from = (verified > 0).then_some(verified);
        self.verified = verify(&store, &pop, from, snapshot.head).await?;
        Ok(())
    }

    fn live_is_as_expected(&self, live: &BTreeMap<Scope, Arc<Mitigation>>, now: At) -> Result<(), String> {
        let expected = &self.reference.live;
        same("live", live.keys().collect::<Vec<_>>(), expected.keys().collect())?;
        for (scope, live) in live {
            let expected = &expected[scope];
            let what = |field: &str| format!("{field} of {scope:?}");
            same(&what("id"), live.mitigation_id, expected.id)?;
            same(
                &what("expires_at"),
                live.expires_at.as_micros() - now,
                expected.expires_at - now,
            )?;
            let ends_at = live.ends_at.map(|at| at.as_micros() - now);
            same(&what("ends_at"), ends_at, expected.ends_at.map(|at| at - now))?;
            same(
                &what("customer"),
                live.customer_id.as_deref(),
                Some(expected.customer),
            )?;
            same(
                &what("acknowledged"),
                live.acknowledged_at.is_some(),
                expected.acknowledged,
            )?;
            // An owner, a reason and an end.
            let is_held = !live.claims.is_empty() || live.ends_at.is_some();
            if !is_held || live.why_summary.is_empty() || live.expires_at.as_micros() <= now {
                return Err(format!("without owner, reason or end: {live:?}"));
            }
        }
        Ok(())
    }

    fn announced_is_as_expected(&self, announced: &BTreeMap<String, u64>) -> Result<(), String> {
        let rules = self.reference.rules();
        let expected: BTreeMap<String, u64> = rules
            .iter()
            .map(|((victim, taken), rate)| (nlri(*victim, taken), *rate))
            .collect();
        let leaving: BTreeSet<String> = self
            .reference
            .leaving
            .iter()
            .map(|(scope, taken, _)| nlri(scope.0, taken))
            .collect();
        let mut announced = announced.clone();
        announced.retain(|rule, _| expected.contains_key(rule) || !leaving.contains(rule));
        // What leaves may be stricter than what another still wants of the same traffic.
        let expected: BTreeMap<String, u64> = expected
            .into_iter()
            .map(|(rule, rate)| match announced.get(&rule) {
                Some(actual) if leaving.contains(&rule) => (rule, rate.min(*actual)),
                _ => (rule, rate),
            })
            .collect();
        same("announced", announced, expected)
    }

    /// The whole chain, and every mitigation as it was left.
    async fn holds_from_the_beginning(&mut self) -> Verdict {
        Box::pin(self.crash(None, 0)).await.map_err(TestCaseError::fail)?;
        self.verified = 0;
        self.holds()
            .await
            .map_err(|error| TestCaseError::fail(format!("after the last start: {error}")))?;
        let store = Arc::clone(&self.bench().engine.parts.store);
        for (scope, (expected, _)) in &self.reference.ended {
            let stored = store.get_mitigation(expected.id).await.unwrap();
            let acknowledged = stored.as_ref().map(|stored| stored.acknowledged_at.is_some());
            let is_over = stored.as_ref().is_some_and(|stored| !stored.status.is_live());
            if !is_over || acknowledged != Some(expected.acknowledged) {
                return Err(TestCaseError::fail(format!(
                    "{scope:?} ended, and is stored as {stored:?}"
                )));
            }
        }
        Ok(())
    }

    async fn command(&mut self, ask: &Ask, now: At) -> Option<(FreshIds, Command)> {
        let ids = FreshIds::new();
        let (actor, reason) = ("token:noc".to_owned(), "a story".to_owned());
        let live = |reference: &Reference, scope: &Scope| {
            reference
                .live
                .get(scope)
                .map_or_else(MitigationId::new, |live| live.id)
        };
        let seconds = |seconds: &i64| Duration::from_secs(seconds.unsigned_abs());
        let command = match ask {
            Ask::Report(said) => event(ids, said, said.age.map(|age| now - age * super::SECOND)),
            Ask::Again { report, seen_at } => event(ids, report, Some(*seen_at)),
            Ask::Create {
                scope,
                port,
                rate,
                ttl,
            } => {
                let rate = RATES[*rate];
                Command::Create(Box::new(CreateCommand {
                    ids,
                    victim: address(scope.0).to_string().parse().unwrap(),
                    request: MitigationRequest {
                        victim_ip: address(scope.0).to_string(),
                        vector: Some(scope.1.name().to_owned()),
                        action: Some(if rate == 0 {
                            ActionType::Discard
                        } else {
                            ActionType::Police
                        }),
                        rate_bps: (rate > 0).then_some(BitsPerSecond(rate)),
                        ttl_seconds: u32::try_from(*ttl).ok(),
                        dst_ports: [PORTS[*port]].into_iter().collect(),
                        protocol: Some(17),
                        reason,
                        ..MitigationRequest::default()
                    },
                    actor,
                }))
            }
            Ask::Extend { scope, ttl } => Command::Extend(ExtendCommand {
                mitigation: live(&self.reference, scope),
                ttl: seconds(ttl),
                reason,
                expected_revision: None,
                actor,
            }),
            Ask::Adjust { scope, port, rate } => {
                let rate = RATES[*rate];
                let matches = MatchRequest {
                    protocols: [17].into(),
                    dst_ports: [PORTS[*port]].into_iter().collect(),
                    ..MatchRequest::default()
                };
                Command::Adjust(Box::new(AdjustCommand {
                    mitigation: live(&self.reference, scope),
                    request: AdjustRequest {
                        action: Some(if rate == 0 {
                            ActionType::Discard
                        } else {
                            ActionType::Police
                        }),
                        rate_bps: (rate > 0).then_some(BitsPerSecond(rate)),
                        matches: Some(Box::new(matches)),
                        reason,
                        ..AdjustRequest::default()
                    },
                    actor,
                }))
            }
            Ask::Withdraw { scope, suppress } => Command::Withdraw(WithdrawCommand {
                ids,
                mitigation: live(&self.reference, scope),
                reason,
                suppress: Some(seconds(suppress)),
                confirm_within: None,
                expected_revision: None,
                actor,
            }),
            Ask::Undo(scope) => Command::Undo(UndoCommand {
                ids,
                ended: self.ended(*scope).await?,
                reason,
                expected_revision: None,
                actor,
            }),
            Ask::Acknowledge(scope) => {
                let (mitigation, ended) = match self.reference.live.get(scope) {
                    Some(live) => (live.id, None),
                    None => {
                        let ended = self.ended(*scope).await?;
                        (ended.mitigation_id, Some(ended))
                    }
                };
                Command::Annotate(AnnotateCommand {
                    about: vec![About { mitigation, ended }],
                    like: None,
                    what: Annotation::Acknowledge(true),
                    revisions: std::collections::BTreeMap::new(),
                    actor,
                })
            }
            Ask::Protect { prefix, time } => Command::SafelistAdd(SafelistAdd {
                prefix: PREFIXES[*prefix].parse().unwrap(),
                reason,
                expires_at: time.map(|time| Timestamp::from_micros(now + time * super::SECOND)),
                expect_count: None,
                actor,
            }),
            Ask::Unprotect(prefix) => Command::SafelistRemove {
                prefix: PREFIXES[*prefix].parse().unwrap(),
                actor,
            },
            Ask::Pause { source, withdraw } => Command::PauseSource(PauseSource {
                source: SOURCES[*source].into(),
                withdraw: *withdraw,
                expect_count: None,
                reason,
                actor,
            }),
            Ask::Resume(source) => Command::ResumeSource(ResumeSource {
                source: SOURCES[*source].into(),
                reason,
                actor,
            }),
            Ask::Say { whole_pop, word } => Command::Control(SetControl {
                scope: if *whole_pop { "pop" } else { "customer:acme" }.parse().unwrap(),
                state: match word {
                    Word::Running => ControlState::Running,
                    Word::Hold => ControlState::Hold,
                    Word::Panic => ControlState::Panic,
                },
                actor,
                reason,
                expected_revision: None,
                said: 0,
            }),
        };
        Some((ids, command))
    }

    /// What ended last in a scope, as a request finds it in the store.
    async fn ended(&mut self, scope: Scope) -> Option<Arc<Mitigation>> {
        let id = self.reference.ended.get(&scope)?.0.id;
        let stored = self.bench().engine.parts.store.get_mitigation(id).await.unwrap();
        stored.filter(|stored| !stored.status.is_live()).map(Arc::new)
    }
}

/// The database of all stories, each of which has a POP of its own there.
async fn postgres() -> Place {
    static DATABASE: OnceCell<String> = OnceCell::const_new();
    let made = DATABASE.get_or_init(|| async { crate::store::tests::postgres().await.unwrap().connection });
    let connection = made.await.clone();
    let mut before = PgConnection::connect(&connection).await.unwrap();
    // What POPs share.
    before
        .execute("DELETE FROM safelist; DELETE FROM reservations")
        .await
        .unwrap();
    Place {
        store: Store::open(&connection, 4).await.unwrap(),
        connection,
        directory: None,
    }
}

fn config(pop: &str, configuration: usize) -> Config {
    let setup = super::setup(configuration);
    let settings = SETTINGS
        .replace("{POP}", pop)
        .replace("{CUSTOMER}", &setup.per_customer.to_string())
        .replace("{PER_POP}", &setup.per_pop.to_string());
    let inventory = if setup.has_beta {
        format!("{ACME}{BETA}")
    } else {
        ACME.to_owned()
    };
    let playbooks = PLAYBOOKS.replace("{TTL}", &(setup.udp_ttl / super::SECOND).to_string());
    Config::from_texts(&settings, &inventory, &playbooks).unwrap()
}

fn address(victim: usize) -> Ipv4Addr {
    VICTIMS[victim].into()
}

fn victim_of(victim: IpAddr) -> usize {
    (0..VICTIMS.len())
        .find(|one| IpAddr::from(address(*one)) == victim)
        .unwrap()
}

fn scope_of(mitigation: &Mitigation) -> Scope {
    (
        victim_of(mitigation.victim_ip.address()),
        Vector::named(&mitigation.vector),
    )
}

fn event(ids: FreshIds, said: &Report, seen_at: Option<At>) -> Command {
    let seen_at = seen_at.map(Timestamp::from_micros);
    let request = EventRequest {
        source: SOURCES[said.source].to_owned(),
        event_id: said.name.map(|name| format!("attack{name}")),
        action: if said.unban {
            EventAction::Unban
        } else {
            EventAction::Ban
        },
        victim_ip: address(said.victim).to_string(),
        vector: said.scope().1.name().to_owned(),
        // Too little for fragments to matter.
        bps: Some(50_000_000),
        top_dst_ports: vec![PORTS[said.port]],
        timestamp: seen_at,
        ..report(0)
    };
    Command::Event(Box::new(EventCommand {
        ids,
        event: Event::try_from(request).unwrap(),
        actor: "token:detector".to_owned(),
        seen_at,
    }))
}

fn in_a_word(told: Result<Answer, SubmitError>) -> String {
    let answer = match told {
        Ok(answer) => answer,
        Err(error) => return error.to_string(),
    };
    match answer.outcome {
        Outcome::Event { answer: event, .. } if answer.replay => format!("{} again", event.status),
        Outcome::Event { answer: event, .. } => event.status.to_string(),
        Outcome::Created(_) => "created".to_owned(),
        Outcome::Changed(_) => "changed".to_owned(),
        Outcome::Withdrawn(_) => "withdrawn".to_owned(),
        Outcome::Many(results) => match &results[..] {
            [(_, Ok(_))] => "acknowledged".to_owned(),
            [(_, Err(problem))] => problem.code.clone(),
            other => format!("{other:?}"),
        },
        Outcome::SafelistAdded(answer) => format!("protected, {} withdrawn", answer.withdrawn),
        Outcome::SafelistRemoved => "unprotected".to_owned(),
        Outcome::SourcePaused { withdrawn, .. } => format!("paused, {withdrawn} withdrawn"),
        Outcome::ControlChanged => "said".to_owned(),
        Outcome::Refused(problem) => problem.code.clone(),
        other => format!("{other:?}"),
    }
}

/// A process that dies lets its files go at once; what it had under way in this one may take a moment. Time stands still here,
/// so the others are let on instead.
async fn opened_again(connection: &str) -> Store {
    let give_up = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match Store::open(connection, 4).await {
            Err(StoreError::InUse { .. }) if std::time::Instant::now() < give_up => {
                tokio::task::yield_now().await;
            }
            opened => return opened.unwrap(),
        }
    }
}

/// What the neighbour is to have, by NLRI: bits per second, of which none are dropping.
fn announced(bench: &Bench) -> BTreeMap<String, u64> {
    let routes = bench.announcer.speaker().desired("edge").unwrap();
    let rate = |route: &prefixd_bgp::Route| match route.action.effect() {
        Effect::Discard => 0,
        // Rates of the story are whole bytes, which a float of the wire holds exactly.
        Effect::RateBytes(rate) => rate.get() as u64 * 8,
        other => panic!("{other:?}"),
    };
    routes
        .iter()
        .map(|route| (route.rule.key().to_string(), rate(route)))
        .collect()
}

async fn verify(store: &Store, pop: &str, from: Option<u64>, head: u64) -> Result<u64, String> {
    match store.verify_chain(pop, from, u64::MAX).await.unwrap() {
        Verification::Intact { to, .. } if to.seq == head => Ok(head),
        other => Err(format!("the journal up to {head}: {other:?}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, actual: T, expected: T) -> Result<(), String> {
    if actual == expected {
        Ok(())
    } else {
        Err(format!("{what}: {actual:?}, the reference says {expected:?}"))
    }
}
