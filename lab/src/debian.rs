//! Programs from Debian's packages: where they are, and what it means when they are not there.

use std::path::PathBuf;

use anyhow::Context as _;

/// A comma list of names whose absence is allowed; what needs them is then skipped, and says so on standard error.
pub const ALLOW_MISSING: &str = "PREFIXD_TEST_ALLOW_MISSING";

/// A program that tests need.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The name that [`ALLOW_MISSING`] takes.
    pub name: &'static str,
    /// The file's name.
    pub program: &'static str,
    /// The Debian package that holds it.
    pub package: &'static str,
}

impl Tool {
    /// The program's path.
    ///
    /// # Errors
    /// When it is not installed; the error names the Debian package.
    pub fn find(&self) -> anyhow::Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps some daemons outside of an ordinary user's PATH.
        postgresql_directories()
            .into_iter()
            .chain(std::env::split_paths(&path))
            .chain(["/usr/sbin", "/usr/local/sbin", "/usr/lib/frr"].map(PathBuf::from))
            .map(|dir| dir.join(self.program))
            .find(|file| file.is_file())
            .with_context(|| {
                format!(
                    "{} is not installed: apt-get install {} (or: make setup)",
                    self.program, self.package
                )
            })
    }

    /// Whether what needs the program can run. `Ok(false)` only when it is missing and [`ALLOW_MISSING`] names it.
    ///
    /// # Errors
    /// When it is missing and that is not allowed; the error names the Debian package.
    pub fn available(&self) -> anyhow::Result<bool> {
        let allowed = std::env::var(ALLOW_MISSING).unwrap_or_default();
        let Err(error) = self.find() else { return Ok(true) };
        if !is_allowed(&allowed, self.name) {
            return Err(error);
        }
        #[expect(
            clippy::print_stderr,
            reason = "what is skipped must be seen in the test's output"
        )]
        {
            eprintln!("SKIPPED: {error:#}; {ALLOW_MISSING} allows that");
        }
        Ok(false)
    }
}

fn is_allowed(list: &str, name: &str) -> bool {
    list.split(',').any(|allowed| allowed.trim() == name)
}

/// The directories of the installed servers, the newest first.
fn postgresql_directories() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect::<Vec<_>>();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let tool = Tool {
            name: "nothing",
            program: "no-such-program-anywhere",
            package: "nothing-deb",
        };
        let error = tool.find().unwrap_err().to_string();
        assert!(error.contains("apt-get install nothing-deb"), "{error}");
        assert!(tool.available().is_err());
    }

    #[test]
    fn absence_is_allowed_by_whole_names() {
        assert!(is_allowed("frr, bird", "bird"));
        assert!(!is_allowed("bird2", "bird"));
        assert!(!is_allowed("", "bird"));
    }
}
