//! Checks that were passed and that a decision does not write down: that it got as far as something says that they were. They are
//! told when somebody asks, so that no event pays for them.

use super::reason::Reason;
use prefixd_api::why::{Verdict, WhyStep};
use serde_json::Map;

/// A check, as a step says it: stage, code, sentence.
type Check = (&'static str, &'static str, &'static str);

const HEARD: Check = (
    "source",
    "source_heard",
    "the source is neither paused nor suppressed",
);
const NOT_SUPPRESSED: Check = (
    "suppression",
    "not_suppressed",
    "no suppression of this victim and vector is in force",
);
const FLOWS: Check = (
    "guardrail",
    "guardrail.protected_flow",
    "no rule would catch a protected flow",
);
const IMPOSSIBLE: Check = (
    "guardrail",
    "guardrail.impossible",
    "no rule is of a kind that would finish the attack",
);
const ALLOWED_PORTS: Check = (
    "guardrail",
    "allowed_ports",
    "no rule discards a port of the service",
);
const SOURCES: Check = (
    "guardrail",
    "guardrail.source_action",
    "one of the sources that report it may ask for this action",
);
const TTL: Check = (
    "guardrail",
    "guardrail.ttl",
    "the lease that is asked for is within the bounds of who asks",
);
const CONTROL: Check = (
    "guardrail",
    "guardrail.panic",
    "neither hold nor panic is in force here",
);
const BREAKER: Check = ("guardrail", "guardrail.breaker", "the breaker is not tripped");
const VECTORS: Check = (
    "guardrail",
    "guardrail.quota_customer",
    "the victim has less than four other vectors",
);
const LIFETIME: Check = (
    "guardrail",
    "guardrail.lifetime",
    "it has not been filtered for as long as it may be",
);
const JUDGED: Check = (
    "guardrail",
    "judged",
    "what is live was judged again: safelist, owner, bounds of rules, protected flows, panic",
);

/// What passed before a reason could be noted, from what the same trace says before it.
pub(super) fn passed_before(reason: &Reason, before: &[&Reason]) -> Vec<Check> {
    let has = |is_it: fn(&Reason) -> bool| before.iter().any(|known| is_it(known));
    // Who asks by hand passes suppressions, and may ask for any action and for the service's ports.
    let by_person = has(|reason| matches!(reason, Reason::OperatorAsked { .. }));
    let reported = has(|reason| matches!(reason, Reason::ClaimHeld { .. }));
    let by_report = reported && !by_person;
    let begins = has(|reason| matches!(reason, Reason::Playbook { .. }));
    let planned = has(|reason| matches!(reason, Reason::RulesWithinBounds { .. }));
    let on_trial = has(|reason| matches!(reason, Reason::DryRun { .. }));
    let each: Vec<(bool, Check)> = match reason {
        Reason::ClaimHeld { .. } => vec![(true, HEARD)],
        Reason::SafelistClear {} => vec![(by_report, NOT_SUPPRESSED)],
        Reason::RulesWithinBounds { .. } => vec![(true, FLOWS), (true, IMPOSSIBLE)],
        Reason::QuotasLeft { .. } => vec![
            (planned && by_report, ALLOWED_PORTS),
            (planned && by_report, SOURCES),
            (planned && begins, TTL),
            (!on_trial, CONTROL),
            (!on_trial, BREAKER),
            (by_report, VECTORS),
        ],
        // An undo begins one without a report and without a playbook: nothing was live.
        Reason::Lease { .. } => vec![(reported && !begins, JUDGED), (true, LIFETIME)],
        Reason::Renewed { .. } => vec![(true, JUDGED)],
        _ => Vec::new(),
    };
    let held = each.into_iter().filter(|(holds, _)| *holds);
    held.map(|(_, check)| check).collect()
}

pub(super) fn step((stage, code, text): Check) -> WhyStep {
    WhyStep {
        stage: stage.to_owned(),
        code: code.to_owned(),
        verdict: Verdict::Passed,
        text: text.to_owned(),
        data: Map::new(),
    }
}
