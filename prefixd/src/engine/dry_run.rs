//! A reload that switches something to dry-run takes rules off routers. That is never done by the way: somebody must have
//! said how many.

use super::Engine;
use super::run::Reload;
use crate::announce::{Announcer, Neighbor};
use crate::policy::{Policy, State, switched_to_dry_run};
use prefixd_api::problem::{Code, Problem};

impl Engine {
    /// Why a configuration does not come into force as it was asked for.
    pub(super) fn unconfirmed_dry_run(&self, next: &Reload) -> Option<Box<Problem>> {
        unconfirmed_dry_run(
            &self.state,
            &self.parts.announcer,
            &next.policy,
            &next.announce,
            next.expect_count,
        )
    }
}

/// Why a configuration would not come into force in this state as it is asked for.
#[must_use]
pub fn unconfirmed_dry_run(
    state: &State,
    announcer: &Announcer,
    policy: &Policy,
    announce: &[Neighbor],
    expect_count: Option<u64>,
) -> Option<Box<Problem>> {
    let mut parts: Vec<String> = Vec::new();
    let mut affected = 0;
    for (because, count) in switched_to_dry_run(state, policy) {
        parts.push(format!("{count} end because {because}"));
        affected += count;
    }
    let switched = |name: &str| announcer.enforces(name);
    let neighbors: Vec<&str> = announce
        .iter()
        .filter(|neighbor| !neighbor.enforce && switched(&neighbor.name))
        .map(|neighbor| &*neighbor.name)
        .collect();
    if !neighbors.is_empty() {
        let live = state.mitigations.values();
        affected = live
            .filter(|live| live.enforced && live.status.is_announced())
            .count() as u64;
        let names = neighbors.join(" and ");
        parts.push(format!("enforce is false for {names}, where all of them leave"));
    }
    if affected == expect_count.unwrap_or(0) {
        return None;
    }
    let expected = match expect_count {
        Some(expected) => format!(", not {expected}"),
        None => String::new(),
    };
    let what = if parts.is_empty() {
        "nothing is switched to dry-run".to_owned()
    } else {
        parts.join("; ")
    };
    Some(Box::new(Problem::new(
        Code::ConflictExpectCount,
        format!(
            "this reload would take rules of {affected} mitigations off the routers{expected}: {what}. Nothing was changed; \
                 say expect_count: {affected} (prefixdctl reload --expect-count {affected}) if you mean it"
        ),
    )))
}
