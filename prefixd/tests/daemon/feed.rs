//! The feed: everything in order, and on after an interruption.

use crate::support::{Daemon, PATIENCE, Setup, TOKENS, ban, router};
use anyhow::{Context, bail};
use lab::routers::{Kind, RouterConfig};
use prefixd_api::client::{Client, Feed, FeedItem, FeedOptions, Options};
use prefixd_api::event::EventBatch;
use prefixd_api::feed::{FeedBody, FeedMessage};
use prefixd_api::mitigation::WithdrawRequest;
use prefixd_api::role::Role;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn next(feed: &mut Feed) -> anyhow::Result<FeedItem> {
    tokio::time::timeout(PATIENCE, feed.next())
        .await?
        .context("the feed ended")
}

async fn connected(feed: &mut Feed) -> anyhow::Result<u64> {
    match next(feed).await? {
        FeedItem::Connected { head, .. } => Ok(head),
        other => bail!("{other:?}"),
    }
}

/// The next numbered message.
async fn numbered(feed: &mut Feed) -> anyhow::Result<FeedMessage> {
    loop {
        match next(feed).await? {
            FeedItem::Message(message) if message.seq.is_some() => return Ok(*message),
            FeedItem::Message(_) | FeedItem::Connected { .. } | FeedItem::Lost { .. } => {}
            other => bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_in_order() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut feed = daemon.client.feed(FeedOptions::default());
    let head = connected(&mut feed).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    daemon.ban("203.0.113.10", 27016).await?;
    let request = WithdrawRequest {
        reason: "test".into(),
        ..WithdrawRequest::default()
    };
    daemon.client.withdraw_mitigation(id, &request).await?;
    let mut shown = None;
    let mut last = head;
    loop {
        let message = numbered(&mut feed).await?;
        assert!(message.seq > Some(last), "{:?} after {last}", message.seq);
        last = message.seq.unwrap_or_default();
        match message.body {
            FeedBody::MitigationCreated { mitigation } => shown = Some(*mitigation),
            FeedBody::MitigationUpdated(change) => {
                let before = shown.as_ref().context("an update before its creation")?;
                shown = Some(change.apply_to(before).context("a gap in the revisions")?);
            }
            FeedBody::MitigationWithdrawn(change) => {
                let before = shown.as_ref().context("an end before its creation")?;
                let told = change.apply_to(before).context("a gap in the revisions")?;
                let mut read = daemon.client.mitigation(id).await?.value.mitigation;
                read.delivery = None;
                assert_eq!(told, read, "changes add up to what a read shows");
                return Ok(());
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_subscriber_goes_on_where_it_was_across_a_restart() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut feed = daemon.client.feed(FeedOptions::default());
    connected(&mut feed).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let mut seen = vec![numbered(&mut feed).await?.seq, numbered(&mut feed).await?.seq];
    daemon.kill().await?;
    daemon.boot().await?;
    for last in 11..15 {
        daemon.ban(&format!("203.0.113.{last}"), 27015).await?;
    }
    while seen.len() < 10 {
        seen.push(numbered(&mut feed).await?.seq);
    }
    let expected: Vec<_> = (1..=10).map(Some).collect();
    assert_eq!(seen, expected, "no gap, nothing twice");
    Ok(())
}

#[tokio::test]
async fn the_delivery_at_a_real_router_is_told() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    let mut feed = daemon.client.feed(FeedOptions::default());
    connected(&mut feed).await?;
    let id = daemon
        .ban("203.0.113.10", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    loop {
        if let FeedItem::Message(message) = next(&mut feed).await?
            && let FeedBody::DeliveryChanged {
                mitigation_id,
                delivery,
            } = message.body
        {
            assert_eq!(
                (mitigation_id, delivery.established, delivery.advertised),
                (id, 1, 1)
            );
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_position_that_is_not_kept_is_told() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut feed = daemon.client.feed(FeedOptions {
        since: Some(1_000_000),
        ..FeedOptions::default()
    });
    loop {
        match next(&mut feed).await? {
            FeedItem::Resync { head, .. } => {
                assert_eq!(head, 0);
                return Ok(());
            }
            FeedItem::Connected { .. } => {}
            other => bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_reader_that_reads_nothing_slows_nobody() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut feed = daemon.client.feed(FeedOptions::default());
    connected(&mut feed).await?;
    // More entries than every buffer on the way holds.
    for round in 0..60 {
        let sends = (0..100).map(|n| {
            let client = daemon.client.clone();
            async move { client.send_event(&ban("203.0.113.10", 1 + (n + round) % 8)).await }
        });
        for sent in futures_util::future::join_all(sends).await {
            sent?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn who_may_read_may_subscribe_by_token_and_at_the_socket() -> anyhow::Result<()> {
    let daemon = Daemon::start(
        Setup {
            http: TOKENS,
            ..Setup::default()
        },
        &[],
    )
    .await?;
    let mut feed = daemon.client_as("viewer")?.feed(FeedOptions::default());
    match next(&mut feed).await? {
        FeedItem::Connected { role, .. } => assert_eq!(role, Role::Viewer),
        other => bail!("{other:?}"),
    }
    daemon
        .client_as("detector")?
        .send_event(&ban("203.0.113.10", 27015))
        .await?;
    assert_eq!(numbered(&mut feed).await?.actor.as_deref(), Some("token:fnm"));
    for (client, code) in [
        (daemon.client_as("detector")?, "auth.forbidden"),
        (daemon.client.clone(), "auth.required"),
    ] {
        match next(&mut client.feed(FeedOptions::default())).await? {
            FeedItem::Refused(error) => assert_eq!(error.code(), Some(code)),
            other => bail!("{other:?}"),
        }
    }
    let socket = daemon.dir.path().join("prefixd.sock");
    let at_socket = Client::new(Options::new(format!("unix:{}", socket.display()).parse()?))?;
    let first = next(&mut at_socket.feed(FeedOptions::default())).await?;
    if nix::unistd::geteuid().is_root() {
        assert!(
            matches!(
                first,
                FeedItem::Connected {
                    role: Role::Admin,
                    ..
                }
            ),
            "{first:?}"
        );
    } else {
        assert!(matches!(first, FeedItem::Refused(_)), "{first:?}");
    }
    Ok(())
}

/// A subscriber that sees the bytes as they come.
struct Raw {
    stream: TcpStream,
    seen: String,
}

impl Raw {
    /// Its kernel keeps little for it.
    async fn subscribe(daemon: &Daemon) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(65_536)?;
        let mut stream = socket.connect(daemon.address).await?;
        let request = format!(
            "GET /v1/ws/feed HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            daemon.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut raw = Self {
            stream,
            seen: String::new(),
        };
        raw.until("\"type\":\"hello\"").await?;
        Ok(raw)
    }

    /// Takes a little of what there is.
    async fn sip(&mut self, most: usize) -> anyhow::Result<()> {
        let mut bytes = vec![0; most];
        let length = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await??;
        anyhow::ensure!(length > 0, "the daemon ended the subscription");
        // The daemon's frames are not masked: the text is there as it is.
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        Ok(())
    }

    /// Reads up to a text, and answers what came before it.
    async fn until(&mut self, text: &str) -> anyhow::Result<String> {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            self.sip(65_536).await?;
        }
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_to_start_again() -> anyhow::Result<()> {
    let unlimited = "  socket: null\n  auth: { mode: none }\n  rate_limit: { events_per_second: 1000000, burst: 1000000 }\n";
    let daemon = Daemon::start(
        Setup {
            http: unlimited,
            ..Setup::default()
        },
        &[],
    )
    .await?;
    let mut slow = Raw::subscribe(&daemon).await?;
    let events: Vec<_> = (0..100)
        .map(|n| serde_json::value::to_raw_value(&ban("203.0.113.10", 1 + n % 8)))
        .collect::<Result<_, _>>()?;
    let batch = EventBatch { events };
    let flood = async {
        while resyncs(&daemon).await? == 0 {
            daemon.client.send_events(&batch).await?;
        }
        anyhow::Ok(())
    };
    // So little that it falls behind, so steady that the daemon does not take it for dead.
    let trickle = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        loop {
            pace.tick().await;
            if let Err(error) = slow.sip(4096).await {
                break error;
            }
        }
    };
    tokio::select! {
        ended = flood => ended?,
        error = trickle => return Err(error),
    }
    let before = slow.until("\"type\":\"resync_required\"").await?;
    assert!(before.contains("\"seq\":"), "messages came until it fell behind");
    // From there it goes on.
    let id = daemon
        .ban("203.0.113.99", 27015)
        .await?
        .mitigation_id
        .context("accepted")?;
    slow.until(&id.to_string()).await?;
    Ok(())
}

async fn resyncs(daemon: &Daemon) -> anyhow::Result<u64> {
    let http = reqwest::Client::builder().tls_certs_only([]).build()?;
    let url = format!("http://{}/metrics", daemon.address);
    let text = http.get(url).send().await?.text().await?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("prefixd_feed_resyncs_total "))
        .context("no such metric")?;
    Ok(line.parse()?)
}

#[tokio::test]
async fn a_quiet_feed_shows_that_it_lives() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut quiet = Raw::subscribe(&daemon).await?;
    let before = quiet.until("\"type\":\"ping\"").await?;
    assert!(!before.contains("\"seq\":"), "nothing happened: {before}");
    Ok(())
}
