//! A histogram whose observations are counted elsewhere: the speaker has them, and a scrape takes them as they are.

use prefixd_api::peer::PeerLag;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use std::sync::{Mutex, PoisonError};

/// The newest figures of one neighbour.
#[derive(Debug, Default)]
pub struct Lag(Mutex<PeerLag>);

impl Lag {
    /// Shows these from now on.
    pub fn set(&self, lag: PeerLag) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }
}

impl TypedMetric for Lag {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Lag {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lag = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let below = lag.buckets.iter().map(|bucket| bucket.seconds);
        let counts = lag.buckets.iter().map(|bucket| bucket.count);
        let mut buckets: Vec<(f64, u64)> = below.zip(counts).collect();
        let beyond = lag.count - buckets.iter().map(|(_, count)| count).sum::<u64>().min(lag.count);
        buckets.push((f64::INFINITY, beyond));
        encoder.encode_histogram::<NoLabelSet>(lag.sum_seconds, lag.count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
