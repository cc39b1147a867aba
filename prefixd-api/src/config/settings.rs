//! `prefixd.yaml`.

pub use super::profile::{MeasuredRestart, NeighborLimits, Profile};
pub use crate::family::AfiSafi;

use super::playbooks::Protocol;
use super::secret::Secret;
use crate::rate::BitsPerSecond;
use crate::resource::Mode;
use crate::role::Role;
use crate::rule::{ActionType, Ranges};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $default,)* } }
        }
    };
}

/// The whole file. `pop` and `bgp` have no defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of this point of presence. Needs a restart.
    pub pop: String,
    /// Whether rules go to routers. Needs a restart: going to dry-run withdraws everything.
    #[serde(default)]
    pub mode: Mode,
    /// Listeners and access.
    #[serde(default)]
    pub http: Http,
    /// The speaker and its neighbours.
    pub bgp: Bgp,
    /// Detectors by name; `default` is for those that are not listed.
    #[serde(default)]
    pub sources: BTreeMap<String, Source>,
    /// Bounds of every rule.
    #[serde(default)]
    pub guardrails: Guardrails,
    /// How many mitigations.
    #[serde(default)]
    pub quotas: Quotas,
    /// When lost sessions stop all announcing.
    #[serde(default)]
    pub breaker: Breaker,
    /// Spans of time.
    #[serde(default)]
    pub timers: Timers,
    /// What a later step needs where it says nothing itself.
    #[serde(default)]
    pub escalation: Escalation,
    /// The database. Needs a restart.
    #[serde(default)]
    pub storage: Storage,
    /// Log.
    #[serde(default)]
    pub observability: Observability,
    /// Prefixes that no rule may touch.
    #[serde(default)]
    pub safelist: Safelist,
    /// How the daemon stops.
    #[serde(default)]
    pub shutdown: Shutdown,
}

section! {
    /// Listeners and access.
    Http {
        /// TCP addresses. Needs a restart.
        listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
        /// The Unix socket; null switches it off. Needs a restart.
        socket: Option<Socket> = Some(Socket::default()),
        /// Who may come in over TCP.
        auth: Auth = Auth::default(),
        /// Events a principal or address may send.
        rate_limit: RateLimit = RateLimit::default(),
    }
}

section! {
    /// The Unix socket: the kernel says who is at the other end.
    Socket {
        /// Where it is.
        path: PathBuf = PathBuf::from("/run/prefixd/prefixd.sock"),
        /// Its permissions, octal. Who may connect: what a connection may do, the groups say.
        mode: FileMode = FileMode(0o666),
        /// Members of this group are viewers.
        viewer_group: Option<String> = None,
        /// Members of this group are operators.
        operator_group: Option<String> = Some("prefixd".to_owned()),
        /// Members of this group are admins, as root is.
        admin_group: Option<String> = Some("prefixd-admin".to_owned()),
    }
}

/// Permissions of a file, written as octal text such as `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(pub u32);

impl From<FileMode> for String {
    fn from(mode: FileMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl TryFrom<String> for FileMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!(
                "{text:?} are no permissions; write them as octal text such as \"0660\""
            )),
        }
    }
}

section! {
    /// Who may come in over TCP.
    Auth {
        /// How.
        mode: AuthMode = AuthMode::None,
        /// Static tokens, for `bearer`.
        bearer_tokens: Vec<BearerToken> = Vec::new(),
    }
}

/// How principals are known over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody is an admin: only on loopback.
    None,
    /// By a token.
    Bearer,
}

impl AuthMode {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
        }
    }
}

/// A static token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearerToken {
    /// Names the principal in the journal: `token:NAME`.
    pub name: String,
    /// Environment variable that holds it.
    #[serde(default)]
    pub env: Option<String>,
    /// File that holds it; a newline at its end is not part of it.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// What it may do.
    pub role: Role,
    /// The token, once it is loaded.
    #[serde(skip)]
    pub secret: Secret,
}

section! {
    /// Events a principal or address may send.
    RateLimit {
        /// In the long run.
        events_per_second: u32 = 1000,
        /// At once.
        burst: u32 = 5000,
    }
}

/// The speaker and its neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bgp {
    /// Our AS. Needs a restart.
    pub local_asn: u32,
    /// Our BGP identifier. Needs a restart.
    pub router_id: Ipv4Addr,
    /// Where sessions are accepted; null: we only dial. Needs a restart.
    #[serde(default = "default_bgp_listen")]
    pub listen: Option<Vec<SocketAddr>>,
    /// Offered to neighbours; a change is offered by the next session.
    #[serde(default = "default_hold_time")]
    pub hold_time_seconds: u16,
    /// How long routers with `graceful_restart` are asked to keep our rules without us; a change makes their sessions
    /// anew.
    #[serde(default = "default_restart_time")]
    pub restart_time_seconds: u16,
    /// A kind of rule that is new to a profile goes to one of its neighbours first, and to the others once that one has kept
    /// it for so long. Absent: to all at once.
    #[serde(default)]
    pub canary_seconds: Option<u16>,
    /// On every route, so that routers can accept ours alone; a change sends every rule again.
    #[serde(default)]
    pub marker_large_community: Option<String>,
    /// The routers.
    #[serde(default)]
    pub neighbors: Vec<Neighbor>,
}

