//! Decision tables: each file in `decisions/` tells stories of commands with times and what must come of them.
//!
//! Times are seconds from the start of a case. Between two steps every deadline is met when it comes. A file's
//! `config` changes `base.yaml`, a case's `config` changes the file's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a case that cannot be read is a failed test"
)]

use ipnet::IpNet;
use prefixd::policy::{
    Command, CreateCommand, Decision, Effect, EventCommand, Facts, FreshIds, Implicit, OfAggregate, Outcome,
    Policy, Reach, SafelistAdd, State, WithdrawCommand, decide, next_deadline,
};
use prefixd_api::config::Config;
use prefixd_api::event::{Event, EventAction, EventRequest};
use prefixd_api::mitigation::{Mitigation, MitigationRequest, Scope};
use prefixd_api::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const START: i64 = 1_700_000_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    config: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(default)]
    config: Value,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    at: f64,
    /// Whether a neighbour is established from now on, and rules reach it at once.
    established: Option<bool>,
    /// How far neighbours are from now on with what is over many: `blocked`, `coming` or `told`.
    reach: Option<String>,
    ban: Option<EventRequest>,
    unban: Option<EventRequest>,
    /// How long before the step the source saw it.
    age: Option<f64>,
    create: Option<MitigationRequest>,
    withdraw: Option<Withdraw>,
    protect: Option<Protect>,
    unprotect: Option<IpNet>,
    /// Changes the configuration and judges everything live again.
    reload: Option<Value>,
    /// The same before anything was judged.
    reload_unjudged: Option<Value>,
    #[serde(default)]
    repeat: Option<u32>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdraw {
    scope: String,
    suppress: Option<u64>,
    revision: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Protect {
    prefix: IpNet,
    expect_count: Option<u64>,
    ttl: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The event's outcome, or the word for a request that was granted.
    outcome: Option<String>,
    /// The code of the guardrail or problem that refused.
    code: Option<String>,
    /// When an unban says the mitigation ends.
    ends: Option<f64>,
    /// Parts of the deciding sentence.
    #[serde(default)]
    says: Vec<String>,
    /// Codes of steps that the trace must have.
    #[serde(default)]
    why: Vec<String>,
    /// What is live, by scope: all of it.
    live: Option<BTreeMap<String, Live>>,
    /// What ended since the step before, by scope.
    ended: Option<BTreeMap<String, String>>,
    /// The next deadline of all.
    next: Option<f64>,
    /// How many groups, suppressions and added safelist entries are remembered.
    groups: Option<usize>,
    suppressions: Option<usize>,
    safelist: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    rules: Option<Vec<String>>,
    status: Option<String>,
    step: Option<u32>,
    expires: Option<f64>,
    ends: Option<f64>,
    claims: Option<usize>,
    enforced: Option<bool>,
    allow_rtbh: Option<bool>,
    severity: Option<String>,
    confidence: Option<f64>,
    previous: Option<bool>,
    revision: Option<u64>,
    /// What a pending one waits for; `none`.
    waits: Option<String>,
}

struct World {
    case: String,
    config: Value,
    policy: Policy,
    state: State,
    now: Timestamp,
    established: bool,
    reach: Reach,
    ended: BTreeMap<String, String>,
}

#[test]
fn decisions_are_as_the_tables_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let base: Value = read(&folder.join("base.yaml"));
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut cases, mut failed) = (0, Vec::new());
    for path in files.iter().filter(|path| !path.ends_with("base.yaml")) {
        let file: File = read(path);
        for case in file.cases {
            let config = merged(&merged(&base, &file.config), &case.config);
            let name = format!("{}: {}", path.file_stem().unwrap().display(), case.case);
            let told = std::panic::catch_unwind(|| {
                let mut world = World::new(name.clone(), config);
                for step in &case.steps {
                    world.step(step);
                }
            });
            failed.extend(told.is_err().then_some(name));
            cases += 1;
        }
    }
    assert!(cases > 0, "no cases in {}", folder.display());
    assert!(
        failed.is_empty(),
        "{} of {cases} cases failed: {failed:#?}",
        failed.len()
    );
}

