//! Asking a person at a terminal.

use crate::scripted::{Daemon, get, ok, post};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;
use std::io::{Read, Write};

fn id(number: usize) -> String {
    format!("0199a8b2-7c31-7e55-8a4d-2f6b9c01{number:04}")
}

/// A daemon with so many mitigations that can be withdrawn.
fn daemon(count: usize) -> Daemon {
    let routes = (0..count).flat_map(|number| {
        let mut m: Value = serde_json::from_str(include_str!("../data/mitigation.json")).unwrap();
        m["mitigation_id"] = id(number).into();
        let mut detail = m.clone();
        for list in ["previews", "announcements", "timeline"] {
            detail[list] = Value::Array(Vec::new());
        }
        let path = format!("/v1/mitigations/{}", id(number));
        [
            (get(&path), ok(&detail)),
            (post(&format!("{path}/withdraw")), ok(&m)),
        ]
    });
    Daemon::new(routes)
}

/// Withdraws at a terminal, answers the question that ends with `prompt`; the exit code and how many were sent.
fn withdraw(count: usize, prompt: &str, answer: &str) -> (u32, usize) {
    let daemon = daemon(count);
    let pty = native_pty_system()
        .openpty(PtySize {
            rows: 24,
            cols: 80,
            pixel_width: 0,
            pixel_height: 0,
        })
        .unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_prefixdctl"));
    command.args(["--api", &daemon.url, "mit", "withdraw", "--reason", "r"]);
    command.args((0..count).map(id));
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut seen = String::new();
    while !seen.ends_with(prompt) {
        let mut bytes = [0; 1024];
        let read = reader.read(&mut bytes).unwrap();
        assert!(read > 0, "no question in {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(seen.contains("203.0.113.10  udp_flood  police 5.00M"), "{seen}");
    let mut writer = pty.master.take_writer().unwrap();
    writer.write_all(answer.as_bytes()).unwrap();
    // The terminal's buffer must not fill while the program writes its last words.
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let code = child.wait().unwrap().exit_code();
    let sent = daemon
        .requests()
        .iter()
        .filter(|(route, _)| route.starts_with("POST"))
        .count();
    (code, sent)
}

#[test]
fn a_few_need_a_y() {
    assert_eq!(withdraw(1, "[y/N] ", "y\n"), (0, 1));
    assert_eq!(withdraw(2, "[y/N] ", "y\n"), (0, 2));
    assert_eq!(withdraw(2, "[y/N] ", "\n"), (13, 0));
}

#[test]
fn many_need_their_number() {
    assert_eq!(withdraw(10, "to go on: ", "10\n"), (0, 10));
    assert_eq!(withdraw(10, "to go on: ", "y\n"), (13, 0));
}