fn default_bgp_listen() -> Option<Vec<SocketAddr>> {
    Some(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 179))])
}

const fn default_hold_time() -> u16 {
    30
}

const fn default_restart_time() -> u16 {
    120
}

/// A router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    /// Its name, everywhere a person meets it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port that is dialled.
    #[serde(default = "default_bgp_port")]
    pub port: u16,
    /// Its AS; ours makes the session iBGP.
    pub peer_asn: u32,
    /// The address we dial from.
    #[serde(default)]
    pub local_address: Option<IpAddr>,
    /// Never dial.
    #[serde(default)]
    pub passive: bool,
    /// Environment variable that holds the key of TCP-MD5 (RFC 2385).
    #[serde(default)]
    pub password_env: Option<String>,
    /// File that holds it; a newline at its end is not part of it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The key, once it is loaded.
    #[serde(skip)]
    pub password: Option<Secret>,
    /// Whether only what no router has forwarded is heard (GTSM, RFC 5082).
    #[serde(default)]
    pub ttl_security: bool,
    /// Whether the router is asked to keep our rules while we are away (RFC 4724).
    #[serde(default)]
    pub graceful_restart: bool,
    /// Address families.
    #[serde(default = "default_families")]
    pub afi_safi: Vec<AfiSafi>,
    /// What blackhole routes carry; for the unicast families.
    #[serde(default)]
    pub rtbh: Option<Rtbh>,
    /// What it takes, and how fast.
    #[serde(default)]
    pub profile: Profile,
    /// What it takes otherwise than its profile says.
    #[serde(default)]
    pub limits: NeighborLimits,
    /// Most rules it may hold.
    #[serde(default = "default_max_rules")]
    pub max_rules: u32,
    /// What it does with the rules.
    #[serde(default)]
    pub role: NeighborRole,
    /// Whether rules go to it.
    #[serde(default = "yes")]
    pub enforce: bool,
}

/// What a neighbour does with the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighborRole {
    /// It filters.
    #[default]
    Router,
    /// It hands them on to its clients, and what these do with them is not known.
    RouteReflector,
}

const fn default_bgp_port() -> u16 {
    179
}

fn default_families() -> Vec<AfiSafi> {
    vec![AfiSafi::Ipv4Flowspec, AfiSafi::Ipv6Flowspec]
}

const fn default_max_rules() -> u32 {
    1000
}

const fn yes() -> bool {
    true
}

/// What blackhole routes carry at a neighbour, beside NO_EXPORT, BLACKHOLE (65535:666) and the marker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtbh {
    /// Where the router discards IPv4; needed for `ipv4-unicast`.
    #[serde(default)]
    pub next_hop: Option<Ipv4Addr>,
    /// Where it discards IPv6; needed for `ipv6-unicast`.
    #[serde(default)]
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Communities such as `65010:666`, besides.
    #[serde(default)]
    pub communities: Vec<String>,
}

impl Rtbh {
    /// Every next hop that is there.
    pub fn next_hops(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.next_hop.map(IpAddr::V4);
        v4.into_iter().chain(self.next_hop_v6.map(IpAddr::V6))
    }
}

section! {
    /// A detector.
    Source {
        /// Whether it reports an attack once, or for as long as it lasts.
        reporting: Reporting = Reporting::Repeats,
        /// Whether it still sees the attack once it is filtered.
        visibility: Visibility = Visibility::PreFilter,
        /// How long a claim lives after its last report.
        claim_ttl_seconds: u32 = 300,
        /// Confidence of reports that carry none.
        default_confidence: Option<f64> = None,
        /// How much its confidence counts.
        weight: f64 = 1.0,
        /// Detectors fed by the same data share one.
        domain: Option<String> = None,
        /// Whether its reports may start a mitigation.
        may_trigger: bool = true,
        /// The strictest action that its reports may ask for.
        max_action: ActionType = ActionType::Discard,
        /// Whether mitigations it starts are enforced.
        enforce: bool = true,
    }
}

/// How a detector reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporting {
    /// Once at the start, and the end.
    Once,
    /// Again and again while it lasts.
    Repeats,
}

