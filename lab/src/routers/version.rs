//! What version of a router is installed.

use std::process::Command;

use anyhow::Context as _;

use super::Kind;

impl Kind {
    /// As people name it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::GoBgp => "GoBGP",
            Self::ExaBgp => "ExaBGP",
        }
    }

    /// The version that the program itself names.
    ///
    /// # Errors
    /// When it is not installed, or names none.
    pub fn version(self) -> anyhow::Result<String> {
        let binary = self.tool().find()?;
        let output = Command::new(&binary)
            .arg("--version")
            .output()
            .with_context(|| format!("run {}", binary.display()))?;
        // BIRD writes it to standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        text.split_whitespace()
            .find(number)
            .map(str::to_owned)
            .with_context(|| format!("{} names no version: {text}", binary.display()))
    }
}
