//! What a neighbour and the daemon say to each other, in a file.

use crate::failure::Failure;
use crate::session::Session;
use clap::Args;
use prefixd_api::show::count;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Write the BGP messages of a neighbour to a file, for support
///
/// MRT records (RFC 6396, BGP4MP_ET) of both directions, from now on and for a bounded time, which bgpdump and others read. A message may name what you protect; keys of TCP-MD5 are not in it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl peers dump edge1 --seconds 60
  prefixdctl peers dump edge1 --file - | bgpdump -")]
pub(super) struct DumpArgs {
    /// Its name in the configuration
    name: String,
    /// How long, 1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,
    /// How much at most, 1024 to 67108864
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20)]
    max_bytes: u32,
    /// The file, which must not exist, or - for standard output; default: NAME.mrt
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl DumpArgs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("a dump")?;
        let path = self.file.unwrap_or_else(|| format!("{}.mrt", self.name).into());
        let to_stdout = path.as_os_str() == "-";
        if !to_stdout && path.exists() {
            let what = format!("{} exists already; choose another --file", path.display());
            return Err(Failure::Input(what));
        }
        // Made with the first record, so that a refusal leaves no empty file.
        let open = || -> io::Result<Box<dyn Write>> {
            Ok(if to_stdout {
                Box::new(io::stdout())
            } else {
                Box::new(OpenOptions::new().write(true).create_new(true).open(&path)?)
            })
        };
        let mut sink: Option<Box<dyn Write>> = None;
        let (mut bytes, mut failed) = (0, None);
        let mut write = |records: &[u8]| {
            let sink = match &mut sink {
                Some(sink) => sink,
                none => none.insert(open()?),
            };
            sink.write_all(records)?;
            sink.flush()
        };
        let take = |records: &[u8]| match write(records) {
            Ok(()) => {
                bytes += records.len() as u64;
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        };
        let dumped = session
            .client
            .dump_peer(&self.name, Some(self.seconds), Some(self.max_bytes), take)
            .await;
        if let Some(error) = failed {
            return Err(error.into());
        }
        dumped?;
        if bytes == 0 {
            session.note("nothing was said in that time");
        } else if !to_stdout {
            session.note(&format!("{} bytes in {}", count(bytes), path.display()));
        }
        Ok(())
    }
}
