use super::*;

const PLAIN: &str = "pop: iad1\nmode: dry-run\nbgp:\n  local_asn: 65010\n  router_id: 10.0.0.1\n";

fn mistakes(settings: &str, inventory: &str, playbooks: &str) -> Vec<String> {
    match Config::from_texts(settings, inventory, playbooks) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn one(mistakes: &[String], place: &str, part: &str) {
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    assert!(
        mistakes[0].starts_with(place) && mistakes[0].contains(part),
        "{}",
        mistakes[0]
    );
}

#[test]
fn the_least_that_works() {
    let config = Config::from_texts(PLAIN, "{}", "{}").unwrap();
    assert_eq!(config.settings.quotas.max_new_per_minute.source, 30);
    assert_eq!(config.settings.guardrails.min_ttl_seconds, 60);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one() {
    let text = format!("{PLAIN}timers:\n  hold_down_secnods: 5\n");
    one(
        &mistakes(&text, "{}", "{}"),
        "prefixd.yaml:7:",
        "did you mean `hold_down_seconds`?",
    );
}

#[test]
fn all_documents_are_checked_at_once() {
    let found = mistakes(
        &format!("{PLAIN}quotas: 7\n"),
        "customers: x\n",
        "playbooks: [{}]\n",
    );
    let files: Vec<_> = found
        .iter()
        .map(|mistake| mistake.split(':').next().unwrap())
        .collect();
    assert_eq!(files, [SETTINGS, INVENTORY, PLAYBOOKS]);
}

#[test]
fn settings_that_are_refused() {
    for (text, place, part) in [
        (
            "safelist: { prefixes: [\"10.0.0.0/8\", \"192.0.2.1/24\"] }\n",
            "prefixd.yaml:6:38",
            "did you mean 192.0.2.0/24",
        ),
        (
            "safelist: { prefixes: [\"0.0.0.0/0\"] }\n",
            "prefixd.yaml:6:",
            "protect everything",
        ),
        (
            "http: { listen: [\"0.0.0.0:8080\"] }\n",
            "prefixd.yaml:6:",
            "everybody be admin",
        ),
        ("http: { auth: { mode: mtls } }\n", "prefixd.yaml:6:", "mtls"),
        (
            "http: { listen: [\"127.0.0.1:179\"] }\n",
            "prefixd.yaml:",
            "0.0.0.0:179 is taken by http.listen",
        ),
        (
            "observability: { metrics_listen: \"127.0.0.1:8080\" }\n",
            "prefixd.yaml:6:",
            "taken by http.listen",
        ),
        (
            "http: { listen: [\"127.0.0.1:0\"] }\n",
            "prefixd.yaml:6:",
            "no port",
        ),
        (
            "storage: { connection_string: \"sqlite:\" }\n",
            "prefixd.yaml:6:",
            "names no file",
        ),
        (
            "safelist: { prefixes: [\"::/8\"] }\n",
            "prefixd.yaml:6:",
            "IPv4 would not be protected",
        ),
        (
            "safelist: { prefixes: [\"10.0.0.0/8\", x] }\n",
            "prefixd.yaml:6:38",
            "neither a prefix such as",
        ),
        (
            "http: { auth: { mode: bearer } }\n",
            "prefixd.yaml:6:",
            "nobody could come in",
        ),
        (
            "http: { auth: { mode: bearer, bearer_tokens: [{ name: a, role: viewer }] } }\n",
            "prefixd.yaml:6:",
            "needs env or file",
        ),
        (
            "guardrails: { min_ttl_seconds: 0 }\n",
            "prefixd.yaml:6:32",
            "must not be 0",
        ),
        (
            "guardrails: { max_packet_length: 9217 }\n",
            "prefixd.yaml:6:",
            "9216",
        ),
        (
            "guardrails: { carpet: { min_hosts: 2 } }\n",
            "prefixd.yaml:6:",
            "one by one",
        ),
        (
            "guardrails: { dst_prefix_minlen: 28, carpet: { enabled: true } }\n",
            "prefixd.yaml:6:34",
            "is 28, and carpet makes rules of prefixes down to /24",
        ),
        (
            "guardrails: { dst_prefix_minlen_v6: 96, carpet: { enabled: true, max_prefix_v6: 80 } }\n",
            "prefixd.yaml:6:37",
            "is 96, and carpet makes rules of prefixes down to /80",
        ),
        (
            "guardrails: { carpet: { max_prefix_v4: 8 } }\n",
            "prefixd.yaml:6:",
            "16 to 30",
        ),
        (
            "guardrails: { carpet: { max_prefix_v4: 30 } }\n",
            "prefixd.yaml:6:",
            "fewer addresses than min_hosts",
        ),
        (
            "storage: { connection_string: \"mysql://x\" }\n",
            "prefixd.yaml:6:",
            "sqlite:",
        ),
        (
            "sources: { fnm: { weight: 7 } }\n",
            "prefixd.yaml:6:",
            "between 0 and 1",
        ),
    ] {
        one(&mistakes(&format!("{PLAIN}{text}"), "{}", "{}"), place, part);
    }
}

#[test]
fn neighbours_that_are_refused() {
    let neighbors = |lines: &str| {
        format!(
            "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  listen: null\n  neighbors:\n{lines}"
        )
    };
    for (lines, part) in [
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 1 }\n    - { name: a, address: 192.0.2.2, peer_asn: 1 }\n",
            "there twice",
        ),
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 1 }\n    - { name: b, address: 192.0.2.1, peer_asn: 1 }\n",
            "another neighbour's",
        ),
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 0 }\n",
            "must not be 0",
        ),
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 1, passive: true }\n",
            "bgp.listen is null",
        ),
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 1, local_address: \"::1\" }\n",
            "different families",
        ),
        (
            "    - { name: a, address: 0.0.0.0, peer_asn: 1 }\n",
            "no address of a router",
        ),
        (
            "    - { name: a, address: \"ff02::1\", peer_asn: 1 }\n",
            "no address of a router",
        ),
        (
            "    - { name: a, address: 192.0.2.1, port: 0, peer_asn: 1 }\n",
            "port: must not be 0",
        ),
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 1, max_rules: 0 }\n",
            "enforce: false",
        ),
        (
            "    - { name: a, address: 192.0.2.1, peer_asn: 1, afi_safi: [] }\n",
            "is empty",
        ),
    ] {
        one(&mistakes(&neighbors(lines), "{}", "{}"), "prefixd.yaml:", part);
    }
}

