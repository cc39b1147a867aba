use super::*;

/// Relative luminance (WCAG 2.1).
fn luminance(color: Color) -> f64 {
    let Color::Rgb(red, green, blue) = color else {
        panic!("{color:?} has no fixed value")
    };
    let part = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue)
}

fn contrast(one: Color, other: Color) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_has_contrast() {
    for (theme, background) in [
        (Theme::Dark(Depth::True), rgb(0x12_12_12)),
        (Theme::Light(Depth::True), rgb(0xFF_FF_FF)),
    ] {
        for meaning in Meaning::ALL {
            let Some(color) = theme.style(meaning).fg else {
                continue;
            };
            let needed = if meaning == Meaning::Border { 3.0 } else { 4.5 };
            assert!(contrast(color, background) >= needed, "{theme:?} {meaning:?}");
        }
    }
}

#[test]
fn mono_has_no_colour_and_still_tells_what_matters_apart() {
    for meaning in Meaning::ALL {
        let style = Theme::Mono.style(meaning);
        assert_eq!((style.fg, style.bg), (None, None), "{meaning:?}");
    }
    let style = |meaning| Theme::Mono.style(meaning);
    for meaning in [
        Meaning::Critical,
        Meaning::Warn,
        Meaning::Down,
        Meaning::Selection,
        Meaning::Ended,
    ] {
        assert_ne!(style(meaning), style(Meaning::Plain), "{meaning:?}");
    }
}
