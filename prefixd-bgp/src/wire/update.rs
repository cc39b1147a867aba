//! UPDATE messages, packed from NLRI bytes that are encoded already.
//!
//! Withdrawals come first, in messages that hold nothing but MP_UNREACH_NLRI; then announcements, grouped by family and
//! action, MP_REACH_NLRI first (RFC 7606 section 5.1). Each message is filled up to the limit of the neighbour, 4096 bytes
//! by default. IPv4 blackhole routes are in the fields of the UPDATE itself (`unicast`).

use std::collections::HashMap;

use rustbgpd_wire::attribute::encode_path_attributes;
use rustbgpd_wire::{AsPath, AsPathSegment, COMMUNITY_NO_EXPORT, Origin, PathAttribute};

use super::{HEADER, MAX_MESSAGE, afi, safi, unicast};
use crate::config::{ConfigError, LargeCommunity, Rtbh};
use crate::flowspec::{Action, Family, NlriKey};

mod communities;

const TYPE_UPDATE: u8 = 2;
const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
/// Optional, extended length (RFC 4271 section 4.3).
const OPTIONAL_EXTENDED: u8 = 0x90;
/// iBGP default; FlowSpec routes of one rule compete only with our own.
const LOCAL_PREF: u32 = 100;

/// What the attributes of a session depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKind {
    /// Same AS on both sides.
    pub(crate) internal: bool,
    /// Four-octet AS numbers in AS_PATH (RFC 6793).
    pub(crate) four_octet_as: bool,
}

/// The attributes that the routes of one neighbour carry, encoded once; only the action differs between routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeSet {
    local_asn: u32,
    /// ORIGIN, AS_PATH; by kind of session.
    path: [Vec<u8>; 4],
    /// ORIGIN, AS_PATH, LOCAL_PREF, COMMUNITIES; by kind of session.
    before: [Vec<u8>; 4],
    /// LARGE_COMMUNITIES.
    after: Vec<u8>,
    rtbh: Option<Rtbh>,
}

impl AttributeSet {
    /// The only attribute that can be refused is an AS_PATH with AS 0.
    pub(crate) fn new(local_asn: u32, marker: Option<LargeCommunity>) -> Result<Self, ConfigError> {
        let encode = |attributes: &[PathAttribute], four_octet_as| {
            let mut bytes = Vec::new();
            encode_path_attributes(attributes, &mut bytes, four_octet_as, false)
                .map_err(|_| ConfigError::LocalAsn)?;
            Ok(bytes)
        };
        let mut path = [const { Vec::new() }; 4];
        let mut before = [const { Vec::new() }; 4];
        for (internal, four_octet_as) in [(false, false), (false, true), (true, false), (true, true)] {
            let kind = SessionKind {
                internal,
                four_octet_as,
            };
            path[kind.index()] = encode(&path_attributes(local_asn, internal), four_octet_as)?;
            before[kind.index()] = encode(&common_attributes(local_asn, internal), four_octet_as)?;
        }
        let marker = marker.map(|marker| {
            let LargeCommunity {
                global,
                local1,
                local2,
            } = marker;
            PathAttribute::LargeCommunities(vec![rustbgpd_wire::LargeCommunity::new(global, local1, local2)])
        });
        Ok(Self {
            local_asn,
            path,
            before,
            after: encode(marker.as_slice(), true)?,
            rtbh: None,
        })
    }

    /// The same for a neighbour whose blackhole routes carry this.
    pub(crate) fn with_rtbh(&self, rtbh: Option<Rtbh>) -> Self {
        Self { rtbh, ..self.clone() }
    }

    /// All attributes of a blackhole route but MP_REACH_NLRI, in order of type.
    fn encode_blackhole(&self, kind: SessionKind, rtbh: &Rtbh, family: Family) -> Vec<u8> {
        let next_hop = rtbh.next_hop.filter(|_| family == Family::Ipv4Unicast);
        let mut bytes = self.path[kind.index()].clone();
        unicast::attributes(rtbh, next_hop, kind.internal, &mut bytes);
        bytes.extend_from_slice(&self.after);
        bytes
    }