/// Whoever follows README.md with the samples as they are sees a mitigation, not a refusal.
#[test]
fn the_first_event_of_the_readme_is_accepted_by_the_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sample = |name: &str| read::<Value>(&root.join(format!("etc/{name}.yaml")));
    let config = ["prefixd", "inventory", "playbooks"].map(|name| (name.to_owned(), sample(name)));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let command = "prefixdctl events send --source test --victim 203.0.113.10 --vector udp_flood --bps 1.2G --ports 27015";
    assert!(readme.contains(command), "README.md sends another event");
    let step = r#"{
        "ban": {"source": "test", "victim_ip": "203.0.113.10", "vector": "udp_flood", "bps": 1200000000, "top_dst_ports": [27015]},
        "expect": {"outcome": "accepted"}
    }"#;
    let mut world = World::new("README".to_owned(), Value::Object(Map::from_iter(config)));
    world.step(&serde_json::from_str(step).unwrap());
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Objects are merged by key, everything else is replaced; null removes.
fn merged(base: &Value, change: &Value) -> Value {
    match (base, change) {
        (base, Value::Null) => base.clone(),
        (Value::Object(base), Value::Object(change)) => {
            let mut all: Map<String, Value> = base.clone();
            for (key, value) in change {
                if value.is_null() {
                    all.remove(key);
                } else {
                    let old = all.get(key).cloned().unwrap_or(Value::Null);
                    all.insert(key.clone(), merged(&old, value));
                }
            }
            Value::Object(all)
        }
        (_, change) => change.clone(),
    }
}

fn compile(case: &str, config: &Value) -> Policy {
    let text = |key: &str| config[key].to_string();
    let config = Config::from_texts(&text("prefixd"), &text("inventory"), &text("playbooks"))
        .unwrap_or_else(|errors| panic!("{case}: {errors}"));
    let database = ("203.0.113.250".parse().unwrap(), "the database".to_owned());
    Policy::compile(
        &config,
        &Implicit {
            addresses: vec![database],
        },
    )
}

fn seconds(span: f64) -> Duration {
    Duration::from_secs_f64(span)
}

fn at(offset: f64) -> Timestamp {
    Timestamp::from_micros(START).saturating_add(seconds(offset))
}

fn offset(at: Timestamp) -> f64 {
    Duration::from_micros(u64::try_from(at.as_micros() - START).unwrap()).as_secs_f64()
}

impl World {
    fn new(case: String, config: Value) -> Self {
        let policy = compile(&case, &config);
        let mut state = State::default();
        state.count_victims(&policy);
        Self {
            policy,
            case,
            config,
            state,
            now: at(0.0),
            established: true,
            reach: Reach::Told,
            ended: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        self.ended.clear();
        self.pass(at(step.at));
        if let Some(established) = step.established {
            self.established = established;
        }
        if let Some(reach) = &step.reach {
            self.reach = match reach.as_str() {
                "blocked" => Reach::Blocked,
                "coming" => Reach::Coming,
                "told" => Reach::Told,
                other => panic!("{}: nothing is {other}", self.case),
            };
        }
        let mut decision = None;
        for _ in 0..step.repeat.unwrap_or(1) {
            decision = self.act(step);
        }
        self.compare(step, decision.as_ref());
    }

    fn act(&mut self, step: &Step) -> Option<Decision> {
        let ids = FreshIds::new();
        let actor = "anna".to_owned();
        if let Some(change) = &step.reload {
            self.config = merged(&self.config, change);
            self.policy = compile(&self.case, &self.config);
            self.state.count_victims(&self.policy);
            for scope in self.state.live_scopes().cloned().collect::<Vec<_>>() {
                self.run(&Command::Judge(scope.clone()), Some(&scope));
            }
            return None;
        }
        if let Some(change) = &step.reload_unjudged {
            self.config = merged(&self.config, change);
            self.policy = compile(&self.case, &self.config);
            return None;
        }
        for (action, request) in [(EventAction::Ban, &step.ban), (EventAction::Unban, &step.unban)] {
            if let Some(request) = request {
                let request = EventRequest {
                    action,
                    ..request.clone()
                };
                let event =
                    Event::try_from(request).unwrap_or_else(|errors| panic!("{}: {errors:?}", self.case));
                let scope = Scope {
                    victim: event.victim,
                    vector: event.vector.as_str().into(),
                };
                let command = EventCommand {
                    ids,
                    event,
                    actor: "token:detector".to_owned(),
                    seen_at: step.age.map(|age| self.seen(age)),
                };
                return Some(self.run(&Command::Event(Box::new(command)), Some(&scope)));
            }
        }
        if let Some(request) = &step.create {
            let victim = request.victim_ip.parse().unwrap();
            let scope = Scope {
                victim,
                vector: request.vector.as_deref().unwrap_or("manual").into(),
            };
            let command = CreateCommand {
                ids,
                victim,
                request: request.clone(),
                actor,
            };
            return Some(self.run(&Command::Create(Box::new(command)), Some(&scope)));
        }
        if let Some(withdraw) = &step.withdraw {
            let mitigation = self
                .live(&withdraw.scope)
                .map_or(ids.mitigation, |live| live.mitigation_id);
            let command = WithdrawCommand {
                ids,
                mitigation,
                reason: "false alarm".to_owned(),
                suppress: withdraw.suppress.map(Duration::from_secs),
                confirm_within: None,
                expected_revision: withdraw.revision,
                actor,
            };
            return Some(self.run(&Command::Withdraw(command), None));
        }
        if let Some(protect) = &step.protect {
            let command = SafelistAdd {
                prefix: protect.prefix,
                reason: "ours".to_owned(),
                expires_at: protect.ttl.map(|ttl| self.now.saturating_add(seconds(ttl))),
                expect_count: protect.expect_count,
                actor,
            };
            return Some(self.run(&Command::SafelistAdd(command), None));
        }
        if let Some(prefix) = step.unprotect {
            return Some(self.run(&Command::SafelistRemove { prefix, actor }, None));
        }
        None
    }

    /// A negative age is a clock that is ahead.
    fn seen(&self, age: f64) -> Timestamp {
        if age < 0.0 {
            self.now.saturating_add(seconds(-age))
        } else {
            self.now.saturating_sub(seconds(age))
        }
    }

    fn run(&mut self, command: &Command, scope: Option<&Scope>) -> Decision {
        self.state.advance(self.now);
        let advertised_at = |live: Option<&Arc<Mitigation>>| {
            live.filter(|live| self.established && live.enforced)
                .map(|live| live.created_at)
        };
        let facts = Facts {
            advertised_at: advertised_at(scope.and_then(|scope| self.state.mitigation_of(scope))),
            established: self.established,
            reserved: None,
            aggregate: OfAggregate {
                advertised_at: advertised_at(scope.and_then(|scope| self.state.aggregate_over(scope))),
                reach: self.reach,
            },
        };
        let decision = decide(&self.state, &self.policy, command, self.now, &facts);
        self.state.apply(&decision.effects);
        for effect in &decision.effects {
            if let Effect::Mitigation { after, .. } = effect
                && let Some(reason) = &after.end_reason
            {
                self.ended.insert(after.scope().to_string(), reason.to_string());
            }
        }
        decision
    }

    fn next(&self) -> Option<(Timestamp, Scope)> {
        let state = &self.state;
        let scopes: BTreeSet<&Scope> = state.scopes().chain(state.suppressions.keys()).collect();
        let due = |scope: &Scope| next_deadline(state, &self.policy, scope).map(|at| (at, scope.clone()));
        scopes.into_iter().filter_map(due).min()
    }

    fn pass(&mut self, until: Timestamp) {
        let mut turns = 0;
        while let Some((at, scope)) = self.next().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.run(&Command::Due(scope.clone()), Some(&scope));
            turns += 1;
            assert!(turns < 10_000, "{}: deadlines do not move on at {at}", self.case);
        }
        self.now = until;
        self.state.advance(self.now);
    }

