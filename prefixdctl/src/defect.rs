//! What is left behind by a defect of this program: a file to report.

use std::backtrace::Backtrace;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes what to report into a new file of the user's own, and answers what to say. The arguments are left out: they may
/// name victims and customers.
pub(crate) fn report(dir: &Path, panic: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let said = format!("prefixdctl {version} has a defect: {panic}\n");
    match write(dir, &format!("{said}\n{}", Backtrace::force_capture())) {
        Ok(path) => format!("{said}Please report it with {}\n", path.display()),
        Err(error) => format!("{said}Please report this text; no file could be written: {error}\n"),
    }
}

fn write(dir: &Path, text: &str) -> std::io::Result<PathBuf> {
    let path = dir.join(format!("prefixdctl-defect-{}.txt", std::process::id()));
    // Never through a link or over a file that somebody else put there.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_defect_leaves_a_file_to_report() {
        let dir = tempfile::tempdir().unwrap();
        let said = report(dir.path(), "as the test wants");
        let path = PathBuf::from(said.trim_end().rsplit_once("with ").unwrap().1);
        assert_eq!(path.parent(), Some(dir.path()));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("as the test wants") && text.contains("a_defect_leaves_a_file_to_report"),
            "{text}"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        let again = report(dir.path(), "and again");
        assert!(
            again.contains("and again") && again.contains("no file could be written"),
            "{again}"
        );
        assert!(!std::fs::read_to_string(&path).unwrap().contains("and again"));
    }
}