    /// All attributes but MP_REACH_NLRI, in order of type.
    fn encode(&self, kind: SessionKind, action: Action) -> Vec<u8> {
        let mut bytes = self.before[kind.index()].clone();
        communities::encode(action, self.local_asn, &mut bytes);
        bytes.extend_from_slice(&self.after);
        bytes
    }
}

impl SessionKind {
    fn index(self) -> usize {
        usize::from(self.internal) * 2 + usize::from(self.four_octet_as)
    }
}

fn path_attributes(local_asn: u32, internal: bool) -> Vec<PathAttribute> {
    let segments = if internal {
        Vec::new()
    } else {
        vec![AsPathSegment::AsSequence(vec![local_asn])]
    };
    vec![
        PathAttribute::Origin(Origin::Igp),
        PathAttribute::AsPath(AsPath { segments }),
    ]
}

fn common_attributes(local_asn: u32, internal: bool) -> Vec<PathAttribute> {
    let mut attributes = path_attributes(local_asn, internal);
    if internal {
        attributes.push(PathAttribute::LocalPref(LOCAL_PREF));
    }
    attributes.push(PathAttribute::Communities(vec![COMMUNITY_NO_EXPORT]));
    attributes
}

/// Collects the NLRI of one batch and writes them as few messages as possible.
pub(crate) struct Packer<'a> {
    attributes: &'a AttributeSet,
    kind: SessionKind,
    update_bytes: usize,
    withdrawn: [Vec<NlriKey>; Family::COUNT],
    groups: Vec<(Family, Action, Vec<NlriKey>)>,
    group_of: HashMap<(Family, Action), usize>,
    /// The group of what came last.
    last: Option<usize>,
    nlri_bytes: usize,
}

impl<'a> Packer<'a> {
    /// Messages are no longer than `update_bytes`, but for one that holds a single rule.
    pub(crate) fn new(attributes: &'a AttributeSet, kind: SessionKind, update_bytes: usize) -> Self {
        Self {
            attributes,
            kind,
            update_bytes: update_bytes.min(MAX_MESSAGE),
            withdrawn: [const { Vec::new() }; Family::COUNT],
            groups: Vec::new(),
            group_of: HashMap::new(),
            last: None,
            nlri_bytes: 0,
        }
    }

    pub(crate) fn withdraw(&mut self, key: &NlriKey) {
        self.nlri_bytes += key.as_bytes().len();
        self.withdrawn[key.family().index()].push(key.clone());
    }

    pub(crate) fn announce(&mut self, key: &NlriKey, action: Action) {
        self.nlri_bytes += key.as_bytes().len();
        // Most of a batch does the same.
        let is_same = |group: &usize| {
            let (family, other, _) = &self.groups[*group];
            (*family, *other) == (key.family(), action)
        };
        let group = match self.last.filter(is_same) {
            Some(group) => group,
            None => *self.group_of.entry((key.family(), action)).or_insert_with(|| {
                self.groups.push((key.family(), action, Vec::new()));
                self.groups.len() - 1
            }),
        };
        self.last = Some(group);
        self.groups[group].2.push(key.clone());
    }

    /// How much was collected.
    pub(crate) fn nlri_bytes(&self) -> usize {
        self.nlri_bytes
    }

