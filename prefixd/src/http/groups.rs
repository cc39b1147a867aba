//! Signal groups: who says that there is an attack, and how sure that makes prefixd.

use super::extract::{PathText, Query, ok, path};
use super::{App, Failure};
use crate::policy::group_state;
use crate::store::{CursorError, EventFilter, GroupFilter, MitigationFilter, PageRequest};
use axum::extract::State;
use axum::response::Response;
use prefixd_api::event::StoredEvent;
use prefixd_api::group::{GroupDetail, GroupList, GroupState, GroupView};
use prefixd_api::ids::{GroupId, MitigationId};
use prefixd_api::mitigation::{Group, Mitigation};
use prefixd_api::problem::Problem;
use prefixd_api::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Reports and mitigations that a group is shown with.
const SHOWN: u16 = 100;
/// Pages of events that are gone through for those of an aggregate.
const PAGES_OF_MANY: usize = 20;

/// Columns of the list in CSV.
const COLUMNS: &[&str] = &[
    "group_id",
    "pop",
    "state",
    "scope.victim",
    "scope.vector",
    "confidence",
    "opened_at",
    "last_event_at",
    "closed_at",
    "mitigation_id",
];

/// Signal groups, the one that opened last first.
#[utoipa::path(get, path = "/v1/groups", tag = "questions", params(
    ("state" = Option<String>, Query, description = "open, quiet or closed"),
    ("victim_ip" = Option<String>, Query, description = "About this address, or any in this prefix"),
    ("vector" = Option<String>, Query),
    ("pop" = Option<String>, Query, description = "A name, or all; this daemon's own when absent"),
    ("format" = Option<String>, Query, description = "json or csv; json when absent, or as Accept says"),
    ("limit" = Option<u16>, Query), ("cursor" = Option<String>, Query),
    ("start" = Option<String>, Query, description = "Opened at or after"),
    ("end" = Option<String>, Query, description = "Opened before"),
), responses((status = 200, content((GroupList = "application/json"), (String = "text/csv"))), (status = 400, body = Problem)))]
pub(super) async fn list(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let (form, paging) = (query.form()?, query.paging()?);
    let state = query.one_of("state", &GroupState::ALL.map(|state| (state.as_str(), state)))?;
    let pop = query.pop(&app.pop)?;
    let filter = GroupFilter {
        victim: super::mitigations::prefix(&mut query)?,
        vector: query.text("vector")?,
        closed: state.map(|state| state == GroupState::Closed),
        start: paging.start,
        end: paging.end,
    };
    query.finish()?;
    let cursor = paging.cursor.as_deref().map(str::parse::<GroupId>).transpose();
    let before = cursor.map_err(|_| CursorError)?;
    let limit = usize::from(paging.limit);
    let (mut groups, next) = match state {
        // Those of this POP that are not closed are all in memory.
        Some(state @ (GroupState::Open | GroupState::Quiet)) if pop.as_ref() == Some(&app.pop) => {
            in_memory(&app, &filter, state, before, limit)
        }
        _ => {
            let pop = pop.as_deref();
            app.store.list_groups(pop, &filter, before, limit).await?
        }
    };
    let now = app.clock.now();
    groups.retain(|group| state.is_none_or(|state| group_state(group, now) == state));
    let elsewhere = live_elsewhere(&app, &groups).await?;
    let groups: Vec<GroupView> = groups
        .into_iter()
        .map(|group| view(&app, group, &elsewhere))
        .collect();
    let list = GroupList {
        count: groups.len(),
        groups,
        next_cursor: next.map(|id| id.to_string()),
    };
    form.page(&list, COLUMNS, &list.groups, list.next_cursor.as_deref())
}

fn in_memory(
    app: &App,
    filter: &GroupFilter,
    state: GroupState,
    before: Option<GroupId>,
    limit: usize,
) -> (Vec<Group>, Option<GroupId>) {
    let (snapshot, now) = (app.engine.snapshot(), app.clock.now());
    let mut groups: Vec<_> = snapshot
        .state
        .groups()
        .filter(|group| before.is_none_or(|before| group.group_id < before))
        .filter(|group| group_state(group, now) == state && filter.lets_through(group))
        .collect();
    groups.sort_unstable_by_key(|group| std::cmp::Reverse(group.group_id));
    let more = groups.len() > limit;
    groups.truncate(limit);
    let next = groups.last().filter(|_| more).map(|group| group.group_id);
    (
        groups.into_iter().map(|group| Group::clone(group)).collect(),
        next,
    )
}

