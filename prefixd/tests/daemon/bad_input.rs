//! Bad input gets a clear problem, and the daemon goes on.

use crate::support::{Daemon, Setup};
use prefixd_api::event::{EventOutcome, RefusedEvent};
use prefixd_api::problem::Problem;
use prefixd_api::resource::SafelistRequest;
use reqwest::{Client, Method, StatusCode, header};

/// Asks with a raw body and reads the problem.
async fn refused(
    http: &Client,
    daemon: &Daemon,
    method: Method,
    path: &str,
    kind: &str,
    body: String,
) -> anyhow::Result<(StatusCode, Problem)> {
    let request = http
        .request(method, format!("http://{}{path}", daemon.address))
        .header(header::CONTENT_TYPE, kind);
    let response = request.body(body).send().await?;
    let status = response.status();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json",
        "{path}"
    );
    let id = response.headers()["x-request-id"].to_str()?.to_owned();
    let problem: Problem = response.json().await?;
    assert_eq!(
        (problem.status, problem.request_id.as_deref()),
        (status.as_u16(), Some(id.as_str()))
    );
    Ok((status, problem))
}

fn event(change: &str) -> String {
    let mut event = serde_json::json!({"source": "fnm", "victim_ip": "203.0.113.10", "vector": "udp_flood"});
    let change: serde_json::Value = serde_json::from_str(change).unwrap_or_default();
    if let (Some(event), serde_json::Value::Object(change)) = (event.as_object_mut(), change) {
        event.extend(change);
    }
    event.to_string()
}

