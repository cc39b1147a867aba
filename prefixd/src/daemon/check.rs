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
}
