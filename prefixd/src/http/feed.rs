//! The WebSocket feed: journal entries in order, and ephemeral messages between them.
//!
//! A subscriber's task reads broadcast channels with a bounded backlog. One that is too slow loses its place and is
//! told to resync; the engine never waits for it. What other POPs write is read from the store, from the position where
//! the subscriber is, whenever there may be something new. Aborting the task is safe: it owns its connection alone.

use super::App;
use super::error::Failure;
use super::extract::Query;
use super::identity::{Access, Principal};
use crate::journal::Entry;
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use prefixd_api::feed::{FeedBody, FeedMessage};
use prefixd_api::problem::{Code, Problem};
use prefixd_api::role::Role;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

/// Journal entries that are replayed at most; a subscriber that is farther behind reads the lists again.
const MAX_REPLAY: u64 = 10_000;
/// Entries read from the store at once.
const REPLAY_PAGE: u16 = 500;
/// Other POPs that one subscriber follows at most.
const MAX_FOLLOWED: usize = 32;
/// Pings come so often that a dead connection shows.
const PING: Duration = Duration::from_secs(15);
/// A subscriber that takes nothing for so long is cut off.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest message that is taken from a subscriber; it has nothing to say.
const MAX_INBOUND: usize = 4096;
/// Why the daemon ends a subscription.
const STOPPING: (u16, &str) = (close_code::AWAY, "the daemon is stopping");
/// Subscribers that are still welcome come back with their position and miss nothing.
const ACCESS_CHANGED: (u16, &str) = (close_code::RESTART, "who may come in has changed: connect again");

