//! What ends the demo early. What it started ends with it, because nothing outlives its owner ([`lab::process`]).

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }

    /// What it answers, or an error as soon as a signal comes.
    pub(crate) async fn unless<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let interrupted = async {
            tokio::select! {
                _ = self.interrupt.recv() => "interrupted",
                _ = self.terminate.recv() => "terminated",
                _ = self.hangup.recv() => "the terminal is gone",
            }
        };
        tokio::select! {
            done = work => done,
            why = interrupted => bail!("{why}; everything it started is stopped"),
        }
    }

    /// Waits for a signal that is meant for the demo while the console has the terminal: there Ctrl-C is the
    /// console's, and is dropped here.
    pub(crate) async fn beside_the_console(&mut self) -> &'static str {
        loop {
            tokio::select! {
                // One that came before the signal that ends the console must not end what follows.
                biased;
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => return "terminated",
                _ = self.hangup.recv() => return "the terminal is gone",
            }
        }
    }
}
