//! The feed, as it comes.

use crate::failure::Failure;
use crate::output::{self, Format, View};
use crate::session::Session;
use clap::Args;
use prefixd_api::client::{Error, Feed, FeedItem, FeedOptions};
use prefixd_api::feed::{FeedBody, FeedMessage};
use prefixd_api::show::{MAX_TEXT_CHARS, absolute, clean, relative, short_id};
use serde_json::Value;
use std::collections::BTreeMap;

/// Print what happens, as it happens
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl watch
  prefixdctl watch --types mitigation_created,peer_changed -o jsonl")]
pub(crate) struct WatchArgs {
    /// Only these types of messages
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    types: Vec<String>,
    /// Begin after this position of the journal instead of now
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// Follow these other POPs, too, from now on: names, or all
    #[arg(long, value_delimiter = ',', value_name = "POPS")]
    pop: Vec<String>,
}

impl WatchArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let lines = Lines::of(session.out.format, "the feed")?;
        if lines == Lines::Ids {
            return Err(Failure::Usage(
                "the feed has no identifiers: use -o table or jsonl".to_owned(),
            ));
        }
        let follow = followed(session, &self.pop).await?;
        let others = !follow.is_empty();
        let mut watcher = Watcher::new(
            session,
            FeedOptions {
                since: self.since,
                follow,
                types: self.types,
                ..FeedOptions::default()
            },
        );
        loop {
            match watcher.next(session).await? {
                Watched::Missed => session.note("messages were missed"),
                Watched::Message(message) => {
                    let text = match lines {
                        Lines::Json => output::line(&message)?,
                        Lines::Text | Lines::Ids => describe(&message, session.out.view())?,
                    };
                    match lines {
                        Lines::Text if others => {
                            output::print(&format!("{}  {text}", clean(&message.pop, MAX_TEXT_CHARS)))?;
                        }
                        _ => output::print(&text)?,
                    }
                }
            }
        }
    }
}

/// The POPs that are named, besides the daemon's own, and where each is now.
async fn followed(session: &Session, names: &[String]) -> Result<BTreeMap<String, u64>, Failure> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pops = session.client.pops().await?.value.pops;
    let is_all = names == ["all"];
    if let Some(unknown) = names
        .iter()
        .find(|name| !is_all && !pops.iter().any(|pop| pop.name == **name))
    {
        return Err(Failure::Usage(format!(
            "no POP {unknown} has written to the database: prefixdctl pops names them"
        )));
    }
    let others = pops
        .into_iter()
        .filter(|pop| !pop.own && (is_all || names.contains(&pop.name)));
    Ok(others.map(|pop| (pop.name, pop.head)).collect())
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    Text,
    Json,
    Ids,
}

impl Lines {
    pub(crate) fn of(format: Format, what: &str) -> Result<Self, Failure> {
        match format {
            Format::Table | Format::Wide => Ok(Self::Text),
            Format::Json | Format::Jsonl => Ok(Self::Json),
            Format::Ids => Ok(Self::Ids),
            Format::Csv => Err(Failure::Usage(format!("{what} is no csv: use -o table or jsonl"))),
        }
    }
}

/// What a watcher gives.
pub(crate) enum Watched {
    Message(Box<FeedMessage>),
    /// Some messages are gone.
    Missed,
}

/// A feed that says on standard error how its connection is.
pub(crate) struct Watcher {
    feed: Feed,
    connected_once: bool,
}

impl Watcher {
    pub(crate) fn new(session: &Session, options: FeedOptions) -> Self {
        Self {
            feed: session.client.feed(options),
            connected_once: false,
        }
    }

    /// The next message. Fails when the first connection fails, or the daemon refuses.
    pub(crate) async fn next(&mut self, session: &Session) -> Result<Watched, Failure> {
        loop {
            match self.feed.next().await {
                Some(FeedItem::Message(message)) => return Ok(Watched::Message(message)),
                Some(FeedItem::Resync { .. }) => return Ok(Watched::Missed),
                Some(FeedItem::Alive) => {}
                Some(FeedItem::Connected { pop, mode, .. }) => {
                    if self.connected_once {
                        session.note("connected again");
                    } else {
                        session.note(&format!("watching {} ({mode})", clean(&pop, MAX_TEXT_CHARS)));
                    }
                    self.connected_once = true;
                }
                Some(FeedItem::Lost { why, .. }) if !self.connected_once => return Err(why.into()),
                Some(FeedItem::Lost { why, retry_in }) => {
                    session.note(&format!("{why}; trying again in {}", relative(retry_in)));
                }
                Some(FeedItem::Refused(why)) => return Err(why.into()),
                None => return Err(Error::Protocol("the feed ended".to_owned()).into()),
            }
        }
    }
}

