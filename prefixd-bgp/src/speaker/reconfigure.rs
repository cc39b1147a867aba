//! Changing the set of neighbours while the others go on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::supervise::supervise;
use super::{Handle, Inner, Speaker};
use crate::config::{ConfigError, HoldTime, LargeCommunity, NeighborConfig};
use crate::history::Occurrence;
use crate::listener::Listening;
use crate::peer::{Order, StopReason};
use crate::shared::lock;
use crate::socket::Md5Key;
use crate::wire::AttributeSet;

/// How long a neighbour that leaves, or whose session changes, may take to end in order.
const LEAVE_GRACE: Duration = Duration::from_secs(5);

/// What a reconfiguration did, by name of neighbour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconfigured {
    /// New; they have no desired rules yet, except what is applied from now on.
    pub added: Vec<Arc<str>>,
    /// Gone; their rules are withdrawn, then the session ends with Cease/3.
    pub removed: Vec<Arc<str>>,
    /// Their session starts again with the new settings; the desired rules stay.
    pub restarted: Vec<Arc<str>>,
    /// Limits, budget or pace changed; the session goes on.
    pub adjusted: Vec<Arc<str>>,
}

impl Speaker {
    /// Replaces the set of neighbours. Those that are the same go on untouched.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the set cannot work; then nothing changes.
    pub fn reconfigure(&self, neighbors: Vec<NeighborConfig>) -> Result<Reconfigured, ConfigError> {
        self.inner.config.validate_neighbors(&neighbors)?;
        let mut report = Reconfigured::default();
        let mut handles = self.inner.write_neighbors();
        let before: Vec<_> = handles.values().map(|handle| handle.shared.config()).collect();
        protect(&lock(&self.listeners), &before, &neighbors)?;
        let mut old = std::mem::take(&mut *handles);
        for config in neighbors {
            let name = config.name.clone();
            let handle = match old.remove(&name) {
                None => {
                    report.added.push(name.clone());
                    self.inner.spawn(config)
                }
                Some(handle) => self.inner.adjust(handle, config, &mut report),
            };
            handles.insert(name, handle);
        }
        self.inner.dismiss(old, &mut report);
        Ok(report)
    }
}

impl Speaker {
    /// Changes what all neighbours have in common. Sessions go on: the hold time is offered by the next connection,
    /// another marker is put on every rule by sending it again in place.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the marker cannot be sent; then nothing changes.
    pub fn set_common(&self, hold_time: HoldTime, marker: Option<LargeCommunity>) -> Result<(), ConfigError> {
        let inner = &self.inner;
        let mut known = lock(&inner.marker);
        if *known != marker {
            let attributes = Arc::new(AttributeSet::new(inner.config.local_asn, marker)?);
            *known = marker;
            // Under the lock of the neighbours: one that is added now gets the new ones.
            let neighbors = inner.write_neighbors();
            *lock(&inner.attributes) = attributes.clone();
            for handle in neighbors.values() {
                handle.shared.set_attributes(&attributes);
            }
        }
        inner.hold_seconds.store(hold_time.as_secs(), Ordering::Relaxed);
        Ok(())
    }
}

impl Inner {
    fn adjust(&self, handle: Handle, config: NeighborConfig, report: &mut Reconfigured) -> Handle {
        let before = handle.shared.config();
        if before == config {
            return handle;
        }
        // First: what is admitted from now on is sent with what belongs to it.
        handle.shared.set_config(config.clone());
        handle.shared.rib().reconfigure(&config);
        self.seat(&handle.shared);
        handle.shared.changed.send_replace(());
        if before.same_session(&config) {
            report.adjusted.push(config.name);
            return handle;
        }
        handle.shared.remember(Occurrence::Reconfigured);
        report.restarted.push(config.name.clone());
        handle.orders.send_replace(Order::Stop(StopReason::Changed {
            continues: before.continues_in(&config),
        }));
        let ending = lock(&handle.task).take();
        let (orders, context) = self.context(handle.shared.clone());
        let task = tokio::spawn(async move {
            end(ending).await;
            supervise(context).await;
        });
        Handle {
            shared: handle.shared,
            orders,
            task: std::sync::Mutex::new(Some(AbortOnDropHandle::new(task))),
        }
    }

    fn dismiss(&self, old: BTreeMap<Arc<str>, Handle>, report: &mut Reconfigured) {
        let mut leaving = lock(&self.leaving);
        while leaving.try_join_next().is_some() {}
        for (name, handle) in old {
            report.removed.push(name);
            handle.shared.take_seat(None, Instant::now());
            handle.orders.send_replace(Order::Stop(StopReason::Removed));
            let ending = lock(&handle.task).take();
            leaving.spawn(end(ending));
        }
    }
}

/// Waits for a task that was ordered to stop; cuts it off when it takes too long.
async fn end(task: Option<AbortOnDropHandle<()>>) {
    if let Some(task) = task {
        let _ = timeout(LEAVE_GRACE, task).await;
    }
}

/// Gives the listeners the keys of `after`, which had those of `before`. If the system refuses one, they have those of
/// `before` again.
pub(super) fn protect(
    listeners: &[Listening],
    before: &[NeighborConfig],
    after: &[NeighborConfig],
) -> Result<(), ConfigError> {
    let result = set_keys(listeners, before, after);
    if result.is_err() {
        // What was set a moment ago can be set again; and if not, the neighbour is shut out, not let in.
        let _ = set_keys(listeners, after, before);
    }
    result
}

fn set_keys(
    listeners: &[Listening],
    before: &[NeighborConfig],
    after: &[NeighborConfig],
) -> Result<(), ConfigError> {
    let keys = |configs: &[NeighborConfig]| -> BTreeMap<IpAddr, (Arc<str>, Md5Key)> {
        let key = |config: &NeighborConfig| {
            let key = (config.name.clone(), config.password.clone()?);
            Some((config.address.to_canonical(), key))
        };
        configs.iter().filter_map(key).collect()
    };
    let (old, new) = (keys(before), keys(after));
    let gone = old
        .iter()
        .filter(|(address, _)| !new.contains_key(*address))
        .map(|(address, (name, _))| (*address, name, None));
    // Those that stay are set again too: the kernel replaces a key by itself.
    let wanted = new
        .iter()
        .map(|(address, (name, key))| (*address, name, Some(key)));
    for (address, name, key) in gone.chain(wanted) {
        for listening in listeners {
            if listening.address.is_ipv4() == address.is_ipv4() {
                listening
                    .set_key(address, key)
                    .map_err(|error| ConfigError::Protection {
                        name: name.clone(),
                        option: "TCP-MD5",
                        address: listening.address,
                        detail: error.to_string(),
                    })?;
            }
        }
    }
    Ok(())
}
