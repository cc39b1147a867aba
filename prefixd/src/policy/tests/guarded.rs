//! The guardrails, asked of what a decision came to and not of the code that should have asked them. Everything here is said
//! again in other words, from the configuration alone: nothing calls what it judges.

use super::super::guard::MAX_VECTORS;
use super::super::undo::Unconfirmed;
use super::*;
use prefixd_api::control::{ControlScope, Stop};
use prefixd_api::resource::Mode;
use prefixd_api::victim::Victim;

/// Whose the addresses are.
const OWNED: [(&str, &str); 3] = [
    ("203.0.113.0/24", "acme"),
    ("2001:db8:acce::/48", "acme"),
    ("198.51.100.0/24", "bolt"),
];
/// A router's.
const ROUTER: &str = "203.0.113.4/32";
/// Where a service runs, whose port is 53; the second sends no queries of its own.
const SERVES: [&str; 2] = ["203.0.113.1", "203.0.113.2"];
const QUIET: &str = "203.0.113.2";
/// A hold-down never grows beyond this.
const LONGEST_HOLD_DOWN: u64 = 3600;

/// A mitigation before and after a decision; before is nothing when it begins.
struct Change<'a> {
    was: Option<&'a Mitigation>,
    is: &'a Mitigation,
}

impl Change<'_> {
    /// Routers get it for the first time.
    fn begins(&self) -> bool {
        self.is.status.is_announced() && self.was.is_none_or(|was| !was.status.is_announced())
    }

    /// Routers get something else, or would.
    fn tells(&self) -> bool {
        self.was.is_none_or(|was| {
            self.begins() || was.rules != self.is.rules || (self.is.allow_rtbh && !was.allow_rtbh)
        })
    }

    /// It lasts longer than before.
    fn lasts_longer(&self) -> bool {
        self.was
            .is_none_or(|was| self.begins() || was.expires_at < self.is.expires_at)
    }

    /// A person says what it does.
    fn is_pinned(&self) -> bool {
        let of_person = |claim: &&Arc<prefixd_api::mitigation::Claim>| {
            claim.kind == OriginKind::Operator && claim.lives_until.is_none()
        };
        self.is.claims.iter().any(|claim| of_person(&claim))
    }

    /// A person's bounds count.
    fn is_persons(&self) -> bool {
        let mut claims = self.is.claims.iter();
        claims.any(|claim| claim.kind == OriginKind::Operator)
    }
}

impl World {
    /// What must hold of all that a command changed, `before` being the state that it was decided in.
    pub(super) fn check_guardrails(&self, command: &Command, decision: &Decision, before: &State) {
        for effect in &decision.effects {
            let Effect::Mitigation {
                before: was, after, ..
            } = effect
            else {
                continue;
            };
            if !after.status.is_live() {
                continue;
            }
            let change = Change {
                was: was.as_deref(),
                is: after,
            };
            self.destination(&change, before);
            for rule in &*after.rules {
                self.rule(rule, &change);
            }
            self.lease(&change);
            if change.tells() {
                self.sources(command, &change);
                self.announcing(&change, before);
            }
            if matches!(command, Command::Extend(_)) && !self.is_stopped(after, before) {
                // Who has it last longer asks for no more than those who hold it may.
                self.sources(command, &change);
            }
            if change.begins() {
                self.quotas(&change);
                self.is_heard(command, &change, before);
            } else if after.status == MitigationStatus::Pending {
                self.pending(&change);
            }
        }
    }

    /// What must hold of everything that is live, after any command.
    pub(super) fn check_stops(&self) {
        for live in self.live().into_iter().filter(|live| live.enforced) {
            let stop = self.stop(live.customer_id.as_deref(), &self.state);
            assert_ne!(stop, Some(Stop::Panic), "{} outlived a panic", live.scope());
        }
    }

    /// Whether nothing new may be announced of it, and it stays as it is for as long.
    fn is_stopped(&self, live: &Mitigation, state: &State) -> bool {
        let stop = self.stop(live.customer_id.as_deref(), state);
        live.enforced && (stop.is_some() || state.breaker.is_some())
    }

    fn stop(&self, customer: Option<&str>, state: &State) -> Option<Stop> {
        let of_it = |scope: &ControlScope| match scope {
            ControlScope::Pop => true,
            ControlScope::Customer(id) => Some(&**id) == customer,
            ControlScope::Neighbor(_) => false,
        };
        let stopped = state.stopped.values().filter(|stopped| of_it(&stopped.scope));
        stopped.map(|stopped| stopped.state).max()
    }

