//! The safelist: what no rule may touch.

use crate::failure::Failure;
use crate::mitigations::{address_or_prefix, explain};
use crate::output::{Cell, Column, Place, Row, sheet_of};
use crate::page::Pages;
use crate::session::Session;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use prefixd_api::resource::{SafelistEntry, SafelistOrigin, SafelistRequest};
use prefixd_api::show::{both, parse_span, relative};
use serde::Serialize;
use std::time::Duration;

/// What no rule may touch
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl safelist list
  prefixdctl sl check 203.0.113.10 2001:db8::1")]
pub(crate) struct SafelistArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    Check(CheckArgs),
}

impl SafelistArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Add(args) => args.run(session).await,
            Command::Remove(args) => args.run(session).await,
            Command::Check(args) => args.run(session).await,
        }
    }
}

/// List the safelist by prefix
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl safelist list
  prefixdctl sl list -o csv")]
struct ListArgs {}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.safelist().await?.value;
        session.out.list(&Pages::whole(list.entries))
    }
}

/// Add a prefix, and withdraw every mitigation it overlaps
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl safelist add 203.0.113.53 --reason \"our resolver\"
  prefixdctl sl add 203.0.113.0/28 --reason maintenance --expires 4h --yes")]
struct AddArgs {
    /// Address or prefix, host bits clear
    #[arg(value_parser = address_or_prefix, value_name = "PREFIX")]
    prefix: IpNet,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long it counts; for ever by default
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    expires: Option<Duration>,
    /// Only when so many mitigations will be withdrawn; needed for prefixes shorter than /24 or /48
    #[arg(long, value_name = "N")]
    expect_count: Option<u64>,
}

impl AddArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a safelist change")?;
        session.confirm(
            &format!(
                "Add {} to the safelist and withdraw every mitigation it overlaps?",
                self.prefix
            ),
            1,
        )?;
        let now = session.out.view().now;
        let request = SafelistRequest {
            prefix: self.prefix.to_string(),
            reason: self.reason,
            expires_at: self.expires.map(|span| now.saturating_add(span)),
            expect_count: self.expect_count,
        };
        let answer = session.client.add_to_safelist(&request).await.map_err(explain)?;
        session.out.sheet(&answer, |view| {
            sheet_of(&[
                ("Added", answer.entry.prefix.to_string()),
                ("Reason", answer.entry.reason.clone()),
                (
                    "Expires",
                    answer
                        .entry
                        .expires_at
                        .map_or_else(|| "never".to_owned(), |at| both(at, view.now, view.zone)),
                ),
                ("Withdrawn", format!("{} mitigations", answer.withdrawn)),
            ])
        })
    }
}

/// Remove a prefix that was added here
#[derive(Args, Debug)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  prefixdctl safelist remove 203.0.113.53
  prefixdctl sl remove 203.0.113.0/28 --yes"
)]
struct RemoveArgs {
    /// The prefix as it is listed; a bare address is its host prefix
    #[arg(value_parser = address_or_prefix, value_name = "PREFIX")]
    prefix: IpNet,
}

impl RemoveArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.confirm(&format!("Remove {} from the safelist?", self.prefix), 1)?;
        session
            .client
            .remove_from_safelist(self.prefix)
            .await
            .map_err(explain)?;
        session.note(&format!("{} was removed from the safelist", self.prefix));
        Ok(())
    }
}

/// Tell which entries keep rules away from addresses
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl safelist check 203.0.113.10
  prefixdctl sl check 203.0.113.0/24 2001:db8::1 -o json")]
struct CheckArgs {
    /// Addresses or prefixes
    #[arg(required = true, value_parser = address_or_prefix, value_name = "IP|PREFIX")]
    targets: Vec<IpNet>,
}

/// What the safelist says about one target.
#[derive(Debug, Serialize)]
struct Check {
    target: IpNet,
    safelisted: bool,
    prefix: Option<IpNet>,
    reason: Option<String>,
}

impl CheckArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let entries = session.client.safelist().await?.value.entries;
        let now = session.out.view().now;
        let live: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.expires_at.is_none_or(|expires_at| expires_at > now))
            .collect();
        let checks = self
            .targets
            .into_iter()
            .flat_map(|target| check(target, &live))
            .collect();
        session.out.list(&Pages::whole(checks))
    }
}

/// One result for each entry that overlaps, covering or covered, as the guardrail counts.
fn check(target: IpNet, entries: &[SafelistEntry]) -> Vec<Check> {
    let found: Vec<_> = entries
        .iter()
        .filter(|entry| entry.prefix.contains(&target) || target.contains(&entry.prefix))
        .map(|entry| Check {
            target,
            safelisted: true,
            prefix: Some(entry.prefix),
            reason: Some(entry.reason.clone()),
        })
        .collect();
    if found.is_empty() {
        return vec![Check {
            target,
            safelisted: false,
            prefix: None,
            reason: None,
        }];
    }
    found
}

impl Row for SafelistEntry {
    const SCHEMA: &'static str = "safelist";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "PREFIX",
                field: "prefix",
                place: Place::Always,
                cell: |e, _| Cell::text(e.prefix.to_string()),
            },
            Column {
                head: "ORIGIN",
                field: "origin",
                place: Place::Always,
                cell: |e, _| {
                    Cell::text(match e.origin {
                        SafelistOrigin::Implicit => "implicit",
                        SafelistOrigin::Config => "config",
                        SafelistOrigin::Api => "api",
                    })
                },
            },
            Column {
                head: "EXPIRES",
                field: "expires_at",
                place: Place::Always,
                cell: |e, view| {
                    Cell::text(match e.expires_at {
                        None => "never".to_owned(),
                        Some(at) if at <= view.now => "expired".to_owned(),
                        Some(at) => format!("in {}", relative(at.since(view.now))),
                    })
                },
            },
            Column {
                head: "ADDED BY",
                field: "created_by",
                place: Place::Room(1),
                cell: |e, _| Cell::optional(e.created_by.as_deref()),
            },
            Column {
                head: "REASON",
                field: "reason",
                place: Place::Rest,
                cell: |e, _| Cell::text(&e.reason),
            },
        ]
    }

    fn id(&self) -> String {
        self.prefix.to_string()
    }
}

impl Row for Check {
    const SCHEMA: &'static str = "safelist_check";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "TARGET",
                field: "target",
                place: Place::Always,
                cell: |c, _| Cell::text(c.target.to_string()),
            },
            Column {
                head: "SAFELISTED",
                field: "safelisted",
                place: Place::Always,
                cell: |c, _| Cell::text(if c.safelisted { "yes" } else { "no" }),
            },
            Column {
                head: "BY",
                field: "prefix",
                place: Place::Always,
                cell: |c, _| {
                    Cell::text(
                        c.prefix
                            .map_or_else(|| "-".to_owned(), |prefix| prefix.to_string()),
                    )
                },
            },
            Column {
                head: "REASON",
                field: "reason",
                place: Place::Rest,
                cell: |c, _| Cell::optional(c.reason.as_deref()),
            },
        ]
    }

    fn id(&self) -> String {
        self.target.to_string()
    }
}
