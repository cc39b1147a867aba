//! Completion for shells.

use crate::cli;
use crate::failure::Failure;
use crate::output;
use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl completion bash
  prefixdctl completion fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::command(), "prefixdctl", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
