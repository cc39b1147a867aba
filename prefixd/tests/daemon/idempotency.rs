//! Idempotency-Key: every change is carried out once, however often it is sent, also over a crash.

use crate::support::{Backend, Daemon, PATIENCE, Setup, TOKENS, on_both_stores};
use anyhow::Context;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;

on_both_stores!(
    every_change_takes_a_key_and_keeps_its_answer
    of_two_at_once_one_is_carried_out
    what_was_refused_keeps_no_key
);

const KEY: &str = "idempotency-key";

struct Asker {
    http: reqwest::Client,
    base: String,
    token: Option<&'static str>,
}

/// Status, whether it is the answer that was kept, and the body.
type Told = (StatusCode, bool, String);

impl Asker {
    fn of(daemon: &Daemon) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder()
                .tls_certs_only([])
                .timeout(PATIENCE)
                .build()?,
            base: format!("http://{}", daemon.address),
            token: None,
        })
    }

    async fn send(&self, change: &Change, key: Option<&str>) -> anyhow::Result<Told> {
        let method: Method = change.method.parse()?;
        let mut request = self.http.request(method, format!("{}{}", self.base, change.path));
        if let Some(key) = key {
            request = request.header(KEY, key);
        }
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        if let Some(version) = &change.version {
            request = request.header(header::IF_MATCH, version.as_str());
        }
        request = match &change.body {
            Body::None => request,
            Body::Json(body) => request.json(body),
            Body::Yaml(text) => request
                .header(header::CONTENT_TYPE, "application/yaml")
                .body(text.clone()),
        };
        let response = request.send().await?;
        let replayed = response.headers().get("idempotency-replayed").is_some();
        Ok((response.status(), replayed, response.text().await?))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut request = self.http.get(format!("{}{path}", self.base));
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        Ok(request.send().await?.json().await?)
    }

    /// The newest entry of the journal.
    async fn head(&self) -> anyhow::Result<u64> {
        let newest = self.get("/v1/audit?limit=1").await?;
        newest["entries"][0]["seq"].as_u64().context("an entry")
    }
}

#[derive(Clone)]
enum Body {
    None,
    Json(Value),
    Yaml(String),
}

/// A request that changes something.
#[derive(Clone)]
struct Change {
    /// As the OpenAPI document has it.
    route: &'static str,
    method: &'static str,
    path: String,
    body: Body,
    version: Option<String>,
}

fn change(method: &'static str, route: &'static str, path: impl Into<String>, body: Value) -> Change {
    Change {
        route,
        method,
        path: path.into(),
        body: Body::Json(body),
        version: None,
    }
}

fn post(route: &'static str, body: Value) -> Change {
    change("POST", route, route, body)
}

fn event(victim: u8) -> Value {
    json!({"source": "fnm", "victim_ip": format!("203.0.113.{victim}"), "vector": "udp_flood", "bps": 1_200_000_000_u64,
        "confidence": 0.95, "top_dst_ports": [27015]})
}

fn creation(victim: u8) -> Value {
    json!({"victim_ip": format!("203.0.113.{victim}"), "action": "police", "rate_bps": 5_000_000, "protocol": 17,
        "dst_ports": ["27015"], "ttl_seconds": 600, "reason": "test"})
}

