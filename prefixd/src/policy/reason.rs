//! Reasons as values: problem detail, code, trace step and summary all come from the same one.

mod text;

use super::playbooks::OnAllowedPort;
use super::sources::{Reporting, Visibility};
use ipnet::IpNet;
use prefixd_api::control::{ControlScope, Stop};
use prefixd_api::guardrail::Guardrail;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Severity;
use prefixd_api::problem::{Code, FieldError, Problem};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::resource::{Mode, SafelistOrigin};
use prefixd_api::rule::{Action, ActionType, Ranges};
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use prefixd_api::why::{Verdict, WhyStep};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Words of ours; owned when they come back from the store.
type Text = Cow<'static, str>;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident { $($field:ident : $type:ty),* $(,)? }
        $stage:literal $code:expr, $verdict:ident;)*) => {
        /// Why a decision took a turn.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum Reason { $($(#[$doc])* $variant { $($field: $type),* },)* }

        impl Reason {
            /// The part of the decision that speaks.
            #[must_use]
            pub(super) const fn stage(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $stage,)* }
            }

            /// Stable code; a guardrail's code where one spoke.
            #[must_use]
            pub(super) const fn code(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $code,)* }
            }

            /// What it meant for the outcome.
            #[must_use]
            pub(super) const fn verdict(&self) -> Verdict {
                match self { $(Self::$variant { .. } => Verdict::$verdict,)* }
            }
        }
    };
}

