//! A reload that switches something to dry-run takes rules off routers. That is never done by the way: somebody must have
//! said how many.

use super::Engine;
use super::run::Reload;
use crate::policy::switched_to_dry_run;
use prefixd_api::problem::{Code, Problem};

impl Engine {
    /// Why a configuration does not come into force as it was asked for.
    pub(super) fn unconfirmed_dry_run(&self, next: &Reload) -> Option<Box<Problem>> {
        let mut parts: Vec<String> = Vec::new();
        let mut affected = 0;
        for (because, count) in switched_to_dry_run(&self.state, &next.policy) {
            parts.push(format!("{count} end because {because}"));
            affected += count;
        }
        let announcer = &self.parts.announcer;
        let switched = |name: &str| announcer.enforces(name);
        let neighbors: Vec<&str> = next
            .announce
            .iter()
            .filter(|neighbor| !neighbor.enforce && switched(&neighbor.name))
            .map(|neighbor| &*neighbor.name)
            .collect();
        if !neighbors.is_empty() {
            let live = self.state.mitigations.values();
            affected = live
                .filter(|live| live.enforced && live.status.is_announced())
                .count() as u64;
            let names = neighbors.join(" and ");
            parts.push(format!("enforce is false for {names}, where all of them leave"));
        }
        if affected == next.expect_count.unwrap_or(0) {
            return None;
        }
        let expected = match next.expect_count {
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
}
