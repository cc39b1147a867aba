//! Starting, reloading and stopping: the wiring of the parts.
//!
//! ```text
//!   start: configuration, listeners, store, state repaired, rules desired, sessions, requests
//!   stop:  requests end, what is queued is committed, rules withdrawn, sessions closed
//! ```
//!
//! Tasks: the engine (its end ends the daemon), the HTTP servers, a watcher of sessions. All end with [`run`].

mod check;
mod log;
mod reload;
mod watchdog;
mod wiring;

pub use check::check;
pub use log::start_log;
pub use reload::{ReloadError, Reloader};

use crate::announce::Announcer;
use crate::clock::Clock;
use crate::engine::{Engine, EngineError, Parts};
use crate::http;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::store::Store;
use anyhow::Context;
use prefixd_api::config::Config;
use prefixd_api::time::Timestamp;
use prefixd_bgp::{Speaker, Stop};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// What routers are told when the daemon stops (RFC 9003).
const SHUTDOWN_TEXT: &str = "prefixd stops and withdraws its rules";

/// Runs the daemon until `shutdown`, then stops it in order.
///
/// # Errors
/// When something that is needed at start is not to be had, or the engine ends by itself. systemd starts it again.
pub async fn run(dir: &Path, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let settings = &config.settings;
    let listeners = http::Listeners::bind(&settings.http).await?;
    let store = Store::open(
        &settings.storage.connection_string,
        settings.storage.max_connections,
    )
    .await
    .context("the store cannot be opened")?;
    let store = Arc::new(store);
    let clock = Arc::new(Clock::starting_at(Timestamp::wall_clock()));
    let loaded = store
        .load(&settings.pop, clock.now())
        .await
        .context("the stored state cannot be loaded")?;

    let metrics = Arc::new(Metrics::new());
    let policy = Arc::new(Policy::compile(&config, &wiring::implicit(&config)));
    let speaker = Speaker::start(wiring::speaker(&config)?).context("the BGP speaker cannot start")?;
    let announcer = Arc::new(Announcer::new(
        speaker,
        Arc::clone(&clock),
        wiring::neighbors(&config),
    ));
    let alive = watchdog::start(shutdown.clone());
    let (mut engine, handle) = Engine::new(
        Parts {
            store: Arc::clone(&store),
            announcer: Arc::clone(&announcer),
            clock: Arc::clone(&clock),
            policy,
            settings: wiring::engine(&config),
            metrics: Arc::clone(&metrics),
            alive,
        },
        loaded,
    );
    engine.start().await?;
    announcer.speaker().open();

    let drain = Duration::from_secs(settings.shutdown.drain_timeout_seconds.into());
    let http_shutdown = shutdown.child_token();
    let engine_shutdown = CancellationToken::new();
    let reloader = Reloader::new(dir.to_owned(), config.clone(), handle.clone());
    let app = http::App::new(http::AppParts {
        config: &config,
        engine: handle,
        store,
        announcer: Arc::clone(&announcer),
        clock,
        metrics,
        reload: {
            let reloader = reloader.clone();
            Arc::new(move |actor| {
                let reloader = reloader.clone();
                Box::pin(async move { reloader.reload(&actor).await.map_err(|error| error.to_string()) })
            })
        },
        shutdown: shutdown.clone(),
    });
    let mut engine = tokio::spawn(engine.run(engine_shutdown.clone()));
    let mut servers = tokio::spawn(http::serve(listeners, app, http_shutdown));
    let sessions = {
        let announcer = Arc::clone(&announcer);
        tokio::spawn(async move { announcer.watch_sessions().await })
    };
    let reloads = tokio::spawn(reload_on_hangup(reloader, shutdown.clone()));
    notify(&[sd_notify::NotifyState::Ready]);
    info!(pop = %config.settings.pop, mode = %config.settings.mode, version = env!("CARGO_PKG_VERSION"), "ready");

    let ended = tokio::select! {
        // A stop ends the servers too: that is no end of their own.
        biased;
        () = shutdown.cancelled() => None,
        ended = &mut engine => Some(engine_ended(ended)),
        ended = &mut servers => Some(servers_ended(ended)),
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    let stop = async {
        if !servers.is_finished()
            && let Ok(Err(error)) = (&mut servers).await
        {
            error!(%error, "the HTTP servers did not end in order");
        }
        engine_shutdown.cancel();
        if !engine.is_finished()
            && let Ok(Err(error)) = (&mut engine).await
        {
            error!(%error, "the engine did not end in order");
        }
    };
    if tokio::time::timeout(drain, stop).await.is_err() {
        warn!(
            seconds = drain.as_secs(),
            "work was still under way at the end of drain_timeout_seconds; its callers got no answer"
        );
    }
    let unfinished = announcer
        .speaker()
        .shutdown(
            Stop::Withdraw {
                text: SHUTDOWN_TEXT.to_owned(),
            },
            STOP_SESSIONS,
        )
        .await;
    if !unfinished.is_empty() {
        warn!(neighbors = ?unfinished, "these neighbours did not take the withdrawals in time; their session was cut, which drops the rules");
    }
    sessions.abort();
    reloads.abort();
    ended.unwrap_or(Ok(()))
}

/// How long neighbours may take to be told that everything is withdrawn.
const STOP_SESSIONS: Duration = Duration::from_secs(5);

fn engine_ended(ended: Result<Result<(), EngineError>, tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok(Ok(())) => anyhow::bail!("the engine ended although nobody asked it to"),
        Ok(Err(error)) => Err(error.into()),
        Err(panic) => Err(panic).context("the engine panicked"),
    }
}

fn servers_ended(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok(Ok(())) => anyhow::bail!("the HTTP servers ended although nobody asked them to"),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(panic).context("the HTTP servers panicked"),
    }
}

/// SIGHUP: read the configuration again.
async fn reload_on_hangup(reloader: Reloader, shutdown: CancellationToken) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return error!(%error, "SIGHUP cannot be received: reload through the API instead"),
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            received = hangups.recv() => if received.is_none() { return },
        }
        notify(&[sd_notify::NotifyState::Reloading]);
        // The reloader logs what it refuses.
        let _ = reloader.reload("signal:SIGHUP").await;
        notify(&[sd_notify::NotifyState::Ready]);
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told");
    }
}
