//! Colours by meaning. Every meaning also has a word or a mark on the screen, so that none is lost without
//! colour.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of the screen means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Meaning {
    /// Ordinary text.
    Plain,
    /// Critical or escalated.
    Critical,
    /// High, or a discard.
    High,
    /// Medium, or a police action.
    Medium,
    /// Low, pending, or beside the point.
    Low,
    /// Up, passed, announced.
    Ok,
    /// Wants a look soon.
    Warn,
    /// Down, failed, refused.
    Down,
    /// Can be followed or typed.
    Info,
    /// Has ended.
    Ended,
    /// Names of panes and columns.
    Title,
    /// Borders.
    Border,
    /// The border of the pane that has the keys.
    Focus,
    /// The row under the cursor, and the open tab.
    Selection,
    /// Marked rows.
    Mark,
    /// The first row while all is well.
    Banner,
    /// The first row, or a banner, while something is wrong.
    Alarm,
}

impl Meaning {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 17] = [
        Self::Plain,
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Ok,
        Self::Warn,
        Self::Down,
        Self::Info,
        Self::Ended,
        Self::Title,
        Self::Border,
        Self::Focus,
        Self::Selection,
        Self::Mark,
        Self::Banner,
        Self::Alarm,
    ];
}

/// Which set of styles is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// For dark backgrounds.
    Dark(Depth),
    /// For light backgrounds.
    Light(Depth),
    /// No colour at all: bold, dim, underline and reverse.
    Mono,
}

/// How many colours the terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The sixteen of the terminal's own palette.
    Sixteen,
    /// 24 bits.
    True,
}

impl Theme {
    /// The style of a meaning.
    pub(crate) fn style(self, meaning: Meaning) -> Style {
        let style = Style::new().add_modifier(emphasis(meaning, self == Self::Mono));
        match self {
            Self::Mono => style,
            Self::Dark(depth) => coloured(style, dark(meaning), depth),
            Self::Light(depth) => coloured(style, light(meaning), depth),
        }
    }
}

/// A colour of the 16 and its 24-bit form.
type Pair = (Color, Color);

fn coloured(style: Style, pair: Option<Pair>, depth: Depth) -> Style {
    match (pair, depth) {
        (None, _) => style,
        (Some((few, _)), Depth::Sixteen) => style.fg(few),
        (Some((_, many)), Depth::True) => style.fg(many),
    }
}

fn emphasis(meaning: Meaning, mono: bool) -> Modifier {
    match meaning {
        Meaning::Selection | Meaning::Banner | Meaning::Mark => Modifier::REVERSED,
        Meaning::Alarm => Modifier::REVERSED.union(Modifier::BOLD),
        Meaning::Critical | Meaning::High | Meaning::Title | Meaning::Focus => Modifier::BOLD,
        Meaning::Down if mono => Modifier::BOLD.union(Modifier::UNDERLINED),
        Meaning::Down => Modifier::BOLD,
        Meaning::Info | Meaning::Warn if mono => Modifier::UNDERLINED,
        Meaning::Low | Meaning::Border if mono => Modifier::DIM,
        Meaning::Ended if mono => Modifier::DIM.union(Modifier::CROSSED_OUT),
        Meaning::Ended => Modifier::CROSSED_OUT,
        _ => Modifier::empty(),
    }
}

const fn rgb(hex: u32) -> Color {
    let [_, red, green, blue] = hex.to_be_bytes();
    Color::Rgb(red, green, blue)
}

fn dark(meaning: Meaning) -> Option<Pair> {
    Some(match meaning {
        Meaning::Plain | Meaning::Selection | Meaning::Mark | Meaning::Title => return None,
        Meaning::Critical | Meaning::Down => (Color::LightRed, rgb(0xFF_6B_6B)),
        Meaning::High => (Color::Yellow, rgb(0xFF_A9_4D)),
        Meaning::Medium | Meaning::Focus => (Color::Cyan, rgb(0x66_D9_E8)),
        Meaning::Low | Meaning::Ended => (Color::Gray, rgb(0x90_90_90)),
        Meaning::Border => (Color::DarkGray, rgb(0x6B_6B_6B)),
        Meaning::Ok => (Color::Green, rgb(0x69_DB_7C)),
        Meaning::Warn | Meaning::Alarm => (Color::Yellow, rgb(0xFF_D4_3B)),
        Meaning::Info => (Color::LightBlue, rgb(0x74_C0_FC)),
        Meaning::Banner => (Color::Gray, rgb(0xC9_D1_D9)),
    })
}

fn light(meaning: Meaning) -> Option<Pair> {
    Some(match meaning {
        Meaning::Plain | Meaning::Selection | Meaning::Mark | Meaning::Title => return None,
        Meaning::Critical | Meaning::Down | Meaning::Alarm => (Color::Red, rgb(0xB0_00_20)),
        Meaning::High => (Color::Magenta, rgb(0xA1_4A_00)),
        Meaning::Medium | Meaning::Focus => (Color::Blue, rgb(0x00_5F_87)),
        Meaning::Low | Meaning::Ended => (Color::DarkGray, rgb(0x6B_6B_6B)),
        Meaning::Border => (Color::DarkGray, rgb(0x76_76_76)),
        Meaning::Ok => (Color::Green, rgb(0x1B_7F_3B)),
        Meaning::Warn => (Color::Magenta, rgb(0x8A_6D_00)),
        Meaning::Info => (Color::Blue, rgb(0x0B_5C_AD)),
        Meaning::Banner => (Color::Black, rgb(0x30_36_3D)),
    })
}

#[cfg(test)]
mod tests;
