//! `--check`: everything a start would refuse, without starting.

use super::wiring;
use prefixd_api::config::{Config, ConfigErrors};

/// Checks what the documents alone cannot tell.
///
/// # Errors
/// What a start would refuse, and where it is written.
pub fn check(config: &Config) -> Result<(), ConfigErrors> {
    let mut mistakes = Vec::new();
    let storage = &config.settings.storage.connection_string;
    if let Err(error) = wiring::postgres(storage) {
        mistakes.push(config.mistake("storage.connection_string", error));
    }
    let speaker = wiring::speaker(config).and_then(|speaker| Ok(speaker.validate()?));
    if let Err(error) = speaker {
        mistakes.push(config.mistake("bgp", format_args!("{error:#}")));
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(ConfigErrors(mistakes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_cannot_be_reached_by_its_text_is_placed() {
        let settings = "pop: a\nmode: dry-run\nbgp: { local_asn: 1, router_id: 10.0.0.1 }\nstorage:\n  connection_string: postgres://u:hidden@h:99999999/p\n";
        let config = Config::from_texts(settings, "{}", "{}").unwrap();
        let told = check(&config).unwrap_err().to_string();
        assert!(told.starts_with("prefixd.yaml:5:"), "{told}");
        assert!(!told.contains("hidden"), "{told}");
    }

    #[test]
    fn a_unicast_family_without_a_next_hop_is_refused() {
        let settings = |rtbh: &str| {
            format!(
                "pop: a\nmode: dry-run\nbgp:\n  local_asn: 1\n  router_id: 10.0.0.1\n  neighbors:\n    - {{ name: r, address: 192.0.2.1, peer_asn: 1, afi_safi: [ipv4-unicast, ipv6-unicast]{rtbh} }}\n"
            )
        };
        let checked = |rtbh: &str| check(&Config::from_texts(&settings(rtbh), "{}", "{}").unwrap());
        let both = ", rtbh: { next_hop: 192.0.2.254, next_hop_v6: \"100::1\" }";
        assert_eq!(checked(both), Ok(()));
        for (rtbh, part) in [
            ("", "no rtbh.next_hop;"),
            (", rtbh: { next_hop: 192.0.2.254 }", "no rtbh.next_hop_v6;"),
            (
                ", rtbh: { next_hop: 192.0.2.1, next_hop_v6: \"100::1\" }",
                "no next hop to discard at",
            ),
            (
                ", rtbh: { next_hop: 192.0.2.254, next_hop_v6: \"100::1\", communities: [\"65010\"] }",
                "is not a community",
            ),
        ] {
            let told = checked(rtbh).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
    }
}