/// Every change, each in its turn: the next may need what the one before left.
async fn changes(asker: &Asker) -> anyhow::Result<Vec<Change>> {
    let made = async |victim: u8| {
        let (status, _, body) = asker
            .send(&post("/v1/mitigations", creation(victim)), None)
            .await?;
        anyhow::ensure!(status == StatusCode::CREATED, "{body}");
        let made: Value = serde_json::from_str(&body)?;
        anyhow::Ok(made["mitigation_id"].as_str().context("an id")?.to_owned())
    };
    let (one, other, third) = (made(20).await?, made(21).await?, made(22).await?);
    let of =
        |route: &'static str, id: &str, body: Value| change("POST", route, route.replace("{id}", id), body);
    let why = || json!({"reason": "test"});
    let (status, _, suppressed) = asker
        .send(
            &post(
                "/v1/suppressions",
                json!({"victim_ip": "203.0.113.30", "vector": "udp_flood", "seconds": 600, "reason": "test"}),
            ),
            None,
        )
        .await?;
    anyhow::ensure!(status == StatusCode::CREATED, "{suppressed}");
    let suppressed: Value = serde_json::from_str(&suppressed)?;
    let suppression = format!(
        "/v1/suppressions/{}",
        suppressed["suppression_id"].as_str().context("an id")?
    );
    let peer = |order: &str| {
        let route: &'static str = match order {
            "disable" => "/v1/peers/{name}/disable",
            "enable" => "/v1/peers/{name}/enable",
            "reset" => "/v1/peers/{name}/reset",
            "resend" => "/v1/peers/{name}/resend",
            _ => "/v1/peers/{name}/release",
        };
        change("POST", route, route.replace("{name}", "far"), why())
    };
    let bare = |method, route, path: String| Change {
        body: Body::None,
        ..change(method, route, path, Value::Null)
    };
    Ok(vec![
        post("/v1/events", event(10)),
        post("/v1/events/batch", json!({"events": [event(11), event(12)]})),
        post("/v1/mitigations", creation(13)),
        of(
            "/v1/mitigations/{id}/extend",
            &one,
            json!({"ttl_seconds": 1200, "reason": "test"}),
        ),
        of(
            "/v1/mitigations/{id}/adjust",
            &one,
            json!({"rate_bps": 2_000_000, "reason": "test"}),
        ),
        post(
            "/v1/mitigations/acknowledge",
            json!({"ids": [one], "acknowledged": true}),
        ),
        of("/v1/mitigations/{id}/notes", &one, json!({"text": "seen"})),
        of("/v1/mitigations/{id}/claim", &one, json!({})),
        of("/v1/mitigations/{id}/release", &one, json!({})),
        of(
            "/v1/mitigations/{id}/withdraw",
            &one,
            json!({"reason": "test", "confirm_within_seconds": 600}),
        ),
        of("/v1/mitigations/{id}/confirm", &one, why()),
        of("/v1/mitigations/{id}/undo", &one, why()),
        post(
            "/v1/mitigations/withdraw",
            json!({"ids": [other, third, "0199a8b2-7c31-7e55-8a4d-2f6b9c010001"], "reason": "test"}),
        ),
        post(
            "/v1/safelist",
            json!({"prefix": "198.51.100.7", "reason": "test"}),
        ),
        bare(
            "DELETE",
            "/v1/safelist/{prefix}",
            "/v1/safelist/198.51.100.7/32".to_owned(),
        ),
        change("POST", "/v1/sources/{name}/pause", "/v1/sources/x/pause", why()),
        change("POST", "/v1/sources/{name}/resume", "/v1/sources/x/resume", why()),
        post(
            "/v1/suppressions",
            json!({"victim_ip": "203.0.113.31", "vector": "udp_flood", "seconds": 600, "reason": "test"}),
        ),
        bare("DELETE", "/v1/suppressions/{id}", suppression),
        peer("reset"),
        peer("resend"),
        peer("release"),
        peer("disable"),
        peer("enable"),
        change(
            "PUT",
            "/v1/control",
            "/v1/control",
            json!({"scope": "customer:acme", "state": "hold", "reason": "test"}),
        ),
        post("/v1/breaker/reset", why()),
        post("/v1/config/reload", json!({})),
    ])
}

/// Changes of files, each made to the version that is there.
async fn config_changes(asker: &Asker) -> anyhow::Result<Vec<Change>> {
    let inventory = asker.get("/v1/config/inventory").await?;
    let playbooks = asker.get("/v1/config/playbooks").await?;
    let quoted = |document: &Value| {
        Some(format!(
            "\"{}\"",
            document["version"].as_str().unwrap_or_default()
        ))
    };
    let mut renamed = inventory["document"].clone();
    renamed["customers"][0]["name"] = json!("ACME Inc");
    let mut faster = playbooks["document"].clone();
    faster["playbooks"][0]["steps"][0]["rate_bps"] = json!(6_000_000);
    let settings = asker.get("/v1/config/settings").await?;
    let text = asker
        .http
        .get(format!("{}/v1/config/settings/raw", asker.base))
        .send()
        .await?
        .text()
        .await?;
    let route = "/v1/config/{file}/raw";
    Ok(vec![
        Change {
            version: quoted(&inventory),
            ..change(
                "PUT",
                "/v1/config/inventory",
                "/v1/config/inventory",
                json!({"document": renamed}),
            )
        },
        Change {
            version: quoted(&playbooks),
            ..change(
                "PUT",
                "/v1/config/playbooks",
                "/v1/config/playbooks",
                json!({"document": faster}),
            )
        },
        Change {
            version: quoted(&settings),
            body: Body::Yaml(format!("# checked\n{text}")),
            ..change("PUT", route, "/v1/config/settings/raw", Value::Null)
        },
    ])
}

