//! From the configuration documents to what each part is given.

use crate::announce::{Neighbor, NeighborPlan, compile};
use crate::engine;
use crate::policy::Implicit;
use anyhow::Context;
use prefixd_api::config::Config;
use prefixd_api::config::Settings;
use prefixd_api::config::settings;
use prefixd_bgp::flowspec::Family;
use prefixd_bgp::{
    CanaryConfig, HoldTime, LargeCommunity, Limits, Md5Key, NeighborConfig, RestartTime, Rtbh, SpeakerConfig,
};
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// How long the name of the database's host may take.
const RESOLVE: Duration = Duration::from_secs(5);

/// How often history that is older than it may be is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// For the engine.
pub(crate) fn engine(config: &Config) -> engine::Settings {
    let timers = &config.settings.timers;
    let days = u64::from(config.settings.storage.retention_days);
    engine::Settings {
        max_future_skew: Duration::from_secs(timers.max_future_skew_seconds.into()),
        reconciliation_interval: Duration::from_secs(timers.reconciliation_interval_seconds.into()),
        retention: Duration::from_secs(days * 24 * 60 * 60),
        prune_interval: PRUNE_EVERY,
    }
}

/// For announcing.
pub(crate) fn neighbors(config: &Config) -> Vec<Neighbor> {
    let neighbors = config.settings.bgp.neighbors.iter();
    neighbors
        .map(|neighbor| Neighbor {
            name: Arc::from(neighbor.name.as_str()),
            enforce: neighbor.enforce,
            was_told: neighbor.enforce,
            plan: NeighborPlan {
                families: families(neighbor),
                profile: neighbor.profile,
                limits: limits(neighbor),
            },
            max_rules: neighbor.max_rules.into(),
            reflects: neighbor.role == settings::NeighborRole::RouteReflector,
        })
        .collect()
}

/// For the speaker.
pub(crate) fn speaker(config: &Config) -> anyhow::Result<SpeakerConfig> {
    let bgp = &config.settings.bgp;
    let marker = bgp
        .marker_large_community
        .as_deref()
        .map(str::parse::<LargeCommunity>);
    let restart_time =
        RestartTime::from_secs(bgp.restart_time_seconds).context("bgp.restart_time_seconds")?;
    Ok(SpeakerConfig {
        local_asn: bgp.local_asn,
        router_id: bgp.router_id,
        listen: bgp.listen.clone().unwrap_or_default(),
        hold_time: HoldTime::from_secs(bgp.hold_time_seconds).context("bgp.hold_time_seconds")?,
        marker: marker.transpose().context("bgp.marker_large_community")?,
        neighbors: bgp
            .neighbors
            .iter()
            .map(|settings| {
                Ok(NeighborConfig {
                    canary: bgp.canary_seconds.map(|seconds| canary(settings, seconds)),
                    ..neighbor(settings, restart_time)?
                })
            })
            .collect::<anyhow::Result<_>>()?,
    })
}

fn neighbor(settings: &settings::Neighbor, restart_time: RestartTime) -> anyhow::Result<NeighborConfig> {
    let key = settings
        .password
        .as_ref()
        .map(|key| Md5Key::new(key.expose().as_bytes()));
    Ok(NeighborConfig {
        port: settings.port,
        local_address: settings.local_address,
        passive: settings.passive,
        password: key
            .transpose()
            .with_context(|| format!("the password of {}", settings.name))?,
        ttl_security: settings.ttl_security,
        graceful_restart: settings.graceful_restart.then_some(restart_time),
        families: families(settings),
        rtbh: settings.rtbh.as_ref().map(rtbh).transpose()?,
        limits: limits(settings),
        max_rules: usize::try_from(settings.max_rules).ok(),
        pace: settings.rules_per_second().and_then(NonZeroU32::new),
        ..NeighborConfig::new(settings.name.as_str(), settings.address, settings.peer_asn)
    })
}

/// Neighbours of one profile are alike.
fn canary(settings: &settings::Neighbor, seconds: u16) -> CanaryConfig {
    CanaryConfig {
        group: settings.profile.as_str().into(),
        wait: Duration::from_secs(seconds.into()),
    }
}

fn rtbh(settings: &settings::Rtbh) -> anyhow::Result<Rtbh> {
    let communities = settings.communities.iter().map(|text| text.parse());
    Ok(Rtbh {
        next_hop: settings.next_hop,
        next_hop_v6: settings.next_hop_v6,
        communities: communities.collect::<Result<_, _>>()?,
    })
}

fn families(neighbor: &settings::Neighbor) -> BTreeSet<Family> {
    neighbor.afi_safi.iter().copied().map(compile::family).collect()
}

/// What rules are compiled to, and what the speaker refuses to send whatever it is given.
fn limits(neighbor: &settings::Neighbor) -> Limits {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        operators_per_component: size(neighbor.operators_per_component()),
        nlri_bytes: size(neighbor.nlri_bytes()),
        update_bytes: size(neighbor.update_bytes()),
    }
}

