//! What of the settings leaves the daemon: what is listed here, and nothing else. A new key is hidden until it is listed.
//!
//! Never listed: secrets, where they are kept (`env`, `file`, `password_env`, `password_file`), and the connection string,
//! which may hold a password.

use super::Settings;
use serde_json::Value;

/// Keys as paths; `[]` is any item of a list, `*` any name.
const SHOWN: &[&str] = &[
    "pop",
    "mode",
    "http.listen",
    "http.socket.path",
    "http.socket.mode",
    "http.socket.viewer_group",
    "http.socket.operator_group",
    "http.socket.admin_group",
    "http.auth.mode",
    "http.auth.bearer_tokens[].name",
    "http.auth.bearer_tokens[].role",
    "http.rate_limit.events_per_second",
    "http.rate_limit.burst",
    "bgp.local_asn",
    "bgp.router_id",
    "bgp.listen",
    "bgp.hold_time_seconds",
    "bgp.restart_time_seconds",
    "bgp.canary_seconds",
    "bgp.marker_large_community",
    "bgp.neighbors[].name",
    "bgp.neighbors[].address",
    "bgp.neighbors[].port",
    "bgp.neighbors[].peer_asn",
    "bgp.neighbors[].local_address",
    "bgp.neighbors[].passive",
    "bgp.neighbors[].ttl_security",
    "bgp.neighbors[].graceful_restart",
    "bgp.neighbors[].afi_safi",
    "bgp.neighbors[].rtbh.next_hop",
    "bgp.neighbors[].rtbh.next_hop_v6",
    "bgp.neighbors[].rtbh.communities",
    "bgp.neighbors[].role",
    "bgp.neighbors[].profile",
    "bgp.neighbors[].limits.operators_per_component",
    "bgp.neighbors[].limits.nlri_bytes",
    "bgp.neighbors[].limits.update_bytes",
    "bgp.neighbors[].limits.rules_per_second",
    "bgp.neighbors[].max_rules",
    "bgp.neighbors[].enforce",
    "sources.*.reporting",
    "sources.*.visibility",
    "sources.*.claim_ttl_seconds",
    "sources.*.default_confidence",
    "sources.*.weight",
    "sources.*.domain",
    "sources.*.may_trigger",
    "sources.*.max_action",
    "sources.*.enforce",
    "guardrails.min_ttl_seconds",
    "guardrails.max_ttl_seconds",
    "guardrails.max_ttl_operator_seconds",
    "guardrails.max_lifetime_seconds",
    "guardrails.max_lifetime_operator_seconds",
    "guardrails.dst_prefix_minlen",
    "guardrails.dst_prefix_minlen_v6",
    "guardrails.max_ports",
    "guardrails.max_packet_length",
    "guardrails.min_police_bps",
    "guardrails.require_owned",
    "guardrails.infrastructure_prefixes",
    "guardrails.protected_flows[].name",
    "guardrails.protected_flows[].dst",
    "guardrails.protected_flows[].src",
    "guardrails.protected_flows[].protocol",
    "guardrails.protected_flows[].dst_ports",
    "guardrails.protected_flows[].src_ports",
    "guardrails.carpet.enabled",
    "guardrails.carpet.min_hosts",
    "guardrails.carpet.window_seconds",
    "guardrails.carpet.max_prefix_v4",
    "guardrails.carpet.max_prefix_v6",
    "quotas.max_active_per_customer",
    "quotas.max_active_per_pop",
    "quotas.max_active_global",
    "quotas.max_new_per_minute.pop",
    "quotas.max_new_per_minute.customer",
    "quotas.max_new_per_minute.source",
    "breaker.neighbors_lost",
    "breaker.window_seconds",
    "timers.default_ttl_seconds",
    "timers.correlation_window_seconds",
    "timers.reconciliation_interval_seconds",
    "timers.quiet_period_seconds",
    "timers.hold_down_seconds",
    "timers.suppress_seconds",
    "timers.max_future_skew_seconds",
    "timers.max_event_age_seconds",
    "escalation.enabled",
    "escalation.min_persistence_seconds",
    "escalation.min_confidence",
    "storage.max_connections",
    "storage.retention_days",
    "observability.log_format",
    "observability.log_level",
    "observability.metrics_listen",
    "safelist.prefixes",
    "shutdown.drain_timeout_seconds",
    "shutdown.preserve_announcements",
];

/// Sections whose keys are names that people chose.
const NAMED: &[&str] = &["sources"];

/// The settings as far as they are shown.
///
/// # Errors
/// When they cannot be written as JSON, which is a defect.
pub(super) fn of(settings: &Settings) -> serde_json::Result<Value> {
    let whole = serde_json::to_value(settings)?;
    Ok(shown(whole, "").unwrap_or_default())
}

