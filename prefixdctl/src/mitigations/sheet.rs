//! One mitigation for people.

use super::rows::{action, status};
use crate::output::{View, sheet_of};
use prefixd_api::mitigation::{Claim, EndReason, Mitigation, MitigationDetail};
use prefixd_api::name::Name;
use prefixd_api::preview::{Budget, MitigationPreview, NeighborPreview, PreviewOutcome};
use prefixd_api::resource::{Announcement, AnnouncementForm, AnnouncementState};
use prefixd_api::show::{MAX_TEXT_CHARS, absolute, both, clean, confidence, remaining, si_unit};

pub(super) fn detail(detail: &MitigationDetail, view: View) -> String {
    let names = [detail.customer_name.as_deref(), detail.service_name.as_deref()];
    let mut text = head(&detail.mitigation, names, view);
    section(
        &mut text,
        "Rules",
        detail.previews.iter().map(|preview| preview.text.clone()),
    );
    section(&mut text, "Announcements", announcements(&detail.announcements));
    section(
        &mut text,
        "Claims",
        detail
            .mitigation
            .claims
            .iter()
            .map(|claim| self::claim(claim, view)),
    );
    section(
        &mut text,
        "Timeline",
        detail.timeline.iter().map(|entry| {
            let at = absolute(entry.at, view.now, view.zone);
            format!("{at}  {}  {}", entry.kind, entry.actor)
        }),
    );
    text
}

/// Each rule at each neighbour; under it what it was before, and what to know of it.
pub(crate) fn announcements(all: &[Announcement]) -> impl Iterator<Item = String> {
    all.iter().flat_map(|one| {
        let form = match &one.form {
            AnnouncementForm::Exact | AnnouncementForm::Refused => String::new(),
            AnnouncementForm::Split => format!(", part {} of {}", one.part, one.parts),
            form => format!(", {form}"),
        };
        let reason = one.reason.as_ref().map(|reason| format!(": {reason}"));
        let head = format!(
            "{}  {}{form}{}  {}",
            one.neighbor,
            one.state,
            reason.unwrap_or_default(),
            one.rule
        );
        let decided = (one.rule != one.original && !one.original.is_empty())
            .then(|| format!("    decided: {}", one.original));
        let warning = one
            .warning
            .as_ref()
            .map(|warning| format!("    warning: {warning}"));
        let beside = one.overlaps.iter().map(|other| {
            let order = if other.comes_first {
                "asked before it"
            } else {
                "asked after it"
            };
            format!("    overlaps: {} of {}, {order}", other.rule, other.mitigation_id)
        });
        // Of what is covered the reason says it.
        let shadows = one
            .shadowed_by
            .iter()
            .filter(|_| one.state != AnnouncementState::Covered);
        let shadows = shadows.map(|other| {
            format!(
                "    does nothing beside: {} of {}",
                other.rule, other.mitigation_id
            )
        });
        let lines = [Some(head), decided, warning].into_iter().flatten();
        lines.chain(beside).chain(shadows).collect::<Vec<_>>()
    })
}

/// What a request would do.
pub(super) fn preview(preview: &MitigationPreview, view: View) -> String {
    let outcome = match &preview.outcome {
        PreviewOutcome::Created => "would be made".to_owned(),
        PreviewOutcome::Revised => "the live one would be revised".to_owned(),
        PreviewOutcome::Refused => "would be REFUSED".to_owned(),
        PreviewOutcome::Other(name) => name.to_string(),
    };
    let mut pairs = vec![("Preview", format!("{outcome}; nothing was changed"))];
    if let Some(problem) = &preview.problem {
        pairs.push(("Because", format!("{} [{}]", problem.detail, problem.code)));
    }
    if let Some(m) = &preview.mitigation {
        let or_none = |value: &Option<Name>| value.as_deref().unwrap_or("-").to_owned();
        pairs.extend([
            ("Victim", m.victim_ip.to_string()),
            ("Vector", m.vector.to_string()),
            ("Action", action(m)),
            ("Customer", or_none(&m.customer_id)),
            ("Service", or_none(&m.service_id)),
            ("Severity", m.severity.to_string()),
            ("Playbook", or_none(&m.playbook)),
            ("Expires", format!("{} left", remaining(m.expires_at, view.now))),
        ]);
    }
    if let Some(worst) = preview.police_worst_case() {
        let total = si_unit(worst.total.0, "bit/s");
        let by = format!(
            "(rules {}, neighbours {}); more where a router polices on each forwarding engine",
            worst.rules, worst.neighbors
        );
        pairs.push(("Lets through", format!("at most {total} {by}")));
    }
    let mut text = sheet_of(&pairs);
    let rules = preview.previews.iter().map(|rule| rule.text.clone());
    section(&mut text, "Rules", rules);
    let at = |one: &NeighborPreview| -> Vec<String> {
        let Budget { max, used, after } = one.budget;
        let over = if after > max {
            ": OVER its budget, the least important wait"
        } else {
            ""
        };
        let head = format!(
            "{}  {}, {used} of {max} rules now, {after} then{over}",
            one.neighbor, one.session
        );
        let rules = announcements(&one.announcements).map(|line| format!("  {line}"));
        let displaces = one
            .displaces
            .iter()
            .map(|id| format!("  takes the place of {id}, which is less important"));
        std::iter::once(head).chain(rules).chain(displaces).collect()
    };
    section(
        &mut text,
        "At the neighbours",
        preview.neighbors.iter().flat_map(at),
    );
    let steps = preview.why.iter().flat_map(|why| &why.steps);
    section(
        &mut text,
        "Why",
        steps.map(|step| format!("{}  [{}]", step.text, step.code)),
    );
    text
}

