//! Taking mitigations back.

use super::create::{explain, may_have_happened, seconds};
use super::rows::{action, status};
use super::wait::{self, WaitArgs};
use crate::failure::{Failure, code_of};
use crate::lookup;
use crate::output::{Cell, Column, Place, Row, Tone};
use crate::page::Pages;
use crate::session::Session;
use clap::Args;
use prefixd_api::client::Error;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Claim, Mitigation, OriginKind, WithdrawRequest};
use prefixd_api::peer::MayHold;
use prefixd_api::preview::{WithdrawPreview, WithdrawPreviewRequest};
use prefixd_api::show::{MAX_CELL_CHARS, MAX_TEXT_CHARS, clean, parse_span, relative, short_id};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Code of what was left out after a failure that is of all.
const NOT_SENT: &str = "client.not_sent";
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
    /// Put back after so long unless it is confirmed: prefixdctl mitigations confirm
    #[arg(long, value_parser = parse_span, value_name = "TIME")]
    confirm_within: Option<Duration>,
    /// Only show what would leave, what cover is left, and whether it would come back
    #[arg(long, conflicts_with_all = ["from", "confirm_within", "wait"])]
    preview: bool,
    /// Only while it has this revision
    #[arg(long, value_name = "N", conflicts_with = "from")]
    if_revision: Option<u64>,
    /// Only when so many are named
    #[arg(long, value_name = "N")]
    expect_count: Option<usize>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What became of one of several.
#[derive(Debug, Serialize)]
struct Outcome {
    mitigation_id: MitigationId,
    /// Nothing when the request was sent and no answer tells what became of it.
    withdrawn: Option<bool>,
    code: Option<String>,
    detail: Option<String>,
    mitigation: Option<Mitigation>,
    /// Neighbours that may hold its rules all the same.
    may_hold: Vec<MayHold>,
}

