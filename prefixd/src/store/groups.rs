//! Signal groups, the one that opened last first. Names are ordered by time, so the name is the position.

use super::db::on_db;
use super::read::parse;
use super::{Store, StoreError};
use ipnet::IpNet;
use prefixd_api::ids::GroupId;
use prefixd_api::mitigation::Group;
use prefixd_api::time::Timestamp;
use sqlx::QueryBuilder;
use std::time::Duration;
use uuid::Uuid;

/// Rows read at once, once the first of a page did not fill it.
const CHUNK: usize = 500;
/// Rows one page looks at, when it has to look for what the filter lets through.
const BUDGET: usize = 2 * CHUNK;
/// A name is made by the wall clock, a group opens by the engine's: between the two may be what a corrected clock
/// leaves. What opened when is decided by the group; the name only bounds where it is looked for.
const CLOCKS_APART: Duration = Duration::from_secs(24 * 3600);

/// Which groups. Empty fields let everything through.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    /// Victims inside this prefix.
    pub victim: Option<IpNet>,
    /// The kind of attack.
    pub vector: Option<String>,
    /// Closed ones only, or only those that are not.
    pub closed: Option<bool>,
    /// Opened at or after.
    pub start: Option<Timestamp>,
    /// Opened before.
    pub end: Option<Timestamp>,
}

impl GroupFilter {
    /// Whether it lets a group through.
    #[must_use]
    pub fn lets_through(&self, group: &Group) -> bool {
        self.closed
            .is_none_or(|closed| closed == group.closed_at.is_some())
            && self
                .victim
                .is_none_or(|prefix| group.scope.victim.touches(&prefix))
            && self
                .vector
                .as_deref()
                .is_none_or(|vector| vector == &*group.scope.vector)
            && self.start.is_none_or(|start| group.opened_at >= start)
            && self.end.is_none_or(|end| group.opened_at < end)
    }
}

impl Store {
    /// A page of a POP's groups, or of all POPs', before a name, and where the next one begins. A page may be short, or empty, and
    /// still be followed by another.
    ///
    /// # Errors
    /// When the store fails. A row that cannot be read is left out and logged by name.
    pub async fn list_groups(
        &self,
        pop: Option<&str>,
        filter: &GroupFilter,
        before: Option<GroupId>,
        limit: usize,
    ) -> Result<(Vec<Group>, Option<GroupId>), StoreError> {
        let from = filter.start.map(|at| first_name(at.saturating_sub(CLOCKS_APART)));
        let end = filter.end.map(|at| first_name(at.saturating_add(CLOCKS_APART)));
        let mut before = [before.map(|id| id.0), end].into_iter().flatten().min();
        let (mut groups, mut looked_at) = (Vec::new(), 0);
        while looked_at < BUDGET {
            // Most of the time everything is let through.
            let chunk = if looked_at == 0 { limit + 1 } else { CHUNK };
            let rows = self
                .groups_before(pop, filter.closed == Some(true), from, before, chunk)
                .await?;
            let is_end = rows.len() < chunk;
            looked_at += chunk;
            for (id, body) in rows {
                if groups.len() == limit {
                    return Ok((groups, before.map(GroupId)));
                }
                before = Some(id);
                match parse::<Group>("group", id, &body) {
                    Ok(group) => groups.extend(filter.lets_through(&group).then_some(group)),
                    Err(error) => tracing::error!(%error, "it is left out of the list"),
                }
            }
            if is_end {
                return Ok((groups, None));
            }
        }
        Ok((groups, before.map(GroupId)))
    }

    async fn groups_before(
        &self,
        pop: Option<&str>,
        closed: bool,
        from: Option<Uuid>,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<(Uuid, String)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new("SELECT id, body FROM signal_groups WHERE ");
            match pop {
                Some(pop) => query.push("pop = ").push_bind(pop.to_owned()),
                None => query.push("1 = 1"),
            };
            if closed {
                query.push(" AND closed_at IS NOT NULL");
            }
            if let Some(from) = from {
                query.push(" AND id >= ").push_bind(from);
            }
            if let Some(before) = before {
                query.push(" AND id < ").push_bind(before);
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
            query.build_query_as().fetch_all(db).await?
        }))
    }

    /// The group of this name.
    ///
    /// # Errors
    /// When the store fails, or the row cannot be read.
    pub async fn get_group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        let body: Option<String> = on_db!(self, |db| {
            sqlx::query_scalar("SELECT body FROM signal_groups WHERE id = $1")
                .bind(id.0)
                .fetch_optional(db)
                .await?
        });
        body.map(|body| parse("group", id.0, &body)).transpose()
    }
}

/// No name that was made at this time or later comes before it: a UUID v7 begins with 48 bits of milliseconds.
fn first_name(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_micros() / 1_000).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}
