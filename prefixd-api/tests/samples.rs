//! The samples of etc/ load, and show every key there is.
#![cfg(feature = "config")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

use prefixd_api::config::{self, Config};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn etc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(etc().join(file)).unwrap()
}

#[test]
fn the_samples_load() {
    let config = config::load(&etc()).unwrap();
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

/// What serde expects where it finds a key that cannot be: every key of that place.
fn keys_of(file: usize, place: &str, texts: &[String; 3]) -> BTreeSet<String> {
    let mut texts = texts.clone();
    texts[file] = place.to_owned();
    let [settings, inventory, playbooks] = &texts;
    let error = Config::from_texts(settings, inventory, playbooks)
        .unwrap_err()
        .to_string();
    let line = error
        .lines()
        .find(|line| line.contains("`no_such_key`"))
        .unwrap_or_else(|| panic!("{place}: {error}"));
    let known = line
        .split("expected ")
        .nth(1)
        .unwrap()
        .split("; did you mean")
        .next()
        .unwrap();
    known
        .trim_start_matches("one of ")
        .split(", ")
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn the_samples_show_every_key() {
    let texts = [
        text(config::SETTINGS),
        text(config::INVENTORY),
        text(config::PLAYBOOKS),
    ];
    let bgp = "pop: a\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n";
    let section = |path: &str| format!("{bgp}{path}");
    let places = [
        (0, section("no_such_key: 1\n")),
        (0, format!("{bgp}  no_such_key: 1\n")),
        (0, format!("{bgp}  neighbors: [{{ no_such_key: 1 }}]\n")),
        (0, section("http: { no_such_key: 1 }\n")),
        (0, section("http: { socket: { no_such_key: 1 } }\n")),
        (0, section("http: { auth: { no_such_key: 1 } }\n")),
        (0, section("http: { auth: { bearer_tokens: [{ no_such_key: 1 }] } }\n")),
        (0, section("http: { rate_limit: { no_such_key: 1 } }\n")),
        (0, section("sources: { x: { no_such_key: 1 } }\n")),
        (0, section("guardrails: { no_such_key: 1 }\n")),
        (0, section("guardrails: { carpet: { no_such_key: 1 } }\n")),
        (0, section("quotas: { no_such_key: 1 }\n")),
        (0, section("quotas: { max_new_per_minute: { no_such_key: 1 } }\n")),
        (0, section("timers: { no_such_key: 1 }\n")),
        (0, section("escalation: { no_such_key: 1 }\n")),
        (0, section("storage: { no_such_key: 1 }\n")),
        (0, section("observability: { no_such_key: 1 }\n")),
        (0, section("safelist: { no_such_key: 1 }\n")),
        (0, section("shutdown: { no_such_key: 1 }\n")),
        (1, "no_such_key: 1\n".to_owned()),
        (1, "customers: [{ no_such_key: 1 }]\n".to_owned()),
        (1, "customers: [{ customer_id: a, name: A, prefixes: [], services: [{ no_such_key: 1 }] }]\n".to_owned()),
        (1, "customers: [{ customer_id: a, name: A, prefixes: [], services: [{ service_id: s, name: S, assets: [{ no_such_key: 1 }] }] }]\n".to_owned()),
        (1, "customers: [{ customer_id: a, name: A, prefixes: [], services: [{ service_id: s, name: S, assets: [], allowed_ports: { no_such_key: 1 } }] }]\n".to_owned()),
        (2, "no_such_key: 1\n".to_owned()),
        (2, "vectors: { x: { no_such_key: 1 } }\n".to_owned()),
        (2, "playbooks: [{ no_such_key: 1 }]\n".to_owned()),
        (2, "playbooks: [{ name: a, match: { no_such_key: 1 } }]\n".to_owned()),
        (2, "playbooks: [{ name: a, match: {}, steps: [{ no_such_key: 1 }] }]\n".to_owned()),
        (2, "default_playbook: { no_such_key: 1 }\n".to_owned()),
    ];
    for (file, place) in places {
        for key in keys_of(file, &place, &texts) {
            let shown = texts[file]
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .any(|word| word == key);
            assert!(shown, "{key} (of {place:?}) is not in the sample");
        }
    }
}
