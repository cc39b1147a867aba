//! Mitigations as they change.

use super::FilterArgs;
use super::rows::{action, status};
use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::watch::{Lines, Watched, Watcher};
use clap::Args;
use prefixd_api::client::{FeedOptions, Page};
use prefixd_api::feed::{FeedBody, MitigationChange};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::show::{MAX_CELL_CHARS, absolute, clean, short_id};
use serde::Serialize;
use std::collections::HashMap;

/// Types of the feed that carry mitigations.
const TYPES: [&str; 6] = [
    "mitigation_created",
    "mitigation_updated",
    "mitigation_escalated",
    "mitigation_withdrawn",
    "mitigation_expired",
    "mitigation_rejected",
];

/// Print mitigations as they are made, change and end
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations watch
  prefixdctl mit watch --customer acme -o jsonl")]
pub(super) struct WatchArgs {
    #[command(flatten)]
    filter: FilterArgs,
}

/// A mitigation and what just happened to it.
#[derive(Serialize)]
struct Changed<'m> {
    change: Change,
    #[serde(flatten)]
    mitigation: &'m Mitigation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Created,
    Updated,
    Ended,
}

impl WatchArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let lines = Lines::of(session.out.format, "a watch")?;
        let (mut known, head) = live(session).await?;
        let mut watcher = Watcher::new(
            session,
            FeedOptions {
                since: head,
                types: TYPES.map(str::to_owned).into(),
                ..FeedOptions::default()
            },
        );
        loop {
            let changed = match watcher.next(session).await? {
                Watched::Missed => missed(session, &mut known).await?,
                Watched::Message(message) => follow(session, &mut known, message.body).await?,
            };
            for (change, mitigation) in changed {
                if self.filter.accepts(&mitigation) {
                    print(session, lines, change, &mitigation)?;
                }
            }
        }
    }
}

type Known = HashMap<MitigationId, Mitigation>;

/// All live mitigations, and the position from which the feed continues them.
async fn live(session: &Session) -> Result<(Known, Option<u64>), Failure> {
    let mut query = prefixd_api::client::MitigationQuery {
        status: MitigationStatus::ALL
            .into_iter()
            .filter(|status| status.is_live())
            .collect(),
        page: Page {
            limit: Some(1000),
            ..Page::default()
        },
        ..Default::default()
    };
    let mut known = Known::new();
    let mut head = None;
    loop {
        let read = session.client.mitigations(&query).await?;
        // The first page's position: what changes while the others are read comes again, and is known then.
        head = head.or(read.head);
        known.extend(read.value.mitigations.into_iter().map(|m| (m.mitigation_id, m)));
        query.page.cursor = read.value.next_cursor;
        if query.page.cursor.is_none() {
            return Ok((known, head));
        }
    }
}

/// What changed while messages were missed.
async fn missed(session: &Session, known: &mut Known) -> Result<Vec<(Change, Mitigation)>, Failure> {
    let (now, _) = live(session).await?;
    let before = std::mem::replace(known, now);
    let mut changed = Vec::new();
    for id in before.keys().filter(|id| !known.contains_key(id)) {
        changed.push((
            Change::Ended,
            session.client.mitigation(*id).await?.value.mitigation,
        ));
    }
    for (id, mitigation) in known.iter() {
        match before.get(id) {
            None => changed.push((Change::Created, mitigation.clone())),
            Some(old) if old.revision != mitigation.revision => {
                changed.push((Change::Updated, mitigation.clone()));
            }
            Some(_) => {}
        }
    }
    changed.sort_by_key(|(_, mitigation)| mitigation.updated_at);
    Ok(changed)
}

/// What one message of the feed means.
async fn follow(
    session: &Session,
    known: &mut Known,
    body: FeedBody,
) -> Result<Vec<(Change, Mitigation)>, Failure> {
    let (change, mitigation) = match body {
        FeedBody::MitigationCreated { mitigation } => match known.contains_key(&mitigation.mitigation_id) {
            true => return Ok(Vec::new()),
            false => (Change::Created, *mitigation),
        },
        FeedBody::MitigationUpdated(change)
        | FeedBody::MitigationAcknowledged(change)
        | FeedBody::MitigationEscalated(change) => {
            let Some(mitigation) = apply(session, known, &change).await? else {
                return Ok(Vec::new());
            };
            (Change::Updated, mitigation)
        }
        FeedBody::MitigationWithdrawn(change)
        | FeedBody::MitigationExpired(change)
        | FeedBody::MitigationRejected(change) => {
            let Some(mitigation) = apply(session, known, &change).await? else {
                return Ok(Vec::new());
            };
            (Change::Ended, mitigation)
        }
        _ => return Ok(Vec::new()),
    };
    if mitigation.status.is_live() {
        known.insert(mitigation.mitigation_id, mitigation.clone());
    } else {
        known.remove(&mitigation.mitigation_id);
    }
    Ok(vec![(change, mitigation)])
}

/// The mitigation after a change; nothing when the change is known already.
async fn apply(
    session: &Session,
    known: &Known,
    change: &MitigationChange,
) -> Result<Option<Mitigation>, Failure> {
    let old = known.get(&change.mitigation_id);
    if old.is_some_and(|old| old.revision >= change.revision) {
        return Ok(None);
    }
    if let Some(mitigation) = old.and_then(|old| change.apply_to(old)) {
        return Ok(Some(mitigation));
    }
    Ok(Some(
        session
            .client
            .mitigation(change.mitigation_id)
            .await?
            .value
            .mitigation,
    ))
}

fn print(session: &Session, lines: Lines, change: Change, m: &Mitigation) -> Result<(), Failure> {
    let view = session.out.view();
    output::print(&match lines {
        Lines::Json => output::line(&Changed {
            change,
            mitigation: m,
        })?,
        Lines::Ids => format!("{}\n", m.mitigation_id),
        Lines::Text => {
            let word = match change {
                Change::Created => "created",
                Change::Updated => "updated",
                Change::Ended => "ended",
            };
            let line = format!(
                "{}  {word:7}  {}  {:9}  {}  {}  {}",
                absolute(m.updated_at, view.now, view.zone),
                short_id(m.mitigation_id),
                status(m).text,
                m.victim_ip,
                m.vector,
                action(m)
            );
            clean(&line, MAX_CELL_CHARS) + "\n"
        }
    })
}