    /// Owned, not safelisted, of one address, and the owner's.
    fn destination(&self, change: &Change<'_>, before: &State) {
        let host = change.is.victim_ip.prefix();
        assert_eq!(host.prefix_len(), host.max_prefix_len(), "{host} is no host");
        let owner = OWNED
            .iter()
            .find(|(prefix, _)| prefix.parse::<IpNet>().unwrap().contains(&host));
        let owner = owner.unwrap_or_else(|| panic!("{host} is nobody's"));
        assert_eq!(change.is.customer_id.as_deref(), Some(owner.1));
        assert_ne!(host, ROUTER.parse().unwrap(), "a router's address");
        let protects = |entry: &Arc<SafelistEntry>| {
            let over = entry.expires_at.is_some_and(|at| at <= self.now);
            !over && (entry.prefix.contains(&host) || host.contains(&entry.prefix))
        };
        let safelisted = before.safelist.values().any(protects);
        // What only takes time from a claim or a lease is no new permission.
        let reaches = (change.tells() || change.lasts_longer()) && change.is.ending_since.is_none();
        assert!(!(safelisted && reaches), "{host} is safelisted");
    }

    /// Ports, lengths, rates, what templates allow, the service's own ports, protected flows.
    fn rule(&self, rule: &Rule, change: &Change<'_>) {
        let (limits, matches) = (&self.policy.limits, &rule.matches);
        let victim = change.is.victim_ip;
        assert_eq!(matches.dst_prefix, victim.prefix(), "{rule}");
        // What was made under wider bounds stays until it is judged; every command that touches it judges.
        for ports in [&matches.dst_ports, &matches.src_ports, &matches.ports] {
            assert!(ports.operators() <= limits.max_ports, "{rule}: too many ports");
        }
        for length in matches.packet_lengths.as_slice() {
            let open = length.last == u16::MAX;
            let longest = if open { length.first } else { length.last };
            assert!(longest <= limits.max_packet_length, "{rule}: too long");
        }
        if let Some(rate) = rule.action.rate() {
            assert!(rate.0 >= limits.min_police_bps, "{rule}: below the least rate");
        }
        for flow in &self.policy.protected {
            let protocol = matches.protocols.is_empty() || matches.protocols.contains(&protocol::UDP);
            let port = matches.src_ports.is_empty() || matches.src_ports.contains(53);
            // The one flow that these worlds protect: a resolver's answers.
            assert!(!(protocol && port), "{rule} would catch {flow}");
        }
        if rule.action != Action::Discard {
            return;
        }
        let says = !matches.dst_ports.is_empty()
            || !matches.src_ports.is_empty()
            || !matches.packet_lengths.is_empty()
            || matches.tcp_flags.is_some()
            || matches.fragment.is_some()
            || !matches.icmp_types.is_empty();
        assert!(says, "{rule} drops all of a protocol");
        let vector = &*change.is.vector;
        assert!(!["unknown", "ack_flood"].contains(&vector), "{rule} for {vector}");
        if change.is_pinned() {
            return;
        }
        let serves = SERVES
            .iter()
            .any(|host| host.parse::<Victim>().unwrap() == victim);
        let is_queried = victim != QUIET.parse().unwrap();
        match vector {
            "carrot" => panic!("{rule} for a vector that nobody knows"),
            "syn_flood" => assert!(serves, "{rule}: the service is not known"),
            "dns_amplification" => assert!(!is_queried, "{rule}: answers to the victim's own queries"),
            "udp_flood" => assert!(!matches.dst_ports.is_empty() || !is_queried, "{rule}: of no port"),
            _ => {}
        }
        // Of the one service there is; a reload may open more of its ports.
        let service = &self.policy.inventory.customers[0].services[0];
        let allowed = if matches.protocols.contains(&protocol::TCP) {
            &service.allowed_tcp
        } else {
            &service.allowed_udp
        };
        let drops = allowed.minus(&allowed.minus(&matches.dst_ports));
        assert!(
            !serves || drops.is_empty(),
            "{rule}: the service's own ports {drops}"
        );
    }

    /// Not longer than the bounds of who asks; the lifetime is checked of everything that is live.
    fn lease(&self, change: &Change<'_>) {
        if !change.lasts_longer() {
            return;
        }
        let limits = &self.policy.limits;
        let lasts = change.is.expires_at.since(self.now);
        if change.is.status == MitigationStatus::Pending {
            assert!(lasts <= self.policy.timers.window);
            return;
        }
        let longest = if change.is_persons() {
            limits.max_ttl_operator
        } else {
            limits.max_ttl
        };
        let ending = change.is.ending_since.is_some();
        let longest = longest.max(if ending {
            seconds(LONGEST_HOLD_DOWN)
        } else {
            Duration::ZERO
        });
        assert!(
            lasts <= longest,
            "{}: {lasts:?} is longer than {longest:?}",
            change.is.scope()
        );
        if change.begins() {
            let group = self.state.group(&change.is.scope()).unwrap();
            let ends = group
                .filtered_since
                .unwrap()
                .saturating_add(if change.is_persons() {
                    limits.max_lifetime_operator
                } else {
                    limits.max_lifetime
                });
            assert!(
                change.is.expires_at <= ends,
                "{} outlives its lifetime",
                change.is.scope()
            );
            let capped = change.is.expires_at == ends;
            assert!(
                lasts >= limits.min_ttl || capped,
                "{}: {lasts:?} is too short",
                change.is.scope()
            );
        }
    }

