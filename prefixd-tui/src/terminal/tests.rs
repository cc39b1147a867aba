use super::*;
use ratatui::style::Style;

const AREA: Rect = Rect::new(0, 0, 20, 3);

fn text(words: &'static str) -> impl FnOnce(&mut Buffer) -> Option<Position> {
    move |buffer| {
        buffer.set_string(0, 1, words, Style::new());
        None
    }
}

/// Counts writes.
#[derive(Default)]
struct Wire {
    writes: Vec<Vec<u8>>,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_frame_is_one_synchronized_write_of_what_changed() {
    let mut painter = Painter::new(Wire::default());
    painter.frame(AREA, text("one two")).unwrap();
    painter.frame(AREA, text("one two")).unwrap();
    painter.frame(AREA, text("one 2wo")).unwrap();
    let writes = &painter.out.writes;
    assert_eq!(writes.len(), 2, "nothing changed, nothing written");
    for write in writes {
        assert!(write.starts_with(b"\x1b[?2026h") && write.ends_with(b"\x1b[?2026l"));
        assert!(
            !write.windows(4).any(|part| part == b"\x1b[6n"),
            "no question to the terminal"
        );
    }
    assert!(writes[1].len() < 60, "{}", writes[1].len());
    let mut screen = vt100::Parser::new(3.try_into().unwrap(), 20.try_into().unwrap(), 0);
    writes.iter().for_each(|write| screen.process(write));
    assert!(screen.screen().contents().contains("one 2wo"));
}

#[test]
fn another_size_draws_everything_again() {
    let mut painter = Painter::new(Wire::default());
    painter.frame(AREA, text("one two")).unwrap();
    painter.frame(Rect::new(0, 0, 10, 2), text("one two")).unwrap();
    let last = painter.out.writes.last().unwrap();
    assert!(last.windows(4).any(|part| part == b"\x1b[2J"));
    assert_eq!(plain(&painter.shown), ["", "one two"]);
}

#[test]
fn the_clipboard_is_written_and_never_read() {
    let mut painter = Painter::new(Wire::default());
    painter.copy("203.0.113.10").unwrap();
    let wire = String::from_utf8(painter.out.writes.concat()).unwrap();
    assert!(wire.starts_with("\x1b]52;c;") && !wire.contains('?'), "{wire:?}");
}

/// Set in the process that is to panic.
const PANIC: &str = "PREFIXD_TUI_TEST_PANICS";

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    if std::env::var_os(PANIC).is_some() {
        leave_on_panic();
        let mut painter = Painter::new(io::stdout());
        painter.enter(true).unwrap();
        painter.frame(AREA, text("one two")).unwrap();
        panic!("the reason of the panic");
    }
    let pty = portable_pty::native_pty_system()
        .openpty(portable_pty::PtySize::default())
        .unwrap();
    let mut command = portable_pty::CommandBuilder::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "--nocapture",
        "terminal::tests::a_panic_gives_the_terminal_back_before_it_speaks",
    ]);
    command.env(PANIC, "1");
    command.env("RUST_BACKTRACE", "0");
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut output = pty.master.try_clone_reader().unwrap();
    let mut emulator = vt100::Parser::default();
    let (mut buffer, mut entered) = ([0; 4096], false);
    // A PTY whose program has ended gives an error or nothing.
    while let Ok(read @ 1..) = io::Read::read(&mut output, &mut buffer) {
        for byte in &buffer[..read] {
            emulator.process(&[*byte]);
            entered |= emulator.screen().alternate_screen();
        }
    }
    assert!(entered && !child.wait().unwrap().success());
    let screen = emulator.screen();
    assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
    assert!(
        screen.contents().contains("the reason of the panic"),
        "{}",
        screen.contents()
    );
}