#[tokio::test]
async fn every_bad_event_is_refused_with_its_reason() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = Client::builder().tls_certs_only([]).build()?;
    let ports: Vec<u16> = (1..=65).collect();
    let many = format!("{{\"top_dst_ports\": {ports:?}}}");
    for (body, status, code, part) in [
        ("{".to_owned(), 400, "request.syntax", "EOF"),
        ("[]".to_owned(), 400, "request.field", "JSON object"),
        (
            r#"["fnm",null,"ban","203.0.113.10","udp_flood"]"#.to_owned(),
            400,
            "request.field",
            "JSON object",
        ),
        (event(r#"{"bps": -1}"#), 400, "request.field", "bps"),
        (event(r#"{"bps": 1e30}"#), 400, "request.field", "floating point"),
        (event(r#"{"pps": "many"}"#), 400, "request.field", "string"),
        (event(r#"{"confidence": 77}"#), 400, "request.field", "confidence"),
        (
            event(r#"{"victim_ip": "0.0.0.0"}"#),
            400,
            "request.field",
            "victim_ip",
        ),
        (event(r#"{"victim_ip": "::"}"#), 400, "request.field", "victim_ip"),
        (
            event(r#"{"victim_ip": "ff02::1"}"#),
            400,
            "request.field",
            "victim_ip",
        ),
        (
            event(r#"{"victim_ip": "203.0.113.0/24"}"#),
            400,
            "request.field",
            "victim_ip",
        ),
        (
            event(r#"{"timestamp": "1999-01-01T00:00:00Z"}"#),
            400,
            "request.field",
            "24 h",
        ),
        (
            event(r#"{"timestamp": "2099-01-01T00:00:00Z"}"#),
            400,
            "request.field",
            "ahead",
        ),
        (
            event(r#"{"timestamp": "yesterday"}"#),
            400,
            "request.field",
            "RFC 3339",
        ),
        (
            event(r#"{"top_dst_ports": [70000]}"#),
            400,
            "request.field",
            r#""field":"top_dst_ports[0]""#,
        ),
        (
            event(&format!(r#"{{"raw_details": "{}"}}"#, "x".repeat(65_536))),
            400,
            "request.field",
            r#""field":"raw_details""#,
        ),
        (
            event(&format!(
                r#"{{"raw_details": {}1{}}}"#,
                "[".repeat(100),
                "]".repeat(100)
            )),
            400,
            "request.field",
            "64 levels",
        ),
        (event(&many), 400, "request.field", "top_dst_ports"),
        (event(r#"{"source": ""}"#), 400, "request.field", "source"),
        (
            event(r#"{"source": "a\u001b[2J"}"#),
            400,
            "request.field",
            "source",
        ),
        (
            event(r#"{"operator": "root"}"#),
            400,
            "request.field",
            "unknown field `operator`",
        ),
        (
            format!("{{\"raw_details\": \"{}\"}}", "x".repeat(1 << 20)),
            413,
            "request.too_large",
            "bytes",
        ),
    ] {
        let shown = body.chars().take(120).collect::<String>();
        let (got, problem) = refused(
            &http,
            &daemon,
            Method::POST,
            "/v1/events",
            "application/json",
            body,
        )
        .await?;
        assert_eq!((got.as_u16(), problem.code.as_str()), (status, code), "{shown}");
        let told = serde_json::to_string(&problem)?;
        assert!(told.contains(part), "{shown}: {told}");
    }
    assert_eq!(
        daemon.ban("203.0.113.10", 27015).await?.status,
        EventOutcome::Accepted
    );
    Ok(())
}

#[tokio::test]
async fn routes_methods_types_and_filters() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = Client::builder().tls_certs_only([]).build()?;
    let (get, post) = (Method::GET, Method::POST);
    for (method, path, kind, status, part) in [
        (&get, "/v1/nothing", "", 404, "not_found"),
        (
            &get,
            "/v1/events/00000000-0000-0000-0000-000000000000",
            "",
            404,
            "event",
        ),
        (&get, "/v1/events/not-an-id", "", 404, "event"),
        (&get, "/v1/mitigations/%00", "", 400, "NUL"),
        (&Method::DELETE, "/v1/events", "", 405, "method_not_allowed"),
        (&post, "/v1/events", "text/plain", 415, "media_type"),
        (&get, "/v1/mitigations?status=activ", "", 400, "escalated"),
        (
            &get,
            "/v1/mitigations?colour=red",
            "",
            400,
            "known: format, limit",
        ),
        (&get, "/v1/mitigations?limit=0", "", 400, "1 to 1000"),
        (&get, "/v1/mitigations?cursor=xyz", "", 400, "next_cursor"),
        (
            &get,
            "/v1/mitigations?victim_ip=203.0.113.1/24",
            "",
            400,
            "203.0.113.0/24",
        ),
        (
            &get,
            "/v1/mitigations?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
            "",
            400,
            "after start",
        ),
        (
            &get,
            "/v1/mitigations?status=active&status=expired",
            "",
            400,
            "twice",
        ),
        (&get, "/v1/events?outcome=done", "", 400, "accepted_pending"),
        (&get, "/v1/events?action=banish", "", 400, "unban"),
        (&get, "/v1/ws/feed", "", 400, "WebSocket"),
        (&get, "/v1/ws/feed?since=abc", "", 400, "position"),
        (&get, "/v1/ws/feed?types=ping,foo", "", 400, "mitigation_created"),
        (&get, "/v1/events/%ff", "", 400, "request.syntax"),
        (&get, "/v1/events/%ff/why", "", 400, "request.syntax"),
        (&get, "/v1/mitigations/%ff", "", 400, "request.syntax"),
        (&get, "/v1/mitigations/%ff/why", "", 400, "request.syntax"),
        (
            &post,
            "/v1/mitigations/%ff/withdraw",
            "application/json",
            400,
            "request.syntax",
        ),
        (&get, "/v1/peers/%ff", "", 400, "request.syntax"),
        (&Method::DELETE, "/v1/safelist/%ff", "", 400, "request.syntax"),
        (&get, "/docs/nothing.js", "", 404, "not_found"),
        (&get, "/docs/%ff", "", 400, "request"),
        (&post, "/v1/stats", "", 405, "method_not_allowed"),
        (
            &get,
            "/v1/mitigations?victim_ip=::ffff:203.0.113.1/120",
            "",
            400,
            "203.0.113.0/24",
        ),
        (&get, "/v1/peers/nobody", "", 404, "neighbour"),
        (
            &Method::DELETE,
            "/v1/safelist/203.0.113.9/24",
            "",
            400,
            "host bits",
        ),
        (
            &Method::DELETE,
            "/v1/safelist/203.0.113.1/32",
            "",
            409,
            "conflict.config_owned",
        ),
        (&Method::DELETE, "/v1/safelist/198.51.100.9", "", 404, "not_found"),
    ] {
        let (got, problem) = refused(&http, &daemon, method.clone(), path, kind, String::new()).await?;
        let told = serde_json::to_string(&problem)?;
        assert!(
            got.as_u16() == status && told.contains(part),
            "{method} {path}: {told}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_judges_each_event_by_itself() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = Client::builder().tls_certs_only([]).build()?;
    let body = format!(
        "{{\"events\": [{}, {}, {}, {}]}}",
        event("{}"),
        event(r#"{"bps": -1}"#),
        event(r#"{"victim_ip": "203.0.113.1"}"#),
        event("{}"),
    );
    let request = http.post(format!("http://{}/v1/events/batch", daemon.address));
    let response = request
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .send()
        .await?;
    assert_eq!(response.status(), 200);
    let answer: prefixd_api::event::EventBatchAnswer = response.json().await?;
    let statuses: Vec<u16> = answer.results.iter().map(|result| result.http_status).collect();
    assert_eq!(statuses, [202, 400, 422, 202]);
    let stored = answer.results[2]
        .answer
        .as_ref()
        .expect("it is stored all the same");
    assert_eq!(answer.results[2].code.as_deref(), Some("guardrail.safelist"));
    assert_eq!(
        daemon.client.event(stored.event_id).await?.value.outcome,
        EventOutcome::RejectedGuardrail
    );
    assert_eq!(answer.results[1].errors[0].field, "bps");
    let outcome = answer.results[3]
        .answer
        .as_ref()
        .map(|answer| answer.status.clone());
    assert_eq!(
        outcome,
        Some(EventOutcome::Extended),
        "in order: the first one made it"
    );
    for events in [String::new(), vec![event("{}"); 101].join(",")] {
        let body = format!("{{\"events\": [{events}]}}");
        let (status, problem) = refused(
            &http,
            &daemon,
            Method::POST,
            "/v1/events/batch",
            "application/json",
            body,
        )
        .await?;
        assert_eq!(
            (status.as_u16(), problem.errors[0].field.as_str()),
            (400, "events")
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_a_guardrail_refused_can_be_asked_about() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = Client::builder().tls_certs_only([]).build()?;
    let request = http
        .post(format!("http://{}/v1/events", daemon.address))
        .header(header::CONTENT_TYPE, "application/json")
        .body(event(r#"{"victim_ip": "203.0.113.1", "event_id": "fnm-1"}"#));
    let response = request.send().await?;
    assert_eq!(response.status(), 422);
    let refused: RefusedEvent = response.json().await?;
    assert_eq!(refused.problem.code, "guardrail.safelist");
    assert!(refused.problem.request_id.is_some() && refused.problem.why.is_some());
    assert_eq!(refused.external_event_id.as_deref(), Some("fnm-1"));
    let why = daemon.client.event_why(refused.event_id).await?.value;
    assert_eq!(Some(why), refused.problem.why.map(|why| *why));
    Ok(())
}

#[tokio::test]
async fn names_of_operators_are_bounded_as_those_of_events() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = Client::builder().tls_certs_only([]).build()?;
    for (field, name) in [
        ("vector", String::new()),
        ("vector", "esc\u{1b}[31m".to_owned()),
        ("vector", "x".repeat(129)),
        ("external_ref", "nul\0".to_owned()),
        ("external_ref", "x".repeat(1_000_000)),
    ] {
        let mut body = serde_json::json!({ "victim_ip": "203.0.113.10", "reason": "test" });
        body[field] = name.into();
        let (status, problem) = refused(
            &http,
            &daemon,
            Method::POST,
            "/v1/mitigations",
            "application/json",
            body.to_string(),
        )
        .await?;
        assert_eq!((status.as_u16(), problem.errors[0].field.as_str()), (400, field));
    }
    assert!(daemon.live().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_entry_in_mapped_form_protects_ipv4() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let request = SafelistRequest {
        prefix: "::ffff:203.0.113.8/125".into(),
        reason: "test".into(),
        ..SafelistRequest::default()
    };
    let added = daemon.client.add_to_safelist(&request).await?;
    assert_eq!(added.entry.prefix.to_string(), "203.0.113.8/29");
    let refused = daemon.ban("203.0.113.9", 27015).await.err();
    assert_eq!(
        refused
            .and_then(|error| error.code().map(str::to_owned))
            .as_deref(),
        Some("guardrail.safelist")
    );
    Ok(())
}
