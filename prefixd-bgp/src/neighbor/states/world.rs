//! A neighbour with what its owner knows of it: lets events happen and holds every one of them to what must always be.

use std::collections::HashMap;

use super::super::tests::{SECOND, neighbor, said_as};
use super::super::*;
use super::event::{What, Which};
use super::{Attempt, Standing};
use crate::status::SessionPhase;

/// Where the owner of a neighbour has got to.
pub(super) struct World {
    pub(super) neighbor: Neighbor,
    pub(super) now: Instant,
    /// What was not closed yet.
    open: Vec<ConnectionId>,
    up: Option<ConnectionId>,
    /// An attempt to dial is under way.
    dialling: bool,
    last: u64,
    is_over: bool,
}

/// What an event did.
pub(super) struct Done {
    /// In short; the older connection is 1, the newer 2, and one that is made 3.
    pub(super) said: Vec<String>,
    /// What the neighbour is now, in short.
    pub(super) after: String,
}

impl World {
    pub(super) fn new(passive: bool) -> Self {
        let now = Instant::now();
        Self {
            neighbor: neighbor(passive, now),
            now,
            open: Vec::new(),
            up: None,
            dialling: false,
            last: 0,
            is_over: false,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing::of(&self.neighbor, self.now)
    }

    /// In short.
    pub(super) fn described(&self) -> String {
        described(&self.neighbor, self.now, &self.names())
    }

    fn id(&self, on: Which) -> Option<ConnectionId> {
        let slot = match on {
            Which::One => &self.neighbor.current,
            Which::Two => &self.neighbor.candidate,
        };
        slot.as_ref().map(|connection| connection.id)
    }

    fn names(&self) -> HashMap<ConnectionId, u64> {
        let named = |on: Which| Some((self.id(on)?, on.number()));
        Which::BOTH.into_iter().filter_map(named).collect()
    }

    /// Whether such a thing can happen now.
    pub(super) fn can(&self, what: &What) -> bool {
        match what {
            // The owner drops an attempt with the effect that cancels it, and so hears of no other.
            What::DialSucceeds | What::DialFails => self.dialling,
            _ => what.on().is_none_or(|on| self.id(on).is_some()),
        }
    }

    /// Lets it happen. What must hold whatever happens is checked on the way.
    pub(super) fn happens(&mut self, what: &What) -> Done {
        let (before, names) = (self.standing(), self.names());
        let effects = self.effects(what);
        let mut said = said_as(&effects, |id| named(id, &names));
        self.account(&effects, what);
        self.is_over |= what.is_the_end();
        self.holds_together(before, &effects, what);
        if matches!(what, What::Silence) {
            // Keepalives and attempts to dial repeat; once is enough to read.
            let all = std::mem::take(&mut said);
            for one in all {
                if !said.contains(&one) {
                    said.push(one);
                }
            }
        }
        let after = if self.is_over {
            "over".to_owned()
        } else {
            described(&self.neighbor, self.now, &names)
        };
        Done { said, after }
    }

    fn effects(&mut self, what: &What) -> Vec<Effect> {
        let now = self.now;
        match what {
            What::Arrives { on, inbound, .. } => {
                let id = self.id(*on).unwrap();
                self.neighbor.handle(Input::Received(id, inbound.clone()), now)
            }
            What::Lost(on) => {
                let id = self.id(*on).unwrap();
                self.neighbor.handle(Input::Lost(id, "reset".into()), now)
            }
            What::Blocked(on) => {
                let stuck = self.id(*on);
                self.now += 30 * SECOND;
                self.neighbor
                    .tick(self.now, |id| (Some(id) == stuck).then_some(now))
            }
            What::DialSucceeds | What::RouterDials => {
                self.last += 1;
                let id = ConnectionId(self.last);
                self.open.push(id);
                if matches!(what, What::DialSucceeds) {
                    self.dialling = false;
                    self.neighbor.handle(Input::Dialled(id), now)
                } else {
                    self.neighbor.handle(Input::Accepted(id), now)
                }
            }
            What::DialFails => {
                self.dialling = false;
                let detail = "refused".into();
                self.neighbor.handle(Input::DialFailed { detail }, now)
            }
            What::NextTimer => {
                self.now = self.neighbor.deadline().unwrap_or(now).max(now);
                self.neighbor.tick(self.now, |_| None)
            }
            What::Silence => {
                let mut effects = Vec::new();
                while let Some(at) = self.neighbor.deadline().filter(|at| *at <= now + 31 * SECOND) {
                    self.now = at.max(self.now);
                    let more = self.neighbor.tick(self.now, |_| None);
                    assert!(
                        self.neighbor.deadline().is_none_or(|next| next > self.now),
                        "{more:?}"
                    );
                    effects.extend(more);
                }
                self.now = now + 31 * SECOND;
                effects
            }
            What::StandsStill(times) => {
                let mut effects = Vec::new();
                for _ in 0..*times {
                    self.now += 60 * SECOND;
                    effects.extend(self.neighbor.tick(self.now, |_| None));
                }
                effects
            }
            What::Disable => self.neighbor.pause(Some(&Notification::cease(2))),
            What::Enable => {
                self.neighbor.resume(now);
                Vec::new()
            }
            What::Reset => self.neighbor.restart(&Notification::cease(4), now),
            What::Excused => {
                self.neighbor.excuse(now);
                Vec::new()
            }
            What::Stop => self.neighbor.stop(Some(&Notification::cease(2))),
            What::StopWithoutAWord => self.neighbor.stop(None),
        }
    }

    /// Keeps the owner's books, in which every connection is opened and closed once and a session that comes up goes down
    /// once.
    fn account(&mut self, effects: &[Effect], what: &What) {
        let by_order = matches!(what, What::Disable | What::Reset) || what.is_the_end();
        for effect in effects {
            match effect {
                Effect::Dial => {
                    assert!(!self.dialling, "two attempts at a time");
                    self.dialling = true;
                }
                Effect::CancelDial => self.dialling = false,
                Effect::Send(id, _) => assert!(self.open.contains(id), "sent to {id:?}, which is closed"),
                Effect::Close(id, _) => {
                    assert!(self.open.contains(id), "{id:?} is closed twice");
                    self.open.retain(|other| other != id);
                    // The owner knows what it did by order.
                    self.up = self.up.filter(|up| !by_order || up != id);
                }
                Effect::Up(id, _) => {
                    assert_eq!(self.up, None, "two established sessions");
                    assert!(self.open.contains(id));
                    self.up = Some(*id);
                }
                Effect::Down(..) => {
                    let up = self.up.take().expect("a session goes down once");
                    assert!(!self.open.contains(&up), "its connection is closed first");
                }
                Effect::Refresh(_) => assert!(self.up.is_some()),
                Effect::Failed(_) => {}
            }
        }
    }

    fn holds_together(&self, before: Standing, effects: &[Effect], what: &What) {
        let after = self.standing();
        if !self.is_over {
            assert_eq!(after.impossible(), None, "{after:?}");
        }
        let mut slots: Vec<_> = Which::BOTH.into_iter().filter_map(|on| self.id(on)).collect();
        slots.sort_by_key(|id| id.0);
        assert_eq!(
            slots, self.open,
            "every connection that is not closed is known, and no other"
        );
        let established = |standing: Standing| standing.phase(Which::One) == Some(SessionPhase::Established);
        assert_eq!(self.up.is_some(), established(after));
        assert_eq!(
            self.up.is_some(),
            self.neighbor.phase(self.now) == SessionPhase::Established
        );
        assert_eq!(self.dialling, after.dialling == Attempt::UnderWay);

        // Something will happen, unless it waits to be dialled or to be enabled; and not at this very moment again.
        let acts = after.current.is_some() || after.dialling != Attempt::No;
        assert_eq!(self.neighbor.deadline().is_some(), acts);
        if matches!(what, What::NextTimer | What::StandsStill(_) | What::Blocked(_)) {
            assert!(self.neighbor.deadline().is_none_or(|at| at > self.now));
        }
        for on in Which::BOTH {
            let longest = match after.phase(on) {
                Some(SessionPhase::OpenSent) => 30 * SECOND,
                // A third of the hold time.
                Some(_) => 10 * SECOND,
                None => continue,
            };
            let deadline = self.neighbor.deadline().unwrap();
            assert!(deadline <= self.now + longest, "no timer of {on:?} in {after:?}");
        }

        // Hold-down comes of an error that will come again, and of nothing else.
        let errors = effects.iter().filter_map(|effect| match effect {
            Effect::Down(loss, _) | Effect::Failed(loss) => Some(loss),
            _ => None,
        });
        let comes_again = |loss: &&Loss| match loss {
            Loss::NotificationReceived(info) | Loss::NotificationSent(info) => {
                matches!((info.code, info.subcode), (2 | 3, _) | (6, 1))
            }
            _ => false,
        };
        let held = errors.filter(comes_again).count() > 0;
        assert!(!held || after.held_down, "{effects:?}");
        assert!(held || before.held_down || !after.held_down, "{effects:?}");

        if before.disabled && after.disabled {
            let acts = |effect: &Effect| matches!(effect, Effect::Dial | Effect::Send(..) | Effect::Up(..));
            assert!(!effects.iter().any(acts), "{effects:?}");
        }
    }
}

/// One that is new is 3.
fn named(id: ConnectionId, names: &HashMap<ConnectionId, u64>) -> u64 {
    names.get(&id).copied().unwrap_or(3)
}

/// What the neighbour is, in short.
fn described(neighbor: &Neighbor, now: Instant, names: &HashMap<ConnectionId, u64>) -> String {
    let mut parts: Vec<String> = [&neighbor.current, &neighbor.candidate]
        .into_iter()
        .flatten()
        .map(|one| format!("{} {}", named(one.id, names), one.session.phase()))
        .collect();
    match neighbor.dialling {
        Dialling::No => {}
        Dialling::Connecting { .. } => parts.push("dialling".to_owned()),
        Dialling::At(at) => parts.push(match at.saturating_duration_since(now).as_secs() {
            0 => "dials soon".to_owned(),
            seconds => format!("dials in {seconds} s"),
        }),
    }
    if neighbor.paused {
        parts.push("disabled".to_owned());
    }
    if neighbor.retry.held_down(now) {
        parts.push("held down".to_owned());
    }
    if parts.is_empty() {
        parts.push("waits to be dialled".to_owned());
    }
    parts.join(", ")
}
