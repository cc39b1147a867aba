use super::*;
use crate::fixture;

fn now() -> Timestamp {
    fixture::now()
}

/// The victims that pass, in the order of the fixture.
fn pass(text: &str) -> Vec<String> {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    fixture::wave()
        .iter()
        .filter(|row| filter.passes(row, now()))
        .map(|row| row.victim_ip.to_string())
        .collect()
}

#[test]
fn terms_select_what_they_say() {
    let everyone = fixture::wave().len();
    for (text, expected) in [
        ("", everyone),
        ("status:active,escalated", 9),
        ("status:esc", 2),
        ("!status:active,escalated", everyone - 9),
        ("victim:203.0.113.0/24", 6),
        ("victim:203.0.113.1*", 2),
        ("victim:198.51.100.25", 1),
        ("ip:2001:db8::/32", 1),
        ("2001:db8:ac::53", 1),
        ("ipv6", 1),
        ("vector:udp*", 4),
        ("cust:acme vector:udp*", 3),
        ("bps>1G", 6),
        ("bps>=1.2G bps<2.3G", 3),
        ("ttl<1m", 3),
        ("age>1h", 0),
        ("conf>=.9", 2),
        ("sev>=high", 4),
        ("sev:crit", 2),
        ("action:police", 8),
        ("source:fastnetmon", everyone),
        ("\"globex\"", 3),
        ("!\"globex\"", everyone - 3),
        ("ntp 192.0.2.101", 1),
        ("pending", 1),
        ("ending", 1),
    ] {
        assert_eq!(pass(text).len(), expected, "{text}: {:?}", pass(text));
    }
}

#[test]
fn what_a_person_acknowledged_is_told_apart() {
    let mut rows = fixture::wave();
    rows[1].acknowledged_at = Some(now());
    let passing = |text: &str| {
        let filter = Filter::parse(text).unwrap();
        let passes = rows.iter().filter(|row| filter.passes(row, now()));
        passes.map(|row| row.mitigation_id).collect::<Vec<_>>()
    };
    assert_eq!(passing("acked"), [rows[1].mitigation_id]);
    assert_eq!(passing("!acked").len(), rows.len() - 1);
}

#[test]
fn what_cannot_be_read_says_what_can() {
    for (text, part) in [
        ("colour:red", "known: status"),
        ("status:activ3", "pending"),
        ("bps>fast", "1.2G"),
        ("bps:1G", "bps>1G"),
        ("ttl<soon", "1h30m"),
        ("cust>5", "can: bps"),
        ("status:", "needs a value"),
        ("\"open", "missing"),
    ] {
        let error = Filter::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn only_filters_that_could_show_ended_ones_ask_for_them() {
    for (text, wants) in [
        (DEFAULT, false),
        ("", true),
        ("status:withdrawn", true),
        ("!status:withdrawn", true),
        ("status:pending cust:acme", false),
        ("cust:acme", true),
    ] {
        assert_eq!(Filter::parse(text).unwrap().wants_ended(), wants, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        if let Ok(filter) = Filter::parse(&text) {
            for row in fixture::wave() {
                filter.passes(&row, now());
            }
        }
    }

    #[test]
    fn a_term_and_its_inversion_part_the_rows(field in proptest::sample::select(vec!["status:a*", "bps>1G", "cust:acme", "udp", "ttl<2m", "victim:203.0.113.0/24"])) {
        let both = pass(field).len() + pass(&format!("!{field}")).len();
        proptest::prop_assert_eq!(both, fixture::wave().len());
    }
}
