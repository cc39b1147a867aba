//! Framing and the small messages.

use bytes::{Bytes, BytesMut};
use rustbgpd_wire::constants::MAX_MESSAGE_LEN;
use rustbgpd_wire::notification::{
    description, encode_shutdown_communication, extract_shutdown_communication,
};
use rustbgpd_wire::{
    Afi, DecodeError, Message, MessageType, NotificationCode, NotificationMessage, RouteRefreshSubtype, Safi,
    decode_message, peek_message_length,
};

use super::fsm::{Malformed, Open};
use super::{HEADER, afi, family, safi};
use crate::flowspec::Family;

/// Code and subcode of a NOTIFICATION.
const MIN_NOTIFICATION_BODY: usize = 2;
/// From the version to the length of the parameters (RFC 4271 section 4.2).
const MIN_OPEN_BODY: usize = 10;
/// Withdrawn routes length and path attributes length (RFC 4271 section 4.3).
const MIN_UPDATE_BODY: usize = 4;

/// A message from the neighbour.
#[derive(Debug, Clone)]
pub(crate) enum Inbound {
    Open(Open),
    Keepalive,
    Notification(Notification),
    /// The body, which is counted and never interpreted.
    Update(Bytes),
    /// A request for a family, or `None` for a family or subtype that is none of our business.
    Refresh(Option<Family>),
    /// Not BGP, or not what the header says.
    Malformed(Malformed),
}

impl Inbound {
    /// For the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "OPEN",
            Self::Keepalive => "KEEPALIVE",
            Self::Notification(_) => "NOTIFICATION",
            Self::Update(_) => "UPDATE",
            Self::Refresh(_) => "ROUTE-REFRESH",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// A NOTIFICATION, to send or received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) code: u8,
    pub(crate) subcode: u8,
    pub(crate) data: Bytes,
}

/// The demarcation of an enhanced refresh (RFC 7313).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefreshSubtype {
    Begin,
    End,
}

/// Takes one message off the front of `buffer`; `None` if it is not complete yet. After [`Inbound::Malformed`] the
/// stream has no meaning any more and must be closed.
pub(crate) fn frame(buffer: &mut BytesMut) -> Option<Inbound> {
    let length = match peek_message_length(buffer, MAX_MESSAGE_LEN) {
        Ok(Some(length)) => usize::from(length),
        Ok(None) => return None,
        Err(error) => return Some(Inbound::Malformed(error.into())),
    };
    if buffer.len() < length {
        return None;
    }
    let mut message = buffer.split_to(length).freeze();
    let kind = message.get(HEADER - 1).copied();
    let body = message.slice(HEADER..);
    let is = |one: MessageType| kind == Some(one.as_u8());
    if (is(MessageType::Open) && body.len() < MIN_OPEN_BODY)
        || (is(MessageType::Update) && body.len() < MIN_UPDATE_BODY)
    {
        // The header says so already (RFC 4271 section 6.1).
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        return Some(Inbound::Malformed(DecodeError::InvalidLength { length }.into()));
    }
    if is(MessageType::Update) {
        return Some(Inbound::Update(body));
    }
    if is(MessageType::RouteRefresh) {
        return Some(refresh(&message));
    }
    if is(MessageType::Notification) && body.len() < MIN_NOTIFICATION_BODY {
        // Never answered (RFC 4271 section 6.4), and no reason to hold anything against the neighbour.
        return Some(Inbound::Notification(Notification::new(
            body.first().copied().unwrap_or(0),
            0,
        )));
    }
    Some(match decode_message(&mut message, MAX_MESSAGE_LEN) {
        Ok(Message::Open(open)) => Inbound::Open(Open(open)),
        Ok(Message::Keepalive) => Inbound::Keepalive,
        Ok(Message::Notification(notification)) => Inbound::Notification(notification.into()),
        // UPDATE and ROUTE-REFRESH were taken out above.
        Ok(_) => Inbound::Refresh(None),
        Err(error) => Inbound::Malformed(error.into()),
    })
}

