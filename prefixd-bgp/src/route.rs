//! What the owner of the rules hands over, and what it can ask back.

use std::sync::Arc;

use tokio::time::Instant;

use crate::canary::Waiting;
use crate::flowspec::{Action, CanonicalRule, NlriKey};
use crate::rib::Parked;

/// A rule that a neighbour should hold, until it is withdrawn or its time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The match. Its key is the identity of the route: announcing the same key again replaces action and end.
    pub rule: Arc<CanonicalRule>,
    /// What the router does with matching traffic.
    pub action: Action,
    /// How much it matters beside the other routes of the neighbour.
    pub priority: Priority,
    /// The speaker withdraws the route by itself at this moment, whatever the rest of the program does.
    pub not_after: Instant,
}

/// How much a route matters where a neighbour has no room for all of them. The owner of the rules gives the levels their
/// meaning; here they are only compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Of this level; a higher one goes before a lower one.
    #[must_use]
    pub const fn new(level: u8) -> Self {
        Self(level)
    }
}

/// Which neighbours a change is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every configured neighbour.
    All,
    /// The neighbour of this name.
    Neighbor(Arc<str>),
}

/// One change of the desired state. Changes are applied in order; the result is state, not a queue: announcing and
/// withdrawing before the neighbour was told leaves nothing to send.
#[derive(Debug, Clone)]
pub enum Change {
    /// The neighbours should hold this route.
    Announce {
        /// Which neighbours.
        target: Target,
        /// The route.
        route: Route,
    },
    /// The neighbours should no longer hold the rule with this key.
    Withdraw {
        /// Which neighbours.
        target: Target,
        /// The key of the rule.
        key: NlriKey,
    },
}

impl Change {
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Announce { target, .. } | Self::Withdraw { target, .. } => target,
        }
    }
}

/// How far a rule has come at one neighbour. "Advertised" means written to the socket; a router does not say whether
/// it has installed the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The session is up and the rule waits for its turn.
    Queued,
    /// The rule was written to the neighbour's session.
    Advertised,
    /// The withdrawal waits for its turn or is being written.
    Withdrawing,
    /// There is no session; the rule is sent when it comes up.
    SessionDown,
    /// The neighbour is disabled; the rule is sent when it is enabled again.
    Disabled,
    /// The neighbour has as many rules as it may have; the most important one waiting moves up when another ends.
    OverBudget(Bound),
    /// The same, and it was sent before a more important rule took its place; it comes back when the neighbour has a tenth
    /// of its budget free.
    Displaced(Bound),
    /// A session was lost soon after the neighbour was told the rule; its turn to be tried comes when the others are
    /// told.
    Probation,
    /// The rule, or rules like it, ended the neighbour's session; it is held back for a time.
    Quarantined(Arc<Parked>),
    /// Another neighbour is told such a rule first. What this one was told under the same key before, it still has.
    Waiting(Waiting),
    /// The rule is not sent to this neighbour.
    Refused(Refusal),
}

/// What keeps a neighbour from taking another rule; its text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// The configured budget.
    #[error(
        "the neighbour has as many rules as max_rules allows ({0}); raise it, or wait until another rule ends"
    )]
    MaxRules(usize),
    /// What the router is told at most after it ended a session because of the number of our rules (Cease/1).
    #[error(
        "the router ended a session because it takes no more rules (Cease/1), so it is told {0} at most; raise its \
         maximum-prefix limit, then reset the neighbour"
    )]
    PrefixLimit(usize),
}

/// Why a rule is never sent to a neighbour. One rule a router dislikes resets its session and so drops all the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The neighbour is not configured for the family.
    #[error("the neighbour is not configured for this address family")]
    FamilyNotConfigured,
    /// The router did not agree to the family when the session was opened.
    #[error("the router did not agree to this address family; activate it on the router")]
    FamilyNotNegotiated,
    /// A host route that is no blackhole, or a blackhole that is no host route.
    #[error("a route of a unicast family can only be a blackhole, and a FlowSpec rule none")]
    NotABlackhole,
    /// A component has more operators than the neighbour takes.
    #[error("the {component} component needs {operators} operators, the neighbour takes {limit}")]
    TooManyOperators {
        /// The component.
        component: &'static str,
        /// What it needs.
        operators: usize,
        /// What the neighbour takes.
        limit: usize,
    },
    /// The encoded rule is longer than the neighbour takes.
    #[error("the rule needs {bytes} bytes, the neighbour takes {limit}")]
    TooLong {
        /// What it needs, without the length field.
        bytes: usize,
        /// What the neighbour takes.
        limit: usize,
    },
}

/// One line of a neighbour's Adj-RIB-Out.
#[derive(Debug, Clone)]
pub struct RouteStatus {
    /// The key of the rule.
    pub key: NlriKey,
    /// What the neighbour should hold; `None` while it is being withdrawn.
    pub desired: Option<Route>,
    /// The action the neighbour was last told, `None` if nothing.
    pub advertised: Option<Action>,
    /// When that was written to the socket.
    pub written_at: Option<Instant>,
    /// How far it has come.
    pub delivery: Delivery,
}
