//! Detectors, and other POPs that are heard like one.

use super::{NAME, Report, Step, is_name};
use crate::config::playbooks::{self, StepScope};
use crate::config::settings::{Settings, Source};
use crate::event::pop_of_source;

pub(super) fn check(settings: &Settings, report: &mut Report) {
    for (name, source) in &settings.sources {
        report.at("sources", |report| {
            report.path.push(Step::Key(name.clone()));
            report.require(
                "claim_ttl_seconds",
                source.claim_ttl_seconds > 0,
                "must not be 0: every claim would be dead at once",
            );
            let confidence = source.default_confidence.unwrap_or(0.0);
            report.require(
                "default_confidence",
                (0.0..=1.0).contains(&confidence),
                "must be between 0 and 1",
            );
            report.require(
                "weight",
                (0.0..=1.0).contains(&source.weight),
                "must be between 0 and 1",
            );
            if let Some(pop) = pop_of_source(name) {
                of_pop(pop, source, settings, report);
            }
            report.path.pop();
        });
    }
}

/// Seconds that a claim of another POP lives at least.
const SHORTEST_OF_POP: u32 = 10;

/// `pop:NAME`: what the POP of that name offers.
fn of_pop(pop: &str, source: &Source, settings: &Settings, report: &mut Report) {
    if !is_name(pop) {
        report.error(format!("what follows pop: is the name of a POP, which {NAME}"));
    } else if pop == settings.pop {
        report.error("is this POP itself, which hears what the others offer");
    }
    report.require(
        "claim_ttl_seconds",
        source.claim_ttl_seconds >= SHORTEST_OF_POP,
        format!("must be at least {SHORTEST_OF_POP}: offers are looked at once a second, and a claim that dies between two looks would flap"),
    );
    if !is_shared(settings) {
        report.warn(
            "reporting",
            "has no effect: what other POPs offer is in a database that is shared with them, on PostgreSQL",
        );
    }
    if source.domain.is_none() {
        report.warn(
            "domain",
            "is not said: a detector that reports here and at that POP counts as two sources; name the domain of the detectors there",
        );
    }
}

/// `scope: all` of a step.
pub(super) fn offered(step: &playbooks::Step, settings: &Settings, report: &mut Report) {
    if step.scope == StepScope::All && !is_shared(settings) {
        report.warn(
            "scope",
            "is all, but no other POP shares a SQLite file: nobody is told",
        );
    }
}

fn is_shared(settings: &Settings) -> bool {
    !settings.storage.connection_string.starts_with("sqlite:")
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const PLAIN: &str = "pop: iad1\nmode: dry-run\nbgp:\n  local_asn: 65010\n  router_id: 10.0.0.1\n";

    #[test]
    fn of_other_pops_it_is_said_what_would_surprise() {
        let at = |storage: &str, sources: &str| {
            let settings =
                format!("{PLAIN}sources: {{ {sources} }}\nstorage: {{ connection_string: \"{storage}\" }}\n");
            let step = "{ action: police, rate_bps: 5000000, ttl_seconds: 300, scope: all }";
            Config::from_texts(
                &settings,
                "{}",
                &format!("default_playbook: {{ steps: [{step}] }}\n"),
            )
        };
        let warned = |storage: &str, sources: &str| -> Vec<String> {
            let config = at(storage, sources).unwrap();
            let about = |text: &String| text.contains("POP");
            config
                .warnings()
                .iter()
                .map(|warning| warning.message.clone())
                .filter(about)
                .collect()
        };
        let shared = "postgres://prefixd@192.0.2.9/prefixd";
        assert_eq!(warned(shared, "\"pop:fra1\": { domain: flows }"), [""; 0]);
        assert!(warned(shared, "\"pop:fra1\": {}")[0].contains("counts as two sources"));
        assert!(warned("sqlite:x.db", "")[0].contains("nobody is told"));
        assert!(
            warned("sqlite:x.db", "\"pop:fra1\": { domain: flows }")
                .iter()
                .any(|text| text.contains("has no effect"))
        );
        for (source, more, part) in [
            ("pop:iad1", "", "is this POP itself"),
            ("pop:", "", "the name of a POP"),
            ("pop:fra1", ", claim_ttl_seconds: 9", "must be at least 10"),
        ] {
            let errors = at(shared, &format!("\"{source}\": {{ domain: flows{more} }}"))
                .unwrap_err()
                .0;
            assert!(
                errors.len() == 1 && errors[0].to_string().contains(part),
                "{errors:#?}"
            );
        }
    }
}
