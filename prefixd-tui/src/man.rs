//! The manual page, from the command line and the table of keys. A test compares it with the one that is checked in.

use crate::cli::Options;
use crate::keymap::{self, Place};
use clap::CommandFactory;
use clap_mangen::Man;
use std::path::Path;

/// Where the page is.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../man/prefixd-tui.1");
/// Set to have it written again.
const WRITE: &str = "PREFIXD_WRITE_MAN";

/// The places of the page, in the order people come to them.
const PLACES: [Place; 7] = [
    Place::Overview,
    Place::List,
    Place::Detail,
    Place::FilterLine,
    Place::SortMenu,
    Place::WithdrawPanel,
    Place::Help,
];

const NOTES: &str = r#".SH CONTACT
Row 0 says how the console hears of the daemon:
.TP
LIVE
the feed is up, and said something less than 2 s ago
.TP
LAG
it is up and late, or lists are being read again
.TP
POLL
the feed is down, requests work
.TP
STALE
nothing is answered; what was last known stays, changes are locked
.TP
AUTH
the daemon does not take the caller or the token
.SH FILES
.TP
/run/prefixd/prefixd.sock
The daemon's socket. On it you are who you are on the machine.
.SH ENVIRONMENT
.TP
PREFIXD_API, PREFIXD_TOKEN_FILE, PREFIXD_READONLY, PREFIXD_THEME
\-\-api, \-\-token\-file, \-\-readonly and \-\-theme
.TP
COLORTERM
truecolor or 24bit: 24\-bit colour
.TP
COLORFGBG
The background, for \-\-theme auto
.TP
NO_COLOR
Not empty: no colour
.TP
LC_ALL, LC_CTYPE, LANG
Without UTF\-8 only ASCII is drawn
.SH EXIT STATUS
0 when it was left, 1 when it could not start or the terminal failed, 2 for wrong usage.
.SH SEE ALSO
prefixdctl(1)
"#;

fn page() -> String {
    // The version is told by --version; without it a release changes no page.
    let man = Man::new(Options::command().version(None::<&str>));
    let mut page = Vec::new();
    man.render(&mut page).unwrap();
    let mut page = String::from_utf8(page).unwrap();
    page.push_str(".SH KEYS\nNothing is changed without the y in the withdraw panel.\n");
    for place in PLACES {
        page.push_str(&format!(".SS {}\n", place.title()));
        for binding in keymap::bindings_of(place) {
            let keys: Vec<_> = binding.keys.iter().map(|key| escaped(key)).collect();
            let help = escaped(binding.action.about().help);
            page.push_str(&format!(".TP\n\\fB{}\\fR\n{help}\n", keys.join("\\fR, \\fB")));
        }
    }
    page + NOTES
}

/// Text that roff takes as it is.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[test]
fn the_page_is_up_to_date() {
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        page == checked_in,
        "man/prefixd-tui.1 is out of date: {WRITE}=1 cargo test -p prefixd-tui --lib man"
    );
}
