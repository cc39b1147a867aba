//! How many there were, over time; POPs; the schema.

use crate::failure::Failure;
use crate::output::{Cell, Column, Format, Place, Row, View, sheet_of};
use crate::page::Pages;
use crate::session::Session;
use clap::Args;
use prefixd_api::series::{Metric, MigrationStep, Point, Pop, Span, Timeseries};
use prefixd_api::show::{absolute, both, count, relative};

/// Widest bar, in characters.
const BAR: u64 = 40;

/// Count mitigations or events over time
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl timeseries events --range 7d
  prefixdctl timeseries mitigations --range 1h -o csv")]
pub(crate) struct TimeseriesArgs {
    /// mitigations (by when they were made) or events
    #[arg(value_parser = metric, value_name = "METRIC")]
    metric: Metric,
    /// 1h, 6h, 24h or 7d, in buckets of 5m, 30m, 1h and 6h
    #[arg(long, value_parser = span, default_value = "24h", value_name = "RANGE")]
    range: Span,
    /// Of this POP, or all; the daemon's own by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
}

impl TimeseriesArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let series = session
            .client
            .timeseries(self.metric, self.range, self.pop.as_deref())
            .await?
            .value;
        match session.out.format {
            Format::Table | Format::Wide | Format::Json => {
                session.out.sheet(&series, |view| graph(&series, view))
            }
            Format::Jsonl | Format::Csv | Format::Ids => session.out.list(&Pages::whole(series.points)),
        }
    }
}

/// A line and a bar for each bucket.
fn graph(series: &Timeseries, view: View) -> String {
    let most = series.points.iter().map(|point| point.count).max().unwrap_or(0);
    let width = count(most).len();
    let line = |point: &Point| {
        let length = (point.count * BAR).div_ceil(most.max(1));
        let bar = "#".repeat(usize::try_from(length).unwrap_or(0));
        let at = absolute(point.at, view.now, view.zone);
        format!("{at}  {:>width$}  {bar}", count(point.count))
            .trim_end()
            .to_owned()
            + "\n"
    };
    series.points.iter().map(line).collect()
}

impl Row for Point {
    const SCHEMA: &'static str = "timeseries";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "FROM",
                field: "at",
                place: Place::Always,
                cell: |point, view| Cell::text(absolute(point.at, view.now, view.zone)),
            },
            Column {
                head: "COUNT",
                field: "count",
                place: Place::Always,
                cell: |point, _| Cell::number(count(point.count)),
            },
        ]
    }

    fn id(&self) -> String {
        self.at.to_string()
    }
}

/// List the POPs that write to the database
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl pops
  prefixdctl pops -o json")]
pub(crate) struct PopsArgs {}

impl PopsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.pops().await?.value;
        session.out.list(&Pages::whole(list.pops))
    }
}

impl Row for Pop {
    const SCHEMA: &'static str = "pop_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "POP",
                field: "name",
                place: Place::Always,
                cell: |pop, _| Cell::text(&pop.name),
            },
            Column {
                head: "OWN",
                field: "own",
                place: Place::Always,
                cell: |pop, _| Cell::text(if pop.own { "yes" } else { "no" }),
            },
            Column {
                head: "LIVE",
                field: "live",
                place: Place::Always,
                cell: |pop, _| Cell::number(count(pop.live)),
            },
            Column {
                head: "HEAD",
                field: "head",
                place: Place::Always,
                cell: |pop, _| Cell::number(pop.head.to_string()),
            },
            Column {
                head: "LAST CHANGE",
                field: "last_change_at",
                place: Place::Always,
                cell: |pop, view| {
                    let ago = pop
                        .last_change_at
                        .map(|at| format!("{} ago", relative(view.now.since(at))));
                    Cell::optional(ago.as_deref())
                },
            },
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

/// Show the schema of the database: every step, and when it was made
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl migrations
  prefixdctl migrations -o json")]
pub(crate) struct MigrationsArgs {}

impl MigrationsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.migrations().await?.value;
        if session.out.is_for_people() {
            crate::output::print(&format!(
                "{}\n",
                sheet_of(&[
                    ("Database", list.backend.clone()),
                    (
                        "Version",
                        format!("{} (this prefixd knows {})", list.version, list.known)
                    ),
                ])
            ))?;
        }
        session.out.list(&Pages::whole(list.migrations))
    }
}

impl Row for MigrationStep {
    const SCHEMA: &'static str = "migration_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "STEP",
                field: "version",
                place: Place::Always,
                cell: |step, _| Cell::number(step.version.to_string()),
            },
            Column {
                head: "ABOUT",
                field: "description",
                place: Place::Always,
                cell: |step, _| Cell::text(&step.description),
            },
            Column {
                head: "INSTALLED",
                field: "installed_at",
                place: Place::Always,
                cell: |step, view| {
                    Cell::text(
                        step.installed_at
                            .map_or_else(|| "not yet".to_owned(), |at| both(at, view.now, view.zone)),
                    )
                },
            },
        ]
    }

    fn id(&self) -> String {
        self.version.to_string()
    }
}

fn metric(text: &str) -> Result<Metric, String> {
    Metric::ALL
        .into_iter()
        .find(|metric| metric.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no metric; known: mitigations, events"))
}

fn span(text: &str) -> Result<Span, String> {
    Span::ALL
        .into_iter()
        .find(|span| span.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no range; known: 1h, 6h, 24h, 7d"))
}
