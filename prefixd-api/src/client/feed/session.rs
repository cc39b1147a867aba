//! Reading a feed: position, silence, reconnection.

use super::super::{Client, Error, retry};
use super::socket::{self, Socket};
use super::{FeedItem, FeedOptions};
use crate::feed::{FeedBody, FeedMessage};
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// The first pause before a new attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The reader of the feed is gone.
struct ReaderGone;

/// Why a connection ended.
enum End {
    Lost(Error),
    ReaderGone,
}

impl From<ReaderGone> for End {
    fn from(_: ReaderGone) -> Self {
        Self::ReaderGone
    }
}

/// Connects again and again until the reader is gone or the daemon refuses.
pub(super) async fn run(client: Client, options: FeedOptions, items: Sender<FeedItem>) {
    let mut position = Position {
        own: options.since,
        others: options.follow.clone(),
    };
    let mut attempt = 0;
    loop {
        let why = match open(&client, &options, &position).await {
            Ok(socket) => match read(socket, &options, &mut position, &mut attempt, &items).await {
                End::Lost(why) => why,
                End::ReaderGone => return,
            },
            Err(why) => why,
        };
        if is_final(&why) {
            // A reader that is gone needs no last word.
            let _ = items.send(FeedItem::Refused(why)).await;
            return;
        }
        let retry_in = retry::backoff(FIRST_PAUSE, LONGEST_PAUSE, attempt, rand::random());
        attempt = attempt.saturating_add(1);
        if items.send(FeedItem::Lost { why, retry_in }).await.is_err() {
            return;
        }
        tokio::time::sleep(retry_in).await;
    }
}

async fn open(client: &Client, options: &FeedOptions, position: &Position) -> Result<Socket, Error> {
    let limit = client.options.request_timeout;
    tokio::time::timeout(limit, socket::open(client, options, position.since()))
        .await
        .unwrap_or_else(|_| {
            Err(Error::Timeout {
                endpoint: client.options.endpoint.to_string(),
                after: limit,
            })
        })
}

/// Reads one connection to its end.
async fn read(
    mut socket: Socket,
    options: &FeedOptions,
    position: &mut Position,
    attempt: &mut u32,
    items: &Sender<FeedItem>,
) -> End {
    let mut heard = Instant::now();
    let mut beat = Beat::new(options.heartbeat);
    loop {
        let frame = tokio::select! {
            // What was said comes before the next question and before the verdict.
            biased;
            frame = socket.next() => frame,
            () = tokio::time::sleep_until(heard + options.silence) => return silent(options),
            () = beat.next() => {
                let asked = socket.send(Message::Ping(Vec::new().into()));
                match tokio::time::timeout_at(heard + options.silence, asked).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return End::Lost(Error::Protocol(format!("the feed broke: {error}"))),
                    Err(_) => return silent(options),
                }
            }
        };
        heard = Instant::now();
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(Some(close)))) => {
                return End::Lost(Error::Protocol(format!(
                    "the daemon closed the feed: {}",
                    close.reason
                )));
            }
            None | Some(Ok(Message::Close(None))) => {
                return End::Lost(Error::Protocol("the daemon closed the feed".to_owned()));
            }
            Some(Ok(_)) => {
                beat.answered(items);
                continue;
            }
            Some(Err(error)) => return End::Lost(Error::Protocol(format!("the feed broke: {error}"))),
        };
        let message = match serde_json::from_str::<FeedMessage>(&text) {
            Ok(message) => message,
            Err(error) => {
                return End::Lost(Error::Protocol(format!(
                    "a feed message has an unknown form: {error}"
                )));
            }
        };
        if matches!(message.body, FeedBody::Ping {}) {
            beat.answered(items);
            continue;
        }
        for item in position.advance(message) {
            if matches!(item, FeedItem::Connected { .. }) {
                *attempt = 0;
            }
            if items.send(item).await.is_err() {
                return ReaderGone.into();
            }
        }
    }
}

fn silent(options: &FeedOptions) -> End {
    End::Lost(Error::Protocol(format!(
        "the feed was silent for {}",
        crate::show::relative(options.silence)
    )))
}

/// The questions whether the daemon is there, when the reader wants to know.
struct Beat(Option<tokio::time::Interval>);

impl Beat {
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| {
            let mut beat = tokio::time::interval_at(Instant::now() + every, every);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            beat
        }))
    }

    /// The next question; never, when the reader does not want to know.
    async fn next(&mut self) {
        match &mut self.0 {
            Some(beat) => drop(beat.tick().await),
            None => std::future::pending().await,
        }
    }

    /// A reader that has much to read knows without this that the daemon is there.
    fn answered(&self, items: &Sender<FeedItem>) {
        if self.0.is_some() {
            let _ = items.try_send(FeedItem::Alive);
        }
    }
}

/// Whether another attempt would be refused as well.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Setup(_) => true,
        Error::Problem(problem) => matches!(problem.status, 400..=499) && problem.status != 429,
        Error::Connect { .. } | Error::Timeout { .. } | Error::Protocol(_) | Error::Form(_) => false,
    }
}

/// The last journal entries that were handed over.
#[derive(Debug, Default)]
struct Position {
    /// Of the daemon's own POP.
    own: Option<u64>,
    /// Of the POPs that are followed besides.
    others: BTreeMap<String, u64>,
}

