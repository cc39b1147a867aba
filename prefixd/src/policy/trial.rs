//! Dry-run: what keeps a mitigation from the routers although all of it is decided. The daemon, a customer, a playbook, or
//! the sources that report it. A neighbour with `enforce: false` is no part of it: the others get the rules.

use super::claims::holding;
use super::inventory::Owner;
use super::lease;
use super::playbooks::Playbook;
use super::reason::Reason;
use super::settings::Policy;
use super::state::State;
use super::turn::Turn;
use prefixd_api::mitigation::{Claim, Group, Mitigation, OriginKind};
use prefixd_api::resource::Mode;
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How many are named to people at once.
const MAX_NAMED: usize = 8;

/// Who is on trial; the first that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial<'a> {
    Daemon,
    Customer(&'a str),
    Playbook(&'a str),
    Sources,
}

impl fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("the daemon is in dry-run mode"),
            Self::Customer(id) => write!(f, "enforce is false for customer {id}"),
            Self::Playbook(name) => write!(f, "enforce is false for playbook {name}"),
            Self::Sources => f.write_str("no source that may begin it is enforced"),
        }
    }
}

/// Whether a claim says that there should be a mitigation. Who extends a lease says nothing of the mode.
pub(super) fn asks(claim: &Claim) -> bool {
    claim.kind == OriginKind::Event || lease::pins(claim)
}

impl Policy {
    /// What holds for everything of this owner, an operator's requests too: who is on trial is on trial for people, or a
    /// rule could reach the routers of a customer who never agreed to that.
    pub(super) fn trial_of_owner<'a>(&self, owner: Option<Owner<'a>>) -> Option<Trial<'a>> {
        if self.mode == Mode::DryRun {
            return Some(Trial::Daemon);
        }
        let customer = owner?.customer;
        (!customer.enforce).then_some(Trial::Customer(&customer.id))
    }

    /// What holds for a mitigation that begins by these claims and this playbook.
    pub(super) fn trial<'a>(
        &self,
        owner: Option<Owner<'a>>,
        playbook: Option<&'a Playbook>,
        group: &Group,
        now: Timestamp,
    ) -> Option<Trial<'a>> {
        let of_playbook = || {
            let playbook = playbook.filter(|playbook| !playbook.enforce)?;
            Some(Trial::Playbook(&playbook.name))
        };
        let of_sources = || {
            // Who only says the same as others makes nothing real: a trial that one on trial began goes on.
            let mut enforced = holding(self, group, true, now);
            let nobody = !enforced.any(|claim| self.sources.get(&claim.source).may_trigger);
            nobody.then_some(Trial::Sources)
        };
        self.trial_of_owner(owner)
            .or_else(of_playbook)
            .or_else(of_sources)
    }

    /// What holds for rules that there are, whoever reports now: what an operator said is of no playbook.
    pub(super) fn trial_of_rules<'a>(
        &'a self,
        mitigation: &Mitigation,
        owner: Option<Owner<'a>>,
    ) -> Option<Trial<'a>> {
        self.trial_of_owner(owner).or_else(|| {
            let name = mitigation.playbook.as_deref()?;
            let playbook = self.playbooks.on_trial(name)?;
            (!lease::is_pinned(mitigation)).then_some(Trial::Playbook(&playbook.name))
        })
    }

    /// What holds for a live mitigation by the configuration as it is now.
    pub(super) fn trial_of<'a>(&'a self, live: &Mitigation, owner: Option<Owner<'a>>) -> Option<Trial<'a>> {
        self.trial_of_rules(live, owner).or_else(|| {
            let mut asking = live.claims.iter().filter(|claim| asks(claim)).peekable();
            asking.peek()?;
            let enforces = |claim: &Arc<Claim>| {
                let source = self.sources.get(&claim.source);
                // What is announced goes on with whoever is left to say so.
                lease::pins(claim) || source.enforce && (live.enforced || source.may_trigger)
            };
            (!asking.any(enforces)).then_some(Trial::Sources)
        })
    }
}

impl Policy {
    /// What is on trial by itself, in words; none when it is nothing. The whole daemon says so by its mode.
    #[must_use]
    pub fn on_trial(&self) -> Option<String> {
        let customers = self
            .inventory
            .customers
            .iter()
            .filter(|customer| !customer.enforce);
        let customers = customers.map(|customer| format!("customer {}", customer.id));
        let playbooks = self.playbooks.ordered.iter().chain(&self.playbooks.default);
        let playbooks = playbooks.filter(|playbook| !playbook.enforce);
        let playbooks = playbooks.map(|playbook| format!("playbook {}", playbook.name));
        let mut sources: Vec<&str> = self
            .sources
            .named
            .iter()
            .filter(|(_, source)| !source.enforce)
            .map(|(name, _)| name.as_str())
            .chain((!self.sources.default.enforce).then_some("default"))
            .collect();
        sources.sort_unstable();
        let sources = sources.into_iter().map(|name| format!("source {name}"));
        let mut all: Vec<String> = customers.chain(playbooks).chain(sources).collect();
        if all.len() > MAX_NAMED {
            let more = all.len() - MAX_NAMED;
            all.truncate(MAX_NAMED);
            all.push(format!("{more} more"));
        }
        (!all.is_empty()).then(|| {
            format!(
                "dry-run by enforce: false, decided and not announced: {}",
                all.join(", ")
            )
        })
    }
}

impl Turn<'_> {
    pub(super) fn note_trial(&mut self, trial: Option<Trial<'_>>) {
        if let Some(trial) = trial {
            self.trace.note(Reason::DryRun {
                mode: self.policy.mode,
                because: trial.to_string().into(),
            });
        }
    }
}

/// How many enforced mitigations a configuration would end because they would be dry-run, by the reason.
#[must_use]
pub fn switched_to_dry_run(state: &State, next: &Policy) -> BTreeMap<String, u64> {
    let mut switched = BTreeMap::new();
    let announced = |live: &&Arc<Mitigation>| live.enforced && live.status.is_announced();
    for live in state.mitigations.values().filter(announced) {
        if let Some(trial) = next.trial_of(live, next.inventory.owner(live.victim_ip)) {
            *switched.entry(trial.to_string()).or_insert(0) += 1;
        }
    }
    switched
}
