//! Suppressions: bans that are stored and not acted on.

use crate::failure::Failure;
use crate::lookup;
use crate::mitigations::explain;
use crate::output::{Cell, Column, Place, Row, sheet_of};
use crate::page::Pages;
use crate::session::Session;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use prefixd_api::group::{SuppressionAnswer, SuppressionRequest};
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::{Suppression, WideSuppression};
use prefixd_api::prefix;
use prefixd_api::show::{both, parse_span, relative, short_id};
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use serde::Serialize;
use std::time::Duration;

/// Whatever it is.
const ANY: &str = "any";

/// Bans that are stored and not acted on
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl suppressions list
  prefixdctl suppressions add --victim 203.0.113.10 --vector udp_flood --for 2h --reason \"game night\"")]
pub(crate) struct SuppressionsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
}

impl SuppressionsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::List(args) => args.run(session).await,
            Command::Add(args) => args.run(session).await,
            Command::Remove(args) => args.run(session).await,
        }
    }
}

/// List the suppressions in force
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl suppressions list
  prefixdctl suppressions list -o csv")]
struct ListArgs {}

impl ListArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let list = session.client.suppressions().await?.value;
        let narrow = list.suppressions.into_iter().map(Listed::One);
        let mut all: Vec<Listed> = narrow.chain(list.wide.into_iter().map(Listed::Wide)).collect();
        all.sort_by_key(|one| (one.expires_at(), one.id()));
        session.out.list(&Pages::whole(all))
    }
}

/// Do not act on bans of a victim, a prefix or a detector for a time
#[derive(Args, Debug)]
#[command(after_help = "\
Withdrawing a mitigation suppresses its victim and vector by itself; this is for what has not begun.
What is live goes on. Bans of a named detector hold nothing, also not what is live; of all its bans,
everywhere and until you say otherwise, sources pause does the same.

Examples:
  prefixdctl suppressions add --victim 203.0.113.10 --vector udp_flood --for 2h --reason \"game night\"
  prefixdctl suppressions add --prefix 203.0.113.0/26 --source netscout --for 15m --reason INC-4711 --yes")]
struct AddArgs {
    /// The address that is reported
    #[arg(long, value_name = "IP", conflicts_with = "prefix", required_unless_present_any = ["prefix", "source"])]
    victim: Option<Victim>,
    /// A prefix of such addresses
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<IpNet>,
    /// The kind of attack, as the source calls it; any by default
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
    /// The detector whose bans are meant; everybody's by default
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// How long, at most 24h
    #[arg(long = "for", value_parser = parse_span, value_name = "TIME")]
    time: Duration,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl AddArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a new suppression")?;
        let seconds = u32::try_from(self.time.as_secs())
            .map_err(|_| Failure::Input("--for must be at most 24h".to_owned()))?;
        let whose = match (&self.victim, &self.prefix) {
            (Some(victim), _) => victim.to_string(),
            (None, Some(prefix)) => prefix.to_string(),
            (None, None) => "every victim".to_owned(),
        };
        let what = self.vector.as_deref().unwrap_or("of any vector");
        let by = self
            .source
            .as_ref()
            .map_or_else(String::new, |source| format!(" from {source}"));
        let question = format!(
            "Store bans of {whose} {what}{by} for {} and do not act on them?",
            relative(self.time)
        );
        session.confirm(&question, 1)?;
        let request = SuppressionRequest {
            victim_ip: self.victim.map(|victim| victim.to_string()),
            prefix: self.prefix.map(|prefix| prefix.to_string()),
            vector: self.vector,
            source: self.source,
            seconds,
            reason: self.reason,
        };
        let made = session.client.suppress(&request).await.map_err(explain)?;
        session.out.sheet(&made, |view| {
            let (listed, live) = match &made {
                SuppressionAnswer::One(one) => (Listed::One(one.clone()), 0),
                SuppressionAnswer::Wide { suppression, live } => (Listed::Wide(suppression.clone()), *live),
            };
            let mut pairs = vec![
                ("Suppressed", listed.what()),
                ("Until", both(listed.expires_at(), view.now, view.zone)),
                ("Reason", listed.reason().to_owned()),
                ("Name", listed.id().to_string()),
            ];
            if live > 0 {
                let told = format!("{live} mitigation(s) of these go on; withdraw them if they are not to");
                pairs.push(("Live", told));
            }
            sheet_of(&pairs)
        })
    }
}