/// What no rule may touch and the documents do not say. `database` is where the database is.
pub(crate) fn implicit(config: &Config, database: &[IpAddr]) -> anyhow::Result<Implicit> {
    let named = |addresses: Vec<IpAddr>, what: &'static str| {
        addresses
            .into_iter()
            .map(move |address| (address, what.to_owned()))
    };
    let machine = if says_all_own_addresses(&config.settings) {
        Vec::new()
    } else {
        own_addresses().context(
            "the addresses of this machine cannot be read, so that rules could touch them: allow the daemon \
             AF_NETLINK, or name the addresses in bgp.listen, http.listen, observability.metrics_listen and every neighbour's local_address",
        )?
    };
    Ok(Implicit {
        addresses: named(database.to_vec(), "the database")
            .chain(named(machine, "an address of this machine"))
            .collect(),
    })
}

/// Whether the documents name every address of ours that the network can see; the policy takes those from there.
fn says_all_own_addresses(settings: &Settings) -> bool {
    let listeners = settings.bgp.listen.iter().flatten().chain(&settings.http.listen);
    let mut listeners = listeners.chain(&settings.observability.metrics_listen);
    listeners.all(|listener| !listener.ip().is_unspecified())
        && settings
            .bgp
            .neighbors
            .iter()
            .all(|neighbor| neighbor.local_address.is_some())
}

/// What the interfaces of this machine have now; loopback is nobody's victim.
fn own_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter_map(address)
        .filter(|address| !address.is_loopback())
        .collect())
}

/// Where the database is; nowhere when it is a file or a socket of this machine.
pub(crate) async fn database(connection_string: &str) -> anyhow::Result<Vec<IpAddr>> {
    let Some(options) = postgres(connection_string)? else {
        return Ok(Vec::new());
    };
    let host = options.get_host().trim_matches(['[', ']']);
    if options.get_socket().is_some() || host.starts_with('/') {
        return Ok(Vec::new());
    }
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, options.get_port())))
        .await
        .map_err(anyhow::Error::from)
        .and_then(|found| found.map_err(anyhow::Error::from))
        .with_context(|| format!("the addresses of the database's host {host} are not to be had"))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// What a connection string says, when it is of PostgreSQL.
