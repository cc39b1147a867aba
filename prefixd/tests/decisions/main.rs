//! Decision tables: each file in this folder tells stories of commands with times and what must come of them.
//!
//! Times are seconds from the start of a case. Between two steps every deadline is met when it comes. A file's
//! `config` changes `base.yaml`, a case's `config` changes the file's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a case that cannot be read is a failed test"
)]

mod expect;
mod step;
mod world;

use prefixd::policy::{Implicit, Policy};
use prefixd_api::config::Config;
use prefixd_api::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use step::Step;
use world::World;

const START: i64 = 1_700_000_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    config: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(default)]
    config: Value,
    steps: Vec<Step>,
}

#[test]
fn decisions_are_as_the_tables_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let base: Value = read(&folder.join("base.yaml"));
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let (mut cases, mut failed) = (0, Vec::new());
    for path in files.iter().filter(|path| !path.ends_with("base.yaml")) {
        let file: File = read(path);
        for case in file.cases {
            let config = merged(&merged(&base, &file.config), &case.config);
            let name = format!("{}: {}", path.file_stem().unwrap().display(), case.case);
            let told = std::panic::catch_unwind(|| {
                let mut world = World::new(name.clone(), config);
                for step in &case.steps {
                    world.step(step);
                }
            });
            failed.extend(told.is_err().then_some(name));
            cases += 1;
        }
    }
    assert!(cases > 0, "no cases in {}", folder.display());
    assert!(
        failed.is_empty(),
        "{} of {cases} cases failed: {failed:#?}",
        failed.len()
    );
}

/// Whoever follows README.md with the samples as they are sees a mitigation, not a refusal.
#[test]
fn the_first_event_of_the_readme_is_accepted_by_the_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sample = |name: &str| read::<Value>(&root.join(format!("etc/{name}.yaml")));
    let config = ["prefixd", "inventory", "playbooks"].map(|name| (name.to_owned(), sample(name)));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let command = "prefixdctl events send --source test --victim 203.0.113.10 --vector udp_flood --bps 1.2G --ports 27015";
    assert!(readme.contains(command), "README.md sends another event");
    let step = r#"{
        "ban": {"source": "test", "victim_ip": "203.0.113.10", "vector": "udp_flood", "bps": 1200000000, "top_dst_ports": [27015]},
        "expect": {"outcome": "accepted"}
    }"#;
    let mut world = World::new("README".to_owned(), Value::Object(Map::from_iter(config)));
    world.step(&serde_json::from_str(step).unwrap());
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Objects are merged by key, everything else is replaced; null removes.
fn merged(base: &Value, change: &Value) -> Value {
    match (base, change) {
        (base, Value::Null) => base.clone(),
        (Value::Object(base), Value::Object(change)) => {
            let mut all: Map<String, Value> = base.clone();
            for (key, value) in change {
                if value.is_null() {
                    all.remove(key);
                } else {
                    let old = all.get(key).cloned().unwrap_or(Value::Null);
                    all.insert(key.clone(), merged(&old, value));
                }
            }
            Value::Object(all)
        }
        (_, change) => change.clone(),
    }
}

fn compile(case: &str, config: &Value) -> Policy {
    let text = |key: &str| config[key].to_string();
    let config = Config::from_texts(&text("prefixd"), &text("inventory"), &text("playbooks"))
        .unwrap_or_else(|errors| panic!("{case}: {errors}"));
    let database = ("203.0.113.250".parse().unwrap(), "the database".to_owned());
    Policy::compile(
        &config,
        &Implicit {
            addresses: vec![database],
        },
    )
}

fn seconds(span: f64) -> Duration {
    Duration::from_secs_f64(span)
}

fn at(offset: f64) -> Timestamp {
    Timestamp::from_micros(START).saturating_add(seconds(offset))
}

fn offset(at: Timestamp) -> f64 {
    Duration::from_micros(u64::try_from(at.as_micros() - START).unwrap()).as_secs_f64()
}
