//! Changing the configuration through the API: in force as a whole, or nothing at all.

use crate::support::{Backend, Daemon, Setup, TOKENS, on_both_stores, wait_for};
use anyhow::Context;
use prefixd_api::client::{AuditQuery, Change, Client, Error};
use prefixd_api::configuration::{ConfigFile, Loss};
use prefixd_api::problem::Problem;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;

on_both_stores!(
    a_change_is_in_force_on_disk_and_in_the_journal
    a_change_that_takes_rules_off_needs_their_number
);

fn on_disk(daemon: &Daemon, file: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(daemon.dir.path().join(file))?)
}

#[track_caller]
#[expect(clippy::panic, reason = "a test fails by panicking")]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Problem {
    match result {
        Err(Error::Problem(problem)) => *problem,
        other => panic!("{other:?}"),
    }
}

async fn changed_rate(client: &Client, from: &str, to: &str) -> anyhow::Result<(String, String)> {
    let read = client.config_text(ConfigFile::Playbooks).await?;
    anyhow::ensure!(read.text.contains(from), "{}", read.text);
    Ok((read.text.replace(from, to), read.version))
}

async fn a_change_is_in_force_on_disk_and_in_the_journal(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let (text, version) = changed_rate(&daemon.client, "rate_bps: 5000000", "rate_bps: 7000000").await?;
    let text = format!("# raised for INC-4711\n{text}");
    let before = on_disk(&daemon, "playbooks.yaml")?;
    let told = daemon
        .client
        .change_config_text(ConfigFile::Playbooks, &text, Change::Of(&version))
        .await?;
    assert_eq!(told.previous, version);
    assert_eq!(told.backup.as_deref(), Some("playbooks.yaml.bak"));
    assert_eq!(
        on_disk(&daemon, "playbooks.yaml")?,
        text,
        "byte for byte, the comment too"
    );
    assert_eq!(on_disk(&daemon, "playbooks.yaml.bak")?, before);

    let made = daemon.ban("203.0.113.10", 27015).await?;
    let made = daemon
        .client
        .mitigation(made.mitigation_id.context("accepted")?)
        .await?
        .value
        .mitigation;
    assert_eq!(made.rate_bps.map(|rate| rate.0), Some(7_000_000), "in force");

    let query = AuditQuery {
        target_id: Some("playbooks.yaml".to_owned()),
        ..AuditQuery::default()
    };
    let entries = daemon.client.audit(&query).await?.value.entries;
    let [entry] = &*entries else {
        anyhow::bail!("one entry: {entries:?}")
    };
    assert_eq!(
        (entry.action.as_str(), entry.actor.as_str()),
        ("config", "anonymous")
    );
    let body = &entry.body;
    assert_eq!(
        body["edited"],
        json!({"file": "playbooks.yaml", "by": "text", "before": version, "after": told.version})
    );
    assert_eq!(body["changed"], json!(["playbooks.yaml"]));
    assert_eq!(Some(entry.seq), told.head);
    let document = daemon.client.config_document(ConfigFile::Playbooks).await?.value;
    assert_eq!(
        (document.version, document.differs_on_disk),
        (told.version, false)
    );
    Ok(())
}

