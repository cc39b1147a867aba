//! Short identifiers: the beginning or the end of one, as tables show it.

use crate::failure::Failure;
use crate::session::Session;
use prefixd_api::client::{EventQuery, GroupQuery, MitigationQuery, Page};
use prefixd_api::ids::{EventId, GroupId, MitigationId, SuppressionId};
use prefixd_api::mitigation::MitigationStatus;
use prefixd_api::show::{MIN_ID_CHARS, id_matches};
use std::fmt::Display;
use std::str::FromStr;

/// How many of the newest are searched for a short identifier.
const SEARCHED: u16 = 1000;

/// The mitigation a person means: live ones first, then the newest of all.
pub(crate) async fn mitigation(session: &Session, typed: &str) -> Result<MitigationId, Failure> {
    if let Ok(id) = typed.parse() {
        return Ok(id);
    }
    let live: Vec<_> = MitigationStatus::ALL
        .into_iter()
        .filter(|status| status.is_live())
        .collect();
    for status in [live, Vec::new()] {
        let query = MitigationQuery {
            status,
            page: newest(),
            ..MitigationQuery::default()
        };
        let list = session.client.mitigations(&query).await?.value;
        let ids = list.mitigations.iter().map(|mitigation| mitigation.mitigation_id);
        if let Some(id) = only_match("mitigation", typed, ids)? {
            return Ok(id);
        }
    }
    Err(not_found("mitigation", typed))
}

/// The event a person means, among the newest.
pub(crate) async fn event(session: &Session, typed: &str) -> Result<EventId, Failure> {
    if let Ok(id) = typed.parse() {
        return Ok(id);
    }
    let query = EventQuery {
        page: newest(),
        ..EventQuery::default()
    };
    let list = session.client.events(&query).await?.value;
    only_match("event", typed, list.events.iter().map(|event| event.event_id))?
        .ok_or_else(|| not_found("event", typed))
}

/// The signal group a person means, among those that opened last.
pub(crate) async fn group(session: &Session, typed: &str) -> Result<GroupId, Failure> {
    if let Ok(id) = typed.parse() {
        return Ok(id);
    }
    let query = GroupQuery {
        page: newest(),
        ..GroupQuery::default()
    };
    let list = session.client.groups(&query).await?.value;
    only_match(
        "group",
        typed,
        list.groups.iter().map(|group| group.group.group_id),
    )?
    .ok_or_else(|| not_found("group", typed))
}

/// The suppression a person means, among those in force.
pub(crate) async fn suppression(session: &Session, typed: &str) -> Result<SuppressionId, Failure> {
    if let Ok(id) = typed.parse() {
        return Ok(id);
    }
    let list = session.client.suppressions().await?.value;
    let wide = list.wide.iter().map(|one| one.suppression_id);
    let ids = list.suppressions.iter().map(|one| one.suppression_id).chain(wide);
    only_match("suppression", typed, ids)?
        .ok_or_else(|| Failure::NotFound(format!("no suppression in force begins or ends with {typed:?}")))
}

fn newest() -> Page {
    Page {
        limit: Some(SEARCHED),
        ..Page::default()
    }
}

fn only_match<I: Copy + Display + FromStr>(
    what: &str,
    typed: &str,
    ids: impl Iterator<Item = I>,
) -> Result<Option<I>, Failure> {
    if typed.len() < MIN_ID_CHARS {
        return Err(Failure::Input(format!(
            "{typed:?} is too short for an identifier: give at least {MIN_ID_CHARS} characters"
        )));
    }
    let found: Vec<_> = ids.filter(|id| id_matches(id, typed)).collect();
    match found[..] {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        [first, second, ..] => Err(Failure::Input(format!(
            "{typed:?} stands for {} {what}s, {first} and {second} among them: give more characters",
            found.len()
        ))),
    }
}

fn not_found(what: &str, typed: &str) -> Failure {
    Failure::NotFound(format!(
        "no {what} begins or ends with {typed:?} among the newest {SEARCHED}; give the whole identifier"
    ))
}
