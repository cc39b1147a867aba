//! The real program in a real terminal: a PTY whose other end is a terminal emulator.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

struct Shown {
    emulator: vt100::Parser,
    bytes: Vec<u8>,
    /// Bytes that the emulator has seen.
    processed: usize,
    closed: bool,
}

impl Shown {
    /// Takes in what was read. Half a frame is not shown, as in terminals that know synchronized updates.
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let last = |mark: &[u8]| self.bytes.windows(mark.len()).rposition(|part| part == mark);
        let upto = match last(b"\x1b[?2026h") {
            Some(begin) if last(b"\x1b[?2026l").is_none_or(|end| end < begin) => begin.max(self.processed),
            _ => self.bytes.len(),
        };
        self.emulator.process(&self.bytes[self.processed..upto]);
        self.processed = upto;
    }
}

impl Terminal {
    /// Starts the console against a daemon, with these variables beside the terminal's own.
    pub(crate) fn start(api: &str, arguments: &[&str], variables: &[(&str, &str)], size: (u16, u16)) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_prefixd-tui"));
        command.args(["--api", api]);
        command.args(arguments);
        Self::start_command(command, variables, size)
    }

    /// Starts a shell with this script, in which `"$@"` is the console.
    pub(crate) fn start_in(script: &str, api: &str, size: (u16, u16)) -> Self {
        let mut command = CommandBuilder::new("/bin/sh");
        command.args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_prefixd-tui"),
            "--api",
            api,
        ]);
        Self::start_command(command, &[], size)
    }

    fn start_command(mut command: CommandBuilder, variables: &[(&str, &str)], size: (u16, u16)) -> Self {
        let (cols, rows) = size;
        let pty = native_pty_system()
            .openpty(PtySize {
                rows,
                cols,
                pixel_width: 0,
                pixel_height: 0,
            })
            .unwrap();
        command.env_clear();
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut output = pty.master.try_clone_reader().unwrap();
        let keys = pty.master.take_writer().unwrap();
        let emulator = vt100::Parser::new(rows.try_into().unwrap(), cols.try_into().unwrap(), 0);
        let shown = Arc::new((
            Mutex::new(Shown {
                emulator,
                bytes: Vec::new(),
                processed: 0,
                closed: false,
            }),
            Condvar::new(),
        ));
        let reader = Arc::clone(&shown);
        // Ends with the program: the PTY closes.
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                let read = output.read(&mut buffer).unwrap_or(0);
                let mut shown = reader.0.lock().unwrap();
                shown.take(&buffer[..read]);
                shown.closed = read == 0;
                reader.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Self {
            child,
            master: pty.master,
            keys,
            shown,
        }
    }

    /// Sends bytes as typed.
    pub(crate) fn send(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Every byte the program has sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shown.0.lock().unwrap().bytes.clone()
    }

    /// The emulator as it is now.
    pub(crate) fn with_screen<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.shown.0.lock().unwrap().emulator.screen())
    }

    /// Waits until the screen is as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut shown = self.shown.0.lock().unwrap();
        loop {
            let text = shown.emulator.screen().contents();
            if wanted(&text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !shown.closed,
                "no {what}; the screen is\n{text}"
            );
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    pub(crate) fn wait_for(&self, words: &str) -> String {
        self.wait(words, |text| text.contains(words))
    }

    /// The panel is open and its confirming key alive.
    pub(crate) fn wait_for_live_panel(&self) {
        self.wait("panel that can be confirmed", |text| {
            text.contains("WITHDRAW") && !text.contains("read first")
        });
    }

    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        self.master
            .resize(PtySize {
                rows,
                cols,
                pixel_width: 0,
                pixel_height: 0,
            })
            .unwrap();
        let mut shown = self.shown.0.lock().unwrap();
        shown
            .emulator
            .screen_mut()
            .set_size(rows.try_into().unwrap(), cols.try_into().unwrap());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Waits for the program's end; whether it ended well.
    pub(crate) fn ended(&mut self) -> bool {
        let deadline = Instant::now() + LIMIT;
        let mut shown = self.shown.0.lock().unwrap();
        while !shown.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the console does not end");
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
        drop(shown);
        self.child.wait().unwrap().success()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