/// Subscribe to what happens.
#[utoipa::path(get, path = "/v1/ws/feed", tag = "feed", params(
    ("since" = Option<String>, Query, description = "Positions to go on from: a number, or POP:NUMBER,POP:NUMBER. Each POP that is named is followed"),
    ("types" = Option<String>, Query, description = "Only these types, separated by commas"),
), responses((status = 101, description = "Messages follow"), (status = 400, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn subscribe(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Extension(access): Extension<Arc<Access>>,
    mut query: Query,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let since = query
        .text("since")?
        .map(|text| positions(&text, &app))
        .transpose()?;
    let (since, others) = since.unwrap_or_default();
    let types = query.text("types")?.map(|text| types(&text)).transpose()?;
    query.finish()?;
    let upgrade = upgrade.map_err(|error| {
        Failure::new(
            Code::RequestSyntax,
            format!("this route speaks WebSocket: {error}"),
        )
    })?;
    let place = Arc::clone(&app.subscribers).try_acquire_owned().map_err(|_| {
        Failure::from(Problem::new(Code::LimitQueue, "too many subscribers; try again").with_retry_after(5))
    })?;
    Ok(upgrade
        .max_message_size(MAX_INBOUND)
        .on_upgrade(move |socket| async move {
            app.metrics.feed_subscribers.inc();
            let metrics = Arc::clone(&app.metrics);
            let mut subscriber = Subscriber {
                app,
                socket,
                types,
                role: principal.role,
                access,
                others,
            };
            // A subscriber that went away has nothing more to be told.
            let _ = subscriber.run(since).await;
            metrics.feed_subscribers.dec();
            drop(place);
        }))
}

/// `a,b`: a name that nobody knows would be silence for ever.
fn types(text: &str) -> Result<BTreeSet<String>, Failure> {
    let known = |name: &str| {
        FeedBody::TYPES
            .contains(&name)
            .then(|| name.to_owned())
            .ok_or_else(|| {
                Failure::field(
                    "types",
                    format!("{name:?} is not known; known: {}", FeedBody::TYPES.join(", ")),
                )
            })
    };
    text.split(',').map(known).collect()
}

/// Where a subscriber is in another POP's journal.
type Position = (String, u64);

/// `812`, `iad1:812`, or a list of them: ours, which is the newest entry when it is not there, and those of others.
fn positions(text: &str, app: &App) -> Result<(Option<u64>, Vec<Position>), Failure> {
    let wrong = || {
        Failure::field(
            "since",
            format!(
                "{text:?} is no position such as 812, {}:812 or a list of them",
                app.pop
            ),
        )
    };
    let (mut own, mut others) = (None, Vec::new());
    for part in text.split(',') {
        let (pop, seq) = part.rsplit_once(':').unwrap_or((&app.pop, part));
        let seq: u64 = seq.parse().map_err(|_| wrong())?;
        if pop == app.pop {
            own = Some(seq);
        } else {
            others.push((pop.to_owned(), seq));
        }
    }
    if others.len() > MAX_FOLLOWED {
        let message = format!("names more than {MAX_FOLLOWED} other POPs");
        return Err(Failure::field("since", message));
    }
    Ok((own, others))
}

struct Subscriber {
    app: App,
    socket: WebSocket,
    types: Option<BTreeSet<String>>,
    role: Role,
    access: Arc<Access>,
    /// Of the POPs that it follows besides ours.
    others: Vec<Position>,
}

/// The subscriber is gone or too slow.
struct Gone;

impl Subscriber {
    async fn run(&mut self, since: Option<u64>) -> Result<(), Gone> {
        // Subscribed before the replay, so that nothing falls between the two.
        let mut entries = self.app.engine.subscribe();
        let mut ephemeral = self.app.announcer.ephemeral().subscribe();
        let head = self.app.engine.snapshot().head;
        self.hello(head).await?;
        let mut seen = match since {
            None => head,
            Some(since) => self.replay(since, head).await?,
        };
        let shutdown = self.app.shutdown.clone();
        let Some(mut access) = self.app.live.access_changes(&self.access) else {
            return self.close(ACCESS_CHANGED).await;
        };
        // A look at once: they may be ahead already.
        let mut news = self.app.news.clone();
        news.mark_changed();
        let follows = !self.others.is_empty();
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        loop {
            tokio::select! {
                entry = entries.recv() => match entry {
                    Ok(entry) if entry.seq <= seen => {}
                    Ok(entry) => {
                        seen = entry.seq;
                        self.entry(&entry).await?;
                    }
                    Err(RecvError::Lagged(_)) => {
                        entries = entries.resubscribe();
                        seen = self.resync().await?;
                    }
                    Err(RecvError::Closed) => return self.close(STOPPING).await,
                },
                body = ephemeral.recv() => match body {
                    Ok(body) => self.ephemeral(body).await?,
                    // They carry no number: what was lost is shown by the next read.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return self.close(STOPPING).await,
                },
                Ok(()) = news.changed(), if follows => self.follow().await?,
                _ = ping.tick() => self.ephemeral(FeedBody::Ping {}).await?,
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                    Some(Ok(_)) => {}
                },
                // Who was let in by a token that is no longer valid must not go on.
                Ok(()) = access.changed() => return self.close(ACCESS_CHANGED).await,
                () = shutdown.cancelled() => return self.close(STOPPING).await,
            }
        }
    }

    async fn hello(&mut self, head: u64) -> Result<(), Gone> {
        let mode = self.app.engine.snapshot().policy.mode();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.always(FeedBody::Hello {
            version,
            head,
            mode,
            role: self.role,
        })
        .await
    }

    /// What the journal has after a position, up to where the live entries begin.
    async fn replay(&mut self, since: u64, head: u64) -> Result<u64, Gone> {
        if since > head || head - since > MAX_REPLAY {
            return self.resync().await;
        }
        let mut seen = since;
        while seen < head {
            let Ok(page) = self
                .app
                .store
                .journal_after(&self.app.pop, seen, REPLAY_PAGE)
                .await
            else {
                return self.resync().await;
            };
            // What was pruned cannot be replayed.
            if page.first().is_none_or(|entry| entry.seq != seen + 1) {
                return self.resync().await;
            }
            for entry in page {
                seen = entry.seq;
                self.entry(&entry).await?;
            }
        }
        Ok(seen)
    }

    /// What the other POPs have written since. While the store is away there is nothing to tell; what is missed then is
    /// told later, by its number.
    async fn follow(&mut self) -> Result<(), Gone> {
        for index in 0..self.others.len() {
            let (pop, mut seen) = self.others[index].clone();
            let Ok(head) = self.app.store.journal_end(&pop).await else {
                return Ok(());
            };
            if seen > head || head - seen > MAX_REPLAY {
                seen = self.resync_other(&pop, head).await?;
            }
            while seen < head {
                let Ok(page) = self.app.store.journal_after(&pop, seen, REPLAY_PAGE).await else {
                    break;
                };
                if page.first().is_none_or(|entry| entry.seq != seen + 1) {
                    seen = self.resync_other(&pop, head).await?;
                    break;
                }
                for entry in page {
                    seen = entry.seq;
                    self.entry(&entry).await?;
                }
            }
            self.others[index].1 = seen;
        }
        Ok(())
    }

    async fn entry(&mut self, entry: &Entry) -> Result<(), Gone> {
        if let Some(kind) = entry.kind.feed_type().filter(|kind| self.wants(kind))
            && let Ok(Some(json)) = entry.feed_json()
        {
            tracing::trace!(kind, seq = entry.seq, pop = %entry.pop, "to a subscriber");
            self.send(json).await?;
        }
        Ok(())
    }

    async fn resync_other(&mut self, pop: &str, head: u64) -> Result<u64, Gone> {
        self.app.metrics.feed_resyncs.inc();
        self.say(pop.to_owned(), FeedBody::ResyncRequired { head })
            .await?;
        Ok(head)
    }

    async fn resync(&mut self) -> Result<u64, Gone> {
        self.app.metrics.feed_resyncs.inc();
        let head = self.app.engine.snapshot().head;
        self.always(FeedBody::ResyncRequired { head }).await?;
        Ok(head)
    }

    async fn ephemeral(&mut self, body: FeedBody) -> Result<(), Gone> {
        let kind = match &body {
            FeedBody::PeerChanged { .. } => "peer_changed",
            FeedBody::DeliveryChanged { .. } => "delivery_changed",
            FeedBody::DriftDetected { .. } => "drift_detected",
            _ => return self.always(body).await,
        };
        if self.wants(kind) {
            self.always(body).await
        } else {
            Ok(())
        }
    }

    /// Messages that no filter takes away.
    async fn always(&mut self, body: FeedBody) -> Result<(), Gone> {
        self.say(self.app.pop.clone(), body).await
    }

    async fn say(&mut self, pop: String, body: FeedBody) -> Result<(), Gone> {
        let message = FeedMessage {
            seq: None,
            at: self.app.clock.now(),
            pop,
            actor: None,
            body,
        };
        let Ok(json) = serde_json::to_string(&message) else {
            return Err(Gone);
        };
        self.send(json).await
    }

    fn wants(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(kind))
    }

    async fn send(&mut self, json: String) -> Result<(), Gone> {
        match timeout(
            SEND_TIMEOUT,
            self.socket.send(Message::Text(Utf8Bytes::from(json))),
        )
        .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    async fn close(&mut self, (code, reason): (u16, &'static str)) -> Result<(), Gone> {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        // It is closing either way.
        let _ = timeout(SEND_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await;
        Err(Gone)
    }
}
