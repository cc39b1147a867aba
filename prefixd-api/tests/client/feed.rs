//! The feed: resume, loss, silence, refusal.

use futures_util::{SinkExt, StreamExt};
use prefixd_api::client::{Client, Endpoint, Feed, FeedItem, FeedOptions, Options};
use prefixd_api::feed::FeedBody;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Accepts a subscription; the path and the token with which it came.
async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> (WebSocketStream<S>, String, String) {
    let (mut path, mut token) = (String::new(), String::new());
    let remember = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().to_string();
        token = request.headers()["authorization"].to_str().unwrap().to_owned();
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, remember)
        .await
        .unwrap();
    (socket, path, token)
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, message: Value) {
    let mut message = message;
    message["at"] = "2026-01-18T10:00:00Z".into();
    message["pop"] = "iad1".into();
    socket.send(Message::text(message.to_string())).await.unwrap();
}

fn hello(head: u64) -> Value {
    json!({"type": "hello", "version": "0.1.0", "head": head, "mode": "enforced", "role": "viewer"})
}

fn entry(seq: u64) -> Value {
    json!({"type": "safelist_changed", "seq": seq, "prefix": "203.0.113.0/24", "added": true})
}

fn subscribe(endpoint: Endpoint, options: FeedOptions) -> Feed {
    let options_of_client = Options {
        token: Some("s3cret".to_owned().into()),
        ..Options::new(endpoint)
    };
    Client::new(options_of_client).unwrap().feed(options)
}

async fn next(feed: &mut Feed) -> FeedItem {
    tokio::time::timeout(PATIENCE, feed.next())
        .await
        .unwrap()
        .unwrap()
}

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    (listener, endpoint)
}

#[tokio::test]
async fn a_lost_feed_goes_on_where_it_was() {
    let (listener, endpoint) = listen().await;
    let mut feed = subscribe(
        endpoint,
        FeedOptions {
            since: Some(3),
            types: vec!["safelist_changed".to_owned(), "peer_changed".to_owned()],
            ..FeedOptions::default()
        },
    );
    let (mut socket, path, token) = accept(listener.accept().await.unwrap().0).await;
    assert_eq!(path, "/v1/ws/feed?since=3&types=safelist_changed%2Cpeer_changed");
    assert_eq!(token, "Bearer s3cret");
    say(&mut socket, hello(5)).await;
    say(&mut socket, entry(4)).await;
    say(&mut socket, json!({"type": "ping"})).await;
    say(&mut socket, entry(5)).await;
    assert!(matches!(
        next(&mut feed).await,
        FeedItem::Connected { head: 5, .. }
    ));
    for seq in [4, 5] {
        let FeedItem::Message(message) = next(&mut feed).await else {
            panic!("no message")
        };
        assert_eq!(message.seq, Some(seq));
        assert!(matches!(
            message.body,
            FeedBody::SafelistChanged { added: true, .. }
        ));
    }
    socket.close(None).await.unwrap();
    drop(socket);
    assert!(matches!(next(&mut feed).await, FeedItem::Lost { .. }));

    let (mut socket, path, _) = accept(listener.accept().await.unwrap().0).await;
    assert!(path.starts_with("/v1/ws/feed?since=5&"), "{path}");
    say(&mut socket, hello(9)).await;
    say(&mut socket, json!({"type": "resync_required", "head": 9})).await;
    assert!(matches!(next(&mut feed).await, FeedItem::Connected { .. }));
    assert!(matches!(next(&mut feed).await, FeedItem::Resync { head: 9, .. }));
}

#[tokio::test]
async fn a_feed_begins_at_the_newest_entry() {
    let (listener, endpoint) = listen().await;
    let mut feed = subscribe(endpoint, FeedOptions::default());
    let (mut socket, path, _) = accept(listener.accept().await.unwrap().0).await;
    assert_eq!(path, "/v1/ws/feed");
    say(&mut socket, hello(7)).await;
    assert!(matches!(next(&mut feed).await, FeedItem::Connected { .. }));
    drop(socket);
    assert!(matches!(next(&mut feed).await, FeedItem::Lost { .. }));
    let (_, path, _) = accept(listener.accept().await.unwrap().0).await;
    assert_eq!(path, "/v1/ws/feed?since=7");
}

#[tokio::test]
async fn a_silent_feed_is_lost() {
    let (listener, endpoint) = listen().await;
    let silence = Duration::from_millis(50);
    let mut feed = subscribe(
        endpoint,
        FeedOptions {
            silence,
            ..FeedOptions::default()
        },
    );
    let (socket, _, _) = accept(listener.accept().await.unwrap().0).await;
    let FeedItem::Lost { why, .. } = next(&mut feed).await else {
        panic!("not lost")
    };
    assert!(why.to_string().contains("silent"), "{why}");
    drop(socket);
}

#[tokio::test]
async fn a_heartbeat_tells_a_quiet_feed_from_a_dead_one() {
    let (listener, endpoint) = listen().await;
    let options = FeedOptions {
        heartbeat: Some(Duration::from_millis(5)),
        silence: Duration::from_secs(2),
        ..FeedOptions::default()
    };
    let mut feed = subscribe(endpoint, options);
    let (mut socket, _, _) = accept(listener.accept().await.unwrap().0).await;
    say(&mut socket, hello(1)).await;
    assert!(matches!(next(&mut feed).await, FeedItem::Connected { .. }));
    // A daemon that reads answers, although it has nothing to say.
    let answering = tokio::spawn(async move {
        for _ in 0..3 {
            assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
        }
        socket
    });
    assert!(matches!(next(&mut feed).await, FeedItem::Alive));
    let mut socket = answering.await.unwrap();
    say(&mut socket, json!({"type": "ping"})).await;
    // One that no longer reads is lost although its connection stands.
    let why = loop {
        match next(&mut feed).await {
            FeedItem::Alive => {}
            FeedItem::Lost { why, .. } => break why.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(why.contains("silent"), "{why}");
    drop(socket);
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why() {
    let (listener, endpoint) = listen().await;
    let mut feed = subscribe(endpoint, FeedOptions::default());
    let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 4096];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    let body = r#"{"type":"about:blank","title":"t","status":401,"code":"auth.required","detail":"sign in","request_id":null,"retry_after_seconds":null}"#;
    let head = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // In two pieces, as networks cut it.
    stream.set_nodelay(true).unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let FeedItem::Refused(why) = next(&mut feed).await else {
        panic!("not refused")
    };
    assert_eq!(why.code(), Some("auth.required"));
    assert!(feed.next().await.is_none());
}

#[tokio::test]
async fn the_feed_comes_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prefixd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut feed = subscribe(Endpoint::Unix(path), FeedOptions::default());
    let (mut socket, _, _) = accept(listener.accept().await.unwrap().0).await;
    say(&mut socket, hello(1)).await;
    assert!(matches!(next(&mut feed).await, FeedItem::Connected { .. }));
}

#[tokio::test]
async fn a_dropped_feed_closes_its_connection() {
    let (listener, endpoint) = listen().await;
    let mut feed = subscribe(endpoint, FeedOptions::default());
    let (mut socket, _, _) = accept(listener.accept().await.unwrap().0).await;
    say(&mut socket, hello(1)).await;
    next(&mut feed).await;
    drop(feed);
    let end = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
}
