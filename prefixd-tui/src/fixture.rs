//! A small wave of attacks for tests and snapshots.

use crate::app::{App, Settings};
use crate::event::{Answer, Event, Failure, Now, Page};
use crate::glyphs::Glyphs;
use crate::theme::{Depth, Theme};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prefixd_api::mitigation::{Mitigation, MitigationDetail};
use prefixd_api::resource::{HealthDetail, Mode, Peer, Stats};
use prefixd_api::role::Role;
use prefixd_api::show::Zone;
use prefixd_api::time::Timestamp;
use prefixd_api::why::Why;
use ratatui::layout::Rect;
use serde_json::{Value, json};
use std::time::Duration;

/// A console in a test: the state, and a clock that only the test moves.
pub(crate) struct Console {
    pub(crate) app: App,
    uptime: Duration,
}

impl Console {
    /// Without contact yet.
    pub(crate) fn new(width: u16, height: u16) -> Self {
        let settings = Settings {
            theme: Theme::Dark(Depth::True),
            glyphs: Glyphs::Unicode,
            readonly: false,
            api: "unix:/run/prefixd/prefixd.sock".to_owned(),
            mouse: true,
            absolute_times: false,
            zone: Zone::Utc,
        };
        let uptime = Duration::from_secs(10);
        let mut app = App::new(
            settings,
            Now { uptime, wall: now() },
            Rect::new(0, 0, width, height),
        );
        app.start();
        Self { app, uptime }
    }

    /// In contact, as an operator, with the wave.
    pub(crate) fn live(width: u16, height: u16) -> Self {
        Self::live_with(width, height, Role::Operator, wave())
    }

    pub(crate) fn live_with(width: u16, height: u16, role: Role, rows: Vec<Mitigation>) -> Self {
        let mut console = Self::new(width, height);
        console.connect(role, rows);
        console
    }

    /// Everything the daemon answers to a console that starts.
    pub(crate) fn connect(&mut self, role: Role, rows: Vec<Mitigation>) {
        self.happens(Event::FeedUp {
            resumed: true,
            server_time: self.wall(),
            pop: "iad1".to_owned(),
            mode: Mode::Enforced,
            role,
        });
        self.answers(Answer::Health(Ok(Box::new(health(role, self.wall())))));
        self.answers(Answer::Stats(Ok(Box::new(stats()))));
        self.answers(Answer::Peers(Ok(peers())));
        self.answers(Answer::Live {
            round: 0,
            result: Ok(Page {
                mitigations: rows,
                more: false,
            }),
        });
        self.app.settle();
    }

    fn wall(&self) -> Timestamp {
        now().saturating_add(self.uptime.saturating_sub(Duration::from_secs(10)))
    }

    pub(crate) fn happens(&mut self, event: Event) -> Vec<crate::event::Effect> {
        let now = Now {
            uptime: self.uptime,
            wall: self.wall(),
        };
        self.app.update(event, now)
    }

    pub(crate) fn answers(&mut self, answer: Answer) -> Vec<crate::event::Effect> {
        self.happens(Event::Answer(answer))
    }

    /// Time passes; nothing happens.
    pub(crate) fn wait(&mut self, milliseconds: u64) {
        self.uptime += Duration::from_millis(milliseconds);
    }

    /// A frame reaches the terminal.
    pub(crate) fn drawn(&mut self) {
        self.app.settle();
        self.happens(Event::Drawn);
    }

    /// Keys, written as in the table, separated by spaces; text between apostrophes is typed.
    pub(crate) fn keys(&mut self, keys: &str) -> Vec<crate::event::Effect> {
        let mut effects = Vec::new();
        // Between apostrophes is text.
        for (index, part) in keys.split('\'').enumerate() {
            if index % 2 == 1 {
                for letter in part.chars() {
                    effects.extend(self.key(KeyCode::Char(letter), KeyModifiers::NONE));
                }
            } else {
                for key in part.split_whitespace() {
                    effects.extend(self.written(key));
                }
            }
        }
        self.app.settle();
        effects
    }

    fn written(&mut self, key: &str) -> Vec<crate::event::Effect> {
        let (code, modifiers) = match key {
            "Enter" => (KeyCode::Enter, KeyModifiers::NONE),
            "Esc" => (KeyCode::Esc, KeyModifiers::NONE),
            "Tab" => (KeyCode::Tab, KeyModifiers::NONE),
            "Space" => (KeyCode::Char(' '), KeyModifiers::NONE),
            "Down" => (KeyCode::Down, KeyModifiers::NONE),
            "F1" => (KeyCode::F(1), KeyModifiers::NONE),
            "F2" => (KeyCode::F(2), KeyModifiers::NONE),
            "F4" => (KeyCode::F(4), KeyModifiers::NONE),
            _ => match key.strip_prefix("Ctrl-") {
                Some(letter) => (
                    KeyCode::Char(letter.to_ascii_lowercase().chars().next().unwrap()),
                    KeyModifiers::CONTROL,
                ),
                None => (KeyCode::Char(key.chars().next().unwrap()), KeyModifiers::NONE),
            },
        };
        self.key(code, modifiers)
    }

