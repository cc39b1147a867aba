//! Requests over TCP and Unix sockets, repetition, errors.

use prefixd_api::client::{Client, Endpoint, Error, Options};
use prefixd_api::control::{ControlRequest, ControlScope, ControlState};
use prefixd_api::event::EventRequest;
use prefixd_api::mitigation::WithdrawRequest;
use prefixd_api::time::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

const HEALTH: &str = r#"{"status":"ok","version":"0.1.0","auth_mode":"none"}"#;
const SAFELIST: &str = r#"{"entries":[],"count":0}"#;

/// What the daemon does with the next request.
#[derive(Clone)]
enum Reply {
    Answer(u16, &'static str, &'static str),
    HangUp,
    Silence,
}

type Heads = Arc<Mutex<Vec<String>>>;

fn ok(body: &'static str) -> Reply {
    Reply::Answer(200, "", body)
}

/// One connection a request, one reply a request; the last reply repeats.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, reply: Reply, heads: &Heads) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    heads.lock().unwrap().push(head);
    match reply {
        Reply::Answer(status, headers, body) => {
            let answer = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Reply::HangUp => {}
        // Until the client gives up.
        Reply::Silence => drop(stream.read(&mut [0]).await),
    }
}

async fn daemon(replies: Vec<Reply>) -> (Endpoint, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        for index in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, replies[index.min(replies.len() - 1)].clone(), &seen).await;
        }
    });
    (endpoint.parse().unwrap(), heads)
}

fn client(endpoint: Endpoint) -> Client {
    Client::new(Options {
        token: Some("s3cret".to_owned().into()),
        ..Options::new(endpoint)
    })
    .unwrap()
}

fn count(heads: &Heads) -> usize {
    heads.lock().unwrap().len()
}

#[tokio::test]
async fn reads_carry_the_token_and_return_the_position() {
    let (endpoint, heads) = daemon(vec![Reply::Answer(200, "x-prefixd-head: iad1:812\r\n", SAFELIST)]).await;
    let read = client(endpoint).safelist().await.unwrap();
    assert_eq!((read.value.count, read.head), (0, Some(812)));
    let head = heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /v1/safelist http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer s3cret\r\n") && head.contains("user-agent: prefixd-api/"));
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prefixd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, ok(HEALTH), &seen).await;
    });
    let health = client(Endpoint::Unix(path)).health().await.unwrap();
    assert_eq!(health.version, "0.1.0");
    assert!(
        heads.lock().unwrap()[0]
            .to_ascii_lowercase()
            .contains("host: localhost\r\n")
    );
}

#[tokio::test]
async fn a_read_is_repeated_until_it_is_answered() {
    let busy = Reply::Answer(503, "retry-after: 0\r\n", "{}");
    let (endpoint, heads) = daemon(vec![busy, Reply::HangUp, ok(SAFELIST)]).await;
    client(endpoint).safelist().await.unwrap();
    assert_eq!(count(&heads), 3);
}

/// The keys of the requests that came, in order.
fn keys(heads: &Heads) -> Vec<Option<String>> {
    let heads = heads.lock().unwrap();
    let key = |head: &String| {
        head.lines()
            .find_map(|line| line.strip_prefix("idempotency-key: "))
            .map(str::to_owned)
    };
    heads.iter().map(key).collect()
}

#[tokio::test]
async fn a_change_is_repeated_under_its_key_and_the_next_has_another() {
    let id = "0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4".parse().unwrap();
    for reply in [Reply::HangUp, Reply::Answer(503, "retry-after: 0\r\n", "{}")] {
        let refused = Reply::Answer(404, "", "{}");
        let (endpoint, heads) = daemon(vec![reply, refused.clone(), refused]).await;
        let client = client(endpoint);
        for _ in 0..2 {
            let failed = client.withdraw_mitigation(id, &WithdrawRequest::default()).await;
            assert!(matches!(failed, Err(Error::Protocol(_))), "{failed:?}");
        }
        let keys = keys(&heads);
        assert_eq!(keys.len(), 3);
        assert!(keys.iter().all(Option::is_some), "{keys:?}");
        assert_eq!(keys[0], keys[1]);
        assert_ne!(keys[1], keys[2]);
    }
}