#[test]
fn enforcing_needs_a_marker() {
    let text = PLAIN.replace("dry-run", "enforced");
    one(
        &mistakes(&text, "{}", "{}"),
        "prefixd.yaml:",
        "marker_large_community",
    );
    let bad = format!("{text}  marker_large_community: \"1:2\"\n");
    one(
        &mistakes(&bad, "{}", "{}"),
        "prefixd.yaml:6:",
        "no large community",
    );
}

#[test]
fn inventories_that_are_refused() {
    let customer = |prefix: &str, rest: &str| {
        format!(
            "customers:\n  - {{ customer_id: a, name: A, prefixes: [\"192.0.2.0/24\"] }}\n  - {{ customer_id: b, name: B, prefixes: [\"{prefix}\"]{rest} }}\n"
        )
    };
    let assets = |asset: &str| format!(", services: [{{ service_id: s, name: S, assets: [{asset}] }}]");
    for (text, part) in [
        (customer("192.0.2.0/24", ""), "belongs to a already"),
        (customer("198.51.100.1/24", ""), "host bits"),
        (
            customer("198.51.100.0/24", &assets("{ ip: 203.0.113.1 }")),
            "in no prefix of b",
        ),
        (
            customer(
                "198.51.100.0/24",
                &assets("{ ip: 198.51.100.9, range_end: 198.51.101.1 }"),
            ),
            "leaves the prefix",
        ),
        (
            customer(
                "198.51.100.0/24",
                &assets("{ ip: 198.51.100.9, range_end: 198.51.100.1 }"),
            ),
            "not before ip",
        ),
    ] {
        one(&mistakes(PLAIN, &text, "{}"), "inventory.yaml:3:", part);
    }
}

