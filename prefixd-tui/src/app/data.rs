//! What comes from the daemon: the feed, answers, and the rhythm of asking.

use super::{App, Modal, Screen, requests};
use crate::contact;
use crate::event::{Answer, Effect, Failure, Page, Request};
use crate::store::Applied;
use crate::theme::Meaning;
use prefixd_api::control::Stop;
use prefixd_api::feed::{FeedBody, FeedMessage, MitigationChange};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::resource::{HealthDetail, Mode, PeerState};
use prefixd_api::role::Role;
use prefixd_api::show::{count, short_id};
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// News kept for the overview; the oldest are forgotten.
const MAX_NEWS: usize = 100;
const STATS_EVERY: Duration = Duration::from_secs(2);
const PEERS_EVERY: Duration = Duration::from_secs(2);
/// How often the list is read while the feed is down.
const LIST_EVERY: Duration = Duration::from_secs(5);

/// What is read without a person asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reading {
    Live,
    Health,
    Peers,
    Stats,
    Ended,
}

impl Reading {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Live => "the mitigations",
            Self::Health => "the daemon's health",
            Self::Peers => "the neighbours",
            Self::Stats => "the counts",
            Self::Ended => "the ended mitigations",
        }
    }
}

/// Which requests are on their way, and when the next are due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Polls {
    health: bool,
    stats: Poll,
    peers: Poll,
    live: Poll,
    ended: Poll,
    /// Ended ones have been read at least once.
    ended_read: bool,
    /// Everything is to be read again as soon as the daemon answers.
    all_after_contact: bool,
    /// What the daemon does not tell, in its own words, until it does.
    refused: BTreeMap<Reading, String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Poll {
    asked: bool,
    last: Duration,
    /// To be asked once more when the answer has come: it may be older than what made us ask.
    again: bool,
    /// The daemon was there and gave no answer that could be used.
    failed: bool,
}

impl Poll {
    fn is_due(self, now: Duration, every: Duration) -> bool {
        !self.asked && now.saturating_sub(self.last) >= every
    }
}

/// A line of the overview's feed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct News {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
    pub(crate) meaning: Meaning,
}

impl App {
    /// Once a second: the heartbeat of requests, and messages that go away.
    pub(super) fn tick(&mut self) -> Vec<Effect> {
        let now = self.now.uptime;
        if self.flash.as_ref().is_some_and(|flash| now >= flash.until) {
            self.flash = None;
        }
        // Ages and leases are filtered and sorted by.
        self.unsettled = true;
        let mut wanted = Vec::new();
        if !self.polls.health && self.contact.may_try(now) {
            self.polls.health = true;
            wanted.push(Request::Health);
        }
        let state = self.contact_state();
        if state.is_current() {
            if self.polls.stats.is_due(now, STATS_EVERY) {
                wanted.push(self.ask_stats());
            }
            if self.polls.peers.is_due(now, PEERS_EVERY) {
                wanted.push(self.ask_peers());
            }
            // Also when the feed is up and the list that it needs was not given.
            let wants_list = matches!(state, contact::State::Poll(_)) || self.contact.is_resyncing();
            if wants_list && self.polls.live.is_due(now, LIST_EVERY) {
                wanted.push(self.ask_live());
            }
            if self.polls.ended.failed && self.polls.ended.is_due(now, LIST_EVERY) {
                wanted.extend(self.ask_ended_if_wanted());
            }
            wanted.extend(self.ask_detail_if_old());
        }
        requests(wanted)
    }

    /// Asks for everything that is shown.
    pub(super) fn read_all(&mut self) -> Vec<Effect> {
        self.contact.set_resync(true);
        let mut wanted: Vec<_> = self
            .changes
            .check_unknown()
            .into_iter()
            .map(Request::One)
            .collect();
        if !self.polls.health {
            self.polls.health = true;
            wanted.push(Request::Health);
        }
        wanted.extend(self.ask_live_once());
        wanted.extend([self.ask_stats(), self.ask_peers()]);
        wanted.extend(self.ask_ended_if_wanted());
        if let Screen::Detail(view) = &mut self.screen {
            view.is_old = true;
        }
        wanted.extend(self.ask_detail_if_old());
        requests(wanted)
    }

