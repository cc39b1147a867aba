//! A full table to a real router, against a socket that writes the same bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lab::routers::{Family, Kind, Router, RouterConfig};
use lab::speaker::{Identity, Speaker as Raw};
use prefixd_bgp::{NeighborConfig, Route, Speaker};
use tokio::time::{Instant, sleep};

use crate::peer::{Peer, read};
use crate::{
    ASN, LIMIT, RULES, announce, config, established, is_settled, median, milliseconds, routes, row, until,
};

const RUNS: usize = 5;
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const UPDATE: u8 = 2;

pub(crate) async fn measure() -> anyhow::Result<()> {
    let routes = routes(RULES)?;
    let bytes = recorded(&routes).await?;
    for kind in [Kind::Bird, Kind::Frr] {
        eprintln!("measuring {RULES} rules to {} ...", kind.title());
        let (mut raw, mut ours) = (Vec::new(), Vec::new());
        // By turns, so that both meet the same machine.
        for _ in 0..RUNS {
            raw.push(by_socket(kind, &bytes).await?);
            ours.push(by_speaker(kind, &routes).await?);
        }
        let (raw, ours) = (median(&mut raw), median(&mut ours));
        row(
            &format!("{RULES} rules to {} {}", kind.title(), kind.version()?),
            &milliseconds(ours),
            (
                "1.5 times the socket",
                ours.as_secs_f64() < raw.as_secs_f64() * 1.5,
            ),
            &format!(
                "from the order to the last rule in its table; {:.2} times a socket that writes the same {} kB ({}); medians of {RUNS}",
                ours.as_secs_f64() / raw.as_secs_f64(),
                bytes.len() / 1000,
                milliseconds(raw),
            ),
        );
    }
    Ok(())
}

/// The UPDATEs that the speaker writes for these rules.
async fn recorded(routes: &[Route]) -> anyhow::Result<Vec<u8>> {
    let peer = Peer::bind("record")?;
    let speaker = Speaker::start(config(vec![peer.neighbor()?])?)?;
    speaker.open();
    let record = Arc::new(Mutex::new(Vec::new()));
    let bytes = record.clone();
    let session = peer.session().await?;
    let reader = tokio::spawn(read(session, move |body| {
        let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend([0xFF; 16]);
        bytes.extend((19 + body.len() as u16).to_be_bytes());
        bytes.push(UPDATE);
        bytes.extend(body);
    }));
    established(&speaker, "record").await?;
    speaker.apply(routes.iter().map(announce))?;
    until(&speaker, "a full table", |speaker| is_settled(speaker, "record")).await?;
    // Closed in order: what was written arrives before the end.
    let stop = prefixd_bgp::Stop::Restart { text: String::new() };
    let length = || record.lock().unwrap_or_else(PoisonError::into_inner).len();
    let mut last = 0;
    while last != length() {
        last = length();
        sleep(Duration::from_millis(100)).await;
    }
    reader.abort();
    speaker.shutdown(stop, LIMIT).await;
    let bytes = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(bytes)
}

async fn start(kind: Kind) -> anyhow::Result<Router> {
    Router::start(kind, RouterConfig::new(ASN, ASN)).await
}

async fn by_socket(kind: Kind, bytes: &[u8]) -> anyhow::Result<Duration> {
    let router = start(kind).await?;
    let identity = Identity {
        asn: ASN,
        router_id: Ipv4Addr::new(10, 255, 0, 1),
        hold_time_seconds: 90,
    };
    let mut session = Raw::dial(LOCALHOST, router.address(), identity).await?;
    router.wait_established(LIMIT).await?;
    let begin = Instant::now();
    session.raw(bytes).await?;
    holds_all(&router, begin).await
}

async fn by_speaker(kind: Kind, routes: &[Route]) -> anyhow::Result<Duration> {
    let router = start(kind).await?;
    let neighbor = NeighborConfig {
        port: router.address().port(),
        local_address: Some(LOCALHOST),
        ..NeighborConfig::new("router", router.address().ip(), ASN)
    };
    let speaker = Speaker::start(config(vec![neighbor])?)?;
    speaker.open();
    established(&speaker, "router").await?;
    router.wait_established(LIMIT).await?;
    let begin = Instant::now();
    speaker.apply(routes.iter().map(announce))?;
    holds_all(&router, begin).await
}

async fn holds_all(router: &Router, begin: Instant) -> anyhow::Result<Duration> {
    loop {
        let count = router.count(Family::Ipv4Flow).await?;
        if count >= RULES as usize {
            return Ok(begin.elapsed());
        }
        anyhow::ensure!(
            begin.elapsed() < LIMIT,
            "the router holds {count} of {RULES} rules"
        );
        sleep(Duration::from_millis(2)).await;
    }
}
