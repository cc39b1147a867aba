//! The configuration of the daemon.

mod edit;

use crate::failure::Failure;
use crate::mitigations::explain;
use crate::output::{plain, print, sheet_of};
use crate::session::Session;
use clap::{Args, Subcommand};
use prefixd_api::client::{Change, Error};
use prefixd_api::configuration::{ConfigChanged, ConfigFile, ConfigText, MAX_FILE};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Look at the daemon's configuration, check and change it
#[derive(Args, Debug)]
#[command(after_help = "\
FILE is settings (prefixd.yaml), inventory or playbooks.

Examples:
  prefixdctl config show inventory
  prefixdctl config edit playbooks")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(ShowArgs),
    Get(GetArgs),
    Validate(ValidateArgs),
    Put(PutArgs),
    Edit(edit::EditArgs),
}

impl ConfigArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.command {
            Command::Show(args) => args.run(session).await,
            Command::Get(args) => args.run(session).await,
            Command::Validate(args) => args.run(session).await,
            Command::Put(args) => args.run(session).await,
            Command::Edit(args) => args.run(session).await,
        }
    }
}

/// Show what is in force: settings without secrets, inventory or playbooks
#[derive(Args, Debug)]
#[command(after_help = "\
Of the settings no secrets are shown, and not where they are kept.

Examples:
  prefixdctl config show settings
  prefixdctl config show inventory -o json")]
struct ShowArgs {
    /// settings, inventory or playbooks
    file: ConfigFile,
}

impl ShowArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a configuration")?;
        let told = session.client.config_document(self.file).await?.value;
        if told.differs_on_disk {
            session.note(&format!(
                "{} on disk is another one, which is not in force: prefixdctl config get {} shows it",
                self.file.file_name(),
                self.file
            ));
        }
        let yaml = serde_saphyr::to_string(&told.document)
            .map_err(|error| Failure::Input(format!("the document cannot be shown: {error}")))?;
        session.out.sheet(&told, |_| plain(&yaml))
    }
}

/// Print a file as it is on disk, byte for byte
#[derive(Args, Debug)]
#[command(after_help = "\
Its version is told on standard error: `config put` wants it.

Examples:
  prefixdctl config get inventory
  prefixdctl config get playbooks -o json")]
struct GetArgs {
    /// settings, inventory or playbooks
    file: ConfigFile,
}

impl GetArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a configuration")?;
        let told = session.client.config_text(self.file).await?;
        session.note(&format!("version {}", told.version));
        if session.out.is_for_people() {
            let is_terminal = std::io::stdout().is_terminal();
            print(&if is_terminal { plain(&told.text) } else { told.text })
        } else {
            session.out.sheet(&told, |_| told.text.clone())
        }
    }
}

/// Check a file with the daemon's other files, and change nothing
#[derive(Args, Debug)]
#[command(after_help = "\
The daemon says every mistake with line and column, also what a change of this file would break in the others.

Examples:
  prefixdctl config validate inventory inventory.yaml
  prefixdctl config validate playbooks -")]
struct ValidateArgs {
    /// settings, inventory or playbooks
    file: ConfigFile,
    /// The new text, or - for standard input
    path: PathBuf,
}

impl ValidateArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a check")?;
        let text = session.read_text(&self.path, MAX_FILE as u64)?;
        let checked = session
            .client
            .change_config_text(self.file, &text, Change::ValidateOnly)
            .await?;
        session.out.sheet(&checked, |_| sheet(&checked))
    }
}

/// Replace a file and put it into force, if it has the version that you changed
#[derive(Args, Debug)]
#[command(after_help = "\
The daemon checks it with its other files, keeps the one before as FILE.bak, and puts it into force; or it changes nothing
and says every mistake.

Examples:
  prefixdctl config put inventory inventory.yaml --if-match 3f2a...
  prefixdctl config put playbooks - --if-match 3f2a... --yes")]
struct PutArgs {
    /// settings, inventory or playbooks
    file: ConfigFile,
    /// The new text, or - for standard input
    path: PathBuf,
    /// The version that you changed, as `config get` told it
    #[arg(long, value_name = "VERSION")]
    if_match: String,
    /// How many mitigations may lose rules because something is switched to dry-run; without it none may
    #[arg(long, value_name = "N")]
    expect_count: Option<u64>,
}

impl PutArgs {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.may_change()?;
        session.no_rows("a change of the configuration")?;
        let text = session.read_text(&self.path, MAX_FILE as u64)?;
        if session.will_ask() {
            let question = format!("Replace {} and put it into force?", self.file.file_name());
            session.confirm(&question, 1)?;
        }
        let changed = put(session, self.file, &text, &self.if_match, self.expect_count).await?;
        session.out.sheet(&changed, |_| sheet(&changed))
    }
}

/// Replaces a file. When the answer is lost the daemon is asked what is there: the version says whether it happened.
async fn put(
    session: &Session,
    file: ConfigFile,
    text: &str,
    version: &str,
    expect_count: Option<u64>,
) -> Result<ConfigChanged, Failure> {
    let version = version.trim_matches('"');
    let change = expect_count.map_or(Change::Of(version), |count| Change::Expecting(version, count));
    session
        .client
        .change_config_text(file, text, change)
        .await
        .map_err(explain)
}

/// Whether the file was changed by somebody else meanwhile.
fn is_stale(failure: &Failure) -> bool {
    matches!(failure, Failure::Api(Error::Problem(problem)) if problem.status == 412)
}

fn sheet(changed: &ConfigChanged) -> String {
    let name = changed.file.file_name();
    let what = match (changed.validated_only, changed.changed, changed.head) {
        (true, true, _) => "is valid; nothing was changed",
        (true, false, _) => "is valid, and says what is there already",
        (false, _, Some(_)) => "is in force",
        (false, _, None) => "says what is there already; nothing was changed",
    };
    let mut pairs = vec![
        ("file", format!("{name} {what}")),
        ("version", changed.version.clone()),
    ];
    if changed.changed {
        pairs.push(("before", changed.previous.clone()));
    }
    if let Some(backup) = &changed.backup {
        pairs.push(("kept as", backup.clone()));
    }
    pairs.extend(changed.loses.iter().map(|loss| ("lost", loss.to_string())));
    pairs.extend(
        changed
            .warnings
            .iter()
            .map(|warning| ("warning", warning.clone())),
    );
    sheet_of(&pairs)
}

/// Where a text is that the daemon did not take, and how to go on.
fn kept(file: ConfigFile, path: &std::path::Path, read: &ConfigText) -> String {
    format!(
        "your text is in {}. To go on: prefixdctl config put {file} {} --if-match {}",
        path.display(),
        path.display(),
        read.version
    )
}
