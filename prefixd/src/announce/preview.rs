//! A rule in the ways people write it.

use super::compile;
use prefixd_api::mitigation::RulePreview;
use prefixd_api::rule::{Rule, render};

/// A rule as text, as the bytes that are sent, and as vendors write it.
#[must_use]
pub fn preview(rule: &Rule) -> RulePreview {
    RulePreview {
        text: rule.to_string(),
        nlri: compile::of(rule)
            .map(|rule| rule.key().to_string())
            .unwrap_or_default(),
        junos: render::junos(rule),
        iosxr: render::iosxr(rule),
        frr: render::frr(rule),
    }
}
