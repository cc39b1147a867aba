//! `beside-postgres PROGRAM [ARGUMENT]...`: runs a program beside a throw-away PostgreSQL. An argument that is `@` is the
//! connection string of an empty database.

use std::process::ExitCode;

use anyhow::Context as _;
use lab::postgres::{Options, Postgres, available};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments
        .next()
        .context("usage: beside-postgres PROGRAM [ARGUMENT]...")?;
    // It has said that it skips.
    if !available()? {
        return Ok(ExitCode::SUCCESS);
    }
    let server = Postgres::start(Options::default()).await?;
    let database = server.database().await?;
    let arguments = arguments.map(|one| if one == "@" { database.clone() } else { one });
    let status = tokio::process::Command::new(&program)
        .args(arguments)
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("run {program}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
