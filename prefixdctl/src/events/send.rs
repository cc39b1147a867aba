//! Reporting events.

use super::event_action;
use super::rows::answer_sheet;
use crate::failure::Failure;
use crate::mitigations::explain;
use crate::output::{Cell, Column, Place, Row, Tone};
use crate::page::Pages;
use crate::session::Session;
use clap::Args;
use prefixd_api::client::Error;
use prefixd_api::event::{EventAction, EventBatch, EventRequest};
use prefixd_api::problem::Problem;
use prefixd_api::show::{parse_si, short_id};
use prefixd_api::time::Timestamp;
use prefixd_api::victim::Victim;
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::PathBuf;

/// Longest file of events, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Report one attack, or its end
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl events send --source test --victim 203.0.113.10 --vector udp_flood --bps 1.2G --ports 27015
  prefixdctl ev send --source test --victim 203.0.113.10 --vector udp_flood --action unban")]
pub(super) struct SendArgs {
    /// The detector's name
    #[arg(long, value_name = "NAME")]
    source: String,
    /// The attacked address
    #[arg(long, value_name = "IP")]
    victim: Victim,
    /// The kind of attack
    #[arg(long, value_name = "VECTOR")]
    vector: String,
    /// ban or unban
    #[arg(long, value_parser = event_action, default_value = "ban", value_name = "ACTION")]
    action: EventAction,
    /// The attack's name at its source
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Bits per second: 800k, 1.2G
    #[arg(long, value_parser = parse_rate, value_name = "BPS")]
    bps: Option<i64>,
    /// Packets per second
    #[arg(long, value_parser = parse_rate, value_name = "PPS")]
    pps: Option<i64>,
    /// How sure the detector is, 0 to 1
    #[arg(long, value_name = "0..1")]
    confidence: Option<f64>,
    /// IP protocol number
    #[arg(long, value_name = "NUMBER")]
    protocol: Option<u8>,
    /// Attacked ports, busiest first
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    ports: Vec<u16>,
    /// Ports the attack comes from, busiest first
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    src_ports: Vec<u16>,
    /// When the detector saw it; now by default
    #[arg(long, value_name = "RFC3339")]
    timestamp: Option<Timestamp>,
}

impl SendArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let event = EventRequest {
            source: self.source,
            event_id: self.event_id,
            action: self.action,
            victim_ip: self.victim.to_string(),
            vector: self.vector,
            bps: self.bps,
            pps: self.pps,
            confidence: self.confidence,
            protocol: self.protocol,
            top_dst_ports: self.ports,
            top_src_ports: self.src_ports,
            timestamp: self.timestamp,
            raw_details: None,
        };
        let answer = session.client.send_event(&event).await.map_err(explain)?;
        session.out.one(&answer, |view| answer_sheet(&answer, view))
    }
}

/// Report many events from a file of JSON lines
///
/// Each line is one event as POST /v1/events takes it. Every event is judged by itself: what became of each is printed, and the exit code is 10 when some were refused.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl events batch --from events.jsonl
  prefixdctl ev batch --from - --size 50 -o jsonl")]
pub(super) struct BatchArgs {
    /// The file, or - for standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Events in one request
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100), value_name = "N")]
    size: u8,
}

/// What became of one line.
#[derive(Debug, Serialize)]
struct Outcome {
    line: usize,
    #[serde(flatten)]
    result: prefixd_api::event::EventBatchResult,
}

impl BatchArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        let text = session.read_text(&self.from, MAX_FILE_BYTES)?;
        let events = parse_lines(&text)?;
        let mut outcomes = Vec::with_capacity(events.len());
        for chunk in events.chunks(self.size.into()) {
            let batch = EventBatch {
                events: chunk.iter().map(|(_, event)| event.clone()).collect(),
            };
            let sent = session.client.send_events(&batch).await;
            let answer = match sent {
                Ok(answer) => answer,
                // What was sent before stands: say what became of it.
                Err(error) => {
                    session.out.list(&Pages::whole(outcomes))?;
                    return Err(explain(error));
                }
            };
            let lines = chunk.iter().map(|(line, _)| *line);
            outcomes.extend(
                lines
                    .zip(answer.results)
                    .map(|(line, result)| Outcome { line, result }),
            );
        }
        let total = outcomes.len();
        let refusals: Vec<_> = outcomes.iter().filter_map(Outcome::refusal).collect();
        session.out.list(&Pages::whole(outcomes))?;
        match refusals.first() {
            None => Ok(()),
            Some(first) if refusals.len() == total => Err(Error::Problem(Box::new(first.clone())).into()),
            Some(_) => Err(Failure::Partial {
                failed: refusals.len(),
                total,
            }),
        }
    }
}

impl Outcome {
    /// The problem that this event would have got by itself.
    fn refusal(&self) -> Option<Problem> {
        let result = &self.result;
        (result.http_status >= 300).then(|| Problem {
            kind: "about:blank".to_owned(),
            title: "The event was refused".to_owned(),
            status: result.http_status,
            code: result.code.clone().unwrap_or_default(),
            detail: format!(
                "line {}: {}",
                self.line,
                result.detail.as_deref().unwrap_or("refused")
            ),
            request_id: None,
            retry_after_seconds: None,
            errors: Vec::new(),
            why: None,
        })
    }
}

/// The lines that are not empty, with their numbers.
fn parse_lines(text: &str) -> Result<Vec<(usize, Box<RawValue>)>, Failure> {
    let events: Vec<_> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| match serde_json::from_str(line) {
            Ok(event) => Ok((index + 1, event)),
            Err(error) => Err(Failure::Input(format!(
                "nothing was sent: line {} is no JSON: {error}",
                index + 1
            ))),
        })
        .collect::<Result<_, _>>()?;
    if events.is_empty() {
        return Err(Failure::Input("there are no events to send".to_owned()));
    }
    Ok(events)
}

fn parse_rate(text: &str) -> Result<i64, String> {
    let rate = parse_si(text).map_err(|error| error.to_string())?;
    i64::try_from(rate).map_err(|_| format!("{text:?} is too large"))
}

impl Row for Outcome {
    const SCHEMA: &'static str = "event_results";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "LINE",
                field: "line",
                place: Place::Always,
                cell: |o, _| Cell::number(o.line.to_string()),
            },
            Column {
                head: "HTTP",
                field: "http_status",
                place: Place::Always,
                cell: |o, _| Cell::number(o.result.http_status.to_string()),
            },
            Column {
                head: "RESULT",
                field: "status",
                place: Place::Always,
                cell: |o, _| match (&o.result.answer, &o.result.code) {
                    (_, Some(code)) => Cell::text(code).toned(Tone::Bad),
                    (Some(answer), None) => super::rows::outcome(&answer.status),
                    (None, None) => Cell::text("-"),
                },
            },
            Column {
                head: "MITIGATION",
                field: "mitigation_id",
                place: Place::Always,
                cell: |o, _| {
                    let id = o.result.answer.as_ref().and_then(|answer| answer.mitigation_id);
                    Cell::text(id.map_or_else(|| "-".to_owned(), short_id))
                },
            },
            Column {
                head: "DETAIL",
                field: "detail",
                place: Place::Rest,
                cell: |o, _| {
                    let reason = o.result.answer.as_ref().map(|answer| answer.reason.as_str());
                    Cell::optional(o.result.detail.as_deref().or(reason))
                },
            },
        ]
    }

    fn id(&self) -> String {
        self.result
            .answer
            .as_ref()
            .map_or_else(|| "-".to_owned(), |answer| answer.event_id.to_string())
    }
}