    fn live(&self, scope: &str) -> Option<&Mitigation> {
        let mut live = self.state.mitigations.values();
        live.find(|live| live.scope().to_string() == scope)
            .map(|live| &**live)
    }

    fn compare(&self, step: &Step, decision: Option<&Decision>) {
        let context = format!("{}, at {}", self.case, step.at);
        let expect = &step.expect;
        let told = decision.map(Told::of).unwrap_or_default();
        let same = |what: &str, wanted: Option<String>, is: Option<String>| {
            assert!(
                wanted.is_none() || wanted == is,
                "{context}: {what} should be {wanted:?}, is {is:?}; {told:#?}"
            );
        };
        same("outcome", expect.outcome.clone(), told.outcome.clone());
        same("code", expect.code.clone(), told.code.clone());
        if expect
            .outcome
            .as_deref()
            .is_some_and(|outcome| !["rejected_guardrail", "refused"].contains(&outcome))
        {
            assert_eq!(told.code, None, "{context}");
        }
        same(
            "ends",
            expect.ends.map(|at| at.to_string()),
            told.ends.map(|at| offset(at).to_string()),
        );
        for part in &expect.says {
            assert!(
                told.says.contains(part.as_str()),
                "{context}: {:?} should say {part:?}",
                told.says
            );
        }
        for code in &expect.why {
            assert!(
                told.why.contains(code),
                "{context}: no step {code} in {:#?}",
                told.why
            );
        }
        same(
            "next",
            expect.next.map(|at| at.to_string()),
            self.next().map(|(at, _)| offset(at).to_string()),
        );
        let entries = self.state.safelist.values();
        let protects = entries.filter(|entry| !entry.is_over(self.now));
        let counts = [
            ("groups", expect.groups, self.state.groups().count()),
            ("suppressions", expect.suppressions, self.state.suppressions.len()),
            ("safelist", expect.safelist, protects.count()),
        ];
        for (what, wanted, is) in counts {
            assert!(
                wanted.is_none_or(|wanted| wanted == is),
                "{context}: {is} {what}, not {wanted:?}"
            );
        }
        if let Some(ended) = &expect.ended {
            assert_eq!(&self.ended, ended, "{context}: what ended");
        }
        if let Some(wanted) = &expect.live {
            let is: BTreeSet<String> = self.state.live_scopes().map(ToString::to_string).collect();
            assert_eq!(
                is,
                wanted.keys().cloned().collect(),
                "{context}: what is live; {told:#?}"
            );
            for (scope, wanted) in wanted {
                let live = self.live(scope).unwrap();
                wanted.compare(live, &format!("{context}: {scope}; {told:#?}"));
            }
        }
    }
}

