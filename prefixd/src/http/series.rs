//! How many there were, over time; and what the database is.

use super::extract::{Query, ok};
use super::{App, Failure};
use axum::extract::State;
use axum::response::Response;
use prefixd_api::problem::Problem;
use prefixd_api::series::{Metric, MigrationList, Point, PopList, Span, Timeseries};
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;

/// How many events or mitigations there were, in buckets without gaps.
#[utoipa::path(get, path = "/v1/stats/timeseries", tag = "questions", params(
    ("metric" = Option<String>, Query, description = "mitigations (by when they were made) or events; mitigations when absent"),
    ("pop" = Option<String>, Query, description = "A name, or all; this daemon's own when absent"),
    ("range" = Option<String>, Query, description = "1h, 6h, 24h or 7d, in buckets of 5m, 30m, 1h and 6h; 24h when absent"),
), responses((status = 200, body = Timeseries), (status = 400, body = Problem)))]
pub(super) async fn timeseries(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let metrics = Metric::ALL.map(|metric| (metric.as_str(), metric));
    let metric = query.one_of("metric", &metrics)?.unwrap_or(Metric::Mitigations);
    let spans = Span::ALL.map(|span| (span.as_str(), span));
    let span = query.one_of("range", &spans)?.unwrap_or(Span::Day);
    let pop = query.pop(&app.pop)?;
    query.finish()?;
    let buckets = buckets(span, app.clock.now());
    let start = buckets.first().copied().unwrap_or_else(|| app.clock.now());
    let mut counts = BTreeMap::new();
    for pop in names(&app, pop).await? {
        let of_pop = app
            .store
            .count_by_time(&pop, metric, start, span.bucket_seconds())
            .await?;
        for (at, number) in of_pop {
            *counts.entry(at).or_insert(0) += number;
        }
    }
    ok(&Timeseries {
        metric,
        range: span.as_str().to_owned(),
        bucket_seconds: span.bucket_seconds(),
        points: filled(&buckets, &counts),
    })
}

/// The POP that is meant, or every one.
pub(super) async fn names(app: &App, pop: Option<String>) -> Result<Vec<String>, Failure> {
    match pop {
        Some(pop) => Ok(vec![pop]),
        None => {
            let pops = app.store.pops(&app.pop).await?;
            Ok(pops.into_iter().map(|pop| pop.name).collect())
        }
    }
}

/// The beginnings of all buckets, oldest first; the last one goes on.
fn buckets(span: Span, now: Timestamp) -> Vec<Timestamp> {
    let width = i64::from(span.bucket_seconds()) * 1_000_000;
    let last = now.as_micros().div_euclid(width);
    let number = i64::from(span.buckets());
    (last - number + 1..=last)
        .map(|bucket| Timestamp::from_micros(bucket * width))
        .collect()
}

fn filled(buckets: &[Timestamp], counts: &BTreeMap<Timestamp, u64>) -> Vec<Point> {
    buckets
        .iter()
        .map(|at| Point {
            at: *at,
            count: counts.get(at).copied().unwrap_or(0),
        })
        .collect()
}

/// Every POP that has written to the database, by name.
#[utoipa::path(get, path = "/v1/pops", tag = "questions", responses((status = 200, body = PopList)))]
pub(super) async fn pops(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    let pops = app.store.pops(&app.pop).await?;
    ok(&PopList {
        count: pops.len(),
        pops,
    })
}

/// The schema of the database: every step, and when it was made.
#[utoipa::path(get, path = "/v1/migrations", tag = "questions", responses((status = 200, body = MigrationList)))]
pub(super) async fn migrations(State(app): State<App>, query: Query) -> Result<Response, Failure> {
    query.finish()?;
    ok(&app.store.migrations().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_is_there_and_begins_where_the_clock_says() {
        // 2026-01-18T10:29:58Z
        let now = Timestamp::from_micros(1_768_732_198_000_000);
        for (span, first, last) in [
            (Span::Hour, "2026-01-18T09:30:00", "2026-01-18T10:25:00"),
            (Span::SixHours, "2026-01-18T04:30:00", "2026-01-18T10:00:00"),
            (Span::Day, "2026-01-17T11:00:00", "2026-01-18T10:00:00"),
            (Span::Week, "2026-01-11T12:00:00", "2026-01-18T06:00:00"),
        ] {
            let buckets = buckets(span, now);
            let shown = |at: &Timestamp| at.to_string()[..19].to_owned();
            assert_eq!(
                (shown(&buckets[0]), shown(buckets.last().unwrap())),
                (first.to_owned(), last.to_owned()),
                "{span}"
            );
            let counts = BTreeMap::from([(buckets[3], 7), (now, 9)]);
            let points = filled(&buckets, &counts);
            assert_eq!(points.len(), buckets.len());
            assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 7);
            assert_eq!(points[3].count, 7);
        }
    }
}