    /// Asks now, unless the answer to an earlier question is on its way, or the daemon has just given none.
    fn ask_live_once(&mut self) -> Option<Request> {
        let live = &mut self.polls.live;
        if live.asked {
            live.again = true;
            return None;
        }
        let hold = live.failed && !live.is_due(self.now.uptime, LIST_EVERY);
        (!hold).then(|| self.ask_live())
    }

    /// A person wants it now.
    pub(super) fn read_all_now(&mut self) -> Vec<Effect> {
        self.polls.live.failed = false;
        self.read_all()
    }

    fn ask_live(&mut self) -> Request {
        self.polls.live = Poll {
            asked: true,
            last: self.now.uptime,
            ..Poll::default()
        };
        Request::Live {
            round: self.store.begin_round(),
        }
    }

    fn ask_stats(&mut self) -> Request {
        self.polls.stats = Poll {
            asked: true,
            last: self.now.uptime,
            ..Poll::default()
        };
        Request::Stats
    }

    fn ask_peers(&mut self) -> Request {
        self.polls.peers = Poll {
            asked: true,
            last: self.now.uptime,
            ..Poll::default()
        };
        Request::Peers
    }

    /// Ended ones are read when the filter could show them.
    pub(super) fn ask_ended_if_wanted(&mut self) -> Option<Request> {
        if self.polls.ended.asked || !self.list.filter.wants_ended() {
            return None;
        }
        self.polls.ended = Poll {
            asked: true,
            last: self.now.uptime,
            ..Poll::default()
        };
        Some(Request::Ended)
    }

    /// What of the lists the daemon does not tell, and why.
    pub(crate) fn refusal(&self, what: Reading) -> Option<&str> {
        self.polls.refused.get(&what).map(String::as_str)
    }

    /// The first of what it does not tell; the ended ones have their place in the list.
    pub(crate) fn first_refusal(&self) -> Option<(Reading, &str)> {
        let (what, words) = self.polls.refused.first_key_value()?;
        (*what != Reading::Ended).then_some((*what, words.as_str()))
    }

    /// Whether ended ones that the filter could show have not come yet.
    pub(crate) fn awaits_ended(&self) -> bool {
        !self.polls.ended_read && self.list.filter.wants_ended()
    }

    pub(super) fn feed_up(
        &mut self,
        resumed: bool,
        server_time: Timestamp,
        pop: String,
        mode: Mode,
        role: Role,
    ) -> Vec<Effect> {
        self.contact.feed_heard(self.now.uptime);
        self.take_clock(server_time);
        self.identity = super::Identity {
            pop: Some(pop),
            mode: Some(mode),
            role: Some(role),
        };
        // What happened before a feed that goes on nowhere is in no answer that may have come before it.
        if std::mem::take(&mut self.polls.all_after_contact) || !resumed {
            self.read_all()
        } else {
            Vec::new()
        }
    }

    pub(super) fn feed_lost(&mut self, reason: &str) -> Vec<Effect> {
        self.contact.feed_lost();
        self.polls.all_after_contact = true;
        let text = format!("feed lost: {reason}");
        if self.news.front().is_none_or(|news| news.text != text) {
            self.news(self.server_now(), Meaning::Down, text);
        }
        // Whether requests still work is worth knowing at once.
        if self.polls.health {
            return Vec::new();
        }
        self.polls.health = true;
        requests([Request::Health])
    }

    pub(super) fn feed(&mut self, message: FeedMessage) -> Vec<Effect> {
        self.contact.feed_heard(self.now.uptime);
        self.report(&message);
        let wanted = match message.body {
            FeedBody::MitigationCreated { mitigation } => {
                self.take(*mitigation);
                None
            }
            FeedBody::MitigationUpdated(change)
            | FeedBody::MitigationAcknowledged(change)
            | FeedBody::MitigationEscalated(change)
            | FeedBody::MitigationWithdrawn(change)
            | FeedBody::MitigationExpired(change)
            | FeedBody::MitigationRejected(change) => return self.change(&change),
            FeedBody::DeliveryChanged {
                mitigation_id,
                delivery,
            } => {
                self.store.deliver(mitigation_id, delivery);
                self.detail_is_old(mitigation_id);
                None
            }
            FeedBody::PeerChanged { .. } => Some(self.ask_peers()),
            // The client has already acted on the first two.
            FeedBody::Hello { .. }
            | FeedBody::ResyncRequired { .. }
            | FeedBody::EventIngested { .. }
            | FeedBody::GroupUpdated { .. }
            | FeedBody::SuppressionChanged { .. }
            | FeedBody::SourceChanged { .. }
            | FeedBody::SafelistChanged { .. }
            | FeedBody::ControlChanged { .. }
            | FeedBody::ConfigReloaded { .. }
            | FeedBody::DriftDetected { .. }
            | FeedBody::Ping {}
            | FeedBody::Unknown => None,
        };
        requests(wanted)
    }