async fn a_change_that_takes_rules_off_needs_their_number(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let read = daemon.client.config_text(ConfigFile::Inventory).await?;
    let text = read
        .text
        .replace("    services: []", "    services: []\n    enforce: false");
    let put = async |change: Change<'_>| {
        daemon
            .client
            .change_config_text(ConfigFile::Inventory, &text, change)
            .await
    };
    let file = daemon.dir.path().join("inventory.yaml");
    let inode = std::fs::metadata(&file)?.ino();
    for change in [
        Change::ValidateOnly,
        Change::Of(&read.version),
        Change::Expecting(&read.version, 2),
    ] {
        let problem = refused(put(change).await);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (409, "conflict.expect_count")
        );
        assert_eq!(on_disk(&daemon, "inventory.yaml")?, read.text);
        assert_eq!(std::fs::metadata(&file)?.ino(), inode, "it was never another one");
        assert!(!daemon.dir.path().join("inventory.yaml.bak").exists());
    }
    put(Change::Expecting(&read.version, 1)).await?;
    assert_eq!(on_disk(&daemon, "inventory.yaml")?, text);
    wait_for("the rule is gone", || async {
        Ok(daemon.live().await?.is_empty().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_bad_change_changes_nothing_and_says_every_mistake() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let files = ["prefixd.yaml", "inventory.yaml", "playbooks.yaml"];
    let before = files.map(|file| on_disk(&daemon, file).unwrap_or_default());
    let read = daemon.client.config_text(ConfigFile::Playbooks).await?;
    let text = "playbooks:
  - name: udp
    match: { vector: udp_flood }
    steps: [{ action: police, ttl_seconds: 300 }]
  - name: ack
    match: { vector: ack_flood }
    steps: [{ action: discard }]
";
    let change = Change::Of(&read.version);
    let bad = daemon
        .client
        .change_config_text(ConfigFile::Playbooks, text, change)
        .await;
    let problem = refused(bad);
    assert_eq!((problem.status, problem.code.as_str()), (400, "config.invalid"));
    let places: Vec<_> = problem
        .errors
        .iter()
        .map(|error| {
            let place = error.place.as_ref().context("a place")?;
            anyhow::Ok((error.field.as_str(), place.file.as_str(), place.line))
        })
        .collect::<anyhow::Result<_>>()?;
    assert_eq!(
        places,
        [
            ("playbooks[0].steps[0]", "playbooks.yaml", Some(4)),
            ("playbooks[1].steps[0].action", "playbooks.yaml", Some(7)),
        ]
    );
    // Not YAML at all, and a change that breaks another file.
    let broken = daemon
        .client
        .change_config_text(ConfigFile::Playbooks, "playbooks: [\n", change)
        .await;
    assert_eq!(refused(broken).code, "config.invalid");
    let document = json!({"playbooks": [{"name": "udp", "match": {"vector": "udp_flood"}, "steps": [{"action": "police"}]}]});
    let problem = refused(
        daemon
            .client
            .change_config_document(ConfigFile::Playbooks, &document, change)
            .await,
    );
    let error = &problem.errors[0];
    assert!(error.field.starts_with("playbooks[0].steps[0]"), "{problem:?}");
    assert_eq!(
        error.place.as_ref().and_then(|place| place.line),
        None,
        "of a text nobody saw"
    );
    let problem = refused(
        daemon
            .client
            .change_config_document(ConfigFile::Playbooks, &json!({"playbook": []}), change)
            .await,
    );
    assert_eq!(
        (problem.status, problem.errors[0].field.as_str()),
        (400, "document.playbook")
    );

    let settings = daemon.client.config_text(ConfigFile::Settings).await?;
    for (from, to, field) in [
        ("mode: enforced", "mode: dry-run", "mode"),
        ("pop: test1", "pop: test2", "pop"),
    ] {
        let problem = refused(
            daemon
                .client
                .change_config_text(
                    ConfigFile::Settings,
                    &settings.text.replace(from, to),
                    Change::Of(&settings.version),
                )
                .await,
        );
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (400, field));
        assert!(problem.detail.contains("restart"), "{problem:?}");
    }
    let after = files.map(|file| on_disk(&daemon, file).unwrap_or_default());
    assert_eq!(after, before);
    let left = std::fs::read_dir(daemon.dir.path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".bak") || name.ends_with(".prefixd"))
        .collect::<Vec<_>>();
    assert!(left.is_empty(), "{left:?}");
    daemon.ban("203.0.113.10", 27015).await?;
    Ok(())
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_is_told_of_the_other() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let (one, version) = changed_rate(&daemon.client, "5000000", "6000000").await?;
    let other = one.replace("6000000", "7000000");
    let put = async |text: &str| {
        daemon
            .client
            .change_config_text(ConfigFile::Playbooks, text, Change::Of(&version))
            .await
    };
    let (first, second) = tokio::join!(put(&one), put(&other));
    let (winner, loser, text) = match (first, second) {
        (Ok(winner), loser) => (winner, loser, &one),
        (loser, Ok(winner)) => (winner, loser, &other),
        (first, second) => anyhow::bail!("{first:?} and {second:?}"),
    };
    let problem = refused(loser);
    assert_eq!((problem.status, problem.code.as_str()), (412, "conflict.version"));
    assert!(problem.detail.contains(&winner.version), "{}", problem.detail);
    assert_eq!(&on_disk(&daemon, "playbooks.yaml")?, text);
    Ok(())
}

