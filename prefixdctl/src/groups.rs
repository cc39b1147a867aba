//! Signal groups: who says that there is an attack.

use crate::failure::Failure;
use crate::lookup;
use crate::mitigations::address_or_prefix;
use crate::output::{Cell, Column, Place, Row, Tone, View, sheet_of};
use crate::page::{PageArgs, Pages};
use crate::session::Session;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use prefixd_api::client::GroupQuery;
use prefixd_api::group::{GroupDetail, GroupState, GroupView, SourceWeight};
use prefixd_api::show::{MAX_TEXT_CHARS, absolute, both, clean, confidence, count, relative, short_id};

/// Signal groups: which sources say that there is an attack, and how sure that makes prefixd
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl groups list --state open
  prefixdctl grp get 9c01d3e4")]
pub(crate) struct GroupsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Get(GetArgs),
}

impl GroupsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Get(args) => args.run(session).await,
        }
    }
}

/// List signal groups, the one that opened last first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl groups list --state open
  prefixdctl grp list --victim 203.0.113.0/24 --since 24h -o csv")]
struct ListArgs {
    /// open, quiet or closed
    #[arg(long, value_parser = group_state, value_name = "STATE")]
    state: Option<GroupState>,
    /// About this address, or any in this prefix
    #[arg(long, value_parser = address_or_prefix, value_name = "IP|PREFIX")]
    victim: Option<IpNet>,
    /// Of this kind of attack
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
    /// Of this POP, or all; the daemon's own by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let pages = self
            .page
            .collect(session, async |page| {
                let query = GroupQuery {
                    state: self.state,
                    victim_ip: self.victim,
                    vector: self.vector.clone(),
                    pop: self.pop.clone(),
                    page,
                };
                let list = session.client.groups(&query).await?.value;
                Ok(Pages {
                    items: list.groups,
                    next_cursor: list.next_cursor,
                })
            })
            .await?;
        session.out.list(&pages)
    }
}

/// Show one group: claims, weights, reports, mitigations
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl groups get 9c01d3e4
  prefixdctl grp get 9c01d3e4 -o json")]
struct GetArgs {
    /// Identifier, or its beginning or end
    id: String,
}

impl GetArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("one group")?;
        let id = lookup::group(session, &self.id).await?;
        let detail = session.client.group(id).await?.value;
        session.out.sheet(&detail, |view| sheet(&detail, view))
    }
}

fn group_state(text: &str) -> Result<GroupState, String> {
    GroupState::ALL
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no state; known: open, quiet, closed"))
}

impl Row for GroupView {
    const SCHEMA: &'static str = "group_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "group_id",
                place: Place::Always,
                cell: |g, _| Cell::text(short_id(g.group.group_id)),
            },
            Column {
                head: "STATE",
                field: "state",
                place: Place::Always,
                cell: |g, _| state(g.state),
            },
            Column {
                head: "VICTIM",
                field: "scope.victim",
                place: Place::Always,
                cell: |g, _| Cell::text(g.group.scope.victim.to_string()),
            },
            Column {
                head: "VECTOR",
                field: "scope.vector",
                place: Place::Rest,
                cell: |g, _| Cell::text(&*g.group.scope.vector),
            },
            Column {
                head: "SOURCES",
                field: "sources",
                place: Place::Rest,
                cell: |g, _| {
                    let names: Vec<_> = g.sources.iter().map(|source| source.source.as_str()).collect();
                    Cell::text(if names.is_empty() {
                        "-".to_owned()
                    } else {
                        names.join(" ")
                    })
                },
            },
            Column {
                head: "CONF",
                field: "confidence",
                place: Place::Room(2),
                cell: |g, _| Cell::number(confidence(g.group.confidence)),
            },
            Column {
                head: "OPENED",
                field: "opened_at",
                place: Place::Room(3),
                cell: |g, view| Cell::text(absolute(g.group.opened_at, view.now, view.zone)),
            },
            Column {
                head: "LAST",
                field: "last_event_at",
                place: Place::Room(4),
                cell: |g, view| {
                    Cell::text(format!("{} ago", relative(view.now.since(g.group.last_event_at))))
                },
            },
            Column {
                head: "MITIGATION",
                field: "mitigation_id",
                place: Place::Room(1),
                cell: |g, _| Cell::text(g.mitigation_id.map_or_else(|| "-".to_owned(), short_id)),
            },
        ]
    }

    fn id(&self) -> String {
        self.group.group_id.to_string()
    }
}

