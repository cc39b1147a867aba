//! Why a setting of GoBGP has no equivalent.

/// What it means that a setting was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Something is lost.
    Missing(&'static str),
    /// prefixd does the same, or has no use for it.
    Needless(&'static str),
}

use Reason::{Missing, Needless};

const ONLY_SENDS: &str = "prefixd announces its own rules and uses no route that it is sent, so there is nothing to filter, select or pass on. Let the routers' import policies decide what they accept (docs/vendors.md)";
const RECONNECTS: &str =
    "prefixd sets it itself: it connects again after about a second and backs off to 30 s";

/// By the beginning of the path; the longest one counts. `peer` stands for neighbours and peer groups.
const REASONS: &[(&str, Reason)] = &[
    (
        "global.config.confederation",
        Missing("prefixd is no member of a confederation: give it the AS that the routers see"),
    ),
    (
        "global.confederation",
        Missing("prefixd is no member of a confederation: give it the AS that the routers see"),
    ),
    (
        "global.afi-safis",
        Needless("prefixd holds the FlowSpec families alone"),
    ),
    ("global.apply-policy", Missing(ONLY_SENDS)),
    ("global.default-route-distance", Missing(ONLY_SENDS)),
    ("global.route-selection-options", Missing(ONLY_SENDS)),
    ("global.use-multiple-paths", Missing(ONLY_SENDS)),
    ("global.mpls-label-range", Missing("prefixd gives out no labels")),
    ("global.graceful-restart", Missing(GRACEFUL_RESTART)),
    ("global.zebra", Missing(FIB)),
    (
        "global.collector",
        Missing("prefixd keeps its own journal; there is no collector"),
    ),
    ("zebra", Missing(FIB)),
    (
        "collector",
        Missing("prefixd keeps its own journal; there is no collector"),
    ),
    (
        "rpki-servers",
        Missing("prefixd uses no route that it is sent, so it validates none"),
    ),
    (
        "bmp-servers",
        Missing(
            "prefixd sends no BMP; what it announces is in its journal, its feed and `prefixdctl peers show`",
        ),
    ),
    (
        "mrt-dump",
        Missing("prefixd writes no MRT; what it announces is in its journal and its feed"),
    ),
    (
        "vrfs",
        Missing("prefixd announces IPv4 and IPv6 FlowSpec of the global table alone"),
    ),
    (
        "dynamic-neighbors",
        Missing(
            "prefixd talks to routers that are named in its configuration alone: write one neighbour for each",
        ),
    ),
    ("defined-sets", Missing(ONLY_SENDS)),
    ("policy-definitions", Missing(ONLY_SENDS)),
    ("netlink", Missing(FIB)),
    (
        "peer.config.auth-password",
        Missing(
            "keys are not copied. Write it to the file that password_file of this neighbour names, in the directory of prefixd.yaml and for prefixd alone to read; without it prefixd does not start",
        ),
    ),
    (
        "peer.tcp-ao",
        Missing("TCP-AO is not built. A router that expects it drops every packet of prefixd"),
    ),
    (
        "peer.config.local-as",
        Missing("prefixd has one AS for all neighbours (bgp.local_asn): the router must expect that one"),
    ),
    (
        "peer.config.peer-type",
        Needless("it follows from the AS numbers"),
    ),
    (
        "peer.config.description",
        Needless("a neighbour is called by its own description, or by its address"),
    ),
    (
        "peer.config.admin-down",
        Missing(
            "a session is kept down by prefixdctl peers disable, not by configuration. The neighbour was written with enforce: false: the session comes up, no rule goes to it",
        ),
    ),
    (
        "peer.config.neighbor-interface",
        Missing("prefixd talks to addresses, not to interfaces"),
    ),
    (
        "peer.config.remove-private-as",
        Missing("prefixd sends its own AS alone, or an empty path by iBGP"),
    ),
    (
        "peer.config.send-community",
        Needless("prefixd always sends its communities"),
    ),
    (
        "peer.config.send-software-version",
        Missing("prefixd does not tell its version to neighbours"),
    ),
    ("peer.config.route-flap-damping", Missing(ONLY_SENDS)),
    (
        "peer.config.peer-group",
        Missing("there is no peer group of this name in the file"),
    ),
    (
        "peer.timers.config.hold-time",
        Missing(
            "prefixd offers one hold time of at least 3 s and at most 65535 s to all neighbours; without one, a neighbour lost in silence would keep its rules for ever",
        ),
    ),
    (
        "peer.timers.config.keepalive-interval",
        Needless("prefixd sends a keepalive every third of the hold time"),
    ),
    ("peer.timers.config.connect-retry", Needless(RECONNECTS)),
    (
        "peer.timers.config.idle-hold-time-after-reset",
        Needless(RECONNECTS),
    ),
    (
        "peer.timers.config.minimum-advertisement-interval",
        Needless("prefixd waits for nothing before it announces; the profile of a neighbour sets the pace"),
    ),
    (
        "peer.transport.config.passive-mode",
        Missing(
            "listening is switched off, so a neighbour that is never dialled could never come up: prefixd dials it",
        ),
    ),
    (
        "peer.transport.config.bind-interface",
        Missing("prefixd binds to addresses, not to interfaces"),
    ),
    (
        "peer.transport.config.local-port",
        Missing("prefixd dials from any port"),
    ),
    (
        "peer.transport.config.mtu-discovery",
        Missing("prefixd leaves it to the system"),
    ),
    (
        "peer.transport.config.tcp-mss",
        Missing("prefixd leaves it to the system"),
    ),
    (
        "peer.transport.config.ttl",
        Missing("prefixd sends with the TTL of the system"),
    ),
    (
        "peer.transport.config",
        Missing("prefixd has no such setting of the transport"),
    ),
    (
        "peer.ebgp-multihop",
        Needless(
            "prefixd sends with the TTL of the system (64 by default), which reaches a neighbour over several hops",
        ),
    ),
    (
        "peer.ttl-security",
        Missing(
            "prefixd has it for routers that are directly connected alone (ttl-min = 255): set ttl_security: true if this one is. Otherwise switch it off on the router, which drops every packet of prefixd until then",
        ),
    ),
    (
        "peer.bfd",
        Missing("prefixd does no BFD: the hold time is the bound of a silent loss"),
    ),
    ("peer.graceful-restart", Missing(GRACEFUL_RESTART)),
    (
        "peer.graceful-restart.config.helper-only",
        Needless(
            "prefixd uses no route that it is sent, so it keeps none; and it asks this router to keep none",
        ),
    ),
    (
        "peer.graceful-restart.config.deferral-time",
        Needless("prefixd waits for no route of others before it announces"),
    ),
    (
        "peer.graceful-restart.config.stale-routes-time",
        Needless("prefixd uses no route that it is sent, so it keeps none"),
    ),
    (
        "peer.graceful-restart.config.notification-enabled",
        Missing(
            "prefixd never asks a router to keep its rules over a NOTIFICATION: that is how they are taken for good",
        ),
    ),
    (
        "peer.graceful-restart.config.long-lived-enabled",
        Missing(LONG_LIVED),
    ),
    ("peer.error-handling", Missing(ONLY_SENDS)),
    (
        "peer.logging-options",
        Missing("prefixd logs every change of a session"),
    ),
    ("peer.route-reflector", Missing("prefixd reflects nothing")),
    ("peer.route-server", Missing("prefixd is no route server")),
    ("peer.as-path-options", Missing(ONLY_SENDS)),
    ("peer.add-paths", Missing("prefixd sends one path of each rule")),
    ("peer.use-multiple-paths", Missing(ONLY_SENDS)),
    ("peer.apply-policy", Missing(ONLY_SENDS)),
    ("peer.afi-safis.mp-graceful-restart", Missing(GRACEFUL_RESTART)),
    ("peer.afi-safis.long-lived-graceful-restart", Missing(LONG_LIVED)),
    (
        "peer.afi-safis.prefix-limit",
        Missing(
            "prefixd uses no route that it is sent. How many rules a router may hold is max_rules of the neighbour",
        ),
    ),
    (
        "peer.afi-safis.add-paths",
        Missing("prefixd sends one path of each rule"),
    ),
    ("peer.afi-safis.apply-policy", Missing(ONLY_SENDS)),
    (
        "peer.afi-safis.route-target-membership",
        Missing("prefixd announces IPv4 and IPv6 FlowSpec of the global table alone"),
    ),
    (
        "peer.afi-safis",
        Missing("prefixd has no such setting of an address family"),
    ),
    ("peer.state", Needless("it is a state, not a setting")),
];

const GRACEFUL_RESTART: &str = "prefixd has graceful restart for each neighbour (graceful_restart) with one restart time, and nothing else of it (docs/fail-open.md)";
const LONG_LIVED: &str =
    "prefixd never asks a router to keep its rules for long: a rule whose owner is gone must go";
const FIB: &str = "prefixd neither takes routes from the system nor gives any to it";
const UNKNOWN: &str = "prefixd has no such setting";

/// The reason for a path such as `neighbors[3].config.local-as`.
pub(super) fn of(path: &str) -> Reason {
    let plain = plain(path);
    REASONS
        .iter()
        .filter(|(start, _)| {
            plain
                .strip_prefix(start)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .max_by_key(|(start, _)| start.len())
        .map_or(Missing(UNKNOWN), |(_, reason)| *reason)
}

/// The path without places in lists.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    for part in path.split('.') {
        let name = part.split('[').next().unwrap_or(part);
        let name = match name {
            "neighbors" | "peer-groups" if plain.is_empty() => "peer",
            name => name,
        };
        if !plain.is_empty() {
            plain.push('.');
        }
        plain.push_str(name);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_counts_and_ends_at_a_name() {
        assert_eq!(of("neighbors[12].bfd.config.port"), of("peer-groups[0].bfd"));
        assert_ne!(
            of("neighbors[0].transport.config.ttl"),
            of("neighbors[0].transport.config.other")
        );
        assert_eq!(of("zebras.url"), Missing(UNKNOWN));
        assert_eq!(of("neighbors"), Missing(UNKNOWN));
    }

    #[test]
    fn no_reason_stands_behind_another_one_for_ever() {
        for (index, (start, _)) in REASONS.iter().enumerate() {
            let twice = REASONS.iter().skip(index + 1).any(|(other, _)| other == start);
            assert!(!twice, "{start} is there twice");
        }
    }
}
