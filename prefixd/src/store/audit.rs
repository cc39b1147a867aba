//! The journal as people look for something in it, newest first.
//!
//! Numbers have no gaps, so a page looks at a window of numbers: as many entries as [`WINDOW`] says, whatever the filter
//! lets through. A time is found by halving the range of numbers, because time goes on as numbers do; where a clock was
//! set back between two starts, the entries of the time that it went back over count by their number.

use super::chain::{Row, entry};
use super::db::on_db;
use super::{Store, StoreError};
use crate::journal::{Entry, Kind};
use prefixd_api::time::Timestamp;
use sqlx::QueryBuilder;
use std::sync::Arc;

/// Entries that one page looks at.
const WINDOW: i64 = 1_000;
/// The same where their bodies have to be searched.
const SEARCH_WINDOW: i64 = 500;

/// Which entries. Empty fields let everything through.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Who did it.
    pub actor: Option<String>,
    /// Any of these; empty: all.
    pub kinds: Vec<Kind>,
    /// What it happened to.
    pub subject: Option<String>,
    /// In actor, subject or body, whatever the case of its ASCII letters.
    pub text: Option<String>,
    /// Decided at or after.
    pub start: Option<Timestamp>,
    /// Decided before.
    pub end: Option<Timestamp>,
}

impl AuditFilter {
    fn window(&self) -> i64 {
        match (&self.text, self.is_everything()) {
            (_, true) => i64::MAX,
            (Some(_), _) => SEARCH_WINDOW,
            (None, _) => WINDOW,
        }
    }

    fn is_everything(&self) -> bool {
        self.actor.is_none() && self.kinds.is_empty() && self.subject.is_none() && self.text.is_none()
    }

    /// Whether it names one mitigation, whose entries have an index.
    fn is_one_mitigation(&self) -> bool {
        let of_mitigations = |kind: &Kind| kind.target() == "mitigation";
        self.subject.is_some() && !self.kinds.is_empty() && self.kinds.iter().all(of_mitigations)
    }
}

impl Store {
    /// A page of a POP's journal before a number, and where the next one begins.
    ///
    /// # Errors
    /// When the store fails, or an entry's kind is unknown.
    pub async fn list_journal(
        &self,
        pop: &str,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u16,
    ) -> Result<(Vec<Entry>, Option<u64>), StoreError> {
        let Some((oldest, newest)) = self.journal_bounds(pop).await? else {
            return Ok((Vec::new(), None));
        };
        let mut low = oldest;
        let mut high = newest.saturating_add(1);
        if let Some(start) = filter.start {
            low = self.first_at(pop, start, oldest, high).await?;
        }
        if let Some(end) = filter.end {
            high = self.first_at(pop, end, low, high).await?;
        }
        if let Some(before) = before {
            high = high.min(i64::try_from(before).unwrap_or(i64::MAX));
        }
        let window = if filter.is_one_mitigation() {
            i64::MAX
        } else {
            filter.window()
        };
        let from = low.max(high.saturating_sub(window));
        let limit = i64::from(limit.max(1));
        let mut rows = self.journal_between(pop, filter, from, high, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = if more {
            rows.last().map(|row| row.0)
        } else {
            Some(from).filter(|from| *from > low)
        };
        let pop: Arc<str> = pop.into();
        let entries = rows.into_iter().map(|row| entry(&pop, row));
        Ok((
            entries.collect::<Result<_, _>>()?,
            next.and_then(|seq| u64::try_from(seq).ok()),
        ))
    }

    /// The numbers of the oldest entry that is kept and of the newest.
    async fn journal_bounds(&self, pop: &str) -> Result<Option<(i64, i64)>, StoreError> {
        // Two look-ups of an index; both ends in one query would walk all of it.
        let ends: (Option<i64>, Option<i64>) = on_db!(self, |db| {
            sqlx::query_as(
                "SELECT (SELECT MIN(seq) FROM journal WHERE pop = $1), (SELECT MAX(seq) FROM journal WHERE pop = $1)",
            )
            .bind(pop)
            .fetch_one(db)
            .await?
        });
        Ok(ends.0.zip(ends.1))
    }

    /// The first number in `low..high` of an entry that was decided at `at` or later; `high` when there is none.
    async fn first_at(&self, pop: &str, at: Timestamp, low: i64, high: i64) -> Result<i64, StoreError> {
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            let found: Option<i64> = on_db!(self, |db| {
                sqlx::query_scalar("SELECT at FROM journal WHERE pop = $1 AND seq = $2")
                    .bind(pop)
                    .bind(middle)
                    .fetch_optional(db)
                    .await?
            });
            // One that retention has just taken was older than everything that is left.
            if found.is_none_or(|found| found < at.as_micros()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    async fn journal_between(
        &self,
        pop: &str,
        filter: &AuditFilter,
        from: i64,
        high: i64,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(on_db!(self, |db: Engine| {
            let mut query = QueryBuilder::<Engine>::new(
                "SELECT seq, at, actor, kind, subject, body, previous_hash, hash FROM journal WHERE pop = ",
            );
            query.push_bind(pop.to_owned());
            query.push(" AND seq >= ").push_bind(from);
            query.push(" AND seq < ").push_bind(high);
            if filter.is_one_mitigation() {
                // Literal, so that the planner can prove that the index of mitigations answers it.
                query.push(" AND kind >= 'mitigation.' AND kind < 'mitigation/'");
            }
            if let Some(actor) = &filter.actor {
                query.push(" AND actor = ").push_bind(actor.clone());
            }
            if let Some(subject) = &filter.subject {
                query.push(" AND subject = ").push_bind(subject.clone());
            }
            if !filter.kinds.is_empty() {
                query.push(" AND kind IN (");
                let mut kinds = query.separated(", ");
                for kind in &filter.kinds {
                    kinds.push_bind(kind.as_str());
                }
                query.push(")");
            }
            if let Some(text) = &filter.text {
                let pattern = like(text);
                query.push(" AND (LOWER(body) LIKE ").push_bind(pattern.clone());
                query
                    .push(" ESCAPE '!' OR LOWER(actor) LIKE ")
                    .push_bind(pattern.clone());
                query
                    .push(" ESCAPE '!' OR LOWER(subject) LIKE ")
                    .push_bind(pattern);
                query.push(" ESCAPE '!')");
            }
            query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
            query.build_query_as().fetch_all(db).await?
        }))
    }
}

/// A pattern for texts that have this one in them.
fn like(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in text.to_ascii_lowercase().chars() {
        if ['%', '_', '!'].contains(&letter) {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_pattern_is_meant_as_it_is() {
        assert_eq!(like("50%_of!X"), "%50!%!_of!!x%");
    }
}
