//! Load on the daemon's REST API: what it sends, and what comes of it.
//!
//! All connections run on the caller's thread: the generator shares its processors with the daemon.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::Serialize;
use tokio::task::LocalSet;

use crate::http::{Client, request};

/// Events of one request in the batch modes: as many as the API takes.
const BATCH: u64 = 100;

/// Events for known victims among those of a mixed batch.
const KNOWN: u64 = 90;

/// Victims are numbered from the start of 11.0.0.0/8, public addresses of nobody the tests could reach.
pub const OWNED: &str = "11.0.0.0/15";

/// An address in the bench configuration's safelist, inside its customer's prefix.
pub const SAFELISTED: &str = "11.1.255.255";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A first ban for victim after victim.
    New,
    /// A repeated ban, without a timestamp, for victims that are filtered already.
    Extend,
    /// A ban for an address on the safelist.
    Reject,
    /// A ban for an address nobody owns.
    Unowned,
    /// The same ban again and again, with its timestamp.
    Replay,
    /// First bans, a hundred in one request.
    Batch,
    /// Unbans, a hundred in one request.
    BatchUnban,
    /// Bans, a hundred in one request: ninety repeat those of the victims before the first, ten are for new victims.
    BatchKnown,
    /// A page of a hundred active mitigations.
    List,
}

/// How much of it, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The daemon.
    pub target: SocketAddr,
    /// What is sent.
    pub mode: Mode,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// The end.
    pub until: Until,
    /// The number of the first victim.
    pub first: u64,
    /// Distinct victims; after the last comes the first again.
    pub victims: u64,
    /// Makes event ids differ between runs on one daemon.
    pub run: u64,
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many requests.
    Requests(u64),
    /// After this time.
    Elapsed(Duration),
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Answered requests.
    pub requests: u64,
    /// Events (or list pages) per second.
    pub per_second: f64,
    /// Half of the requests were answered within, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
    /// Requests by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// The first answer with an unexpected status, if any.
    pub unexpected: Option<String>,
}

impl Mode {
    const fn events_per_request(self) -> u64 {
        match self {
            Self::Batch | Self::BatchUnban | Self::BatchKnown => BATCH,
            _ => 1,
        }
    }

    /// The status every answer must have for the figure to mean what it says.
    const fn expected(self) -> u16 {
        match self {
            Self::New | Self::Extend | Self::Unowned => 202,
            Self::Reject => 422,
            Self::Replay | Self::Batch | Self::BatchUnban | Self::BatchKnown | Self::List => 200,
        }
    }
}

/// Runs a load to its end.
///
/// # Errors
/// When a connection fails. Unexpected statuses are in the report.
pub async fn run(load: Load) -> anyhow::Result<Report> {
    if load.connections == 0 || load.victims == 0 {
        bail!("a load needs a connection and a victim");
    }
    if load.mode == Mode::BatchKnown && load.first == 0 {
        bail!("a load of known victims needs victims before its first");
    }
    if load.mode == Mode::Replay {
        // What is to be replayed must have been said once.
        Client::connect(load.target)
            .await?
            .exchange(&bytes(&load, 0))
            .await?;
    }
    let next = Rc::new(Cell::new(0_u64));
    let start = Instant::now();
    let local = LocalSet::new();
    let tasks = (0..load.connections)
        .map(|_| local.spawn_local(connection(load, next.clone(), start)))
        .collect::<Vec<_>>();
    let mut outcomes = Vec::new();
    local
        .run_until(async {
            for task in tasks {
                outcomes.push(task.await.context("a connection's task")??);
            }
            anyhow::Ok(())
        })
        .await?;
    let elapsed = start.elapsed();

    let mut latencies = Vec::new();
    let mut statuses = BTreeMap::new();
    let mut unexpected = None;
    for outcome in outcomes {
        latencies.extend(outcome.latencies);
        for (status, count) in outcome.statuses {
            *statuses.entry(status).or_default() += count;
        }
        unexpected = unexpected.or(outcome.unexpected);
    }
    latencies.sort_unstable();
    let requests = latencies.len() as u64;
    Ok(Report {
        requests,
        per_second: (requests * load.mode.events_per_request()) as f64 / elapsed.as_secs_f64(),
        p50_ms: quantile(&latencies, 0.5),
        p99_ms: quantile(&latencies, 0.99),
        max_ms: quantile(&latencies, 1.0),
        statuses,
        unexpected,
    })
}

