use super::*;
use prefixd_api::event::StoredEvent;
use prefixd_api::mitigation::Mitigation;
use serde_json::Value;

const NOW: &str = "2026-01-18T10:31:00Z";

fn view() -> View {
    View {
        now: NOW.parse().unwrap(),
        zone: Zone::Utc,
    }
}

fn mitigation(end: &str, changes: Value) -> Mitigation {
    let mut m: Value = serde_json::from_str(include_str!("../../tests/data/mitigation.json")).unwrap();
    m["mitigation_id"] = format!("0199a8b2-7c31-7e55-8a4d-2f6b{end}").into();
    for (field, value) in changes.as_object().unwrap() {
        m[field] = value.clone();
    }
    serde_json::from_value(m).unwrap()
}

fn mitigations() -> Vec<Mitigation> {
    vec![
        mitigation("9c01d3e4", json!({})),
        mitigation(
            "9c01d3e5",
            json!({
                "status": "escalated", "victim_ip": "2001:db8:0:1::5", "vector": "dns_amplification",
                "action_type": "discard", "rate_bps": null, "expires_at": "2026-01-18T10:31:48Z",
                "severity": "critical", "delivery": {"established": 2, "advertised": 1, "unsupported": 1},
                "observed": {"bps": 16_400_000_000_u64, "pps": null}, "confidence": null
            }),
        ),
        mitigation(
            "9c01d3e6",
            json!({
                "status": "withdrawn", "vector": "\u{1b}[2Jevil\u{202e}", "customer_id": "=HYPERLINK(1)",
                "ended_at": "2026-01-18T10:20:00Z", "ended_by": "uid:1000(anna)", "end_reason": "operator",
                "severity": "low", "observed": {"bps": 0, "pps": 0}
            }),
        ),
        mitigation(
            "9c01d3e7",
            json!({"enforced": false, "delivery": null, "customer_id": null}),
        ),
        mitigation(
            "9c01d3e8",
            json!({"ending_since": "2026-01-18T10:30:40Z", "ends_at": "2026-01-18T10:31:40Z"}),
        ),
    ]
}

fn shown(format: Format, width: Option<usize>) -> String {
    Output::for_test(format, width)
        .table(&mitigations(), view())
        .unwrap()
}

#[test]
fn mitigations_at_80_columns() {
    let table = shown(Format::Table, Some(80));
    assert!(
        table
            .lines()
            .all(|line| unicode_width::UnicodeWidthStr::width(line) <= 80),
        "{table}"
    );
    insta::assert_snapshot!(table);
}

#[test]
fn mitigations_at_120_columns() {
    let table = shown(Format::Table, Some(120));
    assert!(
        table
            .lines()
            .all(|line| unicode_width::UnicodeWidthStr::width(line) <= 120),
        "{table}"
    );
    insta::assert_snapshot!(table);
}

#[test]
fn mitigations_wide() {
    insta::assert_snapshot!(shown(Format::Wide, Some(80)));
}

#[test]
fn events_at_80_and_120_columns() {
    let event: StoredEvent = serde_json::from_str(include_str!("../../tests/data/event.json")).unwrap();
    let events = [event];
    let at = |width| {
        Output::for_test(Format::Table, Some(width))
            .table(&events, view())
            .unwrap()
    };
    insta::assert_snapshot!(format!("{}\n{}", at(80), at(120)));
}

#[test]
fn csv_is_raw_and_harmless() {
    let output = Output::for_test(Format::Csv, None);
    let columns = output.chosen::<Mitigation>(|_| true).unwrap();
    let text = csv::render(&columns, &mitigations()[..3], true).unwrap();
    let rows: Vec<_> = text.split("\r\n").collect();
    assert!(rows[0].starts_with("mitigation_id,status,victim_ip,vector,action_type,expires_at,observed.bps"));
    assert!(rows[1].contains(",1200000000,800000,") && rows[1].contains("2026-01-18T10:40:12.000000Z"));
    assert!(rows[1].ends_with("\"fastnetmon reports 1.2 Gbit/s, =bad \"\"quoted\"\"\""));
    assert!(rows[3].contains(",'=HYPERLINK(1),"));
    assert!(rows[3].contains(",\u{fffd}[2Jevil\u{fffd},"), "{}", rows[3]);
    assert_eq!(rows.len(), 5);
}

/// The same to a program, and nothing to a terminal.
#[test]
fn json_and_errors_carry_nothing_that_a_terminal_obeys() {
    let hostile = "\u{1b}[2Ja\u{9b}31m\u{7f}\u{202e}b\u{200b}c\u{e0001}d \"Größe 東京\"\n";
    let mut row = mitigations().remove(0);
    row.vector = hostile.into();
    for text in [line(&row).unwrap(), pretty(&row).unwrap()] {
        assert!(
            !text.trim_end().contains(|c| is_unsafe(c) && c != '\n'),
            "{text:?}"
        );
        assert!(
            text.contains("Größe 東京") && text.contains("\\udb40\\udc01"),
            "{text}"
        );
        let again: Mitigation = serde_json::from_str(&text).unwrap();
        assert_eq!(again.vector, hostile);
    }
}

#[test]
fn columns_are_chosen_by_name() {
    let output = Output {
        columns: vec!["victim_ip".to_owned(), "id".to_owned()],
        ..Output::for_test(Format::Table, Some(10))
    };
    let table = output.table(&mitigations()[..1], view()).unwrap();
    assert_eq!(table, "VICTIM        ID\n203.0.113.10  9c01d3e4\n");
    let wrong = Output {
        columns: vec!["colour".to_owned()],
        ..Output::for_test(Format::Table, None)
    };
    let failure = wrong.table(&mitigations(), view()).unwrap_err().to_string();
    assert!(
        failure.starts_with("\"colour\" is no column; known: mitigation_id, status"),
        "{failure}"
    );
}

#[test]
fn colour_does_not_move_columns() {
    let plain = shown(Format::Table, Some(120));
    let colored = Output {
        colored: true,
        ..Output::for_test(Format::Table, Some(120))
    }
    .table(&mitigations(), view())
    .unwrap();
    assert!(colored.contains("\u{1b}[33mescalated\u{1b}[0m"));
    let stripped = [
        "\u{1b}[0m",
        "\u{1b}[1m",
        "\u{1b}[2m",
        "\u{1b}[31m",
        "\u{1b}[32m",
        "\u{1b}[33m",
    ]
    .iter()
    .fold(colored, |text, code| text.replace(code, ""));
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&stripped), trimmed(&plain));
}
