//! The WebSocket feed.
//!
//! One task per feed connects, reads and hands over; dropping the [`Feed`] ends it, which is safe because it
//! owns nothing but its connection.
//!
//! ```text
//!   socket --> task: remember position --> channel (FEED_QUEUE) --> Feed::next
//!                ^                            full: the task stops reading, the daemon sees a slow
//!                |                            reader and answers with resync_required
//!                +-- lost or silent: pause, connect again with ?since=position
//! ```

mod session;
mod socket;

use super::{Client, Error};
use crate::feed::FeedMessage;
use crate::resource::Mode;
use crate::role::Role;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Most items that wait for the reader.
const FEED_QUEUE: usize = 1024;

/// What to subscribe to.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Begin after this position; at the newest entry when absent.
    pub since: Option<u64>,
    /// Other POPs to follow, each from a position; messages say which POP they are of.
    pub follow: BTreeMap<String, u64>,
    /// Only messages of these types; all when empty.
    pub types: Vec<String>,
    /// A feed that is silent for so long is lost. The daemon sends pings more often.
    pub silence: Duration,
    /// Ask for a sign of life this often, and hand the answers on as [`FeedItem::Alive`]. Never when absent: the
    /// daemon's own pings are enough for readers that do not show how old what they have is.
    pub heartbeat: Option<Duration>,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            since: None,
            follow: BTreeMap::new(),
            types: Vec::new(),
            silence: Duration::from_secs(45),
            heartbeat: None,
        }
    }
}

/// What a feed yields.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// The connection stands.
    Connected {
        /// Position of the newest journal entry.
        head: u64,
        /// The daemon's clock.
        server_time: Timestamp,
        /// The daemon's version.
        version: String,
        /// The POP.
        pop: String,
        /// Enforced or dry-run.
        mode: Mode,
        /// What the subscriber may do.
        role: Role,
    },
    /// The connection was lost or not made; the next attempt comes by itself.
    Lost {
        /// What happened.
        why: Error,
        /// When the next attempt will be made.
        retry_in: Duration,
    },
    /// Messages were missed: read the lists again. The feed goes on from `head`.
    Resync {
        /// Of which POP.
        pop: String,
        /// Position of the newest journal entry.
        head: u64,
    },
    /// A message.
    Message(Box<FeedMessage>),
    /// The daemon answered a heartbeat, or sent a ping: what was handed over is all there was until now.
    Alive,
    /// The daemon refuses the subscription; nothing follows.
    Refused(Error),
}

/// A subscription that reconnects by itself and goes on where it was.
#[derive(Debug)]
pub struct Feed {
    items: mpsc::Receiver<FeedItem>,
    task: AbortHandle,
}

impl Feed {
    /// What comes next; nothing after [`FeedItem::Refused`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        self.items.recv().await
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Subscribes. Must be called inside a tokio runtime.
    #[must_use]
    pub fn feed(&self, options: FeedOptions) -> Feed {
        let (sender, items) = mpsc::channel(FEED_QUEUE);
        let task = tokio::spawn(session::run(self.clone(), options, sender)).abort_handle();
        Feed { items, task }
    }
}