/// A suppression of either kind, as the daemon tells it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Listed {
    One(Suppression),
    Wide(WideSuppression),
}

impl Listed {
    fn id(&self) -> SuppressionId {
        match self {
            Self::One(one) => one.suppression_id,
            Self::Wide(wide) => wide.suppression_id,
        }
    }

    fn whose(&self) -> String {
        match self {
            Self::One(one) => one.scope.victim.to_string(),
            Self::Wide(wide) => wide.prefix.map_or_else(|| ANY.to_owned(), prefix::show),
        }
    }

    fn vector(&self) -> &str {
        match self {
            Self::One(one) => &one.scope.vector,
            Self::Wide(wide) => wide.vector.as_deref().unwrap_or(ANY),
        }
    }

    fn source(&self) -> &str {
        match self {
            Self::One(_) => ANY,
            Self::Wide(wide) => wide.source.as_deref().unwrap_or(ANY),
        }
    }

    fn expires_at(&self) -> Timestamp {
        match self {
            Self::One(one) => one.expires_at,
            Self::Wide(wide) => wide.expires_at,
        }
    }

    fn created_by(&self) -> &str {
        match self {
            Self::One(one) => &one.created_by,
            Self::Wide(wide) => &wide.created_by,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::One(one) => &one.reason,
            Self::Wide(wide) => &wide.reason,
        }
    }

    fn what(&self) -> String {
        match self {
            Self::One(one) => one.scope.to_string(),
            Self::Wide(wide) => wide.to_string(),
        }
    }
}

/// Act on bans again
#[derive(Args, Debug)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  prefixdctl suppressions remove 9c01d3e4
  prefixdctl suppressions rm 9c01d3e4 --yes"
)]
struct RemoveArgs {
    /// Identifier, or its beginning or end
    id: String,
}

impl RemoveArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let id = lookup::suppression(session, &self.id).await?;
        session.confirm(&format!("End the suppression {id} and act on bans again?"), 1)?;
        session.client.end_suppression(id).await.map_err(explain)?;
        session.note(&format!("the suppression {id} has ended"));
        Ok(())
    }
}

impl Row for Listed {
    const SCHEMA: &'static str = "suppression_list";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "suppression_id",
                place: Place::Always,
                cell: |s, _| Cell::text(short_id(s.id())),
            },
            Column {
                head: "VICTIM",
                field: "scope.victim",
                place: Place::Always,
                cell: |s, _| Cell::text(s.whose()),
            },
            Column {
                head: "VECTOR",
                field: "scope.vector",
                place: Place::Rest,
                cell: |s, _| Cell::text(s.vector()),
            },
            Column {
                head: "SOURCE",
                field: "source",
                place: Place::Room(1),
                cell: |s, _| Cell::text(s.source()),
            },
            Column {
                head: "ENDS",
                field: "expires_at",
                place: Place::Always,
                cell: |s, view| Cell::text(format!("in {}", relative(s.expires_at().since(view.now)))),
            },
            Column {
                head: "BY",
                field: "created_by",
                place: Place::Room(2),
                cell: |s, _| Cell::text(s.created_by()),
            },
            Column {
                head: "REASON",
                field: "reason",
                place: Place::Rest,
                cell: |s, _| Cell::text(s.reason()),
            },
        ]
    }

    fn id(&self) -> String {
        Self::id(self).to_string()
    }
}