    pub(crate) fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) -> Vec<crate::event::Effect> {
        self.happens(Event::Key(KeyEvent::new(code, modifiers)))
    }

    /// The daemon goes away: the feed breaks and requests fail.
    pub(crate) fn lose_contact(&mut self) {
        self.happens(Event::FeedLost("connection closed".to_owned()));
        let failure = Failure::NotSent("Connection refused".to_owned());
        self.answers(Answer::Health(Err(failure)));
    }

    pub(crate) fn screen(&mut self) -> String {
        crate::terminal::plain(&self.buffer()).join("\n")
    }

    pub(crate) fn buffer(&mut self) -> ratatui::buffer::Buffer {
        self.app.now = Now {
            uptime: self.uptime,
            wall: self.wall(),
        };
        self.app.settle();
        let mut buffer = ratatui::buffer::Buffer::empty(self.app.area);
        crate::view::draw(&self.app, &mut buffer);
        buffer
    }
}

pub(crate) fn health(role: Role, at: Timestamp) -> HealthDetail {
    serde_json::from_value(json!({
        "status": "degraded", "reasons": ["the session with edge3 is idle"], "version": "0.1.0", "pop": "iad1", "mode": "enforced", "now": at,
        "started_at": ago(90_000), "store": {"backend": "sqlite", "ok": true, "failing_since": null, "owed": 0},
        "engine": {"queue": {"used": 0, "max": 4096}, "head": 812}, "peers_established": 2, "peers_total": 3,
        "active": 9, "rules": {"intended": 9, "announced": 9}, "drift_total": 0, "role": role,
    }))
    .unwrap()
}

pub(crate) fn stats() -> Stats {
    serde_json::from_value(json!({
        "pop": "iad1", "at": now(), "active": 9, "escalated": 2, "ending": 1, "pending": 1,
        "by_vector": {"udp_flood": 3, "syn_flood": 2, "ntp_amplification": 2, "dns_amplification": 1, "icmp_flood": 1},
        "by_action": {"discard": 4, "police": 5},
        "by_severity": {"critical": 2, "high": 2, "medium": 4, "low": 1},
        "by_customer": {"acme": {"used": 5, "max": 5}, "globex": {"used": 2, "max": 20}, "initech": {"used": 2, "max": 50}},
        "quota_pop": {"used": 9, "max": 200}, "quota_global": {"used": 137, "max": 500},
        "new_per_minute": {"used": 29, "max": 30}, "events_per_minute": 2_520,
        "events_by_outcome": {"accepted": 12, "extended": 12_811, "rejected_guardrail": 23, "accepted_pending": 1},
        "rules": {"intended": 9, "announced": 9},
    }))
    .unwrap()
}

pub(crate) fn peers() -> Vec<Peer> {
    ["edge1", "edge2", "edge3"]
        .into_iter()
        .map(|name| {
            let up = name != "edge3";
            serde_json::from_value(json!({
                "name": name, "address": "192.0.2.1", "peer_asn": 64_500,
                "state": if up { "established" } else { "idle" }, "since": ago(if up { 187_200 } else { 372 }),
                "router_id": null, "hold_time_seconds": 90, "families": [], "capabilities": [], "enforce": true,
                "rules_desired": 9, "rules_advertised": if up { 9 } else { 0 }, "rules_queued": 0,
                "on_loss": up.then(|| json!({"keeps_seconds": if name == "edge2" { 120 } else { 0 }, "because": "agreed"})),
                "rules_unsupported": 0, "established_total": 1, "flaps": 0, "counters": {}, "last_error": null,
                "last_error_at": null,
            }))
            .unwrap()
        })
        .collect()
}