/// What a decision tells its caller.
#[derive(Debug, Default)]
struct Told {
    outcome: Option<String>,
    code: Option<String>,
    ends: Option<Timestamp>,
    says: String,
    why: Vec<String>,
}

impl Told {
    fn of(decision: &Decision) -> Self {
        let mut told = Self::default();
        for effect in &decision.effects {
            if let Effect::Event(_, why) | Effect::Mitigation { why: Some(why), .. } = effect {
                told.why
                    .extend(why.explain().steps.iter().map(|step| step.code.clone()));
            }
        }
        let word = match &decision.outcome {
            Outcome::Event { answer, refused } => {
                told.code = refused.as_ref().map(|(guardrail, _)| guardrail.code().to_owned());
                told.ends = answer.ends_at;
                told.says.clone_from(&answer.reason);
                answer.status.as_str()
            }
            Outcome::Created(_) => "created",
            Outcome::Changed(_) => "changed",
            Outcome::Withdrawn(_) => "withdrawn",
            Outcome::Many(_) => "many",
            Outcome::SafelistAdded(_) => "safelist_added",
            Outcome::SafelistRemoved => "safelist_removed",
            Outcome::Suppressed(_) => "suppressed",
            Outcome::WideSuppressed { .. } => "wide_suppressed",
            Outcome::Unsuppressed => "unsuppressed",
            Outcome::SourcePaused { .. } => "source_paused",
            Outcome::PeerOrdered => "peer_ordered",
            Outcome::ControlChanged => "control_changed",
            Outcome::Settled => "settled",
            Outcome::Refused(problem) => {
                assert!(decision.effects.is_empty(), "a refused request changes nothing");
                told.code = Some(problem.code.clone());
                told.says.clone_from(&problem.detail);
                told.why.extend(
                    problem
                        .why
                        .iter()
                        .flat_map(|why| why.steps.iter().map(|step| step.code.clone())),
                );
                "refused"
            }
        };
        told.outcome = Some(word.to_owned());
        told
    }
}

impl Live {
    fn compare(&self, live: &Mitigation, context: &str) {
        if let Some(rules) = &self.rules {
            let is: Vec<_> = live.rules.iter().map(ToString::to_string).collect();
            assert_eq!(&is, rules, "{context}");
        }
        let same = |what: &str, wanted: Option<String>, is: String| {
            assert!(
                wanted.as_ref().is_none_or(|wanted| *wanted == is),
                "{context}: {what} should be {wanted:?}, is {is}"
            );
        };
        let time = |at: Option<Timestamp>| at.map_or_else(|| "none".to_owned(), |at| offset(at).to_string());
        same("status", self.status.clone(), live.status.to_string());
        same(
            "step",
            self.step.map(|step| step.to_string()),
            live.step.to_string(),
        );
        same(
            "expires",
            self.expires.map(|at| at.to_string()),
            time(Some(live.expires_at)),
        );
        same(
            "ends",
            self.ends.map(|at| {
                if at < 0.0 {
                    "none".to_owned()
                } else {
                    at.to_string()
                }
            }),
            time(live.ends_at),
        );
        same(
            "claims",
            self.claims.map(|count| count.to_string()),
            live.claims.len().to_string(),
        );
        same(
            "enforced",
            self.enforced.map(|is| is.to_string()),
            live.enforced.to_string(),
        );
        same(
            "allow_rtbh",
            self.allow_rtbh.map(|is| is.to_string()),
            live.allow_rtbh.to_string(),
        );
        same("severity", self.severity.clone(), live.severity.to_string());
        same(
            "previous",
            self.previous.map(|is| is.to_string()),
            live.previous_id.is_some().to_string(),
        );
        same(
            "revision",
            self.revision.map(|number| number.to_string()),
            live.revision.to_string(),
        );
        same(
            "waits",
            self.waits.clone(),
            live.waits_for
                .map_or_else(|| "none".to_owned(), |waits| waits.to_string()),
        );
        if let Some(wanted) = self.confidence {
            let is = live.confidence.unwrap_or(-1.0);
            assert!(
                (is - wanted).abs() < 1e-9,
                "{context}: confidence {is}, not {wanted}"
            );
        }
    }
}
