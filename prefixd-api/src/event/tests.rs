use super::*;

fn request(change: impl FnOnce(&mut EventRequest)) -> EventRequest {
    let mut request = EventRequest {
        source: "fastnetmon".into(),
        victim_ip: "203.0.113.10".into(),
        vector: "udp_flood".into(),
        ..EventRequest::default()
    };
    change(&mut request);
    request
}

#[test]
fn every_bad_field_is_named() {
    let errors = Event::try_from(request(|r| {
        r.bps = Some(-1);
        r.confidence = Some(77.0);
        r.top_dst_ports = vec![1; MAX_EVENT_PORTS + 1];
        r.victim_ip = "0.0.0.0".into();
    }))
    .unwrap_err();
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["victim_ip", "bps", "confidence", "top_dst_ports"]);
}

#[test]
fn nan_is_no_confidence() {
    assert!(Event::try_from(request(|r| r.confidence = Some(f64::NAN))).is_err());
}

#[test]
fn control_characters_are_no_name() {
    assert!(Event::try_from(request(|r| r.source = "a\u{1b}[2J".into())).is_err());
    assert!(Event::try_from(request(|r| r.vector = String::new())).is_err());
}

/// What a POP offers is reported by its daemon alone.
#[test]
fn nobody_reports_as_a_pop() {
    let errors = Event::try_from(request(|r| r.source = source_of_pop("iad1"))).unwrap_err();
    assert_eq!(errors[0].field, "source");
    assert_eq!(pop_of_source(&source_of_pop("iad1")), Some("iad1"));
    assert!(Event::try_from(request(|r| r.source = "pop".into())).is_ok());
}

#[test]
fn details_are_bounded() {
    let with = |json: String| Event::try_from(request(|r| r.raw_details = RawValue::from_string(json).ok()));
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(with(nested(MAX_DETAILS_DEPTH)).is_ok());
    assert!(
        with(format!("{{\"text\": \"\\\"{}\"}}", "[".repeat(100))).is_ok(),
        "brackets in text are text"
    );
    for json in [
        nested(MAX_DETAILS_DEPTH + 1),
        format!("\"{}\"", "x".repeat(MAX_DETAILS_BYTES)),
    ] {
        let errors = with(json).unwrap_err();
        assert_eq!(errors[0].field, "raw_details");
    }
}

#[test]
fn unknown_outcomes_are_kept() {
    let outcome: EventOutcome = serde_json::from_str("\"deferred\"").unwrap();
    assert_eq!(outcome, EventOutcome::Other("deferred".into()));
    assert_eq!(serde_json::to_string(&outcome).unwrap(), "\"deferred\"");
}