/// Filters behind a request (RFC 5291) were not agreed on; they are ignored.
fn refresh(message: &Bytes) -> Inbound {
    let body = message.get(HEADER..).unwrap_or_default();
    let &[afi_high, afi_low, subtype, safi, ref filters @ ..] = body else {
        return Inbound::Malformed(Malformed::Refresh(message.clone()));
    };
    match RouteRefreshSubtype::from_u8(subtype) {
        RouteRefreshSubtype::Normal => Inbound::Refresh(
            Afi::from_u16(u16::from_be_bytes([afi_high, afi_low]))
                .zip(Safi::from_u8(safi))
                .and_then(family),
        ),
        RouteRefreshSubtype::BoRR | RouteRefreshSubtype::EoRR if !filters.is_empty() => {
            Inbound::Malformed(Malformed::Refresh(message.clone()))
        }
        _ => Inbound::Refresh(None),
    }
}

/// KEEPALIVE: the header alone.
pub(crate) fn keepalive() -> Bytes {
    const KEEPALIVE: [u8; HEADER] = {
        let mut message = [0xFF; HEADER];
        message[16] = 0;
        message[17] = HEADER as u8;
        message[18] = 4;
        message
    };
    Bytes::from_static(&KEEPALIVE)
}

/// BoRR or EoRR (RFC 7313).
pub(crate) fn route_refresh(family: Family, subtype: RefreshSubtype) -> Vec<u8> {
    let [high, low] = (afi(family) as u16).to_be_bytes();
    let subtype = match subtype {
        RefreshSubtype::Begin => RouteRefreshSubtype::BoRR,
        RefreshSubtype::End => RouteRefreshSubtype::EoRR,
    };
    let mut message = vec![0xFF; 16];
    message.extend_from_slice(&[0, 23, 5, high, low, subtype.as_u8(), safi(family) as u8]);
    message
}

/// The data of an administrative shutdown (RFC 9003): at most 128 bytes of text.
pub(crate) fn shutdown_text(text: &str) -> Bytes {
    encode_shutdown_communication(text)
}

impl Notification {
    pub(crate) fn new(code: u8, subcode: u8) -> Self {
        Self {
            code,
            subcode,
            data: Bytes::new(),
        }
    }

    /// Cease (code 6) with a subcode of RFC 4486 and without data.
    pub(crate) fn cease(subcode: u8) -> Self {
        Self::new(6, subcode)
    }

    /// The whole message. The data is cut to what one message holds.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        let room = usize::from(MAX_MESSAGE_LEN) - HEADER - 2;
        let message = NotificationMessage::new(
            NotificationCode::from_u8(self.code),
            self.subcode,
            self.data.slice(..self.data.len().min(room)),
        );
        let length = u16::try_from(message.encoded_len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&[0xFF; 16]);
        out.extend_from_slice(&length.to_be_bytes());
        out.push(MessageType::Notification.as_u8());
        message.encode_body(&mut out);
        out.into()
    }

    /// The registered meaning of code and subcode.
    pub(crate) fn meaning(&self) -> &'static str {
        description(NotificationCode::from_u8(self.code), self.subcode)
    }

    /// Cease/1, Maximum Number of Prefixes Reached.
    pub(crate) fn is_prefix_limit(&self) -> bool {
        (self.code, self.subcode) == (6, 1)
    }

    /// For Cease/1: the family and the bound the neighbour names (RFC 4486 section 4), if it names one of ours.
    pub(crate) fn prefix_limit(&self) -> Option<(Family, usize)> {
        let [afi_high, afi_low, safi, bound @ ..] = *self.data.first_chunk::<7>()?;
        let afi = Afi::from_u16(u16::from_be_bytes([afi_high, afi_low]))?;
        let bound = usize::try_from(u32::from_be_bytes(bound)).unwrap_or(usize::MAX);
        Some((family((afi, Safi::from_u8(safi)?))?, bound))
    }

    /// The text an operator of the other side left (RFC 9003), if it is well formed. Not cleaned.
    pub(crate) fn communication(&self) -> Option<String> {
        let message = NotificationMessage::new(
            NotificationCode::from_u8(self.code),
            self.subcode,
            self.data.clone(),
        );
        extract_shutdown_communication(&message)
            .ok()
            .flatten()
            .map(str::to_owned)
    }
}

impl From<NotificationMessage> for Notification {
    fn from(message: NotificationMessage) -> Self {
        Self {
            code: message.code.as_u8(),
            subcode: message.subcode,
            data: message.data,
        }
    }
}
