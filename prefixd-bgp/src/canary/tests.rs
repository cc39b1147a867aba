use super::*;
use crate::flowspec::Family;

const WAIT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn kind(n: u8) -> Shape {
    format!("ipv4-flowspec 002a {n} 0 discard").parse().unwrap()
}

fn key(n: u8) -> NlriKey {
    NlriKey::new(Family::Ipv4, vec![6, 1, 32, 10, 0, 0, n])
}

fn config(wait: Duration) -> CanaryConfig {
    CanaryConfig {
        group: "alike".into(),
        wait,
    }
}

/// Three that are alike, with sessions.
fn three(now: Instant) -> [Seat; 3] {
    let canary = Canary::new(&config(WAIT));
    ["a", "b", "c"].map(|name| {
        let seat = canary.join(&name.into(), Weak::new(), now);
        seat.up(now);
        seat
    })
}

fn first(seat: &Seat, n: u8) -> Option<(Option<String>, Because)> {
    let waiting = seat.asking().waits(&key(n), kind(n), false)?;
    Some((waiting.first.map(|name| name.to_string()), waiting.because))
}

fn tick(seat: &Seat, trial: Trial, now: Instant) {
    seat.tick(|_| trial, |_| Fate::Pending, now);
}

#[test]
fn one_keeps_it_for_a_while_before_the_others_are_told() {
    let now = Instant::now();
    let [a, b, c] = three(now);
    assert_eq!(first(&b, 1), None, "whoever asks first");
    assert_eq!(a.waits(&key(1), kind(1), false), None);
    let version = b.version();
    assert_eq!(first(&b, 1), Some((Some("a".into()), Because::Tried)));
    // Not before it was told, and then it counts from there.
    let later = now + 2 * WAIT;
    tick(&a, Trial::Pending, later);
    a.told([kind(1)].into_iter(), later + SECOND);
    assert_eq!(a.deadline(), Some(later + SECOND + WAIT));
    assert_eq!(b.deadline(), None, "it is for the first to say");
    tick(&b, Trial::Nothing, later + 2 * WAIT);
    assert!(first(&b, 1).is_some());
    tick(&a, Trial::Kept, later + WAIT);
    assert!(first(&b, 1).is_some());
    tick(&a, Trial::Kept, later + SECOND + WAIT);
    assert_eq!((first(&b, 1), first(&c, 1)), (None, None));
    assert!(b.version() > version);
    assert_eq!(first(&c, 2), None, "another kind is new again");
    assert_eq!(
        (c.is_known(&key(1), kind(1)), c.is_known(&key(2), kind(2))),
        (true, false)
    );
}

#[test]
fn who_is_lost_after_it_was_told_is_waited_for() {
    let now = Instant::now();
    let [a, b, _] = three(now);
    assert_eq!(a.waits(&key(1), kind(1), false), None);
    a.told([kind(1)].into_iter(), now);
    a.down(false, now + SECOND);
    for late in [WAIT, 100 * WAIT] {
        tick(&b, Trial::Nothing, now + late);
        assert_eq!(first(&b, 1), Some((Some("a".into()), Because::Lost)));
    }
    // Back, it has to keep it from the moment it is told again.
    let back = now + 101 * WAIT;
    a.up(back);
    tick(&a, Trial::Kept, back + WAIT);
    assert!(first(&b, 1).is_some(), "not told by this session");
    a.told([kind(1)].into_iter(), back + WAIT);
    tick(&a, Trial::Kept, back + 2 * WAIT);
    assert_eq!(first(&b, 1), None);
}