/// A daemon in trouble looks at no key before it panics: whoever said it knows best whether to say it again.
#[tokio::test]
async fn a_panic_that_was_sent_is_not_repeated() {
    let request = ControlRequest {
        scope: ControlScope::Pop,
        state: ControlState::Panic,
        reason: "the edge is dark".to_owned(),
        expected_revision: None,
    };
    let (endpoint, heads) = daemon(vec![Reply::HangUp, ok("{}")]).await;
    let failed = client(endpoint).set_control(&request).await;
    assert!(matches!(failed, Err(Error::Protocol(_))), "{failed:?}");
    assert_eq!(keys(&heads), [None]);
}

#[tokio::test]
async fn an_event_that_the_daemon_knows_again_needs_no_key() {
    let answer = r#"{"event_id":"0199a8b2-7c31-7e55-8a4d-2f6b9c01d3e4","external_event_id":"e","status":"accepted",
        "mitigation_id":null,"group_id":null,"reason":"r"}"#;
    let known = EventRequest {
        event_id: Some("e".to_owned()),
        timestamp: Some(Timestamp::from_micros(0)),
        ..EventRequest::default()
    };
    for (event, has_key) in [
        (known.clone(), false),
        (
            EventRequest {
                timestamp: None,
                ..known.clone()
            },
            true,
        ),
        (
            EventRequest {
                event_id: None,
                ..known
            },
            true,
        ),
    ] {
        let (endpoint, heads) = daemon(vec![Reply::HangUp, ok(answer)]).await;
        client(endpoint).send_event(&event).await.unwrap();
        let keys = keys(&heads);
        assert_eq!(keys.len(), 2);
        assert_eq!((keys[0].is_some(), &keys[0]), (has_key, &keys[1]), "{event:?}");
    }
}

#[tokio::test]
async fn a_silent_daemon_is_a_timeout() {
    let (endpoint, heads) = daemon(vec![Reply::Silence]).await;
    let client = Client::new(Options {
        request_timeout: Duration::from_millis(50),
        retries: 1,
        ..Options::new(endpoint)
    })
    .unwrap();
    let failed = client.safelist().await;
    assert!(matches!(failed, Err(Error::Timeout { .. })), "{failed:?}");
    assert_eq!(count(&heads), 2);
}

#[tokio::test]
async fn the_daemons_own_words_arrive() {
    let body = r#"{"type":"about:blank","title":"t","status":422,"code":"guardrail.safelist","detail":"covered\u001b[2J",
        "request_id":"r","retry_after_seconds":null}"#;
    let (endpoint, _) = daemon(vec![Reply::Answer(422, "", body)]).await;
    let Err(error) = client(endpoint).safelist().await else {
        panic!("not refused")
    };
    assert_eq!(error.code(), Some("guardrail.safelist"));
    assert_eq!(error.to_string(), "covered\u{fffd}[2J (guardrail.safelist)");
}

#[tokio::test]
async fn health_is_asked_once() {
    let (endpoint, heads) = daemon(vec![Reply::Answer(503, "retry-after: 0\r\n", "{}")]).await;
    assert!(client(endpoint).ready().await.is_err());
    assert_eq!(count(&heads), 1);
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new(Options {
        retries: 1,
        ..Options::new(format!("http://{unused}").parse().unwrap())
    })
    .unwrap();
    assert!(matches!(client.safelist().await, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn a_stranger_is_told_from_prefixd() {
    let (endpoint, _) = daemon(vec![ok("<html>")]).await;
    assert!(matches!(
        client(endpoint).safelist().await,
        Err(Error::Protocol(_))
    ));
    let (endpoint, _) = daemon(vec![ok(r#"{"entries": 7}"#)]).await;
    let error = client(endpoint).safelist().await.unwrap_err();
    assert!(matches!(error, Error::Form(_)), "{error:?}");
    assert!(error.to_string().contains("another version"), "{error}");
    let (endpoint, _) = daemon(vec![Reply::Answer(404, "", "<html>")]).await;
    let error = client(endpoint).safelist().await.unwrap_err().to_string();
    assert!(error.contains("is this prefixd's address?"), "{error}");
}
