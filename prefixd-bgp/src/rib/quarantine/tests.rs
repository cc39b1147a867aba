use super::*;
use crate::flowspec::Family;
use crate::status::NotificationInfo;

const HOLD: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3600);

pub(super) fn key(n: u8) -> NlriKey {
    NlriKey::new(Family::Ipv4, vec![6, 1, 32, 10, 0, 0, n])
}

fn seen(n: u8, trust: Trust, told: Option<u64>) -> Seen {
    Seen {
        key: key(n),
        trust,
        told: told.map(Duration::from_millis),
        named: false,
    }
}

fn notification(code: u8, subcode: u8) -> Loss {
    Loss::NotificationReceived(NotificationInfo {
        code,
        subcode,
        meaning: "",
        prefix_limit: None,
        text: None,
    })
}

fn reset() -> Loss {
    Loss::ConnectionLost {
        detail: "reset by the router".to_owned(),
    }
}

/// What becomes of three rules: just told, told a while ago in this window, told long ago.
#[test]
fn who_is_suspected() {
    use Trust::*;
    let silence = || notification(4, 0);
    let ages = [Some(10), Some(20_000), Some(3_600_000)];
    let cases = [
        // Only what was told last, if the end was prompt.
        (reset(), [New, New, New], [Suspect, Spared, Good]),
        (notification(6, 8), [New, New, New], [Suspect, Spared, Good]),
        // All of the window, if it was slow.
        (silence(), [New, New, New], [Suspect, Suspect, Good]),
        // What is known least comes first.
        (reset(), [Good, New, New], [Good, Spared, Good]),
        (silence(), [Spared, New, New], [Spared, Suspect, Good]),
        (silence(), [Spared, Tried, Good], [Suspect, Tried, Good]),
        (reset(), [Tried, Tried, Good], [Suspect, Tried, Good]),
        // People and other reasons throw no suspicion.
        (notification(6, 2), [New, New, New], [New, New, Good]),
        (notification(6, 1), [New, New, New], [New, New, Good]),
        (Loss::TaskFailed, [New, OnTrial, New], [New, Suspect, Good]),
    ];
    for (loss, before, after) in cases {
        let mut table: Vec<_> = (0..3)
            .map(|n| seen(u8::try_from(n).unwrap(), before[n], ages[n]))
            .collect();
        let verdict = Quarantine::default().judge(&loss, HOLD, LONG, &mut table, Instant::now());
        let found: Vec<_> = table.iter().map(|one| one.trust).collect();
        assert_eq!(found, after, "{loss} {before:?}");
        assert_eq!(verdict.parked, [0; 0], "{loss}");
    }
}

#[test]
fn one_rule_is_enough_only_if_the_router_says_that_it_was_an_update() {
    for (loss, parked) in [(notification(3, 9), vec![0]), (reset(), vec![])] {
        let mut table = [seen(1, Trust::New, Some(10)), seen(2, Trust::Good, Some(10))];
        let verdict = Quarantine::default().judge(&loss, HOLD, LONG, &mut table, Instant::now());
        assert_eq!(verdict.parked, parked, "{loss}");
    }
}

#[test]
fn a_name_decides_whatever_its_age_and_clears_the_others() {
    let mut table = [
        seen(1, Trust::New, Some(10)),
        Seen {
            named: true,
            ..seen(2, Trust::Good, Some(3_600_000))
        },
        seen(3, Trust::Suspect, None),
    ];
    let mut quarantine = Quarantine::default();
    let verdict = quarantine.judge(&notification(3, 9), HOLD, LONG, &mut table, Instant::now());
    assert_eq!((verdict.parked, verdict.suspects), (vec![1], 0));
    assert_eq!((table[0].trust, table[2].trust), (Trust::Spared, Trust::Spared));
}

/// Begins a trial of the first rule.
fn on_trial(quarantine: &mut Quarantine, table: &mut [Seen], now: Instant) {
    quarantine.judge(&reset(), HOLD, LONG, table, now);
    quarantine.rest_is_told(now);
    let at = quarantine.wakes_at().unwrap();
    assert_eq!(quarantine.next(table.len(), at), Next::Group);
    let group = quarantine.begin(table.iter().map(|one| &one.key), |_| true);
    assert_eq!(group, [table[0].key.clone()]);
    quarantine.written(0, at);
    table[0].trust = Trust::OnTrial;
    table[0].told = Some(Duration::from_millis(3));
    for one in &mut table[1..] {
        one.told = None;
    }
}

#[test]
fn the_one_under_trial_is_parked_and_the_others_are_cleared() {
    let now = Instant::now();
    let mut quarantine = Quarantine::default();
    let mut table = [1, 2, 3].map(|n| seen(n, Trust::New, Some(10)));
    on_trial(&mut quarantine, &mut table, now);
    let verdict = quarantine.judge(&reset(), HOLD, Duration::ZERO, &mut table, now);
    assert_eq!((verdict.parked, verdict.suspects), (vec![0], 0));
    assert_eq!(
        table.map(|one| one.trust),
        [Trust::New, Trust::Spared, Trust::Spared]
    );
}

