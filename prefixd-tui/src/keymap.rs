//! The one table of keys. A key is written as people write it (`Ctrl-D`, `Space`, `g o`), and looked up by the
//! same text, so that help and behaviour cannot differ.

use crate::action::{Action, CopyWhat};
use crate::panel::Reason;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Overview,
    List,
    Detail,
    FilterLine,
    SortMenu,
    Help,
    WithdrawPanel,
}

impl Place {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] = [
        Self::Overview,
        Self::List,
        Self::Detail,
        Self::FilterLine,
        Self::SortMenu,
        Self::Help,
        Self::WithdrawPanel,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::List => "Mitigations",
            Self::Detail => "Mitigation",
            Self::FilterLine => "Filter",
            Self::SortMenu => "Sort",
            Self::Help => "Help",
            Self::WithdrawPanel => "Withdraw",
        }
    }
}

/// The keys of one action in some places.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) places: &'static [Place],
    /// Any of these does it.
    pub(crate) keys: &'static [&'static str],
    pub(crate) action: Action,
}

const SCREENS: &[Place] = &[Place::Overview, Place::List, Place::Detail];
const RULES: &[Place] = &[Place::List, Place::Detail];
const MOVING: &[Place] = &[
    Place::Overview,
    Place::List,
    Place::Detail,
    Place::SortMenu,
    Place::Help,
    Place::WithdrawPanel,
];
const SCROLLING: &[Place] = &[Place::Overview, Place::List, Place::Detail, Place::Help];

const fn bind(places: &'static [Place], keys: &'static [&'static str], action: Action) -> Binding {
    Binding { places, keys, action }
}

/// Every key there is; hints appear in this order.
pub(crate) const BINDINGS: &[Binding] = &[
    bind(&[Place::Overview, Place::List], &["Enter"], Action::Open),
    bind(&[Place::Detail], &["Tab"], Action::NextPane),
    bind(&[Place::Detail], &["S-Tab"], Action::PreviousPane),
    bind(&[Place::List], &["Space"], Action::Mark),
    bind(&[Place::List], &["v"], Action::MarkRange),
    bind(&[Place::List], &["*"], Action::MarkAll),
    bind(RULES, &["w"], Action::Withdraw),
    bind(&[Place::Overview, Place::List], &["/"], Action::Filter),
    bind(&[Place::List], &["s"], Action::SortMenu),
    bind(&[Place::List], &["S"], Action::SortReverse),
    bind(&[Place::List], &["p"], Action::Preview),
    bind(&[Place::Detail], &["z"], Action::Zoom),
    bind(&[Place::Detail], &["V"], Action::Rendering),
    bind(&[Place::Detail], &["]"], Action::Next),
    bind(&[Place::Detail], &["["], Action::Previous),
    bind(MOVING, &["j", "Down"], Action::Down),
    bind(MOVING, &["k", "Up"], Action::Up),
    bind(SCROLLING, &["PgDn"], Action::PageDown),
    bind(SCROLLING, &["PgUp"], Action::PageUp),
    bind(SCROLLING, &["Ctrl-D"], Action::HalfDown),
    bind(SCROLLING, &["Ctrl-U"], Action::HalfUp),
    bind(SCROLLING, &["g g", "Home"], Action::First),
    bind(SCROLLING, &["G", "End"], Action::Last),
    bind(RULES, &["y y"], Action::Copy(CopyWhat::Id)),
    bind(RULES, &["y i"], Action::Copy(CopyWhat::Address)),
    bind(RULES, &["y f"], Action::Copy(CopyWhat::Rules)),
    bind(RULES, &["y j"], Action::Copy(CopyWhat::Json)),
    bind(RULES, &["y l"], Action::Copy(CopyWhat::Command)),
    bind(&[Place::List], &["y t"], Action::Copy(CopyWhat::Table)),
    bind(SCREENS, &["1", "g o"], Action::GoOverview),
    bind(SCREENS, &["2", "g m"], Action::GoMitigations),
    bind(SCREENS, &["t"], Action::TimeFormat),
    bind(SCREENS, &["T"], Action::Zone),
    bind(SCREENS, &["r"], Action::Refresh),
    bind(SCREENS, &["q"], Action::Back),
    bind(SCREENS, &["Esc"], Action::Escape),
    bind(SCREENS, &["?", "F1"], Action::Help),
    bind(SCREENS, &["F2"], Action::Mouse),
    bind(SCREENS, &["F4"], Action::Dump),
    bind(
        &[
            Place::Overview,
            Place::List,
            Place::Detail,
            Place::SortMenu,
            Place::Help,
            Place::WithdrawPanel,
        ],
        &["Ctrl-L"],
        Action::Redraw,
    ),
    bind(SCREENS, &["Ctrl-Z"], Action::Suspend),
    bind(
        &[
            Place::Overview,
            Place::List,
            Place::Detail,
            Place::FilterLine,
            Place::SortMenu,
            Place::Help,
            Place::WithdrawPanel,
        ],
        &["Ctrl-C"],
        Action::Interrupt,
    ),
    bind(&[Place::FilterLine], &["Enter"], Action::ApplyFilter),
    bind(&[Place::FilterLine], &["Esc"], Action::DropFilter),
    bind(&[Place::SortMenu], &["Enter"], Action::SortChoose),
    bind(&[Place::SortMenu], &["Esc", "s", "q"], Action::CloseOverlay),
    bind(&[Place::Help], &["Esc", "?", "F1", "q"], Action::CloseOverlay),
    bind(&[Place::WithdrawPanel], &["Enter", "Esc"], Action::Cancel),
    bind(
        &[Place::WithdrawPanel],
        &["1"],
        Action::Give(Reason::FalsePositive),
    ),
    bind(&[Place::WithdrawPanel], &["2"], Action::Give(Reason::AttackOver)),
    bind(
        &[Place::WithdrawPanel],
        &["3"],
        Action::Give(Reason::CustomerRequest),
    ),
    bind(&[Place::WithdrawPanel], &["4"], Action::Give(Reason::Replaced)),
    bind(&[Place::WithdrawPanel], &["5"], Action::Give(Reason::Other)),
    bind(&[Place::WithdrawPanel], &["s"], Action::Suppression),
    bind(&[Place::WithdrawPanel], &["Tab"], Action::NextField),
    bind(&[Place::WithdrawPanel], &["y"], Action::Confirm),
];

/// What a key, after the prefix typed before it, means in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Action(Action),
    /// The beginning of longer keys.
    Prefix,
    Nothing,
}

