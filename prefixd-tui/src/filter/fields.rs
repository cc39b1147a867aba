//! What can be asked about a mitigation.

use ipnet::IpNet;
use prefixd_api::mitigation::{Mitigation, MitigationStatus, Severity};
use prefixd_api::show::{parse_si, parse_span};
use prefixd_api::time::Timestamp;

/// A property with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Status,
    Victim,
    Vector,
    Action,
    Customer,
    Service,
    Pop,
    Severity,
    Playbook,
    Source,
    By,
    Id,
    Reason,
}

impl Field {
    pub(super) const ALL: &'static [(&'static str, Self)] = &[
        ("status", Self::Status),
        ("victim", Self::Victim),
        ("vector", Self::Vector),
        ("action", Self::Action),
        ("cust", Self::Customer),
        ("svc", Self::Service),
        ("pop", Self::Pop),
        ("sev", Self::Severity),
        ("playbook", Self::Playbook),
        ("source", Self::Source),
        ("by", Self::By),
        ("id", Self::Id),
        ("reason", Self::Reason),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        let name = match name {
            "ip" | "dst" | "victim_ip" => "victim",
            "customer" | "customer_id" => "cust",
            "service" | "service_id" => "svc",
            "severity" => "sev",
            "action_type" => "action",
            known => known,
        };
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, field)| *field)
    }

    pub(super) fn names() -> String {
        Self::ALL
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Whether any value of this field passes the test.
    pub(super) fn any(self, row: &Mitigation, mut test: impl FnMut(&str) -> bool) -> bool {
        match self {
            Self::Status => test(row.status.as_str()),
            Self::Victim => test(&row.victim_ip.to_string()),
            Self::Vector => test(&row.vector),
            Self::Action => test(row.action_type.as_str()),
            Self::Customer => row.customer_id.as_deref().is_some_and(test),
            Self::Service => row.service_id.as_deref().is_some_and(test),
            Self::Pop => test(&row.pop),
            Self::Severity => test(row.severity.as_str()),
            Self::Playbook => row.playbook.as_deref().is_some_and(test),
            Self::Source => row.claims.iter().any(|claim| test(&claim.source)),
            Self::By => test(&row.origin.actor) || row.ended_by.as_deref().is_some_and(test),
            Self::Id => test(&row.mitigation_id.to_string()),
            Self::Reason => row
                .end_reason
                .as_ref()
                .is_some_and(|reason| test(reason.as_str())),
        }
    }

    /// A value to look for in this field.
    pub(super) fn pattern(self, text: &str) -> Result<Pattern, String> {
        let text = text.to_lowercase();
        let unknown = |known: String| Err(format!("{text} is not known here; known: {known}"));
        match self {
            Self::Status
                if !text.contains('*')
                    && !MitigationStatus::ALL
                        .iter()
                        .any(|s| s.as_str().starts_with(&text)) =>
            {
                unknown(MitigationStatus::ALL.map(MitigationStatus::as_str).join(", "))
            }
            Self::Status => Ok(Pattern::Glob(text + "*")),
            Self::Severity
                if !SEVERITIES
                    .iter()
                    .any(|severity| severity.as_str().starts_with(&text)) =>
            {
                unknown(SEVERITIES.map(Severity::as_str).join(", "))
            }
            Self::Severity | Self::Id => Ok(Pattern::Glob(text + "*")),
            Self::Victim => Ok(match text.parse::<IpNet>() {
                Ok(prefix) => Pattern::Inside(prefix),
                Err(_) => text.parse().map_or_else(
                    |_| Pattern::Glob(text),
                    |address: std::net::IpAddr| Pattern::Inside(address.into()),
                ),
            }),
            _ => Ok(Pattern::Glob(text)),
        }
    }
}

const SEVERITIES: [Severity; 4] = [
    Severity::Low,
    Severity::Medium,
    Severity::High,
    Severity::Critical,
];

