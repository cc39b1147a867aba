//! One neighbour for people.

use crate::output::{View, sheet_of};
use prefixd_api::peer::{PeerDetail, PeerNotification, PeerOccurrence, PeerSession, PeerWriting};
use prefixd_api::resource::{AnnouncementForm, FamilyRules, OnLoss, Peer};
use prefixd_api::show::{both, count};

pub(super) fn sheet(detail: &PeerDetail, view: View) -> String {
    let peer = &detail.peer;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let mut pairs = vec![
        ("Neighbour", peer.name.clone()),
        ("Address", format!("{}, AS {}", peer.address, peer.peer_asn)),
        (
            "State",
            format!("{} since {}", peer.state, both(peer.since, view.now, view.zone)),
        ),
        ("Router id", or_none(peer.router_id.clone())),
        (
            "Hold time",
            or_none(peer.hold_time_seconds.map(|seconds| format!("{seconds}s"))),
        ),
        ("Families", list(&peer.families)),
        ("Capabilities", list(&peer.capabilities)),
        (
            "Without prefixd",
            or_none(peer.on_loss.as_ref().map(without_prefixd)),
        ),
        (
            "Gets rules",
            match (peer.enforce, peer.reflects) {
                (true, false) => "yes".to_owned(),
                (true, true) => "yes, for its clients (role: route_reflector)".to_owned(),
                (false, _) => "no (enforce: false)".to_owned(),
            },
        ),
        (
            "Rules",
            format!(
                "{} desired, {} advertised, {} queued, {} unsupported, {} over budget, {} quarantined, {} on probation",
                count(peer.rules_desired),
                count(peer.rules_advertised),
                count(peer.rules_queued),
                count(peer.rules_unsupported),
                count(peer.rules_over_budget),
                count(peer.rules_quarantined),
                count(peer.rules_on_probation)
            ),
        ),
        (
            "Canary",
            match peer.rules_waiting {
                0 => "nothing waits for another neighbour".to_owned(),
                waiting => format!(
                    "{} rules wait until another neighbour of the profile has kept such a rule",
                    count(waiting)
                ),
            },
        ),
        ("Forms", forms(peer)),
        (
            "Budget",
            match peer.rules_budget {
                None => "no bound".to_owned(),
                Some(bound) => format!(
                    "{} rules at most, {} displaced by more important ones",
                    count(bound),
                    count(peer.rules_displaced)
                ),
            },
        ),
        (
            "Sessions",
            format!(
                "{} established, {} lost",
                count(peer.established_total),
                count(peer.flaps)
            ),
        ),
    ];
    if let Some(until) = peer.may_hold_until {
        let until = both(until, view.now, view.zone);
        pairs.insert(
            3,
            (
                "May hold rules",
                format!("until {until}: the session was lost in silence, and a withdrawal does not reach the router before it is back"),
            ),
        );
    }
    pairs.extend(writing(&peer.writing));
    if let Some(disabled) = &peer.disabled {
        let at = both(disabled.disabled_at, view.now, view.zone);
        let text = format!("by {} at {at}: {}", disabled.disabled_by, disabled.reason);
        pairs.push(("Disabled", text));
    }
    if let Some(session) = &detail.session {
        pairs.extend(agreed(session));
    }
    if !peer.flaps_by_cause.is_empty() {
        let causes = peer
            .flaps_by_cause
            .iter()
            .map(|(cause, times)| format!("{cause} {}", count(*times)));
        pairs.push(("Lost by", causes.collect::<Vec<_>>().join(", ")));
    }
    let notifications = [
        ("Router said", &detail.last_received),
        ("We said", &detail.last_sent),
    ];
    for (name, said) in notifications {
        if let Some(said) = said {
            pairs.push((name, notification(said, view)));
        }
    }
    if let Some(at) = detail.retry_at {
        pairs.push(("Next attempt", both(at, view.now, view.zone)));
    }
    if let Some(error) = &peer.last_error {
        let at = peer
            .last_error_at
            .map_or_else(String::new, |at| format!(" at {}", both(at, view.now, view.zone)));
        pairs.push(("Last error", format!("{error}{at}")));
    }
    let mut text = sheet_of(&pairs);
    if !peer.rules_by_family.is_empty() {
        text.push_str("\nRules by family\n");
        let families = peer.rules_by_family.iter();
        let lines: Vec<_> = families
            .map(|(family, rules)| (family.as_str(), of_family(rules)))
            .collect();
        text.extend(sheet_of(&lines).lines().map(|line| format!("  {line}\n")));
    }
    if !peer.counters.is_empty() {
        text.push_str("\nCounters\n");
        let counters: Vec<_> = peer
            .counters
            .iter()
            .map(|(name, value)| (name.as_str(), count(*value)))
            .collect();
        text.extend(sheet_of(&counters).lines().map(|line| format!("  {line}\n")));
    }
    if !detail.parked.is_empty() {
        text.push_str("\nQuarantined rules\n");
        let lines: Vec<_> = detail
            .parked
            .iter()
            .map(|parked| {
                let until = both(parked.until, view.now, view.zone);
                (parked.nlri.as_str(), format!("until {until}: {}", parked.why))
            })
            .collect();
        text.extend(sheet_of(&lines).lines().map(|line| format!("  {line}\n")));
    }
    if !detail.history.is_empty() {
        text.push_str("\nHistory\n");
        let times: Vec<_> = detail.history.iter().map(|entry| moment(entry, view)).collect();
        let lines: Vec<_> = times
            .iter()
            .zip(&detail.history)
            .map(|(at, entry)| (at.as_str(), entry.what.clone()))
            .collect();
        text.extend(sheet_of(&lines).lines().map(|line| format!("  {line}\n")));
    }
    text
}

