//! Child processes that never outlive the process that started them.
//!
//! A child runs in its own process group. Beside it runs a watcher, a shell that waits for the end of a pipe whose
//! other end only we hold: when this process ends, however it ends (also by SIGKILL), the watcher kills the child's
//! group and removes its directory. `PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the
//! child ends, and test threads end early.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How often the end of a stopping child is looked for.
const POLL: Duration = Duration::from_millis(10);

/// Time a child has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    watcher: Child,
    log: PathBuf,
    /// What ends it when it is dropped or orphaned.
    last: Signal,
}

impl Process {
    /// Starts `command` with its output going to `dir/NAME.log`.
    ///
    /// `dir` is removed with the child when this process dies without having stopped it.
    ///
    /// # Errors
    /// When the log cannot be created or the program cannot be started.
    pub fn spawn(name: &str, command: Command, dir: &Path) -> anyhow::Result<Self> {
        Self::spawn_ending_by(Signal::SIGKILL, name, command, dir)
    }

    /// As [`Process::spawn`], for a child that must clean up when it is dropped or orphaned: it gets `last`, and
    /// SIGKILL only when it is still there after five seconds.
    ///
    /// # Errors
    /// As for [`Process::spawn`].
    pub fn spawn_ending_by(last: Signal, name: &str, command: Command, dir: &Path) -> anyhow::Result<Self> {
        let log = log_of(name, dir);
        let mut child = spawn_unwatched(name, command, dir)?;
        match watch(child.id(), last, dir) {
            Ok(watcher) => Ok(Self {
                name: name.to_owned(),
                child,
                watcher,
                log,
                last,
            }),
            Err(error) => {
                child.kill().context("stop a child that cannot be watched")?;
                child.wait().context("wait for a child that cannot be watched")?;
                Err(error)
            }
        }
    }

    /// The child's process id, also that of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the child's output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What the child wrote so far.
    pub fn log(&self) -> String {
        match std::fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }

    /// The child's exit status, when it has ended.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("look at {}", self.name))
    }

    /// Sends a signal to the child alone.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.target(), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Asks the child to end (SIGTERM), and kills it when it does not within five seconds.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(self) -> anyhow::Result<ExitStatus> {
        self.stop_by(Signal::SIGTERM).await
    }

    /// Asks the child to end with another signal than SIGTERM.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop_by(mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        self.signal(signal)?;
        match self.wait(GRACE).await? {
            Some(status) => Ok(status),
            None => bail!(
                "{} did not end within {GRACE:?} of {signal}; it was killed",
                self.name
            ),
        }
    }

    /// Waits for the child to end by itself; `None` when it has not after `limit`.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn target(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

/// Ends the child with its group and waits for it.
impl Drop for Process {
    fn drop(&mut self) {
        if self.last != Signal::SIGKILL && self.signal(self.last).is_ok() {
            let deadline = Instant::now() + GRACE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
        // The group may be gone already; then there is nothing to kill. Waiting ends at once after SIGKILL.
        let _ = killpg(self.target(), Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}

/// Where [`Process::spawn`] puts the output of a child.
pub(crate) fn log_of(name: &str, dir: &Path) -> PathBuf {
    dir.join(format!("{name}.log"))
}

/// Starts a child in its own process group, for whose end the caller cares.
pub(crate) fn spawn_unwatched(name: &str, mut command: Command, dir: &Path) -> anyhow::Result<Child> {
    let log = log_of(name, dir);
    let out = File::options().create(true).append(true).open(&log);
    let out = out.with_context(|| format!("create {}", log.display()))?;
    let err = out.try_clone().context("duplicate the log's descriptor")?;
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {name} ({})", command.get_program().display()))
}

fn watch(pid: u32, last: Signal, dir: &Path) -> anyhow::Result<Child> {
    let script = r#"trap '' INT TERM HUP; read -r _; kill -s "$1" -- "-$2"
        n=0; while kill -0 "-$2" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
        kill -KILL "-$2" 2>/dev/null; rm -rf -- "$3""#;
    let name = last.as_str().trim_start_matches("SIG");
    Command::new("/bin/sh")
        .args(["-c", script, "watcher", name, &pid.to_string()])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the watcher of a child process")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is there and no zombie. Its command line would not tell: it is empty for a moment after exec.
    fn alive(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim().chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    async fn until_dead(pid: u32) {
        tokio::time::timeout(Duration::from_secs(10), async {
            while alive(pid) {
                tokio::time::sleep(POLL).await;
            }
        })
        .await
        .unwrap();
    }

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[tokio::test]
    async fn dropping_kills() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::spawn("sleep", sleeper(), dir.path()).unwrap();
        let pid = process.pid();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
    }

    /// The end of this process is played by taking the write end of the pipe out of the watcher.
    #[tokio::test]
    async fn the_end_of_the_pipe_kills_the_child_and_removes_its_directory() {
        let dir = tempfile::tempdir().unwrap().keep();
        let mut process = Process::spawn("sleep", sleeper(), &dir).unwrap();
        drop(process.watcher.stdin.take());
        let ended = process.wait(Duration::from_secs(10)).await.unwrap();
        assert!(ended.is_some());
        let pid = process.watcher.id();
        tokio::time::timeout(Duration::from_secs(10), async {
            while process.watcher.try_wait().unwrap().is_none() {
                tokio::time::sleep(POLL).await;
            }
        })
        .await
        .unwrap();
        until_dead(pid).await;
        assert!(!dir.exists());
    }

    #[tokio::test]
    async fn stop_asks_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
        ]);
        let process = Process::spawn("polite", command, dir.path()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), async {
            while !process.log().contains("ready") {
                tokio::time::sleep(POLL).await;
            }
        })
        .await
        .unwrap();
        let log = process.log.clone();
        assert_eq!(process.stop().await.unwrap().code(), Some(3));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "ready\nbye\n");
    }
}