    fn change(&mut self, change: &MitigationChange) -> Vec<Effect> {
        let id = change.mitigation_id;
        match self.store.apply(change) {
            Applied::Done => {
                self.unsettled = true;
                self.detail_is_old(id);
                self.follow_change(id)
            }
            Applied::Old => Vec::new(),
            Applied::Fetch => requests([Request::One(id)]),
        }
    }

    /// A whole mitigation.
    fn take(&mut self, mitigation: Mitigation) {
        self.detail_is_old(mitigation.mitigation_id);
        self.store.insert(mitigation);
        self.unsettled = true;
    }

    pub(super) fn answer(&mut self, answer: Answer) -> Vec<Effect> {
        match answer {
            Answer::Health(result) => {
                self.polls.health = false;
                let broken = matches!(
                    self.contact_state(),
                    contact::State::Stale(_) | contact::State::Auth
                );
                match self.heard_of(Reading::Health, result) {
                    Some(health) => {
                        self.take_health(*health);
                        if broken || self.polls.all_after_contact {
                            // First the changes with an unknown outcome, then what is on the screen.
                            self.polls.all_after_contact = false;
                            if broken {
                                self.polls.live.failed = false;
                            }
                            let mut effects = self.read_all();
                            // A feed that was refused while requests work stays down: asking again would not end.
                            if broken {
                                effects.push(Effect::RetryFeed);
                            }
                            return effects;
                        }
                    }
                    None => self.polls.all_after_contact = true,
                }
                Vec::new()
            }
            Answer::Stats(result) => {
                self.polls.stats.asked = false;
                if let Some(stats) = self.heard_of(Reading::Stats, result) {
                    self.stats = Some(*stats);
                }
                Vec::new()
            }
            Answer::Peers(result) => {
                self.polls.peers.asked = false;
                if let Some(peers) = self.heard_of(Reading::Peers, result) {
                    self.peers = peers;
                }
                Vec::new()
            }
            Answer::Live { round, result } => {
                let there = !matches!(result, Err(Failure::NotSent(_)));
                let page = self.heard_of(Reading::Live, result);
                let again = std::mem::take(&mut self.polls.live.again);
                self.polls.live.asked = false;
                self.polls.live.failed = page.is_none() && there;
                let Some(page) = page else {
                    // Resync stays: the heartbeat asks again.
                    self.polls.live.last = self.now.uptime;
                    return Vec::new();
                };
                let mut effects = self.take_live(round, page);
                if again {
                    let request = self.ask_live();
                    effects.extend(requests([request]));
                } else {
                    self.contact.set_resync(false);
                }
                effects
            }
            Answer::Ended(result) => {
                let page = self.heard_of(Reading::Ended, result);
                self.polls.ended.asked = false;
                self.polls.ended.failed = page.is_none();
                if let Some(page) = page {
                    self.polls.ended_read = true;
                    self.store.add_ended(page.mitigations, page.more);
                    self.unsettled = true;
                }
                Vec::new()
            }
            Answer::One(id, result) => match self.heard(result) {
                Some(mitigation) => {
                    let effects = self.resolve(&mitigation);
                    self.take(*mitigation);
                    effects
                }
                None => {
                    self.changes.check_failed(id);
                    Vec::new()
                }
            },
            Answer::Detail(id, result) => {
                let loaded = self.heard_or_words(result);
                if let Ok(detail) = &loaded {
                    self.take(detail.mitigation.clone());
                }
                if let Screen::Detail(view) = &mut self.screen
                    && view.id == id
                {
                    view.take_detail(loaded.map(|detail| *detail));
                }
                Vec::new()
            }
            Answer::Why(id, result) => {
                let loaded = self.heard_or_words(result);
                if let Screen::Detail(view) = &mut self.screen
                    && view.id == id
                {
                    view.take_why(loaded.map(|why| *why));
                }
                Vec::new()
            }
            Answer::Withdraw(id, result) => self.withdrawn(id, result),
        }
    }

