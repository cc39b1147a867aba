//! The bound of a Cease/1 over a restart.

use super::*;

/// The rib of a process that comes later, with the same rules desired.
fn after_a_restart(memory: Remembered, now: Instant) -> (Rib, Generation) {
    let mut rib = Rib::new(&config());
    rib.remember(memory, now);
    for n in 0..20 {
        rib.announce(discard(n, now), now + Duration::from_secs(u64::from(n)));
    }
    let generation = up(&mut rib, now);
    drain(&mut rib, generation, now);
    (rib, generation)
}

#[test]
fn a_bound_outlives_the_process_and_ends_by_itself() {
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    let day = 24 * hour;
    let moved = |memory: &Remembered, until| Remembered {
        bound: memory
            .bound
            .clone()
            .map(|bound| RememberedBound { until, ..bound }),
        ..memory.clone()
    };
    for (named, told, until) in [
        // Nobody knows what became of the router meanwhile, so that one which was named is tried again as well.
        (Some((Family::Ipv4, 10)), 9, now + day),
        (None, 16, now + hour),
    ] {
        let (before, _) = after_a_prefix_limit(named, &[], now);
        let (_, memory) = before.remembered();
        let (mut rib, generation) = after_a_restart(memory.clone(), now);
        assert_eq!(advertised_v4(&rib, now).len(), told, "{named:?}");
        assert_eq!(
            (rib.counts().over_budget, rib.next_lift()),
            (20 - told, Some(until))
        );
        let (_, again) = rib.remembered();
        assert_eq!(
            again,
            moved(&memory, Some(until)),
            "the process after this one knows it too"
        );
        assert!(!rib.lift_due(until - Duration::from_secs(1)));
        assert!(rib.lift_due(until));
        drain(&mut rib, generation, until);
        assert_eq!((rib.counts().over_budget, rib.remembered().1.bound), (0, None));

        // Its time was over before the start, or the clock was set back by years.
        let (rib, _) = after_a_restart(moved(&memory, Some(now)), now);
        assert_eq!((rib.counts().over_budget, rib.next_lift()), (0, None));
        let (rib, _) = after_a_restart(moved(&memory, Some(now + 1000 * day)), now);
        assert_eq!(rib.next_lift(), Some(now + day));
    }
}

#[test]
fn what_is_named_after_a_restart_is_not_tried_again() {
    let now = Instant::now();
    let day = Duration::from_secs(86_400);
    let (before, _) = after_a_prefix_limit(Some((Family::Ipv4, 10)), &[], now);
    let (mut rib, generation) = after_a_restart(before.remembered().1, now);
    rib.prefix_limit_reached(Some((Family::Ipv4, 8)), now);
    assert!(rib.lift_due(now + day));
    drain(&mut rib, generation, now + day);
    let bound = rib.remembered().1.bound.unwrap();
    assert_eq!((bound.families, bound.until), ([(Family::Ipv4, 7)].into(), None));
}

#[test]
fn a_guess_after_a_restart_holds_longer_than_the_one_before() {
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    let (before, _) = after_a_prefix_limit(None, &[], now);
    let (mut rib, generation) = after_a_restart(before.remembered().1, now);
    assert!(rib.lift_due(now + hour));
    drain(&mut rib, generation, now + hour);
    rib.prefix_limit_reached(None, now + hour);
    assert_eq!(rib.next_lift(), Some(now + 3 * hour));
}

#[test]
fn what_is_known_of_a_bound_has_a_version() {
    let now = Instant::now();
    let (mut rib, _) = after_a_prefix_limit(Some((Family::Ipv4, 10)), &[], now);
    let mut versions = vec![0, rib.memory_version()];
    let bound = rib.remembered().1.bound.unwrap();
    assert_eq!(bound.families, [(Family::Ipv4, 9)].into());
    // What was heard here is newer than what is restored.
    let older = RememberedBound {
        families: [(Family::Ipv4, 3)].into(),
        ..bound.clone()
    };
    rib.remember(
        Remembered {
            bound: Some(older),
            ..Remembered::default()
        },
        now,
    );
    assert_eq!(rib.remembered().1.bound, Some(bound));
    versions.push(rib.memory_version());
    assert!(rib.lift_bound());
    versions.push(rib.memory_version());
    assert_eq!(rib.remembered().1.bound, None);
    rib.prefix_limit_reached(Some((Family::Ipv4, 10)), now);
    versions.push(rib.memory_version());
    rib.reconfigure(&config());
    versions.push(rib.memory_version());
    assert_eq!(rib.remembered().1.bound, None);
    assert!(
        versions.is_sorted_by(|before, after| before < after),
        "{versions:?}"
    );
    rib.reconfigure(&config());
    assert!(!rib.lift_bound());
    assert_eq!(rib.memory_version(), *versions.last().unwrap());
}