/// The smallest of the sorted latencies that a share of all does not exceed, in milliseconds.
pub fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
}

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    statuses: BTreeMap<u16, u64>,
    unexpected: Option<String>,
}

async fn connection(load: Load, next: Rc<Cell<u64>>, start: Instant) -> anyhow::Result<Outcome> {
    let mut client = Client::connect(load.target).await?;
    let mut outcome = Outcome::default();
    loop {
        let number = next.get();
        match load.until {
            Until::Requests(count) if number >= count => return Ok(outcome),
            Until::Elapsed(limit) if start.elapsed() >= limit => return Ok(outcome),
            _ => next.set(number + 1),
        }
        let bytes = bytes(&load, number);
        let sent = Instant::now();
        let response = client.exchange(&bytes).await?;
        outcome.latencies.push(sent.elapsed());
        *outcome.statuses.entry(response.status).or_default() += 1;
        let is_expected = response.status == load.mode.expected()
            && (load.mode.events_per_request() == 1 || is_taken_whole(response.body));
        if !is_expected && outcome.unexpected.is_none() {
            let body = String::from_utf8_lossy(response.body);
            let start: String = body.chars().take(SHOWN).collect();
            outcome.unexpected = Some(format!("{}: {start}", response.status));
        }
    }
}

/// Of an answer that was not expected, as many characters are shown: the one of a batch has 20,000.
const SHOWN: usize = 400;

/// Whether every event of a batch was taken: the answer of the batch itself is 200 in any case.
fn is_taken_whole(body: &[u8]) -> bool {
    const STATUS: &str = r#""http_status":"#;
    let text = String::from_utf8_lossy(body);
    let mut statuses = text
        .match_indices(STATUS)
        .map(|(at, _)| &text[at + STATUS.len()..]);
    let taken = statuses.clone().count() as u64 == BATCH;
    taken && statuses.all(|status| status.starts_with("20"))
}

/// The bytes of the request of a number.
fn bytes(load: &Load, number: u64) -> Vec<u8> {
    let post = |path: &str, body: fmt::Arguments<'_>| {
        request(load.target, "POST", path, body.to_string().as_bytes())
    };
    match load.mode {
        Mode::New | Mode::Extend => post(
            "/v1/events",
            format_args!(
                "{}",
                Event {
                    load,
                    number,
                    action: "ban"
                }
            ),
        ),
        Mode::Reject => post(
            "/v1/events",
            format_args!(
                r#"{{"source":"bench","event_id":"r{}-{number}","victim_ip":"{SAFELISTED}","vector":"udp_flood","top_dst_ports":[27015]}}"#,
                load.run
            ),
        ),
        Mode::Unowned => post(
            "/v1/events",
            format_args!(
                r#"{{"source":"bench","event_id":"u{}-{number}","victim_ip":"12.0.0.1","vector":"udp_flood","top_dst_ports":[27015]}}"#,
                load.run
            ),
        ),
        // The timestamp makes it one report said twice; without, it would be a refresh.
        Mode::Replay => post(
            "/v1/events",
            format_args!(
                r#"{{"source":"bench","event_id":"replay{}","victim_ip":"{}","vector":"udp_flood","top_dst_ports":[27015],"timestamp":"{}"}}"#,
                load.run,
                victim(load.first),
                rfc3339(load.run),
            ),
        ),
        Mode::Batch => post(
            "/v1/events/batch",
            format_args!(
                "{}",
                Batch {
                    load,
                    number,
                    action: "ban"
                }
            ),
        ),
        Mode::BatchUnban => post(
            "/v1/events/batch",
            format_args!(
                "{}",
                Batch {
                    load,
                    number,
                    action: "unban"
                }
            ),
        ),
        Mode::BatchKnown => post("/v1/events/batch", format_args!("{}", Mixed { load, number })),
        Mode::List => request(load.target, "GET", "/v1/mitigations?status=active&limit=100", b""),
    }
}

struct Event<'a> {
    load: &'a Load,
    number: u64,
    action: &'static str,
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.load.first + self.number % self.load.victims;
        event(f, self.load.run, self.action, index)
    }
}

