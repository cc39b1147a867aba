//! The characters that are drawn with: line drawing and blocks, or plain ASCII.

use ratatui::buffer::Buffer;
use ratatui::symbols::border;

/// Which characters the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyphs {
    /// Line drawing and block elements.
    Unicode,
    /// 0x20 to 0x7E only.
    Ascii,
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

impl Glyphs {
    /// The border of panes.
    pub(crate) const fn border(self) -> border::Set<'static> {
        match self {
            Self::Unicode => border::PLAIN,
            Self::Ascii => ASCII_BORDER,
        }
    }

    /// A bar of `width` cells of which `used / max` are filled. More than nothing shows at least one cell.
    pub(crate) fn bar(self, used: u64, max: u64, width: usize) -> String {
        let (full, rest) = match self {
            Self::Unicode => ("█", "░"),
            Self::Ascii => ("#", "."),
        };
        let exact = u128::from(used.min(max)) * width as u128 / u128::from(max.max(1));
        let filled = usize::try_from(exact)
            .unwrap_or(width)
            .max(usize::from(used > 0 && max > 0))
            .min(width);
        full.repeat(filled) + &rest.repeat(width - filled)
    }

    /// Replaces what the terminal cannot show, wherever it came from.
    pub(crate) fn restrict(self, buffer: &mut Buffer) {
        if self == Self::Unicode {
            return;
        }
        for cell in &mut buffer.content {
            if !cell.symbol().bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
                let plain = match cell.symbol() {
                    "·" => ".",
                    "…" => ".",
                    _ => "?",
                };
                cell.set_symbol(plain);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_a_little_and_never_more_than_all() {
        let bar = |used, max| Glyphs::Ascii.bar(used, max, 10);
        assert_eq!(bar(0, 500), "..........");
        assert_eq!(bar(1, 500), "#.........");
        assert_eq!(bar(250, 500), "#####.....");
        assert_eq!(bar(900, 500), "##########");
        assert_eq!(bar(3, 0), "..........");
    }
}
