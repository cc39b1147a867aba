//! Reasons as values: problem detail, code, trace step and summary all come from the same one.

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
use std::fmt;

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

/// A name a source gave to an attack, or that it gave none.
fn named(event_id: Option<&String>) -> impl fmt::Display {
    event_id.map_or_else(|| "without an event id".to_owned(), |id| format!("event {id:?}"))
}

fn percent(confidence: Option<f64>) -> String {
    confidence.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.2}"))
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one sentence per reason")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source {
                source,
                configured,
                reporting,
                visibility,
                claim_ttl_seconds,
            } => {
                let how = match reporting {
                    Reporting::Once => "once",
                    Reporting::Repeats => "again and again",
                };
                let sees = match visibility {
                    Visibility::PreFilter => "still sees",
                    Visibility::PostFilter => "no longer sees",
                };
                let default = if *configured {
                    ""
                } else {
                    " (not configured: the default applies)"
                };
                write!(
                    f,
                    "{source}{default} reports {how}, {sees} filtered traffic, and its claims live {claim_ttl_seconds} s"
                )
            }
            Self::Stale {
                age_seconds,
                max_event_age_seconds,
            } => write!(
                f,
                "the event is {age_seconds} s old; only events up to {max_event_age_seconds} s old are acted on"
            ),
            Self::ClaimStale { seen_at, cleared_at } => write!(
                f,
                "this ban was seen at {seen_at}, not after the unban of its claim at {cleared_at}"
            ),
            Self::ClaimHeld {
                source,
                event_id,
                new,
                lives_until,
                live_claims,
            } => {
                let what = if *new {
                    "holds a new claim"
                } else {
                    "holds its claim"
                };
                write!(f, "{source} {what} ({})", named(event_id.as_ref()))?;
                if let Some(until) = lives_until {
                    write!(f, " until {until}")?;
                }
                write!(f, "; live claims: {live_claims}")
            }
            Self::ClaimForgotten {
                source,
                event_id,
                max_claims,
            } => write!(
                f,
                "the claim of {source} ({}) was forgotten to make room: {max_claims} are kept",
                named(event_id.as_ref())
            ),
            Self::ClaimCleared {
                source,
                event_id,
                live_claims,
            } => write!(
                f,
                "{source} cleared its claim ({}); live claims: {live_claims}",
                named(event_id.as_ref())
            ),
            Self::ClaimUnknown { source, event_id } => write!(
                f,
                "{source} holds no live claim here ({})",
                named(event_id.as_ref())
            ),
            Self::NothingLive {} => f.write_str("no mitigation is live for this victim and vector"),
            Self::StoredUnreadable { victim, vector } => write!(
                f,
                "the database holds a live mitigation of {victim} {vector} that cannot be read, so none can begin; the log of the start names the row: repair it and restart prefixd"
            ),
            Self::Owned {
                customer_id,
                prefix,
                service_id,
            } => {
                write!(f, "the victim belongs to {customer_id} by {prefix}")?;
                match service_id {
                    Some(service) => write!(f, ", service {service}"),
                    None => Ok(()),
                }
            }
            Self::Profile { profile } => write!(
                f,
                "its profile is {profile}: {}",
                match profile.as_str() {
                    "strict" => "later steps need half the evidence, every step 0.1 less confidence, and the hold-down is twice as long",
                    _ => "later steps need twice the evidence, and every step 0.1 more confidence",
                }
            ),
            Self::NotOwnedAllowed { victim } => write!(
                f,
                "{victim} is in no customer's prefix, which require_owned: false allows"
            ),
            Self::NotOwned { victim } => write!(
                f,
                "{victim} is in no customer's prefix; add it to the inventory if it is yours"
            ),
            Self::OwnerChanged { victim, was, is } => write!(
                f,
                "{victim} belonged to {}, now to {}",
                was.as_deref().unwrap_or("nobody"),
                is.as_deref().unwrap_or("nobody")
            ),
            Self::SourcePaused {
                source,
                by,
                since,
                reason,
            } => write!(
                f,
                "{source} is paused since {since} by {by}: {reason}; its bans are stored and not acted on \
                 (prefixdctl sources resume {source})"
            ),
            Self::Suppressed { by, until, reason } => write!(
                f,
                "{by} withdrew this victim and vector; automatic bans are not acted on until {until} ({reason})"
            ),
            Self::SuppressedWide {
                what,
                by,
                until,
                reason,
            } => write!(
                f,
                "{by} suppressed {what}: automatic bans of it are stored and not acted on until {until} ({reason})"
            ),
            Self::Playbook {
                playbook,
                step,
                steps,
                asks,
                ttl_seconds,
            } => write!(
                f,
                "playbook {playbook}, step {step} of {steps}, asks for {asks} for {ttl_seconds} s"
            ),
            Self::NoPlaybook { vector } => write!(
                f,
                "no playbook matches {vector}, and there is no default playbook"
            ),
            Self::PlaybookGone { playbook, step } => write!(
                f,
                "step {step} of playbook {playbook} is no longer configured; the rules stay as they are"
            ),
            Self::Confidence { confidence, sources } => {
                write!(f, "confidence {} from {sources} source(s)", percent(*confidence))
            }
            Self::ConfidenceLow {
                confidence,
                at_least,
                step,
            } => write!(
                f,
                "step {step} needs confidence {at_least:.2}; it is {}",
                percent(*confidence)
            ),
            Self::SourcesFew {
                sources,
                at_least,
                step,
            } => write!(
                f,
                "step {step} needs {at_least} sources that do not share their data; {sources} report it"
            ),
            Self::Waits {
                sources,
                sources_at_least,
                confidence,
                confidence_at_least,
                until,
            } => {
                write!(f, "pending, nothing is announced: {sources} of {sources_at_least} sources")?;
                if let Some(at_least) = confidence_at_least {
                    write!(f, ", confidence {} of {at_least:.2}", percent(*confidence))?;
                }
                write!(f, "; it waits until {until}")
            }
            Self::Corroborated { pending_since, rules } => {
                write!(f, "pending since {pending_since} and confirmed: {}", rules.join("; "))
            }
            Self::Uncorroborated { pending_since } => write!(
                f,
                "it was pending since {pending_since}, and what it waited for was not reported in time; nothing was announced"
            ),
            Self::PendingOver {} => {
                f.write_str("nothing reports it any more; it was pending, and nothing was announced")
            }
            Self::QuotaPendingCustomer {
                customer_id,
                pending,
                max,
            } => write!(f, "{customer_id} has {pending} pending mitigations of {max}"),
            Self::QuotaPendingPop { pending, max } => {
                write!(f, "this POP has {pending} pending mitigations of {max}")
            }
            Self::QuotaPendingSource {
                source,
                customer_id,
                pending,
                max,
            } => write!(
                f,
                "{source} began {pending} pending mitigations of {customer_id} of {max}; the other places are kept for other sources"
            ),
            Self::QuotaPendingSourcePop { source, pending, max } => write!(
                f,
                "{source} began {pending} pending mitigations of this POP of {max}; the other places are kept for other sources"
            ),
            Self::MayNotTrigger { source } => write!(
                f,
                "{source} may support a mitigation but not start one; it waits for another source"
            ),
            Self::SourceNotEnforced { source } => write!(
                f,
                "{source} is not enforced, so it does not hold the enforced mitigation of this victim and vector"
            ),
            Self::Template { vector, template } => {
                write!(f, "{vector} is matched by the {template} template")
            }
            Self::Capped {
                asked,
                allowed,
                rate_bps,
                because,
            } => write!(
                f,
                "{asked} was asked; {allowed} to {rate_bps} is what may be done automatically: {because}"
            ),
            Self::HostWide { vector } => write!(
                f,
                "nothing but the destination is known of {vector}; a rule on all its traffic needs allow_host_wide in the playbook, or an operator"
            ),
            Self::OnlyAllowedPorts { ports } => write!(
                f,
                "every reported port ({ports}) belongs to the service, and on_allowed_port is skip"
            ),
            Self::AllowedBetween { ports } => write!(
                f,
                "no rule has room for the reported ports without the service's own between them ({ports}), and on_allowed_port is skip"
            ),
            Self::OnAllowedPort {
                ports,
                on_allowed_port,
            } => {
                let how = match on_allowed_port {
                    OnAllowedPort::Police => "policed",
                    OnAllowedPort::Include => "included",
                    OnAllowedPort::Skip => "left alone",
                };
                write!(
                    f,
                    "the attack is on the service's own port {ports}: {how}, never discarded"
                )
            }
            Self::AllowedKeptOut { ports } => write!(f, "ports of the service are kept out: {ports}"),
            Self::PortsJoined {
                reported,
                ports,
                max_ports,
            } => write!(
                f,
                "{reported} port terms were widened to {ports}: a rule holds {max_ports}"
            ),
            Self::PortsDropped { max_ports } => write!(
                f,
                "the ports were widened to the whole protocol: a rule holds {max_ports}, and a police rule cannot be split without multiplying its rate"
            ),
            Self::PortsSplit { rules, max_ports } => write!(
                f,
                "the ports are split over {rules} rules: a rule holds {max_ports}"
            ),
            Self::Companion { action } => write!(
                f,
                "fragments carry no ports, so a companion rule takes them: {action}"
            ),
            Self::RtbhAllowed {} => f.write_str(
                "allow_rtbh: a neighbour with a unicast family and no FlowSpec drops all traffic to the address instead",
            ),
            Self::RtbhNotAllowed { because } => write!(
                f,
                "allow_rtbh is not used, so that a neighbour without FlowSpec gets nothing: {because}"
            ),
            Self::CompanionLeftOut { flow } => write!(
                f,
                "the companion rule for fragments is left out: it would catch packets of the protected flow {flow}"
            ),
            Self::Rules { rules } => write!(f, "{}", rules.join("; ")),
            Self::Widened { rules } => write!(f, "the match widened: {}", rules.join("; ")),
            Self::SafelistClear {} => f.write_str("no safelist entry overlaps the victim"),
            Self::Safelisted {
                victim,
                prefix,
                reason,
                origin,
            } => {
                let origin = match origin {
                    SafelistOrigin::Implicit => "implicit",
                    SafelistOrigin::Config => "configured",
                    SafelistOrigin::Api => "added",
                };
                write!(
                    f,
                    "{victim} overlaps the {origin} safelist entry {prefix} ({reason})"
                )
            }
            Self::OutsideOwner { destination, prefix } => {
                write!(f, "{destination} is not inside the owner's prefix {prefix}")
            }
            Self::PrefixTooShort {
                destination,
                min_length,
            } => write!(f, "{destination} is wider than /{min_length}"),
            Self::TooManyPorts { terms, max_ports } => {
                write!(f, "the rule has {terms} port terms; {max_ports} are allowed")
            }
            Self::PortsCannotMatch { protocols } => {
                write!(f, "ports need TCP or UDP; protocols given: {protocols:?}")
            }
            Self::PacketTooLong {
                lengths,
                max_packet_length,
            } => write!(
                f,
                "packet lengths {lengths} go beyond {max_packet_length} bytes, which the network does not carry"
            ),
            Self::RulesWithinBounds {
                rules,
                max_ports,
                max_packet_length,
                min_police_bps,
            } => write!(
                f,
                "{rules} rule(s) within bounds: at most {max_ports} port terms, packets up to {max_packet_length} bytes, rates from {}",
                BitsPerSecond(*min_police_bps)
            ),
            Self::TtlOutOfBounds {
                ttl_seconds,
                min_seconds,
                max_seconds,
            } => write!(
                f,
                "a lease of {ttl_seconds} s is outside {min_seconds} to {max_seconds} s"
            ),
            Self::LifetimeReached {
                filtered_since,
                max_lifetime_seconds,
            } => write!(
                f,
                "this victim and vector is filtered since {filtered_since}, for as long as the {max_lifetime_seconds} s it may be; it must be quiet first"
            ),
            Self::QuotasLeft {
                customer,
                max_customer,
                pop,
                max_pop,
                max_global,
            } => write!(
                f,
                "quotas are not used up: customer {customer} of {max_customer}, POP {pop} of {max_pop}, all POPs {pop} of {max_global}"
            ),
            Self::QuotaCustomer {
                customer_id,
                active,
                max,
            } => write!(f, "{customer_id} has {active} active mitigations of {max}"),
            Self::QuotaVictim { victim, vectors, max } => write!(
                f,
                "{vectors} vectors of {victim} are mitigated or pending already; more than {max} need an operator"
            ),
            Self::QuotaPop { active, max } => write!(f, "this POP has {active} active mitigations of {max}"),
            Self::QuotaGlobal { active, max } => {
                write!(f, "all POPs have {active} active mitigations of {max}")
            }
            Self::RatesLeft {
                pop,
                max_pop,
                customer,
                max_customer,
                source,
                max_source,
            } => write!(
                f,
                "new in the last minute: POP {pop} of {max_pop}, customer {customer} of {max_customer}, source {source} of {max_source}"
            ),
            Self::RateOfChange {
                of,
                name,
                started,
                max,
            } => write!(
                f,
                "{of} {name} began {started} mitigations in the last minute; {max} are allowed"
            ),
            Self::BreakerTripped {
                tripped_at,
                neighbors,
            } => write!(
                f,
                "the breaker is tripped since {tripped_at}: the sessions with {} were lost right after something was \
                 announced; nothing new is announced until a person resets it (prefixdctl breaker reset)",
                neighbors.join(" and ")
            ),
            Self::ProtectedFlow { rule, flow } => write!(
                f,
                "{rule} would catch packets of the protected flow {flow}; no rule may (guardrails.protected_flows)"
            ),
            Self::Stopped {
                scope,
                state,
                by,
                since,
                reason,
            } => {
                let (what, option) = match scope {
                    ControlScope::Pop => ("this POP".to_owned(), String::new()),
                    ControlScope::Customer(id) => (format!("customer {id}"), format!(" --customer {id}")),
                    ControlScope::Neighbor(name) => {
                        (format!("neighbour {name}"), format!(" --neighbor {name}"))
                    }
                };
                let how = match state {
                    Stop::Hold => "nothing new is announced",
                    Stop::Panic => "nothing is announced",
                };
                write!(
                    f,
                    "{by} said {state} for {what} at {since} ({reason}): {how} until a person says prefixdctl resume{option}"
                )
            }
            Self::SourceAction {
                sources,
                action,
                max_action,
            } => write!(
                f,
                "{} may ask for {max_action} at most, not {action}",
                sources.join(", ")
            ),
            Self::Impossible { rule, because } => write!(f, "{rule} is refused: {because}"),
            Self::Lease {
                expires_at,
                ttl_seconds,
            } => write!(f, "the lease of {ttl_seconds} s ends at {expires_at}"),
            Self::LeaseCapped {
                expires_at,
                filtered_since,
                max_lifetime_seconds,
            } => write!(
                f,
                "the lease ends at {expires_at}: filtered since {filtered_since}, {max_lifetime_seconds} s are allowed"
            ),
            Self::HoldDown {
                ends_at,
                hold_down_seconds,
                recurrences,
            } => write!(
                f,
                "no claim is left: the rules stay for a hold-down of {hold_down_seconds} s ({recurrences} recurrence(s) in 24 h) until {ends_at}"
            ),
            Self::HoldDownPassed { ending_since } => write!(f, "no claim came back since {ending_since}"),
            Self::Returned { ending_since } => {
                write!(f, "the attack came back; no claim was left since {ending_since}")
            }
            Self::LeaseEnded { expired_at } => {
                write!(f, "the lease ended at {expired_at} and nothing renewed it")
            }
            Self::Renewed { expires_at, source } => write!(
                f,
                "the live claim of {source} renewed the lease until {expires_at}"
            ),
            Self::DryRun { mode, because } => write!(
                f,
                "dry-run ({because}; mode {mode}): decided and recorded, not announced"
            ),
            Self::ModeChanged {
                was_enforced,
                because,
            } => {
                let was = if *was_enforced { "enforced" } else { "dry-run" };
                write!(f, "the {was} mitigation ends: {because}")
            }
            Self::EscalationWaits {
                step,
                evidence_seconds,
                needs_seconds,
                at,
            } => {
                write!(
                    f,
                    "step {step} needs {needs_seconds} s of evidence; there are {evidence_seconds} s"
                )?;
                match at {
                    Some(at) => write!(f, ", due at {at}"),
                    None => Ok(()),
                }
            }
            Self::Escalated {
                from,
                to,
                evidence_seconds,
                needs_seconds,
            } => write!(
                f,
                "step {from} gives way to step {to}: {evidence_seconds} s of evidence, {needs_seconds} s needed"
            ),
            Self::StepUncarried {
                step,
                since,
                gives_way_at,
            } => write!(
                f,
                "step {step} has not had the evidence it needs since {since}; without it the step before takes its place at {gives_way_at}"
            ),
            Self::Deescalated {
                from,
                to,
                uncarried_seconds,
                after_seconds,
            } => write!(
                f,
                "step {from} goes back to step {to}: the evidence it needs has been missing for {uncarried_seconds} s, and {after_seconds} s were given to it"
            ),
            Self::Severity {
                severity,
                established,
            } => {
                write!(f, "severity {severity}")?;
                if *established {
                    Ok(())
                } else {
                    f.write_str(", one higher because no neighbour is established")
                }
            }
            Self::OperatorHeld { mitigation_id } => write!(
                f,
                "an operator made {mitigation_id}: events may lengthen it, never change it"
            ),
            Self::RequestIncomplete { missing } => write!(
                f,
                "no playbook matches, so the request must say it itself: {}",
                missing.join(", ")
            ),
            Self::OperatorAsked { actor, reason } => write!(f, "{actor} asked for it: {reason}"),
            Self::Adjusted { was } => write!(f, "until now it was {}", was.join("; ")),
        }
    }
}
