//! `make interop`: plays the matrix of the live tests with every router that is installed, and prints docs/interop.md.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "rows fail by panicking, as tests do"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the page is the program's output"
)]

#[path = "../tests/live/harness.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod harness;
#[path = "../tests/live/interop.rs"]
mod interop;
#[path = "../tests/live/restarts.rs"]
mod restarts;
#[path = "../tests/live/rtbh.rs"]
mod rtbh;

use std::collections::BTreeSet;

use harness::{Guard, Peering, Transport};
use interop::{COLUMNS, Case, IPV4, IPV6, cases, matrix};
use lab::routers::Kind;
use restarts::{Event, Router, play};

const HEAD: &str = "# Interoperability

Printed by `make interop`, which starts each router on loopback, makes a session of each kind with the speaker, and looks
into the router's own tables. The same rows are tests (`prefixd-bgp/tests/live/interop.rs`), so that every change is held
to them.

| column | what was seen |
|---|---|
| session, announce | the session is established on both sides; one IPv4 and one IPv6 rule are in the router's tables |
| exact readback | match, action, NO_EXPORT and the marker, as far as the router shows them, are what was sent |
| withdraw | both rules are gone from the tables |
| router restart | the router is killed (SIGKILL) and started empty: it has both rules again |
| speaker restart | the speaker closes without a word and comes back with one rule: the router has that one, and not the other |

BIRD and GoBGP show rules without loss. FRR shows no communities and does not tell alternatives from ranges, which the rules of
these rows have not. ExaBGP is no router: what it received is read from its log.

TCP-MD5 and GTSM are set on both sides; a kind of session that a router cannot have is a row with the reason. Where both dial,
the two connections may collide (RFC 4271 section 6.8): one session is established, once, and never flaps.
";

const BLACKHOLES: &str = "
## Blackhole routes

Two IPv4 and one IPv6 address are blackholed (RFC 7999) beside a FlowSpec rule, to routers that have unicast tables. The same
rows are tests (`prefixd-bgp/tests/live/rtbh.rs`).

| column | what was seen |
|---|---|
| announce | the three routes are in the unicast tables, and the rule in its own |
| exact readback | each is a host with its next hop, BLACKHOLE, NO_EXPORT, a community of the configuration and the marker; LOCAL_PREF 200 by iBGP |
| next hop moved | a reload with another next hop replaces the routes in place |
| withdraw | one goes and the others stay; all go and the rule stays; the session was never lost |

";

const RESTARTS: &str = "
## Restarts of the speaker

Graceful restart is offered to each router, for 60 s, or 2 s where the restart is slow. One IPv4 and one IPv6 rule go on, a
third ends while the speaker is away. The tables were asked for without a pause from the end of the session on. The same
cells are tests (`prefixd-bgp/tests/live/graceful.rs`); docs/fail-open.md says what they mean. ExaBGP has no graceful restart for
what it receives.

| column | what happens |
|---|---|
| kill -9 | the connection ends without a NOTIFICATION; the speaker is back after a second with the rules that go on |
| upgrade | the same by a stop that leaves the rules to routers that agreed |
| slow restart | the speaker is back after the restart time |
| failed restore | back after a second with the one rule that could be restored, and saying that this is not all |

| router | agrees | kill -9 | upgrade | slow restart | failed restore |
|---|---|---|---|---|---|
";

/// The columns.
const EVENTS: [Event; 4] = [
    Event::Killed,
    Event::Upgrade,
    Event::SlowRestart,
    Event::FailedRestore,
];

const ROUTERS: [(Kind, Router, &str); 6] = [
    (Kind::Bird, Router::Default, "BIRD, by default"),
    (Kind::Bird, Router::SwitchedOn, "BIRD, switched on"),
    (Kind::GoBgp, Router::SwitchedOn, "GoBGP, switched on"),
    (Kind::GoBgp, Router::Default, "GoBGP, by default"),
    (Kind::Frr, Router::Default, "FRR, by default"),
    (Kind::Frr, Router::SwitchedOn, "FRR, switched on"),
];