impl Position {
    /// As the daemon reads it.
    fn since(&self) -> Option<String> {
        let own = self.own.map(|own| own.to_string());
        let others = self.others.iter().map(|(pop, seq)| format!("{pop}:{seq}"));
        let parts: Vec<String> = own.into_iter().chain(others).collect();
        (!parts.is_empty()).then(|| parts.join(","))
    }

    /// What a message means for the reader. Entries that were handed over before are dropped.
    fn advance(&mut self, message: FeedMessage) -> Vec<FeedItem> {
        match message.body {
            FeedBody::Hello {
                version,
                head,
                mode,
                role,
            } => {
                let pop_of_hello = message.pop.clone();
                let mut items = vec![FeedItem::Connected {
                    head,
                    server_time: message.at,
                    version,
                    pop: message.pop,
                    mode,
                    role,
                }];
                match self.own {
                    None => self.own = Some(head),
                    // The daemon's journal is behind what was seen: it was restored or is another one.
                    Some(seen) if seen > head => {
                        self.own = Some(head);
                        let pop = pop_of_hello;
                        items.push(FeedItem::Resync { pop, head });
                    }
                    Some(_) => {}
                }
                items
            }
            FeedBody::ResyncRequired { head } => {
                let pop = message.pop;
                match self.others.get_mut(&pop) {
                    Some(other) => *other = head,
                    None => self.own = Some(head),
                }
                vec![FeedItem::Resync { pop, head }]
            }
            FeedBody::Ping {} => Vec::new(),
            _ => {
                if let Some(seq) = message.seq {
                    let seen = match self.others.get_mut(&message.pop) {
                        Some(other) => other,
                        None => self.own.get_or_insert(0),
                    };
                    if seq <= *seen {
                        return Vec::new();
                    }
                    *seen = seq;
                }
                vec![FeedItem::Message(Box::new(message))]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Code, Problem};
    use serde_json::{Value, json};

    fn advance(position: &mut Position, message: Value) -> Vec<FeedItem> {
        position.advance(serde_json::from_value(message).unwrap())
    }

    fn at(own: u64) -> Position {
        Position {
            own: Some(own),
            ..Position::default()
        }
    }

    fn hello(head: u64) -> Value {
        json!({"type": "hello", "at": "2026-01-18T10:00:00Z", "pop": "iad1", "version": "0.1.0", "head": head,
               "mode": "enforced", "role": "viewer"})
    }

    fn reloaded(seq: Option<u64>) -> Value {
        json!({"type": "config_reloaded", "seq": seq, "at": "2026-01-18T10:00:00Z", "pop": "iad1"})
    }

    #[test]
    fn entries_come_once_and_in_order() {
        let mut position = Position::default();
        assert!(matches!(
            advance(&mut position, hello(7))[..],
            [FeedItem::Connected { head: 7, .. }]
        ));
        assert_eq!(position.own, Some(7));
        assert!(advance(&mut position, reloaded(Some(7))).is_empty());
        assert!(matches!(
            advance(&mut position, reloaded(Some(8)))[..],
            [FeedItem::Message(_)]
        ));
        assert!(matches!(
            advance(&mut position, reloaded(None))[..],
            [FeedItem::Message(_)]
        ));
        assert_eq!(position.own, Some(8));
    }

    #[test]
    fn a_hello_does_not_skip_what_is_replayed_after_it() {
        let mut position = at(3);
        advance(&mut position, hello(7));
        assert!(matches!(
            advance(&mut position, reloaded(Some(4)))[..],
            [FeedItem::Message(_)]
        ));
    }

    #[test]
    fn a_journal_that_went_back_asks_for_a_new_look() {
        let mut position = at(90);
        let items = advance(&mut position, hello(7));
        assert!(matches!(
            items[..],
            [FeedItem::Connected { .. }, FeedItem::Resync { head: 7, .. }]
        ));
        assert_eq!(position.own, Some(7));
        let resync =
            json!({"type": "resync_required", "at": "2026-01-18T10:00:00Z", "pop": "iad1", "head": 44});
        assert!(matches!(
            advance(&mut position, resync)[..],
            [FeedItem::Resync { head: 44, .. }]
        ));
        assert_eq!(position.own, Some(44));
    }

    #[test]
    fn each_pop_has_a_position_of_its_own() {
        let mut position = Position {
            own: Some(8),
            others: [("fra1".to_owned(), 3)].into(),
        };
        assert_eq!(position.since().as_deref(), Some("8,fra1:3"));
        let of_fra = |seq: u64| json!({"type": "config_reloaded", "seq": seq, "at": "2026-01-18T10:00:00Z", "pop": "fra1"});
        assert!(advance(&mut position, of_fra(3)).is_empty());
        assert!(matches!(
            advance(&mut position, of_fra(4))[..],
            [FeedItem::Message(_)]
        ));
        let resync =
            json!({"type": "resync_required", "at": "2026-01-18T10:00:00Z", "pop": "fra1", "head": 44});
        assert!(matches!(
            advance(&mut position, resync)[..],
            [FeedItem::Resync { head: 44, .. }]
        ));
        assert_eq!(position.since().as_deref(), Some("8,fra1:44"));
        assert_eq!(Position::default().since(), None);
    }

    #[test]
    fn only_refusals_are_final() {
        let problem = |code| Error::Problem(Box::new(Problem::new(code, "")));
        assert!(is_final(&problem(Code::AuthRequired)) && is_final(&problem(Code::AuthForbidden)));
        assert!(!is_final(&problem(Code::LimitRate)) && !is_final(&problem(Code::Stopping)));
        assert!(!is_final(&Error::Protocol(String::new())));
    }
}
