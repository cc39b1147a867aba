//! The bounds of a neighbour: never told more, told as many as there are places, and the most important of them.

use tokio::time::Instant;

use super::super::router::{Router, State};
use super::super::story::{Side, World};
use super::super::wishes::Key;
use super::delivery;
use crate::rib::RibCounts;
use crate::route::{Bound, Delivery, Refusal};

/// At every moment the speaker holds for told, on the wire included, no more than it may tell. What the router has received
/// it counts by itself, with every message.
pub(super) fn is_kept(world: &World, router: &Router, state: &State, now: Instant) -> Result<(), String> {
    let name = &router.plan.name;
    let told = world.speaker.counts(name).map_or(0, |counts| counts.advertised);
    let budget = state.budget(now);
    if told > budget {
        return Err(format!(
            "{name} was told {told} rules, more than its budget of {budget}"
        ));
    }
    Ok(())
}

/// At rest: what waits for a place waits because there is none, nothing less important has one, and every rule is in exactly
/// one of the figures.
pub(super) fn is_used(
    world: &World,
    router: &Router,
    side: &Side,
    state: &State,
    now: Instant,
) -> Result<(), String> {
    let name = &router.plan.name;
    let mut seen = RibCounts::default();
    let (mut placed, mut crowded) = (0, false);
    for (key, ..) in world.wishes.desired(now) {
        let delivery = delivery(world, router, key).ok_or(format!("{name} is not to hold {key:02x?}"))?;
        seen.desired += 1;
        placed += usize::from(has_place(&delivery, state.table.contains_key(key)));
        match delivery {
            Delivery::OverBudget(bound) | Delivery::Displaced(bound) => {
                seen.over_budget += 1;
                seen.displaced += usize::from(matches!(delivery, Delivery::Displaced(_)));
                crowded |= matches!(bound, Bound::MaxRules(_));
                nothing_less_important_is_there(world, router, state, key, bound)?;
            }
            Delivery::Quarantined(_) => seen.quarantined += 1,
            Delivery::Probation => seen.probation += 1,
            Delivery::Waiting(_) => seen.waiting += 1,
            Delivery::Refused(_) => seen.refused += 1,
            Delivery::Advertised => seen.advertised += 1,
            _ => {}
        }
    }
    let counts = world.speaker.counts(name).ok_or("a neighbour is missing")?;
    let counted = RibCounts {
        budget: None,
        dirty: 0,
        ..counts
    };
    if counted != seen {
        return Err(format!("{name} has {seen:?}, and the speaker says {counts:?}"));
    }
    let Some(max_rules) = side.config.max_rules else {
        return Ok(());
    };
    if counts.budget.is_none_or(|budget| budget > max_rules) {
        return Err(format!(
            "{name} takes {max_rules} rules, and the speaker says {counts:?}"
        ));
    }
    // Below nine tenths also those come back that had to give way.
    if placed > max_rules || (crowded && placed * 10 < max_rules * 9) {
        return Err(format!(
            "{placed} rules have the {max_rules} places of {name}: {counts:?}"
        ));
    }
    Ok(())
}

/// Whether the rule takes one of the places: told, to be told, of a family that the session is without, or there as it was.
fn has_place(delivery: &Delivery, is_there: bool) -> bool {
    match delivery {
        Delivery::Advertised | Delivery::Queued | Delivery::Probation => true,
        Delivery::Refused(refusal) => *refusal == Refusal::FamilyNotNegotiated,
        Delivery::Waiting(_) => is_there,
        _ => false,
    }
}

fn nothing_less_important_is_there(
    world: &World,
    router: &Router,
    state: &State,
    key: &Key,
    bound: Bound,
) -> Result<(), String> {
    let in_the_way = |held: &&Key| held.0 == key.0 || matches!(bound, Bound::MaxRules(_));
    let priority = |key: &Key| world.wishes.priority(key);
    let least = state
        .table
        .keys()
        .filter(in_the_way)
        .min_by_key(|held| priority(held));
    match least {
        Some(least) if priority(least) < priority(key) => Err(format!(
            "{} holds {least:02x?}, which is less important than {key:02x?}, {bound:?}",
            router.plan.name
        )),
        _ => Ok(()),
    }
}