/// Where a detector looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Before the filter: it sees the attack all the time.
    PreFilter,
    /// Behind it: a working filter looks like the end of the attack.
    PostFilter,
}

section! {
    /// Bounds of every rule.
    Guardrails {
        /// Shortest lease.
        min_ttl_seconds: u32 = 60,
        /// Longest lease of a playbook step.
        max_ttl_seconds: u32 = 1800,
        /// Longest lease that an operator may ask for.
        max_ttl_operator_seconds: u32 = 14_400,
        /// Longest time a scope is filtered, across successors.
        max_lifetime_seconds: u32 = 21_600,
        /// The same for what operators made.
        max_lifetime_operator_seconds: u32 = 86_400,
        /// Shortest destination prefix, IPv4.
        dst_prefix_minlen: u8 = 32,
        /// Shortest destination prefix, IPv6.
        dst_prefix_minlen_v6: u8 = 128,
        /// Most ports or ranges of one rule.
        max_ports: u32 = 8,
        /// Longest packet length that a rule may match.
        max_packet_length: u16 = 9216,
        /// Lowest police rate.
        min_police_bps: BitsPerSecond = BitsPerSecond(1_000_000),
        /// Whether a victim must be in the inventory.
        require_owned: bool = true,
        /// Prefixes of the network itself: never filtered.
        #[serde(deserialize_with = "crate::prefix::deserialize_list")]
        infrastructure_prefixes: Vec<IpNet> = Vec::new(),
        /// Traffic that no rule may catch, whatever it does with it.
        protected_flows: Vec<ProtectedFlow> = Vec::new(),
        /// One rule for many victims of one prefix.
        carpet: Carpet = Carpet::default(),
    }
}

section! {
    /// When many addresses of one prefix are attacked at once, one mitigation of the prefix takes the place of theirs.
    Carpet {
        /// Whether that is done.
        enabled: bool = false,
        /// How many addresses must be reported for one vector.
        min_hosts: u32 = 8,
        /// Within how long.
        window_seconds: u32 = 60,
        /// The widest prefix, IPv4.
        max_prefix_v4: u8 = 24,
        /// The widest prefix, IPv6.
        max_prefix_v6: u8 = 64,
    }
}

/// Traffic that no rule may catch. What is left out is any; one part must be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtectedFlow {
    /// What it is, for people.
    pub name: String,
    /// Where it goes.
    #[serde(default)]
    pub dst: Option<IpNet>,
    /// Where it comes from.
    #[serde(default)]
    pub src: Option<IpNet>,
    /// Its protocol, by name or number.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Its destination ports.
    #[serde(default)]
    pub dst_ports: Ranges,
    /// Its source ports.
    #[serde(default)]
    pub src_ports: Ranges,
}

section! {
    /// When lost sessions stop all announcing.
    Breaker {
        /// Neighbours lost within the window of an announcement that trip it. All of them trip it as well, where there
        /// are two at least.
        neighbors_lost: u16 = 2,
        /// Seconds.
        window_seconds: u32 = 60,
    }
}

section! {
    /// How many mitigations may be live at once, and begin in a minute. 0 lets none through.
    Quotas {
        /// Live, per customer.
        max_active_per_customer: u32 = 20,
        /// Live in this POP.
        max_active_per_pop: u32 = 200,
        /// Live in all POPs.
        max_active_global: u32 = 500,
        /// Beginning in a minute.
        max_new_per_minute: NewPerMinute = NewPerMinute::default(),
    }
}

section! {
    /// How many mitigations may begin in a minute.
    NewPerMinute {
        /// In this POP.
        pop: u32 = 60,
        /// Per customer.
        customer: u32 = 15,
        /// Per source.
        source: u32 = 30,
    }
}

section! {
    /// Spans of time.
    Timers {
        /// Lease of a step that names none.
        default_ttl_seconds: u32 = 300,
        /// How long a group stays open without events.
        correlation_window_seconds: u32 = 300,
        /// How often the RIB is compared with the committed mitigations.
        reconciliation_interval_seconds: u32 = 30,
        /// A longer gap of evidence ends persistence.
        quiet_period_seconds: u32 = 300,
        /// How long a mitigation stays after its last claim.
        hold_down_seconds: u32 = 60,
        /// How long bans are not acted on after an operator's withdrawal.
        suppress_seconds: u32 = 900,
        /// How far a source's clock may be ahead.
        max_future_skew_seconds: u32 = 60,
        /// Older events have no effect.
        max_event_age_seconds: u32 = 300,
    }
}

section! {
    /// What a later step needs where it says nothing itself.
    Escalation {
        /// Whether there are later steps at all.
        enabled: bool = true,
        /// How long there must have been evidence.
        min_persistence_seconds: u32 = 120,
        /// Derived confidence.
        min_confidence: f64 = 0.7,
    }
}

