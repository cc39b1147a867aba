//! Ends of the daemon, in order and not.

use crate::support::{Backend, Daemon, PATIENCE, Setup, ban, on_both_stores, router};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig};
use nix::sys::signal::Signal;
use prefixd_api::event::{EventOutcome, EventRequest};
use prefixd_api::time::Timestamp;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

on_both_stores!(
    a_stop_withdraws_and_a_start_announces_what_is_left_of_the_lease
    a_killed_daemon_leaves_no_rule_and_loses_nothing_it_acknowledged
    a_replay_is_known_after_a_restart
    a_stop_breaks_no_promise
    what_cannot_be_read_after_a_restart_keeps_its_scope
    a_second_daemon_for_a_pop_refuses_to_start_until_the_first_has_ended
);

async fn a_stop_withdraws_and_a_start_announces_what_is_left_of_the_lease(
    store: Backend,
) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    let before = daemon.live().await?;

    daemon.stop().await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    daemon.boot().await?;
    bird.wait_rules(
        Family::Ipv4Flow,
        |rules| rules.len() == before[0].rules.len(),
        PATIENCE,
    )
    .await?;
    let after = daemon.live().await?;
    assert_eq!(after[0].mitigation_id, before[0].mitigation_id);
    assert_eq!(after[0].expires_at, before[0].expires_at);
    Ok(())
}

async fn a_killed_daemon_leaves_no_rule_and_loses_nothing_it_acknowledged(
    store: Backend,
) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut daemon = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    daemon.wait_established(1).await?;
    for last in 10..30 {
        daemon.ban(&format!("203.0.113.{last}"), 27015).await?;
    }
    daemon.kill().await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    daemon.boot().await?;
    assert_eq!(daemon.live().await?.len(), 20);
    let destinations = |rules: &[lab::routers::RouterRule]| {
        rules
            .iter()
            .filter_map(|rule| rule.matches.destination)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    bird.wait_rules(Family::Ipv4Flow, |rules| destinations(rules) == 20, PATIENCE)
        .await?;
    Ok(())
}

async fn a_replay_is_known_after_a_restart(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    let sent = Timestamp::wall_clock().saturating_sub(Duration::from_secs(60));
    // The same name at a later time is news of the same attack.
    let at = |seconds| EventRequest {
        event_id: Some("fnm-81".into()),
        timestamp: Some(sent.saturating_add(Duration::from_secs(seconds))),
        ..ban("203.0.113.10", 27015)
    };
    let first = daemon.client.send_event(&at(0)).await?;
    assert_eq!(daemon.client.send_event(&at(0)).await?, first);
    let second = daemon.client.send_event(&at(1)).await?;
    assert_eq!(
        (second.status, second.mitigation_id),
        (EventOutcome::Extended, first.mitigation_id)
    );
    assert_ne!(second.event_id, first.event_id);
    let lease = daemon.live().await?[0].expires_at;

    daemon.kill().await?;
    daemon.boot().await?;
    assert_eq!(daemon.client.send_event(&at(0)).await?.event_id, first.event_id);
    assert_eq!(daemon.client.send_event(&at(1)).await?.event_id, second.event_id);
    assert_eq!(
        daemon.live().await?[0].expires_at,
        lease,
        "replays extend nothing"
    );
    let third = daemon.client.send_event(&at(2)).await?;
    assert_eq!(
        (third.status, third.mitigation_id),
        (EventOutcome::Extended, first.mitigation_id)
    );
    let live = daemon.live().await?;
    assert_eq!(live.len(), 1);
    assert!(live[0].expires_at > lease);
    Ok(())
}

/// Of two hundred reports, some are answered, some refused and some cut when the daemon stops among them.
async fn a_stop_breaks_no_promise(store: Backend) -> anyhow::Result<()> {
    let quotas = "{ max_active_per_customer: 300, max_active_per_pop: 300, max_active_global: 500, \
                  max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 } }";
    let mut daemon = Daemon::start(
        Setup {
            quotas,
            ..Setup::on(store).await?
        },
        &[],
    )
    .await?;
    let (answered, mut first) = tokio::sync::mpsc::unbounded_channel();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..20 {
        let (client, answered) = (daemon.client.clone(), answered.clone());
        senders.spawn(async move {
            let mut told = Vec::new();
            for last in (10 + sender * 10)..(20 + sender * 10) {
                let victim = format!("203.0.113.{last}");
                let answer = client.send_event(&ban(&victim, 27015)).await;
                let is_accepted = answer.is_ok();
                told.push((victim, answer));
                if is_accepted {
                    // Nobody listens any more after the first.
                    let _ = answered.send(());
                }
            }
            told
        });
    }
    first.recv().await.context("an answer")?;
    daemon.stop().await?;
    let told: Vec<_> = senders.join_all().await.into_iter().flatten().collect();
    assert_eq!(told.len(), 200);

    daemon.boot().await?;
    let live: HashSet<_> = daemon
        .live()
        .await?
        .iter()
        .map(|live| live.victim_ip.to_string())
        .collect();
    for (victim, answer) in told {
        match answer {
            Ok(answer) => assert!(live.contains(&victim), "{victim} was {answer:?} and is lost"),
            Err(refused) => match refused.code() {
                Some("stopping" | "store.unavailable") => {
                    assert!(
                        !live.contains(&victim),
                        "{victim} was refused ({refused}) and is live"
                    );
                }
                // The connection was cut or refused: nothing was promised.
                None => {}
                Some(code) => anyhow::bail!("{victim}: {code}"),
            },
        }
    }
    Ok(())
}

