//! Everything a person can do. Keymap, hints and help are made from this enum and the table in
//! [`keymap`](crate::keymap).

use crate::panel::Reason;
use prefixd_api::role::Role;

/// One thing a person can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Down,
    Up,
    PageDown,
    PageUp,
    HalfDown,
    HalfUp,
    First,
    Last,
    NextPane,
    PreviousPane,
    Open,
    Next,
    Previous,
    GoOverview,
    GoMitigations,
    Filter,
    ApplyFilter,
    DropFilter,
    SortMenu,
    SortChoose,
    SortReverse,
    Preview,
    Zoom,
    Rendering,
    Mark,
    MarkRange,
    MarkAll,
    Withdraw,
    Confirm,
    Cancel,
    Give(Reason),
    Suppression,
    NextField,
    Copy(CopyWhat),
    TimeFormat,
    Zone,
    Refresh,
    Help,
    CloseOverlay,
    Escape,
    Back,
    Interrupt,
    Mouse,
    Dump,
    Redraw,
    Suspend,
}

/// What goes to the clipboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CopyWhat {
    Id,
    Address,
    Rules,
    Json,
    Command,
    Table,
}

/// Where the help lists an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    Move,
    Select,
    Act,
    Look,
    List,
    Copy,
    Go,
    Program,
}

impl Group {
    /// In the order the help shows them: what is looked for in a hurry first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Act,
        Self::Look,
        Self::List,
        Self::Select,
        Self::Go,
        Self::Move,
        Self::Copy,
        Self::Program,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Move => "MOVE",
            Self::Select => "SELECT",
            Self::Act => "ACT",
            Self::Look => "LOOK",
            Self::List => "LIST",
            Self::Copy => "COPY",
            Self::Go => "GO",
            Self::Program => "PROGRAM",
        }
    }
}

/// What help and hints say about an action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) group: Group,
    /// The line in the help.
    pub(crate) help: &'static str,
    /// The word in the hint line; actions without one are found in the help.
    pub(crate) hint: Option<&'static str>,
}

impl Action {
    /// What help and hints say.
    pub(crate) const fn about(self) -> About {
        let (group, help, hint) = match self {
            Self::Down => (Group::Move, "down", None),
            Self::Up => (Group::Move, "up", None),
            Self::PageDown => (Group::Move, "page down", None),
            Self::PageUp => (Group::Move, "page up", None),
            Self::HalfDown => (Group::Move, "half a page down", None),
            Self::HalfUp => (Group::Move, "half a page up", None),
            Self::First => (Group::Move, "first", None),
            Self::Last => (Group::Move, "last", None),
            Self::NextPane => (Group::Move, "next pane", Some("pane")),
            Self::PreviousPane => (Group::Move, "previous pane", None),
            Self::Next => (Group::Move, "next mitigation", None),
            Self::Previous => (Group::Move, "previous mitigation", None),
            Self::Mark => (Group::Select, "mark or unmark", Some("mark")),
            Self::MarkRange => (Group::Select, "mark from last to here", None),
            Self::MarkAll => (Group::Select, "mark all, or none", Some("all")),
            Self::Withdraw => (Group::Act, "withdraw...", Some("withdraw")),
            Self::Confirm => (Group::Act, "do it", Some("do it")),
            Self::Cancel => (Group::Act, "cancel", Some("cancel")),
            Self::Give(reason) => (Group::Act, reason.words(), reason.hint()),
            Self::Suppression => (Group::Act, "suppress how long", Some("suppression")),
            Self::NextField => (Group::Act, "next field", None),
            Self::Open => (Group::Look, "open", Some("open")),
            Self::Preview => (Group::Look, "preview on, off", None),
            Self::Zoom => (Group::Look, "zoom the pane", Some("zoom")),
            Self::Rendering => (Group::Look, "Junos, IOS-XR, text", Some("vendor syntax")),
            Self::TimeFormat => (Group::Look, "relative, absolute", None),
            Self::Zone => (Group::Look, "UTC, local time", None),
            Self::Filter => (Group::List, "filter", Some("filter")),
            Self::ApplyFilter => (Group::List, "keep the filter", Some("keep")),
            Self::DropFilter => (Group::List, "drop the change", Some("cancel")),
            Self::SortMenu => (Group::List, "sort by...", Some("sort")),
            Self::SortChoose => (Group::List, "sort; again reverses", Some("choose")),
            Self::SortReverse => (Group::List, "reverse the order", None),
            Self::Copy(what) => (Group::Copy, what.help(), None),
            Self::GoOverview => (Group::Go, "overview", None),
            Self::GoMitigations => (Group::Go, "mitigations", None),
            Self::Back => (Group::Go, "back; at the top, quit", Some("back")),
            Self::Escape => (Group::Go, "close, clear, back", None),
            Self::CloseOverlay => (Group::Go, "close", Some("close")),
            Self::Help => (Group::Program, "help for this place", Some("help")),
            Self::Refresh => (Group::Program, "read again now", None),
            Self::Mouse => (Group::Program, "mouse on, off", None),
            Self::Dump => (Group::Program, "plain text to copy", None),
            Self::Redraw => (Group::Program, "redraw", None),
            Self::Suspend => (Group::Program, "suspend", None),
            Self::Interrupt => (Group::Program, "twice in 2 s: quit", None),
        };
        About { group, help, hint }
    }