#[test]
fn something_new_beside_the_trial_makes_it_undecided_once() {
    let now = Instant::now();
    let mut quarantine = Quarantine::default();
    let mut table = [1, 2].map(|n| seen(n, Trust::New, Some(10)));
    for last in [false, true] {
        table[1].trust = Trust::New;
        on_trial(&mut quarantine, &mut table, now);
        table[1] = seen(2, Trust::New, Some(1));
        let verdict = quarantine.judge(&reset(), HOLD, Duration::ZERO, &mut table, now);
        if last {
            assert_eq!(verdict.parked, [0]);
        } else {
            assert_eq!((verdict.parked, verdict.suspects), (vec![], 2));
        }
    }
}

#[test]
fn what_was_good_is_suspected_when_nothing_else_is_left() {
    let mut quarantine = Quarantine::default();
    let mut suspects = Vec::new();
    for lasted in [LONG, Duration::from_secs(1), Duration::from_secs(1)] {
        let mut table = [1, 2].map(|n| seen(n, Trust::Good, Some(10)));
        let verdict = quarantine.judge(&reset(), HOLD, lasted, &mut table, Instant::now());
        suspects.push(verdict.suspects);
    }
    assert_eq!(suspects, [0, 0, 2], "a bad line looks the same at first");
}

/// Silence without the suspects is the line, or a flood that they would stop.
#[test]
fn silence_before_the_trial_has_told_anything_clears_the_suspects() {
    let now = Instant::now();
    let mut quarantine = Quarantine::default();
    let lasted = HOLD;
    let mut lose = |table: &mut [Seen; 3], told: [Option<u64>; 3]| {
        for (one, told) in table.iter_mut().zip(told) {
            one.told = told.map(Duration::from_millis);
        }
        quarantine.judge(&notification(4, 0), HOLD, lasted, table, now);
        table.clone().map(|one| one.trust)
    };
    use Trust::*;
    let mut table = [Good, New, New].map(|trust| seen(1, trust, None));
    table[1].key = key(2);
    table[2].key = key(3);
    for _ in 0..4 {
        let told = lose(&mut table, [Some(20_000), Some(20_000), None]);
        assert_eq!(told[..2], [Good, Suspect], "what it kept stays, however often");
        let cleared = lose(&mut table, [Some(20_000), None, Some(20_000)]);
        assert_eq!(cleared, [Good, Spared, Spared]);
    }
}

/// A trial that was cut short, or too quick for silence, has acquitted the guilty one.
#[test]
fn who_was_told_answers_for_silence_without_the_suspects() {
    use Trust::*;
    let now = Instant::now();
    let mut quarantine = Quarantine::default();
    let mut table = [seen(1, Tried, None), seen(2, Spared, None)];
    // (who was told, what becomes of both)
    let losses = [
        ([true, true], [Tried, Suspect]),
        ([true, false], [Spared, Spared]),
        ([true, true], [Suspect, Suspect]),
    ];
    for (told, after) in losses {
        for (one, told) in table.iter_mut().zip(told) {
            one.told = told.then_some(Duration::from_secs(20));
        }
        quarantine.judge(&notification(4, 0), HOLD, HOLD, &mut table, now);
        assert_eq!(table.each_ref().map(|one| one.trust), after);
    }
}

#[test]
fn the_gap_follows_how_fast_the_router_was_and_groups_bound_the_trials() {
    let now = Instant::now();
    for (count, oldest, group, gap) in [
        (20, 2, 1, 100),
        (20, 50, 1, 500),
        (21, 2900, 2, 1000),
        (200, 2, 10, 100),
    ] {
        let mut quarantine = Quarantine::default();
        let mut table: Vec<_> = (0..count).map(|n| seen(n, Trust::New, Some(oldest))).collect();
        quarantine.judge(&reset(), HOLD, LONG, &mut table, now);
        quarantine.rest_is_told(now);
        let gap = now + Duration::from_millis(gap);
        assert_eq!(quarantine.next(count.into(), now), Next::At(gap), "{count}");
        assert_eq!(quarantine.next(count.into(), gap), Next::Group, "{count}");
        let told = quarantine.begin(table.iter().map(|one| &one.key), |_| true);
        assert_eq!(told.len(), group, "{count}");
    }
}

#[test]
fn a_hold_down_is_excused_only_so_often() {
    let now = Instant::now();
    let mut quarantine = Quarantine::default();
    let excused = (0..20).filter(|_| quarantine.excuse(now)).count();
    assert_eq!(excused, 10);
    assert!(quarantine.excuse(now + EXCUSED_WITHIN));
}
