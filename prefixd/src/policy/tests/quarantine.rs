use super::super::{ParkedRule, ParkedShape, Parking, PeerCommand, PeerMemory, SessionEnd};
use super::*;
use prefixd_api::peer::PeerOrder;

fn parking() -> Parking {
    Parking {
        since: Timestamp::from_micros(1),
        until: Timestamp::from_micros(2),
        times: 1,
        why: SessionEnd::Lost {
            detail: "reset".to_owned(),
        },
    }
}

fn rule(nlri: &str, shape: &str) -> ParkedRule {
    ParkedRule {
        nlri: nlri.to_owned(),
        afi_safi: "ipv4-flowspec".to_owned(),
        shape: shape.to_owned(),
        held: true,
        parking: parking(),
    }
}

fn memory() -> PeerMemory {
    PeerMemory {
        hold_seconds: 30,
        rules: vec![rule("0a", "one"), rule("0b", "one"), rule("0c", "other")],
        shapes: ["one", "other"]
            .map(|shape| ParkedShape {
                shape: shape.to_owned(),
                parking: parking(),
            })
            .into(),
        kinds: None,
        bound: None,
    }
}

fn remember(world: &mut World, memory: &PeerMemory) -> Decision {
    let command = Command::Remember {
        neighbor: "edge1".into(),
        memory: Arc::new(memory.clone()),
    };
    world.run(&command, None)
}

fn release(world: &mut World, nlri: Option<&str>) -> Vec<Effect> {
    let command = PeerCommand {
        neighbor: "edge1".to_owned(),
        order: PeerOrder::Release,
        nlri: nlri.map(str::to_owned),
        family: None,
        reason: "upgraded".to_owned(),
        actor: "token:noc".to_owned(),
    };
    world.run(&Command::Peer(command), None).effects
}

fn changed(effects: &[Effect]) -> Option<(Vec<String>, Vec<String>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Quarantine(change) => Some((change.parked.clone(), change.released.clone())),
        _ => None,
    })
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_the_speaker_found_out_is_recorded_once() {
    let mut world = World::new(policy());
    assert!(remember(&mut world, &PeerMemory::default()).effects.is_empty());
    let told = changed(&remember(&mut world, &memory()).effects);
    assert_eq!(told, Some((names(&["0a", "0b", "0c", "one", "other"]), vec![])));
    assert!(remember(&mut world, &memory()).effects.is_empty());
    let gone = changed(&remember(&mut world, &PeerMemory::default()).effects);
    assert_eq!(gone, Some((vec![], names(&["0a", "0b", "0c", "one", "other"]))));
    assert!(world.state.quarantined.is_empty());
}

/// With the order, so that what was answered is durable: the speaker is told a moment later.
#[test]
fn a_release_changes_the_record_in_the_same_commit() {
    let mut world = World::new(policy());
    assert_eq!(changed(&release(&mut world, None)), None, "nothing is known");
    remember(&mut world, &memory());
    let effects = release(&mut world, Some("0A"));
    assert_eq!(effects.len(), 2);
    assert_eq!(changed(&effects), Some((vec![], names(&["0a", "one"]))));
    assert_eq!(changed(&release(&mut world, Some("ff"))), None);
    assert_eq!(
        changed(&release(&mut world, None)),
        Some((vec![], names(&["0b", "0c", "other"])))
    );
    let kept = &world.state.quarantined["edge1"];
    assert_eq!(
        (kept.rules.len(), kept.shapes.len()),
        (3, 0),
        "how often is remembered"
    );
}
