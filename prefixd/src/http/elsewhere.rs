//! Questions that are about other POPs, too. The daemon's own part is answered whatever becomes of theirs.

use super::{App, Failure};
use crate::announce::traffic_elsewhere;
use crate::store::{OtherPop, StoreError};
use prefixd_api::mitigation::MitigationStatus;
use prefixd_api::resource::{LiveCounts, PopCounts};
use prefixd_api::rule::ActionType;
use prefixd_api::traffic::{PopTraffic, Traffic};
use tracing::warn;

/// Mitigations of one victim that are looked at: there is one for each vector and POP.
const MOST: u16 = 500;
/// What is said in place of what other POPs hold.
const AWAY: &str = "the database does not answer: what other POPs hold is not known, and goes on there";

/// What a question says of POPs.
#[derive(Debug)]
pub(super) enum Asked {
    /// Of the daemon's own alone.
    Own,
    /// Of this one, or of all where there is no name.
    Others(Option<String>),
}

impl Asked {
    /// The value of `pop`.
    pub(super) fn of(pop: Option<String>) -> Self {
        match pop {
            None => Self::Own,
            Some(all) if all == "all" => Self::Others(None),
            name => Self::Others(name),
        }
    }
}

/// The POPs that a question is about besides the daemon's own; none while the database is away.
async fn others(app: &App, asked: Option<&str>) -> Result<Option<Vec<OtherPop>>, Failure> {
    if asked == Some(&app.pop) {
        return Ok(Some(Vec::new()));
    }
    let Some(known) = or_unknown(app.store.other_pops(&app.pop).await) else {
        return Ok(None);
    };
    let Some(asked) = asked else {
        return Ok(Some(known));
    };
    if let Some(known) = known.iter().find(|pop| pop.name == asked) {
        return Ok(Some(vec![known.clone()]));
    }
    let names = std::iter::once(app.pop.as_str()).chain(known.iter().map(|pop| pop.name.as_str()));
    let names: Vec<&str> = names.collect();
    Err(Failure::field(
        "pop",
        format!(
            "{asked:?} is no POP of this database; known: all, {}",
            names.join(", ")
        ),
    ))
}

fn or_unknown<T>(answer: Result<T, StoreError>) -> Option<T> {
    answer
        .inspect_err(|error| warn!(%error, "what other POPs hold could not be read"))
        .ok()
}

/// What other POPs do with some traffic, and why that is not all.
pub(super) async fn traffic(
    app: &App,
    asked: Asked,
    traffic: &Traffic,
) -> Result<(Vec<PopTraffic>, Option<String>), Failure> {
    let Asked::Others(name) = asked else {
        return Ok((Vec::new(), None));
    };
    let unknown = || (Vec::new(), Some(AWAY.to_owned()));
    let Some(pops) = others(app, name.as_deref()).await? else {
        return Ok(unknown());
    };
    let Some(live) = or_unknown(app.store.live_against(&pops, traffic.dst, MOST).await) else {
        return Ok(unknown());
    };
    let more = (live.len() >= usize::from(MOST)).then(|| {
        format!("there are {MOST} live mitigations of this victim elsewhere, or more: the others were not looked at")
    });
    Ok((traffic_elsewhere(&pops, &live, traffic, app.clock.now()), more))
}

/// What is live at the POPs that are asked about.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) pops: Vec<PopCounts>,
    pub(super) total: Option<LiveCounts>,
    /// Why others are not in it.
    pub(super) unknown: Option<String>,
}

/// Counts what is live at the POPs that are asked about; `own` is what this daemon has.
pub(super) async fn counts(app: &App, asked: Asked, own: LiveCounts) -> Result<Counted, Failure> {
    let Asked::Others(name) = asked else {
        return Ok(Counted::default());
    };
    let others = others(app, name.as_deref()).await?;
    let counted = match &others {
        Some(others) => or_unknown(app.store.live_counts(others).await),
        None => None,
    };
    let unknown = counted.is_none().then(|| AWAY.to_owned());

    let others = others.filter(|_| unknown.is_none()).unwrap_or_default();
    let mut pops: Vec<PopCounts> = others
        .into_iter()
        .map(|other| PopCounts {
            pop: other.name,
            own: false,
            runs: other.runs,
            live: LiveCounts::default(),
        })
        .collect();
    for count in counted.unwrap_or_default() {
        let mut statuses = MitigationStatus::ALL.into_iter();
        let status = statuses.find(|status| status.as_str() == count.status);
        let mut actions = ActionType::ALL.into_iter();
        let action = actions.find(|action| action.as_str() == count.action_type);
        let pop = pops.iter_mut().find(|row| row.pop == count.pop);
        // A newer daemon may write names that this one does not know.
        if let (Some(status), Some(action), Some(pop)) = (status, action, pop) {
            pop.live.add(status, &count.vector, action, count.number);
        }
    }
    if name.is_none_or(|name| name == app.pop) {
        pops.push(PopCounts {
            pop: app.pop.clone(),
            own: true,
            runs: true,
            live: own,
        });
    }
    pops.sort_by(|one, other| one.pop.cmp(&other.pop));
    let mut total = LiveCounts::default();
    for pop in &pops {
        total.add_all(&pop.live);
    }
    Ok(Counted {
        total: unknown.is_none().then_some(total),
        pops,
        unknown,
    })
}