#[test]
fn playbooks_that_are_refused() {
    let playbook = |vector: &str, steps: &str| {
        format!("playbooks:\n  - name: p\n    match: {{ vector: {vector} }}\n    steps: [{steps}]\n")
    };
    for (text, part) in [
        (playbook("udp_flood", "{ action: police }"), "needs rate_bps"),
        (
            playbook("udp_flood", "{ action: police, rate_bps: 5 }"),
            "below min_police_bps",
        ),
        (
            playbook("udp_flood", "{ action: discard, rate_bps: 5000000 }"),
            "belongs to police",
        ),
        (playbook("udp_flood", ""), "at least one step"),
        (playbook("ack_flood", "{ action: discard }"), "never allowed"),
        (playbook("unknown", "{ action: discard }"), "never allowed"),
        (
            playbook("quic_flod", "{ action: discard }"),
            "neither built in nor in vectors",
        ),
        (
            playbook("udp_flood", "{ action: discard, on_allowed_port: include }"),
            "drop the service",
        ),
        (
            playbook("udp_flood", "{ action: discard, allow_host_wide: true }"),
            "police only",
        ),
        (
            playbook("udp_flood", "{ action: discard, ttl_seconds: 5 }"),
            "outside of the guardrails",
        ),
        (
            playbook(
                "udp_flood",
                "{ action: police, rate_bps: 5000000, ttl_seconds: 100 }, { action: discard, require_persistence_seconds: 100 }",
            ),
            "never be reached",
        ),
        (
            playbook(
                "udp_flood",
                "{ action: police, rate_bps: 5000000, de_escalate_after_seconds: 600 }",
            ),
            "no step before the first",
        ),
        (
            playbook(
                "udp_flood",
                "{ action: police, rate_bps: 5000000, require_sources: 0 }",
            ),
            "must be 1 to 16",
        ),
        (
            playbook(
                "udp_flood",
                "{ action: police, rate_bps: 5000000, ttl_seconds: 900 }, { action: discard, require_persistence_seconds: 700, de_escalate_after_seconds: 600 }",
            ),
            "it would come and go",
        ),
        (
            playbook(
                "udp_flood",
                "{ action: police, rate_bps: 5000000 }, { action: discard, de_escalate_after_seconds: 299 }",
            ),
            "quiet_period_seconds",
        ),
        (
            playbook(
                "udp_flood",
                "{ action: discard }, { action: police, rate_bps: 5000000, de_escalate_after_seconds: 600 }",
            ),
            "which is stricter than police",
        ),
        (
            "vectors: { quic: { protocol: udp, max_action: discard } }\n".to_owned(),
            "drops all of it",
        ),
        (
            "vectors: { x: { protocol: icmp, dst_ports: [5] } }\n".to_owned(),
            "has no ports",
        ),
        (
            "vectors: { x: { protocol: udp, packet_lengths: [\"100-9999\"] } }\n".to_owned(),
            "max_packet_length",
        ),
        (
            "vectors: { x: { protocol: udp, dst_ports: [\"0-65535\"] } }\n".to_owned(),
            "says nothing",
        ),
        (
            "vectors: { x: { protocol: udp, dst_ports: [\"1-65535\"], max_action: discard } }\n".to_owned(),
            "drops all of it",
        ),
        (
            "vectors: { x: { protocol: udp, src_ports: [1, 3, 5, 7, 9, 11, 13, \"20-30\"] } }\n".to_owned(),
            "costs 9 terms",
        ),
        (
            "vectors: { x: { protocol: udp, packet_lengths: [1, 3, 5, 7, 9, 11, 13, \"20-30\"] } }\n"
                .to_owned(),
            "costs 9 terms",
        ),
        (playbook("udp_flood", "{ action: redirect_ip }"), "redirect_ip"),
    ] {
        one(&mistakes(PLAIN, "{}", &text), "playbooks.yaml:", part);
    }
}

