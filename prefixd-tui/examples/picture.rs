//! Runs a program in a terminal, follows a script, and writes what the terminal shows as SVG: the picture of the
//! console in the README is of a real run.
//!
//! docs/console.md has the command that made it ("Looks").

use anyhow::{Context, bail};
use clap::Parser;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Cells in pixels, for a font whose letters are 0.6 of its size wide.
const CELL: (f64, f64) = (8.4, 17.0);
const FONT_SIZE: f64 = 14.0;
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#121212";
const FOREGROUND: &str = "#d4d4d4";
/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(120);
/// A screen that has not changed for so long is finished.
const QUIET: Duration = Duration::from_millis(400);

#[derive(Parser)]
struct Arguments {
    /// The file to write
    #[arg(long)]
    out: PathBuf,
    /// Columns and rows
    #[arg(long, default_value = "120x40")]
    size: String,
    /// `wait=TEXT` until the screen shows it, `keys=TEXT` typed, `rest=SECONDS`; in order
    #[arg(long = "step")]
    steps: Vec<String>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (cols, rows) = arguments
        .size
        .split_once('x')
        .context("--size is written 120x40")?;
    let (cols, rows): (u16, u16) = (cols.parse()?, rows.parse()?);
    let pty = native_pty_system().openpty(PtySize {
        rows,
        cols,
        pixel_width: 0,
        pixel_height: 0,
    })?;
    let (program, rest) = arguments.command.split_first().context("no program")?;
    let program = std::fs::canonicalize(program).with_context(|| format!("no program {program}"))?;
    let mut command = CommandBuilder::new(program);
    command.args(rest);
    command.cwd(std::env::current_dir()?);
    for (name, value) in [
        ("TERM", "xterm-256color"),
        ("COLORTERM", "truecolor"),
        ("LANG", "C.UTF-8"),
    ] {
        command.env(name, value);
    }
    command.env_remove("NO_COLOR");
    let mut child = pty.slave.spawn_command(command)?;
    drop(pty.slave);
    let output = read_all(pty.master.try_clone_reader()?);
    let mut keys = pty.master.take_writer()?;
    let mut terminal = vt100::Parser::new(rows.try_into()?, cols.try_into()?, 0);
    for step in &arguments.steps {
        match step
            .split_once('=')
            .context("a step is written wait=TEXT or keys=TEXT")?
        {
            ("wait", text) => wait(&mut terminal, &output, STEP_LIMIT, |screen| screen.contains(text))
                .with_context(|| {
                    format!(
                        "waiting for {text:?}; the screen is\n{}",
                        terminal.screen().contents()
                    )
                })?,
            ("rest", seconds) => rest_for(&mut terminal, &output, Duration::from_secs_f64(seconds.parse()?)),
            ("keys", text) => {
                keys.write_all(text.as_bytes())?;
                keys.flush()?;
                rest_for(&mut terminal, &output, QUIET);
            }
            (other, _) => bail!("no step {other}"),
        }
    }
    std::fs::write(&arguments.out, svg(terminal.screen()))?;
    // Whatever it started ends with it.
    if let Some(pid) = child.process_id() {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(pid)?),
            nix::sys::signal::Signal::SIGTERM,
        )?;
    }
    child.wait()?;
    Ok(())
}

fn read_all(mut output: Box<dyn Read + Send>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait(
    terminal: &mut vt100::Parser,
    output: &Receiver<Vec<u8>>,
    limit: Duration,
    done: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !done(&terminal.screen().contents()) {
        let bytes = output.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        terminal.process(&bytes);
    }
    Ok(())
}

/// Follows the output for a time.
fn rest_for(terminal: &mut vt100::Parser, output: &Receiver<Vec<u8>>, time: Duration) {
    let deadline = Instant::now() + time;
    loop {
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => terminal.process(&bytes),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How a run of cells looks.
#[derive(Clone, PartialEq)]
struct Look {
    foreground: String,
    background: Option<String>,
    bold: bool,
    underline: bool,
}

fn svg(screen: &vt100::Screen) -> String {
    let (rows, cols) = (screen.size().0.get(), screen.size().1.get());
    let width = f64::from(cols) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(rows) * CELL.1 + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"{FONT_SIZE}\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..rows {
        let mut runs: Vec<(u16, Look, String)> = Vec::new();
        for col in 0..cols {
            let Some(cell) = screen.cell(row, col) else {
                continue;
            };
            let look = look(cell);
            let text = if cell.has_contents() { cell.contents() } else { " " };
            match runs.last_mut() {
                Some((_, last, run)) if *last == look => run.push_str(text),
                _ => runs.push((col, look, text.to_owned())),
            }
        }
        for (col, look, text) in runs {
            draw(&mut out, row, col, &look, &text);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, row: u16, col: u16, look: &Look, text: &str) {
    let (x, y) = (MARGIN + f64::from(col) * CELL.0, MARGIN + f64::from(row) * CELL.1);
    let length = text.chars().count() as f64 * CELL.0;
    if let Some(background) = &look.background {
        out.push_str(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{background}\"/>\n",
            CELL.1
        ));
    }
    if text.trim().is_empty() {
        return;
    }
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let bold = if look.bold { " font-weight=\"bold\"" } else { "" };
    let underline = if look.underline {
        " text-decoration=\"underline\""
    } else {
        ""
    };
    out.push_str(&format!(
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\" fill=\"{}\"{bold}{underline}>{escaped}</text>\n",
        y + 0.77 * CELL.1,
        look.foreground
    ));
}

fn look(cell: &vt100::Cell) -> Look {
    let foreground = colour(cell.fgcolor());
    let background = colour(cell.bgcolor());
    let (foreground, background) = if cell.inverse() {
        let text = background.unwrap_or_else(|| BACKGROUND.to_owned());
        (text, Some(foreground.unwrap_or_else(|| FOREGROUND.to_owned())))
    } else {
        (foreground.unwrap_or_else(|| FOREGROUND.to_owned()), background)
    };
    Look {
        foreground,
        background,
        bold: cell.bold(),
        underline: cell.underline(),
    }
}

fn colour(colour: vt100::Color) -> Option<String> {
    const SIXTEEN: [&str; 16] = [
        "#2e3436", "#cc4444", "#4e9a06", "#c4a000", "#3465a4", "#75507b", "#06989a", "#b0b0b0", "#6b6b6b",
        "#ff6b6b", "#8ae234", "#fce94f", "#729fcf", "#ad7fa8", "#34e2e2", "#eeeeec",
    ];
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
        vt100::Color::Idx(index) => SIXTEEN.get(usize::from(index)).map(|name| (*name).to_owned()),
    }
}
