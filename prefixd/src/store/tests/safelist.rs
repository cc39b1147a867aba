//! Entries whose time is over.

use super::*;
use prefixd_api::resource::{SafelistEntry, SafelistOrigin};
use prefixd_api::time::Timestamp;

both!(an_entry_goes_when_it_is_over_and_not_by_one_wrong_clock);

async fn an_entry_goes_when_it_is_over_and_not_by_one_wrong_clock(place: Place) {
    let now = Timestamp::wall_clock();
    let entry = |prefix: &str, expires_at: Option<Timestamp>| {
        Effect::SafelistAdded(Arc::new(SafelistEntry {
            prefix: prefix.parse().unwrap(),
            reason: "a resolver".to_owned(),
            origin: SafelistOrigin::Api,
            created_by: Some("anna".to_owned()),
            created_at: Some(now),
            expires_at,
        }))
    };
    let hour = Duration::from_secs(3600);
    let effects = vec![
        entry("192.0.2.1/32", None),
        entry("192.0.2.2/32", Some(now.saturating_sub(hour))),
        entry("192.0.2.3/32", Some(now.saturating_add(hour))),
    ];
    place.commit_at(now, &[effects]).await.unwrap();
    let left = async || -> Vec<String> {
        let entries = place.store.safelist().await.unwrap();
        entries.iter().map(|entry| entry.prefix.to_string()).collect()
    };
    place.store.forget_safelist(now).await.unwrap();
    assert_eq!(left().await, ["192.0.2.1/32", "192.0.2.3/32"]);
    // This machine's clock is a day ahead: what all POPs share stays.
    place
        .store
        .forget_safelist(now.saturating_add(24 * hour))
        .await
        .unwrap();
    assert_eq!(left().await.len(), if place.store.is_shared() { 2 } else { 1 });
}
