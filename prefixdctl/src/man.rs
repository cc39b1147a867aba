//! Manual pages.

use crate::cli;
use crate::failure::Failure;
use crate::output;
use clap::Args;
use clap_mangen::Man;
use std::path::PathBuf;

/// Print the manual page, or write all pages to a directory
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl man
  prefixdctl man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write one page a command here
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        // The version stands in `prefixdctl version`; without it a release changes no page.
        let mut command = in_full(cli::command().version(None::<&str>));
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            return output::print(&String::from_utf8_lossy(&page));
        };
        command.build();
        pages(command, &dir)
    }
}

/// Options that `-h` leaves out are described in the manual.
fn in_full(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| arg.hide_short_help(false))
        .mut_subcommands(in_full)
}

fn pages(command: clap::Command, dir: &std::path::Path) -> Result<(), Failure> {
    for subcommand in command.get_subcommands() {
        pages(subcommand.clone(), dir)?;
    }
    Ok(Man::new(command).generate_to(dir).map(drop)?)
}