#[tokio::main]
async fn main() {
    let mut page = HEAD.to_owned();
    let mut failed = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for kind in Kind::ALL {
        let version = match kind.version() {
            Ok(version) => version,
            Err(error) => {
                eprintln!("{}: {error:#}", kind.title());
                failed.insert(kind);
                missing.insert(kind);
                continue;
            }
        };
        eprintln!("{} {version} ...", kind.title());
        page += &format!(
            "\n## {} {version}\n\n| kind of session | {} |\n|---|",
            kind.title(),
            COLUMNS.join(" | ")
        );
        page += &"---|".repeat(COLUMNS.len());
        page.push('\n');
        for (case, held) in matrix(cases(kind, &[IPV4, IPV6])).await {
            let Some(held) = held else {
                let reason = case.cannot_be().unwrap_or_default();
                let rest = " |".repeat(COLUMNS.len() - 1);
                page += &format!("| {} | {reason} |{rest}\n", title(&case));
                continue;
            };
            page += &format!("| {} | {} |\n", title(&case), cells(held, COLUMNS.len()));
            if held < COLUMNS.len() {
                failed.insert(kind);
            }
        }
    }
    page += BLACKHOLES;
    page += &format!(
        "| router | {} |\n|---|{}\n",
        rtbh::COLUMNS.join(" | "),
        "---|".repeat(rtbh::COLUMNS.len())
    );
    for kind in rtbh::KINDS.into_iter().filter(|kind| !missing.contains(kind)) {
        for (peering, name) in [(Peering::External, "eBGP"), (Peering::Internal, "iBGP")] {
            eprintln!("{}, {name}: blackhole routes ...", kind.title());
            let held = rtbh::row(kind, peering).await;
            let cells = cells(held, rtbh::COLUMNS.len());
            page += &format!("| {}, {name} | {cells} |\n", kind.title());
            if held < rtbh::COLUMNS.len() {
                failed.insert(kind);
            }
        }
    }
    page += RESTARTS;
    for (kind, router, says) in ROUTERS {
        if missing.contains(&kind) {
            continue;
        }
        eprintln!("{says}: restarts ...");
        let mut cells = Vec::new();
        let mut agrees = "no";
        for event in EVENTS {
            let played = tokio::spawn(play(kind, router, event)).await;
            match played.ok().flatten() {
                Some((agreed, seen)) => {
                    agrees = if agreed { "yes" } else { "no" };
                    cells.push(seen.to_string());
                }
                None => {
                    cells.push("**failed**".to_owned());
                    failed.insert(kind);
                }
            }
        }
        page += &format!("| {says} | {agrees} | {} |\n", cells.join(" | "));
    }
    print!("{page}");
    if !failed.is_empty() {
        eprintln!("not as it should be: {failed:?}");
        std::process::exit(1);
    }
}

/// So many columns of a row hold.
fn cells(held: usize, columns: usize) -> String {
    let cells = (0..columns).map(|column| match column.cmp(&held) {
        std::cmp::Ordering::Less => "ok",
        std::cmp::Ordering::Equal => "**failed**",
        std::cmp::Ordering::Greater => "not tried",
    });
    cells.collect::<Vec<_>>().join(" | ")
}

fn title(case: &Case) -> String {
    let over = if case.over.is_ipv4() { "IPv4" } else { "IPv6" };
    let peering = match case.peering {
        Peering::External => "eBGP",
        Peering::Internal => "iBGP",
    };
    let transport = match case.transport {
        Transport::WeDial => "the speaker dials",
        Transport::RouterDials => "the router dials",
        Transport::Both => "both dial",
    };
    let guard = match case.guard {
        Guard {
            password: None,
            ttl_security: false,
        } => "",
        Guard {
            password: Some(_),
            ttl_security: false,
        } => ", TCP-MD5",
        Guard {
            password: None,
            ttl_security: true,
        } => ", GTSM",
        Guard {
            password: Some(_),
            ttl_security: true,
        } => ", TCP-MD5 and GTSM",
    };
    format!("{over}, {peering}, {transport}{guard}")
}