/// The value at a path as far as it is shown.
fn shown(value: Value, path: &str) -> Option<Value> {
    match value {
        // A list of things that have keys of their own.
        Value::Array(items) if holds_more(path, "[]") => {
            let path = format!("{path}[]");
            let items = items.into_iter().filter_map(|item| shown(item, &path));
            Some(items.collect())
        }
        Value::Object(fields) => {
            let is_named = NAMED.contains(&path);
            let fields = fields.into_iter().filter_map(|(key, value)| {
                let name = if is_named { "*" } else { key.as_str() };
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                Some((key, shown(value, &path)?))
            });
            let fields: serde_json::Map<_, _> = fields.collect();
            (!fields.is_empty() || holds_more(path, ".")).then_some(Value::Object(fields))
        }
        // What has keys may also be absent as a whole.
        Value::Null if holds_more(path, ".") => Some(Value::Null),
        value => SHOWN.contains(&path).then_some(value),
    }
}

fn holds_more(path: &str, joint: &str) -> bool {
    SHOWN.iter().any(|shown| {
        shown
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with(joint))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Texts};
    use super::*;
    use crate::configuration::ConfigFile;
    use std::collections::BTreeSet;

    const SECRET: &str = "planted-0123456789abcdef";

    /// Every key of a value that is there, as paths.
    fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let name = if NAMED.contains(&path) { "*" } else { key.as_str() };
                    let joint = if path.is_empty() { "" } else { "." };
                    paths(value, &format!("{path}{joint}{name}"), found);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items {
                    paths(item, &format!("{path}[]"), found);
                }
            }
            _ => drop(found.insert(path.to_owned())),
        }
    }

    const FULL: &str = "pop: iad1
mode: dry-run
http:
  socket: { path: p.sock }
  auth:
    mode: bearer
    bearer_tokens: [{ name: fnm, file: planted.token, role: detector }]
bgp:
  local_asn: 65010
  router_id: 10.0.0.1
  neighbors:
    - { name: edge1, address: 192.0.2.1, peer_asn: 65010, password_file: planted.md5, rtbh: { next_hop: 192.0.2.254 } }
sources: { fastnetmon: { weight: 0.5 } }
guardrails: { protected_flows: [{ name: dns, protocol: udp, src_ports: [53] }] }
storage: { connection_string: \"postgres://prefixd:planted-0123456789abcdef@192.0.2.9/p\" }
";

    fn loaded() -> Config {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("prefixd.yaml", FULL),
            ("inventory.yaml", "{}"),
            ("playbooks.yaml", "{}"),
            ("planted.token", SECRET),
            ("planted.md5", SECRET),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        Texts::read(dir.path(), None).unwrap().load(dir.path()).unwrap()
    }

    #[test]
    fn no_secret_and_no_place_of_one_is_shown() {
        let config = loaded();
        let settings = &config.settings;
        let secrets = [
            settings.http.auth.bearer_tokens[0].secret.expose(),
            settings.bgp.neighbors[0].password.as_ref().unwrap().expose(),
            &settings.storage.connection_string,
        ];
        assert!(
            secrets.iter().all(|secret| secret.contains(SECRET)),
            "planted in each"
        );
        let told = config.shown_settings().unwrap().to_string();
        for hidden in [SECRET, "planted", "postgres", "password", "env", "file"] {
            assert!(
                !told.contains(&format!("\"{hidden}")) && !told.contains(SECRET),
                "{hidden}: {told}"
            );
        }
        assert!(told.contains("edge1") && told.contains("fnm"), "{told}");
    }

    /// A key that is added is hidden; whoever adds it decides here whether it stays so.
    #[test]
    fn every_key_is_listed_as_shown_or_known_as_hidden() {
        let config = loaded();
        let (mut all, mut told) = (BTreeSet::new(), BTreeSet::new());
        paths(&serde_json::to_value(&config.settings).unwrap(), "", &mut all);
        paths(&config.shown_settings().unwrap(), "", &mut told);
        let hidden: Vec<_> = all.difference(&told).map(String::as_str).collect();
        assert_eq!(
            hidden,
            [
                "bgp.neighbors[].password_env",
                "bgp.neighbors[].password_file",
                "http.auth.bearer_tokens[].env",
                "http.auth.bearer_tokens[].file",
                "storage.connection_string",
            ]
        );
        let listed: BTreeSet<String> = SHOWN.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(
            told, listed,
            "what is listed is there, and what is there is listed"
        );
    }

    #[test]
    fn what_is_switched_off_as_a_whole_is_shown_so() {
        let text = "pop: a\nmode: dry-run\nhttp: { socket: null }\nbgp: { local_asn: 1, router_id: 10.0.0.1, listen: null }\n";
        let config = Config::from_texts(text, "{}", "{}").unwrap();
        let told = config.shown_settings().unwrap();
        assert_eq!(told["http"]["socket"], Value::Null);
        assert!(told["http"].as_object().unwrap().contains_key("socket"));
        assert_eq!(told["bgp"]["neighbors"], serde_json::json!([]));
        assert_eq!(config.version(ConfigFile::Inventory).len(), 64);
    }
}