/// Nothing takes the place of what is in the database and cannot be read; everything else goes on.
async fn what_cannot_be_read_after_a_restart_keeps_its_scope(store: Backend) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::on(store).await?, &[]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    daemon.stop().await?;
    let mut other = daemon.other().await?;
    assert_eq!(other.execute("UPDATE mitigations SET body = '{}'").await?, 1);
    drop(other);
    daemon.boot().await?;
    assert!(daemon.live().await?.is_empty());
    let pending = daemon.ban("203.0.113.10", 27015).await?;
    assert_eq!(pending.status, EventOutcome::AcceptedPending);
    assert!(pending.reason.contains("cannot be read"), "{}", pending.reason);
    let beside = daemon.ban("203.0.113.11", 27015).await?;
    assert_eq!(beside.status, EventOutcome::Accepted);
    assert_eq!(daemon.live().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_neighbour_that_is_down_does_not_stop_the_daemon() -> anyhow::Result<()> {
    let mut bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    bird.stop().await?;
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let detail = daemon.client.health_detail().await?;
    assert_eq!(
        (detail.status.as_str(), detail.peers_established),
        ("degraded", 0)
    );
    // As the kernel sees it: no huge page is cleared while a commit waits.
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()?))?;
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
    bird.restart().await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    Ok(())
}

/// The database takes the connection and says nothing: the start goes no further.
#[tokio::test]
async fn a_start_that_waits_can_be_stopped_and_outlives_a_hangup() -> anyhow::Result<()> {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut daemon = Daemon::configured(
        Setup {
            database: Some(format!("postgres://prefixd@{}/prefixd", silent.local_addr()?)),
            ..Setup::default()
        },
        &[],
    )?;
    daemon.spawn()?;
    let _connection = tokio::time::timeout(PATIENCE, silent.accept()).await??;
    daemon.signal(Signal::SIGHUP)?;
    // An orderly end, and not that of the signal before; `stop` waits five seconds for it.
    daemon.stop().await
}

#[tokio::test]
async fn half_a_request_does_not_hold_a_stop() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut halves = Vec::new();
    for head in [
        // The daemon asks for the body when it waits for it.
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n",
        "GET /v1/stats HTTP/1.1\r\nhost: local",
    ] {
        let mut stream = TcpStream::connect(daemon.address).await?;
        stream.write_all(head.as_bytes()).await?;
        halves.push(stream);
    }
    let mut answer = String::new();
    let mut lines = BufReader::new(&mut halves[0]);
    lines.read_line(&mut answer).await?;
    assert_eq!(answer.trim(), "HTTP/1.1 100 Continue");
    daemon.stop().await?;
    lines.read_to_string(&mut answer).await?;
    assert!(
        answer.contains("503 Service Unavailable") && answer.contains("\"stopping\""),
        "{answer}"
    );
    Ok(())
}

async fn a_second_daemon_for_a_pop_refuses_to_start_until_the_first_has_ended(
    store: Backend,
) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let mut first = Daemon::start(Setup::on(store).await?, &[&bird]).await?;
    first.wait_established(1).await?;
    first.ban("203.0.113.10", 27015).await?;
    let setup = Setup {
        database: Some(first.database()),
        ..Setup::default()
    };
    let mut second = Daemon::configured(setup, &[])?;

    let status = second.spawn()?.wait(PATIENCE).await?.context("it runs")?;
    assert_eq!(status.code(), Some(1));
    let log = second.log();
    assert!(log.contains("one daemon") && log.contains("prefixd"), "{log}");
    assert_eq!(first.live().await?.len(), 1);
    first.ban("203.0.113.11", 27015).await?;

    first.kill().await?;
    second.boot().await?;
    assert_eq!(second.live().await?.len(), 2);
    Ok(())
}
