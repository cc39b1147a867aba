//! What other POPs hold, as the database has it. On SQLite there are none.

use super::db::Db;
use super::prefix::{family, key};
use super::{Store, StoreError};
use ipnet::IpNet;
use prefixd_api::ids::{GroupId, MitigationId};
use prefixd_api::mitigation::{Group, Mitigation};
use prefixd_api::victim::Victim;
use std::net::IpAddr;
use tracing::error;
use uuid::Uuid;

/// Who runs a POP has its lock (`tenure`): 64 bits, of which the server shows two halves.
const NAMES: &str = "SELECT pop, EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(pop, 1)) \
     FROM pops WHERE pop <> $1 ORDER BY pop";
/// Found by `mitigations_scope`: what is live of one victim, and of the prefixes around it.
pub(super) const OF_VICTIM: &str = "SELECT id, body FROM mitigations \
     WHERE live = 1 AND af = $1 AND victim = ANY($2) AND pop = ANY($3) ORDER BY pop, id LIMIT $4";
/// Walks what is live, of which there is no more than `max_active_global`, and nothing that has ended.
pub(super) const LIVE: &str = "SELECT pop, status, vector, action_type, COUNT(*) FROM mitigations \
     WHERE live = 1 AND pop = ANY($1) GROUP BY pop, status, vector, action_type";

/// The same of many scopes, each of a POP.
pub(super) const OF_SCOPES: &str = "SELECT id, body::json->>'group_id' FROM mitigations \
     WHERE live = 1 AND (af, victim, vector, pop) IN (SELECT * FROM UNNEST($1::smallint[], $2::bytea[], $3::text[], $4::text[]))";
/// Scopes of one question.
const AT_ONCE: usize = 100;

/// Another POP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherPop {
    /// Its name.
    pub name: String,
    /// Whether a daemon runs it now, as far as the database knows.
    pub runs: bool,
}

/// How many live mitigations of one kind a POP has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCount {
    /// The POP.
    pub pop: String,
    /// As it is stored.
    pub status: String,
    /// The kind of attack.
    pub vector: String,
    /// As it is stored.
    pub action_type: String,
    /// How many.
    pub number: u64,
}

impl Store {
    /// The other POPs of this database, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn other_pops(&self, own: &str) -> Result<Vec<OtherPop>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(Vec::new());
        };
        let rows: Vec<(String, bool)> = self
            .in_time(async {
                let mut lease = server.lease().await?;
                let query = sqlx::query_as(NAMES).bind(own);
                let rows = query.fetch_all(lease.connection()?).await?;
                lease.give_back();
                Ok(rows)
            })
            .await?;
        let pops = rows.into_iter().map(|(name, runs)| OtherPop { name, runs });
        Ok(pops.collect())
    }

    /// What is live against an address at these POPs: so many at most.
    ///
    /// # Errors
    /// When the store fails. A row that cannot be read is left out and logged by name.
    pub async fn live_against(
        &self,
        pops: &[OtherPop],
        victim: IpAddr,
        limit: u16,
    ) -> Result<Vec<Mitigation>, StoreError> {
        let (Db::Postgres(server), false) = (&self.db, pops.is_empty()) else {
            return Ok(Vec::new());
        };
        let rows: Vec<(Uuid, String)> = self
            .in_time(async {
                let mut lease = server.lease().await?;
                let query = sqlx::query_as(OF_VICTIM)
                    .bind(family(victim))
                    .bind(around(victim))
                    .bind(names(pops))
                    .bind(i64::from(limit));
                let rows = query.fetch_all(lease.connection()?).await?;
                lease.give_back();
                Ok(rows)
            })
            .await?;
        let read = |(id, body): (Uuid, String)| {
            serde_json::from_str(&body)
                .inspect_err(|error| error!(mitigation = %id, %error, "a stored row cannot be read; it is left out of the answer"))
                .ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// The live mitigations of these groups of other POPs; a group has one at most.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn live_of_groups(
        &self,
        groups: &[&Group],
    ) -> Result<Vec<(GroupId, MitigationId)>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(Vec::new());
        };
        let mut live = Vec::new();
        for groups in groups.chunks(AT_ONCE) {
            let victims = || groups.iter().map(|group| group.scope.victim);
            let rows: Vec<(Uuid, Option<String>)> = self
                .in_time(async {
                    let mut lease = server.lease().await?;
                    let query = sqlx::query_as(OF_SCOPES)
                        .bind(
                            victims()
                                .map(|victim| family(victim.address()))
                                .collect::<Vec<_>>(),
                        )
                        .bind(victims().map(key).collect::<Vec<_>>())
                        .bind(
                            groups
                                .iter()
                                .map(|group| &*group.scope.vector)
                                .collect::<Vec<_>>(),
                        )
                        .bind(groups.iter().map(|group| group.pop.as_str()).collect::<Vec<_>>());
                    let rows = query.fetch_all(lease.connection()?).await?;
                    lease.give_back();
                    Ok(rows)
                })
                .await?;
            // One of the group before may be there still, and one of the next already.
            let of_group = rows.into_iter().filter_map(|(id, group)| {
                let group: GroupId = group?.parse().ok()?;
                Some((group, MitigationId(id)))
            });
            live.extend(of_group);
        }
        live.retain(|(group, _)| groups.iter().any(|asked| asked.group_id == *group));
        Ok(live)
    }

    /// How much is live at these POPs.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn live_counts(&self, pops: &[OtherPop]) -> Result<Vec<LiveCount>, StoreError> {
        let (Db::Postgres(server), false) = (&self.db, pops.is_empty()) else {
            return Ok(Vec::new());
        };
        let rows: Vec<(String, String, String, String, i64)> = self
            .in_time(async {
                let mut lease = server.lease().await?;
                let query = sqlx::query_as(LIVE).bind(names(pops));
                let rows = query.fetch_all(lease.connection()?).await?;
                lease.give_back();
                Ok(rows)
            })
            .await?;
        let count = |(pop, status, vector, action_type, number)| LiveCount {
            pop,
            status,
            vector,
            action_type,
            number: u64::try_from(number).unwrap_or_default(),
        };
        Ok(rows.into_iter().map(count).collect())
    }
}

/// An address as a column, alone and as one of many: aggregates are of prefixes down to /16 and /32.
pub(super) fn around(victim: IpAddr) -> Vec<Vec<u8>> {
    let shortest = if victim.is_ipv4() { 16 } else { 32 };
    let longest = IpNet::from(victim).prefix_len();
    let network = |length| Victim::network(IpNet::new(victim, length).ok()?).ok().map(key);
    (shortest..=longest).filter_map(network).collect()
}

fn names(pops: &[OtherPop]) -> Vec<String> {
    pops.iter().map(|pop| pop.name.clone()).collect()
}
