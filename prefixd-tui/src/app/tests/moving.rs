use super::*;
use crate::action::CopyWhat;

#[test]
fn keys_lead_where_the_table_says() {
    let mut console = Console::live(120, 40);
    console.keys("g m");
    assert!(matches!(console.app.screen, Screen::List));
    console.keys("G g g j");
    assert_eq!(
        console.app.current().unwrap().mitigation_id,
        fixture::wave()[1].mitigation_id
    );
    let effects = console.keys("Enter");
    let id = fixture::wave()[1].mitigation_id;
    assert_eq!(
        effects,
        [
            Effect::Request(Request::Detail(id)),
            Effect::Request(Request::Why(id))
        ]
    );
    console.keys("]");
    assert!(
        matches!(&console.app.screen, Screen::Detail(view) if view.id == fixture::wave()[2].mitigation_id)
    );
    console.keys("q");
    assert!(matches!(console.app.screen, Screen::List));
    assert_eq!(console.keys("q"), [Effect::Quit]);
}

#[test]
fn escape_clears_one_thing_at_a_time() {
    let mut console = on_list();
    console.keys("/ ' cust:acme' Enter Space");
    assert_eq!(
        (
            console.app.list.selection.order().len(),
            console.app.list.marks.len()
        ),
        (5, 1)
    );
    console.keys("Esc");
    assert!(console.app.list.marks.is_empty());
    console.keys("Esc");
    assert_eq!(console.app.list.selection.order().len(), 9);
}

#[test]
fn the_filter_line_follows_and_can_be_dropped() {
    let mut console = on_list();
    console.keys("/ ' bps>'");
    assert!(console.screen().contains("5M or 1.2G") || console.screen().contains("is not a number"));
    assert!(console.keys("Enter").is_empty());
    assert!(matches!(console.app.modal, Modal::Filter(_)));
    console.keys("'2G'");
    assert_eq!(console.app.list.selection.order().len(), 3);
    console.keys("Esc");
    assert_eq!(console.app.list.selection.order().len(), 9);
    let effects = console.keys("/ Ctrl-U 'status:withdrawn' Enter");
    assert_eq!(effects, [Effect::Request(Request::Ended)]);
}

#[test]
fn copies_what_was_asked_for() {
    let mut console = on_list();
    let row = fixture::wave().remove(0);
    assert_eq!(console.keys("y i"), [Effect::Copy("203.0.113.10".to_owned())]);
    assert_eq!(console.keys("y y"), [Effect::Copy(row.mitigation_id.to_string())]);
    assert_eq!(console.keys("y f"), [Effect::Copy(row.rules[0].to_string())]);
    assert_eq!(
        console.keys("y l"),
        [Effect::Copy(format!(
            "prefixdctl --api unix:/run/prefixd/prefixd.sock mitigations get {}",
            row.mitigation_id
        ))]
    );
    let [Effect::Copy(json)] = &console.keys("y j")[..] else {
        panic!("{:?}", CopyWhat::Json)
    };
    assert_eq!(
        serde_json::from_str::<Mitigation>(json).unwrap().mitigation_id,
        row.mitigation_id
    );
    let [Effect::Copy(table)] = &console.keys("y t")[..] else {
        panic!("{:?}", CopyWhat::Table)
    };
    assert_eq!(table.lines().count(), 10);
}

#[test]
fn leaving_by_ctrl_c_takes_two() {
    let mut console = on_list();
    assert!(console.keys("Ctrl-C").is_empty());
    console.wait(3_000);
    assert!(console.keys("Ctrl-C").is_empty());
    console.wait(1_000);
    assert_eq!(console.keys("Ctrl-C"), [Effect::Quit]);
}

#[test]
fn switches() {
    let mut console = on_list();
    assert_eq!(console.keys("F2"), [Effect::Mouse(false)]);
    assert_eq!(console.keys("F4"), [Effect::Dump]);
    assert_eq!(
        console.keys("w"),
        [Effect::EndDump],
        "any key returns and does nothing else"
    );
    assert!(matches!(console.app.modal, Modal::None));
    assert_eq!(console.keys("Ctrl-Z Ctrl-L"), [Effect::Suspend, Effect::Repaint]);
    console.keys("s j Enter S");
    assert_eq!(console.app.list.sort.key, crate::list::SortKey::Status);
    assert!(console.app.list.sort.descending);
    console.keys("x");
    says(&console, "no such key");
}

proptest! {
    #[test]
    fn no_sequence_of_keys_panics(keys in prop::collection::vec(0usize..40, 1..80), width in 1u16..140, height in 1u16..50) {
        let all = ["w", "y", "1", "2", "5", "Enter", "Esc", "Space", "j", "k", "*", "g", "m", "o", "/", "Tab", "s", "S", "v",
            "G", "]", "[", "z", "V", "p", "t", "T", "r", "?", "F2", "F4", "Ctrl-C", "Ctrl-D", "Ctrl-U", "Ctrl-L", "q", "Down", "a", "!", "Ctrl-W"];
        let mut console = Console::live(width, height);
        for key in keys {
            console.keys(all[key]);
            console.screen();
        }
    }
}
