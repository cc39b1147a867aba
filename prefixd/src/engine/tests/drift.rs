//! Reconciliation counts what it repairs.

use super::*;
use prefixd_bgp::{Change, Route, Target};

async fn reconciled(bench: &mut Bench) -> String {
    bench.engine.reconcile(None);
    while bench.engine.reconciling.is_some() {
        bench.engine.go_on_reconciling();
        tokio::task::yield_now().await;
    }
    bench.engine.parts.metrics.scrape(|_| {}).unwrap()
}

#[tokio::test]
async fn what_reconciliation_repairs_is_counted() {
    let mut bench = Bench::new(crate::store::tests::sqlite().await).await;
    let _told = bench.ban(10);
    bench.finish().await;
    let text = reconciled(&mut bench).await;
    for kind in ["missing", "unexplained"] {
        let none = format!("prefixd_drift_repairs_total{{kind=\"{kind}\"}} 0\n");
        assert!(text.contains(&none), "nothing was wrong: {text}");
    }

    // A neighbour loses what it should hold, by a fault.
    let routes: Vec<Route> = bench.announcer.speaker().desired("edge").unwrap();
    let lost = |route: &Route| Change::Withdraw {
        target: Target::All,
        key: route.rule.key().clone(),
    };
    bench.announcer.speaker().apply(routes.iter().map(lost)).unwrap();
    assert!(bench.announced().is_empty() && !routes.is_empty());
    let text = reconciled(&mut bench).await;
    let repaired = format!(
        "prefixd_drift_repairs_total{{kind=\"missing\"}} {}\n",
        routes.len()
    );
    assert!(text.contains(&repaired), "{text}");
    assert_eq!(bench.announced(), [10].into());

    // Nobody wants what it holds.
    bench.engine.state.mitigations = Default::default();
    let text = reconciled(&mut bench).await;
    let repaired = format!(
        "prefixd_drift_repairs_total{{kind=\"unexplained\"}} {}\n",
        routes.len()
    );
    assert!(text.contains(&repaired), "{text}");
    assert!(bench.announced().is_empty());
}