reasons! {
    /// Who reports.
    Source { source: String, configured: bool, reporting: Reporting, visibility: Visibility, claim_ttl_seconds: u64 }
        "source" "source", Noted;
    /// The event is too old to act on.
    Stale { age_seconds: u64, max_event_age_seconds: u64 }
        "event" "stale", Refused;
    /// The claim was cleared later than this ban was seen.
    ClaimStale { seen_at: Timestamp, cleared_at: Timestamp }
        "claim" "claim_stale", Refused;
    /// A claim began or went on.
    ClaimHeld { source: String, event_id: Option<String>, new: bool, lives_until: Option<Timestamp>, live_claims: usize }
        "claim" "claim_held", Noted;
    /// A claim made room.
    ClaimForgotten { source: String, event_id: Option<String>, max_claims: usize }
        "claim" "claim_forgotten", Noted;
    /// A claim ended by an unban.
    ClaimCleared { source: String, event_id: Option<String>, live_claims: usize }
        "claim" "claim_cleared", Noted;
    /// The unban names no live claim.
    ClaimUnknown { source: String, event_id: Option<String> }
        "claim" "claim_unknown", Noted;
    /// There was nothing to end.
    NothingLive {}
        "claim" "no_active_mitigation", Noted;
    /// The scope is taken by what cannot be read.
    StoredUnreadable { victim: Victim, vector: String }
        "claim" "stored_unreadable", Refused;
    /// The owner is other than normal.
    Profile { profile: String }
        "owner" "profile", Adjusted;
    /// Who owns the victim.
    Owned { customer_id: String, prefix: IpNet, service_id: Option<String> }
        "owner" "owned", Passed;
    /// Nobody does, and nobody has to.
    NotOwnedAllowed { victim: Victim }
        "owner" "not_owned_allowed", Noted;
    /// Nobody does.
    NotOwned { victim: Victim }
        "owner" "guardrail.ownership", Refused;
    /// The owner is no longer the one the rule was made for.
    OwnerChanged { victim: Victim, was: Option<String>, is: Option<String> }
        "guardrail" "guardrail.ownership", Refused;
    /// An operator withdrew this scope.
    Suppressed { by: String, until: Timestamp, reason: String }
        "suppression" "suppressed", Refused;
    /// An operator suppressed a prefix or a source.
    SuppressedWide { what: String, by: String, until: Timestamp, reason: String }
        "suppression" "suppressed", Refused;
    /// A person paused the source.
    SourcePaused { source: String, by: String, since: Timestamp, reason: String }
        "source" "source_paused", Refused;
    /// The step in force.
    Playbook { playbook: String, step: u32, steps: usize, asks: Action, ttl_seconds: u64 }
        "playbook" "playbook", Noted;
    /// None matches.
    NoPlaybook { vector: String }
        "playbook" "no_playbook", Refused;
    /// The playbook or step a mitigation was made by is gone from the configuration.
    PlaybookGone { playbook: String, step: u32 }
        "playbook" "playbook_gone", Noted;
    /// Derived from the claims.
    Confidence { confidence: Option<f64>, sources: usize }
        "confidence" "confidence", Noted;
    /// Too little of it for the step.
    ConfidenceLow { confidence: Option<f64>, at_least: f64, step: u32 }
        "confidence" "confidence_low", Refused;
    /// Too few sources that share no data report it.
    SourcesFew { sources: u32, at_least: u32, step: u32 }
        "confidence" "sources_few", Refused;
    /// It waits for others to say the same.
    Waits { sources: u32, sources_at_least: u32, confidence: Option<f64>, confidence_at_least: Option<f64>, until: Timestamp }
        "confidence" "waits", Noted;
    /// Others say the same now.
    Corroborated { pending_since: Timestamp, rules: Vec<String> }
        "confidence" "corroborated", Noted;
    /// Nobody said the same in time.
    Uncorroborated { pending_since: Timestamp }
        "lease" "uncorroborated", Noted;
    /// Nobody reports what was pending any more.
    PendingOver {}
        "lease" "claims_ended", Noted;
    /// As many wait as may.
    QuotaPendingCustomer { customer_id: String, pending: u64, max: u64 }
        "guardrail" "guardrail.quota_customer", Refused;
    /// The same of the POP.
    QuotaPendingPop { pending: u64, max: u64 }
        "guardrail" "guardrail.quota_pop", Refused;
    /// One source, with those of its domain, has as many of a customer's as one may.
    QuotaPendingSource { source: String, customer_id: String, pending: u64, max: u64 }
        "guardrail" "guardrail.quota_customer", Refused;
    /// The same of the POP.
    QuotaPendingSourcePop { source: String, pending: u64, max: u64 }
        "guardrail" "guardrail.quota_pop", Refused;
    /// Many victims of one prefix become one mitigation.
    Carpet { prefix: IpNet, victims: u32, bystanders: u64 }
        "carpet" "carpet", Adjusted;
    /// One mitigation is over this victim and others.
    CarpetOver { mitigation_id: MitigationId, prefix: IpNet }
        "carpet" "carpet_over", Noted;
    /// So few of its victims are reported that each is on its own.
    CarpetThin { mitigation_id: MitigationId, prefix: IpNet, victims: usize, at_least: usize }
        "carpet" "carpet_thin", Noted;
    /// The source reports other victims still.
    CarpetClaimed { source: String, prefix: IpNet }
        "carpet" "carpet_claimed", Noted;
    /// A part of the prefix is another's.
    CarpetNotOwned { prefix: IpNet }
        "carpet" "guardrail.ownership", Refused;
    /// An operator wants a part of the prefix left alone.
    CarpetSuppressed { prefix: IpNet, what: String, by: String, until: Timestamp }
        "carpet" "carpet_suppressed", Refused;
    /// Not enough is known of some of the victims.
    CarpetWaits { prefix: IpNet, victims: usize, sufficient: usize }
        "carpet" "carpet_waits", Refused;
    /// A neighbour would be left without.
    CarpetUntold {}
        "carpet" "carpet_untold", Refused;
    /// It was refused, and each report would ask again.
    CarpetPutOff { within: IpNet, until: Timestamp }
        "carpet" "carpet_put_off", Noted;
    /// Nobody reports a prefix.
    CarpetOfItself { prefix: IpNet }
        "carpet" "carpet_of_itself", Refused;
    /// Nobody who may start a mitigation reports it.
    MayNotTrigger { source: String }
        "source" "may_not_trigger", Refused;
    /// The mitigation is enforced, the source is not.
    SourceNotEnforced { source: String }
        "source" "source_not_enforced", Refused;
    /// The template in use.
    Template { vector: String, template: Text }
        "template" "template", Noted;
    /// The step asks for more than the template allows.
    Capped { asked: ActionType, allowed: ActionType, rate_bps: BitsPerSecond, because: Text }
        "template" "capped", Adjusted;
    /// Nothing but a destination is known.
    HostWide { vector: String }
        "template" "host_wide", Refused;
    /// Every reported port is the service's own, and the playbook says skip.
    OnlyAllowedPorts { ports: Ranges }
        "template" "only_allowed_ports", Refused;
    /// No rule takes the ports and not the service's own between them, and the playbook says skip.
    AllowedBetween { ports: Ranges }
        "template" "allowed_between", Refused;
    /// The attack is on the service's own port.
    OnAllowedPort { ports: Ranges, on_allowed_port: OnAllowedPort }
        "template" "on_allowed_port", Adjusted;
    /// The service's ports are kept out.
    AllowedKeptOut { ports: Ranges }
        "template" "allowed_kept_out", Adjusted;
    /// More ports than a rule may hold: neighbours were joined.
    PortsJoined { reported: usize, ports: Ranges, max_ports: usize }
        "template" "ports_joined", Adjusted;
    /// More ports than a rule may hold, even joined.
    PortsDropped { max_ports: usize }
        "template" "ports_dropped", Adjusted;
    /// More ports than a rule may hold: several rules, which a discard may be.
    PortsSplit { rules: usize, max_ports: usize }
        "template" "ports_split", Adjusted;
    /// Fragments carry no ports.
    Companion { action: Action }
        "template" "companion", Adjusted;
    /// A neighbour without FlowSpec gets a blackhole.
    RtbhAllowed {}
        "rules" "rtbh_allowed", Noted;
    /// The step allows that, something else does not.
    RtbhNotAllowed { because: Text }
        "rules" "rtbh_not_allowed", Adjusted;
    /// Other POPs are told.
    Offered {}
        "rules" "offered", Noted;
    /// The companion would catch what no rule may catch.
    CompanionLeftOut { flow: String }
        "template" "companion_left_out", Adjusted;
    /// What is announced.
    Rules { rules: Vec<String> }
        "rules" "rules", Noted;
    /// A live match only widens.
    Widened { rules: Vec<String> }
        "rules" "widened", Adjusted;
    /// Nothing overlaps the victim.
    SafelistClear {}
        "guardrail" "guardrail.safelist", Passed;
    /// An entry does.
    Safelisted { victim: IpNet, prefix: IpNet, reason: String, origin: SafelistOrigin }
        "guardrail" "guardrail.safelist", Refused;
    /// The destination is not inside the owner's prefix.
    OutsideOwner { destination: IpNet, prefix: IpNet }
        "guardrail" "guardrail.ownership", Refused;
    /// The destination is wider than allowed.
    PrefixTooShort { destination: IpNet, min_length: u8 }
        "guardrail" "guardrail.prefix_length", Refused;
    /// A rule holds too many ports.
    TooManyPorts { terms: usize, max_ports: usize }
        "guardrail" "guardrail.ports", Refused;
    /// Ports on a protocol that has none.
    PortsCannotMatch { protocols: Vec<u8> }
        "guardrail" "guardrail.ports", Refused;
    /// A packet length the network does not carry.
    PacketTooLong { lengths: Ranges, max_packet_length: u16 }
        "guardrail" "guardrail.packet_length", Refused;
    /// Every rule is within the bounds of rules.
    RulesWithinBounds { rules: usize, max_ports: usize, max_packet_length: u16, min_police_bps: u64 }
        "guardrail" "rules_within_bounds", Passed;
    /// The lease is out of bounds.
    TtlOutOfBounds { ttl_seconds: u64, min_seconds: u64, max_seconds: u64 }
        "guardrail" "guardrail.ttl", Refused;
    /// The scope was filtered for as long as it may be.
    LifetimeReached { filtered_since: Timestamp, max_lifetime_seconds: u64 }
        "guardrail" "guardrail.lifetime", Refused;
    /// The quotas that were asked.
    QuotasLeft { customer: u64, max_customer: u64, pop: u64, max_pop: u64, max_global: u64 }
        "guardrail" "quotas", Passed;
    /// The customer's is used up.
    QuotaCustomer { customer_id: String, active: u64, max: u64 }
        "guardrail" "guardrail.quota_customer", Refused;
    /// One victim takes too much of it.
    QuotaVictim { victim: Victim, vectors: u64, max: u64 }
        "guardrail" "guardrail.quota_customer", Refused;
    /// The POP's is used up.
    QuotaPop { active: u64, max: u64 }
        "guardrail" "guardrail.quota_pop", Refused;
    /// All POPs' is used up.
    QuotaGlobal { active: u64, max: u64 }
        "guardrail" "guardrail.quota_global", Refused;
    /// The rates of change that were asked.
    RatesLeft { pop: u64, max_pop: u64, customer: u64, max_customer: u64, source: u64, max_source: u64 }
        "guardrail" "rates_of_change", Passed;
    /// Too many beginnings in a minute.
    RateOfChange { of: Text, name: String, started: u64, max: u64 }
        "guardrail" "guardrail.rate_of_change", Refused;
    /// Sessions were lost right after something was announced.
    BreakerTripped { tripped_at: Timestamp, neighbors: Vec<String> }
        "guardrail" "guardrail.breaker", Refused;
    /// A person stopped announcing.
    Stopped { scope: ControlScope, state: Stop, by: String, since: Timestamp, reason: String }
        "guardrail" "guardrail.panic", Refused;
    /// The rule would catch what no rule may catch.
    ProtectedFlow { rule: String, flow: String }
        "guardrail" "guardrail.protected_flow", Refused;
    /// The sources may not ask for this action.
    SourceAction { sources: Vec<String>, action: ActionType, max_action: ActionType }
        "guardrail" "guardrail.source_action", Refused;
    /// A combination that would finish the attack.
    Impossible { rule: String, because: Text }
        "guardrail" "guardrail.impossible", Refused;
    /// The lease.
    Lease { expires_at: Timestamp, ttl_seconds: u64 }
        "lease" "lease", Noted;
    /// The lease would outlast what the scope may be filtered for.
    LeaseCapped { expires_at: Timestamp, filtered_since: Timestamp, max_lifetime_seconds: u64 }
        "lease" "lease_capped", Adjusted;
    /// No claim is left.
    HoldDown { ends_at: Timestamp, hold_down_seconds: u64, recurrences: usize }
        "lease" "hold_down", Noted;
    /// The hold-down has passed.
    HoldDownPassed { ending_since: Timestamp }
        "lease" "claims_ended", Noted;
    /// A claim came back during the hold-down.
    Returned { ending_since: Timestamp }
        "lease" "returned", Noted;
    /// The lease ended without renewal.
    LeaseEnded { expired_at: Timestamp }
        "lease" "lease_expired", Noted;
    /// A live claim of a source that reports once renewed it.
    Renewed { expires_at: Timestamp, source: String }
        "lease" "renewed", Noted;
    /// Rules do not go to routers.
    DryRun { mode: Mode, because: Text }
        "mode" "dry_run", Noted;
    /// The mitigation is of the other mode.
    ModeChanged { was_enforced: bool, because: Text }
        "mode" "mode_changed", Noted;
    /// The next step waits.
    EscalationWaits { step: u32, evidence_seconds: u64, needs_seconds: u64, at: Option<Timestamp> }
        "escalation" "escalation_waits", Noted;
    /// The next step is in force.
    Escalated { from: u32, to: u32, evidence_seconds: u64, needs_seconds: u64 }
        "escalation" "escalated", Noted;
    /// Nothing carries the step now, and it is kept for a time.
    StepUncarried { step: u32, since: Timestamp, gives_way_at: Timestamp }
        "escalation" "step_uncarried", Noted;
    /// The step before is in force again.
    Deescalated { from: u32, to: u32, uncarried_seconds: u64, after_seconds: u64 }
        "escalation" "deescalated", Noted;
    /// An earlier step is in force again, because those who claim it now may not ask for what it did.
    StepNotAsked { from: u32, to: u32, because: String }
        "escalation" "step_not_asked", Noted;
    /// How much it matters.
    Severity { severity: Severity, established: bool }
        "severity" "severity", Noted;
    /// An operator's mitigation is lengthened, never changed.
    OperatorHeld { mitigation_id: MitigationId }
        "lease" "operator_held", Noted;
    /// No playbook gives what the request leaves out.
    RequestIncomplete { missing: Vec<String> }
        "operator" "request.field", Refused;
    /// An operator asked for it.
    OperatorAsked { actor: String, reason: String }
        "operator" "operator", Noted;
    /// No automatic ban of its scope brings back what an operator withdrew.
    SuppressedUntil { until: Timestamp }
        "operator" "suppressed_until", Noted;
    /// The withdrawal is undone unless somebody confirms it.
    PutBackAt { at: Timestamp }
        "operator" "put_back_at", Noted;
    /// A detector that alone held it was paused.
    HeldAlone { source: String }
        "operator" "held_alone", Noted;
    /// What an operator changed.
    Adjusted { was: Vec<String> }
        "operator" "adjusted", Noted;
}