#[tokio::test]
async fn a_change_says_which_version_it_is_made_to() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let url = |query: &str| format!("http://{}/v1/config/inventory/raw{query}", daemon.address);
    let put = |query: &str| {
        http.put(url(query))
            .header(header::CONTENT_TYPE, "application/yaml")
            .body("customers: []\n")
    };
    let code = async |request: reqwest::RequestBuilder| {
        let response = request.send().await?;
        let status = response.status();
        anyhow::Ok((status, response.json::<Value>().await?["code"].clone()))
    };
    let precondition = (StatusCode::PRECONDITION_REQUIRED, json!("request.precondition"));
    assert_eq!(code(put("")).await?, precondition);
    assert_eq!(code(put("").header(header::IF_MATCH, "*")).await?, precondition);
    assert_eq!(
        code(put("").header(header::IF_MATCH, "\"0\"")).await?,
        (StatusCode::PRECONDITION_FAILED, json!("conflict.version"))
    );
    let json = http.put(url("")).json(&json!({}));
    assert_eq!(code(json).await?.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let long = put("").body("#".repeat(4 * 1024 * 1024 + 1));
    assert_eq!(code(long).await?.0, StatusCode::PAYLOAD_TOO_LARGE);
    let empty = put("?validate=true").body(" \n");
    assert_eq!(
        code(empty).await?,
        (StatusCode::BAD_REQUEST, json!("request.field"))
    );

    let checked = put("?validate=true").send().await?;
    assert_eq!(checked.status(), StatusCode::OK);
    assert!(
        !checked.headers().contains_key(header::ETAG),
        "nothing is there that it could name"
    );
    let checked: Value = checked.json().await?;
    assert_eq!(
        (&checked["validated_only"], &checked["changed"]),
        (&json!(true), &json!(true))
    );
    let read = http.get(url("")).send().await?;
    let tag = read.headers()[header::ETAG].clone();
    assert_eq!(tag.to_str()?, format!("{}", checked["previous"]));
    let changed = put("").header(header::IF_MATCH, tag).send().await?;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_eq!(
        changed.headers()[header::ETAG].to_str()?,
        format!("{}", checked["version"])
    );
    Ok(())
}

#[tokio::test]
async fn a_change_never_takes_what_waits_on_disk_along() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let document = daemon.client.config_document(ConfigFile::Inventory).await?.value;
    daemon.edit("prefixd.yaml", "hold_down_seconds: 0", "hold_down_seconds: 7")?;
    let (text, version) = changed_rate(&daemon.client, "5000000", "6000000").await?;
    let put = async |text: &str, version: &str| {
        daemon
            .client
            .change_config_text(ConfigFile::Playbooks, text, Change::Of(version))
            .await
    };
    let problem = refused(put(&text, &version).await);
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "conflict.unloaded")
    );
    assert!(problem.detail.starts_with("prefixd.yaml"), "{}", problem.detail);
    daemon.client.reload().await?;
    put(&text, &version).await?;

    // The document is what is in force: made to that, a change would undo what waits in the same file.
    daemon.edit("inventory.yaml", "ACME Corp", "ACME Inc")?;
    let waits = daemon.client.config_document(ConfigFile::Inventory).await?.value;
    assert_eq!((&waits.version, waits.differs_on_disk), (&document.version, true));
    let mut renamed = waits.document.clone();
    renamed["customers"][0]["name"] = json!("Other");
    let stale = daemon
        .client
        .change_config_document(ConfigFile::Inventory, &renamed, Change::Of(&waits.version))
        .await;
    let problem = refused(stale);
    assert!(
        problem.status == 412 && problem.detail.contains("not in force"),
        "{problem:?}"
    );
    assert!(on_disk(&daemon, "inventory.yaml")?.contains("ACME Inc"));
    // The text is what is on disk.
    let read = daemon.client.config_text(ConfigFile::Inventory).await?;
    let told = daemon
        .client
        .change_config_text(ConfigFile::Inventory, &read.text, Change::Of(&read.version))
        .await?;
    assert!(
        !told.changed && told.head.is_some(),
        "it comes into force as it is: {told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_document_says_what_its_file_would_lose_and_leaves_alone_what_says_the_same() -> anyhow::Result<()>
{
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    daemon.edit("inventory.yaml", "customers:\n", "# all of them\ncustomers:\n")?;
    daemon.client.reload().await?;
    let commented = on_disk(&daemon, "inventory.yaml")?;
    let read = daemon.client.config_document(ConfigFile::Inventory).await?.value;
    assert_eq!(read.loses, [Loss::Comments]);
    let put = async |document: &Value, change: Change<'_>| {
        daemon
            .client
            .change_config_document(ConfigFile::Inventory, document, change)
            .await
    };
    let same = put(&read.document, Change::Of(&read.version)).await?;
    assert!(!same.changed && same.head.is_none(), "{same:?}");
    assert_eq!(on_disk(&daemon, "inventory.yaml")?, commented);

    let mut document = read.document.clone();
    document["customers"][0]["name"] = json!("ACME: the \"big\" one # 1");
    let checked = put(&document, Change::ValidateOnly).await?;
    assert_eq!((checked.changed, &*checked.loses), (true, &[Loss::Comments][..]));
    assert_eq!(on_disk(&daemon, "inventory.yaml")?, commented, "only checked");
    let told = put(&document, Change::Of(&read.version)).await?;
    assert_eq!(
        (&told.version, &*told.loses),
        (&checked.version, &[Loss::Comments][..])
    );
    assert_eq!(on_disk(&daemon, "inventory.yaml.bak")?, commented);
    let again = daemon.client.config_document(ConfigFile::Inventory).await?.value;
    assert_eq!(
        (again.document, again.version),
        (document.clone(), told.version.clone())
    );
    // What its file would read as something else.
    document["customers"][0]["name"] = json!("${PATH}");
    let problem = refused(put(&document, Change::Of(&told.version)).await);
    assert_eq!(
        (problem.status, problem.errors[0].field.as_str()),
        (400, "document")
    );
    Ok(())
}

