//! From an event to its UPDATE at a neighbour's socket, one event at a time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lab::http::Client;
use lab::load::{quantile, victim};
use lab::speaker::{Identity, Message, Speaker};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::rig::{ASN, Rig, Store};
use crate::target::Target;
use crate::{Arguments, Figure};

const EVENTS: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(30);

/// An End-of-RIB marker of a family is an UPDATE of ten bytes (RFC 4724 section 2): one empty MP_UNREACH_NLRI.
const END_OF_RIB: usize = 11;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for store in Store::ALL {
        eprintln!("measuring event to UPDATE on {store} ...");
        let listener = TcpListener::bind((IpAddr::V4(lab::net::own_loopback()), 0))
            .await
            .context("listen for BGP")?;
        let rig = Rig::start(arguments, store, listener.local_addr().context("own address")?).await?;
        let (stream, _) = timeout(LIMIT, listener.accept())
            .await
            .context("the daemon does not dial")??;
        let identity = Identity {
            asn: ASN,
            router_id: Ipv4Addr::new(10, 10, 0, 99),
            hold_time_seconds: 30,
        };
        let speaker = timeout(LIMIT, Speaker::open(stream, identity))
            .await
            .context("no session")??;
        let (arrived, mut arrivals) = mpsc::channel(16);
        let reader = tokio::spawn(read(speaker, arrived));
        let mut client = rig.daemon.client().await?;
        let (mut from_sent, mut from_answer) = (Vec::new(), Vec::new());
        for number in 0..EVENTS {
            let (sent, answered) = send(&mut client, number).await?;
            let Some(update) = timeout(LIMIT, arrivals.recv()).await.context("no UPDATE came")? else {
                bail!("the session ended: {:?}", reader.await);
            };
            from_sent.push(update - sent);
            from_answer.push(update.saturating_duration_since(answered));
        }
        reader.abort();
        from_sent.sort_unstable();
        from_answer.sort_unstable();
        figures.push(Figure {
            what: format!("event accepted to UPDATE at a neighbour, {store}"),
            value: format!("p99 {:.2} ms", quantile(&from_answer, 0.99)),
            targets: vec![Target::under(quantile(&from_answer, 0.99), 10.0, "p99 10 ms")],
            detail: format!(
                "{EVENTS} events, one at a time, p50 {:.2}, max {:.2} ms; from the request's first byte p50 {:.2}, p99 {:.2} ms",
                quantile(&from_answer, 0.5),
                quantile(&from_answer, 1.0),
                quantile(&from_sent, 0.5),
                quantile(&from_sent, 0.99),
            ),
        });
    }
    Ok(figures)
}

/// Tells when each UPDATE arrived; answers keepalives with keepalives, so that the session stays.
async fn read(mut speaker: Speaker, arrived: mpsc::Sender<Instant>) -> anyhow::Result<()> {
    loop {
        match speaker.next().await? {
            Message::Update(body) if body.len() > END_OF_RIB => arrived.send(Instant::now()).await?,
            Message::Keepalive => speaker.keepalive().await?,
            Message::Notification(data) => bail!("the daemon sent a NOTIFICATION {data:02x?}"),
            _ => {}
        }
    }
}

async fn send(client: &mut Client, number: usize) -> anyhow::Result<(Instant, Instant)> {
    let event = json!({
        "source": "bench", "event_id": format!("l{number}"), "victim_ip": victim(number as u64), "vector": "udp_flood",
        "bps": 120_000_000, "confidence": 0.95, "top_dst_ports": [27015],
    });
    let sent = Instant::now();
    let (status, answer) = client.json("POST", "/v1/events", Some(&event)).await?;
    let answered = Instant::now();
    if status != 202 || answer["status"] != "accepted" {
        bail!("prefixd answered {status} {answer}");
    }
    Ok((sent, answered))
}