fn state(state: GroupState) -> Cell {
    Cell::text(state.as_str()).toned(match state {
        GroupState::Open => Tone::Warning,
        GroupState::Quiet | GroupState::Closed => Tone::Plain,
    })
}

fn sheet(detail: &GroupDetail, view: View) -> String {
    let GroupView {
        group,
        state,
        mitigation_id,
        sources,
    } = &detail.view;
    let time = |at| both(at, view.now, view.zone);
    let none = || "-".to_owned();
    let mut text = sheet_of(&[
        ("Group", group.group_id.to_string()),
        ("Victim", group.scope.victim.to_string()),
        ("Vector", group.scope.vector.to_string()),
        ("Customer", detail.customer_id.clone().unwrap_or_else(none)),
        ("State", state.to_string()),
        ("Opened", time(group.opened_at)),
        ("Last event", time(group.last_event_at)),
        ("Closed", group.closed_at.map_or_else(none, time)),
        ("Confidence", confidence(group.confidence)),
        ("Mitigation", mitigation_id.map_or_else(none, |id| id.to_string())),
    ]);
    if !sources.is_empty() {
        text.push_str(
            "\nSources: combined = 1 - product(1 - weight x confidence), the strongest of each domain\n",
        );
        lines(&mut text, sources.iter().map(|source| weight(source, view)));
    }
    if !group.claims.is_empty() {
        text.push_str("\nClaims\n");
    }
    lines(
        &mut text,
        group.claims.iter().map(|claim| {
            let end = match (claim.cleared_at, claim.lives_until) {
                (Some(at), _) => format!("cleared {}", time(at)),
                (None, Some(at)) => format!("lives until {}", time(at)),
                (None, None) => "lives".to_owned(),
            };
            let name = claim.event_id.as_deref().unwrap_or("-");
            format!("{}  {name}  since {}  {end}", claim.source, time(claim.since))
        }),
    );
    if !detail.mitigations.is_empty() {
        text.push_str("\nMitigations, newest first\n");
    }
    lines(
        &mut text,
        detail.mitigations.iter().map(|one| {
            let id = short_id(one.mitigation_id);
            format!(
                "{}  {id}  {}  {}",
                time(one.created_at),
                one.status,
                one.why_summary
            )
        }),
    );
    if !detail.events.is_empty() {
        text.push_str("\nReports, newest first\n");
    }
    lines(
        &mut text,
        detail.events.iter().map(|event| {
            let (at, action) = (time(event.received_at), event.action.as_str());
            format!(
                "{at}  {}  {action}  {}  {}",
                event.source, event.outcome, event.reason
            )
        }),
    );
    text
}

fn lines(text: &mut String, lines: impl Iterator<Item = String>) {
    for line in lines {
        text.push_str(&format!("  {}\n", clean(&line, MAX_TEXT_CHARS)));
    }
}

fn weight(source: &SourceWeight, view: View) -> String {
    let counts = match (source.counts, source.weighted) {
        (true, Some(weighted)) => format!("adds {weighted:.3}"),
        (false, Some(weighted)) => {
            format!("{weighted:.3} does not count: a stronger source of its domain does")
        }
        (_, None) => "says nothing of how sure it is".to_owned(),
    };
    format!(
        "{}  {} x {:.2}  {counts}  {} claims  {} ago",
        source.source,
        confidence(source.confidence),
        source.weight,
        count(source.live_claims),
        relative(view.now.since(source.last_report_at)),
    )
}
