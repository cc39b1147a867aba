//! The samples of etc/ load, and show every key there is.

use crate::places::{keys_of, places, root, samples};
use prefixd_api::config;

#[test]
fn the_samples_load() {
    let config = config::load(&root().join("etc")).unwrap();
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

#[test]
fn the_samples_show_every_key() {
    let samples = samples();
    for place in places() {
        for key in keys_of(&place, &samples) {
            let shown = samples[place.file]
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .any(|word| word == key);
            assert!(shown, "{key} (of {:?}) is not in the sample", place.path);
        }
    }
}
