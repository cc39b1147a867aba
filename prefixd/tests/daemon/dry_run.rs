//! Dry-run of a part: a customer, a playbook, a source, a neighbour. A switch takes rules off routers only when somebody has
//! said how many, and nothing goes out by itself when it is switched back.

use crate::support::{Daemon, PATIENCE, Setup, router};
use anyhow::Context;
use lab::routers::{Family, Kind, RouterConfig};
use nix::sys::signal::Signal;
use prefixd_api::mitigation::{EndReason, Mitigation};
use prefixd_api::resource::ReloadRequest;

const VICTIM: &str = "203.0.113.10";

/// What is live at the victim once it is of this mode.
async fn live(daemon: &Daemon) -> anyhow::Result<Mitigation> {
    let mut live = daemon.live().await?;
    anyhow::ensure!(live.len() == 1, "{} are live", live.len());
    live.pop().context("one is live")
}

/// Refused without the number, whoever asks.
async fn is_refused(daemon: &Daemon, says: &str) -> anyhow::Result<()> {
    let before = daemon.client.health_detail().await?.engine.head;
    let refused = daemon
        .client
        .reload()
        .await
        .err()
        .context("nobody confirmed it")?;
    assert_eq!(refused.code(), Some("conflict.expect_count"));
    let text = refused.to_string();
    assert!(text.contains(says) && text.contains("--expect-count 1"), "{text}");
    let wrong = ReloadRequest {
        expect_count: Some(2),
    };
    let refused = daemon
        .client
        .reload_with(&wrong)
        .await
        .err()
        .context("it is one")?;
    assert_eq!(refused.code(), Some("conflict.expect_count"));
    daemon.signal(Signal::SIGHUP)?;
    crate::support::wait_for("the signal is refused", || async {
        Ok(daemon.log().contains("signal:SIGHUP").then_some(()))
    })
    .await?;
    assert_eq!(
        daemon.client.health_detail().await?.engine.head,
        before,
        "nothing changed"
    );
    Ok(())
}

async fn confirmed(daemon: &Daemon) -> anyhow::Result<()> {
    let one = ReloadRequest {
        expect_count: Some(1),
    };
    daemon.client.reload_with(&one).await?;
    Ok(())
}

/// From enforced to dry-run and back, by a text in a file.
async fn there_and_back(file: &str, from: &str, to: &str, says: &str) -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban(VICTIM, 27015).await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| rules.len() == 2, PATIENCE)
        .await?;
    let real = live(&daemon).await?;
    daemon.edit(file, from, to)?;
    is_refused(&daemon, says).await?;
    assert_eq!(live(&daemon).await?.mitigation_id, real.mitigation_id);

    confirmed(&daemon).await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    let ended = || async {
        let known = daemon
            .client
            .mitigation(real.mitigation_id)
            .await?
            .value
            .mitigation;
        Ok(known.end_reason)
    };
    let reason = crate::support::wait_for("the end is recorded", ended).await?;
    assert_eq!(reason, EndReason::ModeChanged);

    daemon.ban(VICTIM, 27015).await?;
    let trial = live(&daemon).await?;
    assert!(!trial.enforced && trial.advertised_at.is_none());
    let notes = daemon.client.health_detail().await?.notes;
    let subject = says.trim_start_matches("no ");
    assert!(notes.iter().any(|note| note.contains(subject)), "{notes:?}");
    let why = daemon.client.mitigation_why(trial.mitigation_id).await?.value;
    let told = why
        .steps
        .iter()
        .find(|step| step.code == "dry_run")
        .context("it says so")?;
    assert!(told.text.contains(says), "{}", told.text);

    daemon.edit(file, to, from)?;
    daemon.client.reload().await?;
    crate::support::wait_for("the trial is over", || async {
        Ok(daemon.live().await?.is_empty().then_some(()))
    })
    .await?;
    daemon.ban(VICTIM, 27015).await?;
    assert!(live(&daemon).await?.enforced);
    let rules = bird
        .wait_rules(Family::Ipv4Flow, |rules| rules.len() == 2, PATIENCE)
        .await?;
    assert_eq!(rules.len(), 2, "and nothing of the trial");
    Ok(())
}

#[tokio::test]
async fn a_customer_goes_on_trial_and_back() -> anyhow::Result<()> {
    let (from, to) = (
        "link_bps: 10000000000",
        "link_bps: 10000000000\n    enforce: false",
    );
    there_and_back("inventory.yaml", from, to, "customer acme").await
}

#[tokio::test]
async fn a_playbook_goes_on_trial_and_back() -> anyhow::Result<()> {
    let (from, to) = ("- name: udp\n", "- name: udp\n    enforce: false\n");
    there_and_back("playbooks.yaml", from, to, "playbook udp").await
}

#[tokio::test]
async fn a_source_goes_on_trial_and_back() -> anyhow::Result<()> {
    let (from, to) = ("reporting: repeats", "reporting: repeats, enforce: false");
    there_and_back("prefixd.yaml", from, to, "no source").await
}

#[tokio::test]
async fn a_neighbour_loses_its_rules_only_when_that_is_confirmed() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban(VICTIM, 27015).await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| rules.len() == 2, PATIENCE)
        .await?;
    daemon.edit("prefixd.yaml", "profile: bird", "profile: bird, enforce: false")?;
    is_refused(&daemon, "bird0").await?;
    confirmed(&daemon).await?;
    bird.wait_rules(Family::Ipv4Flow, <[lab::routers::RouterRule]>::is_empty, PATIENCE)
        .await?;
    assert!(live(&daemon).await?.enforced, "the others would have it");
    Ok(())
}
