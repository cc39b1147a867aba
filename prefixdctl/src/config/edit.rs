//! Editing a file of the daemon's configuration.

use super::{is_stale, kept, put, sheet};
use crate::failure::Failure;
use crate::session::{Session, read_text};
use clap::Args;
use prefixd_api::configuration::{ConfigFile, ConfigText, MAX_FILE};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What edits where nobody says otherwise.
const EDITOR: &str = "vi";

/// Edit a file with $VISUAL or $EDITOR, and put it into force
#[derive(Args, Debug)]
#[command(after_help = "\
What the daemon refuses is shown with line and column, and may be edited again. Your text is never lost: when it is not in
force, it is in a file, and you are told where. If somebody else changed the file meanwhile, theirs stays.

Examples:
  prefixdctl config edit inventory
  prefixdctl config edit playbooks")]
pub(super) struct EditArgs {
    /// settings, inventory or playbooks
    file: ConfigFile,
    /// How many mitigations may lose rules because something is switched to dry-run; without it none may
    #[arg(long, value_name = "N")]
    expect_count: Option<u64>,
}

impl EditArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a change of the configuration")?;
        let file = self.file;
        let read = session.client.config_text(file).await?;
        let path = draft(file, &read.text)?;
        loop {
            let text = match edited(&path) {
                Ok(text) => text,
                Err(failure) => {
                    session.note(&kept(file, &path, &read));
                    return Err(failure);
                }
            };
            if text == read.text {
                discard(&path);
                session.note(&format!("{} is as it was; nothing was changed", file.file_name()));
                return Ok(());
            }
            match put(session, file, &text, &read.version, self.expect_count).await {
                Ok(changed) => {
                    discard(&path);
                    return session.out.sheet(&changed, |_| sheet(&changed));
                }
                Err(failure) => {
                    if again(session, &failure) {
                        continue;
                    }
                    session.note(&told(session, file, &path, &read, &failure).await);
                    return Err(failure);
                }
            }
        }
    }
}

/// Whether the person wants to correct what was refused; a text for another version is no matter of correcting it.
fn again(session: &Session, failure: &Failure) -> bool {
    let Failure::Api(prefixd_api::client::Error::Problem(problem)) = failure else {
        return false;
    };
    if problem.status != 400 {
        return false;
    }
    failure.report(session.out.format);
    session.asks("Edit it again?")
}

/// Where the text is, and what to do with it.
async fn told(
    session: &Session,
    file: ConfigFile,
    path: &Path,
    read: &ConfigText,
    failure: &Failure,
) -> String {
    if !is_stale(failure) {
        return kept(file, path, read);
    }
    let now = session.client.config_text(file).await;
    let version = now.map_or_else(|_| "VERSION".to_owned(), |now| now.version);
    format!(
        "somebody else changed {} meanwhile, and theirs stays. Your text is in {}: bring both together (prefixdctl config get \
         {file} | diff - {}), then: prefixdctl config put {file} {} --if-match {version}",
        file.file_name(),
        path.display(),
        path.display(),
        path.display()
    )
}

/// A file for the editor that only this user can read: settings may hold a password.
fn draft(file: ConfigFile, text: &str) -> Result<PathBuf, Failure> {
    let directory = std::env::temp_dir();
    for number in 0_u32.. {
        let name = format!("prefixd-{file}-{}-{number}.yaml", std::process::id());
        let path = directory.join(name);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            Ok(mut made) => {
                made.write_all(text.as_bytes())?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Failure::Input(format!(
                    "{} cannot be made: {error}",
                    path.display()
                )));
            }
        }
    }
    Err(Failure::Input("no name for a temporary file is left".to_owned()))
}

/// Lets the person edit it. The editor may be a command with arguments, as git and others take it.
fn edited(path: &Path) -> Result<String, Failure> {
    let named = |name| {
        std::env::var(name)
            .ok()
            .filter(|editor| !editor.trim().is_empty())
    };
    let editor = named("VISUAL")
        .or_else(|| named("EDITOR"))
        .unwrap_or_else(|| EDITOR.to_owned());
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status();
    match status {
        Ok(status) if status.success() => read_text(path, MAX_FILE as u64),
        Ok(status) => Err(Failure::Input(format!(
            "the editor ({editor}) ended with {status}; nothing was changed"
        ))),
        Err(error) => Err(Failure::Input(format!(
            "the editor ({editor}) cannot be started: {error}"
        ))),
    }
}

fn discard(path: &Path) {
    // One that stays behind harms nobody.
    let _ = std::fs::remove_file(path);
}
