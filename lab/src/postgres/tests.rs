use super::*;

async fn connect(url: &str, sql: &str) -> anyhow::Result<String> {
    let mut psql = tokio::process::Command::new(tool("psql").find()?);
    let output = psql
        .args(["-XAtq", "-d", url, "-c", sql])
        .kill_on_drop(true)
        .output()
        .await?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[tokio::test]
async fn databases_of_the_shared_cluster_are_apart() {
    if !available().unwrap() {
        return;
    }
    let (one, two) = (
        Postgres::shared().await.unwrap(),
        Postgres::shared().await.unwrap(),
    );
    let (first, second) = (one.database().await.unwrap(), two.database().await.unwrap());
    connect(&first, "CREATE TABLE t (n int)").await.unwrap();
    assert!(connect(&second, "SELECT * FROM t").await.is_err());
}

#[tokio::test]
async fn a_template_is_prepared_once() {
    if !available().unwrap() {
        return;
    }
    let postgres = Postgres::shared().await.unwrap();
    let name = format!("template_{}", unique());
    let prepare = async |url: String| connect(&url, "CREATE TABLE t AS SELECT 7 AS n").await.map(drop);
    let first = postgres.database_like(&name, prepare).await.unwrap();
    let second = postgres
        .database_like(&name, async |_| bail!("prepared twice"))
        .await
        .unwrap();
    for url in [first, second] {
        assert_eq!(connect(&url, "SELECT n FROM t").await.unwrap(), "7");
    }
}

#[tokio::test]
async fn a_durable_cluster_over_tcp_survives_a_crash() {
    if !available().unwrap() {
        return;
    }
    let options = Options {
        durable: true,
        tcp: true,
        directory: None,
    };
    let mut postgres = Postgres::start(options).await.unwrap();
    let url = postgres.database().await.unwrap();
    assert!(url.contains(&postgres.tcp().unwrap().to_string()));
    assert_eq!(connect(&url, "SHOW fsync").await.unwrap(), "on");
    connect(&url, "CREATE TABLE t AS SELECT 7 AS n").await.unwrap();
    postgres.crash().await.unwrap();
    assert!(connect(&url, "SELECT 1").await.is_err());
    postgres.start_again().await.unwrap();
    assert_eq!(connect(&url, "SELECT n FROM t").await.unwrap(), "7");
}