pub(crate) fn postgres(connection_string: &str) -> anyhow::Result<Option<PgConnectOptions>> {
    if connection_string.starts_with("sqlite:") {
        return Ok(None);
    }
    // The text has the password; what is wrong with it is said without it.
    let options = connection_string
        .parse::<PgConnectOptions>()
        .map_err(|error| anyhow::anyhow!("is no PostgreSQL address: {error}"))?;
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the engine does by them is shown in engine/tests.
    #[test]
    fn retention_reconciliation_and_skew_reach_the_engine() {
        let settings = "pop: a\nmode: dry-run\nbgp: { local_asn: 1, router_id: 10.0.0.1 }\n\
             storage: { connection_string: \"sqlite:x.db\", retention_days: 7 }\n\
             timers: { reconciliation_interval_seconds: 11, max_future_skew_seconds: 13 }\n";
        let config = Config::from_texts(settings, "{}", "{}").unwrap();
        let engine = engine(&config);
        let told = [
            engine.retention,
            engine.reconciliation_interval,
            engine.max_future_skew,
        ];
        assert_eq!(told.map(|time| time.as_secs()), [7 * 86_400, 11, 13]);
    }

    #[tokio::test]
    async fn the_database_is_found_by_address_and_by_name() {
        for (text, addresses) in [
            (
                "postgres://prefixd:secret@192.0.2.9:5432/prefixd",
                vec!["192.0.2.9"],
            ),
            (
                "postgresql://prefixd@[2001:db8::9]:5432/p?sslmode=require",
                vec!["2001:db8::9"],
            ),
            ("postgres://prefixd@ignored/p?host=192.0.2.8", vec!["192.0.2.8"]),
            ("postgres:///p?host=/run/postgresql", vec![]),
            ("sqlite:/var/lib/prefixd/prefixd.db", vec![]),
        ] {
            let found: Vec<String> = database(text)
                .await
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, addresses, "{text}");
        }
        let local = database("postgres://prefixd@localhost/p").await.unwrap();
        assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback));
        assert!(database("postgres://prefixd@db.invalid/p").await.is_err());
        let error = postgres("postgres://u:hidden@h:99999999/p")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hidden"), "{error}");
    }

    #[test]
    fn what_a_neighbour_takes_is_its_profile_s_unless_it_says_otherwise() {
        let text = "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  neighbors:\n    - { name: a, address: 192.0.2.1, peer_asn: 1, profile: iosxr }\n    - { name: b, address: 192.0.2.2, peer_asn: 1, profile: frr, afi_safi: [ipv6-flowspec], limits: { operators_per_component: 3, nlri_bytes: 100, update_bytes: 512, rules_per_second: 50 } }\n";
        let config = Config::from_texts(text, "{}", "{}").unwrap();
        let told = speaker(&config).unwrap().neighbors;
        let costs = |limits: Limits| {
            (
                limits.operators_per_component,
                limits.nlri_bytes,
                limits.update_bytes,
            )
        };
        let pace = |of: &NeighborConfig| of.pace.map(NonZeroU32::get);
        assert_eq!(
            (costs(told[0].limits), pace(&told[0])),
            ((5, 239, 4096), Some(200))
        );
        assert_eq!((costs(told[1].limits), pace(&told[1])), ((3, 100, 512), Some(50)));
        // What is compiled and what the speaker takes are the same.
        for (compiled, told) in neighbors(&config).iter().zip(&told) {
            assert_eq!(compiled.plan.limits, told.limits);
            assert_eq!(compiled.plan.families, told.families);
        }
    }

    /// What the speaker does by it is shown in prefixd-bgp/tests.
    #[test]
    fn what_is_configured_of_sessions_reaches_the_speaker() {
        let text = r#"
pop: a
mode: dry-run
bgp:
  local_asn: 65011
  router_id: 10.0.0.7
  listen: ["192.0.2.10:1179"]
  hold_time_seconds: 12
  restart_time_seconds: 34
  canary_seconds: 56
  marker_large_community: "65011:7:8"
  neighbors:
    - name: edge
      address: 192.0.2.1
      port: 1790
      peer_asn: 65012
      local_address: 192.0.2.10
      passive: true
      ttl_security: true
      graceful_restart: true
      afi_safi: [ipv4-flowspec, ipv4-unicast, ipv6-unicast]
      rtbh: { next_hop: 192.0.2.254, next_hop_v6: "100::1", communities: ["65011:666"] }
      profile: iosxr
      max_rules: 77
      enforce: false
    - { name: plain, address: 192.0.2.2, peer_asn: 65011, role: route_reflector }
"#;
        let config = Config::from_texts(text, "{}", "{}").unwrap();
        let told = speaker(&config).unwrap();
        assert_eq!((told.local_asn, told.router_id), (65011, [10, 0, 0, 7].into()));
        assert_eq!(told.listen, ["192.0.2.10:1179".parse().unwrap()]);
        assert_eq!(told.hold_time.as_secs(), 12);
        assert_eq!(told.marker, Some("65011:7:8".parse().unwrap()));
        let canary = |group: &str| {
            let (group, wait) = (Arc::from(group), Duration::from_secs(56));
            Some(CanaryConfig { group, wait })
        };
        let usual = |name: &str, address: &str, peer_asn: u32| {
            NeighborConfig::new(name, address.parse().unwrap(), peer_asn)
        };
        let edge = NeighborConfig {
            port: 1790,
            local_address: "192.0.2.10".parse().ok(),
            passive: true,
            ttl_security: true,
            graceful_restart: RestartTime::from_secs(34).ok(),
            families: [Family::Ipv4, Family::Ipv4Unicast, Family::Ipv6Unicast].into(),
            rtbh: Some(Rtbh {
                next_hop: "192.0.2.254".parse().ok(),
                next_hop_v6: "100::1".parse().ok(),
                communities: ["65011:666".parse().unwrap()].into(),
            }),
            max_rules: Some(77),
            pace: NonZeroU32::new(200),
            canary: canary("iosxr"),
            ..usual("edge", "192.0.2.1", 65012)
        };
        let plain = NeighborConfig {
            max_rules: Some(1000),
            pace: NonZeroU32::new(1000),
            canary: canary("generic"),
            ..usual("plain", "192.0.2.2", 65011)
        };
        assert_eq!(told.neighbors, [edge, plain]);

        let announced = neighbors(&config);
        let of = |neighbor: &Neighbor| {
            let name = neighbor.name.to_string();
            (name, neighbor.enforce, neighbor.max_rules, neighbor.reflects)
        };
        assert_eq!(of(&announced[0]), ("edge".to_owned(), false, 77, false));
        assert_eq!(of(&announced[1]), ("plain".to_owned(), true, 1000, true));
    }

    #[test]
    fn without_a_named_address_all_of_this_machine_are_ours() {
        let config = |listen: &str, neighbor: &str| {
            let settings = format!(
                "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  listen: {listen}\n  neighbors:\n    - {{ name: r, address: 192.0.2.1, peer_asn: 1{neighbor} }}\n"
            );
            Config::from_texts(&settings, "{}", "{}").unwrap().settings
        };
        let local = ", local_address: 192.0.2.10";
        assert!(says_all_own_addresses(&config("null", local)));
        assert!(says_all_own_addresses(&config("[\"192.0.2.10:179\"]", local)));
        assert!(!says_all_own_addresses(&config("[\"0.0.0.0:179\"]", local)));
        assert!(!says_all_own_addresses(&config("null", "")));
        let mut metrics = config("null", local);
        metrics.observability.metrics_listen = "0.0.0.0:9100".parse().ok();
        assert!(!says_all_own_addresses(&metrics));
        metrics.observability.metrics_listen = "192.0.2.10:9100".parse().ok();
        assert!(says_all_own_addresses(&metrics));
        own_addresses().unwrap();
    }
}
