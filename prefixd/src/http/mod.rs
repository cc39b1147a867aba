//! The REST and WebSocket interface.
//!
//! | module | what it holds |
//! |---|---|
//! | `routes` | the one table: every route with its role, its handler and its place in the OpenAPI document |
//! | `gate` | what every request passes: request id, identity, role, rate limit, counters |
//! | `identity` | who a request comes from |
//! | `keys` | Idempotency-Key: a change is carried out once, however often it is sent |
//! | `live` | the settings that a reload changes |
//! | `server` | listeners, connections, the end in order |
//! | `error`, `extract` | the one error shape; bodies and queries |
//! | `events`, `mitigations`, `operations`, `safelist`, `suppressions`, `sources`, `status`, `config`, `feed` | one resource each |
//! | `remote` | what is asked here of another POP |
//! | `traffic`, `groups`, `audit`, `history`, `series`, `drift`, `reports` | questions of operators |
//!
//! Handlers parse, ask the engine or the store, and answer. They decide nothing.

mod audit;
mod config;
mod control;
mod document;
mod drift;
mod dump;
mod elsewhere;
mod error;
mod events;
mod extract;
mod feed;
mod gate;
mod groups;
mod history;
mod identity;
mod keys;
mod live;
mod mitigations;
mod operations;
mod peers;
mod preview;
mod remote;
mod reports;
mod routes;
mod safelist;
mod series;
mod server;
mod sources;
mod status;
mod suppressions;
mod traffic;

pub use error::Failure;
pub use identity::{Access, Tokens};
pub use live::Live;
pub use routes::{openapi, router};
pub use server::{Listeners, serve};

use crate::announce::Announcer;
use crate::clock::Clock;
use crate::configuration::Reloader;
use crate::engine::Handle;
use crate::metrics::Metrics;
use crate::pops::News;
use crate::store::Store;
use prefixd_api::config::Config;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Feed subscribers at once; one more is told to come back.
const MAX_SUBSCRIBERS: usize = 256;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    /// The engine.
    pub engine: Handle,
    /// The store, for reading.
    pub store: Arc<Store>,
    /// The neighbours.
    pub announcer: Arc<Announcer>,
    /// The engine's clock.
    pub clock: Arc<Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The configuration.
    pub reloader: Reloader,
    /// Counts up when there may be something new of another POP.
    pub(crate) news: News,
    live: Arc<Live>,
    pop: String,
    started_at: Timestamp,
    subscribers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// What an [`App`] is made of.
pub struct AppParts<'a> {
    /// The configuration at start.
    pub config: &'a Config,
    /// The engine.
    pub engine: Handle,
    /// The store.
    pub store: Arc<Store>,
    /// The neighbours.
    pub announcer: Arc<Announcer>,
    /// The engine's clock.
    pub clock: Arc<Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The configuration.
    pub reloader: Reloader,
    /// The settings that a reload changes.
    pub live: Arc<Live>,
    /// Counts up when there may be something new of another POP.
    pub news: tokio::sync::watch::Receiver<u64>,
    /// Ends the subscriptions.
    pub shutdown: CancellationToken,
}

impl App {
    /// Handlers for these parts.
    #[must_use]
    pub fn new(parts: AppParts<'_>) -> Self {
        let settings = &parts.config.settings;
        Self(Arc::new(Inner {
            live: parts.live,
            news: parts.news,
            pop: settings.pop.clone(),
            started_at: parts.clock.now(),
            subscribers: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
            engine: parts.engine,
            store: parts.store,
            announcer: parts.announcer,
            clock: parts.clock,
            metrics: parts.metrics,
            reloader: parts.reloader,
            shutdown: parts.shutdown,
        }))
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
