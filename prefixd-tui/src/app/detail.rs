//! One mitigation: what was read about it and which pane has the keys.

use super::{App, Screen};
use crate::event::{Effect, Request};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::MitigationDetail;
use prefixd_api::why::Why;

/// The parts of the detail screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pane {
    Summary,
    Rule,
    Neighbours,
    Timeline,
    Why,
}

impl Pane {
    pub(crate) const ALL: [Self; 5] = [
        Self::Summary,
        Self::Rule,
        Self::Neighbours,
        Self::Timeline,
        Self::Why,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Summary => "Summary",
            Self::Rule => "Rule",
            Self::Neighbours => "Neighbours",
            Self::Timeline => "Timeline",
            Self::Why => "Why",
        }
    }

    fn step(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// How rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rendering {
    Text,
    Junos,
    IosXr,
    Frr,
}

impl Rendering {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Junos => "Junos",
            Self::IosXr => "IOS-XR",
            Self::Frr => "FRR",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Text => Self::Junos,
            Self::Junos => Self::IosXr,
            Self::IosXr => Self::Frr,
            Self::Frr => Self::Text,
        }
    }
}

/// Something that is read.
#[derive(Clone, Debug)]
pub(crate) enum Load<T> {
    Reading,
    Ready(T),
    Failed(String),
}

/// The detail screen.
#[derive(Clone, Debug)]
pub(crate) struct DetailView {
    pub(crate) id: MitigationId,
    pub(crate) detail: Load<MitigationDetail>,
    pub(crate) why: Load<Why>,
    pub(crate) pane: Pane,
    pub(crate) zoomed: bool,
    pub(crate) scroll: [usize; Pane::ALL.len()],
    pub(crate) rendering: Rendering,
    /// Something changed since it was read.
    pub(super) is_old: bool,
    /// Opened from the overview, so that closing goes back there.
    pub(super) from_overview: bool,
}

impl DetailView {
    fn new(id: MitigationId, from_overview: bool) -> Self {
        Self {
            id,
            detail: Load::Reading,
            why: Load::Reading,
            pane: Pane::Rule,
            zoomed: false,
            scroll: [0; Pane::ALL.len()],
            rendering: Rendering::Text,
            is_old: false,
            from_overview,
        }
    }

    pub(super) fn take_detail(&mut self, result: Result<MitigationDetail, String>) {
        keep_newer(&mut self.detail, result);
    }

    pub(super) fn take_why(&mut self, result: Result<Why, String>) {
        keep_newer(&mut self.why, result);
    }

    pub(super) fn next_pane(&mut self, by: usize) {
        self.pane = self.pane.step(by);
    }

    pub(super) fn next_rendering(&mut self) {
        self.rendering = self.rendering.next();
        self.scroll[Pane::Rule as usize] = 0;
    }
}

/// A failure does not wipe out what was read before: contact has its own word on the screen.
fn keep_newer<T>(held: &mut Load<T>, result: Result<T, String>) {
    match result {
        Ok(value) => *held = Load::Ready(value),
        Err(words) if !matches!(held, Load::Ready(_)) => *held = Load::Failed(words),
        Err(_) => {}
    }
}

impl App {
    pub(super) fn open_detail(&mut self, id: MitigationId) -> Vec<Effect> {
        let from_overview = match &self.screen {
            Screen::Overview => true,
            Screen::List => false,
            Screen::Detail(view) => view.from_overview,
        };
        if from_overview {
            self.overview.choose();
        }
        let mut view = DetailView::new(id, from_overview);
        if let Screen::Detail(before) = &self.screen {
            (view.pane, view.zoomed, view.rendering) = (before.pane, before.zoomed, before.rendering);
        }
        self.screen = Screen::Detail(Box::new(view));
        super::requests([Request::Detail(id), Request::Why(id)])
    }

    /// The next or previous mitigation of the list it was opened from.
    pub(super) fn step_detail(&mut self, by: isize) -> Vec<Effect> {
        let Screen::Detail(view) = &self.screen else {
            return Vec::new();
        };
        let from_overview = view.from_overview;
        let page = self.page();
        let selection = if from_overview {
            &mut self.overview
        } else {
            &mut self.list.selection
        };
        let before = selection.cursor();
        selection.move_by(by, page);
        match selection.cursor() {
            Some(id) if before != Some(id) => self.open_detail(id),
            _ => Vec::new(),
        }
    }

    pub(super) fn detail_is_old(&mut self, id: MitigationId) {
        if let Screen::Detail(view) = &mut self.screen
            && view.id == id
        {
            view.is_old = true;
        }
    }

    pub(super) fn ask_detail_if_old(&mut self) -> Vec<Request> {
        match &mut self.screen {
            Screen::Detail(view) if view.is_old => {
                view.is_old = false;
                vec![Request::Detail(view.id), Request::Why(view.id)]
            }
            _ => Vec::new(),
        }
    }
}
