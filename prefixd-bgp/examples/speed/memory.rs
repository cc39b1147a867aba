//! Memory of a full table: each rule at each neighbour, beside the rule itself, which all of them share.

use tokio::task::JoinSet;

use crate::peer::{Peer, read};
use crate::{RULES, allocated, announce, config, is_settled, routes, row, until};
use prefixd_bgp::Speaker;

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

pub(crate) async fn measure() -> anyhow::Result<()> {
    eprintln!("measuring memory ...");
    let mut totals = Vec::new();
    for neighbors in [1, 2, 4] {
        totals.push(table(&NAMES[..neighbors]).await?);
    }
    let each = |bytes: usize| bytes / RULES as usize;
    if let [(rules, one), (_, two), (_, four)] = totals[..] {
        row(
            &format!("memory of {RULES} rules, for each rule and neighbour"),
            &format!("{} bytes", each(four.saturating_sub(two)) / 2),
            ("200 bytes", each(four.saturating_sub(two)) / 2 < 200),
            &format!(
                "from two neighbours to four; the first takes {}, the rule itself {} bytes",
                each(one),
                each(rules)
            ),
        );
    }
    Ok(())
}

/// What the rules take, and what the speaker takes beside them once all of them are written.
async fn table(names: &[&'static str]) -> anyhow::Result<(usize, usize)> {
    let before = allocated();
    let routes = routes(RULES)?;
    let rules = allocated() - before;
    let peers = names
        .iter()
        .map(|name| Peer::bind(name))
        .collect::<Result<Vec<_>, _>>()?;
    let neighbors = peers.iter().map(Peer::neighbor).collect::<Result<Vec<_>, _>>()?;
    let speaker = Speaker::start(config(neighbors)?)?;
    speaker.open();
    let mut readers = JoinSet::new();
    for peer in &peers {
        readers.spawn(read(peer.session().await?, |_| ()));
    }
    for name in names {
        crate::established(&speaker, name).await?;
    }
    let empty = allocated();
    speaker.apply(routes.iter().map(announce))?;
    for name in names {
        until(&speaker, "a full table", |speaker| is_settled(speaker, name)).await?;
    }
    Ok((rules, allocated() - empty))
}
