//! What every command works with: the client, the way to show things, and consent.

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{Format, Output};
use prefixd_api::client::{Client, Endpoint, Options, read_token};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

/// Where a daemon of this machine listens.
const LOCAL_SOCKET: &str = "/run/prefixd/prefixd.sock";
/// Where it listens when there is no socket.
const LOCAL_TCP: &str = "http://127.0.0.1:8080";
/// From so many mitigations on, the number must be typed.
const TYPED_FROM: usize = 10;

/// One run of the program.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) out: Output,
    quiet: bool,
    yes: bool,
    no_input: bool,
    readonly: bool,
    token_from_stdin: bool,
}

impl Session {
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        let endpoint = match &global.api {
            Some(endpoint) => endpoint.clone(),
            None => local_endpoint()?,
        };
        if endpoint.is_clear_text() && !global.insecure {
            return Err(Failure::Input(format!(
                "{endpoint} would carry tokens in clear text over the network: use https, or say --insecure"
            )));
        }
        let client = Client::new(Options {
            token: global
                .token_file
                .as_deref()
                .map(read_token)
                .transpose()
                .map_err(|error| Failure::Input(error.to_string()))?,
            request_timeout: global.request_timeout,
            retries: global.retries,
            user_agent: concat!("prefixdctl/", env!("CARGO_PKG_VERSION")),
            idempotency_key: global.idempotency_key.clone(),
            ..Options::new(endpoint)
        })?;
        Ok(Self {
            client,
            out: Output::new(global),
            quiet: global.quiet,
            yes: global.yes,
            no_input: global.no_input,
            readonly: global.readonly,
            token_from_stdin: global.token_file.as_deref() == Some(Path::new("-")),
        })
    }

    /// Says something on standard error, unless only errors are wanted.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            // A note that nobody can read is not worth failing for.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Refuses a command that changes something when this run is for looking only.
    pub(crate) fn may_change(&self) -> Result<(), Failure> {
        if self.readonly {
            return Err(Failure::NotConfirmed(
                "nothing was changed: this session is read-only (--readonly or PREFIXD_READONLY)".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether the person will be asked.
    pub(crate) fn will_ask(&self) -> bool {
        !self.yes
    }

    /// Asks before `count` things are changed. Ten or more need the number typed.
    pub(crate) fn confirm(&self, question: &str, count: usize) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if self.no_input || !std::io::stdin().is_terminal() {
            return Err(Failure::NotConfirmed(
                "nothing was changed: confirmation is needed and nobody can be asked; say --yes".to_owned(),
            ));
        }
        let wanted = (count >= TYPED_FROM).then(|| count.to_string());
        let mut stderr = std::io::stderr();
        match &wanted {
            Some(number) => write!(stderr, "{question} Type {number} to go on: ")?,
            None => write!(stderr, "{question} [y/N] ")?,
        }
        stderr.flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let agreed = match &wanted {
            Some(number) => line.trim() == number,
            None => matches!(line.trim(), "y" | "Y" | "yes"),
        };
        if agreed {
            Ok(())
        } else {
            Err(Failure::NotConfirmed("nothing was changed".to_owned()))
        }
    }

    /// Asks what changes nothing by itself; no when nobody can be asked.
    pub(crate) fn asks(&self, question: &str) -> bool {
        if self.yes || self.no_input || !std::io::stdin().is_terminal() {
            return false;
        }
        self.confirm(question, 1).is_ok()
    }

    /// Reads a whole text file, or standard input for `-`.
    pub(crate) fn read_text(&self, path: &Path, max_bytes: u64) -> Result<String, Failure> {
        if self.token_from_stdin && path == Path::new("-") {
            return Err(Failure::Usage(
                "standard input gives the token: name a file for the rest".to_owned(),
            ));
        }
        read_text(path, max_bytes)
    }

    /// Refuses formats made of rows, before anything is sent.
    pub(crate) fn no_rows(&self, what: &str) -> Result<(), Failure> {
        match self.out.format {
            Format::Csv | Format::Ids => Err(Failure::Usage(format!(
                "{what} has no rows: use -o table, json or jsonl"
            ))),
            Format::Table | Format::Wide | Format::Json | Format::Jsonl => Ok(()),
        }
    }
}

fn local_endpoint() -> Result<Endpoint, Failure> {
    let local = if Path::new(LOCAL_SOCKET).exists() {
        format!("unix:{LOCAL_SOCKET}")
    } else {
        LOCAL_TCP.to_owned()
    };
    local
        .parse()
        .map_err(|error: prefixd_api::client::EndpointError| Failure::Input(error.to_string()))
}

/// Reads a whole text file, or standard input for `-`.
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(max_bytes + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::Input(format!("{} cannot be read: {error}", path.display())))?;
    if text.len() as u64 > max_bytes {
        return Err(Failure::Input(format!(
            "{} is longer than {max_bytes} bytes",
            path.display()
        )));
    }
    Ok(text)
}
