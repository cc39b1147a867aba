//! Suppressions of prefixes and sources, which stand among what holds announcing back.

use super::story::execute;
use super::*;
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::WideSuppression;

both!(a_suppressed_prefix_comes_and_goes);

async fn a_suppressed_prefix_comes_and_goes(place: Place) {
    let suppressed = |prefix: Option<&str>, source: Option<&str>| {
        Arc::new(WideSuppression {
            suppression_id: SuppressionId::new(),
            prefix: prefix.map(|text| text.parse().unwrap()),
            vector: None,
            source: source.map(str::to_owned),
            created_by: "kim".into(),
            created_at: at(1),
            expires_at: at(60),
            reason: "game night".into(),
        })
    };
    let (net, source) = (
        suppressed(Some("203.0.113.0/26"), None),
        suppressed(None, Some("netscout")),
    );
    let made = |one: &Arc<WideSuppression>| Effect::WideSuppressed(Arc::clone(one));
    let over = |one: &Arc<WideSuppression>, actor: &str| Effect::WideUnsuppressed {
        suppression: Arc::clone(one),
        actor: actor.into(),
    };
    place
        .commit(&[vec![made(&net)], vec![made(&source)]])
        .await
        .unwrap();
    // What is over is loaded as well, until its end is recorded.
    let loaded = place.store.load(POP, at(61)).await.unwrap();
    assert_eq!(loaded.wide_suppressions, [(*net).clone(), (*source).clone()]);
    assert!(loaded.stopped.is_empty() && loaded.paused.is_empty() && loaded.suppressions.is_empty());
    // Ended and said again in one batch: the last word counts.
    place
        .commit(&[
            vec![over(&net, "prefixd")],
            vec![over(&source, "kim"), made(&source)],
        ])
        .await
        .unwrap();
    let loaded = place.store.load(POP, at(62)).await.unwrap();
    assert_eq!(loaded.wide_suppressions, [(*source).clone()]);

    let entries = &batch(
        Head::default(),
        at(1),
        &[vec![made(&net)], vec![over(&net, "prefixd")]],
    )
    .entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.kind, &*entry.actor, &*entry.subject))
        .collect();
    assert_eq!(
        told,
        [
            (Kind::Suppression, "kim", "203.0.113.0/26"),
            (Kind::Suppression, "prefixd", "203.0.113.0/26")
        ]
    );
    // What cannot be read may be about everything: nothing is announced without it.
    execute(&place, "UPDATE control SET body = 'x'").await;
    let unreadable = place.store.load(POP, at(5)).await.unwrap_err();
    assert!(unreadable.to_string().contains("suppression"), "{unreadable}");
}
