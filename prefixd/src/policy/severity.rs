//! How much a mitigation matters to a person who looks at a list.

use prefixd_api::mitigation::{Observed, Severity};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{Action, Rule};

/// Bounds where the customer's link is unknown: medium, high, critical.
const UNKNOWN_LINK: [u64; 3] = [100_000_000, 1_000_000_000, 10_000_000_000];

/// The higher of what the rules do and what the attack sends; one higher when no router has them.
pub(super) fn of(
    rules: &[Rule],
    observed: Observed,
    link: Option<BitsPerSecond>,
    unprotected: bool,
) -> Severity {
    let action = rules.iter().map(of_rule).max().unwrap_or(Severity::Low);
    let severity = action.max(of_rate(observed, link));
    match severity {
        Severity::Low if unprotected => Severity::Medium,
        Severity::Medium if unprotected => Severity::High,
        Severity::High | Severity::Critical if unprotected => Severity::Critical,
        as_it_is => as_it_is,
    }
}

fn of_rule(rule: &Rule) -> Severity {
    match rule.action {
        Action::Discard if rule.matches.has_ports() => Severity::Medium,
        Action::Discard => Severity::High,
        Action::Rtbh => Severity::Critical,
        Action::RedirectVrf { .. } | Action::RedirectIp { .. } => Severity::Medium,
        Action::Police { .. } | Action::PolicePackets { .. } | Action::Mark { .. } => Severity::Low,
    }
}

/// By the share of the customer's link that the attack fills.
pub(super) fn of_rate(observed: Observed, link: Option<BitsPerSecond>) -> Severity {
    let bps = observed.bps.map_or(0, |rate| rate.0);
    let [medium, high, critical] = link.map_or(UNKNOWN_LINK, |BitsPerSecond(link)| {
        [link / 10, link / 2, link].map(|bound| bound.max(1))
    });
    match bps {
        _ if bps >= critical => Severity::Critical,
        _ if bps >= high => Severity::High,
        _ if bps >= medium => Severity::Medium,
        _ => Severity::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_the_measure() {
        let rate = |bps, link: Option<u64>| {
            let observed = Observed {
                bps: Some(BitsPerSecond(bps)),
                pps: None,
            };
            of_rate(observed, link.map(BitsPerSecond))
        };
        assert_eq!(rate(99, Some(1000)), Severity::Low);
        assert_eq!(rate(100, Some(1000)), Severity::Medium);
        assert_eq!(rate(500, Some(1000)), Severity::High);
        assert_eq!(rate(1000, Some(1000)), Severity::Critical);
        assert_eq!(rate(99_999_999, None), Severity::Low);
        assert_eq!(rate(10_000_000_000, None), Severity::Critical);
        assert_eq!(
            of_rate(Observed::default(), Some(BitsPerSecond(0))),
            Severity::Low
        );
    }
}
