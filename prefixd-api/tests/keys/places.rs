//! Every key there is, as the parser itself lists them.

use prefixd_api::config::{self, Config};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The samples: prefixd.yaml, inventory.yaml, playbooks.yaml.
pub(crate) fn samples() -> [String; 3] {
    [config::SETTINGS, config::INVENTORY, config::PLAYBOOKS]
        .map(|file| std::fs::read_to_string(root().join("etc").join(file)).unwrap())
}

/// Where keys can be.
pub(crate) struct Place {
    /// Which of the three files.
    pub(crate) file: usize,
    /// The keys above, dotted; lists and names that people choose are left out.
    pub(crate) path: &'static str,
    /// A file with a key there that cannot be.
    text: String,
}

const BGP: &str = "pop: a\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n";
const WRONG: &str = "{ no_such_key: 1 }";

pub(crate) fn places() -> Vec<Place> {
    let settings = |path, text: &str| Place {
        file: 0,
        path,
        text: format!("{BGP}{text}\n"),
    };
    let inventory = |path, text: &str| Place {
        file: 1,
        path,
        text: format!("{text}\n"),
    };
    let playbooks = |path, text: &str| Place {
        file: 2,
        path,
        text: format!("{text}\n"),
    };
    let neighbor = |path, key: &str| {
        let text = format!("  neighbors: [{{ name: a, address: 192.0.2.1, peer_asn: 1, {key}: {WRONG} }}]");
        settings(path, &text)
    };
    let customer = |path, rest: &str| {
        let text = format!("customers: [{{ customer_id: a, name: A, prefixes: [], {rest} }}]");
        inventory(path, &text)
    };
    let service =
        |path, rest: &str| customer(path, &format!("services: [{{ service_id: s, name: S, {rest} }}]"));
    let mut places = vec![
        settings("", "no_such_key: 1"),
        settings("bgp", "  no_such_key: 1"),
        settings("bgp.neighbors", &format!("  neighbors: [{WRONG}]")),
        neighbor("bgp.neighbors.rtbh", "rtbh"),
        neighbor("bgp.neighbors.limits", "limits"),
        settings("sources", &format!("sources: {{ x: {WRONG} }}")),
        settings(
            "guardrails.protected_flows",
            &format!("guardrails: {{ protected_flows: [{WRONG}] }}"),
        ),
        settings(
            "http.auth.bearer_tokens",
            &format!("http: {{ auth: {{ bearer_tokens: [{WRONG}] }} }}"),
        ),
        inventory("", "no_such_key: 1"),
        inventory("customers", &format!("customers: [{WRONG}]")),
        customer("customers.services", &format!("services: [{WRONG}]")),
        service("customers.services.assets", &format!("assets: [{WRONG}]")),
        service(
            "customers.services.allowed_ports",
            &format!("assets: [], allowed_ports: {WRONG}"),
        ),
        playbooks("", "no_such_key: 1"),
        playbooks("vectors", &format!("vectors: {{ x: {WRONG} }}")),
        playbooks("playbooks", &format!("playbooks: [{WRONG}]")),
        playbooks(
            "playbooks.match",
            &format!("playbooks: [{{ name: a, match: {WRONG} }}]"),
        ),
        playbooks(
            "playbooks.steps",
            &format!("playbooks: [{{ name: a, match: {{}}, steps: [{WRONG}] }}]"),
        ),
        playbooks("default_playbook", &format!("default_playbook: {WRONG}")),
    ];
    for path in [
        "http",
        "http.socket",
        "http.auth",
        "http.rate_limit",
        "guardrails",
        "guardrails.carpet",
        "quotas",
        "quotas.max_new_per_minute",
        "breaker",
        "timers",
        "escalation",
        "storage",
        "observability",
        "safelist",
        "shutdown",
    ] {
        let around = path.replace('.', ": { ");
        let ends = " }".repeat(path.matches('.').count());
        places.push(settings(path, &format!("{around}: {WRONG}{ends}")));
    }
    places
}

/// What the parser expects where it finds a key that cannot be: every key of that place.
pub(crate) fn keys_of(place: &Place, samples: &[String; 3]) -> BTreeSet<String> {
    let mut texts = samples.clone();
    texts[place.file].clone_from(&place.text);
    let [settings, inventory, playbooks] = &texts;
    let error = Config::from_texts(settings, inventory, playbooks)
        .unwrap_err()
        .to_string();
    let line = error
        .lines()
        .find(|line| line.contains("`no_such_key`"))
        .unwrap_or_else(|| panic!("{}: {error}", place.text));
    let known = line
        .split("expected ")
        .nth(1)
        .unwrap()
        .split("; did you mean")
        .next()
        .unwrap();
    known
        .trim_start_matches("one of ")
        .split([',', ' '])
        .map(|key| key.trim_matches('`').to_owned())
        .filter(|key| !key.is_empty() && key != "or")
        .collect()
}

/// Every key as a dotted path, without those that only hold others.
pub(crate) fn keys() -> BTreeSet<String> {
    let (samples, places) = (samples(), places());
    let mut keys = BTreeSet::new();
    for place in &places {
        for key in keys_of(place, &samples) {
            keys.insert(match place.path {
                "" => key,
                path => format!("{path}.{key}"),
            });
        }
    }
    keys.retain(|key| places.iter().all(|place| place.path != key));
    keys
}
