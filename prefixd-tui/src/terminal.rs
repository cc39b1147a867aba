//! The terminal: raw mode and back, and one write a frame.

use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{clipboard, cursor, event, queue, style};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use std::io::{self, Write};

/// Buttons and wheel, in the form that has no limit of columns. Not the movements: they cost bytes.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1000l";

/// Draws frames as differences to what the terminal shows.
#[derive(Debug)]
pub(crate) struct Painter<W> {
    out: W,
    shown: Buffer,
    cursor: Option<Position>,
    /// The terminal shows something else than `shown`.
    repaint: bool,
}

impl<W: Write> Painter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            shown: Buffer::empty(Rect::default()),
            cursor: None,
            repaint: true,
        }
    }

    /// Draws every cell with the next frame.
    pub(crate) fn repaint(&mut self) {
        self.repaint = true;
    }

    /// Draws a frame: one write inside a synchronized update, or none when nothing changed.
    pub(crate) fn frame(
        &mut self,
        area: Rect,
        draw: impl FnOnce(&mut Buffer) -> Option<Position>,
    ) -> io::Result<()> {
        let mut next = Buffer::empty(area);
        let cursor = draw(&mut next);
        let mut bytes = Vec::new();
        // A cleared screen is drawn in full: asking the terminal where its cursor is would cost a round trip.
        if self.repaint || self.shown.area != area {
            self.shown = Buffer::empty(area);
            queue!(
                bytes,
                style::ResetColor,
                terminal::Clear(terminal::ClearType::All)
            )?;
            self.repaint = false;
            self.cursor = None;
            queue!(bytes, cursor::Hide)?;
        }
        let changes = self.shown.diff(&next);
        let changed = !changes.is_empty();
        if changed {
            CrosstermBackend::new(&mut bytes).draw(changes.into_iter())?;
        }
        if cursor != self.cursor || (changed && cursor.is_some()) {
            match cursor {
                Some(at) => queue!(bytes, cursor::MoveTo(at.x, at.y), cursor::Show)?,
                None => queue!(bytes, cursor::Hide)?,
            }
            self.cursor = cursor;
        }
        self.shown = next;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut frame = Vec::with_capacity(bytes.len() + 16);
        queue!(frame, terminal::BeginSynchronizedUpdate)?;
        frame.extend_from_slice(&bytes);
        queue!(frame, terminal::EndSynchronizedUpdate)?;
        self.write(&frame)
    }

    /// Text to the clipboard of the person's own terminal, also through SSH (OSC 52). Nothing is ever read from it.
    pub(crate) fn copy(&mut self, text: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        queue!(bytes, clipboard::CopyToClipboard::to_clipboard_from(text))?;
        self.write(&bytes)
    }

    pub(crate) fn mouse(&mut self, on: bool) -> io::Result<()> {
        self.write(if on { MOUSE_ON } else { MOUSE_OFF })
    }

    /// Takes the whole terminal.
    pub(crate) fn enter(&mut self, mouse: bool) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        let mut bytes = Vec::new();
        queue!(
            bytes,
            EnterAlternateScreen,
            event::EnableBracketedPaste,
            cursor::Hide
        )?;
        bytes.extend_from_slice(if mouse { MOUSE_ON } else { b"" });
        self.repaint = true;
        self.write(&bytes)
    }

    /// Prints what is shown as plain text, outside the full screen.
    pub(crate) fn dump(&mut self) -> io::Result<()> {
        let text = plain(&self.shown).join("\r\n");
        let mut bytes = leaving();
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(b"\r\n-- any key returns --\r\n");
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }
}

/// Gives the terminal back as it was.
pub(crate) fn leave() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(&leaving())?;
    out.flush()?;
    terminal::disable_raw_mode()
}

fn leaving() -> Vec<u8> {
    let mut bytes = MOUSE_OFF.to_vec();
    // Writing to memory does not fail.
    drop(queue!(
        bytes,
        style::ResetColor,
        event::DisableBracketedPaste,
        LeaveAlternateScreen,
        cursor::Show
    ));
    bytes
}

/// The rows of a buffer without styles and trailing spaces.
pub(crate) fn plain(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    (area.y..area.bottom())
        .map(|y| {
            let mut row = String::new();
            let mut skip = 0;
            for x in area.x..area.right() {
                let Some(cell) = buffer.cell(Position { x, y }) else {
                    continue;
                };
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                row.push_str(cell.symbol());
                skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).saturating_sub(1);
            }
            row.trim_end().to_owned()
        })
        .collect()
}

/// A panic gives the terminal back before it speaks.
pub(crate) fn leave_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        drop(leave());
        report(panic);
    }));
}

#[cfg(test)]
mod tests;
