//! A router that is protected otherwise than we are is not met. What is protected alike: the matrix in `interop`.

use std::net::{IpAddr, Ipv4Addr};

use lab::routers::Kind;
use prefixd_bgp::Loss;

use crate::harness::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const KEY: Guard = Guard {
    password: Some("s3cret"),
    ttl_security: false,
};

/// We dial a router that demands what we do not give, or the reverse: nothing answers.
async fn stays_silent(kind: Kind, guards: (Guard, Guard)) {
    let Some(pair) = Pair::start_guarded(kind, Transport::WeDial, Peering::External, V4, guards).await else {
        return;
    };
    pair.wait(|status| matches!(&status.last_error, Some(error) if error.loss == Loss::ConnectTimeout))
        .await;
    assert!(!pair.router.is_established().await.unwrap());
}

macro_rules! protected {
    ($($name:ident = $kind:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_with_another_key() {
                let other = Guard { password: Some("S3cret"), ..KEY };
                stays_silent($kind, (KEY, other)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn md5_demanded_by_the_router_alone() {
                stays_silent($kind, (Guard::default(), KEY)).await;
            }
        }
    )*};
}

protected! {
    bird = Kind::Bird;
    frr = Kind::Frr;
}
