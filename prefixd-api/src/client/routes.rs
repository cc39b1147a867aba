//! One method a route.

use super::query::{PathBuilder, push_encoded};
use super::retry::Repeat;
use super::{Ask, Client, Error, EventQuery, MitigationQuery, Read, RibQuery, decode};
use crate::control::{BreakerResetRequest, Control, ControlRequest, ControlState};
use crate::event::{EventAnswer, EventBatch, EventBatchAnswer, EventList, EventRequest, StoredEvent};
use crate::ids::{CommandId, EventId, MitigationId};
use crate::mitigation::{Mitigation, MitigationDetail, MitigationList, MitigationRequest, WithdrawRequest};
use crate::operation::{
    AcknowledgeRequest, AdjustRequest, BulkWithdrawRequest, ClaimRequest, ExtendRequest, NoteRequest,
    OperationResults, UndoRequest, Withdrawn,
};
use crate::peer::{PeerDetail, PeerOrder, PeerOrderRequest, RibList};
use crate::preview::{MitigationPreview, WithdrawPreview, WithdrawPreviewRequest};
use crate::remote::{RemoteCommand, RemoteCommandList};
use crate::resource::{Health, HealthDetail, PeerList, SafelistAnswer, SafelistList, SafelistRequest, Stats};
use crate::why::Why;
use ipnet::IpNet;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::ops::ControlFlow;

/// Every method fails with an [`Error`] that says whether the daemon refused or was not reached.
#[expect(
    clippy::missing_errors_doc,
    reason = "said once, above: the errors of all methods are alike"
)]
impl Client {
    /// Reports an attack, or its end. An event with an id and a timestamp needs no key: the daemon knows the second one as
    /// the first.
    pub async fn send_event(&self, event: &EventRequest) -> Result<EventAnswer, Error> {
        let known_again = event.event_id.is_some() && event.timestamp.is_some();
        self.change("/v1/events", event, repeat_events(known_again)).await
    }

    /// Reports 1 to 100 events, each judged by itself.
    pub async fn send_events(&self, batch: &EventBatch) -> Result<EventBatchAnswer, Error> {
        let known_again = batch.events.iter().all(|event| {
            serde_json::from_str::<EventRequest>(event.get())
                .is_ok_and(|event| event.event_id.is_some() && event.timestamp.is_some())
        });
        self.change("/v1/events/batch", batch, repeat_events(known_again))
            .await
    }

    /// One page of events, newest first.
    pub async fn events(&self, query: &EventQuery) -> Result<Read<EventList>, Error> {
        self.read(&query.to_path()).await
    }

    /// One event.
    pub async fn event(&self, id: EventId) -> Result<Read<StoredEvent>, Error> {
        self.read(&format!("/v1/events/{id}")).await
    }

    /// Why an event had the outcome it had.
    pub async fn event_why(&self, id: EventId) -> Result<Read<Why>, Error> {
        self.read(&format!("/v1/events/{id}/why")).await
    }

    /// One page of mitigations, newest first.
    pub async fn mitigations(&self, query: &MitigationQuery) -> Result<Read<MitigationList>, Error> {
        self.read(&query.to_path()).await
    }

    /// One mitigation with its rules, announcements and timeline.
    pub async fn mitigation(&self, id: MitigationId) -> Result<Read<MitigationDetail>, Error> {
        self.read(&format!("/v1/mitigations/{id}")).await
    }

    /// Why a mitigation is as it is.
    pub async fn mitigation_why(&self, id: MitigationId) -> Result<Read<Why>, Error> {
        self.read(&format!("/v1/mitigations/{id}/why")).await
    }

    /// Mitigates now, inside the guardrails.
    pub async fn create_mitigation(&self, request: &MitigationRequest) -> Result<Mitigation, Error> {
        self.change("/v1/mitigations", request, Repeat::ByKey).await
    }

    /// What [`Self::create_mitigation`] would do; changes nothing.
    pub async fn preview_mitigation(&self, request: &MitigationRequest) -> Result<MitigationPreview, Error> {
        self.change("/v1/mitigations/preview", request, Repeat::WhenSafe)
            .await
    }