impl WithdrawArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.preview {
            return self.show(session).await;
        }
        session.may_change()?;
        super::said(&self.reason)?;
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
            session.confirm(&question(session, &ids, self.suppress).await?, ids.len())?;
        }
        let request = WithdrawRequest {
            reason: self.reason,
            suppress_seconds: self.suppress.map(seconds).transpose()?,
            confirm_within_seconds: self.confirm_within.map(seconds).transpose()?,
            expected_revision: self.if_revision,
        };
        let until = self.wait.until();
        let told = match until {
            Some(_) => wait::told(session, &ids).await?,
            None => wait::Told::new(),
        };
        let held = match ids[..] {
            [id] => {
                let withdrawn = session
                    .client
                    .withdraw_mitigation(id, &request)
                    .await
                    .map_err(explain)?;
                let done = &withdrawn.mitigation;
                session.out.one_with(done, &withdrawn, |view| {
                    let held = may_hold(&withdrawn.may_hold).map(|held| format!("{held}\n\n"));
                    held.unwrap_or_default() + &super::sheet::summary(done, view)
                })?;
                withdrawn.may_hold
            }
            _ => withdraw_all(session, ids, &request).await?,
        };
        let Some(until) = until else { return Ok(()) };
        wait::withdrawn(session, told, until).await?;
        // What a router without a session holds cannot be waited for.
        may_hold(&held).map_or(Ok(()), |held| Err(Failure::TimedOut(held)))
    }

    async fn show(&self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a preview")?;
        let ids = self.targets(session).await?;
        let [id] = ids[..] else {
            return Err(Failure::Usage("--preview goes with one identifier".to_owned()));
        };
        let request = WithdrawPreviewRequest {
            suppress_seconds: self.suppress.map(seconds).transpose()?,
        };
        let preview = session.client.preview_withdrawal(id, &request).await?;
        session.out.sheet(&preview, |_| foreseen(&preview))
    }

    /// The identifiers, each once, in the order given.
    async fn targets(&self, session: &Session) -> Result<Vec<MitigationId>, Failure> {
        let list;
        let typed: Vec<&str> = match &self.from {
            Some(path) => {
                list = session.read_text(path, MAX_LIST_BYTES)?;
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

/// What a withdrawal would do, in words.
fn foreseen(preview: &WithdrawPreview) -> String {
    let mut text = String::new();
    let mut line = |words: String| text.push_str(&format!("{}\n", clean(&words, MAX_TEXT_CHARS)));
    for neighbor in &preview.neighbors {
        line(format!("{}:", neighbor.neighbor));
        for rule in &neighbor.leaves {
            line(format!("  leaves  {rule}"));
        }
        for rule in &neighbor.stays {
            line(format!("  stays   {rule} (another mitigation wants it)"));
        }
        if let Some(until) = neighbor.may_hold_until {
            line(format!(
                "  MAY HOLD what it was told until {until}: its session is down and it agreed to graceful restart"
            ));
        }
        if neighbor.leaves.is_empty() && neighbor.stays.is_empty() {
            line("  nothing is there".to_owned());
        }
    }
    for cover in &preview.cover {
        let all = if cover.takes_all {
            "all of it"
        } else {
            "not all of it"
        };
        line(format!(
            "left: {} against {} takes {all}: {}",
            short_id(cover.mitigation_id),
            cover.vector,
            cover.rules.join("; ")
        ));
    }
    if preview.cover.is_empty() {
        line("left: nothing else filters for this address".to_owned());
    }
    for (when, reports) in [
        ("now", &preview.next_reports),
        ("after the suppression", &preview.later_reports),
    ] {
        for report in reports {
            let back = if report.comes_back {
                "COMES BACK"
            } else {
                "stays away"
            };
            line(format!(
                "next report of {} {when}: {back} ({}: {})",
                report.source, report.outcome, report.reason
            ));
        }
    }
    if preview.next_reports.is_empty() {
        line("no detector reports it now".to_owned());
    }
    if let Some(until) = preview.suppressed_until {
        line(format!("reports are not acted on until {until}"));
    }
    text
}

/// Neighbours that a withdrawal does not reach.
pub(super) fn may_hold(held: &[MayHold]) -> Option<String> {
    let each = held
        .iter()
        .map(|held| format!("{} until {}", held.neighbor, held.until));
    let all: Vec<_> = each.collect();
    (!all.is_empty()).then(|| {
        format!(
            "MAY STILL BE THERE: {}; the session is down and the router agreed to graceful restart (docs/break-glass.md takes rules \
             off by hand)",
            all.join(", ")
        )
    })
}

/// Shows what will be withdrawn.
async fn question(
    session: &Session,
    ids: &[MitigationId],
    suppress: Option<Duration>,
) -> Result<String, Failure> {
    let mut text = String::new();
    let mut reported = 0;
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
        let is_reported = |claim: &Arc<Claim>| claim.kind == OriginKind::Event && claim.cleared_at.is_none();
        reported += usize::from(m.claims.iter().any(is_reported));
        text.push_str(&format!("  {}\n", clean(&line, MAX_CELL_CHARS)));
    }
    let back = match (suppress, reported) {
        (_, 0) => "No detector reports them now.".to_owned(),
        (Some(Duration::ZERO), some) => format!("{some} still reported: AGAIN with the next report."),
        (Some(span), some) => format!("{some} still reported: again after {}.", relative(span)),
        (None, some) => format!("{some} still reported: again after the daemon's time of suppression."),
    };
    let what = if ids.len() == 1 {
        "it".to_owned()
    } else {
        format!("these {}", ids.len())
    };
    Ok(format!("{text}{back}\nWithdraw {what}?"))
}

async fn withdraw_all(
    session: &Session,
    ids: Vec<MitigationId>,
    request: &WithdrawRequest,
) -> Result<Vec<MayHold>, Failure> {
    let total = ids.len();
    let mut outcomes = Vec::with_capacity(total);
    let mut first_failure = None;
    let mut ids = ids.into_iter();
    for mitigation_id in ids.by_ref() {
        let error = match session.client.withdraw_mitigation(mitigation_id, request).await {
            Ok(done) => {
                outcomes.push(Outcome {
                    mitigation_id,
                    withdrawn: Some(true),
                    code: None,
                    detail: None,
                    mitigation: Some(done.mitigation),
                    may_hold: done.may_hold,
                });
                continue;
            }
            Err(error) => error,
        };
        let (code, stop) = (code_of(&error).to_owned(), is_of_all(&error));
        let withdrawn = (!may_have_happened(&error)).then_some(false);
        let failure = explain(error);
        outcomes.push(Outcome {
            mitigation_id,
            withdrawn,
            code: Some(code),
            detail: Some(failure.to_string()),
            mitigation: None,
            may_hold: Vec::new(),
        });
        first_failure.get_or_insert(failure);
        if stop {
            break;
        }
    }
    outcomes.extend(ids.map(|mitigation_id| Outcome {
        mitigation_id,
        withdrawn: Some(false),
        code: Some(NOT_SENT.to_owned()),
        detail: Some("not sent: the one before would have failed for this one too".to_owned()),
        mitigation: None,
        may_hold: Vec::new(),
    }));
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.withdrawn != Some(true))
        .count();
    let held = outcomes.iter().flat_map(|outcome| &outcome.may_hold).cloned();
    let held = held.collect();
    session.out.list(&Pages::whole(outcomes))?;
    match first_failure {
        None => Ok(held),
        Some(failure) if failed == total => Err(failure),
        Some(_) => Err(Failure::Partial { failed, total }),
    }
}

/// Whether the next request would fail like this one. Each would wait as long, and take the person as long to learn.
fn is_of_all(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::Timeout { .. } | Error::Setup(_) => true,
        Error::Problem(problem) => matches!(problem.status, 401 | 403),
        Error::Protocol(_) | Error::Form(_) => false,
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
                    let not_sent = o.code.as_deref() == Some(NOT_SENT);
                    match o.withdrawn {
                        Some(true) => Cell::text("withdrawn"),
                        Some(false) if not_sent => Cell::text("not sent").toned(Tone::Bad),
                        Some(false) => Cell::text("failed").toned(Tone::Bad),
                        None => Cell::text("UNKNOWN").toned(Tone::Bad),
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
                cell: |o, _| {
                    let held = may_hold(&o.may_hold);
                    Cell::optional(o.detail.as_deref().or(held.as_deref()))
                },
            },
        ]
    }

    fn id(&self) -> String {
        self.mitigation_id.to_string()
    }
}