section! {
    /// The database.
    Storage {
        /// `sqlite:FILE` or `postgres://...`.
        connection_string: String = "sqlite:prefixd.db".to_owned(),
        /// Most connections.
        max_connections: u32 = 10,
        /// How long history is kept.
        retention_days: u32 = 90,
    }
}

section! {
    /// Log and metrics.
    Observability {
        /// How lines are written. Needs a restart.
        log_format: LogFormat = LogFormat::Json,
        /// What is logged.
        log_level: LogLevel = LogLevel::Info,
        /// Where `GET /metrics` is answered without credentials, beside the viewers' own; null: nowhere. Needs a
        /// restart.
        metrics_listen: Option<SocketAddr> = None,
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs a person.
    Error,
    /// And what may.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

impl LogLevel {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

section! {
    /// Prefixes that no rule may touch.
    Safelist {
        /// Host bits clear, not /0; an address is its host prefix.
        #[serde(deserialize_with = "crate::prefix::deserialize_list")]
        prefixes: Vec<IpNet> = Vec::new(),
    }
}

section! {
    /// How the daemon stops.
    Shutdown {
        /// How long queued work may take.
        drain_timeout_seconds: u32 = 30,
        /// Whether SIGTERM and SIGINT leave the rules to the routers that agreed to graceful restart; SIGQUIT never does.
        preserve_announcements: bool = false,
    }
}

impl Settings {
    /// Makes the paths of this file absolute.
    pub(super) fn resolve_paths(&mut self, dir: &Path) {
        if let Some(path) = self.storage.connection_string.strip_prefix("sqlite:") {
            let path = dir.join(path.trim_start_matches("//"));
            self.storage.connection_string = format!("sqlite:{}", path.display());
        }
        if let Some(socket) = &mut self.http.socket {
            socket.path = dir.join(&socket.path);
        }
    }

    /// Reads the secrets from where the file says they are. Answers each that cannot be used: the list it belongs to,
    /// its position there, and why.
    pub(super) fn load_secrets(&mut self, dir: &Path) -> Vec<(&'static str, usize, String)> {
        let mut refused = self.load_tokens(dir);
        for (index, neighbor) in self.bgp.neighbors.iter_mut().enumerate() {
            let file = neighbor.password_file.as_deref().map(|file| dir.join(file));
            match Secret::md5_key(neighbor.password_env.as_deref(), file.as_deref()) {
                Ok(key) => neighbor.password = key,
                Err(why) => {
                    let why = format!("the password of {:?} {why}", neighbor.name);
                    refused.push(("bgp.neighbors", index, why));
                }
            }
        }
        refused
    }

    fn load_tokens(&mut self, dir: &Path) -> Vec<(&'static str, usize, String)> {
        let tokens = &mut self.http.auth.bearer_tokens;
        let mut refused = Vec::new();
        for index in 0..tokens.len() {
            let (before, token) = (&tokens[..index], &tokens[index]);
            let file = token.file.as_deref().map(|file| dir.join(file));
            let loaded = Secret::token(token.env.as_deref(), file.as_deref()).and_then(|secret| {
                match before.iter().find(|other| other.secret == secret) {
                    // Which of the two asks could not be told: the role would be a matter of chance.
                    Some(other) => Err(format!(
                        "is the same as that of {:?}; every token needs its own",
                        other.name
                    )),
                    None => Ok(secret),
                }
            });
            match loaded {
                Ok(secret) => tokens[index].secret = secret,
                Err(why) => refused.push((
                    "http.auth.bearer_tokens",
                    index,
                    format!("token {:?} {why}", token.name),
                )),
            }
        }
        refused
    }

    /// The keys that differ from `running` and that only a restart can change.
    #[must_use]
    pub fn needs_restart(&self, running: &Self) -> Vec<String> {
        let keys = [
            ("pop", self.pop != running.pop),
            ("mode", self.mode != running.mode),
            ("http.listen", self.http.listen != running.http.listen),
            ("http.socket", self.http.socket != running.http.socket),
            ("bgp.local_asn", self.bgp.local_asn != running.bgp.local_asn),
            ("bgp.router_id", self.bgp.router_id != running.bgp.router_id),
            ("bgp.listen", self.bgp.listen != running.bgp.listen),
            (
                "storage",
                self.storage.connection_string != running.storage.connection_string
                    || self.storage.max_connections != running.storage.max_connections,
            ),
            (
                "observability.log_format",
                self.observability.log_format != running.observability.log_format,
            ),
            (
                "observability.metrics_listen",
                self.observability.metrics_listen != running.observability.metrics_listen,
            ),
        ];
        keys.into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(key, _)| key.to_owned())
            .collect()
    }
}