/// SQLite says for certain that it took nothing. Where PostgreSQL does not say, the answer waits until it does.
#[tokio::test]
async fn a_change_that_cannot_be_recorded_leaves_the_file_as_it_was() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let (text, version) = changed_rate(&daemon.client, "5000000", "6000000").await?;
    let before = on_disk(&daemon, "playbooks.yaml")?;
    let held = daemon.hold_the_lock().await?;
    let put = async || {
        daemon
            .client
            .change_config_text(ConfigFile::Playbooks, &text, Change::Of(&version))
            .await
    };
    let problem = refused(put().await);
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (503, "store.unavailable")
    );
    assert_eq!(on_disk(&daemon, "playbooks.yaml")?, before);
    assert!(!daemon.dir.path().join("playbooks.yaml.bak").exists());
    drop(held);
    wait_for("the store takes it", || async { Ok(put().await.ok()) }).await?;
    assert_eq!(on_disk(&daemon, "playbooks.yaml")?, text);
    Ok(())
}

#[tokio::test]
async fn no_secret_leaves_and_the_roles_hold() -> anyhow::Result<()> {
    let setup = Setup {
        http: TOKENS,
        ..Setup::default()
    };
    let mut daemon = Daemon::configured(setup, &[])?;
    std::fs::write(daemon.dir.path().join("edge.md5"), "planted-md5-secret")?;
    daemon.edit(
        "prefixd.yaml",
        "  neighbors:\n    []\n",
        "  neighbors:\n    - { name: edge, address: 127.0.0.77, port: 1, peer_asn: 65001, password_file: edge.md5, local_address: 127.0.0.1 }\n",
    )?;
    daemon.boot().await?;
    let [viewer, operator, admin] = ["viewer", "operator", "admin"].map(|role| daemon.client_as(role));
    let (viewer, operator, admin) = (viewer?, operator?, admin?);
    let secrets = ["-secret-of-the-test", "planted-md5-secret"];
    let mut told = Vec::new();
    for file in ConfigFile::ALL {
        told.push(serde_json::to_string(&viewer.config_document(file).await?.value)?);
        assert_eq!(refused(operator.config_text(file).await).code, "auth.forbidden");
        let read = admin.config_text(file).await?;
        told.push(read.text.clone());
        let change = Change::Of(&read.version);
        let forbidden = operator.change_config_text(file, &read.text, change).await;
        assert_eq!(refused(forbidden).code, "auth.forbidden");
        let bad = admin
            .change_config_text(file, &format!("{}x: y\n", read.text), change)
            .await;
        told.push(serde_json::to_string(&refused(bad))?);
    }
    assert!(
        told[0].contains("\"grafana\"") && told[0].contains("127.0.0.77"),
        "{}",
        told[0]
    );
    for answer in &told {
        assert!(secrets.iter().all(|secret| !answer.contains(secret)), "{answer}");
    }
    for hidden in ["edge.md5", "admin.token", "connection_string"] {
        assert!(!told[0].contains(hidden), "{}", told[0]);
    }
    let log = daemon.log();
    assert!(secrets.iter().all(|secret| !log.contains(secret)), "{log}");
    Ok(())
}
