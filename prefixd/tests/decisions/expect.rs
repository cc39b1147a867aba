//! What must come of a step.

use crate::offset;
use crate::step::Step;
use crate::world::World;
use prefixd::policy::{Decision, Effect, One, Outcome};
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;
use prefixd_api::why::Verdict;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
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
    /// Codes of checks that the trace must tell as passed, and of some that it must not.
    #[serde(default)]
    passed: Vec<String>,
    #[serde(default)]
    not_passed: Vec<String>,
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
    /// How many suppressions of prefixes and sources count.
    wide_suppressions: Option<usize>,
    /// How many withdrawals wait for somebody to confirm them.
    unconfirmed: Option<usize>,
    /// What became of each of several, `done` or the code that refused it; newest first where a filter named them.
    each: Option<Vec<String>>,
    /// How many an order took off the routers, or is about.
    count: Option<u64>,
    /// What other POPs are told of, by scope.
    offered: Option<Vec<String>>,
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
    acknowledged: Option<bool>,
    /// Who has it in hand; `nobody`.
    claimed_by: Option<String>,
    notes: Option<usize>,
}

impl World {
    pub(crate) fn compare(&self, step: &Step, decision: Option<&Decision>) {
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
        for code in &expect.passed {
            assert!(
                told.passed.contains(code),
                "{context}: {code} is not among {:#?}",
                told.passed
            );
        }
        for code in &expect.not_passed {
            assert!(!told.passed.contains(code), "{context}: {code} was not asked");
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
            (
                "wide_suppressions",
                expect.wide_suppressions,
                self.state.wide_suppressions.len(),
            ),
            ("unconfirmed", expect.unconfirmed, self.state.unconfirmed.len()),
        ];
        for (what, wanted, is) in counts {
            assert!(
                wanted.is_none_or(|wanted| wanted == is),
                "{context}: {is} {what}, not {wanted:?}"
            );
        }
        if expect.each.is_some() {
            assert_eq!(expect.each, told.each, "{context}: what became of each");
        }
        if expect.count.is_some() {
            assert_eq!(expect.count, told.count, "{context}: how many");
        }
        if let Some(wanted) = &expect.offered {
            let offers = self.policy.offers(&self.state, self.now);
            let is: Vec<String> = offers.keys().map(ToString::to_string).collect();
            assert_eq!(&is, wanted, "{context}: what other POPs are told");
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
pub(crate) struct Told {
    outcome: Option<String>,
    code: Option<String>,
    ends: Option<Timestamp>,
    says: String,
    why: Vec<String>,
    passed: Vec<String>,
    each: Option<Vec<String>>,
    count: Option<u64>,
}

impl Told {
    pub(crate) fn of(decision: &Decision) -> Self {
        let mut told = Self::default();
        for effect in &decision.effects {
            if let Effect::Event(_, why) | Effect::Mitigation { why: Some(why), .. } = effect {
                let steps = why.explain().steps;
                told.why.extend(steps.iter().map(|step| step.code.clone()));
                let passed = steps.into_iter().filter(|step| step.verdict == Verdict::Passed);
                told.passed.extend(passed.map(|step| step.code));
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
            Outcome::Many(results) => {
                let word = |(_, result): &One| match result {
                    Ok(_) => "done".to_owned(),
                    Err(problem) => problem.code.clone(),
                };
                told.each = Some(results.iter().map(word).collect());
                "many"
            }
            Outcome::SafelistAdded(added) => {
                told.count = Some(added.withdrawn);
                "safelist_added"
            }
            Outcome::SafelistRemoved => "safelist_removed",
            Outcome::Suppressed(_) => "suppressed",
            Outcome::WideSuppressed { live, .. } => {
                told.count = Some(*live);
                "wide_suppressed"
            }
            Outcome::Unsuppressed => "unsuppressed",
            Outcome::SourcePaused { withdrawn, .. } => {
                told.count = Some(*withdrawn);
                "source_paused"
            }
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
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string),
        );
        same(
            "acknowledged",
            self.acknowledged.map(|is| is.to_string()),
            live.acknowledged_at.is_some().to_string(),
        );
        same(
            "claimed_by",
            self.claimed_by.clone(),
            live.claimed
                .as_ref()
                .map_or_else(|| "nobody".to_owned(), |claimed| claimed.by.to_string()),
        );
        same(
            "notes",
            self.notes.map(|count| count.to_string()),
            live.notes.len().to_string(),
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