    /// Takes a mitigation back and suppresses its scope. One of another POP is taken back by the daemon there; while that
    /// has not answered, the error has the code [`RemoteCommand::PENDING`].
    pub async fn withdraw_mitigation(
        &self,
        id: MitigationId,
        request: &WithdrawRequest,
    ) -> Result<Withdrawn, Error> {
        let path = format!("/v1/mitigations/{id}/withdraw");
        let ask = Ask::new(Method::POST, &path).json(request)?;
        let answer = self.send(ask, Repeat::ByKey).await?;
        if answer.status == StatusCode::ACCEPTED {
            let waits: RemoteCommand = decode(&answer.body)?;
            return Err(Error::Problem(Box::new(waits.not_yet())));
        }
        decode(&answer.body)
    }

    /// What was asked of other POPs lately, newest first.
    pub async fn remote_commands(&self) -> Result<Read<RemoteCommandList>, Error> {
        self.read("/v1/commands").await
    }

    /// How something stands that was asked of another POP.
    pub async fn remote_command(&self, id: CommandId) -> Result<Read<RemoteCommand>, Error> {
        self.read(&format!("/v1/commands/{id}")).await
    }

    /// What withdrawing would do; changes nothing.
    pub async fn preview_withdrawal(
        &self,
        id: MitigationId,
        request: &WithdrawPreviewRequest,
    ) -> Result<WithdrawPreview, Error> {
        let path = format!("/v1/mitigations/{id}/withdraw/preview");
        self.change(&path, request, Repeat::WhenSafe).await
    }

    /// Has a mitigation last longer.
    pub async fn extend_mitigation(
        &self,
        id: MitigationId,
        request: &ExtendRequest,
    ) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/extend");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// Changes what a live mitigation does, without a moment in which nothing does it.
    pub async fn adjust_mitigation(
        &self,
        id: MitigationId,
        request: &AdjustRequest,
    ) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/adjust");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// What [`Self::adjust_mitigation`] would do; changes nothing.
    pub async fn preview_adjust(
        &self,
        id: MitigationId,
        request: &AdjustRequest,
    ) -> Result<MitigationPreview, Error> {
        let path = format!("/v1/mitigations/{id}/adjust/preview");
        self.change(&path, request, Repeat::WhenSafe).await
    }

    /// Acknowledges mitigations, or takes that back.
    pub async fn acknowledge(&self, request: &AcknowledgeRequest) -> Result<OperationResults, Error> {
        self.change("/v1/mitigations/acknowledge", request, Repeat::WhenSafe)
            .await
    }

    /// Writes about a mitigation.
    pub async fn note(&self, id: MitigationId, request: &NoteRequest) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/notes");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// Takes a mitigation in hand.
    pub async fn claim(&self, id: MitigationId, request: &ClaimRequest) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/claim");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// Lets a mitigation go.
    pub async fn release(&self, id: MitigationId, request: &ClaimRequest) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/release");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// Puts a withdrawn mitigation back; answers the successor.
    pub async fn undo(&self, id: MitigationId, request: &UndoRequest) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/undo");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// Confirms a withdrawal, so that it is not undone.
    pub async fn confirm(&self, id: MitigationId, request: &UndoRequest) -> Result<Mitigation, Error> {
        let path = format!("/v1/mitigations/{id}/confirm");
        self.change(&path, request, Repeat::ByKey).await
    }

    /// Takes several mitigations back at once.
    pub async fn withdraw_many(&self, request: &BulkWithdrawRequest) -> Result<OperationResults, Error> {
        self.change("/v1/mitigations/withdraw", request, Repeat::ByKey)
            .await
    }

    /// The safelist, by prefix.
    pub async fn safelist(&self) -> Result<Read<SafelistList>, Error> {
        self.read("/v1/safelist").await
    }

    /// Adds a prefix; withdraws what it overlaps.
    pub async fn add_to_safelist(&self, request: &SafelistRequest) -> Result<SafelistAnswer, Error> {
        self.change("/v1/safelist", request, Repeat::ByKey).await
    }

    /// Removes a prefix that came through the API.
    pub async fn remove_from_safelist(&self, prefix: IpNet) -> Result<(), Error> {
        let path = format!("/v1/safelist/{prefix}");
        self.send(Ask::new(Method::DELETE, &path), Repeat::ByKey)
            .await
            .map(drop)
    }

