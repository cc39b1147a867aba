//! Colour, only where a terminal shows it.

use clap::ValueEnum;

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals
    Auto,
    /// Also into pipes
    Always,
    /// Nowhere
    Never,
}

impl Color {
    pub(super) fn is_on(self, terminal: bool) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => !set("NO_COLOR") && (terminal || set("CLICOLOR_FORCE")),
        }
    }
}

/// What a text means. The words say it too: colour only helps the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
    Head,
}

impl Tone {
    /// The text between the terminal's codes for this tone.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => 32,
            Self::Warning => 33,
            Self::Bad => 31,
            Self::Faint => 2,
            Self::Head => 1,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
