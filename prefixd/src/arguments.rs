//! The arguments of the program, and its manual page.

use clap::Parser;
use std::path::PathBuf;

/// DDoS mitigation daemon: signals in, guarded BGP FlowSpec rules out.
#[derive(Debug, Parser)]
#[command(
    name = "prefixd",
    version,
    after_help = "Signals: SIGHUP reloads; SIGTERM and SIGINT stop as shutdown.preserve_announcements says; SIGQUIT stops and \
                  takes every rule from the routers.\n\nExamples:\n  prefixd --check --config /etc/prefixd\n  prefixd --config /etc/prefixd"
)]
pub struct Arguments {
    /// Directory with prefixd.yaml, inventory.yaml and playbooks.yaml.
    #[arg(
        long,
        value_name = "DIR",
        env = "PREFIXD_CONFIG",
        default_value = "/etc/prefixd"
    )]
    pub config: PathBuf,
    /// Check everything a start would, print what is wrong, and exit with 0 or 2.
    #[arg(long)]
    pub check: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap_mangen::Man;
    use clap_mangen::roff::{Roff, bold, roman};

    /// Sections that the definition does not have: heading, then terms and what they mean.
    const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
        (
            "SIGNALS",
            &[
                (
                    "SIGHUP",
                    "Reads the configuration again. One mistake changes nothing; the log says where it is.",
                ),
                (
                    "SIGTERM, SIGINT",
                    "Stop: what is under way is committed, then rules are withdrawn; with shutdown.preserve_announcements \
                     they stay on routers that agreed to graceful restart.",
                ),
                (
                    "SIGQUIT",
                    "Stops and takes every rule from the routers, whatever the configuration says; also as the second signal.",
                ),
            ],
        ),
        (
            "EXIT STATUS",
            &[
                ("0", "It was stopped in order, or the check found nothing wrong."),
                (
                    "1",
                    "It could not start, or had to end; the last line on standard error says why.",
                ),
                (
                    "2",
                    "The configuration or the command line is wrong. Nothing was started.",
                ),
            ],
        ),
        (
            "ENVIRONMENT",
            &[
                (
                    "PREFIXD_CONFIG",
                    "The directory, where --config does not name one.",
                ),
                (
                    "PREFIXD_LOG",
                    "A filter that overrides observability.log_level, such as info,bgp=debug.",
                ),
                (
                    "NOTIFY_SOCKET",
                    "Set by systemd, which is told of start, reload, stop and life.",
                ),
                (
                    "Others",
                    "Those that the configuration names (env, password_env, ${NAME}).",
                ),
            ],
        ),
        (
            "FILES",
            &[
                (
                    "/etc/prefixd/prefixd.yaml",
                    "The daemon, its neighbours and its bounds.",
                ),
                (
                    "/etc/prefixd/inventory.yaml",
                    "Whose prefixes may be filtered for.",
                ),
                (
                    "/etc/prefixd/playbooks.yaml",
                    "What to do for which kind of attack.",
                ),
                ("/etc/prefixd/prefixd.env", "Variables for the unit of systemd."),
                (
                    "/var/lib/prefixd/prefixd.db",
                    "The database, where storage.connection_string names no other.",
                ),
                (
                    "/run/prefixd/prefixd.sock",
                    "The socket for prefixdctl(1) and prefixd-tui(1).",
                ),
            ],
        ),
    ];

    fn page() -> String {
        // Without its version a release changes no page.
        let man = Man::new(Arguments::command().version(None::<&str>)).section("8");
        let mut page = Vec::new();
        man.render_title(&mut page).unwrap();
        man.render_name_section(&mut page).unwrap();
        man.render_synopsis_section(&mut page).unwrap();
        man.render_description_section(&mut page).unwrap();
        man.render_options_section(&mut page).unwrap();
        let mut rest = Roff::default();
        for (heading, terms) in SECTIONS {
            rest.control("SH", [heading]);
            for (term, meaning) in terms {
                rest.control("TP", []);
                rest.text([bold(*term)]).text([roman(*meaning)]);
            }
        }
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman("prefixdctl(1), prefixd-tui(1)")]);
        rest.to_writer(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn the_manual_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../man/prefixd.8");
        let page = page();
        if std::env::var_os("PREFIXD_UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            checked_in, page,
            "write it again: PREFIXD_UPDATE=1 cargo test -p prefixd --lib manual_page"
        );
    }
}
