//! Single objects, their traces, and the events that were stored already.

use super::db::on_db;
use super::{Store, StoreError, Unreadable};
use crate::policy::Trace;
use prefixd_api::event::{Event, EventAction, StoredEvent};
use prefixd_api::ids::{EventId, MitigationId};
use prefixd_api::mitigation::{Mitigation, TimelineEntry};
use prefixd_api::time::Timestamp;
use prefixd_api::why::Why;
use serde::de::DeserializeOwned;
use sqlx::QueryBuilder;
use uuid::Uuid;

/// Entries a timeline shows at most: the newest.
const TIMELINE: i64 = 1_000;

/// What makes two reports the same report. Reports without a name or a time of their own are never the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// The detector.
    pub source: String,
    /// The attack's name at its source.
    pub external_id: String,
    /// Ban or unban.
    pub action: EventAction,
    /// When the detector saw it, by its own clock.
    pub timestamp: Timestamp,
}

impl EventKey {
    /// The key of a report, when it has one.
    #[must_use]
    pub fn of_report(event: &Event) -> Option<Self> {
        Some(Self {
            source: event.source.clone(),
            external_id: event.external_id.clone()?,
            action: event.action,
            timestamp: event.timestamp?,
        })
    }

    /// The key of a stored event, when it has one.
    #[must_use]
    pub fn of(event: &StoredEvent) -> Option<Self> {
        Some(Self {
            source: event.source.clone(),
            external_id: event.external_event_id.clone()?,
            action: event.action,
            timestamp: event.timestamp?,
        })
    }
}

impl Store {
    /// The mitigation of this name.
    ///
    /// # Errors
    /// When the store fails, or the row cannot be read.
    pub async fn get_mitigation(&self, id: MitigationId) -> Result<Option<Mitigation>, StoreError> {
        let body: Option<String> = on_db!(self, |db| {
            sqlx::query_scalar("SELECT body FROM mitigations WHERE id = $1")
                .bind(id.0)
                .fetch_optional(db)
                .await?
        });
        body.map(|body| parse("mitigation", id.0, &body)).transpose()
    }

    /// The trace of a mitigation's last decision of its own, or of the event that it came from.
    ///
    /// # Errors
    /// When the store fails, or the row cannot be read.
    pub async fn mitigation_why(&self, id: MitigationId) -> Result<Option<Why>, StoreError> {
        let why: Option<Option<String>> = on_db!(self, |db| {
            sqlx::query_scalar(
                "SELECT COALESCE(m.why, e.why) FROM mitigations m LEFT JOIN events e ON e.id = m.why_event \
                 WHERE m.id = $1",
            )
            .bind(id.0)
            .fetch_optional(db)
            .await?
        });
        why.flatten()
            .map(|trace| parse::<Trace>("trace of mitigation", id.0, &trace).map(|trace| trace.explain()))
            .transpose()
    }

    /// The event of this name.
    ///
    /// # Errors
    /// When the store fails, or the row cannot be read.
    pub async fn get_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        let body: Option<String> = on_db!(self, |db| {
            sqlx::query_scalar("SELECT body FROM events WHERE id = $1")
                .bind(id.0)
                .fetch_optional(db)
                .await?
        });
        body.map(|body| parse("event", id.0, &body)).transpose()
    }

    /// The trace of an event's decision.
    ///
    /// # Errors
    /// When the store fails, or the row cannot be read.
    pub async fn event_why(&self, id: EventId) -> Result<Option<Why>, StoreError> {
        let why: Option<String> = on_db!(self, |db| {
            sqlx::query_scalar("SELECT why FROM events WHERE id = $1")
                .bind(id.0)
                .fetch_optional(db)
                .await?
        });
        why.map(|trace| parse::<Trace>("trace of event", id.0, &trace).map(|trace| trace.explain()))
            .transpose()
    }

    /// Which of these reports a POP has stored already, in one query.
    ///
    /// # Errors
    /// When the store fails, or a row cannot be read.
    pub async fn find_replays(&self, pop: &str, keys: &[EventKey]) -> Result<Vec<StoredEvent>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(Uuid, String)> = on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new(
                "SELECT id, body FROM events WHERE external_id IS NOT NULL AND reported_at IS NOT NULL AND pop = ",
            );
            query.push_bind(pop.to_owned());
            query.push(" AND (external_id, source, action, reported_at) IN (");
            query.push_values(keys, |mut row, key| {
                row.push_bind(key.external_id.clone())
                    .push_bind(key.source.clone())
                    .push_bind(key.action.as_str())
                    .push_bind(key.timestamp.as_micros());
            });
            query.push(")");
            query.build_query_as().fetch_all(db).await?
        });
        rows.iter().map(|(id, body)| parse("event", *id, body)).collect()
    }

    /// Every change of a mitigation, oldest first; of more than a thousand the newest.
    ///
    /// # Errors
    /// When the store fails, or an entry cannot be read.
    pub async fn timeline(&self, id: MitigationId) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows: Vec<(i64, i64, String, String, String)> = on_db!(self, |db| {
            sqlx::query_as(
                "SELECT seq, at, actor, kind, body FROM journal \
                 WHERE subject = $1 AND kind >= 'mitigation.' AND kind < 'mitigation/' \
                 ORDER BY seq DESC LIMIT $2",
            )
            .bind(id.to_string())
            .bind(TIMELINE)
            .fetch_all(db)
            .await?
        });
        rows.into_iter()
            .rev()
            .map(|(seq, at, actor, kind, body)| {
                Ok(TimelineEntry {
                    seq: u64::try_from(seq).unwrap_or_default(),
                    at: Timestamp::from_micros(at),
                    actor,
                    kind,
                    body: parse("journal entry of mitigation", id.0, &body)?,
                })
            })
            .collect()
    }
}

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, id: Uuid, body: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| {
        StoreError::Unreadable(Unreadable {
            what,
            name: id.to_string(),
            error: error.to_string(),
        })
    })
}
