//! What the tables have as it is, is not set again by a comparison.

use super::*;
use prefixd_api::mitigation::Severity;

#[tokio::test]
async fn a_comparison_sets_again_what_does_not_stand() {
    let announcer = two();
    let one = mitigation(&announcer, 1, &police());
    let live = [one.clone()];
    let alone = state(&live);
    announcer.project(&alone, ids(&live));
    let stands = |state: &State| {
        let known = &state.mitigations[&one.mitigation_id];
        announcer.inner().stands(state, known, announcer.clock.now())
    };
    assert!(stands(&alone));

    let lose: [fn(&mut Group, MitigationId); 3] = [
        |group, id| drop(group.table.remove(id)),
        |group, _| group.forget_compiled(),
        |group, id| drop(group.remove(id)),
    ];
    for lose in lose {
        lose(&mut announcer.inner().groups[0], one.mitigation_id);
        assert!(!stands(&alone));
        announcer.reconcile(&alone);
        assert!(stands(&alone));
    }

    let revised = state(&[Mitigation {
        severity: Severity::Critical,
        ..one.clone()
    }]);
    assert!(!stands(&revised), "it is another");
    let mut other = mitigation(&announcer, 1, &police());
    other.vector = "manual".into();
    let both = state(&[one.clone(), other]);
    announcer.project(&both, both.mitigations.keys().copied());
    assert!(!stands(&both), "it depends on the one beside it");
}
