//! What should happen, worked out beside the machine from the RFC and the design: from one standing to the next.
//!
//! It knows no clock, so it has nothing to say about what time does; the table and the invariants of `world` do.

use super::event::{Answer, What, Which};
use super::{Attempt, Link, Standing};
use crate::status::SessionPhase;

/// What is done, in order, and what the neighbour is then; `None` where time decides.
pub(super) fn expected(before: Standing, what: &What) -> Option<(Vec<String>, Standing)> {
    let mut it = Reference {
        is: before,
        said: Vec::new(),
    };
    match what {
        What::Arrives { on, answers, .. } => it.arrives(*on, answers),
        What::Lost(on) => it.ends(*on, "", None),
        What::DialSucceeds => it.connected(true),
        What::RouterDials => it.connected(false),
        What::DialFails => {
            it.is.dialling = Attempt::No;
            it.say("failed");
            it.dials_again();
        }
        What::Disable => {
            it.everything_ends(" 6/2");
            it.is.disabled = true;
        }
        What::Enable if before.disabled => {
            it.is.disabled = false;
            it.is.held_down = false;
            it.dials_again();
        }
        What::Enable => {}
        What::Reset => {
            it.everything_ends(" 6/4");
            it.is.held_down = false;
            it.dials_again();
        }
        What::Excused => it.is.held_down = false,
        What::Stop => it.everything_ends(" 6/2"),
        What::StopWithoutAWord => it.everything_ends(""),
        What::Blocked(_) | What::NextTimer | What::Silence | What::StandsStill(_) => return None,
    }
    Some((it.said, it.is))
}

struct Reference {
    is: Standing,
    said: Vec<String>,
}

impl Reference {
    fn say(&mut self, what: &str) {
        self.said.push(what.to_owned());
    }

    fn close(&mut self, on: Which, with: &str) {
        self.say(&format!("{} close{with}", on.number()));
    }

    fn arrives(&mut self, on: Which, answers: &[Answer; 3]) {
        let Some(link) = self.is.link(on) else { return };
        let answer = match link.phase {
            SessionPhase::OpenSent => answers[0],
            SessionPhase::OpenConfirm => answers[1],
            _ => answers[2],
        };
        match answer {
            Answer::Ignored => {}
            Answer::Refresh => self.say("refresh ipv4-flowspec"),
            Answer::Opens { we_win } => self.opens(on, link, we_win),
            Answer::Establishes => self.establishes(on, link),
            Answer::Refused(code, subcode) => {
                self.ends(on, &format!(" {code}/{subcode}"), Some((code, subcode)));
            }
            Answer::Ended(code, subcode) => self.ends(on, "", Some((code, subcode))),
        }
    }

    /// RFC 4271 section 6.8: an established session stays; of two whose OPENs are known the one that the side with the
    /// higher identifier made. If the same side made both, it has given the older one up.
    fn opens(&mut self, on: Which, link: Link, we_win: bool) {
        let loser = self.is.link(on.other()).and_then(|other| match other.phase {
            SessionPhase::Established => Some(on),
            SessionPhase::OpenConfirm if link.by_us == other.by_us => Some(Which::One),
            SessionPhase::OpenConfirm if link.by_us == we_win => Some(on.other()),
            SessionPhase::OpenConfirm => Some(on),
            _ => None,
        });
        self.is.set(
            on,
            Some(Link {
                phase: SessionPhase::OpenConfirm,
                ..link
            }),
        );
        if let Some(loser) = loser {
            self.close(loser, " 6/7");
            self.is.remove(loser);
        }
        if loser != Some(on) {
            self.say(&format!("{} keepalive", on.number()));
        }
    }

    fn establishes(&mut self, on: Which, link: Link) {
        if self.is.link(on.other()).is_some() {
            self.close(on.other(), " 6/7");
        }
        if self.is.dialling == Attempt::UnderWay {
            self.say("cancel");
        }
        self.say(&format!("{} up", on.number()));
        self.is.dialling = Attempt::No;
        self.is.candidate = None;
        self.is.current = Some(Link {
            phase: SessionPhase::Established,
            ..link
        });
    }

    /// An error that comes again holds the neighbour down: of an OPEN, of an UPDATE, and the bound of prefixes. But one of
    /// two connections that ends says nothing of the other, unless it was the session.
    fn ends(&mut self, on: Which, with: &str, error: Option<(u8, u8)>) {
        let Some(link) = self.is.link(on) else { return };
        self.close(on, with);
        self.is.remove(on);
        let comes_again = matches!(error, Some((2 | 3, _) | (6, 1)));
        if link.phase == SessionPhase::Established {
            self.say("down");
            self.is.held_down |= comes_again;
            if comes_again && self.is.current.take().is_some() {
                self.close(on.other(), " 6/5");
            }
        } else if self.is.current.is_none() {
            self.say("failed");
            self.is.held_down |= comes_again;
        }
        self.dials_again();
    }

    fn connected(&mut self, by_us: bool) {
        if by_us {
            self.is.dialling = Attempt::No;
        }
        if self.is.disabled || self.is.held_down {
            self.say("3 close 6/5");
            self.dials_again();
            return;
        }
        match self.is.candidate.map(|link| link.phase) {
            // It is silent, and the newer one is the better bet.
            Some(SessionPhase::OpenSent) => self.close(Which::Two, " 6/7"),
            Some(_) => {
                self.say("3 close 6/7");
                return;
            }
            None => {}
        }
        if self.is.dialling == Attempt::Due {
            self.is.dialling = Attempt::No;
        }
        let link = Link {
            phase: SessionPhase::OpenSent,
            by_us,
        };
        if self.is.current.is_none() {
            self.is.current = Some(link);
        } else {
            self.is.candidate = Some(link);
        }
        self.say("3 open");
    }

    fn everything_ends(&mut self, with: &str) {
        self.say("cancel");
        for on in Which::BOTH {
            if self.is.link(on).is_some() {
                self.close(on, with);
            }
        }
        self.is.current = None;
        self.is.candidate = None;
        self.is.dialling = Attempt::No;
    }

    fn dials_again(&mut self) {
        let is_idle = self.is.current.is_none() && self.is.dialling == Attempt::No;
        if is_idle && !self.is.passive && !self.is.disabled {
            self.is.dialling = Attempt::Due;
        }
    }
}