impl Reason {
    /// The guardrail that spoke, when one refused.
    #[must_use]
    pub(super) fn guardrail(&self) -> Option<Guardrail> {
        match self.verdict() {
            Verdict::Refused => Guardrail::from_code(self.code()),
            Verdict::Noted | Verdict::Passed | Verdict::Adjusted => None,
        }
    }

    /// The step of a trace that says this.
    #[must_use]
    pub(super) fn to_step(&self) -> WhyStep {
        // One key, the name of the variant, and under it what the variant carries.
        let data = match serde_json::to_value(self) {
            Ok(Value::Object(named)) => match named.into_iter().next() {
                Some((_, Value::Object(data))) => data,
                _ => Map::new(),
            },
            Ok(_) | Err(_) => Map::new(),
        };
        WhyStep {
            stage: self.stage().to_owned(),
            code: self.code().to_owned(),
            verdict: self.verdict(),
            text: self.to_string(),
            data,
        }
    }

    /// The answer to a request that this reason refused. A refusal is never a defect: what is neither of the request
    /// nor a guardrail by name is a rule that cannot be made.
    #[must_use]
    pub(super) fn to_problem(&self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::StoredUnreadable { .. } => Problem::new(Code::ConflictExists, detail),
            Self::RequestIncomplete { missing } => {
                let errors = missing
                    .iter()
                    .map(|field| FieldError::new(field, "is missing, and no playbook gives it"));
                Problem::new(Code::RequestField, detail).with_errors(errors.collect())
            }
            _ => {
                let guardrail = self.guardrail().unwrap_or(Guardrail::Impossible);
                Problem::new(Code::Guardrail(guardrail), detail)
            }
        }
    }
}
