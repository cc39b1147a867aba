//! The withdraw panel: the ladder between a key and a change on routers.
//!
//! The confirming key is dead until the panel has been on the screen for [`GUARD`], and every press while it is
//! dead starts the time again, so that a held key never confirms. Whatever changes about the targets starts it
//! again too: nobody confirms what they have not seen.

use crate::store::Mitigations;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, WithdrawRequest};
use std::time::Duration;
use tui_input::Input;

/// How long the confirming key stays dead.
pub(crate) const GUARD: Duration = Duration::from_millis(250);
/// From this many targets on, the count has to be typed.
pub(crate) const TYPE_COUNT_FROM: usize = 10;
/// From this many targets on, a fifth of all active ones also has to be typed.
const SHARE_COUNTS_FROM: usize = 3;
/// Longest reason in characters.
const MAX_WORDS: usize = 200;

/// Why a rule is withdrawn, in words that journals can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    FalsePositive,
    AttackOver,
    CustomerRequest,
    Replaced,
    /// The words are typed.
    Other,
}

impl Reason {
    pub(crate) const ALL: [Self; 5] = [
        Self::FalsePositive,
        Self::AttackOver,
        Self::CustomerRequest,
        Self::Replaced,
        Self::Other,
    ];

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::FalsePositive => "false positive",
            Self::AttackOver => "attack over",
            Self::CustomerRequest => "customer request",
            Self::Replaced => "replaced",
            Self::Other => "other",
        }
    }

    pub(crate) const fn hint(self) -> Option<&'static str> {
        match self {
            Self::FalsePositive => Some("to 5 reason"),
            _ => None,
        }
    }
}

/// How long automatic bans of the withdrawn scopes are not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suppression(usize);

impl Suppression {
    const STEPS: [(u32, &'static str); 5] = [
        (900, "15 minutes"),
        (3_600, "1 hour"),
        (14_400, "4 hours"),
        (86_400, "24 hours"),
        (0, "off"),
    ];

    pub(crate) fn seconds(self) -> u32 {
        Self::STEPS.get(self.0).map_or(900, |(seconds, _)| *seconds)
    }

    pub(crate) fn words(self) -> &'static str {
        Self::STEPS.get(self.0).map_or("15 minutes", |(_, words)| *words)
    }

    fn next(self) -> Self {
        Self((self.0 + 1) % Self::STEPS.len())
    }
}

/// What typed characters do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    /// They are keys.
    Keys,
    /// They are the reason.
    Words,
    /// They are the count, if they are digits.
    Count,
}

/// One mitigation to withdraw, as it was when the person last saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) id: MitigationId,
    pub(crate) shown: Mitigation,
}

impl Target {
    /// Whether it still does to traffic what the person saw.
    pub(crate) fn still_does_what_was_shown(&self, now: &Mitigation) -> bool {
        self.shown.rules == now.rules
            && self.shown.status == now.status
            && self.shown.enforced == now.enforced
    }
}

/// When the confirming key comes to life.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    /// The panel, as it is now, has not reached the terminal.
    Undrawn,
    /// It has, at this uptime.
    Drawn(Duration),
}

/// Why the confirming key did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    TooSoon,
    NoReason,
    NoWords,
    WrongCount,
    NothingLeft,
}

impl Hold {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::TooSoon => "too soon: read the panel first",
            Self::NoReason => "choose a reason: 1 to 5",
            Self::NoWords => "type the reason: 5",
            Self::WrongCount => "type the count first",
            Self::NothingLeft => "all of them have ended",
        }
    }
}

/// The panel.
#[derive(Clone, Debug)]
pub(crate) struct WithdrawPanel {
    pub(crate) targets: Vec<Target>,
    /// The targets are the marked ones, not the one under the cursor.
    pub(crate) marked: bool,
    /// How many ended while the panel was open.
    pub(crate) ended: usize,
    /// Something about a target changed while the panel was open.
    pub(crate) changed: bool,
    pub(crate) reason: Option<Reason>,
    pub(crate) words: Input,
    pub(crate) count: Input,
    pub(crate) suppression: Suppression,
    pub(crate) focus: Focus,
    pub(crate) scroll: usize,
    /// Why the confirming key last did nothing.
    pub(crate) held: Option<Hold>,
    active: usize,
    guard: Guard,
}

impl WithdrawPanel {
    /// A panel about these, out of `active` announced mitigations.
    pub(crate) fn new(targets: Vec<&Mitigation>, marked: bool, active: usize) -> Self {
        Self {
            targets: targets
                .into_iter()
                .map(|mitigation| Target {
                    id: mitigation.mitigation_id,
                    shown: mitigation.clone(),
                })
                .collect(),
            marked,
            ended: 0,
            changed: false,
            reason: None,
            words: Input::default(),
            count: Input::default(),
            suppression: Suppression(0),
            focus: Focus::Keys,
            scroll: 0,
            held: None,
            active,
            guard: Guard::Undrawn,
        }
    }

    /// Whether the number of targets must be typed.
    pub(crate) fn needs_count(&self) -> bool {
        let count = self.targets.len();
        count >= TYPE_COUNT_FROM || (count >= SHARE_COUNTS_FROM && count * 5 >= self.active)
    }

