//! Counts and bounds.

use crate::failure::Failure;
use crate::output::sheet_of;
use crate::session::Session;
use clap::Args;
use prefixd_api::resource::{LiveCounts, PopCounts, Stats, Usage};
use prefixd_api::show::{MAX_TEXT_CHARS, clean, count, percent};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Counts and bounds
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl stats --pop all
  prefixdctl stats -o json")]
pub(crate) struct StatsArgs {
    /// Count what is live at this POP besides, or at `all`
    #[arg(long, value_name = "NAME")]
    pop: Option<String>,
}

impl StatsArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("stats")?;
        let stats = match &self.pop {
            Some(pop) => session.client.stats_at(pop).await?.value,
            None => session.client.stats().await?.value,
        };
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
    let live: BTreeMap<&str, &PopCounts> = stats.pops.iter().map(|one| (one.pop.as_str(), one)).collect();
    section(&mut text, "Live by POP", &live, |value| at_pop(value));
    if let Some(total) = stats.total.as_ref().filter(|_| live.len() > 1) {
        section(
            &mut text,
            "Live at these POPs",
            &BTreeMap::from([("all", total)]),
            |value| brief(value),
        );
        section(&mut text, "By vector, these POPs", &total.by_vector, |value| {
            count(*value)
        });
        section(&mut text, "By action, these POPs", &total.by_action, |value| {
            count(*value)
        });
    }
    if let Some(why) = &stats.elsewhere_unknown {
        text.push_str(&format!("\nOther POPs: {}\n", clean(why, MAX_TEXT_CHARS)));
    }
    text
}

/// The same, and whether anybody keeps it on the routers.
pub(crate) fn at_pop(pop: &PopCounts) -> String {
    let gone = if pop.runs { "" } else { "; NO DAEMON runs it now" };
    format!("{}{gone}", brief(&pop.live))
}

/// `12 active (3 escalated), 1 pending`.
fn brief(live: &LiveCounts) -> String {
    format!(
        "{} active ({} escalated), {} pending",
        count(live.active),
        count(live.escalated),
        count(live.pending)
    )
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
