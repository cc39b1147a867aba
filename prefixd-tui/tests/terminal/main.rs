//! The console in a terminal, with a daemon of a few lines: what reaches the terminal and what reaches the daemon.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod daemon;
#[path = "../pty/mod.rs"]
mod pty;

use daemon::Daemon;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty::Terminal;

const VICTIMS: [&str; 3] = ["203.0.113.10", "203.0.113.11", "203.0.113.12"];

fn console(daemon: &Daemon) -> Terminal {
    let mut terminal = Terminal::start(&daemon.url, &[], &[], (80, 24));
    terminal.wait_for("203.0.113.12");
    terminal.send("2");
    let text = terminal.wait_for("sort:");
    assert!(!text.contains("REFUSED"), "{text}");
    terminal
}

#[test]
fn withdraws_through_the_panel() {
    let daemon = Daemon::with(&VICTIMS);
    let mut terminal = console(&daemon);
    terminal.send("w2y");
    terminal.wait_for_live_panel();
    assert!(
        daemon.withdrawals().is_empty(),
        "keys in one write changed something"
    );
    terminal.send("\x1b[200~wy\x1b[201~\r");
    terminal.wait("cancelled panel", |text| !text.contains("WITHDRAW"));
    assert!(
        daemon.withdrawals().is_empty(),
        "a paste or Enter changed something"
    );
    terminal.send("jw2");
    terminal.wait_for_live_panel();
    terminal.send("y");
    terminal.wait_for("ok: 1 withdrawn");
    let withdrawals = daemon.withdrawals();
    assert_eq!(withdrawals.len(), 1);
    assert!(withdrawals[0].0.ends_with("01"), "{withdrawals:?}");
    assert_eq!(withdrawals[0].1["reason"], "attack over");
    assert_eq!(withdrawals[0].1["expected_revision"], 1);
}

#[test]
fn survives_the_loss_of_the_daemon() {
    let daemon = Daemon::with(&VICTIMS);
    let mut terminal = console(&daemon);
    daemon.set_gone(true);
    let text = terminal.wait_for("NO CONTACT");
    assert!(text.contains("203.0.113.11") && text.contains('~'), "{text}");
    terminal.send("w");
    terminal.wait_for("no contact");
    daemon.set_gone(false);
    terminal.send("r");
    terminal.wait("contact", |text| !text.contains("NO CONTACT"));
}

#[test]
fn a_withdrawal_without_an_answer_is_unknown_and_then_resolved() {
    let daemon = Daemon::with(&VICTIMS);
    let mut terminal = console(&daemon);
    daemon.cut_withdrawals();
    terminal.send("w1");
    terminal.wait_for_live_panel();
    terminal.send("y");
    terminal.wait_for("UNKNOWN");
    daemon.set_gone(false);
    terminal.send("r");
    terminal.wait_for("ok: 1 withdrawn");
    assert_eq!(daemon.withdrawals().len(), 1, "nothing is sent twice");
}

#[test]
fn the_terminal_is_given_back() {
    let daemon = Daemon::with(&VICTIMS);
    for signal in [
        None,
        Some(Signal::SIGTERM),
        Some(Signal::SIGHUP),
        Some(Signal::SIGINT),
    ] {
        let mut terminal = console(&daemon);
        assert!(terminal.with_screen(vt100::Screen::alternate_screen));
        match signal {
            None => terminal.send("q"),
            Some(signal) => kill(Pid::from_raw(terminal.pid().cast_signed()), signal).unwrap(),
        }
        assert!(terminal.ended(), "{signal:?}");
        assert!(terminal.with_screen(given_back), "{signal:?}");
    }
}

/// The emulator is as it was before the console.
fn given_back(screen: &vt100::Screen) -> bool {
    !screen.alternate_screen()
        && !screen.hide_cursor()
        && !screen.bracketed_paste()
        && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
}

#[test]
fn suspends_and_comes_back() {
    let daemon = Daemon::with(&VICTIMS);
    // A shell with job control, as a person has one.
    let mut terminal = Terminal::start_in(
        "set -m; \"$@\"; echo stopped; read -r line; echo \"$line\"; fg",
        &daemon.url,
        (80, 24),
    );
    terminal.wait_for("203.0.113.12");
    assert!(!terminal.with_screen(given_back));
    terminal.send("\x1a");
    terminal.wait_for("stopped");
    assert!(terminal.with_screen(given_back));
    // Nobody tells a stopped program that its terminal has another size.
    terminal.resize(100, 30);
    // Lines are edited and echoed again: the terminal is no longer raw.
    terminal.send("a lyne\x7f\x7f\x7fine\r");
    let text = terminal.wait("screen of the new size", |text| {
        text.contains("Announced, worst first")
            && text.lines().nth(29).is_some_and(|row| row.contains("? help"))
    });
    assert!(text.contains("203.0.113.12"), "{text}");
    terminal.send("q");
    assert!(terminal.ended());
    assert!(terminal.with_screen(given_back));
    assert!(String::from_utf8_lossy(&terminal.bytes()).contains("\r\na line\r\n"));
}

#[test]
fn no_color_means_none_and_the_selected_row_is_reversed_from_end_to_end() {
    let daemon = Daemon::with(&VICTIMS);
    let mut terminal = Terminal::start(&daemon.url, &[], &[("NO_COLOR", "1")], (80, 24));
    terminal.wait_for("203.0.113.12");
    terminal.send("2");
    terminal.wait_for("sort:");
    terminal.with_screen(|screen| {
        for row in 0..24 {
            for col in 0..80 {
                let cell = screen.cell(row, col).unwrap();
                assert_eq!(cell.fgcolor(), vt100::Color::Default, "{row} {col}");
                assert_eq!(cell.bgcolor(), vt100::Color::Default, "{row} {col}");
            }
        }
        let selected = (0..24)
            .find(|row| screen.cell(*row, 0).unwrap().contents() == ">")
            .unwrap();
        assert!((0..80).all(|col| screen.cell(selected, col).unwrap().inverse()));
    });
}

#[test]
fn ascii_frames_are_ascii_and_ask_the_terminal_nothing() {
    let daemon = Daemon::with(&VICTIMS);
    let mut terminal = Terminal::start(&daemon.url, &["--ascii"], &[], (120, 40));
    terminal.wait_for("203.0.113.12");
    terminal.send("2\r?");
    terminal.wait_for("Help");
    let bytes = terminal.bytes();
    assert!(
        bytes
            .iter()
            .all(|byte| (0x20..0x7F).contains(byte) || [0x1b, b'\r', b'\n'].contains(byte))
    );
    assert!(!bytes.windows(4).any(|part| part == b"\x1b[6n"));
}

#[test]
fn follows_the_size_of_the_terminal_and_prints_itself_as_text() {
    let daemon = Daemon::with(&VICTIMS);
    let mut terminal = console(&daemon);
    for (cols, rows) in [(120, 40), (40, 10), (100, 30)] {
        terminal.resize(cols, rows);
        terminal.wait("screen of the new size", |text| {
            let tiny = text.contains("needs 60x15");
            tiny == (cols < 60) && text.contains("203.0.113.10")
        });
    }
    terminal.send("\x1bOS");
    let text = terminal.wait_for("any key returns");
    assert!(text.contains("203.0.113.10"), "{text}");
    terminal.send("x");
    terminal.wait("full screen", |text| !text.contains("any key returns"));
}