    /// Counts and bounds.
    pub async fn stats(&self) -> Result<Read<Stats>, Error> {
        self.read("/v1/stats").await
    }

    /// The same, and what is live at other POPs: at one, or at `all`.
    pub async fn stats_at(&self, pop: &str) -> Result<Read<Stats>, Error> {
        let mut path = PathBuilder::new("/v1/stats");
        path.add("pop", Some(pop));
        self.read(&path.0).await
    }

    /// All neighbours.
    pub async fn peers(&self) -> Result<Read<PeerList>, Error> {
        self.read("/v1/peers").await
    }

    /// One neighbour.
    pub async fn peer(&self, name: &str) -> Result<Read<PeerDetail>, Error> {
        self.read(&peer_path(name)).await
    }

    /// One page of what a neighbour should hold and was told, by NLRI.
    pub async fn peer_rib(&self, name: &str, query: &RibQuery) -> Result<Read<RibList>, Error> {
        let mut path = PathBuilder::new(&format!("{}/rib", peer_path(name)));
        query.add_to(&mut path);
        self.read(&path.0).await
    }

    /// What a neighbour and the daemon say to each other, as MRT records (RFC 6396), piece by piece as it comes, until the
    /// time or the bytes are over or `take` says so.
    pub async fn dump_peer(
        &self,
        name: &str,
        seconds: Option<u32>,
        max_bytes: Option<u32>,
        take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut path = PathBuilder::new(&format!("{}/dump", peer_path(name)));
        path.add("seconds", seconds);
        path.add("max_bytes", max_bytes);
        self.stream(&path.0, take).await
    }

    /// Disables, enables or resets a neighbour, or has it sent everything again.
    pub async fn order_peer(
        &self,
        name: &str,
        order: PeerOrder,
        request: &PeerOrderRequest,
    ) -> Result<PeerDetail, Error> {
        let path = format!("{}/{}", peer_path(name), order.as_str());
        self.change(&path, request, Repeat::ByKey).await
    }

    /// What holds all announcing back.
    pub async fn control(&self) -> Result<Read<Control>, Error> {
        self.read("/v1/control").await
    }

    /// Stops announcing, withdraws everything, or lets it go on. A panic is carried out whenever it is said: that it is not
    /// recorded yet is an answer, and no reason to say it again.
    pub async fn set_control(&self, request: &ControlRequest) -> Result<Control, Error> {
        let repeat = match request.state {
            ControlState::Panic => Repeat::WhenUnsent,
            ControlState::Hold | ControlState::Running => Repeat::ByKey,
        };
        self.change_by(Method::PUT, "/v1/control", request, repeat).await
    }

    /// Resets the breaker, so that new rules are announced again.
    pub async fn reset_breaker(&self, request: &BreakerResetRequest) -> Result<Control, Error> {
        self.change("/v1/breaker/reset", request, Repeat::ByKey).await
    }

    /// Whether the daemon answers. Asked once.
    pub async fn health(&self) -> Result<Health, Error> {
        self.ask_once("/v1/health").await
    }

    /// Whether it is ready to work; a problem when it is not. Asked once.
    pub async fn ready(&self) -> Result<(), Error> {
        self.send(Ask::get("/v1/health/ready"), Repeat::Never)
            .await
            .map(drop)
    }

    /// How its parts are. Asked once.
    pub async fn health_detail(&self) -> Result<HealthDetail, Error> {
        self.ask_once("/v1/health/detail").await
    }

    /// The OpenAPI document.
    pub async fn openapi(&self) -> Result<Value, Error> {
        Ok(self.read("/v1/openapi.json").await?.value)
    }

    async fn ask_once<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.send(Ask::get(path), Repeat::Never).await?;
        decode(&answer.body)
    }
}

fn peer_path(name: &str) -> String {
    let mut path = "/v1/peers/".to_owned();
    push_encoded(&mut path, name);
    path
}

fn repeat_events(known_again: bool) -> Repeat {
    if known_again {
        Repeat::WhenSafe
    } else {
        Repeat::ByKey
    }
}
