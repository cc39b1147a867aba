//! What a request would do, and does not: the answer of `POST /v1/mitigations/preview`.

use crate::event::{EventOutcome, open_names};
use crate::ids::MitigationId;
use crate::mitigation::{Mitigation, RulePreview};
use crate::problem::Problem;
use crate::rate::BitsPerSecond;
use crate::resource::{Announcement, AnnouncementState, PeerState};
use crate::rule::{Action, Rule};
use crate::time::Timestamp;
use crate::why::Why;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

open_names! {
    /// What would become of the request.
    PreviewOutcome {
        /// A mitigation would be made.
        Created = "created",
        /// The live mitigation of the scope would be revised.
        Revised = "revised",
        /// It would be refused; the problem says why.
        Refused = "refused",
    }
}

/// The answer to a request that is only tried: the same decision on the state as it is, without any effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MitigationPreview {
    /// What would become of it.
    pub outcome: PreviewOutcome,
    /// Why it would be refused, as creating it would answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The mitigation as it would be; its identifiers and times are of this preview alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigation: Option<Mitigation>,
    /// Each of its rules in the ways people write it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<RulePreview>,
    /// The decision, step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// What each neighbour would get, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbors: Vec<NeighborPreview>,
}

/// How much police rules let through at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoliceWorstCase {
    /// Of all rules together, in bits a second.
    pub total: BitsPerSecond,
    /// Rules that police, over all neighbours.
    pub rules: u64,
    /// Neighbours that get any of them.
    pub neighbors: u64,
}

impl MitigationPreview {
    /// A rate is one of each rule at each router: together they let through so much. A router that polices on each of its
    /// forwarding engines lets through the same again for each of them, which nobody tells prefixd. Absent: nothing would
    /// be policed by bits.
    #[must_use]
    pub fn police_worst_case(&self) -> Option<PoliceWorstCase> {
        let mut worst = PoliceWorstCase {
            total: BitsPerSecond(0),
            rules: 0,
            neighbors: 0,
        };
        for neighbor in &self.neighbors {
            let rates: Vec<u64> = neighbor.announcements.iter().filter_map(rate_bps).collect();
            worst.rules += rates.len() as u64;
            worst.neighbors += u64::from(!rates.is_empty());
            let sum = rates.into_iter().fold(0, u64::saturating_add);
            worst.total.0 = worst.total.0.saturating_add(sum);
        }
        (worst.rules > 0).then_some(worst)
    }
}

/// The rate of a rule that polices by bits and would be sent.
fn rate_bps(announcement: &Announcement) -> Option<u64> {
    let is_sent = !matches!(
        announcement.state,
        AnnouncementState::Refused | AnnouncementState::OverBudget
    );
    match announcement.rule.parse::<Rule>().ok()?.action {
        Action::Police { rate_bps } if is_sent => Some(rate_bps.0),
        _ => None,
    }
}

/// What a neighbour would get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NeighborPreview {
    /// The neighbour.
    pub neighbor: String,
    /// Its session now.
    pub session: PeerState,
    /// Each rule there; the state is the one that it would have at first.
    pub announcements: Vec<Announcement>,
    /// How full it is, and would be.
    pub budget: Budget,
    /// Mitigations that would lose the place of a rule there, because these rules are more important.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub displaces: Vec<MitigationId>,
}

/// Rules that a neighbour may hold. A rule in parts counts each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Budget {
    /// `max_rules` of the neighbour, or less after it ended a session over the number of rules.
    pub max: u64,
    /// Meant for it now.
    pub used: u64,
    /// Meant for it afterwards. Above `max` the least important of them wait.
    pub after: u64,
}

/// What withdrawing a mitigation would do: the answer of `POST /v1/mitigations/{id}/withdraw/preview`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WithdrawPreview {
    /// The mitigation as it is now: what it filters, its highest reported rates, who claims it.
    pub mitigation: Mitigation,
    /// What leaves each neighbour, in the order of the configuration.
    pub neighbors: Vec<NeighborWithdrawal>,
    /// Other live mitigations of the same victim.
    pub cover: Vec<Cover>,
    /// Until when reports of the same would not be acted on; absent: they would be at once.
    pub suppressed_until: Option<Timestamp>,
    /// What a further report of each live claim would come to right after it.
    pub next_reports: Vec<NextReport>,
    /// The same once the suppression is over, of the claims that live by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later_reports: Vec<NextReport>,
}

/// What leaves one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NeighborWithdrawal {
    /// The neighbour.
    pub neighbor: String,
    /// Rules that it would have no longer.
    pub leaves: Vec<String>,
    /// Rules that stay, because another mitigation wants them too.
    pub stays: Vec<String>,
    /// It has no session, and its router may hold the rules until then whatever is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_hold_until: Option<Timestamp>,
}

/// A mitigation that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Cover {
    /// Which one.
    pub mitigation_id: MitigationId,
    /// Against what.
    pub vector: String,
    /// What it announces.
    pub rules: Vec<String>,
    /// Whether it takes all packets that the withdrawn one takes, whatever it does with them.
    pub takes_all: bool,
}

/// What a report would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NextReport {
    /// The detector.
    pub source: String,
    /// What its report would come to.
    pub outcome: EventOutcome,
    /// Why.
    pub reason: String,
    /// Whether it would be filtered again.
    pub comes_back: bool,
}

/// The body of `POST /v1/mitigations/{id}/withdraw/preview`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WithdrawPreviewRequest {
    /// How long automatic bans would not be acted on (0 to 86400); the configured time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_seconds: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(neighbor: &str, rules: &[(&str, &str)]) -> serde_json::Value {
        let announcements: Vec<_> = rules
            .iter()
            .map(|(state, then)| {
                json!({"neighbor": neighbor, "rule": format!("dst 203.0.113.10/32 proto udp then {then}"), "nlri": "01",
                       "state": state, "reason": null})
            })
            .collect();
        json!({"neighbor": neighbor, "session": "established", "announcements": announcements,
               "budget": {"max": 10, "used": 0, "after": 2}})
    }

    #[test]
    fn only_what_is_policed_and_sent_lets_its_rate_through() {
        let preview = |neighbors: serde_json::Value| -> Option<PoliceWorstCase> {
            let preview = json!({"outcome": "created", "neighbors": neighbors});
            serde_json::from_value::<MitigationPreview>(preview)
                .unwrap()
                .police_worst_case()
        };
        let found = preview(json!([
            at(
                "edge1",
                &[
                    ("queued", "police 5 Mbit/s"),
                    ("queued", "police 2 Mbit/s"),
                    ("queued", "discard")
                ]
            ),
            at(
                "edge2",
                &[
                    ("session_down", "police 5 Mbit/s"),
                    ("over_budget", "police 2 Mbit/s")
                ]
            ),
            at(
                "edge3",
                &[
                    ("refused", "police 5 Mbit/s"),
                    ("queued", "police 1000 packets/s")
                ]
            ),
        ]));
        let expected = PoliceWorstCase {
            total: BitsPerSecond(12_000_000),
            rules: 3,
            neighbors: 2,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(preview(json!([at("edge1", &[("queued", "discard")])])), None);
    }
}
