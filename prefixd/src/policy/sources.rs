//! Detectors as the configuration describes them.

use prefixd_api::rule::ActionType;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a source reports an attack that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reporting {
    /// Once at the beginning: its live claim renews the lease until its unban.
    Once,
    /// Again and again: each report renews the lease.
    Repeats,
}

/// Whether a source still sees the traffic once it is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Visibility {
    /// It does: a live claim is evidence that the attack goes on.
    PreFilter,
    /// It does not: only a report is evidence.
    PostFilter,
}

/// One detector.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) reporting: Reporting,
    pub(super) visibility: Visibility,
    pub(super) claim_ttl: Duration,
    pub(super) default_confidence: Option<f64>,
    pub(super) weight: f64,
    /// Detectors fed by the same data share one; absent: it stands alone, if it is configured.
    pub(super) domain: Option<Arc<str>>,
    /// Whether its word alone may start a mitigation.
    pub(super) may_trigger: bool,
    /// The strictest action that may rest on its word alone.
    pub(super) max_action: ActionType,
    /// Whether rules on its word go to routers.
    pub(super) enforce: bool,
}

/// All detectors; unknown ones get the default.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) default: Source,
    pub(super) named: HashMap<String, Source>,
}

/// Whose word a report is. What shares data, and what nobody vouches for, speaks with one voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Voice<'a> {
    Domain(&'a str),
    /// A configured source without a domain stands for itself, apart from a domain named alike.
    Source(&'a str),
    /// All that are not configured: an event says its source itself, so one detector could report by many names.
    Unknown,
}

impl<'a> Voice<'a> {
    pub(super) fn new(source: &'a str, domain: Option<&'a str>, configured: bool) -> Self {
        match domain {
            Some(domain) => Self::Domain(domain),
            None if configured => Self::Source(source),
            None => Self::Unknown,
        }
    }
}

impl Sources {
    pub(super) fn voice<'a>(&'a self, name: &'a str) -> Voice<'a> {
        Voice::new(name, self.get(name).domain.as_deref(), self.is_configured(name))
    }

    pub(super) fn get(&self, name: &str) -> &Source {
        self.named.get(name).unwrap_or(&self.default)
    }

    pub(super) fn is_configured(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }
}