/// A mitigation without what only its own route tells.
pub(super) fn summary(mitigation: &Mitigation, view: View) -> String {
    let mut text = head(mitigation, [None, None], view);
    section(
        &mut text,
        "Rules",
        mitigation.rules.iter().map(ToString::to_string),
    );
    text
}

fn head(m: &Mitigation, names: [Option<&str>; 2], view: View) -> String {
    let [customer, service] = names;
    let or_none = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let named = |id: Option<&str>, name: Option<&str>| match (id, name) {
        (Some(id), Some(name)) => format!("{id} ({name})"),
        (Some(id), None) => id.to_owned(),
        (None, _) => "-".to_owned(),
    };
    let rates = match (m.observed.bps, m.observed.pps) {
        (None, None) => "-".to_owned(),
        (bps, pps) => [
            bps.map(|bps| si_unit(bps.0, "bps")),
            pps.map(|pps| si_unit(pps, "pps")),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", "),
    };
    let mut pairs = vec![
        ("Mitigation", m.mitigation_id.to_string()),
        (
            "Status",
            format!("{}, step {}, revision {}", status(m).text, m.step, m.revision),
        ),
        ("Victim", m.victim_ip.to_string()),
        ("Vector", m.vector.to_string()),
        ("Action", action(m)),
        ("Observed", rates),
        ("Customer", named(m.customer_id.as_deref(), customer)),
        ("Service", named(m.service_id.as_deref(), service)),
        ("Severity", m.severity.to_string()),
        ("Confidence", confidence(m.confidence)),
        ("Playbook", or_none(m.playbook.as_deref())),
        ("POP", m.pop.to_string()),
        (
            "Created",
            format!(
                "{} by {}",
                both(m.created_at, view.now, view.zone),
                m.origin.actor
            ),
        ),
    ];
    if let Some(delivery) = &m.delivery {
        let unsupported = match delivery.unsupported {
            0 => String::new(),
            n => format!(", {n} cannot take a rule"),
        };
        let neighbors = format!(
            "{} of {} established{unsupported}",
            delivery.advertised, delivery.established
        );
        pairs.push(("Neighbours", neighbors));
    }
    if let Some(carpet) = &m.carpet {
        pairs.push(("Aggregate", carpet.to_string()));
    }
    if let Some(waits) = &m.waits_for {
        let what = if m.status.is_live() {
            "Waits for"
        } else {
            "Waited for"
        };
        pairs.push((what, waits.to_string()));
    }
    if m.status.is_live() {
        let left = remaining(m.expires_at, view.now);
        pairs.push((
            "Expires",
            format!("{} ({left} left)", absolute(m.expires_at, view.now, view.zone)),
        ));
    }
    if let Some(ends_at) = m.ends_at.filter(|_| m.status.is_live()) {
        pairs.push((
            "Ends",
            format!("{} unless a report comes", both(ends_at, view.now, view.zone)),
        ));
    }
    if let Some(ended_at) = m.ended_at {
        pairs.push(("Ended", both(ended_at, view.now, view.zone)));
        pairs.push(("Ended by", or_none(m.ended_by.as_deref())));
        pairs.push((
            "End reason",
            or_none(m.end_reason.as_ref().map(EndReason::as_str)),
        ));
    }
    if let Some(confirm_by) = m.confirm_by {
        pairs.push((
            "Put back",
            format!("{} unless it is confirmed", both(confirm_by, view.now, view.zone)),
        ));
    }
    if let Some(note) = &m.end_note {
        pairs.push(("Note", note.to_string()));
    }
    if let Some(reference) = &m.external_ref {
        pairs.push(("Reference", reference.to_string()));
    }
    if let (Some(at), Some(by)) = (m.acknowledged_at, &m.acknowledged_by) {
        pairs.push((
            "Acknowledged",
            format!("{} by {by}", both(at, view.now, view.zone)),
        ));
    }
    if let Some(claimed) = &m.claimed {
        pairs.push((
            "In hand of",
            format!("{} since {}", claimed.by, both(claimed.at, view.now, view.zone)),
        ));
    }
    for note in &m.notes {
        let at = both(note.at, view.now, view.zone);
        pairs.push(("Noted", format!("{at} {}: {}", note.by, note.text)));
    }
    pairs.push(("Why", m.why_summary.to_string()));
    sheet_of(&pairs)
}

fn claim(claim: &Claim, view: View) -> String {
    let id = claim.event_id.as_deref().unwrap_or("-");
    let last = both(claim.last_report_at, view.now, view.zone);
    let cleared = if claim.cleared_at.is_some() {
        "  cleared"
    } else {
        ""
    };
    format!(
        "{}  {id}  confidence {}  last report {last}{cleared}",
        claim.source,
        confidence(claim.confidence)
    )
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        text.push_str(&format!("\n{title}\n"));
    }
    for line in lines {
        text.push_str(&format!("  {}\n", clean(&line, MAX_TEXT_CHARS)));
    }
}
