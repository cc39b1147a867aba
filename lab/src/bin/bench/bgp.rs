//! The speaker alone, by a program of its own (prefixd-bgp/examples/speed): the lab depends on no crate of the workspace.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::Arguments;

/// It prints its rows itself.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let program = arguments.speed.display();
    let status = Command::new(&arguments.speed)
        .status()
        .with_context(|| format!("run {program}"))?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}
