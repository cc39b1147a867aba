//! The trace of a decision. It is kept as the reasons themselves; the sentences are made when somebody asks, so
//! that a decision costs no text that nobody reads.

use super::passed::{passed_before, step};
use super::reason::Reason;
use ipnet::IpNet;
use prefixd_api::guardrail::Guardrail;
use prefixd_api::time::Timestamp;
use prefixd_api::why::{Verdict, Why, WhyStep};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Reasons in the order they were met.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Reason>);

impl Notes {
    pub(super) fn note(&mut self, reason: Reason) {
        self.0.push(reason);
    }

    /// The guardrails that refused something on the way.
    pub(super) fn refusals(&self) -> impl Iterator<Item = Guardrail> {
        self.0.iter().filter_map(Reason::guardrail)
    }

    pub(super) fn conclude(self, decided_at: Timestamp, outcome: &str, summary: String) -> Arc<Trace> {
        let reasons = self.0.into_iter().map(Noted::Known).collect();
        Arc::new(Trace {
            decided_at,
            outcome: outcome.to_owned(),
            summary,
            reasons,
        })
    }
}

/// Why a decision came out as it did, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    decided_at: Timestamp,
    outcome: String,
    summary: String,
    reasons: Vec<Noted>,
}

/// A reason, or one that another version of prefixd wrote and this one does not know.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Noted {
    Known(Reason),
    Foreign(Value),
}

impl<'de> Deserialize<'de> for Noted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(match Reason::deserialize(&value) {
            Ok(reason) => Self::Known(reason),
            Err(_) => Self::Foreign(value),
        })
    }
}

impl Trace {
    /// Until when aggregates of an owner's prefix are put off by this decision.
    pub(super) fn put_off(&self) -> Option<(IpNet, Timestamp)> {
        self.reasons.iter().find_map(|noted| match noted {
            Noted::Known(Reason::CarpetPutOff { within, until }) => Some((*within, *until)),
            _ => None,
        })
    }

    /// The guardrails that refused something on the way.
    pub(super) fn refusals(&self) -> impl Iterator<Item = Guardrail> {
        self.reasons.iter().filter_map(|noted| match noted {
            Noted::Known(reason) => reason.guardrail(),
            Noted::Foreign(_) => None,
        })
    }

    /// The trace in sentences.
    #[must_use]
    pub fn explain(&self) -> Why {
        Why {
            decided_at: self.decided_at,
            outcome: self.outcome.clone(),
            summary: self.summary.clone(),
            steps: self.steps(),
            announcements: Vec::new(),
        }
    }

    /// What was noted, each after the checks that it says were passed; those once.
    fn steps(&self) -> Vec<WhyStep> {
        let mut steps: Vec<WhyStep> = Vec::new();
        let mut before: Vec<&Reason> = Vec::new();
        for noted in &self.reasons {
            if let Noted::Known(reason) = noted {
                for check in passed_before(reason, &before) {
                    let is_said = |said: &WhyStep| said.code == check.1 && said.text == check.2;
                    if !steps.iter().any(is_said) {
                        steps.push(step(check));
                    }
                }
                before.push(reason);
            }
            steps.push(noted.to_step());
        }
        steps
    }
}

impl Noted {
    fn to_step(&self) -> WhyStep {
        match self {
            Self::Known(reason) => reason.to_step(),
            Self::Foreign(value) => {
                let named = value.as_object().and_then(|named| named.iter().next());
                WhyStep {
                    stage: "other".to_owned(),
                    code: named.map_or_else(|| "other".to_owned(), |(name, _)| name.clone()),
                    verdict: Verdict::Noted,
                    text: format!("recorded by another version of prefixd: {value}"),
                    data: named
                        .and_then(|(_, data)| data.as_object().cloned())
                        .unwrap_or_else(Map::new),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_explains_itself_again() {
        let mut notes = Notes::default();
        notes.note(Reason::QuotaPop {
            active: 200,
            max: 200,
        });
        notes.note(Reason::SafelistClear {});
        let trace = notes.conclude(Timestamp::from_micros(0), "rejected_guardrail", "full".into());
        let stored = serde_json::to_string(&trace).unwrap();
        let read: Trace = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.explain(), trace.explain());
        let step = &read.explain().steps[0];
        assert_eq!(
            (step.code.as_str(), step.verdict),
            ("guardrail.quota_pop", Verdict::Refused)
        );
        assert_eq!(step.data["max"], 200);
    }

    /// They are told and not stored: what they are concluded from is.
    #[test]
    fn checks_that_were_passed_are_told_and_cost_nothing() {
        let of = |reasons: Vec<Reason>| {
            let mut notes = Notes::default();
            reasons.into_iter().for_each(|reason| notes.note(reason));
            let trace = notes.conclude(Timestamp::from_micros(0), "accepted", String::new());
            assert!(!serde_json::to_string(&trace).unwrap().contains("breaker"));
            let told = trace.explain().steps;
            let passed = told.into_iter().filter(|step| step.verdict == Verdict::Passed);
            passed.map(|step| step.code).collect::<Vec<_>>()
        };
        let quotas = || Reason::QuotasLeft {
            customer: 0,
            max_customer: 1,
            pop: 0,
            max_pop: 1,
            max_global: 1,
        };
        let asked = || Reason::OperatorAsked {
            actor: "anna".to_owned(),
            reason: "now".to_owned(),
        };
        let trial = || Reason::DryRun {
            mode: prefixd_api::resource::Mode::DryRun,
            because: "mode".into(),
        };
        assert_eq!(
            of(vec![quotas()]),
            ["guardrail.panic", "guardrail.breaker", "quotas"]
        );
        assert_eq!(
            of(vec![trial(), quotas()]),
            ["quotas"],
            "a trial is not asked for that"
        );
        assert_eq!(
            of(vec![asked(), Reason::SafelistClear {}, quotas()]),
            [
                "guardrail.safelist",
                "guardrail.panic",
                "guardrail.breaker",
                "quotas"
            ],
            "who asks by hand passes suppressions, and may ask for all"
        );
    }

    #[test]
    fn a_reason_of_another_version_is_shown_as_it_is() {
        let stored = r#"{"decided_at":"2026-01-01T00:00:00Z","outcome":"accepted","summary":"s","reasons":[{"moon_phase":{"full":true}}]}"#;
        let why = serde_json::from_str::<Trace>(stored).unwrap().explain();
        assert_eq!(why.steps[0].code, "moon_phase");
        assert_eq!(why.steps[0].data["full"], true);
    }
}
