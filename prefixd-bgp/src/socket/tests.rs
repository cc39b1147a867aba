use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;

/// Nothing comes for this long: long enough for loopback, and only the failing side of a test waits for it.
const SILENCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn key(text: &str) -> Md5Key {
    Md5Key::new(text.as_bytes()).unwrap()
}

fn socket(address: IpAddr) -> TcpSocket {
    if address.is_ipv4() {
        TcpSocket::new_v4().unwrap()
    } else {
        TcpSocket::new_v6().unwrap()
    }
}

async fn listener(address: IpAddr) -> TcpListener {
    TcpListener::bind(SocketAddr::new(address, 0)).await.unwrap()
}

/// Dials with a key; `None` if nobody answers.
async fn dial(to: SocketAddr, key: Option<&Md5Key>) -> Option<TcpStream> {
    let socket = socket(to.ip());
    if let Some(key) = key {
        set_md5(&socket, to.ip(), key).unwrap();
    }
    let limit = if key.is_some() { PATIENCE } else { SILENCE };
    timeout(limit, socket.connect(to)).await.ok()?.ok()
}

#[tokio::test]
async fn the_same_key_on_both_sides_connects_and_carries_data() {
    for address in [V4, V6] {
        let listener = listener(address).await;
        set_md5(&listener, address, &key("secret")).unwrap();
        let to = listener.local_addr().unwrap();
        let dialling = tokio::spawn(async move { dial(to, Some(&key("secret"))).await.unwrap() });
        let (mut accepted, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut dialled = dialling.await.unwrap();
        dialled.write_all(b"open").await.unwrap();
        let mut bytes = [0; 4];
        timeout(PATIENCE, accepted.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&bytes, b"open");
    }
}

#[tokio::test]
async fn no_key_and_a_wrong_key_meet_silence() {
    let listener = listener(V4).await;
    let to = listener.local_addr().unwrap();
    set_md5(&listener, V4, &key("secret")).unwrap();
    assert!(dial(to, None).await.is_none());
    let wrong = key("Secret");
    assert!(timeout(SILENCE, dial(to, Some(&wrong))).await.is_err());

    clear_md5(&listener, V4).unwrap();
    clear_md5(&listener, V4).unwrap();
    assert!(dial(to, None).await.is_some(), "without the key anybody connects");
}

#[test]
fn a_key_is_bounded_and_never_shown() {
    assert!(matches!(
        Md5Key::new(b""),
        Err(ConfigError::Md5KeyLength { bytes: 0 })
    ));
    assert!(matches!(
        Md5Key::new(&[b'x'; 81]),
        Err(ConfigError::Md5KeyLength { bytes: 81 })
    ));
    let longest = Md5Key::new(&[b'x'; 80]).unwrap();
    assert_eq!(format!("{longest:?}"), "Md5Key(***)");
}

#[tokio::test]
async fn what_a_router_has_forwarded_is_not_heard() {
    for address in [V4, V6] {
        let listener = listener(address).await;
        let near = socket(address);
        send_full_ttl(&near, address.is_ipv6()).unwrap();
        let mut sender = near.connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut receiver, _) = listener.accept().await.unwrap();
        demand_full_ttl(&receiver, address).unwrap();
        let mut bytes = [0; 4];
        sender.write_all(b"near").await.unwrap();
        timeout(PATIENCE, receiver.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();

        let sending = SockRef::from(&sender);
        if address.is_ipv6() {
            sending.set_unicast_hops_v6(254).unwrap();
        } else {
            sending.set_ttl_v4(254).unwrap();
        }
        sender.write_all(b"far!").await.unwrap();
        let heard = timeout(SILENCE, receiver.read_exact(&mut bytes)).await;
        assert!(heard.is_err(), "{bytes:?}");

        send_full_ttl(&sender, address.is_ipv6()).unwrap();
        timeout(PATIENCE, receiver.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&bytes, b"far!", "sent again, from near");
    }
}
