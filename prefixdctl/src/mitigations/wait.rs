//! Waiting until neighbours have been told.

use crate::failure::Failure;
use crate::session::Session;
use clap::Args;
use prefixd_api::client::{Error, RibQuery};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, MitigationDetail};
use prefixd_api::resource::AnnouncementState;
use prefixd_api::show::parse_span;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Rules of one page of what a neighbour holds.
const PAGE: u16 = 1000;

#[derive(Args, Debug)]
pub(super) struct WaitArgs {
    /// Wait until every neighbour with a session has been told, 30s at most or TIME; exit code 12 if not
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_span,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30s"
    )]
    wait: Option<Duration>,
}

/// What is to leave, by neighbour: NLRI as hex.
pub(super) type Told = BTreeMap<String, BTreeSet<String>>;

impl WaitArgs {
    /// The end of the wait, if one was asked for.
    pub(super) fn until(&self) -> Option<Instant> {
        self.wait.map(|wait| Instant::now() + wait)
    }
}

/// Waits until all of a mitigation is at every neighbour with a session, and answers how it is then: also when the time is over.
/// What is not to be announced, or not any more, is not waited for.
pub(super) async fn announced(
    session: &Session,
    id: MitigationId,
    until: Instant,
) -> Result<(Mitigation, Result<(), Failure>), Failure> {
    loop {
        let MitigationDetail {
            mitigation,
            announcements,
            ..
        } = session.client.mitigation(id).await?.value;
        let at = mitigation.delivery.as_deref().copied().unwrap_or_default();
        let is_there = at.established > 0 && at.advertised == at.established;
        if is_there || !mitigation.enforced || !mitigation.status.is_announced() {
            return Ok((mitigation, Ok(())));
        }
        if Instant::now() >= until {
            let missing = announcements
                .iter()
                .filter(|one| {
                    !matches!(
                        one.state,
                        AnnouncementState::Advertised | AnnouncementState::Reflected
                    )
                })
                .map(|one| match &one.reason {
                    Some(reason) => format!("{} {}: {reason}", one.neighbor, one.state),
                    None => format!("{} {}", one.neighbor, one.state),
                })
                .collect::<BTreeSet<_>>();
            let missing = missing.into_iter().collect::<Vec<_>>().join("; ");
            let why = if missing.is_empty() {
                "no neighbour gets rules".to_owned()
            } else {
                missing
            };
            return Ok((
                mitigation,
                Err(Failure::TimedOut(format!("not told everywhere: {why}"))),
            ));
        }
        sleep(PAUSE).await;
    }
}

/// What neighbours were told of mitigations, to be asked before they are withdrawn.
pub(super) async fn told(session: &Session, ids: &[MitigationId]) -> Result<Told, Failure> {
    let mut told = Told::new();
    for id in ids {
        for one in session.client.mitigation(*id).await?.value.announcements {
            if let Some(nlri) = one.nlri {
                told.entry(one.neighbor).or_default().insert(nlri);
            }
        }
    }
    Ok(told)
}

/// Waits until nothing of it waits to be taken back. A rule that another mitigation wants stays.
pub(super) async fn withdrawn(session: &Session, mut told: Told, until: Instant) -> Result<(), Failure> {
    loop {
        let mut left = Told::new();
        for (neighbor, rules) in told {
            let waits = leaving(session, &neighbor, &rules).await?;
            if !waits.is_empty() {
                left.insert(neighbor, waits);
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            let left: Vec<_> = left
                .iter()
                .map(|(neighbor, rules)| format!("{neighbor} {}", rules.len()))
                .collect();
            return Err(Failure::TimedOut(format!(
                "withdrawn, and not taken back everywhere: rules that wait: {}",
                left.join(", ")
            )));
        }
        told = left;
        sleep(PAUSE).await;
    }
}

/// Which of the rules wait to be taken back from a neighbour.
async fn leaving(
    session: &Session,
    neighbor: &str,
    rules: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Failure> {
    let mut waits = BTreeSet::new();
    let mut query = RibQuery {
        state: vec![AnnouncementState::Withdrawing],
        limit: Some(PAGE),
        ..RibQuery::default()
    };
    loop {
        let page = match session.client.peer_rib(neighbor, &query).await {
            Ok(page) => page.value,
            // It was removed meanwhile, and its session with it.
            Err(Error::Problem(problem)) if problem.status == 404 => return Ok(waits),
            Err(error) => return Err(error.into()),
        };
        let leaves = page
            .routes
            .into_iter()
            .filter(|route| route.state == AnnouncementState::Withdrawing && rules.contains(&route.nlri));
        waits.extend(leaves.map(|route| route.nlri));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(waits);
        }
    }
}
