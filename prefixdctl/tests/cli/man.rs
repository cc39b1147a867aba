//! The manual pages that are checked in are the ones the program writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn pages(dir: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("prefixdctl")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn pages_are_up_to_date() {
    let written = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_prefixdctl"))
        .args(["man", "--dir"])
        .arg(written.path())
        .status()
        .unwrap();
    assert!(status.success());
    let checked_in = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../man"));
    let written = pages(written.path());
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        checked_in.keys().collect::<Vec<_>>(),
        "write them again: prefixdctl man --dir man"
    );
    for (name, page) in written {
        assert_eq!(
            page, checked_in[&name],
            "{name} is out of date: prefixdctl man --dir man"
        );
    }
}
