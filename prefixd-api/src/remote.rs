//! What is asked at one POP of another, where both use one database.

use crate::ids::{CommandId, MitigationId};
use crate::mitigation::WithdrawRequest;
use crate::problem::Problem;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RemoteState {
    /// The daemon of the other POP has not answered.
    Waiting,
    /// It is done and committed there.
    Done,
    /// It was refused there; `problem` says why.
    Refused,
}

impl RemoteState {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// A withdrawal that was asked for at another POP than the mitigation's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RemoteCommand {
    /// Its name.
    pub command_id: CommandId,
    /// How it stands.
    pub state: RemoteState,
    /// The same in words, and what to do next.
    pub detail: String,
    /// What is to be withdrawn.
    pub mitigation_id: MitigationId,
    /// The mitigation's POP, whose daemon carries it out.
    pub pop: String,
    /// As it was asked for.
    pub request: WithdrawRequest,
    /// Who asked.
    pub actor: String,
    /// The key it was asked by: asked again by it, it is answered as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// At which POP.
    pub asked_at_pop: String,
    /// When.
    pub asked_at: Timestamp,
    /// When the other POP answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<Problem>>,
}

impl RemoteCommand {
    /// Code of what is accepted and not done yet.
    pub const PENDING: &'static str = "accepted.pending";

    /// For those who expect it to be done.
    #[must_use]
    pub fn not_yet(self) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: "Accepted".to_owned(),
            status: 202,
            code: Self::PENDING.to_owned(),
            detail: self.detail,
            request_id: None,
            retry_after_seconds: None,
            errors: Vec::new(),
            why: None,
        }
    }
}

/// The answer of `GET /v1/commands`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RemoteCommandList {
    /// The newest, newest first.
    pub commands: Vec<RemoteCommand>,
    /// How many.
    pub count: usize,
}
