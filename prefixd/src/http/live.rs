//! The settings of this interface that a reload changes.

use super::identity::Access;
use arc_swap::{ArcSwap, Guard};
use governor::{DefaultKeyedRateLimiter, Quota};
use prefixd_api::config::Settings;
use prefixd_api::config::settings::{Http, RateLimit};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// In force now.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) access: Arc<Access>,
    /// Events by actor.
    pub(super) limiter: Arc<DefaultKeyedRateLimiter<String>>,
    pub(super) max_future_skew: Duration,
    /// No mitigation lives longer.
    pub(super) longest_life: Duration,
    of: Http,
}

/// What is in force, and changes by [`Live::adopt`].
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Current>,
    /// Who may come in is another now.
    access_changed: watch::Sender<()>,
}

impl Live {
    /// As configured.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            current: ArcSwap::from_pointee(Current {
                access: Arc::new(Access::new(&settings.http)),
                limiter: limiter(&settings.http.rate_limit),
                max_future_skew: skew(settings),
                longest_life: longest_life(settings),
                of: settings.http.clone(),
            }),
            access_changed: watch::Sender::new(()),
        }
    }

    /// A configuration came into force: every request from now on is judged by it.
    pub fn adopt(&self, settings: &Settings) {
        let before = self.current.load_full();
        let (old, new) = (&before.of, &settings.http);
        let same_access = old.auth == new.auth && old.socket == new.socket;
        self.current.store(Arc::new(Current {
            access: if same_access {
                Arc::clone(&before.access)
            } else {
                Arc::new(Access::new(new))
            },
            // A limiter that stays keeps its counts: a reload is no way to get a new allowance.
            limiter: if old.rate_limit == new.rate_limit {
                Arc::clone(&before.limiter)
            } else {
                limiter(&new.rate_limit)
            },
            max_future_skew: skew(settings),
            longest_life: longest_life(settings),
            of: new.clone(),
        }));
        if !same_access {
            self.access_changed.send_replace(());
        }
    }

    pub(super) fn load(&self) -> Guard<Arc<Current>> {
        self.current.load()
    }

    /// For those who were let in once by `access` and are not asked again: none when it changed already.
    pub(super) fn access_changes(&self, access: &Arc<Access>) -> Option<watch::Receiver<()>> {
        let changes = self.access_changed.subscribe();
        Arc::ptr_eq(&self.load().access, access).then_some(changes)
    }
}

fn skew(settings: &Settings) -> Duration {
    Duration::from_secs(settings.timers.max_future_skew_seconds.into())
}

/// At least a week: what began under an earlier configuration may have had longer than it would have now.
fn longest_life(settings: &Settings) -> Duration {
    const WEEK: u64 = 7 * 24 * 3600;
    let guardrails = &settings.guardrails;
    let longest = guardrails
        .max_lifetime_seconds
        .max(guardrails.max_lifetime_operator_seconds);
    Duration::from_secs(u64::from(longest).max(WEEK))
}

fn limiter(limit: &RateLimit) -> Arc<DefaultKeyedRateLimiter<String>> {
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let quota =
        Quota::per_second(at_least_one(limit.events_per_second)).allow_burst(at_least_one(limit.burst));
    Arc::new(DefaultKeyedRateLimiter::keyed(quota))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::config::Config;

    fn settings(http: &str) -> Settings {
        let text = format!("pop: a\nmode: dry-run\nbgp: {{ local_asn: 1, router_id: 10.0.0.1 }}\n{http}");
        Config::from_texts(&text, "{}", "{}").unwrap().settings
    }

    #[test]
    fn a_reload_gives_no_new_allowance_and_ends_no_subscription_by_itself() {
        let limited = "http: { rate_limit: { events_per_second: 1, burst: 1 } }\n";
        let live = Live::new(&settings(limited));
        let access = Arc::clone(&live.load().access);
        let changes = live.access_changes(&access).expect("as it was");
        let allowed = |live: &Live| live.load().limiter.check_key(&"a".to_owned()).is_ok();
        assert!(allowed(&live) && !allowed(&live));
        live.adopt(&settings(&format!(
            "{limited}timers: {{ max_future_skew_seconds: 9 }}\n"
        )));
        assert!(!allowed(&live));
        assert_eq!(live.load().max_future_skew, Duration::from_secs(9));
        assert_eq!(live.load().longest_life, Duration::from_secs(604_800));
        assert!(!changes.has_changed().unwrap() && live.access_changes(&access).is_some());

        live.adopt(&settings(
            "http: { rate_limit: { events_per_second: 1, burst: 2 } }\n",
        ));
        assert!(allowed(&live) && allowed(&live) && !allowed(&live));
    }

    #[test]
    fn nothing_lives_longer_than_it_says() {
        let longest = |lifetimes: &str| {
            let settings = settings(&format!("guardrails: {{ {lifetimes} }}\n"));
            Live::new(&settings).load().longest_life.as_secs()
        };
        assert_eq!(longest(""), 604_800);
        assert_eq!(longest("max_lifetime_seconds: 700000"), 700_000);
        assert_eq!(longest("max_lifetime_operator_seconds: 2600000"), 2_600_000);
    }

    #[test]
    fn who_was_let_in_before_is_told_of_another_access() {
        let live = Live::new(&settings(""));
        let access = Arc::clone(&live.load().access);
        let changes = live.access_changes(&access).expect("as it was");
        live.adopt(&settings(
            "http: { auth: { mode: bearer, bearer_tokens: [{ name: a, env: A, role: viewer }] } }\n",
        ));
        assert!(changes.has_changed().unwrap());
        assert!(live.access_changes(&access).is_none(), "too late to wait for it");
    }
}
