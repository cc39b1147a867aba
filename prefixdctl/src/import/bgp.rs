//! The `bgp` section of prefixd.yaml.

use serde::Serialize;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The section. Only what is written here exists in it; everything else has prefixd's default.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Bgp {
    pub(super) local_asn: u32,
    pub(super) router_id: Ipv4Addr,
    pub(super) listen: Option<Vec<SocketAddr>>,
    pub(super) hold_time_seconds: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart_time_seconds: Option<u16>,
    pub(super) marker_large_community: String,
    pub(super) neighbors: Vec<Neighbor>,
}

/// Where routers discard: GoBGP knows it from the routes alone, so a person says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rtbh {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_hop: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_hop_v6: Option<Ipv6Addr>,
}

impl Rtbh {
    /// The name of a unicast family, if its blackhole routes would have a next hop.
    pub(super) fn family(self, name: &str) -> Option<&'static str> {
        match name {
            IPV4_UNICAST => self.next_hop.map(|_| IPV4_UNICAST),
            IPV6_UNICAST => self.next_hop_v6.map(|_| IPV6_UNICAST),
            _ => None,
        }
    }

    /// What a neighbour with these families needs of it.
    pub(super) fn of(self, families: &[&str]) -> Option<Self> {
        let needed = Self {
            next_hop: self.next_hop.filter(|_| families.contains(&IPV4_UNICAST)),
            next_hop_v6: self.next_hop_v6.filter(|_| families.contains(&IPV6_UNICAST)),
        };
        Some(needed).filter(|needed| *needed != Self::default())
    }
}

const IPV4_UNICAST: &str = "ipv4-unicast";
const IPV6_UNICAST: &str = "ipv6-unicast";

/// A neighbour in it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Neighbor {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) peer_asn: u32,
    pub(super) local_address: Option<IpAddr>,
    pub(super) passive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_file: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) ttl_security: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) graceful_restart: bool,
    pub(super) afi_safi: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rtbh: Option<Rtbh>,
    pub(super) profile: &'static str,
    pub(super) enforce: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(it: &bool) -> bool {
    !it
}

impl Bgp {
    /// The section as text. Names and addresses are quoted: `on` and `1e3` are good names and `::` ends no key.
    pub(super) fn to_yaml(&self) -> String {
        let mut text = String::from(
            "# Taken over from GoBGP. It replaces the bgp section of prefixd.yaml; then: prefixd --check --config DIR\nbgp:\n",
        );
        let listen = match &self.listen {
            None => "null".to_owned(),
            Some(addresses) => format!(
                "[{}]",
                addresses
                    .iter()
                    .map(|address| format!("\"{address}\""))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        let restart = self.restart_time_seconds.map_or_else(String::new, |seconds| {
            format!("restart_time_seconds: {seconds}\n  ")
        });
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "  local_asn: {}\n  router_id: \"{}\"\n  listen: {listen}\n  hold_time_seconds: {}\n  {restart}\
             # GoBGP marked nothing. Let the routers accept only routes with this (docs/vendors.md).\n  \
             marker_large_community: \"{}\"\n",
            self.local_asn, self.router_id, self.hold_time_seconds, self.marker_large_community
        );
        if self.neighbors.is_empty() {
            text.push_str("  neighbors: []\n");
            return text;
        }
        text.push_str("  # profile: what the router takes, and how fast: generic is safe for all (docs/configuration.md).\n  neighbors:\n");
        for neighbor in &self.neighbors {
            neighbor.write(&mut text);
        }
        text
    }
}

impl Neighbor {
    fn write(&self, text: &mut String) {
        let Self {
            name,
            address,
            port,
            peer_asn,
            local_address,
            passive,
            password_file,
            ttl_security,
            graceful_restart,
            afi_safi,
            rtbh,
            profile,
            enforce,
        } = self;
        let local = local_address.map_or_else(|| "null".to_owned(), |address| format!("\"{address}\""));
        let mut protection = String::new();
        if let Some(file) = password_file {
            protection.push_str(&format!("      password_file: \"{file}\"\n"));
        }
        for (key, on) in [
            ("ttl_security", ttl_security),
            ("graceful_restart", graceful_restart),
        ] {
            if *on {
                protection.push_str(&format!("      {key}: true\n"));
            }
        }
        let rtbh = rtbh.map_or_else(String::new, |rtbh| {
            let v4 = rtbh.next_hop.map(|address| format!("next_hop: \"{address}\""));
            let v6 = rtbh
                .next_hop_v6
                .map(|address| format!("next_hop_v6: \"{address}\""));
            let both: Vec<String> = v4.into_iter().chain(v6).collect();
            format!("      rtbh: {{ {} }}\n", both.join(", "))
        });
        let _ = write!(
            text,
            "    - name: \"{name}\"\n      address: \"{address}\"\n      port: {port}\n      peer_asn: {peer_asn}\n      \
             local_address: {local}\n      passive: {passive}\n{protection}      afi_safi: [{}]\n{rtbh}      profile: {profile}\n      \
             enforce: {enforce}\n",
            afi_safi.join(", ")
        );
    }
}
