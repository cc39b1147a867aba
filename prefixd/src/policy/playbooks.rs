//! Playbooks: for a vector, the steps from the mildest to the strictest.

use prefixd_api::config::inventory::PolicyProfile;
use prefixd_api::name::Name;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::Action;
use std::time::Duration;

/// All playbooks, most specific first.
#[derive(Debug, Default)]
pub(super) struct Playbooks {
    pub(super) ordered: Vec<Playbook>,
    pub(super) default: Option<Playbook>,
    /// Whether any step is told to other POPs.
    pub(super) any_offered: bool,
}

#[derive(Debug)]
pub(super) struct Playbook {
    pub(super) name: Name,
    pub(super) when: Condition,
    /// Never empty.
    pub(super) steps: Vec<Step>,
    /// Whether what it makes goes to routers.
    pub(super) enforce: bool,
}

/// What must hold for a playbook to be used; absent parts hold for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) vector: Option<String>,
    pub(super) source: Option<String>,
    pub(super) customer: Option<String>,
    pub(super) service: Option<String>,
    pub(super) profile: Option<PolicyProfile>,
}

/// What is being matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) vector: &'a str,
    pub(super) source: Option<&'a str>,
    pub(super) customer: Option<&'a str>,
    /// All that run at the victim.
    pub(super) services: &'a [&'a str],
    pub(super) profile: Option<PolicyProfile>,
}

/// One step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) asked: Action,
    /// Whether routers sample what the rules match.
    pub(super) sample: bool,
    /// The step's own rate in bits; without one that of the nearest police step, for what must be policed even so:
    /// the fragment companion, allowed ports, and what the template caps.
    pub(super) police_rate: BitsPerSecond,
    pub(super) ttl: Duration,
    pub(super) confidence_at_least: Option<f64>,
    pub(super) persistence: Option<Duration>,
    /// How many sources that share no data must report it; 1 and 0 are the same.
    pub(super) sources: u32,
    /// How long nothing may have carried it before it is given up; absent: it is not.
    pub(super) de_escalate_after: Option<Duration>,
    pub(super) on_allowed_port: OnAllowedPort,
    pub(super) allow_host_wide: bool,
    /// Neighbours without FlowSpec may get a blackhole instead.
    pub(super) allow_rtbh: bool,
    /// Other POPs are told what is reported of it.
    pub(super) offered: bool,
}

/// What to do when the attack is on a port of the service itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnAllowedPort {
    /// Police it.
    Police,
    /// Make no rule.
    Skip,
    /// Treat it as any other port, but never discard.
    Include,
}

impl Playbooks {
    pub(super) fn find(&self, situation: Situation<'_>) -> Option<&Playbook> {
        self.ordered
            .iter()
            .find(|playbook| playbook.when.holds(situation))
            .or(self.default.as_ref())
    }

    /// The playbook a mitigation was made by, as it is configured now.
    pub(super) fn named(&self, name: &str) -> Option<&Playbook> {
        self.ordered
            .iter()
            .chain(&self.default)
            .find(|playbook| &*playbook.name == name)
    }

    /// The playbook of this name, when it is on trial.
    pub(super) fn on_trial(&self, name: &str) -> Option<&Playbook> {
        let mut on_trial = self
            .ordered
            .iter()
            .chain(&self.default)
            .filter(|playbook| !playbook.enforce);
        on_trial.find(|playbook| &*playbook.name == name)
    }

    /// Sorts by how much a condition says; among equals the order of the file stands.
    pub(super) fn sort(&mut self) {
        self.ordered
            .sort_by_key(|playbook| std::cmp::Reverse(playbook.when.specificity()));
    }
}

impl Playbook {
    /// The step by its number, from 1.
    pub(super) fn step(&self, number: u32) -> Option<&Step> {
        self.steps.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

impl Condition {
    fn holds(&self, situation: Situation<'_>) -> bool {
        let one =
            |wanted: &Option<String>, given: Option<&str>| wanted.is_none() || wanted.as_deref() == given;
        one(&self.vector, Some(situation.vector))
            && one(&self.source, situation.source)
            && one(&self.customer, situation.customer)
            && self
                .service
                .as_deref()
                .is_none_or(|wanted| situation.services.contains(&wanted))
            && (self.profile.is_none() || self.profile == situation.profile)
    }

    /// More parts are more specific; a service says more than its customer, a customer more than its profile.
    fn specificity(&self) -> (usize, u8) {
        let parts = [
            self.service.is_some(),
            self.customer.is_some(),
            self.source.is_some(),
            self.vector.is_some(),
            self.profile.is_some(),
        ];
        let weight = parts.iter().fold(0, |weight, part| weight << 1 | u8::from(*part));
        (parts.iter().filter(|part| **part).count(), weight)
    }
}
