//! Counts over time, POPs, and the schema.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Mitigations, when they were made.
    Mitigations,
    /// Events, when they were received.
    Events,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Mitigations, Self::Events];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mitigations => "mitigations",
            Self::Events => "events",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// One hour, by 5 minutes.
    Hour,
    /// Six hours, by 30 minutes.
    SixHours,
    /// A day, by the hour.
    Day,
    /// A week, by 6 hours.
    Week,
}

impl Span {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hour, Self::SixHours, Self::Day, Self::Week];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// Seconds of a bucket.
    #[must_use]
    pub const fn bucket_seconds(self) -> u32 {
        match self {
            Self::Hour => 300,
            Self::SixHours => 1_800,
            Self::Day => 3_600,
            Self::Week => 21_600,
        }
    }

    /// How many buckets it has.
    #[must_use]
    pub const fn buckets(self) -> u32 {
        match self {
            Self::Hour | Self::SixHours => 12,
            Self::Day => 24,
            Self::Week => 28,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Point {
    /// Its beginning; it ends where the next begins, the last one now.
    pub at: Timestamp,
    /// How many.
    pub count: u64,
}

/// The answer of `GET /v1/stats/timeseries`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Timeseries {
    /// What is counted.
    pub metric: Metric,
    /// `1h`, `6h`, `24h` or `7d`.
    pub range: String,
    /// Seconds of a bucket.
    pub bucket_seconds: u32,
    /// Every bucket, oldest first, empty ones too.
    pub points: Vec<Point>,
}

/// A POP that has written to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Pop {
    /// Its name.
    pub name: String,
    /// Whether it is this daemon's.
    pub own: bool,
    /// Number of its newest journal entry.
    pub head: u64,
    /// When that was written.
    pub last_change_at: Option<Timestamp>,
    /// Its live mitigations.
    pub live: u64,
}

/// The answer of `GET /v1/pops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct PopList {
    /// By name.
    pub pops: Vec<Pop>,
    /// How many.
    pub count: usize,
}

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MigrationStep {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub description: String,
    /// When this database got it; absent: it has not.
    pub installed_at: Option<Timestamp>,
}

/// The answer of `GET /v1/migrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct MigrationList {
    /// `sqlite` or `postgresql`.
    pub backend: String,
    /// The version of the schema in this database.
    pub version: i64,
    /// The version that this prefixd knows.
    pub known: i64,
    /// Every step that this prefixd knows, oldest first.
    pub migrations: Vec<MigrationStep>,
    /// How many.
    pub count: usize,
}