    fn take_health(&mut self, health: HealthDetail) {
        self.take_clock(health.now);
        self.identity.pop = Some(health.pop.clone());
        self.identity.mode = Some(health.mode);
        self.identity.role = Some(health.role);
        self.health = Some(health);
    }

    fn take_clock(&mut self, server_time: Timestamp) {
        self.skew = server_time.as_micros().saturating_sub(self.now.wall.as_micros());
    }

    fn take_live(&mut self, round: u64, page: Page) -> Vec<Effect> {
        let mut effects = Vec::new();
        for mitigation in &page.mitigations {
            effects.extend(self.resolve(mitigation));
        }
        let mut gone = self.store.replace_live(round, page.mitigations);
        self.unsettled = true;
        if page.more {
            self.say(
                Meaning::Warn,
                "more mitigations are live than this console holds: filter with prefixdctl",
            );
        }
        // What a person looks at or has changed is read once more, to show how it ended.
        let looked_at = [
            self.list.selection.cursor(),
            self.overview.cursor(),
            self.detail_id(),
        ];
        gone.retain(|id| looked_at.contains(&Some(*id)) || self.changes.shown(*id).is_some());
        effects.extend(requests(gone.into_iter().map(Request::One)));
        if self.list.filter.wants_ended() {
            effects.extend(requests(self.ask_ended_if_wanted()));
        }
        effects
    }

    /// The same, for what is read again and again: a refusal stays on the screen until it is answered.
    fn heard_of<T>(&mut self, what: Reading, result: Result<T, Failure>) -> Option<T> {
        match &result {
            Ok(_) => drop(self.polls.refused.remove(&what)),
            Err(Failure::Refused { detail, .. }) => drop(self.polls.refused.insert(what, detail.clone())),
            Err(_) => {}
        }
        self.heard(result)
    }

