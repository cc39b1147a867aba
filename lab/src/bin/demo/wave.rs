//! The attack wave: what detectors report, what prefixd must answer, and what the router must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lab::http::Client;
use lab::routers::{Action, Family, NO_EXPORT, RouterRule};
use serde_json::{Value, json};

use crate::site::Site;

/// The community on every rule of the demo's configuration.
const MARKER: (u32, u32, u32) = (65010, 8955, 1);

/// Time a rule has to reach the router's table, or to leave it once it is withdrawn.
const ROUTER_LIMIT: Duration = Duration::from_secs(10);

const FAMILIES: [Family; 2] = [Family::Ipv4Flow, Family::Ipv6Flow];

/// One thing that happens.
struct Report {
    what: &'static str,
    body: Value,
    /// The HTTP status and the outcome, or the problem's code.
    answer: (u16, &'static str),
    /// Rules the router gains by it, as match and action.
    rules: &'static [(&'static str, Does)],
}

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Discard,
    /// Bits per second.
    Police(u64),
}

fn wave() -> Vec<Report> {
    vec![
        Report {
            what: "fastnetmon: 1.2 Gbit/s of UDP on a game server, ports 3478 and 27015 (27015 is the game's own: left alone)",
            body: json!({
                "source": "fastnetmon", "event_id": "fnm-1", "action": "ban", "victim_ip": "203.0.113.10",
                "vector": "udp_flood", "bps": 1_200_000_000_u64, "pps": 800_000, "confidence": 0.95,
                "top_dst_ports": [3478, 27015],
            }),
            answer: (202, "accepted"),
            rules: &[
                (
                    "dst 203.0.113.10/32 proto =17 dport =3478",
                    Does::Police(5_000_000),
                ),
                (
                    "dst 203.0.113.10/32 proto =17 fragment all:2",
                    Does::Police(5_000_000),
                ),
            ],
        },
        Report {
            what: "sflow-rt: sees the same attack; a second claim on the same mitigation, no second rule",
            body: json!({
                "source": "sflow-rt", "event_id": "srt-1", "action": "ban", "victim_ip": "203.0.113.10",
                "vector": "udp_flood", "bps": 1_150_000_000_u64, "pps": 790_000, "confidence": 0.8,
                "top_dst_ports": [3478],
            }),
            answer: (202, "extended"),
            rules: &[],
        },
        Report {
            what: "fastnetmon: 600 Mbit/s of UDP on the game server's IPv6 address",
            body: json!({
                "source": "fastnetmon", "event_id": "fnm-2", "action": "ban", "victim_ip": "2001:db8:acce::10",
                "vector": "udp_flood", "bps": 600_000_000_u64, "pps": 400_000, "confidence": 0.9,
                "top_dst_ports": [4500],
            }),
            answer: (202, "accepted"),
            rules: &[(
                "dst 2001:db8:acce::10/128 proto =17 dport =4500",
                Does::Police(5_000_000),
            )],
        },
        Report {
            what: "sflow-rt: SYN flood on the web shop, port 8443, which it does not offer",
            body: json!({
                "source": "sflow-rt", "event_id": "srt-2", "action": "ban", "victim_ip": "203.0.113.80",
                "vector": "syn_flood", "bps": 300_000_000_u64, "pps": 600_000, "confidence": 0.9,
                "top_dst_ports": [8443],
            }),
            answer: (202, "accepted"),
            rules: &[(
                "dst 203.0.113.80/32 proto =6 dport =8443 tcp-flags all:2&none:16",
                Does::Discard,
            )],
        },
        Report {
            what: "fastnetmon: NTP amplification on a customer's host",
            body: json!({
                "source": "fastnetmon", "event_id": "fnm-3", "action": "ban", "victim_ip": "203.0.113.45",
                "vector": "ntp_amplification", "bps": 900_000_000_u64, "pps": 240_000, "confidence": 0.9,
            }),
            answer: (202, "accepted"),
            rules: &[(
                "dst 203.0.113.45/32 proto =17 sport =123 length >=100",
                Does::Discard,
            )],
        },
        Report {
            what: "sflow-rt: ping flood on the web shop's IPv6 address",
            body: json!({
                "source": "sflow-rt", "event_id": "srt-3", "action": "ban", "victim_ip": "2001:db8:acce::80",
                "vector": "icmp_flood", "bps": 200_000_000_u64, "pps": 350_000, "confidence": 0.85,
            }),
            answer: (202, "accepted"),
            rules: &[(
                "dst 2001:db8:acce::80/128 proto =58 icmp-type =128,=129",
                Does::Discard,
            )],
        },
        Report {
            what: "sflow-rt: a false positive: 203.0.113.1 is a router of ours, on the safelist",
            body: json!({
                "source": "sflow-rt", "event_id": "srt-4", "action": "ban", "victim_ip": "203.0.113.1",
                "vector": "udp_flood", "bps": 2_000_000_000_u64, "pps": 900_000, "confidence": 0.99,
                "top_dst_ports": [179],
            }),
            answer: (422, "guardrail.safelist"),
            rules: &[],
        },
        Report {
            what: "fastnetmon: the attack on the game server is over; but sflow-rt still sees it",
            body: unban("fastnetmon", "fnm-1", "203.0.113.10", "udp_flood"),
            answer: (202, "claim_cleared"),
            rules: &[],
        },
    ]
}

