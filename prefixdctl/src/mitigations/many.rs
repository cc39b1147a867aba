//! Taking back all that are alike, and what became of several.

use super::create::{explain, seconds};
use super::rows::{action, status};
use super::withdraw::may_hold;
use crate::failure::Failure;
use crate::output::{Cell, Column, Place, Row, Tone};
use crate::page::Pages;
use crate::session::Session;
use clap::Args;
use ipnet::IpNet;
use prefixd_api::client::{MitigationQuery, Page};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::operation::{BulkWithdrawRequest, LiveFilter, OperationResult, OperationResults, Revisions};
use prefixd_api::show::{MAX_CELL_CHARS, clean, parse_span, short_id};
use std::time::Duration;

/// Of more than these, the question shows the number alone.
const SHOWN: usize = 10;

/// Withdraw all live mitigations that are alike, if there are as many as expected
#[derive(Args, Debug)]
#[command(after_help = "\
The daemon counts again when it decides: if the filter means another number by then, nothing is
withdrawn. Without a terminal say --yes and --expect-count.

Examples:
  prefixdctl mitigations withdraw-all --source alertmanager --reason \"rule 12 misfires\"
  prefixdctl mit withdraw-all --victim 203.0.113.0/24 --reason INC-4711 --expect-count 12 --yes")]
pub(super) struct WithdrawAllArgs {
    /// Held by a claim of this detector
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// About this address, or any in this prefix
    #[arg(long, value_parser = super::address_or_prefix, value_name = "IP|PREFIX")]
    victim: Option<IpNet>,
    /// Against this kind of attack
    #[arg(long, value_name = "VECTOR")]
    vector: Option<String>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long new reports of the same are not acted on; the daemon's usual time by default
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    suppress: Option<Duration>,
    /// Only when it means so many
    #[arg(long, value_name = "N", required_if_eq("yes", "true"))]
    expect_count: Option<u64>,
}

impl WithdrawAllArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        super::said(&self.reason)?;
        let filter = LiveFilter {
            source: self.source,
            customer_id: self.customer,
            victim_prefix: self.victim,
            vector: self.vector,
            ..LiveFilter::default()
        };
        if filter == LiveFilter::default() {
            return Err(Failure::Usage(
                "say which: --source, --customer, --victim or --vector; prefixdctl panic takes everything"
                    .to_owned(),
            ));
        }
        let expect_count = match self.expect_count {
            Some(expected) if !session.will_ask() => expected,
            expected => {
                let meant = meant(session, &filter).await?;
                let expected = expected.unwrap_or(meant.len() as u64);
                session.confirm(&question(&meant), meant.len())?;
                expected
            }
        };
        let request = BulkWithdrawRequest {
            ids: None,
            expected_revisions: Revisions::new(),
            filter: Some(filter),
            expect_count: Some(expect_count),
            reason: self.reason,
            suppress_seconds: self.suppress.map(seconds).transpose()?,
            confirm_within_seconds: None,
        };
        let results = session.client.withdraw_many(&request).await.map_err(explain)?;
        show(session, results)
    }
}

/// The live mitigations that a filter means now.
async fn meant(session: &Session, filter: &LiveFilter) -> Result<Vec<Mitigation>, Failure> {
    let query = MitigationQuery {
        status: vec![
            MitigationStatus::Pending,
            MitigationStatus::Active,
            MitigationStatus::Escalated,
        ],
        customer_id: filter.customer_id.clone(),
        victim_ip: filter.victim_prefix,
        vector: filter.vector.clone(),
        page: Page {
            limit: Some(1000),
            ..Page::default()
        },
        ..MitigationQuery::default()
    };
    let list = session.client.mitigations(&query).await?.value;
    if list.next_cursor.is_some() {
        return Err(Failure::Conflict(
            "nothing was changed: more than 1000 mitigations are meant; narrow it, or say prefixdctl panic"
                .to_owned(),
        ));
    }
    Ok(list
        .mitigations
        .into_iter()
        .filter(|mitigation| filter.matches(mitigation))
        .collect())
}

fn question(meant: &[Mitigation]) -> String {
    let mut text = String::new();
    for m in meant.iter().take(SHOWN) {
        let line = format!(
            "{}  {}  {}  {}  {}",
            short_id(m.mitigation_id),
            status(m).text,
            m.victim_ip,
            m.vector,
            action(m)
        );
        text.push_str(&format!("  {}\n", clean(&line, MAX_CELL_CHARS)));
    }
    if let Some(more) = meant.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!("  and {more} more\n"));
    }
    format!("{text}Withdraw these {}?", meant.len())
}

/// What became of each; a failure when something was not done.
pub(super) fn show(session: &Session, results: OperationResults) -> Result<(), Failure> {
    let OperationResults {
        results,
        count,
        failed,
    } = results;
    let first = results.iter().find_map(|result| result.problem.clone());
    session.out.list(&Pages::whole(results))?;
    match first {
        None => Ok(()),
        Some(problem) if failed == count => {
            Err(prefixd_api::client::Error::Problem(Box::new(problem)).into())
        }
        Some(_) => Err(Failure::Partial { failed, total: count }),
    }
}

impl Row for OperationResult {
    const SCHEMA: &'static str = "operation_results";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "mitigation_id",
                place: Place::Always,
                cell: |r, _| Cell::text(short_id(r.mitigation_id)),
            },
            Column {
                head: "RESULT",
                field: "done",
                place: Place::Always,
                cell: |r, _| match r.done {
                    true => Cell::text("done"),
                    false => Cell::text("failed").toned(Tone::Bad),
                },
            },
            Column {
                head: "VICTIM",
                field: "victim_ip",
                place: Place::Always,
                cell: |r, _| {
                    Cell::optional(r.mitigation.as_ref().map(|m| m.victim_ip.to_string()).as_deref())
                },
            },
            Column {
                head: "CODE",
                field: "code",
                place: Place::Always,
                cell: |r, _| Cell::optional(r.problem.as_ref().map(|problem| problem.code.as_str())),
            },
            Column {
                head: "DETAIL",
                field: "detail",
                place: Place::Rest,
                cell: |r, _| match &r.problem {
                    Some(problem) => Cell::text(&problem.detail),
                    None => Cell::optional(may_hold(&r.may_hold).as_deref()),
                },
            },
        ]
    }

    fn id(&self) -> String {
        self.mitigation_id.to_string()
    }
}