/// What the daemon says about one of the wave.
pub(crate) fn detail(row: &Mitigation) -> MitigationDetail {
    let mut value = serde_json::to_value(row).unwrap();
    let address = row.victim_ip.to_string();
    value["previews"] = json!([{
        "text": row.rules[0].to_string(), "nlri": "0f0120c63364190381060501509101bb",
        "junos": format!("route prefixd-1 {{\n    match {{\n        destination {address}/32;\n        protocol tcp;\n    }}\n    then discard;\n}}"),
        "iosxr": format!("class-map type traffic match-all prefixd-1\n match destination-address ipv4 {address} 255.255.255.255\n end-class-map"),
    }]);
    value["announcements"] = json!([
        {"neighbor": "edge1", "rule": "dst 198.51.100.25/32 proto tcp dport 8080-9010 then police 5 Mbit/s", "nlri": null,
         "original": row.rules[0].to_string(), "form": "widened", "part": 1, "parts": 1, "state": "advertised", "reason": null,
         "warning": "dport 8080,9000-9010 widened to 8080-9010"},
        {"neighbor": "edge2", "rule": row.rules[0].to_string(), "nlri": null, "state": "refused",
         "reason": "the router takes no packet length"},
        {"neighbor": "edge3", "rule": row.rules[0].to_string(), "nlri": null, "state": "session_down", "reason": null},
    ]);
    value["customer_name"] = json!("Globex Inc");
    value["service_name"] = Value::Null;
    value["timeline"] = json!([
        {"seq": 801, "at": ago(552), "actor": "token:fastnetmon", "kind": "mitigation.created", "body": {}},
        {"seq": 805, "at": ago(300), "actor": "token:fastnetmon", "kind": "mitigation.updated",
         "body": {"revision": 2, "expires_at": ahead(48), "claims": []}},
        {"seq": 809, "at": ago(240), "actor": "engine", "kind": "mitigation.escalated",
         "body": {"revision": 3, "step": 2, "action_type": "discard"}},
    ]);
    serde_json::from_value(value).unwrap()
}

pub(crate) fn why() -> Why {
    let step = |stage: &str, verdict: &str, text: &str| json!({"stage": stage, "code": stage, "verdict": verdict, "text": text});
    serde_json::from_value(json!({
        "decided_at": ago(552), "outcome": "accepted",
        "summary": "fastnetmon reports syn_flood with confidence 0.91: discard by step 1 of syn_flood_first",
        "steps": [
            step("claim", "noted", "claim fastnetmon/fnm-2, first report, confidence 0.91"),
            step("owner", "passed", "198.51.100.25 belongs to globex, service web (tcp 80,443 allowed)"),
            step("playbook", "noted", "syn_flood_first, step 1: discard for 300 s"),
            step("template", "adjusted", "ports 80 and 443 are allowed ports of the service and are kept out: 8080,9000-9010 are left"),
            step("guardrail", "passed", "safelist: 198.51.100.25 overlaps none of 14 entries"),
            step("guardrail", "passed", "quota_customer: 2 of 20"),
        ],
    }))
    .unwrap()
}

/// The daemon's clock in tests.
pub(crate) fn now() -> Timestamp {
    "2026-11-23T14:32:07Z".parse().unwrap()
}

