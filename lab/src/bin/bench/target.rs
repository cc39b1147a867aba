//! What a figure should be, and whether it is.

/// A bound of one number; prints itself, and whether it was missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    words: &'static str,
    is_met: bool,
}

impl Target {
    pub(crate) fn at_least(measured: f64, bound: f64, words: &'static str) -> Self {
        Self {
            words,
            is_met: measured >= bound,
        }
    }

    pub(crate) fn under(measured: f64, bound: f64, words: &'static str) -> Self {
        Self {
            words,
            is_met: measured < bound,
        }
    }

    pub(crate) fn is_met(self) -> bool {
        self.is_met
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words)?;
        f.write_str(if self.is_met { "" } else { ": **missed**" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_when_it_was_missed() {
        assert_eq!(
            Target::at_least(8_000.0, 8_000.0, "8,000/s").to_string(),
            "8,000/s"
        );
        assert_eq!(
            Target::at_least(7_999.9, 8_000.0, "8,000/s").to_string(),
            "8,000/s: **missed**"
        );
        assert_eq!(Target::under(9.99, 10.0, "10 ms").to_string(), "10 ms");
        assert_eq!(
            Target::under(10.0, 10.0, "10 ms").to_string(),
            "10 ms: **missed**"
        );
    }
}
