//! The command line of the console.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Operator console for prefixd: what is filtered, why, and how to take it back.
#[derive(Clone, Debug, Parser)]
#[command(name = "prefixd-tui", version, about)]
pub struct Options {
    /// The daemon: http://HOST:PORT, https://HOST:PORT, or unix:/PATH. The default is the daemon's socket,
    /// unix:/run/prefixd/prefixd.sock, when it is there, and http://127.0.0.1:8080 otherwise
    #[arg(long, env = "PREFIXD_API", value_name = "URL")]
    pub api: Option<String>,

    /// File with the bearer token; not needed on the Unix socket
    #[arg(long, env = "PREFIXD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Permit plain http to other machines: tokens and what is shown cross the network in clear text
    #[arg(long)]
    pub insecure: bool,

    /// Colours. auto takes COLORFGBG's word for the background, which SSH does not pass on, or dark; a non-empty
    /// NO_COLOR means mono
    #[arg(long, value_enum, default_value_t = ThemeChoice::Auto, env = "PREFIXD_THEME")]
    pub theme: ThemeChoice,

    /// Draw with ASCII characters only
    #[arg(long)]
    pub ascii: bool,

    /// Change nothing: keys that change traffic are gone
    #[arg(long, env = "PREFIXD_READONLY", value_parser = clap::builder::FalseyValueParser::new())]
    pub readonly: bool,

    /// Start without the mouse, so that the terminal's own selection works; F2 switches
    #[arg(long)]
    pub no_mouse: bool,
}

/// Which colours to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ThemeChoice {
    /// Light or dark, as the terminal says.
    Auto,
    /// For dark backgrounds.
    Dark,
    /// For light backgrounds.
    Light,
    /// No colour.
    Mono,
}
