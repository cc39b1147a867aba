//! Detectors, and pausing one.

use crate::failure::Failure;
use crate::mitigations::explain;
use crate::output::{Cell, Column, Place, Row, Tone, sheet_of};
use crate::page::Pages;
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::show::{count, relative};
use prefixd_api::source::{PauseRequest, ResumeRequest, SourceAnswer, SourceView};

/// Detectors: who reports, and pausing one that misfires
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl sources list
  prefixdctl sources pause alertmanager --withdraw --reason \"rule 12 misfires\"")]
pub(crate) struct SourcesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
}

impl SourcesArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Pause(args) => args.run(session).await,
            Command::Resume(args) => args.run(session).await,
        }
    }
}

/// List the detectors: last seen, counts of a day, what they hold
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl sources list
  prefixdctl sources list -o json")]
struct ListArgs {
    /// Count the reports of this POP, or of all; of the daemon's own by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.sources(self.pop.as_deref()).await?.value;
        session.out.list(&Pages::whole(list.sources))
    }
}

/// Store a detector's bans and do not act on them, until it is resumed; restarts included
#[derive(Args, Debug)]
#[command(after_help = "\
Its unbans still count. What it holds already goes on until its claims end, unless --withdraw is said.

Examples:
  prefixdctl sources pause alertmanager --reason \"rule 12 misfires\"
  prefixdctl sources pause alertmanager --withdraw --expect-count 12 --reason INC-4711 --yes")]
struct PauseArgs {
    /// Its name, as events carry it
    name: String,
    /// Withdraw what it holds alone
    #[arg(long)]
    withdraw: bool,
    /// Only when so many would be withdrawn
    #[arg(long, value_name = "N", requires = "withdraw")]
    expect_count: Option<u64>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl PauseArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a pause")?;
        let mut expect_count = self.expect_count;
        if session.will_ask() {
            let alone = if self.withdraw {
                self.alone(session).await?
            } else {
                0
            };
            let withdrawal = if self.withdraw {
                format!(
                    " and withdraw the {} mitigations that it holds alone",
                    count(alone)
                )
            } else {
                String::new()
            };
            let question = format!("Stop acting on the bans of {}{withdrawal}?", self.name);
            session.confirm(&question, usize::try_from(alone).unwrap_or(usize::MAX).max(1))?;
            // What was agreed to is what is done.
            expect_count = expect_count.or(self.withdraw.then_some(alone));
        }
        let request = PauseRequest {
            reason: self.reason,
            withdraw: self.withdraw,
            expect_count,
        };
        let answer = session
            .client
            .pause_source(&self.name, &request)
            .await
            .map_err(explain)?;
        session.out.sheet(&answer, |_| sheet(&answer))
    }

    async fn alone(&self, session: &Session) -> Result<u64, Failure> {
        let sources = session.client.sources(None).await?.value.sources;
        let source = sources.iter().find(|source| source.name == self.name);
        Ok(source.map_or(0, |source| source.mitigations_alone))
    }
}

/// Act on a detector's bans again
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl sources resume alertmanager --reason \"rule 12 is fixed\"
  prefixdctl sources resume alertmanager --reason INC-4711 --yes")]
struct ResumeArgs {
    /// Its name, as events carry it
    name: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ResumeArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a resume")?;
        session.confirm(&format!("Act on the bans of {} again?", self.name), 1)?;
        let request = ResumeRequest { reason: self.reason };
        let answer = session
            .client
            .resume_source(&self.name, &request)
            .await
            .map_err(explain)?;
        session.out.sheet(&answer, |_| sheet(&answer))
    }
}

fn sheet(answer: &SourceAnswer) -> String {
    let state = match &answer.paused {
        None => "acted on".to_owned(),
        Some(paused) => format!("paused by {}: {}", paused.paused_by, paused.reason),
    };
    sheet_of(&[
        ("Source", answer.source.clone()),
        ("Bans", state),
        ("Withdrawn", format!("{} mitigations", count(answer.withdrawn))),
    ])
}

impl Row for SourceView {
    const SCHEMA: &'static str = "source_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "SOURCE",
                field: "name",
                place: Place::Rest,
                cell: |s, _| Cell::text(&s.name),
            },
            Column {
                head: "STATE",
                field: "paused.paused_by",
                place: Place::Always,
                cell: |s, _| match (&s.paused, s.enforce) {
                    (Some(_), _) => Cell::text("PAUSED").toned(Tone::Warning),
                    (None, true) => Cell::text("acted on"),
                    (None, false) => Cell::text("dry run"),
                },
            },
            Column {
                head: "LAST SEEN",
                field: "last_seen_at",
                place: Place::Always,
                cell: |s, view| {
                    let ago = s
                        .last_seen_at
                        .map(|at| format!("{} ago", relative(view.now.since(at))));
                    Cell::optional(ago.as_deref())
                },
            },
            Column {
                head: "EVENTS 24H",
                field: "events_24h",
                place: Place::Always,
                cell: |s, _| Cell::number(count(s.events_24h)),
            },
            Column {
                head: "HOLDS",
                field: "mitigations",
                place: Place::Always,
                cell: |s, _| Cell::number(count(s.mitigations)),
            },
            Column {
                head: "ALONE",
                field: "mitigations_alone",
                place: Place::Room(1),
                cell: |s, _| Cell::number(count(s.mitigations_alone)),
            },
            Column {
                head: "WEIGHT",
                field: "weight",
                place: Place::Room(2),
                cell: |s, _| Cell::number(format!("{:.2}", s.weight)),
            },
            Column {
                head: "OUTCOMES 24H",
                field: "outcomes_24h",
                place: Place::Wide,
                cell: |s, _| {
                    let outcomes = s.outcomes_24h.iter();
                    let texts: Vec<_> = outcomes
                        .map(|(outcome, number)| format!("{} {outcome}", count(*number)))
                        .collect();
                    Cell::text(texts.join(", "))
                },
            },
            Column {
                head: "WHY",
                field: "paused.reason",
                place: Place::Wide,
                cell: |s, _| Cell::optional(s.paused.as_ref().map(|paused| paused.reason.as_str())),
            },
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}
