//! Messages of a neighbour, dumped by the daemon and read back.

use crate::support::{Daemon, Setup, router, wait_for};
use anyhow::Context as _;
use lab::debian::Tool;
use lab::routers::{Kind, RouterConfig};
use prefixd_api::client::Error;
use prefixd_api::peer::{PeerOrder, PeerOrderRequest};
use std::io::Write;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Types of the BGP messages in a dump, with who said each: 4 the router, 7 prefixd (RFC 6396 section 4.4).
fn messages(mut dump: &[u8]) -> Vec<(u8, u8)> {
    let mut messages = Vec::new();
    while dump.len() >= 12 {
        assert_eq!(dump[4..6], [0, 17], "BGP4MP_ET");
        let length = u32::from_be_bytes([dump[8], dump[9], dump[10], dump[11]]) as usize;
        // Microseconds, AS numbers, interface, family, two IPv4 addresses, marker, length.
        if dump[7] != 5 {
            messages.push((dump[7], dump[12 + 4 + 8 + 4 + 8 + 18]));
        }
        dump = &dump[12 + length..];
    }
    messages
}

/// What a reader that is not ours makes of it, as the manual page says to call it.
fn read_by_bgpdump(dump: Vec<u8>) -> anyhow::Result<()> {
    const BGPDUMP: Tool = Tool {
        name: "bgpdump",
        program: "bgpdump",
        package: "bgpdump",
    };
    if !BGPDUMP.available()? {
        return Ok(());
    }
    let mut reader = Command::new(BGPDUMP.find()?)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = reader.stdin.take().context("its input")?;
    // Beside it: it may write more than a pipe holds before it has read everything.
    let writes = std::thread::spawn(move || input.write_all(&dump));
    let output = reader.wait_with_output()?;
    writes
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "TYPE: BGP4MP_ET/MESSAGE_LOCAL/Notify\n",
        "    ERROR CODE  : 6 (Cease)\n",
        "TYPE: BGP4MP_ET/MESSAGE_LOCAL/Open\n",
        "TYPE: BGP4MP_ET/MESSAGE/Open\n",
        "TYPE: BGP4MP_ET/MESSAGE/Keepalive\n",
        "TYPE: BGP4MP_ET/MESSAGE_LOCAL/Update\n",
        "LARGE_COMMUNITY: 65010:8955:1\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    Ok(())
}

/// None while the daemon has another dump of it, which it may not know yet to be over.
fn placed(dumped: Result<(), Error>) -> anyhow::Result<Option<()>> {
    match dumped {
        Err(Error::Problem(problem)) if problem.status == 503 => Ok(None),
        other => Ok(Some(other?)),
    }
}

#[tokio::test]
async fn the_messages_of_a_neighbour_are_dumped() -> anyhow::Result<()> {
    let bird = router!(Kind::Bird, RouterConfig::new(65001, 65010));
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.wait_established(1).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    let live = daemon.live().await?;
    let unknown = daemon
        .client
        .dump_peer("nobody", None, None, |_| ControlFlow::Break(()))
        .await;
    assert!(
        matches!(&unknown, Err(Error::Problem(problem)) if problem.status == 404),
        "{unknown:?}"
    );
    for (seconds, bytes) in [(Some(0), None), (Some(601), None), (None, Some(1023))] {
        let refused = daemon
            .client
            .dump_peer("bird0", seconds, bytes, |_| ControlFlow::Break(()))
            .await;
        assert!(
            matches!(&refused, Err(Error::Problem(problem)) if problem.status == 400),
            "{refused:?}"
        );
    }

    // A session from its OPEN on, until the rule was told again.
    let dump = Mutex::new(Vec::new());
    let is_whole = |dump: &[u8]| {
        let said = messages(dump);
        [(4, 1), (7, 1), (4, 4), (7, 4), (7, 2)]
            .iter()
            .all(|wanted| said.contains(wanted))
    };
    let take = |records: &[u8]| {
        let mut dump = dump.lock().unwrap();
        dump.extend_from_slice(records);
        if is_whole(&dump) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let reset = async {
        wait_for("the dump to have begun", || async {
            let other = daemon
                .client
                .dump_peer("bird0", Some(1), None, |_| ControlFlow::Break(()))
                .await;
            Ok(matches!(&other, Err(Error::Problem(problem)) if problem.status == 503).then_some(()))
        })
        .await?;
        let request = PeerOrderRequest {
            reason: "to see it".to_owned(),
            ..PeerOrderRequest::default()
        };
        daemon
            .client
            .order_peer("bird0", PeerOrder::Reset, &request)
            .await?;
        anyhow::Ok(())
    };
    // The one that looks whether it has begun may be first.
    let whole = wait_for("the dump", || async {
        placed(daemon.client.dump_peer("bird0", Some(60), None, &take).await)
    });
    let (dumped, ordered) = tokio::join!(whole, reset);
    dumped?;
    ordered?;
    assert!(
        is_whole(&dump.lock().unwrap()),
        "{:?}",
        messages(&dump.lock().unwrap())
    );

    let whole = dump.lock().unwrap().clone();
    read_by_bgpdump(whole)?;

    // The bytes are bounded: records come whole or not at all.
    daemon.wait_established(1).await?;
    let counted = Mutex::new(0);
    let count = |records: &[u8]| {
        *counted.lock().unwrap() += records.len();
        ControlFlow::Continue(())
    };
    let small = wait_for("another dump", || async {
        placed(
            daemon
                .client
                .dump_peer("bird0", Some(2), Some(1024), &count)
                .await,
        )
    });
    let (small, ended) = tokio::join!(small, async {
        for live in &live {
            let request = PeerOrderRequest {
                reason: live.vector.to_string(),
                ..PeerOrderRequest::default()
            };
            daemon
                .client
                .order_peer("bird0", PeerOrder::Resend, &request)
                .await?;
        }
        anyhow::Ok(())
    });
    small?;
    ended?;
    assert!(*counted.lock().unwrap() <= 1024);
    Ok(())
}
