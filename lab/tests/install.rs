//! README.md, "A first real configuration in ten minutes", walked: what `make install` puts in place passes the check,
//! starts, and answers the commands of the page.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lab::daemon::Daemon;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where this build put its programs.
fn built() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_demo")).parent().unwrap();
    for program in ["prefixd", "prefixdctl", "prefixd-tui"] {
        let path = built.join(program);
        assert!(path.exists(), "{} is missing: cargo build", path.display());
    }
    built.to_owned()
}

fn make_install(destination: &Path, built: &Path) -> Output {
    Command::new("make")
        .arg("--no-print-directory")
        .arg("-C")
        .arg(root())
        .arg("install")
        .arg(format!("DESTDIR={}", destination.display()))
        .arg(format!("BUILT={}", built.display()))
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap()
}

fn installed(destination: &Path) {
    let made = make_install(destination, &built());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ran(what: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{what} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_a_build_install_says_what_to_do_and_leaves_nothing() {
    let destination = tempfile::tempdir().unwrap();
    let nothing = destination.path().join("no-build");
    let made = make_install(destination.path(), &nothing);
    assert!(!made.status.success());
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(told.contains("make build first"), "{told}");
    assert_eq!(std::fs::read_dir(destination.path()).unwrap().count(), 0);
}

#[test]
fn the_unit_names_only_what_is_there() {
    let destination = tempfile::tempdir().unwrap();
    installed(destination.path());
    let at = |path: &str| destination.path().join(path.trim_start_matches('/'));
    let unit = read(&at("/usr/local/lib/systemd/system/prefixd.service"));
    let of = |key: &str| {
        let values = unit.lines().filter_map(move |line| line.strip_prefix(key));
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    for command in of("ExecStartPre=").into_iter().chain(of("ExecStart=")) {
        let words = command.split(' ').collect::<Vec<_>>();
        assert!(at(words[0]).is_file(), "{command}");
        assert!(at(words[words.len() - 1]).is_dir(), "{command}");
    }
    for page in of("Documentation=").join(" ").split(' ') {
        let (name, section) = page.strip_prefix("man:").unwrap().split_once('(').unwrap();
        let section = section.trim_end_matches(')');
        let path = at(&format!("/usr/local/share/man/man{section}/{name}.{section}"));
        assert!(path.is_file(), "{page}");
    }
    let users = read(&at("/usr/local/lib/sysusers.d/prefixd.conf"));
    let user = of("User=").remove(0);
    assert!(
        users.lines().any(|line| line.starts_with(&format!("u {user} "))),
        "{users}"
    );
    // A configuration is kept by the next install.
    std::fs::write(at("/etc/prefixd/inventory.yaml"), "customers: []\n").unwrap();
    installed(destination.path());
    assert_eq!(read(&at("/etc/prefixd/inventory.yaml")), "customers: []\n");
}

/// The commands of the page on the samples as they are, but for what only root or a real network has.
#[tokio::test]
async fn the_steps_of_the_readme_lead_to_a_mitigation_and_its_reason() -> anyhow::Result<()> {
    let destination = tempfile::tempdir()?;
    installed(destination.path());
    let program = |name: &str| destination.path().join("usr/local/bin").join(name);
    let config = destination.path().join("etc/prefixd");
    let check = Command::new(program("prefixd"))
        .arg("--check")
        .arg("--config")
        .arg(&config)
        .output()?;
    ran("prefixd --check", &check);

    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let http = SocketAddr::new(localhost, lab::net::free_port(localhost)?);
    let socket = destination.path().join("prefixd.sock");
    let file = config.join("prefixd.yaml");
    let mut settings = read(&file);
    for (from, to) in [
        ("127.0.0.1:8080", http.to_string()),
        ("listen: [\"0.0.0.0:179\"]", "listen: null".to_owned()),
        ("/run/prefixd/prefixd.sock", socket.display().to_string()),
        ("operator_group: prefixd", "operator_group: null".to_owned()),
        ("admin_group: prefixd-admin", "admin_group: null".to_owned()),
        (
            "/var/lib/prefixd/prefixd.db",
            destination.path().join("prefixd.db").display().to_string(),
        ),
    ] {
        assert!(settings.contains(from), "the sample has no {from} any more");
        settings = settings.replace(from, &to);
    }
    std::fs::write(&file, settings)?;
    let daemon = Daemon::start(&program("prefixd"), &config, http).await?;

    let readme = read(&root().join("README.md"));
    let commands = readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("sudo prefixdctl "))
        .collect::<Vec<_>>();
    assert!(commands.len() >= 5, "{commands:?}");
    let mut id = String::new();
    for line in commands {
        let words = line.split(' ').map(|word| if word == "ID" { &id } else { word });
        let asked = tokio::process::Command::new(program("prefixdctl"))
            .args(["--api", &format!("http://{http}")])
            .args(words)
            .env_remove("PREFIXD_API")
            .output()
            .await?;
        let told = ran(line, &asked);
        if line == "mitigations list" {
            assert!(told.contains("203.0.113.10"), "{told}");
            let row = told.lines().find(|line| line.contains("203.0.113.10")).unwrap();
            id = row.split_whitespace().next().unwrap().to_owned();
        }
        if line.ends_with("ID") {
            assert!(told.contains("dry-run") || told.contains("dry_run"), "{told}");
        }
    }
    assert!(!id.is_empty(), "the page lists no mitigation");
    daemon.stop().await
}