/// The report of one victim; always the same claim within a run.
fn event(f: &mut fmt::Formatter<'_>, run: u64, action: &str, index: u64) -> fmt::Result {
    write!(
        f,
        r#"{{"source":"bench","event_id":"e{run}-{index}","action":"{action}","victim_ip":"{}","vector":"udp_flood","bps":120000000,"pps":80000,"confidence":0.95,"top_dst_ports":[27015]}}"#,
        victim(index),
    )
}

struct Mixed<'a> {
    load: &'a Load,
    number: u64,
}

impl fmt::Display for Mixed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, number } = *self;
        let known = (0..KNOWN).map(|offset| (number * KNOWN + offset) % load.first);
        let new = (0..BATCH - KNOWN).map(|offset| (number * (BATCH - KNOWN) + offset) % load.victims);
        let mut comma = "";
        f.write_str(r#"{"events":["#)?;
        for index in known.chain(new.map(|index| load.first + index)) {
            f.write_str(comma)?;
            event(f, load.run, "ban", index)?;
            comma = ",";
        }
        f.write_str("]}")
    }
}

struct Batch<'a> {
    load: &'a Load,
    number: u64,
    action: &'static str,
}

impl fmt::Display for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"{"events":["#)?;
        for offset in 0..BATCH {
            let comma = if offset == 0 { "" } else { "," };
            let number = self.number * BATCH + offset;
            write!(
                f,
                "{comma}{}",
                Event {
                    load: self.load,
                    number,
                    action: self.action
                }
            )?;
        }
        f.write_str("]}")
    }
}

/// The address of a number.
pub fn victim(index: u64) -> std::net::Ipv4Addr {
    const BASE: u32 = 11 << 24;
    std::net::Ipv4Addr::from(BASE + (index & 0xff_ffff) as u32)
}

/// Seconds since 1970 as RFC 3339 (days to a civil date after the proleptic Gregorian calendar).
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(mode: Mode) -> Load {
        Load {
            target: "127.0.0.1:1".parse().unwrap(),
            mode,
            connections: 1,
            until: Until::Requests(1),
            first: 0,
            victims: 1000,
            run: 1_700_000_000,
        }
    }

    #[test]
    fn every_body_is_json() {
        for mode in Mode::value_variants() {
            let bytes = bytes(
                &Load {
                    first: 700,
                    ..load(*mode)
                },
                3,
            );
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            if *mode != Mode::List {
                let json: serde_json::Value = serde_json::from_str(body).unwrap();
                assert!(head.contains(&format!("Content-Length: {}", body.len())));
                if matches!(mode, Mode::Batch | Mode::BatchUnban) {
                    let victims = json["events"].as_array().unwrap();
                    assert_eq!(victims.len() as u64, BATCH);
                    assert_eq!(victims[1]["victim_ip"], "11.0.3.233");
                }
                if *mode == Mode::BatchKnown {
                    let victims = json["events"].as_array().unwrap();
                    assert_eq!(victims.len() as u64, BATCH);
                    assert_eq!(victims[0]["victim_ip"], "11.0.1.14");
                    assert_eq!(victims[90]["victim_ip"], "11.0.2.218");
                }
            }
        }
    }

    #[test]
    fn a_replay_is_the_same_bytes_and_a_refresh_the_same_claim() {
        assert_eq!(bytes(&load(Mode::Replay), 1), bytes(&load(Mode::Replay), 2));
        assert_eq!(bytes(&load(Mode::Extend), 1), bytes(&load(Mode::Extend), 1001));
        assert_ne!(bytes(&load(Mode::New), 1), bytes(&load(Mode::New), 2));
    }

    #[test]
    fn a_batch_is_taken_whole_or_means_nothing() {
        let body = |refused: usize| {
            let item = |n: usize| format!(r#"{{"http_status":{}}}"#, if n < refused { 429 } else { 202 });
            let items: Vec<String> = (0..100).map(item).collect();
            format!(r#"{{"results":[{}]}}"#, items.join(","))
        };
        assert!(is_taken_whole(body(0).as_bytes()));
        assert!(!is_taken_whole(body(1).as_bytes()));
        assert!(!is_taken_whole(b"{\"results\":[]}"));
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let all = (1..=100).map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(
            [quantile(&all, 0.5), quantile(&all, 0.99), quantile(&all, 1.0)],
            [50.0, 99.0, 100.0]
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
