//! Who may do what: tokens, the socket, other sites' pages.

use crate::support::{Daemon, PATIENCE, Setup, TOKENS, ban};
use anyhow::Context;
use prefixd_api::client::{Client, FeedItem, FeedOptions, Options};
use prefixd_api::event::EventBatch;
use prefixd_api::mitigation::WithdrawRequest;
use prefixd_api::resource::SafelistRequest;
use reqwest::header;

fn client(daemon: &Daemon, token: Option<&str>) -> anyhow::Result<Client> {
    let mut options = Options::new(format!("http://{}", daemon.address).parse()?);
    options.token = token.map(|role| format!("{role}-secret-of-the-test").into());
    options.retries = 0;
    Ok(Client::new(options)?)
}

#[tokio::test]
async fn a_token_may_do_what_its_role_may() -> anyhow::Result<()> {
    let daemon = Daemon::start(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[],
    )
    .await?;
    let code = |error: prefixd_api::client::Error| error.code().map(str::to_owned).unwrap_or_default();
    let event = ban("203.0.113.10", 27015);

    for token in [None, Some("wrong")] {
        let stranger = client(&daemon, token)?;
        assert_eq!(
            stranger.send_event(&event).await.map_err(code),
            Err("auth.required".into())
        );
        assert_eq!(
            stranger.stats().await.map(|_| ()).map_err(code),
            Err("auth.required".into())
        );
        assert!(stranger.health().await.is_ok() && stranger.ready().await.is_ok());
    }
    let forbidden = Err("auth.forbidden".to_owned());
    let detector = client(&daemon, Some("detector"))?;
    let id = detector
        .send_event(&event)
        .await?
        .mitigation_id
        .context("accepted")?;
    assert_eq!(detector.stats().await.map(|_| ()).map_err(code), forbidden);
    let viewer = client(&daemon, Some("viewer"))?;
    let request = WithdrawRequest {
        reason: "test".into(),
        ..WithdrawRequest::default()
    };
    assert_eq!(
        viewer.send_event(&event).await.map(|_| ()).map_err(code),
        forbidden
    );
    assert_eq!(
        viewer
            .withdraw_mitigation(id, &request)
            .await
            .map(|_| ())
            .map_err(code),
        forbidden
    );
    let operator = client(&daemon, Some("operator"))?;
    let safelist = SafelistRequest {
        prefix: "203.0.113.99".into(),
        reason: "test".into(),
        ..SafelistRequest::default()
    };
    assert_eq!(
        operator
            .add_to_safelist(&safelist)
            .await
            .map(|_| ())
            .map_err(code),
        forbidden
    );
    assert_eq!(operator.reload().await.map(|_| ()).map_err(code), forbidden);
    assert_eq!(
        operator
            .withdraw_mitigation(id, &request)
            .await?
            .mitigation
            .ended_by
            .as_deref(),
        Some("token:noc")
    );
    let admin = client(&daemon, Some("admin"))?;
    admin.add_to_safelist(&safelist).await?;
    let actors: Vec<String> = viewer
        .mitigation(id)
        .await?
        .value
        .timeline
        .into_iter()
        .map(|entry| entry.actor)
        .collect();
    assert_eq!(actors, ["token:fnm", "token:noc"], "the actor is who sent it");
    assert!(!daemon.log().contains("secret-of-the-test"));
    Ok(())
}