#[test]
fn what_can_never_act_is_a_warning() {
    let inventory = "customers:\n  - { customer_id: acme, name: A, prefixes: [192.0.2.0/24], services: [{ service_id: web, name: W, assets: [] }] }\n  - { customer_id: other, name: O, prefixes: [198.51.100.9] }\n";
    let warnings = |settings: &str, matches: &str| {
        let playbooks = format!(
            "playbooks:\n  - {{ name: p, match: {{ {matches} }}, steps: [{{ action: police, rate_bps: 5000000 }}] }}\n"
        );
        let config = Config::from_texts(&format!("{PLAIN}{settings}"), inventory, &playbooks).unwrap();
        config
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let usual = warnings("", "customer_id: acme, service_id: web").len();
    for (settings, matches, part) in [
        ("", "customer_id: amce", "\"amce\" is no customer"),
        ("", "service_id: wbe", "\"wbe\" is no service"),
        (
            "",
            "customer_id: other, service_id: web",
            "no service of inventory.yaml there",
        ),
        (
            "http: { rate_limit: { burst: 99 } }\n",
            "service_id: web",
            "below 100",
        ),
        (
            "http: { socket: { mode: \"0660\" } }\n",
            "service_id: web",
            "admin_group alone cannot",
        ),
    ] {
        let found = warnings(settings, matches);
        assert!(
            found.len() == usual + 1 && found.iter().any(|warning| warning.contains(part)),
            "{found:#?}"
        );
    }
}

#[test]
fn what_keeps_rules_is_bounded_and_questioned() {
    let config = |bgp: &str, neighbor: &str, rest: &str| {
        let text = format!(
            "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n{bgp}  neighbors:\n    - {{ name: r, address: 192.0.2.1, peer_asn: 1{neighbor} }}\n{rest}"
        );
        Config::from_texts(&text, "{}", "{}")
    };
    let plain = config("", "", "").unwrap();
    assert_eq!(plain.settings.bgp.restart_time_seconds, 120);
    assert!(!plain.settings.bgp.neighbors[0].graceful_restart);
    assert!(!plain.settings.shutdown.preserve_announcements);
    for seconds in [0, 121] {
        let refused = config(&format!("  restart_time_seconds: {seconds}\n"), "", "").unwrap_err();
        assert!(refused.to_string().contains("must be 1 to 120"), "{refused}");
    }
    let restart = ", graceful_restart: true";
    let preserve = "shutdown: { preserve_announcements: true }\n";
    for (bgp, neighbor, rest, warned) in [
        ("  restart_time_seconds: 1\n", restart, preserve, None),
        ("", "", preserve, Some("every stop takes all rules")),
        (
            "",
            ", graceful_restart: true, profile: frr",
            "",
            Some("FRR 8.4.4 was measured to drop"),
        ),
        ("", ", graceful_restart: true, profile: bird", "", None),
        ("  hold_time_seconds: 91\n", "", "", Some("is more than 90")),
    ] {
        let warnings = config(bgp, neighbor, rest).unwrap();
        let warnings: Vec<_> = warnings.warnings().iter().map(ToString::to_string).collect();
        let usual = plain.warnings().len();
        assert_eq!(
            warnings.len(),
            usual + usize::from(warned.is_some()),
            "{warnings:#?}"
        );
        assert!(
            warned.is_none_or(|part| warnings.iter().any(|it| it.contains(part))),
            "{warnings:#?}"
        );
    }
}

#[test]
fn nothing_is_blackholed_towards_a_customer_or_on_suspicion() {
    let settings = |rtbh: &str| {
        format!(
            "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  neighbors:\n    - {{ name: r, address: 192.0.2.1, peer_asn: 1, afi_safi: [ipv4-unicast]{rtbh} }}\n"
        )
    };
    let inventory =
        "customers:\n  - { customer_id: acme, name: A, prefixes: [198.51.100.0/24], services: [] }\n";
    let step = |vector: &str, more: &str| {
        format!(
            "playbooks:\n  - {{ name: p, match: {{ vector: {vector} }}, steps: [{{ action: rtbh, ttl_seconds: 300{more} }}] }}\n"
        )
    };
    let load = |rtbh: &str, playbooks: &str| Config::from_texts(&settings(rtbh), inventory, playbooks);
    let good = ", rtbh: { next_hop: 192.0.2.254, communities: [\"65010:666\"] }";
    let plain = load(good, &step("udp_flood", "")).unwrap();
    assert!(
        !plain
            .warnings()
            .iter()
            .any(|warning| warning.message.contains("rtbh"))
    );
    let untold = load("", &step("udp_flood", "")).unwrap();
    assert!(
        untold
            .warnings()
            .iter()
            .any(|warning| warning.message.contains("nobody would be told"))
    );
    let owned = ", rtbh: { next_hop: 198.51.100.9 }";
    for (rtbh, playbooks, part) in [
        (owned, step("udp_flood", ""), "an address of customer acme"),
        (good, step("ack_flood", ""), "rtbh is never allowed for ack_flood"),
        (good, step("unknown", ""), "rtbh is never allowed for unknown"),
        (good, step("udp_flood", ", sample: true"), "samples nothing"),
        (
            good,
            step("udp_flood", ", rate_bps: 5000000"),
            "belongs to police, not to rtbh",
        ),
        (
            good,
            step("udp_flood", ", on_allowed_port: include"),
            "include with rtbh",
        ),
        (
            good,
            step("udp_flood", ", allow_host_wide: true"),
            "is for police only",
        ),
    ] {
        let told = load(rtbh, &playbooks).unwrap_err().to_string();
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_step_that_could_never_become_a_blackhole_is_refused() {
    let settings = |families: &str, source: &str| {
        format!(
            "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  neighbors:\n    - {{ name: r, address: 192.0.2.1, peer_asn: 1, afi_safi: [{families}], rtbh: {{ next_hop: 192.0.2.254 }} }}\nsources:\n  fnm: {{ max_action: {source} }}\n"
        )
    };
    let step = |matches: &str, action: &str| {
        format!(
            "vectors:\n  game: {{ protocol: udp, dst_ports: [9], max_action: discard }}\n  hole: {{ protocol: udp, dst_ports: [9], max_action: rtbh }}\nplaybooks:\n  - {{ name: p, match: {{ {matches} }}, steps: [{{ action: {action}, allow_rtbh: true, ttl_seconds: 300 }}] }}\n"
        )
    };
    let load = |families: &str, source: &str, playbooks: &str| {
        Config::from_texts(&settings(families, source), "{}", playbooks)
    };
    for (matches, action, part) in [
        ("vector: udp_flood", "rtbh", "belongs to discard, not to rtbh"),
        (
            "vector: udp_flood",
            "police, rate_bps: 5000000",
            "belongs to discard, not to police",
        ),
        ("vector: gre_flood", "discard", "is policed whatever a step says"),
        ("vector: manual", "discard", "is policed whatever a step says"),
        (
            "vector: game",
            "discard",
            "needs max_action: rtbh in vectors.game, which says discard",
        ),
        (
            "source: other",
            "discard",
            "needs max_action: rtbh of source \"other\", which has discard",
        ),
    ] {
        let told = load("ipv4-unicast", "rtbh", &step(matches, action))
            .unwrap_err()
            .to_string();
        assert!(told.contains("allow_rtbh") && told.contains(part), "{told}");
    }
    let warned = |families: &str, source: &str, matches: &str| {
        let config = load(families, source, &step(matches, "discard")).unwrap();
        let messages = config.warnings().iter().map(ToString::to_string);
        messages
            .filter(|message| message.contains("allow_rtbh"))
            .collect::<Vec<_>>()
    };
    for good in ["vector: udp_flood", "vector: hole", "source: fnm"] {
        assert_eq!(
            warned("ipv6-flowspec, ipv4-unicast", "rtbh", good),
            Vec::<String>::new()
        );
    }
    assert!(
        warned("ipv4-unicast", "discard", "vector: udp_flood")[0].contains("only what operators ask for")
    );
    assert!(
        warned("ipv4-flowspec, ipv4-unicast", "rtbh", "vector: udp_flood")[0].contains("nothing is given up")
    );
}

#[test]
fn a_bound_of_prefixes_that_the_carpet_keeps_is_taken() {
    for guardrails in [
        "carpet: { enabled: true }",
        "dst_prefix_minlen: 24, dst_prefix_minlen_v6: 64, carpet: { enabled: true }",
        "dst_prefix_minlen: 28, carpet: { enabled: true, max_prefix_v4: 28 }",
        "dst_prefix_minlen: 28",
    ] {
        let text = format!("{PLAIN}guardrails: {{ {guardrails} }}\n");
        assert!(Config::from_texts(&text, "{}", "{}").is_ok(), "{guardrails}");
    }
}

#[test]
fn prefixes_may_be_addresses_and_mapped() {
    let text = format!("{PLAIN}safelist: {{ prefixes: [10.0.0.1, \"::ffff:10.1.0.0/112\"] }}\n");
    let prefixes = Config::from_texts(&text, "{}", "{}")
        .unwrap()
        .settings
        .safelist
        .prefixes;
    let written: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["10.0.0.1/32", "10.1.0.0/16"]);
}

#[test]
fn each_token_that_cannot_be_used_is_named_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let settings = format!(
        "{PLAIN}http:\n  auth:\n    mode: bearer\n    bearer_tokens:\n      - {{ name: a, file: a.token, role: viewer }}\n      - {{ name: b, file: b.token, role: admin }}\n      - {{ name: c, file: c.token, role: admin }}\n"
    );
    for (file, text) in [
        (SETTINGS, settings.as_str()),
        (INVENTORY, "{}"),
        (PLAYBOOKS, "{}"),
        ("a.token", "0123456789abcdef\n"),
        ("b.token", "0123456789abcdef"),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let errors = load(dir.path()).unwrap_err().0;
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told[0].starts_with("prefixd.yaml:11:")
            && told[0].contains("token \"b\" is the same as that of \"a\""),
        "{}",
        told[0]
    );
    assert!(
        told[1].starts_with("prefixd.yaml:12:") && told[1].contains("c.token"),
        "{}",
        told[1]
    );
}

#[test]
fn a_token_is_taken_from_its_file_or_variable() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        std::env::var_os("CARGO_PKG_DESCRIPTION").is_some(),
        "cargo sets it; a test that is run by hand needs it as well"
    );
    // One that cargo sets, and is long enough.
    let settings = format!(
        "{PLAIN}http:\n  auth:\n    mode: bearer\n    bearer_tokens:\n      - {{ name: a, file: a.token, role: viewer }}\n      - {{ name: b, env: CARGO_PKG_DESCRIPTION, role: detector }}\n"
    );
    for (file, text) in [
        (SETTINGS, settings.as_str()),
        (INVENTORY, "{}"),
        (PLAYBOOKS, "{}"),
        ("a.token", "0123456789abcdef\n"),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let tokens = load(dir.path()).unwrap().settings.http.auth.bearer_tokens;
    let secrets: Vec<_> = tokens.iter().map(|token| token.secret.expose()).collect();
    assert_eq!(secrets, ["0123456789abcdef", env!("CARGO_PKG_DESCRIPTION")]);
}

