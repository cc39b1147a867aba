//! From the configuration documents to what each part is given.

use crate::announce::Neighbor;
use crate::engine;
use crate::policy::Implicit;
use anyhow::Context;
use prefixd_api::config::Config;
use prefixd_api::config::settings::{self, AfiSafi};
use prefixd_bgp::flowspec::Family;
use prefixd_bgp::{HoldTime, LargeCommunity, Limits, NeighborConfig, SpeakerConfig};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Longest NLRI that every router tried takes: from 240 bytes on FRR, GoBGP and ExaBGP fail, each in its own way.
const NLRI_BYTES: usize = 239;

/// How often history that is older than it may be is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// For the engine.
pub(super) fn engine(config: &Config) -> engine::Settings {
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
pub(super) fn neighbors(config: &Config) -> Vec<Neighbor> {
    let neighbors = config.settings.bgp.neighbors.iter();
    neighbors
        .map(|neighbor| Neighbor {
            name: Arc::from(neighbor.name.as_str()),
            enforce: neighbor.enforce,
        })
        .collect()
}

/// For the speaker.
pub(super) fn speaker(config: &Config) -> anyhow::Result<SpeakerConfig> {
    let bgp = &config.settings.bgp;
    let marker = bgp
        .marker_large_community
        .as_deref()
        .map(str::parse::<LargeCommunity>);
    Ok(SpeakerConfig {
        local_asn: bgp.local_asn,
        router_id: bgp.router_id,
        listen: bgp.listen.clone().unwrap_or_default(),
        hold_time: HoldTime::from_secs(bgp.hold_time_seconds).context("bgp.hold_time_seconds")?,
        marker: marker.transpose().context("bgp.marker_large_community")?,
        neighbors: bgp.neighbors.iter().map(neighbor).collect(),
    })
}

fn neighbor(settings: &settings::Neighbor) -> NeighborConfig {
    let family = |family: &AfiSafi| match family {
        AfiSafi::Ipv4Flowspec => Family::Ipv4,
        AfiSafi::Ipv6Flowspec => Family::Ipv6,
    };
    NeighborConfig {
        port: settings.port,
        local_address: settings.local_address,
        passive: settings.passive,
        families: settings.afi_safi.iter().map(family).collect::<BTreeSet<_>>(),
        limits: Limits {
            operators_per_component: settings.profile.operators_per_component(),
            nlri_bytes: NLRI_BYTES,
        },
        max_rules: usize::try_from(settings.max_rules).ok(),
        pace: settings
            .profile
            .announcements_per_second()
            .and_then(NonZeroU32::new),
        ..NeighborConfig::new(settings.name.as_str(), settings.address, settings.peer_asn)
    }
}

/// What no rule may touch and the documents do not say.
pub(super) fn implicit(config: &Config) -> Implicit {
    let database = database_address(&config.settings.storage.connection_string);
    Implicit {
        addresses: database
            .map(|address| (address, "the database".to_owned()))
            .into_iter()
            .collect(),
    }
}

/// The address in a PostgreSQL connection string, when it has one and not a name.
fn database_address(connection_string: &str) -> Option<IpAddr> {
    let rest = connection_string
        .strip_prefix("postgres://")
        .or_else(|| connection_string.strip_prefix("postgresql://"))?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host.split(':').next()?,
    };
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_found_where_it_is_an_address() {
        let address = |text: &str| database_address(text).map(|address| address.to_string());
        assert_eq!(
            address("postgres://prefixd:secret@192.0.2.9:5432/prefixd"),
            Some("192.0.2.9".into())
        );
        assert_eq!(
            address("postgresql://prefixd@[2001:db8::9]:5432/p?sslmode=require"),
            Some("2001:db8::9".into())
        );
        assert_eq!(address("postgres://db.example/p"), None);
        assert_eq!(address("sqlite:/var/lib/prefixd/prefixd.db"), None);
    }
}
