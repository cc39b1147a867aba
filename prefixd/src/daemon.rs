//! Starting, reloading and stopping: the wiring of the parts.
//!
//! ```text
//!   start: configuration, store (waited for), state repaired, rules desired, listeners, sessions, requests
//!   stop:  requests end, what is queued is committed, rules withdrawn or left, sessions closed
//! ```
//!
//! The engine has a thread of its own, and its end ends the daemon. Tasks: the HTTP servers, a watcher of sessions. All end
//! with [`run`].

mod database;
mod engine_thread;
mod log;
mod stop;
mod systemd;
mod watchdog;

pub use crate::configuration::check;
pub use log::{LogLevel, start_log};
pub use stop::Shutdown;

use crate::announce::Announcer;
use crate::clock::Clock;
use crate::configuration::{Reloaded, Reloader, wiring};
use crate::counting::keep_counting;
use crate::engine::{Engine, Handle, Parts};
use crate::http::{self, Live};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::pops::Watcher;
use crate::store::Store;
use anyhow::Context;
use database::Opened;
use engine_thread::EngineThread;
use prefixd_api::config::Config;
use prefixd_bgp::Speaker;
use sd_notify::NotifyState;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Runs the daemon until `stop` is asked for, then stops it in order.
///
/// # Errors
/// When something that is needed at start is not to be had, or the engine ends by itself. systemd starts it again.
pub async fn run(dir: &Path, config: Config, log: Arc<LogLevel>, stop: Shutdown) -> anyhow::Result<()> {
    let shutdown = stop.token().clone();
    // Before anything else: without a handler SIGHUP ends the process. It is kept until somebody looks.
    let hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be received")?;
    let live = Arc::new(Live::new(&config.settings));
    let started = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            info!("stopped before the start was complete; nothing was announced");
            return Ok(());
        }
        never = systemd::ask_for_time() => match never {},
        started = start(&config, &shutdown) => started?,
    };
    let Started {
        listeners,
        store,
        clock,
        metrics,
        announcer,
        engine,
        handle,
        database,
    } = started;
    if handle.snapshot().unreadable == 0 {
        announcer.speaker().open();
    } else {
        // What a router kept over the restart may be a rule that nobody can account for.
        announcer.speaker().open_incomplete();
    }

    let http_shutdown = shutdown.child_token();
    let engine_shutdown = CancellationToken::new();
    let reloader = Reloader::new(
        dir.to_owned(),
        config.clone(),
        database,
        Reloaded {
            engine: handle.clone(),
            announcer: Arc::clone(&announcer),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            adopt: {
                let live = Arc::clone(&live);
                Box::new(move |settings| {
                    live.adopt(settings);
                    log.set(settings.observability.log_level);
                })
            },
        },
    );
    let counted = (Arc::clone(&store), Arc::clone(&clock));
    let (tells_news, news) = watch::channel(0);
    let watcher = store.is_shared().then(|| Watcher {
        store: Arc::clone(&store),
        engine: handle.clone(),
        clock: Arc::clone(&clock),
        pop: config.settings.pop.clone(),
    });
    let app = http::App::new(http::AppParts {
        config: &config,
        engine: handle,
        store,
        announcer: Arc::clone(&announcer),
        clock,
        metrics,
        live,
        reloader: reloader.clone(),
        news,
        shutdown: shutdown.clone(),
    });
    let mut engine = EngineThread::start(engine.run(engine_shutdown.clone()))
        .context("the system has no thread for the engine")?;
    let mut servers = tokio::spawn(http::serve(listeners, app, http_shutdown));
    let sessions = {
        let announcer = Arc::clone(&announcer);
        tokio::spawn(async move { announcer.watch_sessions().await })
    };
    let counting = tokio::spawn(keep_counting(counted.0, config.settings.pop.clone(), counted.1));
    let others = watcher.map(|watcher| tokio::spawn(watcher.run(tells_news)));
    let reloads = tokio::spawn(reload_on_hangup(hangups, reloader.clone(), shutdown.clone()));
    systemd::tell(&[
        NotifyState::Ready,
        NotifyState::Status(&format!(
            "POP {}, mode {}",
            config.settings.pop, config.settings.mode
        )),
    ]);
    info!(pop = %config.settings.pop, mode = %config.settings.mode, version = env!("CARGO_PKG_VERSION"), "ready");

    let ended = tokio::select! {
        // A stop ends the servers too: that is no end of their own.
        biased;
        () = shutdown.cancelled() => None,
        ended = engine.ended() => Some(ended.and_then(|()| anyhow::bail!("the engine ended although nobody asked it to"))),
        ended = &mut servers => Some(servers_ended(ended)),
    };
    systemd::tell(&[NotifyState::Stopping]);
    shutdown.cancel();
    let draining = async {
        if !servers.is_finished()
            && let Ok(Err(error)) = (&mut servers).await
        {
            error!(%error, "the HTTP servers did not end in order");
        }
        engine_shutdown.cancel();
        if let Err(error) = engine.ended().await {
            error!(error = format!("{error:#}"), "the engine did not end in order");
        }
    };
    let settings = reloader.in_force().settings.shutdown.clone();
    let drain = Duration::from_secs(settings.drain_timeout_seconds.into());
    if tokio::time::timeout(drain, draining).await.is_err() {
        warn!(
            seconds = drain.as_secs(),
            "work was still under way at the end of drain_timeout_seconds; its callers are told that its outcome is not known"
        );
    }
    engine.give_up().await;
    stop.end_sessions(announcer.speaker(), settings, ended.is_none())
        .await;
    sessions.abort();
    counting.abort();
    if let Some(others) = others {
        others.abort();
    }
    reloads.abort();
    ended.unwrap_or(Ok(()))
}