/// One line for people.
fn describe(message: &FeedMessage, view: View) -> Result<String, Failure> {
    let at = absolute(message.at, view.now, view.zone);
    let json = serde_json::to_value(message).map_err(|error| Failure::Output(error.into()))?;
    let kind = json["type"].as_str().unwrap_or("unknown");
    let what = match &message.body {
        FeedBody::MitigationCreated { mitigation: m } => {
            format!(
                "{}  {}  {}  {}",
                short_id(m.mitigation_id),
                m.victim_ip,
                m.vector,
                m.action_type
            )
        }
        FeedBody::MitigationUpdated(change)
        | FeedBody::MitigationAcknowledged(change)
        | FeedBody::MitigationEscalated(change)
        | FeedBody::MitigationWithdrawn(change)
        | FeedBody::MitigationExpired(change)
        | FeedBody::MitigationRejected(change) => {
            let changes: Vec<_> = change
                .changes
                .iter()
                .filter(|(_, value)| !value.is_object() && !value.is_array())
                .map(|(field, value)| format!("{field}={}", bare(value)))
                .collect();
            format!("{}  {}", short_id(change.mitigation_id), changes.join(" "))
        }
        FeedBody::EventIngested {
            source,
            victim_ip,
            vector,
            outcome,
            ..
        } => {
            format!("{source}  {victim_ip}  {vector}  {outcome}")
        }
        FeedBody::GroupUpdated { group } => {
            let state = if group.closed_at.is_some() {
                "closed"
            } else {
                "open"
            };
            format!("{}  {}  {state}", short_id(group.group_id), group.scope)
        }
        FeedBody::SuppressionChanged { about, suppression } => {
            let how = if suppression.is_some() {
                "suppressed"
            } else {
                "acted on again"
            };
            format!("{about}  {how}")
        }
        FeedBody::SourceChanged { source, paused } => match paused {
            Some(paused) => format!("{source}  paused: {}", paused.reason),
            None => format!("{source}  resumed"),
        },
        FeedBody::SafelistChanged { prefix, added } => {
            format!("{prefix}  {}", if *added { "added" } else { "removed" })
        }
        FeedBody::PeerChanged {
            neighbor,
            state,
            reason,
        } => {
            format!("{neighbor}  {state}  {}", reason.as_deref().unwrap_or_default())
        }
        FeedBody::DeliveryChanged {
            mitigation_id,
            delivery,
        } => format!(
            "{}  at {} of {} neighbours",
            short_id(mitigation_id),
            delivery.advertised,
            delivery.established
        ),
        FeedBody::DriftDetected { missing, unexplained } => {
            format!("{missing} missing, {unexplained} unexplained")
        }
        FeedBody::ControlChanged {
            stopped: Some(stopped),
            ..
        } => format!("{} of {}: {}", stopped.state, stopped.scope, stopped.reason),
        FeedBody::ControlChanged {
            scope: Some(scope), ..
        } => format!("{scope} goes on"),
        FeedBody::ControlChanged {
            breaker: Some(breaker),
            ..
        } => format!(
            "the breaker tripped: lost {}; nothing new is announced",
            breaker.neighbors.join(" and ")
        ),
        FeedBody::ControlChanged { breaker: None, .. } => "the breaker is reset".to_owned(),
        FeedBody::ConfigReloaded { changed, .. } if changed.is_empty() => "no file changed".to_owned(),
        FeedBody::ConfigReloaded { changed, .. } => format!("changed: {}", changed.join(", ")),
        FeedBody::Hello { .. } | FeedBody::ResyncRequired { .. } | FeedBody::Ping {} | FeedBody::Unknown => {
            String::new()
        }
    };
    let line = format!("{at}  {kind:20}  {what}");
    Ok(clean(line.trim_end(), MAX_TEXT_CHARS) + "\n")
}

fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
