//! Counts and bounds.

use crate::failure::Failure;
use crate::output::sheet_of;
use crate::session::Session;
use clap::Args;
use prefixd_api::resource::{Stats, Usage};
use prefixd_api::show::{count, percent};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Counts and bounds
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl stats
  prefixdctl stats -o json")]
pub(crate) struct StatsArgs {}

impl StatsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("stats")?;
        let stats = session.client.stats().await?.value;
        session.out.sheet(&stats, |_| sheet(&stats))
    }
}

fn sheet(stats: &Stats) -> String {
    let mut text = sheet_of(&[
        ("POP", stats.pop.clone()),
        (
            "Active",
            format!(
                "{} ({} escalated, {} ending, {} pending)",
                count(stats.active),
                count(stats.escalated),
                count(stats.ending),
                count(stats.pending)
            ),
        ),
        ("Quota of the POP", usage(stats.quota_pop)),
        ("Quota of all POPs", usage(stats.quota_global)),
        ("New per minute", usage(stats.new_per_minute)),
        ("Events per minute", count(stats.events_per_minute)),
        (
            "Rules",
            format!(
                "{} intended, {} announced",
                count(stats.rules.intended),
                count(stats.rules.announced)
            ),
        ),
    ]);
    section(&mut text, "By vector", &stats.by_vector, |value| count(*value));
    section(&mut text, "By action", &stats.by_action, |value| count(*value));
    section(&mut text, "By severity", &stats.by_severity, |value| {
        count(*value)
    });
    section(&mut text, "By customer", &stats.by_customer, |value| {
        usage(*value)
    });
    section(
        &mut text,
        "Events by outcome",
        &stats.events_by_outcome,
        |value| count(*value),
    );
    text
}

/// `12 of 200 (6%)`.
pub(crate) fn usage(usage: Usage) -> String {
    format!(
        "{} of {} ({})",
        count(usage.used),
        count(usage.max),
        percent(usage.used, usage.max)
    )
}

fn section<K: Display, V>(
    text: &mut String,
    title: &str,
    values: &BTreeMap<K, V>,
    shown: impl Fn(&V) -> String,
) {
    if values.is_empty() {
        return;
    }
    let names: Vec<_> = values.keys().map(ToString::to_string).collect();
    let pairs: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(values.values().map(shown))
        .collect();
    text.push_str(&format!("\n{title}\n"));
    text.extend(sheet_of(&pairs).lines().map(|line| format!("  {line}\n")));
}