/// What the OpenAPI document says of keys.
async fn documented(asker: &Asker) -> anyhow::Result<BTreeSet<String>> {
    let document = asker.get("/v1/openapi.json").await?;
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        for method in ["post", "put", "delete", "patch"] {
            let Some(operation) = item.get(method) else {
                continue;
            };
            let takes = operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["name"] == KEY));
            let is_question = path.ends_with("/preview") || path == "/v1/reconcile";
            anyhow::ensure!(
                takes != is_question,
                "{method} {path}: either it takes a key or it changes nothing"
            );
            if takes {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    Ok(routes)
}

async fn every_change_takes_a_key_and_keeps_its_answer(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::configured(Setup::on(store).await?, &[])?;
    daemon.edit(
        "prefixd.yaml",
        "  neighbors:\n    []\n",
        "  neighbors:\n    - { name: far, address: 127.0.0.77, port: 1, peer_asn: 65001, local_address: 127.0.0.1 }\n",
    )?;
    daemon.boot().await?;
    let asker = Asker::of(&daemon)?;
    let mut first = Vec::new();
    let mut all = changes(&asker).await?;
    all.extend(config_changes(&asker).await?);
    // A breaker that is not tripped has nothing to reset: the last one is tripped by hand.
    let (breaker, all): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|change| change.route == "/v1/breaker/reset");
    let (held, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|change| change.route == "/v1/control");
    for (number, change) in all.iter().chain(&held).enumerate() {
        let key = format!("key-{number}");
        let told = asker.send(change, Some(&key)).await?;
        anyhow::ensure!(
            told.0.is_success() && !told.1,
            "{} {}: {told:?}",
            change.method,
            change.path
        );
        let head = asker.head().await?;
        let again = asker.send(change, Some(&key)).await?;
        assert_eq!(
            again,
            (told.0, true, told.2.clone()),
            "{} {}",
            change.method,
            change.path
        );
        assert_eq!(
            asker.head().await?,
            head,
            "{} {} changed something again",
            change.method,
            change.path
        );
        // Another request under the same key.
        let mut other = change.clone();
        match &mut other.version {
            Some(version) => "\"0\"".clone_into(version),
            None => other.path.push_str("?x=1"),
        }
        let mismatch = asker.send(&other, Some(&key)).await?;
        assert_eq!(mismatch.0, StatusCode::UNPROCESSABLE_ENTITY, "{mismatch:?}");
        assert!(mismatch.2.contains("idempotency.mismatch"), "{mismatch:?}");
        first.push((change.clone(), key, told));
    }
    daemon.kill().await?;
    let tripped = "INSERT INTO control (pop, name, body) VALUES ('test1', 'breaker', '{\"tripped_at\":\"2026-01-18T10:30:00Z\",\
         \"neighbors\":[\"far\"],\"announced_since\":\"2026-01-18T10:29:00Z\",\"withdrawn\":0}')";
    daemon.other().await?.execute(tripped).await?;
    daemon.boot().await?;
    let reset = breaker.first().context("it is there")?;
    let told = asker.send(reset, Some("breaker")).await?;
    anyhow::ensure!(told.0.is_success(), "{told:?}");
    assert_eq!(asker.send(reset, Some("breaker")).await?, (told.0, true, told.2));
    // What was answered before the crash is answered so after it.
    for (change, key, told) in &first {
        let again = asker.send(change, Some(key)).await?;
        assert_eq!(
            again,
            (told.0, true, told.2.clone()),
            "{} {}",
            change.method,
            change.path
        );
    }
    let tried: BTreeSet<String> = first
        .iter()
        .map(|(change, ..)| change)
        .chain(&breaker)
        .map(|change| format!("{} {}", change.method, change.route))
        .collect();
    assert_eq!(tried, documented(&asker).await?, "every change is in this test");
    Ok(())
}

