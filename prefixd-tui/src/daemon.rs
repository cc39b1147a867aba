//! Requests to the daemon.

use crate::event::{Answer, Failure, Page, Request};
use prefixd_api::client::{self, Client, MitigationQuery};
use prefixd_api::mitigation::{Mitigation, MitigationStatus};
use prefixd_api::problem::Code;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests about single mitigations on their way at once; the others wait in order.
pub(crate) const AT_ONCE: usize = 8;
/// Mitigations a page of the daemon's lists.
const PAGE: u16 = 1_000;
/// Live mitigations the console holds at most.
const MAX_LIVE: usize = 20_000;

/// Sends one request and waits for its answer.
pub(crate) async fn ask(client: Client, slots: Arc<Semaphore>, request: Request) -> Answer {
    // A thousand withdrawals must not hold up the heartbeat. The semaphore is never closed; without a slot the
    // request would still be right.
    let _slot = match request {
        Request::Withdraw(..) | Request::One(_) => slots.acquire().await.ok(),
        _ => None,
    };
    match request {
        Request::Health => Answer::Health(client.health_detail().await.map(Box::new).map_err(failure)),
        Request::Stats => Answer::Stats(
            client
                .stats()
                .await
                .map(|read| Box::new(read.value))
                .map_err(failure),
        ),
        Request::Peers => Answer::Peers(client.peers().await.map(|read| read.value.peers).map_err(failure)),
        Request::Live { round } => Answer::Live {
            round,
            result: live(&client).await.map_err(failure),
        },
        Request::Ended => Answer::Ended(ended(&client).await.map_err(failure)),
        Request::One(id) => {
            let result = client.mitigation(id).await;
            Answer::One(
                id,
                result
                    .map(|read| Box::new(read.value.mitigation))
                    .map_err(failure),
            )
        }
        Request::Detail(id) => {
            let result = client.mitigation(id).await;
            Answer::Detail(id, result.map(|read| Box::new(read.value)).map_err(failure))
        }
        Request::Why(id) => {
            let result = client.mitigation_why(id).await;
            Answer::Why(id, result.map(|read| Box::new(read.value)).map_err(failure))
        }
        Request::Withdraw(id, body) => Answer::Withdraw(
            id,
            client
                .withdraw_mitigation(id, &body)
                .await
                .map(|withdrawn| Box::new(withdrawn.mitigation))
                .map_err(|error| match error {
                    // It says that it was done, in words this program does not know: to be looked up.
                    error @ client::Error::Form(_) => Failure::Unreachable(error.to_string()),
                    error => failure(error),
                }),
        ),
    }
}

async fn live(client: &Client) -> Result<Page, client::Error> {
    let mut query = MitigationQuery {
        status: MitigationStatus::ALL
            .into_iter()
            .filter(|status| status.is_live())
            .collect(),
        page: client::Page {
            limit: Some(PAGE),
            ..client::Page::default()
        },
        ..MitigationQuery::default()
    };
    let mut mitigations: Vec<Mitigation> = Vec::new();
    loop {
        let list = client.mitigations(&query).await?.value;
        mitigations.extend(list.mitigations);
        match list.next_cursor {
            Some(cursor) if mitigations.len() < MAX_LIVE => query.page.cursor = Some(cursor),
            more => {
                return Ok(Page {
                    mitigations,
                    more: more.is_some(),
                });
            }
        }
    }
}

async fn ended(client: &Client) -> Result<Page, client::Error> {
    let query = MitigationQuery {
        status: MitigationStatus::ALL
            .into_iter()
            .filter(|status| !status.is_live())
            .collect(),
        page: client::Page {
            limit: Some(PAGE),
            ..client::Page::default()
        },
        ..MitigationQuery::default()
    };
    let list = client.mitigations(&query).await?.value;
    Ok(Page {
        mitigations: list.mitigations,
        more: list.next_cursor.is_some(),
    })
}

fn failure(error: client::Error) -> Failure {
    match error {
        client::Error::Problem(problem) if problem.code == Code::AuthRequired.as_str() => {
            Failure::Unauthorized(problem.detail)
        }
        client::Error::Problem(problem) => Failure::Refused {
            code: problem.code,
            detail: problem.detail,
        },
        error @ client::Error::Form(_) => Failure::Refused {
            code: "client.form".to_owned(),
            detail: error.to_string(),
        },
        // The banner has one line: the last cause is the one that helps, and where to is known.
        client::Error::Connect { why, .. } => {
            let cause = why.rsplit(": ").next().unwrap_or(&why);
            Failure::NotSent(cause.split(" (os error").next().unwrap_or(cause).to_owned())
        }
        error @ client::Error::Setup(_) => Failure::NotSent(error.to_string()),
        error @ (client::Error::Timeout { .. } | client::Error::Protocol(_)) => {
            Failure::Unreachable(error.to_string())
        }
    }
}
