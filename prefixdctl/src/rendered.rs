//! Rules as a router's configuration, for tickets: what each neighbour was told, not what was decided.

use crate::failure::Failure;
use crate::session::Session;
use clap::ValueEnum;
use prefixd_api::mitigation::MitigationDetail;
use prefixd_api::preview::MitigationPreview;
use prefixd_api::resource::{Announcement, AnnouncementForm};
use prefixd_api::rule::{Rule, render};
use prefixd_api::show::{MAX_TEXT_CHARS, clean};

/// How a rule is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Syntax {
    /// Junos set commands
    Junos,
    /// IOS XR class map and policy map
    Iosxr,
    /// As FRR shows it
    Frr,
}

/// One rule and the lines that say who has it.
pub(crate) struct Entry {
    pub(crate) about: Vec<String>,
    /// In prefixd's own text form; absent: there is none to write.
    pub(crate) rule: Option<String>,
}

impl Syntax {
    fn of(self, rule: &Rule) -> String {
        match self {
            Self::Junos => render::junos(rule),
            Self::Iosxr => render::iosxr(rule),
            Self::Frr => render::frr(rule),
        }
    }

    const fn comment(self) -> char {
        match self {
            Self::Junos => '#',
            Self::Iosxr | Self::Frr => '!',
        }
    }

    /// The entries one below the other, each under its comments.
    pub(crate) fn write(self, entries: &[Entry]) -> String {
        let mut text = String::new();
        for entry in entries {
            if !text.is_empty() {
                text.push('\n');
            }
            let comments = entry.about.iter().chain(&entry.rule);
            for line in comments {
                text.push_str(&format!("{} {}\n", self.comment(), clean(line, MAX_TEXT_CHARS)));
            }
            match entry.rule.as_ref().map(|rule| rule.parse::<Rule>()) {
                Some(Ok(rule)) => {
                    text.push_str(self.of(&rule).trim_end());
                    text.push('\n');
                }
                Some(Err(_)) => text.push_str(&format!(
                    "{} this prefixdctl does not know such a rule: use the one of the daemon's version\n",
                    self.comment()
                )),
                None => {}
            }
        }
        text
    }
}

impl Session {
    /// Configuration text is for people alone.
    pub(crate) fn no_rendering(&self) -> Result<(), Failure> {
        if self.out.is_for_people() {
            return Ok(());
        }
        Err(Failure::Input(
            "--as writes a router's configuration as text: leave out -o, or take previews from -o json without --as"
                .to_owned(),
        ))
    }
}

/// What each neighbour has of a mitigation; what was decided where none has anything.
pub(crate) fn of_mitigation(detail: &MitigationDetail) -> Vec<Entry> {
    let entries = of_announcements(&detail.announcements);
    if !entries.is_empty() {
        return entries;
    }
    let decided = |rule: &Rule| Entry {
        about: vec!["decided; at no neighbour".to_owned()],
        rule: Some(rule.to_string()),
    };
    detail.mitigation.rules.iter().map(decided).collect()
}

/// What each neighbour would get.
pub(crate) fn of_preview(preview: &MitigationPreview) -> Vec<Entry> {
    let all: Vec<Announcement> = preview
        .neighbors
        .iter()
        .flat_map(|at| at.announcements.iter().cloned())
        .collect();
    of_announcements(&all)
}

/// Neighbours that have the same rule share it.
fn of_announcements(all: &[Announcement]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for one in all {
        let reason = one.reason.as_ref().map(|reason| format!(": {reason}"));
        let about = format!("{}  {}{}", one.neighbor, one.state, reason.unwrap_or_default());
        let is_refused = one.form == AnnouncementForm::Refused;
        let same = |entry: &&mut Entry| !is_refused && entry.rule.as_ref() == Some(&one.rule);
        match entries.iter_mut().find(same) {
            Some(entry) => entry.about.push(about),
            None if is_refused => entries.push(Entry {
                about: vec![format!("{about}  {}", one.rule)],
                rule: None,
            }),
            None => entries.push(Entry {
                about: vec![about],
                rule: Some(one.rule.clone()),
            }),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(rule: &str) -> Entry {
        Entry {
            about: vec!["edge1  advertised".to_owned()],
            rule: Some(rule.to_owned()),
        }
    }

    #[test]
    fn each_syntax_has_its_comments_and_the_rule_itself() {
        let rule = "dst 203.0.113.10/32 proto udp dport 53 then discard";
        let cases = [
            (
                Syntax::Junos,
                "# edge1  advertised\n# dst 203",
                "set routing-options flow route prefixd-203-0-113-10-32 then discard",
            ),
            (
                Syntax::Iosxr,
                "! edge1  advertised\n! dst 203",
                "class-map type traffic match-all prefixd-203-0-113-10-32",
            ),
            (
                Syntax::Frr,
                "! edge1  advertised\n! dst 203",
                "BGP flowspec entry:",
            ),
        ];
        for (syntax, head, part) in cases {
            let text = syntax.write(&[entry(rule)]);
            assert!(text.starts_with(head), "{text}");
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let text = Syntax::Junos.write(&[
            entry("dst 203.0.113.10/32 then teleport"),
            Entry {
                about: vec!["edge2  refused: it takes no IPv6".to_owned()],
                rule: None,
            },
        ]);
        assert!(text.contains("does not know such a rule"), "{text}");
        assert!(
            text.ends_with("\n\n# edge2  refused: it takes no IPv6\n"),
            "{text}"
        );
    }
}
