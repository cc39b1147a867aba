//! Each reason as a sentence.

use super::Reason;
use crate::policy::playbooks::OnAllowedPort;
use crate::policy::sources::{Reporting, Visibility};
use prefixd_api::control::{ControlScope, Stop};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::resource::SafelistOrigin;
use std::fmt;

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
                "{by} suppressed this victim and vector: automatic bans of it are stored and not acted on until {until} ({reason})"
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
            Self::Carpet {
                prefix,
                victims,
                bystanders,
            } => write!(
                f,
                "{victims} addresses of {prefix} are attacked: one mitigation is over all of it, {bystanders} that nobody reported among them"
            ),
            Self::CarpetOver {
                mitigation_id,
                prefix,
            } => write!(f, "{mitigation_id} is over all of {prefix}"),
            Self::CarpetThin {
                mitigation_id,
                prefix,
                victims,
                at_least,
            } => write!(
                f,
                "{victims} addresses of {prefix} are reported, fewer than {at_least}: each is on its own again, and {mitigation_id} is not renewed"
            ),
            Self::CarpetClaimed { source, prefix } => {
                write!(f, "{source} reports other addresses of {prefix} still")
            }
            Self::CarpetNotOwned { prefix } => write!(
                f,
                "{prefix} holds all that are attacked, and is not all of one customer's: each is on its own"
            ),
            Self::CarpetSuppressed {
                prefix,
                what,
                by,
                until,
            } => write!(
                f,
                "{by} wants {what} left alone until {until}, so nothing is made over all of {prefix}: each is on its own"
            ),
            Self::CarpetWaits {
                prefix,
                victims,
                sufficient,
            } => write!(
                f,
                "of {victims} addresses of {prefix} {sufficient} are reported by enough sources, surely enough, for all of it"
            ),
            Self::CarpetUntold {} => f.write_str(
                "a neighbour does not take the rules that are over all of them, or is not told them now: each is on its own",
            ),
            Self::CarpetPutOff { within, until } => write!(
                f,
                "one over many addresses of {within} is not tried again before {until}"
            ),
            Self::CarpetOfItself { prefix } => write!(
                f,
                "nothing begins over {prefix} before enough of its addresses are reported again"
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
            Self::Offered {} => f.write_str(
                "scope: all: while detectors here report it, what they report is offered to the other POPs on the database, if there are any, which decide for themselves",
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
                let what = match scope {
                    ControlScope::Pop => "this POP".to_owned(),
                    ControlScope::Customer(id) => format!("customer {id}"),
                    ControlScope::Neighbor(name) => format!("neighbour {name}"),
                };
                let how = match state {
                    Stop::Hold => "nothing new is announced",
                    Stop::Panic => "nothing is announced",
                };
                write!(
                    f,
                    "{by} said {state} for {what} at {since} ({reason}): {how} until a person says {}",
                    scope.resume()
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
            Self::StepNotAsked { from, to, because } => {
                write!(f, "step {from} goes back to step {to}: of those who hold it, {because}")
            }
            Self::Severity {
                severity,
                established,
            } => {
                write!(f, "severity {severity}")?;
                if *established {
                    Ok(())
                } else {
                    f.write_str(", one higher because no neighbour with a session has it")
                }
            }
            Self::OperatorHeld { mitigation_id } => write!(
                f,
                "an operator made {mitigation_id}: events may lengthen it, never change it"
            ),
            Self::RequestIncomplete { missing } => write!(
                f,
                "the request leaves open what no playbook says, so it must say it itself: {}",
                missing.join(", ")
            ),
            Self::OperatorAsked { actor, reason } => write!(f, "{actor} asked for it: {reason}"),
            Self::SuppressedUntil { until } => write!(
                f,
                "automatic bans of this victim and vector are not acted on until {until}"
            ),
            Self::PutBackAt { at } => write!(
                f,
                "it is put back at {at} unless somebody confirms the withdrawal before"
            ),
            Self::HeldAlone { source } => write!(f, "{source}, which alone held it, is paused"),
            Self::Adjusted { was } => write!(f, "until now it was {}", was.join("; ")),
        }
    }
}
