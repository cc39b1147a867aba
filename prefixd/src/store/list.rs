//! Pages, newest first. A cursor is the position of the last row of a page, so inserts never shift a page.
//!
//! Each list walks one index in its order. What no index answers is filtered while walking, over at most
//! [`SCAN_BUDGET`] rows: then the page may be short, or empty, and still has a cursor to go on from.

use super::db::on_db;
use super::prefix::{Range, family, key};
use super::{Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use prefixd_api::event::{EventAction, EventOutcome, StoredEvent};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::rule::ActionType;
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use serde::de::DeserializeOwned;
use sqlx::QueryBuilder;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Rows one page may look at.
pub const SCAN_BUDGET: i64 = 1_000;

/// Where the next page begins. Opaque to clients. Later is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    at: i64,
    id: Uuid,
}

impl Cursor {
    pub(super) fn of(at: Timestamp, id: Uuid) -> Self {
        Self {
            at: at.as_micros(),
            id,
        }
    }

    #[cfg(test)]
    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_micros(self.at)
    }
}

/// The text is no cursor this store gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor: pass the next_cursor of the page before, unchanged")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let (at, id) = bytes.split_first_chunk::<8>().ok_or(CursorError)?;
        Ok(Self {
            at: i64::from_be_bytes(*at),
            id: Uuid::from_slice(id).map_err(|_| CursorError)?,
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.at.to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Which page.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// After this position; absent: the first page.
    pub cursor: Option<Cursor>,
    /// At most this many rows.
    pub limit: u16,
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where to go on; absent on the last page.
    pub next: Option<Cursor>,
}

/// Which mitigations. Empty fields let everything through.
#[derive(Clone, Debug, Default)]
pub struct MitigationFilter {
    /// Any of these; empty: all.
    pub statuses: Vec<MitigationStatus>,
    /// The customer.
    pub customer_id: Option<String>,
    /// The customer's service.
    pub service_id: Option<String>,
    /// Victims inside this prefix.
    pub victim: Option<IpNet>,
    /// The kind of attack.
    pub vector: Option<String>,
    /// The POP; absent: all.
    pub pop: Option<String>,
    /// Whether a person acknowledged it.
    pub acknowledged: Option<bool>,
    /// The action of the current step.
    pub action_type: Option<ActionType>,
    /// Made at or after.
    pub start: Option<Timestamp>,
    /// Made before.
    pub end: Option<Timestamp>,
}

/// Which events. Empty fields let everything through.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// The detector.
    pub source: Option<String>,
    /// The kind of attack.
    pub vector: Option<String>,
    /// Victims inside this prefix.
    pub victim: Option<IpNet>,
    /// What became of it.
    pub outcome: Option<EventOutcome>,
    /// Ban or unban.
    pub action: Option<EventAction>,
    /// The POP; absent: all.
    pub pop: Option<String>,
    /// Received at or after.
    pub start: Option<Timestamp>,
    /// Received before.
    pub end: Option<Timestamp>,
}