/// What is for people alone is kept for them: documents are written anew when they are changed through the API.
#[test]
fn what_is_for_people_is_in_the_document() {
    let text = "customers: [{ customer_id: a, name: A corp, prefixes: [192.0.2.0/24], services: [{ service_id: s, name: Names, assets: [{ ip: 192.0.2.1, role: resolver }] }] }]\n";
    let inventory = Config::from_texts(PLAIN, text, "{}").unwrap().inventory;
    let document = serde_json::to_value(inventory).unwrap();
    let customer = &document["customers"][0];
    let service = &customer["services"][0];
    assert_eq!(
        [&customer["name"], &service["name"], &service["assets"][0]["role"]],
        ["A corp", "Names", "resolver"]
    );
}

#[test]
fn each_password_that_cannot_be_used_is_named_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let neighbor = |name: &str, number: u8, password: &str| {
        format!("    - {{ name: {name}, address: 192.0.2.{number}, peer_asn: 1, {password} }}\n")
    };
    let settings = [
        "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  neighbors:\n",
        &neighbor("good", 1, "password_file: good.md5, ttl_security: true"),
        &neighbor("variable", 2, "password_env: CARGO_PKG_NAME"),
        &neighbor("absent", 3, "password_file: absent.md5"),
        &neighbor("unset", 4, "password_env: PREFIXD_TEST_NO_SUCH_KEY"),
        &neighbor("both", 5, "password_env: A, password_file: good.md5"),
        &neighbor("empty", 6, "password_file: empty.md5"),
        &neighbor("long", 7, "password_file: long.md5"),
    ]
    .concat();
    let (longest, too_long) = ("k".repeat(80), "k".repeat(81));
    for (file, text) in [
        (INVENTORY, "{}"),
        (PLAYBOOKS, "{}"),
        ("good.md5", &format!("{longest}\r\n")),
        ("empty.md5", "\n"),
        ("long.md5", &too_long),
        (SETTINGS, &settings),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let errors = load(dir.path()).unwrap_err().0;
    let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 5, "{told:#?}");
    for (told, (line, parts)) in told.iter().zip([
        (9, ["\"absent\"", "absent.md5"]),
        (10, ["\"unset\"", "PREFIXD_TEST_NO_SUCH_KEY is not set"]),
        (11, ["\"both\"", "keep one"]),
        (12, ["\"empty\"", "has 0 bytes"]),
        (13, ["\"long\"", "has 81 bytes"]),
    ]) {
        assert!(
            told.starts_with(&format!("prefixd.yaml:{line}:7: bgp.neighbors["))
                && parts.iter().all(|part| told.contains(part))
                && !told.contains("kkk"),
            "{told}"
        );
    }

    let good = settings.lines().take(8).collect::<Vec<_>>().join("\n");
    std::fs::write(dir.path().join(SETTINGS), good).unwrap();
    let neighbors = load(dir.path()).unwrap().settings.bgp.neighbors;
    let keys: Vec<_> = neighbors
        .iter()
        .map(|neighbor| neighbor.password.as_ref().map(super::secret::Secret::expose))
        .collect();
    assert_eq!(keys, [Some(longest.as_str()), Some(env!("CARGO_PKG_NAME"))]);
    assert_eq!(
        (neighbors[0].ttl_security, neighbors[1].ttl_security),
        (true, false)
    );
    assert!(!format!("{neighbors:?}").contains("kkk"), "a key is never shown");
}