/// A value of a field, as written in a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pattern {
    /// Text in lower case where `*` stands for anything.
    Glob(String),
    /// Addresses inside a prefix.
    Inside(IpNet),
}

impl Pattern {
    pub(super) fn fits(&self, value: &str) -> bool {
        match self {
            Self::Glob(pattern) if value.chars().any(char::is_uppercase) => {
                glob(pattern, &value.to_lowercase())
            }
            Self::Glob(pattern) => glob(pattern, value),
            Self::Inside(prefix) => value
                .parse()
                .is_ok_and(|address: std::net::IpAddr| prefix.contains(&address)),
        }
    }
}

/// Whether `text` fits `pattern`, where `*` stands for any text. Linear: it never goes back behind a star that
/// was matched.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// A property with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Bps,
    Pps,
    Rate,
    Ttl,
    Age,
    Confidence,
    Step,
    Severity,
}

const QUANTITIES: [(&str, Quantity); 8] = [
    ("bps", Quantity::Bps),
    ("pps", Quantity::Pps),
    ("rate", Quantity::Rate),
    ("ttl", Quantity::Ttl),
    ("age", Quantity::Age),
    ("conf", Quantity::Confidence),
    ("step", Quantity::Step),
    ("sev", Quantity::Severity),
];

impl Quantity {
    pub(super) fn named(name: &str) -> Option<Self> {
        QUANTITIES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, quantity)| *quantity)
    }

    pub(super) fn names() -> String {
        QUANTITIES.map(|(name, _)| name).join(", ")
    }

    /// The value of a row; rows without one pass no comparison.
    #[expect(
        clippy::cast_precision_loss,
        reason = "compared with what a person typed, three digits or so"
    )]
    pub(super) fn of(self, row: &Mitigation, now: Timestamp) -> Option<f64> {
        match self {
            Self::Bps => row.observed.bps.map(|bps| bps.0 as f64),
            Self::Pps => row.observed.pps.map(|pps| pps as f64),
            Self::Rate => row.rate_bps.map(|bps| bps.0 as f64),
            Self::Ttl => row
                .status
                .is_live()
                .then(|| row.leaves_at().since(now).as_secs_f64()),
            Self::Age => Some(now.since(row.created_at).as_secs_f64()),
            Self::Confidence => row.confidence,
            Self::Step => Some(f64::from(row.step)),
            Self::Severity => Some(f64::from(row.severity as u8)),
        }
    }

    /// A number with its unit: `1.2G`, `90s`, `1h30m`, `.8`, `high`.
    pub(super) fn read(self, text: &str) -> Result<f64, String> {
        let (number, wanted) = match self {
            Self::Ttl | Self::Age => (span(text), "a span such as 90s, 2m, 1h30m or 2d"),
            Self::Confidence | Self::Step => (text.parse().ok(), "a number such as .8"),
            Self::Severity => (
                SEVERITIES
                    .into_iter()
                    .find(|severity| !text.is_empty() && severity.as_str().starts_with(&text.to_lowercase()))
                    .map(|severity| f64::from(severity as u8)),
                "low, medium, high or critical",
            ),
            Self::Bps | Self::Pps | Self::Rate => (decimal(text), "a number such as 800k, 5M or 1.2G"),
        };
        number
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| format!("{text:?} is not {wanted}"))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a person typed three digits or so")]
fn decimal(text: &str) -> Option<f64> {
    parse_si(text).ok().map(|number| number as f64)
}

/// Seconds.
fn span(text: &str) -> Option<f64> {
    parse_span(text).ok().map(|span| span.as_secs_f64())
}

/// How a term with this field looks.
pub(super) fn example(name: &str) -> String {
    match name {
        "status" => "status:active,escalated".to_owned(),
        "victim" | "ip" => "victim:203.0.113.0/24".to_owned(),
        "sev" | "severity" => "sev:high".to_owned(),
        _ => format!("{name}:abc*"),
    }
}