#[test]
fn who_never_got_it_is_not_waited_for() {
    let now = Instant::now();
    // (what happens to the first, what others may do at once, and after a while)
    let [a, b, c] = three(now);
    assert_eq!(a.waits(&key(1), kind(1), false), None);
    a.down(false, now);
    tick(&b, Trial::Nothing, now + SECOND);
    assert!(first(&b, 1).is_some(), "it may be back in a moment");
    assert_eq!(b.deadline(), Some(now + WAIT));
    tick(&b, Trial::Nothing, now + WAIT);
    assert_eq!(b.waits(&key(1), kind(1), false), None);
    assert_eq!(first(&c, 1), Some((Some("b".into()), Because::Tried)));
    // Its budget is full: the next one, and it is not asked again for a while.
    tick(&b, Trial::Nothing, now + 3 * WAIT);
    assert!(first(&b, 1).is_some());
    assert_eq!(c.waits(&key(1), kind(1), false), None);
    // By order there is nothing to wait for.
    c.told([kind(1)].into_iter(), now + 3 * WAIT);
    c.down(true, now + 3 * WAIT);
    assert_eq!(b.waits(&key(1), kind(1), false), None);
    b.leave();
    assert_eq!(first(&a, 1), Some((None, Because::Tried)), "nobody has a session");
}

/// Those of a process after one in which these were found out.
fn restarted(before: &[Seat], now: Instant) -> [Seat; 3] {
    let canary = Canary::new(&config(WAIT));
    let seats = ["a", "b", "c"].map(|name| canary.join(&name.into(), Weak::new(), now));
    for (seat, before) in seats.iter().zip(before) {
        seat.restore(before.remembered(), now);
    }
    // All of it is desired again.
    for seat in &seats {
        seat.known_before((1..=5).map(kind));
    }
    seats
}

#[test]
fn a_restart_tells_the_others_neither_what_is_tried_nor_what_cost_a_session_nor_what_is_parked() {
    let now = Instant::now();
    let before = three(now);
    let [a, b, _] = &before;
    for n in 1..=4 {
        assert_eq!(a.waits(&key(n), kind(n), false), None);
    }
    // The first is kept, of the second a rule is parked, the third was told, the fourth waits for its turn.
    a.told([1, 3].map(kind).into_iter(), now);
    a.tick(
        |tried| {
            if tried == kind(1) {
                Trial::Kept
            } else {
                Trial::Pending
            }
        },
        |_| Fate::Pending,
        now + WAIT,
    );
    a.parked(&key(2), kind(2));
    let found = |seat: &Seat| {
        [1, 2, 3, 4, 5].map(|n| first(seat, n).map(|(first, because)| (first.unwrap(), because)))
    };
    let tried = |because| Some(("a".to_owned(), because));
    let is_so = [
        None,
        tried(Because::Parked),
        tried(Because::Tried),
        tried(Because::Tried),
        None,
    ];
    assert_eq!(found(b), is_so, "the fifth is nobody's yet");

    let seats = restarted(&before, now + WAIT);
    let [a, b, c] = &seats;
    for seat in &seats[1..] {
        seat.up(now + WAIT);
    }
    // Who was told one is waited for, as whoever loses its session over it.
    let then = [
        None,
        tried(Because::Parked),
        tried(Because::Lost),
        tried(Because::Tried),
        None,
    ];
    assert_eq!(found(b), then);
    // Once more, and from what another of them remembers.
    let again = restarted(&[Seat::clone(c)], now + WAIT);
    again[1].up(now + WAIT);
    assert_eq!(found(&again[1]), then);
    // Who was told nothing and does not come back is not waited for.
    tick(b, Trial::Nothing, now + 2 * WAIT);
    assert_eq!(first(b, 4), None);
    assert_eq!(first(b, 3), Some((Some("a".into()), Because::Lost)));
    a.up(now + 2 * WAIT);
    a.told([kind(3)].into_iter(), now + 2 * WAIT);
    tick(a, Trial::Kept, now + 3 * WAIT);
    assert_eq!(first(b, 3), None);
}

