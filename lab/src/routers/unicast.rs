//! Unicast routes as routers show them: blackhole routes are such.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use serde_json::Value;

/// A route as a router holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnicastRoute {
    /// Where to.
    pub prefix: IpNet,
    /// By way of.
    pub next_hop: IpAddr,
    /// LOCAL_PREF; eBGP routes have the router's own, or none.
    pub local_pref: Option<u32>,
    /// RFC 1997 communities as (high, low).
    pub communities: BTreeSet<(u16, u16)>,
    /// RFC 8092 large communities.
    pub large_communities: BTreeSet<(u32, u32, u32)>,
}

impl fmt::Display for UnicastRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.prefix, self.next_hop)?;
        if let Some(local_pref) = self.local_pref {
            write!(f, " local-pref {local_pref}")?;
        }
        for (high, low) in &self.communities {
            write!(f, " community {high}:{low}")?;
        }
        for (a, b, c) in &self.large_communities {
            write!(f, " large-community {a}:{b}:{c}")?;
        }
        Ok(())
    }
}

/// What was read of a route so far.
#[derive(Default)]
struct Partial {
    prefix: Option<IpNet>,
    next_hop: Option<IpAddr>,
    local_pref: Option<u32>,
    communities: BTreeSet<(u16, u16)>,
    large_communities: BTreeSet<(u32, u32, u32)>,
}

impl Partial {
    fn of(prefix: &str) -> anyhow::Result<Self> {
        Ok(Self {
            prefix: Some(prefix.parse().with_context(|| format!("prefix {prefix:?}"))?),
            ..Self::default()
        })
    }

    fn finish(self) -> anyhow::Result<UnicastRoute> {
        Ok(UnicastRoute {
            prefix: self.prefix.context("a route without a prefix")?,
            next_hop: self.next_hop.context("a route without a next hop")?,
            local_pref: self.local_pref,
            communities: self.communities,
            large_communities: self.large_communities,
        })
    }
}

/// BIRD's `show route ... all`.
pub(super) fn bird(text: &str) -> anyhow::Result<Vec<UnicastRoute>> {
    let mut routes: Vec<Partial> = Vec::new();
    for line in text.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if !line.starts_with(['\t', ' ']) && first.contains('/') {
            routes.push(Partial::of(first)?);
        } else if let (Some((name, value)), Some(route)) = (line.trim().split_once(": "), routes.last_mut()) {
            let numbers = || {
                value
                    .split(|c: char| !c.is_ascii_digit())
                    .filter(|part| !part.is_empty())
                    .map(str::parse::<u32>)
                    .collect::<Result<Vec<_>, _>>()
            };
            match name {
                "BGP.next_hop" => {
                    let first = value.split_ascii_whitespace().next().unwrap_or_default();
                    route.next_hop = Some(first.parse().with_context(|| format!("next hop {value:?}"))?);
                }
                "BGP.local_pref" => route.local_pref = Some(value.trim().parse()?),
                "BGP.community" => {
                    for pair in numbers()?.chunks(2) {
                        let [high, low] = *pair else {
                            bail!("communities {value:?}")
                        };
                        route.communities.insert((high.try_into()?, low.try_into()?));
                    }
                }
                "BGP.large_community" => {
                    for triple in numbers()?.chunks(3) {
                        let [a, b, c] = *triple else {
                            bail!("large communities {value:?}")
                        };
                        route.large_communities.insert((a, b, c));
                    }
                }
                _ => {}
            }
        }
    }
    routes.into_iter().map(Partial::finish).collect()
}

/// The prefixes of FRR's `show bgp ... unicast json`.
pub(super) fn frr_prefixes(text: &str) -> anyhow::Result<Vec<String>> {
    let table: Value = serde_json::from_str(text).context("read FRR's table")?;
    let routes = table["routes"].as_object().into_iter().flatten();
    Ok(routes.map(|(prefix, _)| prefix.clone()).collect())
}

/// FRR's `show bgp ... unicast PREFIX json`; none when the route is gone since its table was asked for.
pub(super) fn frr(prefix: &str, text: &str) -> anyhow::Result<Option<UnicastRoute>> {
    let shown: Value = serde_json::from_str(text).context("read FRR's route")?;
    if shown["paths"].is_null() {
        return Ok(None);
    }
    let path = &shown["paths"][0];
    let mut route = Partial::of(prefix)?;
    // FRR points what carries BLACKHOLE at a next hop of its own, and shows both.
    let next_hop = path["nexthops"][0]["ip"].as_str().context("no next hop")?;
    route.next_hop = Some(next_hop.parse()?);
    route.local_pref = path["locPrf"].as_u64().map(u32::try_from).transpose()?;
    for community in path["community"]["list"].as_array().into_iter().flatten() {
        let pair = match community.as_str().context("community")? {
            "noExport" => (0xffff, 0xff01),
            "blackhole" => (0xffff, 666),
            plain => {
                let (high, low) = plain
                    .split_once(':')
                    .with_context(|| format!("community {plain:?}"))?;
                (high.parse()?, low.parse()?)
            }
        };
        route.communities.insert(pair);
    }
    for community in path["largeCommunity"]["list"].as_array().into_iter().flatten() {
        let text = community.as_str().context("large community")?;
        let parts = text.split(':').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        let [a, b, c] = *parts else {
            bail!("large community {text:?}")
        };
        route.large_communities.insert((a, b, c));
    }
    route.finish().map(Some)
}

/// GoBGP's `gobgp global rib -j`.
pub(super) fn gobgp(text: &str) -> anyhow::Result<Vec<UnicastRoute>> {
    let table: Value = serde_json::from_str(text).context("read GoBGP's table")?;
    let mut routes = Vec::new();
    for (prefix, paths) in table.as_object().into_iter().flatten() {
        for path in paths.as_array().into_iter().flatten() {
            let mut route = Partial::of(prefix)?;
            for attribute in path["attrs"].as_array().into_iter().flatten() {
                gobgp_attribute(&mut route, attribute)?;
            }
            routes.push(
                route
                    .finish()
                    .with_context(|| format!("read GoBGP's path {path}"))?,
            );
        }
    }
    Ok(routes)
}

fn gobgp_attribute(route: &mut Partial, attribute: &Value) -> anyhow::Result<()> {
    let number =
        |value: &Value| -> anyhow::Result<u32> { Ok(value.as_u64().context("a number")?.try_into()?) };
    match attribute["type"].as_u64() {
        Some(3 | 14) => {
            let next_hop = attribute["nexthop"].as_str().context("next hop")?;
            route.next_hop = Some(next_hop.parse()?);
        }
        Some(5) => route.local_pref = Some(number(&attribute["value"])?),
        Some(8) => {
            for community in attribute["communities"].as_array().into_iter().flatten() {
                let bits = number(community)?;
                route
                    .communities
                    .insert(((bits >> 16).try_into()?, (bits & 0xffff).try_into()?));
            }
        }
        Some(32) => {
            for community in attribute["value"].as_array().into_iter().flatten() {
                route.large_communities.insert((
                    number(&community["ASN"])?,
                    number(&community["LocalData1"])?,
                    number(&community["LocalData2"])?,
                ));
            }
        }
        _ => {}
    }
    Ok(())
}
