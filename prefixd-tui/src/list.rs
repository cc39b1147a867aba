//! What a list shows and what its cursor and marks point at. They hold identities, so that no reordering moves
//! the target of an action.

use crate::filter::Filter;
use crate::store::Mitigations;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// An ordered choice of mitigations with a cursor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    order: Vec<MitigationId>,
    cursor: Option<MitigationId>,
    offset: usize,
    /// Stays at the top, whatever is there, until a person moves away from it.
    at_top: bool,
}

impl Selection {
    /// One that shows its first rows until a person moves.
    pub(crate) fn at_top() -> Self {
        Self {
            at_top: true,
            ..Self::default()
        }
    }

    /// Whether the row under the cursor was chosen by a person, and not by its place.
    pub(crate) const fn is_chosen(&self) -> bool {
        !self.at_top
    }

    /// A person who is back at the first row wants to see the first rows.
    pub(crate) fn follow_top(&mut self) {
        self.at_top |= self.position() == Some(0);
    }

    /// A person means the row under the cursor.
    pub(crate) const fn choose(&mut self) {
        self.at_top = false;
    }

    pub(crate) fn order(&self) -> &[MitigationId] {
        &self.order
    }

    pub(crate) fn cursor(&self) -> Option<MitigationId> {
        self.cursor
    }

    /// Index of the first row on the screen.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// Index of the row under the cursor.
    pub(crate) fn position(&self) -> Option<usize> {
        let cursor = self.cursor?;
        self.order.iter().position(|id| *id == cursor)
    }

    /// Takes a new order. The cursor stays on its mitigation; when that is gone, on its place.
    pub(crate) fn settle(&mut self, order: Vec<MitigationId>, page: usize) {
        let before = self.position();
        self.order = order;
        if self.at_top {
            self.cursor = self.order.first().copied();
            self.offset = 0;
            return;
        }
        if self.position().is_none() {
            let place = before.unwrap_or(0).min(self.order.len().saturating_sub(1));
            self.cursor = self.order.get(place).copied();
        }
        self.show_cursor(page);
    }

    /// Moves by rows, stopping at the ends.
    pub(crate) fn move_by(&mut self, rows: isize, page: usize) {
        let last = self.order.len().saturating_sub(1);
        self.move_to(
            self.position().unwrap_or(0).saturating_add_signed(rows).min(last),
            page,
        );
    }

    /// Moves to a row.
    pub(crate) fn move_to(&mut self, row: usize, page: usize) {
        if let Some(id) = self.order.get(row) {
            self.cursor = Some(*id);
            self.choose();
        }
        self.show_cursor(page);
    }

    fn show_cursor(&mut self, page: usize) {
        let page = page.max(1);
        let row = self.position().unwrap_or(0);
        let most = self.order.len().saturating_sub(page);
        self.offset = self.offset.clamp((row + 1).saturating_sub(page), row).min(most);
    }
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortKey {
    Severity,
    Status,
    Victim,
    Vector,
    Action,
    Customer,
    Bps,
    Pps,
    Age,
    Ttl,
    Confidence,
}

impl SortKey {
    pub(crate) const ALL: [Self; 11] = [
        Self::Severity,
        Self::Status,
        Self::Victim,
        Self::Vector,
        Self::Action,
        Self::Customer,
        Self::Bps,
        Self::Pps,
        Self::Age,
        Self::Ttl,
        Self::Confidence,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Severity => "severity",
            Self::Status => "status",
            Self::Victim => "victim",
            Self::Vector => "vector",
            Self::Action => "action",
            Self::Customer => "customer",
            Self::Bps => "bps",
            Self::Pps => "pps",
            Self::Age => "age",
            Self::Ttl => "ttl",
            Self::Confidence => "confidence",
        }
    }

    /// Big ones first, where that is what people look for.
    const fn starts_high(self) -> bool {
        matches!(self, Self::Severity | Self::Bps | Self::Pps | Self::Confidence)
    }

    fn compare(self, a: &Mitigation, b: &Mitigation) -> Ordering {
        match self {
            Self::Severity => a.severity.cmp(&b.severity),
            Self::Status => (a.status as u8).cmp(&(b.status as u8)),
            Self::Victim => a.victim_ip.cmp(&b.victim_ip),
            Self::Vector => a.vector.cmp(&b.vector),
            Self::Action => (a.action_type, a.rate_bps).cmp(&(b.action_type, b.rate_bps)),
            Self::Customer => a.customer_id.cmp(&b.customer_id),
            Self::Bps => a.observed.bps.cmp(&b.observed.bps),
            Self::Pps => a.observed.pps.cmp(&b.observed.pps),
            Self::Age => b.created_at.cmp(&a.created_at),
            Self::Ttl => a.leaves_at().cmp(&b.leaves_at()),
            Self::Confidence => a
                .confidence
                .unwrap_or(-1.0)
                .total_cmp(&b.confidence.unwrap_or(-1.0)),
        }
    }
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) key: SortKey,
    pub(crate) descending: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self::by(SortKey::Severity)
    }
}