fn without_prefixd(on_loss: &OnLoss) -> String {
    let OnLoss {
        keeps_seconds,
        because,
    } = on_loss;
    match keeps_seconds {
        0 => format!("drops the rules at once: {because}"),
        seconds => format!("keeps the rules for {seconds}s: {because}"),
    }
}

/// How rules get to it.
fn writing(writing: &PeerWriting) -> [(&'static str, String); 2] {
    let time = |seconds: f64| match seconds {
        seconds if seconds.is_infinite() => "more than 30 s".to_owned(),
        seconds if seconds < 1.0 => format!("{} ms", seconds * 1000.0),
        seconds => format!("{seconds} s"),
    };
    let lag = |part| writing.lag.quantile(part).map(time);
    let lag = match (lag(0.5), lag(0.99)) {
        (Some(half), Some(most)) => format!("half within {half}, 99 of 100 within {most}"),
        _ => "nothing was written yet".to_owned(),
    };
    let everything = writing
        .end_of_rib_seconds
        .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s"));
    [
        ("Written after", lag),
        (
            "Writing",
            format!(
                "everything in {everything} after the last session began; blocked for {:.1} s in all; {} rules, {} withdrawals, \
                 {} ended by the speaker, {} refreshes",
                writing.blocked_seconds,
                count(writing.announced),
                count(writing.withdrawn),
                count(writing.expired),
                count(writing.refreshes)
            ),
        ),
    ]
}

/// What is the ordinary case, and of the rest what there is.
fn of_family(rules: &FamilyRules) -> String {
    let mut text = format!(
        "{} desired, {} advertised, {} queued",
        count(rules.desired),
        count(rules.advertised),
        count(rules.queued)
    );
    for (number, what) in [
        (rules.unsupported, "unsupported"),
        (rules.over_budget, "over budget"),
        (rules.displaced, "displaced"),
        (rules.quarantined, "quarantined"),
        (rules.on_probation, "on probation"),
        (rules.waiting, "waiting"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", count(number)));
        }
    }
    text
}

/// What the rules of live mitigations are at the neighbour.
fn forms(peer: &Peer) -> String {
    let form = |name: &&str| Some(format!("{} {name}", count(*peer.rules_by_form.get(*name)?)));
    let forms: Vec<String> = AnnouncementForm::NAMES.iter().filter_map(form).collect();
    if forms.is_empty() {
        "-".to_owned()
    } else {
        forms.join(", ")
    }
}

fn list(values: &[String]) -> String {
    match values {
        [] => "-".to_owned(),
        values => values.join(", "),
    }
}

fn agreed(session: &PeerSession) -> [(&'static str, String); 6] {
    let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
    let who = if session.dialled {
        "we dialled"
    } else {
        "the router dialled"
    };
    [
        (
            "Connection",
            format!("{} to {}, {who}", session.local, session.remote),
        ),
        ("We offered", list(&session.offered)),
        ("4-byte AS", yes(session.four_octet_as)),
        ("TCP-MD5", yes(session.md5)),
        ("TTL security", yes(session.ttl_security)),
        ("Framed refresh", yes(session.enhanced_refresh)),
    ]
}

fn notification(said: &PeerNotification, view: View) -> String {
    let text = said
        .text
        .as_ref()
        .map_or_else(String::new, |text| format!(": {text}"));
    let at = both(said.at, view.now, view.zone);
    format!("{}/{} {}{text} at {at}", said.code, said.subcode, said.meaning)
}

fn moment(entry: &PeerOccurrence, view: View) -> String {
    let last = both(entry.last_at, view.now, view.zone);
    if entry.times > 1 {
        format!("{last} ({} times)", count(entry.times))
    } else {
        last
    }
}