#[test]
fn what_is_desired_at_a_start_is_known_if_nothing_is_remembered() {
    let now = Instant::now();
    let seat = || Canary::new(&config(WAIT)).join(&"a".into(), Weak::new(), now);
    let fresh = seat();
    fresh.known_before([kind(1)].into_iter());
    assert_eq!(fresh.remembered().kept, [kind(1)]);
    // With another profile then: what it kept is known, and what was being tried or parked there is not.
    let elsewhere = RememberedKinds {
        group: "other".into(),
        kept: vec![kind(1)],
        tried: vec![TriedKind {
            kind: kind(2),
            first: "a".into(),
            told: true,
        }],
        parked: vec![(key(3), "a".into())],
    };
    let moved = seat();
    moved.restore(elsewhere, now);
    moved.known_before([kind(1), kind(2), kind(4)].into_iter());
    let known = moved.remembered();
    assert_eq!(
        (known.kept, known.tried, known.parked),
        (vec![kind(1)], vec![], vec![])
    );
    let seat = seat();
    seat.known_before([kind(1)].into_iter());
    // Of somebody who is not in the group nothing can be waited for.
    let stranger = |n| TriedKind {
        kind: kind(n),
        first: "gone".into(),
        told: true,
    };
    let remembered = RememberedKinds {
        group: "alike".into(),
        tried: vec![stranger(1), stranger(2)],
        parked: vec![(key(3), "gone".into())],
        ..RememberedKinds::default()
    };
    seat.restore(remembered, now);
    let known = seat.remembered();
    assert_eq!(
        (known.kept, known.tried, known.parked),
        (vec![kind(1)], vec![], vec![])
    );
}

#[test]
fn each_change_of_what_is_remembered_has_a_version() {
    let now = Instant::now();
    let [a, b, _] = three(now);
    let mut versions = vec![a.memory_version()];
    let mut remembered = vec![a.remembered()];
    let mut step = |change: &dyn Fn()| {
        change();
        assert_eq!(a.remembered(), b.remembered());
        if a.remembered() != remembered[remembered.len() - 1] {
            remembered.push(a.remembered());
            versions.push(a.memory_version());
        }
    };
    step(&|| assert_eq!(a.waits(&key(1), kind(1), false), None));
    step(&|| a.told([kind(1)].into_iter(), now));
    step(&|| a.down(false, now));
    step(&|| a.up(now));
    step(&|| a.parked(&key(1), kind(1)));
    step(&|| a.told([kind(1)].into_iter(), now));
    step(&|| tick(&a, Trial::Kept, now + WAIT));
    step(&|| a.leave());
    assert_eq!(remembered.len(), 6, "{remembered:?}");
    assert!(
        versions.is_sorted_by(|before, after| before < after),
        "{versions:?}"
    );
}

#[test]
fn a_change_of_how_long_is_waited_proves_nothing() {
    let now = Instant::now();
    let [a, b, _] = three(now);
    assert_eq!(a.waits(&key(1), kind(1), false), None);
    a.told([kind(1)].into_iter(), now);
    let version = b.version();
    a.set_wait(2 * WAIT);
    assert!(b.version() > version);
    tick(&a, Trial::Kept, now + WAIT);
    assert!(first(&b, 1).is_some());
    assert_eq!(a.deadline(), Some(now + 2 * WAIT));
    tick(&a, Trial::Kept, now + 2 * WAIT);
    assert_eq!(first(&b, 1), None);
}

#[test]
fn who_comes_into_a_group_brings_what_it_has_kept_and_goes_on_with_what_it_tries() {
    let now = Instant::now();
    let [a, b, c] = three(now);
    let later = now + WAIT;
    let version = b.version();
    c.brings([(kind(1), now), (kind(2), now + SECOND)].into_iter(), later);
    assert!(b.version() > version);
    assert_eq!(first(&b, 1), None, "kept for so long");
    assert_eq!(first(&b, 2), Some((Some("c".into()), Because::Tried)));
    assert_eq!(c.deadline(), Some(later + SECOND), "it had begun before");
    tick(&c, Trial::Kept, later + SECOND);
    assert_eq!(first(&b, 2), None);

    // Who tries it for the group already goes on, unless somebody has kept it.
    assert_eq!(a.waits(&key(3), kind(3), false), None);
    c.brings([(kind(3), later)].into_iter(), later);
    assert_eq!(first(&b, 3), Some((Some("a".into()), Because::Tried)));
    let version = b.version();
    c.brings([(kind(3), now)].into_iter(), later);
    assert_eq!(first(&b, 3), None);
    assert!(b.version() > version);
    let version = b.version();
    c.brings([(kind(3), now)].into_iter(), later);
    assert_eq!(b.version(), version, "that is no news");
}

