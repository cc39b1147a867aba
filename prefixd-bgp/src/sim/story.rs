//! What happens in a seed. Ten minutes in which rules come and go, links fail, routers die, the speaker is started again and
//! operators act; then quiet, in which everything must come to rest; then the end of the speaker.

mod restart;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};

use super::check::{Check, REACHES};
use super::net::{Net, SPEAKER, Weather};
use super::router::{
    Death, End, Helper, NEXT_HOP, NEXT_HOP_V6, Order, Plan, Router, SPEAKER_ID, V4_UNICAST, V6_UNICAST,
    message, notification, wire,
};
use super::wishes::{LOCAL_ASN, Wishes};
use crate::canary::CanaryConfig;
use crate::config::{HoldTime, NeighborConfig, Rtbh, SpeakerConfig};
use crate::flowspec::Family;
use crate::restart::RestartTime;
use crate::route::Target;
use crate::shared::lock;
use crate::speaker::Speaker;
use crate::transport::Network;
pub(super) use restart::{Left, Restarted};

const SECOND: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(600);
/// The longest hold-down and what comes after it; once more for each family if a router has bounds.
const QUIET: Duration = Duration::from_secs(380);
/// A rule that shows as silence is found by several hold times, with the trials between them.
pub(super) const SILENCE: Duration = Duration::from_secs(400);
const HOLD_DOWN: Duration = Duration::from_secs(305);
const LONGEST_ACT: u64 = 100;

/// What is told, with its time.
pub(super) struct Log {
    begin: Instant,
    lines: Mutex<Vec<String>>,
}

impl Log {
    pub(super) fn say(&self, line: &str) {
        let at = self.begin.elapsed().as_secs_f64();
        lock(&self.lines).push(format!("{at:8.3} {line}"));
    }
}

pub(super) struct World {
    pub(super) net: Arc<Net>,
    pub(super) speaker: Speaker,
    pub(super) routers: Vec<Arc<Router>>,
    pub(super) sides: Vec<Side>,
    pub(super) wishes: Wishes,
    /// Only rules come and go.
    pub(super) peaceful: bool,
    pub(super) restarted: Option<Restarted>,
    hold_time: HoldTime,
    log: Arc<Log>,
    rng: SmallRng,
    undo: BTreeMap<(Instant, u64), Act>,
    acts: u64,
    _tasks: JoinSet<()>,
}

/// The speaker's side of a neighbour, as the story knows it.
pub(super) struct Side {
    pub(super) config: NeighborConfig,
    pub(super) configured: bool,
    pub(super) enabled: bool,
    /// When somebody last did something to it by order.
    pub(super) acted_on: Instant,
    /// When its link or its router was last disturbed.
    pub(super) disturbed: Instant,
    /// When the last disturbance ends; one that never does ends with its connections.
    pub(super) disturbed_until: Instant,
    /// When the connections that are silent are heard again.
    pub(super) thaws: Instant,
    /// Something was said to it that makes the speaker hold it down.
    pub(super) offended: bool,
    /// How often the speaker was made to forget a bound of the router.
    pub(super) forgot_bound: u32,
}

/// What is taken back after a while.
#[derive(Debug, Clone)]
enum Act {
    ClearWeather(usize),
    StartRouter(usize),
    Enable(usize),
    Configure(usize),
    /// The speaker, which was started again, has restored what it could.
    Open,
}

pub(super) async fn play(seed: u64) -> Result<Vec<String>, Vec<String>> {
    let begin = Instant::now();
    let log = Arc::new(Log {
        begin,
        lines: Mutex::default(),
    });
    let mut world = World::new(seed, log.clone());
    let mut check = Check::new(world.routers.len());
    let result = world.live(begin, &mut check).await;
    let mut lines = lock(&log.lines).clone();
    match result {
        Ok(()) => Ok(lines),
        Err(broken) => {
            lines.push(format!("BROKEN (PREFIXD_SIM_SEED={seed}): {broken}"));
            Err(lines)
        }
    }
}