    /// Notes that an answer came or did not.
    pub(super) fn heard<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        self.heard_or_words(result).ok()
    }

    fn heard_or_words<T>(&mut self, result: Result<T, Failure>) -> Result<T, String> {
        let now = self.now.uptime;
        match &result {
            Ok(_) | Err(Failure::Refused { .. }) => self.contact.answered(now),
            Err(Failure::Unauthorized(words)) => {
                self.contact.refused(now, words.clone());
                self.lock();
            }
            Err(Failure::Unreachable(words) | Failure::NotSent(words)) => {
                self.contact.unreachable(now, words.clone());
                self.polls.all_after_contact = true;
                self.lock();
            }
        }
        result.map_err(|failure| failure.words().to_owned())
    }

    /// Without contact nothing may be changed: an open panel would act on what may no longer be true.
    fn lock(&mut self) {
        if matches!(self.modal, Modal::Withdraw(_)) && !self.contact_state().is_current() {
            self.modal = Modal::None;
            self.say(
                Meaning::Warn,
                "contact was lost: the withdraw panel is closed, nothing was sent",
            );
        }
    }

    fn detail_id(&self) -> Option<MitigationId> {
        match &self.screen {
            Screen::Detail(view) => Some(view.id),
            _ => None,
        }
    }

    fn news(&mut self, at: Timestamp, meaning: Meaning, text: String) {
        self.news.push_front(News { at, text, meaning });
        self.news.truncate(MAX_NEWS);
    }

    fn report(&mut self, message: &FeedMessage) {
        let victim = |id| {
            self.store
                .get(id)
                .map_or_else(|| short_id(id), |held| held.victim_ip.to_string())
        };
        let actor = message
            .actor
            .as_deref()
            .map(|actor| format!(" by {actor}"))
            .unwrap_or_default();
        let (meaning, text) = match &message.body {
            FeedBody::MitigationCreated { mitigation: made } => (
                crate::view::severity_meaning(made.severity),
                format!(
                    "MIT {} {} {}",
                    made.victim_ip,
                    made.vector,
                    crate::view::action_words(made)
                ),
            ),
            FeedBody::MitigationEscalated(change) => (
                Meaning::Critical,
                format!(
                    "ESC {} step {}",
                    victim(change.mitigation_id),
                    field(change, "step")
                ),
            ),
            FeedBody::MitigationWithdrawn(change) => (
                Meaning::Plain,
                format!("wdr {}{actor}", victim(change.mitigation_id)),
            ),
            FeedBody::MitigationExpired(change) => {
                (Meaning::Low, format!("exp {}", victim(change.mitigation_id)))
            }
            FeedBody::MitigationAcknowledged(change) => (
                Meaning::Low,
                format!("ack {}{actor}", victim(change.mitigation_id)),
            ),
            FeedBody::MitigationRejected(change) => (
                Meaning::Warn,
                format!(
                    "REJ {} {}",
                    victim(change.mitigation_id),
                    field(change, "end_reason")
                ),
            ),
            FeedBody::EventIngested {
                source,
                victim_ip,
                vector,
                outcome,
                ..
            } => {
                // What came of it first: the pane may be narrow.
                let meaning = if outcome.as_str().starts_with("rejected") {
                    Meaning::Warn
                } else {
                    Meaning::Low
                };
                (meaning, format!("evt {victim_ip} {outcome} {vector} {source}"))
            }
            FeedBody::SafelistChanged { prefix, added } => (
                Meaning::Info,
                format!("saf {} {prefix}{actor}", if *added { "+" } else { "-" }),
            ),
            FeedBody::ControlChanged {
                stopped: Some(stopped),
                ..
            } => (
                match stopped.state {
                    Stop::Panic => Meaning::Critical,
                    Stop::Hold => Meaning::Warn,
                },
                format!(
                    "{} {}{actor}: {}",
                    stopped.state.as_str().to_uppercase(),
                    stopped.scope,
                    stopped.reason
                ),
            ),
            FeedBody::ControlChanged {
                scope: Some(scope), ..
            } => (Meaning::Ok, format!("RESUMED {scope}{actor}")),
            FeedBody::ControlChanged {
                breaker: Some(breaker),
                ..
            } => (
                Meaning::Critical,
                format!(
                    "BREAKER tripped: lost {}; nothing new is announced",
                    breaker.neighbors.join(", ")
                ),
            ),
            FeedBody::ControlChanged { breaker: None, .. } => (Meaning::Ok, format!("breaker reset{actor}")),
            FeedBody::ConfigReloaded { changed, .. } if changed.is_empty() => {
                (Meaning::Info, format!("cfg reloaded{actor}"))
            }
            FeedBody::ConfigReloaded { changed, .. } => (
                Meaning::Info,
                format!("cfg reloaded{actor}: {}", changed.join(", ")),
            ),
            FeedBody::PeerChanged {
                neighbor,
                state: PeerState::Established,
                ..
            } => (Meaning::Ok, format!("BGP {neighbor} up")),
            FeedBody::PeerChanged {
                neighbor,
                state: PeerState::Disabled,
                reason,
            } => {
                let reason = reason
                    .as_deref()
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default();
                (Meaning::Warn, format!("BGP {neighbor} is off{reason}"))
            }
            FeedBody::PeerChanged {
                neighbor,
                state: state @ (PeerState::Connect | PeerState::Active),
                reason,
            } => {
                let reason = reason.as_deref().unwrap_or_default();
                (Meaning::Info, format!("BGP {neighbor} {state}: {reason}"))
            }
            FeedBody::PeerChanged {
                neighbor,
                state,
                reason,
            } => {
                let reason = reason
                    .as_deref()
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default();
                (Meaning::Down, format!("BGP {neighbor} {state} !!{reason}"))
            }
            FeedBody::DriftDetected { missing, unexplained } => (
                Meaning::Warn,
                format!(
                    "drift repaired: {} missing, {} unexplained",
                    count(*missing),
                    count(*unexplained)
                ),
            ),
            _ => return,
        };
        self.news(message.at, meaning, text);
    }
}

/// A changed field as text, for one line.
fn field(change: &MitigationChange, name: &str) -> String {
    match change.changes.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}
