//! Clients that do not speak HTTP as they should: each is answered or cut off in time, and the others go on.

use crate::support::{Daemon, PATIENCE, Setup};
use anyhow::Context;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A head, a body: each has this long to arrive.
const TIME: Duration = Duration::from_secs(15);

/// Sends bytes, and answers everything that comes until the daemon closes, and when that was.
async fn spoken(daemon: &Daemon, bytes: &[u8], ends: bool) -> anyhow::Result<(String, Duration)> {
    // The daemon counts from when it accepts, which may be before this side hears of it.
    let began = Instant::now();
    let mut stream = TcpStream::connect(daemon.address).await?;
    // The daemon may have cut it off before all is written.
    let _ = stream.write_all(bytes).await;
    if ends {
        stream.shutdown().await.ok();
    }
    let mut answer = Vec::new();
    // A reset ends it as well as a close.
    let _ = tokio::time::timeout(TIME + PATIENCE, stream.read_to_end(&mut answer))
        .await
        .with_context(|| format!("{:?} is kept for ever", String::from_utf8_lossy(bytes)))?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), began.elapsed()))
}

const POST: &str = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_at_once() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::default(), &[]).await?;
    let noise: Vec<u8> = (0..10_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "x".repeat(1_000_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        "a: b\r\n".repeat(10_000)
    );
    let cases: [(&str, Vec<u8>, &[&str]); 9] = [
        ("noise", noise, &["400", ""]),
        (
            "a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
            &["400", ""],
        ),
        ("an endless path", long.into_bytes(), &["414", "431", ""]),
        ("endless heads", many.into_bytes(), &["431", ""]),
        (
            "another version",
            b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            &["400", "505", ""],
        ),
        (
            "no length that is a number",
            format!("{POST}content-length: many\r\n\r\n{{}}").into_bytes(),
            &["400", ""],
        ),
        (
            "a negative length",
            format!("{POST}content-length: -1\r\n\r\n{{}}").into_bytes(),
            &["400", ""],
        ),
        (
            "two lengths",
            format!("{POST}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}").into_bytes(),
            &["400", ""],
        ),
        (
            "a chunk of no size",
            format!("{POST}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
            &["400"],
        ),
    ];
    for (what, bytes, statuses) in cases {
        let (answer, took) = spoken(&daemon, &bytes, true).await.context(what)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{what}: {answer}");
        assert!(took < TIME, "{what}: {took:?}");
        assert!(daemon.ban("203.0.113.10", 27015).await.is_ok(), "{what}");
    }
    // Less than was announced, and then the end.
    let (answer, _) = spoken(
        &daemon,
        format!("{POST}content-length: 100\r\n\r\n{{}}").as_bytes(),
        true,
    )
    .await?;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    assert!(
        daemon.lives()? && !daemon.log().contains("panicked"),
        "{}",
        daemon.log()
    );
    Ok(())
}

#[tokio::test]
async fn a_head_or_a_body_that_does_not_come_is_waited_for_no_longer_than_it_may() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let body = format!("{POST}content-length: 100\r\n\r\n{{\"source\":");
    let (head, body, nothing) = tokio::join!(
        spoken(&daemon, b"GET /v1/stats HTTP/1.1\r\nhost: local", false),
        spoken(&daemon, body.as_bytes(), false),
        spoken(&daemon, b"", false),
    );
    let (answer, took) = body?;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not arrive within 15 s"),
        "{answer}"
    );
    assert!(took >= TIME, "{took:?}");
    for (answer, took) in [head?, nothing?] {
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
        assert!(took >= TIME, "{took:?}");
    }
    Ok(())
}
