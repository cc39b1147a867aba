//! What holds all announcing back.

use crate::peer::MayHold;
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Sessions were lost right after something was announced: until a person resets it, nothing new is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct BreakerTripped {
    /// When it tripped.
    pub tripped_at: Timestamp,
    /// The neighbours whose sessions were lost, in order of their names.
    pub neighbors: Vec<String>,
    /// What was announced since then was withdrawn.
    pub announced_since: Timestamp,
    /// How many mitigations that were.
    pub withdrawn: u64,
}

/// What holds announcing back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Control {
    /// The breaker, while it is tripped.
    pub breaker: Option<BreakerTripped>,
    /// What people stopped, the whole POP first. Whatever is not listed is running.
    #[serde(default)]
    pub stopped: Vec<Stopped>,
    /// Neighbours without a session that may hold rules whatever is taken back here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_hold: Vec<MayHold>,
}

/// What people may have the daemon do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ControlState {
    /// Mitigate.
    Running,
    /// Announce nothing new; what is announced goes on and ends on time.
    Hold,
    /// Withdraw everything, and announce nothing.
    Panic,
}

impl ControlState {
    /// What is stopped in this state.
    #[must_use]
    pub const fn stop(self) -> Option<Stop> {
        match self {
            Self::Running => None,
            Self::Hold => Some(Stop::Hold),
            Self::Panic => Some(Stop::Panic),
        }
    }
}

/// How announcing is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// Nothing new is announced.
    Hold,
    /// Nothing is announced.
    Panic,
}

impl Stop {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is stopped: `pop`, `customer:ID` or `neighbor:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlScope {
    /// Everything of this POP.
    Pop,
    /// What is made for one customer.
    Customer(String),
    /// What one neighbour is told.
    Neighbor(String),
}

const CUSTOMER: &str = "customer:";
const NEIGHBOR: &str = "neighbor:";

impl fmt::Display for ControlScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pop => f.write_str("pop"),
            Self::Customer(id) => write!(f, "{CUSTOMER}{id}"),
            Self::Neighbor(name) => write!(f, "{NEIGHBOR}{name}"),
        }
    }
}

impl ControlScope {
    /// The command that ends what is stopped in the scope: without its option it ends what is stopped for the POP.
    #[must_use]
    pub fn resume(&self) -> String {
        match self {
            Self::Pop => "prefixdctl resume".to_owned(),
            Self::Customer(id) => format!("prefixdctl resume --customer {id}"),
            Self::Neighbor(name) => format!("prefixdctl resume --neighbor {name}"),
        }
    }
}

impl FromStr for ControlScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |prefix: &str| text.strip_prefix(prefix).filter(|name| !name.is_empty());
        if text == "pop" {
            return Ok(Self::Pop);
        }
        if let Some(id) = named(CUSTOMER) {
            return Ok(Self::Customer(id.to_owned()));
        }
        named(NEIGHBOR)
            .map(|name| Self::Neighbor(name.to_owned()))
            .ok_or_else(|| format!("{text:?} is no scope: say pop, customer:ID or neighbor:NAME"))
    }
}

crate::schema::text_schema!(ControlScope, "ControlScope");

impl Serialize for ControlScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ControlScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A person stopped announcing, until a person says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Stopped {
    /// What is stopped.
    pub scope: ControlScope,
    /// How.
    pub state: Stop,
    /// The person's words.
    pub reason: String,
    /// Who did it.
    pub set_by: String,
    /// Since when.
    pub set_at: Timestamp,
    /// A number that is another one each time something is said for this scope.
    #[serde(default)]
    pub revision: u64,
    /// Whether the store has it. A panic is in force before; a restart knows only what is recorded.
    #[serde(default = "recorded", skip_serializing_if = "is_recorded")]
    pub recorded: bool,
}

const fn recorded() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_recorded(recorded: &bool) -> bool {
    *recorded
}

/// The body of `PUT /v1/control`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ControlRequest {
    /// What it is about: `pop`, `customer:ID` or `neighbor:NAME`.
    pub scope: ControlScope,
    /// What is to be done.
    pub state: ControlState,
    /// Why, for the journal.
    pub reason: String,
    /// Only when what is stopped in this scope still has this revision, or 0 when nothing is; otherwise 409. Not with panic,
    /// which waits for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<u64>,
}

/// The body of `POST /v1/breaker/reset`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BreakerResetRequest {
    /// Why, for the journal.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written_alike() {
        for text in ["pop", "customer:acme", "customer:a:b", "neighbor:edge1"] {
            let scope: ControlScope = text.parse().unwrap();
            assert_eq!(scope.to_string(), text);
            let json = serde_json::to_string(&scope).unwrap();
            assert_eq!(serde_json::from_str::<ControlScope>(&json).unwrap(), scope);
        }
        for text in ["", "POP", "customer:", "neighbor:", "acme"] {
            assert!(text.parse::<ControlScope>().is_err(), "{text:?}");
        }
    }
}
