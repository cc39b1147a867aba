//! Questions: what is dropped, who says so, what was, who did what.

use super::query::{PathBuilder, push_encoded};
use super::retry::Repeat;
use super::{Ask, Client, Error, Page, Read};
use crate::audit::{AuditList, AuditVerification};
use crate::drift::Drift;
use crate::group::{
    GroupDetail, GroupList, GroupState, SuppressionAnswer, SuppressionList, SuppressionRequest,
};
use crate::history::IpHistory;
use crate::ids::{GroupId, SuppressionId};
use crate::prefix;
use crate::report::IncidentReport;
use crate::series::{Metric, MigrationList, PopList, Span, Timeseries};
use crate::source::{PauseRequest, ResumeRequest, SourceAnswer, SourceList};
use crate::time::Timestamp;
use crate::traffic::{Traffic, TrafficAnswer};
use ipnet::IpNet;
use reqwest::Method;

/// Which signal groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupQuery {
    /// In this state.
    pub state: Option<GroupState>,
    /// About this address, or any in this prefix.
    pub victim_ip: Option<IpNet>,
    /// Of this kind of attack.
    pub vector: Option<String>,
    /// Of this POP, or `all`; the daemon's own when absent.
    pub pop: Option<String>,
    /// Which part of them; times are of their opening.
    pub page: Page,
}

/// Which entries of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this kind, such as `mitigation.withdrawn`.
    pub action: Option<String>,
    /// About this kind of thing, such as `mitigation`.
    pub target_type: Option<String>,
    /// About this one.
    pub target_id: Option<String>,
    /// With this text in actor, target or body.
    pub q: Option<String>,
    /// Of this POP; the daemon's own when absent.
    pub pop: Option<String>,
    /// Which part of them.
    pub page: Page,
}

/// What a report is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportQuery {
    /// This address, or any in this prefix.
    pub ip: Option<IpNet>,
    /// This customer.
    pub customer_id: Option<String>,
    /// This signal group.
    pub group_id: Option<GroupId>,
    /// Of this POP; of all when absent.
    pub pop: Option<String>,
    /// From when on.
    pub start: Option<Timestamp>,
    /// Up to when.
    pub end: Option<Timestamp>,
}

impl ReportQuery {
    fn to_path(&self, format: &str) -> String {
        let mut path = PathBuilder::new("/v1/reports/incident");
        path.add("ip", self.ip.map(prefix::show));
        path.add("customer_id", self.customer_id.as_ref());
        path.add("group_id", self.group_id);
        path.add("pop", self.pop.as_ref());
        path.add("start", self.start);
        path.add("end", self.end);
        path.add("format", Some(format));
        path.0
    }
}

impl GroupQuery {
    fn to_path(&self) -> String {
        let mut path = PathBuilder::new("/v1/groups");
        path.add("state", self.state);
        path.add("victim_ip", self.victim_ip.map(prefix::show));
        path.add("vector", self.vector.as_ref());
        path.add("pop", self.pop.as_ref());
        path.page(&self.page);
        path.0
    }
}

impl AuditQuery {
    fn to_path(&self) -> String {
        let mut path = PathBuilder::new("/v1/audit");
        path.add("actor", self.actor.as_ref());
        path.add("action", self.action.as_ref());
        path.add("target_type", self.target_type.as_ref());
        path.add("target_id", self.target_id.as_ref());
        path.add("q", self.q.as_ref());
        path.add("pop", self.pop.as_ref());
        path.page(&self.page);
        path.0
    }
}

/// Every method fails with an [`Error`] that says whether the daemon refused or was not reached.
fn of_traffic(traffic: &Traffic) -> PathBuilder {
    let mut path = PathBuilder::new("/v1/match");
    path.add("dst", Some(traffic.dst));
    path.add("src", traffic.src);
    path.add("proto", traffic.proto);
    path.add("sport", traffic.sport);
    path.add("dport", traffic.dport);
    path
}

#[expect(
    clippy::missing_errors_doc,
    reason = "said once, above: the errors of all methods are alike"
)]
impl Client {
    /// What each neighbour was told to do with this traffic.
    pub async fn match_traffic(&self, traffic: &Traffic) -> Result<Read<TrafficAnswer>, Error> {
        self.read(&of_traffic(traffic).0).await
    }

    /// The same, and what is decided at other POPs: at one, or at `all`.
    pub async fn match_traffic_at(&self, traffic: &Traffic, pop: &str) -> Result<Read<TrafficAnswer>, Error> {
        let mut path = of_traffic(traffic);
        path.add("pop", Some(pop));
        self.read(&path.0).await
    }

    /// One page of signal groups, the one that opened last first.
    pub async fn groups(&self, query: &GroupQuery) -> Result<Read<GroupList>, Error> {
        self.read(&query.to_path()).await
    }

    /// One signal group with its mitigations and reports.
    pub async fn group(&self, id: GroupId) -> Result<Read<GroupDetail>, Error> {
        self.read(&format!("/v1/groups/{id}")).await
    }

    /// The suppressions in force.
    pub async fn suppressions(&self) -> Result<Read<SuppressionList>, Error> {
        self.read("/v1/suppressions").await
    }

    /// Stores bans for a time, and does not act on them.
    pub async fn suppress(&self, request: &SuppressionRequest) -> Result<SuppressionAnswer, Error> {
        self.change("/v1/suppressions", request, Repeat::ByKey).await
    }