#[test]
fn only_a_restart_changes_some_keys() {
    let running = Config::from_texts(PLAIN, "{}", "{}").unwrap().settings;
    let keys = |text: &str| {
        let next = Config::from_texts(text, "{}", "{}").unwrap().settings;
        next.needs_restart(&running)
    };
    let reloads = format!(
        "{PLAIN}  hold_time_seconds: 9\n  restart_time_seconds: 60\n  marker_large_community: \"1:2:3\"\ntimers: {{ hold_down_seconds: 1 }}\n\
         http:\n  auth: {{ mode: bearer, bearer_tokens: [{{ name: a, env: A, role: viewer }}] }}\n  \
         rate_limit: {{ burst: 200 }}\nobservability: {{ log_level: debug }}\nshutdown: {{ drain_timeout_seconds: 1, preserve_announcements: true }}\n"
    );
    assert_eq!(
        keys(&reloads),
        [""; 0],
        "docs/configuration.md says which keys need a restart"
    );
    let all = PLAIN
        .replace("iad1", "fra1")
        .replace("dry-run", "enforced")
        .replace("local_asn: 65010", "local_asn: 65011")
        .replace("10.0.0.1", "10.0.0.2");
    let all = format!(
        "{all}  marker_large_community: \"1:2:3\"\n  listen: null\n\
         http: {{ listen: [\"127.0.0.1:8081\"], socket: null }}\nstorage: {{ max_connections: 3 }}\n\
         observability: {{ log_format: text, metrics_listen: \"127.0.0.1:9100\" }}\n"
    );
    let expected = [
        "pop",
        "mode",
        "http.listen",
        "http.socket",
        "bgp.local_asn",
        "bgp.router_id",
        "bgp.listen",
        "storage",
        "observability.log_format",
        "observability.metrics_listen",
    ];
    assert_eq!(keys(&all), expected);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z{}\\[\\]:,\\-\"'$\n #0-9./]{0,120}") {
        let _ = Config::from_texts(&text, &text, &text);
        let _ = Config::from_texts(&format!("{PLAIN}{text}"), &format!("customers:\n{text}"), &format!("playbooks:\n{text}"));
    }
}