impl Sort {
    /// By a key, in the direction that is looked for first.
    pub(crate) const fn by(key: SortKey) -> Self {
        Self {
            key,
            descending: key.starts_high(),
        }
    }

    pub(crate) const fn reversed(self) -> Self {
        Self {
            descending: !self.descending,
            ..self
        }
    }

    /// The choice of a key: chosen again, it reverses.
    pub(crate) fn choose(self, key: SortKey) -> Self {
        if self.key == key {
            self.reversed()
        } else {
            Self::by(key)
        }
    }

    /// Equal rows are ordered by rate, then by age, so that every order is total and stands still.
    fn compare(self, a: &Mitigation, b: &Mitigation) -> Ordering {
        let order = self.key.compare(a, b);
        let order = if self.descending { order.reverse() } else { order };
        order
            .then_with(|| b.observed.bps.cmp(&a.observed.bps))
            .then_with(|| a.mitigation_id.cmp(&b.mitigation_id))
    }
}

/// The mitigations that pass, in order. The one under the cursor stays until the cursor leaves it.
pub(crate) fn order(
    store: &Mitigations,
    filter: &Filter,
    sort: Sort,
    cursor: Option<MitigationId>,
    now: Timestamp,
) -> Vec<MitigationId> {
    let mut rows: Vec<&Mitigation> = store
        .iter()
        .filter(|row| Some(row.mitigation_id) == cursor || filter.passes(row, now))
        .collect();
    rows.sort_unstable_by(|a, b| sort.compare(a, b));
    rows.into_iter().map(|row| row.mitigation_id).collect()
}

/// The list of mitigations: what it shows, in which order, and what is marked.
#[derive(Clone, Debug)]
pub(crate) struct ListView {
    pub(crate) selection: Selection,
    pub(crate) filter: Filter,
    pub(crate) sort: Sort,
    pub(crate) marks: BTreeSet<MitigationId>,
    /// Where a range of marks begins.
    anchor: Option<MitigationId>,
    pub(crate) preview: bool,
}

impl ListView {
    pub(crate) fn new(filter: Filter) -> Self {
        Self {
            selection: Selection::default(),
            filter,
            sort: Sort::default(),
            marks: BTreeSet::new(),
            anchor: None,
            preview: true,
        }
    }

    /// Marks or unmarks the row under the cursor and goes on to the next.
    pub(crate) fn mark(&mut self, page: usize) {
        if let Some(id) = self.selection.cursor() {
            if !self.marks.remove(&id) {
                self.marks.insert(id);
            }
            self.anchor = Some(id);
            self.selection.move_by(1, page);
        }
    }

    /// Marks everything between the last mark and the cursor.
    pub(crate) fn mark_range(&mut self) {
        let Some(here) = self.selection.position() else {
            return;
        };
        let from = self
            .anchor
            .and_then(|anchor| self.selection.order().iter().position(|id| *id == anchor))
            .unwrap_or(here);
        let range = from.min(here)..=from.max(here);
        self.marks.extend(self.selection.order()[range].iter().copied());
        self.anchor = self.selection.cursor();
    }

    /// Marks all live ones that pass the filter; when all are marked, none of these. Marks on rows that the filter
    /// hides stay as they are.
    pub(crate) fn mark_all(&mut self, store: &Mitigations) {
        let live: BTreeSet<_> = self
            .selection
            .order()
            .iter()
            .copied()
            .filter(|id| store.get(*id).is_some_and(|row| row.status.is_live()))
            .collect();
        if live.is_subset(&self.marks) {
            self.marks.retain(|id| !live.contains(id));
        } else {
            self.marks.extend(live);
        }
    }

    /// How many marks are on rows that the filter hides.
    pub(crate) fn hidden_marks(&self) -> usize {
        if self.marks.is_empty() {
            return 0;
        }
        let shown = self.selection.order().iter();
        self.marks.len() - shown.filter(|id| self.marks.contains(id)).count()
    }
}

#[cfg(test)]
mod tests;