/// Looks up a written key in a place.
pub(crate) fn lookup(place: Place, keys: &str) -> Lookup {
    let mut prefix = false;
    for binding in bindings_of(place) {
        for bound in binding.keys {
            if *bound == keys {
                return Lookup::Action(binding.action);
            }
            prefix |= bound.strip_prefix(keys).is_some_and(|rest| rest.starts_with(' '));
        }
    }
    if prefix { Lookup::Prefix } else { Lookup::Nothing }
}

/// The bindings of a place, in the order of the table.
pub(crate) fn bindings_of(place: Place) -> impl Iterator<Item = &'static Binding> {
    BINDINGS
        .iter()
        .filter(move |binding| binding.places.contains(&place))
}

/// What can follow a prefix: the last key, and what it does.
pub(crate) fn continuations(place: Place, prefix: &str) -> Vec<(&'static str, Action)> {
    bindings_of(place)
        .flat_map(|binding| binding.keys.iter().map(|keys| (*keys, binding.action)))
        .filter_map(|(keys, action)| Some((keys.strip_prefix(prefix)?.strip_prefix(' ')?, action)))
        .collect()
}

/// A key as the table writes it; nothing for keys the table has no words for.
pub(crate) fn written(key: KeyEvent) -> Option<String> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    if key
        .modifiers
        .intersects(KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::HYPER | KeyModifiers::META)
    {
        return None;
    }
    Some(match key.code {
        KeyCode::Char(' ') if !ctrl => "Space".to_owned(),
        KeyCode::Char(letter) if ctrl => format!("Ctrl-{}", letter.to_ascii_uppercase()),
        KeyCode::Char(letter) => letter.to_string(),
        KeyCode::F(number) => format!("F{number}"),
        _ if ctrl => return None,
        KeyCode::Enter => "Enter".to_owned(),
        KeyCode::Esc => "Esc".to_owned(),
        KeyCode::Tab if key.modifiers.contains(KeyModifiers::SHIFT) => "S-Tab".to_owned(),
        KeyCode::Tab => "Tab".to_owned(),
        KeyCode::BackTab => "S-Tab".to_owned(),
        KeyCode::Up => "Up".to_owned(),
        KeyCode::Down => "Down".to_owned(),
        KeyCode::PageUp => "PgUp".to_owned(),
        KeyCode::PageDown => "PgDn".to_owned(),
        KeyCode::Home => "Home".to_owned(),
        KeyCode::End => "End".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
