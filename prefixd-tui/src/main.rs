//! The console's binary.

use clap::Parser;
use prefixd_tui::cli::Options;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    prefixd_tui::run(Options::parse()).await
}
