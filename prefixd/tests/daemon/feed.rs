//! The feed: everything in order, and on after an interruption.

use crate::support::{Daemon, PATIENCE, Setup, ban};
use anyhow::{Context, bail};
use lab::routers::{Kind, Router, RouterConfig};
use prefixd_api::client::{Feed, FeedItem, FeedOptions};
use prefixd_api::feed::{FeedBody, FeedMessage};
use prefixd_api::mitigation::WithdrawRequest;

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
    let bird = Router::start(Kind::Bird, RouterConfig::new(65001, 65010)).await?;
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
            FeedItem::Resync { head } => {
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
