//! Effects as JSON, written once where they are decided.

use crate::json;
use crate::policy::{Effect, PeerWhat, Trace};
use std::sync::Arc;

/// The JSON of an effect as its row keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub(super) body: String,
    /// The trace, where the effect's row keeps one of its own.
    pub(super) why: Option<String>,
}

impl Written {
    /// The effects of one decision.
    ///
    /// # Errors
    /// When an object cannot be written as JSON, which is a defect.
    pub fn all(effects: &[Effect]) -> Result<Vec<Self>, serde_json::Error> {
        let with_event = effects.iter().find_map(|effect| match effect {
            Effect::Event(_, why) => Some(why),
            _ => None,
        });
        effects
            .iter()
            .map(|effect| {
                Ok(Self {
                    body: body(effect)?,
                    why: why(effect, with_event)?,
                })
            })
            .collect()
    }

    /// The object; empty where a row goes away.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }
}

fn body(effect: &Effect) -> Result<String, serde_json::Error> {
    match effect {
        Effect::Event(event, _) => json::text(event),
        Effect::Group(group) => json::text(group),
        Effect::Mitigation { after, .. } => json::text(after),
        Effect::Suppressed(suppression) => json::text(suppression),
        Effect::WideSuppressed(suppression) => json::text(suppression),
        Effect::Unconfirmed(waits) => json::text(waits),
        Effect::SafelistAdded(entry) | Effect::SafelistLearned(entry) => json::text(entry),
        Effect::Peer(change) => match &change.what {
            PeerWhat::Disabled(disabled) => json::text(disabled),
            PeerWhat::Enabled | PeerWhat::Reset | PeerWhat::Resent { .. } | PeerWhat::Released { .. } => {
                Ok(String::new())
            }
        },
        Effect::Quarantine(change) if change.after.is_empty() => Ok(String::new()),
        Effect::Quarantine(change) => json::text(&change.after),
        Effect::Breaker(change) => match &change.after {
            Some(tripped) => json::text(tripped),
            None => Ok(String::new()),
        },
        Effect::Source(change) => match &change.after {
            Some(paused) => json::text(paused),
            None => Ok(String::new()),
        },
        Effect::Control(change) => match &change.after {
            Some(stopped) => json::text(stopped),
            None => Ok(String::new()),
        },
        Effect::Confirmed { .. }
        | Effect::Unsuppressed { .. }
        | Effect::WideUnsuppressed { .. }
        | Effect::SafelistRemoved { .. }
        | Effect::SafelistForgotten { .. } => Ok(String::new()),
    }
}

/// The trace of a mitigation that its decision's event explains is stored with the event alone.
fn why(effect: &Effect, with_event: Option<&Arc<Trace>>) -> Result<Option<String>, serde_json::Error> {
    let why = match effect {
        Effect::Event(_, why) => Some(why),
        Effect::Mitigation { why: Some(why), .. }
            if with_event.is_none_or(|event| !Arc::ptr_eq(event, why)) =>
        {
            Some(why)
        }
        _ => None,
    };
    why.map(json::text).transpose()
}
