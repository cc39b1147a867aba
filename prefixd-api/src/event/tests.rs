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

#[test]
fn unknown_outcomes_are_kept() {
    let outcome: EventOutcome = serde_json::from_str("\"deferred\"").unwrap();
    assert_eq!(outcome, EventOutcome::Other("deferred".into()));
    assert_eq!(serde_json::to_string(&outcome).unwrap(), "\"deferred\"");
}