#[test]
fn who_is_told_anyway_finds_out_for_the_others_where_the_first_lost_its_session() {
    let now = Instant::now();
    let [a, b, c] = three(now);
    assert_eq!(a.waits(&key(1), kind(1), false), None);
    // As long as the first has it, it is its turn.
    assert!(b.waits(&key(2), kind(1), true).is_some());
    a.told([kind(1)].into_iter(), now);
    a.down(false, now);
    assert_eq!(first(&c, 1), Some((Some("a".into()), Because::Lost)));
    assert_eq!(b.waits(&key(2), kind(1), true), None);
    assert_eq!(first(&c, 1), Some((Some("b".into()), Because::Tried)));
    b.told([kind(1)].into_iter(), now);
    tick(&b, Trial::Kept, now + WAIT);
    assert_eq!((first(&a, 1), first(&c, 1)), (None, None));
}

#[test]
fn who_has_it_in_its_queue_is_not_waited_for_for_ever() {
    let now = Instant::now();
    // (what the first has of it, whether it lost a session over it, whether another may be first at last)
    let cases = [
        (Trial::Queued, false, true),
        (Trial::Pending, false, false),
        (Trial::Queued, true, false),
    ];
    for (trial, lost, another) in cases {
        let [a, b, _] = three(now);
        assert_eq!(a.waits(&key(1), kind(1), false), None);
        let mut begin = now + SECOND;
        if lost {
            a.told([kind(1)].into_iter(), begin);
            a.down(false, begin);
            begin += SECOND;
        }
        a.up(begin);
        for late in [WAIT, PATIENCE - SECOND] {
            tick(&a, trial, begin + late);
            assert!(first(&b, 1).is_some(), "{trial:?}");
        }
        tick(&a, trial, begin + PATIENCE + WAIT);
        assert_eq!(first(&b, 1).is_none(), another, "{trial:?}, lost: {lost}");
    }
}

#[test]
fn what_the_first_has_parked_waits_until_it_has_kept_it() {
    let now = Instant::now();
    let [a, b, _] = three(now);
    assert_eq!(a.waits(&key(1), kind(1), false), None);
    a.parked(&key(1), kind(1));
    a.told([kind(1)].into_iter(), now);
    let fated = |fate: Fate, at: Instant| a.tick(|_| Trial::Kept, |_| fate, at);
    fated(Fate::Pending, now + WAIT);
    let parked = Some((Some("a".into()), Because::Parked));
    assert_eq!(first(&b, 1), parked);
    assert_eq!(
        (b.is_known(&key(1), kind(1)), b.is_known(&key(2), kind(1))),
        (false, true)
    );
    let other = b.asking().waits(&key(2), kind(1), false);
    assert_eq!(other, None, "others of its kind were kept");
    fated(Fate::Kept(now + 9 * WAIT), now + 9 * WAIT);
    assert_eq!(a.deadline(), Some(now + 10 * WAIT));
    assert_eq!(first(&b, 1), parked);
    fated(Fate::Kept(now + 9 * WAIT), now + 10 * WAIT);
    assert_eq!(first(&b, 1), None);
    b.parked(&key(2), kind(1));
    assert_eq!(
        a.asking().waits(&key(2), kind(1), false),
        None,
        "it tried nothing for others"
    );
}