#[test]
fn limits_of_a_neighbour_are_bounded_and_raised_ones_are_warned_of() {
    let with = |neighbor: &str| {
        let text = format!(
            "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  neighbors:\n    - {{ name: r, address: 192.0.2.1, peer_asn: 1{neighbor} }}\n"
        );
        Config::from_texts(&text, "{}", "{}")
    };
    for (limits, part) in [
        ("operators_per_component: 0", "must be 1 to 64"),
        ("operators_per_component: 65", "must be 1 to 64"),
        ("nlri_bytes: 3801", "must be 1 to 3800"),
        ("update_bytes: 255", "must be 256 to 4096"),
        ("update_bytes: 4097", "must be 256 to 4096"),
        ("rules_per_second: 0", "enforce: false"),
        ("operators: 5", "operators"),
    ] {
        let errors = with(&format!(", limits: {{ {limits} }}")).unwrap_err();
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        one(&texts, "prefixd.yaml:7:", part);
    }
    let warnings = |neighbor: &str| -> Vec<String> {
        let config = with(neighbor).unwrap();
        let texts = config.warnings().iter().map(ToString::to_string);
        texts.filter(|text| text.contains("limits")).collect()
    };
    for (neighbor, part) in [
        (
            ", profile: frr, limits: { operators_per_component: 6 }",
            "reset the session above 5",
        ),
        (", profile: bird, limits: { nlri_bytes: 240 }", "from 240 bytes"),
        (
            ", profile: iosxr, limits: { rules_per_second: 201 }",
            "above the 200",
        ),
    ] {
        one(&warnings(neighbor), "prefixd.yaml:7:", part);
    }
    for neighbor in [
        ", profile: frr, limits: { operators_per_component: 5, nlri_bytes: 239, rules_per_second: 9 }",
        ", profile: bird, limits: { operators_per_component: 32 }",
        ", profile: huawei",
        ", profile: sros",
        ", profile: eos",
    ] {
        assert_eq!(warnings(neighbor), Vec::<String>::new(), "{neighbor}");
    }
}

#[test]
fn a_protected_flow_says_what_it_protects() {
    let settings = |flow: &str| {
        let text = format!(
            "pop: a\nmode: dry-run\nbgp: {{ local_asn: 1, router_id: 10.0.0.1 }}\nguardrails: {{ protected_flows: [{flow}] }}\n"
        );
        Config::from_texts(&text, "{}", "{}")
    };
    for flow in [
        "{ name: bgp, dst: 203.0.113.0/24, protocol: tcp, dst_ports: [179] }",
        "{ name: resolver, src: 198.51.100.53/32, protocol: udp, src_ports: [53] }",
        "{ name: ntp, src_ports: [123] }",
        "{ name: tunnels, protocol: gre }",
        "{ name: v6, dst: \"2001:db8::/32\", src: \"2001:db8:1::/48\" }",
    ] {
        let flows = settings(flow).unwrap().settings.guardrails.protected_flows;
        assert_eq!(flows.len(), 1, "{flow}");
    }
    for (flow, word) in [
        ("{ name: all }", "nothing that narrows"),
        ("{ name: all, dst: 0.0.0.0/0 }", "nothing that narrows"),
        ("{ name: x, dst: 203.0.113.1/24 }", "host bits"),
        ("{ name: x, protocol: icmp, dst_ports: [1] }", "only tcp and udp"),
        (
            "{ name: x, dst: 203.0.113.0/24, src: \"2001:db8::/32\" }",
            "other family",
        ),
        ("{ dst: 203.0.113.0/24 }", "name"),
        ("{ name: x, port: 5 }", "port"),
    ] {
        let refused = settings(flow).unwrap_err().to_string();
        assert!(refused.contains(word), "{flow}: {refused}");
    }
}