    /// Appends the messages and says how many they are.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> u64 {
        let mut messages = 0;
        for family in Family::ALL {
            let keys = &self.withdrawn[family.index()];
            messages += match family {
                Family::Ipv4Unicast => unicast::withdraw(out, keys, self.update_bytes),
                family => pack(out, &MpHeader::unreach(family), &[], keys, self.update_bytes),
            };
        }
        for (family, action, keys) in &self.groups {
            messages += self.announce_group(out, *family, *action, keys);
        }
        messages
    }

    fn announce_group(&self, out: &mut Vec<u8>, family: Family, action: Action, keys: &[NlriKey]) -> u64 {
        if family.is_flowspec() {
            let attributes = self.attributes.encode(self.kind, action);
            let header = MpHeader::reach(family, &[]);
            return pack(out, &header, &attributes, keys, self.update_bytes);
        }
        // The configuration has a next hop for every unicast family.
        let Some(rtbh) = &self.attributes.rtbh else {
            return 0;
        };
        let attributes = self.attributes.encode_blackhole(self.kind, rtbh, family);
        match rtbh.next_hop_v6 {
            Some(next_hop) if family == Family::Ipv6Unicast => {
                let header = MpHeader::reach(family, &next_hop.octets());
                pack(out, &header, &attributes, keys, self.update_bytes)
            }
            _ => unicast::announce(out, &attributes, keys, self.update_bytes),
        }
    }
}

/// The empty UPDATE that ends the initial transfer of a family (RFC 4724 section 2).
pub(crate) fn end_of_rib(family: Family) -> Vec<u8> {
    let mut out = Vec::new();
    match family {
        Family::Ipv4Unicast => unicast::end_of_rib(&mut out),
        family => write_update(&mut out, &MpHeader::unreach(family), &[], &[]),
    }
    out
}

/// The fixed part of an MP attribute's value.
struct MpHeader {
    attribute: u8,
    value: Vec<u8>,
}

impl MpHeader {
    /// AFI, SAFI, next hop (none for FlowSpec, RFC 8955 section 4), one reserved octet.
    fn reach(family: Family, next_hop: &[u8]) -> Self {
        let [high, low] = (afi(family) as u16).to_be_bytes();
        let mut value = vec![high, low, safi(family) as u8, 0];
        if let Ok(length) = u8::try_from(next_hop.len()) {
            value[3] = length;
            value.extend_from_slice(next_hop);
        }
        value.push(0);
        Self {
            attribute: MP_REACH,
            value,
        }
    }

    fn unreach(family: Family) -> Self {
        let [high, low] = (afi(family) as u16).to_be_bytes();
        Self {
            attribute: MP_UNREACH,
            value: vec![high, low, safi(family) as u8],
        }
    }
}

/// Greedy: fills a message until the next NLRI would not fit. A single NLRI is always sent: the limit of one leaves room in
/// a message of 4096 bytes, whatever shorter ones the router likes better.
fn pack(
    out: &mut Vec<u8>,
    header: &MpHeader,
    attributes: &[u8],
    keys: &[NlriKey],
    update_bytes: usize,
) -> u64 {
    let room = update_bytes.saturating_sub(HEADER + 4 + 4 + header.value.len() + attributes.len());
    let mut messages = 0;
    let mut rest = keys;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take_while(|key| {
                bytes += key.as_bytes().len();
                bytes <= room
            })
            .count()
            .max(1);
        let (message, later) = rest.split_at(fitting);
        write_update(out, header, attributes, message);
        messages += 1;
        rest = later;
    }
    messages
}

fn write_update(out: &mut Vec<u8>, header: &MpHeader, attributes: &[u8], keys: &[NlriKey]) {
    let value = header.value.len() + keys.iter().map(|key| key.as_bytes().len()).sum::<usize>();
    let path_attributes = 4 + value + attributes.len();
    out.extend_from_slice(&[0xFF; 16]);
    out.extend_from_slice(&length(HEADER + 4 + path_attributes));
    out.push(TYPE_UPDATE);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(path_attributes));
    out.extend_from_slice(&[OPTIONAL_EXTENDED, header.attribute]);
    out.extend_from_slice(&length(value));
    out.extend_from_slice(&header.value);
    for key in keys {
        out.extend_from_slice(key.as_bytes());
    }
    out.extend_from_slice(attributes);
}

/// A length field. Every caller stays inside one message of 4096 bytes.
pub(super) fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unicast_tests;