fn unban(source: &str, event_id: &str, victim: &str, vector: &str) -> Value {
    json!({ "source": source, "event_id": event_id, "action": "unban", "victim_ip": victim, "vector": vector })
}

/// The wave for somebody who watches the console; the last unban takes one mitigation away, the others stay.
pub(crate) async fn for_console(site: &Site, pace: Duration) -> anyhow::Result<()> {
    let mut client = site.client().await?;
    for report in wave() {
        tokio::time::sleep(pace).await;
        send(&mut client, &report.body, report.answer).await?;
    }
    tokio::time::sleep(pace).await;
    send(
        &mut client,
        &unban("sflow-rt", "srt-1", "203.0.113.10", "udp_flood"),
        (202, "ending"),
    )
    .await?;
    Ok(())
}

/// The wave told and checked: after every step the router must hold exactly the rules it should.
pub(crate) async fn plain(site: Site) -> anyhow::Result<()> {
    let mut client = site.client().await?;
    let mut expected = BTreeSet::new();
    show_table(&site, "before the attacks").await?;
    holds(&site, &expected).await?;

    for report in wave() {
        println!("\n{}", report.what);
        let answer = send(&mut client, &report.body, report.answer).await?;
        println!("  prefixd: {answer}");
        expected.extend(report.rules.iter().map(|(text, does)| line(text, *does)));
        for (text, does) in report.rules {
            println!("  rule: {}", line(text, *does));
        }
        holds(&site, &expected).await?;
        println!("  the router holds {} rules, the right ones", expected.len());
    }
    show_table(&site, "during the attacks").await?;

    println!("\nsflow-rt: does not see the attack on the game server any more either");
    end(
        &mut client,
        unban("sflow-rt", "srt-1", "203.0.113.10", "udp_flood"),
    )
    .await?;
    expected.retain(|rule| !rule.starts_with("dst 203.0.113.10/32"));
    holds(&site, &expected).await?;
    println!(
        "  after the hold-down the router has let those rules go and kept the other {}",
        expected.len()
    );

    println!("\nAn operator withdraws the mitigation of the web shop's IPv4 address");
    withdraw(&mut client, "203.0.113.80").await?;
    expected.retain(|rule| !rule.starts_with("dst 203.0.113.80/32"));
    holds(&site, &expected).await?;
    println!(
        "  the router has let its rule go and kept the other {}",
        expected.len()
    );

    println!("\nThe other attacks end");
    for (source, event_id, victim, vector) in [
        ("fastnetmon", "fnm-2", "2001:db8:acce::10", "udp_flood"),
        ("fastnetmon", "fnm-3", "203.0.113.45", "ntp_amplification"),
        ("sflow-rt", "srt-3", "2001:db8:acce::80", "icmp_flood"),
    ] {
        end(&mut client, unban(source, event_id, victim, vector)).await?;
    }
    expected.clear();
    holds(&site, &expected).await?;
    show_table(&site, "after the attacks").await?;

    drop(client);
    site.stop().await?;
    println!("\nThe router held the right rules at every step and let them go. Everything is stopped.");
    Ok(())
}