#[test]
fn a_relaxed_customer_can_reach_every_step() {
    for (profile, wanted, refusal) in [
        ("normal", "", None),
        ("relaxed", "", Some("it could never be reached there")),
        ("relaxed", ", profile: relaxed", Some("300 s for calm")),
        ("relaxed", ", customer_id: other", None),
        ("relaxed", ", profile: strict", None),
    ] {
        let inventory = format!(
            "customers: [{{ customer_id: calm, name: Calm, prefixes: [203.0.113.0/24], policy_profile: {profile} }}]\n"
        );
        let playbooks = format!(
            "playbooks: [{{ name: p, match: {{ vector: udp_flood{wanted} }}, steps: [\
             {{ action: police, rate_bps: 5000000, ttl_seconds: 300 }}, \
             {{ action: discard, ttl_seconds: 300, require_persistence_seconds: 150 }}] }}]\n"
        );
        let checked = Config::from_texts(PLAIN, &inventory, &playbooks);
        let told = checked.map(drop).map_err(|errors| errors.to_string());
        match refusal {
            None => assert_eq!(told, Ok(()), "{profile}{wanted}"),
            Some(refusal) => assert!(told.clone().is_err_and(|told| told.contains(refusal)), "{told:?}"),
        }
    }
}

#[test]
fn a_document_that_is_written_is_read_as_the_same() {
    let sample = |file: ConfigFile| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
        std::fs::read_to_string(path.join(file.file_name())).unwrap()
    };
    let inventory: Inventory = serde_saphyr::from_str(&sample(ConfigFile::Inventory)).unwrap();
    let playbooks: Playbooks = serde_saphyr::from_str(&sample(ConfigFile::Playbooks)).unwrap();
    assert!(!inventory.customers.is_empty() && !playbooks.vectors.is_empty());
    let texts = [
        to_text(ConfigFile::Inventory, &inventory).unwrap(),
        to_text(ConfigFile::Playbooks, &playbooks).unwrap(),
    ];
    // Through JSON, as a client sends it back, too.
    let json = serde_json::to_value(&playbooks).unwrap();
    assert_eq!(serde_json::from_value::<Playbooks>(json).unwrap(), playbooks);
    let json = serde_json::to_value(&inventory).unwrap();
    assert_eq!(serde_json::from_value::<Inventory>(json).unwrap(), inventory);
    let [inventory_text, playbooks_text] = texts;
    let config = Config::from_texts(&sample(ConfigFile::Settings), &inventory_text, &playbooks_text).unwrap();
    assert_eq!((config.inventory, config.playbooks), (inventory, playbooks));
    assert!(!playbooks_text.contains("null"), "{playbooks_text}");
}

/// Names that YAML would read as something else, and one that would become a variable's value.
#[test]
fn no_text_of_a_document_becomes_something_else_in_its_file() {
    let named = |name: &str| Inventory {
        customers: vec![inventory::Customer {
            customer_id: "acme".to_owned(),
            name: name.to_owned(),
            prefixes: Vec::new(),
            policy_profile: inventory::PolicyProfile::Normal,
            link_bps: None,
            services: Vec::new(),
            enforce: true,
        }],
    };
    for name in [
        "yes",
        "null",
        "0x10",
        "1e3",
        "a: b",
        "- a",
        "# a",
        "a # b",
        "é\u{1f980}",
        "'",
        "\"",
        "a\nb",
        " a ",
        "{}",
        "",
    ] {
        let text =
            to_text(ConfigFile::Inventory, &named(name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let again: Inventory = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(again, named(name), "{text}");
    }
    let refused = to_text(ConfigFile::Inventory, &named("${PATH}")).unwrap_err();
    assert!(refused.contains("${NAME}"), "{refused}");
    assert!(to_text(ConfigFile::Inventory, &named("${NO_SUCH_VARIABLE}")).is_err());
}

#[test]
fn what_a_document_would_lose_is_known_before() {
    for (text, lost) in [
        ("customers: []\n", &[][..]),
        ("# who\ncustomers: []\n", &[Loss::Comments]),
        ("customers: [] # none\n", &[Loss::Comments]),
        ("a: b#c\n", &[]),
        ("pop: ${POP}\n", &[Loss::Variables]),
        ("\t# x\npop: ${POP}\n", &[Loss::Comments, Loss::Variables]),
    ] {
        assert_eq!(losses(text), lost, "{text}");
    }
}

#[test]
fn a_mistake_names_its_key_and_its_place() {
    let errors = Config::from_texts(&format!("{PLAIN}quotas: 7\n"), "{}", "{}").unwrap_err();
    assert_eq!(errors.0[0].field, None);
    let text = format!("{PLAIN}timers:\n  suppress_seconds: 100000\n");
    let errors = Config::from_texts(&text, "{}", "{}").unwrap_err();
    let told = FieldError::from(errors.0[0].clone());
    assert_eq!(told.field, "timers.suppress_seconds");
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(
        (&json["file"], &json["line"]),
        (&"prefixd.yaml".into(), &7.into())
    );
    assert_eq!(serde_json::from_value::<FieldError>(json).unwrap(), told);
    let plain = FieldError::new("ports", "are wrong");
    let json = serde_json::to_value(&plain).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"field": "ports", "message": "are wrong"})
    );
    assert_eq!(serde_json::from_value::<FieldError>(json).unwrap(), plain);
}