    /// The action that shares a line of the help with this one, and what the line says about both.
    pub(crate) const fn pair(self) -> Option<(Self, &'static str)> {
        Some(match self {
            Self::Down => (Self::Up, "row"),
            Self::PageDown => (Self::PageUp, "page"),
            Self::HalfDown => (Self::HalfUp, "half a page"),
            Self::First => (Self::Last, "first, last"),
            Self::NextPane => (Self::PreviousPane, "next, previous pane"),
            Self::Next => (Self::Previous, "next, previous in list"),
            Self::SortMenu => (Self::SortReverse, "sort by..., reverse"),
            Self::TimeFormat => (Self::Zone, "times: relative, zone"),
            Self::GoOverview => (Self::GoMitigations, "overview, mitigations"),
            Self::Copy(CopyWhat::Id) => (Self::Copy(CopyWhat::Address), "id, IP address"),
            Self::Copy(CopyWhat::Rules) => (Self::Copy(CopyWhat::Json), "rules as text, JSON"),
            Self::Copy(CopyWhat::Command) => (Self::Copy(CopyWhat::Table), "command, table as text"),
            Self::Mouse => (Self::Dump, "mouse, plain text"),
            Self::Redraw => (Self::Suspend, "redraw, suspend"),
            _ => return None,
        })
    }

    /// The role that may do it. The daemon checks again.
    pub(crate) const fn needs(self) -> Role {
        if self.changes_traffic() {
            Role::Operator
        } else {
            Role::Viewer
        }
    }

    /// Whether it makes sense on a terminal that is too small for its screen.
    pub(crate) const fn works_unseen(self) -> bool {
        matches!(
            self,
            Self::Back
                | Self::Refresh
                | Self::Help
                | Self::CloseOverlay
                | Self::Interrupt
                | Self::ApplyFilter
                | Self::DropFilter
                | Self::Mouse
                | Self::Dump
                | Self::Redraw
                | Self::Suspend
        )
    }

    /// Whether it is part of changing what routers hold; gone while read-only or without contact.
    pub(crate) const fn changes_traffic(self) -> bool {
        matches!(self, Self::Withdraw | Self::Confirm)
    }
}

impl CopyWhat {
    const fn help(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Address => "IP address",
            Self::Rules => "rules as text",
            Self::Json => "JSON",
            Self::Command => "prefixdctl command",
            Self::Table => "the table as text",
        }
    }
}