    /// The panel has reached the terminal.
    pub(crate) fn drawn(&mut self, now: Duration) {
        if self.guard == Guard::Undrawn {
            self.guard = Guard::Drawn(now);
        }
    }

    /// It looks different now: the confirming key is dead until that has reached the terminal.
    pub(crate) fn look_again(&mut self) {
        self.guard = Guard::Undrawn;
    }

    /// When the confirming key comes to life, once the panel has been drawn.
    pub(crate) fn lives_at(&self) -> Option<Duration> {
        match self.guard {
            Guard::Undrawn => None,
            Guard::Drawn(since) => Some(since + GUARD),
        }
    }

    /// Whether the confirming key is alive.
    pub(crate) fn is_live(&self, now: Duration) -> bool {
        self.lives_at().is_some_and(|at| now >= at)
    }

    /// Looks at the targets again.
    pub(crate) fn follow(&mut self, store: &Mitigations) {
        let before = self.targets.len();
        self.targets
            .retain(|target| store.get(target.id).is_some_and(|now| now.status.is_live()));
        let ended = before - self.targets.len();
        let mut changed = ended > 0;
        for target in &mut self.targets {
            if let Some(now) = store.get(target.id) {
                if !target.still_does_what_was_shown(now) {
                    changed = true;
                    self.changed = true;
                }
                if target.shown.revision != now.revision {
                    target.shown = now.clone();
                }
            }
        }
        self.ended += ended;
        if changed {
            self.count = Input::default();
            self.look_again();
        }
    }

    /// Chooses a reason and goes on to what is still missing.
    pub(crate) fn give(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.held = None;
        self.focus = match reason {
            Reason::Other => Focus::Words,
            _ => self.after_reason(),
        };
    }

    fn after_reason(&self) -> Focus {
        if self.needs_count() && !self.count_is_right() {
            Focus::Count
        } else {
            Focus::Keys
        }
    }

    fn count_is_right(&self) -> bool {
        self.count.value().parse() == Ok(self.targets.len())
    }

    pub(crate) fn next_suppression(&mut self) {
        self.suppression = self.suppression.next();
    }

    /// Tab: to the next field that this panel has.
    pub(crate) fn next_field(&mut self) {
        self.focus = match self.focus {
            Focus::Keys if self.reason == Some(Reason::Other) => Focus::Words,
            // The reason comes first: small panels ask one after the other.
            Focus::Keys | Focus::Words if self.needs_count() && self.reason.is_some() => Focus::Count,
            _ => Focus::Keys,
        };
    }

    /// Ends the field that has the focus.
    pub(crate) fn end_field(&mut self) {
        self.focus = match self.focus {
            Focus::Words => self.after_reason(),
            Focus::Count | Focus::Keys => Focus::Keys,
        };
    }

    /// Characters typed or pasted into the field that has the focus. Keys take none.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.held = None;
        for letter in text
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
        {
            let field = match self.focus {
                Focus::Words if self.words.value().chars().count() < MAX_WORDS => &mut self.words,
                Focus::Count if letter.is_ascii_digit() && self.count.value().len() < 6 => &mut self.count,
                _ => continue,
            };
            field.handle(tui_input::InputRequest::InsertChar(letter));
        }
    }

    /// Editing in the field that has the focus.
    pub(crate) fn edit(&mut self, request: tui_input::InputRequest) {
        match self.focus {
            Focus::Words => self.words.handle(request),
            Focus::Count => self.count.handle(request),
            Focus::Keys => None,
        };
    }

    /// The confirming key: what to send, or why nothing is.
    ///
    /// # Errors
    /// What is missing; the panel says so.
    pub(crate) fn confirm(&mut self, now: Duration) -> Result<Vec<(Target, WithdrawRequest)>, Hold> {
        let held = if !self.is_live(now) {
            if let Guard::Drawn(since) = &mut self.guard {
                *since = now;
            }
            Hold::TooSoon
        } else if self.targets.is_empty() {
            Hold::NothingLeft
        } else {
            match self.written_reason() {
                Err(hold) => hold,
                Ok(_) if self.needs_count() && !self.count_is_right() => Hold::WrongCount,
                Ok(reason) => return Ok(self.requests(&reason)),
            }
        };
        self.held = Some(held);
        Err(held)
    }

    fn written_reason(&self) -> Result<String, Hold> {
        match self.reason.ok_or(Hold::NoReason)? {
            Reason::Other => {
                let words = self.words.value().trim();
                if words.is_empty() {
                    Err(Hold::NoWords)
                } else {
                    Ok(words.to_owned())
                }
            }
            reason => Ok(reason.words().to_owned()),
        }
    }

    fn requests(&self, reason: &str) -> Vec<(Target, WithdrawRequest)> {
        let request = |target: &Target| WithdrawRequest {
            reason: reason.to_owned(),
            suppress_seconds: Some(self.suppression.seconds()),
            confirm_within_seconds: None,
            expected_revision: Some(target.shown.revision),
        };
        self.targets
            .iter()
            .map(|target| (target.clone(), request(target)))
            .collect()
    }
}
