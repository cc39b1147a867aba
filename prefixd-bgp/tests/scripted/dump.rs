//! What is said, read back from MRT records.

use std::time::Duration;

use prefixd_bgp::{Busy, Capture, Stop};

use crate::harness::*;

/// One record of a dump: its subtype, and what comes after addresses and AS numbers.
#[derive(Debug, PartialEq)]
struct Record {
    subtype: u16,
    what: Vec<u8>,
}

/// Takes records apart as RFC 6396 has them, with nothing of the speaker's own code. IPv4 and four-octet numbers.
fn read_back(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let number = |at: usize, long: usize| {
            bytes[at..at + long]
                .iter()
                .fold(0, |all, byte| all << 8 | usize::from(*byte))
        };
        assert_eq!(
            (number(0, 4), number(4, 2)),
            (1_767_225_600, 17),
            "time and BGP4MP_ET"
        );
        let length = number(8, 4);
        assert_eq!(number(12, 4), 7, "microseconds");
        assert_eq!(number(16, 4), PEER_ASN as usize);
        assert_eq!(number(20, 4), LOCAL_ASN as usize);
        assert_eq!((number(24, 2), number(26, 2)), (0, 1), "no interface, IPv4");
        assert_eq!((bytes[28], bytes[32]), (127, 127));
        records.push(Record {
            subtype: u16::try_from(number(6, 2)).unwrap(),
            what: bytes[36..12 + length].to_vec(),
        });
        bytes = &bytes[12 + length..];
    }
    records
}

async fn next(capture: &mut Capture) -> Vec<Record> {
    let captured = tokio::time::timeout(PATIENCE, capture.next()).await.unwrap();
    read_back(&captured.unwrap().records(1_767_225_600_000_007))
}

#[tokio::test]
async fn a_dump_has_every_message_of_both_sides() {
    let router = Router::bind().await;
    let speaker = start(vec![router.neighbor()]);
    assert!(speaker.capture("nobody", PATIENCE).is_err());
    let mut capture = speaker.capture(NAME, PATIENCE).unwrap().unwrap();
    assert_eq!(speaker.capture(NAME, PATIENCE).unwrap().unwrap_err(), Busy);

    let open = OpenScript::default();
    let mut peer = router.session(&open).await;
    peer.initial_sync().await;
    let one = route(1);
    speaker.apply([announce(one.clone())]).unwrap();
    let update = peer.update().await;
    let text = "maintenance".to_owned();
    let stop = speaker.shutdown(Stop::Withdraw { text }, Duration::from_secs(5));
    let (unfinished, ()) = tokio::join!(stop, async {
        peer.update().await;
        assert_eq!(peer.expect(NOTIFICATION).await.notification(), (6, 2));
        drop(peer);
    });
    assert!(unfinished.is_empty());

    let mut all = Vec::new();
    let is_last = |record: &Record| record.subtype == 7 && record.what.get(18) == Some(&NOTIFICATION);
    while !all.iter().any(is_last) {
        all.extend(next(&mut capture).await);
    }
    assert_eq!(capture.lost(), 0);
    let said = |subtype: u16| -> Vec<&[u8]> {
        let of = all.iter().filter(|record| record.subtype == subtype);
        of.map(|record| &record.what[..]).collect()
    };
    let (received, sent) = (said(4), said(7));
    assert_eq!(received[0], open.bytes(), "what the router said, to the byte");
    let kinds: Vec<u8> = sent.iter().map(|message| message[18]).collect();
    assert_eq!(kinds[..2], [OPEN, KEEPALIVE]);
    assert!(sent.contains(&&message(UPDATE, &update.body)[..]), "the rule");
    assert!(said(5).contains(&&[0, 1, 0, 6][..]), "the session is established");
}