impl World {
    fn new(seed: u64, log: Arc<Log>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let net = Arc::new(Net::default());
        let hold = *[9, 30].choose(&mut rng).unwrap_or(&9);
        let wishes = Wishes::new(rng.random_range(5..60));
        let count = rng.random_range(1..=3);
        let canary = rng.random_bool(0.3).then(|| CanaryConfig {
            group: "all".into(),
            wait: Duration::from_secs(rng.random_range(5..30)),
        });
        let mut tasks = JoinSet::new();
        let mut routers = Vec::new();
        let mut sides = Vec::new();
        for n in 1..=count {
            let plan = plan(n, wishes.len(), &mut rng);
            log.say(&format!("{plan:?}"));
            let unicast = plan.families.contains(&V4_UNICAST);
            let families = if unicast {
                &Family::ALL[..]
            } else {
                &Family::FLOWSPEC
            };
            let config = NeighborConfig {
                families: families.iter().copied().collect(),
                rtbh: unicast.then(|| Rtbh {
                    next_hop: Some(NEXT_HOP),
                    next_hop_v6: Some(NEXT_HOP_V6),
                    communities: Default::default(),
                }),
                passive: plan.dials && rng.random(),
                pace: rng.random_bool(0.3).then(|| pace(&mut rng)),
                max_rules: rng.random_bool(0.35).then(|| max_rules(&mut rng)),
                canary: canary.clone(),
                graceful_restart: rng.random_bool(0.5).then(|| restart_time(&mut rng)),
                ..NeighborConfig::new(plan.name.clone(), plan.address.ip(), plan.asn.into())
            };
            let accepted = net.link(plan.address.ip(), plan.delay);
            let deadly = plan.deadly.map(|(n, end)| (wishes.key(n), end));
            let router = Router::new(plan, deadly, net.clone(), log.clone());
            router.state().may_hold(config.max_rules);
            tasks.spawn(router.clone().run(accepted));
            routers.push(router);
            let now = Instant::now();
            sides.push(Side {
                config,
                configured: true,
                enabled: true,
                acted_on: now,
                disturbed: now,
                disturbed_until: now,
                thaws: now,
                offended: false,
                forgot_bound: 0,
            });
        }
        let budgets: Vec<_> = sides.iter().map(|side: &Side| side.config.max_rules).collect();
        log.say(&format!(
            "speaker: hold time {hold}, {} rules, at most {budgets:?}, {canary:?}",
            wishes.len()
        ));
        let hold_time = HoldTime::from_secs(hold).expect("a hold time");
        let speaker = speaker(hold_time, &sides, &net, SmallRng::seed_from_u64(seed));
        Self {
            net,
            speaker,
            routers,
            sides,
            wishes,
            peaceful: rng.random_bool(0.2),
            restarted: None,
            hold_time,
            log,
            rng,
            undo: BTreeMap::new(),
            acts: 0,
            _tasks: tasks,
        }
    }

    async fn live(&mut self, begin: Instant, check: &mut Check) -> Result<(), String> {
        self.announce_some();
        self.speaker.open();
        // The mean pause between two acts differs from story to story.
        let pause = self.rng.random_range(2_000..30_000);
        let mut act_at = begin;
        let mut look_at = begin + SECOND;
        let quiet_at = begin + BUSY;
        let bounded = self
            .routers
            .iter()
            .filter(|router| router.plan.max_prefix.is_some());
        let families = bounded.map(|router| router.plan.families.len().max(2)).max();
        let is_silent = |router: &Arc<Router>| matches!(router.plan.deadly, Some((_, End::Silence)));
        let silence = self.routers.iter().any(is_silent);
        let quiet = QUIET + if silence { SILENCE } else { Duration::ZERO };
        let quiet = quiet + HOLD_DOWN * u32::try_from(families.unwrap_or(0)).expect("few families");
        while look_at < quiet_at + quiet {
            let undo_at = self.undo.first_key_value().map(|((at, _), _)| *at);
            let next = act_at.min(look_at).min(undo_at.unwrap_or(look_at));
            sleep_until(next).await;
            if undo_at == Some(next) {
                if let Some((_, act)) = self.undo.pop_first() {
                    self.take_back(&act);
                }
            } else if next == look_at {
                look_at += SECOND;
                check.every_second(self, next.checked_duration_since(quiet_at))?;
            } else {
                if self.rng.random_bool(0.04) && !self.peaceful {
                    self.restart().await;
                } else {
                    self.act();
                }
                act_at += Duration::from_millis(self.rng.random_range(1..2 * pause));
                if act_at >= quiet_at {
                    act_at = quiet_at + 2 * quiet;
                }
            }
            if next >= quiet_at && !self.undo.is_empty() {
                self.log.say("quiet");
                while let Some((_, act)) = self.undo.pop_first() {
                    self.take_back(&act);
                }
            }
        }
        while self.wishes.has_just_ended(Instant::now(), REACHES) {
            sleep_until(Instant::now() + SECOND).await;
        }
        check.at_rest(self)?;
        self.end(check).await
    }

