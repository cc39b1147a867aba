//! Subscribers of the feed that send what they should not: they are cut off, and nobody else notices.

use crate::support::{Daemon, PATIENCE, Setup, wait_for};
use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// As many as may subscribe at once.
const MAX_SUBSCRIBERS: usize = 256;

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const RESERVED: u8 = 0x3;
const PING: u8 = 0x9;
const MASKED: u8 = 0x80;
/// All zeros: the payload is on the wire as it is.
const MASK: [u8; 4] = [0; 4];

/// A frame of RFC 6455 section 5.2.
fn frame(head: u8, mask: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..=125) => frame.push(mask | short as u8),
        Ok(longer) => {
            frame.push(mask | 126);
            frame.extend(longer.to_be_bytes());
        }
        Err(_) => {
            frame.push(mask | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if mask != 0 {
        frame.extend(MASK);
    }
    frame.extend(payload);
    frame
}

/// A connection of which every byte is the test's.
struct Subscriber {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Subscriber {
    /// Asks to subscribe, and reads up to the end of the head of the answer.
    async fn asking(daemon: &Daemon) -> anyhow::Result<(Self, String)> {
        let mut stream = TcpStream::connect(daemon.address).await?;
        let request = format!(
            "GET /v1/ws/feed HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            daemon.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut subscriber = Self {
            stream,
            seen: Vec::new(),
        };
        subscriber.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&std::mem::take(&mut subscriber.seen)).into_owned();
        Ok((subscriber, head))
    }

    async fn subscribed(daemon: &Daemon) -> anyhow::Result<Self> {
        let (subscriber, head) = Self::asking(daemon).await?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Ok(subscriber)
    }

    /// Reads until it has seen this.
    async fn until(&mut self, wanted: &[u8]) -> anyhow::Result<()> {
        while !self.seen.windows(wanted.len()).any(|part| part == wanted) {
            let length = self.read().await?;
            ensure!(length > 0, "ended after {}", String::from_utf8_lossy(&self.seen));
        }
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<usize> {
        let mut bytes = [0; 8192];
        let length = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes))
            .await
            .context("nothing comes, and it does not end")??;
        self.seen.extend(&bytes[..length]);
        Ok(length)
    }

    /// The daemon ends the connection, in order or by a reset.
    async fn is_cut_off(&mut self) -> anyhow::Result<()> {
        loop {
            match self.read().await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.is::<std::io::Error>() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[tokio::test]
async fn a_subscriber_that_breaks_the_protocol_is_cut_off_and_the_others_go_on() -> anyhow::Result<()> {
    let mut daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut beside = Subscriber::subscribed(&daemon).await?;
    let long = vec![b'x'; 5_000];
    let half = vec![b'x'; 2_500];
    let fragments = [
        frame(TEXT, MASKED, &half),
        frame(CONTINUATION, MASKED, &half),
        frame(FIN | CONTINUATION, MASKED, &half),
    ];
    for (number, (what, bytes)) in [
        ("a text that is too long", frame(FIN | TEXT, MASKED, &long)),
        ("bytes that are too long", frame(FIN | BINARY, MASKED, &long)),
        ("fragments that are too long together", fragments.concat()),
        ("a frame without a mask", frame(FIN | TEXT, 0, b"hello")),
        ("a text that is no UTF-8", frame(FIN | TEXT, MASKED, b"\xff\xfe")),
        ("a kind that is not defined", frame(FIN | RESERVED, MASKED, b"")),
        ("a fragment of nothing", frame(FIN | CONTINUATION, MASKED, b"x")),
        ("a ping that is too long", frame(FIN | PING, MASKED, &[0; 126])),
        ("a length of half the memory in the world", {
            let mut endless = vec![FIN | BINARY, MASKED | 127];
            endless.extend((u64::MAX >> 1).to_be_bytes());
            endless.extend(MASK);
            endless
        }),
        ("no frame at all", b"GET / HTTP/1.1\r\n\r\n".repeat(10)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut bad = Subscriber::subscribed(&daemon).await?;
        // The daemon may cut it off before all is written.
        let _ = bad.stream.write_all(&bytes).await;
        bad.is_cut_off().await.context(what)?;
        let victim = format!("203.0.113.{}", number + 10);
        daemon.ban(&victim, 27015).await?;
        beside.until(victim.as_bytes()).await.context(what)?;
    }
    assert!(daemon.lives()?);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    Ok(())
}

/// It has nothing to say, and may say it.
#[tokio::test]
async fn a_subscriber_that_talks_in_order_is_not_cut_off() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut talker = Subscriber::subscribed(&daemon).await?;
    for _ in 0..200 {
        for bytes in [
            frame(FIN | PING, MASKED, b"are you there"),
            frame(FIN | TEXT, MASKED, b"hello"),
            frame(FIN | BINARY, MASKED, &[0xff; 16]),
        ] {
            talker.stream.write_all(&bytes).await?;
        }
    }
    daemon.ban("203.0.113.10", 27015).await?;
    talker.until(b"203.0.113.10").await?;
    talker.until(b"are you there").await
}

#[tokio::test]
async fn one_subscriber_too_many_is_told_to_come_back() -> anyhow::Result<()> {
    let daemon = Daemon::start(Setup::default(), &[]).await?;
    let mut subscribers = Vec::with_capacity(MAX_SUBSCRIBERS);
    for _ in 0..MAX_SUBSCRIBERS {
        subscribers.push(Subscriber::subscribed(&daemon).await?);
    }
    let (mut refused, head) = Subscriber::asking(&daemon).await?;
    let head = head.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 503 ") && head.contains("retry-after: 5"),
        "{head}"
    );
    if !head.contains("limit.queue") {
        refused.until(b"limit.queue").await?;
    }
    drop(subscribers.pop());
    wait_for("there is a place again", || async {
        let (_, head) = Subscriber::asking(&daemon).await?;
        Ok(head.starts_with("HTTP/1.1 101 ").then_some(()))
    })
    .await
}