async fn of_two_at_once_one_is_carried_out(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let asker = Asker::of(&daemon)?;
    let noted = post("/v1/mitigations", creation(10));
    let (_, _, body) = asker.send(&noted, None).await?;
    let made: Value = serde_json::from_str(&body)?;
    let id = made["mitigation_id"].as_str().context("an id")?;
    let route = "/v1/mitigations/{id}/notes";
    // Without a key each of them would be another note.
    let note = change("POST", route, route.replace("{id}", id), json!({"text": "once"}));
    let all = (0..20).map(|_| asker.send(&note, Some("same")));
    let told = futures_util::future::try_join_all(all).await?;
    let fresh = told.iter().filter(|(_, replayed, _)| !replayed).count();
    assert_eq!(fresh, 1, "{told:?}");
    assert!(
        told.iter()
            .all(|(status, _, body)| *status == StatusCode::OK && *body == told[0].2),
        "{told:?}"
    );
    let detail = asker.get(&format!("/v1/mitigations/{id}")).await?;
    assert_eq!(detail["notes"].as_array().map(Vec::len), Some(1), "{detail}");
    // A batch of events: each is kept by itself, and another batch does nothing at all.
    let batch = post("/v1/events/batch", json!({"events": [event(40), event(41)]}));
    let told = asker.send(&batch, Some("batch")).await?;
    let head = asker.head().await?;
    assert_eq!(asker.send(&batch, Some("batch")).await?, (told.0, true, told.2));
    let longer = post(
        "/v1/events/batch",
        json!({"events": [event(42), event(40), event(41)]}),
    );
    let refused = asker.send(&longer, Some("batch")).await?;
    assert_eq!(refused.0, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert_eq!(asker.head().await?, head);
    Ok(())
}

async fn what_was_refused_keeps_no_key(store: Backend) -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let asker = Asker::of(&daemon)?;
    let one = post("/v1/mitigations", creation(10));
    anyhow::ensure!(
        asker.send(&one, None).await?.0 == StatusCode::CREATED,
        "it is made"
    );
    let refused = asker.send(&one, Some("k")).await?;
    assert_eq!(
        (refused.0, refused.1),
        (StatusCode::CONFLICT, false),
        "one is live"
    );
    // The same key may be tried again, and used for what succeeds.
    let other = post("/v1/mitigations", creation(11));
    let told = asker.send(&other, Some("k")).await?;
    assert_eq!((told.0, told.1), (StatusCode::CREATED, false), "{told:?}");
    // While the store is away nothing is done, and the retry is carried out.
    let held = daemon.hold_the_lock().await?;
    let third = post("/v1/mitigations", creation(12));
    let away = asker.send(&third, Some("away")).await?;
    assert_eq!(away.0, StatusCode::SERVICE_UNAVAILABLE, "{away:?}");
    drop(held);
    crate::support::wait_for("it is carried out", || async {
        let (status, _, _) = asker.send(&third, Some("away")).await?;
        Ok((status == StatusCode::CREATED).then_some(()))
    })
    .await?;
    let live = daemon.live().await?;
    assert_eq!(live.len(), 3, "{live:?}");
    // Bad keys are said to be bad, and questions take any.
    let preview = post("/v1/mitigations/preview", creation(13));
    for key in ["a b", &"k".repeat(129)] {
        let told = asker.send(&third, Some(key)).await?;
        assert_eq!(told.0, StatusCode::BAD_REQUEST, "{told:?}");
        assert_eq!(asker.send(&preview, Some(key)).await?.0, StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn a_key_is_its_principal_s_own_and_a_panic_is_said_whenever_it_is_said() -> anyhow::Result<()> {
    let setup = Setup {
        http: TOKENS,
        ..Setup::default()
    };
    let daemon = Daemon::start(setup, &[]).await?;
    let as_who = |token| {
        anyhow::Ok(Asker {
            token: Some(token),
            ..Asker::of(&daemon)?
        })
    };
    let (operator, admin) = (
        as_who("operator-secret-of-the-test")?,
        as_who("admin-secret-of-the-test")?,
    );
    let told = operator
        .send(&post("/v1/mitigations", creation(10)), Some("k"))
        .await?;
    assert_eq!(told.0, StatusCode::CREATED, "{told:?}");
    let other = admin
        .send(&post("/v1/mitigations", creation(11)), Some("k"))
        .await?;
    assert_eq!((other.0, other.1), (StatusCode::CREATED, false), "{other:?}");

    let said = |state| {
        change(
            "PUT",
            "/v1/control",
            "/v1/control",
            json!({"scope": "pop", "state": state, "reason": "test"}),
        )
    };
    let word = said("panic");
    let panic = || operator.send(&word, Some("panic"));
    anyhow::ensure!(panic().await?.0 == StatusCode::OK, "it is in force");
    let running = admin.send(&said("running"), Some("go-on")).await?;
    anyhow::ensure!(running.0 == StatusCode::OK, "{running:?}");
    let again = panic().await?;
    assert_eq!((again.0, again.1), (StatusCode::OK, false));
    let control = admin.get("/v1/control").await?;
    assert_eq!(control["stopped"][0]["state"], "panic", "{control}");
    Ok(())
}