    fn act(&mut self) {
        let r = self.rng.random_range(0..self.routers.len());
        let now = Instant::now();
        let acts = if self.peaceful { 45 } else { 100 };
        match self.rng.random_range(0..acts) {
            0..30 => self.announce_some(),
            30..45 => {
                let chosen = self.some_rules();
                self.log.say(&format!("withdraw {chosen:?}"));
                let changes: Vec<_> = chosen.iter().map(|n| self.wishes.withdraw(*n)).collect();
                self.apply(changes);
            }
            45..50 => {
                self.log.say(&format!("link {r}: reset"));
                self.disturb(r, now);
                self.net.wires(self.address(r), super::stream::Wire::reset);
            }
            50..62 => self.freeze(r),
            62..66 => self.storm(r),
            66..70 => self.kill(r),
            70..74 => {
                self.log.say(&format!("router {r} dials again"));
                let router = self.routers[r].clone();
                self._tasks.spawn(router.dial_again());
            }
            74..78 => {
                let families = &self.routers[r].plan.families;
                let family = *families.choose(&mut self.rng).unwrap_or(&1);
                self.log
                    .say(&format!("router {r} asks for family {family} again"));
                let [afi, safi] = wire(family);
                self.routers[r].order(&Order::Send(message(5, &[0, afi, 0, safi])));
            }
            78..82 => {
                let (code, subcode) = *[(6, 2), (6, 4), (6, 6), (6, 8), (3, 9), (3, 1), (2, 2)]
                    .choose(&mut self.rng)
                    .unwrap_or(&(6, 2));
                self.log.say(&format!("router {r} says {code}/{subcode}"));
                self.disturb(r, now);
                self.sides[r].offended |= code != 6;
                self.routers[r].order(&Order::End(notification(code, subcode)));
            }
            82..83 => {
                self.log.say(&format!("router {r} sends garbage"));
                self.disturb(r, now);
                self.routers[r].order(&Order::Send(vec![0; 40]));
            }
            83..87 => self.disable(r),
            87..90 => {
                self.log.say(&format!("reset {r}"));
                self.order_to(r);
                self.sides[r].forgot_bound += 1;
                self.routers[r].state().promised.clear();
                if self.sides[r].configured {
                    let _ = self.speaker.reset(&self.sides[r].config.name, "by hand");
                }
            }
            90..93 => {
                self.log.say(&format!("resend to {r}"));
                let _ = self.speaker.resend(&self.sides[r].config.name, None);
            }
            93..98 => self.reconfigure(r),
            _ => self.remove(r),
        }
    }

    fn take_back(&mut self, act: &Act) {
        self.log.say(&format!("{act:?}"));
        match *act {
            Act::ClearWeather(r) => {
                self.disturb(r, Instant::now());
                if !self
                    .undo
                    .values()
                    .any(|act| matches!(act, Act::StartRouter(other) if *other == r))
                {
                    self.net.set_weather(self.address(r), Weather::Clear);
                }
            }
            Act::StartRouter(r) => {
                self.disturb(r, Instant::now());
                self.routers[r].start();
            }
            Act::Open => self.open(),
            Act::Enable(r) => {
                self.order_to(r);
                self.sides[r].enabled = true;
                // It may have been removed meanwhile.
                let _ = self.speaker.enable(&self.sides[r].config.name);
            }
            Act::Configure(r) => {
                self.sides[r].configured = true;
                // A neighbour that is new is enabled.
                self.sides[r].enabled = true;
                self.configure(r);
                let target = Target::Neighbor(self.sides[r].config.name.clone());
                self.apply(self.wishes.all(&target));
            }
        }
    }