/// What a start makes before anything is announced.
struct Started {
    listeners: http::Listeners,
    store: Arc<Store>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    announcer: Arc<Announcer>,
    engine: Engine,
    handle: Handle,
    /// Where the database is.
    database: Vec<IpAddr>,
}

/// Everything up to the desired rules. Dropping it half-way is safe: no session is open yet, and what the store was
/// asked it has done or not, as after a crash.
async fn start(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<Started> {
    let settings = &config.settings;
    // An address that cannot be had is said at once. But nobody may wait there while the start does: a report of hours
    // ago would be carried out as one of now.
    drop(http::Listeners::bind(settings)?);
    let Opened { store, clock, loaded } = database::open(settings).await?;
    let (store, clock) = (Arc::new(store), Arc::new(clock));

    let metrics = Arc::new(Metrics::new());
    let database = wiring::database(&settings.storage.connection_string).await?;
    let policy = Arc::new(Policy::compile(config, &wiring::implicit(config, &database)?));
    let speaker = Speaker::start(wiring::speaker(config)?).context("the BGP speaker cannot start")?;
    let announcer = Arc::new(Announcer::new(
        speaker,
        Arc::clone(&clock),
        wiring::neighbors(config),
        Arc::clone(&policy),
    ));
    let alive = watchdog::start(shutdown.clone(), watchdog::Limits::default());
    let (mut engine, handle) = Engine::new(
        Parts {
            store: Arc::clone(&store),
            announcer: Arc::clone(&announcer),
            clock: Arc::clone(&clock),
            policy,
            settings: wiring::engine(config),
            metrics: Arc::clone(&metrics),
            alive: {
                let alive = Arc::clone(&alive);
                Box::new(move || alive())
            },
        },
        loaded,
    );
    // A store that is away holds the start, and is no reason to end it.
    let mut sign = tokio::time::interval(Duration::from_secs(1));
    {
        let repaired = engine.start();
        tokio::pin!(repaired);
        loop {
            tokio::select! {
                repaired = &mut repaired => break repaired?,
                _ = sign.tick() => alive(),
            }
        }
    }
    Ok(Started {
        listeners: http::Listeners::bind(settings)?,
        store,
        clock,
        metrics,
        announcer,
        engine,
        handle,
        database,
    })
}

fn servers_ended(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok(Ok(())) => anyhow::bail!("the HTTP servers ended although nobody asked them to"),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(panic).context("the HTTP servers panicked"),
    }
}

/// SIGHUP: read the configuration again.
async fn reload_on_hangup(mut hangups: Signal, reloader: Reloader, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            received = hangups.recv() => if received.is_none() { return },
        }
        systemd::tell(&[NotifyState::Reloading]);
        // The reloader logs what it refuses. A signal confirms nothing.
        let _ = reloader.reload("signal:SIGHUP", None, None).await;
        systemd::tell(&[NotifyState::Ready]);
    }
}