/// The live mitigations of other POPs' groups, by group: a scope has one at most. Without such groups nobody is asked.
async fn live_elsewhere(app: &App, groups: &[Group]) -> Result<HashMap<GroupId, MitigationId>, Failure> {
    let may_have_one = |group: &&Group| group.pop != app.pop && group.closed_at.is_none();
    let asked: Vec<&Group> = groups.iter().filter(may_have_one).collect();
    let live = app.store.live_of_groups(&asked).await?;
    Ok(live.into_iter().collect())
}

fn view(app: &App, group: Group, elsewhere: &HashMap<GroupId, MitigationId>) -> GroupView {
    let (snapshot, now) = (app.engine.snapshot(), app.clock.now());
    let live = snapshot.state.mitigation_of(&group.scope);
    GroupView {
        state: group_state(&group, now),
        mitigation_id: live
            .filter(|live| live.group_id == group.group_id)
            .map(|live| live.mitigation_id)
            .or_else(|| elsewhere.get(&group.group_id).copied()),
        sources: snapshot.policy.weigh(&group, now),
        group,
    }
}

/// One signal group with its reports and what came of them.
#[utoipa::path(get, path = "/v1/groups/{id}", tag = "questions", params(("id" = String, Path)),
    responses((status = 200, body = GroupDetail), (status = 404, body = Problem)))]
pub(super) async fn get(
    State(app): State<App>,
    PathText(id): PathText,
    query: Query,
) -> Result<Response, Failure> {
    query.finish()?;
    let id: GroupId = path(&id, "group")?;
    let group = app
        .store
        .get_group(id)
        .await?
        .ok_or_else(|| Failure::not_found("group"))?;
    let page = PageRequest {
        cursor: None,
        limit: SHOWN,
    };
    let victim = Some(group.scope.victim.prefix());
    let vector = Some(group.scope.vector.to_string());
    let events = EventFilter {
        victim,
        vector: vector.clone(),
        pop: Some(group.pop.to_string()),
        start: Some(group.opened_at),
        end: Some(after(group.last_event_at)),
        ..EventFilter::default()
    };
    let mitigations = MitigationFilter {
        victim,
        vector,
        pop: Some(group.pop.to_string()),
        start: Some(group.opened_at),
        ..MitigationFilter::default()
    };
    let mut mitigations = app.store.list_mitigations(&mitigations, page).await?.items;
    mitigations.retain(|mitigation| mitigation.group_id == id);
    // The reports behind an aggregate are of its victims' groups.
    let is_of_it = |event: &StoredEvent| {
        let led_to = |made: &Mitigation| event.mitigation_id == Some(made.mitigation_id);
        event.group_id == Some(id) || mitigations.iter().any(led_to)
    };
    let pages = if group.scope.victim.is_host() {
        1
    } else {
        PAGES_OF_MANY
    };
    let events = reports(&app, &events, pages, is_of_it).await?;
    let live = mitigations.iter().find(|one| one.status.is_live());
    let live = live.map(|one| (id, one.mitigation_id)).into_iter().collect();
    let snapshot = app.engine.snapshot();
    let customer = snapshot.policy.customer_of(group.scope.victim);
    ok(&GroupDetail {
        customer_id: customer.map(str::to_owned),
        view: view(&app, group, &live),
        mitigations,
        events,
    })
}

/// The newest reports that are of a group. A host has its own index; of a prefix every event of the POP is looked at, and a
/// page may hold none of them.
async fn reports(
    app: &App,
    filter: &EventFilter,
    pages: usize,
    is_of_it: impl Fn(&StoredEvent) -> bool,
) -> Result<Vec<StoredEvent>, Failure> {
    let mut page = PageRequest {
        cursor: None,
        limit: SHOWN,
    };
    let mut found = Vec::new();
    for _ in 0..pages {
        let part = app.store.list_events(filter, page).await?;
        found.extend(part.items.into_iter().filter(&is_of_it));
        page.cursor = part.next;
        if page.cursor.is_none() || found.len() >= usize::from(SHOWN) {
            break;
        }
    }
    found.truncate(SHOWN.into());
    Ok(found)
}

/// Ends are exclusive.
fn after(at: Timestamp) -> Timestamp {
    at.saturating_add(Duration::from_micros(1))
}