#[tokio::test]
async fn the_socket_knows_who_asks() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[],
    )
    .await?;
    let socket = daemon.dir.path().join("prefixd.sock");
    let client = Client::new(Options::new(format!("unix:{}", socket.display()).parse()?))?;
    let me = nix::unistd::geteuid();
    if me.is_root() {
        let detail = client.health_detail().await?;
        assert_eq!(detail.role, prefixd_api::role::Role::Admin);
    } else {
        assert_eq!(
            client
                .health_detail()
                .await
                .err()
                .and_then(|e| e.code().map(str::to_owned))
                .as_deref(),
            Some("auth.required")
        );
    }
    // A killed daemon leaves its socket behind; the next one takes its place.
    daemon.kill().await?;
    assert!(socket.exists());
    daemon.boot().await?;
    assert!(client.health().await.is_ok());
    daemon.stop().await?;
    assert!(!socket.exists());
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_site_is_sent_away() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let url = format!("http://{}/v1/stats", daemon.address);
    for (name, value) in [
        (header::HOST, "evil.example"),
        (header::ORIGIN, "https://evil.example"),
    ] {
        let response = http.get(&url).header(name.clone(), value).send().await?;
        assert_eq!(response.status(), 403, "{name}: {value}");
    }
    assert_eq!(http.get(&url).send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn too_many_events_are_told_to_slow_down() -> anyhow::Result<()> {
    let limited =
        "  socket: null\n  auth: { mode: none }\n  rate_limit: { events_per_second: 1, burst: 3 }\n";
    let daemon = Daemon::start(
        Setup {
            http: limited,
            ..Setup::default()
        },
        &[],
    )
    .await?;
    let mut codes = Vec::new();
    for _ in 0..5 {
        let sent = daemon.ban("203.0.113.10", 27015).await;
        codes.push(
            sent.err()
                .and_then(|error| error.code().map(str::to_owned))
                .unwrap_or_default(),
        );
    }
    assert_eq!(codes[..3], ["", "", ""]);
    assert_eq!(codes[4], "limit.rate");
    // What never fits is no reason to come back.
    let event = serde_json::value::to_raw_value(&ban("203.0.113.10", 27015))?;
    let batch = EventBatch {
        events: vec![event; 4],
    };
    let error = daemon
        .client
        .send_events(&batch)
        .await
        .err()
        .context("beyond the burst")?;
    assert_eq!(error.code(), Some("request.field"));
    assert!(
        error.to_string().contains("http.rate_limit.burst lets 3"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_replaced_lets_nobody_in_any_more() -> anyhow::Result<()> {
    let daemon = Daemon::start(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[],
    )
    .await?;
    let (viewer, admin) = (client(&daemon, Some("viewer"))?, client(&daemon, Some("admin"))?);
    let mut feed = viewer.feed(FeedOptions::default());
    let connected = tokio::time::timeout(PATIENCE, feed.next()).await?;
    assert!(
        matches!(connected, Some(FeedItem::Connected { .. })),
        "{connected:?}"
    );

    std::fs::write(
        daemon.dir.path().join("viewer.token"),
        "another-secret-of-the-test\n",
    )?;
    admin.reload().await?;
    let code = viewer
        .stats()
        .await
        .err()
        .and_then(|error| error.code().map(str::to_owned));
    assert_eq!(code.as_deref(), Some("auth.required"));
    assert!(client(&daemon, Some("another"))?.stats().await.is_ok());
    // The subscription that the old token opened ends too, and cannot be opened again.
    loop {
        match tokio::time::timeout(PATIENCE, feed.next())
            .await?
            .context("the feed ended")?
        {
            FeedItem::Message(_) => {}
            FeedItem::Lost { .. } | FeedItem::Refused(_) => return Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn metrics_are_for_viewers_and_for_whoever_reaches_their_own_address() -> anyhow::Result<()> {
    let mut daemon = Daemon::configured(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[],
    )?;
    let own = std::net::Ipv4Addr::LOCALHOST;
    let own = std::net::SocketAddr::from((own, lab::net::free_port(own.into())?));
    daemon.edit(
        "prefixd.yaml",
        "log_format: text,",
        &format!("log_format: text, metrics_listen: \"{own}\","),
    )?;
    daemon.boot().await?;
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let status = |url: String| {
        let request = http.get(url).send();
        async move { anyhow::Ok(request.await?.status().as_u16()) }
    };
    assert_eq!(status(format!("http://{}/metrics", daemon.address)).await?, 401);
    assert_eq!(status(format!("http://{own}/metrics")).await?, 200);
    assert_eq!(
        status(format!("http://{own}/v1/stats")).await?,
        404,
        "nothing else is there"
    );
    assert_eq!(status(format!("http://{own}/v1/health")).await?, 404);
    Ok(())
}

/// The page that shows the API works in a network without a way out: everything it loads comes from the daemon.
#[tokio::test]
async fn the_viewer_of_the_api_needs_nobody_else() -> anyhow::Result<()> {
    let setup = Setup {
        http: TOKENS,
        ..Setup::default()
    };
    let daemon = Daemon::start(setup, &[]).await?;
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let base = format!("http://{}/docs/", daemon.address);
    let get = async |path: &str, role: Option<&str>| {
        let request = http.get(format!("{base}{path}"));
        let request = match role {
            Some(role) => request.bearer_auth(format!("{role}-secret-of-the-test")),
            None => request,
        };
        request.send().await
    };
    for (role, status) in [(None, 401), (Some("detector"), 403)] {
        assert_eq!(get("", role).await?.status(), status, "{role:?}");
    }

    let page = get("", Some("viewer")).await?;
    assert_eq!(page.status(), 200);
    let kind = page.headers()[header::CONTENT_TYPE].to_str()?.to_owned();
    assert!(kind.starts_with("text/html"), "{kind}");
    let page = page.text().await?;
    let loaded: Vec<_> = page
        .split(['"', '\''])
        .zip(page.split(['"', '\'']).skip(1))
        .filter(|(before, _)| before.ends_with("src=") || before.ends_with("href="))
        .map(|(_, path)| path)
        .collect();
    assert!(loaded.len() >= 4, "{loaded:?}");
    for path in &loaded {
        assert!(
            path.starts_with("./") || !path.contains(':'),
            "{path} is somewhere else"
        );
        assert_eq!(get(path, Some("viewer")).await?.status(), 200, "{path}");
        assert_eq!(get(path, None).await?.status(), 401, "{path}");
    }
    let script = get("swagger-initializer.js", Some("viewer"))
        .await?
        .text()
        .await?;
    assert!(script.contains("/docs/openapi.json"), "{script}");
    assert!(!script.contains("://"), "{script}");
    let document: serde_json::Value = get("openapi.json", Some("viewer")).await?.json().await?;
    assert!(document["paths"]["/v1/events"].is_object());
    Ok(())
}