    /// Acts on bans again.
    pub async fn end_suppression(&self, id: SuppressionId) -> Result<(), Error> {
        let path = format!("/v1/suppressions/{id}");
        self.send(Ask::new(Method::DELETE, &path), Repeat::ByKey)
            .await
            .map(drop)
    }

    /// One page of the journal, newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Read<AuditList>, Error> {
        self.read(&query.to_path()).await
    }

    /// Walks the chain of the journal, from its beginning or from an entry on, as far as one answer goes.
    pub async fn verify_audit(&self, from: Option<u64>) -> Result<AuditVerification, Error> {
        let mut path = PathBuilder::new("/v1/audit/verify");
        path.add("from", from);
        Ok(self.read(&path.0).await?.value)
    }

    /// One page of what is known of an address or prefix, newest first.
    pub async fn history(&self, ip: IpNet, pop: Option<&str>, page: &Page) -> Result<Read<IpHistory>, Error> {
        let mut path = "/v1/ip/".to_owned();
        push_encoded(&mut path, &prefix::show(ip));
        path.push_str("/history");
        let mut path = PathBuilder::new(&path);
        path.add("pop", pop);
        path.page(page);
        self.read(&path.0).await
    }

    /// What happened.
    pub async fn incident(&self, query: &ReportQuery) -> Result<IncidentReport, Error> {
        Ok(self.read(&query.to_path("json")).await?.value)
    }

    /// What happened, as Markdown.
    pub async fn incident_markdown(&self, query: &ReportQuery) -> Result<String, Error> {
        let path = query.to_path("markdown");
        let answer = self.send(Ask::get(&path), Repeat::WhenSafe).await?;
        String::from_utf8(answer.body.to_vec()).map_err(|error| Error::Protocol(error.to_string()))
    }

    /// Every detector, with what it reported at this POP, or at `all`; at the daemon's own when absent.
    pub async fn sources(&self, pop: Option<&str>) -> Result<Read<SourceList>, Error> {
        let mut path = PathBuilder::new("/v1/sources");
        path.add("pop", pop);
        self.read(&path.0).await
    }

    /// Stores a detector's bans and does not act on them.
    pub async fn pause_source(&self, name: &str, request: &PauseRequest) -> Result<SourceAnswer, Error> {
        self.change(&source_path(name, "pause"), request, Repeat::ByKey)
            .await
    }

    /// Acts on a detector's bans again.
    pub async fn resume_source(&self, name: &str, request: &ResumeRequest) -> Result<SourceAnswer, Error> {
        self.change(&source_path(name, "resume"), request, Repeat::ByKey)
            .await
    }

    /// Counts over time, of this POP or of `all`; of the daemon's own when absent.
    pub async fn timeseries(
        &self,
        metric: Metric,
        range: Span,
        pop: Option<&str>,
    ) -> Result<Read<Timeseries>, Error> {
        let mut path = PathBuilder::new("/v1/stats/timeseries");
        path.add("metric", Some(metric));
        path.add("range", Some(range));
        path.add("pop", pop);
        self.read(&path.0).await
    }

    /// Every POP that has written to the database.
    pub async fn pops(&self) -> Result<Read<PopList>, Error> {
        self.read("/v1/pops").await
    }

    /// The schema of the database.
    pub async fn migrations(&self) -> Result<Read<MigrationList>, Error> {
        self.read("/v1/migrations").await
    }

    /// Whether what should be announced, what is held and what was told are the same.
    pub async fn drift(&self) -> Result<Read<Drift>, Error> {
        self.read("/v1/drift").await
    }

    /// Compares them now and repairs what differs.
    pub async fn reconcile(&self) -> Result<Drift, Error> {
        let answer = self
            .send(Ask::new(Method::POST, "/v1/reconcile"), Repeat::WhenSafe)
            .await?;
        super::decode(&answer.body)
    }
}

fn source_path(name: &str, order: &str) -> String {
    let mut path = "/v1/sources/".to_owned();
    push_encoded(&mut path, name);
    path.push('/');
    path.push_str(order);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_reaches_the_daemon() {
        let query = GroupQuery {
            state: Some(GroupState::Quiet),
            victim_ip: Some("203.0.113.10/32".parse().unwrap()),
            vector: Some("udp flood".to_owned()),
            pop: Some("iad1".to_owned()),
            page: Page {
                limit: Some(5),
                ..Page::default()
            },
        };
        assert_eq!(
            query.to_path(),
            "/v1/groups?state=quiet&victim_ip=203.0.113.10&vector=udp%20flood&pop=iad1&limit=5"
        );
        let query = AuditQuery {
            actor: Some("uid:1000(anna)".to_owned()),
            action: Some("mitigation.withdrawn".to_owned()),
            target_type: Some("mitigation".to_owned()),
            target_id: Some("x".to_owned()),
            q: Some("a&b".to_owned()),
            pop: Some("iad1".to_owned()),
            page: Page {
                cursor: Some("7".to_owned()),
                ..Page::default()
            },
        };
        assert_eq!(
            query.to_path(),
            "/v1/audit?actor=uid%3A1000%28anna%29&action=mitigation.withdrawn&target_type=mitigation&target_id=x\
             &q=a%26b&pop=iad1&cursor=7"
        );
    }
}