    fn announce_some(&mut self) {
        let chosen = self.some_rules();
        let lasts = match self.rng.random_range(0..3) {
            0 => Duration::from_millis(self.rng.random_range(500..20_000)),
            1 => Duration::from_secs(self.rng.random_range(20..400)),
            _ => Duration::from_secs(3600),
        };
        let keep_action = self.rng.random_bool(0.7);
        self.log.say(&format!("announce {chosen:?} for {lasts:?}"));
        let changes: Vec<_> = chosen
            .iter()
            .map(|n| self.wishes.announce(*n, lasts, keep_action, &mut self.rng))
            .collect();
        self.apply(changes);
    }

    fn apply(&self, changes: Vec<crate::route::Change>) {
        // A neighbour may be removed at the moment.
        let _ = self.speaker.apply(changes);
    }

    fn some_rules(&mut self) -> Vec<usize> {
        let all = self.wishes.len();
        let most = if self.rng.random_bool(0.2) {
            all
        } else {
            all.min(4)
        };
        let first = self.rng.random_range(0..all);
        let count = self.rng.random_range(1..=most);
        (first..first + count).map(|n| n % all).collect()
    }

    fn freeze(&mut self, r: usize) {
        let now = Instant::now();
        let until = if self.rng.random_bool(0.2) {
            now + Duration::from_secs(24 * 3600)
        } else {
            let seconds = self.rng.random_range(1..LONGEST_ACT);
            now + Duration::from_secs(seconds).min(self.quiet_at().saturating_duration_since(now))
        };
        let which = self.rng.random_range(0..3);
        let what = ["to the router", "to the speaker", "both ways"][which];
        let lasts = until - now;
        self.log
            .say(&format!("link {r}: connections silent {what} for {lasts:?}"));
        self.disturb(r, if lasts > BUSY { now } else { until });
        self.sides[r].thaws = self.sides[r].thaws.max(until);
        self.net.wires(self.address(r), |wire| {
            if which != 1 {
                wire.freeze_to_router(until);
            }
            if which != 0 {
                wire.freeze_to_speaker(until);
            }
        });
    }

    fn storm(&mut self, r: usize) {
        let weather = *[Weather::Refused, Weather::Blackhole]
            .choose(&mut self.rng)
            .unwrap_or(&Weather::Refused);
        self.log.say(&format!("link {r}: {weather:?}, connections reset"));
        self.net.set_weather(self.address(r), weather);
        self.net.wires(self.address(r), super::stream::Wire::reset);
        self.undo_later(r, Act::ClearWeather(r));
    }

    fn kill(&mut self, r: usize) {
        let death = *[Death::Process, Death::Host]
            .choose(&mut self.rng)
            .unwrap_or(&Death::Host);
        self.log.say(&format!("router {r}: {death:?} dies"));
        self.routers[r].die(death);
        self.undo_later(r, Act::StartRouter(r));
    }

    fn disable(&mut self, r: usize) {
        if !self.sides[r].configured || !self.sides[r].enabled {
            return;
        }
        self.log.say(&format!("disable {r}"));
        let _ = self.speaker.disable(&self.sides[r].config.name, "maintenance");
        self.order_to(r);
        self.sides[r].enabled = false;
        let at = self.some_time();
        self.undo.insert(at, Act::Enable(r));
    }

    fn reconfigure(&mut self, r: usize) {
        let passive = self.routers[r].plan.dials && self.rng.random();
        let config = &mut self.sides[r].config;
        match self.rng.random_range(0..3) {
            0 => config.pace = self.rng.random_bool(0.5).then(|| pace(&mut self.rng)),
            1 => config.max_rules = self.rng.random_bool(0.5).then(|| max_rules(&mut self.rng)),
            _ => config.passive = passive,
        }
        let text = format!(
            "configure {r}: {:?}, {:?}, passive {}",
            config.pace, config.max_rules, config.passive
        );
        self.log.say(&text);
        self.configure(r);
    }

    fn remove(&mut self, r: usize) {
        if !self.sides[r].configured {
            return;
        }
        self.log.say(&format!("remove {r}"));
        self.sides[r].configured = false;
        self.configure(r);
        let at = self.some_time();
        self.undo.insert(at, Act::Configure(r));
    }