/// Twelve mitigations, most severe first: nine announced, one pending, two ended.
pub(crate) fn wave() -> Vec<Mitigation> {
    // victim, vector, action, rate, customer, severity, status, bps, pps, age, ttl
    let rows = [
        (
            "203.0.113.10",
            "udp_flood",
            None,
            "acme",
            "critical",
            "escalated",
            8_410_000_000_u64,
            1_920_000_u64,
            724,
            245,
        ),
        (
            "203.0.113.11",
            "udp_flood",
            None,
            "acme",
            "critical",
            "escalated",
            6_020_000_000,
            1_310_000,
            700,
            271,
        ),
        (
            "198.51.100.25",
            "syn_flood",
            None,
            "globex",
            "high",
            "active",
            2_200_000_000,
            3_100_000,
            552,
            48,
        ),
        (
            "2001:db8:ac::53",
            "dns_amplification",
            None,
            "acme",
            "high",
            "active",
            1_940_000_000,
            410_000,
            535,
            365,
        ),
        (
            "192.0.2.100",
            "ntp_amplification",
            Some(10_000_000),
            "initech",
            "medium",
            "active",
            1_200_000_000,
            800_000,
            2_650,
            230,
        ),
        (
            "192.0.2.101",
            "ntp_amplification",
            Some(10_000_000),
            "initech",
            "medium",
            "active",
            1_110_000_000,
            770_000,
            2_638,
            230,
        ),
        (
            "203.0.113.20",
            "syn_flood",
            Some(10_000_000),
            "acme",
            "medium",
            "active",
            920_000_000,
            1_440_000,
            380,
            100,
        ),
        (
            "203.0.113.77",
            "udp_flood",
            Some(5_000_000),
            "acme",
            "medium",
            "active",
            610_000_000,
            220_000,
            122,
            58,
        ),
        (
            "198.51.100.9",
            "icmp_flood",
            Some(1_000_000),
            "globex",
            "low",
            "active",
            400_000_000,
            660_000,
            72,
            288,
        ),
        (
            "198.51.100.31",
            "udp_flood",
            Some(5_000_000),
            "globex",
            "low",
            "pending",
            0,
            0,
            2,
            120,
        ),
        (
            "203.0.113.60",
            "syn_flood",
            Some(5_000_000),
            "acme",
            "low",
            "withdrawn",
            120_000_000,
            90_000,
            900,
            0,
        ),
        (
            "203.0.113.61",
            "syn_flood",
            Some(5_000_000),
            "acme",
            "low",
            "expired",
            110_000_000,
            80_000,
            1_200,
            0,
        ),
    ];
    rows.into_iter()
        .enumerate()
        .map(|(index, (victim, vector, rate, customer, severity, status, bps, pps, age, ttl))| {
            let mut value = json!({
                "mitigation_id": format!("019ab000-0000-7000-8000-0000000000{index:02}"),
                "revision": 3, "status": status, "customer_id": customer, "service_id": "web", "pop": "iad1",
                "victim_ip": victim, "vector": vector, "action_type": "discard", "rate_bps": rate,
                "rules": [rule(victim, vector, rate)],
                "claims": [claim(age, index)], "ending_since": null, "ends_at": null, "enforced": true,
                "external_ref": null, "observed": {"bps": bps, "pps": pps}, "previous_id": null,
            });
            let more = json!({
                "playbook": format!("{vector}_first"), "step": if status == "escalated" { 2 } else { 1 },
                "confidence": if index < 2 { 0.94 } else { 0.71 }, "severity": severity,
                "created_at": ago(age), "updated_at": ago(age / 2), "expires_at": ahead(ttl), "ttl_seconds": 300,
                "advertised_at": ago(age), "evidence_since": null, "evidence_at": null, "ended_at": null,
                "ended_by": null, "end_reason": null, "end_note": null,
                "origin": {"kind": "event", "actor": "token:fastnetmon"},
                "group_id": format!("019ab000-0000-7000-8000-0000000001{index:02}"),
                "triggering_event_id": null, "last_event_id": null, "acknowledged_at": null,
                "acknowledged_by": null, "delivery": {"established": 2, "advertised": 2, "unsupported": 0},
                "why_summary": format!("{vector} from fastnetmon, confidence 0.71, playbook {vector}_first"),
            });
            if let (Value::Object(all), Value::Object(more)) = (&mut value, more) {
                all.extend(more);
            }
            if rate.is_some() {
                value["action_type"] = json!("police");
            }
            match status {
                "pending" => {
                    value["observed"] = json!({"bps": null, "pps": null});
                    value["delivery"] = Value::Null;
                    value["waits_for"] = json!({"sources": 2, "has_sources": 1, "confidence": null});
                }
                "withdrawn" | "expired" => {
                    value["ended_at"] = json!(ago(60 + index as u64));
                    value["ended_by"] = json!("uid:1000(raj)");
                    value["end_reason"] = json!("operator");
                }
                _ => {}
            }
            if index == 6 {
                value["ending_since"] = json!(ago(20));
                value["ends_at"] = json!(ahead(40));
            }
            serde_json::from_value(value).unwrap()
        })
        .collect()
}

fn rule(victim: &str, vector: &str, rate: Option<u64>) -> Value {
    let length = if victim.contains(':') { 128 } else { 32 };
    let mut matches = json!({"dst_prefix": format!("{victim}/{length}")});
    match vector {
        "syn_flood" => {
            matches["protocols"] = json!([6]);
            matches["dst_ports"] = json!(["8080", "9000-9010"]);
            matches["tcp_flags"] = json!("syn&!ack");
        }
        "icmp_flood" => {
            matches["protocols"] = json!([1]);
            matches["icmp_types"] = json!([0, 8]);
        }
        "ntp_amplification" => {
            matches["protocols"] = json!([17]);
            matches["src_ports"] = json!(["123"]);
            matches["packet_lengths"] = json!(["100-65535"]);
        }
        "dns_amplification" => {
            matches["protocols"] = json!([17]);
            matches["src_ports"] = json!(["53"]);
        }
        _ => {
            matches["protocols"] = json!([17]);
            matches["dst_ports"] = json!(["27015"]);
        }
    }
    match rate {
        Some(rate) => json!({"match": matches, "action_type": "police", "rate_bps": rate}),
        None => json!({"match": matches, "action_type": "discard"}),
    }
}

fn claim(age: u64, index: usize) -> Value {
    json!({"source": "fastnetmon", "event_id": format!("fnm-{index}"), "kind": "event", "since": ago(age),
        "last_report_at": ago(age / 8), "lives_until": null, "confidence": 0.91, "bps": null, "pps": null})
}

fn ago(seconds: u64) -> Timestamp {
    now().saturating_sub(Duration::from_secs(seconds))
}

fn ahead(seconds: u64) -> Timestamp {
    now().saturating_add(Duration::from_secs(seconds))
}
