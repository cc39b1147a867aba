//! Neighbours as the operators want them: protected, disabled, enabled, reset, told again.

use crate::support::{Daemon, PATIENCE, Setup};
use lab::routers::{Family, Kind, Router, RouterConfig};

#[tokio::test]
async fn a_key_from_a_file_and_ttl_security_come_with_a_reload() -> anyhow::Result<()> {
    let bird = Router::start(
        Kind::Bird,
        RouterConfig {
            password: Some("key0fTheLab".to_owned()),
            ttl_security: true,
            ..RouterConfig::new(65001, 65010)
        },
    )
    .await?;
    let daemon = Daemon::start(Setup::default(), &[&bird]).await?;
    daemon.ban("203.0.113.10", 27015).await?;
    daemon.edit(
        "prefixd.yaml",
        "profile: bird",
        "profile: bird, password_file: bird.md5, ttl_security: true",
    )?;
    let problem = daemon.client.reload().await.expect_err("no key").to_string();
    assert!(problem.contains("bird.md5"), "{problem}");

    std::fs::write(daemon.dir.path().join("bird.md5"), "key0fTheLab\n")?;
    daemon.client.reload().await?;
    bird.wait_rules(Family::Ipv4Flow, |rules| !rules.is_empty(), PATIENCE)
        .await?;
    assert!(!daemon.log().contains("key0fTheLab"), "a key is never shown");
    Ok(())
}