    fn configure(&mut self, r: usize) {
        self.order_to(r);
        self.sides[r].forgot_bound += 1;
        let mut state = self.routers[r].state();
        state.announced.clear();
        state.promised.clear();
        state.may_hold(self.sides[r].config.max_rules);
        drop(state);
        let configs = self.sides.iter().filter(|side| side.configured);
        let configs = configs.map(|side| side.config.clone()).collect();
        self.speaker.reconfigure(configs).expect("a configuration");
    }

    fn undo_later(&mut self, r: usize, act: Act) {
        let at = self.some_time();
        self.disturb(r, at.0);
        self.undo.insert(at, act);
    }

    fn some_time(&mut self) -> (Instant, u64) {
        self.acts += 1;
        let seconds = self.rng.random_range(1..LONGEST_ACT);
        let at = (Instant::now() + Duration::from_secs(seconds)).min(self.quiet_at());
        (at, self.acts)
    }

    fn quiet_at(&self) -> Instant {
        self.log.begin + BUSY
    }

    fn disturb(&mut self, r: usize, until: Instant) {
        let side = &mut self.sides[r];
        side.disturbed = Instant::now();
        side.disturbed_until = side.disturbed_until.max(until);
    }

    fn order_to(&mut self, r: usize) {
        self.sides[r].acted_on = Instant::now();
    }

    fn address(&self, r: usize) -> IpAddr {
        self.routers[r].plan.address.ip()
    }
}

/// A speaker of those that are configured, before its first session.
fn speaker(hold_time: HoldTime, sides: &[Side], net: &Arc<Net>, jitter: SmallRng) -> Speaker {
    let configured = sides.iter().filter(|side| side.configured);
    let config = SpeakerConfig {
        local_asn: LOCAL_ASN,
        router_id: SPEAKER_ID,
        listen: vec![SPEAKER],
        hold_time,
        marker: Some("65010:8955:1".parse().expect("a marker")),
        neighbors: configured.map(|side| side.config.clone()).collect(),
    };
    Speaker::start_on(config, Network::Simulated(net.clone()), jitter).expect("a speaker")
}

fn plan(n: u8, rules: usize, rng: &mut SmallRng) -> Plan {
    let both = rng.random_bool(0.8);
    let unicast = rng.random_bool(0.3);
    let families: &[u8] = match (both, unicast) {
        (true, false) => &[1, 2],
        (false, false) => &[1],
        (true, true) => &[1, 2, V4_UNICAST, V6_UNICAST],
        (false, true) => &[1, V4_UNICAST],
    };
    // Identifiers on both sides of ours, for collisions.
    let id = if rng.random() { 9 } else { 11 };
    Plan {
        name: format!("router {}", n - 1).into(),
        address: SocketAddr::new(Ipv4Addr::new(192, 0, 2, n).into(), 179),
        asn: 65000 + u16::from(n),
        id: Ipv4Addr::new(id, 0, 0, n),
        hold: *[9, 30, 90].choose(rng).unwrap_or(&30),
        families: families.to_vec(),
        enhanced_refresh: rng.random(),
        restart: *[
            None,
            Some(Helper::Drops),
            Some(Helper::Keeps),
            Some(Helper::Keeps),
        ]
        .choose(rng)
        .unwrap_or(&None),
        max_prefix: rng
            .random_bool(0.25)
            .then(|| (rng.random_range(3..25), rng.random_bool(0.7))),
        dials: rng.random(),
        delay: Duration::from_millis(rng.random_range(0..80)),
        deadly: rng
            .random_bool(0.3)
            .then(|| (rng.random_range(0..rules), end(rng))),
    }
}

fn end(rng: &mut SmallRng) -> End {
    match rng.random_range(0..4) {
        0 => End::Notification { named: true },
        1 => End::Notification { named: false },
        2 => End::Reset,
        _ => End::Silence,
    }
}

fn restart_time(rng: &mut SmallRng) -> RestartTime {
    let seconds = *[10, 30, 120].choose(rng).unwrap_or(&120);
    RestartTime::from_secs(seconds).expect("a restart time")
}

fn max_rules(rng: &mut SmallRng) -> usize {
    rng.random_range(1..30)
}

fn pace(rng: &mut SmallRng) -> NonZeroU32 {
    NonZeroU32::new(rng.random_range(2..50)).unwrap_or(NonZeroU32::MIN)
}
