//! Configurations of other speakers. The files in `data/gobgp` are ours; gobgpd 3.10 reads all of them but `older`,
//! which has names that it took in earlier releases.

use prefixd_api::config;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const FILES: [&str; 7] = [
    "small.toml",
    "edges.toml",
    "groups.toml",
    "policies.toml",
    "older.toml",
    "automation.yaml",
    "container.json",
];

/// Those in which every setting means something, so that none can be left out without a difference.
const WITHOUT_DEFAULTS: [&str; 3] = ["edges.toml", "groups.toml", "policies.toml"];

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/gobgp")
        .join(file)
}

fn prefixdctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prefixdctl"));
    command.env_clear().args(["import", "gobgp"]).args(arguments);
    command
}

fn import(file: &str, options: &[&str]) -> Output {
    prefixdctl(options).arg(data(file)).output().unwrap()
}

/// The text by standard input.
fn import_text(text: &str, options: &[&str]) -> Output {
    let mut child = prefixdctl(options)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn document(file: &str) -> Value {
    let text = std::fs::read_to_string(data(file)).unwrap();
    match Path::new(file).extension().unwrap().to_str().unwrap() {
        "toml" => toml::from_str(&text).unwrap(),
        "yaml" => serde_saphyr::from_str(&text).unwrap(),
        _ => serde_json::from_str(&text).unwrap(),
    }
}

fn imported(document: &Value) -> Value {
    let output = import_text(&document.to_string(), &["--format", "json", "-o", "json"]);
    assert!(matches!(output.status.code(), Some(0 | 10)), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A pointer to every table and every setting.
fn pointers(value: &Value, at: &str, tables: &mut Vec<String>, leaves: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            tables.push(at.to_owned());
            for (key, value) in entries {
                pointers(value, &format!("{at}/{key}"), tables, leaves);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), tables, leaves);
            }
        }
        _ => leaves.push(at.to_owned()),
    }
}

/// `/neighbors/0/config/x` as `neighbors[0].config.x`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            path.push_str(&format!("[{part}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
    }
    path
}

