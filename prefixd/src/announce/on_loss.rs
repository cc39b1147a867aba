//! What a router does with the rules when the connection ends without a word.

use prefixd_api::config::settings::MeasuredRestart;
use prefixd_api::resource::OnLoss;
use prefixd_bgp::Retention;

/// A router that agreed keeps the rules, unless its kind is known not to.
pub(super) fn on_loss(retention: Retention, measured: Option<MeasuredRestart>) -> OnLoss {
    let (keeps_seconds, because) = match (retention, measured) {
        (Retention::NotOffered, _) => (0, "graceful_restart is false for this neighbour".to_owned()),
        (Retention::NotAgreed, _) => (
            0,
            "the router did not agree to graceful restart; switch it on there".to_owned(),
        ),
        (Retention::Agreed(_), Some(MeasuredRestart { kept: false, by })) => (
            0,
            format!("the router agreed to graceful restart, but {by} was measured to drop them all the same"),
        ),
        (Retention::Agreed(time), Some(MeasuredRestart { kept: true, by })) => (
            time.as_secs(),
            format!("the router agreed to graceful restart, and {by} was measured to keep them"),
        ),
        (Retention::Agreed(time), None) => (
            time.as_secs(),
            "the router agreed to graceful restart; its kind was not measured".to_owned(),
        ),
    };
    OnLoss {
        keeps_seconds,
        because,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prefixd_api::config::settings::Profile;
    use prefixd_bgp::RestartTime;

    #[test]
    fn only_what_was_agreed_and_not_disproved_is_kept() {
        let agreed = Retention::Agreed(RestartTime::from_secs(90).unwrap());
        for (retention, profile, keeps, word) in [
            (Retention::NotOffered, Profile::Bird, 0, "is false"),
            (Retention::NotAgreed, Profile::Bird, 0, "did not agree"),
            (agreed, Profile::Bird, 90, "BIRD 2.0.12 was measured to keep"),
            (agreed, Profile::Gobgp, 90, "GoBGP 3.10.0 was measured to keep"),
            (agreed, Profile::Frr, 0, "FRR 8.4.4 was measured to drop"),
            (agreed, Profile::Generic, 90, "not measured"),
            (agreed, Profile::Junos, 90, "not measured"),
        ] {
            let told = on_loss(retention, profile.measured_restart());
            assert_eq!(told.keeps_seconds, keeps, "{told:?}");
            assert!(told.because.contains(word), "{told:?}");
        }
    }
}