    /// One of the sources that claim it may ask for what it does, unless a person says what it does. What is put back by
    /// itself stands on the claims that it stood on.
    fn sources(&self, command: &Command, change: &Change<'_>) {
        let by_itself = matches!(command, Command::Due(_)) && change.begins();
        let before = self
            .gone
            .iter()
            .filter(|gone| by_itself && Some(gone.mitigation_id) == change.is.previous_id);
        let claims = change
            .is
            .claims
            .iter()
            .chain(before.flat_map(|gone| gone.claims.iter()));
        let asks = claims.filter(|claim| claim.kind == OriginKind::Event);
        let allowed = asks
            .map(
                |claim| match self.policy.sources.named.get(claim.source.as_str()) {
                    Some(source) => source.max_action,
                    None => self.policy.sources.default.max_action,
                },
            )
            .max();
        let strictest = change.is.rules.iter().map(|rule| rule.action.kind()).max();
        if let Some(allowed) = allowed
            && !change.is_pinned()
        {
            assert!(
                strictest <= Some(allowed),
                "{}: more than its sources may ask for",
                change.is.scope()
            );
        }
    }

    /// Nothing new while a person or the breaker has stopped announcing.
    fn announcing(&self, change: &Change<'_>, before: &State) {
        if change.is.enforced && change.is.status.is_announced() {
            let scope = change.is.scope();
            assert_eq!(
                self.stop(change.is.customer_id.as_deref(), before),
                None,
                "{scope} is stopped"
            );
            assert!(before.breaker.is_none(), "{scope}: the breaker is tripped");
            assert_eq!(self.policy.mode, Mode::Enforced);
        }
    }

    fn quotas(&self, change: &Change<'_>) {
        let quotas = self.policy.quotas;
        let tally = if change.is.enforced {
            &self.state.counts.enforced
        } else {
            &self.state.counts.dry_run
        };
        let customer = change.is.customer_id.as_deref().unwrap();
        assert!(tally.pop <= quotas.per_pop.min(quotas.global), "of the POP");
        assert!(tally.customer(customer) <= quotas.per_customer, "of {customer}");
        assert!(tally.starts.pop() <= quotas.new_pop, "the rate of the POP");
        assert!(
            tally.starts.customer(customer) <= quotas.new_customer,
            "the rate of {customer}"
        );
        if change.is.origin.kind == OriginKind::Event {
            let is_one =
                |live: &&Arc<Mitigation>| live.enforced == change.is.enforced && live.status.is_announced();
            let vectors = self.state.of_victim(change.is.victim_ip).filter(is_one);
            assert!(vectors.count() as u64 <= MAX_VECTORS, "vectors");
            if let Some(claim) = change.is.claims.first() {
                assert!(
                    tally.starts.source(&claim.source) <= quotas.new_source,
                    "the rate of {}",
                    claim.source
                );
            }
        }
    }

    fn pending(&self, change: &Change<'_>) {
        let (quotas, tally) = (&self.policy.quotas, &self.state.counts.pending);
        if change.was.is_none() {
            assert!(tally.pop <= quotas.per_pop);
            assert!(tally.customer(change.is.customer_id.as_deref().unwrap()) <= quotas.per_customer);
            let is_pending = |live: &&Arc<Mitigation>| !live.status.is_announced();
            let vectors = self.state.of_victim(change.is.victim_ip).filter(is_pending);
            assert!(vectors.count() as u64 <= MAX_VECTORS);
        }
    }

    /// A report begins nothing that a person does not want acted on.
    fn is_heard(&self, command: &Command, change: &Change<'_>, before: &State) {
        let Command::Event(event) = command else {
            return;
        };
        let (source, scope) = (&event.event.source, change.is.scope());
        assert!(!before.paused.contains_key(&**source), "{source} is paused");
        let counts = |until: Timestamp| until > self.now;
        let suppressed = before
            .suppressions
            .get(&scope)
            .is_some_and(|one| counts(one.expires_at));
        assert!(!suppressed, "{scope} is suppressed");
        let wide = before.wide_suppressions.values().find(|one| {
            counts(one.expires_at)
                && one
                    .prefix
                    .is_none_or(|prefix| prefix.contains(&scope.victim.prefix()))
                && one.vector.as_ref().is_none_or(|vector| **vector == *scope.vector)
                && one.source.as_ref().is_none_or(|of| of == source)
        });
        assert!(wide.is_none(), "{scope} is suppressed with others");
    }

    /// What waits for a confirmation, oldest scope first.
    pub(super) fn waiting(&self) -> Vec<Arc<Unconfirmed>> {
        let mut waiting: Vec<_> = self.state.unconfirmed.values().cloned().collect();
        waiting.sort_by_key(|one| one.ended.scope());
        waiting
    }
}
