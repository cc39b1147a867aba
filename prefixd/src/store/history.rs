//! Events and mitigations of an address, interleaved.

use super::list::{Cursor, EventFilter, MitigationFilter, Page, PageRequest};
use super::{Store, StoreError};
use ipnet::IpNet;
use prefixd_api::event::StoredEvent;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;

/// One line of a history.
#[derive(Clone, Debug)]
pub enum Line {
    /// A report.
    Event(Box<StoredEvent>),
    /// A mitigation.
    Mitigation(Box<Mitigation>),
}

impl Line {
    fn place(&self) -> Cursor {
        match self {
            Self::Event(event) => Cursor::of(event.received_at, event.event_id.0),
            Self::Mitigation(mitigation) => Cursor::of(mitigation.created_at, mitigation.mitigation_id.0),
        }
    }
}

impl Store {
    /// A page of what a POP, or all of them, know of an address, or of all in a prefix, newest first. A page may be short, or empty,
    /// and still be followed by another.
    ///
    /// # Errors
    /// When the store fails. A row that cannot be read is left out and logged by name.
    pub async fn history(
        &self,
        pop: Option<&str>,
        victim: IpNet,
        (start, end): (Option<Timestamp>, Option<Timestamp>),
        page: PageRequest,
    ) -> Result<Page<Line>, StoreError> {
        let events = EventFilter {
            victim: Some(victim),
            pop: pop.map(str::to_owned),
            start,
            end,
            ..EventFilter::default()
        };
        let mitigations = MitigationFilter {
            victim: Some(victim),
            pop: pop.map(str::to_owned),
            start,
            end,
            ..MitigationFilter::default()
        };
        let events = self.list_events(&events, page).await?;
        let mitigations = self.list_mitigations(&mitigations, page).await?;
        Ok(merge(events, mitigations, page.limit))
    }
}

fn merge(events: Page<StoredEvent>, mitigations: Page<Mitigation>, limit: u16) -> Page<Line> {
    let lines = |items: Vec<Line>, next| Page { items, next };
    let reported = events.items.into_iter().map(|event| Line::Event(event.into()));
    let done = mitigations
        .items
        .into_iter()
        .map(|mitigation| Line::Mitigation(mitigation.into()));
    lines(reported.collect(), events.next).beside(lines(done.collect(), mitigations.next), limit, Line::place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::{Attack, host};
    use std::time::Duration;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).saturating_add(Duration::from_secs(seconds))
    }

    /// Times of the events and mitigations of a page.
    fn page<T>(times: &[u64], make: fn(Attack) -> T, next: Option<u64>) -> Page<T> {
        Page {
            items: times
                .iter()
                .map(|time| make(Attack::new(host(1), "udp_flood", at(*time))))
                .collect(),
            next: next.map(|time| Cursor::of(at(time), uuid::Uuid::nil())),
        }
    }

    fn merged(
        events: (&[u64], Option<u64>),
        mitigations: (&[u64], Option<u64>),
        limit: u16,
    ) -> (Vec<u64>, Option<u64>) {
        let event = |attack: Attack| StoredEvent::clone(&attack.event);
        let mitigation = |attack: Attack| Mitigation::clone(&attack.mitigation);
        let whole = merge(
            page(events.0, event, events.1),
            page(mitigations.0, mitigation, mitigations.1),
            limit,
        );
        let seconds = |cursor: Cursor| u64::try_from(cursor.at().as_micros() / 1_000_000).unwrap();
        (
            whole.items.iter().map(|line| seconds(line.place())).collect(),
            whole.next.map(seconds),
        )
    }

    #[test]
    fn a_page_is_complete_down_to_where_the_next_begins() {
        for (events, mitigations, limit, expected) in [
            // Both whole.
            ((&[9, 3][..], None), (&[5][..], None), 9, (vec![9, 5, 3], None)),
            // One goes on at 6: what the other has below may have something between.
            (
                (&[9, 6][..], Some(6)),
                (&[7, 5][..], None),
                9,
                (vec![9, 7, 6], Some(6)),
            ),
            // Both go on, one found nothing in what it looked at.
            ((&[][..], Some(8)), (&[9, 7][..], Some(7)), 9, (vec![9], Some(8))),
            ((&[][..], Some(8)), (&[][..], Some(4)), 9, (vec![], Some(8))),
            // More than a page.
            (
                (&[9, 8][..], None),
                (&[7, 6][..], None),
                3,
                (vec![9, 8, 7], Some(7)),
            ),
            (
                (&[9, 8][..], Some(8)),
                (&[7, 6][..], Some(6)),
                2,
                (vec![9, 8], Some(8)),
            ),
        ] {
            assert_eq!(
                merged(events, mitigations, limit),
                expected,
                "{events:?} {mitigations:?}"
            );
        }
    }
}