fn is_listed(answer: &Value, path: &str) -> bool {
    ["no_equivalent", "not_needed"].iter().any(|list| {
        answer[*list].as_array().unwrap().iter().any(|finding| {
            let listed = finding["path"].as_str().unwrap();
            path.strip_prefix(listed)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    })
}

#[test]
fn what_is_written_and_said() {
    for file in FILES {
        let output = import(file, &[]);
        insta::assert_snapshot!(
            file,
            format!(
                "exit {}\n--- stdout\n{}--- stderr\n{}",
                output.status.code().unwrap(),
                text(&output.stdout),
                text(&output.stderr)
            )
        );
    }
}

#[test]
fn the_section_passes_the_check_of_the_daemon() {
    for file in FILES {
        let section = text(&import(file, &[]).stdout);
        let dir = tempfile::tempdir().unwrap();
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
        for name in [config::INVENTORY, config::PLAYBOOKS] {
            std::fs::copy(samples.join(name), dir.path().join(name)).unwrap();
        }
        std::fs::write(
            dir.path().join(config::SETTINGS),
            format!("pop: iad1\nmode: enforced\n{section}"),
        )
        .unwrap();
        // Keys are not copied: a person writes them.
        let written: Value = serde_saphyr::from_str(&section).unwrap();
        for neighbor in written["bgp"]["neighbors"].as_array().unwrap() {
            if let Some(file) = neighbor["password_file"].as_str() {
                assert!(config::load(dir.path()).is_err(), "{file} is missing");
                std::fs::write(dir.path().join(file), "a key\n").unwrap();
            }
        }
        let config = config::load(dir.path()).unwrap_or_else(|errors| panic!("{file}: {errors}\n{section}"));
        prefixd::daemon::check(&config).unwrap_or_else(|error| panic!("{file}: {error:#}\n{section}"));
        assert!(!config.settings.bgp.neighbors.is_empty(), "{file}");
    }
}

#[test]
fn text_and_json_say_the_same() {
    for file in FILES {
        let yaml: Value = serde_saphyr::from_str(&text(&import(file, &[]).stdout)).unwrap();
        let json: Value = serde_json::from_slice(&import(file, &["-o", "json"]).stdout).unwrap();
        assert_eq!(yaml["bgp"], json["bgp"], "{file}");
    }
}

#[test]
fn no_setting_is_lost_in_silence() {
    for file in WITHOUT_DEFAULTS {
        let whole = document(file);
        let before = imported(&whole);
        let (mut tables, mut leaves) = (Vec::new(), Vec::new());
        pointers(&whole, "", &mut tables, &mut leaves);
        assert!(leaves.len() > 20, "{file}: {leaves:?}");
        for leaf in leaves {
            if is_listed(&before, &path(&leaf)) || is_switched_off(&whole, &leaf) {
                continue;
            }
            let mut without = whole.clone();
            let (table, key) = leaf.rsplit_once('/').unwrap();
            without
                .pointer_mut(table)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(key);
            let output = import_text(&without.to_string(), &["--format", "json", "-o", "json"]);
            assert!(
                output.status.code() == Some(5)
                    || serde_json::from_slice::<Value>(&output.stdout).unwrap() != before,
                "{file}: {leaf} is neither taken over nor listed"
            );
        }
    }
}

fn is_switched_off(document: &Value, leaf: &str) -> bool {
    let (table, _) = leaf.rsplit_once('/').unwrap();
    let value = document.pointer(leaf).unwrap();
    value == &json!(false) || document.pointer(table).unwrap()["enabled"] == json!(false)
}

#[test]
fn an_unknown_setting_is_listed_wherever_it_stands() {
    for file in FILES {
        let whole = document(file);
        let (mut tables, mut leaves) = (Vec::new(), Vec::new());
        pointers(&whole, "", &mut tables, &mut leaves);
        for table in tables {
            let section = whole.pointer(&table).unwrap();
            if section["enabled"] == json!(false) || section["config"]["enabled"] == json!(false) {
                continue;
            }
            let mut more = whole.clone();
            more.pointer_mut(&table).unwrap()["Of-Tomorrow"] = json!({"deep": [1, 2]});
            let answer = imported(&more);
            let wanted = path(&format!("{table}/of-tomorrow/deep"));
            assert!(
                is_listed(&answer, &wanted),
                "{file}: {wanted} is not listed: {answer}"
            );
        }
    }
}

#[test]
fn what_routers_are_asked_to_keep_is_bounded() {
    let edges = document("edges.toml");
    let bgp = |change: &dyn Fn(&mut Value)| {
        let mut changed = edges.clone();
        change(&mut changed["neighbors"][0]);
        let bgp = imported(&changed)["bgp"].clone();
        let asked = bgp["neighbors"][0]["graceful_restart"] == json!(true);
        assert_eq!(asked, bgp["restart_time_seconds"].is_number());
        bgp["restart_time_seconds"].as_u64()
    };
    let config = |neighbor: &mut Value, key: &str, value: Value| {
        neighbor["graceful-restart"]["config"][key] = value;
    };
    assert_eq!(bgp(&|_| ()), Some(120));
    assert_eq!(bgp(&|it| config(it, "restart-time", json!(20))), Some(20));
    assert_eq!(bgp(&|it| config(it, "restart-time", json!(3600))), Some(120));
    // As gobgpd: the hold time.
    assert_eq!(bgp(&|it| config(it, "restart-time", json!(0))), Some(45));
    assert_eq!(bgp(&|it| config(it, "helper-only", json!(true))), None);
    assert_eq!(bgp(&|it| config(it, "enabled", json!(false))), None);
    let no_family = |it: &mut Value| {
        it["afi-safis"][0]["mp-graceful-restart"]["config"]["enabled"] = json!(false);
    };
    assert_eq!(bgp(&no_family), None);
}

#[test]
fn passwords_are_shown_nowhere() {
    for file in FILES {
        for format in ["table", "json"] {
            let output = import(file, &["-o", format]);
            for shown in [&output.stdout, &output.stderr] {
                assert!(!text(shown).contains("hunter2"), "{file}: {}", text(shown));
            }
        }
    }
    let broken = "[neighbors.config]\nauth-password = \"hunter2\n";
    for language in ["toml", "yaml", "json"] {
        let output = import_text(broken, &["--format", language]);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(
            !text(&output.stderr).contains("hunter2"),
            "{}",
            text(&output.stderr)
        );
        assert!(text(&output.stderr).contains("line "), "{}", text(&output.stderr));
    }
}

#[test]
fn files_that_gobgpd_would_not_start_with_are_refused() {
    let small = document("small.toml");
    for (pointer, value, wanted) in [
        ("/global/config/as", json!(0), "global.config.as is missing"),
        (
            "/global/config/as",
            json!(-5),
            "global.config.as is -5, which is no AS number",
        ),
        (
            "/global/config/router-id",
            json!("edge"),
            "global.config.router-id is \"edge\", which is no IPv4 address",
        ),
        (
            "/global/config/port",
            json!(70000),
            "global.config.port is 70000, which is no port",
        ),
        ("/global/config", json!(1), "global.config is no table"),
        (
            "/neighbors/0/config/peer-as",
            json!("x"),
            "neighbors[0].config.peer-as is \"x\", which is no AS number",
        ),
        (
            "/neighbors/0/timers/config/hold-time",
            json!(true),
            "neighbors[0].timers.config.hold-time is true, which is no number",
        ),
        (
            "/neighbors/0/transport/config/local-address",
            json!("::g"),
            "which is no IP address",
        ),
        (
            "/neighbors/0/afi-safis",
            json!({}),
            "neighbors[0].afi-safis is no list of tables",
        ),
        (
            "/neighbors/0/afi-safis/0/config",
            json!({}),
            "neighbors[0].afi-safis[0].config.afi-safi-name is missing",
        ),
        ("/neighbors", json!([7]), "neighbors[0] is no table"),
    ] {
        let mut wrong = small.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        let output = import_text(&wrong.to_string(), &["--format", "json"]);
        assert_eq!(output.status.code(), Some(5), "{pointer}: {output:?}");
        assert_eq!(text(&output.stdout), "", "{pointer}");
        assert!(
            text(&output.stderr).contains(wanted),
            "{pointer}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn exit_codes_and_formats() {
    assert_eq!(import("small.toml", &[]).status.code(), Some(0));
    assert_eq!(import("edges.toml", &[]).status.code(), Some(10));
    assert_eq!(import("edges.toml", &["-o", "csv"]).status.code(), Some(64));
    assert_eq!(import("absent.toml", &[]).status.code(), Some(5));
    assert_eq!(
        import("automation.yaml", &["--format", "toml"]).status.code(),
        Some(5)
    );
    let error: Value = serde_json::from_slice(&import("edges.toml", &["-o", "json"]).stderr).unwrap();
    assert_eq!(error["error"]["code"], "client.partial");
    let quiet = text(&import("edges.toml", &["--quiet"]).stderr);
    assert!(
        quiet.contains("No equivalent") && !quiet.contains("Not needed"),
        "{quiet}"
    );
}

#[test]
fn neighbours_that_prefixd_cannot_talk_to_are_listed_as_a_whole() {
    let mut document = document("small.toml");
    let good = document["neighbors"][0].clone();
    let with = |pointer: &str, value: Value| {
        let mut other = good.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        other
    };
    let mut unnumbered = good.clone();
    unnumbered["config"] = json!({"neighbor-interface": "eth0", "peer-as": 65010});
    document["neighbors"] = json!([
        with("/config/neighbor-address", json!("fe80::1%eth0")),
        good,
        unnumbered,
        with("/config/description", json!("twin")),
        with("/config/peer-as", json!(0)),
        with("/afi-safis", json!([])),
    ]);
    let answer = imported(&document);
    let listed: Vec<&str> = answer["no_equivalent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        listed,
        [
            "neighbors[0]",
            "neighbors[2]",
            "neighbors[3]",
            "neighbors[4]",
            "neighbors[5]"
        ]
    );
    assert_eq!(answer["bgp"]["neighbors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["bgp"]["neighbors"][0]["name"], "edge1");
}

#[test]
fn names_are_such_that_prefixd_takes_them() {
    let mut document = document("small.toml");
    let good = document["neighbors"][0].clone();
    let neighbours: Vec<Value> = [
        "",
        " -- ",
        "no: \"yes\" ${HOME}",
        "core/1",
        "core 1",
        &"x".repeat(99),
        "peer-192.0.2.8",
        "",
    ]
    .iter()
    .enumerate()
    .map(|(index, description)| {
        let mut neighbour = good.clone();
        neighbour["config"]["neighbor-address"] = json!(format!("192.0.2.{}", index + 1));
        neighbour["config"]["description"] = json!(description);
        neighbour
    })
    .collect();
    document["neighbors"] = json!(neighbours);
    let answer = imported(&document);
    let names: Vec<&str> = answer["bgp"]["neighbors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|neighbour| neighbour["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "peer-192.0.2.1",
            "peer-192.0.2.2",
            "no-yes-HOME",
            "core-1",
            "peer-192.0.2.5",
            &"x".repeat(64),
            "peer-192.0.2.8",
            "peer-192.0.2.8_",
        ]
    );
}

/// What GoBGP announced in a unicast family stands in no file; where the routers discard, a person says.
#[test]
fn unicast_families_are_taken_over_for_blackholes_once_their_next_hop_is_said() {
    let conf = |families: &str| {
        let families: String = families
            .split(' ')
            .map(|name| {
                format!("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n")
            })
            .collect();
        format!(
            "[global.config]\nas = 65010\nrouter-id = \"10.0.0.1\"\n[[neighbors]]\n[neighbors.config]\nneighbor-address = \"192.0.2.1\"\npeer-as = 65001\n{families}"
        )
    };
    let v4 = ["--rtbh-next-hop", "192.0.2.254"];
    let both = ["--rtbh-next-hop", "192.0.2.254", "--rtbh-next-hop-v6", "100::1"];
    let all = "ipv4-flowspec ipv4-unicast ipv6-unicast";
    for (families, options, taken, hops) in [
        (all, &[][..], "[ipv4-flowspec]", ""),
        (
            all,
            &v4,
            "[ipv4-flowspec, ipv4-unicast]",
            "rtbh: { next_hop: \"192.0.2.254\" }",
        ),
        (
            all,
            &both,
            "[ipv4-flowspec, ipv4-unicast, ipv6-unicast]",
            "rtbh: { next_hop: \"192.0.2.254\", next_hop_v6: \"100::1\" }",
        ),
        (
            "ipv4-unicast",
            &both,
            "[ipv4-unicast]",
            "rtbh: { next_hop: \"192.0.2.254\" }",
        ),
        ("ipv4-flowspec", &both, "[ipv4-flowspec]", ""),
    ] {
        let output = import_text(&conf(families), options);
        let (section, said) = (text(&output.stdout), text(&output.stderr));
        assert!(
            section.contains(&format!("afi_safi: {taken}\n")),
            "{section}{said}"
        );
        assert_eq!(section.contains("rtbh:"), !hops.is_empty(), "{section}");
        assert!(section.contains(hops), "{section}");
        let complete = options == both || families == "ipv4-flowspec";
        assert_eq!(
            output.status.code(),
            Some(if complete { 0 } else { 10 }),
            "{said}"
        );
        assert_eq!(
            said.contains("say where the routers discard with --rtbh-next-hop"),
            !complete
        );
        assert_eq!(said.contains("accept 65535:666"), !hops.is_empty(), "{said}");
        let settings = format!("pop: a\nmode: dry-run\n{section}");
        config::Config::from_texts(&settings, "{}", "{}").unwrap();
    }
    let nothing = import_text(&conf("ipv6-unicast"), &v4);
    assert!(
        text(&nothing.stderr).contains("and unicast with --rtbh-next-hop"),
        "{nothing:?}"
    );
}