async fn end(client: &mut Client, body: Value) -> anyhow::Result<()> {
    let answer = send(client, &body, (202, "ending")).await?;
    println!("  prefixd: {answer}");
    Ok(())
}

/// Sends an event and answers prefixd's own sentence about it.
async fn send(client: &mut Client, body: &Value, expected: (u16, &str)) -> anyhow::Result<String> {
    let (status, answer) = client.json("POST", "/v1/events", Some(body)).await?;
    let outcome = answer["code"]
        .as_str()
        .or(answer["status"].as_str())
        .unwrap_or("nothing");
    ensure!(
        (status, outcome) == expected,
        "prefixd answered {status} {outcome} instead of {} {} to {body}: {answer}",
        expected.0,
        expected.1
    );
    let sentence = answer["detail"]
        .as_str()
        .or(answer["reason"].as_str())
        .unwrap_or_default();
    Ok(format!("{outcome}: {sentence}"))
}

async fn withdraw(client: &mut Client, victim: &str) -> anyhow::Result<()> {
    let path = format!("/v1/mitigations?status=active&victim_ip={victim}");
    let (status, list) = client.json("GET", &path, None).await?;
    let id = list["mitigations"][0]["mitigation_id"].as_str();
    let id = id.with_context(|| format!("no active mitigation of {victim}: {status} {list}"))?;
    let body = json!({ "reason": "the customer moved the shop", "suppress_seconds": 900 });
    let (status, answer) = client
        .json("POST", &format!("/v1/mitigations/{id}/withdraw"), Some(&body))
        .await?;
    ensure!(status == 200, "prefixd answered {status} to a withdraw: {answer}");
    Ok(())
}

/// Waits until the router's own tables hold exactly these rules, each with the marker and NO_EXPORT.
async fn holds(site: &Site, expected: &BTreeSet<String>) -> anyhow::Result<()> {
    for family in FAMILIES {
        let wanted = expected
            .iter()
            .filter(|rule| rule.contains("2001:db8:") == (family == Family::Ipv6Flow));
        let wanted = wanted.map(String::as_str).collect::<BTreeSet<_>>();
        let matches = |rules: &[RouterRule]| {
            let held = rules.iter().map(shown).collect::<BTreeSet<_>>();
            held.len() == rules.len() && held.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted
        };
        let rules = site
            .router
            .wait_rules(family, matches, ROUTER_LIMIT)
            .await
            .with_context(|| {
                let wanted = wanted
                    .iter()
                    .map(|rule| format!("\n  {rule}"))
                    .collect::<String>();
                format!("the router must hold:{wanted}")
            })?;
        for rule in &rules {
            if !rule.has_large_community(MARKER) || !rule.has_community(NO_EXPORT) {
                bail!("a rule without the marker and NO_EXPORT: {rule}");
            }
        }
    }
    Ok(())
}

/// A rule of the router as match and action, in the words of [`line()`].
fn shown(rule: &RouterRule) -> String {
    let mut actions = rule.actions.iter();
    match (actions.next(), actions.next()) {
        (Some(Action::Discard), None) => line(&rule.matches.to_string(), Does::Discard),
        // The wire has bytes per second as a float; these rates are exact in it.
        (Some(Action::Police(bytes)), None) => line(
            &rule.matches.to_string(),
            Does::Police((f64::from(bytes.0) * 8.0) as u64),
        ),
        _ => rule.to_string(),
    }
}

fn line(text: &str, does: Does) -> String {
    match does {
        Does::Discard => format!("{text} then discard"),
        Does::Police(bits) => format!("{text} then police {} Mbit/s", bits as f64 / 1e6),
    }
}

async fn show_table(site: &Site, when: &str) -> anyhow::Result<()> {
    println!("\nThe router's own tables {when} (birdc show route all):");
    for family in FAMILIES {
        for text in site
            .router
            .table_text(family)
            .await?
            .lines()
            .filter(|text| !text.trim().is_empty())
        {
            println!("  | {text}");
        }
    }
    Ok(())
}