/// A condition on a column; the columns are ours, the values are bound.
enum Test {
    Text(&'static str, String),
    Number(&'static str, i64),
    AnyOf(&'static str, Vec<&'static str>),
    Literal(&'static str),
    Bytes(&'static str, Vec<u8>),
    AnyBytes(&'static str, Vec<Vec<u8>>),
}

/// A list query: `walk` is answered by the index that gives the order, `pick` is filtered on the way.
struct Scan {
    table: &'static str,
    at: &'static str,
    walk: Vec<Test>,
    pick: Vec<Test>,
}

impl Store {
    /// A page of mitigations, live and ended.
    ///
    /// # Errors
    /// When the store fails. A row that cannot be read is left out and logged by name.
    pub async fn list_mitigations(
        &self,
        filter: &MitigationFilter,
        page: PageRequest,
    ) -> Result<Page<Mitigation>, StoreError> {
        let mut scan = Scan::mitigations(filter);
        scan.victim(filter.victim);
        let found = self.page(&scan, page).await?;
        let wants_live = filter.statuses.is_empty() || filter.statuses.iter().any(|status| status.is_live());
        let Some(victim) = filter.victim.filter(|_| wants_live) else {
            return Ok(found);
        };
        let mut over = Scan::mitigations(filter);
        over.live_over(victim);
        let over = self.page(&over, page).await?;
        let place = |one: &Mitigation| Cursor::of(one.created_at, one.mitigation_id.0);
        Ok(found.beside(over, page.limit, place))
    }

    /// A page of events.
    ///
    /// # Errors
    /// When the store fails. A row that cannot be read is left out and logged by name.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        page: PageRequest,
    ) -> Result<Page<StoredEvent>, StoreError> {
        let mut scan = Scan::new("events", "received_at", filter.start, filter.end);
        scan.victim(filter.victim);
        scan.text("source", filter.source.as_deref());
        scan.text("vector", filter.vector.as_deref());
        scan.text("outcome", filter.outcome.as_ref().map(EventOutcome::as_str));
        scan.text("action", filter.action.map(EventAction::as_str));
        scan.text("pop", filter.pop.as_deref());
        self.page(&scan, page).await
    }

    async fn page<T: DeserializeOwned>(&self, scan: &Scan, page: PageRequest) -> Result<Page<T>, StoreError> {
        let limit = usize::from(page.limit.max(1));
        let mut rows: Vec<(i64, Uuid, String)> = on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new("");
            scan.rows(&mut query, page.cursor, limit);
            query.build_query_as().fetch_all(db).await?
        });
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more {
            rows.last().map(|(at, id, _)| Cursor { at: *at, id: *id })
        } else if scan.pick.is_empty() {
            None
        } else {
            let budget: Option<(i64, Uuid)> = on_db!(self, |db: Engine| {
                let mut query = QueryBuilder::<Engine>::new("");
                scan.end_of_budget(&mut query, page.cursor);
                query.build_query_as().fetch_optional(db).await?
            });
            budget.map(|(at, id)| Cursor { at, id })
        };
        let items = rows
            .into_iter()
            .filter_map(|(_, id, body)| {
                serde_json::from_str(&body)
                    .inspect_err(|error| {
                        tracing::error!(table = scan.table, %id, %error, "a stored row cannot be read; it is left out of the list");
                    })
                    .ok()
            })
            .collect();
        Ok(Page { items, next })
    }
}

impl<T> Page<T> {
    /// One page of two lists. Each is complete down to where it goes on; both, down to the newer of both places. What is in
    /// both is there once.
    pub(super) fn beside(self, other: Self, limit: u16, place: impl Fn(&T) -> Cursor) -> Self {
        let limit = usize::from(limit.max(1));
        let complete_to = self.next.max(other.next);
        let mut items: Vec<T> = self.items.into_iter().chain(other.items).collect();
        items.sort_by_key(|item| std::cmp::Reverse(place(item)));
        items.dedup_by_key(|item| place(item));
        items.retain(|item| complete_to.is_none_or(|to| place(item) >= to));
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more {
            items.last().map(place)
        } else {
            complete_to
        };
        Self { items, next }
    }
}

impl Scan {
    /// All but the victim.
    fn mitigations(filter: &MitigationFilter) -> Self {
        let mut scan = Self::new("mitigations", "created_at", filter.start, filter.end);
        let live = |status: &MitigationStatus| status.is_live();
        if !filter.statuses.is_empty() {
            // Literal, so that the planner can prove that the partial index of live rows answers it.
            if filter.statuses.iter().all(live) {
                scan.walk.push(Test::Literal("live = 1"));
            }
            let all_live = MitigationStatus::ALL.iter().filter(|status| live(status));
            if filter.statuses.iter().any(|status| !live(status))
                || !all_live.clone().all(|status| filter.statuses.contains(status))
            {
                let names = filter.statuses.iter().map(|status| status.as_str()).collect();
                scan.pick.push(Test::AnyOf("status", names));
            }
        }
        scan.text("customer_id", filter.customer_id.as_deref());
        scan.text("service_id", filter.service_id.as_deref());
        scan.text("vector", filter.vector.as_deref());
        scan.text("pop", filter.pop.as_deref());
        scan.text("action_type", filter.action_type.map(ActionType::as_str));
        if let Some(acknowledged) = filter.acknowledged {
            scan.pick
                .push(Test::Number("acknowledged = ", acknowledged.into()));
        }
        scan
    }

    fn new(table: &'static str, at: &'static str, start: Option<Timestamp>, end: Option<Timestamp>) -> Self {
        let (from, before) = match at {
            "created_at" => ("created_at >= ", "created_at < "),
            _ => ("received_at >= ", "received_at < "),
        };
        let bounds = [(from, start), (before, end)];
        Self {
            table,
            at,
            walk: bounds
                .into_iter()
                .filter_map(|(test, at)| Some(Test::Number(test, at?.as_micros())))
                .collect(),
            pick: Vec::new(),
        }
    }

    fn text(&mut self, column: &'static str, value: Option<&str>) {
        self.pick
            .extend(value.map(|value| Test::Text(column, value.to_owned())));
    }

    /// One host has an index of its own; a wider prefix is picked out of the walk by time.
    fn victim(&mut self, victim: Option<IpNet>) {
        let Some(range) = victim.map(Range::of) else {
            return;
        };
        let host = range.is_host();
        let tests = if host { &mut self.walk } else { &mut self.pick };
        tests.push(Test::Number("af = ", range.af.into()));
        if host {
            tests.push(Test::Bytes("victim = ", range.lo));
        } else {
            tests.push(Test::Bytes("victim >= ", range.lo));
            tests.push(Test::Bytes("victim <= ", range.hi));
        }
    }

    /// What is live on prefixes around this one: an address that an aggregate filters is filtered.
    fn live_over(&mut self, victim: IpNet) {
        let around = (0..victim.prefix_len()).filter_map(|length| IpNet::new(victim.addr(), length).ok());
        let around = around.filter_map(|prefix| Victim::network(prefix.trunc()).ok());
        self.walk.push(Test::Literal("live = 1"));
        self.walk
            .push(Test::Number("af = ", family(victim.addr()).into()));
        self.walk
            .push(Test::AnyBytes("victim", around.map(key).collect()));
    }

    fn rows<DB: Values>(&self, query: &mut QueryBuilder<DB>, cursor: Option<Cursor>, limit: usize) {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let Self { table, at, .. } = self;
        if self.pick.is_empty() {
            query.push(format_args!("SELECT {at}, id, body FROM {table}"));
            self.walk(query, cursor);
            query.push(" LIMIT ");
            DB::number(query, limit);
            return;
        }
        // The inner walk reads keys and filter columns of at most SCAN_BUDGET rows, the outer the bodies it keeps.
        query.push(format_args!("SELECT w.{at}, w.id, t.body FROM (SELECT {at}, id"));
        let mut columns: Vec<&str> = self.pick.iter().map(Test::column).collect();
        columns.dedup();
        for column in &columns {
            query.push(format_args!(", {column}"));
        }
        query.push(format_args!(" FROM {table}"));
        self.walk(query, cursor);
        query.push(format_args!(
            " LIMIT {SCAN_BUDGET}) w JOIN {table} t ON t.id = w.id"
        ));
        let mut glue = " WHERE w.";
        for test in &self.pick {
            query.push(glue);
            test.push(query);
            glue = " AND w.";
        }
        query.push(format_args!(" ORDER BY w.{at} DESC, w.id DESC LIMIT "));
        DB::number(query, limit);
    }

    fn end_of_budget<DB: Values>(&self, query: &mut QueryBuilder<DB>, cursor: Option<Cursor>) {
        query.push(format_args!("SELECT {}, id FROM {}", self.at, self.table));
        self.walk(query, cursor);
        query.push(format_args!(" LIMIT 1 OFFSET {}", SCAN_BUDGET - 1));
    }

    fn walk<DB: Values>(&self, query: &mut QueryBuilder<DB>, cursor: Option<Cursor>) {
        let mut glue = " WHERE ";
        for test in &self.walk {
            query.push(glue);
            test.push(query);
            glue = " AND ";
        }
        if let Some(cursor) = cursor {
            query.push(glue).push(format_args!("({}, id) < (", self.at));
            DB::number(query, cursor.at);
            query.push(", ");
            DB::uuid(query, cursor.id);
            query.push(")");
        }
        query.push(format_args!(" ORDER BY {} DESC, id DESC", self.at));
    }
}

impl Test {
    fn column(&self) -> &'static str {
        match self {
            Self::Text(column, _) | Self::AnyOf(column, _) | Self::AnyBytes(column, _) => column,
            Self::Number(test, _) | Self::Literal(test) | Self::Bytes(test, _) => {
                test.split(' ').next().unwrap_or(test)
            }
        }
    }

    fn push<DB: Values>(&self, query: &mut QueryBuilder<DB>) {
        match self {
            Self::Literal(test) => {
                query.push(test);
            }
            Self::Text(column, value) => {
                query.push(column).push(" = ");
                DB::text(query, value.clone());
            }
            Self::Number(test, value) => {
                query.push(test);
                DB::number(query, *value);
            }
            Self::Bytes(test, value) => {
                query.push(test);
                DB::bytes(query, value.clone());
            }
            Self::AnyOf(column, values) => {
                let values = values.iter().map(|value| (*value).to_owned());
                any_of(query, column, values, DB::text);
            }
            Self::AnyBytes(column, values) => any_of(query, column, values.iter().cloned(), DB::bytes),
        }
    }
}

fn any_of<DB: Values, T>(
    query: &mut QueryBuilder<DB>,
    column: &str,
    values: impl Iterator<Item = T>,
    bind: fn(&mut QueryBuilder<DB>, T),
) {
    query.push(column).push(" IN (");
    for (place, value) in values.enumerate() {
        if place > 0 {
            query.push(", ");
        }
        bind(query, value);
    }
    query.push(")");
}

/// The four types of value a list query binds.
trait Values: sqlx::Database {
    fn text(query: &mut QueryBuilder<Self>, value: String);
    fn number(query: &mut QueryBuilder<Self>, value: i64);
    fn bytes(query: &mut QueryBuilder<Self>, value: Vec<u8>);
    fn uuid(query: &mut QueryBuilder<Self>, value: Uuid);
}

macro_rules! values {
    ($($engine:ty),*) => { $(
        impl Values for $engine {
            fn text(query: &mut QueryBuilder<Self>, value: String) { query.push_bind(value); }
            fn number(query: &mut QueryBuilder<Self>, value: i64) { query.push_bind(value); }
            fn bytes(query: &mut QueryBuilder<Self>, value: Vec<u8>) { query.push_bind(value); }
            fn uuid(query: &mut QueryBuilder<Self>, value: Uuid) { query.push_bind(value); }
        }
    )* };
}
values!(sqlx::Sqlite, sqlx::Postgres);
