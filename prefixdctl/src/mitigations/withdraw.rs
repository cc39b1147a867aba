//! Taking mitigations back.

use super::create::{explain, seconds};
use super::rows::{action, status};
use crate::failure::{Failure, code_of};
use crate::lookup;
use crate::output::{Cell, Column, Place, Row, Tone};
use crate::page::Pages;
use crate::session::{Session, read_text};
use clap::Args;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, WithdrawRequest};
use prefixd_api::show::{MAX_CELL_CHARS, clean, parse_span, short_id};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Longest list of identifiers, in bytes.
const MAX_LIST_BYTES: u64 = 1024 * 1024;

/// Withdraw mitigations at once and suppress what they were about
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl mitigations withdraw 9c01d3e4 --reason \"false positive\" --suppress 1h
  prefixdctl mit withdraw --from fp.txt --reason \"detector misfire\" --expect-count 12 --yes")]
pub(super) struct WithdrawArgs {
    /// Identifiers, or their beginnings or ends
    #[arg(required_unless_present = "from", value_name = "ID")]
    ids: Vec<String>,
    /// Read identifiers from a file, or from standard input with -; one a line, # begins a comment
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    from: Option<PathBuf>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long new reports of the same are not acted on; the daemon's usual time by default
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    suppress: Option<Duration>,
    /// Only while it has this revision
    #[arg(long, value_name = "N", conflicts_with = "from")]
    if_revision: Option<u64>,
    /// Only when so many are named
    #[arg(long, value_name = "N")]
    expect_count: Option<usize>,
}

/// What became of one of several.
#[derive(Debug, Serialize)]
struct Outcome {
    mitigation_id: MitigationId,
    withdrawn: bool,
    code: Option<String>,
    detail: Option<String>,
    mitigation: Option<Mitigation>,
}

impl WithdrawArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        if self.reason.trim().is_empty() {
            return Err(Failure::Input(
                "the reason is empty: say why, for the journal".to_owned(),
            ));
        }
        let ids = self.targets(session).await?;
        if self.if_revision.is_some() && ids.len() > 1 {
            return Err(Failure::Usage(
                "--if-revision goes with one identifier".to_owned(),
            ));
        }
        if let Some(expected) = self.expect_count.filter(|expected| *expected != ids.len()) {
            return Err(Failure::Conflict(format!(
                "nothing was changed: {expected} were expected and {} are named",
                ids.len()
            )));
        }
        if session.will_ask() {
            session.confirm(&question(session, &ids).await?, ids.len())?;
        }
        let request = WithdrawRequest {
            reason: self.reason,
            suppress_seconds: self.suppress.map(seconds).transpose()?,
            expected_revision: self.if_revision,
        };
        match ids[..] {
            [id] => {
                let mitigation = session
                    .client
                    .withdraw_mitigation(id, &request)
                    .await
                    .map_err(explain)?;
                session
                    .out
                    .one(&mitigation, |view| super::sheet::summary(&mitigation, view))
            }
            _ => withdraw_all(session, ids, &request).await,
        }
    }

    /// The identifiers, each once, in the order given.
    async fn targets(&self, session: &Session) -> Result<Vec<MitigationId>, Failure> {
        let list;
        let typed: Vec<&str> = match &self.from {
            Some(path) => {
                list = read_text(path, MAX_LIST_BYTES)?;
                list.lines()
                    .filter_map(|line| line.split('#').next())
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .collect()
            }
            None => self.ids.iter().map(String::as_str).collect(),
        };
        let mut ids = Vec::new();
        for typed in typed {
            let id = lookup::mitigation(session, typed).await?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return Err(Failure::Input("no identifier is given".to_owned()));
        }
        Ok(ids)
    }
}

/// Shows what will be withdrawn.
async fn question(session: &Session, ids: &[MitigationId]) -> Result<String, Failure> {
    let mut text = String::new();
    for id in ids {
        let m = session.client.mitigation(*id).await?.value.mitigation;
        let line = format!(
            "{}  {}  {}  {}  {}",
            short_id(m.mitigation_id),
            status(&m).text,
            m.victim_ip,
            m.vector,
            action(&m)
        );
        text.push_str(&format!("  {}\n", clean(&line, MAX_CELL_CHARS)));
    }
    Ok(format!(
        "{text}Withdraw {}?",
        if ids.len() == 1 {
            "it".to_owned()
        } else {
            format!("these {}", ids.len())
        }
    ))
}

async fn withdraw_all(
    session: &Session,
    ids: Vec<MitigationId>,
    request: &WithdrawRequest,
) -> Result<(), Failure> {
    let total = ids.len();
    let mut outcomes = Vec::with_capacity(total);
    let mut first_failure = None;
    for mitigation_id in ids {
        let outcome = match session.client.withdraw_mitigation(mitigation_id, request).await {
            Ok(mitigation) => Outcome {
                mitigation_id,
                withdrawn: true,
                code: None,
                detail: None,
                mitigation: Some(mitigation),
            },
            Err(error) => {
                let outcome = Outcome {
                    mitigation_id,
                    withdrawn: false,
                    code: Some(code_of(&error).to_owned()),
                    detail: Some(error.to_string()),
                    mitigation: None,
                };
                first_failure.get_or_insert(explain(error));
                outcome
            }
        };
        outcomes.push(outcome);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.withdrawn).count();
    session.out.list(&Pages::whole(outcomes))?;
    match first_failure {
        None => Ok(()),
        Some(failure) if failed == total => Err(failure),
        Some(_) => Err(Failure::Partial { failed, total }),
    }
}

impl Row for Outcome {
    const SCHEMA: &'static str = "withdraw_results";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "ID",
                field: "mitigation_id",
                place: Place::Always,
                cell: |o, _| Cell::text(short_id(o.mitigation_id)),
            },
            Column {
                head: "RESULT",
                field: "withdrawn",
                place: Place::Always,
                cell: |o, _| {
                    if o.withdrawn {
                        Cell::text("withdrawn")
                    } else {
                        Cell::text("failed").toned(Tone::Bad)
                    }
                },
            },
            Column {
                head: "CODE",
                field: "code",
                place: Place::Always,
                cell: |o, _| Cell::optional(o.code.as_deref()),
            },
            Column {
                head: "DETAIL",
                field: "detail",
                place: Place::Rest,
                cell: |o, _| Cell::optional(o.detail.as_deref()),
            },
        ]
    }

    fn id(&self) -> String {
        self.mitigation_id.to_string()
    }
}
